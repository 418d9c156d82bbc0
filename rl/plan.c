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

/* Generators that stand behind the last round asked for: a round costs its own draws, whatever came
 * before; one that lies behind starts anew. */
struct grpo_orders {
    const struct grpo_plan *plan;
    struct rng_mt19937 sampler; /* of prompts: epoch k takes the k-th permutation */
    int64_t epoch;              /* whose permutation `prompts` is, -1: none */
    int64_t *prompts;           /* [plan->rows] */
    struct rng_mt19937 *rank;   /* [world] global generators of the virtual ranks */
    int64_t round;              /* whose permutations the ranks took last, -1: none */
    int64_t evaluations;        /* before that round */
    int64_t *rows;              /* [per_device * slices] */
};

enum status grpo_orders_open(struct grpo_orders **out, const struct grpo_plan *p)
{
    struct grpo_orders *o = calloc(1, sizeof *o);
    *out = o;
    if (o) {
        *o = (struct grpo_orders){.plan = p, .epoch = -1, .round = -1};
        o->prompts = malloc((size_t)p->rows * sizeof *o->prompts + 1);
        o->rank = malloc((size_t)p->world * sizeof *o->rank + 1);
        o->rows = malloc((size_t)(p->per_device * p->slices) * sizeof *o->rows + 1);
    }
    return o && o->prompts && o->rank && o->rows
               ? STATUS_OK
               : FAIL(MEMORY, "prompt order: no memory for %lld rows", (long long)p->rows);
}

void grpo_orders_close(struct grpo_orders *o)
{
    if (o) {
        free(o->prompts);
        free(o->rank);
        free(o->rows);
        free(o);
    }
}

void grpo_orders_prompts(struct grpo_orders *o, int64_t round, int64_t *indices)
{
    const struct grpo_plan *p = o->plan;
    const int64_t chunk = grpo_plan_round_rows(p) / p->group_size;
    const int64_t per_epoch = grpo_plan_rounds_per_epoch(p);
    const int64_t epoch = round / per_epoch;
    const int64_t at = round % per_epoch * chunk;
    if (o->epoch < 0 || epoch < o->epoch) {
        rng_mt_seed(&o->sampler, (uint32_t)p->seed);
        o->epoch = -1;
    }
    for (; p->shuffle && o->epoch < epoch; o->epoch++) {
        rng_mt_randperm(&o->sampler, o->prompts, p->rows);
    }
    for (int64_t i = 0; i < chunk; i++) {
        indices[i] = p->shuffle ? o->prompts[at + i] : at + i;
    }
}

/* The global generators up to round o->round + 1, the last permutation of each in `slice`: at the
 * start of each epoch and of each evaluation a loader takes two words, every round takes one
 * permutation (golden README-training.md). */
static void next_permutations(struct grpo_orders *o, int64_t *slice)
{
    const struct grpo_plan *p = o->plan;
    const int64_t rows = p->per_device * p->slices;
    const int64_t before = evaluations_before(p, ++o->round);
    const bool starts = o->round % grpo_plan_rounds_per_epoch(p) == 0;
    for (int64_t rank = 0; rank < p->world; rank++) {
        struct rng_mt19937 *g = &o->rank[rank];
        skip_words(g, 2 * (before - o->evaluations) + (starts ? 2 : 0));
        rng_mt_randperm(g, o->rows, rows);
        for (int64_t i = 0; i < rows; i++) {
            slice[rank * rows + o->rows[i]] = i / p->per_device;
        }
    }
    o->evaluations = before;
}

void grpo_orders_slices(struct grpo_orders *o, int64_t round, int64_t *slice)
{
    if (o->round < 0 || round <= o->round) {
        for (int64_t rank = 0; rank < o->plan->world; rank++) {
            rng_mt_seed(&o->rank[rank], (uint32_t)(o->plan->seed + (uint64_t)rank));
        }
        o->round = -1;
        o->evaluations = 0;
    }
    while (o->round < round) {
        next_permutations(o, slice);
    }
}

enum status grpo_plan_prompts(const struct grpo_plan *p, int64_t round, int64_t *indices)
{
    struct grpo_orders *o;
    const enum status status = grpo_orders_open(&o, p);
    if (status == STATUS_OK) {
        grpo_orders_prompts(o, round, indices);
    }
    grpo_orders_close(o);
    return status;
}

enum status grpo_plan_slices(const struct grpo_plan *p, int64_t round, int64_t *slice)
{
    struct grpo_orders *o;
    const enum status status = grpo_orders_open(&o, p);
    if (status == STATUS_OK) {
        grpo_orders_slices(o, round, slice);
    }
    grpo_orders_close(o);
    return status;
}
