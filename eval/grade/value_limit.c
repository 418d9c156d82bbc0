/*
 * Derivatives and limits: the function close to the point, at a distance of 2^(-2 precision) and
 * with several times the precision. The error of an analytic function is then far below the
 * precision asked for; what does not settle has no value.
 */
#include "eval/grade/value_internal.h"

/* More than this proves nothing more: the error bound of the point is what counts. */
enum { MAX_PRECISION = 512 };

/* Adds 2^exponent to the radius. */
static void widen(acb_t z, int64_t exponent)
{
    mag_t m;
    mag_init(m);
    mag_set_ui_2exp_si(m, 1, exponent);
    acb_add_error_mag(z, m);
    mag_clear(m);
}

/* f with its symbol bound to x. */
static bool at_point(struct value_point *at, const struct expr *f, const struct expr *symbol,
                     const acb_t x, int64_t precision, acb_t out)
{
    acb_t copy;
    struct value v;
    const int64_t outer_precision = at->precision;
    acb_init(copy);
    acb_set(copy, x);
    const struct value_binding binding = {symbol, NULL, (const acb_t *)&copy, at->bound};
    value_init(&v);
    at->bound = &binding;
    at->precision = precision;
    value_of(at, f, &v);
    at->precision = outer_precision;
    at->bound = binding.outer;
    const bool ok = value_ball(&v, out, precision);
    value_clear(&v);
    acb_clear(copy);
    return ok;
}

static int64_t enough(const struct value_point *at)
{
    return at->precision < MAX_PRECISION ? at->precision : MAX_PRECISION;
}

void value_derivative(struct value_point *at, const struct expr *e, struct value *v)
{
    const int64_t step = -2 * enough(at);
    const int64_t precision = 6 * enough(at);
    struct value x;
    acb_t z;
    acb_t h;
    acb_t low;
    v->kind = VALUE_NONE;
    if (e->count != 2) {
        return;
    }
    value_init(&x);
    acb_init(z);
    acb_init(h);
    acb_init(low);
    value_of(at, e->args[1], &x);
    if (value_ball(&x, z, precision)) {
        acb_one(h);
        acb_mul_2exp_si(h, h, step);
        acb_sub(low, z, h, precision);
        acb_add(z, z, h, precision);
        if (at_point(at, e->args[0], e->args[1], z, precision, v->z) &&
            at_point(at, e->args[0], e->args[1], low, precision, z)) {
            acb_sub(v->z, v->z, z, precision);
            acb_mul_2exp_si(v->z, v->z, -step - 1);
            widen(v->z, step);
            value_set_ball(v, false);
        }
    }
    value_clear(&x);
    acb_clear(z);
    acb_clear(h);
    acb_clear(low);
}

/* The point and a way to come closer: *near = to +- 2^step, or 2^-step for infinity. */
static bool approach(struct value_point *at, const struct expr *e, int64_t step, acb_t near)
{
    struct value to;
    acb_t h;
    bool ok = true;
    value_init(&to);
    acb_init(h);
    value_of(at, e->args[2], &to);
    acb_one(h);
    if (to.kind == VALUE_INFINITE) {
        acb_mul_2exp_si(near, h, -step);
        if (to.bits < 0) {
            acb_neg(near, near);
        }
    } else {
        ok = value_ball(&to, near, 8 * enough(at));
        acb_mul_2exp_si(h, h, step);
        if (e->left_open) {
            acb_neg(h, h);
        }
        acb_add(near, near, h, 8 * enough(at));
    }
    value_clear(&to);
    acb_clear(h);
    return ok;
}

void value_limit(struct value_point *at, const struct expr *e, struct value *v)
{
    const int64_t precision = 8 * enough(at);
    acb_t near;
    acb_t first;
    acb_init(near);
    acb_init(first);
    v->kind = VALUE_NONE;
    if (approach(at, e, -2 * enough(at), near) &&
        at_point(at, e->args[0], e->args[1], near, precision, first) &&
        approach(at, e, -3 * enough(at), near) &&
        at_point(at, e->args[0], e->args[1], near, precision, v->z)) {
        /* Two points at very different distances must agree. */
        acb_sub(first, first, v->z, precision);
        widen(v->z, -3 * enough(at) / 2);
        widen(first, -3 * enough(at) / 2);
        if (acb_contains_zero(first)) {
            value_set_ball(v, false);
        }
    }
    acb_clear(near);
    acb_clear(first);
}
