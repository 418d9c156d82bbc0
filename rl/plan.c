/* Batch arithmetic of GRPO; see plan.h. */
#include "rl/plan.h"

#include "kernels/base/rng.h"

int64_t grpo_plan_round_rows(const struct grpo_plan *p)
{
    return p->per_device * p->world * p->slices;
}

enum status grpo_plan_check(const struct grpo_plan *p)
{
    const int64_t round = grpo_plan_round_rows(p);
    if (p->group_size < 2) {
        return FAIL(RECIPE, "num_generations: %lld; a group needs at least 2",
                    (long long)p->group_size);
    }
    if (round < 1 || round % p->group_size != 0) {
        int64_t below = p->group_size;
        while (below > 1 && round % below != 0) {
            below--;
        }
        return FAIL(RECIPE,
                    "a round has per_device_train_batch_size %lld x world_size %lld x "
                    "steps_per_generation %lld = %lld completions, not a multiple of num_generations "
                    "%lld; num_generations %lld or per_device_train_batch_size %lld would work",
                    (long long)p->per_device, (long long)p->world, (long long)p->slices,
                    (long long)round, (long long)p->group_size, (long long)below,
                    (long long)((p->per_device + p->group_size - 1) / p->group_size
                                * p->group_size));
    }
    if (round / p->group_size > p->rows) {
        return FAIL(RECIPE,
                    "a round takes %lld prompts but the dataset has %lld; lower "
                    "per_device_train_batch_size or gradient_accumulation_steps, or raise "
                    "num_generations",
                    (long long)(round / p->group_size), (long long)p->rows);
    }
    return STATUS_OK;
}

int64_t grpo_plan_rounds_per_epoch(const struct grpo_plan *p)
{
    return p->rows / (grpo_plan_round_rows(p) / p->group_size);
}

static int64_t micro_per_epoch(const struct grpo_plan *p)
{
    return grpo_plan_rounds_per_epoch(p) * p->slices * p->iterations;
}

int64_t grpo_plan_steps_per_epoch(const struct grpo_plan *p)
{
    return (micro_per_epoch(p) + p->accumulation - 1) / p->accumulation;
}

void grpo_plan_window(const struct grpo_plan *p, int64_t step, int64_t *first, int64_t *count)
{
    const int64_t per_epoch = grpo_plan_steps_per_epoch(p);
    const int64_t begin = step % per_epoch * p->accumulation;
    const int64_t left = micro_per_epoch(p) - begin;
    *first = step / per_epoch * micro_per_epoch(p) + begin;
    *count = left < p->accumulation ? left : p->accumulation;
}

int64_t grpo_plan_round_of(const struct grpo_plan *p, int64_t micro)
{
    return micro / (p->slices * p->iterations);
}

int64_t grpo_plan_slice_of(const struct grpo_plan *p, int64_t micro)
{
    return micro % p->slices;
}

enum status grpo_plan_prompts(const struct grpo_plan *p, int64_t round, int64_t *indices)
{
    const int64_t chunk = grpo_plan_round_rows(p) / p->group_size;
    const int64_t per_epoch = grpo_plan_rounds_per_epoch(p);
    const int64_t epoch = round / per_epoch;
    const int64_t at = round % per_epoch * chunk;
    int64_t *order = malloc((size_t)p->rows * sizeof *order);
    if (!order) {
        return FAIL(MEMORY, "prompt order: no memory for %lld rows", (long long)p->rows);
    }
    /* The sampler owns one generator; epoch k takes its k-th permutation. */
    struct rng_mt19937 g;
    rng_mt_seed(&g, (uint32_t)p->seed);
    for (int64_t e = 0; p->shuffle && e <= epoch; e++) {
        rng_mt_randperm(&g, order, p->rows);
    }
    for (int64_t i = 0; i < chunk; i++) {
        indices[i] = p->shuffle ? order[at + i] : at + i;
    }
    free(order);
    return STATUS_OK;
}

/* Evaluations that came before round `round`: those after the optimizer steps before its own. */
static int64_t evaluations_before(const struct grpo_plan *p, int64_t round)
{
    const int64_t per_epoch = grpo_plan_rounds_per_epoch(p);
    const int64_t micro = round % per_epoch * p->slices * p->iterations;
    const int64_t step = round / per_epoch * grpo_plan_steps_per_epoch(p) + micro / p->accumulation;
    const int64_t left_out = p->eval_steps > 0 && p->eval_delay > 0
                                 ? (p->eval_delay - 1) / p->eval_steps
                                 : 0;
    const int64_t all = p->eval_steps > 0 ? step / p->eval_steps : 0;
    return (all > left_out ? all - left_out : 0) + p->eval_on_start;
}

static void skip_words(struct rng_mt19937 *g, int64_t words)
{
    for (int64_t i = 0; i < words; i++) {
        (void)rng_mt_next(g);
    }
}

/* The global generator of virtual rank `rank` up to round `round`: at the start of each epoch and of
 * each evaluation a loader takes two words, every round takes one permutation (golden
 * README-training.md). */
static void row_permutation(const struct grpo_plan *p, int64_t rank, int64_t round, int64_t *order)
{
    const int64_t rows = p->per_device * p->slices;
    struct rng_mt19937 g;
    int64_t evaluations = 0;
    rng_mt_seed(&g, (uint32_t)(p->seed + (uint64_t)rank));
    for (int64_t r = 0; r <= round; r++) {
        const int64_t before = evaluations_before(p, r);
        skip_words(&g, 2 * (before - evaluations));
        evaluations = before;
        if (r % grpo_plan_rounds_per_epoch(p) == 0) {
            skip_words(&g, 2);
        }
        rng_mt_randperm(&g, order, rows);
    }
}

enum status grpo_plan_slices(const struct grpo_plan *p, int64_t round, int64_t *slice)
{
    const int64_t rows = p->per_device * p->slices;
    int64_t *order = malloc((size_t)rows * sizeof *order);
    if (!order) {
        return FAIL(MEMORY, "row order: no memory for %lld rows", (long long)rows);
    }
    for (int64_t rank = 0; rank < p->world; rank++) {
        row_permutation(p, rank, round, order);
        for (int64_t i = 0; i < rows; i++) {
            slice[rank * rows + order[i]] = i / p->per_device;
        }
    }
    free(order);
    return STATUS_OK;
}
