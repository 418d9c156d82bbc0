/* str() and repr() of values, as Python prints them. */
#include <math.h>
#include <string.h>

#include "trainer/text/jinja_internal.h"

static enum status put(struct jinja_buffer *out, const char *text)
{
    return jinja_buffer_add(out, text, strlen(text));
}

/* Digits and exponent of the shortest "%.*e" that reads back as d. */
static int shortest(double d, char digits[24])
{
    char text[40];
    int precision = 0;
    do {
        (void)snprintf(text, sizeof text, "%.*e", precision, d);
        precision++;
    } while (precision < 17 && (strtod(text, NULL) < d || strtod(text, NULL) > d));
    const char *e = strchr(text, 'e');
    size_t n = 0;
    for (const char *c = text; c < e; c++) {
        if (*c != '.') {
            digits[n++] = *c;
        }
    }
    digits[n] = '\0';
    return (int)strtol(e + 1, NULL, 10);
}

void jinja_float_text(double d, char out[JINJA_NUMBER])
{
    if (isnan(d) || isinf(d)) {
        (void)snprintf(out, JINJA_NUMBER, "%s", isnan(d) ? "nan" : d < 0 ? "-inf" : "inf");
        return;
    }
    char digits[24];
    const char *sign = signbit(d) ? "-" : "";
    const int exponent = shortest(fabs(d), digits);
    const int n = (int)strlen(digits);
    if (exponent < -4 || exponent >= 16) {
        (void)snprintf(out, JINJA_NUMBER, "%s%c%s%se%c%02d", sign, digits[0], n > 1 ? "." : "",
                       digits + 1, exponent < 0 ? '-' : '+', abs(exponent));
    } else if (exponent < 0) {
        (void)snprintf(out, JINJA_NUMBER, "%s0.%.*s%s", sign, -exponent - 1, "0000", digits);
    } else if (n <= exponent + 1) {
        (void)snprintf(out, JINJA_NUMBER, "%s%s%.*s.0", sign, digits, exponent + 1 - n,
                       "0000000000000000");
    } else {
        (void)snprintf(out, JINJA_NUMBER, "%s%.*s.%s", sign, exponent + 1, digits,
                       digits + exponent + 1);
    }
}

