/* Every key of TRL, Transformers and Open-R1 has a state, the page shows it, old keys say so. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "recipes/schema_internal.h"

static const char MINIMAL[] = "model_name_or_path: m.gguf\noutput_dir: out\ndataset_name: sums\n"
                              "use_peft: true\n";

static const char *source_folder(void)
{
    const char *folder = getenv("GRAFT_SOURCE");
    return folder ? folder : ".";
}

static char *read_all(const char *path)
{
    FILE *in = fopen(path, "rb");
    size_t size = 0;
    if (!in) {
        fail_msg("%s is missing", path);
    }
    char *text = calloc(1, 1 << 20);
    assert_non_null(text);
    size = fread(text, 1, (1 << 20) - 1, in);
    text[size] = '\0';
    (void)fclose(in);
    return text;
}

/* The names without a state of one file; each is printed. */
static int count_unknown(const char *path, int *names)
{
    char line[128];
    int unknown = 0;
    FILE *in = fopen(path, "r");
    assert_non_null(in);
    while (fgets(line, sizeof line, in)) {
        line[strcspn(line, "\n")] = '\0';
        if (line[0] == '#' || line[0] == '\0') {
            continue;
        }
        (*names)++;
        const struct recipe_foreign *k = schema_find_foreign(line);
        if (!schema_find(line) && !(k && strlen(k->why) > 3)) {
            print_message("%s: %s has no state\n", path, line);
            unknown++;
        }
    }
    (void)fclose(in);
    return unknown;
}

static void every_foreign_name_has_a_state(void **state)
{
    (void)state;
    char folder[2048];
    char path[4096];
    int files = 0;
    int names = 0;
    int unknown = 0;
    (void)snprintf(folder, sizeof folder, "%s/tests/data/keys", source_folder());
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    for (const struct dirent *e = readdir(dir); e; e = readdir(dir)) {
        if (strstr(e->d_name, ".txt")) {
            (void)snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
            unknown += count_unknown(path, &names);
            files++;
        }
    }
    (void)closedir(dir);
    assert_int_equal(unknown, 0);
    assert_int_equal(files, 5);
    assert_true(names > 400);
}

static void the_page_is_the_table(void **state)
{
    (void)state;
    char path[4096];
    char *made;
    (void)snprintf(path, sizeof path, "%s/.docs/keys.md", source_folder());
    char *kept = read_all(path);
    assert_int_equal(recipe_keys_page(&made), STATUS_OK);
    if (strcmp(made, kept) != 0) {
        fail_msg("%s is not what the schema says; run: graft validate --keys > .docs/keys.md",
                 path);
    }
    free(made);
    free(kept);
}

static void the_page_shows_every_row(void **state)
{
    (void)state;
    char *page;
    char name[160];
    assert_int_equal(recipe_keys_page(&page), STATUS_OK);
    for (size_t i = 0; i < schema_count(); i++) {
        (void)snprintf(name, sizeof name, "| `%s` |", schema_field(i)->key);
        assert_non_null(strstr(page, name));
    }
    for (size_t i = 0; i < RECIPE_FOREIGN_COUNT; i++) {
        (void)snprintf(name, sizeof name, "| `%s` |", RECIPE_FOREIGN[i].key);
        assert_non_null(strstr(page, name));
    }
    for (size_t i = 0; i < RECIPE_DEFAULT_COUNT; i++) {
        assert_non_null(schema_find(RECIPE_DEFAULTS[i].key));
    }
    free(page);
}

/* Every difference names a test, and the test is there. */
static void differences_have_tests(void **state)
{
    (void)state;
    char *page;
    int count = 0;
    assert_int_equal(recipe_keys_page(&page), STATUS_OK);
    char *end = strstr(page, "## Supported");
    assert_non_null(end);
    *end = '\0';
    for (char *line = strstr(page, "\n- **"); line; line = strstr(line + 1, "\n- **")) {
        char path[4096];
        const char *link = strstr(line, "([test](../");
        const char *next = strstr(line + 1, "\n- **");
        assert_true(link && (!next || link < next));
        link += strlen("([test](../");
        (void)snprintf(path, sizeof path, "%s/%.*s", source_folder(), (int)strcspn(link, ")"),
                       link);
        if (access(path, R_OK) != 0) {
            fail_msg("%s is not there", path);
        }
        count++;
    }
    assert_true(count >= 9);
    free(page);
}

/* Opens MINIMAL with more lines and resolves; the caller closes. */
static enum status open_with(struct recipe *r, enum recipe_method method, const char *more)
{
    char text[2048];
    (void)snprintf(text, sizeof text, "%s%s", MINIMAL, more);
    const enum status status = recipe_open_text(r, method, "x.yaml", text);
    return status == STATUS_OK ? recipe_resolve(r, 1) : status;
}

static void assert_refused(enum recipe_method method, const char *more, const char *const *parts)
{
    struct recipe r;
    assert_int_equal(open_with(&r, method, more), STATUS_RECIPE);
    for (; *parts; parts++) {
        if (!strstr(status_message(), *parts)) {
            fail_msg("'%s' is not in '%s'", *parts, status_message());
        }
    }
    recipe_close(&r);
    status_clear();
}

