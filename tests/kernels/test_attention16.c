/*
 * Attention in COMPUTE_BF16: every tier agrees with ref, which rounds the operands of each product;
 * the result is near that of floats; and keys and values given as bf16 have the bits of floats that
 * round to them. Shapes are those of the float tests: odd heads, windows, soft caps, trees, pages.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/kernels_case.h"

static const enum cpu_tier TIERS[] = {TIER_REF, TIER_AVX2, TIER_AVX512, TIER_AMX};
enum { TIER_COUNT_HERE = sizeof TIERS / sizeof TIERS[0] };

/* Two tiers may round a probability to neighbours, one part in 2^8 of one term; floats are further
 * off by the rounding of every operand. */
static const double TIER_LIMIT = 0x1p-8;
static const double FLOAT_LIMIT = 0x1p-5;

static void open_tier(struct ops_context *c, enum cpu_tier tier, enum compute compute)
{
    const struct ops_options o = {.threads = 2, .compute = compute};
    case_open_or_skip(c, tier, &o);
}

/* Largest |a - b| of the outputs, each relative to its largest number; and how much of all numbers
 * is further off than `fine`. */
static double compare(const struct run *got, const struct run *want, double fine, double *share)
{
    double worst = 0.0;
    int64_t coarse = 0;
    int64_t count = 0;
    for (int i = 0; i < want->outputs; i++) {
        worst = fmax(worst, case_error(got->out[i], want->out[i], want->count[i]));
        for (int64_t j = 0; j < want->count[i]; j++) {
            coarse += fabs((double)got->out[i][j] - (double)want->out[i][j]) > fine;
            count++;
        }
    }
    *share = (double)coarse / (double)count;
    return worst;
}

static void agrees(const char *name, struct ops_context *c, struct ops_context *other, double limit,
                   bool mostly_fine)
{
    const struct op_case *op = case_named(name);
    for (const struct shape *s = op->shapes; s->rows; s++) {
        struct run got;
        struct run want;
        double share;
        run_case(&got, c, op, s);
        run_case(&want, other, op, s);
        const double error = compare(&got, &want, 3e-4, &share);
        if (!(error <= limit) || (mostly_fine && share > 0.02)) {
            fail_msg("%s on %s, shape %d: error %.2e, %.1f %% of the numbers off", name,
                     c->ops->name, (int)(s - op->shapes), error, share * 100.0);
        }
        if (!mostly_fine && s->rows > 1) {
            assert_true(error > 1e-6); /* something was rounded */
        }
        kernel_run_close(&got);
        kernel_run_close(&want);
    }
}

static void tier_agrees_with_ref(void **state)
{
    struct ops_context c;
    struct ops_context ref;
    open_tier(&c, *(const enum cpu_tier *)*state, COMPUTE_BF16);
    open_tier(&ref, TIER_REF, COMPUTE_BF16);
    agrees("attention", &c, &ref, TIER_LIMIT, true);
    agrees("attention_backward", &c, &ref, TIER_LIMIT, true);
    c.has_bf16_dot = false; /* a machine without the instruction */
    agrees("attention", &c, &ref, TIER_LIMIT, true);
    agrees("attention_backward", &c, &ref, TIER_LIMIT, true);
    ops_context_close(&c);
    ops_context_close(&ref);
}

static void floats_are_near(void **state)
{
    struct ops_context c;
    struct ops_context floats;
    open_tier(&c, *(const enum cpu_tier *)*state, COMPUTE_BF16);
    open_tier(&floats, *(const enum cpu_tier *)*state, COMPUTE_F32);
    agrees("attention", &c, &floats, FLOAT_LIMIT, false);
    agrees("attention_backward", &c, &floats, FLOAT_LIMIT, false);
    ops_context_close(&c);
    ops_context_close(&floats);
}

/* The keys and values of a case as bf16, on rows of an even length. */
static void give_rounded(struct run *r, struct ops_context *c)
{
    struct attn_args *a = &r->a.attention.fwd;
    const int64_t rows = 4LL * r->s->rows + 16;
    const int64_t width = (int64_t)a->kv_heads * a->head_dim;
    uint16_t *to[2] = {NULL, NULL};
    const float *from[2] = {a->k, a->v};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(arena_alloc(&r->mem, (size_t)(rows * width), sizeof *to[i], &to[i]),
                         STATUS_OK);
        for (int64_t t = 0; t < rows; t++) {
            c->ops->round(c, to[i] + t * width, from[i] + t * a->ldkv, width);
        }
    }
    a->k16 = to[0];
    a->v16 = to[1];
    a->k = NULL;
    a->v = NULL;
}

/* A backward's dk and dv keep the floats' row length, so the forward alone changes its keys. */
static void rounded_keys_change_no_bit(void **state)
{
    struct ops_context c;
    open_tier(&c, *(const enum cpu_tier *)*state, COMPUTE_BF16);
    const struct op_case *op = case_named("attention");
    for (const struct shape *s = op->shapes; s->rows; s++) {
        struct run got = {.c = &c, .s = s};
        struct run want;
        run_case(&want, &c, op, s);
        assert_int_equal(arena_open(&got.mem, "case", 256 << 20), STATUS_OK);
        op->prepare(&got);
        give_rounded(&got, &c);
        got.a.attention.fwd.ldkv = (int64_t)s->kv_heads * s->head_dim;
        op->call(&got);
        for (int i = 0; i < want.outputs; i++) {
            assert_memory_equal(got.out[i], want.out[i], (size_t)want.count[i] * sizeof(float));
        }
        kernel_run_close(&got);
        kernel_run_close(&want);
    }
    ops_context_close(&c);
}

int main(void)
{
    static const CMUnitTestFunction FUNCTIONS[] = {tier_agrees_with_ref, floats_are_near,
                                                   rounded_keys_change_no_bit};
    static const char *const NAMES[] = {"agrees with ref", "near floats", "rounded keys"};
    enum { KINDS = sizeof FUNCTIONS / sizeof FUNCTIONS[0] };
    char names[KINDS * TIER_COUNT_HERE][64];
    struct CMUnitTest tests[KINDS * TIER_COUNT_HERE];
    for (int i = 0; i < KINDS * TIER_COUNT_HERE; i++) {
        const enum cpu_tier *tier = &TIERS[i / KINDS];
        (void)snprintf(names[i], sizeof names[i], "%s on %s", NAMES[i % KINDS],
                       cpu_tier_name(*tier));
        tests[i] = (struct CMUnitTest){names[i], FUNCTIONS[i % KINDS], NULL, NULL,
                                       (void *)(uintptr_t)tier};
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
