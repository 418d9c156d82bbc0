/*
 * The countdown judge. The package evaluates the answer with sympy's parse_expr; here it is the
 * arithmetic part of that: numbers, + - * / // % **, factorials ! and !!, brackets, sqrt, abs,
 * factorial, pi and E. Everything else does not evaluate, as most texts don't there.
 */
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "eval/tasks/number.h"
#include "eval/tasks/procedural_internal.h"
#include "eval/tasks/text.h"

/* A number: exact while numerator and denominator fit, then a double. */
enum value_kind { VALUE_EXACT, VALUE_DOUBLE, VALUE_ZOO, VALUE_NAN };

struct value {
    enum value_kind kind;
    int64_t top;
    int64_t bottom; /* > 0 */
    double x;
};

struct parser {
    const char *p;
    int depth;
    int brackets; /* white space of any kind is allowed inside */
    bool failed;
};

enum { MOST_DEPTH = 100 };

static double as_double(const struct value *v)
{
    return v->kind == VALUE_EXACT ? (double)v->top / (double)v->bottom : v->x;
}

static struct value from_double(double x)
{
    return (struct value){.kind = isnan(x) ? VALUE_NAN : VALUE_DOUBLE, .x = x};
}

static struct value from_ratio(__int128 top, __int128 bottom)
{
    __int128 a = top < 0 ? -top : top;
    __int128 b = bottom < 0 ? -bottom : bottom;
    while (b != 0) {
        const __int128 t = a % b;
        a = b;
        b = t;
    }
    if (a > 0) {
        top /= a;
        bottom /= a;
    }
    if (bottom < 0) {
        top = -top;
        bottom = -bottom;
    }
    if (top > INT64_MAX || top < -INT64_MAX || bottom > INT64_MAX) {
        return from_double((double)top / (double)bottom);
    }
    return (struct value){.kind = VALUE_EXACT, .top = (int64_t)top, .bottom = (int64_t)bottom};
}

static bool is_zero(const struct value *v)
{
    return v->kind == VALUE_EXACT ? v->top == 0 : v->kind == VALUE_DOUBLE && v->x == 0.0;
}

static struct value of_kind(enum value_kind kind)
{
    return (struct value){.kind = kind};
}

static struct value add(const struct value *a, const struct value *b, int sign)
{
    if (a->kind == VALUE_NAN || b->kind == VALUE_NAN
        || (a->kind == VALUE_ZOO && b->kind == VALUE_ZOO)) {
        return of_kind(VALUE_NAN);
    }
    if (a->kind == VALUE_ZOO || b->kind == VALUE_ZOO) {
        return of_kind(VALUE_ZOO);
    }
    if (a->kind == VALUE_EXACT && b->kind == VALUE_EXACT) {
        __int128 left;
        __int128 top;
        const __int128 right = (__int128)sign * b->top * a->bottom;
        left = (__int128)a->top * b->bottom;
        if (!__builtin_add_overflow(left, right, &top)) {
            return from_ratio(top, (__int128)a->bottom * b->bottom);
        }
    }
    return from_double(as_double(a) + sign * as_double(b));
}

static struct value multiply(const struct value *a, const struct value *b)
{
    if (a->kind == VALUE_NAN || b->kind == VALUE_NAN) {
        return of_kind(VALUE_NAN);
    }
    if (a->kind == VALUE_ZOO || b->kind == VALUE_ZOO) {
        return of_kind(is_zero(a) || is_zero(b) ? VALUE_NAN : VALUE_ZOO);
    }
    if (a->kind == VALUE_EXACT && b->kind == VALUE_EXACT) {
        return from_ratio((__int128)a->top * b->top, (__int128)a->bottom * b->bottom);
    }
    return from_double(as_double(a) * as_double(b));
}

static struct value invert(const struct value *a)
{
    if (a->kind == VALUE_NAN) {
        return *a;
    }
    if (a->kind == VALUE_ZOO) {
        return from_ratio(0, 1);
    }
    if (is_zero(a)) {
        return of_kind(VALUE_ZOO);
    }
    return a->kind == VALUE_EXACT ? from_ratio(a->bottom, a->top) : from_double(1.0 / a->x);
}