static void contradictory_keys_are_both_named(void **state)
{
    (void)state;
    assert_refused(RECIPE_GRPO, "generation_batch_size: 32\nsteps_per_generation: 2\n",
                   (const char *[]){"generation_batch_size 32", "steps_per_generation 2",
                                    "give one of them", NULL});
    assert_refused(RECIPE_SFT, "packing: true\ntruncation_mode: keep_end\n",
                   (const char *[]){"packing", "truncation_mode", "exclude", NULL});
    assert_refused(RECIPE_SFT, "packing: true\nmax_length: null\n",
                   (const char *[]){"packing", "max_length", NULL});
    assert_refused(RECIPE_SFT, "loss_type: dft\nlabel_smoothing_factor: 0.1\n",
                   (const char *[]){"dft", "label_smoothing_factor", NULL});
    assert_refused(RECIPE_GRPO, "use_peft: false\nsync_ref_model: true\n",
                   (const char *[]){"set twice", NULL});
    assert_refused(RECIPE_GRPO, "sync_ref_model: true\nbeta: 0.1\n",
                   (const char *[]){"sync_ref_model", "use_peft", NULL});
    assert_refused(RECIPE_SFT, "max_length: 10\nmax_seq_length: 10\n",
                   (const char *[]){"max_seq_length", "max_length", "twice", NULL});
    assert_refused(RECIPE_SFT, "warmup_steps: 3\nwarmup_ratio: 0.1\n",
                   (const char *[]){"warmup_ratio", "warmup_steps", "twice", NULL});
}

static void unknown_keys_are_errors(void **state)
{
    (void)state;
    assert_refused(RECIPE_SFT, "lora_rnak: 8\n", (const char *[]){"lora_rnak", "lora_rank", NULL});
    assert_refused(RECIPE_GRPO, "vllm_gpu_memory_utilisation: 0.5\n",
                   (const char *[]){"did you mean 'vllm_gpu_memory_utilization'", NULL});
    assert_refused(RECIPE_SFT, "hub_modelid: x\n", (const char *[]){"hub_model_id", NULL});
    assert_refused(RECIPE_GRPO, "nothing_like_it_anywhere: 8\n",
                   (const char *[]){"nothing_like_it_anywhere", "validate --help", NULL});
}

static int notes_about(const struct recipe *r, const char *part)
{
    int count = 0;
    for (int64_t i = 0; i < r->notes.count; i++) {
        count += strstr(r->notes.items[i], part) != NULL;
    }
    return count;
}

static void old_keys_are_noted_once(void **state)
{
    (void)state;
    struct recipe r;
    assert_int_equal(open_with(&r, RECIPE_SFT, "max_seq_length: 77\nwarmup_ratio: 0.1\n"),
                     STATUS_OK);
    assert_int_equal(recipe_override(&r, "max_seq_length=78"), STATUS_OK);
    assert_int_equal(r.max_length, 78);
    assert_true(r.warmup_steps == 0.1);
    assert_int_equal(notes_about(&r, "its name is now max_length"), 1);
    assert_int_equal(notes_about(&r, "its name is now warmup_steps; a value below 1"), 1);
    recipe_close(&r);
    assert_int_equal(open_with(&r, RECIPE_SFT, "max_length: 77\nwarmup_steps: 0.1\n"), STATUS_OK);
    assert_int_equal(r.notes.count, 0);
    recipe_close(&r);
}

static void compat_takes_the_old_defaults(void **state)
{
    (void)state;
    struct recipe r;
    assert_int_equal(open_with(&r, RECIPE_SFT, "compat: trl-0.18\n"), STATUS_OK);
    assert_true(r.logging_steps == 500.0);
    assert_false(r.gradient_checkpointing);
    recipe_close(&r);
    assert_int_equal(open_with(&r, RECIPE_SFT, ""), STATUS_OK);
    assert_true(r.logging_steps == 10.0);
    assert_true(r.gradient_checkpointing);
    recipe_close(&r);
    assert_int_equal(open_with(&r, RECIPE_GRPO, "compat: trl-0.18\n"), STATUS_OK);
    assert_true(r.beta == 0.04);
    assert_int_equal(r.max_completion_length, 256);
    assert_int_equal(r.max_prompt_length, 512);
    assert_false(r.use_bias_correction_kl);
    recipe_close(&r);
}

static void neutral_values_pass_others_are_told(void **state)
{
    (void)state;
    struct recipe r;
    assert_int_equal(
        open_with(&r, RECIPE_SFT, "local_rank: -1\nfp16_opt_level: O1\nuse_ipex: no\n"), STATUS_OK);
    assert_int_equal(r.notes.count, 0);
    recipe_close(&r);
    assert_int_equal(open_with(&r, RECIPE_SFT, "use_ipex: true\nuse_vllm: true\n"), STATUS_OK);
    assert_int_equal(notes_about(&r, "has no effect"), 2);
    recipe_close(&r);
    assert_refused(RECIPE_SFT, "fp16: true\n", (const char *[]){"fp16", "compute: bfloat16", NULL});
    assert_refused(RECIPE_SFT, "per_gpu_train_batch_size: 4\n",
                   (const char *[]){"per_gpu_train_batch_size", "per_device_train_batch_size",
                                    NULL});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_foreign_name_has_a_state),
        cmocka_unit_test(the_page_is_the_table),
        cmocka_unit_test(the_page_shows_every_row),
        cmocka_unit_test(differences_have_tests),
        cmocka_unit_test(contradictory_keys_are_both_named),
        cmocka_unit_test(unknown_keys_are_errors),
        cmocka_unit_test(old_keys_are_noted_once),
        cmocka_unit_test(compat_takes_the_old_defaults),
        cmocka_unit_test(neutral_values_pass_others_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
