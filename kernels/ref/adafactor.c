/* Adafactor (Shazeer & Stern 2018, arXiv 1804.04235) as Transformers computes it; see ops.h. */
#include <math.h>

#include "kernels/ref/ref.h"

enum {
    COLUMNS = 64, /* columns of one item of work */
    PIECES = 256  /* partial sums of the update's squares */
};

struct adafactor_job {
    const struct adafactor_args *a;
    int64_t matrix;      /* of the batch */
    float mean_row;      /* mean of the rows' EMA */
    float divide;        /* max(1, rms / clip) */
    int64_t piece;       /* elements of one partial sum */
    double sum[PIECES];
};

static double squared(const struct adafactor_args *a, int64_t i)
{
    const float g = a->g[i] * (float)a->grad_scale;
    return (double)(g * g + (float)a->eps);
}

static float ema(double beta, float old, float value)
{
    return fmaf((float)(1.0 - beta), value, (float)beta * old);
}

static void rows_ema(void *ctx, int64_t begin, int64_t end, int thread)
{
    (void)thread;
    const struct adafactor_job *job = ctx;
    const struct adafactor_args *a = job->a;
    for (int64_t row = begin; row < end; row++) {
        double sum = 0.0;
        for (int64_t c = 0; c < a->cols; c++) {
            sum += squared(a, row * a->cols + c);
        }
        a->row[row] = ema(a->beta2, a->row[row], (float)(sum / (double)a->cols));
    }
}

static void columns_ema(void *ctx, int64_t begin, int64_t end, int thread)
{
    (void)thread;
    const struct adafactor_job *job = ctx;
    const struct adafactor_args *a = job->a;
    for (int64_t item = begin; item < end; item++) {
        const int64_t first = item * COLUMNS;
        const int64_t n = a->cols - first < COLUMNS ? a->cols - first : COLUMNS;
        double sum[COLUMNS] = {0};
        for (int64_t row = 0; row < a->rows; row++) {
            const int64_t at = (job->matrix * a->rows + row) * a->cols + first;
            for (int64_t c = 0; c < n; c++) {
                sum[c] += squared(a, at + c);
            }
        }
        float *col = a->col + job->matrix * a->cols + first;
        for (int64_t c = 0; c < n; c++) {
            col[c] = ema(a->beta2, col[c], (float)(sum[c] / (double)a->rows));
        }
    }
}

/* u of element i, before clipping. */
static float update_at(const struct adafactor_job *job, int64_t i)
{
    const struct adafactor_args *a = job->a;
    const int64_t row = i / a->cols;
    const float g = a->g[i] * (float)a->grad_scale;
    const float by_col = 1.0f / sqrtf(a->col[row / a->rows * a->cols + i % a->cols]);
    return a->row ? 1.0f / sqrtf(a->row[row] / job->mean_row) * by_col * g : by_col * g;
}

static int64_t piece_end(const struct adafactor_job *job, int64_t piece)
{
    const int64_t count = job->a->rows * job->a->cols;
    return piece * job->piece < count ? piece * job->piece : count;
}

static void sum_pieces(void *ctx, int64_t begin, int64_t end, int thread)
{
    (void)thread;
    struct adafactor_job *job = ctx;
    const int64_t first = job->matrix * job->a->rows * job->a->cols;
    for (int64_t piece = begin; piece < end; piece++) {
        double sum = 0.0;
        for (int64_t i = piece * job->piece; i < piece_end(job, piece + 1); i++) {
            const double u = (double)update_at(job, first + i);
            sum += u * u;
        }
        job->sum[piece] = sum;
    }
}

static void apply_pieces(void *ctx, int64_t begin, int64_t end, int thread)
{
    (void)thread;
    const struct adafactor_job *job = ctx;
    const struct adafactor_args *a = job->a;
    const float decay = (float)(-a->weight_decay * a->lr);
    const int64_t first = job->matrix * a->rows * a->cols;
    for (int64_t i = first + begin * job->piece; i < first + piece_end(job, end); i++) {
        float u = update_at(job, i) / job->divide * (float)a->lr;
        if (a->mean_update) {
            u = ema(a->beta1, a->mean_update[i], u);
            a->mean_update[i] = u;
        }
        a->p[i] = fmaf(decay, a->p[i], a->p[i]) - u;
    }
}

/* Mean of the EMA over the rows of the job's matrix. */
static float mean_of_rows(const struct adafactor_job *job)
{
    const struct adafactor_args *a = job->a;
    double sum = 0.0;
    for (int64_t row = 0; row < a->rows; row++) {
        sum += (double)a->row[job->matrix * a->rows + row];
    }
    return (float)(sum / (double)a->rows);
}

void ref_adafactor(struct ops_context *c, const struct adafactor_args *a)
{
    const int64_t size = a->rows * a->cols;
    struct adafactor_job job = {.a = a, .piece = (size + PIECES - 1) / PIECES};
    const int64_t pieces = (size + job.piece - 1) / job.piece;
    double sum = 0.0;
    if (a->row) {
        parallel_for(c->pool, a->batch * a->rows, rows_ema, &job);
    }
    for (job.matrix = 0; job.matrix < a->batch; job.matrix++) {
        parallel_for(c->pool, (a->cols + COLUMNS - 1) / COLUMNS, columns_ema, &job);
        job.mean_row = a->row ? mean_of_rows(&job) : 1.0f;
        parallel_for(c->pool, pieces, sum_pieces, &job);
        for (int64_t i = 0; i < pieces; i++) {
            sum += job.sum[i];
        }
    }
    const double rms = sqrt(sum) / sqrt((double)(a->batch * size));
    job.divide = fmaxf((float)(rms / a->clip), 1.0f);
    for (job.matrix = 0; job.matrix < a->batch; job.matrix++) {
        job.mean_row = a->row ? mean_of_rows(&job) : 1.0f;
        parallel_for(c->pool, pieces, apply_pieces, &job);
    }
}
