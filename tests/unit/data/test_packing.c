/*
 * Packing: bins, fragments, boundaries, labels and the window of 1000 examples. The first cases are
 * those of TRL's own documentation of pack_dataset.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "trainer/data/packing.h"

/* Example of `count` tokens first, first + 1, ...; every token is a label. */
static void push(struct example_set *set, int32_t first, int64_t count)
{
    struct example e = {.count = count};
    e.ids = malloc((size_t)count * sizeof *e.ids + 1);
    e.loss = malloc((size_t)count + 1);
    assert_true(e.ids && e.loss);
    for (int64_t i = 0; i < count; i++) {
        e.ids[i] = first + (int32_t)i;
        e.loss[i] = 1;
    }
    example_count_labels(&e);
    assert_int_equal(example_set_push(set, &e), STATUS_OK);
}

/* "1 2 3|4" for a row with parts of 3 and 1 tokens, or without them. */
static void describe(const struct example *e, char *out, size_t size)
{
    int64_t part = 0;
    int64_t end = e->parts ? e->parts[0] : e->count;
    out[0] = '\0';
    for (int64_t i = 0; i < e->count; i++) {
        const size_t used = strlen(out);
        const bool next = i == end;
        if (next) {
            end += e->parts[++part];
        }
        (void)snprintf(out + used, size - used, "%s%d", next ? "|" : i ? " " : "", e->ids[i]);
    }
    assert_true(!e->parts || part == e->part_count - 1);
}

static const struct {
    enum packing packing;
    int64_t length;
    int64_t counts[8]; /* of the examples, tokens numbered on from 1; ends with 0 */
    const char *rows[8];
    int64_t labels[8];
} CASES[] = {
    {PACKING_BFD, 4, {5, 2, 3, 1}, {"1 2 3 4", "8 9 10|11", "6 7"}, {3, 2, 1}},
    {PACKING_BFD_SPLIT, 4, {5, 2, 3, 1}, {"1 2 3 4", "8 9 10|5", "6 7|11"}, {3, 2, 1}},
    {PACKING_WRAPPED, 4, {5, 2, 3, 1}, {"1 2 3 4", "5 6 7 8", "9 10 11"}, {3, 3, 2}},
    /* the smallest space that fits, the oldest of equal ones */
    {PACKING_BFD, 10, {6, 7, 6, 3, 4, 4},
     {"7 8 9 10 11 12 13|20 21 22", "1 2 3 4 5 6|23 24 25 26", "14 15 16 17 18 19|27 28 29 30"},
     {8, 8, 8}},
    {PACKING_BFD, 3, {3, 3}, {"1 2 3", "4 5 6"}, {2, 2}},
    {PACKING_BFD_SPLIT, 2, {5}, {"1 2", "3 4", "5"}, {1, 1, 0}},
    {PACKING_WRAPPED, 100, {2, 2}, {"1 2 3 4"}, {3}},
    {PACKING_NONE, 3, {5, 1}, {"1 2 3 4 5", "6"}, {4, 0}},
};

static void rows_are_trls(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof CASES / sizeof CASES[0]; k++) {
        struct example_set set = {0};
        int32_t next = 1;
        for (int i = 0; CASES[k].counts[i]; i++) {
            push(&set, next, CASES[k].counts[i]);
            next += (int32_t)CASES[k].counts[i];
        }
        assert_int_equal(example_set_pack(&set, CASES[k].packing, CASES[k].length), STATUS_OK);
        int64_t rows = 0;
        for (; CASES[k].rows[rows]; rows++) {
            char text[128];
            assert_true(rows < set.count);
            describe(&set.items[rows], text, sizeof text);
            assert_string_equal(text, CASES[k].rows[rows]);
            assert_int_equal(set.items[rows].labels, CASES[k].labels[rows]);
        }
        assert_int_equal(set.count, rows);
        example_set_close(&set);
    }
}

/* Examples 999 and 1000 would fit together, but a batch of 1000 ends between them. */
static void batches_of_1000_are_packed_apart(void **state)
{
    (void)state;
    static const enum packing KINDS[] = {PACKING_BFD, PACKING_BFD_SPLIT, PACKING_WRAPPED};
    for (size_t k = 0; k < 3; k++) {
        struct example_set set = {0};
        for (int32_t i = 0; i < 1003; i++) {
            push(&set, i, 1);
        }
        assert_int_equal(example_set_pack(&set, KINDS[k], 300), STATUS_OK);
        assert_int_equal(set.count, 5);
        assert_int_equal(set.items[3].count, 100);
        assert_int_equal(set.items[4].count, 3);
        assert_int_equal(set.items[4].ids[0], 1000);
        example_set_close(&set);
    }
}

/* Nothing is lost or doubled for lengths of all kinds, and no bin overflows. */
static void every_token_is_kept_once(void **state)
{
    (void)state;
    for (int64_t length = 1; length < 40; length += 3) {
        struct example_set set = {0};
        int32_t next = 0;
        for (int64_t i = 0; i < 200; i++) {
            const int64_t count = 1 + (i * 37 + length) % 53;
            push(&set, next, count);
            next += (int32_t)count;
        }
        uint8_t *seen = calloc((size_t)next, 1);
        assert_non_null(seen);
        assert_int_equal(example_set_pack(&set, PACKING_BFD_SPLIT, length), STATUS_OK);
        for (int64_t i = 0; i < set.count; i++) {
            assert_true(set.items[i].count <= length);
            for (int64_t t = 0; t < set.items[i].count; t++) {
                assert_int_equal(seen[set.items[i].ids[t]]++, 0);
            }
        }
        for (int32_t i = 0; i < next; i++) {
            assert_int_equal(seen[i], 1);
        }
        free(seen);
        example_set_close(&set);
    }
}

static void unlabelled_tokens_stay_unlabelled(void **state)
{
    (void)state;
    struct example_set set = {0};
    push(&set, 10, 3);
    push(&set, 20, 2);
    set.items[0].loss[1] = 0;
    assert_int_equal(example_set_pack(&set, PACKING_BFD, 8), STATUS_OK);
    assert_int_equal(set.count, 1);
    assert_memory_equal(set.items[0].loss, ((const uint8_t[]){1, 0, 1, 1, 1}), 5);
    assert_int_equal(set.items[0].labels, 2); /* not the first of a sequence */
    example_set_close(&set);
    assert_int_equal(example_set_pack(&set, PACKING_BFD, 8), STATUS_OK); /* no rows, no trouble */
    assert_int_equal(set.count, 0);
    example_set_close(&set);
}

/* numpy.random.default_rng(42).permutation(17). */
static void shuffle_is_that_of_datasets(void **state)
{
    (void)state;
    static const int32_t WANTED[17] = {12, 16, 11, 6, 10, 9, 7, 3, 0, 15, 5, 2, 4, 14, 1, 13, 8};
    struct example_set set = {0};
    for (int32_t i = 0; i < 17; i++) {
        push(&set, i, 1);
    }
    assert_int_equal(example_set_shuffle(&set, 42), STATUS_OK);
    for (int64_t i = 0; i < 17; i++) {
        assert_int_equal(set.items[i].ids[0], WANTED[i]);
    }
    example_set_close(&set);
    assert_int_equal(example_set_shuffle(&set, 42), STATUS_OK);
    example_set_close(&set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_trls),
        cmocka_unit_test(batches_of_1000_are_packed_apart),
        cmocka_unit_test(every_token_is_kept_once),
        cmocka_unit_test(unlabelled_tokens_stay_unlabelled),
        cmocka_unit_test(shuffle_is_that_of_datasets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
