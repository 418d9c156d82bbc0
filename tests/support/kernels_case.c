/* Arguments, calls and shapes of every op; see kernels_case.h. */
#include "tests/support/kernels_case.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/rng.h"
#include "kernels/tensor/quant.h"

enum { CASE_BYTES = 256 << 20 };

float *run_input(struct run *r, int64_t count, float std)
{
    float *p = NULL;
    assert_int_equal(arena_alloc(&r->mem, (size_t)count, sizeof *p, &p), STATUS_OK);
    const struct rng_key key = {.seed = 11, .purpose = RNG_DATA, .module = r->stream++};
    rng_fill_normal(&key, p, count, std);
    return p;
}

float *run_inout(struct run *r, int64_t count, float std)
{
    float *p = run_input(r, count, std);
    assert_true(r->outputs < CASE_OUTPUTS);
    r->out[r->outputs] = p;
    r->count[r->outputs++] = count;
    return p;
}

float *run_output(struct run *r, int64_t count)
{
    float *p = run_inout(r, count, 1.0f);
    memset(p, 0, (size_t)count * sizeof *p);
    return p;
}

/* Types without a quantizer get random codes; their fp16 scales, where formats.md 3 puts them, are
 * made small numbers. */
static void encode_weight(enum dtype type, const float *values, void *packed, int64_t count)
{
    const struct dtype_row *row = dtype_row(type);
    if (row->encode) {
        row->encode(values, packed, count);
        return;
    }
    static const int scales[DTYPE_COUNT][2] = {
        [DTYPE_Q5_1] = {0, 2}, [DTYPE_Q4_K] = {0, 2}, [DTYPE_Q5_K] = {0, 2},
        [DTYPE_Q6_K] = {208, 208}};
    const int64_t bytes = count / row->block * row->bytes;
    uint8_t *out = packed;
    for (int64_t i = 0; i < bytes; i++) {
        const struct rng_key key = {.seed = 12, .purpose = RNG_DATA, .position = (uint32_t)i};
        out[i] = (uint8_t)(rng_uniform(&key) * 256.0f);
    }
    for (int64_t b = 0; b < bytes; b += row->bytes) {
        for (int i = 0; i < 2; i++) {
            const uint16_t scale = dtype_f32_to_f16(0.001f * (float)(1 + i + b % 7));
            memcpy(out + b + scales[type][i], &scale, sizeof scale);
        }
    }
}

void run_weight(struct run *r, int64_t rows, int64_t cols, float std)
{
    const enum dtype type = r->s ? r->s->dtype : DTYPE_F32;
    const float *values = run_input(r, rows * cols, std);
    void *packed = NULL;
    size_t bytes;
    if (type == DTYPE_NF4) {
        assert_int_equal(quant_nf4_bytes(rows * cols, &bytes), STATUS_OK);
        assert_int_equal(arena_alloc(&r->mem, 1, bytes, &packed), STATUS_OK);
        quant_nf4_encode(values, rows, cols, packed, &r->w);
        return;
    }
    r->w = (struct tensor){.dtype = type, .dims = 2, .shape = {rows, cols}, .data = values};
    assert_int_equal(dtype_row_bytes(type, cols, &r->w.row_bytes), STATUS_OK);
    if (type != DTYPE_F32) {
        assert_int_equal(arena_alloc(&r->mem, (size_t)rows, r->w.row_bytes, &packed), STATUS_OK);
        encode_weight(type, values, packed, rows * cols);
        r->w.data = packed;
    }
}

static int32_t *run_ids(struct run *r, int64_t count, int32_t limit)
{
    int32_t *ids = NULL;
    assert_int_equal(arena_alloc(&r->mem, (size_t)count, sizeof *ids, &ids), STATUS_OK);
    for (int64_t i = 0; i < count; i++) {
        ids[i] = (int32_t)((i * 7 + i / 3 * 5) % limit);
    }
    return ids;
}

/* Three units: an empty one, all but one row, the last row. */
static void run_units(struct run *r, int64_t rows)
{
    r->units[0] = 0;
    r->units[1] = 0;
    r->units[2] = rows - 1;
    r->units[3] = rows;
}

static bool has(const struct run *r, int flag)
{
    return (r->s->flags & flag) != 0;
}

