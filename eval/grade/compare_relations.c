/* Relations: by difference, turned round, by proportion; solutions in one unknown. */
#include <string.h>

#include "eval/grade/compare.h"

static enum expr_relation turned(enum expr_relation r)
{
    switch (r) {
    case EXPR_LT:
        return EXPR_GT;
    case EXPR_LE:
        return EXPR_GE;
    case EXPR_GT:
        return EXPR_LT;
    case EXPR_GE:
        return EXPR_LE;
    default:
        return r;
    }
}

static bool is_scalar(const struct expr *e)
{
    return e->kind < EXPR_MATRIX;
}

static const struct expr *find_symbols(const struct expr *e, const struct expr *first, bool *more)
{
    if (e->kind == EXPR_SYMBOL) {
        *more = *more || (first && !expr_same(first, e));
        return first ? first : e;
    }
    for (int i = 0; i < e->count; i++) {
        first = find_symbols(e->args[i], first, more);
    }
    return first;
}

/* Sides of sets or tuples are compared as they are. */
static bool sides_equal(const struct expr *gold, const struct expr *pred)
{
    return expr_same(gold->args[0], pred->args[0]) &&
           expr_same(gold->args[1], pred->args[1]);
}

static bool holds_symbol(const struct expr *e, const struct expr *symbol)
{
    bool holds = expr_same(e, symbol);
    for (int i = 0; i < e->count && !holds; i++) {
        holds = holds_symbol(e->args[i], symbol);
    }
    return holds;
}

/* The first `most` different symbols. */
static void list_symbols(const struct expr *e, const struct expr **list, int most, int *count)
{
    if (e->kind == EXPR_SYMBOL) {
        for (int i = 0; i < *count; i++) {
            if (expr_same(list[i], e)) {
                return;
            }
        }
        if (*count < most) {
            list[(*count)++] = e;
        }
    }
    for (int i = 0; i < e->count; i++) {
        list_symbols(e->args[i], list, most, count);
    }
}

static bool same_symbols_in(const struct expr *e, const struct expr *of)
{
    if (e->kind == EXPR_SYMBOL) {
        return holds_symbol(of, e);
    }
    for (int i = 0; i < e->count; i++) {
        if (!same_symbols_in(e->args[i], of)) {
            return false;
        }
    }
    return true;
}

/* Equations in the same unknowns, linear in one of them, with the same solution for it. */
static bool same_roots(struct comparison *c, const struct expr *gold, const struct expr *pred)
{
    const struct expr *symbols[4];
    int count = 0;
    if (!same_symbols_in(gold, pred) || !same_symbols_in(pred, gold)) {
        return false;
    }
    list_symbols(gold, symbols, 4, &count);
    for (int i = 0; i < count; i++) {
        if (value_same_root(gold->args[0], gold->args[1], pred->args[0], pred->args[1], symbols[i],
                            &c->steps)) {
            return true;
        }
    }
    return false;
}

/* Strict: relations in the one same unknown with the same real solutions, in whatever form. */
static bool same_solutions(struct comparison *c, const struct expr *gold, const struct expr *pred)
{
    bool more = false;
    const struct expr *x = find_symbols(gold, NULL, &more);
    if (!find_symbols(pred, x, &more) || !x || more) {
        return false;
    }
    const struct expr *a = compare_solutions(c, gold);
    const struct expr *b = a ? compare_solutions(c, pred) : NULL;
    return b && compare_real_sets(c, a, b);
}

