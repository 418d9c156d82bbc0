/* Expressions: nodes to values. One function a kind, in a table. */
#include <stdarg.h>
#include <string.h>

#include "trainer/text/jinja_internal.h"

enum status jinja_raise(const struct jinja_render *r, const char *file, int line, const char *fmt,
                        ...)
{
    char text[1024];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return status_fail(STATUS_INPUT, file, line, "chat template, line %d: %s", r->line, text);
}

enum status jinja_charge(struct jinja_render *r, size_t steps)
{
    if (steps > (size_t)(JINJA_STEPS - r->steps)) {
        return RAISE(r, "more than %d steps; the template loops too long for these messages",
                     JINJA_STEPS);
    }
    r->steps += (int64_t)steps;
    return STATUS_OK;
}

enum status jinja_charge_bytes(struct jinja_render *r, size_t bytes)
{
    return jinja_charge(r, bytes / JINJA_BYTES_PER_STEP);
}

static enum status eval_const(struct jinja_render *r, const struct jinja_node *n,
                              struct jinja_value *out)
{
    (void)r;
    *out = n->value;
    return STATUS_OK;
}

static enum status eval_name(struct jinja_render *r, const struct jinja_node *n,
                             struct jinja_value *out)
{
    for (const struct jinja_scope *s = r->scope; s; s = s->parent) {
        for (size_t i = s->count; i-- > 0;) {
            if (s->vars[i].name == n->name) {
                *out = s->vars[i].value;
                return STATUS_OK;
            }
        }
    }
    if (n->row) {
        *out = (struct jinja_value){.type = JINJA_FUNCTION, .function = n->row};
        return STATUS_OK;
    }
    const struct jinja_value name = {.type = JINJA_STRING, .string = n->name};
    return jinja_undefined_new(r, NULL, NULL, &name, out);
}

static enum status eval_sequence(struct jinja_render *r, const struct jinja_node *n,
                                 struct jinja_value *out)
{
    struct jinja_value list;
    TRY(jinja_list_new(r, n->kind == NODE_LIST ? JINJA_LIST : JINJA_TUPLE, &list));
    for (size_t i = 0; i < n->items.count; i++) {
        struct jinja_value v;
        TRY(jinja_eval(r, n->items.items[i], &v));
        TRY(jinja_list_push(r, list.list, &v));
    }
    *out = list;
    return STATUS_OK;
}

static enum status eval_dict(struct jinja_render *r, const struct jinja_node *n,
                             struct jinja_value *out)
{
    struct jinja_value dict;
    TRY(jinja_dict_new(r, JINJA_DICT, &dict));
    for (size_t i = 0; i < n->items.count; i++) {
        struct jinja_value key;
        struct jinja_value value;
        TRY(jinja_eval(r, n->items.items[i], &key));
        TRY(jinja_eval(r, n->others.items[i], &value));
        TRY(jinja_dict_set(r, dict.dict, &key, &value));
    }
    *out = dict;
    return STATUS_OK;
}

static enum status eval_condition(struct jinja_render *r, const struct jinja_node *n,
                                  struct jinja_value *out)
{
    struct jinja_value test;
    TRY(jinja_eval(r, n->right, &test));
    if (jinja_truth(&test)) {
        return jinja_eval(r, n->left, out);
    }
    if (n->third) {
        return jinja_eval(r, n->third, out);
    }
    return jinja_undefined_new(r,
                               "the inline if-expression evaluated to false and no else section "
                               "was defined",
                               NULL, NULL, out);
}

/* a or b or c: the first true one, else the last; "and" the other way round. */
static enum status eval_logic(struct jinja_render *r, const struct jinja_node *n,
                              struct jinja_value *out)
{
    for (size_t i = 0; i < n->items.count; i++) {
        TRY(jinja_eval(r, n->items.items[i], out));
        if (jinja_truth(out) == (n->kind == NODE_OR)) {
            return STATUS_OK;
        }
    }
    return STATUS_OK;
}

static enum status eval_not(struct jinja_render *r, const struct jinja_node *n,
                            struct jinja_value *out)
{
    struct jinja_value v;
    TRY(jinja_eval(r, n->left, &v));
    *out = jinja_bool(!jinja_truth(&v));
    return STATUS_OK;
}

