/*
 * One pthread pool per rank and one parallel_for: static split, so the work of an item never
 * depends on how many threads there are. Items must write disjoint memory; reductions are
 * partitioned by the caller into items, alike for any thread count.
 */
#pragma once

#include <stdint.h>

#include "kernels/base/status.h"

struct pool;

/* Works on items [begin, end); `thread` in [0, pool_threads) picks per-thread scratch. */
typedef void (*parallel_fn)(void *ctx, int64_t begin, int64_t end, int thread);

/* Starts a pool of `threads` (>= 1, the caller included). threads == 0: one per CPU this process
 * may run on. Fails with MEMORY when threads can't start. Close with pool_close. */
MUST_USE enum status pool_open(struct pool **out, int threads);

/* Number of threads, the caller included. NULL counts as 1. */
int pool_threads(const struct pool *p);

/* Runs fn over [0, items) in contiguous static slices and returns when all are done. p == NULL
 * runs on the caller. Not reentrant: fn must not call parallel_for on the same pool. */
void parallel_for(struct pool *p, int64_t items, parallel_fn fn, void *ctx);

/* Joins the threads. NULL is allowed. */
void pool_close(struct pool *p);
