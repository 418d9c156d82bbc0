/* Parts of the evaluator. */
#pragma once

#include "eval/grade/value.h"

enum { VALUE_MAX_BITS = 16384, VALUE_MAX_DEPTH = 600, VALUE_MAX_TERMS = 2000, VALUE_CHOP_EXPONENT = -54 };

/* A symbol bound by a sum (number) or an integral (ball). */
struct value_binding {
    const struct expr *symbol;
    const fmpz *number;
    const acb_t *ball;
    const struct value_binding *outer;
};

/* Marks v->z as the value, or VALUE_NONE when it is not finite. */
void value_set_ball(struct value *v, bool inexact);

/* Makes a real ball a float of `bits` bits. */
void value_round_float(struct value *v, int64_t bits);

/* Does infinity occur in the expression? */
bool value_has_infinity(const struct expr *e);

/* The value of a derivative or limit, found close to its point with many more bits. */
void value_derivative(struct value_point *at, const struct expr *e, struct value *v);
/* See value_derivative. */
void value_limit(struct value_point *at, const struct expr *e, struct value *v);

/* The value of a call of a known function. */
void value_call(struct value_point *at, const struct expr *e, struct value *v);
/* Of a sum or product over few enough whole numbers. */
void value_sum(struct value_point *at, const struct expr *e, struct value *v);
/* Of a definite integral, by certified quadrature. */
void value_integral(struct value_point *at, const struct expr *e, struct value *v);
