/*
 * The AMX tile without AMX: the tile's own source compiled against a software model of the tile
 * instructions (Intel SDM: TILELOADD, TILESTORED, TDPBF16PS with subnormals as zero, even and odd
 * products summed apart over the 32 elements of a step, then added to each other and to the
 * result). Its results are compared bit for bit with that rule written without tiles, for every
 * number of rows; and the loops of gemm run on it where the decoders of AVX-512 BF16 run.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/rng.h"
#include "kernels/cpu/gemm_internal.h"
#include "tests/support/gemm_case.h"

struct model_tile {
    uint32_t word[16][16];
};

static struct model_tile tiles[8];
static int configured;

static float as_float(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static uint32_t as_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* Subnormals count as zero, as operands and as results. */
static float flush(float x)
{
    return fabsf(x) < 0x1p-126f ? copysignf(0.0f, x) : x;
}

static void model_config(const void *config)
{
    const uint8_t *bytes = config;
    configured = bytes[0] == 1;
    for (int i = 0; i < 8; i++) {
        configured = configured && bytes[16 + 2 * i] == 64 && bytes[48 + i] == 16;
    }
    memset(tiles, 0xff, sizeof tiles); /* a use before a load shows: NaN */
}

static void model_load(int t, const void *base, int64_t stride)
{
    assert_true(configured);
    for (int i = 0; i < 16; i++) {
        memcpy(tiles[t].word[i], (const char *)base + i * stride, 64);
    }
}

static void model_store(int t, void *base, int64_t stride)
{
    for (int i = 0; i < 16; i++) {
        memcpy((char *)base + i * stride, tiles[t].word[i], 64);
    }
}

static float low_half(uint32_t word)
{
    return flush(as_float(word << 16));
}

static float high_half(uint32_t word)
{
    return flush(as_float(word & 0xffff0000U));
}

static void model_dot(int sum, int a, int b)
{
    for (int m = 0; m < 16; m++) {
        for (int n = 0; n < 16; n++) {
            float even = 0.0f;
            float odd = 0.0f;
            for (int k = 0; k < 16; k++) {
                const uint32_t x = tiles[a].word[m][k];
                const uint32_t w = tiles[b].word[k][n];
                even = flush(fmaf(low_half(x), low_half(w), even));
                odd = flush(fmaf(high_half(x), high_half(w), odd));
            }
            uint32_t *out = &tiles[sum].word[m][n];
            *out = as_bits(flush(flush(as_float(*out)) + flush(even + odd)));
        }
    }
}

static void model_finish(const struct gemm_finish *f)
{
    for (int64_t i = 0; i < f->rows; i++) {
        for (int64_t j = 0; j < f->cols; j++) {
            const float sum = f->sum[i * 32 + j];
            float *y = &f->y[i * f->ldy + j];
            *y = f->accumulate ? fmaf(f->alpha, sum, *y)
                               : f->alpha * sum + (f->bias ? f->bias[j] : 0.0f);
        }
    }
}

#define AMX_CONFIG(config) model_config(config)
#define AMX_ZERO(t) memset(&tiles[t], 0, sizeof tiles[t])
#define AMX_LOAD(t, base, stride) model_load(t, base, stride)
#define AMX_STORE(t, base, stride) model_store(t, base, stride)
#define AMX_DOT(sum, a, b) model_dot(sum, a, b)
#define AMX_FINISH(f) model_finish(f)

#include "kernels/cpu/amx/tile.inc"

enum { MOST_UNITS = 50, LDA = 61, LDY = 37 };

static struct {
    uint32_t a[32 * LDA];
    uint32_t b[MOST_UNITS * 32];
    float sum[32 * 32];
    float y[33 * LDY];
} data;

static void fill(uint64_t seed)
{
    float x[2];
    for (size_t i = 0; i < sizeof data / 4; i++) {
        const struct rng_key key = {.seed = seed, .position = (uint32_t)i};
        rng_fill_normal(&key, x, 2, 1.0f);
        if (i % 97 == 0) {
            x[0] = 1e-40f; /* a subnormal of bf16 */
        }
        const uint32_t word = dtype_f32_to_bf16(x[0]) | (uint32_t)dtype_f32_to_bf16(x[1]) << 16;
        memcpy((char *)&data + 4 * i, i * 4 < offsetof(__typeof__(data), sum) ? (void *)&word
                                                                              : (void *)x, 4);
    }
}

/* The rule of a cell, step by step of 16 units. */
static float expected(int row, int col, int units, float start)
{
    float sum = start;
    for (int u = 0; u < units; u += 16) {
        float part[2] = {0.0f, 0.0f};
        for (int k = u; k < u + 16 && k < units; k++) {
            const uint32_t x = data.a[row * LDA + k];
            const uint32_t w = data.b[k * 32 + col];
            part[0] = flush(fmaf(low_half(x), low_half(w), part[0]));
            part[1] = flush(fmaf(high_half(x), high_half(w), part[1]));
        }
        sum = flush(flush(sum) + flush(part[0] + part[1]));
    }
    return sum;
}

