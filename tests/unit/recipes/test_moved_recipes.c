/* Recipes in the vocabulary of Open-R1 and TRL (tests/data/recipes) load, resolve and mean what they
 * mean there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "recipes/schema_internal.h"
#include "rl/advantage.h"
#include "rl/objective.h"
#include "trainer/data/packing.h"
#include "trainer/optim/optim.h"

static void open_recipe(struct recipe *r, enum recipe_method method, const char *name)
{
    char path[4096];
    const char *folder = getenv("GRAFT_SOURCE");
    char *overrides[] = {(char[]){"model_name_or_path=other.gguf"}, (char[]){"dataset_name=x.jsonl"},
                         (char[]){"output_dir=out"}};
    (void)snprintf(path, sizeof path, "%s/tests/data/recipes/%s", folder ? folder : ".", name);
    if (recipe_open(r, method, path, 3, overrides) != STATUS_OK ||
        recipe_resolve(r, 1) != STATUS_OK) {
        fail_msg("%s: %s", name, status_message());
    }
    assert_string_equal(r->model_name_or_path, "other.gguf");
}

/* What is left of a recipe after a round through its dump. */
static void assert_dump_reads_back(const struct recipe *r)
{
    char *text;
    char *differs;
    struct recipe again;
    assert_int_equal(recipe_dump(r, &text), STATUS_OK);
    assert_int_equal(recipe_open_text(&again, r->method, "dump", text), STATUS_OK);
    assert_int_equal(recipe_resolve(&again, 1), STATUS_OK);
    assert_int_equal(recipe_diff(r, &again, &differs), STATUS_OK);
    if (differs) {
        fail_msg("%s differ", differs);
    }
    free(text);
    recipe_close(&again);
}

static void sft_of_chats(void **state)
{
    (void)state;
    struct recipe r;
    open_recipe(&r, RECIPE_SFT, "sft_chats.yaml");
    assert_string_equal(r.eos_token, "<|im_end|>");
    assert_true(r.warmup_steps == 0.03);
    assert_true(json_real_value(json_object_get(r.lr_scheduler_kwargs, "min_lr_rate")) == 0.1);
    assert_int_equal(r.save_strategy, STRATEGY_EPOCH);
    assert_int_equal(r.eval_strategy, STRATEGY_NO);
    assert_int_equal(r.max_length, 4096);
    assert_false(r.packing);
    assert_dump_reads_back(&r);
    recipe_close(&r);
}

static void sft_packed(void **state)
{
    (void)state;
    struct recipe r;
    open_recipe(&r, RECIPE_SFT, "sft_packed.yaml");
    assert_true(r.packing);
    assert_int_equal(r.packing_strategy, PACKING_WRAPPED); /* TRL 0.18 knew no other by default */
    assert_int_equal(r.max_length, 2048);
    assert_true(r.save_steps == 0.1);
    assert_true(r.logging_steps == 500.0);
    assert_int_equal(r.eval_tasks.count, 2);
    assert_non_null(strstr(r.chat_template, "<|im_start|>assistant"));
    assert_dump_reads_back(&r);
    recipe_close(&r);
}

static void grpo_on_mathematics(void **state)
{
    (void)state;
    struct recipe r;
    open_recipe(&r, RECIPE_GRPO, "grpo_math.yaml");
    assert_int_equal(r.loss_type, LOSS_BNPO); /* the older default */
    assert_true(r.beta == 0.04);
    assert_int_equal(r.generation_batch_size, 64);
    assert_int_equal(r.steps_per_generation, 4);
    assert_int_equal(r.reward_funcs.count, 3);
    assert_int_equal(r.reward_weights.count, 3);
    assert_true(r.logging_first_step);
    assert_false(r.tensorboard);
    assert_non_null(strstr(r.system_prompt, "<think>\n...\n</think>"));
    assert_dump_reads_back(&r);
    recipe_close(&r);
}

static void grpo_on_programs(void **state)
{
    (void)state;
    struct recipe r;
    open_recipe(&r, RECIPE_GRPO, "grpo_code.yaml");
    assert_int_equal(r.loss_type, LOSS_DR_GRPO);
    assert_int_equal(r.scale_rewards, SCALE_NONE);
    assert_int_equal(r.optim, OPTIM_ADAMW_8BIT);
    assert_true(r.epsilon_high == 0.28);
    assert_true(r.mask_truncated_completions);
    assert_int_equal(r.num_iterations, 2);
    assert_string_equal(json_string_value(json_object_get(r.env, "OMP_NUM_THREADS")), "1");
    assert_dump_reads_back(&r);
    recipe_close(&r);
}

static void grpo_with_an_adapter(void **state)
{
    (void)state;
    struct recipe r;
    open_recipe(&r, RECIPE_GRPO, "grpo_peft.yaml");
    assert_true(r.use_peft);
    assert_true(r.tensorboard);
    assert_int_equal(r.lora_target_modules.count, 4);
    assert_int_equal(r.loss_type, LOSS_DAPO);
    assert_true(r.use_bias_correction_kl);
    assert_int_equal(r.notes.count, 0);
    assert_dump_reads_back(&r);
    recipe_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sft_of_chats),        cmocka_unit_test(sft_packed),
        cmocka_unit_test(grpo_on_mathematics), cmocka_unit_test(grpo_on_programs),
        cmocka_unit_test(grpo_with_an_adapter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
