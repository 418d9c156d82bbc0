/* JSON in (messages, tools) and out (the tojson filter: Python's json.dumps). */
#include <math.h>
#include <string.h>

#include "trainer/text/jinja_internal.h"

static enum status array_in(struct jinja_render *r, const json_t *json, int depth,
                            struct jinja_value *out)
{
    size_t i;
    json_t *item;
    struct jinja_value list;
    TRY(jinja_list_new(r, JINJA_LIST, &list));
    json_array_foreach((json_t *)json, i, item)
    {
        struct jinja_value v;
        TRY(jinja_from_json(r, item, depth + 1, &v));
        TRY(jinja_list_push(r, list.list, &v));
    }
    *out = list;
    return STATUS_OK;
}

static enum status object_in(struct jinja_render *r, const json_t *json, int depth,
                             struct jinja_value *out)
{
    const char *name;
    size_t size;
    json_t *item;
    struct jinja_value dict;
    TRY(jinja_dict_new(r, JINJA_DICT, &dict));
    json_object_keylen_foreach((json_t *)json, name, size, item)
    {
        struct jinja_value key;
        struct jinja_value v;
        TRY(jinja_string_new(r, name, size, &key));
        TRY(jinja_from_json(r, item, depth + 1, &v));
        TRY(jinja_dict_set(r, dict.dict, &key, &v));
    }
    *out = dict;
    return STATUS_OK;
}

enum status jinja_from_json(struct jinja_render *r, const json_t *json, int depth,
                            struct jinja_value *out)
{
    if (depth > JINJA_VALUE_DEPTH) {
        return RAISE(r, "the messages or tools nest more than %d deep", JINJA_VALUE_DEPTH);
    }
    switch (json_typeof(json)) {
    case JSON_OBJECT:
        return object_in(r, json, depth, out);
    case JSON_ARRAY:
        return array_in(r, json, depth, out);
    case JSON_STRING:
        return jinja_string_new(r, json_string_value(json), json_string_length(json), out);
    case JSON_INTEGER:
        *out = jinja_int(json_integer_value(json));
        return STATUS_OK;
    case JSON_REAL:
        *out = jinja_real(json_real_value(json));
        return STATUS_OK;
    case JSON_NULL:
        *out = jinja_none();
        return STATUS_OK;
    default:
        *out = jinja_bool(json_is_true(json));
        return STATUS_OK;
    }
}

struct dump {
    struct jinja_render *r;
    struct jinja_buffer out;
    bool ascii;
    bool sort;
    bool pretty;
    const struct jinja_string *item;      /* between items */
    const struct jinja_string *key;       /* between key and value */
    const struct jinja_string *indent;    /* one level */
};

static enum status dump_value(struct dump *d, const struct jinja_value *v, int level);

static enum status put(struct dump *d, const char *text)
{
    return jinja_buffer_add(&d->out, text, strlen(text));
}

static enum status put_string(struct dump *d, const struct jinja_string *s)
{
    return jinja_buffer_add(&d->out, s->data, s->size);
}

static enum status dump_char(struct dump *d, uint32_t c, const char *bytes, size_t n)
{
    static const char FROM[] = "\"\\\n\r\t\f\b";
    static const char TO[] = "\"\\nrtfb";
    char text[16];
    const char *plain = c && c < 0x80 ? strchr(FROM, (int)c) : NULL;
    if (plain) {
        const char pair[2] = {'\\', TO[plain - FROM]};
        return jinja_buffer_add(&d->out, pair, 2);
    }
    if (c >= ' ' && (!d->ascii || c < 0x7F)) {
        return jinja_buffer_add(&d->out, bytes, n);
    }
    if (c >= 0x10000) {
        const unsigned low = (unsigned)c - 0x10000;
        (void)snprintf(text, sizeof text, "\\u%04x\\u%04x", 0xD800 + (low >> 10),
                       0xDC00 + (low & 0x3FF));
    } else {
        (void)snprintf(text, sizeof text, "\\u%04x", (unsigned)c);
    }
    return put(d, text);
}

static enum status dump_string(struct dump *d, const struct jinja_string *s)
{
    TRY(jinja_charge_bytes(d->r, s->size));
    TRY(put(d, "\""));
    for (size_t at = 0; at < s->size;) {
        size_t n;
        const uint32_t c = jinja_char(s->data + at, &n);
        TRY(dump_char(d, c, s->data + at, n));
        at += n;
    }
    return put(d, "\"");
}

static enum status dump_newline(struct dump *d, int level)
{
    if (!d->pretty) {
        return STATUS_OK;
    }
    TRY(put(d, "\n"));
    for (int i = 0; i < level; i++) {
        TRY(put_string(d, d->indent));
    }
    return STATUS_OK;
}

