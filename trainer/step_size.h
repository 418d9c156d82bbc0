/*
 * Size of a run's micro-batches before it starts: the same order of rows, shards and token budget
 * as the loop's, without a model. It is what memory is planned for.
 */
#pragma once

#include "trainer/sft.h"

/* What each row of a dataset takes, and how a step deals rows out. */
struct step_rows {
    const struct sft_plan *plan;
    const int64_t *tokens;  /* [plan->rows] token rows of the model */
    const int64_t *packed;  /* [plan->rows] the same without what a row's branches share, which is
                               packed once; NULL: tokens */
    const int64_t *outputs; /* [plan->rows] log-probs; a row without any is left out */
    int shards;
    int64_t steps; /* of the run */
};

struct step_size {
    int64_t tokens;  /* of the largest micro-batch */
    int64_t outputs; /* most log-probs of one */
    int64_t longest; /* tokens of the longest row */
};

/* Micro-batches of at most `budget` tokens (a longer row is one by itself). The steps are gone
 * through one by one; of very long runs the rest is bounded by the budget. Fails with MEMORY. */
MUST_USE enum status step_size_find(const struct step_rows *r, int64_t budget,
                                    struct step_size *out);
