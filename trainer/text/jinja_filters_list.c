/* Filters over sequences and mappings. */
#include <string.h>

#include "trainer/text/jinja_internal.h"

static enum status filter_length(struct jinja_render *r, const struct jinja_invocation *in,
                                 struct jinja_value *out)
{
    const int64_t length = jinja_length(&in->self);
    if (length < 0) {
        return RAISE(r, "object of type '%s' has no len()", jinja_type_name(&in->self));
    }
    *out = jinja_int(length);
    return STATUS_OK;
}

static enum status filter_list(struct jinja_render *r, const struct jinja_invocation *in,
                               struct jinja_value *out)
{
    return jinja_collect(r, &in->self, out);
}

static enum status filter_first(struct jinja_render *r, const struct jinja_invocation *in,
                                struct jinja_value *out)
{
    struct jinja_iter *it;
    bool more;
    TRY(jinja_iter_open(r, &in->self, &it));
    TRY(jinja_iter_next(r, it, out, &more));
    return more ? STATUS_OK
                : jinja_undefined_new(r, "No first item, sequence was empty.", NULL, NULL, out);
}

static enum status filter_last(struct jinja_render *r, const struct jinja_invocation *in,
                               struct jinja_value *out)
{
    const int64_t length = jinja_length(&in->self);
    if (length < 0) {
        return RAISE(r, "'%s' object is not reversible", jinja_type_name(&in->self));
    }
    return length > 0
               ? jinja_sequence_at(r, &in->self, length - 1, out)
               : jinja_undefined_new(r, "No last item, sequence was empty.", NULL, NULL, out);
}

/* A string reversed, or an iterator from the end. */
static enum status filter_reverse(struct jinja_render *r, const struct jinja_invocation *in,
                                  struct jinja_value *out)
{
    if (in->self.type == JINJA_STRING) {
        const struct jinja_value bounds[3] = {jinja_none(), jinja_none(), jinja_int(-1)};
        return jinja_get_slice(r, &in->self, bounds, out);
    }
    struct jinja_value items = in->self;
    if (in->self.type == JINJA_ITER) {
        TRY(jinja_collect(r, &in->self, &items));
    }
    TRY(jinja_iter_value(r, &items, "list_reverseiterator", out));
    out->iter->reverse = true;
    return STATUS_OK;
}

static enum status filter_join(struct jinja_render *r, const struct jinja_invocation *in,
                               struct jinja_value *out)
{
    static const struct jinja_string EMPTY = {"", 0, 0};
    struct jinja_value separator = {.type = JINJA_STRING, .string = &EMPTY};
    struct jinja_value items = in->self;
    if (in->arg[0].type != JINJA_MISSING) {
        TRY(jinja_to_string(r, &in->arg[0], &separator));
    }
    if (in->arg[1].type != JINJA_MISSING && in->arg[1].type != JINJA_NONE) {
        struct jinja_task task = {.attribute = in->arg[1], .map = true};
        TRY(jinja_iter_value(r, &in->self, "map", &items));
        items.iter->task = &task;
        return jinja_text_join(r, separator.string, &items, false, out);
    }
    return jinja_text_join(r, separator.string, &items, false, out);
}

/* ---- map, select, reject, selectattr, rejectattr ---- */

/* The filter or test that pos[at] names, with the arguments behind it. */
static enum status task_row(struct jinja_render *r, const struct jinja_args *a, size_t at,
                            bool filter, struct jinja_task *t)
{
    const struct jinja_string *name;
    TRY(jinja_arg_string(r, &a->pos[at], "the name of a filter or test", &name));
    t->row = filter ? jinja_filter_find(name->data, name->size)
                    : jinja_test_find(name->data, name->size);
    t->unknown = t->row ? NULL : name->data;
    t->args = *a;
    t->args.pos += at + 1;
    t->args.count -= at + 1;
    return STATUS_OK;
}

static const struct jinja_value *named(const struct jinja_args *a, const char *name)
{
    for (size_t i = 0; i < a->named_count; i++) {
        const struct jinja_string *s = a->named[i].name;
        if (s->size == strlen(name) && memcmp(s->data, name, s->size) == 0) {
            return &a->named[i].value;
        }
    }
    return NULL;
}

static enum status lazy(struct jinja_render *r, const struct jinja_value *source,
                        const struct jinja_task *task, struct jinja_value *out)
{
    struct jinja_task *kept;
    struct jinja_value items = *source;
    if (!jinja_truth(source)) { /* also None: nothing to draw */
        TRY(jinja_list_new(r, JINJA_LIST, &items));
    }
    TRY(jinja_alloc(&r->pool, sizeof *kept, &kept));
    *kept = *task;
    TRY(jinja_iter_value(r, &items, "generator", out));
    out->iter->task = kept;
    return STATUS_OK;
}

static enum status filter_map(struct jinja_render *r, const struct jinja_invocation *in,
                              struct jinja_value *out)
{
    const struct jinja_args *a = in->raw;
    struct jinja_task task = {.map = true};
    const struct jinja_value *attribute = named(a, "attribute");
    const struct jinja_value *fallback = named(a, "default");
    if (a->count == 0 && attribute) {
        if (a->named_count != (fallback ? 2U : 1U)) {
            return RAISE(r, "map takes attribute and default only");
        }
        task.attribute = *attribute;
        task.fallback = fallback ? *fallback : jinja_none();
    } else if (a->count == 0) {
        return RAISE(r, "map requires a filter argument");
    } else {
        TRY(task_row(r, a, 0, true, &task));
    }
    return lazy(r, &in->self, &task, out);
}

enum { BY_ATTRIBUTE = 1, REJECT = 2 };

