/*
 * What this machine can do at most, measured in about a second: the peak of the tier's own products
 * and the rate at which memory is read. `doctor` prints them, `bench` divides by them (the roofline
 * of Williams et al. 2009).
 */
#pragma once

#include "kernels/cpu/peak.h"
#include "kernels/ops.h"
#include "trainer/model/work.h"

enum { MEASURE_MIB = 256 };
static const double MEASURE_SECONDS = 0.4;

/* Best GFLOP/s of y[256, 2048] = x W^T with fp32 weights on an open context, within about `seconds`
 * (a tier below 0.5 GFLOP/s is measured with 4 rows). Fails with MEMORY. */
MUST_USE enum status measure_gemm(struct ops_context *ops, double seconds, double *gflops);

/* Best GB/s (1e9 bytes) at which the pool's threads read `mib` MiB. Fails with MEMORY. */
MUST_USE enum status measure_read(struct pool *pool, int64_t mib, double *gb_per_second);

/* Best GB/s at which they read half of the last-level cache, again and again. Fails with MEMORY. */
MUST_USE enum status measure_cache_read(struct pool *pool, double *gb_per_second);

/* Best GFLOP/s of a loop of these instructions on every thread of the pool, within 0.15 s. `seen` is
 * what products made of them, or 0: below it something else held the cores (a virtual CPU runs at
 * half its rate while its core's other half is busy), and they are measured again, up to 8 times. */
double measure_instructions(struct pool *pool, const struct peak_kind *kind, double seen);

/* The roofs of a run in about 0.05 s and without memory of its own: the instructions of the
 * context's products (the reference tier: the products themselves), and the rate at which the
 * model's own weights are read. Fails as model_each_linear, MEMORY. */
MUST_USE enum status measure_peaks(struct ops_context *ops, struct model *m,
                                   struct work_peaks *out);

/* Memory of this process: what it holds now without the files that it maps read-only and shared
 * (those are weights), and the size of these files. Zeros when the kernel does not tell. */
struct measure_memory {
    size_t held;
    size_t mapped;
};

/* As it is now. */
struct measure_memory measure_process(void);

/* Bytes that new processes could have: the kernel's MemAvailable, and less where the cgroup allows
 * less. */
double measure_free_memory(void);

/* Most memory this process ever held, in GiB. */
double measure_peak_rss(void);

/* The median of `count` >= 1 values, the upper one of two; sorts them. */
double measure_median(double *values, int64_t count);
