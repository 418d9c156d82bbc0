/* Python's format specifications for one value: fill, align, sign, width, precision, type. */
#include <math.h>
#include <string.h>

#include "trainer/text/jinja_internal.h"

enum { PRECISION_MOST = 400 };

/* Writes `digits` with a separator every three (four for other bases) places of its whole part. */
static enum status group(const char *digits, size_t whole, char separator, size_t every,
                         struct jinja_buffer *out)
{
    for (size_t i = 0; i < whole; i++) {
        if (separator && i > 0 && (whole - i) % every == 0) {
            TRY(jinja_buffer_add(out, &separator, 1));
        }
        TRY(jinja_buffer_add(out, digits + i, 1));
    }
    return jinja_buffer_add(out, digits + whole, strlen(digits + whole));
}

static char sign_char(bool negative, char wanted)
{
    return negative ? '-' : wanted == '+' || wanted == ' ' ? wanted : 0;
}

/* Fills `body` to the width; numbers put '=' padding between sign and digits. */
static enum status place(struct jinja_render *r, const struct jinja_spec *spec, const char *prefix,
                         const struct jinja_buffer *body, char align, struct jinja_buffer *out)
{
    char unit[4];
    const size_t n = jinja_char_put(spec->fill ? spec->fill : ' ', unit);
    const size_t head = strlen(prefix);
    const int64_t used = jinja_char_count(body->data, body->size) + (int64_t)head;
    const int64_t pad = spec->width > used ? spec->width - used : 0;
    const int64_t left = align == '<' ? 0 : align == '^' ? pad / 2 : pad;
    if (spec->width > JINJA_OUTPUT) {
        return RAISE(r, "format: a width of %lld", (long long)spec->width);
    }
    if (align == '=') {
        TRY(jinja_buffer_add(out, prefix, head));
    }
    for (int64_t i = 0; i < left; i++) {
        TRY(jinja_buffer_add(out, unit, n));
    }
    if (align != '=') {
        TRY(jinja_buffer_add(out, prefix, head));
    }
    TRY(jinja_buffer_add(out, body->data, body->size));
    for (int64_t i = left; i < pad; i++) {
        TRY(jinja_buffer_add(out, unit, n));
    }
    return STATUS_OK;
}

static enum status place_number(struct jinja_render *r, const struct jinja_spec *spec,
                                const char *prefix, const char *digits, size_t whole, size_t every,
                                struct jinja_buffer *out)
{
    struct jinja_buffer body = {0};
    enum status status = group(digits, whole, spec->grouping, every, &body);
    if (status == STATUS_OK) {
        status = place(r, spec, prefix, &body, spec->align ? spec->align : '>', out);
    }
    free(body.data);
    return status;
}

static enum status format_int(struct jinja_render *r, int64_t value, const struct jinja_spec *spec,
                              struct jinja_buffer *out)
{
    static const char DIGITS[] = "0123456789abcdef";
    char text[72];
    char prefix[4] = {0};
    const bool negative = value < 0;
    uint64_t left = negative ? (uint64_t)0 - (uint64_t)value : (uint64_t)value;
    const char lower = (char)(spec->type | 0x20);
    const unsigned base = lower == 'x' ? 16 : lower == 'o' ? 8 : lower == 'b' ? 2 : 10;
    size_t at = sizeof text - 1;
    text[at] = '\0';
    do {
        const char digit = DIGITS[left % base];
        text[--at] = spec->type == 'X' && digit >= 'a' ? (char)(digit - 32) : digit;
        left /= base;
    } while (left > 0);
    size_t n = 0;
    const char sign = sign_char(negative, spec->sign);
    if (sign) {
        prefix[n++] = sign;
    }
    if (spec->alternate && base != 10) {
        prefix[n++] = '0';
        prefix[n] = spec->type;
    }
    const char *digits = text + at;
    return place_number(r, spec, prefix, digits, strlen(digits), base == 10 ? 3 : 4, out);
}

/* The type 0 of floats: like repr, or like g with a precision but always with a fraction. */
static void general_text(double d, int64_t precision, char *text, size_t cap)
{
    if (precision < 0) {
        jinja_float_text(d, text);
        return;
    }
    (void)snprintf(text, cap, "%.*g", (int)(precision ? precision : 1), d);
    if (!strpbrk(text, ".en") && strlen(text) + 3 < cap) {
        strncat(text, ".0", cap - strlen(text) - 1);
    }
}