/* a < b < c means a < b and b < c, each operand evaluated once. */
static enum status eval_compare(struct jinja_render *r, const struct jinja_node *n,
                                struct jinja_value *out)
{
    struct jinja_value left;
    bool result = true;
    TRY(jinja_eval(r, n->items.items[0], &left));
    for (size_t i = 1; i < n->items.count && result; i++) {
        struct jinja_value right;
        TRY(jinja_eval(r, n->items.items[i], &right));
        TRY(jinja_compare(r, n->ops[i - 1], &left, &right, &result));
        left = right;
    }
    *out = jinja_bool(result);
    return STATUS_OK;
}

static enum status eval_math(struct jinja_render *r, const struct jinja_node *n,
                             struct jinja_value *out)
{
    struct jinja_value left;
    TRY(jinja_eval(r, n->items.items[0], &left));
    for (size_t i = 1; i < n->items.count; i++) {
        struct jinja_value right;
        struct jinja_value result;
        TRY(jinja_eval(r, n->items.items[i], &right));
        TRY(jinja_math(r, n->ops[i - 1], &left, &right, &result));
        left = result;
    }
    *out = left;
    return STATUS_OK;
}

static enum status concat_parts(struct jinja_render *r, const struct jinja_node *n,
                                struct jinja_buffer *text)
{
    for (size_t i = 0; i < n->items.count; i++) {
        struct jinja_value v;
        TRY(jinja_eval(r, n->items.items[i], &v));
        TRY(jinja_str(r, &v, text));
    }
    return STATUS_OK;
}

static enum status eval_concat(struct jinja_render *r, const struct jinja_node *n,
                               struct jinja_value *out)
{
    struct jinja_buffer text = {0};
    const enum status status = concat_parts(r, n, &text);
    if (status != STATUS_OK) {
        free(text.data);
        return status;
    }
    return jinja_string_take(r, &text, out);
}

static enum status eval_sign(struct jinja_render *r, const struct jinja_node *n,
                             struct jinja_value *out)
{
    struct jinja_value v;
    TRY(jinja_eval(r, n->left, &v));
    return jinja_negate(r, &v, n->kind == NODE_NEGATE, out);
}

static enum status eval_attribute(struct jinja_render *r, const struct jinja_node *n,
                                  struct jinja_value *out)
{
    struct jinja_value v;
    const struct jinja_value name = {.type = JINJA_STRING, .string = n->name};
    TRY(jinja_eval(r, n->left, &v));
    r->line = n->line;
    return jinja_get_attribute(r, &v, &name, out);
}

static enum status eval_slice(struct jinja_render *r, const struct jinja_node *n,
                              const struct jinja_value *v, struct jinja_value *out)
{
    const struct jinja_node *const parts[3] = {n->left, n->right, n->third};
    struct jinja_value bounds[3];
    for (int i = 0; i < 3; i++) {
        bounds[i] = jinja_none();
        if (parts[i]) {
            TRY(jinja_eval(r, parts[i], &bounds[i]));
        }
    }
    return jinja_get_slice(r, v, bounds, out);
}

static enum status eval_item(struct jinja_render *r, const struct jinja_node *n,
                             struct jinja_value *out)
{
    struct jinja_value v;
    struct jinja_value key;
    TRY(jinja_eval(r, n->left, &v));
    if (n->right->kind == NODE_SLICE) {
        return eval_slice(r, n->right, &v, out);
    }
    TRY(jinja_eval(r, n->right, &key));
    r->line = n->line;
    return jinja_get_item(r, &v, &key, out);
}

/* Only reached for "a[1:2, 3]", which no value here understands. */
static enum status eval_stray(struct jinja_render *r, const struct jinja_node *n,
                              struct jinja_value *out)
{
    (void)n;
    (void)out;
    return RAISE(r, "a slice among several indices is not supported");
}

static enum status push_all(struct jinja_render *r, struct jinja_list *list,
                            const struct jinja_value *more)
{
    struct jinja_value items;
    TRY(jinja_collect(r, more, &items));
    for (size_t i = 0; i < items.list->count; i++) {
        TRY(jinja_list_push(r, list, &items.list->items[i]));
    }
    return STATUS_OK;
}

/* **more: the keys that no code names cannot matter to macros, but built-ins must refuse them, so
 * each key becomes a name of its own. */
static enum status named_all(struct jinja_render *r, const struct jinja_value *more,
                             struct jinja_named *named, size_t *count)
{
    for (size_t i = 0; i < more->dict->count; i++) {
        const struct jinja_entry *e = &more->dict->entries[i];
        if (e->key.type != JINJA_STRING) {
            return RAISE(r, "keywords must be strings");
        }
        const struct jinja_string *key = e->key.string;
        const struct jinja_string *known = jinja_name_find(r->template, key->data, key->size);
        named[(*count)++] = (struct jinja_named){known ? known : key, e->value};
    }
    return STATUS_OK;
}

