/* Answers: extraction and comparison. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "eval/grade/grade.h"

static void answers_are_extracted(void **state)
{
    (void)state;
    static const struct {
        const char *text, *boxed, *last;
    } CASES[] = {
        {"so \\boxed{42}.", "42", "42"},
        {"\\boxed{1} then \\boxed{\\frac{1}{2}}", "\\frac{1}{2}", "2"},
        {"\\boxed{never closed", NULL, NULL},
        {"It costs $1,234.50 in all.", NULL, "1234.50"},
        {"from -3 to 7.", NULL, "7"},
        {"minus -12", NULL, "-12"},
        {"no number", NULL, NULL},
        {"", NULL, NULL},
        {"1,000,000 or 5,", NULL, "5"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        char answer[GRADE_ANSWER_CAP];
        assert_int_equal(grade_boxed(CASES[i].text, answer), CASES[i].boxed != NULL);
        if (CASES[i].boxed) {
            assert_string_equal(answer, CASES[i].boxed);
        }
        assert_int_equal(grade_last_number(CASES[i].text, answer), CASES[i].last != NULL);
        if (CASES[i].last) {
            assert_string_equal(answer, CASES[i].last);
        }
    }
}

static void numbers_compare_exactly(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b;
        bool equal;
    } CASES[] = {
        {"42", "42.0", true},   {"1,200", "1200", true}, {"-0", "0", true},
        {"007", "7", true},     {"$5", "5", true},       {"0.50", ".5", true},
        {"42", "-42", false},   {"42", "420", false},    {"3.14", "3.15", false},
        {"x+1", " x+1 ", true}, {"x", "y", false},       {"", "", false},
        {"1e3", "1000", false}, {"12345678901234567890", "12345678901234567891", false},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        assert_int_equal(grade_equal(CASES[i].a, CASES[i].b), CASES[i].equal);
        assert_int_equal(grade_equal(CASES[i].b, CASES[i].a), CASES[i].equal);
    }
    char nines[600];
    memset(nines, '9', sizeof nines - 1);
    nines[sizeof nines - 1] = '\0';
    assert_false(grade_equal(nines, nines)); /* beyond the cap: never equal, never an overflow */
    char answer[GRADE_ANSWER_CAP];
    assert_false(grade_last_number(nines, answer));
}

static void gold_answers_are_found(void **state)
{
    (void)state;
    static const struct {
        const char *row, *gold;
    } CASES[] = {
        {"{\"answer\": \"work\\n#### 1,024\"}", "1,024"},
        {"{\"solution\": \"thus \\\\boxed{7}\"}", "7"},
        {"{\"answer\": \"12\"}", "12"},
        {"{\"answer\": 12}", NULL},
        {"{}", NULL},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        char answer[GRADE_ANSWER_CAP];
        json_t *row = json_loads(CASES[i].row, 0, NULL);
        assert_non_null(row);
        assert_int_equal(grade_gold(row, answer), CASES[i].gold != NULL);
        if (CASES[i].gold) {
            assert_string_equal(answer, CASES[i].gold);
            assert_true(grade_completion(CASES[i].gold, row) == 1.0);
            assert_true(grade_completion("I don't know", row) == 0.0);
        } else {
            assert_true(isnan(grade_completion("12", row)));
        }
        json_decref(row);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_extracted),
        cmocka_unit_test(numbers_compare_exactly),
        cmocka_unit_test(gold_answers_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
