/* Statements of templates: token list to a tree of nodes, all in the template's pool. */
#include <string.h>

#include "trainer/text/jinja_internal.h"

static enum status parse_body(struct jinja_parser *p, const char *const *ends,
                              struct jinja_body *body);

static enum status expect_type(struct jinja_parser *p, enum jinja_token_type type)
{
    if (p->token->type != type) {
        char found[64];
        const struct jinja_token wanted = {.type = type};
        jinja_describe(&wanted, found);
        return jinja_expected(p, found);
    }
    p->token++;
    return STATUS_OK;
}

static bool at_any(const struct jinja_parser *p, const char *const *names)
{
    for (; *names; names++) {
        if (jinja_at_name(p, *names)) {
            return true;
        }
    }
    return false;
}

/* "%}" of the opening tag, then statements up to one of `ends`, at which the parser stops. */
static enum status parse_block(struct jinja_parser *p, const char *const *ends,
                               struct jinja_body *body)
{
    (void)jinja_skip_op(p, ":");
    TRY(expect_type(p, TOKEN_BLOCK_END));
    const int line = p->token->line;
    TRY(jinja_parse_enter(p));
    TRY(parse_body(p, ends, body));
    p->depth--;
    if (p->token->type == TOKEN_END) {
        return jinja_source_fail(__FILE__, __LINE__, line,
                                 "the block that begins here has no '{%% %s %%}'", ends[0]);
    }
    return STATUS_OK;
}

/* As parse_block with one end, which is taken. */
static enum status parse_block_to(struct jinja_parser *p, const char *end, struct jinja_body *body)
{
    const char *const ends[] = {end, NULL};
    TRY(parse_block(p, ends, body));
    p->token++;
    return STATUS_OK;
}

static enum status assignable(const struct jinja_parser *p, const struct jinja_node *n)
{
    if (n->kind == NODE_TUPLE) {
        for (size_t i = 0; i < n->items.count; i++) {
            TRY(assignable(p, n->items.items[i]));
        }
        return STATUS_OK;
    }
    if (n->kind != NODE_NAME && n->kind != NODE_NAMESPACE_TARGET) {
        return PARSE_FAIL(p, "the target of an assignment must be a name");
    }
    return STATUS_OK;
}

static enum status parse_target(struct jinja_parser *p, struct jinja_tuple_mode mode,
                                struct jinja_node **out)
{
    const unsigned uses = p->uses; /* assigning a name does not use it */
    mode.simplified = true;
    TRY(jinja_parse_tuple(p, mode, out));
    p->uses = uses;
    return assignable(p, *out);
}

static enum status parse_set(struct jinja_parser *p, struct jinja_node *n)
{
    n->kind = NODE_SET;
    TRY(parse_target(p, (struct jinja_tuple_mode){.namespaces = true}, &n->left));
    if (jinja_skip_op(p, "=")) {
        return jinja_parse_tuple(p, (struct jinja_tuple_mode){0}, &n->right);
    }
    n->kind = NODE_SET_BLOCK;
    TRY(jinja_parse_filters(p, NULL, false, &n->right));
    return parse_block_to(p, "endset", &n->body);
}

static enum status parse_for(struct jinja_parser *p, struct jinja_node *n)
{
    static const char *const ENDS[] = {"endfor", "else", NULL};
    n->kind = NODE_FOR;
    TRY(parse_target(p, (struct jinja_tuple_mode){.end = "in"}, &n->left));
    if (n->left->name == p->template->loop) {
        return PARSE_FAIL(p, "a for loop may not assign to 'loop'");
    }
    if (!jinja_skip_name(p, "in")) {
        return jinja_expected(p, "in");
    }
    TRY(jinja_parse_tuple(p, (struct jinja_tuple_mode){.no_condition = true, .end = "recursive"},
                          &n->right));
    if (jinja_skip_name(p, "if")) {
        TRY(jinja_parse_expression(p, &n->third));
    }
    n->recursive = jinja_skip_name(p, "recursive");
    p->loops++;
    TRY(parse_block(p, ENDS, &n->body));
    p->loops--;
    const bool orelse = jinja_at_name(p, "else");
    p->token++;
    return orelse ? parse_block_to(p, "endfor", &n->orelse) : STATUS_OK;
}

