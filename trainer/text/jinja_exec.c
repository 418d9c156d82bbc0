/*
 * Statements: output, scopes and assignments. Only for, with, macros, calls and captured blocks
 * open a scope; if does not.
 */
#include <string.h>

#include "trainer/text/jinja_internal.h"

enum status jinja_scope_open(struct jinja_render *r, struct jinja_scope *parent,
                             struct jinja_scope **out)
{
    struct jinja_scope *s;
    TRY(jinja_alloc(&r->pool, sizeof *s, &s));
    *s = (struct jinja_scope){.parent = parent};
    *out = s;
    return STATUS_OK;
}

enum status jinja_scope_set(struct jinja_render *r, struct jinja_scope *s,
                            const struct jinja_string *name, const struct jinja_value *v)
{
    for (size_t i = 0; i < s->count; i++) {
        if (s->vars[i].name == name) {
            s->vars[i].value = *v;
            return STATUS_OK;
        }
    }
    if (s->count == s->capacity) {
        const size_t capacity = s->capacity ? s->capacity * 2 : 8;
        struct jinja_var *grown;
        TRY(jinja_alloc(&r->pool, capacity * sizeof *grown, &grown));
        if (s->count > 0) {
            memcpy(grown, s->vars, s->count * sizeof *grown);
        }
        s->vars = grown;
        s->capacity = capacity;
    }
    s->vars[s->count++] = (struct jinja_var){name, *v};
    return STATUS_OK;
}

static enum status assign_namespace(struct jinja_render *r, const struct jinja_node *target,
                                    const struct jinja_value *v)
{
    struct jinja_value owner;
    const struct jinja_node name = {.kind = NODE_NAME, .line = target->line, .name = target->name};
    TRY(jinja_eval(r, &name, &owner));
    if (owner.type != JINJA_NAMESPACE) {
        return RAISE(r, "cannot assign attribute on non-namespace object");
    }
    if (target->attribute->data[0] == '_') {
        return RAISE(r, "a namespace stores no attribute that begins with '_': '%.*s'; rename it",
                     (int)target->attribute->size, target->attribute->data);
    }
    const struct jinja_value key = {.type = JINJA_STRING, .string = target->attribute};
    return jinja_dict_set(r, owner.dict, &key, v);
}

static enum status assign_tuple(struct jinja_render *r, const struct jinja_node *target,
                                const struct jinja_value *v)
{
    struct jinja_value parts;
    if (!jinja_iterable(v)) {
        return RAISE(r, "cannot unpack non-iterable %s object", jinja_type_name(v));
    }
    TRY(jinja_collect(r, v, &parts));
    if (parts.list->count != target->items.count) {
        return RAISE(r, "%zu values to unpack into %zu names", parts.list->count,
                     target->items.count);
    }
    for (size_t i = 0; i < target->items.count; i++) {
        TRY(jinja_assign(r, target->items.items[i], &parts.list->items[i]));
    }
    return STATUS_OK;
}

enum status jinja_assign(struct jinja_render *r, const struct jinja_node *target,
                         const struct jinja_value *v)
{
    r->line = target->line;
    switch (target->kind) {
    case NODE_NAME:
        return jinja_scope_set(r, r->scope, target->name, v);
    case NODE_NAMESPACE_TARGET:
        return assign_namespace(r, target, v);
    default:
        return assign_tuple(r, target, v);
    }
}

enum status jinja_capture(struct jinja_render *r, const struct jinja_body *body,
                          struct jinja_value *out)
{
    struct jinja_buffer text = {0};
    struct jinja_buffer *outer = r->out;
    r->out = &text;
    const enum status status = jinja_exec(r, body);
    r->out = outer;
    if (status != STATUS_OK) {
        free(text.data);
        return status;
    }
    return jinja_string_take(r, &text, out);
}

/* Captures `body` in a scope of its own and runs `filters` (or NULL) over the text. */
static enum status capture_block(struct jinja_render *r, const struct jinja_node *n,
                                 struct jinja_value *out)
{
    struct jinja_scope *outer = r->scope;
    TRY(jinja_scope_open(r, outer, &r->scope));
    TRY(jinja_capture(r, &n->body, out));
    if (n->right) {
        r->block_text = *out;
        TRY(jinja_eval(r, n->right, out));
    }
    r->scope = outer;
    return STATUS_OK;
}

static enum status print_value(struct jinja_render *r, const struct jinja_value *v)
{
    if (v->type == JINJA_STRING) {
        TRY(jinja_charge_bytes(r, v->string->size));
    }
    return jinja_str(r, v, r->out);
}

static enum status exec_data(struct jinja_render *r, const struct jinja_node *n)
{
    return print_value(r, &n->value);
}

static enum status exec_print(struct jinja_render *r, const struct jinja_node *n)
{
    for (size_t i = 0; i < n->items.count; i++) {
        struct jinja_value v;
        TRY(jinja_eval(r, n->items.items[i], &v));
        TRY(print_value(r, &v));
    }
    return STATUS_OK;
}

static enum status exec_if(struct jinja_render *r, const struct jinja_node *n)
{
    for (size_t i = 0; i < n->items.count; i++) {
        const struct jinja_node *branch = n->items.items[i];
        struct jinja_value test;
        TRY(jinja_eval(r, branch->left, &test));
        if (jinja_truth(&test)) {
            return jinja_exec(r, &branch->body);
        }
    }
    return jinja_exec(r, &n->orelse);
}