static struct value fail(struct parser *s)
{
    s->failed = true;
    return of_kind(VALUE_NAN);
}

/* floor(a / b); Python raises on a zero divisor. */
static struct value floor_divide(struct parser *s, const struct value *a, const struct value *b)
{
    if (a->kind > VALUE_DOUBLE || b->kind > VALUE_DOUBLE || is_zero(b)) {
        return fail(s);
    }
    if (a->kind == VALUE_EXACT && b->kind == VALUE_EXACT) {
        __int128 top = (__int128)a->top * b->bottom;
        __int128 bottom = (__int128)a->bottom * b->top;
        top = bottom < 0 ? -top : top;
        bottom = bottom < 0 ? -bottom : bottom;
        const __int128 q = top / bottom;
        return from_ratio(q - (top % bottom < 0), 1);
    }
    return from_double(floor(as_double(a) / as_double(b)));
}

/* a ** b. */
static struct value power(struct parser *s, const struct value *a, const struct value *b)
{
    enum { MOST_EXACT = 64 };
    if (a->kind > VALUE_DOUBLE || b->kind > VALUE_DOUBLE) {
        return fail(s);
    }
    const double e = as_double(b);
    if (is_zero(a) && e < 0) {
        return of_kind(VALUE_ZOO);
    }
    if (as_double(a) < 0 && e != floor(e)) {
        return fail(s); /* complex */
    }
    if (a->kind == VALUE_EXACT && b->kind == VALUE_EXACT && b->bottom == 1
        && fabs(e) <= MOST_EXACT) {
        struct value base = e < 0 ? invert(a) : *a;
        struct value out = from_ratio(1, 1);
        for (int64_t i = 0; i < (int64_t)fabs(e); i++) {
            out = multiply(&out, &base);
        }
        return out;
    }
    return from_double(pow(as_double(a), e)); /* infinite where float() is */
}

/* a! with step 1, a!! with step 2. */
static struct value factorial(struct parser *s, const struct value *a, int step)
{
    enum { MOST = 320 }; /* 320!! is beyond a double */
    const double x = as_double(a);
    if (a->kind > VALUE_DOUBLE || x < -MOST) {
        return fail(s);
    }
    if (x > MOST) {
        return from_double(INFINITY);
    }
    if (x < 0 && x == floor(x)) {
        return step == 1 ? of_kind(VALUE_ZOO) : fail(s);
    }
    if (a->kind == VALUE_EXACT && a->bottom == 1) {
        struct value out = from_ratio(1, 1);
        for (int64_t i = a->top; i >= 2; i -= step) {
            const struct value factor = from_ratio(i, 1);
            out = multiply(&out, &factor);
        }
        return out;
    }
    return step == 1 ? from_double(tgamma(x + 1)) : fail(s);
}

static void skip(struct parser *s)
{
    while (*s->p == ' ' || *s->p == '\t' || *s->p == '\f'
           || (s->brackets > 0 && (*s->p == '\n' || *s->p == '\r'))) {
        s->p++;
    }
}

static struct value parse_sum(struct parser *s);

/* A whole number after 0x, 0o or 0b. */
static struct value parse_based(struct parser *s)
{
    const char *digits = s->p + 2;
    const int letter = tolower((unsigned char)s->p[1]);
    const int base = letter == 'x' ? 16 : letter == 'o' ? 8 : 2;
    if (!isalnum((unsigned char)*digits)) {
        return fail(s);
    }
    char *end;
    const long long x = strtoll(digits, &end, base);
    if (end == digits || isalnum((unsigned char)*end) || x == INT64_MAX) {
        return fail(s);
    }
    s->p = end;
    return from_ratio(x, 1);
}

