/*
 * Mixtures of datasets: the rows that `datasets` and TRL give, in their order (tests/data/mixture),
 * and what is said of mixtures that make no sense.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "tests/support/model_files.h"
#include "trainer/data/mixture.h"
#include "trainer/format/json.h"

enum { MOST_PARTS = 4, TEXT = 8192 };

/* Part i with `rows` rows {"id": "i-j", "n": j}. */
static void write_part(const struct model_files *f, int i, int64_t rows)
{
    char name[16];
    char text[TEXT];
    size_t used = 0;
    text[0] = '\0';
    for (int64_t j = 0; j < rows; j++) {
        used += (size_t)snprintf(text + used, sizeof text - used,
                                 "{\"id\": \"%d-%d\", \"n\": %d}\n", i, (int)j, (int)j);
    }
    (void)snprintf(name, sizeof name, "%d.jsonl", i);
    model_files_write(f, name, text);
}

/* A mixture of the files that write_part made. */
struct made {
    struct mixture_config config;
    struct mixture_part parts[MOST_PARTS];
    char paths[MOST_PARTS][MODEL_FILES_PATH];
};

static void make(struct made *m, const struct model_files *f, int count)
{
    *m = (struct made){.config = {.parts = m->parts, .count = count}};
    for (int i = 0; i < count; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "%d.jsonl", i);
        m->parts[i].path = model_files_path(f, name, m->paths[i]);
        m->parts[i].weight = NAN;
    }
}

static void check_ids(struct dataset *d, const json_t *ids, size_t number)
{
    const size_t count = json_array_size(ids);
    assert_int_equal(d ? dataset_count(d) : 0, count);
    for (size_t i = 0; i < count; i++) {
        json_t *row = dataset_row(d, (int64_t)i);
        const char *id = json_get_string(row, "id", "");
        const char *want = json_string_value(json_array_get(ids, i));
        if (strcmp(id, want) != 0) {
            fail_msg("case %zu: row %zu is %s, not %s", number, i, id, want);
        }
        json_decref(row);
    }
}

static void check_case(const json_t *c, size_t number)
{
    struct model_files f;
    struct made m;
    struct dataset *train;
    struct dataset *test;
    const json_t *rows = json_object_get(c, "rows");
    const int count = (int)json_array_size(rows);
    assert_true(count <= MOST_PARTS);
    model_files_make(&f);
    make(&m, &f, count);
    const bool trl = strcmp(json_get_string(c, "kind", ""), "trl") == 0;
    m.config.kind = trl ? MIXTURE_TRL : MIXTURE_OPEN_R1;
    m.config.seed = (uint64_t)json_get_int(c, "seed", -1);
    m.config.test_size = json_get_number(c, "test_size", 0);
    for (int i = 0; i < count; i++) {
        const json_t *weight = json_array_get(json_object_get(c, "weights"), (size_t)i);
        write_part(&f, i, json_integer_value(json_array_get(rows, (size_t)i)));
        m.parts[i].weight = json_is_number(weight) ? json_number_value(weight) : NAN;
        m.parts[i].split = json_string_value(json_array_get(json_object_get(c, "splits"),
                                                            (size_t)i));
    }
    if (mixture_open(&m.config, &train, &test) != STATUS_OK) {
        fail_msg("case %zu: %s", number, status_message());
    }
    check_ids(train, json_object_get(c, "train"), number);
    check_ids(test, json_object_get(c, "test"), number);
    dataset_close(train);
    dataset_close(test);
    model_files_remove(&f);
}

static void rows_are_those_of_the_packages(void **state)
{
    (void)state;
    char path[1024];
    const char *source = getenv("GRAFT_SOURCE");
    json_t *cases;
    (void)snprintf(path, sizeof path, "%s/tests/data/mixture/cases.json", source ? source : ".");
    assert_int_equal(json_load_path(path, 1 << 24, &cases), STATUS_OK);
    const size_t count = json_array_size(cases);
    assert_true(count >= 20);
    for (size_t i = 0; i < count; i++) {
        check_case(json_array_get(cases, i), i);
    }
    json_decref(cases);
}

static void columns_are_picked_and_rows_named(void **state)
{
    (void)state;
    struct model_files f;
    struct made m;
    struct dataset *train;
    struct dataset *test;
    char where[1024];
    json_t *columns = json_pack("[s, s]", "id", "also");
    model_files_make(&f);
    write_part(&f, 0, 2);
    model_files_write(&f, "1.jsonl", "{\"id\": \"a\", \"n\": 1}\n\n{\"id\": \"b\", \"also\": 3}\n");
    make(&m, &f, 2);
    m.config.kind = MIXTURE_TRL;
    m.parts[1].columns = columns;
    m.parts[1].split = "train[1:]";
    assert_int_equal(mixture_open(&m.config, &train, &test), STATUS_OK);
    assert_null(test);
    assert_int_equal(dataset_count(train), 3);
    json_t *row = dataset_row(train, 1);
    assert_int_equal(json_get_int(row, "n", -1), 1);
    json_decref(row);
    row = dataset_row(train, 2);
    assert_string_equal(json_get_string(row, "id", ""), "b");
    assert_int_equal(json_object_size(row), 2);
    json_decref(row);
    dataset_where(train, 2, where, sizeof where);
    assert_non_null(strstr(where, "1.jsonl: row 2"));
    assert_null(dataset_row(train, 3));
    dataset_close(train);
    json_decref(columns);
    model_files_remove(&f);
}

