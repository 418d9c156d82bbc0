/* Keys of saving and the best model: Transformers' defaults and rules (spec training.md 5). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "recipes/build.h"
#include "recipes/schema_internal.h"
#include "tests/support/refused_recipes.h"

static const char BASE[] = "model_name_or_path: m.gguf\noutput_dir: out\nuse_peft: true\n"
                           "dataset_name: d\n";

static enum status open_keys(struct recipe *r, const char *more)
{
    return recipe_lines_open(r, RECIPE_SFT, BASE, more);
}

static void rules_become_the_loops(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *metric;
        bool greater;
        bool load;
        bool save;
        int64_t save_steps;
    } CASES[] = {
        {"", "", false, false, false, 500},
        {"save_strategy: no\n", "", false, false, false, 0},
        {"eval_strategy: steps\nload_best_model_at_end: true\neval_steps: 10\nsave_steps: 20\n",
         "eval_loss", false, true, false, 20},
        {"eval_strategy: epoch\nsave_strategy: epoch\nload_best_model_at_end: true\n"
         "metric_for_best_model: mean_token_accuracy\n",
         "eval_mean_token_accuracy", true, true, false, 25},
        {"eval_strategy: epoch\nsave_strategy: best\nmetric_for_best_model: eval_loss\n"
         "greater_is_better: true\n",
         "eval_loss", true, false, true, 0},
        {"eval_strategy: steps\nsave_strategy: best\nload_best_model_at_end: true\n", "eval_loss",
         false, true, true, 0},
        {"eval_strategy: steps\neval_steps: 0.1\nsave_steps: 0.3\nload_best_model_at_end: true\n",
         "eval_loss", false, true, false, 30},
        {"eval_strategy: steps\nlr_scheduler_type: greedy\nmetric_for_best_model: my_loss\n",
         "eval_my_loss", false, false, false, 500},
        {"eval_strategy: steps\nlr_scheduler_type: reduce_lr_on_plateau\n", "eval_loss", false,
         false, false, 500},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct recipe r;
        struct train_config c;
        if (open_keys(&r, CASES[i].text) != STATUS_OK) {
            fail_msg("%s: %s", CASES[i].text, status_message());
        }
        assert_int_equal(recipe_train(&r, 100, 25, &c), STATUS_OK);
        assert_string_equal(c.best.metric, CASES[i].metric);
        assert_int_equal(c.best.greater, CASES[i].greater);
        assert_int_equal(c.best.load, CASES[i].load);
        assert_int_equal(c.best.save, CASES[i].save);
        assert_int_equal(c.save_steps, CASES[i].save_steps);
        recipe_close(&r);
    }
}

static void pairs_are_refused_by_name(void **state)
{
    (void)state;
    static const struct refused_recipe CASES[] = {
        {"load_best_model_at_end: true\n",
         {"save_strategy and eval_strategy to be the same, steps or epoch, but they are steps and no"}, 0},
        {"load_best_model_at_end: true\neval_strategy: epoch\n", {"they are steps and epoch"}, 0},
        {"load_best_model_at_end: true\nsave_strategy: no\n", {"they are no and no"}, 0},
        {"load_best_model_at_end: true\neval_strategy: steps\neval_steps: 7\nsave_steps: 20\n",
         {"save_steps to be a multiple of eval_steps, and 20 is none of 7"}, 0},
        {"load_best_model_at_end: true\neval_strategy: steps\neval_steps: 0.1\nsave_steps: 20\n",
         {"save_steps 20 to be a multiple of eval_steps 0.1"}, 0},
        {"load_best_model_at_end: true\neval_strategy: steps\neval_steps: 0.2\nsave_steps: 0.3\n",
         {"0.3 is none of 0.2"}, 0},
        {"save_strategy: best\n", {"save_strategy: best saves at evaluations, and eval_strategy is no"}, 0},
        {"save_strategy: best\neval_strategy: steps\n", {"needs metric_for_best_model"}, 0},
        {"eval_strategy: best\n", {"eval_strategy 'best' is not supported; use steps or epoch"}, 0},
        {"greater_is_better: perhaps\n", {"greater_is_better"}, 0},
    };
    refused_recipes_check(BASE, CASES, sizeof CASES / sizeof *CASES);
}

static void a_metric_that_nothing_makes_is_noted(void **state)
{
    (void)state;
    struct recipe r;
    struct train_config c;
    assert_int_equal(open_keys(&r, "metric_for_best_model: loss\n"), STATUS_OK);
    assert_int_equal(r.notes.count, 1);
    assert_non_null(strstr(r.notes.items[0], "metric_for_best_model has no effect"));
    assert_int_equal(recipe_train(&r, 10, 5, &c), STATUS_OK);
    assert_string_equal(c.best.metric, "");
    recipe_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules_become_the_loops),
        cmocka_unit_test(pairs_are_refused_by_name),
        cmocka_unit_test(a_metric_that_nothing_makes_is_noted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
