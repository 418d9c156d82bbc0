/* Arithmetic as Python defines it: floor division, string and list sums and repeats, escaping. */
#include <math.h>
#include <string.h>

#include "kernels/base/checked.h"
#include "trainer/text/jinja_internal.h"

static const char *const OP_TEXT[] = {
    [OP_ADD] = "+", [OP_SUB] = "-",      [OP_MUL] = "*", [OP_DIV] = "/",
    [OP_MOD] = "%", [OP_FLOORDIV] = "//", [OP_POW] = "**"};

static enum status no_operation(struct jinja_render *r, enum jinja_op op,
                                const struct jinja_value *a, const struct jinja_value *b)
{
    if (a->type == JINJA_UNDEFINED || b->type == JINJA_UNDEFINED) {
        return jinja_undefined_fail(r, a->type == JINJA_UNDEFINED ? a : b);
    }
    if (op == OP_ADD && a->type == JINJA_STRING) {
        return RAISE(r, "can only concatenate str (not \"%s\") to str", jinja_type_name(b));
    }
    return RAISE(r, "unsupported operand type(s) for %s: '%s' and '%s'", OP_TEXT[op],
                 jinja_type_name(a), jinja_type_name(b));
}

enum status jinja_escape(struct jinja_render *r, const struct jinja_value *v,
                         struct jinja_value *out)
{
    static const char SPECIAL[] = "&<>'\"";
    static const char *const ENTITY[] = {"&amp;", "&lt;", "&gt;", "&#39;", "&#34;"};
    struct jinja_value text;
    TRY(jinja_to_string(r, v, &text));
    if (text.markup) {
        *out = text;
        return STATUS_OK;
    }
    struct jinja_buffer escaped = {0};
    enum status status = STATUS_OK;
    for (size_t i = 0; i < text.string->size && status == STATUS_OK; i++) {
        const char *c = &text.string->data[i];
        const char *found = *c ? strchr(SPECIAL, *c) : NULL;
        const char *entity = found ? ENTITY[found - SPECIAL] : NULL;
        status = jinja_buffer_add(&escaped, entity ? entity : c, entity ? strlen(entity) : 1);
    }
    if (status != STATUS_OK) {
        free(escaped.data);
        return status;
    }
    TRY(jinja_string_take(r, &escaped, out));
    out->markup = true;
    return STATUS_OK;
}

static enum status add_strings(struct jinja_render *r, const struct jinja_value *a,
                               const struct jinja_value *b, struct jinja_value *out)
{
    struct jinja_value left = *a;
    struct jinja_value right = *b;
    char *data;
    size_t size;
    if (a->markup != b->markup) { /* what joins safe text is escaped */
        TRY(jinja_escape(r, a->markup ? b : a, a->markup ? &right : &left));
    }
    const size_t n = left.string->size;
    if (!checked_add(n, right.string->size, &size)) {
        return RAISE(r, "a string too long");
    }
    TRY(jinja_string_reserve(r, size, &data));
    memcpy(data, left.string->data, n);
    memcpy(data + n, right.string->data, size - n);
    TRY(jinja_string_wrap(r, data, size, out));
    out->markup = left.markup;
    return STATUS_OK;
}

static enum status add_lists(struct jinja_render *r, const struct jinja_value *a,
                             const struct jinja_value *b, struct jinja_value *out)
{
    const struct jinja_value *const parts[2] = {a, b};
    struct jinja_value sum;
    TRY(jinja_list_new(r, a->type, &sum));
    for (int p = 0; p < 2; p++) {
        for (size_t i = 0; i < parts[p]->list->count; i++) {
            TRY(jinja_list_push(r, sum.list, &parts[p]->list->items[i]));
        }
    }
    *out = sum;
    return STATUS_OK;
}

/* "ab" * 3 and [0] * 3. */
static enum status repeat(struct jinja_render *r, const struct jinja_value *v, int64_t times,
                          struct jinja_value *out)
{
    const size_t n = times > 0 ? (size_t)times : 0;
    if (v->type == JINJA_STRING) {
        char *data;
        size_t size;
        const size_t unit = v->string->size;
        if (!checked_mul(unit, n, &size) || size > JINJA_OUTPUT) {
            return RAISE(r, "a string repeated to more than %d MiB", JINJA_OUTPUT >> 20);
        }
        TRY(jinja_string_reserve(r, size, &data));
        for (size_t i = 0; i < n && unit > 0; i++) {
            memcpy(data + i * unit, v->string->data, unit);
        }
        TRY(jinja_string_wrap(r, data, size, out));
        out->markup = v->markup;
        return STATUS_OK;
    }
    struct jinja_value list;
    TRY(jinja_list_new(r, v->type, &list));
    for (size_t i = 0; i < n && v->list->count > 0; i++) {
        for (size_t k = 0; k < v->list->count; k++) {
            TRY(jinja_list_push(r, list.list, &v->list->items[k]));
        }
    }
    *out = list;
    return STATUS_OK;
}

static bool repeatable(const struct jinja_value *v)
{
    return v->type == JINJA_STRING || v->type == JINJA_LIST || v->type == JINJA_TUPLE;
}

static enum status int_power(struct jinja_render *r, int64_t base, int64_t exponent, int64_t *out)
{
    int64_t result = 1;
    bool overflow = false;
    while (exponent > 0 && !overflow) {
        if (exponent & 1) {
            overflow = __builtin_mul_overflow(result, base, &result);
        }
        exponent >>= 1;
        if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) {
            overflow = true;
        }
    }
    *out = result;
    return overflow ? RAISE(r, "an integer beyond 64 bits") : STATUS_OK;
}

