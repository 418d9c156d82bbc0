/*
 * Whole LaTeX answers: lists, sets, tuples, intervals, relations and their operations. The types
 * that a bracketed list gets are the reference parser's (spec/open-r1.md 3.2).
 */
#include <string.h>

#include "eval/grade/compare.h"
#include "eval/grade/latex_internal.h"

/* A growing list of expressions; semicolons cut it into groups. */
struct items {
    const struct expr **list;
    int count, capacity;
    int groups;     /* semicolon groups */
    bool uneven;    /* some group has not exactly one item */
    int group_first;
};

static bool push(struct latex_parser *p, struct items *items, const struct expr *e)
{
    if (!e) {
        return false;
    }
    if (items->count == items->capacity) {
        const int capacity = items->capacity ? 2 * items->capacity : 8;
        const struct expr **list = expr_alloc(p->pool, (size_t)capacity * sizeof *list);
        if (!list || capacity > EXPR_MAX_NODES_ARGS) {
            (void)latex_fail(p, "the list is too long");
            return false;
        }
        if (items->count > 0) {
            memcpy(list, items->list, (size_t)items->count * sizeof *list);
        }
        items->list = list;
        items->capacity = capacity;
    }
    items->list[items->count++] = e;
    return true;
}

static bool read_items(struct latex_parser *p, struct items *items, bool relations,
                       struct items *groups);

/* Ends an element: what may follow it. */
static bool at_element_end(const struct latex_parser *p)
{
    switch (latex_peek(p, 0)) {
    case TOK_COMMA: case TOK_SEMICOLON: case TOK_END: case TOK_R_PAREN: case TOK_R_PAREN_VISUAL:
    case TOK_R_BRACKET: case TOK_R_BRACE: case TOK_R_BRACE_VISUAL:
        return true;
    default:
        return false;
    }
}

static const struct expr *tuple_of(struct latex_parser *p, const struct items *items)
{
    return expr_nary(p->pool, EXPR_TUPLE, items->list, items->count);
}

/* One item is itself; several, or several groups of one, a set; uneven groups a set of tuples. */
static const struct expr *set_or_item(struct latex_parser *p, const struct items *items,
                                      const struct items *groups)
{
    if (items->groups == 1 && items->count == 1) {
        return items->list[0];
    }
    if (items->groups == 1 || !items->uneven) {
        return expr_set(p->pool, items->list, items->count);
    }
    return expr_set(p->pool, groups->list, groups->count);
}

static const struct expr *interval(struct latex_parser *p, bool left_open)
{
    const struct expr *a = latex_expr(p);
    if (!a || !latex_take(p, TOK_COMMA)) {
        return NULL;
    }
    const struct expr *b = latex_expr(p);
    if (!b) {
        return NULL;
    }
    bool right_open = false;
    switch (latex_peek(p, 0)) {
    case TOK_R_PAREN: case TOK_R_PAREN_VISUAL: case TOK_R_GROUP:
        right_open = true;
        break;
    case TOK_R_BRACKET: case TOK_R_BRACK:
        break;
    default:
        return NULL;
    }
    p->at++;
    if (expr_is_matrix(a) || expr_is_matrix(b)) {
        return latex_fail(p, "an interval of matrices");
    }
    const struct expr *e = compare_make_interval(p->pool, a, b, left_open, right_open);
    return e ? e : latex_fail(p, "an interval without real ends");
}

/* ( [ \( \lgroup \lbrack: an interval when exactly two expressions stand inside, else a tuple. */
static const struct expr *bracketed(struct latex_parser *p)
{
    const enum latex_type open = latex_peek(p, 0);
    const struct latex_span *span = &p->spans[p->at];
    const int start = p->at;
    const int depth = p->depth;
    if (span->close < 0) {
        return NULL;
    }
    if (span->commas == 1 && span->semicolons == 0) {
        p->at++;
        const struct expr *e = interval(p, open != TOK_L_BRACKET && open != TOK_L_BRACK);
        if (e || p->fatal) {
            return e;
        }
        p->at = start;
        p->depth = depth;
    }
    const enum latex_type close = open == TOK_L_PAREN          ? TOK_R_PAREN
                                  : open == TOK_L_PAREN_VISUAL ? TOK_R_PAREN_VISUAL
                                                               : TOK_R_BRACKET;
    if (open == TOK_L_GROUP || open == TOK_L_BRACK || p->tokens[span->close].type != close) {
        return NULL;
    }
    struct items items = {0};
    p->at++;
    if (!read_items(p, &items, true, NULL) || !latex_take(p, close)) {
        return NULL;
    }
    return items.count == 1 ? items.list[0] : tuple_of(p, &items);
}

