/*
 * The tight end of template expressions: names, literals, brackets, and what follows a value
 * (.name, [index], (arguments), | filter, is test).
 */
#include <string.h>

#include "trainer/text/jinja_internal.h"

static enum status parse_postfix(struct jinja_parser *p, struct jinja_node *node,
                                 struct jinja_node **out);

static enum status parse_name(struct jinja_parser *p, bool namespaces, struct jinja_node **out)
{
    struct jinja_node *n;
    TRY(jinja_node_new(p, NODE_CONST, &n));
    *out = n;
    if (jinja_skip_name(p, "true") || jinja_skip_name(p, "True")) {
        n->value = jinja_bool(true);
        return STATUS_OK;
    }
    if (jinja_skip_name(p, "false") || jinja_skip_name(p, "False")) {
        n->value = jinja_bool(false);
        return STATUS_OK;
    }
    if (jinja_skip_name(p, "none") || jinja_skip_name(p, "None")) {
        n->value = jinja_none();
        return STATUS_OK;
    }
    TRY(jinja_expect_name(p, &n->name));
    n->kind = NODE_NAME;
    n->row = jinja_global_find(n->name->data, n->name->size);
    if (namespaces && jinja_skip_op(p, ".")) {
        n->kind = NODE_NAMESPACE_TARGET;
        return jinja_expect_name(p, &n->attribute);
    }
    const struct chat_template *t = p->template;
    p->uses |= (n->name == t->caller ? USES_CALLER : 0U)
               | (n->name == t->varargs ? USES_VARARGS : 0U)
               | (n->name == t->kwargs ? USES_KWARGS : 0U);
    return STATUS_OK;
}

/* Adjacent string literals are one. */
static enum status parse_strings(struct jinja_parser *p, struct jinja_node *n)
{
    n->value = p->token->value;
    p->token++;
    if (p->token->type != TOKEN_STRING) {
        return STATUS_OK;
    }
    struct jinja_buffer joined = {0};
    const struct jinja_string *first = n->value.string;
    enum status status = jinja_buffer_add(&joined, first->data, first->size);
    for (; status == STATUS_OK && p->token->type == TOKEN_STRING; p->token++) {
        const struct jinja_string *next = p->token->value.string;
        status = jinja_buffer_add(&joined, next->data, next->size);
    }
    if (status == STATUS_OK) {
        status = jinja_string_in(&p->template->pool, joined.data, joined.size, &n->value);
    }
    free(joined.data);
    return status;
}

static enum status parse_list(struct jinja_parser *p, struct jinja_node *n)
{
    n->kind = NODE_LIST;
    p->token++;
    while (!jinja_at_op(p, "]")) {
        struct jinja_node *item;
        if (n->items.count > 0) {
            TRY(jinja_expect_op(p, ","));
            if (jinja_at_op(p, "]")) {
                break;
            }
        }
        TRY(jinja_parse_expression(p, &item));
        TRY(jinja_body_add(p, &n->items, item));
    }
    return jinja_expect_op(p, "]");
}

static enum status parse_dict(struct jinja_parser *p, struct jinja_node *n)
{
    n->kind = NODE_DICT;
    p->token++;
    while (!jinja_at_op(p, "}")) {
        struct jinja_node *item;
        if (n->items.count > 0) {
            TRY(jinja_expect_op(p, ","));
            if (jinja_at_op(p, "}")) {
                break;
            }
        }
        TRY(jinja_parse_expression(p, &item));
        TRY(jinja_body_add(p, &n->items, item));
        TRY(jinja_expect_op(p, ":"));
        TRY(jinja_parse_expression(p, &item));
        TRY(jinja_body_add(p, &n->others, item));
    }
    return jinja_expect_op(p, "}");
}

