/*
 * Paged K/V: sequences keep their rows through fork, truncate, append and reuse of pages; budgets
 * end in messages; a random walk is checked against plain copies. Each with rows of floats and of
 * bf16.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/rng.h"
#include "trainer/model/cache.h"

enum { LAYERS = 2, WIDTH = 3, PAGES = 14, SEQUENCES = 5, LENGTH = 4 * CACHE_PAGE };

/* *state: whether rows are bf16. */
static struct kv_cache *open_cache(void **state)
{
    const struct kv_cache_shape shape = {.layers = LAYERS,
                                         .kv_dim = WIDTH,
                                         .pages = PAGES,
                                         .sequences = SEQUENCES,
                                         .length = LENGTH,
                                         .rounded = *(const bool *)*state};
    const size_t numbers = (size_t)2 * LAYERS * PAGES * CACHE_PAGE * WIDTH;
    const size_t bytes = kv_cache_bytes(&shape);
    struct kv_cache *c;
    assert_int_equal(kv_cache_open(&c, &shape), STATUS_OK);
    assert_true(bytes >= numbers * (shape.rounded ? sizeof(uint16_t) : sizeof(float)));
    assert_true(!shape.rounded || bytes < numbers * sizeof(float));
    assert_true(kv_cache_rounded(c) == shape.rounded);
    return c;
}

/* Element d of a position's key or value, and its size. */
static unsigned char *place_of(const struct kv_cache *c, int64_t seq, int64_t position, int k,
                               int d, size_t *size)
{
    unsigned char *base = k % 2 ? kv_cache_values(c, k / 2) : kv_cache_keys(c, k / 2);
    *size = kv_cache_rounded(c) ? sizeof(uint16_t) : sizeof(float);
    return base + (size_t)(kv_cache_rows(c, seq)[position] * WIDTH + d) * *size;
}

/* A number as its row holds it. */
static void image_of(float x, bool rounded, unsigned char image[4])
{
    const uint16_t code = (uint16_t)(int64_t)x;
    if (rounded) {
        memcpy(image, &code, sizeof code);
    } else {
        memcpy(image, &x, sizeof x);
    }
}

/* What is written at a position: a number that names it. */
static float mark(float stamp, int layer, bool value, int d)
{
    return stamp * 100.0f + (float)(layer * 10 + value * 5 + d);
}

/* A sequence and what its rows must hold. */
struct model_seq {
    bool used;
    int64_t seq;
    int64_t length;
    float stamp[LENGTH];
};

static void write_rows(struct kv_cache *c, struct model_seq *s, int64_t begin, float *next)
{
    for (int64_t i = begin; i < s->length; i++) {
        s->stamp[i] = (*next)++;
        for (int k = 0; k < LAYERS * 2; k++) {
            for (int d = 0; d < WIDTH; d++) {
                unsigned char image[4];
                size_t size;
                unsigned char *place = place_of(c, s->seq, i, k, d, &size);
                image_of(mark(s->stamp[i], k / 2, k % 2, d), kv_cache_rounded(c), image);
                memcpy(place, image, size);
            }
        }
    }
}

static void check_rows(const struct kv_cache *c, const struct model_seq *s)
{
    assert_int_equal(kv_cache_length(c, s->seq), s->length);
    for (int64_t i = 0; i < s->length; i++) {
        for (int k = 0; k < LAYERS * 2; k++) {
            for (int d = 0; d < WIDTH; d++) {
                unsigned char image[4];
                size_t size;
                const unsigned char *place = place_of(c, s->seq, i, k, d, &size);
                image_of(mark(s->stamp[i], k / 2, k % 2, d), kv_cache_rounded(c), image);
                assert_memory_equal(place, image, size);
            }
        }
    }
}

static void append(struct kv_cache *c, struct model_seq *s, int64_t count, float *next)
{
    const int64_t begin = s->length;
    assert_int_equal(kv_cache_append(c, s->seq, count), STATUS_OK);
    s->length += count;
    write_rows(c, s, begin, next);
}

static void fork_shares_full_pages(void **state)
{
    struct kv_cache *c = open_cache(state);
    static struct model_seq a;
    static struct model_seq b;
    float next = 1.0f;
    a = (struct model_seq){.used = true};
    assert_int_equal(kv_cache_new(c, &a.seq), STATUS_OK);
    append(c, &a, 2 * CACHE_PAGE + 10, &next);
    assert_int_equal(kv_cache_free_pages(c), PAGES - 3);
    b = a;
    assert_int_equal(kv_cache_fork(c, a.seq, a.length, &b.seq), STATUS_OK);
    assert_int_equal(kv_cache_free_pages(c), PAGES - 4); /* the partly filled page only */
    for (int64_t i = 0; i < 2 * CACHE_PAGE; i++) {
        assert_int_equal(kv_cache_rows(c, a.seq)[i], kv_cache_rows(c, b.seq)[i]);
    }
    append(c, &a, CACHE_PAGE - 4, &next);
    append(c, &b, CACHE_PAGE - 4, &next);
    check_rows(c, &a);
    check_rows(c, &b);
    kv_cache_free(c, a.seq);
    check_rows(c, &b); /* shared pages live on */
    kv_cache_free(c, b.seq);
    assert_int_equal(kv_cache_free_pages(c), PAGES);
    kv_cache_close(c);
}

