/*
 * Scratch memory of a CPU context: one fixed slice per thread at the front of the arena, and a
 * shared part behind it that an op may take with arena_mark/arena_alloc/arena_rewind from the
 * calling thread. All of it is reserved when the context opens (pages are touched lazily) and never
 * grows, so no op allocates.
 *
 * Bounds that follow: a weight row has at most 2^20 columns, head_dim is at most 512.
 */
#pragma once

#include "kernels/ops.h"

enum {
    SCRATCH_THREAD_BYTES = 4 << 20,  /* per thread: one decoded row of 2^20 floats */
    SCRATCH_SHARED_BYTES = 64 << 20, /* for panels that all threads read */
    SCRATCH_MAX_COLUMNS = 1 << 20,
    SCRATCH_MAX_HEAD_DIM = 512
};

/* The 64-byte aligned slice of SCRATCH_THREAD_BYTES that belongs to `thread` (as parallel_for
 * numbers them). Valid until the context closes; contents are undefined between ops. */
static inline void *scratch_thread(const struct ops_context *c, int thread)
{
    return c->scratch.base + (size_t)thread * SCRATCH_THREAD_BYTES;
}
