/* JSON helpers and files: places in messages, caps, defaults, atomic writes, digests, folders. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "trainer/format/file.h"
#include "trainer/format/json.h"

enum { PATH_CAP = 4096, CAP = 4096 };

#define CHECK(expr)                                                                                \
    do {                                                                                           \
        if ((expr) != STATUS_OK) {                                                                 \
            fail_msg("%s", status_message());                                                      \
        }                                                                                          \
    } while (0)

static void join(char path[PATH_CAP], const char *folder, const char *name)
{
    const int n = snprintf(path, PATH_CAP, "%s/%s", folder, name);
    assert_true(n > 0 && n < PATH_CAP);
}

static void put_text(const char *path, const char *text, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static void test_load_errors(void **state)
{
    static const struct {
        const char *text;
        const char *part;
    } CASES[] = {
        {"", "x.json:1:"},
        {"{\n  \"a\": 1,\n  \"b\" 2\n}", "x.json:3:"},
        {"{\"a\":1,\"a\":2}", "duplicate"},
        {"{\"a\":1} x", "x.json:1:"},
        {"{\"a\":NaN}", "x.json:1:"},
        {"[1,]", "x.json:1:"},
        {"{\"\xff\":1}", "x.json:1:"},
        {"{\"a\":\"\\ud800\"}", "x.json:1:"},
    };
    char path[PATH_CAP];
    json_t *json;
    join(path, *state, "x.json");
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        put_text(path, CASES[i].text, strlen(CASES[i].text));
        assert_int_equal(json_load_path(path, CAP, &json), STATUS_INPUT);
        assert_null(json);
        if (!strstr(status_message(), CASES[i].part)) {
            fail_msg("%s: message '%s'", CASES[i].text, status_message());
        }
    }
    put_text(path, "[1234]", 6);
    assert_int_equal(json_load_path(path, 5, &json), STATUS_INPUT);
    assert_non_null(strstr(status_message(), "more than the 5"));
    CHECK(json_load_path(path, 6, &json));
    json_decref(json);
    /* Deep nesting ends in an error, not in the end of the stack. */
    char *deep = malloc(1000000);
    memset(deep, '[', 1000000);
    put_text(path, deep, 1000000);
    free(deep);
    assert_int_equal(json_load_path(path, 1000000, &json), STATUS_INPUT);
    join(path, *state, "none.json");
    assert_int_equal(json_load_path(path, CAP, &json), STATUS_INPUT);
    assert_non_null(strstr(status_message(), "none.json"));
    assert_int_equal(json_load_path(*state, CAP, &json), STATUS_INPUT);
}

static void test_getters(void **state)
{
    (void)state;
    json_t *o = json_loads("{\"i\":-7,\"r\":2.5,\"big\":1e300,\"edge\":9.3e18,\"b\":true,"
                           "\"s\":\"x\",\"n\":null,\"o\":{}}", 0, NULL);
    assert_non_null(o);
    assert_int_equal(json_get_int(o, "i", 1), -7);
    assert_int_equal(json_get_int(o, "r", 1), 2);
    assert_int_equal(json_get_int(o, "big", 1), 1); /* beyond 64 bits */
    assert_int_equal(json_get_int(o, "edge", 1), 1);
    assert_int_equal(json_get_int(o, "n", 1), 1);
    assert_int_equal(json_get_int(o, "s", 1), 1);
    assert_int_equal(json_get_int(o, "none", 1), 1);
    assert_int_equal(json_get_int(NULL, "i", 1), 1);
    assert_true(json_get_number(o, "i", 1) == -7.0);
    assert_true(json_get_number(o, "r", 1) == 2.5);
    assert_true(json_get_bool(o, "b", false));
    assert_true(json_get_bool(o, "i", true));
    assert_false(json_get_bool(o, "n", false));
    assert_string_equal(json_get_string(o, "s", "d"), "x");
    assert_string_equal(json_get_string(o, "o", "d"), "d");
    assert_null(json_get_string(o, "n", NULL));
    json_decref(o);
}

