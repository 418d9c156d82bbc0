/* axpy and the sum of the gradient's norm. */
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

struct round_job {
    uint16_t *y;
    const float *x;
    int64_t count;
};

static void round_chunks(void *ctx, int64_t begin, int64_t end, int thread)
{
    (void)thread;
    const struct round_job *job = ctx;
    for (int64_t i = begin * OPTIM_CHUNK; i < chunk_end(end, job->count); i++) {
        job->y[i] = dtype_f32_to_bf16(job->x[i]);
    }
}

void ref_round(struct ops_context *c, uint16_t *y, const float *x, int64_t count)
{
    struct round_job job = {y, x, count};
    parallel_for(c->pool, chunks_of(count), round_chunks, &job);
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
