/*
 * Expressions of templates: precedence as in the reference parser (from loose to tight): if-else,
 * or, and, not, comparisons, + -, ~, * / // %, **, unary, then postfix, filters and tests.
 * Chains of one level are one node with many operands, so long chains do not nest.
 */
#include <string.h>

#include "trainer/text/jinja_internal.h"

bool jinja_at_op(const struct jinja_parser *p, const char *op)
{
    return p->token->type == TOKEN_OPERATOR && strcmp(p->token->op, op) == 0;
}

bool jinja_is_name(const struct jinja_token *t, const char *name)
{
    return t->type == TOKEN_NAME && strlen(name) == t->value.string->size
           && memcmp(t->value.string->data, name, t->value.string->size) == 0;
}

bool jinja_at_name(const struct jinja_parser *p, const char *name)
{
    return jinja_is_name(p->token, name);
}

bool jinja_skip_op(struct jinja_parser *p, const char *op)
{
    const bool here = jinja_at_op(p, op);
    p->token += here;
    return here;
}

bool jinja_skip_name(struct jinja_parser *p, const char *name)
{
    const bool here = jinja_at_name(p, name);
    p->token += here;
    return here;
}

void jinja_describe(const struct jinja_token *t, char out[64])
{
    static const char *const TEXT[] = {
        [TOKEN_END] = "end of template",
        [TOKEN_DATA] = "template text",
        [TOKEN_VARIABLE_BEGIN] = "begin of print statement",
        [TOKEN_VARIABLE_END] = "end of print statement",
        [TOKEN_BLOCK_BEGIN] = "begin of statement block",
        [TOKEN_BLOCK_END] = "end of statement block",
        [TOKEN_STRING] = "string",
        [TOKEN_INTEGER] = "integer",
        [TOKEN_FLOAT] = "float",
    };
    if (t->type == TOKEN_NAME) {
        const int n = t->value.string->size > 40 ? 40 : (int)t->value.string->size;
        (void)snprintf(out, 64, "%.*s", n, t->value.string->data);
    } else {
        (void)snprintf(out, 64, "%s", t->type == TOKEN_OPERATOR ? t->op : TEXT[t->type]);
    }
}

enum status jinja_expected(const struct jinja_parser *p, const char *what)
{
    char found[64];
    jinja_describe(p->token, found);
    return PARSE_FAIL(p, "expected '%s', found '%s'", what, found);
}

enum status jinja_expect_op(struct jinja_parser *p, const char *op)
{
    return jinja_skip_op(p, op) ? STATUS_OK : jinja_expected(p, op);
}

enum status jinja_expect_name(struct jinja_parser *p, const struct jinja_string **out)
{
    if (p->token->type != TOKEN_NAME) {
        return jinja_expected(p, "name");
    }
    const struct jinja_string *text = p->token->value.string;
    *out = jinja_intern(p->template, text->data, text->size);
    if (!*out) {
        return PARSE_FAIL(p, "no memory for a name");
    }
    p->token++;
    return STATUS_OK;
}

enum status jinja_node_new(struct jinja_parser *p, enum jinja_kind kind, struct jinja_node **out)
{
    struct jinja_node *n;
    TRY(jinja_alloc(&p->template->pool, sizeof *n, &n));
    *n = (struct jinja_node){.kind = kind, .line = p->token->line};
    *out = n;
    return STATUS_OK;
}

/* Capacity is the next power of two, so it need not be stored. */
enum status jinja_body_add(struct jinja_parser *p, struct jinja_body *body, struct jinja_node *node)
{
    const size_t n = body->count;
    if ((n & (n - 1)) == 0) { /* 0, 1, 2, 4, ...: full */
        struct jinja_node **grown;
        TRY(jinja_alloc(&p->template->pool, (n ? 2 * n : 1) * sizeof(struct jinja_node *), &grown));
        if (n > 0) {
            memcpy(grown, body->items, n * sizeof(struct jinja_node *));
        }
        body->items = grown;
    }
    body->items[body->count++] = node;
    return STATUS_OK;
}

static enum status op_add(struct jinja_parser *p, struct jinja_node *n, enum jinja_op op)
{
    const size_t count = n->items.count - 1; /* ops so far */
    enum jinja_op *grown = (enum jinja_op *)n->ops;
    if ((count & (count - 1)) == 0) {
        TRY(jinja_alloc(&p->template->pool, (count ? 2 * count : 1) * sizeof *grown, &grown));
        if (count > 0) {
            memcpy(grown, n->ops, count * sizeof *grown);
        }
        n->ops = grown;
    }
    grown[count] = op;
    return STATUS_OK;
}

enum status jinja_parse_enter(struct jinja_parser *p)
{
    if (p->depth >= JINJA_DEPTH) {
        return PARSE_FAIL(p, "nested more than %d deep", JINJA_DEPTH);
    }
    p->depth++;
    return STATUS_OK;
}

/* ---- Levels ---- */
typedef enum status (*level_fn)(struct jinja_parser *p, struct jinja_node **out);

/* Makes *node the first operand of a new node of `kind`. */
static enum status chain_start(struct jinja_parser *p, enum jinja_kind kind,
                               struct jinja_node **node)
{
    struct jinja_node *chain;
    TRY(jinja_node_new(p, kind, &chain));
    chain->line = (*node)->line;
    TRY(jinja_body_add(p, &chain->items, *node));
    *node = chain;
    return STATUS_OK;
}

static enum status chain_next(struct jinja_parser *p, struct jinja_node *chain, level_fn level)
{
    struct jinja_node *operand;
    TRY(level(p, &operand));
    return jinja_body_add(p, &chain->items, operand);
}

