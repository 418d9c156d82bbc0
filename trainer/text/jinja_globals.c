/* Global functions: range, dict, namespace, cycler, joiner, lipsum, raise_exception and
 * strftime_now. */
#include <string.h>

#include "trainer/text/jinja_internal.h"

/* Items of range(start, stop, step); -1 when there are more than the limit. */
static int64_t range_count(int64_t start, int64_t stop, int64_t step)
{
    if (step > 0 ? start >= stop : start <= stop) {
        return 0;
    }
    const uint64_t span = step > 0 ? (uint64_t)stop - (uint64_t)start
                                   : (uint64_t)start - (uint64_t)stop;
    const uint64_t stride = step > 0 ? (uint64_t)step : (uint64_t)0 - (uint64_t)step;
    const uint64_t count = (span - 1) / stride + 1;
    return count > JINJA_RANGE ? -1 : (int64_t)count;
}

static enum status global_range(struct jinja_render *r, const struct jinja_invocation *in,
                                struct jinja_value *out)
{
    const struct jinja_args *a = in->raw;
    int64_t v[3] = {0, 0, 1};
    if (a->count < 1 || a->count > 3 || a->named_count > 0) {
        return RAISE(r, "range expects 1 to 3 arguments");
    }
    for (size_t i = 0; i < a->count; i++) {
        if (a->pos[i].type == JINJA_NONE) {
            return RAISE(r, "range: None is no integer");
        }
        TRY(jinja_arg_int(r, &a->pos[i], "range: an argument", 0, &v[a->count == 1 ? 1 : i]));
    }
    if (v[2] == 0) {
        return RAISE(r, "range: the step must not be zero");
    }
    struct jinja_range *g;
    TRY(jinja_alloc(&r->pool, sizeof *g, &g));
    *g = (struct jinja_range){v[0], v[1], v[2], range_count(v[0], v[1], v[2])};
    if (g->count < 0) {
        return RAISE(r, "range of more than %d items", JINJA_RANGE);
    }
    *out = (struct jinja_value){.type = JINJA_RANGE_TYPE, .range = g};
    return STATUS_OK;
}

/* Adds what the positional argument of dict() holds: a dict or pairs. */
static enum status add_pairs(struct jinja_render *r, struct jinja_dict *d,
                             const struct jinja_value *from)
{
    if (from->type == JINJA_DICT) {
        for (size_t i = 0; i < from->dict->count; i++) {
            TRY(jinja_dict_set(r, d, &from->dict->entries[i].key, &from->dict->entries[i].value));
        }
        return STATUS_OK;
    }
    struct jinja_value pairs;
    TRY(jinja_collect(r, from, &pairs));
    for (size_t i = 0; i < pairs.list->count; i++) {
        struct jinja_value pair;
        TRY(jinja_collect(r, &pairs.list->items[i], &pair));
        if (pair.list->count != 2) {
            return RAISE(r, "dict: element %zu has length %zu; 2 is required", i,
                         pair.list->count);
        }
        TRY(jinja_dict_set(r, d, &pair.list->items[0], &pair.list->items[1]));
    }
    return STATUS_OK;
}

static enum status make_dict(struct jinja_render *r, const struct jinja_args *a,
                             enum jinja_type type, struct jinja_value *out)
{
    if (a->count > 1) {
        return RAISE(r, "dict expects at most 1 positional argument, not %zu", a->count);
    }
    struct jinja_value d;
    TRY(jinja_dict_new(r, type, &d));
    if (a->count == 1) {
        TRY(add_pairs(r, d.dict, &a->pos[0]));
    }
    for (size_t i = 0; i < a->named_count; i++) {
        const struct jinja_value key = {.type = JINJA_STRING, .string = a->named[i].name};
        TRY(jinja_dict_set(r, d.dict, &key, &a->named[i].value));
    }
    *out = d;
    return STATUS_OK;
}

static enum status global_dict(struct jinja_render *r, const struct jinja_invocation *in,
                               struct jinja_value *out)
{
    return make_dict(r, in->raw, JINJA_DICT, out);
}

