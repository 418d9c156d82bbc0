/* Functions, sums, products and integrals of the evaluator; see value.h. */
#include <acb_calc.h>
#include <acb_hypgeom.h>
#include <stdlib.h>

#include "eval/grade/value_internal.h"

enum { INTEGRAL_PRECISION = 128 };

typedef void (*ball_fn)(acb_t z, const acb_t x, slong precision);

static void inverse_argument(acb_t z, const acb_t x, slong precision, ball_fn fn)
{
    acb_t w;
    acb_init(w);
    acb_inv(w, x, precision);
    fn(z, w, precision);
    acb_clear(w);
}

static void ball_acsc(acb_t z, const acb_t x, slong precision)
{
    inverse_argument(z, x, precision, acb_asin);
}

static void ball_asec(acb_t z, const acb_t x, slong precision)
{
    inverse_argument(z, x, precision, acb_acos);
}

static void ball_acot(acb_t z, const acb_t x, slong precision)
{
    inverse_argument(z, x, precision, acb_atan);
}

static void ball_abs(acb_t z, const acb_t x, slong precision)
{
    arb_t r;
    arb_init(r);
    acb_abs(r, x, precision);
    acb_set_arb(z, r);
    arb_clear(r);
}

static void ball_factorial(acb_t z, const acb_t x, slong precision)
{
    acb_add_ui(z, x, 1, precision);
    acb_gamma(z, z, precision);
}

static void ball_floor(acb_t z, const acb_t x, slong precision)
{
    acb_zero(z);
    arb_floor(acb_realref(z), acb_realref(x), precision);
}

static void ball_ceil(acb_t z, const acb_t x, slong precision)
{
    acb_zero(z);
    arb_ceil(acb_realref(z), acb_realref(x), precision);
}

static const ball_fn BALL_FNS[FN_COUNT] = {
    [FN_SIN] = acb_sin,     [FN_COS] = acb_cos,     [FN_TAN] = acb_tan,
    [FN_CSC] = acb_csc,     [FN_SEC] = acb_sec,     [FN_COT] = acb_cot,
    [FN_ASIN] = acb_asin,   [FN_ACOS] = acb_acos,   [FN_ATAN] = acb_atan,
    [FN_ACSC] = ball_acsc,  [FN_ASEC] = ball_asec,  [FN_ACOT] = ball_acot,
    [FN_SINH] = acb_sinh,   [FN_COSH] = acb_cosh,   [FN_TANH] = acb_tanh,
    [FN_ASINH] = acb_asinh, [FN_ACOSH] = acb_acosh, [FN_ATANH] = acb_atanh,
    [FN_LOG] = acb_log,     [FN_EXP] = acb_exp,     [FN_ABS] = ball_abs,
    [FN_GAMMA] = acb_gamma, [FN_FACTORIAL] = ball_factorial,
    [FN_FLOOR] = ball_floor, [FN_CEIL] = ball_ceil,
};

static bool is_small_whole(const struct value *v, int64_t most)
{
    return v->kind == VALUE_RATIONAL && fmpz_is_one(fmpq_denref(v->q)) &&
           fmpz_sgn(fmpq_numref(v->q)) >= 0 && fmpz_cmp_si(fmpq_numref(v->q), most) <= 0;
}

/* Exact results of functions of rationals. */
static bool rational_call(enum expr_fn fn, const struct value *a, struct value *v)
{
    if (a->kind != VALUE_RATIONAL) {
        return false;
    }
    switch (fn) {
    case FN_ABS:
        fmpq_abs(v->q, a->q);
        break;
    case FN_FLOOR:
        fmpz_fdiv_q(fmpq_numref(v->q), fmpq_numref(a->q), fmpq_denref(a->q));
        fmpz_one(fmpq_denref(v->q));
        break;
    case FN_CEIL:
        fmpz_cdiv_q(fmpq_numref(v->q), fmpq_numref(a->q), fmpq_denref(a->q));
        fmpz_one(fmpq_denref(v->q));
        break;
    case FN_FACTORIAL:
        if (!is_small_whole(a, 1000)) {
            return false;
        }
        fmpz_fac_ui(fmpq_numref(v->q), fmpz_get_ui(fmpq_numref(a->q)));
        fmpz_one(fmpq_denref(v->q));
        break;
    default:
        return false;
    }
    v->kind = VALUE_RATIONAL;
    v->inexact = false;
    return true;
}

