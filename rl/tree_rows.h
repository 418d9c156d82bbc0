/*
 * Rows of preference training as trees: a prompt with one completion (KTO) or two (a pair),
 * computed once. Runs them in micro-batches under a token budget, or deals them to the ranks to be
 * scored.
 */
#pragma once

#include "trainer/comm/comm.h"
#include "trainer/model/unit_pass.h"

enum { TREE_ROW_BRANCHES = 2 };

struct tree_row {
    const int32_t *prompt; /* borrowed, like the branches' ids */
    int64_t prompt_count;
    struct pack_branch branches[TREE_ROW_BRANCHES];
    int64_t branch_count;
    uint32_t key; /* of its dropout: the number of the row in its step */
};

/* What runs them; the pass keeps its arenas between calls. */
struct tree_runner {
    struct unit_pass pass;
    const struct comm *comm;
    int64_t micro_batch_tokens; /* of one forward; a longer row goes alone */
    struct dropout_config dropout;
    uint32_t step; /* of the dropout's draws */
};

/* Tokens of a row, its prompt once: what it costs. */
int64_t tree_row_tokens(const struct tree_row *r);

/* Outputs of branch `k`: its tokens, or those its mask wants; never the first of a row without a
 * prompt. */
int64_t tree_row_outputs(const struct tree_row *r, int64_t k);

/* Sees row `i` of the call: its outputs begin at `at`, branch after branch. */
typedef void (*tree_row_fn)(void *ctx, int64_t i, int64_t at, const struct unit_outputs *out);

/* Runs rows in order, with the backward when pass.grad. Fails with MEMORY. */
MUST_USE enum status tree_rows_run(struct tree_runner *t, const struct tree_row *rows,
                                   int64_t count, tree_row_fn each, void *ctx);

/* Sees row `i` and fills its record, which comes zeroed. */
typedef void (*tree_score_fn)(void *ctx, int64_t i, int64_t at, const struct unit_outputs *out,
                              void *record);

/* Scores rows without a backward, row i on rank i % size; every rank ends with all records
 * [count] of `size` bytes. reference: under the reference alone. Collective. Fails with MEMORY. */
MUST_USE enum status tree_rows_score(struct tree_runner *t, const struct tree_row *rows,
                                     int64_t count, bool reference, tree_score_fn fill, void *ctx,
                                     void *records, size_t size);
