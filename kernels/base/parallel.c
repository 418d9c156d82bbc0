/* Pthread pool; workers spin briefly, then sleep. See parallel.h. */
#include "kernels/base/parallel.h"

#include "kernels/base/cpu.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

/* A worker polls before it sleeps, so that it does not sleep between two ops of a layer (waking a
 * virtual CPU takes as long as a small product). It yields after the first polls: on cores that
 * ranks share, the others go on. */
enum { SPIN_LIMIT = 2000, YIELD_LIMIT = 4000, MAX_THREADS = 1024 };

/* What is left of a thread's slice; those of two threads never share a cache line. */
struct slice {
    _Atomic(int64_t) next;
    int64_t end;
    char apart[112];
};

struct worker {
    struct slice slice;
    struct pool *pool;
    int index;
    int cpu; /* -1: anywhere */
    pthread_t thread;
};

struct pool {
    int threads;
    atomic_uint round; /* bumped to start a job */
    atomic_int running;
    atomic_bool stop;
    parallel_fn fn;
    void *ctx;
    int64_t items;
    int64_t piece; /* least items that are taken at a time; 0: slices are not divided */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool pinned;
    cpu_set_t before; /* the caller's mask when it is pinned */
    int *cpus;        /* NULL: not pinned */
    struct worker workers[];
};

/* Takes half of what is left of a slice, at least a piece. */
static bool take(struct slice *s, int64_t piece, int64_t *begin, int64_t *end)
{
    int64_t at = atomic_load_explicit(&s->next, memory_order_relaxed);
    while (at < s->end) {
        const int64_t left = s->end - at;
        const int64_t half = left / 2 > piece ? left / 2 : piece;
        const int64_t stop = at + (half < left ? half : left);
        if (atomic_compare_exchange_weak_explicit(&s->next, &at, stop, memory_order_relaxed,
                                                  memory_order_relaxed)) {
            *begin = at;
            *end = stop;
            return true;
        }
    }
    return false;
}

bool parallel_more(struct pool *p, int thread, int64_t *begin, int64_t *end)
{
    for (int i = 0; p && p->piece > 0 && i < p->threads; i++) {
        if (take(&p->workers[(thread + i) % p->threads].slice, p->piece, begin, end)) {
            return true;
        }
    }
    return false;
}

static void run_slice(struct pool *p, int index)
{
    int64_t begin = p->items * index / p->threads;
    int64_t end = p->items * (index + 1) / p->threads;
    if (p->piece == 0 && begin < end) {
        p->fn(p->ctx, begin, end, index);
    }
    while (parallel_more(p, index, &begin, &end)) {
        p->fn(p->ctx, begin, end, index);
    }
}

static unsigned wait_round(struct pool *p, unsigned seen)
{
    for (int spin = 0; spin < SPIN_LIMIT + YIELD_LIMIT; spin++) {
        const unsigned now = atomic_load_explicit(&p->round, memory_order_acquire);
        if (now != seen) {
            return now;
        }
        if (spin < SPIN_LIMIT) {
            __builtin_ia32_pause();
        } else {
            (void)sched_yield();
        }
    }
    (void)pthread_mutex_lock(&p->lock);
    while (atomic_load_explicit(&p->round, memory_order_acquire) == seen) {
        (void)pthread_cond_wait(&p->wake, &p->lock);
    }
    (void)pthread_mutex_unlock(&p->lock);
    return atomic_load_explicit(&p->round, memory_order_acquire);
}

/* Puts the calling thread on one CPU. Where that fails it works all the same. */
static bool pin_self(int cpu)
{
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET((size_t)cpu, &one);
    return sched_setaffinity(0, sizeof one, &one) == 0;
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct pool *p = w->pool;
    unsigned seen = 0;
    if (w->cpu >= 0) {
        (void)pin_self(w->cpu);
    }
    for (;;) {
        seen = wait_round(p, seen);
        if (atomic_load(&p->stop)) {
            return NULL;
        }
        run_slice(p, w->index);
        atomic_fetch_sub_explicit(&p->running, 1, memory_order_release);
    }
}

