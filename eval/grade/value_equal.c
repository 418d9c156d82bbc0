/* Decisions on values: equality, order, rounding, proportion; see value.h. */
#include <stdlib.h>

#include "eval/grade/value_internal.h"

enum { SAMPLES = 14, NEEDED = 7, DOUBLE_DIGITS = 15 };

static const int64_t PRECISIONS[] = {128, 512, 2048};

struct pair {
    struct value a, b;
    acb_t z, w;
};

static void pair_init(struct pair *p)
{
    value_init(&p->a);
    value_init(&p->b);
    acb_init(p->z);
    acb_init(p->w);
}

static void pair_clear(struct pair *p)
{
    value_clear(&p->a);
    value_clear(&p->b);
    acb_clear(p->z);
    acb_clear(p->w);
}

/* z = a - b at a point; false when one of them has no value there. */
static bool difference(struct value_point *at, const struct expr *a, const struct expr *b,
                       struct pair *p)
{
    value_of(at, a, &p->a);
    value_of(at, b, &p->b);
    if (!value_ball(&p->a, p->z, at->precision) || !value_ball(&p->b, p->w, at->precision)) {
        return false;
    }
    acb_sub(p->z, p->z, p->w, at->precision);
    return acb_is_finite(p->z);
}

/* Floats in a function of symbols: the difference is rounding noise. */
static bool is_noise(const struct pair *p)
{
    arb_t size;
    arb_t bound;
    arb_init(size);
    arb_init(bound);
    acb_abs(size, p->z, 64);
    acb_abs(bound, p->w, 64);
    arb_mul_2exp_si(bound, bound, -46);
    const bool noise = !arb_gt(size, bound);
    arb_clear(size);
    arb_clear(bound);
    return noise;
}

static enum value_verdict at_sample(const struct expr *a, const struct expr *b, int sample,
                                    struct pair *p, int *steps)
{
    /* Many samples that agree to 512 bits need no more bits each. */
    const size_t levels = sizeof PRECISIONS / sizeof *PRECISIONS - (sample >= 0);
    for (size_t i = 0; i < levels; i++) {
        struct value_point at = {.precision = PRECISIONS[i], .sample = sample, .steps = *steps};
        const bool ok = difference(&at, a, b, p);
        *steps = at.steps;
        if (!ok) {
            return VALUE_UNKNOWN;
        }
        const bool rational = p->a.kind == VALUE_RATIONAL && p->b.kind == VALUE_RATIONAL;
        if (rational) {
            return fmpq_equal(p->a.q, p->b.q) ? VALUE_EQUAL : VALUE_DIFFERENT;
        }
        if ((p->a.inexact || p->b.inexact) && sample >= 0) {
            return is_noise(p) ? VALUE_EQUAL : VALUE_DIFFERENT;
        }
        if (!acb_contains_zero(p->z)) {
            return VALUE_DIFFERENT;
        }
    }
    return VALUE_EQUAL;
}

/* Sign of an infinite value, 0 of any other. */
static int infinite_sign(const struct expr *e, int *steps)
{
    struct value_point at = {.precision = 64, .sample = -1, .steps = *steps};
    struct value v;
    int sign = e->kind == EXPR_INFINITY ? 1 : e->kind == EXPR_NEG_INFINITY ? -1 : 0;
    if (sign == 0 && value_has_infinity(e)) {
        value_init(&v);
        value_of(&at, e, &v);
        sign = v.kind == VALUE_INFINITE ? (int)v.bits : 0;
        *steps = at.steps;
        value_clear(&v);
    }
    return sign;
}

static bool infinite_term(const struct expr *e)
{
    bool found = false;
    for (int i = 0; e->kind == EXPR_ADD && i < e->count; i++) {
        const enum expr_kind kind = e->args[i]->kind;
        found = found || kind == EXPR_INFINITY || kind == EXPR_NEG_INFINITY;
    }
    return found;
}

/* Infinite numbers are equal when one is plainly infinite and the other comes to the same, or when
 * they agree with any number in the place of infinity. */
static enum value_verdict equal_infinite(const struct expr *a, const struct expr *b, int *steps)
{
    if (expr_is_number(a) || expr_is_number(b)) {
        const int sign = infinite_sign(a, steps);
        if (sign != 0) {
            return sign == infinite_sign(b, steps) ? VALUE_EQUAL : VALUE_DIFFERENT;
        }
    }
    struct pair p;
    int agreed = 0;
    /* A sum with an infinite term less itself is undefined. */
    bool differ = !value_has_infinity(a) || !value_has_infinity(b) || infinite_term(a) ||
                  infinite_term(b);
    pair_init(&p);
    for (int s = 0; s < SAMPLES && agreed < NEEDED && !differ; s++) {
        struct value_point at = {
            .precision = 512, .sample = s, .steps = *steps, .infinity_is_symbol = true};
        if (difference(&at, a, b, &p)) {
            differ = !acb_contains_zero(p.z);
            agreed++;
        }
        *steps = at.steps;
    }
    pair_clear(&p);
    return differ || agreed < NEEDED ? VALUE_UNKNOWN : VALUE_EQUAL;
}

