/*
 * Questions of decimal arithmetic. Answers are those of Python's decimal module in a context of
 * `precision` significant digits: every operation rounds half-even, exponents follow the General
 * Decimal Arithmetic Specification (Cowlishaw, 1.70).
 */
#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "eval/tasks/procedural_internal.h"

enum { MOST_TERMS = 16, MOST_SHIFT = 18 };

/* coefficient * 10^exponent */
struct decimal {
    __int128 coefficient;
    int64_t exponent;
};

/* Evaluation of a text by precedence; `failed`: a division by zero, or beyond what fits here. */
struct evaluation {
    const char *p;
    int64_t precision;
    bool failed;
};

static __int128 ten_to(int64_t n)
{
    __int128 x = 1;
    for (; n > 0; n--) {
        x *= 10;
    }
    return x;
}

static int64_t digits_of(__int128 x)
{
    int64_t n = 1;
    for (x = x < 0 ? -x : x; x >= 10; x /= 10) {
        n++;
    }
    return n;
}

/* Rounds half-even to the precision; `sticky`: the exact value lies beyond the coefficient. */
static struct decimal round_to(__int128 coefficient, int64_t exponent, bool sticky,
                               int64_t precision)
{
    const int64_t drop = digits_of(coefficient) - precision;
    if (drop <= 0) {
        return (struct decimal){coefficient, exponent};
    }
    const bool negative = coefficient < 0;
    const __int128 unit = ten_to(drop);
    __int128 x = negative ? -coefficient : coefficient;
    const __int128 rest = x % unit;
    x /= unit;
    const bool above = rest > unit / 2 || (rest == unit / 2 && sticky);
    x += above || (rest == unit / 2 && x % 2 != 0);
    exponent += drop;
    if (digits_of(x) > precision) { /* 9.99 to 10.0 */
        x /= 10;
        exponent++;
    }
    return (struct decimal){negative ? -x : x, exponent};
}

static struct decimal add(struct evaluation *e, struct decimal a, struct decimal b, int sign)
{
    b.coefficient *= sign;
    struct decimal *high = a.exponent > b.exponent ? &a : &b;
    struct decimal *low = a.exponent > b.exponent ? &b : &a;
    const int64_t shift = high->exponent - low->exponent;
    if (shift > MOST_SHIFT) {
        e->failed = true;
        return a;
    }
    const __int128 sum = high->coefficient * ten_to(shift) + low->coefficient;
    return round_to(sum, low->exponent, false, e->precision);
}

static struct decimal multiply(struct evaluation *e, struct decimal a, struct decimal b)
{
    return round_to(a.coefficient * b.coefficient, a.exponent + b.exponent, false, e->precision);
}

static struct decimal divide(struct evaluation *e, struct decimal a, struct decimal b)
{
    if (b.coefficient == 0) {
        e->failed = true;
        return a;
    }
    const int64_t ideal = a.exponent - b.exponent;
    if (a.coefficient == 0) {
        return (struct decimal){0, ideal};
    }
    int64_t shift = digits_of(b.coefficient) - digits_of(a.coefficient) + e->precision + 1;
    shift = shift > 0 ? shift : 0;
    const __int128 top = a.coefficient * ten_to(shift);
    const bool sticky = top % b.coefficient != 0;
    struct decimal q = {top / b.coefficient, ideal - shift};
    if (!sticky) { /* an exact quotient keeps as few zeros as it can */
        while (q.exponent < ideal && q.coefficient % 10 == 0) {
            q.coefficient /= 10;
            q.exponent++;
        }
    }
    return round_to(q.coefficient, q.exponent, sticky, e->precision);
}

static struct decimal evaluate_sum(struct evaluation *e);

static struct decimal evaluate_atom(struct evaluation *e)
{
    struct decimal x = {0};
    if (*e->p == '(') {
        e->p++;
        x = evaluate_sum(e);
        e->p++;
        return x;
    }
    for (bool point = false; isdigit((unsigned char)*e->p) || *e->p == '.'; e->p++) {
        if (*e->p == '.') {
            point = true;
        } else {
            x.coefficient = x.coefficient * 10 + (*e->p - '0');
            x.exponent -= point;
        }
    }
    /* The package reads literals as floats, whose text keeps one place at least. */
    while (x.exponent < -1 && x.coefficient % 10 == 0) {
        x.coefficient /= 10;
        x.exponent++;
    }
    return x;
}

static struct decimal evaluate_product(struct evaluation *e)
{
    struct decimal x = evaluate_atom(e);
    while (*e->p == '*' || *e->p == '/') {
        const bool by = *e->p++ == '*';
        const struct decimal y = evaluate_atom(e);
        x = by ? multiply(e, x, y) : divide(e, x, y);
    }
    return x;
}

