/*
 * Judges of the procedural tasks by examples, and the numbers they read as Python does. The
 * package's own scores are golden/reasoning (parity.test_reasoning).
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "eval/tasks/number.h"
#include "eval/tasks/procedural.h"
#include "eval/tasks/text.h"

static void floats_as_python_reads_them(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool good;
        double value;
    } CASES[] = {
        {"1", true, 1},           {" \t1.5\n", true, 1.5},     {"1_000.5", true, 1000.5},
        {"1__0", false, 0},       {"_1", false, 0},            {"1_", false, 0},
        {"1_.5", false, 0},       {".5", true, 0.5},           {"5.", true, 5},
        {".", false, 0},          {"", false, 0},              {"1e5", true, 1e5},
        {"1e", false, 0},         {"1e+", false, 0},           {"+-1", false, 0},
        {"- 1", false, 0},        {"-Infinity", true, -INFINITY}, {"iNf", true, INFINITY},
        {"infin", false, 0},      {"0x10", false, 0},          {"1 2", false, 0},
        {"\xd9\xa1\xd9\xa2", true, 12}, {"\xc2\xa0" "7\xe2\x80\x89", true, 7}, {"\xff", false, 0},
        {"1e400", true, INFINITY}, {"1,000", false, 0},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        double x = 0;
        const bool good = number_float(CASES[i].text, &x);
        if (good != CASES[i].good || (good && x != CASES[i].value)) {
            fail_msg("float('%s'): %d, %g", CASES[i].text, good, x);
        }
    }
    double x;
    assert_true(number_float("nan", &x) && isnan(x));
}

static void ints_and_complex_numbers(void **state)
{
    (void)state;
    struct number_int n;
    int64_t x;
    assert_true(number_int(" -0012_3 ", &n) && number_int_small(&n, &x) && x == -123);
    assert_true(number_int("-0", &n) && n.count == 0 && !n.negative);
    assert_false(number_int("1.0", &n) || number_int("", &n) || number_int("1_", &n));
    assert_true(number_int("9999999999999999999", &n) && !number_int_small(&n, &x));
    assert_true(number_int_double(&n) == 1e19);
    char *longest = malloc(NUMBER_INT_DIGITS + 2);
    assert_non_null(longest);
    memset(longest, '7', NUMBER_INT_DIGITS + 1);
    longest[NUMBER_INT_DIGITS + 1] = '\0';
    assert_false(number_int(longest, &n));
    longest[NUMBER_INT_DIGITS] = '\0';
    assert_true(number_int(longest, &n) && isinf(number_int_double(&n)));
    free(longest);
    static const struct {
        const char *text;
        bool good;
        double real;
        double imaginary;
    } CASES[] = {
        {"1+2j", true, 1, 2},   {"(1-2j)", true, 1, -2}, {"j", true, 0, 1},    {"-j", true, 0, -1},
        {"3", true, 3, 0},      {"1+j", true, 1, 1},     {"1e3-1.5e1j", true, 1000, -15},
        {"1 + 2j", false, 0, 0}, {"1+2", false, 0, 0},   {"2j+1", false, 0, 0}, {"(1", false, 0, 0},
        {"1+2jj", false, 0, 0}, {"", false, 0, 0},       {"()", false, 0, 0},  {"+", false, 0, 0},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        double re = 0;
        double im = 0;
        const bool good = number_complex(CASES[i].text, &re, &im);
        if (good != CASES[i].good || (good && (re != CASES[i].real || im != CASES[i].imaginary))) {
            fail_msg("complex('%s'): %d, %g, %g", CASES[i].text, good, re, im);
        }
    }
}

static bool close_to(const char *a, const char *b)
{
    struct number_decimal x;
    struct number_decimal y;
    assert_true(number_decimal(a, &x) && number_decimal(b, &y));
    return number_decimal_close(&x, &y, 3, 12);
}

static void decimals_are_exact(void **state)
{
    (void)state;
    static const struct {
        const char *a;
        const char *b;
        bool equal;
    } CASES[] = {
        {"15", "15.000", true},  {"15", "1.5e1", true},        {"-0", "0", true},
        {"0.1", "0.10", true},   {"+01", "1", true},           {"1_5", "15", true},
        {"0.1", "0.1000000000000000000000001", false},         {"-1", "1", false},
        {"1e500", "1e500", false}, {"1e-500", "0", false},     {"1e99999999999999", "1", false},
    };
    struct number_decimal a;
    struct number_decimal b;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        assert_true(number_decimal(CASES[i].a, &a) && number_decimal(CASES[i].b, &b));
        if (number_decimal_equal(&a, &b) != CASES[i].equal) {
            fail_msg("%s, %s", CASES[i].a, CASES[i].b);
        }
    }
    assert_false(number_decimal("", &a) || number_decimal("1e", &a) || number_decimal("nan", &a)
                 || number_decimal("1.2.3", &a) || number_decimal("--1", &a));
    assert_true(close_to("1.001", "1"));
    assert_true(close_to("1.001000000000005", "1")); /* rounds half-even to 0.001 */
    assert_false(close_to("1.0010000000000051", "1"));
    assert_true(close_to("-0.0005", "0.0005") && !close_to("-0.0005", "0.00051"));
    assert_true(close_to("999.9995", "1000.0004") && !close_to("1e200", "1"));
    assert_true(close_to("1e-300", "0.001") && !close_to("-1e-300", "0.001000000000005"));
}