/* Steps that a call costs: more bits are dearer, gamma functions much more so. */
static int call_cost(enum expr_fn fn, int64_t precision)
{
    const int64_t cost = 1 + precision * precision / (256 * 256);
    return (int)(fn == FN_GAMMA || fn == FN_FACTORIAL || fn == FN_BINOMIAL ? 64 * cost : cost);
}

static void one_argument(struct value_point *at, enum expr_fn fn, const struct value *a,
                         struct value *v)
{
    acb_t z;
    if (rational_call(fn, a, v)) {
        return;
    }
    at->steps -= call_cost(fn, at->precision);
    if (at->steps <= 0) {
        v->kind = VALUE_NONE;
        return;
    }
    acb_init(z);
    v->kind = VALUE_NONE;
    if (BALL_FNS[fn] && value_ball(a, z, at->precision)
        && mag_cmp_2exp_si(arb_radref(acb_realref(z)), 20) < 0 && acb_rel_accuracy_bits(z) > -1000
        && arf_cmpabs_2exp_si(arb_midref(acb_realref(z)), 24) < 0) {
        BALL_FNS[fn](v->z, z, at->precision);
        value_set_ball(v, a->inexact);
        if (a->kind == VALUE_FLOAT) {
            value_round_float(v, a->bits);
        }
    } else if ((fn == FN_LOG || fn == FN_ABS) && value_ball(a, z, at->precision)) {
        BALL_FNS[fn](v->z, z, at->precision); /* large arguments are no trouble for these */
        value_set_ball(v, a->inexact);
    }
    acb_clear(z);
}

/* log(a) / log(b). */
static void logarithm(struct value_point *at, struct value *a, struct value *b, struct value *v)
{
    struct value top;
    struct value bottom;
    value_init(&top);
    value_init(&bottom);
    one_argument(at, FN_LOG, a, &top);
    one_argument(at, FN_LOG, b, &bottom);
    acb_t z;
    acb_t w;
    acb_init(z);
    acb_init(w);
    v->kind = VALUE_NONE;
    if (value_ball(&top, z, at->precision) && value_ball(&bottom, w, at->precision)) {
        acb_div(v->z, z, w, at->precision);
        value_set_ball(v, a->inexact || b->inexact);
    }
    acb_clear(z);
    acb_clear(w);
    value_clear(&top);
    value_clear(&bottom);
}

/* binomial(n, k) for a whole k; else by gamma functions. */
static void binomial(struct value_point *at, const struct value *n, const struct value *k,
                     struct value *v)
{
    acb_t z;
    acb_t w;
    acb_init(z);
    acb_init(w);
    v->kind = VALUE_NONE;
    if (value_ball(n, z, at->precision) && value_ball(k, w, at->precision)) {
        if (is_small_whole(k, 2000)) {
            const ulong m = fmpz_get_ui(fmpq_numref(k->q));
            acb_sub_ui(z, z, m, at->precision);
            acb_add_ui(z, z, 1, at->precision);
            acb_rising_ui(v->z, z, m, at->precision);
            arb_t f;
            arb_init(f);
            arb_fac_ui(f, m, at->precision);
            acb_div_arb(v->z, v->z, f, at->precision);
            arb_clear(f);
        } else if ((at->steps -= call_cost(FN_BINOMIAL, at->precision)) > 0) {
            acb_t g;
            acb_init(g);
            acb_sub(v->z, z, w, at->precision);
            ball_factorial(v->z, v->z, at->precision);
            ball_factorial(g, w, at->precision);
            acb_mul(v->z, v->z, g, at->precision);
            ball_factorial(g, z, at->precision);
            acb_div(v->z, g, v->z, at->precision);
            acb_clear(g);
        } else {
            acb_indeterminate(v->z);
        }
        value_set_ball(v, n->inexact || k->inexact);
    }
    acb_clear(z);
    acb_clear(w);
}

