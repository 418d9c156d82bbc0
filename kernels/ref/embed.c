/* Embedding rows and their gradient, scalar. */
#include <math.h>

#include "kernels/ref/ref.h"
#include "kernels/tensor/quant.h"

static void embed_rows(void *ctx, int64_t begin, int64_t end, int thread)
{
    (void)thread;
    const struct embed_args *a = ctx;
    const int64_t cols = tensor_columns(a->w);
    for (int64_t t = begin; t < end; t++) {
        float *y = a->y + t * cols;
        quant_decode(a->w, a->ids[t], 0, cols, y);
        for (int64_t i = 0; i < cols; i++) {
            y[i] *= a->scale;
        }
    }
}

void ref_embed(struct ops_context *c, const struct embed_args *a)
{
    struct embed_args job = *a;
    parallel_for(c->pool, a->rows, embed_rows, &job);
}

/* Columns are independent: tokens that share an id meet in ascending order. */
static void add_columns(void *ctx, int64_t begin, int64_t end, int thread)
{
    (void)thread;
    const struct embed_backward_args *a = ctx;
    for (int64_t t = 0; t < a->rows; t++) {
        const float *dy = a->dy + t * a->cols;
        float *dw = a->dw + (int64_t)a->ids[t] * a->cols;
        for (int64_t i = begin; i < end; i++) {
            dw[i] = fmaf(a->scale, dy[i], dw[i]);
        }
    }
}

void ref_embed_backward(struct ops_context *c, const struct embed_backward_args *a)
{
    struct embed_backward_args job = *a;
    parallel_for(c->pool, a->cols, add_columns, &job);
}
