/* Datasets: files, folders with splits, slices, rows in memory, and what is said of wrong ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "tests/support/model_files.h"
#include "trainer/data/dataset.h"
#include "trainer/format/json.h"

static const char *const FIVE = "{\"n\":0}\n{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n{\"n\":4}\n";

static struct dataset *open_good(const char *path, const char *config, const char *split)
{
    struct dataset *d;
    if (dataset_open(&d, path, config, split) != STATUS_OK) {
        fail_msg("%s %s: %s", path, split ? split : "", status_message());
    }
    return d;
}

/* Opening fails with `status` and says all of `words` (NULL ends them). */
static void refuse(const char *path, const char *split, enum status status,
                   const char *const words[])
{
    struct dataset *d;
    const enum status got = dataset_open(&d, path, NULL, split);
    if (got != status) {
        fail_msg("%s %s: status %d, not %d", path, split ? split : "", (int)got, (int)status);
    }
    assert_null(d);
    for (; *words; words++) {
        if (!strstr(status_message(), *words)) {
            fail_msg("'%s' is not in: %s", *words, status_message());
        }
    }
}

static int64_t number_of(struct dataset *d, int64_t i)
{
    json_t *row = dataset_row(d, i);
    assert_non_null(row);
    const int64_t n = json_get_int(row, "n", -1);
    json_decref(row);
    return n;
}

static void slices_take_the_rows_they_name(void **state)
{
    (void)state;
    static const struct {
        const char *split;
        int64_t begin;
        int64_t count;
    } SLICES[] = {
        {NULL, 0, 5},           {"train", 0, 5},        {"train[:]", 0, 5},
        {"train[:2]", 0, 2},    {"train[1:3]", 1, 2},   {"train[-2:]", 3, 2},
        {"train[:-1]", 0, 4},   {"train[-3:-1]", 2, 2}, {"train[3:2]", 0, 0},
        {"train[9:]", 0, 0},    {"train[-9:2]", 0, 2},  {"train[2:99]", 2, 3},
        {"train[0:0]", 0, 0},   {"train[:-9]", 0, 0},   {"train[4:99999999999999999999]", 4, 1},
        {"train[-99999999999999999999:1]", 0, 1},
        {"train[:10%]", 0, 0},  {"train[30%:]", 2, 3},  {"train[:50%]", 0, 2},
        {"train[10%:70]", 0, 4}, {"train[-30%:]", 3, 2}, {"train[:100%]", 0, 5},
    };
    struct model_files f;
    char path[MODEL_FILES_PATH];
    model_files_make(&f);
    model_files_write(&f, "five.jsonl", FIVE);
    model_files_write(&f, "five.json", "[{\"n\":0},{\"n\":1},{\"n\":2},{\"n\":3},{\"n\":4}]");
    for (size_t i = 0; i < 2 * sizeof SLICES / sizeof SLICES[0]; i++) {
        const size_t k = i / 2;
        const char *file = i % 2 ? "five.json" : "five.jsonl";
        struct dataset *d = open_good(model_files_path(&f, file, path), NULL, SLICES[k].split);
        if (dataset_count(d) != SLICES[k].count) {
            fail_msg("%s: %d rows", SLICES[k].split, (int)dataset_count(d));
        }
        for (int64_t row = 0; row < dataset_count(d); row++) {
            assert_int_equal(number_of(d, row), SLICES[k].begin + row);
        }
        assert_null(dataset_row(d, dataset_count(d)));
        assert_null(dataset_row(d, -1));
        dataset_close(d);
    }
    model_files_remove(&f);
}

static void wrong_slices_are_refused(void **state)
{
    (void)state;
    static const char *const SLICES[] = {
        "train[1]",    "train[a:b]",   "train[1:b]",  "train[:3",   "train[101%:]", "train[]",
        "train[1:2]x", "train[1:2:3]", "train[[1:2]", "train[%:1]", "train+test"};
    static const char *const WORDS[] = {"split", "use", NULL};
    struct model_files f;
    char path[MODEL_FILES_PATH];
    char longer[400];
    model_files_make(&f);
    model_files_write(&f, "five.jsonl", FIVE);
    (void)model_files_path(&f, "five.jsonl", path);
    for (size_t i = 0; i < sizeof SLICES / sizeof SLICES[0]; i++) {
        refuse(path, SLICES[i], STATUS_RECIPE, WORDS);
    }
    memset(longer, 'x', sizeof longer);
    longer[sizeof longer - 1] = '\0';
    refuse(path, longer, STATUS_RECIPE, WORDS);
    model_files_remove(&f);
}