static enum status int_divide(struct jinja_render *r, enum jinja_op op, int64_t a, int64_t b,
                              int64_t *out)
{
    if (b == 0) {
        return RAISE(r, "integer division or modulo by zero");
    }
    if (b == -1) { /* INT64_MIN / -1 traps */
        if (op == OP_FLOORDIV && __builtin_sub_overflow((int64_t)0, a, out)) {
            return RAISE(r, "an integer beyond 64 bits");
        }
        *out = op == OP_FLOORDIV ? *out : 0;
        return STATUS_OK;
    }
    const int64_t rest = a % b;
    const bool adjust = rest != 0 && (rest < 0) != (b < 0);
    *out = op == OP_FLOORDIV ? a / b - adjust : rest + (adjust ? b : 0);
    return STATUS_OK;
}

static enum status int_math(struct jinja_render *r, enum jinja_op op, int64_t a, int64_t b,
                            struct jinja_value *out)
{
    int64_t result = 0;
    bool overflow = false;
    switch (op) {
    case OP_ADD:
        overflow = __builtin_add_overflow(a, b, &result);
        break;
    case OP_SUB:
        overflow = __builtin_sub_overflow(a, b, &result);
        break;
    case OP_MUL:
        overflow = __builtin_mul_overflow(a, b, &result);
        break;
    case OP_POW:
        TRY(int_power(r, a, b, &result));
        break;
    default:
        TRY(int_divide(r, op, a, b, &result));
        break;
    }
    *out = jinja_int(result);
    return overflow ? RAISE(r, "an integer beyond 64 bits") : STATUS_OK;
}

static bool is_zero(double d)
{
    return d <= 0 && d >= 0;
}

static enum status real_power(struct jinja_render *r, double a, double b, double *out)
{
    const bool whole = trunc(b) >= b && trunc(b) <= b;
    if ((is_zero(a) && b < 0) || (a < 0 && !whole)) {
        return RAISE(r, "this power is no real number");
    }
    *out = pow(a, b);
    if (isinf(*out) && isfinite(a) && isfinite(b)) {
        return RAISE(r, "numerical result out of range");
    }
    return STATUS_OK;
}

/* a % b with the sign of b. */
static double real_modulo(double a, double b)
{
    double rest = fmod(a, b);
    if (is_zero(rest)) {
        return copysign(0.0, b);
    }
    return (rest < 0) != (b < 0) ? rest + b : rest;
}

static double real_floor_divide(double a, double b)
{
    const double quotient = (a - real_modulo(a, b)) / b; /* whole, but for rounding */
    const double down = floor(quotient);
    return quotient - down > 0.5 ? down + 1 : down;
}

static enum status real_math(struct jinja_render *r, enum jinja_op op, double a, double b,
                             struct jinja_value *out)
{
    double result = 0;
    if ((op == OP_DIV || op == OP_FLOORDIV || op == OP_MOD) && is_zero(b)) {
        return RAISE(r, "division by zero");
    }
    switch (op) {
    case OP_ADD:
        result = a + b;
        break;
    case OP_SUB:
        result = a - b;
        break;
    case OP_MUL:
        result = a * b;
        break;
    case OP_DIV:
        result = a / b;
        break;
    case OP_POW:
        TRY(real_power(r, a, b, &result));
        break;
    case OP_MOD:
        result = real_modulo(a, b);
        break;
    default:
        result = real_floor_divide(a, b);
        break;
    }
    *out = jinja_real(result);
    return STATUS_OK;
}

static enum status other_math(struct jinja_render *r, enum jinja_op op, const struct jinja_value *a,
                              const struct jinja_value *b, struct jinja_value *out)
{
    int64_t times;
    const bool lists = (a->type == JINJA_LIST || a->type == JINJA_TUPLE) && a->type == b->type;
    if (op == OP_ADD && a->type == JINJA_STRING && b->type == JINJA_STRING) {
        return add_strings(r, a, b, out);
    }
    if (op == OP_ADD && lists) {
        return add_lists(r, a, b, out);
    }
    if (op == OP_MOD && a->type == JINJA_STRING) {
        return jinja_percent(r, a, b, out);
    }
    if (op == OP_MUL && repeatable(a) && jinja_is_int(b, &times)) {
        return repeat(r, a, times, out);
    }
    if (op == OP_MUL && repeatable(b) && jinja_is_int(a, &times)) {
        return repeat(r, b, times, out);
    }
    return no_operation(r, op, a, b);
}

enum status jinja_math(struct jinja_render *r, enum jinja_op op, const struct jinja_value *a,
                       const struct jinja_value *b, struct jinja_value *out)
{
    int64_t i;
    int64_t j;
    double x;
    double y;
    const bool negative_power = op == OP_POW && jinja_is_int(b, &j) && j < 0;
    if (op != OP_DIV && !negative_power && jinja_is_int(a, &i) && jinja_is_int(b, &j)) {
        return int_math(r, op, i, j, out);
    }
    if (jinja_is_number(a, &x) && jinja_is_number(b, &y)) {
        return real_math(r, op, x, y, out);
    }
    return other_math(r, op, a, b, out);
}

enum status jinja_negate(struct jinja_render *r, const struct jinja_value *v, bool minus,
                         struct jinja_value *out)
{
    int64_t i;
    if (jinja_is_int(v, &i)) {
        const struct jinja_value zero = jinja_int(0);
        return jinja_math(r, minus ? OP_SUB : OP_ADD, &zero, v, out);
    }
    if (v->type == JINJA_FLOAT) {
        *out = jinja_real(minus ? -v->real : v->real);
        return STATUS_OK;
    }
    if (v->type == JINJA_UNDEFINED) {
        return jinja_undefined_fail(r, v);
    }
    return RAISE(r, "bad operand type for unary %c: '%s'", minus ? '-' : '+', jinja_type_name(v));
}
