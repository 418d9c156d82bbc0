/*
 * GRPO's orders against TRL: prompts of a round (RepeatSampler), slices of a round's rows (the
 * split after torch.randperm), and the windows of optimizer steps by hand.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/rng.h"
#include "rl/plan.h"
#include "tests/support/golden_rl.h"
#include "trainer/format/json.h"

enum { MOST = 4096 };

static void check_sampler(const json_t *c)
{
    const int64_t group = json_get_int(c, "mini_repeat_count", 1);
    const int64_t chunk = json_get_int(c, "batch_size", 1);
    const int64_t repeat = json_get_int(c, "repeat_count", 1);
    const struct grpo_plan plan = {
        .rows = json_get_int(c, "num_prompts", 0),
        .world = 1,
        .per_device = chunk * group,
        .accumulation = 1,
        .slices = 1,
        .iterations = repeat,
        .group_size = group,
        .shuffle = json_get_bool(c, "shuffle", true),
        .seed = (uint64_t)json_get_int(c, "seed", 0),
    };
    const json_t *epochs = json_object_get(c, "epochs");
    if (chunk > plan.rows) { /* TRL's sampler yields nothing; Graft says so */
        assert_int_equal(grpo_plan_check(&plan), STATUS_RECIPE);
        assert_int_equal(json_array_size(json_array_get(epochs, 0)), 0);
        return;
    }
    const int64_t rounds = grpo_plan_rounds_per_epoch(&plan);
    int64_t indices[MOST];
    for (size_t e = 0; e < json_array_size(epochs); e++) {
        const json_t *want = json_array_get(epochs, e);
        assert_int_equal(json_array_size(want), rounds * chunk * group * repeat);
        for (int64_t r = 0; r < rounds; r++) {
            assert_int_equal(grpo_plan_prompts(&plan, (int64_t)e * rounds + r, indices), STATUS_OK);
            for (int64_t i = 0; i < chunk * group * repeat; i++) {
                const size_t at = (size_t)(r * chunk * group * repeat + i);
                assert_int_equal(json_integer_value(json_array_get(want, at)),
                                 indices[i % (chunk * group) / group]);
            }
        }
    }
}

static void prompts_follow_the_repeat_sampler(void **state)
{
    (void)state;
    char path[4096];
    if (!golden_path("grpo/sampling/repeat_sampler.json", path)) {
        print_message("golden/grpo is not here\n");
        skip();
    }
    json_t *cases = golden_json(path);
    assert_true(json_array_size(cases) > 0);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        check_sampler(json_array_get(cases, i));
    }
    json_decref(cases);
}

static void permutations_are_torchs(void **state)
{
    (void)state;
    char path[4096];
    if (!golden_path("grpo/sampling/randperm.json", path)) {
        print_message("golden/grpo is not here\n");
        skip();
    }
    json_t *cases = golden_json(path);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *c = json_array_get(cases, i);
        const json_t *lists = json_object_get(c, "permutations");
        const int64_t n = json_get_int(c, "n", 0);
        int64_t p[MOST];
        struct rng_mt19937 g;
        assert_true(n <= MOST);
        rng_mt_seed(&g, (uint32_t)json_get_int(c, "seed", 0));
        for (size_t k = 0; k < json_array_size(lists); k++) {
            rng_mt_randperm(&g, p, n);
            for (int64_t j = 0; j < n; j++) {
                assert_int_equal(json_integer_value(json_array_get(json_array_get(lists, k),
                                                                   (size_t)j)), p[j]);
            }
        }
    }
    json_decref(cases);
}

static void slices_partition_a_round(void **state)
{
    (void)state;
    const struct grpo_plan plan = {.rows = 40, .world = 2, .per_device = 4, .accumulation = 2,
                                   .slices = 2, .iterations = 1, .group_size = 4, .shuffle = true,
                                   .seed = 42};
    int64_t slice[16];
    int64_t again[16];
    int64_t count[2] = {0};
    assert_int_equal(grpo_plan_round_rows(&plan), 16);
    assert_int_equal(grpo_plan_slices(&plan, 3, slice), STATUS_OK);
    assert_int_equal(grpo_plan_slices(&plan, 3, again), STATUS_OK);
    assert_memory_equal(slice, again, sizeof slice);
    for (int rank = 0; rank < 2; rank++) {
        count[0] = count[1] = 0;
        for (int i = 0; i < 8; i++) {
            count[slice[8 * rank + i]]++;
        }
        assert_true(count[0] == 4 && count[1] == 4);
    }
}