static void gemm_prepare(struct run *r)
{
    const struct shape *s = r->s;
    run_weight(r, s->n + 3, s->k, 1.0f);
    r->c->compute = has(r, SHAPE_BF16) ? COMPUTE_BF16 : COMPUTE_F32;
    r->a.gemm = (struct gemm_args){
        .x = run_input(r, (int64_t)s->rows * (s->k + 1), 1.0f), .ldx = s->k + 1, .m = s->rows,
        .w = &r->w, .first_row = 2, .n = s->n, .ldy = s->n + 2, .alpha = 0.75f,
        .accumulate = has(r, SHAPE_ACCUMULATE)};
    r->a.gemm.y = run_inout(r, (int64_t)s->rows * (s->n + 2), 1.0f);
    r->a.gemm.bias = has(r, SHAPE_BIAS) ? run_input(r, s->n, 1.0f) : NULL;
}

static void gemm_call(struct run *r)
{
    r->c->ops->gemm(r->c, &r->a.gemm);
}

static void gemm_dx_prepare(struct run *r)
{
    const struct shape *s = r->s;
    run_weight(r, s->n + 3, s->k, 1.0f);
    r->c->compute = has(r, SHAPE_BF16) ? COMPUTE_BF16 : COMPUTE_F32;
    r->a.gemm_dx = (struct gemm_dx_args){
        .dy = run_input(r, (int64_t)s->rows * (s->n + 1), 1.0f), .ldy = s->n + 1, .m = s->rows,
        .w = &r->w, .first_row = 2, .n = s->n, .ldx = s->k + 2, .alpha = 0.75f,
        .accumulate = has(r, SHAPE_ACCUMULATE)};
    r->a.gemm_dx.dx = run_inout(r, (int64_t)s->rows * (s->k + 2), 1.0f);
}

static void gemm_dx_call(struct run *r)
{
    r->c->ops->gemm_dx(r->c, &r->a.gemm_dx);
}

static void gemm_dw_prepare(struct run *r)
{
    const struct shape *s = r->s;
    run_units(r, s->rows);
    r->c->compute = has(r, SHAPE_BF16) ? COMPUTE_BF16 : COMPUTE_F32;
    r->a.gemm_dw = (struct gemm_dw_args){
        .dy = run_input(r, (int64_t)s->rows * (s->n + 1), 1.0f), .ldy = s->n + 1,
        .x = run_input(r, (int64_t)s->rows * (s->k + 2), 1.0f), .ldx = s->k + 2,
        .n = s->n, .k = s->k, .dw = run_inout(r, (int64_t)s->n * s->k, 1.0f), .alpha = 0.75f,
        .unit_begin = r->units, .units = 3};
}

static void gemm_dw_call(struct run *r)
{
    r->c->ops->gemm_dw(r->c, &r->a.gemm_dw);
}

static void rmsnorm_prepare(struct run *r)
{
    const struct shape *s = r->s;
    r->a.rmsnorm = (struct rmsnorm_args){
        .x = run_input(r, (int64_t)s->rows * (s->n + 1), 1.0f), .ldx = s->n + 1,
        .y = run_output(r, (int64_t)s->rows * s->n), .ldy = s->n,
        .w = has(r, SHAPE_NO_WEIGHT) ? NULL : run_input(r, s->n, 1.0f),
        .plus_one = has(r, SHAPE_PLUS_ONE), .eps = 1e-6f, .rstd = run_output(r, s->rows),
        .rows = s->rows, .cols = s->n};
}

static void rmsnorm_call(struct run *r)
{
    r->c->ops->rmsnorm(r->c, &r->a.rmsnorm);
}

static void rmsnorm_backward_prepare(struct run *r)
{
    const struct shape *s = r->s;
    float *rstd = run_input(r, s->rows, 0.2f);
    for (int i = 0; i < s->rows; i++) {
        rstd[i] += 1.0f;
    }
    run_units(r, s->rows);
    r->a.rmsnorm_backward = (struct rmsnorm_backward_args){
        .x = run_input(r, (int64_t)s->rows * s->n, 1.0f), .ldx = s->n,
        .dy = run_input(r, (int64_t)s->rows * (s->n + 1), 1.0f), .ldy = s->n + 1,
        .w = has(r, SHAPE_NO_WEIGHT) ? NULL : run_input(r, s->n, 1.0f),
        .plus_one = has(r, SHAPE_PLUS_ONE), .rstd = rstd,
        .dx = run_inout(r, (int64_t)s->rows * s->n, 1.0f), .lddx = s->n,
        .accumulate = has(r, SHAPE_ACCUMULATE),
        .dw = has(r, SHAPE_NO_WEIGHT) ? NULL : run_inout(r, s->n, 1.0f),
        .unit_begin = r->units, .units = 3, .rows = s->rows, .cols = s->n};
}

