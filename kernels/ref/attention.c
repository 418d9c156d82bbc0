/*
 * Attention, scalar: online softmax over blocks of OPS_ATTN_BLOCK keys counted from logical
 * position 0 (Dao et al. 2022, arXiv 2205.14135, alg. 1). A query's result depends on its own keys
 * alone, so prefill, decode, training and a tree agree bit for bit.
 */
#include <math.h>

#include "kernels/cpu/scratch.h"
#include "kernels/ref/ref.h"

struct softmax_state {
    enum compute compute;
    float max;
    float sum;
    float *acc; /* [head_dim] */
};

struct attention_job {
    const struct ops_context *c;
    const struct attn_args *a;
};

/* Operand of a product as the compute mode sees it. */
static float operand(enum compute compute, float x)
{
    return compute == COMPUTE_BF16 ? dtype_bf16_to_f32(dtype_f32_to_bf16(x)) : x;
}

/* Element i of an operand that may be given rounded. */
static float element(enum compute compute, const float *x, const uint16_t *x16, int64_t i)
{
    return x16 ? dtype_bf16_to_f32(x16[i]) : operand(compute, x[i]);
}

static void attend_block(const struct attn_args *a, const float *q, const int32_t *key_rows,
                         int64_t keys, int64_t kv_column, struct softmax_state *st)
{
    const enum compute mode = st->compute;
    float score[OPS_ATTN_BLOCK];
    float max = st->max;
    for (int64_t j = 0; j < keys; j++) {
        const int64_t at = key_rows[j] * a->ldkv + kv_column;
        float dot = 0.0f;
        for (int d = 0; d < a->head_dim; d++) {
            dot = fmaf(operand(mode, q[d]), element(mode, a->k, a->k16, at + d), dot);
        }
        score[j] = dot * a->scale;
        if (a->softcap > 0.0f) {
            score[j] = a->softcap * tanhf(score[j] / a->softcap);
        }
        max = score[j] > max ? score[j] : max;
    }
    const float shrink = expf(st->max - max); /* exp(-inf) = 0 for the first block */
    float sum = 0.0f;
    for (int d = 0; d < a->head_dim; d++) {
        st->acc[d] *= shrink;
    }
    for (int64_t j = 0; j < keys; j++) {
        const int64_t at = key_rows[j] * a->ldkv + kv_column;
        const float p = expf(score[j] - max);
        sum += p;
        for (int d = 0; d < a->head_dim; d++) {
            st->acc[d] = fmaf(operand(mode, p), element(mode, a->v, a->v16, at + d), st->acc[d]);
        }
    }
    st->sum = fmaf(st->sum, shrink, sum);
    st->max = max;
}

static void attend_query(const struct attention_job *job, const struct attn_seq *s, int64_t i,
                         int head)
{
    const struct attn_args *a = job->a;
    const int64_t pos = s->pos_begin + i;
    const int64_t first = a->window > 0 && pos >= a->window ? pos - a->window + 1 : 0;
    const int64_t kv_column = (int64_t)(head * a->kv_heads / a->heads) * a->head_dim;
    const int64_t column = (int64_t)head * a->head_dim;
    const float *q = a->q + (s->begin + i) * a->ldq + column;
    float acc[SCRATCH_MAX_HEAD_DIM] = {0};
    struct softmax_state st = {.compute = job->c->compute, .max = -INFINITY, .acc = acc};
    for (int64_t j = first; j <= pos;) {
        const int64_t block_end = (j / OPS_ATTN_BLOCK + 1) * OPS_ATTN_BLOCK;
        const int64_t end = block_end <= pos ? block_end : pos + 1;
        attend_block(a, q, s->key_rows + j, end - j, kv_column, &st);
        j = end;
    }
    float *out = a->out + (s->begin + i) * a->ldo + column;
    for (int d = 0; d < a->head_dim; d++) {
        out[d] = acc[d] / st.sum;
    }
    if (a->lse) {
        a->lse[(s->begin + i) * a->heads + head] = st.max + logf(st.sum);
    }
}

static void attend_heads(void *ctx, int64_t begin, int64_t end, int thread)
{
    (void)thread;
    const struct attention_job *job = ctx;
    for (int64_t item = begin; item < end; item++) {
        const struct attn_seq *s = &job->a->seqs[item / job->a->heads];
        for (int64_t i = 0; i < s->count; i++) {
            attend_query(job, s, i, (int)(item % job->a->heads));
        }
    }
}

void ref_attention(struct ops_context *c, const struct attn_args *a)
{
    ASSERT(a->head_dim <= SCRATCH_MAX_HEAD_DIM);
    struct attention_job job = {c, a};
    parallel_for(c->pool, a->n_seq * a->heads, attend_heads, &job);
}
