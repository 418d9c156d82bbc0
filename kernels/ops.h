/*
 * The backend vtable: every numeric operation the models need, on one context.
 *
 * Conventions. Activations are row-major float. `rows` are tokens (or token x head). Weights are
 * `struct tensor` views [out, in] of any dtype, decoded on the fly. An entry marked (optional) may
 * be NULL: callers use the composed default. Entries return void: sizes are checked before, when a
 * plan is made; a device error comes out of sync().
 *
 * Batch invariance (design 1.2, 3): every output row is computed in an order that depends on the
 * shapes of the weights alone, never on the number of rows, their place, paging or threads. All
 * products accumulate in fp32, k ascending, one fused multiply-add per k from +0 (k_slices equal
 * slices are each summed so and then added pairwise, nearest first); a tier that works on pairs
 * (bf16 dot products) keeps its own one rule for every M. Weight gradients: 32-token blocks counted
 * from each unit's first token, tokens ascending inside a block from +0, block sums added to the
 * gradient in order.
 *
 * In COMPUTE_BF16 both operands of gemm, gemm_dx and gemm_dw are rounded to bf16 (half to even)
 * first and products accumulate in fp32; so are those of attention's products: q, k, v, dout, the
 * probabilities relative to the running maximum (in the backward to the log-sum-exp) and d score.
 * Everything else stays fp32, the sum of the probabilities as well.
 *
 * The code rule: in COMPUTE_BF16 weights of gemm are not rounded where their blocks hold integers
 * (kernels/tensor/codes.h) and k_slices is 1. Integers and rounded x are summed block by block, k
 * ascending from +0; for each block sum = fma(scale, block's sum, sum), then, where there are
 * minima, sum = fma(minimum, sum of the block's x, sum). A tier of bf16 tiles, whose sums run over
 * several blocks, rounds decoded weights instead, and so does every tier where a weight has resident
 * panels (struct tensor_panels).
 */
#pragma once

#include "kernels/base/arena.h"
#include "kernels/base/cpu.h"
#include "kernels/base/parallel.h"
#include "kernels/tensor/dynamic8.h"
#include "kernels/tensor/tensor.h"

enum compute { COMPUTE_F32, COMPUTE_BF16 };

enum activation { ACT_SILU, ACT_GELU_TANH };

enum {
    OPS_GRAD_BLOCK = 32,    /* tokens per block of a weight gradient */
    OPS_ATTN_BLOCK = 32,    /* keys per block, counted from logical position 0 */
    OPS_HEAD_CHUNK = 4096   /* vocabulary rows per chunk of the head */
};

struct ops_context {
    const struct ops *ops;
    struct pool *pool;     /* NULL: one thread */
    enum cpu_tier tier;
    bool has_bf16_dot;     /* VDPBF16PS available and tier >= AVX512 */
    enum compute compute;
    int k_slices;          /* >= 1, power of two */
    struct arena scratch;  /* per-context scratch, cut per thread by the backend */
};

/* A low-rank product added to the result of gemm or gemm_dx, with the bits of a second call that
 * accumulates: gemm adds alpha * x[m, r] . w[n, r]^T, gemm_dx adds alpha * x[m, r] . w[r, k]. */
struct gemm_tail {
    const float *x; /* [m, r], row stride ldx */
    int64_t ldx;
    const struct tensor *w;
    float alpha;
};

/* y[m, 0..n) (+)= alpha * x[m, 0..k) . w[first_row + 0..n, 0..k)^T (+ bias[n], not scaled).
 * accumulate: y_new = y_old + alpha * sum; else y = alpha * sum (+ bias). In COMPUTE_BF16 x may be
 * given as x16, the bf16 it would be rounded to; then k and ldx are even. */
struct gemm_args {
    const float *x; /* [m, k], row stride ldx elements */
    const uint16_t *x16; /* instead of x, or NULL */
    int64_t ldx;
    int64_t m;
    const struct tensor *w; /* [>= first_row + n, k] */
    int64_t first_row;
    int64_t n;
    float *y; /* [m, n], row stride ldy */
    int64_t ldy;
    const float *bias; /* [n] or NULL */
    float alpha;
    bool accumulate;
    const struct gemm_tail *tail; /* NULL: none */
};

