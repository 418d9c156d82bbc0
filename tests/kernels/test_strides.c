/*
 * The products of rows that lie a multiple of the page apart, which may be copied first, have the
 * bits of those of rows that lie otherwise; what is between the rows is never read into a result.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/kernels_case.h"

/* Rows enough for a copy and for a part of a tile; an even reduction, not whole vectors. */
enum { ROWS = 101, RED = 70, COLS = 40, PAGE_LD = 2048, OTHER_LD = 2056 };

static const enum cpu_tier TIERS[] = {TIER_REF, TIER_AVX2, TIER_AVX512, TIER_AMX};
enum { TIER_ROWS = sizeof TIERS / sizeof TIERS[0] };

/* One operand with a stride, as floats and as bf16. */
struct strided {
    int64_t ld;
    float x[ROWS * OTHER_LD];
    uint16_t x16[ROWS * OTHER_LD];
};

static struct strided page = {.ld = PAGE_LD};
static struct strided other = {.ld = OTHER_LD};

static void spread(struct strided *s, const float *values)
{
    for (int64_t i = 0; i < ROWS * s->ld; i++) {
        s->x[i] = NAN;
        s->x16[i] = 0x7fc0;
    }
    for (int64_t r = 0; r < ROWS; r++) {
        for (int64_t c = 0; c < RED; c++) {
            s->x[r * s->ld + c] = values[r * RED + c];
            s->x16[r * s->ld + c] = dtype_f32_to_bf16(values[r * RED + c]);
        }
    }
}

static void multiply(struct ops_context *c, const struct tensor *w, const struct strided *s,
                     bool rounded, bool transposed, float *y)
{
    const float *x = rounded ? NULL : s->x;
    const uint16_t *x16 = rounded ? s->x16 : NULL;
    if (transposed) {
        const struct gemm_dx_args a = {.dy = x, .dy16 = x16, .ldy = s->ld, .m = ROWS, .w = w,
                                       .n = RED, .dx = y, .ldx = COLS, .alpha = 1.0f};
        c->ops->gemm_dx(c, &a);
    } else {
        const struct gemm_args a = {.x = x, .x16 = x16, .ldx = s->ld, .m = ROWS, .w = w,
                                    .n = COLS, .y = y, .ldy = COLS, .alpha = 1.0f};
        c->ops->gemm(c, &a);
    }
}

static void expect_equal(struct ops_context *c, const struct tensor *w, bool rounded,
                         bool transposed)
{
    static float y[2][ROWS * COLS];
    multiply(c, w, &page, rounded, transposed, y[0]);
    multiply(c, w, &other, rounded, transposed, y[1]);
    for (int i = 0; i < ROWS * COLS; i++) {
        if (!(fabsf(y[1][i]) < 1e6f)) {
            fail_msg("element %d: %.9g", i, (double)y[1][i]);
        }
    }
    assert_memory_equal(y[0], y[1], sizeof y[0]);
}

static void strides(void **state)
{
    static const enum compute COMPUTES[] = {COMPUTE_F32, COMPUTE_BF16};
    for (int i = 0; i < 4; i++) {
        const bool transposed = i % 2;
        const struct ops_options o = {.threads = 2, .compute = COMPUTES[i / 2]};
        const struct shape s = {.dtype = DTYPE_BF16};
        struct ops_context c;
        struct run r = {.stream = 1, .s = &s};
        case_open_or_skip(&c, *(const enum cpu_tier *)*state, &o);
        assert_int_equal(arena_open(&r.mem, "case", 1 << 20), STATUS_OK);
        run_weight(&r, transposed ? RED : COLS, transposed ? COLS : RED, 0.5f);
        const float *values = run_input(&r, ROWS * RED, 1.0f);
        spread(&page, values);
        spread(&other, values);
        expect_equal(&c, &r.w, false, transposed);
        if (o.compute == COMPUTE_BF16) {
            expect_equal(&c, &r.w, true, transposed);
        }
        arena_close(&r.mem);
        ops_context_close(&c);
    }
}

int main(void)
{
    char names[TIER_ROWS][64];
    struct CMUnitTest tests[TIER_ROWS];
    for (int i = 0; i < TIER_ROWS; i++) {
        (void)snprintf(names[i], sizeof names[i], "strides on %s", cpu_tier_name(TIERS[i]));
        tests[i] = (struct CMUnitTest){names[i], strides, NULL, NULL,
                                       (void *)(uintptr_t)&TIERS[i]};
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
