/* Measurements of this machine; see measure.h. */
#include "recipes/measure.h"

#include <string.h>
#include <sys/resource.h>

#include "kernels/base/clock.h"

enum { GEMM_ROWS = 256, PROBE_ROWS = 4, GEMM_SIDE = 2048, STREAM_ITEMS = 256 };

/* Best seconds of one product of `rows` rows, repeated for `seconds`. */
static double best_product(struct ops_context *ops, struct gemm_args gemm, int64_t rows,
                           double seconds)
{
    double best = 1e9;
    const double end = clock_seconds() + seconds;
    gemm.m = rows;
    do {
        const double start = clock_seconds();
        ops->ops->gemm(ops, &gemm);
        const double took = clock_seconds() - start;
        best = took < best ? took : best;
    } while (clock_seconds() < end);
    return best;
}

enum status measure_gemm(struct ops_context *ops, double seconds, double *gflops)
{
    float *memory = calloc((size_t)(2 * GEMM_ROWS + GEMM_SIDE) * GEMM_SIDE, sizeof *memory);
    if (!memory) {
        return FAIL(MEMORY, "measurement: out of memory");
    }
    const struct tensor w = {.dtype = DTYPE_F32,
                             .dims = 2,
                             .shape = {GEMM_SIDE, GEMM_SIDE},
                             .row_bytes = GEMM_SIDE * sizeof(float),
                             .data = memory + (size_t)2 * GEMM_ROWS * GEMM_SIDE};
    const struct gemm_args gemm = {.x = memory,
                                   .ldx = GEMM_SIDE,
                                   .w = &w,
                                   .n = GEMM_SIDE,
                                   .y = memory + (size_t)GEMM_ROWS * GEMM_SIDE,
                                   .ldy = GEMM_SIDE,
                                   .alpha = 1};
    const double flops = 2.0 * GEMM_SIDE * GEMM_SIDE; /* of one row */
    double best = flops * PROBE_ROWS / best_product(ops, gemm, PROBE_ROWS, 0.0);
    if (best > 0.5e9) {
        best = flops * GEMM_ROWS / best_product(ops, gemm, GEMM_ROWS, seconds);
    }
    *gflops = best / 1e9;
    free(memory);
    return STATUS_OK;
}

struct stream {
    const uint64_t *words;
    size_t per_item;
    uint64_t sums[STREAM_ITEMS];
};

static void sum_words(void *ctx, int64_t begin, int64_t end, int thread)
{
    (void)thread;
    struct stream *s = ctx;
    for (int64_t i = begin; i < end; i++) {
        const uint64_t *p = s->words + (size_t)i * s->per_item;
        uint64_t sum[4] = {0};
        for (size_t j = 0; j + 4 <= s->per_item; j += 4) {
            sum[0] += p[j];
            sum[1] += p[j + 1];
            sum[2] += p[j + 2];
            sum[3] += p[j + 3];
        }
        s->sums[i] = sum[0] + sum[1] + sum[2] + sum[3];
    }
}

enum status measure_read(struct pool *pool, int64_t mib, double *gb_per_second)
{
    const size_t bytes = (size_t)mib << 20;
    uint64_t *words = malloc(bytes);
    if (!words) {
        return FAIL(MEMORY, "measurement: out of memory");
    }
    memset(words, 1, bytes);
    struct stream s = {.words = words, .per_item = bytes / sizeof *words / STREAM_ITEMS};
    double best = 1e9;
    for (int round = 0; round < 5; round++) {
        const double start = clock_seconds();
        parallel_for(pool, STREAM_ITEMS, sum_words, &s);
        const double seconds = clock_seconds() - start;
        best = seconds < best ? seconds : best;
    }
    *gb_per_second = (double)bytes / best / 1e9;
    free(words);
    return STATUS_OK;
}

enum status measure_peaks(struct ops_context *ops, struct work_peaks *out)
{
    TRY(measure_gemm(ops, 0.04, &out->gflops));
    return measure_read(ops->pool, 96, &out->read_gb_per_second);
}

double measure_peak_rss(void)
{
    struct rusage usage = {0};
    (void)getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_maxrss / (1 << 20); /* Linux counts KiB */
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    return (x > y) - (x < y);
}

double measure_median(double *values, int64_t count)
{
    qsort(values, (size_t)count, sizeof *values, by_value);
    return values[count / 2];
}
