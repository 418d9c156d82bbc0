/*
 * Shards: units are dealt out alike everywhere, and the tree sum has the same bits for every number
 * of owners. Ranks are threads here, joined by a communicator over shared memory.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/rng.h"
#include "trainer/comm/comm_internal.h"
#include "trainer/comm/shards.h"

enum { COUNT = 1000, MAX_RANKS = 8, SHARDS = 8 };

/* One mailbox per pair of ranks and a barrier: enough for send, receive and broadcast. */
struct world {
    pthread_barrier_t barrier;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    const void *box[MAX_RANKS][MAX_RANKS];
    const void *shared;
};

static enum status thread_send(const struct comm *c, const void *data, size_t bytes, int to)
{
    struct world *w = c->handle;
    (void)bytes;
    (void)pthread_mutex_lock(&w->lock);
    w->box[c->rank][to] = data;
    (void)pthread_cond_broadcast(&w->changed);
    while (w->box[c->rank][to]) {
        (void)pthread_cond_wait(&w->changed, &w->lock);
    }
    (void)pthread_mutex_unlock(&w->lock);
    return STATUS_OK;
}

static enum status thread_receive(const struct comm *c, void *data, size_t bytes, int from)
{
    struct world *w = c->handle;
    (void)pthread_mutex_lock(&w->lock);
    while (!w->box[from][c->rank]) {
        (void)pthread_cond_wait(&w->changed, &w->lock);
    }
    memcpy(data, w->box[from][c->rank], bytes);
    w->box[from][c->rank] = NULL;
    (void)pthread_cond_broadcast(&w->changed);
    (void)pthread_mutex_unlock(&w->lock);
    return STATUS_OK;
}

static enum status thread_broadcast(const struct comm *c, void *data, size_t bytes, int root)
{
    struct world *w = c->handle;
    if (c->rank == root) {
        w->shared = data;
    }
    (void)pthread_barrier_wait(&w->barrier);
    if (c->rank != root) {
        memcpy(data, w->shared, bytes);
    }
    (void)pthread_barrier_wait(&w->barrier);
    return STATUS_OK;
}

static const struct comm_ops THREADS = {
    .name = "threads",
    .broadcast = thread_broadcast,
    .send = thread_send,
    .receive = thread_receive,
};

struct rank {
    struct comm comm;
    struct ops_context *ops;
    float total[COUNT];
};

static void leaf(int shard, float *grad)
{
    const struct rng_key key = {.seed = 5, .row = (uint32_t)shard};
    rng_fill_normal(&key, grad, COUNT, 1.0f);
}

static void *rank_main(void *arg)
{
    struct rank *r = arg;
    struct shard_sum sum;
    static _Thread_local float grad[COUNT];
    ASSERT(shard_sum_open(&sum, SHARDS, COUNT) == STATUS_OK);
    for (int s = 0; s < SHARDS; s++) {
        if (shards_owner(s, SHARDS, r->comm.size) == r->comm.rank) {
            leaf(s, grad);
            ASSERT(shard_sum_push(&sum, r->ops, s, grad) == STATUS_OK);
        }
    }
    ASSERT(shard_sum_finish(&sum, r->ops, &r->comm, r->total) == STATUS_OK);
    shard_sum_close(&sum);
    return NULL;
}

static void sum_over(int size, struct ops_context *ops, float *total)
{
    static struct rank ranks[MAX_RANKS];
    static struct world world;
    pthread_t threads[MAX_RANKS];
    world = (struct world){0};
    (void)pthread_barrier_init(&world.barrier, NULL, (unsigned)size);
    (void)pthread_mutex_init(&world.lock, NULL);
    (void)pthread_cond_init(&world.changed, NULL);
    for (int r = 0; r < size; r++) {
        ranks[r].comm = (struct comm){.ops = &THREADS, .rank = r, .size = size, .handle = &world};
        ranks[r].ops = ops;
        assert_int_equal(pthread_create(&threads[r], NULL, rank_main, &ranks[r]), 0);
    }
    for (int r = 0; r < size; r++) {
        assert_int_equal(pthread_join(threads[r], NULL), 0);
        assert_memory_equal(ranks[r].total, ranks[0].total, sizeof ranks[0].total);
    }
    memcpy(total, ranks[0].total, sizeof ranks[0].total);
}

static void tree_sum_has_the_same_bits(void **state)
{
    (void)state;
    struct ops_context ops;
    static float grads[SHARDS][COUNT];
    static float want[COUNT];
    static float total[COUNT];
    assert_int_equal(ops_context_open(&ops, &(struct ops_options){.threads = 1}), STATUS_OK);
    for (int s = 0; s < SHARDS; s++) {
        leaf(s, grads[s]);
    }
    for (int i = 0; i < COUNT; i++) { /* ((0+1)+(2+3)) + ((4+5)+(6+7)) */
        const float a = (grads[0][i] + grads[1][i]) + (grads[2][i] + grads[3][i]);
        const float b = (grads[4][i] + grads[5][i]) + (grads[6][i] + grads[7][i]);
        want[i] = a + b;
    }
    for (int size = 1; size <= MAX_RANKS; size++) {
        sum_over(size, &ops, total);
        assert_memory_equal(total, want, sizeof want);
    }
    ops_context_close(&ops);
}

static void longest_units_go_first(void **state)
{
    (void)state;
    const int64_t cost[6] = {5, 9, 5, 1, 7, 2};
    int shard[6];
    shards_assign(cost, 6, 2, shard);
    /* 9 -> 0, 7 -> 1, 5 (unit 0) -> 1, 5 (unit 2) -> 0, 2 -> 1, 1 -> 0 or the lighter */
    const int want[6] = {1, 0, 0, 0, 1, 1};
    assert_memory_equal(shard, want, sizeof want);
}

static void owners_are_contiguous(void **state)
{
    (void)state;
    for (int size = 1; size <= SHARDS; size++) {
        int last = 0;
        for (int s = 0; s < SHARDS; s++) {
            const int owner = shards_owner(s, SHARDS, size);
            assert_true(owner >= last && owner <= last + 1 && owner < size);
            last = owner;
        }
        assert_int_equal(last, size - 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tree_sum_has_the_same_bits),
        cmocka_unit_test(longest_units_go_first),
        cmocka_unit_test(owners_are_contiguous),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
