/*
 * Results that ops write as operands of products: bf16 instead of float is the float rounded half
 * to even, on every tier and odd shape; and the head's exponentials are those of the softmax.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/kernels_case.h"

enum { ROWS = 7, MOST = 1200, VOCAB = OPS_HEAD_CHUNK + 77, LD = OPS_HEAD_CHUNK + 80 };

static const enum cpu_tier TIERS[] = {TIER_REF, TIER_AVX2, TIER_AVX512, TIER_AMX};
enum { TIER_ROWS = sizeof TIERS / sizeof TIERS[0] };
static const int WIDTHS[] = {1, 2, 15, 33, 64, 577};
enum { WIDTH_COUNT = sizeof WIDTHS / sizeof WIDTHS[0] };

static float in[3][ROWS * MOST];
static float out[2][ROWS * MOST];
static uint16_t out16[2][ROWS * MOST];

static void open_tier(struct ops_context *c, enum cpu_tier tier, enum compute compute)
{
    const struct ops_options o = {.threads = 2, .compute = compute};
    struct run r = {.stream = 1};
    case_open_or_skip(c, tier, &o);
    assert_int_equal(arena_open(&r.mem, "case", 1 << 20), STATUS_OK);
    for (int i = 0; i < 3; i++) {
        memcpy(in[i], run_input(&r, ROWS * MOST, 2.0f), sizeof in[i]);
    }
    in[0][3] = 1e-39f; /* subnormal, as is its bf16 */
    arena_close(&r.mem);
    memset(out16, 0x7f, sizeof out16);
}

/* The last element is where nothing may be written. */
static void expect_rounded(int which, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        if (out16[which][i] != dtype_f32_to_bf16(out[which][i])) {
            fail_msg("element %d of %d: %.9g became %04x", (int)i, (int)count,
                     (double)out[which][i], out16[which][i]);
        }
    }
    assert_int_equal(out16[which][count], 0x7f7f);
}

static void norms(void **state)
{
    struct ops_context c;
    open_tier(&c, *(const enum cpu_tier *)*state, COMPUTE_BF16);
    for (int i = 0; i < WIDTH_COUNT; i++) {
        const int64_t cols = WIDTHS[i];
        struct rmsnorm_args a = {.x = in[0], .ldx = cols, .y = out[0], .ldy = cols,
                                 .w = i % 2 ? in[1] : NULL, .plus_one = i == 3, .eps = 1e-5f,
                                 .rows = ROWS, .cols = cols};
        c.ops->rmsnorm(&c, &a);
        memset(out16, 0x7f, sizeof out16);
        a.y = NULL;
        a.y16 = out16[0];
        c.ops->rmsnorm(&c, &a);
        expect_rounded(0, ROWS * cols);
    }
    ops_context_close(&c);
}

/* The gates that a forward keeps are its own rounded, and give what floats of their value give. */
static void expect_kept_gates(struct ops_context *c, int64_t count, enum activation act)
{
    static float wide[2][sizeof in[0] / sizeof in[0][0]];
    static uint16_t kept[2][sizeof in[0] / sizeof in[0][0]];
    static uint16_t want[2][sizeof in[0] / sizeof in[0][0]];
    struct glu_args a = {.g = in[0], .u = in[1], .h16 = want[0], .kept_g = kept[0],
                         .kept_u = kept[1], .count = count, .act = act};
    c->ops->glu(c, &a);
    for (int i = 0; i < 2; i++) {
        for (int64_t j = 0; j < count; j++) {
            assert_int_equal(kept[i][j], dtype_f32_to_bf16(in[i][j]));
            wide[i][j] = dtype_bf16_to_f32(kept[i][j]);
        }
    }
    a = (struct glu_args){.g = wide[0], .u = wide[1], .h16 = want[0], .count = count, .act = act};
    c->ops->glu(c, &a);
    a = (struct glu_args){
        .g16 = kept[0], .u16 = kept[1], .h16 = out16[0], .count = count, .act = act};
    c->ops->glu(c, &a);
    assert_memory_equal(out16[0], want[0], (size_t)count * sizeof want[0][0]);
    struct glu_backward_args b = {.g = wide[0], .u = wide[1], .dh = in[2], .dg16 = want[0],
                                  .du16 = want[1], .count = count, .act = act};
    c->ops->glu_backward(c, &b);
    b.g = b.u = NULL;
    b.g16 = kept[0];
    b.u16 = kept[1];
    b.dg16 = out16[0];
    b.du16 = out16[1];
    c->ops->glu_backward(c, &b);
    assert_memory_equal(out16[0], want[0], (size_t)count * sizeof want[0][0]);
    assert_memory_equal(out16[1], want[1], (size_t)count * sizeof want[0][0]);
}

static void gates(void **state)
{
    struct ops_context c;
    open_tier(&c, *(const enum cpu_tier *)*state, COMPUTE_BF16);
    for (int i = 0; i < WIDTH_COUNT; i++) {
        const int64_t count = ROWS * WIDTHS[i];
        const enum activation act = i % 2 ? ACT_GELU_TANH : ACT_SILU;
        struct glu_args a = {.g = in[0], .u = in[1], .h = out[0], .count = count, .act = act};
        c.ops->glu(&c, &a);
        memset(out16, 0x7f, sizeof out16);
        a.h = NULL;
        a.h16 = out16[0];
        c.ops->glu(&c, &a);
        expect_rounded(0, count);
        struct glu_backward_args b = {.g = in[0], .u = in[1], .dh = in[2], .dg = out[0],
                                      .du = out[1], .count = count, .act = act};
        c.ops->glu_backward(&c, &b);
        b.dg = b.du = NULL;
        b.dg16 = out16[0];
        b.du16 = out16[1];
        memset(out16, 0x7f, sizeof out16);
        c.ops->glu_backward(&c, &b);
        expect_rounded(0, count);
        expect_rounded(1, count);
        expect_kept_gates(&c, count, act);
    }
    ops_context_close(&c);
}

