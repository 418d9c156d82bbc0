/* for loops and their `loop` variable. Items are drawn lazily, one ahead when asked for. */
#include <string.h>

#include "trainer/text/jinja_internal.h"

struct jinja_loop {
    const struct jinja_node *node;
    struct jinja_scope *outer;
    struct jinja_iter *iter;
    struct jinja_value current, before, after;
    bool has_after;
    bool ended;
    int64_t index0;
    int64_t length; /* -1: not known yet */
    int64_t depth0;
    struct jinja_value changed; /* TUPLE of the last changed(...); MISSING before */
};

static enum status peek(struct jinja_render *r, struct jinja_loop *l, bool *more)
{
    if (!l->has_after && !l->ended) {
        TRY(jinja_iter_next(r, l->iter, &l->after, &l->has_after));
        l->ended = !l->has_after;
    }
    *more = l->has_after;
    return STATUS_OK;
}

static enum status step(struct jinja_render *r, struct jinja_loop *l, bool *more)
{
    TRY(peek(r, l, more));
    if (*more) {
        l->before = l->current;
        l->current = l->after;
        l->has_after = false;
        l->index0++;
    }
    return STATUS_OK;
}

/* Counts what is left by drawing it all when the source has no length. */
static enum status measure(struct jinja_render *r, struct jinja_loop *l)
{
    if (l->length >= 0) {
        return STATUS_OK;
    }
    struct jinja_value rest = {.type = JINJA_ITER, .iter = l->iter};
    TRY(jinja_collect(r, &rest, &rest));
    TRY(jinja_iter_open(r, &rest, &l->iter));
    l->length = (int64_t)rest.list->count + l->index0 + 1 + (l->has_after ? 1 : 0);
    return STATUS_OK;
}

static enum status run_body(struct jinja_render *r, struct jinja_loop *l, struct jinja_scope *scope,
                            bool *completed)
{
    const struct jinja_value self = {.type = JINJA_LOOP, .loop = l};
    for (;;) {
        bool more;
        TRY(step(r, l, &more));
        if (!more) {
            return STATUS_OK;
        }
        r->scope = scope;
        scope->count = 0; /* what the last turn set is gone */
        TRY(jinja_scope_set(r, scope, r->template->loop, &self));
        TRY(jinja_assign(r, l->node->left, &l->current));
        TRY(jinja_exec(r, &l->node->body));
        const enum jinja_flow flow = r->flow;
        r->flow = FLOW_ON;
        *completed = *completed || flow == FLOW_ON;
        if (flow == FLOW_BREAK) {
            return STATUS_OK;
        }
    }
}

/* The source, or with "for ... if" an iterator over what passes. */
static enum status filtered(struct jinja_render *r, const struct jinja_node *n,
                            const struct jinja_value *source, struct jinja_value *out)
{
    *out = *source;
    if (!n->third) {
        return STATUS_OK;
    }
    TRY(jinja_iter_value(r, source, "generator", out));
    out->iter->filter = n;
    return jinja_scope_open(r, r->scope, &out->iter->scope);
}

static enum status run_loop(struct jinja_render *r, const struct jinja_node *n,
                            const struct jinja_value *source, int64_t depth0)
{
    struct jinja_scope *outer = r->scope;
    struct jinja_scope *scope;
    struct jinja_value items;
    struct jinja_loop *l;
    bool completed = false;
    TRY(filtered(r, n, source, &items));
    TRY(jinja_alloc(&r->pool, sizeof *l, &l));
    *l = (struct jinja_loop){.node = n, .outer = outer, .index0 = -1, .depth0 = depth0};
    TRY(jinja_iter_open(r, &items, &l->iter));
    l->length = jinja_length(&items);
    TRY(jinja_scope_open(r, outer, &scope));
    TRY(run_body(r, l, scope, &completed));
    r->scope = outer;
    /* As the reference: else also runs when every turn ended in break or continue. */
    if (!completed && n->orelse.count > 0) {
        TRY(jinja_scope_open(r, outer, &r->scope));
        TRY(jinja_exec(r, &n->orelse));
        r->scope = outer;
    }
    return STATUS_OK;
}

enum status jinja_exec_for(struct jinja_render *r, const struct jinja_node *n)
{
    struct jinja_value source;
    TRY(jinja_eval(r, n->right, &source));
    return run_loop(r, n, &source, 0);
}

enum status jinja_loop_call(struct jinja_render *r, struct jinja_loop *l,
                            const struct jinja_args *args, struct jinja_value *out)
{
    if (!l->node->recursive) {
        return RAISE(r, "the loop must be marked 'recursive' to be called");
    }
    if (args->count != 1 || args->named_count > 0) {
        return RAISE(r, "loop() takes one argument: what to loop over");
    }
    if (r->calls >= JINJA_DEPTH) {
        return RAISE(r, "loops called more than %d deep", JINJA_DEPTH);
    }
    struct jinja_scope *scope = r->scope;
    struct jinja_buffer text = {0};
    struct jinja_buffer *outer = r->out;
    r->out = &text;
    r->scope = l->outer;
    r->calls++;
    const enum status status = run_loop(r, l->node, &args->pos[0], l->depth0 + 1);
    r->calls--;
    r->out = outer;
    r->scope = scope;
    if (status != STATUS_OK) {
        free(text.data);
        return status;
    }
    return jinja_string_take(r, &text, out);
}

