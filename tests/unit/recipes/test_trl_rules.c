/*
 * Every error and warning that TRL's configs and trainers and Transformers' TrainingArguments give,
 * a case each in tests/data/rules/cases.jsonl: Graft refuses the same keys by name, says the same
 * in a note, takes them for a reason, or the thing cannot come up. tests/data/rules/check.py holds
 * the list against the installed packages.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "recipes/schema_internal.h"
#include "tests/support/golden_rl.h"
#include "tests/support/refused_recipes.h"

static const char *text_of(const json_t *c, const char *key)
{
    return json_string_value(json_object_get(c, key));
}

static const char *source_folder(void)
{
    const char *folder = getenv("GRAFT_SOURCE");
    return folder ? folder : ".";
}

static enum recipe_method method_named(const char *name)
{
    size_t i = 0;
    while (recipe_training_method(i) &&
           strcmp(recipe_method_name(recipe_training_method(i)), name) != 0) {
        i++;
    }
    assert_true(recipe_training_method(i) != 0);
    return recipe_training_method(i);
}

/* The usual lines, but for those keys that the case sets itself. */
static void open_case(const json_t *c, struct recipe *r, enum status *status)
{
    static const char *const USUAL[][2] = {{"model_name_or_path", "m.gguf"},
                                           {"output_dir", "out"},
                                           {"dataset_name", "d"}};
    char lines[1024];
    char base[256] = "";
    (void)snprintf(lines, sizeof lines, "\n%s", text_of(c, "recipe"));
    for (size_t i = 0; i < sizeof USUAL / sizeof *USUAL; i++) {
        char key[64];
        const size_t used = strlen(base);
        (void)snprintf(key, sizeof key, "\n%s:", USUAL[i][0]);
        if (!strstr(lines, key) && lines[1] != '-') {
            (void)snprintf(base + used, sizeof base - used, "%s: %s\n", USUAL[i][0], USUAL[i][1]);
        }
    }
    *status = recipe_lines_open(r, method_named(text_of(c, "method")), base, lines + 1);
}

static void check_refused(const json_t *c, enum status status)
{
    size_t k;
    const json_t *word;
    if (status != STATUS_RECIPE) {
        fail_msg("%s: status %d", text_of(c, "recipe"), (int)status);
    }
    json_array_foreach (json_object_get(c, "refused"), k, word) {
        if (!strstr(status_message(), json_string_value(word))) {
            fail_msg("%s: '%s' is not in: %s", text_of(c, "recipe"), json_string_value(word),
                     status_message());
        }
    }
    assert_true(k >= 2 || strstr(status_message(), "missing")
                || strstr(status_message(), "lines of") || strstr(status_message(), "at least"));
}

static void check_noted(const json_t *c, const struct recipe *r)
{
    bool found = false;
    for (int64_t i = 0; i < r->notes.count; i++) {
        bool all = true;
        size_t k;
        const json_t *word;
        json_array_foreach (json_object_get(c, "noted"), k, word) {
            all = all && strstr(r->notes.items[i], json_string_value(word));
        }
        found = found || all;
    }
    if (!found) {
        fail_msg("%s: %lld notes, none with these words (%s)", text_of(c, "recipe"),
                 (long long)r->notes.count, r->notes.count > 0 ? r->notes.items[0] : "");
    }
}

/* The test that shows the case is there and speaks of it. */
static void check_shown(const json_t *c)
{
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/%s", source_folder(), text_of(c, "test"));
    FILE *in = fopen(path, "rb");
    if (!in) {
        fail_msg("%s is not there", path);
    }
    char *text = calloc(1, 1 << 20);
    assert_non_null(text);
    assert_true(fread(text, 1, (1 << 20) - 1, in) > 0);
    (void)fclose(in);
    if (!strstr(text, text_of(c, "by"))) {
        fail_msg("%s does not hold: %s", path, text_of(c, "by"));
    }
    free(text);
}

static void check_case(const json_t *c)
{
    struct recipe r = {0};
    enum status status;
    if (text_of(c, "never")) {
        assert_true(strlen(text_of(c, "never")) > 15);
        return;
    }
    if (text_of(c, "test")) {
        check_shown(c);
        return;
    }
    open_case(c, &r, &status);
    if (json_object_get(c, "refused")) {
        check_refused(c, status);
    } else if (status != STATUS_OK) {
        fail_msg("%s: %s", text_of(c, "recipe"), status_message());
    } else if (json_object_get(c, "noted")) {
        check_noted(c, &r);
    } else {
        assert_true(strlen(text_of(c, "taken")) > 5);
        assert_int_equal(recipe_notes_about(&r, "has no effect"), 0);
    }
    recipe_close(&r);
    status_clear();
}