static void roundings(void **state)
{
    struct ops_context c;
    open_tier(&c, *(const enum cpu_tier *)*state, COMPUTE_F32);
    in[0][5] = NAN;
    in[0][6] = INFINITY;
    in[0][7] = 3.3961775e38f; /* rounds to infinity */
    memcpy(out[0], in[0], sizeof out[0]);
    for (int i = 0; i < WIDTH_COUNT; i++) {
        memset(out16, 0x7f, sizeof out16);
        c.ops->round(&c, out16[0], in[0], ROWS * WIDTHS[i]);
        expect_rounded(0, ROWS * WIDTHS[i]);
    }
    ops_context_close(&c);
}

static float logits[ROWS * LD];
static float exps[ROWS * LD];
static uint16_t exps16[ROWS * LD];

/* Both chunks of the vocabulary; exps end relative to the maximum of all. */
static void run_exps(struct ops_context *c, float softcap, bool rounded, struct logit_stats *stats)
{
    int32_t targets[ROWS];
    float shrink[ROWS];
    for (int i = 0; i < ROWS; i++) {
        targets[i] = i == 0 ? -1 : i * 700;
        stats[i] = (struct logit_stats)LOGIT_STATS_INIT;
    }
    for (int64_t first = 0; first < VOCAB; first += OPS_HEAD_CHUNK) {
        const int64_t n = VOCAB - first < OPS_HEAD_CHUNK ? VOCAB - first : OPS_HEAD_CHUNK;
        const struct logit_args a = {
            .logits = logits + first, .ld = LD, .rows = ROWS, .n = n, .first = first,
            .targets = targets, .inv_temperature = 0.8f, .softcap = softcap, .stats = stats,
            .exps = rounded ? NULL : exps + first, .exps16 = rounded ? exps16 + first : NULL,
            .shrink = shrink};
        c->ops->logit_stats(c, &a);
        for (int i = 0; first > 0 && i < ROWS; i++) {
            for (int64_t j = 0; j < first && !rounded; j++) {
                exps[i * LD + j] *= shrink[i];
            }
        }
    }
}

static void check_exps(const struct logit_stats *stats, float softcap)
{
    for (int i = 0; i < ROWS; i++) {
        for (int j = 0; j < VOCAB; j++) {
            const double x = (double)logits[i * LD + j];
            const double t = softcap > 0.0f ? tanh(x / (double)softcap) : 0.0;
            const double z = 0.8 * (softcap > 0.0f ? (double)softcap * t : x);
            const double want = i > 0 && j == i * 700
                                    ? 0.0
                                    : exp(z - (double)stats[i].max) * (1.0 - t * t);
            const double got = (double)exps[i * LD + j];
            if (!(fabs(got - want) <= 4e-6 * want + 1e-30)) {
                fail_msg("row %d id %d: %.9g, not %.9g", i, j, got, want);
            }
        }
    }
}

static void exponentials(void **state)
{
    static struct logit_stats stats[2][ROWS];
    for (int capped = 0; capped < 2; capped++) {
        const float softcap = capped ? 30.0f : 0.0f;
        struct ops_context c;
        open_tier(&c, *(const enum cpu_tier *)*state, COMPUTE_F32);
        for (int i = 0; i < ROWS * LD; i++) {
            logits[i] = in[i % 3][i % (ROWS * MOST)] * 3.0f;
        }
        logits[2 * LD + VOCAB - 1] = 40.0f; /* the second chunk moves the maximum */
        run_exps(&c, softcap, false, stats[0]);
        check_exps(stats[0], softcap);
        run_exps(&c, softcap, true, stats[1]);
        assert_memory_equal(stats[0], stats[1], sizeof stats[0]);
        for (int j = OPS_HEAD_CHUNK; j < VOCAB; j++) { /* not shrunk */
            assert_int_equal(exps16[2 * LD + j], dtype_f32_to_bf16(exps[2 * LD + j]));
        }
        ops_context_close(&c);
    }
}

int main(void)
{
    static const CMUnitTestFunction FUNCTIONS[] = {norms, gates, roundings, exponentials};
    static const char *const NAMES[] = {"rmsnorm", "glu", "round", "exponentials"};
    enum { KINDS = sizeof FUNCTIONS / sizeof FUNCTIONS[0] };
    char names[KINDS * TIER_ROWS][64];
    struct CMUnitTest tests[KINDS * TIER_ROWS];
    for (int i = 0; i < KINDS * TIER_ROWS; i++) {
        const enum cpu_tier *tier = &TIERS[i / KINDS];
        (void)snprintf(names[i], sizeof names[i], "%s on %s", NAMES[i % KINDS],
                       cpu_tier_name(*tier));
        tests[i] = (struct CMUnitTest){names[i], FUNCTIONS[i % KINDS], NULL, NULL,
                                       (void *)(uintptr_t)tier};
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
