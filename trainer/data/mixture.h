/*
 * Mixtures of datasets, row for row as the packages make them: Open-R1's dataset_mixture (spec
 * open-r1.md 1.2) and TRL's datasets (spec training.md 0). Their shuffles and splits are NumPy's
 * permutations (kernels/base/rng_numpy.h).
 */
#pragma once

#include "trainer/data/dataset.h"

enum mixture_kind {
    /* Each part: shuffle(seed), the first trunc(weight x rows); no weight: all rows as they stand.
     * The whole is shuffled, then split with the same seed. */
    MIXTURE_OPEN_R1,
    /* Weights are shares of the whole, which is the largest that oversamples no part; each part
     * gives its first round(share x whole) rows. Nothing is shuffled but by the split. */
    MIXTURE_TRL
};

struct mixture_part {
    const char *path;
    const char *config; /* subfolder; NULL: none */
    const char *split;  /* "train" when NULL; may carry a slice */
    const char *const *files; /* patterns relative to path (NULL: as they stand); NULL: by split */
    int64_t file_count;
    json_t *columns; /* array of names, borrowed; NULL: all */
    double weight;   /* NAN: not given */
};

struct mixture_config {
    enum mixture_kind kind;
    const struct mixture_part *parts;
    int64_t count;
    uint64_t seed;
    double test_size; /* 0: no test rows; below 1: that share (rounded up); else so many rows */
};

/* Opens the parts and mixes them; *test is NULL without test_size. Fails with RECIPE or INPUT: a
 * weight or test_size that leaves a part without sense, a column that no row of a part has, columns
 * that parts hold different things in; else as dataset_open. */
MUST_USE enum status mixture_open(const struct mixture_config *c, struct dataset **train,
                                  struct dataset **test);
