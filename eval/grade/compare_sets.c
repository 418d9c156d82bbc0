/* Sets, tuples and intervals; see compare.h. */
#include <string.h>

#include "eval/grade/compare.h"

enum { MAX_PIECES = 64, MAX_STEPS_TO_BUILD = 20000 };

static bool holds_percent(const struct expr *e)
{
    bool holds = e->kind == EXPR_PERCENT;
    for (int i = 0; i < e->count && !holds; i++) {
        holds = holds_percent(e->args[i]);
    }
    return holds;
}

/* The reference makes no interval of complex numbers, nor of sums and functions of percentages. */
static bool may_bound(const struct expr *e, int *steps)
{
    if (holds_percent(e) && !expr_percent_of(e)) {
        return false;
    }
    return value_has_symbols(e) || !value_is_complex(e, steps);
}

const struct expr *compare_make_interval(struct expr_pool *p, const struct expr *a,
                                         const struct expr *b, bool left_open, bool right_open)
{
    int steps = MAX_STEPS_TO_BUILD;
    if (!may_bound(a, &steps) || !may_bound(b, &steps)) {
        return NULL;
    }
    const int order = value_order(a, b, &steps);
    const bool both_open = left_open && right_open;
    const bool both_closed = !left_open && !right_open;
    if ((both_open && (order == 0 || order == 1)) || (both_closed && order == 1)) {
        return expr_binary(p, EXPR_TUPLE, a, b);
    }
    if (order == 1 || (order == 0 && (left_open || right_open))) {
        return expr_set(p, NULL, 0);
    }
    if (order == 0) {
        return expr_set(p, &b, 1);
    }
    struct expr *e = expr_binary(p, EXPR_INTERVAL, a, b);
    if (e) {
        e->left_open = left_open || a->kind == EXPR_NEG_INFINITY;
        e->right_open = right_open || b->kind == EXPR_INFINITY;
    }
    return e;
}

/* A piece of the real line. */
struct piece {
    const struct expr *low, *high;
    bool low_open, high_open;
};

/* Disjoint pieces in ascending order. */
struct pieces {
    struct piece list[MAX_PIECES];
    int count;
};

static bool is_empty_set(const struct expr *e)
{
    return e->kind == EXPR_NAMED_SET && strcmp(e->name, "EmptySet") == 0;
}

/* Order of two ends; 2 when unknown. */
static int order(struct comparison *c, const struct expr *a, const struct expr *b)
{
    return value_order(a, b, &c->steps);
}

static bool add_piece(struct pieces *s, struct piece p)
{
    if (s->count == MAX_PIECES) {
        return false;
    }
    s->list[s->count++] = p;
    return true;
}

/* Sorts the pieces and joins those that touch. */
static bool tidy(struct comparison *c, struct pieces *s)
{
    for (int i = 1; i < s->count; i++) {
        for (int j = i; j > 0; j--) {
            const int o = order(c, s->list[j].low, s->list[j - 1].low);
            if (o == 2) {
                return false;
            }
            if (o > 0 || (o == 0 && (s->list[j].low_open || !s->list[j - 1].low_open))) {
                break;
            }
            const struct piece swap = s->list[j];
            s->list[j] = s->list[j - 1];
            s->list[j - 1] = swap;
        }
    }
    int kept = 0;
    for (int i = 1; i < s->count; i++) {
        struct piece *last = &s->list[kept];
        const struct piece next = s->list[i];
        const int o = order(c, next.low, last->high);
        if (o == 2) {
            return false;
        }
        if (o < 0 || (o == 0 && (!next.low_open || !last->high_open))) {
            const int h = order(c, next.high, last->high);
            if (h == 2) {
                return false;
            }
            if (h > 0) {
                last->high = next.high;
                last->high_open = next.high_open;
            } else if (h == 0) {
                last->high_open = last->high_open && next.high_open;
            }
        } else {
            s->list[++kept] = next;
        }
    }
    s->count = s->count > 0 ? kept + 1 : 0;
    return true;
}