static enum status parse_primary(struct jinja_parser *p, bool namespaces, struct jinja_node **out)
{
    if (p->token->type == TOKEN_NAME) {
        return parse_name(p, namespaces, out);
    }
    struct jinja_node *n;
    TRY(jinja_node_new(p, NODE_CONST, &n));
    *out = n;
    if (p->token->type == TOKEN_STRING) {
        return parse_strings(p, n);
    }
    if (p->token->type == TOKEN_INTEGER || p->token->type == TOKEN_FLOAT) {
        n->value = p->token->value;
        p->token++;
        return STATUS_OK;
    }
    if (jinja_at_op(p, "[")) {
        return parse_list(p, n);
    }
    if (jinja_at_op(p, "{")) {
        return parse_dict(p, n);
    }
    if (jinja_skip_op(p, "(")) {
        TRY(jinja_parse_tuple(p, (struct jinja_tuple_mode){.explicit_parentheses = true}, out));
        return jinja_expect_op(p, ")");
    }
    char found[64];
    jinja_describe(p->token, found);
    return PARSE_FAIL(p, "unexpected '%s'", found);
}

static bool tuple_ends(const struct jinja_parser *p, const char *name)
{
    return p->token->type == TOKEN_VARIABLE_END || p->token->type == TOKEN_BLOCK_END
           || jinja_at_op(p, ")") || (name && jinja_at_name(p, name));
}

static enum status tuple_item(struct jinja_parser *p, const struct jinja_tuple_mode *mode,
                              struct jinja_node **out)
{
    if (mode->simplified) {
        return parse_primary(p, mode->namespaces, out);
    }
    if (!mode->no_condition) {
        return jinja_parse_expression(p, out);
    }
    TRY(jinja_parse_enter(p));
    TRY(jinja_parse_or(p, out));
    p->depth--;
    return STATUS_OK;
}

enum status jinja_parse_tuple(struct jinja_parser *p, struct jinja_tuple_mode mode,
                              struct jinja_node **out)
{
    struct jinja_node *tuple;
    bool comma = false;
    TRY(jinja_parse_enter(p));
    TRY(jinja_node_new(p, NODE_TUPLE, &tuple));
    while (!tuple_ends(p, mode.end)) {
        struct jinja_node *item;
        TRY(tuple_item(p, &mode, &item));
        TRY(jinja_body_add(p, &tuple->items, item));
        if (!jinja_skip_op(p, ",")) {
            break;
        }
        comma = true;
    }
    p->depth--;
    if (comma || (tuple->items.count == 0 && mode.explicit_parentheses)) {
        *out = tuple;
        return STATUS_OK;
    }
    if (tuple->items.count == 0) {
        char found[64];
        jinja_describe(p->token, found);
        return PARSE_FAIL(p, "expected an expression, found '%s'", found);
    }
    *out = tuple->items.items[0];
    return STATUS_OK;
}

/* ---- Postfix: .name, [index], (arguments), | filter, is test ---- */
static enum status parse_bound(struct jinja_parser *p, struct jinja_node **out)
{
    if (jinja_at_op(p, ":") || jinja_at_op(p, "]") || jinja_at_op(p, ",")) {
        *out = NULL;
        return STATUS_OK;
    }
    return jinja_parse_expression(p, out);
}

/* "i", "a:b" or "a:b:c" between brackets: a SLICE keeps its bounds in left, right, third. */
static enum status parse_subscript(struct jinja_parser *p, struct jinja_node **out)
{
    struct jinja_node *slice;
    TRY(jinja_node_new(p, NODE_SLICE, &slice));
    TRY(parse_bound(p, &slice->left));
    if (!jinja_skip_op(p, ":")) {
        if (!slice->left) {
            return jinja_expected(p, "subscript expression");
        }
        *out = slice->left;
        return STATUS_OK;
    }
    TRY(parse_bound(p, &slice->right));
    if (jinja_skip_op(p, ":")) {
        TRY(parse_bound(p, &slice->third));
    }
    *out = slice;
    return STATUS_OK;
}

static enum status parse_item(struct jinja_parser *p, struct jinja_node *n)
{
    struct jinja_node *tuple;
    n->kind = NODE_ITEM;
    TRY(jinja_parse_enter(p));
    TRY(jinja_node_new(p, NODE_TUPLE, &tuple));
    while (!jinja_at_op(p, "]")) {
        struct jinja_node *part = NULL;
        if (tuple->items.count > 0) {
            TRY(jinja_expect_op(p, ","));
        }
        TRY(parse_subscript(p, &part));
        TRY(jinja_body_add(p, &tuple->items, part));
    }
    p->depth--;
    n->right = tuple->items.count == 1 ? tuple->items.items[0] : tuple;
    return jinja_expect_op(p, "]");
}

