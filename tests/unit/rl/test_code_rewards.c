/*
 * Code and contest rewards on small programs: what Open-R1 scores, its quirks, their mended forms,
 * and rows that describe no problem.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "eval/sandbox/sandbox.h"
#include "rl/reward/reward.h"

static const char *profile; /* the strongest that this machine can give, NULL: none */

static int find_profile(void **state)
{
    static const char *const NAMES[] = {"full", "reduced"};
    (void)state;
    for (int i = 0; i < 2 && !profile; i++) {
        struct sandbox *s;
        if (sandbox_open(&s, i == 0 ? SANDBOX_FULL : SANDBOX_REDUCED) == STATUS_OK) {
            profile = NAMES[i];
            sandbox_close(s);
        }
    }
    if (!profile) {
        print_message("no sandbox profile here: %s\n", status_message());
    }
    return 0;
}

/* Score of a completion for a row; `options` are members of the parameters. */
static double score(const char *name, const char *options, const char *row, const char *completion,
                    char *reason)
{
    char text[512];
    struct reward_set set;
    json_error_t error;
    double out = -99;
    static char why[1][REWARD_REASON_CAP];
    (void)snprintf(text, sizeof text, "{\"sandbox_profile\": \"%s\"%s%s}", profile,
                   *options ? ", " : "", options);
    json_t *parameters = json_loads(text, 0, &error);
    json_t *data = json_loads(row, 0, &error);
    assert_non_null(parameters);
    assert_non_null(data);
    assert_int_equal(reward_set_open(&set, &name, 1, parameters), STATUS_OK);
    const struct reward_input in = {.completion = completion, .tokens = -1, .row = data};
    const struct reward_call call = {.inputs = &in, .count = 1, .reasons = why};
    assert_int_equal(reward_set_score(&set, 0, &call, &out), STATUS_OK);
    if (reason) {
        (void)snprintf(reason, REWARD_REASON_CAP, "%s", why[0]);
    }
    reward_set_close(&set);
    json_decref(parameters);
    json_decref(data);
    return out;
}

#define SUMS                                                                                       \
    "{\"verification_info\": {\"language\": \"%s\", \"test_cases\": ["                             \
    "{\"input\": \"1 2\\n\", \"output\": \"3\"}, {\"input\": \"5 6\\n\", \"output\": \"11\"}]}}"

static double sums(const char *name, const char *options, const char *language,
                   const char *completion)
{
    char row[1024];
    (void)snprintf(row, sizeof row, SUMS, language);
    return score(name, options, row, completion, NULL);
}

#define PYTHON(body) "I think so.\n```python\n" body "```\nDone."

static void test_code(void **state)
{
    (void)state;
    if (!profile) {
        skip();
    }
    const char *right = PYTHON("a, b = map(int, input().split())\nprint(a + b)\n");
    assert_true(sums("code", "", "python", right) == 1.0);
    assert_true(sums("binary_code", "", "python", right) == 1.0);
    const char *half = PYTHON("a, b = map(int, input().split())\nprint(3)\n");
    assert_true(sums("code", "", "python", half) == 0.5);
    assert_true(sums("binary_code", "", "python", half) == 0.0);
    assert_true(sums("code", "", "python", PYTHON("print(3)\nraise SystemExit(1)\n")) == 0.0);
    assert_true(sums("code", "", "python", "no block at all") == 0.0);
    assert_true(sums("code", "", "python", PYTHON("this is no program")) == 0.0);
    /* The last block counts; an open one is none. */
    assert_true(sums("code", "", "python",
                     PYTHON("print(0)\n") PYTHON("a, b = map(int, input().split())\nprint(a + b)\n")
                         "```python\nprint(") == 1.0);
}

