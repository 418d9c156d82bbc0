/*
 * Limits of a step's products: costs of a model's rows against its shapes, and what a unit pass
 * counts as work.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/support/tiny_model.h"
#include "trainer/model/unit_pass.h"

static void close_to(double a, double b)
{
    assert_true(fabs(a - b) <= 1e-12 * fabs(b));
}

static void costs_are_those_of_the_shapes(void **state)
{
    (void)state;
    struct tiny t = {0};
    struct work_costs c;
    tiny_open(&t, &TINY_CONFIGS[0]);
    const struct model_config *m = &t.m->config;
    const double hidden = (double)m->hidden;
    const double q = (double)(m->heads * m->head_dim);
    const double kv = (double)(m->kv_heads * m->head_dim);
    const double layer = hidden * (2.0 * q + 2.0 * kv) + 3.0 * hidden * (double)m->ff;
    tiny_need(work_costs_of(t.m, 10.0, false, &c));
    close_to(c.layers, layer * (double)m->layers);
    close_to(c.head, hidden * (double)m->vocab);
    assert_true(c.bytes > 0);
    close_to(work_forward_flops(&c, 3, 2), 2.0 * (3.0 * (c.layers + 10.0) + 2.0 * c.head));
    close_to(work_train_flops(&c, 3, 2),
             2.0 * (3.0 * (2.0 * c.layers + 30.0) + 2.0 * 2.0 * c.head));
    c.full = true; /* and d weight of every product */
    close_to(work_train_flops(&c, 3, 2),
             2.0 * (3.0 * (3.0 * c.layers + 30.0) + 2.0 * 3.0 * c.head));
    tiny_close(&t);
}

/* A pass over few rows is limited by reading, over many by products. */
static void passes_are_limited_by_the_slower(void **state)
{
    const struct work_costs c = {.layers = 1e6, .head = 0, .bytes = 2e6};
    const struct work_peaks p = {.gflops = 100, .read_gb_per_second = 10};
    struct work one = {.passes = 4, .decoded_rows = 4};
    struct work sum = {.scored_rows = 1000, .trained_rows = 500};
    (void)state;
    close_to(work_seconds(&c, &p, &one), 4 * 2e6 / 10e9);
    one.decoded_rows = 4000;
    close_to(work_seconds(&c, &p, &one), 2 * 4000 * 1e6 / 100e9);
    close_to(work_seconds(&c, &p, &sum), (2 * 1000 * 1e6 + 4 * 500 * 1e6) / 100e9);
    work_move(&sum, &one);
    assert_true(one.passes == 0 && one.decoded_rows == 0 && sum.decoded_rows == 4000);
    close_to(work_seconds(&c, &p, &sum), (2 * 5000 * 1e6 + 4 * 500 * 1e6) / 100e9);
}

static void nothing(void *ctx, const struct unit_outputs *out)
{
    (void)ctx;
    for (int64_t i = 0; out->dlogp && i < out->batch->n_out; i++) {
        out->dlogp[i] = 0.0f;
    }
}

static void unit_passes_count_rows_once(void **state)
{
    enum { PROMPT = 40, LENGTH = 11 };
    (void)state;
    struct tiny t = {0};
    struct ops_context ops;
    const struct ops_options options = {.threads = 1, .compute = COMPUTE_F32};
    int32_t ids[PROMPT + 2 * LENGTH];
    tiny_need(ops_context_open(&ops, &options));
    tiny_open(&t, &TINY_CONFIGS[0]);
    tiny_attach_lora(&t, 0);
    tiny_ids(&t, ids, PROMPT + 2 * LENGTH);
    const struct pack_branch branches[2] = {{.ids = ids + PROMPT, .count = LENGTH},
                                            {.ids = ids + PROMPT + LENGTH, .count = LENGTH}};
    const struct pack_unit unit = {.prompt = ids, .prompt_count = PROMPT, .branches = branches,
                                   .branch_count = 2};
    struct unit_pass pass = {.model = t.m, .ops = &ops, .temperature = 1.0f, .hooks = true,
                             .grad = true};
    tiny_need(unit_pass_run(&pass, &unit, 1, nothing, NULL));
    const double rows = (double)pack_unit_rows(&unit);
    assert_true(rows < PROMPT + 2 * LENGTH && rows > PROMPT + LENGTH); /* the prompt once */
    assert_true(pass.work.trained_rows == rows && pass.work.scored_rows == 0);
    assert_true(pass.work.trained_outputs == 2 * LENGTH);
    pass.grad = false;
    tiny_need(unit_pass_run(&pass, &unit, 1, nothing, NULL));
    tiny_need(unit_pass_reference(&pass, &unit, 1, nothing, NULL));
    assert_true(pass.work.trained_rows == rows && pass.work.scored_rows == 2 * rows);
    unit_pass_close(&pass);
    tiny_close(&t);
    ops_context_close(&ops);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(costs_are_those_of_the_shapes),
        cmocka_unit_test(passes_are_limited_by_the_slower),
        cmocka_unit_test(unit_passes_count_rows_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
