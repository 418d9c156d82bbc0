/* Private to the jinja_*.c files: what a template's text becomes (tokens, nodes) and its parser. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/status.h"
#include "trainer/text/jinja_value_internal.h"

/* ---- Nodes ---- */
enum jinja_kind {
    NODE_CONST,
    NODE_NAME,
    NODE_LIST,
    NODE_TUPLE,
    NODE_DICT,
    NODE_CONDITION,
    NODE_OR,
    NODE_AND,
    NODE_NOT,
    NODE_COMPARE,
    NODE_MATH,
    NODE_CONCAT,
    NODE_NEGATE,
    NODE_PLUS,
    NODE_ATTRIBUTE,
    NODE_ITEM,
    NODE_SLICE,
    NODE_CALL,
    NODE_FILTER,
    NODE_TEST,
    NODE_NAMESPACE_TARGET, /* the last kind of expression */
    NODE_DATA,
    NODE_PRINT,
    NODE_IF,
    NODE_FOR,
    NODE_SET,
    NODE_SET_BLOCK,
    NODE_MACRO,
    NODE_CALL_BLOCK,
    NODE_FILTER_BLOCK,
    NODE_WITH,
    NODE_GENERATION,
    NODE_BREAK,
    NODE_CONTINUE,
    NODE_UNSUPPORTED,
    NODE_KINDS
};
enum jinja_op {
    OP_ADD,
    OP_SUB,
    OP_MUL,
    OP_DIV,
    OP_FLOORDIV,
    OP_MOD,
    OP_POW,
    OP_EQ,
    OP_NE,
    OP_LT,
    OP_LE,
    OP_GT,
    OP_GE,
    OP_IN,
    OP_NOT_IN
};
/* What the body of a macro uses besides its parameters. */
enum { USES_CALLER = 1, USES_VARARGS = 2, USES_KWARGS = 4 };

struct jinja_body {
    struct jinja_node **items; /* [count] */
    size_t count;
};
struct jinja_call {
    struct jinja_body pos;
    struct jinja_body values; /* of the named arguments */
    const struct jinja_string **names;
    struct jinja_node *star;      /* *args or NULL */
    struct jinja_node *star_star; /* **kwargs or NULL */
};
struct jinja_node {
    enum jinja_kind kind;
    int line;
    struct jinja_value value;        /* CONST, DATA */
    const struct jinja_string *name; /* NAME, ATTRIBUTE, FILTER, TEST, MACRO, NAMESPACE_TARGET */
    const struct jinja_string *attribute; /* NAMESPACE_TARGET */
    const struct jinja_row *row;     /* FILTER, TEST; NULL: unknown, an error when reached; NAME:
                                        the global of that name, if any */
    struct jinja_node *left;   /* operand, callee, filtered (NULL: body of the block); FOR, SET:
                                  target; CONDITION: value; SLICE: start */
    struct jinja_node *right;  /* ITEM: index; CONDITION: test; FOR: iterable; SET: value; SLICE:
                                  stop; SET_BLOCK, FILTER_BLOCK: filters or NULL */
    struct jinja_node *third;  /* CONDITION: else; SLICE: step; FOR: filter */
    struct jinja_body items;   /* operands; DICT: keys; WITH: targets; MACRO: parameters; IF:
                                  branches, each an IF node with its test in left and its body */
    struct jinja_body others;  /* DICT, WITH: values; MACRO: defaults of the last parameters */
    const enum jinja_op *ops;  /* MATH, COMPARE: ops[i] stands before items[i + 1] */
    struct jinja_call *call;   /* CALL, FILTER, TEST; NULL: no arguments */
    struct jinja_body body;
    struct jinja_body orelse;
    unsigned uses;  /* MACRO, CALL_BLOCK: USES_* */
    bool recursive; /* FOR */
};

/* ---- Tokens ---- */
enum jinja_token_type {
    TOKEN_END,
    TOKEN_DATA,
    TOKEN_VARIABLE_BEGIN,
    TOKEN_VARIABLE_END,
    TOKEN_BLOCK_BEGIN,
    TOKEN_BLOCK_END,
    TOKEN_NAME,
    TOKEN_STRING,
    TOKEN_INTEGER,
    TOKEN_FLOAT,
    TOKEN_OPERATOR
};
struct jinja_token {
    enum jinja_token_type type;
    int line;
    char op[3];               /* OPERATOR: "+", "**", ... */
    struct jinja_value value; /* DATA, NAME, STRING: string; INTEGER, FLOAT */
};

/* Splits a template of valid UTF-8 into tokens with whitespace control applied; *tokens ends with
 * TOKEN_END. Fails with INPUT naming the line. */
MUST_USE enum status jinja_lex(struct jinja_pool *p, const char *source, size_t size,
                               const struct jinja_token **tokens);

