/* The judge's parts on their own: boxes, normal form, plain expressions, parser, values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "eval/grade/compare.h"
#include "eval/grade/extract.h"
#include "eval/grade/latex_parse.h"

struct bench {
    struct expr_pool pool;
    struct reader reader;
};

static int bench_open(void **state)
{
    static struct bench b;
    expr_pool_open(&b.pool, 1 << 20);
    b.reader = (struct reader){.pool = &b.pool};
    *state = &b;
    return pattern_open(&b.reader.patterns) == STATUS_OK ? 0 : 1;
}

static int bench_close(void **state)
{
    struct bench *b = *state;
    pattern_close(b->reader.patterns);
    expr_pool_close(&b->pool);
    return 0;
}

static struct slice slice(const char *s)
{
    return (struct slice){s, strlen(s)};
}

static void assert_slice(struct slice got, const char *want)
{
    if (got.n != strlen(want) || memcmp(got.s, want, got.n) != 0) {
        print_message("got '%.*s', want '%s'\n", (int)got.n, got.s, want);
        assert_true(false);
    }
}

static void boxes_are_collected(void **state)
{
    struct bench *b = *state;
    static const struct {
        const char *text, *all, *last;
    } CASES[] = {
        {"no box", "no box", "no box"},
        {"\\boxed{1}", "1", "1"},
        {"\\boxed{ {a}{b} } x", "{a}{b}", "{a}{b}"},
        {"\\boxed{1} and \\boxed{2}", "1,2", "1,2"},
        {"\\boxed{1} no, rather long words \\boxed{2}", "1,2", "1,2"},
        {"\\boxed{1} no rather long words \\boxed{2}", "1,2", "2"},
        {"\\boxed{1}\\boxed{1}", "1", "1"},
        {"\\fbox{3}", "3", "3"},
        {"\\boxed 12 more", "12 more", "12 more"},
        {"\\boxed{12", "{12", "{12"},
        {"\\boxed{1} \\boxed{2", "{2", "{2"},
        {"\\boxed{\\boxed{5}}", "5", "5"},
        {"\\boxed", "\\boxed", "\\boxed"},
        {"", "", ""},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        const struct slice t = slice(CASES[i].text);
        assert_slice(boxed_content(&b->reader, t, GRADE_BOXED_ALL), CASES[i].all);
        assert_slice(boxed_content(&b->reader, t, GRADE_BOXED_LAST), CASES[i].last);
    }
}

static void latex_is_normalized(void **state)
{
    struct bench *b = *state;
    static const struct {
        const char *text, *normal;
    } CASES[] = {
        {"\\dfrac12", "\\frac{1}{2}"},
        {"\\frac1{23}", "\\frac{1}{23}"},
        {"\\frac", "\\frac"},
        {"\\sqrt3+\\sqrt{5}", "\\sqrt{3}+\\sqrt{5}"},
        {"2^(3)", "2^{3}"},
        {"3/4", "\\frac{3}{4}"},
        {"3/04", "3/04"},
        {".5", "\\frac{1}{2}"},
        {"1{,}234", "1,234"},
        {"5\\text{ cm}^2", "5"},
        {"\\text{cm}", "\\text{cm}"},
        {"5 apples", "5"},
        {"-7+6t", "-7+6"},
        {"50 percent", "50\\%"},
        {"\\left( 1, 2 \\right)", "( 1, 2 )"},
        {"1 and 2", "1, 2"},
        {"\\mathrm{Yes}", "\\text{Yes}"},
        {"(5)_{2}", "\\frac{(5)!}{((5)-(2))!}"},
        {"\\\\frac{1}{2}", "\\frac{1}{2}"},
        {"x\\ y", "x y"},
        {"infinity", "\\infty"},
        {"\\$5", "5"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        assert_slice(normalize_latex(&b->reader, slice(CASES[i].text), &GRADE_CONFIG_DEFAULT,
                                     GRADE_BOXED_ALL),
                     CASES[i].normal);
    }
    assert_slice(normalize_last_equation(&b->reader, slice("a=b=c")), "c");
    assert_slice(normalize_last_equation(&b->reader, slice("a=b")), "a=b");
    assert_slice(normalize_last_equation(&b->reader, slice("a=1,b=2=3")), "a=1,b=2=3");
    assert_slice(normalize_last_equation(&b->reader, slice("a\\le b=c")), "a\\le b=c");
}

static const struct expr *latex(struct bench *b, const char *text)
{
    const char *reason;
    return latex_parse(&b->pool, text, true, false, &reason);
}

/* Pairs of texts whose values are the same number or function. */
static void values_agree(void **state)
{
    struct bench *b = *state;
    static const struct {
        const char *a, *b;
        enum value_verdict verdict;
    } CASES[] = {
        {"2+3\\cdot4", "14", VALUE_EQUAL},
        {"-2^2", "-4", VALUE_EQUAL},
        {"2^{3^2}", "512", VALUE_EQUAL},
        {"2^3^2", "64", VALUE_EQUAL},
        {"3\\frac{1}{2}", "\\frac{7}{2}", VALUE_EQUAL},
        {"-3\\frac{1}{2}", "-\\frac{7}{2}", VALUE_EQUAL},
        {"|-3|", "3", VALUE_EQUAL},
        {"||-3|-1|", "2", VALUE_EQUAL},
        {"\\lfloor -2.5 \\rfloor", "-3", VALUE_EQUAL},
        {"\\binom{5}{2}", "10", VALUE_EQUAL},
        {"5!", "120", VALUE_EQUAL},
        {"\\log_2 8", "3", VALUE_EQUAL},
        {"\\log 1000", "3", VALUE_EQUAL},
        {"\\ln e^2", "2", VALUE_EQUAL},
        {"\\sin^2 x+\\cos^2 x", "1", VALUE_EQUAL},
        {"\\sin^{-1}(1)", "\\frac{\\pi}{2}", VALUE_EQUAL},
        {"\\sqrt[3]{27}", "3", VALUE_EQUAL},
        {"(x+1)^2", "x^2+2x+1", VALUE_EQUAL},
        {"(x+1)^{40}-1", "(x+1)^{40}", VALUE_DIFFERENT},
        {"\\sqrt{x^2}", "x", VALUE_DIFFERENT},
        {"\\sqrt{x^2}", "|x|", VALUE_EQUAL},
        {"\\sum_{k=1}^{4} k^2", "30", VALUE_EQUAL},
        {"\\prod_{k=1}^{4} k", "24", VALUE_EQUAL},
        {"\\int_0^1 x^2 dx", "\\frac{1}{3}", VALUE_EQUAL},
        {"\\lim_{x\\to 0}\\frac{\\sin x}{x}", "1", VALUE_EQUAL},
        {"\\frac{d}{dx}x^3", "3x^2", VALUE_EQUAL},
        {"\\max(1,5,3)", "5", VALUE_EQUAL},
        {"\\gcd(12,18)", "6", VALUE_EQUAL},
        {"17 \\mod 5", "2", VALUE_EQUAL},
        {"10^{-20}", "10^{-21}", VALUE_DIFFERENT},
        {"\\frac{1}{x-x}", "1", VALUE_UNKNOWN},
        {"2\\infty", "\\infty", VALUE_EQUAL},
        {"-\\infty", "\\infty", VALUE_DIFFERENT},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        int steps = 100000;
        const struct expr *x = latex(b, CASES[i].a);
        const struct expr *y = latex(b, CASES[i].b);
        if (!x || !y || value_equal(x, y, &steps) != CASES[i].verdict) {
            print_message("%s ? %s\n", CASES[i].a, CASES[i].b);
            assert_true(false);
        }
    }
}

