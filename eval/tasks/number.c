/* Numbers as Python reads them; see number.h. */
#include "eval/tasks/number.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "eval/tasks/text.h"

/* White space becomes ' ', digits of any script ASCII ones, other characters beyond ASCII '?'; then
 * white space is stripped. False when it doesn't fit. */
static bool to_ascii(const char *text, char out[NUMBER_TEXT_CAP])
{
    size_t used = 0;
    size_t end = 0;
    for (;;) {
        const uint32_t c = text_next(&text);
        if (c == 0) {
            break;
        }
        if (text_is_space(c) && used == 0) {
            continue;
        }
        if (used + 1 >= NUMBER_TEXT_CAP) {
            return false;
        }
        const int digit = text_digit(c);
        out[used++] = (char)(text_is_space(c) ? ' ' : digit >= 0 ? '0' + digit : c < 128 ? (int)c : '?');
        end = text_is_space(c) ? end : used;
    }
    out[end] = '\0';
    return true;
}

/* Takes the underscores out; false unless each stands between two digits. */
static bool drop_underscores(char *s)
{
    char *to = s;
    for (const char *p = s; *p; p++) {
        if (*p != '_') {
            *to++ = *p;
        } else if (p == s || !isdigit((unsigned char)p[-1]) || !isdigit((unsigned char)p[1])) {
            return false;
        }
    }
    *to = '\0';
    return true;
}

/* Bytes of digits[.digits][e[+-]digits] at p with at least one digit before the exponent; 0: none.
 */
static size_t plain_number(const char *p)
{
    const char *s = p;
    size_t digits = 0;
    for (; isdigit((unsigned char)*s); s++) {
        digits++;
    }
    if (*s == '.') {
        for (s++; isdigit((unsigned char)*s); s++) {
            digits++;
        }
    }
    if (digits == 0) {
        return 0;
    }
    if (*s == 'e' || *s == 'E') {
        const char *e = s + 1;
        e += *e == '+' || *e == '-';
        if (isdigit((unsigned char)*e)) {
            while (isdigit((unsigned char)*e)) {
                e++;
            }
            s = e;
        }
    }
    return (size_t)(s - p);
}

/* A float with its sign at p, as PyOS_string_to_double takes it; bytes, 0: none. */
static size_t scan_float(const char *p, double *out)
{
    static const char *const WORDS[] = {"infinity", "inf", "nan"};
    const size_t sign = *p == '+' || *p == '-';
    for (size_t i = 0; i < 3; i++) {
        const size_t n = strlen(WORDS[i]);
        if (strncasecmp(p + sign, WORDS[i], n) == 0) {
            const double x = i == 2 ? NAN : INFINITY;
            *out = *p == '-' ? -x : x;
            return sign + n;
        }
    }
    const size_t n = plain_number(p + sign);
    if (n == 0) {
        return 0;
    }
    char copy[NUMBER_TEXT_CAP];
    memcpy(copy, p, sign + n);
    copy[sign + n] = '\0';
    *out = strtod(copy, NULL);
    return sign + n;
}

bool number_float(const char *text, double *out)
{
    char s[NUMBER_TEXT_CAP];
    if (!to_ascii(text, s) || !drop_underscores(s)) {
        return false;
    }
    const size_t n = scan_float(s, out);
    return n > 0 && s[n] == '\0';
}

bool number_int(const char *text, struct number_int *out)
{
    char s[NUMBER_TEXT_CAP];
    *out = (struct number_int){0};
    if (!to_ascii(text, s) || !drop_underscores(s)) {
        return false;
    }
    const char *p = s + (*s == '+' || *s == '-');
    const size_t n = strspn(p, "0123456789");
    if (n == 0 || p[n] != '\0' || n > NUMBER_INT_DIGITS) {
        return false;
    }
    const size_t zeros = strspn(p, "0");
    out->count = (int64_t)(n - zeros);
    memcpy(out->digits, p + zeros, n - zeros + 1);
    out->negative = *s == '-' && out->count > 0;
    return true;
}

bool number_int_small(const struct number_int *n, int64_t *out)
{
    if (n->count > 18) {
        return false;
    }
    const int64_t x = n->count > 0 ? strtoll(n->digits, NULL, 10) : 0;
    *out = n->negative ? -x : x;
    return true;
}

double number_int_double(const struct number_int *n)
{
    const double x = n->count > 0 ? strtod(n->digits, NULL) : 0.0;
    return n->negative ? -x : x;
}

/* The inner part of complex(): x, xj, x+yj, j with signs. Bytes taken, 0: none. */
static size_t scan_complex(const char *p, double *real, double *imaginary)
{
    double x = 0.0;
    double y = 0.0;
    const char *s = p;
    size_t n = scan_float(s, &x);
    *real = 0.0;
    *imaginary = 0.0;
    s += n;
    if (n > 0 && (*s == '+' || *s == '-')) {
        *real = x;
        n = scan_float(s, &y);
        if (n == 0) {
            y = *s == '-' ? -1.0 : 1.0;
            n = 1;
        }
        s += n;
        if (*s != 'j' && *s != 'J') {
            return 0;
        }
        *imaginary = y;
        return (size_t)(s + 1 - p);
    }
    if (n > 0) {
        const bool is_imaginary = *s == 'j' || *s == 'J';
        *(is_imaginary ? imaginary : real) = x;
        return (size_t)(s + is_imaginary - p);
    }
    *imaginary = *s == '-' ? -1.0 : 1.0;
    s += *s == '+' || *s == '-';
    return *s == 'j' || *s == 'J' ? (size_t)(s + 1 - p) : 0;
}