static void rmsnorm_backward_call(struct run *r)
{
    r->c->ops->rmsnorm_backward(r->c, &r->a.rmsnorm_backward);
}

static void rope_prepare(struct run *r)
{
    const struct shape *s = r->s;
    const int64_t width = (int64_t)s->heads * s->head_dim + 3;
    float *angle = run_input(r, 50 * s->n / 2, 2.0f);
    float *sine = run_input(r, 50 * s->n / 2, 1.0f);
    for (int64_t i = 0; i < 50 * s->n / 2; i++) {
        sine[i] = sinf(angle[i]);
        angle[i] = cosf(angle[i]);
    }
    r->a.rope = (struct rope_args){
        .x = run_inout(r, s->rows * width, 1.0f), .ldx = width, .rows = s->rows, .heads = s->heads,
        .head_dim = s->head_dim, .dim = s->n, .cos = angle, .sin = sine,
        .position = run_ids(r, s->rows, 50), .inverse = has(r, SHAPE_INVERSE)};
}

static void rope_call(struct run *r)
{
    r->c->ops->rope(r->c, &r->a.rope);
}

static void glu_prepare(struct run *r)
{
    const int64_t n = r->s->rows;
    float *g = run_input(r, n, 3.0f);
    g[0] = -120.0f; /* where e^-g is past the largest float */
    g[n - 1] = 120.0f;
    r->a.glu = (struct glu_args){.g = g, .u = run_input(r, n, 1.0f), .h = run_output(r, n),
                                 .count = n, .act = has(r, SHAPE_GELU) ? ACT_GELU_TANH : ACT_SILU};
}

static void glu_call(struct run *r)
{
    r->c->ops->glu(r->c, &r->a.glu);
}

static void glu_backward_prepare(struct run *r)
{
    const int64_t n = r->s->rows;
    float *g = run_inout(r, n, 3.0f);
    float *u = run_inout(r, n, 1.0f);
    g[0] = -120.0f;
    g[n - 1] = 120.0f;
    r->a.glu_backward = (struct glu_backward_args){
        .g = g, .u = u, .dh = run_input(r, n, 1.0f), .dg = g, .du = u, .count = n,
        .act = has(r, SHAPE_GELU) ? ACT_GELU_TANH : ACT_SILU};
}

static void glu_backward_call(struct run *r)
{
    r->c->ops->glu_backward(r->c, &r->a.glu_backward);
}

static void embed_prepare(struct run *r)
{
    const struct shape *s = r->s;
    run_weight(r, 30, s->n, 1.0f);
    r->a.embed = (struct embed_args){.w = &r->w, .ids = run_ids(r, s->rows, 30), .rows = s->rows,
                                     .scale = 1.5f,
                                     .y = run_output(r, (int64_t)s->rows * s->n)};
}

static void embed_call(struct run *r)
{
    r->c->ops->embed(r->c, &r->a.embed);
}

static void embed_backward_prepare(struct run *r)
{
    const struct shape *s = r->s;
    r->a.embed_backward = (struct embed_backward_args){
        .dy = run_input(r, (int64_t)s->rows * s->n, 1.0f), .ids = run_ids(r, s->rows, 5),
        .rows = s->rows, .cols = s->n, .scale = 1.5f, .dw = run_inout(r, 5LL * s->n, 1.0f)};
}

static void embed_backward_call(struct run *r)
{
    r->c->ops->embed_backward(r->c, &r->a.embed_backward);
}

/* Two calls, as the head makes them: [0, chunk) and [chunk, n). */
static void logit_prepare(struct run *r)
{
    const struct shape *s = r->s;
    float *logits = run_input(r, (int64_t)s->rows * (s->n + 1), 4.0f);
    const bool sums = has(r, SHAPE_ENTROPY); /* a sum with -inf says nothing */
    logits[1] = sums ? -60.0f : -INFINITY;
    logits[s->n / 2] = logits[s->n - 1] = 40.0f; /* a tie: the first wins */
    struct logit_stats *stats = (struct logit_stats *)run_output(r, s->rows * 6LL);
    for (int i = 0; i < s->rows; i++) {
        stats[i] = (struct logit_stats)LOGIT_STATS_INIT;
    }
    int32_t *targets = run_ids(r, s->rows, s->n);
    targets[0] = -1;
    r->a.logit = (struct logit_args){.logits = logits, .ld = s->n + 1, .rows = s->rows, .n = s->n,
                                     .targets = targets, .inv_temperature = 1.25f,
                                     .softcap = s->softcap, .stats = stats,
                                     .sums = sums ? run_output(r, s->rows) : NULL};
}