static void files_are_found_by_pattern(void **state)
{
    (void)state;
    struct model_files f;
    struct made m;
    struct dataset *train;
    struct dataset *test;
    char path[MODEL_FILES_PATH];
    static const char *const PATTERNS[] = {"b*.jsonl", "a.jsonl"};
    static const char *const NONE[] = {"nothing*.jsonl"};
    model_files_make(&f);
    model_files_write(&f, "a.jsonl", "{\"id\": \"a\"}");
    model_files_write(&f, "b1.jsonl", "{\"id\": \"b1\"}");
    model_files_write(&f, "b0.jsonl", "{\"id\": \"b0\"}");
    assert_int_equal(mkdir(model_files_path(&f, "data", path), 0700), 0);
    model_files_write(&f, "data/test-00001-of-00002.jsonl", "{\"id\": \"second\"}");
    model_files_write(&f, "data/test-00000-of-00002.jsonl", "{\"id\": \"first\"}");
    make(&m, &f, 2);
    m.config.kind = MIXTURE_TRL;
    m.parts[0] = (struct mixture_part){
        .path = f.folder, .files = PATTERNS, .file_count = 2, .weight = NAN};
    m.parts[1] = (struct mixture_part){.path = f.folder, .split = "test", .weight = NAN};
    assert_int_equal(mixture_open(&m.config, &train, &test), STATUS_OK);
    json_t *ids = json_pack("[s, s, s, s, s]", "b0", "b1", "a", "first", "second");
    check_ids(train, ids, 0);
    json_decref(ids);
    dataset_close(train);
    m.parts[0].files = NONE;
    m.parts[0].file_count = 1;
    assert_int_equal(mixture_open(&m.config, &train, &test), STATUS_INPUT);
    assert_non_null(strstr(status_message(), "no file matches"));
    model_files_remove(&f);
}

static void refused(struct made *m, enum status status, const char *says)
{
    struct dataset *train;
    struct dataset *test;
    const enum status got = mixture_open(&m->config, &train, &test);
    if (got != status || !strstr(status_message(), says)) {
        fail_msg("status %d, not %d; '%s' in: %s", (int)got, (int)status, says, status_message());
    }
    assert_null(train);
    assert_null(test);
}

static void senseless_mixtures_are_refused(void **state)
{
    (void)state;
    struct model_files f;
    struct made m;
    json_t *columns = json_pack("[s]", "nobody");
    model_files_make(&f);
    write_part(&f, 0, 4);
    write_part(&f, 1, 5);
    make(&m, &f, 2);
    m.config.kind = MIXTURE_TRL;
    m.parts[0].weight = 1;
    refused(&m, STATUS_RECIPE, "for all of the datasets");
    m.parts[0].weight = 0;
    m.parts[1].weight = 0;
    refused(&m, STATUS_RECIPE, "some above 0");
    m.parts[1].weight = -1;
    refused(&m, STATUS_RECIPE, "weight -1 of dataset 2");
    m.config.kind = MIXTURE_OPEN_R1;
    m.parts[1].weight = 1.5;
    refused(&m, STATUS_RECIPE, "weight 1.5 of dataset 2");
    m.parts[1].weight = 0.1;
    m.parts[0].weight = 0.1;
    refused(&m, STATUS_INPUT, "has no rows");
    m.parts[0].weight = 1;
    m.config.test_size = 4;
    refused(&m, STATUS_RECIPE, "number of rows below the mixture's 4");
    m.config.test_size = 1.5;
    refused(&m, STATUS_RECIPE, "test_split_size 1.5");
    m.config.test_size = 0.99;
    refused(&m, STATUS_RECIPE, "leaves none to train on");
    m.config.test_size = 0;
    m.parts[0].columns = columns;
    refused(&m, STATUS_INPUT, "needs the column 'nobody'");
    m.parts[0].columns = NULL;
    model_files_write(&f, "1.jsonl", "{\"n\": 1, \"id\": [\"a\"]}");
    refused(&m, STATUS_INPUT, "its column 'id' holds a list, that of a dataset before it text");
    model_files_write(&f, "1.parquet", "PAR1");
    (void)model_files_path(&f, "1.parquet", m.paths[1]);
    refused(&m, STATUS_INPUT, ".parquet files are not read; write the rows as JSON lines");
    json_decref(columns);
    model_files_remove(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_those_of_the_packages),
        cmocka_unit_test(columns_are_picked_and_rows_named),
        cmocka_unit_test(files_are_found_by_pattern),
        cmocka_unit_test(senseless_mixtures_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
