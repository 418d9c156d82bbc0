/*
 * Packing of SFT rows into rows of one length, as TRL does it (spec training.md 3): batches of 1000
 * examples are packed one by one.
 */
#pragma once

#include "trainer/data/examples.h"

enum packing {
    PACKING_NONE,
    PACKING_BFD,       /* best fit decreasing; what exceeds the length is cut off */
    PACKING_BFD_SPLIT, /* the same; what exceeds the length becomes fragments of its own */
    PACKING_WRAPPED    /* all tokens in a row, cut every `length`: no boundaries */
};

/* Replaces the examples by packed ones of at most `length` > 0 tokens. A bfd row holds its
 * sequences as parts. Fails with MEMORY; the set is then as it was. */
MUST_USE enum status example_set_pack(struct example_set *set, enum packing packing,
                                      int64_t length);

/* Puts the examples into the order of datasets.Dataset.shuffle(seed): NumPy's permutation. */
MUST_USE enum status example_set_shuffle(struct example_set *set, uint64_t seed);
