/* Evaluation of expressions; see value.h. */
#include "eval/grade/value_internal.h"

#include <string.h>

void value_init(struct value *v)
{
    v->kind = VALUE_NONE;
    v->inexact = false;
    v->bits = 0;
    fmpq_init(v->q);
    arf_init(v->f);
    acb_init(v->z);
}

void value_clear(struct value *v)
{
    fmpq_clear(v->q);
    arf_clear(v->f);
    acb_clear(v->z);
}

bool value_ball(const struct value *v, acb_t z, int64_t precision)
{
    switch (v->kind) {
    case VALUE_RATIONAL:
        acb_set_fmpq(z, v->q, precision);
        return true;
    case VALUE_FLOAT:
        acb_zero(z);
        arb_set_arf(acb_realref(z), v->f);
        return arf_is_finite(v->f);
    case VALUE_BALL:
        acb_set(z, v->z);
        return acb_is_finite(z);
    default:
        return false;
    }
}

void value_set_ball(struct value *v, bool inexact)
{
    v->kind = acb_is_finite(v->z) ? VALUE_BALL : VALUE_NONE;
    v->inexact = inexact;
}

/* A float as the reference rounds the other operand of a float. */
static void as_float(const struct value *v, arf_t f, int64_t bits)
{
    if (v->kind == VALUE_FLOAT) {
        arf_set(f, v->f);
    } else {
        arf_fmpz_div_fmpz(f, fmpq_numref(v->q), fmpq_denref(v->q), bits, ARF_RND_NEAR);
    }
}

static int64_t float_bits(const struct value *a, const struct value *b)
{
    const int64_t m = a->kind == VALUE_FLOAT ? a->bits : 0;
    const int64_t n = b->kind == VALUE_FLOAT ? b->bits : 0;
    return m > n ? m : n;
}

static size_t rational_bits(const fmpq_t q)
{
    return fmpz_bits(fmpq_numref(q)) + fmpz_bits(fmpq_denref(q));
}

/* Sign of a real value; 0 when it is 0 or not certain. */
static int sign_of(const struct value *v)
{
    switch (v->kind) {
    case VALUE_RATIONAL:
        return fmpq_sgn(v->q);
    case VALUE_FLOAT:
        return arf_sgn(v->f);
    case VALUE_INFINITE:
        return (int)v->bits;
    case VALUE_BALL:
        if (!acb_is_real(v->z)) {
            return 0;
        }
        return arb_is_positive(acb_realref(v->z))   ? 1
               : arb_is_negative(acb_realref(v->z)) ? -1
                                                    : 0;
    default:
        return 0;
    }
}

/* Sums and products with an infinite value. */
static void combine_infinite(struct value *a, const struct value *b, bool multiply)
{
    int64_t sign = 0;
    if (multiply) {
        sign = sign_of(a) * sign_of(b);
    } else if (a->kind != VALUE_INFINITE || b->kind != VALUE_INFINITE || a->bits == b->bits) {
        const struct value *finite = a->kind == VALUE_INFINITE ? b : a;
        const bool real = finite->kind != VALUE_BALL || acb_is_real(finite->z);
        sign = !real ? 0 : a->kind == VALUE_INFINITE ? a->bits : b->bits;
    }
    a->kind = sign != 0 ? VALUE_INFINITE : VALUE_NONE;
    a->bits = sign;
}

/* Powers of an infinite base by a real exponent. */
static void infinite_power(const struct value *base, const struct value *exponent, struct value *v)
{
    const int sign = sign_of(exponent);
    v->kind = VALUE_NONE;
    if (base->kind != VALUE_INFINITE || exponent->kind == VALUE_INFINITE) {
        return;
    }
    if (exponent->kind == VALUE_RATIONAL && sign == 0) {
        fmpq_set_si(v->q, 1, 1);
        v->kind = VALUE_RATIONAL;
    } else if (sign < 0) {
        fmpq_zero(v->q);
        v->kind = VALUE_RATIONAL;
    } else if (sign > 0 && base->bits > 0) {
        v->kind = VALUE_INFINITE;
        v->bits = 1;
    }
}