static bool compare_one(struct comparison *c, const struct expr *gold, const struct expr *pred)
{
    if (gold->kind == EXPR_AND && pred->kind == EXPR_AND) {
        bool equal = gold->count == pred->count;
        for (int i = 0; i < gold->count && equal; i++) {
            equal = compare_one(c, gold->args[i], pred->args[i]);
        }
        return equal;
    }
    if (gold->kind != EXPR_RELATION || pred->kind != EXPR_RELATION) {
        return false;
    }
    for (int i = 0; i < 2; i++) {
        if (!is_scalar(gold->args[i]) || !is_scalar(pred->args[i])) {
            return gold->relation == pred->relation && sides_equal(gold, pred);
        }
    }
    const struct expr *a = compare_minus(c->pool, gold->args[0], gold->args[1]);
    const struct expr *b = compare_minus(c->pool, pred->args[0], pred->args[1]);
    const struct expr *b_turned = compare_minus(c->pool, pred->args[1], pred->args[0]);
    if (!a || !b || !b_turned) {
        return false;
    }
    if (gold->relation == pred->relation && compare_equal(c, a, b)) {
        return true;
    }
    /* The reference has no inverse for "unequal" and raises. */
    if (gold->relation == EXPR_NE && !c->strict) {
        c->raised = true;
        return false;
    }
    if (turned(gold->relation) == pred->relation && compare_equal(c, a, b_turned)) {
        return true;
    }
    bool more = false;
    const struct expr *symbol = find_symbols(a, NULL, &more);
    const bool solvable = gold->relation == EXPR_EQ && pred->relation == EXPR_EQ && symbol;
    return solvable && more &&
           (value_proportional(gold->args[0], gold->args[1], pred->args[0], pred->args[1],
                               &c->steps) ||
            same_roots(c, gold, pred));
}

bool compare_relations(struct comparison *c, const struct expr *gold, const struct expr *pred)
{
    return compare_one(c, gold, pred) || (c->strict && same_solutions(c, gold, pred));
}

static const struct expr *infinite(struct expr_pool *p, bool negative)
{
    return expr_new(p, negative ? EXPR_NEG_INFINITY : EXPR_INFINITY, 0);
}

static const struct expr *reals(struct expr_pool *p)
{
    struct expr *e = expr_new(p, EXPR_NAMED_SET, 0);
    if (e) {
        e->name = "Reals";
    }
    return e;
}

/* Roots of c0 + c1 x + c2 x^2, ascending; their number, -1 when every x is one. */
static int roots(struct expr_pool *p, fmpq_t c[3], const struct expr *root[2])
{
    fmpq_t d;
    fmpq_t t;
    int count = 0;
    fmpq_init(d);
    fmpq_init(t);
    if (!fmpq_is_zero(c[2])) {
        fmpq_mul(d, c[1], c[1]);
        fmpq_mul(t, c[0], c[2]);
        fmpq_mul_si(t, t, 4);
        fmpq_sub(d, d, t);
        count = fmpq_sgn(d) < 0 ? 0 : fmpq_is_zero(d) ? 1 : 2;
        fmpq_set_si(t, fmpq_sgn(c[2]) > 0 ? 2 : -2, 1);
        fmpq_mul(t, t, c[2]); /* 2 |c2| */
        fmpq_inv(t, t);
        for (int i = 0; i < count; i++) {
            struct expr *half = expr_integer(p, 1);
            if (half) {
                fmpq_set_si(half->q, 1, 2);
            }
            const struct expr *surd = expr_binary(p, EXPR_POW, expr_rational(p, d), half);
            surd = expr_binary(p, EXPR_MUL, expr_integer(p, i == 0 ? -1 : 1), surd);
            struct expr *b = expr_rational(p, c[1]);
            if (b && fmpq_sgn(c[2]) > 0) {
                fmpq_neg(b->q, b->q);
            }
            root[i] = expr_binary(p, EXPR_MUL, expr_rational(p, t),
                                  expr_binary(p, EXPR_ADD, b, surd));
        }
    } else if (!fmpq_is_zero(c[1])) {
        count = 1;
        fmpq_div(t, c[0], c[1]);
        fmpq_neg(t, t);
        root[0] = expr_rational(p, t);
    } else {
        count = fmpq_is_zero(c[0]) ? -1 : 0;
    }
    fmpq_clear(d);
    fmpq_clear(t);
    return count;
}

static const struct expr *interval(struct expr_pool *p, const struct expr *a, const struct expr *b,
                                   bool open)
{
    struct expr *e = a && b ? expr_binary(p, EXPR_INTERVAL, a, b) : NULL;
    if (e) {
        e->left_open = open || a->kind == EXPR_NEG_INFINITY;
        e->right_open = open || b->kind == EXPR_INFINITY;
    }
    return e;
}

