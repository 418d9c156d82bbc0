/*
 * Batch invariance: a row's bits do not change with the number of rows, its place among them, the
 * threads, the paging of its keys, or whether it is a query of training, prefill, decoding or a
 * tree. Everything here compares bits.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/kernels_case.h"

enum { ROWS = 67 };

static const enum cpu_tier TIERS[] = {TIER_REF, TIER_AVX2, TIER_AVX512, TIER_AMX};
enum { TIER_TESTS = (int)(sizeof TIERS / sizeof TIERS[0]) };

/* The context of a test, in the compute mode wanted. */
static void open_mode(struct ops_context *c, void **state, enum compute compute)
{
    const struct ops_options options = {.threads = 2, .compute = compute};
    case_open_or_skip(c, *(const enum cpu_tier *)*state, &options);
}

static void assert_same_bits(const struct run *got, const struct run *want, const char *what)
{
    for (int i = 0; i < want->outputs; i++) {
        for (int64_t j = 0; j < want->count[i]; j++) {
            if (memcmp(&got->out[i][j], &want->out[i][j], sizeof(float)) != 0) {
                fail_msg("%s on %s: output %d differs at %lld: %.9g, not %.9g", what,
                         got->c->ops->name, i, (long long)j, (double)got->out[i][j],
                         (double)want->out[i][j]);
            }
        }
    }
}

/* Rows [first, first + count) of a case: one function per op that has rows. */
static void slice_gemm(struct run *r, int64_t first, int64_t count)
{
    r->a.gemm.x += first * r->a.gemm.ldx;
    r->a.gemm.y += first * r->a.gemm.ldy;
    r->a.gemm.m = count;
}

static void slice_gemm_dx(struct run *r, int64_t first, int64_t count)
{
    r->a.gemm_dx.dy += first * r->a.gemm_dx.ldy;
    r->a.gemm_dx.dx += first * r->a.gemm_dx.ldx;
    r->a.gemm_dx.m = count;
}

static void slice_rmsnorm(struct run *r, int64_t first, int64_t count)
{
    r->a.rmsnorm.x += first * r->a.rmsnorm.ldx;
    r->a.rmsnorm.y += first * r->a.rmsnorm.ldy;
    r->a.rmsnorm.rstd += first;
    r->a.rmsnorm.rows = count;
}

static void slice_rmsnorm_backward(struct run *r, int64_t first, int64_t count)
{
    struct rmsnorm_backward_args *a = &r->a.rmsnorm_backward;
    a->x += first * a->ldx;
    a->dy += first * a->ldy;
    a->dx += first * a->lddx;
    a->rstd += first;
    a->rows = count;
}

static void slice_rope(struct run *r, int64_t first, int64_t count)
{
    r->a.rope.x += first * r->a.rope.ldx;
    r->a.rope.position += first;
    r->a.rope.rows = count;
}

static void slice_glu(struct run *r, int64_t first, int64_t count)
{
    r->a.glu.g += first;
    r->a.glu.u += first;
    r->a.glu.h += first;
    r->a.glu.count = count;
}

static void slice_glu_backward(struct run *r, int64_t first, int64_t count)
{
    struct glu_backward_args *a = &r->a.glu_backward;
    a->g += first;
    a->u += first;
    a->dh += first;
    a->dg += first;
    a->du += first;
    a->count = count;
}

static void slice_embed(struct run *r, int64_t first, int64_t count)
{
    r->a.embed.ids += first;
    r->a.embed.y += first * r->s->n;
    r->a.embed.rows = count;
}

static void slice_logit(struct run *r, int64_t first, int64_t count)
{
    struct logit_args *a = &r->a.logit;
    a->logits += first * a->ld;
    a->targets += first;
    a->stats += first;
    a->sums = a->sums ? a->sums + first : NULL;
    a->rows = count;
}

static void slice_logit_grad(struct run *r, int64_t first, int64_t count)
{
    struct logit_grad_args *a = &r->a.logit_grad;
    a->logits += first * a->ld;
    a->targets += first;
    a->lse += first;
    a->entropy += first;
    a->dlogp += first;
    a->dentropy = a->dentropy ? a->dentropy + first : NULL;
    a->dmean = a->dmean ? a->dmean + first : NULL;
    a->rows = count;
}