static enum status global_namespace(struct jinja_render *r, const struct jinja_invocation *in,
                                    struct jinja_value *out)
{
    TRY(make_dict(r, in->raw, JINJA_NAMESPACE, out));
    for (size_t i = 0; i < out->dict->count; i++) {
        const struct jinja_value *key = &out->dict->entries[i].key;
        if (key->type == JINJA_STRING && key->string->size > 0 && key->string->data[0] == '_') {
            return RAISE(r,
                         "a namespace stores no attribute that begins with '_': '%.*s'; rename it",
                         (int)key->string->size, key->string->data);
        }
    }
    return STATUS_OK;
}

static enum status global_cycler(struct jinja_render *r, const struct jinja_invocation *in,
                                 struct jinja_value *out)
{
    struct jinja_cycler *c;
    if (in->raw->count == 0 || in->raw->named_count > 0) {
        return RAISE(r, "cycler: at least one item has to be provided");
    }
    TRY(jinja_alloc(&r->pool, sizeof *c, &c));
    *c = (struct jinja_cycler){0};
    for (size_t i = 0; i < in->raw->count; i++) {
        TRY(jinja_list_push(r, &c->items, &in->raw->pos[i]));
    }
    *out = (struct jinja_value){.type = JINJA_CYCLER, .cycler = c};
    return STATUS_OK;
}

static enum status cycler_next(struct jinja_render *r, const struct jinja_invocation *in,
                               struct jinja_value *out)
{
    struct jinja_cycler *c = in->self.cycler;
    (void)r;
    *out = c->items.items[c->at];
    c->at = (c->at + 1) % c->items.count;
    return STATUS_OK;
}

static enum status cycler_reset(struct jinja_render *r, const struct jinja_invocation *in,
                                struct jinja_value *out)
{
    (void)r;
    in->self.cycler->at = 0;
    *out = jinja_none();
    return STATUS_OK;
}

const struct jinja_row JINJA_METHODS_CYCLER[] = {
    {"next", "", cycler_next, 0},
    {"reset", "", cycler_reset, 0},
    {0},
};

static enum status global_joiner(struct jinja_render *r, const struct jinja_invocation *in,
                                 struct jinja_value *out)
{
    struct jinja_joiner *j;
    TRY(jinja_alloc(&r->pool, sizeof *j, &j));
    *j = (struct jinja_joiner){.separator = in->arg[0]};
    if (in->arg[0].type == JINJA_MISSING) {
        TRY(jinja_string_literal(r, ", ", &j->separator));
    }
    *out = (struct jinja_value){.type = JINJA_JOINER, .joiner = j};
    return STATUS_OK;
}

/* The reference makes random filler text; a fixed sentence keeps renders reproducible. */
static enum status global_lipsum(struct jinja_render *r, const struct jinja_invocation *in,
                                 struct jinja_value *out)
{
    (void)in;
    return jinja_string_literal(r, "Lorem ipsum dolor sit amet, consectetur adipiscing elit.", out);
}

/* The message is handed on word for word: users know it from the template. */
static enum status global_raise(struct jinja_render *r, const struct jinja_invocation *in,
                                struct jinja_value *out)
{
    TRY(jinja_to_string(r, &in->arg[0], out));
    return FAIL(INPUT, "%.*s", (int)out->string->size, out->string->data);
}

static enum status global_strftime(struct jinja_render *r, const struct jinja_invocation *in,
                                   struct jinja_value *out)
{
    const struct jinja_string *format;
    TRY(jinja_arg_string(r, &in->arg[0], "strftime_now: the format", &format));
    return jinja_strftime(r, format, out);
}

const struct jinja_row JINJA_GLOBALS[] = {
    {"range", NULL, global_range, 0},
    {"dict", NULL, global_dict, 0},
    {"namespace", NULL, global_namespace, 0},
    {"cycler", NULL, global_cycler, 0},
    {"joiner", "sep", global_joiner, 0},
    {"lipsum", "n html min max", global_lipsum, 0},
    {"raise_exception", "message!", global_raise, 0},
    {"strftime_now", "format!", global_strftime, 0},
    {0},
};
