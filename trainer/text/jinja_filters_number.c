/* Filters over numbers: int, float, round, abs; and default, attr. */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "trainer/text/jinja_internal.h"

/* Text of a number as Python's int() and float() read it: no blanks around, '_' between digits
 * only. False when it does not fit `out`, or cannot be a number. */
static bool number_text(const struct jinja_string *s, char *out, size_t cap)
{
    size_t begin = 0;
    size_t end = s->size;
    size_t n = 0;
    while (begin < end && jinja_space((unsigned char)s->data[begin])) {
        begin++;
    }
    while (end > begin && jinja_space((unsigned char)s->data[end - 1])) {
        end--;
    }
    for (size_t i = begin; i < end; i++) {
        const char c = s->data[i];
        const bool inner = i > begin && i + 1 < end;
        if (c == '_' && inner && s->data[i - 1] != '_' && s->data[i + 1] != '_') {
            continue;
        }
        if (n + 1 >= cap || c == '_' || c == 0 || jinja_space((unsigned char)c)) {
            return false;
        }
        out[n++] = c;
    }
    out[n] = '\0';
    return n > 0;
}

/* Base that a prefix "0x", "0o" or "0b" names, 0 when there is none. */
static int prefix_base(const char *digits)
{
    if (digits[0] != '0') {
        return 0;
    }
    switch (digits[1] | 0x20) {
    case 'x':
        return 16;
    case 'o':
        return 8;
    case 'b':
        return 2;
    default:
        return 0;
    }
}

/* 1: read; 0: no integer; -1: beyond 64 bits. */
static int parse_int(const struct jinja_string *s, int64_t base, int64_t *out)
{
    char text[128];
    char *end;
    if (base < 0 || base == 1 || base > 36 || !number_text(s, text, sizeof text)) {
        return 0;
    }
    const char *digits = text + (text[0] == '-' || text[0] == '+');
    const int named = prefix_base(digits);
    if (named && (base == named || base == 0)) {
        digits += 2;
        base = named;
    }
    if (!strchr("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", digits[0])
        || (base == 16 && prefix_base(digits) == 16)) {
        return 0; /* strtoll would take a second sign or prefix */
    }
    errno = 0;
    const long long value = strtoll(digits, &end, base ? (int)base : 10);
    *out = text[0] == '-' ? -value : value;
    return *end || end == digits ? 0 : errno == ERANGE ? -1 : 1;
}

static bool parse_float(const struct jinja_string *s, double *out)
{
    char text[512];
    char *end;
    if (!number_text(s, text, sizeof text) || strpbrk(text, "xX(")) {
        return false; /* hexadecimal and nan(...) are C's alone */
    }
    *out = strtod(text, &end);
    return *end == '\0';
}

static enum status real_to_int(struct jinja_render *r, double d, struct jinja_value *out)
{
    if (!(fabs(d) < 9.2e18)) {
        return RAISE(r, "cannot convert float %g to an integer of 64 bits", d);
    }
    *out = jinja_int((int64_t)d);
    return STATUS_OK;
}

static enum status filter_int(struct jinja_render *r, const struct jinja_invocation *in,
                              struct jinja_value *out)
{
    int64_t value;
    int64_t base;
    double real;
    TRY(jinja_arg_int(r, &in->arg[1], "int: base", 10, &base));
    if (in->self.type == JINJA_UNDEFINED) {
        return jinja_undefined_fail(r, &in->self);
    }
    if (jinja_is_int(&in->self, &value)) {
        *out = jinja_int(value);
        return STATUS_OK;
    }
    if (in->self.type == JINJA_FLOAT && !isnan(in->self.real)) {
        return real_to_int(r, in->self.real, out);
    }
    if (in->self.type == JINJA_STRING) {
        const int read = parse_int(in->self.string, base, &value);
        if (read != 0) {
            *out = jinja_int(value);
            return read > 0 ? STATUS_OK : RAISE(r, "int: an integer beyond 64 bits");
        }
        if (parse_float(in->self.string, &real) && isfinite(real)) {
            return real_to_int(r, real, out);
        }
    }
    *out = in->arg[0].type == JINJA_MISSING ? jinja_int(0) : in->arg[0];
    return STATUS_OK;
}

static enum status filter_float(struct jinja_render *r, const struct jinja_invocation *in,
                                struct jinja_value *out)
{
    double value;
    if (in->self.type == JINJA_UNDEFINED) {
        return jinja_undefined_fail(r, &in->self);
    }
    if (jinja_is_number(&in->self, &value)
        || (in->self.type == JINJA_STRING && parse_float(in->self.string, &value))) {
        *out = jinja_real(value);
        return STATUS_OK;
    }
    *out = in->arg[0].type == JINJA_MISSING ? jinja_real(0) : in->arg[0];
    return STATUS_OK;
}

