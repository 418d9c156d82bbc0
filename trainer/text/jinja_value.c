/* Values of a render: making them, their truth, their types; strings, lists and dicts. */
#include <math.h>
#include <string.h>

#include "trainer/text/jinja_internal.h"

struct jinja_value jinja_bool(bool b)
{
    return (struct jinja_value){.type = JINJA_BOOL, .boolean = b};
}

struct jinja_value jinja_int(int64_t i)
{
    return (struct jinja_value){.type = JINJA_INT, .integer = i};
}

struct jinja_value jinja_real(double d)
{
    return (struct jinja_value){.type = JINJA_FLOAT, .real = d};
}

struct jinja_value jinja_none(void)
{
    return (struct jinja_value){.type = JINJA_NONE};
}

static enum status wrap(struct jinja_pool *p, const char *data, size_t size,
                        struct jinja_value *out)
{
    struct jinja_string *s;
    TRY(jinja_alloc(p, sizeof *s, &s));
    *s = (struct jinja_string){data, size, jinja_char_count(data, size)};
    *out = (struct jinja_value){.type = JINJA_STRING, .string = s};
    return STATUS_OK;
}

enum status jinja_string_in(struct jinja_pool *p, const char *data, size_t size,
                            struct jinja_value *out)
{
    char *copy;
    TRY(jinja_alloc(p, size + 1, &copy));
    if (size > 0) {
        memcpy(copy, data, size);
    }
    copy[size] = '\0';
    return wrap(p, copy, size, out);
}

enum status jinja_string_reserve(struct jinja_render *r, size_t size, char **data)
{
    if (size > JINJA_OUTPUT) {
        return RAISE(r, "a string of more than %d MiB", JINJA_OUTPUT >> 20);
    }
    TRY(jinja_charge_bytes(r, size));
    TRY(jinja_alloc(&r->pool, size + 1, data));
    (*data)[size] = '\0';
    return STATUS_OK;
}

enum status jinja_string_new(struct jinja_render *r, const char *data, size_t size,
                             struct jinja_value *out)
{
    char *copy;
    TRY(jinja_string_reserve(r, size, &copy));
    if (size > 0) {
        memcpy(copy, data, size);
    }
    return wrap(&r->pool, copy, size, out);
}

enum status jinja_string_wrap(struct jinja_render *r, const char *data, size_t size,
                              struct jinja_value *out)
{
    TRY(jinja_charge_bytes(r, size));
    return wrap(&r->pool, data, size, out);
}

enum status jinja_string_literal(struct jinja_render *r, const char *text, struct jinja_value *out)
{
    return wrap(&r->pool, text, strlen(text), out);
}

enum status jinja_string_take(struct jinja_render *r, struct jinja_buffer *b,
                              struct jinja_value *out)
{
    const enum status status = jinja_string_new(r, b->data, b->size, out);
    free(b->data);
    *b = (struct jinja_buffer){0};
    return status;
}

enum status jinja_list_new(struct jinja_render *r, enum jinja_type type, struct jinja_value *out)
{
    struct jinja_list *list;
    TRY(jinja_alloc(&r->pool, sizeof *list, &list));
    *list = (struct jinja_list){0};
    *out = (struct jinja_value){.type = type, .list = list};
    return STATUS_OK;
}

int jinja_nesting(const struct jinja_value *v)
{
    switch (v->type) {
    case JINJA_LIST:
    case JINJA_TUPLE:
        return v->list->depth + 1;
    case JINJA_DICT:
        return v->dict->depth + 1;
    case JINJA_VIEW:
        return v->view->dict->depth + 2;
    case JINJA_ITER:
        return v->iter->depth + 1;
    default:
        return 0;
    }
}

static enum status nest(struct jinja_render *r, int *depth, const struct jinja_value *v)
{
    const int below = jinja_nesting(v);
    if (below > JINJA_VALUE_DEPTH) {
        return RAISE(r, "lists or objects nested more than %d deep", JINJA_VALUE_DEPTH);
    }
    *depth = below > *depth ? below : *depth;
    return STATUS_OK;
}