static enum status exec_set(struct jinja_render *r, const struct jinja_node *n)
{
    struct jinja_value v;
    TRY(jinja_eval(r, n->right, &v));
    return jinja_assign(r, n->left, &v);
}

static enum status exec_set_block(struct jinja_render *r, const struct jinja_node *n)
{
    struct jinja_value v;
    TRY(capture_block(r, n, &v));
    return r->flow == FLOW_ON ? jinja_assign(r, n->left, &v) : STATUS_OK;
}

static enum status exec_filter_block(struct jinja_render *r, const struct jinja_node *n)
{
    struct jinja_value v;
    TRY(capture_block(r, n, &v));
    return r->flow == FLOW_ON ? print_value(r, &v) : STATUS_OK;
}

static enum status exec_macro(struct jinja_render *r, const struct jinja_node *n)
{
    struct jinja_macro *m;
    TRY(jinja_alloc(&r->pool, sizeof *m, &m));
    *m = (struct jinja_macro){n, r->scope};
    const struct jinja_value v = {.type = JINJA_MACRO, .macro = m};
    return jinja_scope_set(r, r->scope, n->name, &v);
}

/* {% call m(...) %}body{% endcall %}: m(..., caller=body). */
static enum status exec_call_block(struct jinja_render *r, const struct jinja_node *n)
{
    struct jinja_value callee;
    struct jinja_value text;
    struct jinja_args args;
    struct jinja_macro *m;
    TRY(jinja_alloc(&r->pool, sizeof *m, &m));
    *m = (struct jinja_macro){n, r->scope};
    TRY(jinja_eval(r, n->left->left, &callee));
    TRY(jinja_eval_args(r, n->left->call, &args));
    struct jinja_named *named = (struct jinja_named *)args.named; /* it has one place to spare */
    named[args.named_count++] = (struct jinja_named){
        r->template->caller, {.type = JINJA_MACRO, .macro = m}};
    TRY(jinja_call_value(r, &callee, &args, &text));
    return print_value(r, &text);
}

static enum status exec_with(struct jinja_render *r, const struct jinja_node *n)
{
    struct jinja_scope *outer = r->scope;
    struct jinja_scope *inner;
    TRY(jinja_scope_open(r, outer, &inner));
    for (size_t i = 0; i < n->items.count; i++) {
        struct jinja_value v;
        r->scope = outer;
        TRY(jinja_eval(r, n->others.items[i], &v));
        r->scope = inner;
        TRY(jinja_assign(r, n->items.items[i], &v));
    }
    r->scope = inner;
    TRY(jinja_exec(r, &n->body));
    r->scope = outer;
    return STATUS_OK;
}

static enum status span_add(struct jinja_render *r, int64_t begin, int64_t end)
{
    if (r->span_count == r->span_capacity) {
        const int64_t capacity = r->span_capacity ? 2 * r->span_capacity : 16;
        struct template_span *grown = realloc(r->spans, (size_t)capacity * sizeof *grown);
        if (!grown) {
            return FAIL(MEMORY, "chat template: no memory for %lld spans", (long long)capacity);
        }
        r->spans = grown;
        r->span_capacity = capacity;
    }
    r->spans[r->span_count++] = (struct template_span){begin, end};
    return STATUS_OK;
}

/* The span begins where the template's own output stands, as the reference counts it. */
static enum status exec_generation(struct jinja_render *r, const struct jinja_node *n)
{
    struct jinja_value text;
    TRY(capture_block(r, n, &text));
    const int64_t begin = (int64_t)r->root.size;
    TRY(span_add(r, begin, begin + (int64_t)text.string->size));
    return print_value(r, &text);
}

static enum status exec_jump(struct jinja_render *r, const struct jinja_node *n)
{
    r->flow = n->kind == NODE_BREAK ? FLOW_BREAK : FLOW_CONTINUE;
    return STATUS_OK;
}

static enum status exec_unsupported(struct jinja_render *r, const struct jinja_node *n)
{
    return RAISE(r, "'%.*s' needs other templates, which a chat template does not have",
                 (int)n->value.string->size, n->value.string->data);
}

typedef enum status (*exec_fn)(struct jinja_render *r, const struct jinja_node *n);

static const exec_fn EXEC[NODE_KINDS] = {
    [NODE_DATA] = exec_data,
    [NODE_PRINT] = exec_print,
    [NODE_IF] = exec_if,
    [NODE_FOR] = jinja_exec_for,
    [NODE_SET] = exec_set,
    [NODE_SET_BLOCK] = exec_set_block,
    [NODE_MACRO] = exec_macro,
    [NODE_CALL_BLOCK] = exec_call_block,
    [NODE_FILTER_BLOCK] = exec_filter_block,
    [NODE_WITH] = exec_with,
    [NODE_GENERATION] = exec_generation,
    [NODE_BREAK] = exec_jump,
    [NODE_CONTINUE] = exec_jump,
    [NODE_UNSUPPORTED] = exec_unsupported,
};

enum status jinja_exec(struct jinja_render *r, const struct jinja_body *body)
{
    if (body->count == 0) {
        return STATUS_OK;
    }
    if (r->depth >= JINJA_EVAL_DEPTH) {
        return RAISE(r, "evaluation nested more than %d deep", JINJA_EVAL_DEPTH);
    }
    r->depth++;
    for (size_t i = 0; i < body->count && r->flow == FLOW_ON; i++) {
        const struct jinja_node *n = body->items[i];
        r->line = n->line;
        TRY(jinja_charge(r, 1));
        TRY(EXEC[n->kind](r, n));
    }
    r->depth--;
    return STATUS_OK;
}
