/* Equations as functions: proportional ones, and those of degree two; see value.h. */
#include "eval/grade/value_internal.h"

enum { POINTS = 5, SAMPLES = 6, NEEDED = 3 };

/* z = left - right at a sample point. */
static bool difference_at(const struct expr *left, const struct expr *right, int sample,
                          int64_t precision, acb_t z, int *steps)
{
    struct value_point at = {.precision = precision, .sample = sample, .steps = *steps};
    struct value a;
    struct value b;
    acb_t w;
    value_init(&a);
    value_init(&b);
    acb_init(w);
    value_of(&at, left, &a);
    value_of(&at, right, &b);
    const bool ok = value_ball(&a, z, precision) && value_ball(&b, w, precision);
    if (ok) {
        acb_sub(z, z, w, precision);
    }
    *steps = at.steps;
    acb_clear(w);
    value_clear(&a);
    value_clear(&b);
    return ok;
}

bool value_proportional(const struct expr *a_left, const struct expr *a_right,
                        const struct expr *b_left, const struct expr *b_right, int *steps)
{
    const int64_t precision = 512;
    acb_t ratio;
    acb_t z;
    acb_t w;
    acb_init(ratio);
    acb_init(z);
    acb_init(w);
    int agreed = 0;
    bool same = true;
    for (int s = 0; s < SAMPLES && same; s++) {
        if (!difference_at(a_left, a_right, s, precision, z, steps) ||
            !difference_at(b_left, b_right, s, precision, w, steps) || acb_contains_zero(z) ||
            acb_contains_zero(w)) {
            continue;
        }
        acb_div(z, z, w, precision);
        if (agreed++ == 0) {
            acb_set(ratio, z);
        } else {
            same = acb_overlaps(ratio, z);
        }
    }
    acb_clear(ratio);
    acb_clear(z);
    acb_clear(w);
    return same && agreed >= NEEDED;
}

/* f at a sample point with the symbol bound to x. */
static bool function_at(const struct expr *left, const struct expr *right,
                        const struct expr *symbol, const acb_t x, int sample, acb_t out, int *steps)
{
    const int64_t precision = 512;
    acb_t copy;
    acb_t w;
    struct value a;
    struct value b;
    acb_init(copy);
    acb_init(w);
    value_init(&a);
    value_init(&b);
    acb_set(copy, x);
    const struct value_binding binding = {symbol, NULL, (const acb_t *)&copy, NULL};
    struct value_point at = {
        .precision = precision, .sample = sample, .steps = *steps, .bound = &binding};
    value_of(&at, left, &a);
    value_of(&at, right, &b);
    const bool ok = value_ball(&a, out, precision) && value_ball(&b, w, precision);
    if (ok) {
        acb_sub(out, out, w, precision);
    }
    *steps = at.steps;
    value_clear(&a);
    value_clear(&b);
    acb_clear(copy);
    acb_clear(w);
    return ok;
}

/* The root of f when it is linear in the symbol: f(1), f(2), f(3) on a line that is not level. */
static bool linear_root(const struct expr *left, const struct expr *right,
                        const struct expr *symbol, int sample, acb_t root, int *steps)
{
    acb_t f[3];
    acb_t x;
    bool ok = true;
    acb_init(x);
    for (int i = 0; i < 3; i++) {
        acb_init(f[i]);
        acb_set_si(x, i + 1);
        ok = ok && function_at(left, right, symbol, x, sample, f[i], steps);
    }
    acb_sub(f[2], f[2], f[1], 512);
    acb_sub(f[1], f[1], f[0], 512);
    acb_sub(f[2], f[2], f[1], 512);
    ok = ok && acb_contains_zero(f[2]) && !acb_contains_zero(f[1]);
    if (ok) {
        acb_div(root, f[0], f[1], 512);
        acb_sub_ui(root, root, 1, 512);
        acb_neg(root, root);
    }
    for (int i = 0; i < 3; i++) {
        acb_clear(f[i]);
    }
    acb_clear(x);
    return ok;
}

