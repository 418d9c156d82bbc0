/* Calls: macros, built-ins and the binding of arguments. */
#include <string.h>

#include "trainer/text/jinja_internal.h"

const struct jinja_row *jinja_row_find(const struct jinja_row *rows, const char *name, size_t size)
{
    for (; rows->name; rows++) {
        if (strlen(rows->name) == size && memcmp(rows->name, name, size) == 0) {
            return rows;
        }
    }
    return NULL;
}

const struct jinja_row *jinja_filter_find(const char *name, size_t size)
{
    const struct jinja_row *const tables[] = {JINJA_FILTERS_TEXT, JINJA_FILTERS_LIST,
                                              JINJA_FILTERS_NUMBER, JINJA_FILTERS_SORT};
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
        const struct jinja_row *row = jinja_row_find(tables[i], name, size);
        if (row) {
            return row;
        }
    }
    return NULL;
}

const struct jinja_row *jinja_test_find(const char *name, size_t size)
{
    return jinja_row_find(JINJA_TESTS, name, size);
}

const struct jinja_row *jinja_global_find(const char *name, size_t size)
{
    return jinja_row_find(JINJA_GLOBALS, name, size);
}

enum status jinja_arg_int(struct jinja_render *r, const struct jinja_value *v, const char *what,
                          int64_t fallback, int64_t *out)
{
    *out = fallback;
    if (v->type == JINJA_MISSING || v->type == JINJA_NONE || jinja_is_int(v, out)) {
        *out = v->type == JINJA_MISSING || v->type == JINJA_NONE ? fallback : *out;
        return STATUS_OK;
    }
    if (v->type == JINJA_UNDEFINED) {
        return jinja_undefined_fail(r, v);
    }
    return RAISE(r, "%s must be an integer, not %s", what, jinja_type_name(v));
}

enum status jinja_arg_string(struct jinja_render *r, const struct jinja_value *v, const char *what,
                             const struct jinja_string **out)
{
    if (v->type == JINJA_UNDEFINED) {
        return jinja_undefined_fail(r, v);
    }
    if (v->type != JINJA_STRING) {
        return RAISE(r, "%s must be str, not %s", what, jinja_type_name(v));
    }
    *out = v->string;
    return STATUS_OK;
}

/* ---- Built-ins ---- */
struct parameter {
    const char *name;
    size_t size;
    bool required;
};

/* Reads the next "name" or "name!" of a row's parameters; false at the end. */
static bool parameter_next(const char **params, struct parameter *p)
{
    while (**params == ' ') {
        (*params)++;
    }
    p->name = *params;
    p->size = strcspn(*params, " !");
    *params += p->size;
    p->required = **params == '!';
    *params += p->required;
    return p->size > 0;
}

static enum status bind(struct jinja_render *r, const struct jinja_row *row,
                        const struct jinja_args *args, struct jinja_value *bound)
{
    const char *params = row->params;
    struct parameter p;
    size_t n = 0;
    size_t named = 0;
    for (; parameter_next(&params, &p); n++) {
        ASSERT(n < JINJA_ARGS);
        bound[n] = (struct jinja_value){.type = JINJA_MISSING};
        if (n < args->count) {
            bound[n] = args->pos[n];
            continue;
        }
        for (size_t i = 0; i < args->named_count; i++) {
            const struct jinja_string *name = args->named[i].name;
            if (name->size == p.size && memcmp(name->data, p.name, p.size) == 0) {
                bound[n] = args->named[i].value;
                named++;
            }
        }
        if (p.required && bound[n].type == JINJA_MISSING) {
            return RAISE(r, "%s: missing argument '%.*s'", row->name, (int)p.size, p.name);
        }
    }
    if (args->count > n) {
        return RAISE(r, "%s takes at most %zu arguments, %zu were given", row->name, n,
                     args->count);
    }
    if (named < args->named_count) {
        return RAISE(r, "%s got an unexpected keyword argument; it takes: %s", row->name,
                     *row->params ? row->params : "none");
    }
    return STATUS_OK;
}

enum status jinja_invoke(struct jinja_render *r, const struct jinja_row *row,
                         const struct jinja_value *self, const struct jinja_args *args,
                         struct jinja_value *out)
{
    struct jinja_invocation in = {
        .self = self ? *self : jinja_none(), .raw = args, .option = row->option};
    if (r->depth >= JINJA_EVAL_DEPTH) {
        return RAISE(r, "evaluation nested more than %d deep", JINJA_EVAL_DEPTH);
    }
    TRY(jinja_charge(r, 1));
    if (row->params) {
        TRY(bind(r, row, args, in.arg));
    }
    r->depth++;
    TRY(row->fn(r, &in, out));
    r->depth--;
    return STATUS_OK;
}

/* ---- Macros ---- */
static const struct jinja_value *named_find(const struct jinja_args *args,
                                            const struct jinja_string *name)
{
    for (size_t i = 0; i < args->named_count; i++) {
        if (args->named[i].name == name) {
            return &args->named[i].value;
        }
    }
    return NULL;
}