static void logit_call(struct run *r)
{
    const struct logit_args all = r->a.logit;
    for (int64_t first = 0; first < all.n; first += OPS_HEAD_CHUNK) {
        struct logit_args part = all;
        part.logits = all.logits + first;
        part.first = all.first + first;
        part.n = all.n - first < OPS_HEAD_CHUNK ? all.n - first : OPS_HEAD_CHUNK;
        r->c->ops->logit_stats(r->c, &part);
    }
    for (int64_t i = 0; i < all.rows; i++) { /* ids as floats: they must agree exactly */
        const float id = (float)all.stats[i].best_id;
        memcpy(&all.stats[i].best_id, &id, sizeof id);
    }
}

static void logit_grad_prepare(struct run *r)
{
    const struct shape *s = r->s;
    float *logits = run_inout(r, (int64_t)s->rows * (s->n + 1), 2.0f);
    int32_t *targets = run_ids(r, s->rows, s->n);
    targets[0] = -1;
    float *lse = run_input(r, s->rows, 0.2f);
    for (int i = 0; i < s->rows; i++) {
        lse[i] += 6.0f;
        logits[(int64_t)i * (s->n + 1)] = -INFINITY; /* probability 0, gradient 0 */
    }
    for (int i = 0; s->softcap > 0.0f && i < s->rows; i++) {
        logits[(int64_t)i * (s->n + 1)] = -300.0f; /* deep in the cap's flat part */
    }
    r->a.logit_grad = (struct logit_grad_args){
        .logits = logits, .ld = s->n + 1, .rows = s->rows, .n = s->n, .targets = targets,
        .inv_temperature = 1.25f, .softcap = s->softcap, .lse = lse,
        .entropy = run_input(r, s->rows, 1.0f), .dlogp = run_input(r, s->rows, 1.0f),
        .dentropy = has(r, SHAPE_ENTROPY) ? run_input(r, s->rows, 1.0f) : NULL,
        .dmean = has(r, SHAPE_ENTROPY) ? run_input(r, s->rows, 3.0f) : NULL,
        .inv_vocab = 1.0f / (float)s->n};
}

static void logit_grad_call(struct run *r)
{
    r->c->ops->logit_grad(r->c, &r->a.logit_grad);
}

/* States of small positive numbers, so that they pass as squares too. */
static void update_prepare(struct run *r, enum update_rule rule, int states)
{
    const int64_t n = r->s->rows;
    r->a.update = (struct update_args){
        .rule = rule, .p = run_inout(r, n, 1.0f), .g = run_input(r, n, 1.0f), .count = n,
        .lr = 0.01, .beta1 = 0.9, .beta2 = 0.999, .beta3 = 0.9999, .alpha = 5.0, .eps = 1e-8,
        .momentum = 0.7, .dampening = 0.2, .weight_decay = 0.1, .grad_scale = 0.5, .step = 3};
    for (int k = 0; k < states; k++) {
        float *state = run_inout(r, n, 1.0f);
        r->a.update.state[k].value = state;
        for (int64_t i = 0; i < n; i++) {
            state[i] *= state[i];
        }
    }
}

static void adamw_prepare(struct run *r)
{
    update_prepare(r, UPDATE_ADAMW, 2);
}

static void ademamix_prepare(struct run *r)
{
    update_prepare(r, UPDATE_ADEMAMIX, 3);
}

static void sgd_prepare(struct run *r)
{
    update_prepare(r, UPDATE_SGD, 1);
    r->a.update.nesterov = true;
}

static void lion_prepare(struct run *r)
{
    update_prepare(r, UPDATE_LION, 1);
}

static void adagrad_prepare(struct run *r)
{
    update_prepare(r, UPDATE_ADAGRAD, 1);
}

static void rmsprop_prepare(struct run *r)
{
    update_prepare(r, UPDATE_RMSPROP, 3);
}

static void update_call(struct run *r)
{
    r->c->ops->update(r->c, &r->a.update);
}

static void adafactor_prepare(struct run *r)
{
    const int64_t rows = r->s->rows;
    const int64_t cols = 3;
    r->a.adafactor = (struct adafactor_args){
        .p = run_inout(r, rows * cols, 1.0f), .g = run_input(r, rows * cols, 1.0f),
        .row = run_output(r, rows), .col = run_output(r, cols), .batch = 1, .rows = rows,
        .cols = cols, .lr = 0.01, .beta2 = 0.5, .eps = 1e-30, .clip = 1.0, .weight_decay = 0.1,
        .grad_scale = 0.5};
}