static void run_tile(int rows, int units, bool fresh, const struct gemm_finish *last, bool narrow)
{
    const struct gemm_tile t = {
        .rows = rows,
        .fresh = fresh,
        .narrow = narrow,
        .units = units,
        .a = (const float *)(const void *)data.a,
        .a_row = LDA,
        .a_step = 1,
        .b = (const float *)(const void *)data.b,
        .sum = data.sum,
        .last = last,
    };
    amx_tile(&t);
}

/* Sums kept for a later stretch: right for the rows there are, untouched below. */
static void sums_follow_the_rule(void **state)
{
    static const int UNITS[] = {1, 15, 16, 17, 32, 45, MOST_UNITS};
    (void)state;
    for (int rows = 1; rows <= 32; rows++) {
        for (int i = 0; i < 14; i++) {
            float before[32 * 32];
            const bool fresh = i % 2 == 0;
            fill(7);
            memcpy(before, data.sum, sizeof before);
            run_tile(rows, UNITS[i / 2], fresh, NULL, false);
            for (int cell = 0; cell < 32 * 32; cell++) {
                const int row = cell / 32;
                const float want = row < rows ? expected(row, cell % 32, UNITS[i / 2],
                                                         fresh ? 0.0f : before[cell])
                                              : before[cell];
                assert_int_equal(as_bits(data.sum[cell]), as_bits(want));
            }
        }
    }
}

static void results_go_to_y_alone(void **state)
{
    (void)state;
    for (int cols = 1; cols <= 32; cols += 5) {
        for (int way = 0; way < 2; way++) {
            float before[33 * LDY];
            const struct gemm_finish last = {.y = data.y, .ldy = LDY, .rows = 19, .cols = cols,
                                             .alpha = 0.5f, .accumulate = way == 1};
            fill(8);
            memcpy(before, data.y, sizeof before);
            run_tile(19, 33, true, &last, cols <= 16);
            for (int cell = 0; cell < 33 * LDY; cell++) {
                const int row = cell / LDY;
                const int col = cell % LDY;
                float want = before[cell];
                if (row < 19 && col < cols) {
                    const float sum = expected(row, col, 33, 0.0f);
                    want = way ? fmaf(0.5f, sum, want) : 0.5f * sum;
                }
                assert_int_equal(as_bits(data.y[cell]), as_bits(want));
            }
        }
    }
}

static struct gemm_tier model_tier(void)
{
    struct gemm_tier t = GEMM_AVX512_BF16;
    t.mr = AMX_SIDE;
    t.depth = 4096;
    t.tile = amx_tile;
    t.finish = GEMM_AVX512_BF16.finish;
    t.direct = NULL;
    t.codes = NULL;
    return t;
}

/* The loops on the model: gemm and gemm_dx of packed weights, the bits of a row for any m. */
static void products_hold_on_the_model(void **state)
{
    static const enum dtype TYPES[] = {DTYPE_Q4_1, DTYPE_Q6_K, DTYPE_F32};
    (void)state;
    struct ops_context c;
    const struct ops_options o = {.threads = 1, .compute = COMPUTE_BF16};
    if (!cpu_has_avx512_bf16()) {
        print_message("this machine cannot run the decoders\n");
        skip();
    }
    assert_int_equal(ops_context_open_tier(&c, &o, TIER_AVX512), STATUS_OK);
    c.tier = TIER_AMX; /* whose rule is expected */
    const struct gemm_tier tier = model_tier();
    const struct gemm_choice choice = {&GEMM_AVX512, &tier};
    for (int i = 0; i < 6; i++) {
        static const struct product_shape SHAPE = {.m = 67, .n = 75, .k = 512, .alpha = 0.9f};
        struct product_case p;
        product_open(&p, &SHAPE, TYPES[i / 2], i % 2 == 1);
        product_expect(&p, &c);
        for (int64_t m = 67; m > 0; m -= m > 4 ? 21 : 1) {
            float *y = p.y + (67 - m) * p.ldy;
            const struct gemm_args a = {.x = p.x + (67 - m) * p.ldx, .ldx = p.ldx, .m = m,
                                        .w = &p.w, .n = 75, .y = y, .ldy = p.ldy, .alpha = 0.9f};
            const struct gemm_dx_args dx = {.dy = a.x, .ldy = p.ldx, .m = m, .w = &p.w, .n = 75,
                                            .dx = y, .ldx = p.ldy, .alpha = 0.9f};
            float before[16];
            memcpy(before, p.y + 66 * p.ldy, sizeof before);
            if (p.by_rows) {
                gemm_run_dx(&c, &choice, &dx);
            } else {
                gemm_run(&c, &choice, &a);
            }
            if (m < 67) {
                assert_memory_equal(before, p.y + 66 * p.ldy, sizeof before);
            }
        }
        assert_int_equal(product_worst(&p), -1);
        product_close(&p);
    }
    ops_context_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_follow_the_rule),
        cmocka_unit_test(results_go_to_y_alone),
        cmocka_unit_test(products_hold_on_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
