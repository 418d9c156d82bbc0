/*
 * Builds packed batches from trees: a unit is a prompt and the branches that continue it. The
 * prompt's rows are computed once and shared by its branches in attention, forward and backward; so
 * are the rows of tokens with which branches begin alike, and outputs that are the same. A plain
 * sequence is a unit without prompt and with one branch.
 *
 * The last token of a branch is only a target: it gets no row.
 */
#pragma once

#include "trainer/model/batch.h"

struct pack_branch {
    const int32_t *ids;
    int64_t count;
    const uint8_t *loss; /* [count] nonzero: the token's log-prob is wanted; NULL: every token */
};

struct pack_unit {
    const int32_t *prompt;
    int64_t prompt_count; /* 0: the first token of a branch has nothing to be predicted from */
    const struct pack_branch *branches;
    int64_t branch_count;
};

/* Rows that a unit takes in a batch. */
int64_t pack_unit_rows(const struct pack_unit *u);

/* Rows that branch i adds to those of the branches before it. */
int64_t pack_branch_new_rows(const struct pack_branch *branches, int64_t i);

/* Wanted log-probs of a unit. */
int64_t pack_unit_outputs(const struct pack_unit *u);

/* Fills *out for `count` units; arrays live in `arena`. Wanted log-probs come in unit, branch,
 * token order; out->expand says which output each is. unit_begin and outputs stay grouped by unit.
 * Fails with MEMORY. */
MUST_USE enum status pack_build(struct arena *arena, const struct pack_unit *units, int64_t count,
                                struct batch *out);

/* Bytes of arena that pack_build needs for these units (an upper bound). */
size_t pack_bytes(const struct pack_unit *units, int64_t count);