static void adafactor_call(struct run *r)
{
    r->c->ops->adafactor(r->c, &r->a.adafactor);
}

static void axpy_prepare(struct run *r)
{
    r->n = r->s->rows;
    r->x = run_input(r, r->n, 1.0f);
    r->y = run_inout(r, r->n, 1.0f);
}

static void axpy_call(struct run *r)
{
    r->c->ops->axpy(r->c, r->y, r->x, 0.375f, r->n);
}

static void square_sum_prepare(struct run *r)
{
    r->n = r->s->rows;
    r->x = run_input(r, r->n, 1.0f);
    r->y = run_output(r, 1);
}

static void square_sum_call(struct run *r)
{
    r->y[0] = (float)(r->c->ops->square_sum(r->c, r->x, r->n) / (double)r->n);
}

/* Gives sequence `index` the queries [begin, begin + count) at pos_begin; its keys before pos_begin
 * are `prefix`'s first ones, its own lie at rows perm[begin..]. */
static void add_seq(struct run *r, int index, const struct attn_seq *prefix, int64_t begin,
                    int64_t count, int64_t pos_begin, int32_t tree, const int32_t *perm)
{
    int32_t *rows = NULL;
    assert_int_equal(
        arena_alloc(&r->mem, (size_t)(pos_begin + count), sizeof *rows, &rows), STATUS_OK);
    for (int64_t j = 0; j < pos_begin; j++) {
        rows[j] = prefix->key_rows[j];
    }
    for (int64_t j = 0; j < count; j++) {
        rows[pos_begin + j] = perm[begin + j];
    }
    r->seqs[index] = (struct attn_seq){begin, count, pos_begin, rows, tree};
}

/* Number of query rows; fills r->seqs. `keys` counts the key rows in use. */
static int64_t attention_seqs(struct run *r, int64_t *n_seq, int64_t *keys, const int32_t *perm)
{
    const int64_t len = r->s->rows;
    if (has(r, SHAPE_DECODE)) { /* caches of different lengths, then one query each */
        int64_t used = 0;
        for (int i = 0; i < 4; i++) {
            const int64_t cache = len * (i + 1) / 4;
            struct attn_seq prefix = {.key_rows = perm + used};
            add_seq(r, i, &prefix, i, 1, cache, i, perm + used + cache - i);
            used += cache + 1;
        }
        *n_seq = 4;
        *keys = used;
        return 4;
    }
    add_seq(r, 0, NULL, 0, len, 0, 0, perm);
    if (has(r, SHAPE_TREE)) {
        add_seq(r, 1, &r->seqs[0], len, len / 2 + 1, len, 0, perm);
        add_seq(r, 2, &r->seqs[0], len + len / 2 + 1, 3, len, 0, perm);
        add_seq(r, 3, NULL, len + len / 2 + 4, 5, 0, 1, perm);
        *n_seq = 4;
        *keys = len + len / 2 + 9;
        return *keys;
    }
    add_seq(r, 1, NULL, len, 1, 0, 1, perm);
    add_seq(r, 2, NULL, len + 1, len / 2 + 1, 0, 2, perm);
    *n_seq = 3;
    *keys = len + len / 2 + 2;
    return *keys;
}

/* Keys lie in shuffled rows of a buffer whose other rows are NaN: reading one shows. */
static void attention_prepare(struct run *r)
{
    const struct shape *s = r->s;
    const int64_t pool = 4LL * s->rows + 16;
    int64_t *order = NULL;
    int32_t *perm = NULL;
    assert_int_equal(arena_alloc(&r->mem, (size_t)pool, sizeof *order, &order), STATUS_OK);
    assert_int_equal(arena_alloc(&r->mem, (size_t)pool, sizeof *perm, &perm), STATUS_OK);
    struct rng_mt19937 g;
    rng_mt_seed(&g, 5);
    rng_mt_randperm(&g, order, pool);
    for (int64_t i = 0; i < pool; i++) {
        perm[i] = (int32_t)order[i];
    }
    int64_t n_seq;
    int64_t keys;
    const int64_t tokens = attention_seqs(r, &n_seq, &keys, perm);
    const int64_t width = (int64_t)s->heads * s->head_dim;
    const int64_t kv = (int64_t)s->kv_heads * s->head_dim + 1;
    float *k = run_input(r, pool * kv, 1.5f);
    float *v = run_input(r, pool * kv, 1.0f);
    for (int64_t i = keys * kv; i < pool * kv; i++) {
        k[perm[i / kv] * kv + i % kv] = NAN;
        v[perm[i / kv] * kv + i % kv] = NAN;
    }
    r->a.attention.fwd = (struct attn_args){
        .q = run_input(r, tokens * (width + 2), 1.5f), .ldq = width + 2, .k = k, .v = v,
        .ldkv = kv, .out = run_output(r, tokens * (width + 1)), .ldo = width + 1,
        .lse = run_output(r, tokens * s->heads), .seqs = r->seqs, .n_seq = n_seq,
        .heads = s->heads, .kv_heads = s->kv_heads, .head_dim = s->head_dim,
        .scale = 1.0f / sqrtf((float)s->head_dim), .window = s->window, .softcap = s->softcap};
}

