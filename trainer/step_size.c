/* Largest micro-batch of a run; see step_size.h. */
#include "trainer/step_size.h"

#include "trainer/comm/shards.h"

enum { MOST_WORK = 4 << 20 }; /* rows shuffled and pairs compared before the bound is taken */

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* One step: rows to shards, each shard's rows in order under the budget. */
static enum status walk_step(const struct step_rows *r, int64_t step, int64_t budget,
                             struct step_size *out)
{
    int64_t *rows;
    int64_t count;
    TRY(sft_plan_rows(r->plan, step, &rows, &count));
    int64_t *cost = malloc((size_t)count * sizeof *cost + 1);
    int *shard_of = malloc((size_t)count * sizeof *shard_of + 1);
    const bool good = cost && shard_of;
    for (int64_t i = 0; good && i < count; i++) {
        cost[i] = r->tokens[rows[i]];
    }
    if (good) {
        shards_assign(cost, count, r->shards, shard_of);
    }
    const int64_t *packed = r->packed ? r->packed : r->tokens;
    for (int s = 0; good && s < r->shards; s++) {
        int64_t tokens = 0;
        int64_t held = 0;
        int64_t outputs = 0;
        for (int64_t i = 0; i < count; i++) {
            if (shard_of[i] != s) {
                continue;
            }
            const bool fits = tokens + cost[i] <= budget;
            tokens = fits ? tokens + cost[i] : cost[i];
            held = fits ? held + packed[rows[i]] : packed[rows[i]];
            outputs = fits ? outputs + r->outputs[rows[i]] : r->outputs[rows[i]];
            out->tokens = outputs > 0 ? larger(out->tokens, held) : out->tokens;
            out->outputs = larger(out->outputs, outputs);
        }
    }
    free(cost);
    free(shard_of);
    free(rows);
    return good ? STATUS_OK : FAIL(MEMORY, "plan: no memory for %lld rows", (long long)count);
}

enum status step_size_find(const struct step_rows *r, int64_t budget, struct step_size *out)
{
    const int64_t per_step = r->plan->per_device * r->plan->world * r->plan->accumulation;
    const int64_t work = r->plan->rows + larger(per_step, 1) * larger(per_step, 1);
    const int64_t most = larger(MOST_WORK / work, 1);
    const int64_t steps = r->steps < most ? r->steps : most;
    int64_t outputs = 0;
    *out = (struct step_size){0};
    for (int64_t i = 0; i < r->plan->rows; i++) {
        out->longest = larger(out->longest, r->tokens[i]);
        outputs = larger(outputs, r->outputs[i]);
    }
    if (sft_plan_steps_per_epoch(r->plan) == 0) {
        return STATUS_OK; /* refused where the method opens, with its words */
    }
    for (int64_t step = 0; step < steps; step++) {
        TRY(walk_step(r, step, budget, out));
    }
    if (steps < r->steps) { /* not all were seen: no batch can exceed these */
        out->tokens = larger(out->longest, budget);
        out->outputs = larger(outputs, budget);
    }
    return STATUS_OK;
}
