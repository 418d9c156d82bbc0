/*
 * Accuracy of the vector exp, tanh and sigmoid, seen through the ops that apply them to one number:
 * relative error against libm in double, in units of 2^-24.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/kernels_case.h"

enum { POINTS = 60000 };

struct function {
    const char *name;
    float low;
    float high;
    double limit; /* units of 2^-24, half an ulp at best */
    double (*exact)(double x);
    /* y[i] = f(x[i]) by an op */
    void (*apply)(struct ops_context *c, const float *x, float *y);
};

/* logit_grad with dlogp = -1, no target and lse = 0 leaves p = e^z. */
static void apply_exp(struct ops_context *c, const float *x, float *y)
{
    const float minus = -1.0f;
    const float zero = 0.0f;
    memcpy(y, x, POINTS * sizeof *y);
    c->ops->logit_grad(c, &(struct logit_grad_args){.logits = y, .ld = POINTS, .rows = 1,
                                                    .n = POINTS, .inv_temperature = 1.0f,
                                                    .lse = &zero, .dlogp = &minus});
}

static float gate_values[POINTS];

static double exact_silu(double x)
{
    return x / (1.0 + exp(-x));
}

static void apply_silu(struct ops_context *c, const float *x, float *y)
{
    for (int i = 0; i < POINTS; i++) {
        gate_values[i] = 1.0f;
    }
    c->ops->glu(c, &(struct glu_args){.g = x, .u = gate_values, .h = y, .count = POINTS,
                                      .act = ACT_SILU});
}

/* The maximum of a row of one logit is softcap(logit) = 4 tanh(x / 4). */
static double exact_softcap(double x)
{
    return 4.0 * tanh(x / 4.0);
}

static void apply_softcap(struct ops_context *c, const float *x, float *y)
{
    static struct logit_stats stats[POINTS];
    for (int i = 0; i < POINTS; i++) {
        stats[i] = (struct logit_stats)LOGIT_STATS_INIT;
    }
    memcpy(y, x, POINTS * sizeof *y);
    c->ops->logit_stats(c, &(struct logit_args){.logits = y, .ld = 1, .rows = POINTS, .n = 1,
                                                .inv_temperature = 1.0f, .softcap = 4.0f,
                                                .stats = stats});
    for (int i = 0; i < POINTS; i++) {
        y[i] = stats[i].max;
    }
}

static const struct function FUNCTIONS[] = {
    {"exp", -87.0f, 88.0f, 2.5, exp, apply_exp},
    {"exp near 0", -0.5f, 0.5f, 2.5, exp, apply_exp},
    {"silu", -80.0f, 80.0f, 6.0, exact_silu, apply_silu},
    {"softcap", -30.0f, 30.0f, 6.0, exact_softcap, apply_softcap},
    {"softcap near 0", -0.1f, 0.1f, 6.0, exact_softcap, apply_softcap},
};

static void functions_are_accurate(void **state)
{
    static float x[POINTS];
    static float y[POINTS];
    const struct ops_options options = {.threads = 1};
    struct ops_context c;
    case_open_or_skip(&c, *(const enum cpu_tier *)*state, &options);
    for (size_t f = 0; f < sizeof FUNCTIONS / sizeof FUNCTIONS[0]; f++) {
        const struct function *fn = &FUNCTIONS[f];
        double worst = 0.0;
        for (int i = 0; i < POINTS; i++) {
            x[i] = fn->low + (fn->high - fn->low) * ((float)i + 0.37f) / (float)POINTS;
        }
        fn->apply(&c, x, y);
        for (int i = 0; i < POINTS; i++) {
            const double want = fn->exact((double)x[i]);
            worst = fmax(worst, fabs((double)y[i] - want) / fabs(want) * 16777216.0);
        }
        print_message("%s on %s: %.2f x 2^-24\n", fn->name, c.ops->name, worst);
        assert_true(worst <= fn->limit);
    }
    ops_context_close(&c);
}

static void ends_are_exact(void **state)
{
    static float x[POINTS];
    static float y[POINTS];
    const struct ops_options options = {.threads = 1};
    struct ops_context c;
    case_open_or_skip(&c, *(const enum cpu_tier *)*state, &options);
    static const float in[] = {0.0f, -0.0f, -104.0f, -1e30f, -INFINITY};
    static const float want[] = {1.0f, 1.0f, 0.0f, 0.0f, 0.0f};
    memcpy(x, in, sizeof in);
    x[5] = NAN;
    apply_exp(&c, x, y);
    assert_memory_equal(y, want, sizeof want);
    assert_true(isnan(y[5])); /* a broken model must show */
    ops_context_close(&c);
}

int main(void)
{
    enum cpu_tier tiers[] = {TIER_REF, TIER_AVX2, TIER_AVX512};
    const struct CMUnitTest tests[] = {
        {"accurate on ref", functions_are_accurate, NULL, NULL, &tiers[0]},
        {"accurate on avx2", functions_are_accurate, NULL, NULL, &tiers[1]},
        {"accurate on avx512", functions_are_accurate, NULL, NULL, &tiers[2]},
        {"ends on ref", ends_are_exact, NULL, NULL, &tiers[0]},
        {"ends on avx2", ends_are_exact, NULL, NULL, &tiers[1]},
        {"ends on avx512", ends_are_exact, NULL, NULL, &tiers[2]},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