static void attention_call(struct run *r)
{
    r->c->ops->attention(r->c, &r->a.attention.fwd);
}

static void attention_backward_prepare(struct run *r)
{
    attention_prepare(r);
    struct attn_backward_args *b = &r->a.attention;
    const int64_t tokens = r->count[1] / b->fwd.heads;
    const int64_t pool = 4LL * r->s->rows + 16;
    b->dout = run_input(r, tokens * b->fwd.ldo, 1.0f);
    b->dq = run_inout(r, tokens * b->fwd.ldq, 1.0f); /* must be overwritten */
    b->dk = run_output(r, pool * b->fwd.ldkv);
    b->dv = run_output(r, pool * b->fwd.ldkv);
}

static void attention_backward_call(struct run *r)
{
    r->c->ops->attention(r->c, &r->a.attention.fwd);
    r->c->ops->attention_backward(r->c, &r->a.attention);
}

/* Bounds, in 2^-24 of the largest output. A sum of n products of N(0,1) done in another order
 * differs by about sqrt(n) roundings of partial sums no larger than the result's scale; 2 covers
 * the tail of that distribution. */
static double tol_sum(double terms)
{
    return 8.0 + 2.0 * sqrt(terms);
}

/* Products have one order for all tiers; only pairs of bf16 may round otherwise. */
static double tol_product(const struct shape *s, double terms)
{
    return s->flags & SHAPE_BF16 ? tol_sum(terms) : 0.0;
}

static double tol_gemm(const struct shape *s)
{
    return tol_product(s, s->k);
}

static double tol_gemm_dx(const struct shape *s)
{
    return tol_product(s, s->n);
}

static double tol_gemm_dw(const struct shape *s)
{
    return tol_product(s, s->rows);
}

static double tol_norm(const struct shape *s)
{
    return tol_sum(s->n);
}

static double tol_embed_grad(const struct shape *s)
{
    return tol_sum(s->rows);
}

/* Elementwise: a handful of roundings and a 2 ulp exp. */
static double tol_element(const struct shape *s)
{
    (void)s;
    return 8.0;
}

/* The exponent z - lse carries the rounding of z (up to 2^5: 32 units of 2^-24) and twice that
 * through a softcap, which exp turns into a relative error; sums over the chunk add theirs. */
static double tol_head(const struct shape *s)
{
    return (s->softcap > 0.0f ? 64.0 : 32.0) + sqrt(s->n);
}

/* Scores of standard deviation 2.25 reach about 12: their rounding over head_dim products becomes a
 * relative error of p, twice that through a softcap; dk and dv sum over queries and heads. */
static double tol_attention(const struct shape *s)
{
    const double score = 8.0 + 2.0 * sqrt(s->head_dim);
    const double sums = (double)s->rows * s->heads / s->kv_heads;
    return score * (s->softcap > 0.0f ? 2.0 : 1.0) + sqrt(sums);
}

static double flops_product(const struct shape *s)
{
    return 2.0 * s->rows * s->n * s->k;
}

static double attention_pairs(const struct shape *s)
{
    const double len = s->rows;
    if (s->flags & SHAPE_DECODE) {
        return (len / 4 + len / 2 + 3 * len / 4 + len) * s->heads * s->head_dim;
    }
    return (len * len / 2 + len * len / 8) * s->heads * s->head_dim;
}

static double flops_attention(const struct shape *s)
{
    return 4.0 * attention_pairs(s);
}

/* Forward and backward, the recomputation of the scores not counted. */
static double flops_attention_backward(const struct shape *s)
{
    return 12.0 * attention_pairs(s);
}

static double flops_elements(const struct shape *s)
{
    return (double)s->rows * (s->n ? s->n : 1);
}