enum value_verdict value_equal(const struct expr *a, const struct expr *b, int *steps)
{
    struct pair p;
    enum value_verdict verdict = VALUE_UNKNOWN;
    if (value_has_infinity(a) || value_has_infinity(b)) {
        verdict = equal_infinite(a, b, steps);
        if (verdict != VALUE_UNKNOWN) {
            return verdict;
        }
    }
    pair_init(&p);
    if (!value_has_symbols(a) && !value_has_symbols(b)) {
        verdict = at_sample(a, b, -1, &p, steps);
        if (verdict == VALUE_DIFFERENT && (p.a.kind == VALUE_FLOAT || p.b.kind == VALUE_FLOAT) &&
            p.a.kind != VALUE_BALL && p.b.kind != VALUE_BALL) {
            /* Float arithmetic rounds the other operand before it subtracts. */
            const int64_t a_bits = p.a.kind == VALUE_FLOAT ? p.a.bits : 0;
            const int64_t b_bits = p.b.kind == VALUE_FLOAT ? p.b.bits : 0;
            const int64_t bits = a_bits > b_bits ? a_bits : b_bits;
            arf_t f;
            arf_t g;
            arf_init(f);
            arf_init(g);
            arf_set_round(f, arb_midref(acb_realref(p.w)), bits, ARF_RND_NEAR);
            acb_add(p.z, p.z, p.w, 256);
            arf_set_round(g, arb_midref(acb_realref(p.z)), bits, ARF_RND_NEAR);
            verdict = arf_equal(f, g) ? VALUE_EQUAL : VALUE_DIFFERENT;
            arf_clear(f);
            arf_clear(g);
        }
    } else {
        int agreed = 0;
        for (int s = 0; s < SAMPLES && agreed < NEEDED; s++) {
            const enum value_verdict v = at_sample(a, b, s, &p, steps);
            if (v == VALUE_DIFFERENT) {
                verdict = v;
                break;
            }
            agreed += v == VALUE_EQUAL;
        }
        if (verdict != VALUE_DIFFERENT && agreed >= NEEDED) {
            verdict = VALUE_EQUAL;
        }
    }
    pair_clear(&p);
    return verdict;
}

bool value_nearly_equal(const struct expr *a, const struct expr *b, int *steps)
{
    struct value_point at = {.precision = 256, .sample = -1, .steps = *steps};
    struct pair p;
    pair_init(&p);
    bool near = false;
    if (difference(&at, a, b, &p)) {
        arb_t size;
        arb_init(size);
        acb_abs(size, p.z, 256);
        near = arf_cmpabs_2exp_si(arb_midref(size), VALUE_CHOP_EXPONENT) < 0;
        arb_clear(size);
    }
    *steps = at.steps;
    pair_clear(&p);
    return near;
}

/* A number rounded to six decimals: n / 10^6, known to `digits` digits. */
struct rounded {
    fmpz_t n;
    int64_t digits;
};

/* Most bits of the floats in the expression, 0 when there are none. */
static int64_t float_bits(const struct expr *e)
{
    int64_t bits = e->kind == EXPR_FLOAT ? e->bits : 0;
    for (int i = 0; i < e->count; i++) {
        const int64_t inner = float_bits(e->args[i]);
        bits = inner > bits ? inner : bits;
    }
    return bits;
}

/* Digits before the decimal point; negative for zeros behind it. */
static bool magnitude_of(const arb_t x, int64_t *magnitude)
{
    double size = arf_get_d(arb_midref(x), ARF_RND_NEAR);
    size = size < 0 ? -size : size;
    *magnitude = 0;
    for (double d = size; d >= 1 && d < 1e300; d /= 10) {
        ++*magnitude;
    }
    for (double d = size; d > 0 && d < 0.1 && *magnitude > -40; d *= 10) {
        --*magnitude;
    }
    return size < 1e300;
}

