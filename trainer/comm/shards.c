/* Units to shards, and the fixed tree that sums them; see shards.h. */
#include "trainer/comm/shards.h"

#include <string.h>

static bool power_of_two(int n)
{
    return n > 0 && (n & (n - 1)) == 0;
}

/* Index of the longest unassigned unit, first on ties. */
static int64_t next_longest(const int64_t *cost, int64_t units, const int *shard_of)
{
    int64_t best = -1;
    for (int64_t u = 0; u < units; u++) {
        if (shard_of[u] < 0 && (best < 0 || cost[u] > cost[best])) {
            best = u;
        }
    }
    return best;
}

void shards_deal(const int64_t *cost, int64_t units, int bins, int64_t *load, int *bin_of)
{
    memset(load, 0, (size_t)bins * sizeof *load);
    for (int64_t u = 0; u < units; u++) {
        bin_of[u] = -1;
    }
    for (int64_t done = 0; done < units; done++) {
        const int64_t u = next_longest(cost, units, bin_of);
        int least = 0;
        for (int b = 1; b < bins; b++) {
            if (load[b] < load[least]) {
                least = b;
            }
        }
        bin_of[u] = least;
        load[least] += cost[u];
    }
}

void shards_assign(const int64_t *cost, int64_t units, int shards, int *shard_of)
{
    ASSERT(power_of_two(shards) && shards <= SHARDS_MAX);
    int64_t load[SHARDS_MAX];
    shards_deal(cost, units, shards, load, shard_of);
}

int shards_owner(int s, int shards, int size)
{
    return (int)((int64_t)s * size / shards);
}

enum status shard_sum_open(struct shard_sum *s, int shards, int64_t count)
{
    ASSERT(power_of_two(shards) && shards <= SHARDS_MAX);
    *s = (struct shard_sum){.count = count, .shards = shards};
    int buffers = 2;
    for (int n = 1; n < shards; n *= 2) {
        buffers++;
    }
    /* A rank count that is no power of two leaves a run of shards in up to twice as many nodes. */
    buffers = buffers * 2 < 15 ? buffers * 2 : 15;
    TRY(arena_open(&s->arena, "shard sums",
                   (size_t)buffers * ((size_t)count * sizeof(float) + 64)));
    for (int i = 0; i < buffers; i++) {
        TRY(arena_alloc(&s->arena, (size_t)count, sizeof(float), &s->spare[i]));
    }
    s->spares = buffers;
    return STATUS_OK;
}

static void node_drop(struct shard_sum *s, int index)
{
    s->spare[s->spares++] = s->node[index].sum;
    memmove(&s->node[index], &s->node[index + 1],
            (size_t)(s->depth - index - 1) * sizeof s->node[0]);
    s->depth--;
}

/* Two neighbours of one parent become it: left += right. */
static bool merge_once(struct shard_sum *s, struct ops_context *ops)
{
    for (int i = 0; i + 1 < s->depth; i++) {
        const int span = s->node[i].span;
        const bool siblings = span == s->node[i + 1].span && s->node[i].first % (2 * span) == 0
                              && s->node[i + 1].first == s->node[i].first + span;
        if (siblings) {
            ops->ops->axpy(ops, s->node[i].sum, s->node[i + 1].sum, 1.0f, s->count);
            s->node[i].span = 2 * span;
            node_drop(s, i + 1);
            return true;
        }
    }
    return false;
}

enum status shard_sum_push(struct shard_sum *s, struct ops_context *ops, int shard,
                           const float *grad)
{
    if (s->spares == 0 || s->depth >= 16) {
        return FAIL(INTERNAL, "shard %d: more nodes than planned", shard);
    }
    float *sum = s->spare[--s->spares];
    memcpy(sum, grad, (size_t)s->count * sizeof(float));
    s->node[s->depth].first = shard;
    s->node[s->depth].span = 1;
    s->node[s->depth].sum = sum;
    s->depth++;
    while (merge_once(s, ops)) {
    }
    return STATUS_OK;
}

static int node_find(const struct shard_sum *s, int first, int span)
{
    for (int i = 0; i < s->depth; i++) {
        if (s->node[i].first == first && s->node[i].span == span) {
            return i;
        }
    }
    return -1;
}

/* One pair of siblings whose parts lie on two ranks: the right one travels to the left's owner. */
static enum status merge_over_ranks(struct shard_sum *s, struct ops_context *ops,
                                    const struct comm *c, int first, int span)
{
    const int left_owner = shards_owner(first, s->shards, c->size);
    const int right_owner = shards_owner(first + span, s->shards, c->size);
    if (left_owner == right_owner) {
        return STATUS_OK; /* merged when it was pushed or by merge_once */
    }
    if (c->rank == right_owner) {
        const int i = node_find(s, first + span, span);
        ASSERT(i >= 0);
        TRY(comm_send(c, s->node[i].sum, (size_t)s->count * sizeof(float), left_owner));
        node_drop(s, i);
    } else if (c->rank == left_owner) {
        const int i = node_find(s, first, span);
        ASSERT(i >= 0 && s->spares > 0);
        float *right = s->spare[s->spares - 1];
        TRY(comm_receive(c, right, (size_t)s->count * sizeof(float), right_owner));
        ops->ops->axpy(ops, s->node[i].sum, right, 1.0f, s->count);
        s->node[i].span = 2 * span;
    }
    return STATUS_OK;
}

enum status shard_sum_finish(struct shard_sum *s, struct ops_context *ops, const struct comm *c,
                             float *out)
{
    for (int span = 1; span < s->shards; span *= 2) {
        for (int first = 0; first < s->shards; first += 2 * span) {
            TRY(merge_over_ranks(s, ops, c, first, span));
        }
        while (merge_once(s, ops)) {
        }
    }
    if (c->rank == 0) {
        ASSERT(s->depth == 1 && s->node[0].span == s->shards);
        memcpy(out, s->node[0].sum, (size_t)s->count * sizeof(float));
        node_drop(s, 0);
    }
    ASSERT(s->depth == 0);
    return comm_broadcast(c, out, (size_t)s->count * sizeof(float), 0);
}

void shard_sum_close(struct shard_sum *s)
{
    arena_close(&s->arena);
    *s = (struct shard_sum){0};
}