static void every_rule_of_trl_has_an_answer(void **state)
{
    (void)state;
    char path[4096];
    size_t i;
    json_t *c;
    (void)snprintf(path, sizeof path, "%s/tests/data/rules/cases.jsonl", source_folder());
    json_t *cases = golden_json(path);
    assert_true(json_array_size(cases) > 140);
    json_array_foreach (cases, i, c) {
        assert_non_null(text_of(c, "rule"));
        check_case(c);
    }
    json_decref(cases);
}

/* A recipe that a run saved can be used again, whichever of the two keys made it. */
static void a_saved_recipe_has_one_of_both(void **state)
{
    (void)state;
    static const char BASE[] = "model_name_or_path: m\noutput_dir: o\ndataset_name: d\n"
                               "reward_funcs: [accuracy]\n";
    static const char *const KEYS[] = {"generation_batch_size: 16", "steps_per_generation: 2", "",
                                       "generation_batch_size: 16\nsteps_per_generation: null"};
    for (size_t i = 0; i < sizeof KEYS / sizeof *KEYS; i++) {
        struct recipe r = {0};
        struct recipe again = {0};
        char *text;
        char *differs;
        assert_int_equal(recipe_lines_open(&r, RECIPE_GRPO, BASE, KEYS[i]), STATUS_OK);
        assert_int_equal(recipe_resolve(&r, 1), STATUS_OK); /* resolving again changes nothing */
        assert_int_equal(recipe_dump(&r, &text), STATUS_OK);
        assert_non_null(strstr(text, "\nsteps_per_generation: "));
        assert_non_null(strstr(text, "\n# generation_batch_size: "));
        assert_int_equal(recipe_open_text(&again, RECIPE_GRPO, "dump", text), STATUS_OK);
        assert_int_equal(recipe_resolve(&again, 1), STATUS_OK);
        assert_int_equal(again.generation_batch_size, KEYS[i][0] ? 16 : 8);
        assert_int_equal(recipe_diff(&r, &again, &differs), STATUS_OK);
        assert_null(differs);
        free(text);
        recipe_close(&again);
        recipe_close(&r);
    }
}

/* Keys of the class that all of TRL's configs share ask for nothing at their defaults. */
static void defaults_of_other_methods_pass(void **state)
{
    (void)state;
    static const char BASE[] = "model_name_or_path: m\noutput_dir: o\ndataset_name: d\n";
    static const char DEFAULTS[] =
        "label_smoothing_factor: 0.0\nneftune_noise_alpha: null\npacking: false\n"
        "packing_strategy: bfd\ncompletion_only_loss: null\neval_packing: null\n"
        "activation_checkpointing: null\nvllm_max_model_length: null\ndatasets: []\n";
    static const struct refused_recipe OTHERS[] = {
        {"label_smoothing_factor: 0.1", {"label_smoothing_factor", "sft", "dpo"}, RECIPE_DPO},
        {"neftune_noise_alpha: 5", {"neftune_noise_alpha", "sft", "kto"}, RECIPE_KTO},
        {"center_rewards_coefficient: 0.1",
         {"center_rewards_coefficient", "reward-model", "sft"},
         0},
        {"packing: perhaps", {"packing", "dpo"}, RECIPE_DPO},
    };
    for (size_t i = 0; recipe_training_method(i); i++) {
        const enum recipe_method method = recipe_training_method(i);
        struct recipe r = {0};
        char more[1024];
        (void)snprintf(more, sizeof more, "%s%s%s", DEFAULTS,
                       method & (RECIPE_GRPO | RECIPE_RLOO) ? "reward_funcs: [accuracy]\n" : "",
                       method == RECIPE_DISTILL ? "teacher_model_name_or_path: t\n" : "");
        const enum status status = recipe_lines_open(&r, method, BASE, more);
        if (status != STATUS_OK && !strstr(status_message(), "use_peft: true")) {
            fail_msg("%s: %s", recipe_method_name((unsigned)method), status_message());
        }
        assert_int_equal(r.notes.count, 0);
        recipe_close(&r);
        status_clear();
    }
    refused_recipes_check(BASE, OTHERS, sizeof OTHERS / sizeof *OTHERS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_rule_of_trl_has_an_answer),
        cmocka_unit_test(a_saved_recipe_has_one_of_both),
        cmocka_unit_test(defaults_of_other_methods_pass),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