static struct decimal evaluate_sum(struct evaluation *e)
{
    struct decimal x = evaluate_product(e);
    while (*e->p == '+' || *e->p == '-') {
        const int sign = *e->p++ == '-' ? -1 : 1;
        x = add(e, x, evaluate_product(e), sign);
    }
    return x;
}

/* str() of a Decimal: plain for exponents from -6 on, else scientific. */
static enum status decimal_text(struct decimal x, char **out)
{
    char digits[48];
    question_wide(x.coefficient < 0 ? -x.coefficient : x.coefficient, digits);
    const int64_t count = (int64_t)strlen(digits);
    const int64_t adjusted = x.exponent + count - 1;
    const char *sign = x.coefficient < 0 ? "-" : "";
    if (x.exponent == 0) {
        return question_set(out, "%s%s", sign, digits);
    }
    if (x.exponent < 0 && adjusted >= -6) {
        const int64_t whole = count + x.exponent;
        if (whole > 0) {
            return question_set(out, "%s%.*s.%s", sign, (int)whole, digits, digits + whole);
        }
        return question_set(out, "%s0.%.*s%s", sign, (int)-whole, "000000000000", digits);
    }
    return question_set(out, "%s%c%s%sE%+" PRId64, sign, digits[0], count > 1 ? "." : "",
                        digits + 1, adjusted);
}

/* Operands [first, first + count) with random brackets. */
static enum status group(struct question *q, char operands[][32], const char *operators, int first,
                         int count, char **out)
{
    if (count == 1) {
        return question_set(out, "%s", operands[first]);
    }
    const int left = (int)question_between(q, 1, count - 1);
    char *a = NULL;
    char *b = NULL;
    enum status status = group(q, operands, operators, first, left, &a);
    if (status == STATUS_OK) {
        status = group(q, operands, operators, first + left, count - left, &b);
    }
    if (status == STATUS_OK) {
        const bool brackets = question_flip(q);
        status = question_set(out, "%s%s%c%s%s", brackets ? "(" : "", a,
                              operators[first + left - 1], b, brackets ? ")" : "");
    }
    free(a);
    free(b);
    return status;
}

/* One candidate; *good false when its value can't be told. */
static enum status draw_problem(struct question *q, int64_t terms, int64_t *places, char **text,
                                struct decimal *value, bool *good)
{
    char operands[MOST_TERMS][32];
    char operators[MOST_TERMS];
    *places = 1;
    for (int64_t i = 0; i < terms; i++) {
        const int64_t n = question_range(q, "min_num_decimal_places", "max_num_decimal_places");
        const int64_t unit = (int64_t)ten_to(n);
        const int64_t raw = question_between(q, 1, 10 * unit);
        *places = n > *places ? n : *places;
        if (n > 0) {
            (void)snprintf(operands[i], sizeof operands[i], "%" PRId64 ".%0*" PRId64, raw / unit,
                           (int)n, raw % unit);
        } else {
            (void)snprintf(operands[i], sizeof operands[i], "%" PRId64, raw);
        }
        operators[i] = "+-*/"[question_below(q, 4)];
    }
    TRY(group(q, operands, operators, 0, (int)terms, text));
    struct evaluation e = {.p = *text, .precision = (int64_t)question_value(q, "precision")};
    *value = evaluate_sum(&e);
    *good = !e.failed;
    return STATUS_OK;
}

enum status question_decimal(struct question *q)
{
    enum { TRIES = 100 };
    const int64_t terms = question_range(q, "min_terms", "max_terms");
    const int64_t precision = (int64_t)question_value(q, "precision");
    struct decimal value = {0};
    int64_t places = 0;
    char *text = NULL;
    bool good = false;
    enum status status = STATUS_OK;
    if (precision <= (int64_t)question_value(q, "max_num_decimal_places") + 1) {
        return FAIL(RECIPE, "procedural: decimal_arithmetic: precision must be 2 or more over "
                            "max_num_decimal_places");
    }
    for (int i = 0; i < TRIES && !good && status == STATUS_OK; i++) {
        status = draw_problem(q, terms, &places, &text, &value, &good);
    }
    if (status == STATUS_OK && !good) {
        status = FAIL(RECIPE, "procedural: no question of decimal_arithmetic has this difficulty");
    }
    if (status == STATUS_OK) {
        status = question_set(&q->text,
                              "Please solve this problem to a maximum of %" PRId64
                              " significant digits, rounding up from the half. Only reply with the "
                              "final value.\n%s = ?",
                              precision, text);
    }
    free(text);
    TRY(status);
    TRY(decimal_text(value, &q->answer));
    TRY(question_note(q, "decimal_places", json_integer(places)));
    TRY(question_note(q, "num_terms", json_integer(terms)));
    TRY(question_difficulty(q, "decimal_places", "min_num_decimal_places",
                            "max_num_decimal_places"));
    return question_difficulty(q, "num_terms", "min_terms", "max_terms");
}