/* dx[m, 0..k) (+)= alpha * dy[m, 0..n) . w[first_row + 0..n, 0..k): reduction over n ascending. */
struct gemm_dx_args {
    const float *dy; /* [m, n], row stride ldy */
    const uint16_t *dy16; /* instead of dy, as x16 of gemm: n and ldy even */
    int64_t ldy;
    int64_t m;
    const struct tensor *w;
    int64_t first_row;
    int64_t n;
    float *dx; /* [m, k], row stride ldx */
    int64_t ldx;
    float alpha;
    bool accumulate;
    const struct gemm_tail *tail; /* NULL: none */
};

/* dw[0..n, 0..k) += alpha * sum over tokens dy[t, n] x[t, k], unit after unit. */
struct gemm_dw_args {
    const float *dy; /* [rows, n], row stride ldy */
    const uint16_t *dy16; /* instead of dy in COMPUTE_BF16, or NULL */
    int64_t ldy;
    const float *x; /* [rows, k], row stride ldx */
    const uint16_t *x16; /* instead of x in COMPUTE_BF16, or NULL */
    int64_t ldx;
    int64_t n;
    int64_t k;
    float *dw; /* [n, k] contiguous, fp32 */
    float alpha;
    const int64_t *unit_begin; /* [units + 1] row offsets; unit u is rows unit_begin[u..u+1) */
    int64_t units;
};

/* RMS norm over `cols`: y = x * rstd * (w or 1 + w), rstd = 1 / sqrt(mean(x^2) + eps); statistics
 * in fp32, squares summed by the tier's one rule (Zhang & Sennrich 2019). w NULL: no weight. */
struct rmsnorm_args {
    const float *x; /* [rows, cols], row stride ldx */
    int64_t ldx;
    float *y; /* [rows, cols], row stride ldy; may be x */
    uint16_t *y16; /* instead of y: the result rounded to bf16, an operand of products; or NULL */
    int64_t ldy;
    const float *w; /* [cols] or NULL */
    bool plus_one;
    float eps;
    float *rstd; /* [rows] or NULL */
    int64_t rows;
    int64_t cols;
};

/* dx (+)= rstd * (g - xhat * mean(g * xhat)), g = dy * w; dw[c] += sum dy * xhat by units when dw
 * is not NULL (units count rows). dx may be dy when not accumulating. */
struct rmsnorm_backward_args {
    const float *x;
    int64_t ldx;
    const float *dy;
    int64_t ldy;
    const float *w;
    bool plus_one;
    const float *rstd; /* [rows] as saved by the forward */
    float *dx;
    int64_t lddx;
    bool accumulate;
    float *dw; /* [cols] or NULL */
    const int64_t *unit_begin;
    int64_t units;
    int64_t rows;
    int64_t cols;
};

/* Rotary embedding in place, half layout (pairs j, j + dim/2 of the first `dim` of each head; Su et
 * al. 2021): cos/sin [positions, dim/2]. inverse: rotate back (the backward). */
struct rope_args {
    float *x; /* [rows, heads * head_dim], row stride ldx */
    int64_t ldx;
    int64_t rows;
    int heads;
    int head_dim;
    int dim;
    const float *cos; /* [max position + 1, dim / 2] */
    const float *sin;
    const int32_t *position; /* [rows] */
    bool inverse;
};

/* One sequence of queries and where its keys lie. Key j (logical position) is row key_rows[j] of
 * the key and value buffers: a training batch, a tree branch over a shared prefix, or cache pages.
 * Query i (i < count) sits at logical position pos_begin + i and sees keys max(0,
 * pos-window+1)..pos.
 */
struct attn_seq {
    int64_t begin;     /* first row of the queries in q, out, lse */
    int64_t count;     /* queries */
    int64_t pos_begin; /* logical position of the first query */
    const int32_t *key_rows; /* [pos_begin + count] */
    int32_t tree;      /* sequences of one tree are adjacent and may share key rows, a shared row at
                        * the same logical position in each */
};

/* out[t, h] = softmax(scale * q k^T (softcap) + mask) v, grouped queries (head h uses kv head
 * h * kv_heads / heads), online softmax over key blocks of OPS_ATTN_BLOCK counted from position 0
 * (Dao et al. 2022); masked keys add exact zeros. */