/* *a = a + b or a * b. */
static void combine(struct value_point *at, struct value *a, const struct value *b, bool multiply)
{
    if (a->kind == VALUE_NONE || b->kind == VALUE_NONE) {
        a->kind = VALUE_NONE;
        return;
    }
    if (a->kind == VALUE_INFINITE || b->kind == VALUE_INFINITE) {
        combine_infinite(a, b, multiply);
        return;
    }
    if (a->kind == VALUE_RATIONAL && b->kind == VALUE_RATIONAL &&
        rational_bits(a->q) + rational_bits(b->q) < VALUE_MAX_BITS) {
        if (multiply) {
            fmpq_mul(a->q, a->q, b->q);
        } else {
            fmpq_add(a->q, a->q, b->q);
        }
        return;
    }
    if (a->kind != VALUE_BALL && b->kind != VALUE_BALL &&
        (a->kind == VALUE_FLOAT || b->kind == VALUE_FLOAT)) {
        const int64_t bits = float_bits(a, b);
        arf_t f;
        arf_t g;
        arf_init(f);
        arf_init(g);
        as_float(a, f, bits);
        as_float(b, g, bits);
        if (multiply) {
            arf_mul(a->f, f, g, bits, ARF_RND_NEAR);
        } else {
            arf_add(a->f, f, g, bits, ARF_RND_NEAR);
        }
        arf_clear(f);
        arf_clear(g);
        a->kind = VALUE_FLOAT;
        a->bits = bits;
        a->inexact = true;
        return;
    }
    acb_t z;
    acb_t w;
    acb_init(z);
    acb_init(w);
    const bool ok = value_ball(a, z, at->precision) && value_ball(b, w, at->precision);
    if (ok && multiply) {
        acb_mul(a->z, z, w, at->precision);
    } else if (ok) {
        acb_add(a->z, z, w, at->precision);
    }
    acb_clear(z);
    acb_clear(w);
    value_set_ball(a, a->inexact || b->inexact);
    a->kind = ok ? a->kind : VALUE_NONE;
}

static void fold(struct value_point *at, const struct expr *e, struct value *v)
{
    const bool multiply = e->kind == EXPR_MUL;
    struct value next;
    value_init(&next);
    value_of(at, e->args[0], v);
    for (int i = 1; i < e->count && v->kind != VALUE_NONE; i++) {
        value_of(at, e->args[i], &next);
        combine(at, v, &next, multiply);
    }
    value_clear(&next);
}

/* q^n for a whole n that keeps the result short. */
static bool integer_power(struct value *v, const fmpq_t base, const fmpz_t n)
{
    if (fmpq_is_zero(base) && fmpz_sgn(n) < 0) {
        v->kind = VALUE_NONE;
        return true;
    }
    if (fmpz_cmp_si(n, 100000) > 0 || fmpz_cmp_si(n, -100000) < 0 ||
        rational_bits(base) * (size_t)labs(fmpz_get_si(n)) > VALUE_MAX_BITS) {
        return false;
    }
    fmpq_pow_si(v->q, base, fmpz_get_si(n));
    v->kind = VALUE_RATIONAL;
    v->inexact = false;
    return true;
}

/* The exact root of a positive rational, when there is one. */
static bool rational_root(struct value *v, const fmpq_t base, const fmpq_t exponent)
{
    if (fmpq_sgn(base) <= 0 || fmpz_cmp_si(fmpq_denref(exponent), 64) > 0 ||
        fmpz_bits(fmpq_numref(exponent)) > 30) {
        return false;
    }
    const slong n = fmpz_get_si(fmpq_denref(exponent));
    fmpq_t r;
    fmpq_init(r);
    const bool exact = fmpz_root(fmpq_numref(r), fmpq_numref(base), n) &&
                       fmpz_root(fmpq_denref(r), fmpq_denref(base), n);
    const bool ok = exact && integer_power(v, r, fmpq_numref(exponent));
    fmpq_clear(r);
    return ok;
}

/* A ball that came from floats alone is a float again. */
void value_round_float(struct value *v, int64_t bits)
{
    if (v->kind == VALUE_BALL && arb_is_zero(acb_imagref(v->z))) {
        arf_set_round(v->f, arb_midref(acb_realref(v->z)), bits, ARF_RND_NEAR);
        v->kind = VALUE_FLOAT;
        v->bits = bits;
    }
}

