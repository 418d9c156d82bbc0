/*
 * Every op x tier x odd shape against the reference tier. `test_ops --bench [op]` prints one JSON
 * line per op and tier at a training shape instead.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "tests/support/kernels_case.h"

struct pick {
    const struct op_case *op;
    enum cpu_tier tier;
};

static void compare_shapes(const struct op_case *op, struct ops_context *c, struct ops_context *ref)
{
    for (const struct shape *s = op->shapes; s->rows; s++) {
        struct run got;
        struct run want;
        run_case(&got, c, op, s);
        run_case(&want, ref, op, s);
        for (int i = 0; i < want.outputs; i++) {
            const double error = case_error(got.out[i], want.out[i], want.count[i]) * 16777216.0;
            if (!(error <= op->tolerance(s))) {
                fail_msg("%s on %s, shape %d, output %d: error %.1f x 2^-24, allowed %.1f",
                         op->name, c->ops->name, (int)(s - op->shapes), i, error,
                         op->tolerance(s));
            }
        }
        kernel_run_close(&got);
        kernel_run_close(&want);
    }
}

static void agrees_with_ref(void **state)
{
    const struct pick *pick = *state;
    for (int slices = 1; slices <= 4; slices *= 4) {
        const struct ops_options options = {.threads = 2, .k_slices = slices};
        struct ops_context c;
        struct ops_context ref;
        case_open_or_skip(&c, pick->tier, &options);
        assert_int_equal(ops_context_open_tier(&ref, &options, TIER_REF), STATUS_OK);
        assert_string_equal(c.ops->name, cpu_tier_name(pick->tier));
        compare_shapes(pick->op, &c, &ref);
        ops_context_close(&c);
        ops_context_close(&ref);
    }
}

static void refuses_what_it_cannot_do(void **state)
{
    (void)state;
    struct ops_context c;
    const struct ops_options odd = {.threads = 1, .k_slices = 3};
    assert_int_equal(ops_context_open(&c, &odd), STATUS_USAGE);
    const struct ops_options many = {.threads = 1 << 20};
    assert_int_equal(ops_context_open(&c, &many), STATUS_USAGE);
    const struct ops_options plain = {.threads = 1};
    assert_int_equal(ops_context_open_tier(&c, &plain, TIER_AMX), STATUS_DEVICE);
    ops_context_close(&c); /* safe after a failure */
}

static void environment_forces_a_tier(void **state)
{
    (void)state;
    const char *before = getenv("GRAFT_ISA");
    char kept[32]; /* setenv may move what getenv returned */
    (void)snprintf(kept, sizeof kept, "%s", before ? before : "");
    const struct ops_options plain = {.threads = 1};
    struct ops_context c;
    assert_int_equal(setenv("GRAFT_ISA", "ref", 1), 0);
    assert_int_equal(ops_context_open(&c, &plain), STATUS_OK);
    assert_string_equal(c.ops->name, "ref");
    ops_context_close(&c);
    assert_int_equal(setenv("GRAFT_ISA", "sse9", 1), 0);
    assert_int_equal(ops_context_open(&c, &plain), STATUS_USAGE);
    assert_int_equal(*kept ? setenv("GRAFT_ISA", kept, 1) : unsetenv("GRAFT_ISA"), 0);
}

/* Training shapes of a 576-wide model, T = 2048. */
static const struct {
    const char *name;
    struct shape shape;
} BENCH[] = {
    {"gemm", {.rows = 512, .n = 1536, .k = 576}},
    {"gemm_dx", {.rows = 512, .n = 1536, .k = 576}},
    {"gemm_dw", {.rows = 512, .n = 1536, .k = 576}},
    {"attention", {.rows = 2048, .heads = 9, .kv_heads = 3, .head_dim = 64}},
    {"attention_backward", {.rows = 2048, .heads = 9, .kv_heads = 3, .head_dim = 64}},
    {"attention", {.rows = 2048, .heads = 9, .kv_heads = 3, .head_dim = 64, .flags = SHAPE_DECODE}},
    {"rmsnorm", {.rows = 2048, .n = 576}},
    {"rmsnorm_backward", {.rows = 2048, .n = 576}},
    {"rope", {.rows = 2048, .n = 64, .heads = 9, .head_dim = 64}},
    {"glu", {.rows = 2048 * 1536}},
    {"glu_backward", {.rows = 2048 * 1536}},
    {"logit_stats", {.rows = 256, .n = 4096}},
    {"logit_grad", {.rows = 256, .n = 4096, .flags = SHAPE_ENTROPY}},
    {"adamw", {.rows = 4 << 20}},
    {"sgd", {.rows = 4 << 20}},
    {"lion", {.rows = 4 << 20}},
    {"square_sum", {.rows = 4 << 20}},
};

static double now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void bench(enum cpu_tier tier, const char *only)
{
    struct ops_context c;
    const struct ops_options options = {0};
    if (ops_context_open_tier(&c, &options, tier) != STATUS_OK) {
        return;
    }
    for (size_t i = 0; i < sizeof BENCH / sizeof BENCH[0]; i++) {
        if (only && strcmp(only, BENCH[i].name) != 0) {
            continue;
        }
        const struct op_case *op = case_named(BENCH[i].name);
        struct run r;
        run_case(&r, &c, op, &BENCH[i].shape);
        double best = 1e9;
        for (int round = 0; round < 5; round++) {
            const double start = now();
            op->call(&r);
            const double took = now() - start;
            best = took < best ? took : best;
        }
        const double work = op->flops ? op->flops(&BENCH[i].shape) : 0.0;
        print_message("{\"op\": \"%s\", \"tier\": \"%s\", \"ms\": %.3f, \"giga_per_s\": %.2f}\n",
                      op->name, c.ops->name, best * 1e3, work / best * 1e-9);
        kernel_run_close(&r);
    }
    ops_context_close(&c);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--bench") == 0) {
        bench(TIER_AVX2, argc > 2 ? argv[2] : NULL);
        bench(TIER_AVX512, argc > 2 ? argv[2] : NULL);
        return 0;
    }
    enum { TIERS = 2, MAX_TESTS = 128 };
    struct pick picks[MAX_TESTS];
    char names[MAX_TESTS][64];
    struct CMUnitTest tests[MAX_TESTS + 2];
    size_t n = 0;
    for (int i = 0; i < CASE_COUNT * TIERS && n < MAX_TESTS; i++, n++) {
        picks[n] = (struct pick){&CASES[i / TIERS], TIER_AVX2 + (enum cpu_tier)(i % TIERS)};
        (void)snprintf(names[n], sizeof names[n], "%s on %s", picks[n].op->name,
                       cpu_tier_name(picks[n].tier));
        tests[n] = (struct CMUnitTest){names[n], agrees_with_ref, NULL, NULL, &picks[n]};
    }
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(refuses_what_it_cannot_do);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(environment_forces_a_tier);
    return _cmocka_run_group_tests("ops", tests, n, NULL, NULL);
}