static void kinds_are_the_references(void **state)
{
    struct bench *b = *state;
    static const struct {
        const char *text;
        enum expr_kind kind;
    } CASES[] = {
        {"(1,2)", EXPR_INTERVAL},        {"(2,1)", EXPR_TUPLE},
        {"(1,2,3)", EXPR_TUPLE},         {"[1,2]", EXPR_INTERVAL},
        {"1,2", EXPR_SET},               {"\\{1\\}", EXPR_SET},
        {"\\{\\}", EXPR_NAMED_SET},      {"(1)", EXPR_RATIONAL},
        {"x=1", EXPR_RELATION},          {"1<x<2", EXPR_AND},
        {"\\pm 2", EXPR_SET},            {"x\\in[1,2]", EXPR_RELATION},
        {"(1,2)\\cup(3,4)", EXPR_UNION}, {"f(x)", EXPR_APPLY},
        {"f(x+1)", EXPR_MUL},            {"0.5", EXPR_FLOAT},
        {"1E3", EXPR_FLOAT},             {"5\\%", EXPR_MUL},
        {"\\text{yes}", EXPR_SYMBOL},    {"e", EXPR_E},
        {"I^2", EXPR_I},                 {"\\frac{1}{0}", EXPR_ZOO},
        {"[1,1]", EXPR_SET},             {"\\begin{pmatrix}1\\\\2\\end{pmatrix}", EXPR_MATRIX},
        {"\\begin{vmatrix}1&2\\\\3&4\\end{vmatrix}", EXPR_RATIONAL},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        const struct expr *e = latex(b, CASES[i].text);
        if (!e || e->kind != CASES[i].kind) {
            print_message("%s: kind %d\n", CASES[i].text, e ? (int)e->kind : -1);
            assert_true(false);
        }
    }
    static const char *const WRONG[] = {"", "(", "1+", "\\frac{1}", "2)", "#", "{1", "x^", "5.", "a&b",
                                        "\\begin{pmatrix}1&2\\\\3\\end{pmatrix}", "\\foo", "|x"};
    for (size_t i = 0; i < sizeof WRONG / sizeof WRONG[0]; i++) {
        const char *reason = NULL;
        assert_null(latex_parse(&b->pool, WRONG[i], true, false, &reason));
        assert_true(reason && *reason);
    }
}

