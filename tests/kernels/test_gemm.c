/*
 * The products on packed weights: every type x tier x odd shape against a scalar sum in this file,
 * bit for bit where operands are multiplied one by one, within the rounding of a sum where the
 * tier multiplies pairs. Rows must not depend on m, threads or their place. `test_gemm --bench`
 * prints one JSON line per shape, type, mode and tier instead.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/rng.h"
#include "kernels/tensor/quant.h"
#include "tests/support/gemm_case.h"

/* What a test runs on. */
struct setting {
    enum cpu_tier tier;
    enum compute compute;
    bool pairs; /* bf16 pair products allowed */
    int slices;
};

static const struct setting SETTINGS[] = {
    {TIER_REF, COMPUTE_F32, false, 1},      {TIER_AVX2, COMPUTE_F32, false, 1},
    {TIER_REF, COMPUTE_BF16, false, 1},
    {TIER_AVX512, COMPUTE_F32, false, 1},   {TIER_AVX2, COMPUTE_BF16, false, 1},
    {TIER_AVX512, COMPUTE_BF16, false, 1},  {TIER_AVX512, COMPUTE_BF16, true, 1},
    {TIER_AVX2, COMPUTE_F32, false, 8},     {TIER_AVX512, COMPUTE_F32, false, 64},
    {TIER_AVX512, COMPUTE_BF16, true, 4},   {TIER_AMX, COMPUTE_BF16, true, 1},
    {TIER_AMX, COMPUTE_BF16, true, 4},
};
enum { SETTING_COUNT = sizeof SETTINGS / sizeof SETTINGS[0] };

static void open_or_skip(struct ops_context *c, const struct setting *s, int threads)
{
    const struct ops_options o = {
        .threads = threads, .compute = s->compute, .k_slices = s->slices};
    if (s->tier > cpu_best_tier() || (s->pairs && !cpu_has_avx512_bf16())) {
        print_message("this machine lacks the tier\n");
        skip();
    }
    assert_int_equal(ops_context_open_tier(c, &o, s->tier), STATUS_OK);
    c->has_bf16_dot = c->has_bf16_dot && s->pairs;
}

static const struct product_shape SHAPES[] = {
    {.m = 1, .n = 1, .k = 32},
    {.m = 67, .n = 33, .k = 64, .alpha = 0.7f, .bias = true},
    {.m = 13, .n = 31, .k = 96, .first_row = 3, .accumulate = true, .alpha = -1.3f},
    {.m = 5, .n = 70, .k = 576, .first_row = 2, .bias = true, .alpha = 2.0f},
    {.m = 250, .n = 17, .k = 64, .accumulate = true, .alpha = 0.25f},
    {.m = 25, .n = 300, .k = 32},
    {.m = 3, .n = 49, .k = 1088, .first_row = 1},
    {.m = 0, .n = 5, .k = 64},
    {.m = 12, .n = 40, .k = 256, .first_row = 5, .alpha = 0.5f, .accumulate = true},
    {.m = 2, .n = 35, .k = 1280, .first_row = 1, .bias = true},
    {.m = 25, .n = 16, .k = 512},
    /* plain types only: rows that are not whole groups */
    {.m = 7, .n = 19, .k = 4, .accumulate = true, .alpha = 2.0f},
    {.m = 19, .n = 576, .k = 8},
    {.m = 24, .n = 33, .k = 12, .first_row = 4},
    {.m = 11, .n = 4, .k = 20},
    {.m = 26, .n = 15, .k = 48, .bias = true},
    {.m = 6, .n = 3, .k = 7},
    {.m = 14, .n = 5, .k = 579, .accumulate = true, .alpha = 3.0f},
};
enum { SHAPE_COUNT = sizeof SHAPES / sizeof SHAPES[0] };

static bool type_takes(enum dtype type, int64_t k)
{
    return type == DTYPE_NF4 ? k % 2 == 0 : k % dtype_row(type)->block == 0;
}