/* What lies outside of the pieces. */
static bool invert(struct comparison *c, struct pieces *s)
{
    struct pieces out = {.count = 0};
    const struct expr *low = expr_new(c->pool, EXPR_NEG_INFINITY, 0);
    const struct expr *top = expr_new(c->pool, EXPR_INFINITY, 0);
    bool low_open = true;
    if (!low || !top) {
        return false;
    }
    for (int i = 0; i <= s->count; i++) {
        const struct expr *high = i < s->count ? s->list[i].low : top;
        const bool high_open = i < s->count ? !s->list[i].low_open : true;
        const int o = order(c, low, high);
        if (o == 2) {
            return false;
        }
        if (o < 0 || (o == 0 && !low_open && !high_open)) {
            if (!add_piece(&out, (struct piece){low, high, low_open, high_open})) {
                return false;
            }
        }
        if (i < s->count) {
            low = s->list[i].high;
            low_open = !s->list[i].high_open;
        }
    }
    *s = out;
    return true;
}

static bool to_pieces(struct comparison *c, const struct expr *e, struct pieces *out);

static bool points(struct comparison *c, const struct expr *e, struct pieces *out)
{
    for (int i = 0; i < e->count; i++) {
        const struct expr *x = e->args[i];
        if (order(c, x, x) != 0 || !add_piece(out, (struct piece){x, x, false, false})) {
            return false;
        }
    }
    return tidy(c, out);
}

/* Intersections: the complement of the united complements. */
static bool meet(struct comparison *c, const struct expr *e, struct pieces *out)
{
    struct pieces part;
    for (int i = 0; i < e->count; i++) {
        if (!to_pieces(c, e->args[i], &part) || !invert(c, &part)) {
            return false;
        }
        for (int j = 0; j < part.count; j++) {
            if (!add_piece(out, part.list[j])) {
                return false;
            }
        }
    }
    return tidy(c, out) && invert(c, out);
}

static bool without(struct comparison *c, const struct expr *e, struct pieces *out)
{
    struct pieces part;
    if (!c->strict && e->args[0]->kind == EXPR_SET) {
        return false; /* the reference leaves these alone */
    }
    if (!to_pieces(c, e->args[0], out) || !invert(c, out) || !to_pieces(c, e->args[1], &part)) {
        return false;
    }
    for (int j = 0; j < part.count; j++) {
        if (!add_piece(out, part.list[j])) {
            return false;
        }
    }
    return tidy(c, out) && invert(c, out);
}

static bool to_pieces(struct comparison *c, const struct expr *e, struct pieces *out)
{
    struct pieces part;
    out->count = 0;
    if (--c->steps <= 0 || c->depth > 30) {
        return false;
    }
    switch (e->kind) {
    case EXPR_INTERVAL:
        return order(c, e->args[0], e->args[1]) == -1 &&
               add_piece(out, (struct piece){e->args[0], e->args[1], e->left_open, e->right_open});
    case EXPR_SET:
        return points(c, e, out);
    case EXPR_NAMED_SET:
        return is_empty_set(e) || (strcmp(e->name, "Reals") == 0 && invert(c, out));
    case EXPR_UNION:
        c->depth++;
        for (int i = 0; i < e->count; i++) {
            if (!to_pieces(c, e->args[i], &part)) {
                return false;
            }
            for (int j = 0; j < part.count; j++) {
                if (!add_piece(out, part.list[j])) {
                    return false;
                }
            }
        }
        c->depth--;
        return tidy(c, out);
    case EXPR_INTERSECTION:
        /* The reference does not evaluate an intersection that was written. */
        return (c->strict || e->left_open) && meet(c, e, out);
    case EXPR_COMPLEMENT:
        return without(c, e, out);
    default:
        return false;
    }
}

bool compare_real_sets(struct comparison *c, const struct expr *a, const struct expr *b)
{
    struct pieces s;
    struct pieces t;
    const int depth = c->depth;
    bool equal = to_pieces(c, a, &s) && to_pieces(c, b, &t) && s.count == t.count;
    c->depth = depth;
    for (int i = 0; equal && i < s.count; i++) {
        equal = s.list[i].low_open == t.list[i].low_open &&
                s.list[i].high_open == t.list[i].high_open &&
                order(c, s.list[i].low, t.list[i].low) == 0 &&
                order(c, s.list[i].high, t.list[i].high) == 0;
    }
    return equal;
}

/* The distinct elements of a set, the items of a tuple. */
static const struct expr *const *members(const struct expr *e, int *count)
{
    *count = e->kind == EXPR_SET ? e->distinct : e->count;
    return e->kind == EXPR_SET ? e->args + e->count : e->args;
}

static bool in_order(struct comparison *c, const struct expr *const *a, const struct expr *const *b,
                     int count)
{
    for (int i = 0; i < count; i++) {
        if (!compare_equal(c, a[i], b[i])) {
            return false;
        }
    }
    return true;
}

