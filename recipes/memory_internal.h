/* What the plans of the methods share; private to recipes/memory*.c and recipes/population_plan.c.
 */
#pragma once

#include "recipes/memory.h"

/* A request with what every method of the run has; trains: of its trained parameters, too. */
struct memory_request memory_request_of(struct run *r, bool trains);

/* A row of a dataset: tokens as the budget counts them, without what its branches share, log-probs.
 */
struct memory_row {
    int64_t tokens;
    int64_t packed;
    int64_t outputs;
};
typedef struct memory_row (*memory_row_fn)(const void *rows, int64_t i);

/* Plans steps over the rows of `plan`, whose sizes `size` tells. Collective. Fails with MEMORY. */
MUST_USE enum status memory_plan_rows(struct run *r, struct memory_request *q,
                                      const struct sft_plan *plan, memory_row_fn size,
                                      const void *rows, struct memory_plan *out);

/* Plans rounds and steps of groups with what the request has besides them. Collective. Fails with
 * MEMORY. */
MUST_USE enum status memory_plan_groups(struct run *r, struct memory_request *q,
                                        const struct grpo_plan *plan, struct memory_plan *out);

/* Bytes that a checkpoint of the set takes while it is written. */
size_t memory_image(const struct param_set *params, const struct param_layout *layout);

/* Nodes of the tree of shard sums that are alive at once on a rank, each as large as the values. */
int memory_sum_buffers(const struct memory_request *q);