static void one_product(struct ops_context *c, const struct product_shape *shape, enum dtype type,
                        bool by_rows)
{
    struct product_case p;
    product_open(&p, shape, type, by_rows);
    product_expect(&p, c);
    product_call(&p, c);
    const int64_t bad = product_worst(&p);
    if (bad >= 0) {
        fail_msg("%s %s m=%d n=%d k=%d: element %d is %.9g, expected %.9g +- %.3g",
                 by_rows ? "gemm_dx" : "gemm", type == DTYPE_NF4 ? "NF4" : dtype_row(type)->name,
                 (int)shape->m, (int)shape->n, (int)shape->k, (int)bad, (double)p.y[bad],
                 p.want[bad], p.allowed[bad]);
    }
    product_close(&p);
}

static void products_match(void **state)
{
    struct ops_context c;
    open_or_skip(&c, *state, 3);
    for (int type = 0; type < DTYPE_COUNT; type++) {
        for (int i = 0; i < SHAPE_COUNT; i++) {
            if (type_takes((enum dtype)type, SHAPES[i].k)) {
                one_product(&c, &SHAPES[i], (enum dtype)type, false);
                one_product(&c, &SHAPES[i], (enum dtype)type, true);
            }
        }
    }
    ops_context_close(&c);
}

static const struct gradient_shape GRADIENTS[] = {
    {.n = 1, .k = 1, .units = {0, 1}, .unit_count = 1, .alpha = 1.0f},
    {.n = 33, .k = 67, .units = {0, 31, 32, 97}, .unit_count = 3, .alpha = -0.5f},
    {.n = 100, .k = 20, .units = {5, 300, 300, 333}, .unit_count = 3, .alpha = 2.0f},
    {.n = 16, .k = 576, .units = {0, 64}, .unit_count = 1, .alpha = 1.0f},
    {.n = 130, .k = 4, .units = {1, 50, 127}, .unit_count = 2, .alpha = 0.3f},
    {.n = 3, .k = 3, .units = {0}, .unit_count = 0, .alpha = 1.0f},
};

static void gradients_match(void **state)
{
    struct ops_context c;
    open_or_skip(&c, *state, 2);
    for (size_t i = 0; i < sizeof GRADIENTS / sizeof GRADIENTS[0]; i++) {
        struct gradient_case g;
        gradient_open(&g, &GRADIENTS[i]);
        gradient_expect(&g, &c);
        gradient_call(&g, &c);
        const int64_t bad = gradient_worst(&g);
        if (bad >= 0) {
            fail_msg("gemm_dw shape %d: element %d is %.9g, expected %.9g +- %.3g", (int)i,
                     (int)bad, (double)g.dw[bad], g.want[bad], g.allowed[bad]);
        }
        gradient_close(&g);
    }
    ops_context_close(&c);
}

/* Rows first .. first + m of the big product, alone on another thread count, give its bits. */
static void part_agrees(const struct setting *s, const struct product_case *big, int64_t first,
                        int64_t m)
{
    struct ops_context c;
    struct product_case part;
    struct product_shape shape = big->shape;
    open_or_skip(&c, s, 1 + (int)(m % 3));
    shape.m = m;
    product_open(&part, &shape, big->w.dtype, big->by_rows);
    memcpy(part.x, big->x + first * big->ldx, (size_t)(m * big->ldx) * sizeof(float));
    memcpy(part.y, big->y_old + first * big->ldy, (size_t)(m * big->ldy) * sizeof(float));
    product_call(&part, &c);
    for (int64_t i = 0; i < m; i++) {
        assert_memory_equal(part.y + i * part.ldy, big->y + (first + i) * big->ldy,
                            (size_t)part.cols * sizeof(float));
    }
    product_close(&part);
    ops_context_close(&c);
}

