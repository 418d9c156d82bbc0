/* Measurements of this machine; see measure.h. */
#include "recipes/measure.h"

#include <math.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "kernels/base/clock.h"

enum {
    GEMM_ROWS = 256,
    PROBE_ROWS = 4,
    GEMM_SIDE = 2048,
    STREAM_ITEMS = 256,
    LOOP_TRIES = 8,
    POOL_MOST = 1024,   /* threads */
    WEIGHTS_MOST = 1024 /* linears that are read */
};

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

/* Rounds of a loop of instructions on every thread. */
struct loop {
    peak_fn run;
    int64_t rounds;
    float result[POOL_MOST];
};

static void run_loop(void *ctx, int64_t begin, int64_t end, int thread)
{
    struct loop *l = ctx;
    for (int64_t i = begin; i < end; i++) {
        l->result[thread % POOL_MOST] = l->run(l->rounds);
    }
}

/* Best GFLOP/s of a loop: rounds that take about 2 ms, for `seconds`. */
static double best_loop(struct pool *pool, const struct peak_kind *kind, double seconds)
{
    struct loop loop = {.run = kind->run, .rounds = 1000};
    const int64_t threads = pool_threads(pool);
    double best = 0.0;
    const double end = clock_seconds() + seconds;
    do {
        const double start = clock_seconds();
        parallel_for(pool, threads, run_loop, &loop);
        const double took = clock_seconds() - start;
        const double rate = kind->flops * (double)loop.rounds * (double)threads / took / 1e9;
        best = rate > best ? rate : best;
        loop.rounds *= took < 1e-3 ? 2 : 1;
    } while (clock_seconds() < end);
    return best;
}

double measure_instructions(struct pool *pool, const struct peak_kind *kind, double seen)
{
    double best = 0.0;
    for (int i = 0; i == 0 || (i < LOOP_TRIES && best < seen); i++) {
        best = fmax(best, best_loop(pool, kind, 0.15));
    }
    return best;
}

struct stream {
    const uint64_t *words;
    size_t per_item;
    int rounds;
    uint64_t sums[STREAM_ITEMS];
};

typedef uint64_t pair_of_words __attribute__((vector_size(16), aligned(8), may_alias));

/* Adds up whole lines of 64 bytes; four loads in flight, none depends on another. */
static uint64_t sum_of(const uint64_t *words, size_t count)
{
    const pair_of_words *p = (const pair_of_words *)words;
    pair_of_words a = {0};
    pair_of_words b = {0};
    pair_of_words c = {0};
    pair_of_words d = {0};
    for (size_t j = 0; j + 4 <= count / 2; j += 4) {
        a += p[j];
        b += p[j + 1];
        c += p[j + 2];
        d += p[j + 3];
    }
    a += b + c + d;
    return a[0] + a[1];
}

static void sum_words(void *ctx, int64_t begin, int64_t end, int thread)
{
    (void)thread;
    struct stream *s = ctx;
    for (int round = 0; round < s->rounds; round++) {
        for (int64_t i = begin; i < end; i++) {
            s->sums[i] += sum_of(s->words + (size_t)i * s->per_item, s->per_item);
        }
    }
}

/* Best GB/s of five readings of `bytes` bytes, `rounds` times each. */
static enum status best_read(struct pool *pool, size_t bytes, int rounds, double *gb_per_second)
{
    uint64_t *words = malloc(bytes);
    if (!words) {
        return FAIL(MEMORY, "measurement: out of memory");
    }
    memset(words, 1, bytes);
    struct stream s = {
        .words = words, .per_item = bytes / sizeof *words / STREAM_ITEMS, .rounds = rounds};
    double best = 1e9;
    for (int round = 0; round < 5; round++) {
        const double start = clock_seconds();
        parallel_for(pool, STREAM_ITEMS, sum_words, &s);
        const double seconds = clock_seconds() - start;
        best = seconds < best ? seconds : best;
    }
    *gb_per_second = (double)bytes * rounds / best / 1e9;
    free(words);
    return STATUS_OK;
}

enum status measure_read(struct pool *pool, int64_t mib, double *gb_per_second)
{
    return best_read(pool, (size_t)mib << 20, 1, gb_per_second);
}

enum status measure_cache_read(struct pool *pool, double *gb_per_second)
{
    enum { LEAST = 1 << 20, MOST = 8 << 20 }; /* virtual machines name the socket's */
    const long last = sysconf(_SC_LEVEL3_CACHE_SIZE);
    const long second = sysconf(_SC_LEVEL2_CACHE_SIZE);
    const size_t whole = (size_t)(last > 0 ? last : second > 0 ? second : LEAST);
    size_t bytes = whole / 2 > LEAST ? whole / 2 : LEAST;
    bytes = bytes < MOST ? bytes : MOST;
    return best_read(pool, bytes, (int)((64UL << 20) / bytes) + 1, gb_per_second);
}

/* The weights of a model's layers, a share of the linears for each thread. */
struct weights {
    const struct linear *linear[WEIGHTS_MOST];
    uint64_t sum[WEIGHTS_MOST];
    int64_t count;
    double bytes;
};

static enum status take_weight(void *ctx, struct linear *l)
{
    struct weights *w = ctx;
    if (w->count < WEIGHTS_MOST && l->w.row_bytes > 0 && l->w.data && strstr(l->name, ".layers.")) {
        w->bytes += (double)l->w.row_bytes * (double)l->out;
        w->linear[w->count++] = l;
    }
    return STATUS_OK;
}

static void read_weights(void *ctx, int64_t begin, int64_t end, int thread)
{
    (void)thread;
    struct weights *w = ctx;
    for (int64_t i = begin; i < end; i++) {
        const struct linear *l = w->linear[i];
        const uintptr_t at = ((uintptr_t)l->w.data + 63) & ~(uintptr_t)63;
        const uintptr_t to = (uintptr_t)l->w.data + l->w.row_bytes * (size_t)l->out;
        w->sum[i] += to > at ? sum_of((const uint64_t *)at, (to - at) / sizeof(uint64_t)) : 0;
    }
}

enum status measure_peaks(struct ops_context *ops, struct model *m, struct work_peaks *out)
{
    const struct peak_kind *kind = peak_of(ops);
    struct weights w = {0};
    double best = 1e9;
    *out = (struct work_peaks){0};
    if (kind) {
        out->gflops = best_loop(ops->pool, kind, 0.02);
    } else {
        TRY(measure_gemm(ops, 0.0, &out->gflops));
    }
    TRY(model_each_linear(m, take_weight, &w));
    for (int round = 0; round < 3 && w.count > 0; round++) {
        const double start = clock_seconds();
        parallel_for(ops->pool, w.count, read_weights, &w);
        const double seconds = clock_seconds() - start;
        best = round > 0 && seconds < best ? seconds : best; /* the first maps the pages */
    }
    out->read_gb_per_second = w.count > 0 ? w.bytes / best / 1e9 : 1.0;
    return STATUS_OK;
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
