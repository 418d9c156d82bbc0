/*
 * One pthread pool per rank. Items are split alike on every run, so memory stays with the thread
 * that it is near to, and the work of an item never depends on how many threads there are. Items
 * must write disjoint memory; reductions are partitioned by the caller into items, alike for any
 * thread count.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/status.h"

struct pool;

/* Works on items [begin, end); `thread` in [0, pool_threads) picks per-thread scratch. */
typedef void (*parallel_fn)(void *ctx, int64_t begin, int64_t end, int thread);

/* Starts a pool of `threads` (>= 1, the caller included). threads == 0: one per CPU this process
 * may run on. Fails with MEMORY when threads can't start. Close with pool_close. */
MUST_USE enum status pool_open(struct pool **out, int threads);

/* As pool_open with thread t on CPU cpus[t] alone (places.h); the caller is thread 0 and gets its
 * own mask back when the pool is closed. cpus NULL: the system places them. A CPU that the process
 * may not use leaves its thread where it is. */
MUST_USE enum status pool_open_pinned(struct pool **out, int threads, const int *cpus);

/* The CPUs that it was opened with, one per thread, for pools beside it; NULL: none. Borrowed. */
const int *pool_cpus(const struct pool *p);

/* Number of threads, the caller included. NULL counts as 1. */
int pool_threads(const struct pool *p);

/* Runs fn over [0, items) in contiguous static slices and returns when all are done. p == NULL
 * runs on the caller. Not reentrant: fn must not call parallel_for on the same pool. */
void parallel_for(struct pool *p, int64_t items, parallel_fn fn, void *ctx);

/* As parallel_for, but a slice is taken in pieces: half of what is left of it each, at least `piece`
 * (>= 1) items. A thread that has done its own takes over what others have not begun, so that one
 * that the system holds up, or a slower core, does not keep all waiting. fn is called for each
 * piece. Who works on an item must not show in the result. */
void parallel_for_pieces(struct pool *p, int64_t items, int64_t piece, parallel_fn fn, void *ctx);

/* Within fn of parallel_for_pieces, instead of a call more: the next items [*begin, *end) of this
 * thread, for an fn that keeps something between pieces; its own follow each other. False: none are
 * left. */
bool parallel_more(struct pool *p, int thread, int64_t *begin, int64_t *end);

/* Joins the threads. NULL is allowed. */
void pool_close(struct pool *p);
