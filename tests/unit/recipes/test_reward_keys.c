/* Recipe keys and reward parameters are the same set; every reward opens with a recipe's values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "recipes/build.h"
#include "recipes/schema_internal.h"
#include "rl/reward/reward.h"

static bool some_reward_knows(const char *key)
{
    /* Of the processes that judge, not of a reward. */
    if (strcmp(key, "reward_workers") == 0 || strcmp(key, "reward_timeout") == 0) {
        return true;
    }
    for (int64_t i = 0; reward_at(i); i++) {
        for (const struct reward_parameter *p = reward_at(i)->parameters; p && p->key; p++) {
            if (strcmp(p->key, key) == 0) {
                return true;
            }
        }
    }
    return false;
}

static void parameters_have_recipe_keys(void **state)
{
    (void)state;
    for (int64_t i = 0; reward_at(i); i++) {
        for (const struct reward_parameter *p = reward_at(i)->parameters; p && p->key; p++) {
            const struct recipe_field *f = schema_find(p->key);
            if (!f || strcmp(f->group, "rewards") != 0) {
                fail_msg("%s: %s is no recipe key of the group rewards", reward_at(i)->name,
                         p->key);
            }
        }
    }
}

static void recipe_keys_reach_a_reward(void **state)
{
    (void)state;
    struct recipe r;
    json_t *parameters;
    const char *key;
    json_t *value;
    assert_int_equal(recipe_open_text(&r, RECIPE_GRPO, "x",
                                      "reasoning_delimiters: [</think>, <end>]\n"
                                      "repetition_unit: characters\njudge_rule: strict\n"),
                     STATUS_OK);
    assert_int_equal(recipe_reward_parameters(&r, &parameters), STATUS_OK);
    assert_int_equal(json_array_size(json_object_get(parameters, "reasoning_delimiters")), 2);
    assert_string_equal(json_string_value(json_object_get(parameters, "repetition_unit")),
                        "characters");
    assert_string_equal(json_string_value(json_object_get(parameters, "judge_rule")), "strict");
    json_object_foreach (parameters, key, value) {
        if (!some_reward_knows(key)) {
            fail_msg("no reward reads %s", key);
        }
    }
    for (int64_t i = 0; reward_at(i); i++) {
        struct reward_set set;
        const char *const name = reward_at(i)->name;
        if (reward_at(i)->isolated) {
            continue; /* opens a sandbox, a program or a library: test_code_rewards, custom_reward
                       */
        }
        assert_int_equal(reward_set_open(&set, &name, 1, parameters), STATUS_OK);
        reward_set_close(&set);
    }
    json_decref(parameters);
    recipe_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parameters_have_recipe_keys),
        cmocka_unit_test(recipe_keys_reach_a_reward),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
