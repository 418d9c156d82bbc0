/* Recipes in the vocabulary of Open-R1 and TRL (tests/data/recipes) load, resolve and mean what
 * they mean there. */
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

static void open_recipe_on(struct recipe *r, enum recipe_method method, const char *name,
                           int64_t ranks)
{
    char path[4096];
    const char *folder = getenv("GRAFT_SOURCE");
    char *overrides[] = {(char[]){"model_name_or_path=other.gguf"},
                         (char[]){"dataset_name=x.jsonl"}, (char[]){"output_dir=out"}};
    (void)snprintf(path, sizeof path, "%s/tests/data/recipes/%s", folder ? folder : ".", name);
    if (recipe_open(r, method, path, 3, overrides) != STATUS_OK ||
        recipe_resolve(r, ranks) != STATUS_OK) {
        fail_msg("%s: %s", name, status_message());
    }
    assert_string_equal(r->model_name_or_path, "other.gguf");
}

static void open_recipe(struct recipe *r, enum recipe_method method, const char *name)
{
    open_recipe_on(r, method, name, 1);
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

/* Each of Open-R1's recipes from the facts of spec open-r1.md 5: what they come to on 8 ranks, or
 * the 7 that train beside a server of completions. */
static const struct {
    const char *name;
    enum recipe_method method;
    int64_t ranks;
    double learning_rate;
    int schedule;
    int64_t length; /* max_length, or max_completion_length */
    double epochs;
    int64_t group; /* num_generations */
    int64_t round; /* completions of a round; sft: rows of a step */
} OPEN_R1[] = {
    {"r1_distill_7b_sft", RECIPE_SFT, 8, 4e-5, SCHEDULE_COSINE_WITH_MIN_LR, 32768, 5, 0, 128},
    {"olympic_coder_7b_sft", RECIPE_SFT, 8, 1e-5, SCHEDULE_COSINE_WITH_MIN_LR, 32768, 10, 0, 128},
    {"olympic_coder_32b_sft", RECIPE_SFT, 128, 4e-5, SCHEDULE_COSINE_WITH_MIN_LR, 22528, 10, 0,
     128},
    {"openr1_qwen_7b_sft", RECIPE_SFT, 8, 5e-5, SCHEDULE_LINEAR, 32768, 3, 0, 16},
    {"r1_distill_1.5b_grpo", RECIPE_GRPO, 8, 1e-6, SCHEDULE_COSINE_WITH_MIN_LR, 2048, 1, 16, 512},
    {"qwen2.5_1.5b_grpo", RECIPE_GRPO, 8, 2e-5, SCHEDULE_COSINE, 1024, 1, 16, 512},
    {"qwen2.5_1.5b_grpo_code", RECIPE_GRPO, 7, 5e-6, SCHEDULE_COSINE_WITH_MIN_LR, 2048, 1, 14, 448},
    {"qwen2.5_1.5b_grpo_ioi", RECIPE_GRPO, 7, 5e-6, SCHEDULE_COSINE_WITH_MIN_LR, 2048, 1, 14, 448},
    {"qwen2.5_coder_7b_grpo_codeforces", RECIPE_GRPO, 8, 1e-6, SCHEDULE_CONSTANT_WITH_WARMUP, 8192,
     4, 16, 1024},
    {"filter_dapo", RECIPE_GRPO, 8, 1e-6, SCHEDULE_LINEAR, 32000, 3, 8, 64},
    {"filter_python", RECIPE_GRPO, 8, 1e-6, SCHEDULE_LINEAR, 16000, 3, 8, 64},
    {"filter_demo", RECIPE_GRPO, 8, 1e-6, SCHEDULE_LINEAR, 4096, 3, 8, 64},
};

static void check_open_r1(size_t i, struct recipe *r)
{
    const bool sft = OPEN_R1[i].method == RECIPE_SFT;
    assert_true(r->learning_rate == OPEN_R1[i].learning_rate);
    assert_int_equal(r->lr_scheduler_type, OPEN_R1[i].schedule);
    assert_int_equal(sft ? r->max_length : r->max_completion_length, OPEN_R1[i].length);
    assert_true(r->num_train_epochs == OPEN_R1[i].epochs);
    if (sft) {
        assert_int_equal(r->per_device_train_batch_size * r->gradient_accumulation_steps
                             * r->world_size, OPEN_R1[i].round);
        return;
    }
    assert_int_equal(r->num_generations, OPEN_R1[i].group);
    assert_int_equal(r->generation_batch_size, OPEN_R1[i].round);
    assert_non_null(strstr(r->system_prompt, "<answer>\n...\n</answer>"));
    assert_int_equal(r->loss_type,
                     strstr(OPEN_R1[i].name, "codeforces") ? LOSS_DR_GRPO : LOSS_BNPO);
}

static void each_of_open_r1s_recipes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof OPEN_R1 / sizeof *OPEN_R1; i++) {
        struct recipe r;
        char name[128];
        (void)snprintf(name, sizeof name, "open-r1/%s.yaml", OPEN_R1[i].name);
        open_recipe_on(&r, OPEN_R1[i].method, name, OPEN_R1[i].ranks);
        check_open_r1(i, &r);
        assert_dump_reads_back(&r);
        recipe_close(&r);
    }
}

/* A recipe made for 7 training ranks says on 8 which numbers would do. */
static void the_wrong_number_of_ranks_is_explained(void **state)
{
    (void)state;
    struct recipe r;
    char path[4096];
    const char *folder = getenv("GRAFT_SOURCE");
    char *overrides[] = {(char[]){"dataset_name=x.jsonl"}};
    (void)snprintf(path, sizeof path, "%s/tests/data/recipes/open-r1/qwen2.5_1.5b_grpo_code.yaml",
                   folder ? folder : ".");
    assert_int_equal(recipe_open(&r, RECIPE_GRPO, path, 1, overrides), STATUS_OK);
    assert_int_equal(recipe_resolve(&r, 8), STATUS_RECIPE);
    assert_non_null(
        strstr(status_message(), "512 completions a round is no multiple of num_generations 14"));
    recipe_close(&r);
    status_clear();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sft_of_chats),        cmocka_unit_test(sft_packed),
        cmocka_unit_test(grpo_on_mathematics), cmocka_unit_test(grpo_on_programs),
        cmocka_unit_test(grpo_with_an_adapter),
        cmocka_unit_test(each_of_open_r1s_recipes),
        cmocka_unit_test(the_wrong_number_of_ranks_is_explained),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