/* Value of parameter i when the call does not give it. Defaults are evaluated in the macro. */
static enum status default_value(struct jinja_render *r, const struct jinja_node *n, size_t i,
                                 struct jinja_value *out)
{
    const size_t first = n->items.count - n->others.count;
    if (i >= first) {
        return jinja_eval(r, n->others.items[i - first], out);
    }
    const struct jinja_string *name = n->items.items[i]->name;
    char *hint;
    const size_t cap = name->size + 40;
    TRY(jinja_alloc(&r->pool, cap, &hint));
    (void)snprintf(hint, cap, "parameter '%.*s' was not provided", (int)name->size, name->data);
    return jinja_undefined_new(r, hint, NULL, NULL, out);
}

static enum status bind_parameters(struct jinja_render *r, const struct jinja_node *n,
                                   const struct jinja_args *args, size_t *used)
{
    for (size_t i = 0; i < n->items.count; i++) {
        const struct jinja_string *name = n->items.items[i]->name;
        const struct jinja_value *given = i < args->count ? &args->pos[i] : NULL;
        struct jinja_value v;
        if (!given) {
            given = named_find(args, name);
            *used += given != NULL;
        }
        if (given) {
            v = *given;
        } else {
            TRY(default_value(r, n, i, &v));
        }
        TRY(jinja_scope_set(r, r->scope, name, &v));
    }
    return STATUS_OK;
}

static bool is_parameter(const struct jinja_node *n, const struct jinja_string *name)
{
    for (size_t i = 0; i < n->items.count; i++) {
        if (n->items.items[i]->name == name) {
            return true;
        }
    }
    return false;
}

static enum status bind_caller(struct jinja_render *r, const struct jinja_node *n,
                               const struct jinja_args *args, size_t *used)
{
    const struct jinja_string *name = r->template->caller;
    if (!(n->uses & USES_CALLER) || is_parameter(n, name)) {
        return STATUS_OK;
    }
    const struct jinja_value *given = named_find(args, name);
    struct jinja_value v;
    *used += given != NULL;
    if (given) {
        v = *given;
    } else {
        TRY(jinja_undefined_new(r, "no caller defined", NULL, NULL, &v));
    }
    return jinja_scope_set(r, r->scope, name, &v);
}

/* varargs: what exceeds the parameters; kwargs: what none of them takes. */
static enum status bind_rest(struct jinja_render *r, const struct jinja_node *n,
                             const struct jinja_args *args, size_t used)
{
    const size_t named = args->named_count - used;
    struct jinja_value rest;
    if (n->uses & USES_KWARGS) {
        TRY(jinja_dict_new(r, JINJA_DICT, &rest));
        for (size_t i = 0; i < args->named_count; i++) {
            const struct jinja_string *name = args->named[i].name;
            const bool taken = is_parameter(n, name)
                               || ((n->uses & USES_CALLER) && name == r->template->caller);
            const struct jinja_value key = {.type = JINJA_STRING, .string = name};
            if (!taken) {
                TRY(jinja_dict_set(r, rest.dict, &key, &args->named[i].value));
            }
        }
        TRY(jinja_scope_set(r, r->scope, r->template->kwargs, &rest));
    } else if (named > 0) {
        return RAISE(r, "the macro takes no such keyword argument (%zu too many)", named);
    }
    if (n->uses & USES_VARARGS) {
        TRY(jinja_list_new(r, JINJA_TUPLE, &rest));
        for (size_t i = n->items.count; i < args->count; i++) {
            TRY(jinja_list_push(r, rest.list, &args->pos[i]));
        }
        return jinja_scope_set(r, r->scope, r->template->varargs, &rest);
    }
    return args->count > n->items.count
               ? RAISE(r, "the macro takes not more than %zu argument(s)", n->items.count)
               : STATUS_OK;
}

static enum status macro_call(struct jinja_render *r, const struct jinja_macro *m,
                              const struct jinja_args *args, struct jinja_value *out)
{
    struct jinja_scope *outer = r->scope;
    size_t used = 0;
    if (r->calls >= JINJA_DEPTH) {
        return RAISE(r, "macros called more than %d deep", JINJA_DEPTH);
    }
    r->calls++;
    TRY(jinja_scope_open(r, m->scope, &r->scope));
    TRY(bind_parameters(r, m->node, args, &used));
    TRY(bind_caller(r, m->node, args, &used));
    TRY(bind_rest(r, m->node, args, used));
    TRY(jinja_capture(r, &m->node->body, out));
    r->scope = outer;
    r->calls--;
    return STATUS_OK;
}

static enum status joiner_call(struct jinja_render *r, struct jinja_joiner *j,
                               struct jinja_value *out)
{
    if (j->used) {
        *out = j->separator;
        return STATUS_OK;
    }
    j->used = true;
    return jinja_string_literal(r, "", out);
}

enum status jinja_call_value(struct jinja_render *r, const struct jinja_value *callee,
                             const struct jinja_args *args, struct jinja_value *out)
{
    switch (callee->type) {
    case JINJA_MACRO:
        return macro_call(r, callee->macro, args, out);
    case JINJA_METHOD:
        return jinja_invoke(r, callee->method->row, &callee->method->self, args, out);
    case JINJA_FUNCTION:
        return jinja_invoke(r, callee->function, NULL, args, out);
    case JINJA_LOOP:
        return jinja_loop_call(r, callee->loop, args, out);
    case JINJA_JOINER:
        return joiner_call(r, callee->joiner, out);
    case JINJA_UNDEFINED:
        return jinja_undefined_fail(r, callee);
    default:
        return RAISE(r, "'%s' object is not callable", jinja_type_name(callee));
    }
}