static enum status filter_choose(struct jinja_render *r, const struct jinja_invocation *in,
                                 struct jinja_value *out)
{
    const bool attribute = (in->option & BY_ATTRIBUTE) != 0;
    struct jinja_task task = {.reject = (in->option & REJECT) != 0};
    const size_t at = attribute;
    if (attribute && in->raw->count == 0) {
        return RAISE(r, "missing parameter for attribute name");
    }
    if (attribute) {
        task.attribute = in->raw->pos[0];
    }
    if (in->raw->count > at) {
        TRY(task_row(r, in->raw, at, false, &task));
    }
    return lazy(r, &in->self, &task, out);
}

static enum status filter_items(struct jinja_render *r, const struct jinja_invocation *in,
                                struct jinja_value *out)
{
    struct jinja_value view;
    if (in->self.type == JINJA_UNDEFINED) {
        return jinja_iter_value(r, &in->self, "generator", out);
    }
    if (in->self.type != JINJA_DICT) {
        return RAISE(r, "can only get item pairs from a mapping, not from %s",
                     jinja_type_name(&in->self));
    }
    TRY(jinja_view_new(r, in->self.dict, VIEW_ITEMS, &view));
    return jinja_iter_value(r, &view, "generator", out);
}

/* ---- Chunks ---- */
static enum status generator_of(struct jinja_render *r, const struct jinja_value *list,
                                struct jinja_value *out)
{
    return jinja_iter_value(r, list, "generator", out);
}

static bool given(const struct jinja_value *v)
{
    return v->type != JINJA_MISSING && v->type != JINJA_NONE;
}

static enum status filter_batch(struct jinja_render *r, const struct jinja_invocation *in,
                                struct jinja_value *out)
{
    struct jinja_value items;
    struct jinja_value rows;
    struct jinja_value row = {0};
    int64_t width;
    TRY(jinja_arg_int(r, &in->arg[0], "batch: the count", 0, &width));
    if (width < 1) {
        return RAISE(r, "batch: the count must be at least 1");
    }
    TRY(jinja_collect(r, &in->self, &items));
    TRY(jinja_list_new(r, JINJA_LIST, &rows));
    for (size_t i = 0; i < items.list->count; i++) {
        if (i % (size_t)width == 0) {
            TRY(jinja_list_new(r, JINJA_LIST, &row));
        }
        TRY(jinja_list_push(r, row.list, &items.list->items[i]));
        const bool last = i + 1 == items.list->count;
        while (last && given(&in->arg[1]) && row.list->count < (size_t)width) {
            TRY(jinja_list_push(r, row.list, &in->arg[1]));
        }
        if (last || row.list->count == (size_t)width) {
            TRY(jinja_list_push(r, rows.list, &row));
        }
    }
    return generator_of(r, &rows, out);
}

static enum status filter_slice(struct jinja_render *r, const struct jinja_invocation *in,
                                struct jinja_value *out)
{
    struct jinja_value items;
    struct jinja_value columns;
    int64_t count;
    TRY(jinja_arg_int(r, &in->arg[0], "slice: the count", 0, &count));
    if (count < 1) {
        return RAISE(r, "slice: the count must be at least 1");
    }
    TRY(jinja_collect(r, &in->self, &items));
    TRY(jinja_list_new(r, JINJA_LIST, &columns));
    const int64_t length = (int64_t)items.list->count;
    int64_t at = 0;
    for (int64_t i = 0; i < count; i++) {
        struct jinja_value column;
        const int64_t end = at + length / count + (i < length % count);
        TRY(jinja_list_new(r, JINJA_LIST, &column));
        for (; at < end; at++) {
            TRY(jinja_list_push(r, column.list, &items.list->items[at]));
        }
        if (given(&in->arg[1]) && i >= length % count) {
            TRY(jinja_list_push(r, column.list, &in->arg[1]));
        }
        TRY(jinja_list_push(r, columns.list, &column));
    }
    return generator_of(r, &columns, out);
}

static enum status filter_sum(struct jinja_render *r, const struct jinja_invocation *in,
                              struct jinja_value *out)
{
    struct jinja_value items;
    struct jinja_value sum = in->arg[1].type == JINJA_MISSING ? jinja_int(0) : in->arg[1];
    TRY(jinja_collect(r, &in->self, &items));
    if (sum.type == JINJA_STRING) {
        return RAISE(r, "sum() can't sum strings; use join");
    }
    for (size_t i = 0; i < items.list->count; i++) {
        struct jinja_value item = items.list->items[i];
        if (given(&in->arg[0])) {
            TRY(jinja_get_path(r, &items.list->items[i], &in->arg[0], NULL, &item));
        }
        const struct jinja_value before = sum;
        TRY(jinja_math(r, OP_ADD, &before, &item, &sum));
    }
    *out = sum;
    return STATUS_OK;
}

const struct jinja_row JINJA_FILTERS_LIST[] = {
    {"length", "", filter_length, 0},
    {"count", "", filter_length, 0},
    {"list", "", filter_list, 0},
    {"first", "", filter_first, 0},
    {"last", "", filter_last, 0},
    {"reverse", "", filter_reverse, 0},
    {"join", "d attribute", filter_join, 0},
    {"map", NULL, filter_map, 0},
    {"select", NULL, filter_choose, 0},
    {"reject", NULL, filter_choose, REJECT},
    {"selectattr", NULL, filter_choose, BY_ATTRIBUTE},
    {"rejectattr", NULL, filter_choose, BY_ATTRIBUTE | REJECT},
    {"items", "", filter_items, 0},
    {"batch", "linecount! fill_with", filter_batch, 0},
    {"slice", "slices! fill_with", filter_slice, 0},
    {"sum", "attribute start", filter_sum, 0},
    {0},
};