/* Orders that go on from round to round, skip some and go back are those of rounds asked for alone.
 */
static void orders_do_not_depend_on_the_way(void **state)
{
    (void)state;
    static const int64_t WAY[] = {0, 1, 2, 3, 7, 8, 8, 19, 20, 4, 5, 30, 0, 1};
    for (int shuffle = 0; shuffle < 2; shuffle++) {
        struct grpo_plan plan = {.rows = 23, .world = 3, .per_device = 4, .accumulation = 2,
                                 .slices = 2, .iterations = 2, .group_size = 4,
                                 .shuffle = shuffle != 0, .seed = 42};
        struct grpo_orders *orders;
        assert_int_equal(grpo_orders_open(&orders, &plan), STATUS_OK);
        plan.eval_steps = 3; /* known after the method is open */
        for (size_t i = 0; i < sizeof WAY / sizeof *WAY; i++) {
            int64_t prompts[2][6];
            int64_t slice[2][24];
            grpo_orders_prompts(orders, WAY[i], prompts[0]);
            grpo_orders_slices(orders, WAY[i], slice[0]);
            assert_int_equal(grpo_plan_prompts(&plan, WAY[i], prompts[1]), STATUS_OK);
            assert_int_equal(grpo_plan_slices(&plan, WAY[i], slice[1]), STATUS_OK);
            assert_memory_equal(prompts[0], prompts[1], sizeof prompts[0]);
            assert_memory_equal(slice[0], slice[1], sizeof slice[0]);
        }
        grpo_orders_close(orders);
    }
}

static void windows_cover_every_micro_step_once(void **state)
{
    (void)state;
    const struct grpo_plan plan = {.rows = 10, .world = 1, .per_device = 4, .accumulation = 4,
                                   .slices = 3, .iterations = 2, .group_size = 4};
    /* 3 prompts a round, 3 rounds of 6 micro-steps: 18, in windows of 4, the last one of 2 */
    int64_t first;
    int64_t count;
    int64_t next = 0;
    assert_int_equal(grpo_plan_rounds_per_epoch(&plan), 3);
    assert_int_equal(grpo_plan_steps_per_epoch(&plan), 5);
    for (int64_t step = 0; step < 10; step++) {
        grpo_plan_window(&plan, step, &first, &count);
        assert_int_equal(first, next);
        assert_int_equal(count, step % 5 == 4 ? 2 : 4);
        next = first + count;
    }
    assert_int_equal(grpo_plan_round_of(&plan, 17), 2);
    assert_int_equal(grpo_plan_slice_of(&plan, 17), 2);
}

static void impossible_batches_name_what_works(void **state)
{
    (void)state;
    struct grpo_plan plan = {.rows = 100, .world = 1, .per_device = 6, .accumulation = 1,
                             .slices = 1, .iterations = 1, .group_size = 4};
    assert_int_equal(grpo_plan_check(&plan), STATUS_RECIPE);
    assert_non_null(strstr(status_message(), "num_generations 3"));
    assert_non_null(strstr(status_message(), "per_device_train_batch_size 8"));
    plan.group_size = 1;
    assert_int_equal(grpo_plan_check(&plan), STATUS_RECIPE);
    plan = (struct grpo_plan){.rows = 1, .world = 1, .per_device = 8, .accumulation = 1,
                              .slices = 1, .iterations = 1, .group_size = 4};
    assert_int_equal(grpo_plan_check(&plan), STATUS_RECIPE);
    assert_non_null(strstr(status_message(), "the dataset has 1"));
    plan.rows = 2;
    assert_int_equal(grpo_plan_check(&plan), STATUS_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompts_follow_the_repeat_sampler),
        cmocka_unit_test(permutations_are_torchs),
        cmocka_unit_test(slices_partition_a_round),
        cmocka_unit_test(orders_do_not_depend_on_the_way),
        cmocka_unit_test(windows_cover_every_micro_step_once),
        cmocka_unit_test(impossible_batches_name_what_works),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
