/* Arguments of commands, and the recipe's way into the modules' configurations. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "recipes/build.h"
#include "recipes/cli_options.h"

enum { MOST = 12 };

/* Parses "graft NAME words.." for a command that takes a recipe and some options. */
static const struct command RECIPE_COMMAND = {.name = "train",
                                              .usage = "RECIPE",
                                              .options = "model json limit",
                                              .methods = RECIPE_SFT};
static const struct command WORD_COMMAND = {
    .name = "look", .usage = "PATH", .options = "json compute", .words = 1};

static enum status parse(struct command_args *args, const struct command *c,
                         const char *const words[])
{
    char *argv[MOST + 2] = {(char[]){"graft"}, (char[]){"x"}};
    int argc = 2;
    bool help;
    while (words[argc - 2]) {
        argv[argc] = (char *)(uintptr_t)words[argc - 2];
        argc++;
    }
    *args = (struct command_args){.command = c};
    return command_args_parse(args, argc, argv, &help);
}

static void options_words_and_assignments(void **state)
{
    (void)state;
    struct command_args a;
    const char *const words[] = {"x.yaml", "lr=1", "--model", "m.gguf", "--json", "--limit=5",
                                 "--max-steps", "7", "--use_peft", NULL};
    assert_int_equal(parse(&a, &RECIPE_COMMAND, words), STATUS_OK);
    assert_string_equal(a.recipe_path, "x.yaml");
    assert_string_equal(a.model, "m.gguf");
    assert_true(a.json);
    assert_int_equal(a.limit, 5);
    assert_int_equal(a.override_count, 3);
    assert_string_equal(a.overrides[0], "lr=1");
    assert_string_equal(a.overrides[1], "max_steps=7");
    assert_string_equal(a.overrides[2], "use_peft=true");
    command_args_close(&a);
    const char *const config[] = {"--config", "y.yaml", "--seed=3", NULL};
    assert_int_equal(parse(&a, &RECIPE_COMMAND, config), STATUS_OK);
    assert_string_equal(a.recipe_path, "y.yaml");
    assert_string_equal(a.overrides[0], "seed=3");
    command_args_close(&a);
    const char *const plain[] = {"a=b", "--compute", "float32", NULL};
    assert_int_equal(parse(&a, &WORD_COMMAND, plain), STATUS_OK);
    assert_string_equal(a.words[0], "a=b"); /* a file may be called so */
    command_args_close(&a);
}