static const struct expr *braced_set(struct latex_parser *p)
{
    const bool boxed = latex_take(p, TOK_BOXED);
    const enum latex_type open = latex_peek(p, 0);
    if (open != TOK_L_BRACE && open != TOK_L_BRACE_VISUAL) {
        return NULL;
    }
    struct items items = {0};
    struct items groups = {0};
    p->at++;
    if (!read_items(p, &items, true, &groups) ||
        !latex_take(p, open == TOK_L_BRACE ? TOK_R_BRACE : TOK_R_BRACE_VISUAL)) {
        return NULL;
    }
    return boxed ? set_or_item(p, &items, &groups) : expr_set(p->pool, items.list, items.count);
}

static const struct expr *named_set(struct latex_parser *p, const char *name)
{
    struct expr *e = expr_new(p->pool, EXPR_NAMED_SET, 0);
    p->at++;
    if (e) {
        e->name = name;
    }
    return e;
}

static const struct expr *set_atom(struct latex_parser *p)
{
    switch (latex_peek(p, 0)) {
    case TOK_NATURALS:
        return named_set(p, "Naturals");
    case TOK_INTEGERS:
        return named_set(p, "Integers");
    case TOK_RATIONALS:
        return named_set(p, "Rationals");
    case TOK_REALS:
        return named_set(p, "Reals");
    case TOK_COMPLEXES:
        return named_set(p, "Complexes");
    case TOK_EMPTY_SET:
        return named_set(p, "EmptySet");
    case TOK_PRIMES:
        return latex_fail(p, "the set of primes");
    case TOK_L_PAREN: case TOK_L_PAREN_VISUAL: case TOK_L_GROUP: case TOK_L_BRACKET:
    case TOK_L_BRACK:
        return bracketed(p);
    case TOK_L_BRACE:
        if (latex_peek(p, 1) == TOK_R_BRACE) {
            p->at++;
            return named_set(p, "EmptySet");
        }
        return braced_set(p);
    case TOK_L_BRACE_VISUAL: case TOK_BOXED:
        return braced_set(p);
    default:
        return NULL;
    }
}

/* Adds `next` to the chain a < b < c. */
static const struct expr *chain(struct latex_parser *p, const struct expr *left,
                                enum expr_relation relation, const struct expr *right)
{
    if (left->kind == EXPR_AND) {
        const struct expr *last = left->args[left->count - 1];
        const struct expr *next = expr_relate(p->pool, relation, last->args[1], right);
        struct expr *e = next ? expr_new(p->pool, EXPR_AND, left->count + 1) : NULL;
        for (int i = 0; e && i < left->count; i++) {
            e->args[i] = left->args[i];
        }
        if (e) {
            e->args[left->count] = next;
        }
        return e;
    }
    if (left->kind == EXPR_RELATION) {
        return expr_binary(p->pool, EXPR_AND, left,
                           expr_relate(p->pool, relation, left->args[1], right));
    }
    return expr_relate(p->pool, relation, left, right);
}

static const struct expr *relation(struct latex_parser *p)
{
    static const uint8_t OF_TOKEN[] = {
        [TOK_ASSIGN] = EXPR_EQ, [TOK_EQUAL] = EXPR_EQ, [TOK_LT] = EXPR_LT, [TOK_LE] = EXPR_LE,
        [TOK_GT] = EXPR_GT,     [TOK_GE] = EXPR_GE,    [TOK_NE] = EXPR_NE,
    };
    const struct expr *left = latex_expr(p);
    while (left) {
        const enum latex_type op = latex_peek(p, 0);
        if (op < TOK_IN || op > TOK_NE) {
            break;
        }
        p->at++;
        const struct expr *right = latex_expr(p);
        if (!right) {
            return NULL;
        }
        if (op == TOK_IN) {
            return latex_fail(p, "membership in what is no set");
        }
        if (op == TOK_APPROX) {
            left = compare_only_symbols(left) ? right : left;
        } else {
            left = chain(p, left, OF_TOKEN[op], right);
        }
    }
    return left;
}