bool number_complex(const char *text, double *real, double *imaginary)
{
    char s[NUMBER_TEXT_CAP];
    if (!to_ascii(text, s) || !drop_underscores(s)) {
        return false;
    }
    const char *p = s;
    const bool bracket = *p == '(';
    p += bracket;
    p += strspn(p, " ");
    const size_t n = scan_complex(p, real, imaginary);
    p += n;
    p += strspn(p, " ");
    if (n == 0 || (bracket && *p != ')')) {
        return false;
    }
    p += bracket;
    return *p == '\0';
}

/* Stores the digits of a coefficient whose last digit has weight 10^exponent. */
static void place_digits(const char *digits, size_t count, int64_t exponent,
                         struct number_decimal *out)
{
    for (size_t i = 0; i < count; i++) {
        const int digit = digits[i] - '0';
        const int64_t power = exponent + (int64_t)(count - 1 - i);
        const int64_t at = DECIMAL_WINDOW - 1 - power;
        if (digit == 0) {
            continue;
        }
        if (at < 0) {
            out->huge = true;
        } else if (at >= 2 * DECIMAL_WINDOW) {
            out->sticky = true;
        } else {
            out->digits[at] = (int8_t)digit;
        }
    }
}

/* Decimal() ignores underscores wherever they stand. */
static void drop_all_underscores(char *s)
{
    char *to = s;
    for (const char *p = s; *p; p++) {
        if (*p != '_') {
            *to++ = *p;
        }
    }
    *to = '\0';
}

bool number_decimal(const char *text, struct number_decimal *out)
{
    char s[NUMBER_TEXT_CAP];
    char coefficient[NUMBER_TEXT_CAP];
    size_t count = 0;
    int64_t exponent = 0;
    *out = (struct number_decimal){0};
    if (!to_ascii(text, s)) {
        return false;
    }
    drop_all_underscores(s);
    const char *p = s + (*s == '+' || *s == '-');
    const size_t n = plain_number(p);
    if (n == 0 || p[n] != '\0') {
        return false;
    }
    bool behind_point = false;
    for (; *p && *p != 'e' && *p != 'E'; p++) {
        if (*p == '.') {
            behind_point = true;
        } else {
            coefficient[count++] = *p;
            exponent -= behind_point;
        }
    }
    if (*p) {
        /* Out of range either way is far outside the window. */
        const double e = strtod(p + 1, NULL);
        exponent += (int64_t)fmax(fmin(e, 1e12), -1e12);
    }
    out->negative = *s == '-';
    place_digits(coefficient, count, exponent, out);
    return true;
}

/* Compares magnitudes: -1, 0, 1; two huge ones are not told apart (0). */
static int compare_digits(const struct number_decimal *a, const struct number_decimal *b)
{
    if (a->huge || b->huge) {
        return (int)a->huge - (int)b->huge;
    }
    const int order = memcmp(a->digits, b->digits, sizeof a->digits); /* digits are not negative */
    return order ? (order > 0) - (order < 0) : (int)a->sticky - (int)b->sticky;
}

static bool is_zero(const struct number_decimal *a)
{
    static const struct number_decimal ZERO = {0};
    return !a->huge && !a->sticky && memcmp(a->digits, ZERO.digits, sizeof a->digits) == 0;
}

bool number_decimal_equal(const struct number_decimal *a, const struct number_decimal *b)
{
    if (a->huge || b->huge || a->sticky || b->sticky) {
        return false; /* the window holds every number of a task */
    }
    return compare_digits(a, b) == 0 && (a->negative == b->negative || is_zero(a));
}

/* |a| + |b| or, with |a| >= |b|, |a| - |b|. */
static void combine(const struct number_decimal *a, const struct number_decimal *b, bool subtract,
                    struct number_decimal *out)
{
    int carry = 0;
    *out = (struct number_decimal){.sticky = a->sticky || b->sticky};
    for (int i = 2 * DECIMAL_WINDOW - 1; i >= 0; i--) {
        int digit = subtract ? a->digits[i] - b->digits[i] - carry
                             : a->digits[i] + b->digits[i] + carry;
        carry = digit < 0 || digit > 9;
        digit += digit < 0 ? 10 : digit > 9 ? -10 : 0;
        out->digits[i] = (int8_t)digit;
    }
    out->huge = carry != 0;
}

bool number_decimal_close(const struct number_decimal *a, const struct number_decimal *b,
                          int64_t places, int64_t precision)
{
    struct number_decimal difference;
    struct number_decimal limit = {0};
    if (a->huge || b->huge) {
        return false;
    }
    const bool subtract = a->negative == b->negative;
    if (subtract && compare_digits(a, b) < 0) {
        combine(b, a, true, &difference);
    } else {
        combine(a, b, subtract, &difference);
    }
    limit.digits[DECIMAL_WINDOW - 1 + places] = 1;
    limit.digits[DECIMAL_WINDOW - 1 + places + precision] = 5;
    return compare_digits(&difference, &limit) <= 0;
}

void number_repr(double x, char out[32])
{
    for (int n = 1; n <= 17; n++) {
        (void)snprintf(out, 32, "%.*g", n, x);
        if (strtod(out, NULL) == x) {
            break;
        }
    }
    if (strpbrk(out, "e") && fabs(x) < 1e16 && fabs(x) >= 1e-4) { /* 1e+02 is 100.0 */
        (void)snprintf(out, 32, "%.0f", x);
    }
    if (!strpbrk(out, ".en")) {
        (void)strncat(out, ".0", 3);
    }
}
