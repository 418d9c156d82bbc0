/*
 * Iteration: over lists, strings (by code point), dict keys, ranges and views, and lazily over what
 * map, select and "for ... if" make, which is drawn once, as Python's generators are.
 */
#include <string.h>

#include "trainer/text/jinja_internal.h"

bool jinja_iterable(const struct jinja_value *v)
{
    switch (v->type) {
    case JINJA_UNDEFINED:
    case JINJA_STRING:
    case JINJA_LIST:
    case JINJA_TUPLE:
    case JINJA_DICT:
    case JINJA_RANGE_TYPE:
    case JINJA_VIEW:
    case JINJA_ITER:
        return true;
    default:
        return false;
    }
}

int64_t jinja_length(const struct jinja_value *v)
{
    switch (v->type) {
    case JINJA_UNDEFINED:
        return 0;
    case JINJA_STRING:
        return v->string->chars;
    case JINJA_LIST:
    case JINJA_TUPLE:
        return (int64_t)v->list->count;
    case JINJA_DICT:
        return (int64_t)v->dict->count;
    case JINJA_RANGE_TYPE:
        return v->range->count;
    case JINJA_VIEW:
        return (int64_t)v->view->dict->count;
    default:
        return -1;
    }
}

enum status jinja_iter_value(struct jinja_render *r, const struct jinja_value *source,
                             const char *type_name, struct jinja_value *out)
{
    struct jinja_iter *it;
    const int depth = source->type == JINJA_ITER ? source->iter->depth + 1 : 0;
    if (!jinja_iterable(source)) {
        return RAISE(r, "'%s' object is not iterable", jinja_type_name(source));
    }
    if (depth > JINJA_VALUE_DEPTH) {
        return RAISE(r, "generators nested more than %d deep", JINJA_VALUE_DEPTH);
    }
    TRY(jinja_alloc(&r->pool, sizeof *it, &it));
    *it = (struct jinja_iter){.source = *source, .type_name = type_name, .depth = depth};
    *out = (struct jinja_value){.type = JINJA_ITER, .iter = it};
    return STATUS_OK;
}

enum status jinja_iter_open(struct jinja_render *r, const struct jinja_value *v,
                            struct jinja_iter **out)
{
    struct jinja_value it = *v;
    if (v->type != JINJA_ITER) {
        TRY(jinja_iter_value(r, v, "iterator", &it));
    }
    *out = it.iter;
    return STATUS_OK;
}

/* Entry i of a dict as keys(), values() or items() hand it out. */
static enum status entry_value(struct jinja_render *r, const struct jinja_dict *d, size_t i,
                               enum jinja_view_kind kind, struct jinja_value *out)
{
    const struct jinja_entry *e = &d->entries[i];
    if (kind == VIEW_ITEMS) {
        return jinja_pair_new(r, &e->key, &e->value, out);
    }
    *out = kind == VIEW_KEYS ? e->key : e->value;
    return STATUS_OK;
}

enum status jinja_sequence_at(struct jinja_render *r, const struct jinja_value *v, int64_t index,
                              struct jinja_value *out)
{
    switch (v->type) {
    case JINJA_STRING: {
        const size_t at = jinja_char_offset(v->string, index);
        size_t n;
        (void)jinja_char(v->string->data + at, &n);
        TRY(jinja_charge_bytes(r, at));
        TRY(jinja_string_wrap(r, v->string->data + at, n, out));
        out->markup = v->markup;
        return STATUS_OK;
    }
    case JINJA_RANGE_TYPE:
        *out = jinja_int(v->range->start + index * v->range->step);
        return STATUS_OK;
    case JINJA_DICT:
        return entry_value(r, v->dict, (size_t)index, VIEW_KEYS, out);
    case JINJA_VIEW:
        return entry_value(r, v->view->dict, (size_t)index, v->view->kind, out);
    default:
        *out = v->list->items[index];
        return STATUS_OK;
    }
}