/* Nearest multiple of 10^-digits by the decimal text of d, ties to even on its exact value. */
static double round_real(double d, int64_t digits)
{
    char text[400];
    if (!isfinite(d) || digits > 300) {
        return d;
    }
    if (digits < -308) {
        return copysign(0.0, d);
    }
    if (digits < 0) {
        const long double unit = powl(10.0L, (long double)-digits);
        return (double)(nearbyintl((long double)d / unit) * unit);
    }
    (void)snprintf(text, sizeof text, "%.*f", (int)digits, d);
    return fabs(d) < 1e70 ? strtod(text, NULL) : d;
}

/* An integer to a multiple of 10^digits, ties to even. */
static int64_t round_int(int64_t value, int64_t digits)
{
    int64_t unit = 1;
    for (int64_t i = 0; i < digits; i++) {
        if (__builtin_mul_overflow(unit, 10, &unit)) {
            return 0;
        }
    }
    const int64_t rest = value % unit;
    const int64_t down = value - rest;
    const int64_t size = rest < 0 ? -rest : rest;
    const int64_t half = unit - size;
    const bool away = size > half || (size == half && unit > 1 && (down / unit) % 2 != 0);
    int64_t up = down;
    if (away && __builtin_add_overflow(down, rest < 0 ? -unit : unit, &up)) {
        return down;
    }
    return up;
}

static enum status filter_round(struct jinja_render *r, const struct jinja_invocation *in,
                                struct jinja_value *out)
{
    int64_t precision;
    int64_t integer;
    double value;
    const struct jinja_string *method = NULL;
    TRY(jinja_arg_int(r, &in->arg[0], "round: precision", 0, &precision));
    if (in->arg[1].type != JINJA_MISSING) {
        TRY(jinja_arg_string(r, &in->arg[1], "round: method", &method));
    }
    if (!jinja_is_number(&in->self, &value)) {
        return RAISE(r, "round: '%s' is no number", jinja_type_name(&in->self));
    }
    const char *name = method ? method->data : "common";
    if (strcmp(name, "common") == 0) {
        *out = jinja_is_int(&in->self, &integer)
                   ? jinja_int(precision < 0 ? round_int(integer, -precision) : integer)
                   : jinja_real(round_real(value, precision));
        return STATUS_OK;
    }
    const bool up = strcmp(name, "ceil") == 0;
    if (!up && strcmp(name, "floor") != 0) {
        return RAISE(r, "round: method must be common, ceil or floor");
    }
    const double unit = pow(10.0, (double)precision);
    *out = jinja_real((up ? ceil(value * unit) : floor(value * unit)) / unit);
    return STATUS_OK;
}

static enum status filter_abs(struct jinja_render *r, const struct jinja_invocation *in,
                              struct jinja_value *out)
{
    double value;
    if (!jinja_is_number(&in->self, &value)) {
        return RAISE(r, "bad operand type for abs(): '%s'", jinja_type_name(&in->self));
    }
    return jinja_negate(r, &in->self, value < 0 || signbit(value), out);
}

static enum status filter_default(struct jinja_render *r, const struct jinja_invocation *in,
                                  struct jinja_value *out)
{
    const bool missing = in->self.type == JINJA_UNDEFINED
                         || (jinja_truth(&in->arg[1]) && !jinja_truth(&in->self));
    *out = missing ? in->arg[0] : in->self;
    return missing && in->arg[0].type == JINJA_MISSING ? jinja_string_literal(r, "", out)
                                                       : STATUS_OK;
}

/* v.name, but never the item v["name"] of a dict. */
static enum status filter_attr(struct jinja_render *r, const struct jinja_invocation *in,
                               struct jinja_value *out)
{
    const struct jinja_string *name;
    TRY(jinja_arg_string(r, &in->arg[0], "attr: the name", &name));
    TRY(jinja_get_attribute(r, &in->self, &in->arg[0], out));
    if (in->self.type == JINJA_DICT && out->type != JINJA_METHOD) {
        return jinja_undefined_new(r, NULL, "dict", &in->arg[0], out);
    }
    return STATUS_OK;
}

const struct jinja_row JINJA_FILTERS_NUMBER[] = {
    {"int", "default base", filter_int, 0},
    {"float", "default", filter_float, 0},
    {"round", "precision method", filter_round, 0},
    {"abs", "", filter_abs, 0},
    {"default", "default_value boolean", filter_default, 0},
    {"d", "default_value boolean", filter_default, 0},
    {"attr", "name!", filter_attr, 0},
    {0},
};