static void texts_as_python_sees_them(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *lower;
    } CASES[] = {
        {"ABC", "abc"},       {"\xc4\xb0", "i\xcc\x87"}, /* dotted I grows */
        {"\xce\x91\xce\xa3", "\xce\xb1\xcf\x82"},        /* sigma ends a word */
        {"\xce\xa3\xce\x91", "\xcf\x83\xce\xb1"},        /* and does not */
        {"\xce\xa3", "\xcf\x83"}, {"\xff" "A", "\xff" "a"}, {"", ""},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        char *lower = text_lower(CASES[i].text);
        assert_string_equal(lower, CASES[i].lower);
        free(lower);
    }
    assert_int_equal(text_length("a\xc3\xa9\xf0\x9f\x99\x82\xff"), 4);
    const char *p = "\xe3\x80\x80 a b\n";
    assert_int_equal(text_strip(&p), 3);
    assert_memory_equal(p, "a b", 3);
    p = " \t ";
    assert_int_equal(text_strip(&p), 0);
    assert_int_equal(text_digit(0x669), 9);
    assert_int_equal(text_digit(0x1D7D7), 9);
    assert_int_equal(text_digit('a'), -1);
}

static double score(const char *task, const char *entry, const char *answer)
{
    json_t *row = json_loads(entry, 0, NULL);
    assert_non_null(row);
    const double x = procedural_score(procedural_find(task), answer, row);
    json_decref(row);
    return x;
}