bool value_same_root(const struct expr *a_left, const struct expr *a_right,
                     const struct expr *b_left, const struct expr *b_right,
                     const struct expr *symbol, int *steps)
{
    acb_t root;
    acb_t other;
    int agreed = 0;
    bool same = true;
    acb_init(root);
    acb_init(other);
    for (int s = 0; s < SAMPLES && same && agreed < NEEDED; s++) {
        same = linear_root(a_left, a_right, symbol, s, root, steps) &&
               linear_root(b_left, b_right, symbol, s, other, steps) && acb_overlaps(root, other);
        agreed += same;
    }
    acb_clear(root);
    acb_clear(other);
    return agreed >= NEEDED;
}

static bool find_symbol(const struct expr *e, const struct expr **symbol)
{
    if (e->kind == EXPR_SYMBOL) {
        if (*symbol && !expr_same(*symbol, e)) {
            return false;
        }
        *symbol = e;
        return true;
    }
    if (e->kind == EXPR_APPLY) {
        return false;
    }
    for (int i = 0; i < e->count; i++) {
        if (!find_symbol(e->args[i], symbol)) {
            return false;
        }
    }
    return true;
}

/* f(x) at x = 0..4 as rationals. */
static bool tabulate(const struct expr *left, const struct expr *right, const struct expr *symbol,
                     fmpq_t f[POINTS], int *steps)
{
    struct value a;
    struct value b;
    fmpz_t x;
    bool ok = true;
    value_init(&a);
    value_init(&b);
    fmpz_init(x);
    for (int i = 0; i < POINTS && ok; i++) {
        fmpz_set_si(x, i);
        const struct value_binding binding = {symbol, x, NULL, NULL};
        struct value_point at = {
            .precision = 64, .sample = -1, .steps = *steps, .bound = &binding};
        value_of(&at, left, &a);
        value_of(&at, right, &b);
        *steps = at.steps;
        ok = a.kind == VALUE_RATIONAL && b.kind == VALUE_RATIONAL;
        if (ok) {
            fmpq_sub(f[i], a.q, b.q);
        }
    }
    fmpz_clear(x);
    value_clear(&a);
    value_clear(&b);
    return ok;
}

/* c0 + c1 i + c2 i^2 = f(i)? */
static bool fits(fmpq_t c[3], fmpq_t f[POINTS], int i)
{
    fmpq_t t;
    fmpq_t u;
    fmpq_init(t);
    fmpq_init(u);
    fmpq_set_si(u, i, 1);
    fmpq_mul(t, c[2], u);
    fmpq_add(t, t, c[1]);
    fmpq_mul(t, t, u);
    fmpq_add(t, t, c[0]);
    const bool ok = fmpq_equal(t, f[i]);
    fmpq_clear(t);
    fmpq_clear(u);
    return ok;
}

bool value_quadratic(const struct expr *left, const struct expr *right, fmpq_t c[3],
                     const struct expr **symbol, int *steps)
{
    fmpq_t f[POINTS];
    fmpq_t two;
    *symbol = NULL;
    if (!find_symbol(left, symbol) || !find_symbol(right, symbol) || !*symbol) {
        return false;
    }
    for (int i = 0; i < POINTS; i++) {
        fmpq_init(f[i]);
    }
    fmpq_init(two);
    fmpq_set_si(two, 2, 1);
    bool ok = tabulate(left, right, *symbol, f, steps);
    if (ok) {
        /* Second difference, then the slope at 0. */
        fmpq_sub(c[2], f[2], f[1]);
        fmpq_sub(c[2], c[2], f[1]);
        fmpq_add(c[2], c[2], f[0]);
        fmpq_div(c[2], c[2], two);
        fmpq_sub(c[1], f[1], f[0]);
        fmpq_sub(c[1], c[1], c[2]);
        fmpq_set(c[0], f[0]);
        ok = fits(c, f, 3) && fits(c, f, 4);
    }
    for (int i = 0; i < POINTS; i++) {
        fmpq_clear(f[i]);
    }
    fmpq_clear(two);
    return ok;
}
