/* RMS norm and its gradient, scalar (Zhang & Sennrich 2019, arXiv 1910.07467). */
#include <math.h>

#include "kernels/ref/ref.h"

static float weight(const float *w, bool plus_one, int64_t column)
{
    if (!w) {
        return 1.0f;
    }
    return plus_one ? 1.0f + w[column] : w[column];
}

static void forward_rows(void *ctx, int64_t begin, int64_t end, int thread)
{
    (void)thread;
    const struct rmsnorm_args *a = ctx;
    for (int64_t r = begin; r < end; r++) {
        const float *x = a->x + r * a->ldx;
        float sum = 0.0f;
        for (int64_t i = 0; i < a->cols; i++) {
            sum = fmaf(x[i], x[i], sum);
        }
        const float rstd = 1.0f / sqrtf(sum / (float)a->cols + a->eps);
        for (int64_t i = 0; i < a->cols; i++) {
            const float y = x[i] * rstd * weight(a->w, a->plus_one, i);
            if (a->y16) {
                a->y16[r * a->ldy + i] = dtype_f32_to_bf16(y);
            } else {
                a->y[r * a->ldy + i] = y;
            }
        }
        if (a->rstd) {
            a->rstd[r] = rstd;
        }
    }
}

void ref_rmsnorm(struct ops_context *c, const struct rmsnorm_args *a)
{
    struct rmsnorm_args job = *a;
    parallel_for(c->pool, a->rows, forward_rows, &job);
}

static void backward_rows(void *ctx, int64_t begin, int64_t end, int thread)
{
    (void)thread;
    const struct rmsnorm_backward_args *a = ctx;
    for (int64_t r = begin; r < end; r++) {
        const float *x = a->x + r * a->ldx;
        const float *dy = a->dy + r * a->ldy;
        float *dx = a->dx + r * a->lddx;
        const float rstd = a->rstd[r];
        float dot = 0.0f;
        for (int64_t i = 0; i < a->cols; i++) {
            dot = fmaf(dy[i] * weight(a->w, a->plus_one, i), x[i] * rstd, dot);
        }
        const float mean = dot / (float)a->cols;
        for (int64_t i = 0; i < a->cols; i++) {
            const float g = dy[i] * weight(a->w, a->plus_one, i);
            const float d = rstd * fmaf(-(x[i] * rstd), mean, g);
            dx[i] = a->accumulate ? dx[i] + d : d;
        }
    }
}

static void weight_columns(void *ctx, int64_t begin, int64_t end, int thread)
{
    (void)thread;
    const struct rmsnorm_backward_args *a = ctx;
    for (int64_t i = begin; i < end; i++) {
        for (int64_t u = 0; u < a->units; u++) {
            for (int64_t b = a->unit_begin[u]; b < a->unit_begin[u + 1]; b += OPS_GRAD_BLOCK) {
                float sum = 0.0f;
                for (int64_t r = b; r < b + OPS_GRAD_BLOCK && r < a->unit_begin[u + 1]; r++) {
                    sum = fmaf(a->dy[r * a->ldy + i], a->x[r * a->ldx + i] * a->rstd[r], sum);
                }
                a->dw[i] += sum;
            }
        }
    }
}

void ref_rmsnorm_backward(struct ops_context *c, const struct rmsnorm_backward_args *a)
{
    struct rmsnorm_backward_args job = *a;
    if (a->dw) { /* first: dx may overwrite dy */
        parallel_for(c->pool, a->cols, weight_columns, &job);
    }
    parallel_for(c->pool, a->rows, backward_rows, &job);
}