static enum status parse_attribute(struct jinja_parser *p, struct jinja_node *n)
{
    if (p->token->type == TOKEN_INTEGER) {
        n->kind = NODE_ITEM;
        TRY(jinja_node_new(p, NODE_CONST, &n->right));
        n->right->value = p->token->value;
        p->token++;
        return STATUS_OK;
    }
    n->kind = NODE_ATTRIBUTE;
    return jinja_expect_name(p, &n->name);
}

static enum status named_argument(struct jinja_parser *p, struct jinja_call *call)
{
    const size_t n = call->values.count;
    const struct jinja_string *name;
    struct jinja_node *value;
    TRY(jinja_expect_name(p, &name));
    TRY(jinja_expect_op(p, "="));
    TRY(jinja_parse_expression(p, &value));
    if ((n & (n - 1)) == 0) {
        const struct jinja_string **grown;
        TRY(jinja_alloc(&p->template->pool, (n ? 2 * n : 1) * sizeof(struct jinja_string *),
                        &grown));
        if (n > 0) {
            memcpy(grown, call->names, n * sizeof(struct jinja_string *));
        }
        call->names = grown;
    }
    call->names[n] = name;
    return jinja_body_add(p, &call->values, value);
}

static enum status parse_argument(struct jinja_parser *p, struct jinja_call *call)
{
    static const char WRONG[] = "invalid order of arguments";
    if (jinja_skip_op(p, "*")) {
        return call->star || call->star_star ? PARSE_FAIL(p, "%s", WRONG)
                                             : jinja_parse_expression(p, &call->star);
    }
    if (jinja_skip_op(p, "**")) {
        return call->star_star ? PARSE_FAIL(p, "%s", WRONG)
                               : jinja_parse_expression(p, &call->star_star);
    }
    const struct jinja_token *next = p->token + 1;
    if (p->token->type == TOKEN_NAME && next->type == TOKEN_OPERATOR
        && strcmp(next->op, "=") == 0) {
        return call->star_star ? PARSE_FAIL(p, "%s", WRONG) : named_argument(p, call);
    }
    if (call->star || call->star_star || call->values.count > 0) {
        return PARSE_FAIL(p, "%s", WRONG);
    }
    struct jinja_node *value;
    TRY(jinja_parse_expression(p, &value));
    return jinja_body_add(p, &call->pos, value);
}

static enum status parse_arguments(struct jinja_parser *p, struct jinja_call **out)
{
    struct jinja_call *call;
    TRY(jinja_alloc(&p->template->pool, sizeof *call, &call));
    *call = (struct jinja_call){0};
    TRY(jinja_parse_enter(p));
    TRY(jinja_expect_op(p, "("));
    bool first = true;
    while (!jinja_at_op(p, ")")) {
        if (!first) {
            TRY(jinja_expect_op(p, ","));
            if (jinja_at_op(p, ")")) {
                break;
            }
        }
        TRY(parse_argument(p, call));
        first = false;
    }
    p->depth--;
    *out = call;
    return jinja_expect_op(p, ")");
}

/* One of ".x", "[x]", "(x)" at the current token. */
static enum status parse_trailer(struct jinja_parser *p, struct jinja_node **node)
{
    struct jinja_node *n;
    TRY(jinja_node_new(p, NODE_CALL, &n));
    n->left = *node;
    *node = n;
    if (jinja_at_op(p, "(")) {
        return parse_arguments(p, &n->call);
    }
    return *p->token++->op == '.' ? parse_attribute(p, n) : parse_item(p, n);
}

static enum status parse_postfix(struct jinja_parser *p, struct jinja_node *node,
                                 struct jinja_node **out)
{
    while (jinja_at_op(p, ".") || jinja_at_op(p, "[") || jinja_at_op(p, "(")) {
        TRY(parse_trailer(p, &node));
    }
    *out = node;
    return STATUS_OK;
}