static const struct shape PRODUCTS[] = {
    {.rows = 1, .n = 1, .k = 2},
    {.rows = 3, .n = 17, .k = 32, .flags = SHAPE_ACCUMULATE},
    {.rows = 33, .n = 45, .k = 70, .flags = SHAPE_BIAS},
    {.rows = 67, .n = 96, .k = 256},
    {.rows = 40, .n = 33, .k = 544, .flags = SHAPE_ACCUMULATE},
    {.rows = 19, .n = 50, .k = 96, .flags = SHAPE_BF16 | SHAPE_BIAS},
    {.rows = 11, .n = 29, .k = 46, .dtype = DTYPE_BF16},
    {.rows = 5, .n = 18, .k = 34, .dtype = DTYPE_F16, .flags = SHAPE_BF16},
    {.rows = 35, .n = 40, .k = 352, .dtype = DTYPE_Q8_0},
    {.rows = 9, .n = 37, .k = 160, .dtype = DTYPE_Q4_0, .flags = SHAPE_BF16},
    {.rows = 21, .n = 33, .k = 512, .dtype = DTYPE_Q4_K},
    {.rows = 2, .n = 70, .k = 768, .dtype = DTYPE_Q6_K, .flags = SHAPE_BF16 | SHAPE_ACCUMULATE},
    {.rows = 13, .n = 21, .k = 96, .dtype = DTYPE_NF4},
    {0}};

static const struct shape NORMS[] = {
    {.rows = 1, .n = 1},
    {.rows = 5, .n = 7, .flags = SHAPE_PLUS_ONE},
    {.rows = 70, .n = 20, .flags = SHAPE_NO_WEIGHT | SHAPE_ACCUMULATE},
    {.rows = 41, .n = 64, .flags = SHAPE_ACCUMULATE},
    {.rows = 9, .n = 577},
    {0}};

static const struct shape ROPES[] = {
    {.rows = 1, .n = 2, .heads = 1, .head_dim = 2},
    {.rows = 7, .n = 12, .heads = 3, .head_dim = 20, .flags = SHAPE_INVERSE},
    {.rows = 13, .n = 64, .heads = 9, .head_dim = 64},
    {.rows = 4, .n = 80, .heads = 2, .head_dim = 80, .flags = SHAPE_INVERSE},
    {0}};

static const struct shape ATTENTIONS[] = {
    {.rows = 1, .heads = 1, .kv_heads = 1, .head_dim = 2},
    {.rows = 7, .heads = 4, .kv_heads = 2, .head_dim = 8},
    {.rows = 33, .heads = 3, .kv_heads = 3, .head_dim = 12, .flags = SHAPE_TREE},
    {.rows = 64, .heads = 5, .kv_heads = 2, .head_dim = 20, .window = 9},
    {.rows = 70, .heads = 6, .kv_heads = 2, .head_dim = 64, .softcap = 20.0f},
    {.rows = 100, .heads = 9, .kv_heads = 3, .head_dim = 64, .flags = SHAPE_TREE},
    {.rows = 90, .heads = 2, .kv_heads = 1, .head_dim = 80, .window = 40, .flags = SHAPE_TREE},
    {.rows = 45, .heads = 130, .kv_heads = 1, .head_dim = 6},
    {.rows = 40, .heads = 2, .kv_heads = 1, .head_dim = 512, .softcap = 50.0f, .window = 32},
    {.rows = 150, .heads = 9, .kv_heads = 3, .head_dim = 64, .flags = SHAPE_DECODE},
    {.rows = 75, .heads = 8, .kv_heads = 1, .head_dim = 128, .window = 20, .flags = SHAPE_DECODE},
    {0}};

static const struct shape ELEMENTS[] = {
    {.rows = 1}, {.rows = 15, .flags = SHAPE_GELU}, {.rows = 33}, {.rows = 9000},
    {.rows = 4099, .flags = SHAPE_GELU}, {0}};

static const struct shape EMBEDS[] = {
    {.rows = 1, .n = 2}, {.rows = 40, .n = 37}, {.rows = 33, .n = 96, .dtype = DTYPE_Q8_0}, {0}};

static const struct shape HEADS[] = {
    {.rows = 1, .n = 2},
    {.rows = 5, .n = 77, .softcap = 30.0f, .flags = SHAPE_ENTROPY},
    {.rows = 3, .n = 4096, .flags = SHAPE_ENTROPY},
    {.rows = 4, .n = 9001},
    {.rows = 2, .n = 5000, .softcap = 10.0f},
    {0}};