static void wrong_arguments_say_what_is_meant(void **state)
{
    (void)state;
    static const struct {
        const struct command *command;
        const char *words[4];
        const char *message;
    } cases[] = {
        {&RECIPE_COMMAND, {"--learning_rat", "1"}, "unknown option --learning_rat"},
        {&RECIPE_COMMAND, {"--modl", "1"}, "did you mean --model?"},
        {&RECIPE_COMMAND, {"--limit", "-1"}, "whole number >= 0, not '-1'"},
        {&RECIPE_COMMAND, {"a.yaml", "b.yaml"}, "what is 'b.yaml'?"},
        {&WORD_COMMAND, {"a", "b"}, "what is 'b'?"},
        {&WORD_COMMAND, {"--seed", "1"}, "unknown option --seed"},
        {&WORD_COMMAND, {"--compute", "int8"}, "--compute is bfloat16 or float32"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct command_args a;
        assert_int_equal(parse(&a, cases[i].command, cases[i].words), STATUS_USAGE);
        if (!strstr(status_message(), cases[i].message)) {
            fail_msg("'%s' not in '%s'", cases[i].message, status_message());
        }
        command_args_close(&a);
    }
}

/* Every option a command lists exists, every command has what help prints. */
static void command_table_is_whole(void **state)
{
    (void)state;
    size_t n = 0;
    for (const struct command *c; (c = command_at(n)) != NULL; n++) {
        assert_non_null(c->fn);
        assert_true(strlen(c->summary) > 5 && strlen(c->summary) < 60);
        for (const char *p = c->options; *p;) {
            const size_t length = strcspn(p, " ");
            if (!option_find(c->options, p, length)) {
                fail_msg("%s: no option %.*s", c->name, (int)length, p);
            }
            p += length + strspn(p + length, " ");
        }
    }
    assert_true(n >= 9);
}

static void recipe_becomes_configurations(void **state)
{
    (void)state;
    struct recipe r;
    struct train_config train;
    struct adapter_config adapter;
    assert_int_equal(
        recipe_open_text(&r, RECIPE_GRPO, "x.yaml",
                         "model: m\noutput_dir: o\ndataset_name: sums\nuse_peft: true\n"
                         "save_steps: 0.3\nlogging_steps: 0.001\neval_strategy: epoch\n"
                         "learning_rate: 1e-4\nlr_scheduler_type: cosine_with_min_lr\n"
                         "lr_scheduler_kwargs: {min_lr: 1e-5}\nlora_target_modules: [q_proj]\n"
                         "layers_to_transform: [1, 3]\nmax_grad_norm: 0\ndata_digits: 2\n"),
        STATUS_OK);
    assert_int_equal(recipe_resolve(&r, 1), STATUS_OK);
    assert_int_equal(recipe_train(&r, 50, 20, &train), STATUS_OK);
    assert_int_equal(train.save_steps, 15);
    assert_int_equal(train.logging_steps, 1);
    assert_int_equal(train.eval_steps, 20);
    assert_true(train.resume);
    assert_int_equal(train.optim.schedule.kind, SCHEDULE_COSINE_WITH_MIN_LR);
    assert_true(train.optim.schedule.min_lr == 1e-5);
    assert_true(fabs(optim_schedule(&train.optim, 50, 50) - 0.1) < 1e-12);
    assert_float_equal(train.optim.max_grad_norm, 0, 0);
    assert_int_equal(recipe_adapter(&r, &adapter), STATUS_OK);
    assert_null(adapter.target_regex);
    assert_int_equal(adapter.target_count, 1);
    assert_string_equal(adapter.target_modules[0], "q_proj");
    assert_int_equal(adapter.layers_count, 2);
    assert_int_equal(adapter.layers_to_transform[1], 3);
    adapter_config_close(&adapter);
    static const char *const patterns[] = {"All-Linear", ".*\\.(q|k)_proj"};
    for (size_t i = 0; i < 2; i++) {
        char argument[64];
        (void)snprintf(argument, sizeof argument, "lora_target_modules=%s", patterns[i]);
        assert_int_equal(recipe_override(&r, argument), STATUS_OK);
        assert_int_equal(recipe_adapter(&r, &adapter), STATUS_OK);
        assert_string_equal(adapter.target_regex, patterns[i]);
        assert_int_equal(adapter.target_count, 0);
        adapter_config_close(&adapter);
    }
    struct sums_config sums;
    recipe_sums(&r, true, &sums);
    assert_int_equal(sums.max, 99);
    assert_null(sums.completion);
    json_t *parameters;
    assert_int_equal(recipe_reward_parameters(&r, &parameters), STATUS_OK);
    assert_int_equal(json_integer_value(json_object_get(parameters, "cosine_max_len")), 1000);
    assert_string_equal(json_string_value(json_object_get(parameters, "judge_rule")),
                        "math-verify");
    assert_true(json_is_false(json_object_get(parameters, "cosine_clamp")));
    assert_null(json_object_get(parameters, "reasoning_delimiters"));
    assert_null(json_object_get(parameters, "reward_funcs"));
    json_decref(parameters);
    recipe_close(&r);
}

static void env_reaches_the_process(void **state)
{
    (void)state;
    struct recipe r;
    assert_int_equal(recipe_open_text(&r, RECIPE_EVAL, "x", "env: {GRAFT_T_A: b c, GRAFT_T_N: 5}"),
                     STATUS_OK);
    assert_int_equal(recipe_apply_env(&r), STATUS_OK);
    assert_string_equal(getenv("GRAFT_T_A"), "b c");
    assert_string_equal(getenv("GRAFT_T_N"), "5");
    recipe_close(&r);
    assert_int_equal(recipe_open_text(&r, RECIPE_EVAL, "x", "env: {'a=b': 1}"), STATUS_OK);
    assert_int_equal(recipe_apply_env(&r), STATUS_RECIPE);
    recipe_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_words_and_assignments),
        cmocka_unit_test(wrong_arguments_say_what_is_meant),
        cmocka_unit_test(command_table_is_whole),
        cmocka_unit_test(recipe_becomes_configurations),
        cmocka_unit_test(env_reaches_the_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