/* Rounds to `known` significant digits, then half to even at the sixth decimal. */
static void round_digits(const arb_t x, int64_t shift, fmpz_t n)
{
    arb_t scaled;
    arb_t power;
    arf_t half;
    fmpz_t unit;
    fmpz_t rest;
    arb_init(scaled);
    arb_init(power);
    arf_init(half);
    fmpz_init(unit);
    fmpz_init(rest);
    arb_set_ui(power, 10);
    arb_pow_ui(power, power, (ulong)shift, 1024);
    arb_mul(scaled, x, power, 1024);
    arf_set_d(half, 0.5);
    arf_add(half, half, arb_midref(scaled), ARF_PREC_EXACT, ARF_RND_DOWN);
    arf_get_fmpz(n, half, ARF_RND_FLOOR);
    fmpz_set_ui(unit, 10);
    fmpz_pow_ui(unit, unit, (ulong)(shift - 6));
    fmpz_fdiv_qr(n, rest, n, unit);
    fmpz_mul_2exp(rest, rest, 1);
    const int c = fmpz_cmp(rest, unit);
    if (c > 0 || (c == 0 && fmpz_is_odd(n))) {
        fmpz_add_ui(n, n, 1);
    }
    arb_clear(scaled);
    arb_clear(power);
    arf_clear(half);
    fmpz_clear(unit);
    fmpz_clear(rest);
}

static bool round_six(const arb_t x, int64_t bits, struct rounded *r)
{
    int64_t magnitude;
    if (!magnitude_of(x, &magnitude)) {
        return false;
    }
    int64_t known = bits > 0 ? (int64_t)((double)bits / 3.3219280948873626 + 0.5) - 1
                             : DOUBLE_DIGITS;
    const int64_t allowed = magnitude + 6;
    known = bits == 0 && allowed > known ? allowed : known;
    const int64_t shift = known - magnitude;
    round_digits(x, shift < 6 ? 6 : shift, r->n);
    /* Whole results keep the precision of the number, others what six decimals need. */
    const bool whole = fmpz_fdiv_ui(r->n, 1000000) == 0;
    r->digits = whole || allowed > known ? known : allowed;
    return true;
}

static bool is_whole(const struct value *v)
{
    return v->kind == VALUE_RATIONAL && fmpz_is_one(fmpq_denref(v->q));
}

bool value_equal_rounded(const struct expr *a, const struct expr *b, int *steps)
{
    struct value_point at = {.precision = 256, .sample = -1, .steps = *steps};
    struct pair p;
    pair_init(&p);
    value_of(&at, a, &p.a);
    value_of(&at, b, &p.b);
    bool equal = false;
    /* A whole number stays one and differs from a float then. */
    if (value_ball(&p.a, p.z, 256) && value_ball(&p.b, p.w, 256) && !is_whole(&p.a) &&
        !is_whole(&p.b)) {
        const int64_t a_bits = float_bits(a);
        const int64_t b_bits = float_bits(b);
        struct rounded r;
        struct rounded s;
        fmpz_init(r.n);
        fmpz_init(s.n);
        equal = true;
        for (int part = 0; part < 2 && equal; part++) {
            equal = round_six(part ? acb_imagref(p.z) : acb_realref(p.z), a_bits, &r) &&
                    round_six(part ? acb_imagref(p.w) : acb_realref(p.w), b_bits, &s) &&
                    fmpz_equal(r.n, s.n) && (fmpz_is_zero(r.n) || r.digits == s.digits);
        }
        fmpz_clear(r.n);
        fmpz_clear(s.n);
    }
    *steps = at.steps;
    pair_clear(&p);
    return equal;
}

bool value_is_complex(const struct expr *e, int *steps)
{
    struct value_point at = {.precision = 64, .sample = -1, .steps = *steps};
    struct value v;
    value_init(&v);
    value_of(&at, e, &v);
    const bool complex = v.kind == VALUE_BALL && !arb_contains_zero(acb_imagref(v.z));
    *steps = at.steps;
    value_clear(&v);
    return complex;
}

int value_order(const struct expr *a, const struct expr *b, int *steps)
{
    const int ia = infinite_sign(a, steps);
    const int ib = infinite_sign(b, steps);
    if (ia != ib && (ia == 0 || ib == 0)) {
        return ia != 0 ? ia : -ib;
    }
    if (ia != 0) {
        return ia < ib ? -1 : ia > ib;
    }
    struct pair p;
    int result = 2;
    pair_init(&p);
    if (!value_has_symbols(a) && !value_has_symbols(b)) {
        for (size_t i = 0; i < sizeof PRECISIONS / sizeof *PRECISIONS; i++) {
            struct value_point at = {.precision = PRECISIONS[i], .sample = -1, .steps = *steps};
            const bool ok = difference(&at, a, b, &p);
            *steps = at.steps;
            if (!ok || !arb_contains_zero(acb_imagref(p.z))) {
                result = 2;
                break;
            }
            result = arb_is_positive(acb_realref(p.z))   ? 1
                     : arb_is_negative(acb_realref(p.z)) ? -1
                                                         : 0;
            if (result != 0 || arb_is_zero(acb_realref(p.z))) {
                break;
            }
        }
    }
    pair_clear(&p);
    return result;
}