static const struct {
    const char *name;
    void (*slice)(struct run *r, int64_t first, int64_t count);
    struct shape shape;
} SLICES[] = {
    {"gemm", slice_gemm, {.rows = ROWS, .n = 45, .k = 96}},
    {"gemm", slice_gemm, {.rows = ROWS, .n = 70, .k = 300, .flags = SHAPE_ACCUMULATE}},
    {"gemm", slice_gemm, {.rows = ROWS, .n = 45, .k = 96, .flags = SHAPE_BF16 | SHAPE_BIAS}},
    {"gemm_dx", slice_gemm_dx, {.rows = ROWS, .n = 45, .k = 96}},
    {"gemm_dx", slice_gemm_dx, {.rows = ROWS, .n = 130, .k = 50, .flags = SHAPE_BF16}},
    {"rmsnorm", slice_rmsnorm, {.rows = ROWS, .n = 101}},
    {"rmsnorm_backward", slice_rmsnorm_backward, {.rows = ROWS, .n = 101,
                                                  .flags = SHAPE_NO_WEIGHT}},
    {"rope", slice_rope, {.rows = ROWS, .n = 20, .heads = 3, .head_dim = 20}},
    {"glu", slice_glu, {.rows = ROWS}},
    {"glu", slice_glu, {.rows = ROWS, .flags = SHAPE_GELU}},
    {"glu_backward", slice_glu_backward, {.rows = ROWS}},
    {"embed", slice_embed, {.rows = ROWS, .n = 37}},
    {"logit_stats", slice_logit, {.rows = ROWS, .n = 4500, .softcap = 30.0f}},
    {"logit_grad", slice_logit_grad, {.rows = ROWS, .n = 77, .flags = SHAPE_ENTROPY}},
};

static void rows_do_not_see_each_other(void **state)
{
    const struct ops_options options = {.threads = 2};
    struct ops_context c;
    case_open_or_skip(&c, *(const enum cpu_tier *)*state, &options);
    for (size_t i = 0; i < sizeof SLICES / sizeof SLICES[0]; i++) {
        const struct op_case *op = case_named(SLICES[i].name);
        struct run want;
        run_case(&want, &c, op, &SLICES[i].shape);
        /* On ref every step would repeat the same scalar loop: a few sizes are enough. */
        const int step = c.tier == TIER_REF ? 13 : 1;
        for (int m = 1; m <= ROWS; m += step) {
            struct run got = {.c = &c, .s = &SLICES[i].shape};
            assert_int_equal(arena_open(&got.mem, "case", 64 << 20), STATUS_OK);
            op->prepare(&got);
            for (int64_t first = 0; first < ROWS; first += m) {
                struct run part = got;
                SLICES[i].slice(&part, first, first + m <= ROWS ? m : ROWS - first);
                op->call(&part);
            }
            assert_same_bits(&got, &want, op->name);
            kernel_run_close(&got);
        }
        kernel_run_close(&want);
    }
    ops_context_close(&c);
}

static void threads_change_nothing(void **state)
{
    const enum cpu_tier tier = *(const enum cpu_tier *)*state;
    struct ops_context one;
    const struct ops_options single = {.threads = 1};
    case_open_or_skip(&one, tier, &single);
    for (int threads = 2; threads <= 3; threads++) {
        struct ops_context c;
        const struct ops_options options = {.threads = threads};
        assert_int_equal(ops_context_open_tier(&c, &options, tier), STATUS_OK);
        for (int i = 0; i < CASE_COUNT; i++) {
            for (const struct shape *s = CASES[i].shapes; s->rows; s++) {
                struct run got;
                struct run want;
                run_case(&want, &one, &CASES[i], s);
                run_case(&got, &c, &CASES[i], s);
                assert_same_bits(&got, &want, CASES[i].name);
                kernel_run_close(&got);
                kernel_run_close(&want);
            }
        }
        ops_context_close(&c);
    }
    ops_context_close(&one);
}

static const struct shape QUERIES[] = {
    {.rows = 70, .heads = 3, .kv_heads = 1, .head_dim = 8},
    {.rows = 130, .heads = 2, .kv_heads = 2, .head_dim = 20, .softcap = 30.0f},
    {.rows = 100, .heads = 9, .kv_heads = 3, .head_dim = 64},
    {.rows = 110, .heads = 4, .kv_heads = 2, .head_dim = 80, .window = 35},
    {.rows = 75, .heads = 5, .kv_heads = 2, .head_dim = 12, .window = 3},
};

/* The sequence 0 of an attention case in pieces of `size` queries, each over the keys before it:
 * size 1 is decoding, larger ones are prefill. In one call (`together`) or a call each. */
static void attend_pieces(struct run *r, int64_t size, bool together)
{
    const struct attn_seq whole = r->seqs[0];
    const int64_t pieces = (whole.count + size - 1) / size;
    struct attn_seq *part = calloc((size_t)pieces, sizeof *part);
    assert_non_null(part);
    for (int64_t i = 0; i < pieces; i++) {
        const int64_t first = i * size;
        part[i] = whole;
        part[i].begin += first;
        part[i].pos_begin = first;
        part[i].count = first + size <= whole.count ? size : whole.count - first;
        part[i].tree = (int32_t)(together ? 0 : i);
    }
    struct run piece = *r;
    piece.a.attention.fwd.seqs = part;
    piece.a.attention.fwd.n_seq = together ? pieces : 1;
    for (int64_t i = 0; i < (together ? 1 : pieces); i++) {
        r->c->ops->attention(r->c, &piece.a.attention.fwd);
        piece.a.attention.fwd.seqs++;
    }
    free(part);
}

