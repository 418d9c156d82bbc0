/*
 * Values of expressions: exact rationals where possible, floats rounded as the reference rounds
 * them, else complex balls (Arb), whose radius certifies what they prove.
 *
 * Symbols have no value of their own. Identities are decided at sample points: two expressions
 * whose difference is certified non-zero at one point differ; when all points are consistent with
 * zero at a high precision they are equal (Schwartz 1980 bounds the error for polynomials).
 */
#pragma once

#include <acb.h>

#include "eval/grade/expr.h"

enum value_kind { VALUE_NONE, VALUE_RATIONAL, VALUE_FLOAT, VALUE_BALL, VALUE_INFINITE };

struct value {
    enum value_kind kind;
    bool inexact; /* a float took part */
    int64_t bits; /* of floats; sign of infinite values */
    fmpq_t q;
    arf_t f;
    acb_t z;
};

/* Where an expression is evaluated. */
struct value_point {
    int64_t precision; /* bits of balls */
    int sample;        /* number of the sample point; -1: symbols have no value */
    int steps;         /* counted down; 0: no further values */
    int depth;
    bool infinity_is_symbol;
    const struct value_binding *bound; /* of sums and integrals */
};

/* Readies a value; clear it with value_clear. */
void value_init(struct value *v);
/* Releases what the value holds. */
void value_clear(struct value *v);

/* *v = the value of `e`; VALUE_NONE when it has none here (infinite, undefined, too long). */
void value_of(struct value_point *at, const struct expr *e, struct value *v);

/* The value as a ball; false for VALUE_NONE and what is not finite. */
bool value_ball(const struct value *v, acb_t z, int64_t precision);

/* Does the expression hold symbols or what else has no value of its own? */
bool value_has_symbols(const struct expr *e);

enum value_verdict { VALUE_UNKNOWN, VALUE_EQUAL, VALUE_DIFFERENT };

/* Are two scalar expressions the same number, or the same function of their symbols? `steps` is
 * counted down. */
enum value_verdict value_equal(const struct expr *a, const struct expr *b, int *steps);

/* |a - b| below the reference's threshold for numbers that are written differently. */
bool value_nearly_equal(const struct expr *a, const struct expr *b, int *steps);

/* Both rounded to six decimals agree; the reference's rule when a float is compared. */
bool value_equal_rounded(const struct expr *a, const struct expr *b, int *steps);

/* -1, 0, 1 as a is less than, equal to or greater than b; 2 when they have no real values.
 * Infinities compare. */
int value_order(const struct expr *a, const struct expr *b, int *steps);

/* Is it a number that is certainly not real? */
bool value_is_complex(const struct expr *e, int *steps);

/* Do two equations have the same solutions for a symbol in which both are linear? */
bool value_same_root(const struct expr *a_left, const struct expr *a_right,
                     const struct expr *b_left, const struct expr *b_right,
                     const struct expr *symbol, int *steps);

/* Is (a_left - a_right) / (b_left - b_right) the same number other than 0 at every sample point? */
bool value_proportional(const struct expr *a_left, const struct expr *a_right,
                        const struct expr *b_left, const struct expr *b_right, int *steps);

/* Polynomial coefficients c[0..2] of left - right in its only symbol, degree at most 2, rational.
 * *symbol is that symbol. False when it is no such polynomial. */
bool value_quadratic(const struct expr *left, const struct expr *right, fmpq_t c[3],
                     const struct expr **symbol, int *steps);