static void judges_by_example(void **state)
{
    (void)state;
#define COUNTDOWN "{\"answer\": \"2*3 + 4\", \"metadata\": {\"numbers\": [4, 3, 2], \"target\": 10}}"
#define DATE "{\"answer\": \"Monday\", \"metadata\": {\"task\": \"weekday_of_date\"}}"
#define DAYS "{\"answer\": \"10\", \"metadata\": {\"task\": \"count_days\"}}"
#define LEAP "{\"answer\": \"Yes\", \"metadata\": {\"task\": \"is_leap_year\"}}"
#define PLAIN(x) "{\"answer\": \"" x "\", \"metadata\": {}}"
#define FRACTION                                                                                   \
    "{\"answer\": \"$1/2$\", \"metadata\": {\"simplified_numerator\": 1,"                          \
    "\"simplified_denominator\": 2, \"numerator\": 4, \"denominator\": 8}}"
#define SORT "{\"answer\": \"['1', '2']\", \"metadata\": {\"direction\": \"ascending\"}}"
#define COMPLEX "{\"answer\": \"1.0 + 2.0i\", \"metadata\": {\"result\": [1, 2]}}"
    static const struct {
        const char *task;
        const char *entry;
        const char *answer; /* NULL: None */
        double score;       /* NAN: the package raises */
    } CASES[] = {
        {"countdown", COUNTDOWN, "4+(3*2)", 1.0},
        {"countdown", COUNTDOWN, "4 + 3 + 2", 0.05},
        {"countdown", COUNTDOWN, "5 + 5", 0.05},
        {"countdown", COUNTDOWN, "10", 0.05},
        {"countdown", COUNTDOWN, "4 + 3*2 =", 0.01},
        {"countdown", COUNTDOWN, "4/(3 - 3)", 0.01}, /* zoo */
        {"countdown", COUNTDOWN, "x", 0.01},
        {"countdown", COUNTDOWN, "  ", 0.01},
        {"countdown", COUNTDOWN, NULL, 0.01},
        {"countdown", COUNTDOWN, "4!/(3*2)*0", 0.05},
        {"countdown", COUNTDOWN, "((((((((4+6))))))))", 0.05},
        {"countdown", COUNTDOWN, "4 + 3*2 # done", 1.0},
        {"countdown", COUNTDOWN, "-2 + 3*4", 1.0},
        {"countdown", COUNTDOWN, "2**3 + 4", 0.05},
        {"gcd", PLAIN("15"), "15", 1.0},
        {"gcd", PLAIN("15"), " 15 ", 0.5},
        {"gcd", PLAIN("15"), "", 0.0},
        {"chain_sum", PLAIN("1500"), "+01,500.00", 1.0},
        {"chain_sum", PLAIN("1500"), "=1500", 0.8},
        {"chain_sum", PLAIN("1500"), ",", 0.0},
        {"prime_factorization", PLAIN("2 \xc3\x97 3"), "3\xc3\x97 2", 1.0},
        {"prime_factorization", PLAIN("2 \xc3\x97 3"), "6", 0.5},
        {"prime_factorization", PLAIN("2 \xc3\x97 3"), "2 \xc3\x97 3 \xc3\x97", 1.0},
        {"prime_factorization", PLAIN("2 \xc3\x97 3"), "7", 0.01},
        {"prime_factorization", PLAIN("2 \xc3\x97 3"), "99999999999999999999999999", 0.01},
        {"prime_factorization", PLAIN("2 \xc3\x97 3"), "2 * 3", NAN},
        {"prime_factorization", PLAIN("2 \xc3\x97 3"), NULL, 0.0},
        {"polynomial_equations", PLAIN("-1.0, 2.0"), "2, -1", 1.0},
        {"polynomial_equations", PLAIN("-1.0, 2.0"), "2", 0.5},
        {"polynomial_equations", PLAIN("-1.0, 2.0"), "none", 0.0},
        {"polynomial_equations", PLAIN(""), "", 1.0},
        {"polynomial_equations", PLAIN(""), NULL, 1.0},
        {"polynomial_equations", PLAIN("1.0"), "nan, 1", 0.5},
        {"polynomial_equations", PLAIN("1.0"), "inf", 0.0},
        {"number_sorting", SORT, "[1, 2.5]", 1.0},
        {"number_sorting", SORT, "['1', \"2\"]", 1.0},
        {"number_sorting", SORT, "[2, 1]", 0.0},
        {"number_sorting", SORT, "[1, 3.5]", 0.0},
        {"number_sorting", SORT, "[1]", 0.0},
        {"number_sorting", SORT, "[1, [2]]", 0.0},
        {"number_sorting", SORT, "[1, 2", 0.0},
        {"number_sorting", SORT, "[]", 0.0},
        {"number_sorting", SORT, "[1,]", 0.0},
        {"number_sorting", SORT, "['\\u0031', true]", 1.0}, /* float(True) is 1, close to 2 */
        {"decimal_arithmetic", PLAIN("1.234"), "1.2335", 1.0},
        {"decimal_arithmetic", PLAIN("1.234"), "1.236", 0.0},
        {"decimal_arithmetic", PLAIN("1.234"), NULL, 0.0},
        {"fraction_simplification", FRACTION, "\\dfrac{ 1 }{2} ", 1.0},
        {"fraction_simplification", FRACTION, "$ 1 / 2 $", 1.0},
        {"fraction_simplification", FRACTION, "4/8", 0.1},
        {"fraction_simplification", FRACTION, "2/4", 0.05},
        {"fraction_simplification", FRACTION, "half", 0.01},
        {"fraction_simplification", FRACTION, NULL, 0.01},
        {"spell_backward", PLAIN("Abc"), "aBC", 1.0},
        {"spell_backward", PLAIN("abcd"), "abxd", 0.75},
        {"spell_backward", PLAIN("abcd"), "abcde", 0.8},
        {"calendar_arithmetic", DATE, " Monday ", 1.0},
        {"calendar_arithmetic", DATE, "Friday", 0.1},
        {"calendar_arithmetic", DATE, "fRIDAY", 0.05},
        {"calendar_arithmetic", DATE, "Freitag", 0.0},
        {"calendar_arithmetic", DAYS, "10 ", 1.0},
        {"calendar_arithmetic", DAYS, "8", 0.36787944117144233},
        {"calendar_arithmetic", DAYS, "ten", 0.0},
        {"calendar_arithmetic", LEAP, "YES\n", 1.0},
        {"calendar_arithmetic", LEAP, "No", 0.0},
        {"complex_arithmetic", COMPLEX, "((1+2i))", 1.0},
        {"complex_arithmetic", COMPLEX, "1 + i", 0.36787944117144233},
        {"complex_arithmetic", COMPLEX, "2i + 1", 0.0},
        {"complex_arithmetic", COMPLEX, "1", 0.1353352832366127},
        {"complex_arithmetic", COMPLEX, "", 0.0},
        {"base_conversion", PLAIN("a9"), "A9", 0.0},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        const double x = score(CASES[i].task, CASES[i].entry, CASES[i].answer);
        if (isnan(CASES[i].score) ? !isnan(x) : !(fabs(x - CASES[i].score) < 1e-15)) {
            fail_msg("%s: '%s' scores %.17g, not %g", CASES[i].task,
                     CASES[i].answer ? CASES[i].answer : "None", x, CASES[i].score);
        }
    }
}