struct operator_row {
    const char *text;
    enum jinja_op op;
};

static const struct operator_row *operator_here(const struct jinja_parser *p,
                                                const struct operator_row *rows)
{
    for (; rows->text; rows++) {
        if (jinja_at_op(p, rows->text)) {
            return rows;
        }
    }
    return NULL;
}

/* level (op level)* as one MATH node. */
static enum status parse_math(struct jinja_parser *p, const struct operator_row *rows,
                              level_fn level, struct jinja_node **out)
{
    struct jinja_node *left;
    struct jinja_node *chain = NULL;
    TRY(level(p, &left));
    const struct operator_row *row;
    while ((row = operator_here(p, rows)) != NULL) {
        p->token++;
        if (!chain) {
            TRY(chain_start(p, NODE_MATH, &left));
            chain = left;
        }
        TRY(op_add(p, chain, row->op));
        TRY(chain_next(p, chain, level));
    }
    *out = left;
    return STATUS_OK;
}

static enum status parse_operand(struct jinja_parser *p, struct jinja_node **out)
{
    return jinja_parse_unary(p, true, out);
}

static enum status parse_power(struct jinja_parser *p, struct jinja_node **out)
{
    static const struct operator_row ROWS[] = {{"**", OP_POW}, {NULL, 0}};
    return parse_math(p, ROWS, parse_operand, out);
}

static enum status parse_product(struct jinja_parser *p, struct jinja_node **out)
{
    static const struct operator_row ROWS[] = {
        {"*", OP_MUL}, {"/", OP_DIV}, {"//", OP_FLOORDIV}, {"%", OP_MOD}, {NULL, 0}};
    return parse_math(p, ROWS, parse_power, out);
}

/* level (word level)* where `word` is an operator or a name. */
static enum status parse_chain(struct jinja_parser *p, enum jinja_kind kind, const char *word,
                               level_fn level, struct jinja_node **out)
{
    struct jinja_node *left;
    struct jinja_node *chain = NULL;
    TRY(level(p, &left));
    while (jinja_skip_op(p, word) || jinja_skip_name(p, word)) {
        if (!chain) {
            TRY(chain_start(p, kind, &left));
            chain = left;
        }
        TRY(chain_next(p, chain, level));
    }
    *out = left;
    return STATUS_OK;
}

static enum status parse_concat(struct jinja_parser *p, struct jinja_node **out)
{
    return parse_chain(p, NODE_CONCAT, "~", parse_product, out);
}

static enum status parse_sum(struct jinja_parser *p, struct jinja_node **out)
{
    static const struct operator_row ROWS[] = {{"+", OP_ADD}, {"-", OP_SUB}, {NULL, 0}};
    return parse_math(p, ROWS, parse_concat, out);
}

static bool comparison_here(struct jinja_parser *p, enum jinja_op *op)
{
    static const struct operator_row ROWS[] = {{"==", OP_EQ}, {"!=", OP_NE}, {"<=", OP_LE},
                                               {">=", OP_GE}, {"<", OP_LT},  {">", OP_GT},
                                               {NULL, 0}};
    const struct operator_row *row = operator_here(p, ROWS);
    if (row) {
        *op = row->op;
        p->token++;
        return true;
    }
    if (jinja_skip_name(p, "in")) {
        *op = OP_IN;
        return true;
    }
    if (jinja_at_name(p, "not") && jinja_is_name(p->token + 1, "in")) {
        p->token += 2;
        *op = OP_NOT_IN;
        return true;
    }
    return false;
}

static enum status parse_comparison(struct jinja_parser *p, struct jinja_node **out)
{
    struct jinja_node *left;
    struct jinja_node *chain = NULL;
    TRY(parse_sum(p, &left));
    enum jinja_op op;
    while (comparison_here(p, &op)) {
        if (!chain) {
            TRY(chain_start(p, NODE_COMPARE, &left));
            chain = left;
        }
        TRY(op_add(p, chain, op));
        TRY(chain_next(p, chain, parse_sum));
    }
    *out = left;
    return STATUS_OK;
}

static enum status parse_not(struct jinja_parser *p, struct jinja_node **out)
{
    if (!jinja_at_name(p, "not")) {
        return parse_comparison(p, out);
    }
    struct jinja_node *n;
    TRY(jinja_parse_enter(p));
    TRY(jinja_node_new(p, NODE_NOT, &n));
    p->token++;
    TRY(parse_not(p, &n->left));
    p->depth--;
    *out = n;
    return STATUS_OK;
}

static enum status parse_and(struct jinja_parser *p, struct jinja_node **out)
{
    return parse_chain(p, NODE_AND, "and", parse_not, out);
}

enum status jinja_parse_or(struct jinja_parser *p, struct jinja_node **out)
{
    return parse_chain(p, NODE_OR, "or", parse_and, out);
}

enum status jinja_parse_expression(struct jinja_parser *p, struct jinja_node **out)
{
    struct jinja_node *value;
    TRY(jinja_parse_enter(p));
    TRY(jinja_parse_or(p, &value));
    int conditions = 0;
    while (jinja_at_name(p, "if")) {
        TRY(jinja_parse_enter(p));
        conditions++;
        struct jinja_node *n;
        TRY(jinja_node_new(p, NODE_CONDITION, &n));
        p->token++;
        n->left = value;
        p->soft++;
        TRY(jinja_parse_or(p, &n->right));
        if (jinja_skip_name(p, "else")) {
            TRY(jinja_parse_expression(p, &n->third));
        }
        p->soft--;
        value = n;
    }
    p->depth -= 1 + conditions;
    *out = value;
    return STATUS_OK;
}
