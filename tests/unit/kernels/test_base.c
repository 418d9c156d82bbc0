/* Base: arenas, message chain, parallel_for and the random streams. */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "kernels/base/arena.h"
#include "kernels/base/clock.h"
#include "kernels/base/parallel.h"
#include "kernels/base/rng.h"
#include "kernels/base/rng_numpy.h"
#include "kernels/base/status.h"

static enum status inner(void)
{
    return FAIL(INPUT, "model.gguf: tensor '%s' is cut off", "a");
}

static enum status outer(void)
{
    TRY(inner());
    return STATUS_OK;
}

static void status_keeps_message_and_trace(void **state)
{
    (void)state;
    assert_int_equal(outer(), STATUS_INPUT);
    assert_string_equal(status_message(), "model.gguf: tensor 'a' is cut off");
    assert_non_null(strstr(status_trace(), " < "));
    (void)status_prefix(STATUS_INPUT, "row %d: ", 3);
    assert_string_equal(status_message(), "row 3: model.gguf: tensor 'a' is cut off");
    assert_int_equal(status_exit_code(STATUS_INPUT), 3);
}

static void arena_counts_alike_when_measuring(void **state)
{
    (void)state;
    struct arena real;
    struct arena plan;
    float *p;
    arena_open_measure(&plan, "plan");
    assert_int_equal(arena_alloc(&plan, 100, sizeof(float), &p), STATUS_OK);
    assert_null(p);
    assert_int_equal(arena_open(&real, "real", plan.peak), STATUS_OK);
    assert_int_equal(arena_alloc(&real, 100, sizeof(float), &p), STATUS_OK);
    assert_int_equal((uintptr_t)p % ARENA_ALIGN, 0);
    assert_int_equal(real.used, plan.used);
    assert_int_equal(arena_alloc(&real, SIZE_MAX / 2, 4, &p), STATUS_MEMORY);
    assert_int_equal(arena_alloc(&real, 1 << 20, 4, &p), STATUS_MEMORY);
    arena_close(&real);
}

/* Pages of [p, p + bytes) that lie in memory. */
static size_t pages_in(void *p, size_t bytes)
{
    unsigned char in[64];
    size_t count = 0;
    assert_true(bytes / 4096 <= sizeof in && mincore(p, bytes, in) == 0);
    for (size_t i = 0; i < bytes / 4096; i++) {
        count += in[i] & 1;
    }
    return count;
}

/* Else all of it would lie on the node of the thread that opened it. */
static void arena_leaves_pages_to_their_writer(void **state)
{
    (void)state;
    struct arena a;
    uint8_t *p;
    assert_int_equal(arena_open(&a, "a", 64 * 4096), STATUS_OK);
    assert_int_equal(arena_alloc(&a, 64, 4096, &p), STATUS_OK);
    assert_int_equal(pages_in(p, 64 * 4096), 0);
    p[5 * 4096] = 1;
    assert_true(pages_in(p + 5 * 4096, 4096) == 1);
    arena_close(&a);
}

static void add_index(void *ctx, int64_t begin, int64_t end, int thread)
{
    (void)thread;
    int64_t *out = ctx;
    for (int64_t i = begin; i < end; i++) {
        out[i] += i;
    }
}

static void parallel_covers_each_item_once(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 4; threads++) {
        struct pool *pool;
        int64_t out[101] = {0};
        assert_int_equal(pool_open(&pool, threads), STATUS_OK);
        for (int round = 1; round <= 50; round++) {
            parallel_for(pool, 101, add_index, out);
        }
        for (int64_t i = 0; i < 101; i++) {
            assert_int_equal(out[i], 50 * i);
        }
        pool_close(pool);
    }
}

struct pieces {
    struct pool *pool;
    int64_t out[101];
    bool asks; /* for its pieces itself */
};

static void add_piece(void *ctx, int64_t begin, int64_t end, int thread)
{
    struct pieces *p = ctx;
    do {
        add_index(p->out, begin, end, thread);
    } while (p->asks && parallel_more(p->pool, thread, &begin, &end));
}

static void pieces_cover_each_item_once(void **state)
{
    (void)state;
    static const int64_t SIZES[] = {1, 7, 200};
    for (int i = 0; i < 4 * 3 * 2; i++) {
        struct pieces p = {.asks = i % 2};
        assert_int_equal(pool_open(&p.pool, 1 + i / 6), STATUS_OK);
        for (int round = 1; round <= 50; round++) {
            parallel_for_pieces(p.pool, 101, SIZES[i / 2 % 3], add_piece, &p);
            parallel_for(p.pool, 101, add_piece, &p); /* has no pieces to ask for */
        }
        for (int64_t j = 0; j < 101; j++) {
            assert_int_equal(p.out[j], 100 * j);
        }
        pool_close(p.pool);
    }
    struct pieces alone = {.asks = true};
    parallel_for_pieces(NULL, 101, 1, add_piece, &alone);
    assert_int_equal(alone.out[100], 100);
}

enum { HELD_ITEMS = 64, HELD_SECONDS = 20 };

struct held {
    atomic_int done;
    atomic_bool late;
};

