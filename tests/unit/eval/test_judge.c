/* The math judge's interface: verdicts, rewards, handles. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

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

/* A text of `n` bytes made of copies of `unit`, between `head` and `tail`. */
static char *repeat(const char *head, const char *unit, size_t n, const char *tail, size_t *length)
{
    const size_t u = strlen(unit);
    char *s = malloc(strlen(head) + n * u + strlen(tail) + 1);
    assert_non_null(s);
    size_t at = strlen(head);
    memcpy(s, head, at);
    for (size_t i = 0; i < n; i++, at += u) {
        memcpy(s + at, unit, u);
    }
    memcpy(s + at, tail, strlen(tail) + 1);
    *length = at + strlen(tail);
    return s;
}

static double thread_seconds(void)
{
    struct timespec t;
    assert_int_equal(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t), 0);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Hostile texts end soon, without a verdict that could be wrong, and say why. */
static void hostile_texts_are_bounded(void **state)
{
    (void)state;
    static const struct {
        const char *head, *unit;
        size_t copies;
        const char *tail;
    } CASES[] = {
        {"\\boxed{", "{", 10000, "1}"},
        {"$", "(", 10000, "$"},
        {"$", "\\sqrt{", 10000, "$"},
        {"$", "f(", 5000, "$"},
        {"$", "|x", 5000, "$"},
        {"$", "-", 60000, "1$"},
        {"$", "9", 1000000, "$"},
        {"answer: ", "9", 1000000, ""},
        {"", "9,999", 200000, ""},
        {"", "word ", 200000, "$7$"},
        {"", "$$", 500000, ""},
        {"", "\\[", 200000, ""},
        {"", "answer is $", 40000, ""},
        {"", "\\boxed{", 100000, ""},
        {"\\boxed{", "a}", 300000, ""},
        {"", "final answer ", 60000, "is 7"},
        {"$", "2^{", 5000, "$"},
        {"$9", "^9", 4000, "$"},
        {"$9", "!", 4000, "$"},
        {"$\\{", "1,", 20000, "1\\}$"},
        {"$x", "=x", 20000, "$"},
        {"$", "\\frac", 20000, "$"},
        {"", "\xff\xc0\x80", 100000, "\\boxed{7}"},
        {"", "- 1 + ", 50000, ""},
        {"", "1 ", 100000, ""},
        {"$7", " ", 100000, "$"},
        {"$", "\\text{ ", 3000, "$"},
        {"$", "^(", 8000, "$"},
        {"answer:", " ", 300000, "7"},
    };
    struct grade *g;
    assert_int_equal(grade_open(GRADE_MATH_VERIFY, &g), STATUS_OK);
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        size_t n;
        bool equal;
        char *s = repeat(CASES[i].head, CASES[i].unit, CASES[i].copies, CASES[i].tail, &n);
        const double start = thread_seconds();
        assert_int_equal(grade_verify(g, "$7$", 3, s, n, &equal), STATUS_OK);
        const double seconds = thread_seconds() - start;
        if (seconds > 1.0) {
            print_message("case %zu: %.2f s\n", i, seconds);
        }
        assert_true(seconds < 20.0); /* far above what it takes: sanitizers run this, too */
        free(s);
    }
    grade_close(g);
}

static void huge_numbers_have_no_value_and_a_reason(void **state)
{
    (void)state;
    size_t n;
    char *s = repeat("\\boxed{", "9", 1000000, "}", &n);
    struct grade *g;
    const struct grade_answer *a;
    double reward;
    assert_int_equal(grade_open(GRADE_MATH_VERIFY, &g), STATUS_OK);
    assert_int_equal(grade_parse(g, s, n, &GRADE_CONFIG_OPEN_R1_ANSWER, &a), STATUS_OK);
    assert_true(*grade_answer_reason(a) != '\0');
    assert_int_equal(grade_reward(g, s, n, "\\boxed{1}", 9, &reward), STATUS_OK);
    assert_true(isnan(reward));
    free(s);
    s = malloc((5 << 20) + 1);
    assert_non_null(s);
    memset(s, 'x', 5 << 20);
    assert_int_equal(grade_parse(g, s, 5 << 20, &GRADE_CONFIG_DEFAULT, &a), STATUS_OK);
    assert_true(grade_answer_empty(a));
    assert_string_equal(grade_answer_reason(a), "the text is too long");
    free(s);
    grade_close(g);
}

static void any_bytes_are_text(void **state)
{
    (void)state;
    static const char WITH_NUL[] = "a\0b \\boxed{7}";
    struct grade *g;
    bool equal;
    assert_int_equal(grade_open(GRADE_MATH_VERIFY, &g), STATUS_OK);
    assert_int_equal(grade_verify(g, "$7$", 3, WITH_NUL, sizeof WITH_NUL - 1, &equal), STATUS_OK);
    assert_true(equal);
    assert_int_equal(grade_verify(g, "$7$", 3, "\xe2\x82 $7$ \xf0\x9f", 10, &equal), STATUS_OK);
    assert_true(equal);
    assert_int_equal(grade_verify(g, "", 0, "", 0, &equal), STATUS_OK);
    assert_false(equal);
    grade_close(g);
}

