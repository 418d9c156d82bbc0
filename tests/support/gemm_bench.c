/* Speed of the products at the shapes of real models; see gemm_case.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "tests/support/gemm_case.h"

enum { BENCH_ROUNDS = 7, LINE = 256 };

struct bench_row {
    enum dtype type;
    int64_t n;
    int64_t k;
};

/* SmolLM2-135M and Qwen2.5-0.5B: attention, feed-forward, a chunk of the head, LoRA factors. */
static const struct bench_row ROWS[] = {
    {DTYPE_F32, 1536, 576},  {DTYPE_BF16, 1536, 576},  {DTYPE_F16, 1536, 576},
    {DTYPE_Q4_0, 1536, 576}, {DTYPE_Q4_1, 1536, 576},  {DTYPE_Q4_1, 576, 1536},
    {DTYPE_Q4_1, 192, 576},  {DTYPE_Q5_1, 1536, 576},  {DTYPE_NF4, 1536, 576},
    {DTYPE_Q8_0, 4096, 576}, {DTYPE_Q5_0, 4864, 896},  {DTYPE_Q4_K, 896, 4864},
    {DTYPE_Q5_K, 896, 4864}, {DTYPE_Q6_K, 896, 4864},  {DTYPE_F32, 16, 576},
    {DTYPE_F32, 1536, 16},
};

struct bench_job {
    struct ops_context c;
    struct product_case product;
    struct gradient_case gradient;
    bool is_gradient;
};

static double now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Best time of a few rounds of about 30 ms each, in seconds. */
static double bench_time(struct bench_job *job)
{
    double best = 1e9;
    int64_t calls = 1;
    for (int round = 0; round < BENCH_ROUNDS; round++) {
        const double start = now();
        for (int64_t i = 0; i < calls; i++) {
            if (job->is_gradient) {
                gradient_call(&job->gradient, &job->c);
            } else {
                product_call(&job->product, &job->c);
            }
        }
        const double took = (now() - start) / (double)calls;
        best = took < best ? took : best;
        calls = 1 + (int64_t)(0.03 / best);
    }
    return best;
}

static void bench_line(struct bench_job *job, const struct bench_row *row, int op, int64_t m,
                       const char *filter)
{
    static const char *const OPS[] = {"gemm", "gemm_dx", "gemm_dw"};
    char line[LINE];
    const char *type = row->type == DTYPE_NF4 ? "NF4" : dtype_row(row->type)->name;
    (void)snprintf(line, sizeof line,
                   "{\"op\":\"%s\",\"type\":\"%s\",\"m\":%lld,\"n\":%lld,\"k\":%lld,"
                   "\"compute\":\"%s\",\"tier\":\"%s\"",
                   OPS[op], type, (long long)m, (long long)row->n, (long long)row->k,
                   job->c.compute == COMPUTE_F32 ? "float32" : "bfloat16", job->c.ops->name);
    if (!strstr(line, filter)) {
        return;
    }
    const struct product_shape shape = {.m = m, .n = row->n, .k = row->k};
    const struct gradient_shape gradient = {
        .n = row->n, .k = row->k, .units = {0, m}, .unit_count = 1, .alpha = 1.0f};
    job->is_gradient = op == 2;
    if (job->is_gradient) {
        gradient_open(&job->gradient, &gradient);
    } else {
        product_open(&job->product, &shape, row->type, op == 1);
    }
    const double weights = (double)(row->n * row->k);
    const double took = bench_time(job);
    print_message("%s,\"us\":%.1f,\"gflops\":%.1f,\"gweights_per_s\":%.2f}\n", line, took * 1e6,
                  2.0 * weights * (double)m / took * 1e-9, weights / took * 1e-9);
    if (job->is_gradient) {
        gradient_close(&job->gradient);
    } else {
        product_close(&job->product);
    }
}

void gemm_bench(const char *filter, int64_t m)
{
    static const int64_t USUAL[] = {1, 8, 64, 512};
    for (int mode = 0; mode < 4; mode++) {
        struct bench_job job;
        const enum cpu_tier tier = mode < 2 ? TIER_AVX2 : TIER_AVX512;
        const struct ops_options o = {
            .threads = 1, .compute = mode % 2 ? COMPUTE_BF16 : COMPUTE_F32, .k_slices = 1};
        if (ops_context_open_tier(&job.c, &o, tier) != STATUS_OK) {
            continue;
        }
        for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
            for (size_t j = 0; j < sizeof USUAL / sizeof USUAL[0]; j++) {
                for (int op = 0; op < 3; op++) {
                    const bool right = m ? j == 0 : op == 0 || USUAL[j] > 8;
                    if (right && (op < 2 || ROWS[i].type == DTYPE_F32)) {
                        bench_line(&job, &ROWS[i], op, m ? m : USUAL[j], filter);
                    }
                }
            }
        }
        ops_context_close(&job.c);
    }
}
