/*
 * Gradient of attention, scalar: probabilities are recomputed from the saved log-sum-exp (Dao et
 * al. 2022, alg. 4). dk and dv of a key collect its queries in the order (sequence of the tree,
 * query, head); trees and kv heads are independent.
 */
#include <math.h>

#include "kernels/cpu/scratch.h"
#include "kernels/ref/ref.h"

struct backward_job {
    const struct ops_context *c;
    const struct attn_backward_args *b;
};

/* Operand of a product as the compute mode sees it. */
static float operand(enum compute compute, float x)
{
    return compute == COMPUTE_BF16 ? dtype_bf16_to_f32(dtype_f32_to_bf16(x)) : x;
}

/* A row of k or v as products see it, in `copy`. */
static void fetch(enum compute mode, const float *x, const uint16_t *x16, int64_t at, int count,
                  float *copy)
{
    for (int d = 0; d < count; d++) {
        copy[d] = x16 ? dtype_bf16_to_f32(x16[at + d]) : operand(mode, x[at + d]);
    }
}

static float dot(enum compute mode, const float *x, const float *y, int count)
{
    float sum = 0.0f;
    for (int d = 0; d < count; d++) {
        sum = fmaf(operand(mode, x[d]), operand(mode, y[d]), sum);
    }
    return sum;
}

static void add_scaled(enum compute mode, float *y, float alpha, const float *x, int count)
{
    for (int d = 0; d < count; d++) {
        y[d] = fmaf(operand(mode, alpha), operand(mode, x[d]), y[d]);
    }
}

static void query_backward(const struct backward_job *job, const struct attn_seq *s, int64_t i,
                           int head)
{
    const enum compute mode = job->c->compute;
    const struct attn_backward_args *b = job->b;
    const struct attn_args *a = &b->fwd;
    const int dim = a->head_dim;
    const int64_t pos = s->pos_begin + i;
    const int64_t first = a->window > 0 && pos >= a->window ? pos - a->window + 1 : 0;
    const int64_t kv_column = (int64_t)(head * a->kv_heads / a->heads) * dim;
    const int64_t column = (int64_t)head * dim;
    const float *q = a->q + (s->begin + i) * a->ldq + column;
    const float *dout = b->dout + (s->begin + i) * a->ldo + column;
    const float lse = a->lse[(s->begin + i) * a->heads + head];
    const float delta = dot(COMPUTE_F32, dout, a->out + (s->begin + i) * a->ldo + column, dim);
    float *dq = b->dq + (s->begin + i) * a->ldq + column;
    for (int d = 0; d < dim; d++) {
        dq[d] = 0.0f;
    }
    for (int64_t j = first; j <= pos; j++) {
        const int64_t at = s->key_rows[j] * a->ldkv + kv_column;
        float k[SCRATCH_MAX_HEAD_DIM];
        float v[SCRATCH_MAX_HEAD_DIM];
        fetch(mode, a->k, a->k16, at, dim, k);
        fetch(mode, a->v, a->v16, at, dim, v);
        float score = dot(mode, q, k, dim) * a->scale;
        float slope = a->scale;
        if (a->softcap > 0.0f) {
            const float t = tanhf(score / a->softcap);
            score = a->softcap * t;
            slope *= 1.0f - t * t;
        }
        const float p = expf(score - lse);
        const float ds = p * (dot(mode, dout, v, dim) - delta) * slope;
        add_scaled(mode, dq, ds, k, dim);
        add_scaled(mode, b->dk + at, ds, q, dim);
        add_scaled(mode, b->dv + at, p, dout, dim);
    }
}

/* One kv head of the tree that starts at sequence `first`. */
static void tree_backward(const struct backward_job *job, int64_t first, int kv_head)
{
    const struct attn_args *a = &job->b->fwd;
    for (int64_t n = first; n < a->n_seq && a->seqs[n].tree == a->seqs[first].tree; n++) {
        for (int64_t i = 0; i < a->seqs[n].count; i++) {
            for (int h = 0; h < a->heads; h++) {
                if (h * a->kv_heads / a->heads == kv_head) {
                    query_backward(job, &a->seqs[n], i, h);
                }
            }
        }
    }
}

static void backward_heads(void *ctx, int64_t begin, int64_t end, int thread)
{
    (void)thread;
    const struct backward_job *job = ctx;
    const struct attn_args *a = &job->b->fwd;
    for (int64_t kv_head = begin; kv_head < end; kv_head++) {
        for (int64_t n = 0; n < a->n_seq; n++) {
            if (n == 0 || a->seqs[n].tree != a->seqs[n - 1].tree) {
                tree_backward(job, n, (int)kv_head);
            }
        }
    }
}

void ref_attention_backward(struct ops_context *c, const struct attn_backward_args *b)
{
    ASSERT(b->fwd.head_dim <= SCRATCH_MAX_HEAD_DIM);
    struct backward_job job = {c, b};
    parallel_for(c->pool, b->fwd.kv_heads, backward_heads, &job);
}