static void decode_is_prefill_is_training_in(void **state, enum compute compute)
{
    static const int64_t SIZES[] = {1, 2, 5, 31, 32, 33, 64};
    struct ops_context c;
    open_mode(&c, state, compute);
    const struct op_case *op = case_named("attention");
    for (size_t i = 0; i < sizeof QUERIES / sizeof QUERIES[0]; i++) {
        struct run want;
        run_case(&want, &c, op, &QUERIES[i]);
        for (size_t j = 0; j < 2 * sizeof SIZES / sizeof SIZES[0]; j++) {
            struct run got;
            run_case(&got, &c, op, &QUERIES[i]);
            memset(got.out[0], 0, (size_t)(got.a.attention.fwd.ldo * QUERIES[i].rows) * 4);
            attend_pieces(&got, SIZES[j / 2], j % 2 == 0);
            assert_same_bits(&got, &want, "attention in pieces");
            kernel_run_close(&got);
        }
        kernel_run_close(&want);
    }
    ops_context_close(&c);
}

static void decode_is_prefill_is_training(void **state)
{
    decode_is_prefill_is_training_in(state, COMPUTE_F32);
    decode_is_prefill_is_training_in(state, COMPUTE_BF16);
}

enum { COMPLETIONS = 24, PREFIX = 3 * OPS_ATTN_BLOCK + 5 };

/* Decoding completions of a prompt: their keys begin with the same rows, but for one that leaves them
 * after the first block; then each has its own, and queries at a place of its own. */
static void make_completions(const struct attn_seq *whole, int64_t count, struct attn_seq *seqs,
                             int32_t rows[COMPLETIONS][2 * PREFIX])
{
    for (int64_t i = 0; i < COMPLETIONS; i++) {
        const int64_t prefix = i == COMPLETIONS / 2 ? OPS_ATTN_BLOCK + 3 : PREFIX;
        const int64_t own = i % 40 + count;
        for (int64_t j = 0; j < prefix + own; j++) {
            const int64_t at = j < prefix ? j : PREFIX + (5 * i + j) % (whole->count - PREFIX);
            rows[i][j] = whole->key_rows[at];
        }
        seqs[i] = (struct attn_seq){.begin = whole->begin + i * count, .count = count,
                                    .pos_begin = prefix + own - count, .key_rows = rows[i],
                                    .tree = (int32_t)i};
    }
}

static void completions_do_not_see_each_other_in(void **state, enum compute compute)
{
    static const struct shape SHAPES[] = {{.rows = 150, .heads = 9, .kv_heads = 3, .head_dim = 64},
                                          {.rows = 150, .heads = 5, .kv_heads = 2, .head_dim = 12},
                                          {.rows = 150, .heads = 8, .kv_heads = 2, .head_dim = 128},
                                          {.rows = 150, .heads = 4, .kv_heads = 2, .head_dim = 16,
                                           .window = 40}};
    static int32_t rows[COMPLETIONS][2 * PREFIX];
    struct attn_seq seqs[COMPLETIONS];
    struct ops_context c;
    open_mode(&c, state, compute);
    for (size_t i = 0; i < 2 * sizeof SHAPES / sizeof SHAPES[0]; i++) {
        struct run together;
        struct run alone;
        run_case(&together, &c, case_named("attention"), &SHAPES[i / 2]);
        run_case(&alone, &c, case_named("attention"), &SHAPES[i / 2]);
        make_completions(&together.seqs[0], 1 + (int64_t)i % 2, seqs, rows);
        together.a.attention.fwd.seqs = seqs;
        together.a.attention.fwd.n_seq = COMPLETIONS;
        c.ops->attention(&c, &together.a.attention.fwd);
        for (int n = 0; n < COMPLETIONS; n++) {
            alone.a.attention.fwd.seqs = &seqs[n];
            alone.a.attention.fwd.n_seq = 1;
            c.ops->attention(&c, &alone.a.attention.fwd);
        }
        assert_same_bits(&alone, &together, "completions of a prompt");
        kernel_run_close(&together);
        kernel_run_close(&alone);
    }
    ops_context_close(&c);
}

static void completions_do_not_see_each_other(void **state)
{
    completions_do_not_see_each_other_in(state, COMPUTE_F32);
    completions_do_not_see_each_other_in(state, COMPUTE_BF16);
}