static enum status parse_if(struct jinja_parser *p, struct jinja_node *n)
{
    static const char *const ENDS[] = {"endif", "elif", "else", NULL};
    n->kind = NODE_IF;
    p->soft++;
    for (;;) {
        struct jinja_node *branch;
        TRY(jinja_node_new(p, NODE_IF, &branch));
        TRY(jinja_parse_tuple(p, (struct jinja_tuple_mode){.no_condition = true}, &branch->left));
        TRY(parse_block(p, ENDS, &branch->body));
        TRY(jinja_body_add(p, &n->items, branch));
        if (!jinja_skip_name(p, "elif")) {
            break;
        }
    }
    const bool orelse = jinja_at_name(p, "else");
    p->token++;
    if (orelse) {
        TRY(parse_block_to(p, "endif", &n->orelse));
    }
    p->soft--;
    return STATUS_OK;
}

/* "(a, b=1)": names in items, defaults of the last ones in others. */
static enum status parse_signature(struct jinja_parser *p, struct jinja_node *n)
{
    TRY(jinja_expect_op(p, "("));
    while (!jinja_at_op(p, ")")) {
        struct jinja_node *parameter;
        if (n->items.count > 0) {
            TRY(jinja_expect_op(p, ","));
        }
        TRY(jinja_node_new(p, NODE_NAME, &parameter));
        TRY(jinja_expect_name(p, &parameter->name));
        TRY(jinja_body_add(p, &n->items, parameter));
        if (jinja_skip_op(p, "=")) {
            struct jinja_node *value;
            TRY(jinja_parse_expression(p, &value));
            TRY(jinja_body_add(p, &n->others, value));
        } else if (n->others.count > 0) {
            return PARSE_FAIL(p, "a parameter without default after one with");
        }
    }
    return jinja_expect_op(p, ")");
}

/* Body of a macro or call block: what it uses of caller, varargs and kwargs; the enclosing macro
 * uses them too, as the reference has it. */
static enum status parse_macro_body(struct jinja_parser *p, const char *end, struct jinja_node *n)
{
    const unsigned uses = p->uses;
    const int loops = p->loops;
    p->uses = 0;
    p->loops = 0;
    TRY(parse_block_to(p, end, &n->body));
    n->uses = p->uses;
    p->uses |= uses;
    p->loops = loops;
    return STATUS_OK;
}

static enum status parse_macro(struct jinja_parser *p, struct jinja_node *n)
{
    n->kind = NODE_MACRO;
    TRY(jinja_expect_name(p, &n->name));
    TRY(parse_signature(p, n));
    return parse_macro_body(p, "endmacro", n);
}

static enum status parse_call_block(struct jinja_parser *p, struct jinja_node *n)
{
    n->kind = NODE_CALL_BLOCK;
    if (jinja_at_op(p, "(")) {
        TRY(parse_signature(p, n));
    }
    TRY(jinja_parse_expression(p, &n->left));
    if (n->left->kind != NODE_CALL) {
        return PARSE_FAIL(p, "expected a call");
    }
    return parse_macro_body(p, "endcall", n);
}

static enum status parse_filter_block(struct jinja_parser *p, struct jinja_node *n)
{
    n->kind = NODE_FILTER_BLOCK;
    TRY(jinja_parse_filters(p, NULL, true, &n->right));
    return parse_block_to(p, "endfilter", &n->body);
}

static enum status parse_with(struct jinja_parser *p, struct jinja_node *n)
{
    n->kind = NODE_WITH;
    while (p->token->type != TOKEN_BLOCK_END) {
        struct jinja_node *part;
        if (n->items.count > 0) {
            TRY(jinja_expect_op(p, ","));
        }
        TRY(parse_target(p, (struct jinja_tuple_mode){.end = "="}, &part));
        TRY(jinja_body_add(p, &n->items, part));
        TRY(jinja_expect_op(p, "="));
        TRY(jinja_parse_expression(p, &part));
        TRY(jinja_body_add(p, &n->others, part));
    }
    return parse_block_to(p, "endwith", &n->body);
}

static enum status parse_generation(struct jinja_parser *p, struct jinja_node *n)
{
    n->kind = NODE_GENERATION;
    return parse_block_to(p, "endgeneration", &n->body);
}