/* A Python number: decimal whole numbers without leading zeros, 0x, 0o, 0b, decimals. */
static struct value parse_number(struct parser *s)
{
    char copy[NUMBER_TEXT_CAP];
    const char *p = s->p;
    if (p[0] == '0' && p[1] && strchr("xXoObB", p[1])) {
        return parse_based(s);
    }
    size_t n = strspn(p, "0123456789_");
    const bool point = p[n] == '.';
    n += point ? 1 + strspn(p + n + 1, "0123456789_") : 0;
    bool exponent = false;
    if (p[n] == 'e' || p[n] == 'E') {
        const size_t sign = p[n + 1] == '+' || p[n + 1] == '-';
        exponent = isdigit((unsigned char)p[n + 1 + sign]) != 0;
        n += exponent ? 1 + sign + strspn(p + n + 1 + sign, "0123456789") : 0;
    }
    double x;
    if (n >= sizeof copy) {
        return fail(s);
    }
    memcpy(copy, p, n);
    copy[n] = '\0';
    if (!number_float(copy, &x) || isalpha((unsigned char)p[n]) || p[n] == '_') {
        return fail(s);
    }
    s->p += n;
    if (point || exponent) {
        return from_double(x);
    }
    struct number_int whole;
    int64_t small;
    if (!number_int(copy, &whole) || (copy[0] == '0' && whole.count > 0)) {
        return fail(s);
    }
    return number_int_small(&whole, &small) ? from_ratio(small, 1) : from_double(x);
}

static struct value parse_bracket(struct parser *s)
{
    s->p++;
    s->brackets++;
    const struct value v = parse_sum(s);
    skip(s);
    if (*s->p != ')') {
        return fail(s);
    }
    s->p++;
    s->brackets--;
    return v;
}

static struct value parse_name(struct parser *s)
{
    size_t n = 0;
    while (isalnum((unsigned char)s->p[n]) || s->p[n] == '_') {
        n++;
    }
    const char *name = s->p;
    s->p += n;
    skip(s);
    if (*s->p != '(') {
        return n == 2 && memcmp(name, "pi", 2) == 0 ? from_double(M_PI)
               : n == 1 && *name == 'E'             ? from_double(M_E)
                                                    : fail(s);
    }
    const struct value v = parse_bracket(s);
    if (s->failed || v.kind > VALUE_DOUBLE) {
        return fail(s);
    }
    const double x = as_double(&v);
    if (n == 4 && memcmp(name, "sqrt", 4) == 0) {
        const double root = sqrt(x);
        if (x < 0) {
            return fail(s);
        }
        return v.kind == VALUE_EXACT && v.bottom == 1 && root == floor(root) && root < 1e9
                   ? from_ratio((__int128)root, 1)
                   : from_double(root);
    }
    if (n == 3 && (memcmp(name, "abs", 3) == 0 || memcmp(name, "Abs", 3) == 0)) {
        const struct value zero = from_ratio(0, 1);
        return x < 0 ? add(&zero, &v, -1) : v;
    }
    return n == 9 && memcmp(name, "factorial", 9) == 0 ? factorial(s, &v, 1) : fail(s);
}

static struct value parse_atom(struct parser *s)
{
    struct value v;
    skip(s);
    if (*s->p == '(') {
        v = parse_bracket(s);
    } else if (isdigit((unsigned char)*s->p) || (*s->p == '.' && isdigit((unsigned char)s->p[1]))) {
        v = parse_number(s);
    } else if (isalpha((unsigned char)*s->p)) {
        v = parse_name(s);
    } else {
        return fail(s);
    }
    while (!s->failed && s->p[0] == '!' && s->p[1] != '=') { /* without space before it */
        const int step = s->p[1] == '!' ? 2 : 1;
        s->p += step;
        v = factorial(s, &v, step);
    }
    return v;
}

/* Signs, and ** that binds tighter on its left: -2**2 is -4, 2**-1 a half. */
static struct value parse_power(struct parser *s)
{
    if (s->failed || ++s->depth > MOST_DEPTH) {
        return fail(s);
    }
    skip(s);
    struct value v;
    if (*s->p == '-' || *s->p == '+') {
        const struct value zero = from_ratio(0, 1);
        const int sign = *s->p == '-' ? -1 : 1;
        s->p++;
        v = parse_power(s);
        v = v.kind > VALUE_DOUBLE ? v : add(&zero, &v, sign);
    } else {
        v = parse_atom(s);
        skip(s);
        if (!s->failed && s->p[0] == '*' && s->p[1] == '*') {
            s->p += 2;
            const struct value e = parse_power(s);
            v = s->failed ? e : power(s, &v, &e);
        }
    }
    s->depth--;
    return v;
}

