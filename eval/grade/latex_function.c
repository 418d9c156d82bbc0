/* Functions of LaTeX answers: named ones, f(x), roots, sums, limits, integrals. */
#include <string.h>

#include "eval/grade/compare.h"
#include "eval/grade/latex_internal.h"

/* The scripts of a function, in either order. */
struct scripts {
    const struct expr *sub; /* its value */
    const struct expr *sup;
};

static bool read_sub_value(struct latex_parser *p, const struct expr **value)
{
    *value = latex_peek(p, 0) == TOK_L_BRACE ? latex_braced(p) : latex_atom(p);
    return *value != NULL;
}

static bool read_scripts(struct latex_parser *p, struct scripts *s)
{
    for (int i = 0; i < 2; i++) {
        if (!s->sub && latex_take(p, TOK_UNDERSCORE)) {
            if (!read_sub_value(p, &s->sub)) {
                return false;
            }
        } else if (!s->sup && latex_take(p, TOK_CARET)) {
            if (!latex_superscript(p, &s->sup)) {
                return false;
            }
        }
    }
    return true;
}

static bool is_minus_one(const struct expr *e)
{
    return e && expr_is_integer(e) && fmpz_equal_si(fmpq_numref(e->q), -1);
}

/* ( arg ) when brackets follow, else the next product without functions. */
static const struct expr *argument(struct latex_parser *p)
{
    if (latex_peek(p, 0) == TOK_L_PAREN) {
        const int close = p->spans[p->at].close;
        if (close >= 0 && p->tokens[close].type == TOK_R_PAREN) {
            const int bars = p->bars;
            p->at++;
            p->bars = 0;
            const struct expr *e = latex_expr(p);
            p->bars = bars;
            return e && latex_take(p, TOK_R_PAREN) ? e : NULL;
        }
    }
    return latex_mp(p, false);
}

static const struct expr *named_value(struct latex_parser *p, enum expr_fn fn, bool log,
                                      struct scripts *s, const struct expr *arg)
{
    switch (fn) {
    case FN_LOG: {
        const struct expr *base = s->sub ? s->sub
                                  : log  ? expr_integer(p->pool, 10)
                                         : expr_new(p->pool, EXPR_E, 0);
        return base ? expr_call(p->pool, fn, arg, base) : NULL;
    }
    case FN_COUNT:
        return arg->kind == EXPR_MATRIX ? compare_determinant(p->pool, arg)
                                        : latex_fail(p, "a determinant of what is no matrix");
    case FN_SIN: case FN_COS: case FN_TAN: case FN_CSC: case FN_SEC: case FN_COT:
        if (is_minus_one(s->sup)) {
            s->sup = NULL;
            fn = FN_ASIN + (fn - FN_SIN);
        }
        return expr_call(p->pool, fn, arg, NULL);
    case FN_SINH: case FN_COSH: case FN_TANH:
        if (is_minus_one(s->sup)) {
            s->sup = NULL;
            fn = FN_ASINH + (fn - FN_SINH);
        }
        return expr_call(p->pool, fn, arg, NULL);
    default:
        return expr_call(p->pool, fn, arg, NULL);
    }
}

static const struct expr *named(struct latex_parser *p, enum expr_fn fn, bool log)
{
    struct scripts s = {0};
    if (!read_scripts(p, &s)) {
        return NULL;
    }
    const struct expr *arg = argument(p);
    const struct expr *e = arg ? named_value(p, fn, log, &s, arg) : NULL;
    const bool zero = s.sup && s.sup->kind == EXPR_RATIONAL && fmpq_is_zero(s.sup->q);
    return e && s.sup && !zero ? expr_binary(p->pool, EXPR_POW, e, s.sup) : e;
}

/* max(a, b, ...) and its like. */
static const struct expr *named_list(struct latex_parser *p, enum expr_fn fn)
{
    struct scripts s = {0};
    const struct expr *args[64];
    int count = 0;
    if (!read_scripts(p, &s) || !latex_take(p, TOK_L_PAREN)) {
        return NULL;
    }
    do {
        if (count == (int)(sizeof args / sizeof *args)) {
            return latex_fail(p, "too many arguments");
        }
        args[count] = latex_expr(p);
        if (!args[count++]) {
            return NULL;
        }
    } while (latex_take(p, TOK_COMMA));
    if (!latex_take(p, TOK_R_PAREN)) {
        return NULL;
    }
    if (fn == FN_COUNT) {
        return latex_fail(p, "an operator on matrices");
    }
    struct expr *e = expr_nary(p->pool, EXPR_CALL, args, count);
    if (e) {
        e->fn = fn;
    }
    return e && s.sup ? expr_binary(p->pool, EXPR_POW, e, s.sup) : e;
}

