/*
 * Comparison of two expressions with the reference's verdicts (spec/open-r1.md 3.3), and the few
 * constructors that have to compare.
 */
#pragma once

#include "eval/grade/value.h"

/* A comparison under way. */
struct comparison {
    struct expr_pool *pool;
    bool strict; /* with the known errors mended */
    bool raised; /* the reference would raise: false as a whole */
    int steps;   /* counted down; 0: too much work, false */
    int depth;
};

/* gold = pred? Not symmetric. */
bool compare_equal(struct comparison *c, const struct expr *gold, const struct expr *pred);

/* The same where at least one side is a set or tuple. */
bool compare_sets(struct comparison *c, const struct expr *gold, const struct expr *pred);

/* The same of two relations or chains of them. */
bool compare_relations(struct comparison *c, const struct expr *gold, const struct expr *pred);

/* The real solutions of a relation in one symbol as a set; NULL when they are not found. */
const struct expr *compare_solutions(struct comparison *c, const struct expr *relation);

/* Are the two the same set of reals? Unions and differences of intervals and points. */
bool compare_real_sets(struct comparison *c, const struct expr *a, const struct expr *b);

/* a - b. */
const struct expr *compare_minus(struct expr_pool *p, const struct expr *a, const struct expr *b);

/* The interval, or what the reference makes of it: a tuple when b <= a, a point, the empty set. */
const struct expr *compare_make_interval(struct expr_pool *p, const struct expr *a,
                                         const struct expr *b, bool left_open, bool right_open);

/* Would the reference's simplification find that a and b are equal, if they are? */
bool compare_provable(const struct expr *a, const struct expr *b);

/* Products with floats and the same other factors: are their numbers equal? VALUE_UNKNOWN for any
 * other pair. */
enum value_verdict compare_factors(struct comparison *c, const struct expr *a,
                                   const struct expr *b);

/* Is the expression made of symbols alone? */
bool compare_only_symbols(const struct expr *e);

/* The determinant of a square matrix; NULL when it has none or is too large. */
const struct expr *compare_determinant(struct expr_pool *p, const struct expr *m);

/* Matrix sums and products multiplied out; `e` itself when it is no such thing. */
const struct expr *compare_matrix(struct comparison *c, const struct expr *e);
