/*
 * The head's statistics and gradient over vocabulary chunks, scalar: online log-sum-exp and entropy
 * (Milakov & Gimelshein 2018, arXiv 1805.02867), so [T, vocabulary] is never stored.
 *
 * A state is updated once per OPS_HEAD_CHUNK columns of a call. Exponents are kept above
 * EXP_FLOOR, where exp is exactly 0, so that a logit of -inf adds 0 and not 0 * inf.
 */
#include <math.h>

#include "kernels/ref/ref.h"

static const float EXP_FLOOR = -200.0f;

/* At least EXP_FLOOR; a NaN stays one, so that a broken model shows in the loss. */
static float floored(float x)
{
    return x < EXP_FLOOR ? EXP_FLOOR : x;
}

static float scaled_logit(float logit, float softcap, float inv_temperature)
{
    if (softcap > 0.0f) {
        logit = softcap * tanhf(logit / softcap);
    }
    return logit * inv_temperature;
}

static float cap_slope(const struct logit_args *a, float logit)
{
    const float t = a->softcap > 0.0f ? tanhf(logit / a->softcap) : 0.0f;
    return 1.0f - t * t;
}

/* exps may be the logits: column i has been read. */
static void put_exp(const struct logit_args *a, int64_t r, int64_t i, float e)
{
    if (a->exps16) {
        a->exps16[r * a->ld + i] = dtype_f32_to_bf16(e);
    } else if (a->exps) {
        a->exps[r * a->ld + i] = e;
    }
}

/* Columns [first, first + n) of row r; they begin at column `at` of the logits. */
static void update_chunk(const struct logit_args *a, int64_t r, int64_t at, int64_t n)
{
    float *logits = a->logits + r * a->ld + at;
    struct logit_stats *s = &a->stats[r];
    const int32_t target = a->targets ? a->targets[r] : -1;
    const int64_t first = a->first + at;
    float best = -INFINITY;
    int64_t best_at = -1;
    for (int64_t i = 0; i < n; i++) {
        const float z = scaled_logit(logits[i], a->softcap, a->inv_temperature);
        if (z > best) {
            best = z;
            best_at = i;
        }
        if (first + i == target) {
            s->target = z;
        }
    }
    if (best_at >= 0 && best > s->best) {
        s->best = best;
        s->best_id = (int32_t)(first + best_at);
    }
    const float max = best > s->max ? best : s->max;
    float sum = 0.0f;
    float dot = 0.0f;
    float scale = 0.0f;
    for (int64_t i = 0; i < n; i++) {
        const float z = scaled_logit(logits[i], a->softcap, a->inv_temperature);
        const float shifted = floored(z - max);
        const float e = expf(shifted);
        sum += e;
        dot = fmaf(e, shifted, dot);
        put_exp(a, r, i, first + i == target ? 0.0f : e * cap_slope(a, logits[i]));
        if (a->store) {
            logits[i] = z;
        }
    }
    if (s->sum > 0.0f) { /* move the earlier chunks to the new maximum */
        const float shift = floored(s->max - max);
        scale = expf(shift);
        dot += scale * (s->dot + shift * s->sum);
        sum += scale * s->sum;
    }
    if (a->shrink) {
        a->shrink[r] = scale;
    }
    s->max = max;
    s->sum = sum;
    s->dot = dot;
}

static float sum_scaled(const struct logit_args *a, const float *logits, int64_t n)
{
    float sum = 0.0f;
    for (int64_t i = 0; i < n; i++) {
        sum += scaled_logit(logits[i], a->softcap, a->inv_temperature);
    }
    return sum;
}

static void stats_rows(void *ctx, int64_t begin, int64_t end, int thread)
{
    (void)thread;
    const struct logit_args *a = ctx;
    for (int64_t r = begin; r < end; r++) {
        for (int64_t i = 0; i < a->n; i += OPS_HEAD_CHUNK) {
            const int64_t n = a->n - i < OPS_HEAD_CHUNK ? a->n - i : OPS_HEAD_CHUNK;
            if (a->sums) {
                a->sums[r] += sum_scaled(a, a->logits + r * a->ld + i, n);
            }
            update_chunk(a, r, i, n);
        }
    }
}

void ref_logit_stats(struct ops_context *c, const struct logit_args *a)
{
    struct logit_args job = *a;
    parallel_for(c->pool, a->rows, stats_rows, &job);
}

static void grad_rows(void *ctx, int64_t begin, int64_t end, int thread)
{
    (void)thread;
    const struct logit_grad_args *a = ctx;
    for (int64_t r = begin; r < end; r++) {
        float *logits = a->logits + r * a->ld;
        const int64_t target = a->targets ? a->targets[r] : -1;
        const float dlogp = a->dlogp[r];
        const float dentropy = a->dentropy ? a->dentropy[r] : 0.0f;
        const float entropy = a->dentropy ? a->entropy[r] : 0.0f;
        const float dmean = a->dmean ? a->dmean[r] : 0.0f;
        for (int64_t i = 0; i < a->n; i++) {
            const float z = scaled_logit(logits[i], a->softcap, a->inv_temperature);
            const float logp = floored(z - a->lse[r]);
            const float p = expf(logp);
            const float hit = a->first + i == target ? 1.0f : 0.0f;
            float d = dlogp * (hit - p) - dentropy * p * (logp + entropy);
            d += dmean * (a->inv_vocab - p);
            if (a->softcap > 0.0f) {
                const float t = tanhf(logits[i] / a->softcap);
                d *= 1.0f - t * t;
            }
            logits[i] = d * a->inv_temperature;
        }
    }
}

void ref_logit_grad(struct ops_context *c, const struct logit_grad_args *a)
{
    struct logit_grad_args job = *a;
    parallel_for(c->pool, a->rows, grad_rows, &job);
}

float logit_stats_lse(const struct logit_stats *s)
{
    return s->max + logf(s->sum);
}

float logit_stats_entropy(const struct logit_stats *s)
{
    return logf(s->sum) - s->dot / s->sum;
}
