/*
 * Which rows a step takes: the data orders of TRL by hand, and the row shuffle of
 * golden/grpo/sampling. The other orders there are tests/parity/test_plan.c's, those of the sft
 * runs tests/parity/test_sft_runs.c's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "kernels/base/rng.h"
#include "rl/plan.h"
#include "tests/support/template_cases.h"
#include "trainer/sft.h"

/* The JSON of golden/`name`; skips the test when it is not there. */
static json_t *golden(const char *name)
{
    char path[256];
    json_error_t error;
    (void)snprintf(path, sizeof path, "golden/%s", name);
    const char *found = template_shared_path(path);
    if (!found) {
        print_message("skipped: ../shared/golden/%s is not there\n", name);
        skip();
    }
    json_t *json = json_load_file(found, 0, &error);
    assert_non_null(json);
    return json;
}

static int64_t number(const json_t *object, const char *key)
{
    const json_t *v = json_object_get(object, key);
    assert_true(json_is_integer(v) || json_is_boolean(v));
    return json_is_integer(v) ? json_integer_value(v) : json_is_true(v);
}

static int64_t item(const json_t *array, int64_t i)
{
    return json_integer_value(json_array_get(array, (size_t)i));
}

static void permutation_of_the_spec(void **state)
{
    (void)state;
    static const int64_t WANTED[17] = {13, 4, 3, 15, 8, 16, 9, 11, 12, 10, 6, 2, 1, 7, 14, 0, 5};
    int64_t p[17];
    struct rng_mt19937 g;
    rng_mt_seed(&g, 42);
    rng_mt_randperm(&g, p, 17);
    assert_memory_equal(p, WANTED, sizeof WANTED);
}

/* The permutation that cuts a rank's rows into slices, as a stream of rounds. */
static void row_shuffles(void **state)
{
    (void)state;
    json_t *rows = golden("grpo/sampling/split_shuffle.json");
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row)
    {
        const int64_t n = number(row, "rows");
        const int64_t part = n / number(row, "parts");
        int64_t *p = malloc((size_t)n * sizeof *p);
        struct rng_mt19937 g;
        size_t k;
        json_t *round;
        assert_non_null(p);
        rng_mt_seed(&g, (uint32_t)number(row, "seed"));
        json_array_foreach(json_object_get(row, "rounds"), k, round)
        {
            rng_mt_randperm(&g, p, n);
            for (int64_t at = 0; at < n; at++) {
                assert_int_equal(p[at],
                                 item(json_array_get(round, (size_t)(at / part)), at % part));
            }
        }
        free(p);
    }
    json_decref(rows);
}

/* Several virtual ranks: batches dealt round-robin, the tail wrapped to the epoch's first rows. */
static void sft_even_batches(void **state)
{
    (void)state;
    const struct sft_plan p = {.rows = 5, .world = 2, .per_device = 2, .accumulation = 1,
                               .shuffle = true, .seed = 7};
    int64_t order[5];
    struct rng_mt19937 g;
    rng_mt_seed(&g, 7);
    rng_mt_randperm(&g, order, 5);
    assert_int_equal(sft_plan_steps_per_epoch(&p), 2);
    for (int64_t step = 0; step < 2; step++) {
        int64_t *indices;
        int64_t count;
        assert_int_equal(sft_plan_rows(&p, step, &indices, &count), STATUS_OK);
        assert_int_equal(count, 4);
        for (int64_t i = 0; i < count; i++) {
            assert_int_equal(indices[i], order[(step * 4 + i) % 5]);
        }
        free(indices);
    }
}

static void impossible_rounds(void **state)
{
    (void)state;
    struct grpo_plan p = {.rows = 10, .world = 1, .per_device = 3, .accumulation = 1, .slices = 1,
                          .iterations = 1, .group_size = 2};
    assert_int_equal(grpo_plan_check(&p), STATUS_RECIPE);
    p.group_size = 1;
    assert_int_equal(grpo_plan_check(&p), STATUS_RECIPE);
    p.group_size = 3;
    assert_int_equal(grpo_plan_check(&p), STATUS_OK);
    p.rows = 0;
    assert_int_equal(grpo_plan_check(&p), STATUS_RECIPE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(permutation_of_the_spec),
        cmocka_unit_test(row_shuffles),
        cmocka_unit_test(sft_even_batches),
        cmocka_unit_test(impossible_rounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