static void modulo(struct value *a, const struct value *b, struct value *v)
{
    v->kind = VALUE_NONE;
    if (a->kind != VALUE_RATIONAL || b->kind != VALUE_RATIONAL || fmpq_is_zero(b->q)) {
        return;
    }
    fmpq_t t;
    fmpq_init(t);
    fmpq_div(t, a->q, b->q);
    fmpz_fdiv_q(fmpq_numref(t), fmpq_numref(t), fmpq_denref(t));
    fmpz_one(fmpq_denref(t));
    fmpq_mul(t, t, b->q);
    fmpq_sub(v->q, a->q, t);
    fmpq_clear(t);
    v->kind = VALUE_RATIONAL;
    v->inexact = false;
}

/* -1, 0, 1; 2 when the balls overlap or are not real. */
static int order(struct value_point *at, const struct value *a, const struct value *b)
{
    acb_t z;
    acb_t w;
    int result = 2;
    acb_init(z);
    acb_init(w);
    if (value_ball(a, z, at->precision) && value_ball(b, w, at->precision) && acb_is_real(z) &&
        acb_is_real(w)) {
        acb_sub(z, z, w, at->precision);
        result = arb_is_positive(acb_realref(z))   ? 1
                 : arb_is_negative(acb_realref(z)) ? -1
                 : arb_is_zero(acb_realref(z))     ? 0
                                                   : 2;
    }
    acb_clear(z);
    acb_clear(w);
    return result;
}

static void copy(struct value *to, const struct value *from)
{
    to->kind = from->kind;
    to->inexact = from->inexact;
    to->bits = from->bits;
    fmpq_set(to->q, from->q);
    arf_set(to->f, from->f);
    acb_set(to->z, from->z);
}

/* max, min, gcd, lcm of a list. */
static void of_list(struct value_point *at, const struct expr *e, struct value *v)
{
    struct value next;
    value_init(&next);
    value_of(at, e->args[0], v);
    for (int i = 1; i < e->count && v->kind != VALUE_NONE; i++) {
        value_of(at, e->args[i], &next);
        if (e->fn == FN_MAX || e->fn == FN_MIN) {
            const int o = order(at, &next, v);
            if (o == 2) {
                v->kind = VALUE_NONE;
            } else if (o == (e->fn == FN_MAX ? 1 : -1)) {
                copy(v, &next);
            }
        } else if (v->kind == VALUE_RATIONAL && next.kind == VALUE_RATIONAL &&
                   fmpz_is_one(fmpq_denref(v->q)) && fmpz_is_one(fmpq_denref(next.q))) {
            if (e->fn == FN_GCD) {
                fmpz_gcd(fmpq_numref(v->q), fmpq_numref(v->q), fmpq_numref(next.q));
            } else {
                fmpz_lcm(fmpq_numref(v->q), fmpq_numref(v->q), fmpq_numref(next.q));
            }
        } else {
            v->kind = VALUE_NONE;
        }
    }
    value_clear(&next);
}

void value_call(struct value_point *at, const struct expr *e, struct value *v)
{
    if (e->fn == FN_MAX || e->fn == FN_MIN || e->fn == FN_GCD || e->fn == FN_LCM) {
        of_list(at, e, v);
        return;
    }
    struct value a;
    struct value b;
    value_init(&a);
    value_init(&b);
    value_of(at, e->args[0], &a);
    if (e->count > 1) {
        value_of(at, e->args[1], &b);
    }
    v->kind = VALUE_NONE;
    if (a.kind == VALUE_NONE || (e->count > 1 && b.kind == VALUE_NONE)) {
        v->kind = VALUE_NONE;
    } else if (e->fn == FN_LOG && e->count > 1) {
        logarithm(at, &a, &b, v);
    } else if (e->fn == FN_BINOMIAL) {
        binomial(at, &a, &b, v);
    } else if (e->fn == FN_MOD) {
        modulo(&a, &b, v);
    } else {
        one_argument(at, e->fn, &a, v);
    }
    value_clear(&a);
    value_clear(&b);
}

/* first..last as whole numbers with few enough terms. */
static bool bounds(struct value_point *at, const struct expr *e, fmpz_t first, fmpz_t last)
{
    struct value v;
    bool ok = true;
    value_init(&v);
    for (int i = 0; i < 2 && ok; i++) {
        value_of(at, e->args[2 + i], &v);
        ok = v.kind == VALUE_RATIONAL && fmpz_is_one(fmpq_denref(v.q));
        fmpz_set(i == 0 ? first : last, fmpq_numref(v.q));
    }
    value_clear(&v);
    fmpz_t terms;
    fmpz_init(terms);
    fmpz_sub(terms, last, first);
    ok = ok && fmpz_sgn(terms) >= 0 && fmpz_cmp_si(terms, VALUE_MAX_TERMS) <= 0;
    fmpz_clear(terms);
    return ok && e->args[1]->kind == EXPR_SYMBOL;
}