static void test_languages(void **state)
{
    (void)state;
    if (!profile) {
        skip();
    }
    assert_true(sums("code", "", "bash", "```bash\nread a b; echo $((a + b))\n```") == 1.0);
    assert_true(
        sums("code", "", "c",
             "```c\n#include <stdio.h>\nint main(void) { int a, b; scanf(\"%d %d\", &a, &b);"
             " printf(\"%d\\n\", a + b); }\n```")
        == 1.0);
    assert_true(sums("code", "", "c", "```c\nint main( {\n```") == 0.0);
    char reason[REWARD_REASON_CAP];
    assert_true(isnan(score(
        "code", "", "{\"verification_info\": {\"language\": \"cobol\", \"test_cases\": [{}]}}", "x",
        reason)));
    assert_non_null(strstr(reason, "cobol"));
}

/* Lines beyond the shorter output, timeouts and empty lists: as Open-R1, and mended. */
static void test_quirks(void **state)
{
    (void)state;
    if (!profile) {
        skip();
    }
    const char *more = PYTHON("a, b = map(int, input().split())\nprint(a + b)\nprint('more')\n");
    assert_true(sums("code", "", "python", more) == 1.0);
    assert_true(sums("code", "\"code_strict\": true", "python", more) == 0.0);
    const char *slow = PYTHON("a, b = map(int, input().split())\nprint(a + b, flush=True)\n"
                              "while a == 5: pass\n");
    assert_true(sums("code", "\"code_timeout\": 0.5", "python", slow) == 0.0);
    assert_true(sums("code", "\"code_timeout\": 0.5, \"code_strict\": true", "python", slow)
                == 0.5);
    const char *none = "{\"verification_info\": {\"test_cases\": []}}";
    assert_true(score("code", "", none, more, NULL) == 0.0);
    assert_true(isnan(score("code", "\"code_strict\": true", none, more, NULL)));
}

static void test_bad_rows(void **state)
{
    (void)state;
    if (!profile) {
        skip();
    }
    char reason[REWARD_REASON_CAP];
    assert_true(isnan(score("code", "", "{}", "x", reason)));
    assert_non_null(strstr(reason, "verification_info"));
    assert_true(isnan(score("code", "", "{\"verification_info\": \"[1\"}", "x", reason)));
    /* Bytes that are no text, and more output than anybody wants. */
    assert_true(sums("code", "", "python",
                     PYTHON("import sys\nsys.stdout.buffer.write(b'\\xff\\x00\\xfe')\n"))
                == 0.0);
    assert_true(sums("code", "", "python", PYTHON("while True: print('x' * 10000)\n")) == 0.0);
}

/* A megabyte of fences and bytes that are no text. */
static void test_hostile(void **state)
{
    static const char PATTERN[] = "```python\n\xff``````cpp\nint x;";
    enum { SIZE = 1 << 20 };
    (void)state;
    if (!profile) {
        skip();
    }
    char *text = malloc(SIZE + 1);
    assert_non_null(text);
    for (size_t i = 0; i < SIZE; i++) {
        text[i] = PATTERN[i % (sizeof PATTERN - 1)];
    }
    text[SIZE] = '\0';
    assert_true(sums("code", "", "python", text) == 0.0);
    assert_true(score("ioi_code", "", "{\"tests\": [{}]}", text, NULL) == 0.0);
    free(text);
}

#define CF(extra)                                                                                  \
    "{\"language\": \"python\", \"time_limit\": 1, \"official_tests\": [{\"input\": \"2\\n\", "    \
    "\"output\": \"4\"}, {\"input\": \"3\\n\", \"output\": \"6\"}]" extra "}"

static void test_codeforces(void **state)
{
    (void)state;
    if (!profile) {
        skip();
    }
    const char *right = PYTHON("print(2 * int(input()))\n");
    const char *half = PYTHON("print(4)\n");
    assert_true(fabs(score("cf_code", "", CF(""), right, NULL) - 1.1) < 1e-12);
    assert_true(fabs(score("cf_code", "", CF(""), half, NULL) - 0.05) < 1e-12);
    assert_true(score("cf_code", "\"code_eval_scoring_mode\": \"partial\"", CF(""), half, NULL)
                == 0.5);
    assert_true(score("cf_code", "\"scoring_mode\": \"pass_fail\"", CF(""), half, NULL) == 0.0);
    assert_true(score("cf_code", "\"scoring_mode\": \"pass_fail\"", CF(""), right, NULL) == 1.0);
    assert_true(score("cf_code", "", CF(""), "no code", NULL) == -1.0);
    assert_true(isnan(score("cf_code", "", "{\"official_tests\": []}", right, NULL)));
    /* A checker that takes any even number. */
    const char *checked = CF(", \"generated_checker\": \"import sys\\n"
                             "print(int(open(sys.argv[3]).read()) % 2 == 0 and 1 or 0)\\n\"");
    assert_true(fabs(score("cf_code", "", checked, half, NULL) - 1.1) < 1e-12);
    assert_true(score("cf_code", "", checked, PYTHON("print(5)\n"), NULL) == 0.0);
}