static const struct expr *operator_name(struct latex_parser *p)
{
    p->at++;
    if (!latex_take(p, TOK_L_BRACE)) {
        return NULL;
    }
    const struct latex_token *t = &p->tokens[p->at++];
    if ((t->type != TOK_NAME && t->type != TOK_NAMES) || !latex_take(p, TOK_R_BRACE)) {
        return NULL;
    }
    if (t->type == TOK_NAMES) {
        return named_list(p, t->detail);
    }
    return t->detail == FN_COUNT ? latex_fail(p, "an operator on matrices")
                                 : named(p, t->detail, false);
}

static const struct expr *root(struct latex_parser *p)
{
    p->at++;
    const struct expr *index = expr_integer(p->pool, 2);
    if (latex_take(p, TOK_L_BRACKET)) {
        index = latex_expr(p);
        if (!index || !latex_take(p, TOK_R_BRACKET)) {
            return NULL;
        }
    }
    const struct expr *base = latex_braced(p);
    if (!base) {
        return NULL;
    }
    const struct expr *exponent;
    if (index->kind == EXPR_RATIONAL && !fmpq_is_zero(index->q)) {
        struct expr *e = expr_integer(p->pool, 0);
        if (e) {
            fmpq_inv(e->q, index->q);
        }
        exponent = e;
    } else {
        exponent = expr_binary(p->pool, EXPR_POW, index, expr_integer(p->pool, -1));
    }
    return expr_binary(p->pool, EXPR_POW, base, exponent);
}

/* _{i=a} and ^{b} of sums, in either order. */
static const struct expr *sum(struct latex_parser *p)
{
    const enum expr_kind kind = latex_peek(p, 0) == TOK_SUM ? EXPR_SUM : EXPR_PRODUCT;
    const struct expr *variable = NULL;
    const struct expr *first = NULL;
    const struct expr *last = NULL;
    p->at++;
    for (int i = 0; i < 2; i++) {
        if (!first && latex_take(p, TOK_UNDERSCORE)) {
            if (!latex_take(p, TOK_L_BRACE) || !(variable = latex_expr(p)) ||
                (!latex_take(p, TOK_ASSIGN) && !latex_take(p, TOK_EQUAL)) ||
                !(first = latex_expr(p)) || !latex_take(p, TOK_R_BRACE)) {
                return NULL;
            }
        } else if (!last && latex_take(p, TOK_CARET) && !latex_superscript(p, &last)) {
            return NULL;
        }
    }
    if (!first || !last) {
        return NULL;
    }
    const struct expr *body = latex_mp(p, true);
    const struct expr *args[4] = {body, variable, first, last};
    return body ? expr_nary(p->pool, kind, args, 4) : NULL;
}

static const struct expr *limit(struct latex_parser *p)
{
    p->at++;
    if (!latex_take(p, TOK_UNDERSCORE) || !latex_take(p, TOK_L_BRACE)) {
        return NULL;
    }
    const enum latex_type t = latex_peek(p, 0);
    if (t != TOK_LETTER && t != TOK_GREEK && t != TOK_SYMBOL_CMD) {
        return NULL;
    }
    const struct expr *variable = latex_atom(p);
    if (!variable || !latex_take(p, TOK_TO)) {
        return NULL;
    }
    const struct expr *at = latex_expr(p);
    bool below = false;
    if (at && latex_take(p, TOK_CARET)) {
        below = latex_peek(p, 1) == TOK_SUB;
        if (!(latex_take(p, TOK_L_BRACE) && (latex_take(p, TOK_ADD) || latex_take(p, TOK_SUB)) &&
              latex_take(p, TOK_R_BRACE))) {
            return NULL;
        }
    }
    if (!at || !latex_take(p, TOK_R_BRACE)) {
        return NULL;
    }
    const struct expr *body = latex_mp(p, true);
    const struct expr *args[3] = {body, variable, at};
    struct expr *e = body ? expr_nary(p->pool, EXPR_LIMIT, args, 3) : NULL;
    if (e) {
        e->left_open = below;
    }
    return e;
}

static const struct expr *integral(struct latex_parser *p)
{
    struct scripts s = {0};
    p->at++;
    if (!read_scripts(p, &s) || (!s.sub != !s.sup)) {
        return NULL;
    }
    const struct expr *body = expr_integer(p->pool, 1);
    if (latex_peek(p, 0) != TOK_DIFFERENTIAL) {
        const int integrals = p->integrals++;
        body = latex_expr(p);
        p->integrals = integrals;
        if (!body) {
            return NULL;
        }
    }
    const struct expr *variable = expr_symbol(p->pool, "x", 1, p->real);
    if (latex_peek(p, 0) == TOK_DIFFERENTIAL) {
        const struct expr *d = latex_atom(p);
        variable = d ? expr_symbol(p->pool, d->name + 1, strlen(d->name + 1), p->real) : NULL;
    }
    if (!variable) {
        return NULL;
    }
    const struct expr *args[4] = {body, variable, s.sub, s.sup};
    return expr_nary(p->pool, EXPR_INTEGRAL, args, s.sub ? 4 : 2);
}

