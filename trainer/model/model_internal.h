/*
 * Private to trainer/model: the tape of blocks.
 *
 * The model is a fixed list: embed, then mixer and ffn of each layer, then output (gather of the
 * wanted rows and the final norm). The forward walks it, the backward walks it in reverse; each
 * kind is one struct block_ops. A block allocates what its backward needs from pass->step and
 * everything else from pass->scratch, which the walk rewinds after each block; so recomputing a
 * block is its own forward with step = scratch.
 *
 * Planning: the same code with measuring arenas and an ops table whose entries do nothing. Pointers
 * are then NULL: only ops may receive them.
 */
#pragma once

#include "kernels/base/checked.h"
#include "trainer/model/model.h"

/* True when the pass only measures: memory it was handed must not be touched. */
static inline bool pass_plans(const struct pass *p)
{
    return arena_measuring(p->scratch);
}

/* The ops table of a plan: entries do nothing. */
extern const struct ops PLAN_OPS;

/* What the blocks of one pass share. */
struct block_run {
    const struct model *m;
    const struct pass *p;
    const struct batch *b;
    int64_t layer;                 /* of mixer and ffn */
    const int64_t *out_unit_begin; /* [p->units + 1] the units counted in out_rows; backward only */
    bool recompute;                /* a forward for its *saved alone: y is memory, not a result */
};

/* `rows` x `cols` floats of an arena. */
static inline enum status alloc_rows(struct arena *a, int64_t rows, int64_t cols, float **out)
{
    size_t count;
    if (rows < 0 || !checked_mul((size_t)rows, (size_t)cols, &count)) {
        return FAIL(MEMORY, "arena '%s': %lld rows of %lld floats overflow", a->name,
                    (long long)rows, (long long)cols);
    }
    return arena_alloc(a, count, sizeof(float), out);
}

/* Inverted dropout (Srivastava et al. 2014) of x[rows, cols]: element (t, c) is left out when the
 * draw keyed by (pass seed and step, unit key, row in its unit, c, module) is below `rate`, else it
 * is divided by 1 - rate. */
struct dropout_args {
    const float *x;
    int64_t ldx;
    float *y;
    int64_t ldy;
    int64_t rows;
    int64_t cols;
    float rate;
    uint32_t module;
};

/* y = dropout(x). Rows are those of the pass's units; does nothing while planning. */
void dropout_apply(const struct pass *p, const struct dropout_args *a);

/* y += dropout(x), with the same mask: the backward. */
void dropout_add(const struct pass *p, const struct dropout_args *a);

/* y[rows, cols] += uniform(-bound, bound) of each unit's bound: NEFTune (Jain et al. 2023,
 * arXiv 2310.05914), keyed as above. */
void noise_embeddings(const struct pass *p, float *y, int64_t cols);

struct mixer_saved {
    float *rstd;   /* [T] */
    float *q_raw;  /* [T, heads * d] before qk-norm; q itself when there is none */
    float *k_raw;  /* [T, kv_heads * d] */
    float *q_rstd; /* [T, heads] with qk-norm */
    float *k_rstd; /* [T, kv_heads] */
    float *q;      /* [T, heads * d] after RoPE */
    float *k;      /* [T, kv_heads * d] after RoPE; scratch where there is k16 */
    float *v;      /* [T, kv_heads * d], as k */
    uint16_t *k16; /* [T, kv_heads * d] both rounded, in COMPUTE_BF16 */
    uint16_t *v16;
    float *attn;   /* [T, heads * d] */
    float *lse;    /* [T, heads] */
    float *o;      /* [T, hidden] before the post norm (sandwich) */
    float *o_rstd; /* [T] */
    struct linear_saved lq, lk, lv, lo;
};

struct ffn_saved {
    float *rstd;      /* [T] */
    float *g;         /* [T, ff]; scratch where operand_rounds(ff), NULL once there is g16 */
    float *u;         /* [T, ff] */
    uint16_t *g16;    /* [T, ff] both rounded, for the backward then; else NULL */
    uint16_t *u16;
    float *down;      /* [T, hidden] before the post norm (sandwich) */
    float *down_rstd; /* [T] */
    struct linear_saved lg, lu, ld;
};

struct output_saved {
    float *x;    /* [n_out, hidden] gathered rows */
    float *rstd; /* [n_out] */
};

struct block_saved {
    const float *x; /* the block's input */
    union {
        struct mixer_saved mixer;
        struct ffn_saved ffn;
        struct output_saved output;
    } u;
};

struct block_ops {
    const char *name;
    /* y = block(x); x and y differ; with r->recompute y is only memory to use. Fails with MEMORY,
     * RECIPE. */
    enum status (*forward)(const struct block_run *r, const float *x, float *y,
                           struct block_saved *saved);
    /* dx = d loss / d x from dy = d loss / d y; NULL: not wanted. dy and *saved are used up; the
     * residual blocks want dx == dy. Gradients of hooks are added. Fails with MEMORY. */
    enum status (*backward)(const struct block_run *r, struct block_saved *saved, float *dy,
                            float *dx);
    /* Some weight of the block is trained. */
    bool (*trained)(const struct model *m, int64_t layer);
};

extern const struct block_ops BLOCK_EMBED;
extern const struct block_ops BLOCK_MIXER;
extern const struct block_ops BLOCK_FFN;
extern const struct block_ops BLOCK_OUTPUT;

/* Blocks of the model and the one at place `i`; *layer is its layer. */
int64_t block_count(const struct model *m);

/* The block at place `i` of the tape, 0 <= i < block_count; *layer is 0 outside the layers. */
const struct block_ops *block_at(const struct model *m, int64_t i, int64_t *layer);

/* x, y [rows, cols] of a norm; a row is a token, or a token's head. */
struct norm_rows {
    const float *x;
    float *y; /* may be x */
    float *rstd; /* NULL: not wanted */
    int64_t rows;
    int64_t cols;
    uint16_t *y16; /* instead of y: rounded; or NULL */
};

/* y = RMS norm of x with the norm's weight; rstd kept for the backward. */
MUST_USE enum status norm_forward(const struct block_run *r, const struct norm *n,
                                  const struct norm_rows *a);

/* dx (+)= backward of dy; a trained weight's gradient is added by units (p->unit_begin counts
 * tokens, a token is `per_token` rows). */
struct norm_backward_rows {
    const float *x;
    const float *dy;
    float *dx; /* may be dy when not accumulating */
    const float *rstd;
    int64_t rows;
    int64_t cols;
    int64_t per_token;
    bool accumulate;
};

/* The backward of norm_forward over the same rows. Fails with MEMORY. */
MUST_USE enum status norm_backward(const struct block_run *r, const struct norm *n,
                                   const struct norm_backward_rows *a);

/* y += x. */
void add_rows(const struct pass *p, float *y, const float *x, int64_t count);

/* dhidden from the divergence of a->distill. Fails with MEMORY, RECIPE when the head is trained. */
MUST_USE enum status distill_backward(const struct block_run *r,
                                      const struct model_backward_args *a, float *dhidden);

/* The same from dscore, through the scalar head. */
void score_backward(const struct block_run *r, const struct model_backward_args *a,
                    float *dhidden);

/* dhidden [n_out, hidden] (NULL: not wanted) from dlogp and dentropy; the head's own gradient is
 * added by out_unit_begin. */
MUST_USE enum status head_backward(const struct block_run *r, const struct model_backward_args *a,
                                   float *dhidden);
