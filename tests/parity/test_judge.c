/*
 * The math judge against executed verdicts of Math-Verify 0.9.0 (latex2sympy2_extended 1.11.0,
 * sympy 1.14.0): own cases in tests/data, and the reference's list where it is present.
 */
#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "eval/grade/grade.h"

struct tally {
    int rows, equal, reward; /* agreeing verdicts */
};

static void count_row(struct grade *g, const json_t *row, struct tally *t)
{
    const json_t *gold = json_object_get(row, "gold");
    const json_t *answer = json_object_get(row, "answer");
    const json_t *expected = json_object_get(row, "reward");
    bool equal;
    double reward;
    assert_int_equal(grade_verify(g, json_string_value(gold), json_string_length(gold),
                                  json_string_value(answer), json_string_length(answer), &equal),
                     STATUS_OK);
    assert_int_equal(grade_reward(g, json_string_value(gold), json_string_length(gold),
                                  json_string_value(answer), json_string_length(answer), &reward),
                     STATUS_OK);
    const bool same_equal = equal == json_is_true(json_object_get(row, "equal"));
    const bool same_reward = json_is_null(expected) ? isnan(reward)
                                                    : reward == json_number_value(expected);
    t->rows++;
    t->equal += same_equal;
    t->reward += same_reward;
    if (!same_equal || !same_reward) {
        print_message("differs: %s | %s\n", json_string_value(gold), json_string_value(answer));
    }
}

/* False when the file is not here. */
static bool count_file(const char *path, struct tally *t)
{
    FILE *f = fopen(path, "r");
    if (!f) {
        return false;
    }
    struct grade *g;
    char *line = NULL;
    size_t capacity = 0;
    assert_int_equal(grade_open(GRADE_MATH_VERIFY, &g), STATUS_OK);
    while (getline(&line, &capacity, f) > 0) {
        json_t *row = json_loads(line, 0, NULL);
        assert_non_null(row);
        count_row(g, row, t);
        json_decref(row);
    }
    free(line);
    grade_close(g);
    (void)fclose(f);
    return true;
}

static void own_cases_all_agree(void **state)
{
    (void)state;
    char path[1024];
    struct tally t = {0};
    const char *source = getenv("GRAFT_SOURCE");
    (void)snprintf(path, sizeof path, "%s/tests/data/judge_cases.jsonl", source ? source : ".");
    assert_true(count_file(path, &t));
    assert_true(t.rows > 250);
    assert_int_equal(t.equal, t.rows);
    assert_int_equal(t.reward, t.rows);
}

static void reference_cases_agree(void **state)
{
    (void)state;
    char path[1024];
    struct tally t = {0};
    const char *shared = getenv("GRAFT_SHARED");
    (void)snprintf(path, sizeof path, "%s/spec/math_verify_cases.jsonl",
                   shared ? shared : "../shared");
    if (!count_file(path, &t)) {
        print_message("%s is not here\n", path);
        skip();
    }
    print_message("%d cases: equal %d, reward %d\n", t.rows, t.equal, t.reward);
    assert_int_equal(t.equal, t.rows);
    assert_int_equal(t.reward, t.rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(own_cases_all_agree),
        cmocka_unit_test(reference_cases_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