/* Does a plus-minus sign stand in this element? */
static bool has_plus_minus(const struct latex_parser *p)
{
    int depth = 0;
    for (int i = p->at;; i++) {
        switch (p->tokens[i].type) {
        case TOK_PLUS_MINUS:
            if (depth == 0) {
                return true;
            }
            break;
        case TOK_L_PAREN: case TOK_L_PAREN_VISUAL: case TOK_L_GROUP: case TOK_L_BRACE:
        case TOK_L_BRACE_VISUAL: case TOK_L_BRACE_CMD: case TOK_L_BRACKET: case TOK_L_BRACK:
            depth++;
            break;
        case TOK_R_PAREN: case TOK_R_PAREN_VISUAL: case TOK_R_GROUP: case TOK_R_BRACE:
        case TOK_R_BRACE_VISUAL: case TOK_R_BRACE_CMD: case TOK_R_BRACKET: case TOK_R_BRACK:
            if (--depth < 0) {
                return false;
            }
            break;
        case TOK_COMMA: case TOK_SEMICOLON:
            if (depth == 0) {
                return false;
            }
            break;
        case TOK_END:
            return false;
        default:
            break;
        }
    }
}

/* a +- b gives two items, +- b the negative one first. */
static bool plus_minus(struct latex_parser *p, struct items *items)
{
    const struct expr *left = NULL;
    if (latex_peek(p, 0) != TOK_PLUS_MINUS) {
        left = latex_expr(p);
        if (!left) {
            return false;
        }
    }
    if (!latex_take(p, TOK_PLUS_MINUS)) {
        return false;
    }
    const struct expr *right = latex_expr(p);
    if (!right) {
        return false;
    }
    const struct expr *minus =
        right->kind == EXPR_RATIONAL
            ? latex_negate(p, right)
            : expr_binary(p->pool, EXPR_MUL, expr_integer(p->pool, -1), right);
    if (!left) {
        return push(p, items, minus) && push(p, items, right);
    }
    return push(p, items, expr_binary(p->pool, EXPR_ADD, left, right)) &&
           push(p, items, expr_binary(p->pool, EXPR_ADD, left, minus));
}

static bool element(struct latex_parser *p, struct items *items, bool relations)
{
    if (++p->depth > LATEX_MAX_DEPTH || ++p->steps > LATEX_MAX_STEPS) {
        (void)latex_fail(p, "the LaTeX is nested too deeply");
        return false;
    }
    bool ok;
    if (has_plus_minus(p)) {
        ok = plus_minus(p, items);
    } else {
        const int start = p->at;
        const int depth = p->depth;
        const struct expr *e = NULL;
        const enum latex_type first = latex_peek(p, 0);
        const int bracket = p->at + (first == TOK_BOXED);
        const int close = p->spans[bracket].close;
        /* An operand like (x+1) in (x+1)^2 is no set: look behind its bracket first. */
        p->at = close >= 0 ? close + 1 : start;
        const bool alone = close < 0 || at_element_end(p);
        p->at = start;
        if (alone) {
            e = set_atom(p);
        }
        if (!p->fatal && (!e || !at_element_end(p))) {
            p->at = start;
            p->depth = depth;
            e = relations ? relation(p) : latex_expr(p);
        }
        ok = !p->fatal && push(p, items, e);
    }
    p->depth--;
    return ok;
}

static bool read_items(struct latex_parser *p, struct items *items, bool relations,
                       struct items *groups)
{
    do {
        const int first = items->count;
        do {
            if (!element(p, items, relations)) {
                return false;
            }
        } while (latex_take(p, TOK_COMMA));
        items->groups++;
        items->uneven = items->uneven || items->count - first != 1;
        if (groups) {
            struct items group = {.list = items->list + first, .count = items->count - first};
            if (!push(p, groups, tuple_of(p, &group))) {
                return false;
            }
        }
    } while (latex_take(p, TOK_SEMICOLON));
    return true;
}

/* x or (x, y, ...): symbols, each with its scripts. */
static const struct expr *symbol_list(struct latex_parser *p)
{
    const bool list = latex_take(p, TOK_L_PAREN);
    struct items items = {0};
    do {
        switch (latex_peek(p, 0)) {
        case TOK_LETTER: case TOK_GREEK: case TOK_SYMBOL_CMD: case TOK_ACCENT:
            break;
        default:
            return NULL;
        }
        if (!push(p, &items, latex_atom(p))) {
            return NULL;
        }
    } while (list && latex_take(p, TOK_COMMA));
    if (list && !latex_take(p, TOK_R_PAREN)) {
        return NULL;
    }
    return items.count == 1 ? items.list[0] : tuple_of(p, &items);
}