static enum status dump_real(struct dump *d, double value)
{
    char text[JINJA_NUMBER];
    if (isnan(value) || isinf(value)) {
        return put(d, isnan(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity");
    }
    jinja_float_text(value, text);
    return put(d, text);
}

/* Keys that are no strings are written as their JSON text in quotes. */
static enum status dump_key(struct dump *d, const struct jinja_value *key)
{
    if (key->type == JINJA_STRING) {
        return dump_string(d, key->string);
    }
    if (key->type != JINJA_INT && key->type != JINJA_FLOAT && key->type != JINJA_BOOL
        && key->type != JINJA_NONE) {
        return RAISE(d->r, "keys must be str, int, float, bool or None, not %s",
                     jinja_type_name(key));
    }
    TRY(put(d, "\""));
    TRY(dump_value(d, key, 0));
    return put(d, "\"");
}

static enum status dump_list(struct dump *d, const struct jinja_list *l, int level)
{
    if (l->count == 0) {
        return put(d, "[]");
    }
    TRY(put(d, "["));
    for (size_t i = 0; i < l->count; i++) {
        if (i > 0) {
            TRY(put_string(d, d->item));
        }
        TRY(dump_newline(d, level + 1));
        TRY(dump_value(d, &l->items[i], level + 1));
    }
    TRY(dump_newline(d, level));
    return put(d, "]");
}

/* Entries by key when sorting is asked for. */
static enum status sorted_entries(struct dump *d, const struct jinja_dict *from,
                                  struct jinja_value **values, struct jinja_value **keys)
{
    TRY(jinja_alloc(&d->r->pool, from->count * sizeof **values, values));
    TRY(jinja_alloc(&d->r->pool, from->count * sizeof **keys, keys));
    for (size_t i = 0; i < from->count; i++) {
        (*values)[i] = from->entries[i].value;
        (*keys)[i] = from->entries[i].key;
    }
    return d->sort ? jinja_sort(d->r, *values, *keys, from->count, false) : STATUS_OK;
}

static enum status dump_dict(struct dump *d, const struct jinja_dict *from, int level)
{
    struct jinja_value *values;
    struct jinja_value *keys;
    if (from->count == 0) {
        return put(d, "{}");
    }
    TRY(sorted_entries(d, from, &values, &keys));
    TRY(put(d, "{"));
    for (size_t i = 0; i < from->count; i++) {
        if (i > 0) {
            TRY(put_string(d, d->item));
        }
        TRY(dump_newline(d, level + 1));
        TRY(dump_key(d, &keys[i]));
        TRY(put_string(d, d->key));
        TRY(dump_value(d, &values[i], level + 1));
    }
    TRY(dump_newline(d, level));
    return put(d, "}");
}

static enum status dump_value(struct dump *d, const struct jinja_value *v, int level)
{
    TRY(jinja_charge(d->r, 1));
    switch (v->type) {
    case JINJA_NONE:
        return put(d, "null");
    case JINJA_BOOL:
        return put(d, v->boolean ? "true" : "false");
    case JINJA_INT:
        return jinja_repr(d->r, v, &d->out);
    case JINJA_FLOAT:
        return dump_real(d, v->real);
    case JINJA_STRING:
        return dump_string(d, v->string);
    case JINJA_LIST:
    case JINJA_TUPLE:
        return dump_list(d, v->list, level);
    case JINJA_DICT:
        return dump_dict(d, v->dict, level);
    default:
        return RAISE(d->r, "Object of type %s is not JSON serializable", jinja_type_name(v));
    }
}

/* indent: a number of blanks or a string; None: one line. */
static enum status read_indent(struct dump *d, const struct jinja_value *v)
{
    int64_t blanks;
    if (v->type == JINJA_MISSING || v->type == JINJA_NONE) {
        return STATUS_OK;
    }
    d->pretty = true;
    if (v->type == JINJA_STRING) {
        d->indent = v->string;
        return STATUS_OK;
    }
    TRY(jinja_arg_int(d->r, v, "indent", 0, &blanks));
    if (blanks > 1000) {
        return RAISE(d->r, "tojson: an indent of %lld blanks", (long long)blanks);
    }
    char *text;
    struct jinja_value made;
    const size_t n = blanks > 0 ? (size_t)blanks : 0;
    TRY(jinja_string_reserve(d->r, n, &text));
    memset(text, ' ', n);
    TRY(jinja_string_wrap(d->r, text, n, &made));
    d->indent = made.string;
    return STATUS_OK;
}

static enum status read_separators(struct dump *d, const struct jinja_value *v)
{
    static const struct jinja_string COMMA = {",", 1, 1};
    static const struct jinja_string COMMA_BLANK = {", ", 2, 2};
    static const struct jinja_string COLON = {": ", 2, 2};
    d->item = d->pretty ? &COMMA : &COMMA_BLANK;
    d->key = &COLON;
    if (v->type == JINJA_MISSING || v->type == JINJA_NONE) {
        return STATUS_OK;
    }
    if ((v->type != JINJA_TUPLE && v->type != JINJA_LIST) || v->list->count != 2
        || v->list->items[0].type != JINJA_STRING || v->list->items[1].type != JINJA_STRING) {
        return RAISE(d->r, "tojson: separators must be two strings");
    }
    d->item = v->list->items[0].string;
    d->key = v->list->items[1].string;
    return STATUS_OK;
}

enum status jinja_filter_tojson(struct jinja_render *r, const struct jinja_invocation *in,
                                struct jinja_value *out)
{
    struct dump d = {.r = r, .ascii = jinja_truth(&in->arg[0]), .sort = jinja_truth(&in->arg[3])};
    TRY(read_indent(&d, &in->arg[1]));
    TRY(read_separators(&d, &in->arg[2]));
    const enum status status = dump_value(&d, &in->self, 0);
    if (status != STATUS_OK) {
        free(d.out.data);
        return status;
    }
    return jinja_string_take(r, &d.out, out);
}