enum status jinja_list_push(struct jinja_render *r, struct jinja_list *list,
                            const struct jinja_value *v)
{
    TRY(jinja_charge(r, 1));
    TRY(nest(r, &list->depth, v));
    if (list->count == list->capacity) {
        const size_t capacity = list->capacity ? list->capacity * 2 : 4;
        struct jinja_value *grown;
        TRY(jinja_alloc(&r->pool, capacity * sizeof *grown, &grown));
        if (list->count > 0) {
            memcpy(grown, list->items, list->count * sizeof *grown);
        }
        list->items = grown;
        list->capacity = capacity;
    }
    list->items[list->count++] = *v;
    return STATUS_OK;
}

enum status jinja_pair_new(struct jinja_render *r, const struct jinja_value *a,
                           const struct jinja_value *b, struct jinja_value *out)
{
    struct jinja_value pair;
    TRY(jinja_list_new(r, JINJA_TUPLE, &pair));
    TRY(jinja_list_push(r, pair.list, a));
    TRY(jinja_list_push(r, pair.list, b));
    *out = pair;
    return STATUS_OK;
}

enum status jinja_dict_new(struct jinja_render *r, enum jinja_type type, struct jinja_value *out)
{
    struct jinja_dict *d;
    TRY(jinja_alloc(&r->pool, sizeof *d, &d));
    *d = (struct jinja_dict){0};
    *out = (struct jinja_value){.type = type, .dict = d};
    return STATUS_OK;
}

enum status jinja_view_new(struct jinja_render *r, struct jinja_dict *d, enum jinja_view_kind kind,
                           struct jinja_value *out)
{
    struct jinja_view *v;
    TRY(jinja_alloc(&r->pool, sizeof *v, &v));
    *v = (struct jinja_view){d, kind};
    *out = (struct jinja_value){.type = JINJA_VIEW, .view = v};
    return STATUS_OK;
}

bool jinja_hashable(const struct jinja_value *v)
{
    if (v->type == JINJA_TUPLE) {
        for (size_t i = 0; i < v->list->count; i++) {
            if (!jinja_hashable(&v->list->items[i])) {
                return false;
            }
        }
    }
    return v->type != JINJA_LIST && v->type != JINJA_DICT;
}

/* Equal values hash alike: 1, 1.0 and true are one key. */
static uint32_t hash_value(const struct jinja_value *v)
{
    uint32_t h = 2166136261U;
    double number;
    if (jinja_is_number(v, &number)) {
        return (uint32_t)(int64_t)(isfinite(number) && fabs(number) < 1e18 ? number : 0.0);
    }
    if (v->type == JINJA_STRING) {
        for (size_t i = 0; i < v->string->size; i++) {
            h = (h ^ (unsigned char)v->string->data[i]) * 16777619U;
        }
        return h;
    }
    if (v->type == JINJA_TUPLE) {
        for (size_t i = 0; i < v->list->count; i++) {
            h = (h ^ hash_value(&v->list->items[i])) * 16777619U;
        }
        return h;
    }
    return h ^ (uint32_t)v->type;
}

static enum status dict_find(struct jinja_render *r, const struct jinja_dict *d,
                             const struct jinja_value *key, struct jinja_entry **found)
{
    const uint32_t hash = hash_value(key);
    *found = NULL;
    TRY(jinja_charge(r, d->count / 16));
    for (size_t i = 0; i < d->count; i++) {
        if (d->entries[i].hash != hash) {
            continue;
        }
        bool same = false;
        TRY(jinja_equal(r, &d->entries[i].key, key, &same));
        if (same) {
            *found = &d->entries[i];
            return STATUS_OK;
        }
    }
    return STATUS_OK;
}

enum status jinja_dict_get(struct jinja_render *r, const struct jinja_dict *d,
                           const struct jinja_value *key, const struct jinja_value **found)
{
    struct jinja_entry *entry = NULL;
    if (jinja_hashable(key)) {
        TRY(dict_find(r, d, key, &entry));
    }
    *found = entry ? &entry->value : NULL;
    return STATUS_OK;
}

