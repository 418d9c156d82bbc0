/* AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101) as torch orders it, axpy and the norm's sum. */
#include <math.h>

#include "kernels/ref/ref.h"

enum {
    OPTIM_CHUNK = 4096,  /* fixed: the definition of square_sum counts on it */
    SUM_ROUND = 512      /* chunk sums kept at a time */
};

static int64_t chunks_of(int64_t count)
{
    return (count + OPTIM_CHUNK - 1) / OPTIM_CHUNK;
}

static int64_t chunk_end(int64_t chunk, int64_t count)
{
    return chunk * OPTIM_CHUNK < count ? chunk * OPTIM_CHUNK : count;
}

static void adamw_chunks(void *ctx, int64_t begin, int64_t end, int thread)
{
    (void)thread;
    const struct adamw_args *a = ctx;
    const double bias1 = 1.0 - pow(a->beta1, (double)a->step);
    const double bias2 = 1.0 - pow(a->beta2, (double)a->step);
    const float decay = (float)(1.0 - (double)a->lr * a->weight_decay);
    const float rate = (float)((double)a->lr / bias1);
    const float root = (float)sqrt(bias2);
    for (int64_t i = begin * OPTIM_CHUNK; i < chunk_end(end, a->count); i++) {
        const float g = a->g[i] * a->grad_scale;
        const float m = fmaf(1.0f - a->beta1, g - a->m[i], a->m[i]);
        const float v = fmaf((1.0f - a->beta2) * g, g, a->beta2 * a->v[i]);
        const float p = a->p[i] * decay;
        a->m[i] = m;
        a->v[i] = v;
        a->p[i] = p - rate * m / (sqrtf(v) / root + a->eps);
    }
}

void ref_adamw(struct ops_context *c, const struct adamw_args *a)
{
    struct adamw_args job = *a;
    parallel_for(c->pool, chunks_of(a->count), adamw_chunks, &job);
}

struct axpy_job {
    float *y;
    const float *x;
    float alpha;
    int64_t count;
};

static void axpy_chunks(void *ctx, int64_t begin, int64_t end, int thread)
{
    (void)thread;
    const struct axpy_job *a = ctx;
    for (int64_t i = begin * OPTIM_CHUNK; i < chunk_end(end, a->count); i++) {
        a->y[i] = fmaf(a->alpha, a->x[i], a->y[i]);
    }
}

void ref_axpy(struct ops_context *c, float *y, const float *x, float alpha, int64_t count)
{
    struct axpy_job job = {y, x, alpha, count};
    parallel_for(c->pool, chunks_of(count), axpy_chunks, &job);
}

struct square_job {
    const float *x;
    int64_t count;
    double sum[SUM_ROUND];
};

static void square_chunks(void *ctx, int64_t begin, int64_t end, int thread)
{
    (void)thread;
    struct square_job *job = ctx;
    for (int64_t chunk = begin; chunk < end; chunk++) {
        double sum = 0.0;
        for (int64_t i = chunk * OPTIM_CHUNK; i < chunk_end(chunk + 1, job->count); i++) {
            sum += (double)job->x[i] * (double)job->x[i];
        }
        job->sum[chunk] = sum;
    }
}

double ref_square_sum(struct ops_context *c, const float *x, int64_t count)
{
    double total = 0.0;
    const int64_t round = (int64_t)SUM_ROUND * OPTIM_CHUNK;
    for (int64_t first = 0; first < count; first += round) {
        struct square_job job = {.x = x + first,
                                 .count = count - first < round ? count - first : round};
        const int64_t chunks = chunks_of(job.count);
        parallel_for(c->pool, chunks, square_chunks, &job);
        for (int64_t i = 0; i < chunks; i++) {
            total += job.sum[i];
        }
    }
    return total;
}