static enum status format_real(struct jinja_render *r, double value, const struct jinja_spec *spec,
                               struct jinja_buffer *out)
{
    char text[PRECISION_MOST + 400];
    char prefix[2] = {0};
    const bool percent = spec->type == '%';
    const double size = fabs(percent ? value * 100 : value);
    const char type = percent ? 'f' : spec->type == 'n' ? 'g' : spec->type;
    const int precision = spec->precision < 0 ? 6 : (int)spec->precision;
    if (spec->precision > PRECISION_MOST) {
        return RAISE(r, "format: a precision of %lld", (long long)spec->precision);
    }
    if (isnan(size) || isinf(size)) {
        const bool upper = type >= 'A' && type <= 'Z';
        (void)snprintf(text, sizeof text, "%s",
                       isnan(size) ? (upper ? "NAN" : "nan") : (upper ? "INF" : "inf"));
    } else if (type) {
        const char plain[] = {'%', '.', '*', type, 0};
        const char alternate[] = {'%', '#', '.', '*', type, 0};
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        (void)snprintf(text, sizeof text, spec->alternate ? alternate : plain, precision, size);
#pragma GCC diagnostic pop
    } else {
        general_text(size, spec->precision, text, sizeof text);
    }
    if (percent) {
        strncat(text, "%", sizeof text - strlen(text) - 1);
    }
    prefix[0] = sign_char(signbit(value) && !isnan(value), spec->sign);
    return place_number(r, spec, prefix, text, strspn(text, "0123456789"), 3, out);
}

static enum status format_text(struct jinja_render *r, const struct jinja_value *v,
                               const struct jinja_spec *spec, struct jinja_buffer *out)
{
    struct jinja_value text;
    struct jinja_buffer body = {0};
    TRY(jinja_to_string(r, v, &text));
    const struct jinja_string *s = text.string;
    const int64_t chars = spec->precision >= 0 && spec->precision < s->chars ? spec->precision
                                                                             : s->chars;
    if (spec->align == '=' || (spec->type && spec->type != 's')) {
        return RAISE(r, "unknown format code '%c' for an object of type '%s'",
                     spec->type ? spec->type : '=', jinja_type_name(v));
    }
    enum status status = jinja_buffer_add(&body, s->data, jinja_char_offset(s, chars));
    if (status == STATUS_OK) {
        status = place(r, spec, "", &body, spec->align ? spec->align : '<', out);
    }
    free(body.data);
    return status;
}

static enum status format_code_point(struct jinja_render *r, int64_t c,
                                     const struct jinja_spec *spec, struct jinja_buffer *out)
{
    char bytes[4];
    if (c < 0 || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF)) {
        return RAISE(r, "%%c: %lld is no character", (long long)c);
    }
    struct jinja_buffer body = {0};
    enum status status = jinja_buffer_add(&body, bytes, jinja_char_put((uint32_t)c, bytes));
    if (status == STATUS_OK) {
        status = place(r, spec, "", &body, spec->align ? spec->align : '<', out);
    }
    free(body.data);
    return status;
}

enum status jinja_format_spec(struct jinja_render *r, const struct jinja_value *v,
                              const struct jinja_spec *spec, struct jinja_buffer *out)
{
    int64_t integer;
    double real;
    const bool number = jinja_is_number(v, &real);
    if (number && jinja_is_int(v, &integer)) {
        const bool plain_bool = v->type == JINJA_BOOL && !spec->type;
        if (spec->type == 'c') {
            return format_code_point(r, integer, spec, out);
        }
        if (!plain_bool && (!spec->type || strchr("dbxXon", spec->type))) {
            if (spec->precision >= 0) {
                return RAISE(r, "precision not allowed in integer format specifier");
            }
            return format_int(r, integer, spec, out);
        }
    }
    if (number && (v->type == JINJA_FLOAT || spec->type)
        && (!spec->type || strchr("eEfFgGn%", spec->type))) {
        return format_real(r, real, spec, out);
    }
    return format_text(r, v, spec, out);
}