static void writing_after_truncation_copies_a_shared_page(void **state)
{
    struct kv_cache *c = open_cache(state);
    static struct model_seq a;
    static struct model_seq b;
    float next = 1.0f;
    a = (struct model_seq){.used = true};
    assert_int_equal(kv_cache_new(c, &a.seq), STATUS_OK);
    append(c, &a, 2 * CACHE_PAGE, &next);
    b = a;
    assert_int_equal(kv_cache_fork(c, a.seq, a.length, &b.seq), STATUS_OK);
    assert_int_equal(kv_cache_free_pages(c), PAGES - 2);
    kv_cache_truncate(c, b.seq, CACHE_PAGE + 5);
    b.length = CACHE_PAGE + 5;
    append(c, &b, 7, &next);
    check_rows(c, &a);
    check_rows(c, &b);
    assert_int_equal(kv_cache_free_pages(c), PAGES - 3);
    kv_cache_close(c);
}

static void budgets_end_in_messages(void **state)
{
    struct kv_cache *c = open_cache(state);
    int64_t seq[SEQUENCES];
    int64_t more;
    for (int i = 0; i < SEQUENCES; i++) {
        assert_int_equal(kv_cache_new(c, &seq[i]), STATUS_OK);
    }
    assert_int_equal(kv_cache_new(c, &more), STATUS_MEMORY);
    assert_int_equal(kv_cache_append(c, seq[0], LENGTH + 1), STATUS_MEMORY);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(kv_cache_append(c, seq[i], LENGTH), STATUS_OK);
    }
    assert_int_equal(kv_cache_append(c, seq[3], 2 * CACHE_PAGE + 1), STATUS_MEMORY);
    assert_non_null(strstr(status_message(), "rollout_pages"));
    assert_int_equal(kv_cache_length(c, seq[3]), 0); /* nothing changed */
    assert_int_equal(kv_cache_append(c, seq[3], 2 * CACHE_PAGE), STATUS_OK);
    kv_cache_free(c, seq[4]);
    assert_int_equal(kv_cache_fork(c, seq[3], 10, &more), STATUS_MEMORY);
    assert_int_equal(kv_cache_fork(c, seq[3], CACHE_PAGE, &more), STATUS_OK);
    kv_cache_close(c);
    const struct kv_cache_shape huge = {.layers = 1 << 20,
                                        .kv_dim = 1 << 30,
                                        .pages = 1 << 24,
                                        .sequences = 1,
                                        .length = 1};
    const struct kv_cache_shape none = {.layers = 1, .kv_dim = 1, .sequences = 1, .length = 1};
    assert_int_equal(kv_cache_open(&c, &huge), STATUS_MEMORY);
    assert_int_equal(kv_cache_open(&c, &none), STATUS_MEMORY);
}

static uint32_t draw(struct rng_key *key, uint32_t below)
{
    key->position++;
    return (uint32_t)(rng_uniform(key) * (float)below);
}

/* One random operation on slot `s` of the walk. */
static void step(struct kv_cache *c, struct model_seq *all, struct model_seq *s,
                 struct rng_key *key, float *next)
{
    if (!s->used) {
        const struct model_seq *from = &all[draw(key, SEQUENCES)];
        if (from->used && from->length > 0) {
            const int64_t length = draw(key, (uint32_t)from->length + 1);
            int64_t seq;
            if (kv_cache_fork(c, from->seq, length, &seq) == STATUS_OK) {
                *s = *from;
                s->seq = seq;
                s->length = length;
            }
        } else {
            *s = (struct model_seq){.used = true};
            assert_int_equal(kv_cache_new(c, &s->seq), STATUS_OK);
        }
        return;
    }
    const uint32_t what = draw(key, 8);
    if (what == 0) {
        kv_cache_free(c, s->seq);
        s->used = false;
    } else if (what < 3) {
        s->length = draw(key, (uint32_t)s->length + 1);
        kv_cache_truncate(c, s->seq, s->length);
    } else {
        const int64_t begin = s->length;
        const int64_t count = draw(key, 50);
        if (kv_cache_append(c, s->seq, count) == STATUS_OK) {
            s->length += count;
            write_rows(c, s, begin, next);
        }
    }
}

static void random_walk_keeps_every_row(void **state)
{
    static struct model_seq all[SEQUENCES];
    struct kv_cache *c = open_cache(state);
    struct rng_key key = {.seed = 3, .purpose = RNG_DATA};
    float next = 1.0f;
    memset(all, 0, sizeof all);
    for (int i = 0; i < 1200; i++) {
        step(c, all, &all[draw(&key, SEQUENCES)], &key, &next);
        for (int s = 0; i % 10 == 0 && s < SEQUENCES; s++) {
            if (all[s].used) {
                check_rows(c, &all[s]);
            }
        }
    }
    for (int s = 0; s < SEQUENCES; s++) {
        if (all[s].used) {
            check_rows(c, &all[s]);
            kv_cache_free(c, all[s].seq);
        }
    }
    assert_int_equal(kv_cache_free_pages(c), PAGES); /* no reference was lost or kept */
    kv_cache_close(c);
}

int main(void)
{
    static const bool FORMS[] = {false, true};
    static const CMUnitTestFunction TESTS[] = {
        fork_shares_full_pages, writing_after_truncation_copies_a_shared_page,
        budgets_end_in_messages, random_walk_keeps_every_row};
    static const char *const NAMES[] = {"fork shares full pages", "truncation", "budgets",
                                        "random walk"};
    enum { COUNT = sizeof TESTS / sizeof TESTS[0] };
    struct CMUnitTest tests[2 * COUNT];
    for (int i = 0; i < 2 * COUNT; i++) {
        tests[i] = (struct CMUnitTest){NAMES[i / 2], TESTS[i / 2], NULL, NULL,
                                       (void *)(uintptr_t)&FORMS[i % 2]};
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
