/* Attributes, items and slices. What does not exist is undefined, not an error. */
#include <string.h>

#include "trainer/text/jinja_internal.h"

/* Methods that would change a list or dict: refused, as in the immutable sandbox. */
static const char *const UNSAFE_LIST[] = {"append", "clear",  "extend", "insert", "pop",
                                          "remove", "reverse", "sort",   NULL};
static const char *const UNSAFE_DICT[] = {"clear", "pop", "popitem", "setdefault", "update", NULL};

static bool listed(const char *const *names, const struct jinja_string *name)
{
    for (; *names; names++) {
        if (strlen(*names) == name->size && memcmp(*names, name->data, name->size) == 0) {
            return true;
        }
    }
    return false;
}

static bool name_is(const struct jinja_string *name, const char *text)
{
    return strlen(text) == name->size && memcmp(text, name->data, name->size) == 0;
}

static const struct jinja_row *method_find(const struct jinja_value *v,
                                           const struct jinja_string *name)
{
    const struct jinja_row *row = NULL;
    switch (v->type) {
    case JINJA_STRING:
        row = jinja_row_find(JINJA_METHODS_STR, name->data, name->size);
        return row ? row : jinja_row_find(JINJA_METHODS_STR2, name->data, name->size);
    case JINJA_LIST:
    case JINJA_TUPLE:
    case JINJA_RANGE_TYPE:
        row = jinja_row_find(JINJA_METHODS_LIST, name->data, name->size);
        return row && v->type != JINJA_LIST && name_is(name, "copy") ? NULL : row;
    case JINJA_DICT:
        return jinja_row_find(JINJA_METHODS_DICT, name->data, name->size);
    case JINJA_CYCLER:
        return jinja_row_find(JINJA_METHODS_CYCLER, name->data, name->size);
    default:
        return NULL;
    }
}

static enum status unsafe(struct jinja_render *r, const struct jinja_value *v,
                          const struct jinja_string *name, struct jinja_value *out)
{
    char *hint;
    const size_t cap = name->size + 96;
    TRY(jinja_alloc(&r->pool, cap, &hint));
    (void)snprintf(hint, cap, "access to attribute '%.*s' of '%s' object is unsafe.",
                   (int)name->size, name->data, jinja_type_name(v));
    return jinja_undefined_new(r, hint, NULL, NULL, out);
}

/* What the object itself offers under this name: methods and fields, not items. */
static enum status own_attribute(struct jinja_render *r, const struct jinja_value *v,
                                 const struct jinja_string *name, struct jinja_value *out,
                                 bool *found)
{
    *found = true;
    if (v->type == JINJA_LOOP) {
        return jinja_loop_attribute(r, v->loop, name, out, found);
    }
    if (v->type == JINJA_NAMESPACE) {
        const struct jinja_value key = {.type = JINJA_STRING, .string = name};
        const struct jinja_value *value;
        TRY(jinja_dict_get(r, v->dict, &key, &value));
        *found = value != NULL;
        *out = value ? *value : jinja_none();
        return STATUS_OK;
    }
    if (v->type == JINJA_TUPLE && v->list->group
        && (name_is(name, "grouper") || name_is(name, "list"))) {
        *out = v->list->items[name_is(name, "list")];
        return STATUS_OK;
    }
    if (v->type == JINJA_CYCLER && name_is(name, "current")) {
        *out = v->cycler->items.items[v->cycler->at];
        return STATUS_OK;
    }
    if (v->type == JINJA_MACRO && name_is(name, "name") && v->macro->node->name) {
        *out = (struct jinja_value){.type = JINJA_STRING, .string = v->macro->node->name};
        return STATUS_OK;
    }
    const struct jinja_row *row = method_find(v, name);
    if (row) {
        struct jinja_method *m;
        TRY(jinja_alloc(&r->pool, sizeof *m, &m));
        *m = (struct jinja_method){*v, row};
        *out = (struct jinja_value){.type = JINJA_METHOD, .method = m};
        return STATUS_OK;
    }
    if ((v->type == JINJA_LIST && listed(UNSAFE_LIST, name))
        || (v->type == JINJA_DICT && listed(UNSAFE_DICT, name))) {
        return unsafe(r, v, name, out);
    }
    *found = false;
    return STATUS_OK;
}