static void start_round(struct pool *p)
{
    (void)pthread_mutex_lock(&p->lock);
    atomic_fetch_add_explicit(&p->round, 1, memory_order_release);
    (void)pthread_cond_broadcast(&p->wake);
    (void)pthread_mutex_unlock(&p->lock);
}

enum status pool_open(struct pool **out, int threads)
{
    return pool_open_pinned(out, threads, NULL);
}

enum status pool_open_pinned(struct pool **out, int threads, const int *cpus)
{
    *out = NULL;
    if (threads == 0) {
        threads = cpu_allowed();
    }
    if (threads < 1 || threads > MAX_THREADS) {
        return FAIL(USAGE, "threads: %d is not in 1..%d", threads, MAX_THREADS);
    }
    struct pool *p = calloc(1, sizeof *p + (size_t)threads * sizeof p->workers[0]);
    int *own = cpus ? malloc((size_t)threads * sizeof *own) : NULL;
    if (!p || (cpus && !own)) {
        free(p);
        free(own);
        return FAIL(MEMORY, "thread pool: no memory for %d threads", threads);
    }
    if (own) {
        memcpy(own, cpus, (size_t)threads * sizeof *own);
    }
    p->cpus = own;
    p->threads = 1;
    (void)pthread_mutex_init(&p->lock, NULL);
    (void)pthread_cond_init(&p->wake, NULL);
    for (int i = 1; i < threads; i++) {
        p->workers[i].pool = p;
        p->workers[i].index = i;
        p->workers[i].cpu = cpus ? cpus[i] : -1;
        const int err = pthread_create(&p->workers[i].thread, NULL, worker_main, &p->workers[i]);
        if (err) {
            pool_close(p);
            return FAIL(MEMORY, "thread pool: cannot start thread %d of %d (%s); set threads lower",
                        i, threads, strerror(err));
        }
        p->threads = i + 1;
    }
    if (cpus && sched_getaffinity(0, sizeof p->before, &p->before) == 0) {
        p->pinned = pin_self(cpus[0]);
    }
    *out = p;
    return STATUS_OK;
}

const int *pool_cpus(const struct pool *p)
{
    return p ? p->cpus : NULL;
}

int pool_threads(const struct pool *p)
{
    return p ? p->threads : 1;
}

/* Starts the round that p describes, works on it and waits for the others. */
static void run_round(struct pool *p)
{
    atomic_store(&p->running, p->threads - 1);
    start_round(p);
    run_slice(p, 0);
    for (int spin = 0; atomic_load_explicit(&p->running, memory_order_acquire) > 0; spin++) {
        if (spin < SPIN_LIMIT) {
            __builtin_ia32_pause();
        } else {
            (void)sched_yield(); /* more threads than cores: let the others finish */
        }
    }
}

static void run_items(struct pool *p, int64_t items, int64_t piece, parallel_fn fn, void *ctx)
{
    if (items <= 0) {
        return;
    }
    const bool alone = !p || p->threads == 1 || items == 1;
    if (p) {
        p->piece = alone ? 0 : piece;
    }
    if (alone) {
        fn(ctx, 0, items, 0);
        return;
    }
    p->fn = fn;
    p->ctx = ctx;
    p->items = items;
    for (int i = 0; piece > 0 && i < p->threads; i++) {
        struct slice *s = &p->workers[i].slice;
        atomic_store_explicit(&s->next, items * i / p->threads, memory_order_relaxed);
        s->end = items * (i + 1) / p->threads;
    }
    run_round(p);
}

void parallel_for(struct pool *p, int64_t items, parallel_fn fn, void *ctx)
{
    run_items(p, items, 0, fn, ctx);
}

void parallel_for_pieces(struct pool *p, int64_t items, int64_t piece, parallel_fn fn, void *ctx)
{
    run_items(p, items, piece, fn, ctx);
}

void pool_close(struct pool *p)
{
    if (!p) {
        return;
    }
    atomic_store(&p->stop, true);
    start_round(p);
    for (int i = 1; i < p->threads; i++) {
        (void)pthread_join(p->workers[i].thread, NULL);
    }
    if (p->pinned) {
        (void)sched_setaffinity(0, sizeof p->before, &p->before);
    }
    (void)pthread_cond_destroy(&p->wake);
    (void)pthread_mutex_destroy(&p->lock);
    free(p->cpus);
    free(p);
}