static void power(struct value_point *at, const struct expr *e, struct value *v)
{
    struct value base;
    struct value exponent;
    acb_t z;
    acb_t w;
    value_init(&base);
    value_init(&exponent);
    acb_init(z);
    acb_init(w);
    value_of(at, e->args[0], &base);
    value_of(at, e->args[1], &exponent);
    const bool rational = base.kind == VALUE_RATIONAL && exponent.kind == VALUE_RATIONAL;
    const bool whole = rational && fmpz_is_one(fmpq_denref(exponent.q));
    v->kind = VALUE_NONE;
    if (base.kind == VALUE_NONE || exponent.kind == VALUE_NONE) {
        goto done;
    }
    if (base.kind == VALUE_INFINITE || exponent.kind == VALUE_INFINITE) {
        infinite_power(&base, &exponent, v);
        goto done;
    }
    if ((whole && integer_power(v, base.q, fmpq_numref(exponent.q))) ||
        (rational && !whole && rational_root(v, base.q, exponent.q))) {
        goto done;
    }
    if (value_ball(&base, z, at->precision) && value_ball(&exponent, w, at->precision)) {
        acb_pow(v->z, z, w, at->precision);
        value_set_ball(v, base.inexact || exponent.inexact);
        if (base.kind != VALUE_BALL && exponent.kind != VALUE_BALL &&
            float_bits(&base, &exponent) > 0) {
            value_round_float(v, float_bits(&base, &exponent));
        }
    }
done:
    acb_clear(z);
    acb_clear(w);
    value_clear(&base);
    value_clear(&exponent);
}

static uint64_t mix(uint64_t h, uint64_t x)
{
    h ^= x + 0x9e3779b97f4a7c15u + (h << 6) + (h >> 2);
    h *= 0xbf58476d1ce4e5b9u;
    return h ^ (h >> 29);
}

static uint64_t hash_text(const char *text)
{
    uint64_t h = 14695981039346656037u;
    for (; text && *text; text++) {
        h = (h ^ (uint8_t)*text) * 1099511628211u;
    }
    return h;
}

/* Structure hash, alike for nodes that are expr_same. */
static uint64_t hash_expr(const struct expr *e, int depth)
{
    uint64_t h = mix((uint64_t)e->kind, hash_text(e->name));
    h = mix(h, (uint64_t)e->real | (uint64_t)e->fn << 1 | (uint64_t)e->relation << 9);
    if (e->kind == EXPR_RATIONAL) {
        h = mix(h, fmpz_fdiv_ui(fmpq_numref(e->q), 4294967291u));
        h = mix(h, fmpz_fdiv_ui(fmpq_denref(e->q), 4294967291u));
    } else if (e->kind == EXPR_FLOAT) {
        h = mix(h, (uint64_t)(arf_get_d(e->f, ARF_RND_NEAR) * 1e6));
    }
    for (int i = 0; i < e->count && depth < 64; i++) {
        h = mix(h, hash_expr(e->args[i], depth + 1));
    }
    return h;
}

/* A number in (-8, 8) with a short denominator, never whole. */
static void sample_rational(fmpq_t q, uint64_t h)
{
    fmpq_set_si(q, (slong)(h % 2039) - 1019, 127);
    if (fmpz_is_one(fmpq_denref(q))) {
        fmpq_set_si(q, 355, 113);
    }
}

static void sample(struct value_point *at, const struct expr *e, struct value *v)
{
    if (at->sample < 0) {
        v->kind = VALUE_NONE;
        return;
    }
    const uint64_t h = mix(hash_expr(e, 0), (uint64_t)at->sample * 7919u + 17u);
    v->inexact = false;
    v->kind = VALUE_RATIONAL;
    sample_rational(v->q, h);
    if (at->sample % 3 == 2) { /* further out, so that both sides of a kink are met */
        fmpq_mul_si(v->q, v->q, 13);
    }
    if (e->kind == EXPR_SYMBOL && !e->real) {
        fmpq_t im;
        fmpq_init(im);
        sample_rational(im, mix(h, 5));
        acb_zero(v->z);
        arb_set_fmpq(acb_realref(v->z), v->q, at->precision);
        arb_set_fmpq(acb_imagref(v->z), im, at->precision);
        fmpq_clear(im);
        value_set_ball(v, false);
    }
}

static void symbol(struct value_point *at, const struct expr *e, struct value *v)
{
    for (const struct value_binding *b = at->bound; b; b = b->outer) {
        if (expr_same(b->symbol, e)) {
            if (b->ball) {
                acb_set(v->z, *b->ball);
                value_set_ball(v, false);
            } else {
                fmpq_set_fmpz(v->q, b->number);
                v->kind = VALUE_RATIONAL;
                v->inexact = false;
            }
            return;
        }
    }
    sample(at, e, v);
}