static void test_compile_error(void **state)
{
    (void)state;
    if (!profile) {
        skip();
    }
    const char *row = "{\"language\": \"cpp\", \"official_tests\": [{\"input\": \"\", "
                      "\"output\": \"1\"}]}";
    assert_true(fabs(score("cf_code", "", row, "```cpp\nint main( {\n```", NULL) + 0.1) < 1e-12);
}

#define IOI(tests)                                                                                 \
    "{\"id\": \"twice\", \"time_limit\": 1, \"score_precision\": 2, \"grader_files\": ["           \
    "[\"twice.h\", \"int twice(int);\\n\"], [\"grader.cpp\", \"#include <cstdio>\\n"               \
    "#include \\\"twice.h\\\"\\nint main() { int n; if (scanf(\\\"%d\\\", &n) != 1) return 1; "    \
    "printf(\\\"%d\\\\n\\\", twice(n)); }\\n\"]], \"tests\": [" tests "]}"
#define TEST(in, out) "{\"input\": \"" in "\", \"output\": \"" out "\"}"

static void test_ioi(void **state)
{
    (void)state;
    if (!profile) {
        skip();
    }
    const char *row = IOI(TEST("2", "4") ", " TEST("5", "10"));
    assert_true(score("ioi_code", "", row, "```cpp\nint twice(int n) { return 2 * n; }\n```", NULL)
                == 1.0);
    assert_true(score("ioi_code", "", row, "```cpp\nint twice(int n) { return n + 2; }\n```", NULL)
                == 0.0);
    assert_true(score("ioi_code", "", row, "```cpp\nint twice(int n) { return }\n```", NULL)
                == 0.0);
    assert_true(score("ioi_code", "", row, "no code", NULL) == 0.0);
    assert_true(score("ioi_code", "\"code_eval_test_batch_size\": 0", row,
                      "```cpp\nint twice(int n) { return 2 * n; }\n```", NULL) == 0.0);
    char reason[REWARD_REASON_CAP];
    assert_true(isnan(score("ioi_code", "",
                            "{\"grader_files\": [[\"../x\", \"\"]], \"tests\": []}",
                            "```cpp\n```", reason)));
    assert_non_null(strstr(reason, "grader_files[0]"));
}

static void test_parameters(void **state)
{
    struct reward_set set;
    const char *name = "cf_code";
    (void)state;
    json_t *bad = json_loads("{\"code_eval_scoring_mode\": \"best\"}", 0, NULL);
    if (profile) {
        (void)json_object_set_new(bad, "sandbox_profile", json_string(profile));
        assert_int_equal(reward_set_open(&set, &name, 1, bad), STATUS_RECIPE);
        assert_non_null(strstr(status_message(), "pass_fail"));
        reward_set_close(&set);
    }
    (void)json_object_set_new(bad, "sandbox_profile", json_string("none"));
    assert_int_equal(reward_set_open(&set, &name, 1, bad), STATUS_RECIPE);
    assert_non_null(strstr(status_message(), "sandbox_profile"));
    reward_set_close(&set);
    json_decref(bad);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_code),       cmocka_unit_test(test_languages),
        cmocka_unit_test(test_quirks),     cmocka_unit_test(test_bad_rows),
        cmocka_unit_test(test_codeforces), cmocka_unit_test(test_compile_error),
        cmocka_unit_test(test_ioi),        cmocka_unit_test(test_parameters),
        cmocka_unit_test(test_hostile),
    };
    return cmocka_run_group_tests(tests, find_profile, NULL);
}
