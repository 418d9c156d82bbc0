/* Comparison of scalars, symbols and matrices; see compare.h. */
#include "eval/grade/compare.h"

#include <ctype.h>
#include <string.h>

enum { MAX_DEPTH = 40 };

bool compare_only_symbols(const struct expr *e)
{
    if (e->kind == EXPR_SYMBOL) {
        return true;
    }
    if (e->kind == EXPR_POW && expr_is_integer(e->args[1]) &&
        fmpz_equal_si(fmpq_numref(e->args[1]->q), -1)) {
        const struct expr *base = e->args[0];
        bool all = base->kind == EXPR_SYMBOL;
        for (int i = 0; i < base->count; i++) {
            all = compare_only_symbols(base->args[i]);
            if (!all) {
                break;
            }
        }
        if (all) {
            return true;
        }
    }
    if (e->kind == EXPR_DERIVATIVE || e->kind == EXPR_LIMIT) {
        return false;
    }
    for (int i = 0; i < e->count; i++) {
        if (!compare_only_symbols(e->args[i])) {
            return false;
        }
    }
    return e->count > 0;
}

const struct expr *compare_minus(struct expr_pool *p, const struct expr *a, const struct expr *b)
{
    return expr_binary(p, EXPR_ADD, a, expr_binary(p, EXPR_MUL, expr_integer(p, -1), b));
}

static bool is_relation(const struct expr *e)
{
    return e->kind == EXPR_RELATION || e->kind == EXPR_AND;
}

static bool is_equation(const struct expr *e)
{
    if (e->kind == EXPR_RELATION) {
        return e->relation == EXPR_EQ;
    }
    if (e->kind != EXPR_AND) {
        return false;
    }
    for (int i = 0; i < e->count; i++) {
        if (e->args[i]->relation != EXPR_EQ) {
            return false;
        }
    }
    return true;
}

static const struct expr *first_relation(const struct expr *e)
{
    return e->kind == EXPR_AND ? e->args[0] : e;
}

static const struct expr *last_relation(const struct expr *e)
{
    return e->kind == EXPR_AND ? e->args[e->count - 1] : e;
}

static bool is_assignment(const struct expr *e)
{
    return is_equation(e) && compare_only_symbols(first_relation(e)->args[0]);
}

static bool is_symbol_or_e(const struct expr *e)
{
    return e->kind == EXPR_SYMBOL || e->kind == EXPR_E;
}

/* Does the name equal the concatenated symbols of the product, ignoring case? */
static bool name_is_product(const char *name, const struct expr *product)
{
    for (int i = 0; i < product->count; i++) {
        const struct expr *arg = product->args[i];
        if (!is_symbol_or_e(arg)) {
            return false;
        }
        for (const char *c = arg->kind == EXPR_E ? "e" : arg->name; *c; c++, name++) {
            if (tolower((unsigned char)*name) != tolower((unsigned char)*c)) {
                return false;
            }
        }
    }
    return *name == '\0';
}

static bool same_name(const char *a, const char *b)
{
    if (strlen(a) <= 1 || strlen(b) <= 1) {
        return strcmp(a, b) == 0;
    }
    return strcasecmp(a, b) == 0;
}

/* Does the symbol's name read as the number? */
static bool name_is_number(const char *name, const struct expr *e)
{
    if (e->kind != EXPR_RATIONAL) {
        return e->kind == EXPR_PI && strcmp(name, "pi") == 0;
    }
    if (fmpz_bits(fmpq_numref(e->q)) > 1024 || fmpz_bits(fmpq_denref(e->q)) > 1024) {
        return false;
    }
    char *text = fmpq_get_str(NULL, 10, e->q);
    const bool same = strcmp(name, text) == 0;
    flint_free(text);
    return same;
}

static bool symbol_equal(const struct expr *symbol, const struct expr *other)
{
    if (other->kind == EXPR_E) {
        return strcasecmp(symbol->name, "e") == 0;
    }
    if (other->kind == EXPR_MUL) {
        return name_is_product(symbol->name, other);
    }
    return name_is_number(symbol->name, other);
}

static bool compare_symbols(const struct expr *gold, const struct expr *pred)
{
    if (gold->kind == EXPR_SYMBOL && pred->kind == EXPR_SYMBOL) {
        return same_name(gold->name, pred->name);
    }
    return gold->kind == EXPR_SYMBOL ? symbol_equal(gold, pred) : symbol_equal(pred, gold);
}

static const struct expr *without_percent(const struct expr *e)
{
    const struct expr *inner = expr_percent_of(e);
    return inner ? inner : e;
}

