/*
 * Which rows a step takes: the data orders of TRL. Golden: grpo/sampling (torch.randperm,
 * RepeatSampler, shuffle_sequence_dict) and the "order" of the sft runs.
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

static void permutations(void **state)
{
    (void)state;
    json_t *rows = golden("grpo/sampling/randperm.json");
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row)
    {
        const int64_t n = number(row, "n");
        int64_t *p = malloc((size_t)n * sizeof *p);
        struct rng_mt19937 g;
        size_t k;
        json_t *wanted;
        assert_non_null(p);
        rng_mt_seed(&g, (uint32_t)number(row, "seed"));
        json_array_foreach(json_object_get(row, "permutations"), k, wanted)
        {
            rng_mt_randperm(&g, p, n);
            for (int64_t at = 0; at < n; at++) {
                assert_int_equal(p[at], item(wanted, at));
            }
        }
        free(p);
    }
    assert_true(i > 10);
    json_decref(rows);
}

/* The sampler's list of an epoch: each chunk `repeat` times, in it every prompt G times in a row. */
static void check_epoch(const struct grpo_plan *p, int64_t epoch, int64_t repeat,
                        const json_t *wanted)
{
    const int64_t chunk = grpo_plan_round_rows(p) / p->group_size;
    const int64_t rounds = grpo_plan_rounds_per_epoch(p);
    int64_t *indices = malloc((size_t)chunk * sizeof *indices);
    int64_t at = 0;
    assert_non_null(indices);
    for (int64_t round = 0; round < rounds; round++) {
        assert_int_equal(grpo_plan_prompts(p, epoch * rounds + round, indices), STATUS_OK);
        for (int64_t k = 0; k < repeat; k++) {
            for (int64_t i = 0; i < chunk * p->group_size; i++) {
                assert_int_equal(indices[i / p->group_size], item(wanted, at++));
            }
        }
    }
    assert_int_equal(at, json_array_size(wanted));
    free(indices);
}

static void repeat_sampler(void **state)
{
    (void)state;
    json_t *rows = golden("grpo/sampling/repeat_sampler.json");
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row)
    {
        const struct grpo_plan p = {
            .rows = number(row, "num_prompts"),
            .world = 1,
            .per_device = number(row, "batch_size") * number(row, "mini_repeat_count"),
            .accumulation = 1,
            .slices = 1,
            .iterations = number(row, "repeat_count"),
            .group_size = number(row, "mini_repeat_count"),
            .shuffle = number(row, "shuffle") != 0,
            .seed = (uint64_t)number(row, "seed"),
        };
        const json_t *epochs = json_object_get(row, "epochs");
        assert_int_equal(grpo_plan_check(&p), STATUS_OK);
        for (int64_t e = 0; e < (int64_t)json_array_size(epochs); e++) {
            check_epoch(&p, e, p.iterations, json_array_get(epochs, (size_t)e));
        }
    }
    assert_true(i > 20);
    json_decref(rows);
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
                assert_int_equal(p[at], item(json_array_get(round, (size_t)(at / part)), at % part));
            }
        }
        free(p);
    }
    json_decref(rows);
}

/* Every row of every optimizer step against the batches of a real run. */
static void check_sft(const char *name, int64_t accumulation)
{
    json_t *run = golden(name);
    const json_t *args = json_object_get(run, "args");
    const json_t *order = json_object_get(run, "order");
    const struct sft_plan p = {
        .rows = (int64_t)json_array_size(json_object_get(run, "prepared")),
        .world = 1,
        .per_device = number(args, "per_device_train_batch_size"),
        .accumulation = accumulation,
        .shuffle = true,
        .seed = (uint64_t)number(args, "seed"),
    };
    size_t batch = 0;
    for (int64_t step = 0; batch < json_array_size(order); step++) {
        int64_t *indices;
        int64_t count;
        int64_t at = 0;
        assert_int_equal(sft_plan_rows(&p, step, &indices, &count), STATUS_OK);
        while (at < count) {
            const json_t *wanted = json_array_get(order, batch++);
            assert_true(json_array_size(wanted) > 0);
            for (int64_t k = 0; k < (int64_t)json_array_size(wanted); k++) {
                assert_true(at < count);
                assert_int_equal(indices[at++], item(wanted, k));
            }
        }
        free(indices);
    }
    json_decref(run);
}

static void sft_epochs(void **state)
{
    (void)state;
    check_sft("sft/epochs.json", 4);
    check_sft("sft/shuffled.json", 1);
    check_sft("sft/accumulate4.json", 4);
    check_sft("sft/plain.json", 1);
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
        cmocka_unit_test(permutation_of_the_spec), cmocka_unit_test(permutations),
        cmocka_unit_test(repeat_sampler),          cmocka_unit_test(row_shuffles),
        cmocka_unit_test(sft_epochs),              cmocka_unit_test(sft_even_batches),
        cmocka_unit_test(impossible_rounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