static void constant(struct value_point *at, const struct expr *e, struct value *v)
{
    acb_zero(v->z);
    switch (e->kind) {
    case EXPR_PI:
        arb_const_pi(acb_realref(v->z), at->precision);
        break;
    case EXPR_E:
        arb_const_e(acb_realref(v->z), at->precision);
        break;
    case EXPR_EULER:
        arb_const_euler(acb_realref(v->z), at->precision);
        break;
    default:
        acb_onei(v->z);
        break;
    }
    value_set_ball(v, false);
}

static void infinity(struct value_point *at, const struct expr *e, struct value *v)
{
    const int sign = e->kind == EXPR_INFINITY ? 1 : -1;
    v->inexact = false;
    if (at->infinity_is_symbol) {
        v->kind = VALUE_RATIONAL;
        sample_rational(v->q, mix(0x1f, (uint64_t)at->sample));
        fmpq_abs(v->q, v->q);
        if (sign < 0) {
            fmpq_neg(v->q, v->q);
        }
    } else {
        v->kind = VALUE_INFINITE;
        v->bits = sign;
    }
}

static void evaluate(struct value_point *at, const struct expr *e, struct value *v)
{
    switch (e->kind) {
    case EXPR_RATIONAL:
        fmpq_set(v->q, e->q);
        v->kind = VALUE_RATIONAL;
        v->inexact = false;
        break;
    case EXPR_FLOAT:
        arf_set(v->f, e->f);
        v->kind = VALUE_FLOAT;
        v->bits = e->bits;
        v->inexact = true;
        break;
    case EXPR_PERCENT:
        fmpq_set_si(v->q, 1, 100);
        v->kind = VALUE_RATIONAL;
        v->inexact = false;
        break;
    case EXPR_SYMBOL:
        symbol(at, e, v);
        break;
    case EXPR_APPLY:
        sample(at, e, v);
        break;
    case EXPR_PI: case EXPR_E: case EXPR_EULER: case EXPR_I:
        constant(at, e, v);
        break;
    case EXPR_ADD: case EXPR_MUL:
        fold(at, e, v);
        break;
    case EXPR_POW:
        power(at, e, v);
        break;
    case EXPR_CALL:
        value_call(at, e, v);
        break;
    case EXPR_SUM: case EXPR_PRODUCT:
        value_sum(at, e, v);
        break;
    case EXPR_INTEGRAL:
        value_integral(at, e, v);
        break;
    case EXPR_DERIVATIVE:
        value_derivative(at, e, v);
        break;
    case EXPR_LIMIT:
        value_limit(at, e, v);
        break;
    case EXPR_INFINITY: case EXPR_NEG_INFINITY:
        infinity(at, e, v);
        break;
    default:
        v->kind = VALUE_NONE;
        break;
    }
}

void value_of(struct value_point *at, const struct expr *e, struct value *v)
{
    if (--at->steps < 0 || ++at->depth > VALUE_MAX_DEPTH) {
        at->steps = 0;
        v->kind = VALUE_NONE;
        return;
    }
    evaluate(at, e, v);
    at->depth--;
}

/* The symbol that an expression binds, NULL when it binds none. */
static const struct expr *bound_symbol(const struct expr *e)
{
    const bool binds = e->kind == EXPR_SUM || e->kind == EXPR_PRODUCT || e->kind == EXPR_LIMIT ||
                       (e->kind == EXPR_INTEGRAL && e->count == 4);
    return binds ? e->args[1] : NULL;
}

static bool has_free(const struct expr *e, const struct expr *bound)
{
    if (e->kind == EXPR_SYMBOL) {
        return !bound || !expr_same(e, bound);
    }
    if (e->kind == EXPR_APPLY) {
        return true;
    }
    const struct expr *inner = bound_symbol(e);
    for (int i = 0; i < e->count; i++) {
        /* Only the innermost bound symbol is known; others count as free, which costs samples. */
        if (has_free(e->args[i], inner && i < 2 ? inner : bound)) {
            return true;
        }
    }
    return false;
}

bool value_has_symbols(const struct expr *e)
{
    return has_free(e, NULL);
}

bool value_has_infinity(const struct expr *e)
{
    if (e->kind == EXPR_INFINITY || e->kind == EXPR_NEG_INFINITY) {
        return true;
    }
    for (int i = e->kind == EXPR_LIMIT ? e->count : 0; i < e->count; i++) {
        if (value_has_infinity(e->args[i])) {
            return true;
        }
    }
    return false;
}