/* Where a quadratic with these roots and this sign at +-infinity satisfies the inequality. */
static const struct expr *inequality(struct expr_pool *p, fmpq_t c[3], enum expr_relation relation,
                                     int count, const struct expr *root[2])
{
    const bool want_positive = relation == EXPR_GT || relation == EXPR_GE;
    const bool open = relation == EXPR_LT || relation == EXPR_GT;
    const int lead = !fmpq_is_zero(c[2]) ? fmpq_sgn(c[2]) : fmpq_sgn(c[1]);
    if (count == 1 && fmpq_is_zero(c[2])) {
        const bool right = (lead > 0) == want_positive;
        return right ? interval(p, root[0], infinite(p, false), open)
                     : interval(p, infinite(p, true), root[0], open);
    }
    const bool outside = (lead > 0) == want_positive;
    if (count == 2) {
        return outside ? expr_binary(p, EXPR_UNION, interval(p, infinite(p, true), root[0], open),
                                     interval(p, root[1], infinite(p, false), open))
                       : interval(p, root[0], root[1], open);
    }
    if (count == 0 && !fmpq_is_zero(c[2])) {
        return outside ? reals(p) : expr_set(p, NULL, 0);
    }
    return NULL;
}

/* x^n = c for an odd n: the real root. NULL for anything else. */
static const struct expr *odd_root(struct comparison *c, const struct expr *r)
{
    const struct expr *power = r->args[0];
    const struct expr *right = r->args[1];
    if (r->relation != EXPR_EQ || power->kind != EXPR_POW || power->args[0]->kind != EXPR_SYMBOL ||
        !expr_is_integer(power->args[1]) || right->kind != EXPR_RATIONAL ||
        fmpq_sgn(power->args[1]->q) <= 0 || fmpz_is_even(fmpq_numref(power->args[1]->q)) ||
        fmpq_is_zero(right->q)) {
        return NULL;
    }
    struct expr *size = expr_rational(c->pool, right->q);
    struct expr *index = expr_integer(c->pool, 1);
    if (!size || !index) {
        return NULL;
    }
    fmpq_abs(size->q, size->q);
    fmpq_inv(index->q, power->args[1]->q);
    const struct expr *root =
        expr_binary(c->pool, EXPR_MUL, expr_integer(c->pool, fmpq_sgn(right->q)),
                    expr_binary(c->pool, EXPR_POW, size, index));
    return root ? expr_set(c->pool, &root, 1) : NULL;
}

static const struct expr *solve_one(struct comparison *c, const struct expr *r)
{
    const struct expr *odd = odd_root(c, r);
    if (odd) {
        return odd;
    }

    fmpq_t coefficient[3];
    const struct expr *root[2] = {NULL, NULL};
    const struct expr *symbol;
    const struct expr *e = NULL;
    for (int i = 0; i < 3; i++) {
        fmpq_init(coefficient[i]);
    }
    const struct expr *left = r->args[0];
    const struct expr *right = r->args[1];
    if (left->kind == EXPR_CALL && left->fn == FN_ABS && right->kind == EXPR_RATIONAL &&
        fmpq_sgn(right->q) > 0) {
        /* |u| and a positive number compare like their squares. */
        left = expr_binary(c->pool, EXPR_MUL, left->args[0], left->args[0]);
        right = expr_binary(c->pool, EXPR_MUL, right, right);
    }
    if (left && right && is_scalar(left) && is_scalar(right) &&
        value_quadratic(left, right, coefficient, &symbol, &c->steps)) {
        const int count = roots(c->pool, coefficient, root);
        if (r->relation == EXPR_EQ) {
            e = count >= 0 ? expr_set(c->pool, root, count) : NULL;
        } else if (r->relation == EXPR_NE) {
            e = count > 0 ? expr_binary(c->pool, EXPR_COMPLEMENT, reals(c->pool),
                                        expr_set(c->pool, root, count))
                          : NULL;
        } else {
            e = inequality(c->pool, coefficient, r->relation, count, root);
        }
    }
    for (int i = 0; i < 3; i++) {
        fmpq_clear(coefficient[i]);
    }
    return e;
}

const struct expr *compare_solutions(struct comparison *c, const struct expr *relation)
{
    if (relation->kind == EXPR_RELATION) {
        return solve_one(c, relation);
    }
    struct expr *all = expr_new(c->pool, EXPR_INTERSECTION, relation->count);
    for (int i = 0; all && i < relation->count; i++) {
        all->args[i] = solve_one(c, relation->args[i]);
        if (!all->args[i]) {
            return NULL;
        }
    }
    if (all) {
        all->left_open = true; /* an evaluated intersection */
    }
    return all;
}