static bool is_float(const struct expr *e)
{
    return without_percent(e)->kind == EXPR_FLOAT;
}

static bool scalar(const struct expr *e)
{
    return !expr_is_matrix(e) && !expr_is_set(e) && !is_relation(e) && e->kind != EXPR_NOT &&
           e->kind != EXPR_BOOLEAN && e->kind != EXPR_TUPLE;
}

static bool compare_numbers(struct comparison *c, const struct expr *gold, const struct expr *pred)
{
    const struct expr *a = without_percent(gold);
    const struct expr *b = without_percent(pred);
    if (expr_is_number(a) || expr_is_number(b)) {
        if (is_float(gold) || is_float(pred)) {
            if (value_equal_rounded(gold, pred, &c->steps)) {
                return true;
            }
        } else if (expr_is_integer(a) && expr_is_integer(b) && expr_same(a, b)) {
            return true;
        }
    } else if (compare_factors(c, gold, pred) == VALUE_EQUAL ||
               (!c->strict && value_nearly_equal(gold, pred, &c->steps))) {
        return true;
    }
    return value_equal(gold, pred, &c->steps) == VALUE_EQUAL &&
           (c->strict || compare_provable(gold, pred));
}

static bool compare_matrices(struct comparison *c, const struct expr *gold,
                             const struct expr *pred)
{
    const struct expr *a = compare_matrix(c, gold);
    const struct expr *b = compare_matrix(c, pred);
    if (!a || !b || a->kind != EXPR_MATRIX || b->kind != EXPR_MATRIX || a->rows != b->rows ||
        a->cols != b->cols) {
        return false;
    }
    for (int i = 0; i < a->count; i++) {
        if (!scalar(a->args[i]) || !scalar(b->args[i]) ||
            !compare_numbers(c, a->args[i], b->args[i])) {
            return false;
        }
    }
    return true;
}

/* a = .. = z as the one equation a = z. */
static const struct expr *shorten_chain(struct comparison *c, const struct expr *e)
{
    return expr_relate(c->pool, EXPR_EQ, first_relation(e)->args[0], last_relation(e)->args[1]);
}

static bool compare_values(struct comparison *c, const struct expr *gold, const struct expr *pred)
{
    if (gold->kind == EXPR_ZOO) {
        c->raised = true;
        return false;
    }
    if (expr_same(gold, pred)) {
        return true;
    }
    if (is_relation(gold) && is_relation(pred)) {
        return compare_relations(c, gold, pred);
    }
    if (expr_is_set(gold) || expr_is_set(pred) || gold->kind == EXPR_TUPLE ||
        pred->kind == EXPR_TUPLE) {
        return compare_sets(c, gold, pred);
    }
    if (gold->kind == EXPR_SYMBOL || pred->kind == EXPR_SYMBOL) {
        return compare_symbols(gold, pred) ||
               (c->strict && scalar(gold) && scalar(pred) && compare_numbers(c, gold, pred));
    }
    if (expr_is_matrix(gold) || expr_is_matrix(pred)) {
        return expr_is_matrix(gold) && expr_is_matrix(pred) && compare_matrices(c, gold, pred);
    }
    return scalar(gold) && scalar(pred) && compare_numbers(c, gold, pred);
}

bool compare_equal(struct comparison *c, const struct expr *gold, const struct expr *pred)
{
    if (c->raised || c->steps <= 0 || c->depth >= MAX_DEPTH || c->pool->exhausted) {
        return false;
    }
    const bool gold_assigns = is_assignment(gold);
    const bool pred_equation = is_equation(pred);
    const bool gold_equation = is_equation(gold);
    if (gold_assigns) {
        gold = shorten_chain(c, gold);
    }
    if (is_assignment(pred)) {
        pred = shorten_chain(c, pred);
    }
    if (gold && pred && pred_equation && !gold_equation) {
        pred = last_relation(pred)->args[1];
    } else if (gold && gold_assigns && !pred_equation) {
        gold = gold->args[1];
    }
    if (!gold || !pred) {
        return false;
    }
    if (is_relation(gold) && expr_is_set(pred)) {
        const struct expr *solutions = compare_solutions(c, gold);
        gold = solutions ? solutions : gold;
    }
    if (c->strict && is_relation(pred) && expr_is_set(gold)) {
        const struct expr *solutions = compare_solutions(c, pred);
        pred = solutions ? solutions : pred;
    }
    c->depth++;
    const bool equal = compare_values(c, gold, pred);
    c->depth--;
    return equal && !c->raised;
}
