/*
 * What the reference's simplification finds: true identities that it does not prove are false for
 * it, and the math-verify rule set follows. The limits here were found by running it on identities;
 * the strict rule set does not know them.
 */
#include "eval/grade/compare.h"

/* Does a pair of expressions hold such nodes? */
typedef bool (*node_fn)(const struct expr *e);

static bool holds(const struct expr *e, node_fn is)
{
    if (is(e)) {
        return true;
    }
    for (int i = 0; i < e->count; i++) {
        if (holds(e->args[i], is)) {
            return true;
        }
    }
    return false;
}

static bool is_tangent(const struct expr *e)
{
    return e->kind == EXPR_CALL && (e->fn == FN_TAN || e->fn == FN_COT);
}

static bool is_trigonometric(const struct expr *e)
{
    return e->kind == EXPR_CALL && e->fn >= FN_SIN && e->fn <= FN_COT;
}

static bool is_inverse(const struct expr *e)
{
    return e->kind == EXPR_CALL && e->fn >= FN_ASIN && e->fn <= FN_ACOT;
}

static bool is_abs_of_sum(const struct expr *e)
{
    return e->kind == EXPR_CALL && e->fn == FN_ABS && e->args[0]->kind == EXPR_ADD;
}

static bool is_root_of_sum(const struct expr *e)
{
    return e->kind == EXPR_POW && e->args[0]->kind == EXPR_ADD &&
           e->args[1]->kind == EXPR_RATIONAL && !expr_is_integer(e->args[1]);
}

/* Do all trigonometric functions have the argument *first? */
static bool one_argument(const struct expr *e, const struct expr **first)
{
    if (is_trigonometric(e)) {
        if (*first && !expr_same(*first, e->args[0])) {
            return false;
        }
        *first = e->args[0];
    }
    for (int i = 0; i < e->count; i++) {
        if (!one_argument(e->args[i], first)) {
            return false;
        }
    }
    return true;
}

/* Different kinds of inverse functions, as bits. */
static unsigned inverse_kinds(const struct expr *e)
{
    unsigned kinds = is_inverse(e) ? 1u << e->fn : 0u;
    for (int i = 0; i < e->count; i++) {
        kinds |= inverse_kinds(e->args[i]);
    }
    return kinds;
}

bool compare_provable(const struct expr *a, const struct expr *b)
{
    if (!value_has_symbols(a) && !value_has_symbols(b)) {
        return true;
    }
    if (holds(a, is_tangent) || holds(b, is_tangent)) {
        const struct expr *argument = NULL;
        if (!one_argument(a, &argument) || !one_argument(b, &argument)) {
            return false;
        }
    }
    const unsigned kinds = inverse_kinds(a) | inverse_kinds(b);
    if ((kinds & (kinds - 1)) != 0) {
        return false;
    }
    return !((holds(a, is_abs_of_sum) && holds(b, is_root_of_sum)) ||
             (holds(b, is_abs_of_sum) && holds(a, is_root_of_sum)));
}

static bool is_literal(const struct expr *e)
{
    return e->kind == EXPR_RATIONAL || e->kind == EXPR_FLOAT ||
           (e->kind == EXPR_POW && is_literal(e->args[0]) && is_literal(e->args[1]));
}

/* e = factor * rest: literals, and everything else. */
static bool split(struct expr_pool *p, const struct expr *e, const struct expr **factor,
                  const struct expr **rest)
{
    const struct expr *one = expr_integer(p, 1);
    *factor = *rest = one;
    if (e->kind != EXPR_MUL) {
        *rest = e;
        return one != NULL;
    }
    for (int i = 0; i < e->count && *factor && *rest; i++) {
        const struct expr *inner;
        const struct expr *outer;
        if (e->args[i]->kind == EXPR_MUL) {
            if (!split(p, e->args[i], &inner, &outer)) {
                return false;
            }
            *factor = expr_flat(p, EXPR_MUL, *factor, inner);
            *rest = expr_flat(p, EXPR_MUL, *rest, outer);
        } else if (is_literal(e->args[i])) {
            *factor = expr_flat(p, EXPR_MUL, *factor, e->args[i]);
        } else {
            *rest = expr_flat(p, EXPR_MUL, *rest, e->args[i]);
        }
    }
    return *factor && *rest;
}

static bool is_float(const struct expr *e)
{
    return e->kind == EXPR_FLOAT;
}

enum value_verdict compare_factors(struct comparison *c, const struct expr *a,
                                   const struct expr *b)
{
    const struct expr *factor[2];
    const struct expr *rest[2];
    if ((a->kind != EXPR_MUL && b->kind != EXPR_MUL) || (!holds(a, is_float) && !holds(b, is_float))
        || !split(c->pool, a, &factor[0], &rest[0]) || !split(c->pool, b, &factor[1], &rest[1])
        || holds(rest[0], is_float) || holds(rest[1], is_float)
        || value_equal(rest[0], rest[1], &c->steps) != VALUE_EQUAL) {
        return VALUE_UNKNOWN;
    }
    return value_equal(factor[0], factor[1], &c->steps);
}