/* The item of a list, string, range or dict; *found = false when there is none. */
static enum status own_item(struct jinja_render *r, const struct jinja_value *v,
                            const struct jinja_value *key, struct jinja_value *out, bool *found)
{
    int64_t index;
    *found = false;
    if (v->type == JINJA_DICT) {
        const struct jinja_value *value;
        TRY(jinja_dict_get(r, v->dict, key, &value));
        *found = value != NULL;
        if (value) {
            *out = *value;
        }
        return STATUS_OK;
    }
    const bool sequence = v->type == JINJA_STRING || v->type == JINJA_LIST
                          || v->type == JINJA_TUPLE || v->type == JINJA_RANGE_TYPE;
    if (!sequence || !jinja_is_int(key, &index)) {
        return STATUS_OK;
    }
    const int64_t length = jinja_length(v);
    index += index < 0 ? length : 0;
    if (index < 0 || index >= length) {
        return STATUS_OK;
    }
    *found = true;
    return jinja_sequence_at(r, v, index, out);
}

static enum status missing(struct jinja_render *r, const struct jinja_value *v,
                           const struct jinja_value *key, struct jinja_value *out)
{
    const char *owner = v->type == JINJA_NONE ? "None" : jinja_type_name(v);
    return jinja_undefined_new(r, NULL, owner, key, out);
}

enum status jinja_get_attribute(struct jinja_render *r, const struct jinja_value *v,
                                const struct jinja_value *name, struct jinja_value *out)
{
    bool found;
    if (v->type == JINJA_UNDEFINED) {
        return jinja_undefined_fail(r, v);
    }
    TRY(own_attribute(r, v, name->string, out, &found));
    if (!found) {
        TRY(own_item(r, v, name, out, &found));
    }
    return found ? STATUS_OK : missing(r, v, name, out);
}

enum status jinja_get_item(struct jinja_render *r, const struct jinja_value *v,
                           const struct jinja_value *key, struct jinja_value *out)
{
    bool found;
    if (v->type == JINJA_UNDEFINED) {
        return jinja_undefined_fail(r, v);
    }
    TRY(own_item(r, v, key, out, &found));
    if (!found && key->type == JINJA_STRING) {
        TRY(own_attribute(r, v, key->string, out, &found));
    }
    return found ? STATUS_OK : missing(r, v, key, out);
}

struct bounds {
    int64_t start, step, count;
    int64_t stop;
};

static enum status bound(struct jinja_render *r, const struct jinja_value *v, int64_t fallback,
                         int64_t length, int64_t step, int64_t *out)
{
    *out = fallback;
    if (v->type == JINJA_NONE) {
        return STATUS_OK;
    }
    if (!jinja_is_int(v, out)) {
        return RAISE(r, "slice indices must be integers or None, not %s", jinja_type_name(v));
    }
    if (*out < 0) {
        const int64_t low = step < 0 ? -1 : 0;
        *out = *out < -length ? low : *out + length;
    } else if (*out >= length) {
        *out = step < 0 ? length - 1 : length;
    }
    return STATUS_OK;
}

static enum status slice_bounds(struct jinja_render *r, const struct jinja_value bounds[3],
                                int64_t length, struct bounds *b)
{
    b->step = 1;
    if (bounds[2].type != JINJA_NONE && !jinja_is_int(&bounds[2], &b->step)) {
        return RAISE(r, "slice indices must be integers or None");
    }
    if (b->step == 0) {
        return RAISE(r, "slice step cannot be zero");
    }
    const bool back = b->step < 0;
    /* A step beyond the length takes one item at most; this keeps start + step in range. */
    const int64_t far = length + 1;
    b->step = b->step > far ? far : b->step < -far ? -far : b->step;
    TRY(bound(r, &bounds[0], back ? length - 1 : 0, length, b->step, &b->start));
    TRY(bound(r, &bounds[1], back ? -1 : length, length, b->step, &b->stop));
    const int64_t span = back ? b->start - b->stop : b->stop - b->start;
    const int64_t step = back ? -b->step : b->step;
    b->count = span > 0 ? (span + step - 1) / step : 0;
    return STATUS_OK;
}

static enum status slice_string(struct jinja_render *r, const struct jinja_value *v,
                                const struct bounds *b, struct jinja_value *out)
{
    const struct jinja_string *s = v->string;
    if (b->step == 1) {
        const size_t begin = jinja_char_offset(s, b->start);
        TRY(jinja_charge_bytes(r, begin));
        const struct jinja_string rest = {s->data + begin, s->size - begin, s->chars - b->start};
        TRY(jinja_string_wrap(r, rest.data, jinja_char_offset(&rest, b->count), out));
        out->markup = v->markup;
        return STATUS_OK;
    }
    size_t *offsets; /* of each code point, so that picking one is direct */
    char *data;
    const size_t chars = (size_t)s->chars;
    TRY(jinja_charge(r, chars / 8));
    TRY(jinja_alloc(&r->pool, (chars + 1) * sizeof *offsets, &offsets));
    size_t at = 0;
    for (size_t i = 0; i < chars; i++) {
        size_t n;
        offsets[i] = at;
        (void)jinja_char(s->data + at, &n);
        at += n;
    }
    offsets[chars] = at;
    TRY(jinja_string_reserve(r, s->size, &data));
    size_t size = 0;
    for (int64_t i = 0; i < b->count; i++) {
        const int64_t k = b->start + i * b->step;
        const size_t n = offsets[k + 1] - offsets[k];
        memcpy(data + size, s->data + offsets[k], n);
        size += n;
    }
    TRY(jinja_string_wrap(r, data, size, out));
    out->markup = v->markup;
    return STATUS_OK;
}