enum status jinja_eval_args(struct jinja_render *r, const struct jinja_call *call,
                            struct jinja_args *out)
{
    *out = (struct jinja_args){0};
    if (!call) {
        return STATUS_OK; /* a filter or test without parentheses */
    }
    struct jinja_value pos;
    TRY(jinja_list_new(r, JINJA_LIST, &pos));
    for (size_t i = 0; i < call->pos.count; i++) {
        struct jinja_value v;
        TRY(jinja_eval(r, call->pos.items[i], &v));
        TRY(jinja_list_push(r, pos.list, &v));
    }
    struct jinja_value star = {0};
    if (call->star) {
        TRY(jinja_eval(r, call->star, &star));
        TRY(push_all(r, pos.list, &star));
    }
    size_t capacity = call->values.count + 1; /* one to spare for "caller" */
    struct jinja_value more = {0};
    if (call->star_star) {
        TRY(jinja_eval(r, call->star_star, &more));
        if (more.type != JINJA_DICT) {
            return RAISE(r, "argument after ** must be a mapping, not %s", jinja_type_name(&more));
        }
        capacity += more.dict->count;
    }
    struct jinja_named *named;
    TRY(jinja_alloc(&r->pool, capacity * sizeof *named, &named));
    size_t count = 0;
    for (; count < call->values.count; count++) {
        named[count].name = call->names[count];
        TRY(jinja_eval(r, call->values.items[count], &named[count].value));
    }
    if (call->star_star) {
        TRY(named_all(r, &more, named, &count));
    }
    *out = (struct jinja_args){pos.list->items, pos.list->count, named, count};
    return STATUS_OK;
}

static enum status eval_call(struct jinja_render *r, const struct jinja_node *n,
                             struct jinja_value *out)
{
    struct jinja_value callee;
    struct jinja_args args;
    TRY(jinja_eval(r, n->left, &callee));
    TRY(jinja_eval_args(r, n->call, &args));
    r->line = n->line;
    return jinja_call_value(r, &callee, &args, out);
}

/* value | filter(...) and value is test(...). */
static enum status eval_row(struct jinja_render *r, const struct jinja_node *n,
                            struct jinja_value *out)
{
    struct jinja_value v = r->block_text;
    struct jinja_args args;
    if (n->left) {
        TRY(jinja_eval(r, n->left, &v));
    }
    r->line = n->line;
    if (!n->row) {
        return RAISE(r, "no %s named '%.*s'", n->kind == NODE_FILTER ? "filter" : "test",
                     (int)n->name->size, n->name->data);
    }
    TRY(jinja_eval_args(r, n->call, &args));
    r->line = n->line;
    return jinja_invoke(r, n->row, &v, &args, out);
}

typedef enum status (*eval_fn)(struct jinja_render *r, const struct jinja_node *n,
                               struct jinja_value *out);

static const eval_fn EVAL[] = {
    [NODE_CONST] = eval_const,       [NODE_NAME] = eval_name,
    [NODE_LIST] = eval_sequence,     [NODE_TUPLE] = eval_sequence,
    [NODE_DICT] = eval_dict,         [NODE_CONDITION] = eval_condition,
    [NODE_OR] = eval_logic,          [NODE_AND] = eval_logic,
    [NODE_NOT] = eval_not,           [NODE_COMPARE] = eval_compare,
    [NODE_MATH] = eval_math,         [NODE_CONCAT] = eval_concat,
    [NODE_NEGATE] = eval_sign,       [NODE_PLUS] = eval_sign,
    [NODE_ATTRIBUTE] = eval_attribute, [NODE_ITEM] = eval_item,
    [NODE_SLICE] = eval_stray,       [NODE_CALL] = eval_call,
    [NODE_FILTER] = eval_row,        [NODE_TEST] = eval_row,
};

enum status jinja_eval(struct jinja_render *r, const struct jinja_node *n, struct jinja_value *out)
{
    ASSERT(n->kind <= NODE_TEST);
    if (r->depth >= JINJA_EVAL_DEPTH) {
        return RAISE(r, "evaluation nested more than %d deep", JINJA_EVAL_DEPTH);
    }
    r->depth++;
    r->line = n->line;
    TRY(jinja_charge(r, 1));
    TRY(EVAL[n->kind](r, n, out));
    r->depth--;
    return STATUS_OK;
}