static enum status parse_print(struct jinja_parser *p, struct jinja_node *n)
{
    n->kind = NODE_PRINT;
    while (p->token->type != TOKEN_BLOCK_END) {
        struct jinja_node *part;
        if (n->items.count > 0) {
            TRY(jinja_expect_op(p, ","));
        }
        TRY(jinja_parse_expression(p, &part));
        TRY(jinja_body_add(p, &n->items, part));
    }
    return STATUS_OK;
}

static enum status parse_jump(struct jinja_parser *p, struct jinja_node *n)
{
    n->kind = jinja_is_name(p->token - 1, "break") ? NODE_BREAK : NODE_CONTINUE;
    if (p->loops == 0) {
        return PARSE_FAIL(p, "'%s' outside of a loop",
                          n->kind == NODE_BREAK ? "break" : "continue");
    }
    return STATUS_OK;
}

/* include, import, from, extends: there is nothing to load from; an error only when reached. */
static enum status parse_unsupported(struct jinja_parser *p, struct jinja_node *n)
{
    n->kind = NODE_UNSUPPORTED;
    n->value = p->token[-1].value;
    while (p->token->type != TOKEN_BLOCK_END && p->token->type != TOKEN_END) {
        p->token++;
    }
    return STATUS_OK;
}

static const struct {
    const char *name;
    enum status (*parse)(struct jinja_parser *p, struct jinja_node *n);
} STATEMENTS[] = {
    {"if", parse_if},
    {"for", parse_for},
    {"set", parse_set},
    {"macro", parse_macro},
    {"call", parse_call_block},
    {"filter", parse_filter_block},
    {"with", parse_with},
    {"generation", parse_generation},
    {"print", parse_print},
    {"break", parse_jump},
    {"continue", parse_jump},
    {"include", parse_unsupported},
    {"import", parse_unsupported},
    {"from", parse_unsupported},
    {"extends", parse_unsupported},
};

static enum status parse_statement(struct jinja_parser *p, struct jinja_node **out)
{
    for (size_t i = 0; i < sizeof STATEMENTS / sizeof STATEMENTS[0]; i++) {
        if (jinja_at_name(p, STATEMENTS[i].name)) {
            TRY(jinja_node_new(p, NODE_PRINT, out));
            p->token++;
            TRY(STATEMENTS[i].parse(p, *out));
            return expect_type(p, TOKEN_BLOCK_END);
        }
    }
    char found[64];
    jinja_describe(p->token, found);
    return PARSE_FAIL(p, "unknown tag '%s'", found);
}

/* "{{ expression }}", the opening taken. */
static enum status parse_variable(struct jinja_parser *p, struct jinja_node **out)
{
    struct jinja_node *value;
    TRY(jinja_node_new(p, NODE_PRINT, out));
    TRY(jinja_parse_tuple(p, (struct jinja_tuple_mode){0}, &value));
    TRY(jinja_body_add(p, &(*out)->items, value));
    return expect_type(p, TOKEN_VARIABLE_END);
}

static enum status parse_data(struct jinja_parser *p, struct jinja_node **out)
{
    TRY(jinja_node_new(p, NODE_DATA, out));
    (*out)->value = p->token->value;
    p->token++;
    return STATUS_OK;
}

/* Statements up to a tag named in `ends` (its name is the current token then), or the end. */
static enum status parse_body(struct jinja_parser *p, const char *const *ends,
                              struct jinja_body *body)
{
    while (p->token->type != TOKEN_END) {
        struct jinja_node *n;
        if (p->token->type == TOKEN_DATA) {
            TRY(parse_data(p, &n));
        } else if (p->token->type == TOKEN_VARIABLE_BEGIN) {
            p->token++;
            TRY(parse_variable(p, &n));
        } else {
            TRY(expect_type(p, TOKEN_BLOCK_BEGIN));
            if (ends && at_any(p, ends)) {
                return STATUS_OK;
            }
            TRY(parse_statement(p, &n));
        }
        TRY(jinja_body_add(p, body, n));
    }
    return STATUS_OK;
}

enum status jinja_parse(struct chat_template *t, const struct jinja_token *tokens)
{
    struct jinja_parser p = {.template = t, .token = tokens};
    return parse_body(&p, NULL, &t->body);
}
