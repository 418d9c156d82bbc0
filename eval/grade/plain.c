/*
 * Plain expressions of numbers; see extract.h. The text is read as Python reads it: no products
 * without a sign, no leading zeros, powers bind to the right and tighter than signs on their left.
 */
#include <ctype.h>
#include <string.h>

#include "eval/grade/extract.h"

enum { MAX_DEPTH = 60 };

struct plain {
    struct expr_pool *pool;
    const char *s, *end;
    int depth;
    int brackets; /* open */
};

static void skip_spaces(struct plain *p)
{
    while (p->s < p->end && (*p->s == ' ' || *p->s == '\t' || *p->s == '\n' || *p->s == '\f'
                             || (*p->s == '\r' && p->brackets > 0))) {
        p->s++;
    }
}

static bool take(struct plain *p, const char *sign)
{
    const size_t n = strlen(sign);
    skip_spaces(p);
    if ((size_t)(p->end - p->s) < n || memcmp(p->s, sign, n) != 0) {
        return false;
    }
    /* "*" is not the start of "**". */
    if (n == 1 && *sign == '*' && p->s + 1 < p->end && p->s[1] == '*') {
        return false;
    }
    if (n == 1 && *sign == '/' && p->s + 1 < p->end && p->s[1] == '/') {
        return false;
    }
    p->s += n;
    return true;
}

static const struct expr *sum(struct plain *p);

static const struct expr *atom(struct plain *p)
{
    if (take(p, "(")) {
        p->brackets++;
        const struct expr *e = sum(p);
        const bool closed = e && take(p, ")");
        p->brackets--;
        return closed ? e : NULL;
    }
    skip_spaces(p);
    const char *const start = p->s;
    while (p->s < p->end && isdigit((unsigned char)*p->s)) {
        p->s++;
    }
    const size_t whole = (size_t)(p->s - start);
    size_t digits = whole;
    const bool point = p->s < p->end && *p->s == '.';
    if (point) {
        for (p->s++; p->s < p->end && isdigit((unsigned char)*p->s); p->s++) {
            digits++;
        }
    }
    if (digits == 0 || (!point && whole > 1 && *start == '0' &&
                        strspn(start, "0") < whole)) {
        return NULL;
    }
    return expr_number(p->pool, start, (size_t)(p->s - start));
}

static const struct expr *unary(struct plain *p);

static const struct expr *power(struct plain *p)
{
    const struct expr *base = atom(p);
    if (base && (take(p, "**") || take(p, "^"))) {
        return expr_binary(p->pool, EXPR_POW, base, unary(p));
    }
    return base;
}

static const struct expr *unary(struct plain *p)
{
    if (++p->depth > MAX_DEPTH) {
        return NULL;
    }
    const struct expr *e;
    if (take(p, "-")) {
        const struct expr *inner = unary(p);
        struct expr *minus = inner && inner->kind == EXPR_RATIONAL
                                 ? expr_rational(p->pool, inner->q)
                                 : NULL;
        if (minus) {
            fmpq_neg(minus->q, minus->q);
        }
        e = minus ? minus
                  : expr_binary(p->pool, EXPR_MUL, expr_integer(p->pool, -1), inner);
    } else if (take(p, "+")) {
        e = unary(p);
    } else {
        e = power(p);
    }
    p->depth--;
    return e;
}

static const struct expr *product(struct plain *p)
{
    const struct expr *e = unary(p);
    while (e) {
        const bool times = take(p, "*");
        if (!times && !take(p, "/")) {
            break;
        }
        const struct expr *right = unary(p);
        if (right && !times) {
            right = expr_binary(p->pool, EXPR_POW, right, expr_integer(p->pool, -1));
        }
        e = expr_binary(p->pool, EXPR_MUL, e, right);
    }
    return e;
}

static const struct expr *sum(struct plain *p)
{
    if (++p->depth > MAX_DEPTH) {
        return NULL;
    }
    const struct expr *e = product(p);
    while (e) {
        const bool plus = take(p, "+");
        if (!plus && !take(p, "-")) {
            break;
        }
        const struct expr *right = product(p);
        if (right && !plus) {
            right = expr_binary(p->pool, EXPR_MUL, expr_integer(p->pool, -1), right);
        }
        e = expr_binary(p->pool, EXPR_ADD, e, right);
    }
    p->depth--;
    return e;
}

const struct expr *plain_parse(struct expr_pool *pool, struct slice text)
{
    const struct slice t = slice_trim(text);
    struct plain p = {.pool = pool, .s = t.s, .end = t.s + t.n};
    const struct expr *e = sum(&p);
    skip_spaces(&p);
    /* A return ends the expression: what is behind it is not looked at. */
    return e && (p.s == p.end || *p.s == '\r') ? e : NULL;
}