enum status jinja_dict_set(struct jinja_render *r, struct jinja_dict *d,
                           const struct jinja_value *key, const struct jinja_value *value)
{
    if (!jinja_hashable(key)) {
        return RAISE(r, "unhashable type: '%s'", jinja_type_name(key));
    }
    TRY(nest(r, &d->depth, key));
    TRY(nest(r, &d->depth, value));
    struct jinja_entry *entry;
    TRY(dict_find(r, d, key, &entry));
    if (entry) {
        entry->value = *value;
        return STATUS_OK;
    }
    TRY(jinja_charge(r, 1));
    if (d->count == d->capacity) {
        const size_t capacity = d->capacity ? d->capacity * 2 : 8;
        struct jinja_entry *grown;
        TRY(jinja_alloc(&r->pool, capacity * sizeof *grown, &grown));
        if (d->count > 0) {
            memcpy(grown, d->entries, d->count * sizeof *grown);
        }
        d->entries = grown;
        d->capacity = capacity;
    }
    d->entries[d->count++] = (struct jinja_entry){*key, *value, hash_value(key)};
    return STATUS_OK;
}

enum status jinja_undefined_new(struct jinja_render *r, const char *hint, const char *owner,
                                const struct jinja_value *name, struct jinja_value *out)
{
    struct jinja_undefined *u;
    TRY(jinja_alloc(&r->pool, sizeof *u, &u));
    *u = (struct jinja_undefined){hint, owner, name ? *name : jinja_none()};
    *out = (struct jinja_value){.type = JINJA_UNDEFINED, .undefined = u};
    return STATUS_OK;
}

enum status jinja_undefined_fail(struct jinja_render *r, const struct jinja_value *v)
{
    const struct jinja_undefined *u = v->undefined;
    if (u->hint) {
        return RAISE(r, "%s", u->hint);
    }
    struct jinja_buffer name = {0};
    const enum status status = jinja_repr(r, &u->name, &name);
    if (status != STATUS_OK) {
        free(name.data);
        return status;
    }
    enum status failed;
    if (!u->owner) {
        failed = RAISE(r, "%s is undefined", name.data);
    } else if (u->name.type == JINJA_STRING) {
        failed = RAISE(r, "'%s object' has no attribute %s", u->owner, name.data);
    } else {
        failed = RAISE(r, "%s object has no element %s", u->owner, name.data);
    }
    free(name.data);
    return failed;
}

const char *jinja_type_name(const struct jinja_value *v)
{
    static const char *const NAMES[] = {
        [JINJA_MISSING] = "missing",
        [JINJA_UNDEFINED] = "Undefined",
        [JINJA_NONE] = "NoneType",
        [JINJA_BOOL] = "bool",
        [JINJA_INT] = "int",
        [JINJA_FLOAT] = "float",
        [JINJA_STRING] = "str",
        [JINJA_LIST] = "list",
        [JINJA_TUPLE] = "tuple",
        [JINJA_DICT] = "dict",
        [JINJA_RANGE_TYPE] = "range",
        [JINJA_VIEW] = "dict view",
        [JINJA_ITER] = "generator",
        [JINJA_NAMESPACE] = "Namespace",
        [JINJA_MACRO] = "Macro",
        [JINJA_METHOD] = "method",
        [JINJA_FUNCTION] = "function",
        [JINJA_LOOP] = "LoopContext",
        [JINJA_CYCLER] = "Cycler",
        [JINJA_JOINER] = "Joiner",
    };
    if (v->type == JINJA_ITER) {
        return v->iter->type_name;
    }
    return NAMES[v->type];
}

bool jinja_truth(const struct jinja_value *v)
{
    switch (v->type) {
    case JINJA_MISSING:
    case JINJA_UNDEFINED:
    case JINJA_NONE:
        return false;
    case JINJA_BOOL:
        return v->boolean;
    case JINJA_INT:
        return v->integer != 0;
    case JINJA_FLOAT:
        return v->real < 0 || v->real > 0 || isnan(v->real);
    case JINJA_STRING:
    case JINJA_LIST:
    case JINJA_TUPLE:
    case JINJA_DICT:
    case JINJA_RANGE_TYPE:
    case JINJA_VIEW:
        return jinja_length(v) != 0;
    default:
        return true;
    }
}

bool jinja_is_int(const struct jinja_value *v, int64_t *out)
{
    if (v->type == JINJA_BOOL) {
        *out = v->boolean;
        return true;
    }
    *out = v->type == JINJA_INT ? v->integer : 0;
    return v->type == JINJA_INT;
}

bool jinja_is_number(const struct jinja_value *v, double *out)
{
    int64_t i;
    if (jinja_is_int(v, &i)) {
        *out = (double)i;
        return true;
    }
    *out = v->type == JINJA_FLOAT ? v->real : 0.0;
    return v->type == JINJA_FLOAT;
}
