/* dataset_mixture and datasets: what the keys mean, and what is said of wrong ones. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "recipes/build.h"
#include "recipes/schema_internal.h"
#include "tests/support/refused_recipes.h"

static const char BASE[] = "model_name_or_path: m.gguf\noutput_dir: out\nuse_peft: true\nseed: 9\n";

static enum status open_keys(struct recipe *r, const char *more)
{
    return recipe_lines_open(r, RECIPE_SFT, BASE, more);
}

static void open_good(struct recipe *r, struct recipe_mixture *m, const char *more)
{
    if (open_keys(r, more) != STATUS_OK || recipe_mixture(r, m) != STATUS_OK) {
        fail_msg("%s: %s", more, status_message());
    }
}

static void open_r1s_mixture(void **state)
{
    (void)state;
    struct recipe r;
    struct recipe_mixture m;
    open_good(&r, &m,
              "dataset_mixture:\n  datasets:\n    - {id: a, config: c, split: \"train[:9]\", "
              "columns: [x, y], weight: 0.25}\n    - {id: b, columns: [y, x]}\n"
              "    - {id: d, weight: null}\n  seed: 3\n  test_split_size: 0.1\n");
    assert_int_equal(m.config.kind, MIXTURE_OPEN_R1);
    assert_int_equal(m.config.count, 3);
    assert_int_equal(m.config.seed, 3);
    assert_true(m.config.test_size == 0.1);
    assert_string_equal(m.parts[0].path, "a");
    assert_string_equal(m.parts[0].config, "c");
    assert_string_equal(m.parts[0].split, "train[:9]");
    assert_int_equal(json_array_size(m.parts[0].columns), 2);
    assert_true(m.parts[0].weight == 0.25);
    assert_true(m.parts[1].weight == 1.0); /* left out: all rows, shuffled */
    assert_true(isnan(m.parts[2].weight)); /* null: all rows in order */
    assert_null(m.parts[2].split);
    recipe_mixture_close(&m);
    recipe_close(&r);
}

static void trls_mixture(void **state)
{
    (void)state;
    struct recipe r;
    struct recipe_mixture m;
    open_good(&r, &m,
              "datasets:\n  - {path: a, name: c, data_dir: d, fraction: 0.5}\n"
              "  - {path: json, data_files: [x.jsonl, y*.jsonl], fraction: 1}\n"
              "  - {path: folder, data_files: z.jsonl, columns: [prompt], fraction: 0}\n"
              "  - {path: json, data_dir: e, data_files: {test: t.jsonl}, split: \"test[:3]\", "
              "fraction: 2}\n"
              "test_split_size: 20\n");
    assert_int_equal(m.config.kind, MIXTURE_TRL);
    assert_int_equal(m.config.seed, 9);
    assert_true(m.config.test_size == 20);
    assert_string_equal(m.parts[0].path, "a/d");
    assert_string_equal(m.parts[0].config, "c");
    assert_true(m.parts[0].weight == 0.5);
    assert_null(m.parts[1].path);
    assert_int_equal(m.parts[1].file_count, 2);
    assert_string_equal(m.parts[1].files[1], "y*.jsonl");
    assert_string_equal(m.parts[2].path, "folder");
    assert_int_equal(m.parts[2].file_count, 1);
    assert_string_equal(m.parts[3].path, "e");
    assert_string_equal(m.parts[3].files[0], "t.jsonl");
    recipe_mixture_close(&m);
    recipe_close(&r);
}

/* The saved recipe holds the mixture and reads back as the same one. */
static void a_mixture_survives_the_dump(void **state)
{
    (void)state;
    static const char *const TEXTS[] = {
        "datasets: [{path: a, fraction: 0.125}, {path: b, fraction: 3, columns: [\"x y\"]}]\n"
        "test_split_size: 0.05\n",
        "dataset_mixture: {datasets: [{id: a, weight: 0.1}], seed: 4}\n"};
    for (size_t i = 0; i < 2; i++) {
        struct recipe r;
        struct recipe again;
        char *text;
        char *differs;
        assert_int_equal(open_keys(&r, TEXTS[i]), STATUS_OK);
        assert_int_equal(recipe_dump(&r, &text), STATUS_OK);
        assert_int_equal(recipe_open_text(&again, RECIPE_SFT, "dump", text), STATUS_OK);
        assert_int_equal(recipe_resolve(&again, 1), STATUS_OK);
        assert_int_equal(recipe_diff(&r, &again, &differs), STATUS_OK);
        assert_null(differs);
        free(text);
        recipe_close(&again);
        recipe_close(&r);
    }
}