/* Each of a finds its own partner in b. */
static bool in_any_order(struct comparison *c, const struct expr *const *a,
                         const struct expr *const *b, int count)
{
    bool *taken = expr_alloc(c->pool, (size_t)count + 1);
    if (!taken) {
        return false;
    }
    for (int i = 0; i < count; i++) {
        int j = 0;
        while (j < count && (taken[j] || !compare_equal(c, a[i], b[j]))) {
            j++;
        }
        if (j == count) {
            return false;
        }
        taken[j] = true;
    }
    return true;
}

static bool compare_lists(struct comparison *c, const struct expr *gold, const struct expr *pred)
{
    int n;
    int m;
    const struct expr *const *a = members(gold, &n);
    const struct expr *const *b = members(pred, &m);
    if (n != m) {
        return false;
    }
    if (gold->kind == EXPR_SET) {
        return in_any_order(c, a, b, n);
    }
    if (pred->kind == EXPR_SET) {
        if (pred->count != n) {
            c->raised = true;
            return false;
        }
        return in_order(c, a, pred->args, n);
    }
    return in_order(c, a, b, n);
}

/* Is each member of a exactly some member of b? */
static bool covered(struct comparison *c, const struct expr *a, const struct expr *b)
{
    int n;
    int m;
    const struct expr *const *x = members(a, &n);
    const struct expr *const *y = members(b, &m);
    for (int i = 0; i < n; i++) {
        int j = 0;
        while (j < m && !expr_same(x[i], y[j]) &&
               (x[i]->kind >= EXPR_MATRIX || y[j]->kind >= EXPR_MATRIX ||
                value_equal(x[i], y[j], &c->steps) != VALUE_EQUAL)) {
            j++;
        }
        if (j == m) {
            return false;
        }
    }
    return true;
}

/* An open interval against two items is the pair of its ends. */
static const struct expr *as_pair(struct comparison *c, const struct expr *e)
{
    return e->kind == EXPR_INTERVAL && e->left_open && e->right_open
               ? expr_binary(c->pool, EXPR_TUPLE, e->args[0], e->args[1])
               : NULL;
}

static bool is_list(const struct expr *e)
{
    return e->kind == EXPR_SET || e->kind == EXPR_TUPLE;
}

static int list_length(const struct expr *e)
{
    return e->kind == EXPR_SET ? e->distinct : e->count;
}

/* A set or a tuple as it is, anything else as the set of it. */
static const struct expr *as_set(struct comparison *c, const struct expr *e)
{
    return expr_is_set(e) || e->kind == EXPR_TUPLE ? e : expr_set(c->pool, &e, 1);
}

/* The same members, of two sets. */
static bool same_members(struct comparison *c, const struct expr *a, const struct expr *b)
{
    const bool finite_a = a->kind == EXPR_SET;
    const bool finite_b = b->kind == EXPR_SET;
    if (finite_a && finite_b) {
        return covered(c, a, b) && covered(c, b, a);
    }
    /* The reference leaves the difference of a finite set and a difference as it is. */
    if (!c->strict && (finite_a || finite_b)
        && (a->kind == EXPR_COMPLEMENT || b->kind == EXPR_COMPLEMENT)) {
        return false;
    }
    return compare_real_sets(c, a, b);
}

static bool is_two(const struct expr *e)
{
    return is_list(e) && list_length(e) == 2;
}

bool compare_sets(struct comparison *c, const struct expr *gold, const struct expr *pred)
{
    const struct expr *a = as_set(c, gold);
    const struct expr *b = as_set(c, pred);
    if (!a || !b) {
        return false;
    }
    if (a->kind == EXPR_INTERVAL && b->kind == EXPR_INTERVAL) {
        return a->left_open == b->left_open && a->right_open == b->right_open &&
               compare_equal(c, a->args[0], b->args[0]) &&
               compare_equal(c, a->args[1], b->args[1]);
    }
    if (expr_same(a, b)) {
        return true;
    }
    if (expr_is_set(a) && expr_is_set(b) && same_members(c, a, b)) {
        return true;
    }
    if (is_list(a) && is_list(b)) {
        return compare_lists(c, a, b);
    }
    const struct expr *pair = is_two(b) ? as_pair(c, a) : is_two(a) ? as_pair(c, b) : NULL;
    return pair && (is_two(b) ? compare_lists(c, pair, b) : compare_lists(c, a, pair));
}
