/* The math judge's interface: verdicts, rewards, handles. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "eval/grade/grade.h"

static void verdicts_and_rewards(void **state)
{
    (void)state;
    static const struct {
        const char *gold, *answer;
        bool equal;
        double reward;
    } CASES[] = {
        {"\\boxed{7}", "\\boxed{7}", true, 1},
        {"7", "so it is \\boxed{7}", true, 1},
        {"7", "\\boxed{8}", false, 0},
        {"7", "The answer is 7", true, 0},
        {"none at all", "\\boxed{7}", false, NAN},
    };
    struct grade *g;
    assert_int_equal(grade_open(GRADE_MATH_VERIFY, &g), STATUS_OK);
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        const size_t n = strlen(CASES[i].gold);
        const size_t m = strlen(CASES[i].answer);
        bool equal;
        double reward;
        assert_int_equal(grade_verify(g, CASES[i].gold, n, CASES[i].answer, m, &equal), STATUS_OK);
        assert_int_equal(equal, CASES[i].equal);
        assert_int_equal(grade_reward(g, CASES[i].gold, n, CASES[i].answer, m, &reward), STATUS_OK);
        assert_true(isnan(CASES[i].reward) ? isnan(reward) : reward == CASES[i].reward);
    }
    grade_close(g);
}

static void answers_are_kept_until_reset(void **state)
{
    (void)state;
    struct grade *g;
    const struct grade_answer *gold;
    const struct grade_answer *said;
    assert_int_equal(grade_open(GRADE_MATH_VERIFY, &g), STATUS_OK);
    assert_int_equal(grade_parse(g, "\\boxed{12}", 10, &GRADE_CONFIG_LATEX, &gold), STATUS_OK);
    for (int i = 0; i < 100; i++) {
        char text[32];
        const int n = snprintf(text, sizeof text, "\\boxed{%d}", i);
        assert_int_equal(
            grade_parse(g, text, (size_t)n, &GRADE_CONFIG_OPEN_R1_ANSWER, &said), STATUS_OK);
        assert_int_equal(grade_equal_parsed(g, gold, said), i == 12);
    }
    assert_false(grade_answer_empty(gold));
    assert_string_equal(grade_answer_reason(gold), "");
    grade_reset(g);
    assert_int_equal(grade_parse(g, "nothing", 7, &GRADE_CONFIG_DEFAULT, &said), STATUS_OK);
    assert_true(grade_answer_empty(said));
    assert_true(*grade_answer_reason(said) != '\0');
    grade_close(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(verdicts_and_rewards),
        cmocka_unit_test(answers_are_kept_until_reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