static void wrong_keys_are_refused(void **state)
{
    (void)state;
    static const struct refused_recipe CASES[] = {
        {"dataset_mixture: {datasets: [{id: a, wieght: 0.1}]}\n",
         {"dataset_mixture.datasets[0]: unknown key 'wieght', did you mean 'weight'?"}, 0},
        {"dataset_mixture: {dataset: [{id: a}]}\n", {"unknown key 'dataset', did you mean 'datasets'?"}, 0},
        {"dataset_mixture: {datasets: [{id: a, fraction: 1}]}\n",
         {"unknown key 'fraction'; it has id, config, split, columns, weight"}, 0},
        {"dataset_mixture: {datasets: []}\n", {"lists no dataset"}, 0},
        {"dataset_mixture: {seed: 1}\n", {"lists no dataset"}, 0},
        {"dataset_mixture: {datasets: [a]}\n", {"datasets[0] is a mapping"}, 0},
        {"dataset_mixture: {datasets: [{weight: 1}]}\n", {"id is missing"}, 0},
        {"dataset_mixture: {datasets: [{id: 3}]}\n", {"id is text"}, 0},
        {"dataset_mixture: {datasets: [{id: a, weight: much}]}\n", {"weight is a number"}, 0},
        {"dataset_mixture: {datasets: [{id: a}], seed: 1.5}\n", {"seed is a whole number"}, 0},
        {"dataset_mixture: {datasets: [{id: a}], seed: -1}\n", {"seed is a whole number"}, 0},
        {"dataset_mixture: {datasets: [{id: a, columns: [x]}, {id: b, columns: [x, y]}]}\n",
         {"columns are the same for all datasets"}, 0},
        {"dataset_mixture: {datasets: [{id: a, columns: [x]}, {id: b, columns: [y]}]}\n",
         {"those of dataset 2"}, 0},
        {"dataset_mixture: {datasets: [{id: a, columns: x}]}\n", {"columns is a list of names"}, 0},
        {"dataset_mixture: {datasets: [{id: a, columns: [1]}]}\n", {"columns is a list of names"}, 0},
        {"dataset_mixture: [{id: a}]\n", {"a mapping"}, 0},
        {"dataset_mixture: {datasets: [{id: a}]}\ntest_split_size: 0.1\n",
         {"test_split_size and dataset_mixture"}, 0},
        {"dataset_mixture: {datasets: [{id: a}]}\ndatasets: [{path: a}]\n",
         {"dataset_mixture and datasets exclude each other"}, 0},
        {"datasets: {path: a}\n", {"a list of mappings"}, 0},
        {"datasets: [{name: a}]\n", {"path is missing"}, 0},
        {"datasets: [{path: a, fraction: 1}, {path: b}]\n", {"all of the datasets"}, 0},
        {"datasets: [{path: a, fraction: 0}]\n", {"some above 0"}, 0},
        {"datasets: [{path: json}]\n", {"path json needs data_files"}, 0},
        {"datasets: [{path: json, data_files: 3}]\n", {"data_files names no file"}, 0},
        {"datasets: [{path: json, data_files: [3]}]\n", {"data_files is a path"}, 0},
        {"datasets: [{path: json, data_files: {test: x}}]\n", {"no files for the split train"}, 0},
        {"datasets: [{path: a, weight: 1}]\n", {"unknown key 'weight'"}, 0},
        {"datasets: [{path: a}]\ndataset_train_split: other\n", {"dataset_train_split"}, 0},
        {"datasets: [{path: a}]\ntest_split_size: 0\n", {"test_split_size"}, 0},
        {"dataset_name: a\ntest_split_size: 0.1\n", {"test_split_size splits the mixture"}, 0},
        {"datasets: [{path: a}]\nstreaming: true\n", {"'streaming' is not supported"}, 0},
        {"", {"dataset_name is missing"}, 0},
    };
    refused_recipes_check(BASE, CASES, sizeof CASES / sizeof *CASES);
}

static void a_dataset_name_beside_it_is_noted(void **state)
{
    (void)state;
    struct recipe r;
    assert_int_equal(open_keys(&r, "datasets: [{path: a}]\ndataset_name: b\n"), STATUS_OK);
    assert_int_equal(r.notes.count, 1);
    assert_non_null(strstr(r.notes.items[0], "dataset_name"));
    recipe_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(open_r1s_mixture),
        cmocka_unit_test(trls_mixture),
        cmocka_unit_test(a_mixture_survives_the_dump),
        cmocka_unit_test(wrong_keys_are_refused),
        cmocka_unit_test(a_dataset_name_beside_it_is_noted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