static void plain_expressions_are_pythons(void **state)
{
    struct bench *b = *state;
    static const struct {
        const char *text, *value; /* NULL: not readable */
    } CASES[] = {
        {"1+2*3", "7"},   {"2**3", "8"},      {"2^-1", "\\frac{1}{2}"}, {"-2**2", "-4"},
        {"(1+2)/4", "\\frac{3}{4}"}, {"2**3**2", "512"}, {"1.5*2", "3.0"},         {"1 2", NULL},
        {"2(3)", NULL},   {"007", NULL},      {"1+", NULL},             {"(1", NULL},
        {"1//2", NULL},   {"", NULL},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        int steps = 1000;
        const struct expr *e = plain_parse(&b->pool, slice(CASES[i].text));
        assert_int_equal(e != NULL, CASES[i].value != NULL);
        if (e) {
            assert_int_equal(value_equal(e, latex(b, CASES[i].value), &steps), VALUE_EQUAL);
        }
    }
}

static void pools_have_a_limit(void **state)
{
    (void)state;
    struct expr_pool p;
    expr_pool_open(&p, 4096);
    const struct expr *e = expr_integer(&p, 1);
    int made = 0;
    while (e) {
        e = expr_binary(&p, EXPR_ADD, e, expr_integer(&p, made++));
        assert_true(made < 1000);
    }
    assert_true(p.exhausted && p.used <= 4096);
    assert_null(expr_alloc(&p, SIZE_MAX));
    expr_pool_reset(&p);
    assert_false(p.exhausted);
    assert_non_null(expr_integer(&p, 1));
    expr_pool_close(&p);
}

static void numbers_are_read(void **state)
{
    struct bench *b = *state;
    static const char *const WRONG[] = {"", "-", ".", "1e", "1E99999999", "x", "1.2.3", "--1"};
    for (size_t i = 0; i < sizeof WRONG / sizeof WRONG[0]; i++) {
        assert_null(expr_number(&b->pool, WRONG[i], strlen(WRONG[i])));
    }
    const struct expr *f = expr_number(&b->pool, "0.1", 3);
    assert_non_null(f);
    assert_true(f->kind == EXPR_FLOAT && f->bits == 53 && arf_get_d(f->f, ARF_RND_NEAR) == 0.1);
    f = expr_number(&b->pool, "969999.9999999999", 17);
    assert_true(f && f->bits == 56); /* 16 digits */
    char digits[EXPR_MAX_DIGITS + 2];
    memset(digits, '9', sizeof digits);
    assert_non_null(expr_number(&b->pool, digits, EXPR_MAX_DIGITS));
    assert_null(expr_number(&b->pool, digits, EXPR_MAX_DIGITS + 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(boxes_are_collected, bench_open, bench_close),
        cmocka_unit_test_setup_teardown(latex_is_normalized, bench_open, bench_close),
        cmocka_unit_test_setup_teardown(values_agree, bench_open, bench_close),
        cmocka_unit_test_setup_teardown(kinds_are_the_references, bench_open, bench_close),
        cmocka_unit_test_setup_teardown(plain_expressions_are_pythons, bench_open, bench_close),
        cmocka_unit_test_setup_teardown(numbers_are_read, bench_open, bench_close),
        cmocka_unit_test(pools_have_a_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