static enum status slice_range(struct jinja_render *r, const struct jinja_value *v,
                               const struct bounds *b, struct jinja_value *out)
{
    const struct jinja_range *from = v->range;
    struct jinja_range *g;
    TRY(jinja_alloc(&r->pool, sizeof *g, &g));
    /* Unsigned: the stop of a slice of a range near the end of int64 may wrap, its items do not. */
    const uint64_t start = (uint64_t)from->start;
    const uint64_t step = (uint64_t)from->step;
    *g = (struct jinja_range){.start = (int64_t)(start + (uint64_t)b->start * step),
                              .stop = (int64_t)(start + (uint64_t)b->stop * step),
                              .step = (int64_t)(step * (uint64_t)b->step),
                              .count = b->count};
    *out = (struct jinja_value){.type = JINJA_RANGE_TYPE, .range = g};
    return STATUS_OK;
}

enum status jinja_get_slice(struct jinja_render *r, const struct jinja_value *v,
                            const struct jinja_value bounds[3], struct jinja_value *out)
{
    struct bounds b;
    if (v->type == JINJA_UNDEFINED) {
        return jinja_undefined_fail(r, v);
    }
    if (v->type != JINJA_STRING && v->type != JINJA_LIST && v->type != JINJA_TUPLE
        && v->type != JINJA_RANGE_TYPE) {
        return RAISE(r, "'%s' object cannot be sliced", jinja_type_name(v));
    }
    TRY(slice_bounds(r, bounds, jinja_length(v), &b));
    if (v->type == JINJA_STRING) {
        return slice_string(r, v, &b, out);
    }
    if (v->type == JINJA_RANGE_TYPE) {
        return slice_range(r, v, &b, out);
    }
    struct jinja_value list;
    TRY(jinja_list_new(r, v->type, &list));
    for (int64_t i = 0; i < b.count; i++) {
        TRY(jinja_list_push(r, list.list, &v->list->items[b.start + i * b.step]));
    }
    *out = list;
    return STATUS_OK;
}

/* One part of an attribute path: digits are an index. */
static enum status path_key(struct jinja_render *r, const char *text, size_t size,
                            struct jinja_value *out)
{
    int64_t index = 0;
    bool digits = size > 0 && size < 18;
    for (size_t i = 0; i < size && digits; i++) {
        digits = text[i] >= '0' && text[i] <= '9';
        index = index * 10 + (text[i] - '0');
    }
    if (digits) {
        *out = jinja_int(index);
        return STATUS_OK;
    }
    return jinja_string_wrap(r, text, size, out);
}

static enum status path_step(struct jinja_render *r, const struct jinja_value *key,
                             const struct jinja_value *fallback, struct jinja_value *item)
{
    const struct jinja_value from = *item;
    TRY(jinja_get_item(r, &from, key, item));
    if (item->type == JINJA_UNDEFINED && fallback && fallback->type != JINJA_MISSING
        && fallback->type != JINJA_NONE) {
        *item = *fallback;
    }
    return STATUS_OK;
}

enum status jinja_get_path(struct jinja_render *r, const struct jinja_value *v,
                           const struct jinja_value *path, const struct jinja_value *fallback,
                           struct jinja_value *out)
{
    *out = *v;
    if (path->type == JINJA_NONE) {
        return STATUS_OK;
    }
    if (path->type != JINJA_STRING) {
        return path_step(r, path, fallback, out);
    }
    const struct jinja_string *s = path->string;
    size_t begin = 0;
    while (begin <= s->size) {
        const char *dot = memchr(s->data + begin, '.', s->size - begin);
        const size_t end = dot ? (size_t)(dot - s->data) : s->size;
        struct jinja_value key;
        TRY(path_key(r, s->data + begin, end - begin, &key));
        TRY(path_step(r, &key, fallback, out));
        begin = end + 1;
    }
    return STATUS_OK;
}