const struct expr *latex_elements_relation(struct latex_parser *p)
{
    struct items items = {0};
    struct items groups = {0};
    const struct expr *left = symbol_list(p);
    if (!left || p->fatal) {
        p->fatal = NULL;
        return NULL;
    }
    if (!latex_take(p, TOK_IN) && !latex_take(p, TOK_ASSIGN)) {
        return NULL;
    }
    if (!read_items(p, &items, false, &groups) || latex_peek(p, 0) != TOK_END) {
        return NULL;
    }
    return expr_relate(p->pool, EXPR_EQ, left, set_or_item(p, &items, &groups));
}

const struct expr *latex_elements(struct latex_parser *p)
{
    struct items items = {0};
    struct items groups = {0};
    if (!read_items(p, &items, true, &groups) || latex_peek(p, 0) != TOK_END) {
        return NULL;
    }
    return set_or_item(p, &items, &groups);
}

static const struct expr *set_minus(struct latex_parser *p);

static const struct expr *set_group(struct latex_parser *p)
{
    const int start = p->at;
    if (++p->depth > LATEX_MAX_DEPTH || ++p->steps > LATEX_MAX_STEPS) {
        return latex_fail(p, "the LaTeX is nested too deeply");
    }
    const int depth = p->depth;
    const struct expr *e = NULL;
    if (latex_peek(p, 0) == TOK_L_PAREN && p->spans[p->at].commas == 0) {
        p->at++;
        e = set_minus(p);
        e = e && latex_take(p, TOK_R_PAREN) ? e : NULL;
    }
    if (!e && !p->fatal) {
        p->at = start;
        p->depth = depth;
        e = set_atom(p);
    }
    p->depth--;
    return e;
}

/* A tuple under a set operation is the set of its items. */
static const struct expr *as_set(struct latex_parser *p, const struct expr *e)
{
    return e && e->kind == EXPR_TUPLE ? expr_set(p->pool, e->args, e->count) : e;
}

static const struct expr *set_operation(struct latex_parser *p, enum latex_type op,
                                        enum expr_kind kind,
                                        const struct expr *(*operand)(struct latex_parser *))
{
    const struct expr *left = operand(p);
    while (left && latex_take(p, op)) {
        const struct expr *right = operand(p);
        if (kind != EXPR_COMPLEMENT) {
            left = as_set(p, left);
            right = as_set(p, right);
        }
        if (left && right && (!expr_is_set(left) || !expr_is_set(right))) {
            return latex_fail(p, "a set operation on what is no set");
        }
        left = kind == EXPR_UNION ? expr_flat(p->pool, kind, left, right)
                                  : expr_binary(p->pool, kind, left, right);
    }
    return left;
}

static const struct expr *intersection(struct latex_parser *p)
{
    return set_operation(p, TOK_INTERSECTION, EXPR_INTERSECTION, set_group);
}

static const struct expr *set_union(struct latex_parser *p)
{
    return set_operation(p, TOK_UNION, EXPR_UNION, intersection);
}

static const struct expr *set_minus(struct latex_parser *p)
{
    return set_operation(p, TOK_SET_MINUS, EXPR_COMPLEMENT, set_union);
}

const struct expr *latex_set_relation(struct latex_parser *p)
{
    const int start = p->at;
    const struct expr *left = symbol_list(p);
    const enum latex_type op = left ? latex_peek(p, 0) : TOK_END;
    if (op == TOK_IN || op == TOK_ASSIGN || op == TOK_NOT_IN) {
        p->at++;
        if (++p->depth > LATEX_MAX_DEPTH) {
            return latex_fail(p, "the LaTeX is nested too deeply");
        }
        const struct expr *right = latex_set_relation(p);
        p->depth--;
        const struct expr *e = right ? expr_relate(p->pool, EXPR_EQ, left, right) : NULL;
        return e && op == TOK_NOT_IN ? expr_unary(p->pool, EXPR_NOT, e) : e;
    }
    p->fatal = NULL;
    p->at = start;
    left = set_minus(p);
    while (left && (latex_peek(p, 0) == TOK_SUBSET || latex_peek(p, 0) == TOK_SUPSET)) {
        p->at++;
        const struct expr *right = set_minus(p);
        left = right ? expr_new(p->pool, EXPR_BOOLEAN, 0) : NULL;
    }
    return left;
}
