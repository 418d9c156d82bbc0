/*
 * Dropout and embedding noise of a training pass: keyed, so that batching and recomputation change
 * no bit; right in the mean; gone without a key; and with the gradient of what the forward
 * computed.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/tiny_model.h"

enum { UNITS = 3, LENGTH = 11, OUTPUTS = LENGTH - 1 };

static const uint32_t KEYS[UNITS] = {0, 1, 2};
static const float BOUNDS[UNITS] = {0.2f, 0.3f, 0.4f};

struct world {
    struct tiny tiny;
    struct ops_context ops;
    int32_t ids[UNITS][LENGTH];
    struct pack_branch branches[UNITS];
    struct pack_unit units[UNITS];
};

static void world_open(struct world *w, float dropout)
{
    tiny_need(ops_context_open(&w->ops, &(struct ops_options){.threads = 2,
                                                              .compute = COMPUTE_F32}));
    memset(&w->tiny, 0, sizeof w->tiny);
    tiny_open(&w->tiny, &TINY_CONFIGS[0]);
    tiny_attach_lora(&w->tiny, 0);
    for (int i = 0; i < w->tiny.hook_count; i++) {
        w->tiny.hooks[i].dropout = dropout;
    }
    for (int u = 0; u < UNITS; u++) {
        tiny_ids(&w->tiny, w->ids[u], LENGTH);
        w->branches[u] = (struct pack_branch){.ids = w->ids[u], .count = LENGTH};
        w->units[u] = (struct pack_unit){.branches = &w->branches[u], .branch_count = 1};
    }
}

static void world_close(struct world *w)
{
    tiny_close(&w->tiny);
    ops_context_close(&w->ops);
}

/* Log-probs of units [first, first + count) and, where `grad` is wanted, the parameters' gradient
 * of their sum. */
static void run(struct world *w, int first, int count, int flags, const struct pass_noise *noise,
                float *logp, float *grad)
{
    struct tiny_run r;
    struct pass_noise own = noise ? *noise : (struct pass_noise){0};
    own.unit_key = KEYS + first;
    own.embedding = own.embedding ? BOUNDS + first : NULL;
    tiny_run_open(&r, &w->tiny, &w->ops, w->units + first, count, flags | TINY_GRAD);
    size_t step;
    size_t scratch;
    r.pass.noise = noise ? &own : NULL; /* its memory is planned with it */
    arena_close(&r.step);
    arena_close(&r.scratch);
    tiny_need(model_plan(w->tiny.m, &r.pass, r.batch.tokens, r.batch.n_out, &step, &scratch));
    tiny_need(arena_open(&r.step, "step", step));
    tiny_need(arena_open(&r.scratch, "scratch", scratch));
    r.step.size = step;
    for (int64_t i = 0; i < r.batch.n_out; i++) {
        r.dlogp[i] = 1.0f;
        r.dentropy[i] = 0.0f;
    }
    tiny_run_forward(&r, &w->tiny);
    memcpy(logp, r.head.logp, (size_t)r.batch.n_out * sizeof *logp);
    if (grad) {
        memset(w->tiny.params.grad, 0, (size_t)w->tiny.params.total * sizeof(float));
        tiny_run_backward(&r, &w->tiny, NULL);
        memcpy(grad, w->tiny.params.grad, (size_t)w->tiny.params.total * sizeof *grad);
    }
    tiny_run_close(&r);
}

static const struct pass_noise NOISE = {.seed = 7, .step = 3, .embedding = BOUNDS};

static void batching_and_recomputing_change_no_bit(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 0.3f);
    float whole[UNITS * OUTPUTS];
    float again[UNITS * OUTPUTS];
    float *a = malloc((size_t)w.tiny.params.total * sizeof *a);
    float *b = malloc((size_t)w.tiny.params.total * sizeof *b);
    assert_true(a && b);
    run(&w, 0, UNITS, 0, &NOISE, whole, a);
    run(&w, 0, UNITS, TINY_CHECKPOINT, &NOISE, again, b);
    tiny_same_bits("recomputed log-probs", whole, again, UNITS * OUTPUTS);
    tiny_same_bits("recomputed gradient", a, b, w.tiny.params.total);
    run(&w, 0, 1, 0, &NOISE, again, NULL);
    run(&w, 1, 2, 0, &NOISE, again + OUTPUTS, NULL);
    tiny_same_bits("log-probs in two batches", whole, again, UNITS * OUTPUTS);
    free(a);
    free(b);
    world_close(&w);
}

static bool same(const float *a, const float *b)
{
    return memcmp(a, b, UNITS * OUTPUTS * sizeof *a) == 0;
}

static void noise_depends_on_seed_and_step(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 0.3f);
    float first[UNITS * OUTPUTS];
    float other[UNITS * OUTPUTS];
    const struct pass_noise dropout_alone = {.seed = 7, .step = 3};
    const struct pass_noise step = {.seed = 7, .step = 4, .embedding = BOUNDS};
    const struct pass_noise seed = {.seed = 8, .step = 3, .embedding = BOUNDS};
    run(&w, 0, UNITS, 0, &NOISE, first, NULL);
    run(&w, 0, UNITS, 0, &step, other, NULL);
    assert_false(same(first, other));
    run(&w, 0, UNITS, 0, &seed, other, NULL);
    assert_false(same(first, other));
    run(&w, 0, UNITS, 0, &dropout_alone, other, NULL);
    assert_false(same(first, other));
    run(&w, 0, UNITS, 0, NULL, other, NULL); /* sampling and evaluation have no noise */
    world_close(&w);
    world_open(&w, 0.0f);
    run(&w, 0, UNITS, 0, NULL, first, NULL);
    assert_true(same(first, other));
    run(&w, 0, UNITS, 0, &dropout_alone, first, NULL); /* nothing drops at rate 0 */
    assert_true(same(first, other));
    world_close(&w);
}

/* Directional derivative along the gradient against central differences: the masks of both passes
 * are the same. */
static void gradient_is_that_of_the_noisy_forward(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 0.4f);
    const int64_t n = w.tiny.params.total;
    float *g = malloc((size_t)n * sizeof *g);
    float *kept = malloc((size_t)n * sizeof *kept);
    float logp[UNITS * OUTPUTS];
    assert_true(g && kept);
    run(&w, 0, UNITS, 0, &NOISE, logp, g);
    memcpy(kept, w.tiny.params.value, (size_t)n * sizeof *kept);
    double norm = 0.0;
    for (int64_t i = 0; i < n; i++) {
        norm += (double)g[i] * (double)g[i];
    }
    norm = sqrt(norm);
    const double h = 2e-3;
    double sums[2] = {0};
    for (int side = 0; side < 2; side++) {
        for (int64_t i = 0; i < n; i++) {
            w.tiny.params.value[i] = kept[i] + (float)((side ? -h : h) * (double)g[i] / norm);
        }
        run(&w, 0, UNITS, 0, &NOISE, logp, NULL);
        for (int i = 0; i < UNITS * OUTPUTS; i++) {
            sums[side] += (double)logp[i];
        }
    }
    const double slope = (sums[0] - sums[1]) / (2 * h);
    if (fabs(slope - norm) > 5e-3 * norm) {
        fail_msg("slope %g, gradient norm %g", slope, norm);
    }
    free(g);
    free(kept);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batching_and_recomputing_change_no_bit),
        cmocka_unit_test(noise_depends_on_seed_and_step),
        cmocka_unit_test(gradient_is_that_of_the_noisy_forward),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