static void answers_are_extracted(void **state)
{
    (void)state;
    static const struct {
        const char *completion;
        const char *answer; /* NULL: none */
    } CASES[] = {
        {"<answer> 7 </answer>", "7"},
        {"<answer>1</answer> or <answer>2</answer>", "2"},
        {"<answer>1</answer> <answer>2", "1"},
        {"<answer>a<answer>b</answer>", "a<answer>b"},
        {"7", NULL},
        {"</answer><answer>", NULL},
        {"<answer></answer>", ""},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        char *answer = procedural_extract(CASES[i].completion);
        if (CASES[i].answer) {
            assert_non_null(answer);
            assert_string_equal(answer, CASES[i].answer);
        } else {
            assert_null(answer);
        }
        free(answer);
    }
}

/* Long, deep and damaged answers, and rows that are not the task's. */
static void hostile_answers(void **state)
{
    (void)state;
    enum { SIZE = 1 << 17 };
    static const char *const PATTERNS[] = {"(",        "9",   "1,", "[",   "-", "\xff",
                                           "\xc3\x97", "2**", "{",  "[1,", " "};
    static const char *const ENTRIES[] = {
        COUNTDOWN, FRACTION, SORT, COMPLEX, DATE, DAYS, PLAIN("1"), PLAIN(""),
        "{\"answer\": \"1\", \"metadata\": {\"task\": 1, \"result\": [\"a\", {}], \"numbers\": \"x\","
        "\"direction\": [], \"difficulty\": {\"decimal_places\": [1, 99999999999]}}}",
    };
    char *text = malloc(SIZE + 4);
    assert_non_null(text);
    for (size_t p = 0; p < sizeof PATTERNS / sizeof PATTERNS[0]; p++) {
        const size_t n = strlen(PATTERNS[p]);
        size_t used = 0;
        for (; used + n <= SIZE; used += n) {
            memcpy(text + used, PATTERNS[p], n);
        }
        text[used] = '\0';
        for (int64_t t = 0; procedural_at(t); t++) {
            for (size_t e = 0; e < sizeof ENTRIES / sizeof ENTRIES[0]; e++) {
                const double x = score(procedural_name(procedural_at(t)), ENTRIES[e], text);
                assert_true(isnan(x) || (x >= 0 && x <= 1));
            }
        }
    }
    free(text);
    for (int64_t t = 0; procedural_at(t); t++) {
        const char *name = procedural_name(procedural_at(t));
        assert_true(isnan(score(name, "{}", "1")));
        assert_true(isnan(score(name, "{\"answer\": 1, \"metadata\": {}}", "1")));
        assert_true(isnan(score(name, "{\"answer\": \"1\", \"metadata\": []}", "1")));
    }
    assert_null(procedural_find("sudoku"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(floats_as_python_reads_them),
        cmocka_unit_test(ints_and_complex_numbers),
        cmocka_unit_test(decimals_are_exact),
        cmocka_unit_test(texts_as_python_sees_them),
        cmocka_unit_test(judges_by_example),
        cmocka_unit_test(answers_are_extracted),
        cmocka_unit_test(hostile_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