/* Name of a filter or test ("a" or "a.b") in n->name, its row in n->row. */
static enum status parse_row_name(struct jinja_parser *p, struct jinja_node *n)
{
    TRY(jinja_expect_name(p, &n->name));
    const bool filter = n->kind == NODE_FILTER;
    const struct jinja_string *s = n->name;
    n->row = filter ? jinja_filter_find(s->data, s->size) : jinja_test_find(s->data, s->size);
    if (jinja_at_op(p, ".") || (!n->row && p->soft == 0)) {
        return PARSE_FAIL(p, "no %s named '%.*s'", filter ? "filter" : "test", (int)s->size,
                          s->data);
    }
    return STATUS_OK;
}

enum status jinja_parse_filters(struct jinja_parser *p, struct jinja_node *node, bool inline_start,
                                struct jinja_node **out)
{
    while (inline_start || jinja_skip_op(p, "|")) {
        struct jinja_node *n;
        inline_start = false;
        TRY(jinja_node_new(p, NODE_FILTER, &n));
        n->left = node;
        TRY(parse_row_name(p, n));
        if (jinja_at_op(p, "(")) {
            TRY(parse_arguments(p, &n->call));
        }
        node = n;
    }
    *out = node;
    return STATUS_OK;
}

/* The argument of "is divisibleby 3" written without parentheses. */
static bool bare_argument(const struct jinja_parser *p)
{
    switch (p->token->type) {
    case TOKEN_NAME:
        return !jinja_at_name(p, "else") && !jinja_at_name(p, "or") && !jinja_at_name(p, "and");
    case TOKEN_STRING:
    case TOKEN_INTEGER:
    case TOKEN_FLOAT:
        return true;
    default:
        return jinja_at_op(p, "[") || jinja_at_op(p, "{");
    }
}

static enum status parse_test(struct jinja_parser *p, struct jinja_node **node)
{
    struct jinja_node *n;
    TRY(jinja_node_new(p, NODE_TEST, &n));
    n->left = *node;
    p->token++; /* is */
    const bool negated = jinja_skip_name(p, "not");
    TRY(parse_row_name(p, n));
    if (jinja_at_op(p, "(")) {
        TRY(parse_arguments(p, &n->call));
    } else if (bare_argument(p)) {
        if (jinja_at_name(p, "is")) {
            return PARSE_FAIL(p, "tests cannot be chained with 'is'");
        }
        struct jinja_node *argument;
        TRY(jinja_alloc(&p->template->pool, sizeof *n->call, &n->call));
        *n->call = (struct jinja_call){0};
        TRY(parse_primary(p, false, &argument));
        TRY(parse_postfix(p, argument, &argument));
        TRY(jinja_body_add(p, &n->call->pos, argument));
    }
    *node = n;
    if (negated) {
        TRY(jinja_node_new(p, NODE_NOT, node));
        (*node)->left = n;
    }
    return STATUS_OK;
}

static enum status parse_filters_and_tests(struct jinja_parser *p, struct jinja_node **node)
{
    for (;;) {
        if (jinja_at_op(p, "|")) {
            TRY(jinja_parse_filters(p, *node, false, node));
        } else if (jinja_at_name(p, "is")) {
            TRY(parse_test(p, node));
        } else if (jinja_at_op(p, "(")) {
            TRY(parse_trailer(p, node));
        } else {
            return STATUS_OK;
        }
    }
}

enum status jinja_parse_unary(struct jinja_parser *p, bool filters, struct jinja_node **out)
{
    struct jinja_node *node;
    if (jinja_at_op(p, "-") || jinja_at_op(p, "+")) {
        TRY(jinja_parse_enter(p));
        TRY(jinja_node_new(p, jinja_at_op(p, "-") ? NODE_NEGATE : NODE_PLUS, &node));
        p->token++;
        TRY(jinja_parse_unary(p, false, &node->left));
        p->depth--;
    } else {
        TRY(parse_primary(p, false, &node));
    }
    TRY(parse_postfix(p, node, &node));
    if (filters) {
        TRY(parse_filters_and_tests(p, &node));
    }
    *out = node;
    return STATUS_OK;
}