static void rows_do_not_depend_on_m(void **state)
{
    static const enum dtype TYPES[] = {DTYPE_F32, DTYPE_Q4_1, DTYPE_Q5_0, DTYPE_Q8_0,
                                       DTYPE_Q4_K, DTYPE_Q6_K, DTYPE_NF4};
    enum { TYPE_COUNT = sizeof TYPES / sizeof TYPES[0] };
    static const struct product_shape SHAPE = {
        .m = 67, .n = 75, .k = 768, .alpha = 0.9f, .accumulate = true};
    const struct setting *s = *state;
    for (int i = 0; i < 2 * TYPE_COUNT; i++) {
        struct ops_context c;
        struct product_case big;
        open_or_skip(&c, s, 2);
        product_open(&big, &SHAPE, TYPES[i / 2], i % 2 == 1);
        product_call(&big, &c);
        for (int64_t m = 1; m <= 16; m++) {
            part_agrees(s, &big, 3 * m, m);
        }
        part_agrees(s, &big, 0, 30);
        product_close(&big);
        ops_context_close(&c);
    }
}

/* A weight's values rounded to bf16, as a weight of its own. */
static struct tensor rounded_weight(struct arena *mem, const struct tensor *w)
{
    const int64_t rows = tensor_rows(w);
    const int64_t cols = tensor_columns(w);
    struct tensor out = {.dtype = DTYPE_BF16, .dims = 2, .shape = {rows, cols},
                         .row_bytes = (size_t)cols * sizeof(uint16_t)};
    float *row;
    uint16_t *data;
    assert_int_equal(arena_alloc(mem, (size_t)cols + 1, sizeof *row, &row), STATUS_OK);
    assert_int_equal(arena_alloc(mem, (size_t)(rows * cols), sizeof *data, &data), STATUS_OK);
    for (int64_t r = 0; r < rows; r++) {
        quant_decode(w, r, 0, cols, row);
        for (int64_t i = 0; i < cols; i++) {
            data[r * cols + i] = dtype_f32_to_bf16(row[i]);
        }
    }
    out.data = data;
    return out;
}

/* gemm with resident panels has the bits of gemm by the rounded weight. */
static void one_resident(struct ops_context *c, const struct product_shape *shape, enum dtype type)
{
    struct product_case p;
    struct product_case q;
    struct tensor_panels panels;
    uint16_t *memory;
    product_open(&p, shape, type, false);
    product_open(&q, shape, type, false);
    c->ops->panel_shape(c, &p.w, &panels);
    assert_int_equal(arena_alloc(&p.mem, panels.bytes + 1, 1, &memory), STATUS_OK);
    memset(memory, 0xff, panels.bytes);
    c->ops->panel_fill(c, &p.w, memory);
    panels.data = memory;
    q.w = rounded_weight(&q.mem, &q.w);
    p.w.panels = &panels;
    product_call(&p, c);
    product_call(&q, c);
    assert_memory_equal(p.y, q.y, (size_t)(shape->m * p.ldy) * sizeof *p.y);
    product_close(&q);
    product_close(&p);
}

static void panels_are_the_rounded_weight(void **state)
{
    static const struct product_shape RESIDENT[] = {
        {.m = 67, .n = 33, .k = 64, .alpha = 0.7f, .bias = true},
        {.m = 13, .n = 31, .k = 96, .first_row = 64, .accumulate = true, .alpha = -1.3f},
        {.m = 1, .n = 70, .k = 576, .first_row = 32, .bias = true},
        {.m = 3, .n = 35, .k = 1280},
        {.m = 250, .n = 140, .k = 256},
        {.m = 26, .n = 15, .k = 48, .bias = true},
        {.m = 14, .n = 5, .k = 579, .accumulate = true, .alpha = 3.0f},
        {.m = 2, .n = 33, .k = 50944},
    };
    struct ops_context c;
    if (((const struct setting *)*state)->compute == COMPUTE_F32) {
        print_message("only bfloat16 has panels\n");
        skip();
    }
    open_or_skip(&c, *state, 3);
    for (int type = 0; type < DTYPE_COUNT; type++) {
        for (size_t i = 0; i < sizeof RESIDENT / sizeof RESIDENT[0]; i++) {
            if (type_takes((enum dtype)type, RESIDENT[i].k)) {
                one_resident(&c, &RESIDENT[i], (enum dtype)type);
            }
        }
    }
    ops_context_close(&c);
}