void value_sum(struct value_point *at, const struct expr *e, struct value *v)
{
    fmpz_t i;
    fmpz_t last;
    acb_t z;
    struct value term;
    fmpz_init(i);
    fmpz_init(last);
    acb_init(z);
    value_init(&term);
    const bool product = e->kind == EXPR_PRODUCT;
    v->kind = VALUE_NONE;
    if (bounds(at, e, i, last)) {
        const struct value_binding binding = {e->args[1], i, NULL, at->bound};
        bool exact = true;
        bool inexact = false;
        fmpq_set_si(v->q, product ? 1 : 0, 1);
        acb_set_si(v->z, product ? 1 : 0);
        at->bound = &binding;
        for (; fmpz_cmp(i, last) <= 0; fmpz_add_ui(i, i, 1)) {
            value_of(at, e->args[0], &term);
            if (!value_ball(&term, z, at->precision)) {
                exact = inexact = true;
                break;
            }
            exact = exact && term.kind == VALUE_RATIONAL;
            inexact = inexact || term.inexact;
            if (exact && product) {
                fmpq_mul(v->q, v->q, term.q);
            } else if (exact) {
                fmpq_add(v->q, v->q, term.q);
            }
            exact = exact && fmpz_bits(fmpq_denref(v->q)) + fmpz_bits(fmpq_numref(v->q)) <
                                 VALUE_MAX_BITS;
            if (product) {
                acb_mul(v->z, v->z, z, at->precision);
            } else {
                acb_add(v->z, v->z, z, at->precision);
            }
        }
        at->bound = binding.outer;
        value_set_ball(v, inexact);
        if (exact) {
            v->kind = inexact ? VALUE_NONE : VALUE_RATIONAL;
        }
    }
    value_clear(&term);
    acb_clear(z);
    fmpz_clear(i);
    fmpz_clear(last);
}

struct integrand {
    struct value_point *at;
    const struct expr *e;
};

static int integrand_at(acb_ptr out, const acb_t x, void *ctx, slong order_, slong precision)
{
    struct integrand *in = ctx;
    const struct value_binding binding = {in->e->args[1], NULL, (const acb_t *)x, in->at->bound};
    struct value v;
    (void)precision;
    value_init(&v);
    in->at->bound = &binding;
    value_of(in->at, in->e->args[0], &v);
    in->at->bound = binding.outer;
    if (!value_ball(&v, out, in->at->precision) || order_ > 1) {
        acb_indeterminate(out);
    }
    value_clear(&v);
    return 0;
}

void value_integral(struct value_point *at, const struct expr *e, struct value *v)
{
    v->kind = VALUE_NONE;
    if (e->count != 4 || e->args[1]->kind != EXPR_SYMBOL || at->sample >= 0) {
        return;
    }
    struct value from;
    struct value to;
    acb_t a;
    acb_t b;
    const int64_t outer_precision = at->precision;
    at->precision = INTEGRAL_PRECISION;
    value_init(&from);
    value_init(&to);
    acb_init(a);
    acb_init(b);
    value_of(at, e->args[2], &from);
    value_of(at, e->args[3], &to);
    if (value_ball(&from, a, at->precision) && value_ball(&to, b, at->precision)) {
        acb_calc_integrate_opt_t options;
        struct integrand in = {at, e};
        mag_t tolerance;
        acb_calc_integrate_opt_init(options);
        options->eval_limit = 2000;
        options->depth_limit = 60;
        mag_init(tolerance);
        mag_set_ui_2exp_si(tolerance, 1, -100);
        acb_calc_integrate(v->z, integrand_at, &in, a, b, 100, tolerance, options, at->precision);
        mag_clear(tolerance);
        value_set_ball(v, from.inexact || to.inexact);
    }
    at->precision = outer_precision;
    acb_clear(a);
    acb_clear(b);
    value_clear(&from);
    value_clear(&to);
}