/* Thread 1 goes on when all items are done but its first piece, half of its slice. */
static void hold_up(void *ctx, int64_t begin, int64_t end, int thread)
{
    struct held *h = ctx;
    const double start = clock_seconds();
    while (thread == 1 && atomic_load(&h->done) < HELD_ITEMS - HELD_ITEMS / 4
           && !atomic_load(&h->late)) {
        atomic_store(&h->late, clock_seconds() - start > HELD_SECONDS);
        (void)sched_yield();
    }
    atomic_fetch_add(&h->done, (int)(end - begin));
}

static void pieces_of_a_held_up_thread_are_taken_over(void **state)
{
    (void)state;
    struct pool *pool;
    assert_int_equal(pool_open(&pool, 2), STATUS_OK);
    for (int round = 0; round < 20; round++) {
        struct held h = {0};
        parallel_for_pieces(pool, HELD_ITEMS, 2, hold_up, &h);
        assert_false(atomic_load(&h.late));
        assert_int_equal(atomic_load(&h.done), HELD_ITEMS);
    }
    pool_close(pool);
}

static void randperm_is_torchs(void **state)
{
    (void)state; /* spec/training.md 1.1: seed 42, n 17 */
    static const int64_t want[17] = {13, 4, 3, 15, 8, 16, 9, 11, 12, 10, 6, 2, 1, 7, 14, 0, 5};
    struct rng_mt19937 g;
    int64_t p[17];
    rng_mt_seed(&g, 42);
    rng_mt_randperm(&g, p, 17);
    assert_memory_equal(p, want, sizeof want);
}

static void shuffle_is_pythons(void **state)
{
    (void)state; /* random.Random(1).shuffle(list(range(10))) */
    static const int want[10] = {6, 8, 9, 7, 5, 3, 0, 4, 1, 2};
    int p[10] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
    struct rng_mt19937 g;
    rng_mt_seed_python(&g, 1);
    for (uint32_t i = 9; i > 0; i--) {
        const uint32_t j = rng_mt_below_python(&g, i + 1);
        const int t = p[i];
        p[i] = p[j];
        p[j] = t;
    }
    assert_memory_equal(p, want, sizeof want);
}

static void permutations_are_numpys(void **state)
{
    (void)state;
    static const struct {
        uint64_t seed;
        int64_t n;
        int64_t wanted[17];
    } CASES[] = {
        {42, 17, {12, 16, 11, 6, 10, 9, 7, 3, 0, 15, 5, 2, 4, 14, 1, 13, 8}},
        {0, 5, {2, 4, 3, 0, 1}},
        {1234567890123, 9, {5, 2, 6, 0, 4, 8, 7, 1, 3}},
    };
    struct rng_pcg64 g;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        int64_t p[17];
        rng_pcg_seed(&g, CASES[i].seed);
        rng_pcg_permutation(&g, p, CASES[i].n);
        assert_memory_equal(p, CASES[i].wanted, (size_t)CASES[i].n * sizeof *p);
    }
    rng_pcg_seed(&g, 7);
    assert_true(rng_pcg_next(&g) == 0xa00641a9f1e54a8bU);
    assert_true(rng_pcg_next(&g) == 0xe5afcdbcaf266a95U);
    assert_true(rng_pcg_next(&g) == 0xc693565f940af962U);
    static int64_t many[5000]; /* draws are rejected now and then */
    int64_t sum = 0;
    rng_pcg_seed(&g, 3);
    rng_pcg_permutation(&g, many, 5000);
    for (int64_t i = 0; i < 5000; i++) {
        sum += i * many[i];
    }
    assert_true(sum == 31066735083);
    assert_true(many[0] == 801 && many[4999] == 760);
}

static void draws_depend_on_every_key_field(void **state)
{
    (void)state;
    const struct rng_key base = {.seed = 7, .purpose = RNG_SAMPLE};
    uint32_t first[4];
    rng_draw4(&base, first);
    for (int field = 0; field < 7; field++) {
        struct rng_key k = base;
        uint32_t *const fields[] = {&k.purpose, &k.step, &k.row, &k.sample, &k.position, &k.module};
        if (field == 6) {
            k.seed++;
        } else {
            (*fields[field])++;
        }
        uint32_t other[4];
        rng_draw4(&k, other);
        assert_memory_not_equal(first, other, sizeof first);
    }
    double sum = 0;
    double squares = 0;
    float values[4096];
    rng_fill_normal(&base, values, 4096, 2.0f);
    for (int i = 0; i < 4096; i++) {
        sum += values[i];
        squares += (double)values[i] * values[i];
    }
    assert_true(sum / 4096 < 0.15 && sum / 4096 > -0.15);
    assert_true(squares / 4096 > 3.6 && squares / 4096 < 4.4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(status_keeps_message_and_trace),
        cmocka_unit_test(arena_counts_alike_when_measuring),
        cmocka_unit_test(arena_leaves_pages_to_their_writer),
        cmocka_unit_test(parallel_covers_each_item_once),
        cmocka_unit_test(pieces_cover_each_item_once),
        cmocka_unit_test(pieces_of_a_held_up_thread_are_taken_over),
        cmocka_unit_test(randperm_is_torchs),
        cmocka_unit_test(shuffle_is_pythons),
        cmocka_unit_test(permutations_are_numpys),
        cmocka_unit_test(draws_depend_on_every_key_field),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
