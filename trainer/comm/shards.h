/*
 * Shards: how units of work are dealt out and how their gradients are summed so that 1, 2, 4 or 8
 * ranks end in the same bits (design 3).
 *
 * Units go to S shards longest first (ties by index), each to the shard with the least cost so far
 * (ties: lowest shard). Shards go to ranks in contiguous runs. Inside a shard, units run in index
 * order. Shard sums are added in a fixed binary tree over the shard index, nearest partner first.
 */
#pragma once

#include <stdint.h>

#include "kernels/ops.h"
#include "trainer/comm/comm.h"

enum { SHARDS_MAX = 64 };

/* bin_of[u] of each unit: longest first (ties by index), each to the bin with the least cost so far
 * (ties: lowest bin). load [bins] takes the sums. */
void shards_deal(const int64_t *cost, int64_t units, int bins, int64_t *load, int *bin_of);

/* shard_of[u] for `units` costs. `shards` is a power of two <= SHARDS_MAX. */
void shards_assign(const int64_t *cost, int64_t units, int shards, int *shard_of);

/* Rank that owns shard `s`: contiguous runs, s * size / shards. */
int shards_owner(int s, int shards, int size);

/* Running sum of the tree on one rank: push own shards in ascending order, then finish. */
struct shard_sum {
    int64_t count;       /* floats per gradient */
    int shards;
    int depth;           /* nodes on the stack */
    struct {
        int first;       /* first shard of the node */
        int span;        /* shards covered, a power of two */
        float *sum;      /* [count] */
    } node[16];
    float *spare[16];
    int spares;
    struct arena arena;
};

/* Reserves the buffers: at most log2(shards) + 2 of `count` floats. */
MUST_USE enum status shard_sum_open(struct shard_sum *s, int shards, int64_t count);

/* Adds shard `shard`'s gradient [count] as a leaf and merges complete siblings: left += right. */
MUST_USE enum status shard_sum_push(struct shard_sum *s, struct ops_context *ops, int shard,
                                    const float *grad);

/* Merges over ranks along the same tree; every rank ends with the total in `out` [count]. Empties
 * the sum for the next step. Collective. */
MUST_USE enum status shard_sum_finish(struct shard_sum *s, struct ops_context *ops,
                                      const struct comm *c, float *out);

/* Frees the buffers. */
void shard_sum_close(struct shard_sum *s);