/* e and e^x: the reference evaluates the plain cases at once. */
static const struct expr *exponential(struct latex_parser *p)
{
    const struct expr *power = NULL;
    p->at++;
    if (latex_take(p, TOK_CARET) && !latex_superscript(p, &power)) {
        return NULL;
    }
    if (!power || (expr_is_integer(power) && fmpq_is_one(power->q))) {
        return expr_new(p->pool, EXPR_E, 0);
    }
    if (power->kind == EXPR_RATIONAL && fmpq_is_zero(power->q)) {
        return expr_integer(p->pool, 1);
    }
    return expr_call(p->pool, FN_EXP, power, NULL);
}

const struct expr *latex_function(struct latex_parser *p)
{
    const struct latex_token *t = &p->tokens[p->at];
    switch (t->type) {
    case TOK_FUNCTION:
        p->at++;
        return named(p, t->detail, strncmp(p->text + t->start, "\\log", 4) == 0);
    case TOK_GAMMA: {
        const int start = p->at++;
        const enum latex_type next = latex_peek(p, 0);
        if (latex_starts_factor(p, true) || next == TOK_ADD || next == TOK_SUB) {
            return named(p, FN_GAMMA, false);
        }
        p->at = start;
        return NULL;
    }
    case TOK_FUNCTIONS:
        p->at++;
        return named_list(p, t->detail);
    case TOK_OPERATORNAME:
        return operator_name(p);
    case TOK_SQRT:
        return root(p);
    case TOK_SUM: case TOK_PROD:
        return sum(p);
    case TOK_LIM:
        return limit(p);
    case TOK_INT:
        return integral(p);
    case TOK_EXP_E:
        return exponential(p);
    default:
        return NULL;
    }
}

/* The arguments of f(..): one atom, or expressions with at least one comma. */
static int read_arguments(struct latex_parser *p, const struct expr **args, int most)
{
    const struct latex_span *span = &p->spans[p->at - 1];
    int count = 0;
    if (span->commas == 0) {
        args[0] = latex_atom(p);
        return args[0] && p->at == span->close ? 1 : 0;
    }
    do {
        if (count > 0 && p->at == span->close) {
            break; /* a comma behind the only argument */
        }
        if (count == most) {
            return 0;
        }
        args[count] = latex_expr(p);
        if (!args[count++]) {
            return 0;
        }
    } while (latex_take(p, TOK_COMMA));
    return count;
}

/* Name and scripts of a function call; false when no bracket follows them. */
static bool call_head(struct latex_parser *p, int *name_end, const struct expr **power)
{
    int begin;
    int end;
    p->at++;
    if (latex_take(p, TOK_UNDERSCORE) && !latex_subscript(p, &begin, &end)) {
        return false;
    }
    *name_end = p->at;
    if (latex_take(p, TOK_CARET) && !latex_superscript(p, power)) {
        return false;
    }
    const enum latex_type next = latex_peek(p, 0);
    const enum latex_type inner = latex_peek(p, 1);
    return next == TOK_L_PAREN || next == TOK_L_BRACKET ||
           (next == TOK_L_BRACE && (inner == TOK_L_PAREN || inner == TOK_L_BRACKET));
}

static const struct expr *call_tail(struct latex_parser *p, const char *name,
                                    const struct expr *power)
{
    const struct expr *args[64];
    const bool braced = latex_take(p, TOK_L_BRACE);
    const enum latex_type close = latex_peek(p, 0) == TOK_L_PAREN ? TOK_R_PAREN : TOK_R_BRACKET;
    p->at++;
    const int count = read_arguments(p, args, (int)(sizeof args / sizeof *args));
    if (count == 0 || !latex_take(p, close) || (braced && !latex_take(p, TOK_R_BRACE))) {
        return NULL;
    }
    struct expr *e = expr_nary(p->pool, EXPR_APPLY, args, count);
    if (e) {
        e->name = name;
    }
    return e && power ? expr_binary(p->pool, EXPR_POW, e, power) : e;
}

/* Quick look whether a call could start here, so that plain symbols are read only once. */
static bool may_be_call(const struct latex_parser *p)
{
    switch (latex_peek(p, 0)) {
    case TOK_LETTER: case TOK_GREEK: case TOK_SYMBOL_CMD: case TOK_ACCENT:
        break;
    default:
        return false;
    }
    switch (latex_peek(p, 1)) {
    case TOK_L_PAREN: case TOK_L_BRACKET: case TOK_UNDERSCORE: case TOK_CARET: case TOK_L_BRACE:
        return true;
    default:
        return false;
    }
}

const struct expr *latex_apply(struct latex_parser *p)
{
    if (!may_be_call(p)) {
        return NULL;
    }
    const int start = p->at;
    const int depth = p->depth;
    const struct expr *power = NULL;
    const struct expr *e = NULL;
    int name_end = start;
    if (call_head(p, &name_end, &power)) {
        const char *name = latex_token_text(p, start, name_end);
        e = name ? call_tail(p, name, power) : NULL;
    }
    if (!e && !p->fatal) {
        p->at = start;
        p->depth = depth;
    }
    return e;
}