/* *out = value of the string literal text (without quotes): escapes as in the reference. */
MUST_USE enum status jinja_unescape(struct jinja_pool *p, const char *text, size_t size, int line,
                                    struct jinja_value *out);

/* ---- Template and parser ---- */
enum { JINJA_BUCKETS = 64 };
struct jinja_name_link {
    struct jinja_string name;
    struct jinja_name_link *next;
};
struct chat_template {
    struct jinja_pool pool;
    struct jinja_name_link *names[JINJA_BUCKETS]; /* identifiers: equal names, equal pointers */
    struct jinja_body body;
    const char *source;
    const struct jinja_string *loop, *caller, *varargs, *kwargs;
};
/* The template's identifier `data[size]`, added when absent; NULL: no memory. */
const struct jinja_string *jinja_intern(struct chat_template *t, const char *data, size_t size);
/* The same without adding; NULL when absent. */
const struct jinja_string *jinja_name_find(const struct chat_template *t, const char *data,
                                           size_t size);

struct jinja_parser {
    struct chat_template *template;
    const struct jinja_token *token; /* current */
    int depth;
    int soft;      /* > 0 inside an if: unknown filters fail when reached, not when parsed */
    int loops;     /* enclosing for loops of this macro */
    unsigned uses; /* USES_* seen in this macro */
};
/* Tokens (up to the end token) to t->body. INPUT with line and what was found, MEMORY. */
MUST_USE enum status jinja_parse(struct chat_template *t, const struct jinja_token *tokens);

/* Expressions, shared by the statement parser. */
struct jinja_tuple_mode {
    bool simplified;  /* names and literals only: an assignment target */
    bool namespaces;  /* targets may be a.b */
    bool no_condition;
    bool explicit_parentheses;
    const char *end; /* a name that also ends the tuple, or NULL */
};
/* One expression, or a NODE_TUPLE when commas follow; the mode says what may stand in it. */
MUST_USE enum status jinja_parse_tuple(struct jinja_parser *p, struct jinja_tuple_mode mode,
                                       struct jinja_node **out);
/* One expression, with if-else. */
MUST_USE enum status jinja_parse_expression(struct jinja_parser *p, struct jinja_node **out);
/* "| filter" chain on `node` (NULL: the body of a block); `inline_start`: the first name follows
 * without a bar. */
MUST_USE enum status jinja_parse_filters(struct jinja_parser *p, struct jinja_node *node,
                                         bool inline_start, struct jinja_node **out);
/* Without if-else. */
MUST_USE enum status jinja_parse_or(struct jinja_parser *p, struct jinja_node **out);
/* A sign or a primary with its postfix parts; then its filters when `filters`. */
MUST_USE enum status jinja_parse_unary(struct jinja_parser *p, bool filters,
                                       struct jinja_node **out);
/* One level deeper; the caller lowers p->depth when done. */
MUST_USE enum status jinja_parse_enter(struct jinja_parser *p);
/* Fails: expected `what`, found the current token. */
enum status jinja_expected(const struct jinja_parser *p, const char *what);
/* True when the token is the identifier `name`. */
bool jinja_is_name(const struct jinja_token *t, const char *name);
/* A zeroed node with the current token's line. */
MUST_USE enum status jinja_node_new(struct jinja_parser *p, enum jinja_kind kind,
                                    struct jinja_node **out);
/* Appends a node; the array grows in the template's pool. */
MUST_USE enum status jinja_body_add(struct jinja_parser *p, struct jinja_body *body,
                                    struct jinja_node *node);
/* True when the current token is this operator. */
bool jinja_at_op(const struct jinja_parser *p, const char *op);
/* True when the current token is this identifier. */
bool jinja_at_name(const struct jinja_parser *p, const char *name);
/* Steps over the operator when it stands here; tells whether it did. */
bool jinja_skip_op(struct jinja_parser *p, const char *op);
/* Steps over the identifier when it stands here; tells whether it did. */
bool jinja_skip_name(struct jinja_parser *p, const char *name);
/* Steps over the operator; INPUT when another token stands here. */
MUST_USE enum status jinja_expect_op(struct jinja_parser *p, const char *op);
/* Steps over an identifier, interned into *out; INPUT when another token stands here. */
MUST_USE enum status jinja_expect_name(struct jinja_parser *p, const struct jinja_string **out);
/* A token in words, for messages: "end of statement block". */
void jinja_describe(const struct jinja_token *t, char out[64]);
#define PARSE_FAIL(p, ...) jinja_source_fail(__FILE__, __LINE__, (p)->token->line, __VA_ARGS__)
/* INPUT with "chat template, line N: " in front; `file` and `code_line` are for the trace. */
enum status jinja_source_fail(const char *file, int code_line, int line, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