/* Moves every key row of the case to another place: what pages of a cache are. */
static void move_keys(struct run *r)
{
    struct attn_args *a = &r->a.attention.fwd;
    const int64_t pool = 4LL * r->s->rows + 16;
    float *k = run_input(r, pool * a->ldkv, 1.0f);
    float *v = run_input(r, pool * a->ldkv, 1.0f);
    for (int64_t i = 0; i < pool; i++) {
        const int64_t to = pool - 1 - i;
        memcpy(k + to * a->ldkv, a->k + i * a->ldkv, (size_t)a->ldkv * sizeof *k);
        memcpy(v + to * a->ldkv, a->v + i * a->ldkv, (size_t)a->ldkv * sizeof *v);
    }
    a->k = k;
    a->v = v;
    for (int64_t n = 0; n < a->n_seq; n++) {
        const struct attn_seq *s = &r->seqs[n];
        int32_t *rows = NULL;
        assert_int_equal(arena_alloc(&r->mem, (size_t)(s->pos_begin + s->count), sizeof *rows,
                                     &rows),
                         STATUS_OK);
        for (int64_t j = 0; j < s->pos_begin + s->count; j++) {
            rows[j] = (int32_t)(pool - 1 - s->key_rows[j]);
        }
        r->seqs[n].key_rows = rows;
    }
}

static void pages_change_nothing_in(void **state, enum compute compute)
{
    struct ops_context c;
    open_mode(&c, state, compute);
    const struct op_case *op = case_named("attention");
    for (const struct shape *s = op->shapes; s->rows; s++) {
        struct run want;
        struct run got;
        run_case(&want, &c, op, s);
        run_case(&got, &c, op, s);
        move_keys(&got);
        memset(got.out[1], 0, (size_t)got.count[1] * sizeof(float));
        op->call(&got);
        assert_same_bits(&got, &want, "attention over moved keys");
        kernel_run_close(&got);
        kernel_run_close(&want);
    }
    ops_context_close(&c);
}

static void pages_change_nothing(void **state)
{
    pages_change_nothing_in(state, COMPUTE_F32);
    pages_change_nothing_in(state, COMPUTE_BF16);
}

/* Each sequence alone writes what it writes among the others: branches of a tree included. dq obeys
 * the same rule; dk and dv of a shared prefix do not, being sums over its branches. */
static void sequences_do_not_see_each_other_in(void **state, enum compute compute)
{
    struct ops_context c;
    open_mode(&c, state, compute);
    const struct op_case *op = case_named("attention_backward");
    for (const struct shape *s = op->shapes; s->rows; s++) {
        struct run want;
        struct run got = {.c = &c, .s = s};
        run_case(&want, &c, op, s);
        assert_int_equal(arena_open(&got.mem, "case", 256 << 20), STATUS_OK);
        op->prepare(&got);
        for (int64_t n = got.a.attention.fwd.n_seq; n-- > 0;) {
            struct run alone = got;
            alone.a.attention.fwd.seqs = &got.seqs[n];
            alone.a.attention.fwd.n_seq = 1;
            op->call(&alone);
        }
        got.outputs = 3; /* out, lse, dq */
        want.outputs = 3;
        assert_same_bits(&got, &want, "sequence alone");
        kernel_run_close(&got);
        kernel_run_close(&want);
    }
    ops_context_close(&c);
}

static void sequences_do_not_see_each_other(void **state)
{
    sequences_do_not_see_each_other_in(state, COMPUTE_F32);
    sequences_do_not_see_each_other_in(state, COMPUTE_BF16);
}

int main(void)
{
    static const struct {
        const char *name;
        CMUnitTestFunction run;
    } TESTS[] = {
        {"rows do not see each other", rows_do_not_see_each_other},
        {"threads change nothing", threads_change_nothing},
        {"decode is prefill is training", decode_is_prefill_is_training},
        {"completions of a prompt do not see each other", completions_do_not_see_each_other},
        {"pages change nothing", pages_change_nothing},
        {"sequences do not see each other", sequences_do_not_see_each_other},
    };
    enum { COUNT = (int)(sizeof TESTS / sizeof TESTS[0]) * TIER_TESTS };
    struct CMUnitTest tests[COUNT];
    char names[COUNT][64];
    enum cpu_tier tiers[TIER_TESTS];
    memcpy(tiers, TIERS, sizeof tiers);
    for (int i = 0; i < COUNT; i++) {
        enum cpu_tier *tier = &tiers[i % TIER_TESTS];
        (void)snprintf(names[i], sizeof names[i], "%s on %s", TESTS[i / TIER_TESTS].name,
                       cpu_tier_name(*tier));
        tests[i] = (struct CMUnitTest){names[i], TESTS[i / TIER_TESTS].run, NULL, NULL, tier};
    }
    return _cmocka_run_group_tests("invariance", tests, COUNT, NULL, NULL);
}