static void test_write(void **state)
{
    static const char WANT[] = "{\n  \"a\": [\n    1,\n    \"\xc3\xa9\"\n  ],\n  \"b\": 0.5\n}";
    char path[PATH_CAP];
    char temporary[PATH_CAP];
    struct file_map m;
    json_t *back;
    json_t *o = json_pack("{s:f, s:[i, s]}", "b", 0.5, "a", 1, "\xc3\xa9");
    assert_non_null(o);
    join(path, *state, "w.json");
    join(temporary, *state, "w.json.tmp");
    CHECK(json_write_path(path, o));
    CHECK(file_map_open(&m, path));
    assert_true(m.size == strlen(WANT) || m.size == strlen(WANT) + 1);
    assert_memory_equal(m.data, WANT, strlen(WANT));
    file_map_close(&m);
    CHECK(json_load_path(path, CAP, &back));
    assert_true(json_equal(o, back));
    json_decref(back);
    assert_int_not_equal(access(temporary, F_OK), 0);
    /* A full disk: the old file stays, the message says what to do. */
    if (access("/dev/full", W_OK) == 0) {
        assert_int_equal(symlink("/dev/full", temporary), 0);
        assert_int_equal(file_write_atomic(path, "new", 3), STATUS_IO);
        assert_non_null(strstr(status_message(), "the disk is full"));
        assert_non_null(strstr(status_message(), "w.json"));
        CHECK(json_load_path(path, CAP, &back));
        assert_true(json_equal(o, back));
        json_decref(back);
        assert_int_not_equal(access(temporary, F_OK), 0);
    }
    json_decref(o);
    join(path, *state, "no/folder.json");
    assert_int_equal(file_write_atomic(path, "new", 3), STATUS_IO);
    assert_non_null(strstr(status_message(), "No such file"));
}

static void test_digest(void **state)
{
    static const struct {
        const char *text;
        const char *hex;
    } CASES[] = { /* FIPS 180-2 */
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
    };
    char path[PATH_CAP];
    char copy[PATH_CAP];
    char hex[65];
    join(path, *state, "d");
    join(copy, *state, "d2");
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        put_text(path, CASES[i].text, strlen(CASES[i].text));
        CHECK(file_sha256(path, hex));
        assert_string_equal(hex, CASES[i].hex);
        CHECK(file_copy(path, copy));
        CHECK(file_sha256(copy, hex));
        assert_string_equal(hex, CASES[i].hex);
    }
    join(path, *state, "none");
    assert_int_equal(file_sha256(path, hex), STATUS_INPUT);
}

static void test_folders(void **state)
{
    char path[PATH_CAP];
    char file[PATH_CAP];
    join(path, *state, "a/b//c");
    CHECK(file_mkdirs(path));
    CHECK(file_mkdirs(path));
    CHECK(file_sync(path));
    join(file, path, "f");
    put_text(file, "x", 1);
    assert_int_equal(file_mkdirs(file), STATUS_IO); /* a file in the way */
    join(file, path, "f/g");
    assert_int_equal(file_mkdirs(file), STATUS_IO);
    CHECK(file_remove_folder(path));
    assert_int_not_equal(access(path, F_OK), 0);
    CHECK(file_remove_folder(path));
    assert_int_equal(file_sync(path), STATUS_IO);
}

static int make_folder(void **state)
{
    static char folder[] = "/tmp/graft-json-XXXXXX";
    *state = mkdtemp(folder);
    return *state ? 0 : -1;
}

static int remove_folder(void **state)
{
    char command[PATH_CAP];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", (const char *)*state);
    return system(command);
}

static void test_list_keys(void **state)
{
    (void)state;
    char all[64];
    char cut[8];
    json_t *row = json_pack("{s:i, s:n}", "prompt", 1, "answer");
    json_list_keys(row, all, sizeof all);
    assert_string_equal(all, "'prompt', 'answer'");
    json_list_keys(row, cut, sizeof cut); /* too long for the message: cut off, not overrun */
    assert_string_equal(cut, "'prompt");
    assert_int_equal(json_object_clear(row), 0);
    json_list_keys(row, all, sizeof all);
    assert_string_equal(all, "none");
    json_list_keys(NULL, all, sizeof all);
    assert_string_equal(all, "none");
    json_decref(row);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_load_errors), cmocka_unit_test(test_getters),
        cmocka_unit_test(test_write),       cmocka_unit_test(test_digest),
        cmocka_unit_test(test_folders),     cmocka_unit_test(test_list_keys),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
