/* Libraries loaded at need: addresses, what is missing, messages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/library.h"

struct table {
    size_t (*length)(const char *text);
    int (*compare)(const char *a, const char *b);
};

static const struct library_symbol BOTH[] = {
    {"strlen", offsetof(struct table, length)},
    {"strcmp", offsetof(struct table, compare)},
};

static const struct library_symbol WRONG[] = {
    {"strlen", offsetof(struct table, length)},
    {"graft_has_no_such_name", offsetof(struct table, compare)},
};

static void test_fills_the_table(void **state)
{
    (void)state;
    struct table t = {0};
    assert_int_equal(library_load("libc.so.6", NULL, "libc6", BOTH, 2, &t), STATUS_OK);
    assert_int_equal(t.length("twelve chars"), 12);
    assert_true(t.compare("a", "b") < 0);
}

static void test_tries_the_path(void **state)
{
    (void)state;
    struct table t = {0};
    assert_int_equal(library_load("libgraft-none.so.9", "libc.so.6", "libc6", BOTH, 2, &t),
                     STATUS_OK);
    assert_int_equal(t.length("x"), 1);
}

static void test_says_what_to_install(void **state)
{
    (void)state;
    struct table t = {0};
    assert_int_equal(
        library_load("libgraft-none.so.9", "/nowhere/libgraft.so", "graft-none", BOTH, 2, &t),
        STATUS_DEVICE);
    assert_non_null(strstr(status_message(), "libgraft-none.so.9"));
    assert_non_null(strstr(status_message(), "install graft-none"));
    assert_null(t.length);
    assert_int_equal(status_exit_code(STATUS_DEVICE), 4);
}

static void test_names_a_missing_symbol(void **state)
{
    (void)state;
    struct table t = {0};
    assert_int_equal(library_load("libc.so.6", NULL, "libc6", WRONG, 2, &t), STATUS_DEVICE);
    assert_non_null(strstr(status_message(), "graft_has_no_such_name"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fills_the_table),
        cmocka_unit_test(test_tries_the_path),
        cmocka_unit_test(test_says_what_to_install),
        cmocka_unit_test(test_names_a_missing_symbol),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