enum { TAIL_ROWS = 67, TAIL_N = 70, TAIL_K = 96, TAIL_RANK = 6 };

/* Operands of a product with a low-rank tail. */
struct tail_case {
    struct arena mem;
    struct tensor w;
    struct tensor up;   /* [n, rank] */
    struct tensor down; /* [rank, k] */
    float *x;           /* [rows, n or k] */
    float *low;         /* [rows, rank] */
    uint16_t *x16;
    float *y[3];
};

static float *numbers(struct arena *mem, int64_t count, uint64_t seed)
{
    float *x;
    const struct rng_key key = {.seed = seed};
    assert_int_equal(arena_alloc(mem, (size_t)count, sizeof *x, &x), STATUS_OK);
    rng_fill_normal(&key, x, count, 1.0f);
    return x;
}

static void tail_open(struct tail_case *t)
{
    assert_int_equal(arena_open(&t->mem, "case", 4 << 20), STATUS_OK);
    gemm_random_weight(&t->mem, DTYPE_Q4_1, TAIL_N, TAIL_K, &t->w);
    gemm_random_weight(&t->mem, DTYPE_F32, TAIL_N, TAIL_RANK, &t->up);
    gemm_random_weight(&t->mem, DTYPE_F32, TAIL_RANK, TAIL_K, &t->down);
    t->x = numbers(&t->mem, TAIL_ROWS * TAIL_K, 1);
    t->low = numbers(&t->mem, TAIL_ROWS * TAIL_RANK, 2);
    assert_int_equal(arena_alloc(&t->mem, TAIL_ROWS * TAIL_K, sizeof *t->x16, &t->x16), STATUS_OK);
    for (int i = 0; i < 3; i++) {
        t->y[i] = numbers(&t->mem, TAIL_ROWS * TAIL_K, 3);
    }
}

/* y[0]: product and tail apart; y[1]: fused; y[2]: fused, the operand rounded before. */
static void tail_forward(struct ops_context *c, struct tail_case *t)
{
    const struct gemm_tail tail = {t->low, TAIL_RANK, &t->up, 0.7f};
    struct gemm_args a = {.x = t->x, .ldx = TAIL_K, .m = TAIL_ROWS, .w = &t->w, .n = TAIL_N,
                          .y = t->y[0], .ldy = TAIL_N, .alpha = 1.3f};
    struct gemm_args after = {.x = t->low, .ldx = TAIL_RANK, .m = TAIL_ROWS, .w = &t->up,
                              .n = TAIL_N, .y = t->y[0], .ldy = TAIL_N, .alpha = 0.7f,
                              .accumulate = true};
    c->ops->gemm(c, &a);
    c->ops->gemm(c, &after);
    a.tail = &tail;
    a.y = t->y[1];
    c->ops->gemm(c, &a);
    if (c->compute == COMPUTE_BF16) {
        c->ops->round(c, t->x16, t->x, TAIL_ROWS * TAIL_K);
        a.x = NULL;
        a.x16 = t->x16;
    }
    a.y = t->y[2];
    c->ops->gemm(c, &a);
}