/* A judge that is never reset fills up: empty answers, no failure, and a reset mends it. */
static void full_judges_say_so(void **state)
{
    (void)state;
    size_t n;
    char *s = repeat("", "word ", 200000, "\\boxed{7}", &n);
    struct grade *g;
    const struct grade_answer *a;
    const struct grade_answer *first = NULL;
    assert_int_equal(grade_open(GRADE_MATH_VERIFY, &g), STATUS_OK);
    int kept = 0;
    for (int i = 0; i < 100; i++) {
        assert_int_equal(grade_parse(g, s, n, &GRADE_CONFIG_OPEN_R1_ANSWER, &a), STATUS_OK);
        first = first ? first : a;
        kept += !grade_answer_empty(a);
        assert_true(grade_answer_empty(a) == (*grade_answer_reason(a) != '\0'));
    }
    assert_true(kept > 10 && kept < 100);
    assert_false(grade_answer_empty(first));
    grade_reset(g);
    assert_int_equal(grade_parse(g, s, n, &GRADE_CONFIG_OPEN_R1_ANSWER, &a), STATUS_OK);
    assert_false(grade_answer_empty(a));
    free(s);
    grade_close(g);
}

/* Choices: a config of its own. */
static void choices_are_letters(void **state)
{
    (void)state;
    static const struct {
        const char *text, *letter;
    } CASES[] = {
        {"The answer is B.", "B"},  {"Answer: **C**", "C"}, {"D", "D"},
        {"final answer is A", "A"}, {"no letter", ""},      {"A then B", "A"},
    };
    const struct grade_config config = {.choices = true, .choices_unanchored = true};
    struct grade *g;
    const struct grade_answer *a;
    assert_int_equal(grade_open(GRADE_MATH_VERIFY, &g), STATUS_OK);
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        assert_int_equal(grade_parse(g, CASES[i].text, strlen(CASES[i].text), &config, &a),
                         STATUS_OK);
        assert_string_equal(grade_answer_text(a), CASES[i].letter);
        assert_int_equal(grade_answer_empty(a), *CASES[i].letter == '\0');
    }
    grade_close(g);
}

/* What strict mends, and what neither rule may take for equal. */
static void strict_mends_known_errors(void **state)
{
    (void)state;
    static const struct {
        const char *gold, *answer;
        bool math_verify, strict;
    } CASES[] = {
        {"$10^{-20}$", "$10^{-21}$", true, false},          /* no absolute threshold */
        {"$(1+2i)^2$", "$-3+4i$", false, true},             /* i is imaginary */
        {"$3+4i$", "$3+4 i$", false, true},
        {"$e^{i\\pi}$", "$-1$", false, true},
        {"$6t-7$", "$-7+6t$", false, true},                 /* t is no unit behind an operator */
        {"$375$", "$375\\text{ cm}^2 $", false, true},      /* a unit before a space */
        {"$(1,4)\\cap(2,5)$", "$(2,4)$", false, true},      /* intersections */
        {"$\\{1,2,3\\}\\setminus\\{3\\}$", "$1,2$", false, true},
        {"$1<x<3$", "$3>x>1$", false, true},                /* relations by their solutions */
        {"$2x>4$", "$x>2$", false, true},
        {"$2x=4$", "$x=2$", false, true},
        {"$(1,2)$", "$1<x<2$", false, true},
        {"$2(3)$", "$6$", false, true},                     /* a product, no mixed number */
        {"$2(3)$", "$5$", true, false},
        {"$x$", "$\\frac{2x}{2}$", false, true},            /* a symbol and a longer form of it */
        {"\\boxed{No}", "\\boxed{No.}", false, true},       /* full stops */
        {"$12$", "\\boxed{12.}", false, true},
        {"-7", "-007", false, true},
        {"$2\\frac12$", "$2.5$", true, true},               /* and what stays as it is */
        {"$x>2$", "$x<2$", false, false},
        {"$x>2$", "$y>2$", false, false},
        {"$2x>4$", "$x<2$", false, false},
        {"$-2x>4$", "$x>-2$", false, false},
        {"$1,2$", "$1,3$", false, false},
        {"$5m$", "$5$", true, true},
    };
    struct grade *g[2];
    assert_int_equal(grade_open(GRADE_MATH_VERIFY, &g[0]), STATUS_OK);
    assert_int_equal(grade_open(GRADE_STRICT, &g[1]), STATUS_OK);
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        for (int k = 0; k < 2; k++) {
            bool equal;
            assert_int_equal(grade_verify(g[k], CASES[i].gold, strlen(CASES[i].gold),
                                          CASES[i].answer, strlen(CASES[i].answer), &equal),
                             STATUS_OK);
            if (equal != (k ? CASES[i].strict : CASES[i].math_verify)) {
                print_message("%s: %s | %s\n", k ? "strict" : "math-verify", CASES[i].gold,
                              CASES[i].answer);
                assert_true(false);
            }
        }
    }
    grade_close(g[0]);
    grade_close(g[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(verdicts_and_rewards),
        cmocka_unit_test(answers_are_kept_until_reset),
        cmocka_unit_test(hostile_texts_are_bounded),
        cmocka_unit_test(huge_numbers_have_no_value_and_a_reason),
        cmocka_unit_test(any_bytes_are_text),
        cmocka_unit_test(full_judges_say_so),
        cmocka_unit_test(choices_are_letters),
        cmocka_unit_test(strict_mends_known_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