static struct value parse_product(struct parser *s)
{
    struct value v = parse_power(s);
    for (skip(s); !s->failed && (*s->p == '*' || *s->p == '/' || *s->p == '%'); skip(s)) {
        const char op = *s->p;
        const bool whole = op == '/' && s->p[1] == '/';
        s->p += 1 + whole;
        const struct value right = parse_power(s);
        if (s->failed) {
            break;
        }
        if (op == '*') {
            v = multiply(&v, &right);
        } else if (op == '/' && !whole) {
            const struct value inverse = invert(&right);
            v = multiply(&v, &inverse);
        } else {
            const struct value q = floor_divide(s, &v, &right);
            const struct value product = multiply(&q, &right);
            v = whole ? q : add(&v, &product, -1);
        }
    }
    return v;
}

static struct value parse_sum(struct parser *s)
{
    if (s->failed || ++s->depth > MOST_DEPTH) {
        return fail(s);
    }
    struct value v = parse_product(s);
    for (skip(s); !s->failed && (*s->p == '+' || *s->p == '-'); skip(s)) {
        const int sign = *s->p == '-' ? -1 : 1;
        s->p++;
        const struct value right = parse_product(s);
        v = add(&v, &right, sign);
    }
    s->depth--;
    return v;
}

/* float(parse_expr(text)); false where that raises. */
static bool evaluate(const char *text, double *out)
{
    const size_t n = text_strip(&text);
    char *copy = strndup(text, n);
    struct parser s = {.p = copy};
    if (!copy) {
        return false;
    }
    const struct value v = parse_sum(&s);
    skip(&s);
    const bool comment = *s.p == '#' && !strpbrk(s.p, "\r\n");
    const bool good = !s.failed && (*s.p == '\0' || comment) && v.kind != VALUE_ZOO;
    *out = v.kind == VALUE_NAN ? NAN : as_double(&v);
    free(copy);
    return good;
}

static bool is_word(uint32_t c)
{
    return c == '_' || text_is_alnum(c);
}

/* True when the whole numbers of the text, \b\d+\b, are those of the list in any order. */
static bool uses_numbers(const char *text, const json_t *numbers)
{
    enum { MOST = 256 };
    bool used[MOST] = {false};
    size_t count = 0;
    uint32_t before = 0;
    if (json_array_size(numbers) > MOST) {
        return false;
    }
    for (const char *p = text; *p;) {
        const char *begin = p;
        uint32_t c = text_next(&p);
        if (is_word(before) || text_digit(c) < 0) {
            before = c;
            continue;
        }
        const char *end = p;
        for (const char *next = p; text_digit(c = text_next(&next)) >= 0; end = p) {
            p = next;
        }
        end = p;
        before = '0';
        if (c != 0 && is_word(c)) {
            continue; /* a number with letters behind it */
        }
        char *digits = strndup(begin, (size_t)(end - begin));
        struct number_int n;
        int64_t x;
        const bool small = digits && number_int(digits, &n) && number_int_small(&n, &x);
        free(digits);
        size_t i = 0;
        while (small && i < json_array_size(numbers)
               && (used[i] || json_integer_value(json_array_get(numbers, i)) != x)) {
            i++;
        }
        if (!small || i == json_array_size(numbers)) {
            return false;
        }
        used[i] = true;
        count++;
    }
    return count == json_array_size(numbers);
}

double procedural_score_countdown(const char *answer, const json_t *entry)
{
    static const double NOT_EVALUATED = 0.01;
    static const double WRONG = 0.05;
    double x;
    const json_t *metadata = json_object_get(entry, "metadata");
    if (!answer || !evaluate(answer, &x)) {
        return NOT_EVALUATED;
    }
    const double target = json_number_value(json_object_get(metadata, "target"));
    const bool right = uses_numbers(answer, json_object_get(metadata, "numbers"))
                       && fabs(x - target) <= 1e-6 + 1e-5 * fabs(target);
    return right ? 1.0 : WRONG;
}