const struct op_case CASES[] = {
    {"gemm", gemm_prepare, gemm_call, PRODUCTS, tol_gemm, flops_product},
    {"gemm_dx", gemm_dx_prepare, gemm_dx_call, PRODUCTS, tol_gemm_dx, flops_product},
    {"gemm_dw", gemm_dw_prepare, gemm_dw_call, PRODUCTS, tol_gemm_dw, flops_product},
    {"rmsnorm", rmsnorm_prepare, rmsnorm_call, NORMS, tol_norm, flops_elements},
    {"rmsnorm_backward", rmsnorm_backward_prepare, rmsnorm_backward_call, NORMS, tol_norm,
     flops_elements},
    {"rope", rope_prepare, rope_call, ROPES, tol_element, NULL},
    {"attention", attention_prepare, attention_call, ATTENTIONS, tol_attention, flops_attention},
    {"attention_backward", attention_backward_prepare, attention_backward_call, ATTENTIONS,
     tol_attention, flops_attention_backward},
    {"glu", glu_prepare, glu_call, ELEMENTS, tol_element, flops_elements},
    {"glu_backward", glu_backward_prepare, glu_backward_call, ELEMENTS, tol_element,
     flops_elements},
    {"embed", embed_prepare, embed_call, EMBEDS, tol_element, NULL},
    {"embed_backward", embed_backward_prepare, embed_backward_call, EMBEDS, tol_embed_grad, NULL},
    {"logit_stats", logit_prepare, logit_call, HEADS, tol_head, flops_elements},
    {"logit_grad", logit_grad_prepare, logit_grad_call, HEADS, tol_head, flops_elements},
    {"adamw", adamw_prepare, update_call, ELEMENTS, tol_element, flops_elements},
    {"ademamix", ademamix_prepare, update_call, ELEMENTS, tol_element, flops_elements},
    {"sgd", sgd_prepare, update_call, ELEMENTS, tol_element, flops_elements},
    {"lion", lion_prepare, update_call, ELEMENTS, tol_element, flops_elements},
    {"adagrad", adagrad_prepare, update_call, ELEMENTS, tol_element, flops_elements},
    {"rmsprop", rmsprop_prepare, update_call, ELEMENTS, tol_element, flops_elements},
    {"adafactor", adafactor_prepare, adafactor_call, ELEMENTS, tol_element, flops_elements},
    {"axpy", axpy_prepare, axpy_call, ELEMENTS, tol_element, flops_elements},
    {"square_sum", square_sum_prepare, square_sum_call, ELEMENTS, tol_element, flops_elements},
};
const int CASE_COUNT = (int)(sizeof CASES / sizeof CASES[0]);

void run_case(struct run *r, struct ops_context *c, const struct op_case *op,
              const struct shape *s)
{
    *r = (struct run){.c = c, .s = s};
    assert_int_equal(arena_open(&r->mem, "case", CASE_BYTES), STATUS_OK);
    op->prepare(r);
    op->call(r);
    assert_int_equal(c->ops->sync(c), STATUS_OK);
}

void kernel_run_close(struct run *r)
{
    arena_close(&r->mem);
}

void case_open_or_skip(struct ops_context *c, enum cpu_tier tier, const struct ops_options *o)
{
    if (tier > cpu_best_tier()) {
        print_message("tier %s: this machine only has %s\n", cpu_tier_name(tier),
                      cpu_tier_name(cpu_best_tier()));
        skip();
    }
    assert_int_equal(ops_context_open_tier(c, o, tier), STATUS_OK);
}

double case_error(const float *a, const float *b, int64_t count)
{
    double worst = 0.0;
    double scale = 1.0;
    for (int64_t i = 0; i < count; i++) {
        if (a[i] == b[i] || (isnan(a[i]) && isnan(b[i]))) {
            continue;
        }
        if (!isfinite(a[i]) || !isfinite(b[i])) {
            return INFINITY;
        }
        worst = fmax(worst, fabs((double)a[i] - (double)b[i]));
    }
    for (int64_t i = 0; i < count; i++) {
        scale = isfinite(b[i]) ? fmax(scale, fabs((double)b[i])) : scale;
    }
    return worst / scale;
}

const struct op_case *case_named(const char *name)
{
    for (int i = 0; i < CASE_COUNT; i++) {
        if (strcmp(CASES[i].name, name) == 0) {
            return &CASES[i];
        }
    }
    fail_msg("no case named %s", name);
    return NULL;
}
