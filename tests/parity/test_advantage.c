/* Rewards to advantages against TRL (golden/grpo/advantages.jsonl), None patterns included. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "rl/advantage.h"
#include "tests/support/golden_rl.h"
#include "trainer/format/json.h"

static const double LIMIT = 1e-6;

/*
 * The same number for the rows of a group. Where all its rewards are equal Graft's advantage is 0
 * and TRL's is what rounding left of the mean (a few units of 2^-24 of the reward, for each
 * function), divided by little more than 1e-4; on the other groups both round alike.
 */
static double limit_of(const double *rewards, int64_t rows, int64_t functions)
{
    double largest = 0.0;
    bool equal = false;
    double column[256];
    for (int64_t k = 0; k < functions; k++) {
        double mean;
        double std;
        for (int64_t i = 0; i < rows; i++) {
            column[i] = rewards[i * functions + k];
            largest = fmax(largest, isnan(column[i]) ? 0.0 : fabs(column[i]));
        }
        advantage_moments(column, rows, &mean, &std);
        equal = equal || !(std > 0.0);
    }
    return equal ? LIMIT + 0x1p-22 * (double)functions * largest / 1e-4 : LIMIT;
}

static enum scale_rewards scale_of(const json_t *value)
{
    const char *name = json_string_value(value);
    return !name || strcmp(name, "none") == 0 ? SCALE_NONE
           : strcmp(name, "batch") == 0       ? SCALE_BATCH
                                              : SCALE_GROUP;
}

static double worst; /* largest |difference| / max(1, |advantage|) of the run, printed at the end */

static void run_case(const json_t *c, size_t index)
{
    const json_t *rows = json_object_get(c, "rewards");
    const json_t *weights = json_object_get(c, "reward_weights");
    const int64_t n = (int64_t)json_array_size(rows);
    const int64_t k = (int64_t)json_array_size(json_array_get(rows, 0));
    const int64_t size = json_get_int(c, "num_generations", 1);
    double rewards[1024];
    double weight[32];
    double advantage[256];
    assert_true(n * k <= 1024 && k <= 32 && n <= 256);
    for (int64_t i = 0; i < n * k; i++) {
        rewards[i] = golden_number(
            json_array_get(json_array_get(rows, (size_t)(i / k)), (size_t)(i % k)));
    }
    for (int64_t i = 0; i < k; i++) {
        weight[i] =
            json_is_array(weights) ? golden_number(json_array_get(weights, (size_t)i)) : 1.0;
    }
    const struct advantage_config config = {
        .scale = scale_of(json_object_get(c, "scale_rewards")),
        .aggregation = strcmp(json_get_string(c, "multi_objective_aggregation", ""),
                              "normalize_then_sum")
                               == 0
                           ? NORMALIZE_THEN_SUM
                           : SUM_THEN_NORMALIZE,
    };
    const struct advantage_args args = {.rewards = rewards,
                                        .weights = weight,
                                        .groups = n / size,
                                        .group_size = size,
                                        .functions = k,
                                        .advantage = advantage};
    assert_int_equal(advantage_compute(&config, &args), STATUS_OK);
    for (int64_t i = 0; i < n; i++) {
        const double want =
            golden_number(json_array_get(json_object_get(c, "advantages"), (size_t)i));
        const int64_t group = i / size * size;
        const double difference = fabs(advantage[i] - want) / fmax(1.0, fabs(want));
        worst = fmax(worst, difference);
        if (difference > limit_of(rewards + group * k, size, k)) {
            fail_msg("case %zu row %lld: %g, expected %g", index, (long long)i, advantage[i], want);
        }
    }
}

static void advantages_are_trls(void **state)
{
    (void)state;
    char path[4096];
    if (!golden_path("grpo/advantages.jsonl", path)) {
        print_message("golden/grpo is not here\n");
        skip();
    }
    json_t *cases = golden_json(path);
    assert_true(json_array_size(cases) > 0);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        run_case(json_array_get(cases, i), i);
    }
    print_message("%zu cases, largest difference %.2g\n", json_array_size(cases), worst);
    json_decref(cases);
}

static void a_group_by_hand(void **state)
{
    (void)state; /* rewards 1, 0, 0, 1: mean 0.5, std (ddof 1) sqrt(1/3) */
    const double rewards[8] = {1, 0, 0, 1, 1, 1, 1, NAN};
    const double weight = 1.0;
    double advantage[8];
    double reward[8];
    double std[2];
    const struct advantage_config config = {.scale = SCALE_GROUP};
    const struct advantage_args args = {.rewards = rewards, .weights = &weight, .groups = 2,
                                        .group_size = 4, .functions = 1, .advantage = advantage,
                                        .reward = reward, .group_std = std};
    assert_int_equal(advantage_compute(&config, &args), STATUS_OK);
    const double want = 0.5 / (sqrt(1.0 / 3.0) + 1e-4);
    assert_true(fabs(advantage[0] - want) < 1e-7 && fabs(advantage[1] + want) < 1e-7);
    for (int i = 4; i < 8; i++) { /* an equal group teaches nothing; an unscorable row neither */
        assert_true(advantage[i] == 0.0);
    }
    assert_true(std[1] == 0.0 && isnan(reward[7]));
}

/* What torch.nanmean of 2.15 gives for these numbers, bit for bit: its order from 8 on is in lanes.
 */
static void sums_are_in_torchs_order(void **state)
{
    (void)state;
    static const struct {
        int64_t count;
        float mean;
    } CASES[] = {{5, 1.42886591F}, {9, 1.25085914F}, {16, 1.42268038F}, {45, 1.51546395F}};
    double values[45];
    double mean;
    double std;
    for (int64_t i = 0; i < 45; i++) {
        values[i] = (double)(float)((double)((i * 37 + 11) % 97) / 97 * 3);
    }
    for (size_t c = 0; c < sizeof CASES / sizeof CASES[0]; c++) {
        advantage_moments(values, CASES[c].count, &mean, &std);
        assert_true((float)mean == CASES[c].mean);
    }
}

/* Sevenths: three of them added and divided by 3 are not one in F32, but equal rewards are. */
static void equal_rewards_teach_nothing(void **state)
{
    (void)state;
    double rewards[7];
    double advantage[7];
    double std;
    double flat;
    const double weight = 0.3;
    for (int scale = SCALE_GROUP; scale <= SCALE_NONE; scale++) {
        for (int64_t size = 2; size <= 7; size++) {
            for (int64_t i = 0; i < size; i++) {
                rewards[i] = 1.0 / 7.0;
            }
            const struct advantage_config config = {.scale = (enum scale_rewards)scale};
            const struct advantage_args args = {
                .rewards = rewards, .weights = &weight, .groups = 1, .group_size = size,
                .functions = 1, .advantage = advantage, .group_std = &std, .flat = &flat};
            assert_int_equal(advantage_compute(&config, &args), STATUS_OK);
            for (int64_t i = 0; i < size; i++) {
                assert_true(advantage[i] == 0.0);
            }
            assert_true(std == 0.0 && flat == 1.0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(advantages_are_trls),
        cmocka_unit_test(a_group_by_hand),
        cmocka_unit_test(sums_are_in_torchs_order),
        cmocka_unit_test(equal_rewards_teach_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