static enum status neighbour(struct jinja_render *r, struct jinja_loop *l, bool next,
                             struct jinja_value *out)
{
    bool there = l->index0 > 0;
    if (next) {
        TRY(peek(r, l, &there));
    }
    if (!there) {
        return jinja_undefined_new(
            r, next ? "there is no next item" : "there is no previous item", NULL, NULL, out);
    }
    *out = next ? l->after : l->before;
    return STATUS_OK;
}

static enum status method(struct jinja_render *r, struct jinja_loop *l, const struct jinja_row *row,
                          struct jinja_value *out)
{
    struct jinja_method *m;
    TRY(jinja_alloc(&r->pool, sizeof *m, &m));
    *m = (struct jinja_method){{.type = JINJA_LOOP, .loop = l}, row};
    *out = (struct jinja_value){.type = JINJA_METHOD, .method = m};
    return STATUS_OK;
}

enum loop_field {
    LOOP_INDEX,
    LOOP_INDEX0,
    LOOP_REVINDEX,
    LOOP_REVINDEX0,
    LOOP_FIRST,
    LOOP_LAST,
    LOOP_LENGTH,
    LOOP_DEPTH,
    LOOP_DEPTH0,
    LOOP_PREVITEM,
    LOOP_NEXTITEM,
    LOOP_FIELDS
};

static enum status field(struct jinja_render *r, struct jinja_loop *l, enum loop_field f,
                         struct jinja_value *out)
{
    bool more = false;
    switch (f) {
    case LOOP_INDEX:
    case LOOP_INDEX0:
        *out = jinja_int(l->index0 + (f == LOOP_INDEX));
        return STATUS_OK;
    case LOOP_REVINDEX:
    case LOOP_REVINDEX0:
        TRY(measure(r, l));
        *out = jinja_int(l->length - l->index0 - (f == LOOP_REVINDEX0));
        return STATUS_OK;
    case LOOP_FIRST:
        *out = jinja_bool(l->index0 == 0);
        return STATUS_OK;
    case LOOP_LAST:
        TRY(peek(r, l, &more));
        *out = jinja_bool(!more);
        return STATUS_OK;
    case LOOP_LENGTH:
        TRY(measure(r, l));
        *out = jinja_int(l->length);
        return STATUS_OK;
    case LOOP_DEPTH:
    case LOOP_DEPTH0:
        *out = jinja_int(l->depth0 + (f == LOOP_DEPTH));
        return STATUS_OK;
    default:
        return neighbour(r, l, f == LOOP_NEXTITEM, out);
    }
}

enum status jinja_loop_attribute(struct jinja_render *r, struct jinja_loop *l,
                                 const struct jinja_string *name, struct jinja_value *out,
                                 bool *found)
{
    static const char *const NAMES[LOOP_FIELDS] = {
        "index",  "index0", "revindex", "revindex0", "first",   "last",
        "length", "depth",  "depth0",   "previtem",  "nextitem"};
    *found = true;
    for (int i = 0; i < LOOP_FIELDS; i++) {
        if (strlen(NAMES[i]) == name->size && memcmp(NAMES[i], name->data, name->size) == 0) {
            return field(r, l, (enum loop_field)i, out);
        }
    }
    const struct jinja_row *row = jinja_row_find(JINJA_METHODS_LOOP, name->data, name->size);
    *found = row != NULL;
    return row ? method(r, l, row, out) : STATUS_OK;
}

enum status jinja_loop_text(struct jinja_render *r, struct jinja_loop *l, struct jinja_buffer *out)
{
    char text[80];
    TRY(measure(r, l));
    (void)snprintf(text, sizeof text, "<LoopContext %lld/%lld>", (long long)(l->index0 + 1),
                   (long long)l->length);
    return jinja_buffer_add(out, text, strlen(text));
}

static enum status loop_cycle(struct jinja_render *r, const struct jinja_invocation *in,
                              struct jinja_value *out)
{
    if (in->raw->count == 0) {
        return RAISE(r, "no items for cycling given");
    }
    *out = in->raw->pos[(size_t)in->self.loop->index0 % in->raw->count];
    return STATUS_OK;
}

static enum status loop_changed(struct jinja_render *r, const struct jinja_invocation *in,
                                struct jinja_value *out)
{
    struct jinja_loop *l = in->self.loop;
    struct jinja_value now;
    bool same = false;
    TRY(jinja_list_new(r, JINJA_TUPLE, &now));
    for (size_t i = 0; i < in->raw->count; i++) {
        TRY(jinja_list_push(r, now.list, &in->raw->pos[i]));
    }
    if (l->changed.type != JINJA_MISSING) {
        TRY(jinja_equal(r, &l->changed, &now, &same));
    }
    l->changed = now;
    *out = jinja_bool(!same);
    return STATUS_OK;
}

const struct jinja_row JINJA_METHODS_LOOP[] = {
    {"cycle", NULL, loop_cycle, 0},
    {"changed", NULL, loop_changed, 0},
    {0},
};