static void folders_hold_a_file_per_split(void **state)
{
    (void)state;
    struct model_files f;
    char path[MODEL_FILES_PATH];
    model_files_make(&f);
    model_files_write(&f, "train.jsonl", FIVE);
    assert_int_equal(mkdir(model_files_path(&f, "data", path), 0700), 0);
    assert_int_equal(mkdir(model_files_path(&f, "main", path), 0700), 0);
    model_files_write(&f, "data/test.json", "[{\"n\":7}]");
    model_files_write(&f, "main/dev.jsonl", "{\"n\":8}\n{\"n\":9}");
    struct dataset *d = open_good(f.folder, NULL, NULL);
    assert_int_equal(dataset_count(d), 5);
    dataset_close(d);
    d = open_good(f.folder, NULL, "test");
    assert_int_equal(number_of(d, 0), 7);
    dataset_close(d);
    d = open_good(f.folder, "main", "dev[1:]");
    assert_int_equal(dataset_count(d), 1);
    assert_int_equal(number_of(d, 0), 9);
    assert_non_null(strstr(dataset_name(d), "main/dev.jsonl"));
    dataset_close(d);
    refuse(f.folder, "dev", STATUS_INPUT,
           (const char *const[]){f.folder, "dev", "train", "test", NULL});
    refuse(model_files_path(&f, "nowhere", path), NULL, STATUS_INPUT,
           (const char *const[]){"nowhere", "no such", NULL});
    model_files_remove(&f);
}

/* Rows are parsed when asked for: good ones of a spoiled file are still given. */
static void bad_rows_are_named_by_line_and_column(void **state)
{
    (void)state;
    static const struct {
        int64_t row;
        const char *place; /* NULL: the row is good */
    } ROWS[] = {{0, NULL},          {1, "bad.jsonl:3:7: "}, {2, "bad.jsonl:4:1: "},
                {3, "bad.jsonl:5:"}, {4, "bad.jsonl:7:"},    {5, "bad.jsonl:8:"}, {6, NULL}};
    struct model_files f;
    char path[MODEL_FILES_PATH];
    model_files_make(&f);
    model_files_write(&f, "bad.jsonl",
                      "{\"n\":0}\r\n \t\n{\"n\": }\n[1]\n{\"n\": 1\n\n"
                      "{\"n\":1} x\n{\"n\":\"\xff\xfe\"}\n{\"n\":6}");
    struct dataset *d = open_good(model_files_path(&f, "bad.jsonl", path), NULL, NULL);
    assert_int_equal(dataset_count(d), 7);
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        json_t *row = dataset_row(d, ROWS[i].row);
        assert_int_equal(row == NULL, ROWS[i].place != NULL);
        if (ROWS[i].place && !strstr(status_message(), ROWS[i].place)) {
            fail_msg("'%s' is not in: %s", ROWS[i].place, status_message());
        }
        json_decref(row);
    }
    dataset_close(d);
    model_files_remove(&f);
}

static void bad_files_are_refused(void **state)
{
    (void)state;
    struct model_files f;
    char path[MODEL_FILES_PATH];
    model_files_make(&f);
    model_files_write(&f, "object.json", "{\"n\":0}");
    model_files_write(&f, "broken.json", "[{\"n\":0},\n {\"n\":]");
    model_files_write(&f, "mixed.json", "[{\"n\":0}, 3]");
    refuse(model_files_path(&f, "object.json", path), NULL, STATUS_INPUT,
           (const char *const[]){"object.json", "array", NULL});
    refuse(model_files_path(&f, "broken.json", path), NULL, STATUS_INPUT,
           (const char *const[]){"broken.json:2:", NULL});
    struct dataset *d = open_good(model_files_path(&f, "mixed.json", path), NULL, NULL);
    assert_int_equal(number_of(d, 0), 0);
    assert_null(dataset_row(d, 1));
    assert_non_null(strstr(status_message(), "row 2"));
    dataset_close(d);
    model_files_remove(&f);
}

static void needed_columns_are_named(void **state)
{
    (void)state;
    struct model_files f;
    struct dataset *d;
    char path[MODEL_FILES_PATH];
    model_files_make(&f);
    model_files_write(&f, "empty.jsonl", "\n  \n");
    d = open_good(model_files_path(&f, "empty.jsonl", path), NULL, NULL);
    assert_int_equal(dataset_count(d), 0);
    assert_int_equal(dataset_need_column(d, "prompt"), STATUS_INPUT);
    assert_non_null(strstr(status_message(), "no rows"));
    dataset_close(d);
    json_t *rows = json_pack("[{s:s, s:s}]", "question", "?", "gold", "!");
    assert_int_equal(dataset_from_rows(&d, "made", rows), STATUS_OK);
    assert_int_equal(dataset_need_column(d, "gold"), STATUS_OK);
    assert_int_equal(dataset_need_column(d, "prompt"), STATUS_INPUT);
    const char *const words[] = {"made", "row 1", "'prompt'", "'question'", "'gold'"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        assert_non_null(strstr(status_message(), words[i]));
    }
    dataset_close(d);
    dataset_close(NULL);
    model_files_remove(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slices_take_the_rows_they_name),
        cmocka_unit_test(wrong_slices_are_refused),
        cmocka_unit_test(folders_hold_a_file_per_split),
        cmocka_unit_test(bad_rows_are_named_by_line_and_column),
        cmocka_unit_test(bad_files_are_refused),
        cmocka_unit_test(needed_columns_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
