/* Datasets: files, folders and splits, slices, rows that are no objects, missing columns. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "trainer/data/dataset.h"
#include "trainer/format/file.h"

static char folder[] = "/tmp/graft-dataset-XXXXXX";

static const char *in_folder(const char *name)
{
    static char path[256];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static const char *write_file(const char *name, const char *text)
{
    const char *path = in_folder(name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
    return path;
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    if (file_remove_folder(in_folder("data")) != STATUS_OK) {
        return -1;
    }
    return file_remove_folder(folder) == STATUS_OK ? 0 : -1;
}

static int64_t value(struct dataset *d, int64_t row)
{
    json_t *json = dataset_row(d, row);
    assert_non_null(json);
    const int64_t v = json_integer_value(json_object_get(json, "x"));
    json_decref(json);
    return v;
}

static void lines(void **state)
{
    (void)state;
    struct dataset *d;
    const char *path = write_file("a.jsonl", "{\"x\":0}\r\n\n  \n{\"x\":1}\n{\"x\":2}");
    assert_int_equal(dataset_open(&d, path, NULL, "train"), STATUS_OK);
    assert_int_equal(dataset_count(d), 3);
    for (int64_t i = 0; i < 3; i++) {
        assert_int_equal(value(d, i), i);
    }
    assert_null(dataset_row(d, 3));
    assert_null(dataset_row(d, -1));
    dataset_close(d);
    assert_int_equal(dataset_open(&d, write_file("e.jsonl", ""), NULL, "train"), STATUS_OK);
    assert_int_equal(dataset_count(d), 0);
    assert_int_equal(dataset_need_column(d, "x"), STATUS_INPUT);
    dataset_close(d);
}

static void array(void **state)
{
    (void)state;
    struct dataset *d;
    const char *path = write_file("a.json", "[{\"x\":5},\n{\"x\":6}, 7]");
    assert_int_equal(dataset_open(&d, path, NULL, NULL), STATUS_OK);
    assert_int_equal(dataset_count(d), 3);
    assert_int_equal(value(d, 1), 6);
    assert_null(dataset_row(d, 2));
    assert_non_null(strstr(status_message(), "row 3"));
    dataset_close(d);
    assert_int_equal(dataset_open(&d, write_file("o.json", "{\"x\":1}"), NULL, NULL), STATUS_INPUT);
    assert_null(d);
}

static const struct {
    const char *split;
    int64_t count;
    int64_t first;
} SLICES[] = {
    {"train", 4, 0},      {"train[:2]", 2, 0},   {"train[1:3]", 2, 1}, {"train[-1:]", 1, 3},
    {"train[2:]", 2, 2},  {"train[:-1]", 3, 0},  {"train[:99]", 4, 0}, {"train[3:1]", 0, 0},
    {"train[-99:2]", 2, 0},
};

static void slices(void **state)
{
    (void)state;
    const char *path = write_file("s.jsonl", "{\"x\":0}\n{\"x\":1}\n{\"x\":2}\n{\"x\":3}\n");
    struct dataset *d;
    for (size_t i = 0; i < sizeof SLICES / sizeof SLICES[0]; i++) {
        assert_int_equal(dataset_open(&d, path, NULL, SLICES[i].split), STATUS_OK);
        assert_int_equal(dataset_count(d), SLICES[i].count);
        if (SLICES[i].count > 0) {
            assert_int_equal(value(d, 0), SLICES[i].first);
        }
        dataset_close(d);
    }
    assert_int_equal(dataset_open(&d, path, NULL, "train[1]"), STATUS_RECIPE);
    assert_int_equal(dataset_open(&d, path, NULL, "train[1:2"), STATUS_RECIPE);
    assert_null(d);
}

static void splits(void **state)
{
    (void)state;
    struct dataset *d;
    assert_int_equal(file_mkdirs(in_folder("data")), STATUS_OK);
    (void)write_file("train.jsonl", "{\"x\":1}\n");
    (void)write_file("data/test.json", "[{\"x\":2}]");
    assert_int_equal(dataset_open(&d, folder, NULL, "train"), STATUS_OK);
    assert_int_equal(value(d, 0), 1);
    dataset_close(d);
    assert_int_equal(dataset_open(&d, folder, NULL, "test[:1]"), STATUS_OK);
    assert_int_equal(value(d, 0), 2);
    dataset_close(d);
    assert_int_equal(dataset_open(&d, folder, NULL, "validation"), STATUS_INPUT);
    assert_non_null(strstr(status_message(), "validation"));
    assert_int_equal(dataset_open(&d, in_folder("none.jsonl"), NULL, "train"), STATUS_INPUT);
}

static void broken_rows(void **state)
{
    (void)state;
    struct dataset *d;
    const char *path = write_file("b.jsonl", "{\"x\":1}\n\n{\"x\":\n[1]\n{\"x\":1}}\n");
    assert_int_equal(dataset_open(&d, path, NULL, "train"), STATUS_OK);
    assert_int_equal(dataset_count(d), 4);
    assert_int_equal(value(d, 0), 1);
    assert_null(dataset_row(d, 1));
    assert_non_null(strstr(status_message(), "b.jsonl:3:"));
    assert_null(dataset_row(d, 2));
    assert_non_null(strstr(status_message(), "b.jsonl:4:"));
    assert_null(dataset_row(d, 3));
    assert_non_null(strstr(status_message(), "b.jsonl:5:"));
    dataset_close(d);
}

static void columns(void **state)
{
    (void)state;
    struct dataset *d;
    assert_int_equal(dataset_from_rows(&d, "rows", json_pack("[{s:s, s:i}]", "question", "q",
                                                             "answer", 4)),
                     STATUS_OK);
    assert_int_equal(dataset_need_column(d, "answer"), STATUS_OK);
    assert_int_equal(dataset_need_column(d, "prompt"), STATUS_INPUT);
    assert_non_null(strstr(status_message(), "row 1"));
    assert_non_null(strstr(status_message(), "'prompt'"));
    assert_non_null(strstr(status_message(), "'question'"));
    assert_non_null(strstr(status_message(), "'answer'"));
    assert_string_equal(dataset_name(d), "rows");
    dataset_close(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines),  cmocka_unit_test(array),       cmocka_unit_test(slices),
        cmocka_unit_test(splits), cmocka_unit_test(broken_rows), cmocka_unit_test(columns),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