struct attn_args {
    const float *q; /* [T, heads * head_dim], row stride ldq */
    int64_t ldq;
    const float *k; /* [key rows, kv_heads * head_dim], row stride ldkv */
    const float *v;
    const uint16_t
        *k16; /* instead of k and v in COMPUTE_BF16: what they would be rounded to; head_dim */
    const uint16_t *v16; /* is even then */
    int64_t ldkv; /* even with k16 */
    float *out; /* [T, heads * head_dim], row stride ldo */
    int64_t ldo;
    float *lse; /* [T, heads] log-sum-exp of the scaled scores, or NULL */
    const struct attn_seq *seqs;
    int64_t n_seq;
    int heads;
    int kv_heads;
    int head_dim;
    float scale;
    int64_t window; /* keys including self; 0: none */
    float softcap;  /* 0: none */
};

/* Backward with recomputation from lse. dq is written; dk, dv are ADDED to (zero them first), in
 * the order of the sequences of a tree, queries ascending. Heads of one kv head are added
 * ascending. */
struct attn_backward_args {
    struct attn_args fwd; /* out and lse as computed */
    const float *dout;    /* [T, heads * head_dim], row stride ldo */
    float *dq;            /* row stride ldq */
    float *dk;            /* row stride ldkv */
    float *dv;
};

/* h = act(g) * u. */
struct glu_args {
    const float *g;
    const float *u;
    const uint16_t *g16; /* instead of g and u, or NULL */
    const uint16_t *u16;
    float *h;
    uint16_t *h16; /* instead of h: rounded to bf16; or NULL */
    uint16_t *kept_g; /* g and u rounded to bf16, for the backward; or NULL */
    uint16_t *kept_u;
    int64_t count;
    enum activation act;
};

/* dg = dh * u * act'(g); du = dh * act(g). dg may be g's, du may be u's memory. dg16 and du16
 * instead of both: rounded to bf16; or NULL. */
struct glu_backward_args {
    const float *g;
    const float *u;
    const uint16_t *g16; /* instead of g and u, or NULL */
    const uint16_t *u16;
    const float *dh;
    float *dg;
    float *du;
    uint16_t *dg16;
    uint16_t *du16;
    int64_t count;
    enum activation act;
};

/* y[t] = scale * w[ids[t]] : rows of the embedding matrix. */
struct embed_args {
    const struct tensor *w; /* [vocab, cols] */
    const int32_t *ids;     /* [rows], inside the vocabulary */
    int64_t rows;
    float scale;
    float *y; /* [rows, cols] contiguous */
};

/* dw[ids[t]] += scale * dy[t], tokens ascending. */
struct embed_backward_args {
    const float *dy; /* [rows, cols] */
    const int32_t *ids;
    int64_t rows;
    int64_t cols;
    float scale;
    float *dw; /* [vocab, cols] */
};

/* Running statistics of one row's distribution over the vocabulary, chunk by chunk (ascending):
 * z = softcap(logit) / T. Start from logits_stats_init values. */
struct logit_stats {
    float max;     /* running maximum of z */
    float sum;     /* sum exp(z - max) */
    float dot;     /* sum exp(z - max) * (z - max), for the entropy */
    float target;  /* z of the target id, once its chunk passed */
    float best;    /* largest z so far and its id (first on ties) */
    int32_t best_id;
};
#define LOGIT_STATS_INIT {-3.402823466e38f, 0.0f, 0.0f, 0.0f, -3.402823466e38f, -1}

struct logit_args {
    float *logits; /* [rows, n], row stride ld: vocabulary rows first .. first + n */
    int64_t ld;
    int64_t rows;
    int64_t n;
    int64_t first;
    const int32_t *targets; /* [rows], -1: none; NULL: none */
    float inv_temperature;
    float softcap; /* final_logit_softcapping, 0: none */
    struct logit_stats *stats; /* [rows] */
    bool store; /* also write z over the logits, the very numbers of the statistics (sampler) */
    /* Also exp(z - max) of the chunk, max the new one, times the soft cap's slope d z / d logit * T
     * and 0 at the target: the weights of the other ids' rows in d logp / d hidden. At most
     * OPS_HEAD_CHUNK columns then. Row stride ld. */
    float *exps;      /* [rows, n], may be the logits; or NULL */
    uint16_t *exps16; /* instead: rounded to bf16; or NULL */
    float *shrink;    /* [rows] with them: what exps of earlier chunks are to be multiplied by */
    float
        *sums; /* [rows] += sum of z, for the mean of log p over the vocabulary; NULL: not wanted */
};