/* Next item of the source, before task or filter. */
static enum status draw(struct jinja_render *r, struct jinja_iter *it, struct jinja_value *out,
                        bool *more)
{
    const struct jinja_value *s = &it->source;
    if (s->type == JINJA_ITER) {
        return jinja_iter_next(r, s->iter, out, more);
    }
    if (s->type == JINJA_STRING && !it->reverse) { /* `at` counts bytes: no search per item */
        *more = it->at < s->string->size;
        if (*more) {
            size_t n;
            (void)jinja_char(s->string->data + it->at, &n);
            TRY(jinja_string_wrap(r, s->string->data + it->at, n, out));
            it->at += n;
        }
        return STATUS_OK;
    }
    const int64_t length = jinja_length(s);
    const int64_t index = it->reverse ? length - 1 - (int64_t)it->at : (int64_t)it->at;
    *more = (int64_t)it->at < length;
    it->at += *more;
    return *more ? jinja_sequence_at(r, s, index, out) : STATUS_OK;
}

/* Runs the test or filter of map, select, ... on an item. */
static enum status run_task(struct jinja_render *r, const struct jinja_task *t,
                            const struct jinja_value *item, struct jinja_value *out)
{
    *out = *item;
    if (t->attribute.type != JINJA_MISSING) {
        TRY(jinja_get_path(r, item, &t->attribute, &t->fallback, out));
    }
    if (t->unknown) {
        return RAISE(r, "no filter or test named '%s'", t->unknown);
    }
    if (t->row) {
        const struct jinja_value subject = *out;
        TRY(jinja_invoke(r, t->row, &subject, &t->args, out));
    }
    return STATUS_OK;
}

/* The "if" of a for loop: its target is set in a scope of its own. */
static enum status run_filter(struct jinja_render *r, struct jinja_iter *it,
                              const struct jinja_value *item, bool *pass)
{
    struct jinja_scope *outer = r->scope;
    struct jinja_value test;
    r->scope = it->scope;
    r->scope->count = 0;
    TRY(jinja_assign(r, it->filter->left, item));
    TRY(jinja_eval(r, it->filter->third, &test));
    r->scope = outer;
    *pass = jinja_truth(&test);
    return STATUS_OK;
}

static enum status next_chosen(struct jinja_render *r, struct jinja_iter *it,
                               struct jinja_value *out, bool *more)
{
    for (;;) {
        TRY(jinja_charge(r, 1));
        TRY(draw(r, it, out, more));
        if (!*more) {
            return STATUS_OK;
        }
        bool pass = true;
        if (it->filter) {
            TRY(run_filter(r, it, out, &pass));
        }
        if (it->task) {
            struct jinja_value result;
            TRY(run_task(r, it->task, out, &result));
            if (it->task->map) {
                *out = result;
            } else {
                pass = jinja_truth(&result) != it->task->reject;
            }
        }
        if (pass) {
            return STATUS_OK;
        }
    }
}

enum status jinja_iter_next(struct jinja_render *r, struct jinja_iter *it, struct jinja_value *out,
                            bool *more)
{
    if (r->depth >= JINJA_EVAL_DEPTH) {
        return RAISE(r, "evaluation nested more than %d deep", JINJA_EVAL_DEPTH);
    }
    if (it->running) {
        return RAISE(r, "generator already executing");
    }
    it->running = true;
    r->depth++;
    TRY(next_chosen(r, it, out, more));
    r->depth--;
    it->running = false;
    return STATUS_OK;
}

enum status jinja_collect(struct jinja_render *r, const struct jinja_value *v,
                          struct jinja_value *out)
{
    struct jinja_iter *it;
    struct jinja_value list;
    TRY(jinja_iter_open(r, v, &it));
    TRY(jinja_list_new(r, JINJA_LIST, &list));
    for (;;) {
        struct jinja_value item;
        bool more;
        TRY(jinja_iter_next(r, it, &item, &more));
        if (!more) {
            break;
        }
        TRY(jinja_list_push(r, list.list, &item));
    }
    *out = list;
    return STATUS_OK;
}