static void tail_backward(struct ops_context *c, struct tail_case *t)
{
    const struct gemm_tail tail = {t->low, TAIL_RANK, &t->down, 0.7f};
    struct gemm_dx_args a = {.dy = t->x, .ldy = TAIL_N, .m = TAIL_ROWS, .w = &t->w, .n = TAIL_N,
                             .dx = t->y[0], .ldx = TAIL_K, .alpha = 1.3f, .accumulate = true};
    struct gemm_dx_args after = {.dy = t->low, .ldy = TAIL_RANK, .m = TAIL_ROWS, .w = &t->down,
                                 .n = TAIL_RANK, .dx = t->y[0], .ldx = TAIL_K, .alpha = 0.7f,
                                 .accumulate = true};
    c->ops->gemm_dx(c, &a);
    c->ops->gemm_dx(c, &after);
    a.tail = &tail;
    a.dx = t->y[1];
    c->ops->gemm_dx(c, &a);
    if (c->compute == COMPUTE_BF16) {
        c->ops->round(c, t->x16, t->x, TAIL_ROWS * TAIL_K);
        a.dy = NULL;
        a.dy16 = t->x16;
    }
    a.dx = t->y[2];
    c->ops->gemm_dx(c, &a);
}

/* A gradient of the weight from rounded operands has the bits of one that rounds them. */
static void rounded_gradient(struct ops_context *c, struct tail_case *t)
{
    const int64_t units[] = {0, 33, TAIL_ROWS};
    struct gemm_dw_args a = {.dy = t->x, .ldy = TAIL_K, .x = t->x + 2, .ldx = TAIL_K, .n = 38,
                             .k = 40, .dw = t->y[0], .alpha = 0.7f, .unit_begin = units,
                             .units = 2};
    c->ops->gemm_dw(c, &a);
    c->ops->round(c, t->x16, t->x, TAIL_ROWS * TAIL_K);
    a.dy = NULL;
    a.dy16 = t->x16;
    a.x = NULL;
    a.x16 = t->x16 + 2;
    a.dw = t->y[1];
    c->ops->gemm_dw(c, &a);
    assert_memory_equal(t->y[0], t->y[1], 38 * 40 * sizeof(float));
}

static void tails_change_no_bit(void **state)
{
    struct ops_context c;
    open_or_skip(&c, *state, 2);
    for (int way = 0; way < 2; way++) {
        struct tail_case t;
        tail_open(&t);
        (way ? tail_backward : tail_forward)(&c, &t);
        assert_memory_equal(t.y[0], t.y[1], TAIL_ROWS * TAIL_K * sizeof(float));
        assert_memory_equal(t.y[0], t.y[2], TAIL_ROWS * TAIL_K * sizeof(float));
        if (way && c.compute == COMPUTE_BF16) {
            rounded_gradient(&c, &t);
        }
        arena_close(&t.mem);
    }
    ops_context_close(&c);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--bench") == 0) {
        gemm_bench(argc > 2 ? argv[2] : "", argc > 3 ? atol(argv[3]) : 0);
        return 0;
    }
    enum { KINDS = 5 };
    static const CMUnitTestFunction FUNCTIONS[KINDS] = {products_match, gradients_match,
                                                        rows_do_not_depend_on_m,
                                                        tails_change_no_bit,
                                                        panels_are_the_rounded_weight};
    static const char *const NAMES[KINDS] = {"gemm and gemm_dx", "gemm_dw", "rows", "tails",
                                             "resident panels"};
    char names[SETTING_COUNT * KINDS][64];
    struct CMUnitTest tests[SETTING_COUNT * KINDS];
    for (int i = 0; i < SETTING_COUNT * KINDS; i++) {
        const struct setting *s = &SETTINGS[i / KINDS];
        (void)snprintf(names[i], sizeof names[i], "%s: %s %s%s k_slices %d", NAMES[i % KINDS],
                       cpu_tier_name(s->tier), s->compute == COMPUTE_F32 ? "float32" : "bfloat16",
                       s->pairs ? " pairs" : "", s->slices);
        tests[i] = (struct CMUnitTest){names[i], FUNCTIONS[i % KINDS], NULL, NULL, (void *)s};
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