/* In place: logits -> d loss / d logits, for
 * d loss = sum_rows dlogp * d logp(target) + dentropy * d H + dmean * d mean_j(log p_j); with
 * p = exp(z - lse): dz_j = dlogp (1[j = target] - p_j) - dentropy p_j (log p_j + H)
 * + dmean (1 / vocabulary - p_j); then / T and softcap's slope. */
struct logit_grad_args {
    float *logits;
    int64_t ld;
    int64_t rows;
    int64_t n;
    int64_t first;
    const int32_t *targets;
    float inv_temperature;
    float softcap;
    const float *lse;      /* [rows] */
    const float *entropy;  /* [rows], read where dentropy is not NULL */
    const float *dlogp;    /* [rows] */
    const float *dentropy; /* [rows] or NULL */
    const float *dmean;    /* [rows] or NULL */
    float inv_vocab;       /* 1 / vocabulary, read where dmean is not NULL */
};

/* Elementwise optimizer rules (spec training.md 5), as torch and bitsandbytes compute them. With
 * G = grad_scale * g, or grad_scale * g + wd * p where the decay is coupled (marked C):
 *   ADAMW     p *= 1 - lr wd; m, v = EMAs of G, G^2; p -= lr/bias1 m / (sqrt(v)/sqrt(bias2) + eps)
 *   ADEMAMIX  (Pagliardini et al. 2024) m, slow, v = EMAs of G, G, G^2 (betas 1, 3, 2);
 *             p *= 1 - lr wd; p -= lr (m/bias1 + alpha slow) / (sqrt(v)/sqrt(bias2) + eps)
 *   SGD     C buf = G at step 1, else momentum buf + (1 - dampening) G; p -= lr buf, with nesterov
 *             p -= lr (G + momentum buf); without a buffer p -= lr G
 *   LION      (Chen et al. 2023) p *= 1 - lr wd; p -= lr sign(beta1 m + (1 - beta1) G);
 *             m = beta2 m + (1 - beta2) G
 *   ADAGRAD C sum += G^2; p -= lr G / (sqrt(sum) + eps)
 *   RMSPROP C v = EMA of G^2 (beta1); mean = EMA of G where there is one; d = G / (sqrt(v -
 *             mean^2) + eps); buf = momentum buf + d where there is one; p -= lr d or lr buf */
enum update_rule {
    UPDATE_ADAMW,    /* state: m, v */
    UPDATE_ADEMAMIX, /* m, v, slow */
    UPDATE_SGD,      /* buf or none */
    UPDATE_LION,     /* m */
    UPDATE_ADAGRAD,  /* sum */
    UPDATE_RMSPROP,  /* v, buf or NULL, mean or NULL */
    UPDATE_RULES
};
enum { UPDATE_STATES = 3 };

/* One state array: floats, or blocks of DYNAMIC8_BLOCK codes with a largest magnitude each
 * (kernels/tensor/dynamic8.h). All zero: not there. */
struct update_state {
    float *value;  /* [count] */
    uint8_t *code; /* [count] */
    float *absmax; /* [ceil(count / DYNAMIC8_BLOCK)] */
    const struct dynamic8 *map;
};

/* An update of `count` numbers. States are all floats or all codes. */
struct update_args {
    enum update_rule rule;
    float *p;
    const float *g;
    struct update_state state[UPDATE_STATES];
    int64_t count;
    double lr;
    double beta1;
    double beta2;
    double beta3;
    double alpha;
    double eps;
    double momentum;
    double dampening;
    double weight_decay;
    double grad_scale; /* clipping factor */
    int64_t step;      /* 1 for the first update */
    bool nesterov;
    bool decay_last;   /* ADAMW: p *= 1 - lr wd after the step, not before */
};

/* Adafactor (Shazeer & Stern 2018, arXiv 1804.04235) as Transformers computes it, on `batch`
 * matrices [rows, cols], G = grad_scale * g: row, col = EMAs (rate beta2) of the means of G^2 +
 * eps; u = G / sqrt(row col / mean(row)); u /= max(1, rms(u) / clip); u *= lr; mean_update = EMA of
 * u (beta1) replaces it where there is one; p *= 1 - lr wd; p -= u. A vector (row NULL) keeps the
 * EMA of G^2 + eps in col [cols] and has u = G / sqrt(col). Sums are in double, over fixed pieces.
 */
