/* Rotary position embedding, half layout, scalar (Su et al. 2021, arXiv 2104.09864). */
#include "kernels/ref/ref.h"

static void rotate_rows(void *ctx, int64_t begin, int64_t end, int thread)
{
    (void)thread;
    const struct rope_args *a = ctx;
    const int half = a->dim / 2;
    for (int64_t r = begin; r < end; r++) {
        const float *cosine = a->cos + (int64_t)a->position[r] * half;
        const float *sine = a->sin + (int64_t)a->position[r] * half;
        for (int h = 0; h < a->heads; h++) {
            float *x = a->x + r * a->ldx + (int64_t)h * a->head_dim;
            for (int j = 0; j < half; j++) {
                const float s = a->inverse ? -sine[j] : sine[j];
                const float low = x[j];
                const float high = x[j + half];
                x[j] = low * cosine[j] - high * s;
                x[j + half] = high * cosine[j] + low * s;
            }
        }
    }
}

void ref_rope(struct ops_context *c, const struct rope_args *a)
{
    struct rope_args job = *a;
    parallel_for(c->pool, a->rows, rotate_rows, &job);
}