static enum status escaped_char(struct jinja_buffer *out, uint32_t c)
{
    char text[16];
    if (c == '\n' || c == '\r' || c == '\t') {
        return put(out, c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t");
    }
    (void)snprintf(text, sizeof text,
                   c < 0x100     ? "\\x%02x"
                   : c < 0x10000 ? "\\u%04x"
                                 : "\\U%08x",
                   (unsigned)c);
    return put(out, text);
}

static enum status repr_string(struct jinja_render *r, const struct jinja_string *s,
                               struct jinja_buffer *out)
{
    const bool single = s->size > 0 && memchr(s->data, '\'', s->size);
    const bool both = single && memchr(s->data, '"', s->size);
    const char quote = single && !both ? '"' : '\'';
    TRY(jinja_charge_bytes(r, s->size));
    TRY(jinja_buffer_add(out, &quote, 1));
    for (size_t at = 0; at < s->size;) {
        size_t n;
        const uint32_t c = jinja_char(s->data + at, &n);
        if (c == (uint32_t)quote || c == '\\') {
            TRY(put(out, "\\"));
        }
        if (jinja_printable(c)) {
            TRY(jinja_buffer_add(out, s->data + at, n));
        } else {
            TRY(escaped_char(out, c));
        }
        at += n;
    }
    return jinja_buffer_add(out, &quote, 1);
}

static enum status repr_list(struct jinja_render *r, const struct jinja_value *v,
                             struct jinja_buffer *out)
{
    const struct jinja_list *l = v->list;
    const bool tuple = v->type == JINJA_TUPLE;
    TRY(put(out, tuple ? "(" : "["));
    for (size_t i = 0; i < l->count; i++) {
        TRY(put(out, i ? ", " : ""));
        TRY(jinja_repr(r, &l->items[i], out));
    }
    return put(out, !tuple ? "]" : l->count == 1 ? ",)" : ")");
}

static enum status repr_dict(struct jinja_render *r, const struct jinja_dict *d,
                             struct jinja_buffer *out)
{
    TRY(put(out, "{"));
    for (size_t i = 0; i < d->count; i++) {
        TRY(put(out, i ? ", " : ""));
        TRY(jinja_repr(r, &d->entries[i].key, out));
        TRY(put(out, ": "));
        TRY(jinja_repr(r, &d->entries[i].value, out));
    }
    return put(out, "}");
}

static enum status repr_namespace(struct jinja_render *r, const struct jinja_value *v,
                                  struct jinja_buffer *out)
{
    TRY(put(out, "<Namespace "));
    TRY(repr_dict(r, v->dict, out));
    return put(out, ">");
}

static enum status repr_view(struct jinja_render *r, const struct jinja_value *v,
                             struct jinja_buffer *out)
{
    static const char *const NAMES[] = {
        [VIEW_KEYS] = "dict_keys(", [VIEW_VALUES] = "dict_values(", [VIEW_ITEMS] = "dict_items("};
    struct jinja_value list;
    TRY(jinja_collect(r, v, &list));
    TRY(put(out, NAMES[v->view->kind]));
    TRY(repr_list(r, &list, out));
    return put(out, ")");
}

static enum status repr_range(const struct jinja_range *g, struct jinja_buffer *out)
{
    char text[96];
    const long long start = g->start;
    const long long stop = g->stop;
    if (g->step == 1) {
        (void)snprintf(text, sizeof text, "range(%lld, %lld)", start, stop);
    } else {
        (void)snprintf(text, sizeof text, "range(%lld, %lld, %lld)", start, stop,
                       (long long)g->step);
    }
    return put(out, text);
}

/* Types whose text is one word or carries an address in the reference. */
static enum status repr_opaque(struct jinja_render *r, const struct jinja_value *v,
                               struct jinja_buffer *out)
{
    switch (v->type) {
    case JINJA_UNDEFINED:
        return put(out, "Undefined");
    case JINJA_LOOP:
        return jinja_loop_text(r, v->loop, out);
    case JINJA_MACRO: {
        const struct jinja_string *name = v->macro->node->name;
        TRY(put(out, name ? "<Macro '" : "<Macro "));
        TRY(name ? jinja_buffer_add(out, name->data, name->size) : put(out, "anonymous"));
        return put(out, name ? "'>" : ">");
    }
    default:
        TRY(put(out, "<"));
        TRY(put(out, jinja_type_name(v)));
        return put(out, " object>");
    }
}

static enum status repr_any(struct jinja_render *r, const struct jinja_value *v,
                            struct jinja_buffer *out)
{
    char text[JINJA_NUMBER];
    switch (v->type) {
    case JINJA_NONE:
        return put(out, "None");
    case JINJA_BOOL:
        return put(out, v->boolean ? "True" : "False");
    case JINJA_INT:
        (void)snprintf(text, sizeof text, "%lld", (long long)v->integer);
        return put(out, text);
    case JINJA_FLOAT:
        jinja_float_text(v->real, text);
        return put(out, text);
    case JINJA_STRING:
        if (!v->markup) {
            return repr_string(r, v->string, out);
        }
        TRY(put(out, "Markup("));
        TRY(repr_string(r, v->string, out));
        return put(out, ")");
    case JINJA_LIST:
    case JINJA_TUPLE:
        return repr_list(r, v, out);
    case JINJA_DICT:
        return repr_dict(r, v->dict, out);
    case JINJA_NAMESPACE:
        return repr_namespace(r, v, out);
    case JINJA_VIEW:
        return repr_view(r, v, out);
    case JINJA_RANGE_TYPE:
        return repr_range(v->range, out);
    default:
        return repr_opaque(r, v, out);
    }
}

enum status jinja_repr(struct jinja_render *r, const struct jinja_value *v,
                       struct jinja_buffer *out)
{
    if (r->depth >= JINJA_EVAL_DEPTH) { /* a namespace may hold itself */
        return RAISE(r, "evaluation nested more than %d deep", JINJA_EVAL_DEPTH);
    }
    r->depth++;
    TRY(jinja_charge(r, 1));
    TRY(repr_any(r, v, out));
    r->depth--;
    return STATUS_OK;
}

enum status jinja_str(struct jinja_render *r, const struct jinja_value *v, struct jinja_buffer *out)
{
    if (v->type == JINJA_STRING) {
        return jinja_buffer_add(out, v->string->data, v->string->size);
    }
    return v->type == JINJA_UNDEFINED ? STATUS_OK : jinja_repr(r, v, out);
}

enum status jinja_to_string(struct jinja_render *r, const struct jinja_value *v,
                            struct jinja_value *out)
{
    if (v->type == JINJA_STRING) {
        *out = *v;
        return STATUS_OK;
    }
    struct jinja_buffer text = {0};
    const enum status status = jinja_str(r, v, &text);
    if (status != STATUS_OK) {
        free(text.data);
        return status;
    }
    return jinja_string_take(r, &text, out);
}