struct adafactor_args {
    float *p;       /* [batch, rows, cols] */
    const float *g;
    float *row;     /* [batch, rows] or NULL: a vector, batch 1 and rows 1 */
    float *col;     /* [batch, cols] */
    float *mean_update; /* [batch, rows, cols] or NULL */
    int64_t batch;
    int64_t rows;
    int64_t cols;
    double lr;
    double beta1;
    double beta2;
    double eps;
    double clip;
    double weight_decay;
    double grad_scale;
};

struct ops {
    const char *name;   /* "ref", "avx2", "avx512" */
    bool row_invariant; /* rows never depend on M; false: one scoring pass per round */
    void (*gemm)(struct ops_context *c, const struct gemm_args *a);
    void (*gemm_dx)(struct ops_context *c, const struct gemm_dx_args *a);
    void (*gemm_dw)(struct ops_context *c, const struct gemm_dw_args *a);
    /* *out = what resident panels of w are on this context, without their data; then `to`
     * (out->bytes, 64-byte aligned) = the panels. Only gemm of contexts of the same tier, compute
     * and k_slices may read them; first_row is a multiple of out->rows there. */
    void (*panel_shape)(const struct ops_context *c, const struct tensor *w,
                        struct tensor_panels *out);
    void (*panel_fill)(struct ops_context *c, const struct tensor *w, uint16_t *to);
    void (*rmsnorm)(struct ops_context *c, const struct rmsnorm_args *a);
    void (*rmsnorm_backward)(struct ops_context *c, const struct rmsnorm_backward_args *a);
    void (*rope)(struct ops_context *c, const struct rope_args *a);
    void (*attention)(struct ops_context *c, const struct attn_args *a);
    void (*attention_backward)(struct ops_context *c, const struct attn_backward_args *a);
    void (*glu)(struct ops_context *c, const struct glu_args *a);
    void (*glu_backward)(struct ops_context *c, const struct glu_backward_args *a);
    void (*embed)(struct ops_context *c, const struct embed_args *a);
    void (*embed_backward)(struct ops_context *c, const struct embed_backward_args *a);
    void (*logit_stats)(struct ops_context *c, const struct logit_args *a);
    void (*logit_grad)(struct ops_context *c, const struct logit_grad_args *a);
    void (*update)(struct ops_context *c, const struct update_args *a);
    void (*adafactor)(struct ops_context *c, const struct adafactor_args *a);
    /* y[i] = bf16 of x[i], half to even: an operand of products made once for several */
    void (*round)(struct ops_context *c, uint16_t *y, const float *x, int64_t count);
    /* y[i] += alpha * x[i] */
    void (*axpy)(struct ops_context *c, float *y, const float *x, float alpha, int64_t count);
    /* sum x[i]^2 in double, over fixed chunks of 4096 added ascending: any thread count agrees */
    double (*square_sum)(struct ops_context *c, const float *x, int64_t count);
    /* Waits for queued work; DEVICE when it failed. CPU: always OK. */
    enum status (*sync)(struct ops_context *c);
};

struct ops_options {
    int threads;          /* 0: one per CPU this process may use */
    enum compute compute;
    int k_slices;         /* 0 means 1 */
    const int *cpus;      /* of the threads, all given (places.h); NULL: the system places them */
};

/* Opens a CPU context: pool, scratch and the best tier (or GRAFT_ISA's). Close with
 * ops_context_close. Fails with DEVICE, USAGE or MEMORY. */
MUST_USE enum status ops_context_open(struct ops_context *c, const struct ops_options *options);

/* Same with a given tier, for tests: FAILs with DEVICE when the machine lacks it. */
MUST_USE enum status ops_context_open_tier(struct ops_context *c, const struct ops_options *options,
                                           enum cpu_tier tier);

/* Joins the pool's threads and frees the scratch; no op may be running. */
void ops_context_close(struct ops_context *c);

/* lse = max + log(sum) and H = lse - E[z] of finished statistics; logp of target = target - lse. */
float logit_stats_lse(const struct logit_stats *s);

/* Nats; 0 for a distribution on one id. */
float logit_stats_entropy(const struct logit_stats *s);
