/*
 * Private to the jinja_*.c files and chat_template.c: values, nodes and the state of a render.
 *
 * Everything a render makes (strings, lists, scopes) comes from one pool that is freed as a whole;
 * everything a template is made of lives in the template's pool and is never written after
 * chat_template_open, so one template may be rendered by several threads.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/status.h"
#include "trainer/text/chat_template.h"

enum {
    JINJA_DEPTH = 200,       /* nested blocks or brackets of the source; nested macro calls */
    JINJA_EVAL_DEPTH = 1600, /* nodes under evaluation at once: bounds the C stack */
    JINJA_VALUE_DEPTH = 200, /* nesting of lists and objects */
    JINJA_STEPS = 10000000,
    JINJA_BYTES_PER_STEP = 64, /* handling this many bytes counts as a step */
    JINJA_OUTPUT = 64 << 20,   /* bytes of output, and of any one string */
    JINJA_RANGE = 100000,      /* as the reference sandbox */
    JINJA_ARGS = 6             /* named parameters of a built-in */
};
#define JINJA_MEMORY ((size_t)1 << 30)

/* ---- Pool: memory of one lifetime ---- */
struct jinja_chunk;
struct jinja_pool {
    struct jinja_chunk *chunks;
    char *top;
    size_t left;
    size_t used; /* bytes reserved in all chunks */
};

/* *out = `bytes` uninitialised bytes, 16-byte aligned. Fails with INPUT beyond JINJA_MEMORY, MEMORY
 * when there is none. */
MUST_USE enum status jinja_alloc(struct jinja_pool *p, size_t bytes, void *out);
void jinja_pool_close(struct jinja_pool *p);

/* Growing bytes on the heap; capped at JINJA_OUTPUT. Zero-initialise; free data. */
struct jinja_buffer {
    char *data;
    size_t size;
    size_t capacity;
};
MUST_USE enum status jinja_buffer_add(struct jinja_buffer *b, const char *data, size_t size);

/* ---- Values ---- */
enum jinja_type {
    JINJA_MISSING, /* an argument that was not given; never seen by a template */
    JINJA_UNDEFINED,
    JINJA_NONE,
    JINJA_BOOL,
    JINJA_INT,
    JINJA_FLOAT,
    JINJA_STRING,
    JINJA_LIST,
    JINJA_TUPLE,
    JINJA_DICT,
    JINJA_RANGE_TYPE,
    JINJA_VIEW, /* dict.keys(), .values(), .items() */
    JINJA_ITER, /* generator or reversed iterator: consumed once */
    JINJA_NAMESPACE,
    JINJA_MACRO,
    JINJA_METHOD,
    JINJA_FUNCTION,
    JINJA_LOOP,
    JINJA_CYCLER,
    JINJA_JOINER
};

struct jinja_string {
    const char *data; /* [size] valid UTF-8 */
    size_t size;
    int64_t chars; /* code points */
};

struct jinja_value {
    enum jinja_type type;
    bool markup; /* STRING: marked safe; what is added to it is escaped */
    union {
        bool boolean;
        int64_t integer;
        double real;
        const struct jinja_string *string;
        struct jinja_list *list; /* LIST, TUPLE */
        struct jinja_dict *dict; /* DICT, NAMESPACE */
        struct jinja_range *range;
        struct jinja_view *view;
        struct jinja_iter *iter;
        const struct jinja_undefined *undefined;
        struct jinja_macro *macro;
        struct jinja_method *method;
        const struct jinja_row *function;
        struct jinja_loop *loop;
        struct jinja_cycler *cycler;
        struct jinja_joiner *joiner;
    };
};

struct jinja_list {
    struct jinja_value *items; /* [count] */
    size_t count;
    size_t capacity;
    int depth;  /* nesting below this list: 0 when it holds scalars only */
    bool group; /* a groupby pair: .grouper and .list */
};
struct jinja_entry {
    struct jinja_value key;
    struct jinja_value value;
    uint32_t hash;
};
struct jinja_dict {
    struct jinja_entry *entries; /* [count] in order of insertion */
    size_t count;
    size_t capacity;
    int depth;
};
struct jinja_range {
    int64_t start, stop, step, count;
};
enum jinja_view_kind { VIEW_KEYS, VIEW_VALUES, VIEW_ITEMS };
struct jinja_view {
    struct jinja_dict *dict;
    enum jinja_view_kind kind;
};
struct jinja_undefined {
    const char *hint;          /* whole message, or NULL */
    const char *owner;         /* type of the object that lacks it, or NULL */
    struct jinja_value name;   /* what was looked up */
};
struct jinja_macro {
    const struct jinja_node *node;
    struct jinja_scope *scope; /* where it was defined */
};
struct jinja_method {
    struct jinja_value self;
    const struct jinja_row *row;
};
struct jinja_cycler {
    struct jinja_list items;
    size_t at;
};
struct jinja_joiner {
    struct jinja_value separator;
    bool used;
};

/* ---- Calls ---- */
struct jinja_named {
    const struct jinja_string *name;
    struct jinja_value value;
};
struct jinja_args {
    const struct jinja_value *pos; /* [count] */
    size_t count;
    const struct jinja_named *named; /* [named_count] */
    size_t named_count;
};
struct jinja_invocation {
    struct jinja_value self;            /* filtered value, tested value or owner of the method */
    struct jinja_value arg[JINJA_ARGS]; /* by the row's parameters; MISSING where not given */
    const struct jinja_args *raw;
};
struct jinja_render;
typedef enum status (*jinja_fn)(struct jinja_render *r, const struct jinja_invocation *in,
                                struct jinja_value *out);
/* A built-in filter, test, method or function. `params`: names in order, '!' after a required one;
 * NULL: it reads in->raw itself. */
struct jinja_row {
    const char *name;
    const char *params;
    jinja_fn fn;
};

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
/* The template's identifier `data[size]`, added when `add`; NULL when absent (or no memory). */
const struct jinja_string *jinja_intern(struct chat_template *t, const char *data, size_t size);
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
MUST_USE enum status jinja_parse(struct chat_template *t, const struct jinja_token *tokens);

/* Expressions, shared by the statement parser. */
struct jinja_tuple_mode {
    bool simplified;  /* names and literals only: an assignment target */
    bool namespaces;  /* targets may be a.b */
    bool no_condition;
    bool explicit_parentheses;
    const char *end; /* a name that also ends the tuple, or NULL */
};
MUST_USE enum status jinja_parse_tuple(struct jinja_parser *p, struct jinja_tuple_mode mode,
                                       struct jinja_node **out);
MUST_USE enum status jinja_parse_expression(struct jinja_parser *p, struct jinja_node **out);
/* "| filter" chain on `node` (NULL: the body of a block); `inline_start`: the first name follows
 * without a bar. */
MUST_USE enum status jinja_parse_filters(struct jinja_parser *p, struct jinja_node *node,
                                         bool inline_start, struct jinja_node **out);
/* Without if-else. */
MUST_USE enum status jinja_parse_or(struct jinja_parser *p, struct jinja_node **out);
MUST_USE enum status jinja_parse_unary(struct jinja_parser *p, bool filters,
                                       struct jinja_node **out);
/* One level deeper; the caller lowers p->depth when done. */
MUST_USE enum status jinja_parse_enter(struct jinja_parser *p);
/* Fails: expected `what`, found the current token. */
enum status jinja_expected(const struct jinja_parser *p, const char *what);
bool jinja_is_name(const struct jinja_token *t, const char *name);
MUST_USE enum status jinja_node_new(struct jinja_parser *p, enum jinja_kind kind,
                                    struct jinja_node **out);
MUST_USE enum status jinja_body_add(struct jinja_parser *p, struct jinja_body *body,
                                    struct jinja_node *node);
bool jinja_at_op(const struct jinja_parser *p, const char *op);
bool jinja_at_name(const struct jinja_parser *p, const char *name);
bool jinja_skip_op(struct jinja_parser *p, const char *op);
bool jinja_skip_name(struct jinja_parser *p, const char *name);
MUST_USE enum status jinja_expect_op(struct jinja_parser *p, const char *op);
MUST_USE enum status jinja_expect_name(struct jinja_parser *p, const struct jinja_string **out);
/* A token in words, for messages: "end of statement block". */
void jinja_describe(const struct jinja_token *t, char out[64]);
#define PARSE_FAIL(p, ...) jinja_source_fail(__FILE__, __LINE__, (p)->token->line, __VA_ARGS__)
enum status jinja_source_fail(const char *file, int code_line, int line, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* ---- Render ---- */
struct jinja_var {
    const struct jinja_string *name;
    struct jinja_value value;
};
struct jinja_scope {
    struct jinja_scope *parent;
    struct jinja_var *vars; /* [count] */
    size_t count;
    size_t capacity;
};
enum jinja_flow { FLOW_ON, FLOW_BREAK, FLOW_CONTINUE };
struct jinja_render {
    struct jinja_pool pool;
    const struct chat_template *template;
    struct jinja_scope *scope;
    struct jinja_buffer *out; /* where output goes now */
    struct jinja_buffer root; /* the template's own output */
    struct template_span *spans;
    int64_t span_count;
    int64_t span_capacity;
    int64_t steps;
    int64_t now;
    int depth; /* nodes under evaluation */
    int calls; /* macros under evaluation */
    int line;
    enum jinja_flow flow;
    struct jinja_value block_text; /* what the filters of a block are about to work on */
};
#define RAISE(r, ...) jinja_raise((r), __FILE__, __LINE__, __VA_ARGS__)
/* INPUT with "chat template, line N: " in front. */
enum status jinja_raise(const struct jinja_render *r, const char *file, int line, const char *fmt,
                        ...) __attribute__((format(printf, 4, 5)));
/* Counts `steps`; fails with INPUT at the limit. */
MUST_USE enum status jinja_charge(struct jinja_render *r, size_t steps);
/* Counts the handling of `bytes`. */
MUST_USE enum status jinja_charge_bytes(struct jinja_render *r, size_t bytes);

/* ---- jinja_value.c ---- */
MUST_USE enum status jinja_string_in(struct jinja_pool *p, const char *data, size_t size,
                                     struct jinja_value *out);
/* Copies, counts the bytes, keeps to JINJA_OUTPUT. */
MUST_USE enum status jinja_string_new(struct jinja_render *r, const char *data, size_t size,
                                      struct jinja_value *out);
/* `size` writable bytes for a string to be finished by jinja_string_wrap. */
MUST_USE enum status jinja_string_reserve(struct jinja_render *r, size_t size, char **data);
/* A string over pool bytes that stay (no copy). */
MUST_USE enum status jinja_string_wrap(struct jinja_render *r, const char *data, size_t size,
                                       struct jinja_value *out);
/* A string from a NUL-terminated literal. */
MUST_USE enum status jinja_string_literal(struct jinja_render *r, const char *text,
                                          struct jinja_value *out);
/* Hands the buffer's bytes over as a string and frees the buffer, failed or not. */
MUST_USE enum status jinja_string_take(struct jinja_render *r, struct jinja_buffer *b,
                                       struct jinja_value *out);
MUST_USE enum status jinja_list_new(struct jinja_render *r, enum jinja_type type,
                                    struct jinja_value *out);
MUST_USE enum status jinja_list_push(struct jinja_render *r, struct jinja_list *list,
                                     const struct jinja_value *v);
MUST_USE enum status jinja_pair_new(struct jinja_render *r, const struct jinja_value *a,
                                    const struct jinja_value *b, struct jinja_value *out);
MUST_USE enum status jinja_dict_new(struct jinja_render *r, enum jinja_type type,
                                    struct jinja_value *out);
/* Inserts or replaces. Fails with INPUT when the key is unhashable. */
MUST_USE enum status jinja_dict_set(struct jinja_render *r, struct jinja_dict *d,
                                    const struct jinja_value *key, const struct jinja_value *value);
/* *found = the entry's value, NULL when absent; NULL for unhashable keys too. */
MUST_USE enum status jinja_dict_get(struct jinja_render *r, const struct jinja_dict *d,
                                    const struct jinja_value *key,
                                    const struct jinja_value **found);
MUST_USE enum status jinja_undefined_new(struct jinja_render *r, const char *hint,
                                         const char *owner, const struct jinja_value *name,
                                         struct jinja_value *out);
/* Fails with the message of an undefined value. */
enum status jinja_undefined_fail(struct jinja_render *r, const struct jinja_value *v);
/* Nesting of v: values deeper than JINJA_VALUE_DEPTH are never made, so recursion over one is safe.
 * A namespace counts as 0: it is mutable and may hold itself. */
int jinja_nesting(const struct jinja_value *v);
const char *jinja_type_name(const struct jinja_value *v);
bool jinja_truth(const struct jinja_value *v);
bool jinja_hashable(const struct jinja_value *v);
bool jinja_is_int(const struct jinja_value *v, int64_t *out); /* INT or BOOL */
bool jinja_is_number(const struct jinja_value *v, double *out);
struct jinja_value jinja_bool(bool b);
struct jinja_value jinja_int(int64_t i);
struct jinja_value jinja_real(double d);
struct jinja_value jinja_none(void);

/* ---- jinja_compare.c ---- */
MUST_USE enum status jinja_equal(struct jinja_render *r, const struct jinja_value *a,
                                 const struct jinja_value *b, bool *out);
/* *out = a < b; INPUT when the types have no order. */
MUST_USE enum status jinja_less(struct jinja_render *r, const struct jinja_value *a,
                                const struct jinja_value *b, bool *out);
MUST_USE enum status jinja_compare(struct jinja_render *r, enum jinja_op op,
                                   const struct jinja_value *a, const struct jinja_value *b,
                                   bool *out);
/* *out = item in box. */
MUST_USE enum status jinja_contains(struct jinja_render *r, const struct jinja_value *box,
                                    const struct jinja_value *item, bool *out);
/* Stable order of items by keys[i] (parallel arrays of `count`). */
MUST_USE enum status jinja_sort(struct jinja_render *r, struct jinja_value *items,
                                struct jinja_value *keys, size_t count, bool reverse);

/* ---- jinja_repr.c, jinja_json.c ---- */
MUST_USE enum status jinja_str(struct jinja_render *r, const struct jinja_value *v,
                               struct jinja_buffer *out);
MUST_USE enum status jinja_repr(struct jinja_render *r, const struct jinja_value *v,
                                struct jinja_buffer *out);
/* str(v) as a string value; a string is returned as it is. */
MUST_USE enum status jinja_to_string(struct jinja_render *r, const struct jinja_value *v,
                                     struct jinja_value *out);
/* Shortest text that reads back as `d`, as the reference prints it. */
void jinja_float_text(double d, char out[40]);
/* From JSON. */
MUST_USE enum status jinja_from_json(struct jinja_render *r, const json_t *json, int depth,
                                     struct jinja_value *out);
enum status jinja_filter_tojson(struct jinja_render *r, const struct jinja_invocation *in,
                                struct jinja_value *out);

/* ---- jinja_unicode.c ---- */
/* Code point at p (valid UTF-8, at least one byte); *length = its bytes. */
uint32_t jinja_char(const char *p, size_t *length);
size_t jinja_char_put(uint32_t c, char out[4]);
int64_t jinja_char_count(const char *p, size_t size);
/* Byte offset of code point `index` (<= count). */
size_t jinja_char_offset(const struct jinja_string *s, int64_t index);
bool jinja_valid_utf8(const char *p, size_t size);
bool jinja_space(uint32_t c);
bool jinja_line_break(uint32_t c);
bool jinja_alpha(uint32_t c);
bool jinja_digit(uint32_t c);
bool jinja_numeric(uint32_t c);
bool jinja_lower_case(uint32_t c);
bool jinja_upper_case(uint32_t c);
bool jinja_word(uint32_t c);      /* \w */
bool jinja_printable(uint32_t c); /* shown by repr as it is */
enum jinja_case { CASE_UPPER, CASE_LOWER, CASE_TITLE, CASE_FOLD };
/* Full case mapping of one code point: 1 to 3 of them. */
int jinja_case_map(uint32_t c, enum jinja_case to, uint32_t out[3]);
/* Code points with upper-case mappings of several code points: jinja_case.c. */
struct jinja_case_row {
    uint16_t from;
    uint16_t upper[3];
    uint16_t title[3];
};
const struct jinja_case_row *jinja_case_find(uint32_t c);

/* ---- jinja_iter.c ---- */
/* What a lazy map or select does with each item. */
struct jinja_task {
    struct jinja_value attribute; /* path to take first; MISSING: none */
    struct jinja_value fallback;  /* for missing attributes; MISSING or None: none */
    const struct jinja_row *row;  /* filter or test to apply; NULL: truth, or nothing for map */
    const char *unknown;          /* name of a filter or test that does not exist, or NULL */
    struct jinja_args args;
    bool map;    /* yield the result instead of choosing by it */
    bool reject;
};
struct jinja_iter {
    struct jinja_value source;   /* LIST, TUPLE, STRING, DICT, RANGE, VIEW; ITER: its iterator */
    const char *type_name;       /* "generator", ... */
    size_t at;                   /* items (bytes of a string) already handed out */
    int depth;                   /* iterators below this one */
    bool running;                /* drawing an item: may not be drawn from inside that */
    bool reverse;
    const struct jinja_task *task;
    const struct jinja_node *filter; /* for ... if: the FOR node */
    struct jinja_scope *scope;       /* where the filter is evaluated */
};
/* Starts iterating; fails with INPUT when v is not iterable. An ITER is shared, not copied. */
MUST_USE enum status jinja_iter_open(struct jinja_render *r, const struct jinja_value *v,
                                     struct jinja_iter **out);
/* *more = false at the end. */
MUST_USE enum status jinja_iter_next(struct jinja_render *r, struct jinja_iter *it,
                                     struct jinja_value *out, bool *more);
bool jinja_iterable(const struct jinja_value *v);
/* len(v); -1 when it has none. */
int64_t jinja_length(const struct jinja_value *v);
/* list(v). */
MUST_USE enum status jinja_collect(struct jinja_render *r, const struct jinja_value *v,
                                   struct jinja_value *out);
/* Item `index` of a list, tuple, range or string, 0 <= index < length. */
MUST_USE enum status jinja_sequence_at(struct jinja_render *r, const struct jinja_value *v,
                                       int64_t index, struct jinja_value *out);
MUST_USE enum status jinja_iter_value(struct jinja_render *r, const struct jinja_value *source,
                                      const char *type_name, struct jinja_value *out);

/* ---- jinja_ops.c, jinja_access.c ---- */
/* *out must be neither a nor b. */
MUST_USE enum status jinja_math(struct jinja_render *r, enum jinja_op op,
                                const struct jinja_value *a, const struct jinja_value *b,
                                struct jinja_value *out);
MUST_USE enum status jinja_negate(struct jinja_render *r, const struct jinja_value *v, bool minus,
                                  struct jinja_value *out);
MUST_USE enum status jinja_escape(struct jinja_render *r, const struct jinja_value *v,
                                  struct jinja_value *out);
/* v.name: method or attribute first, then item. */
MUST_USE enum status jinja_get_attribute(struct jinja_render *r, const struct jinja_value *v,
                                         const struct jinja_value *name, struct jinja_value *out);
/* v[key]: item first, then attribute. */
MUST_USE enum status jinja_get_item(struct jinja_render *r, const struct jinja_value *v,
                                    const struct jinja_value *key, struct jinja_value *out);
/* v[bounds[0]:bounds[1]:bounds[2]]; MISSING or None: default. */
MUST_USE enum status jinja_get_slice(struct jinja_render *r, const struct jinja_value *v,
                                     const struct jinja_value bounds[3], struct jinja_value *out);
/* Attribute path "a.0.b" or index, for map(attribute=...). */
MUST_USE enum status jinja_get_path(struct jinja_render *r, const struct jinja_value *v,
                                    const struct jinja_value *path,
                                    const struct jinja_value *fallback, struct jinja_value *out);

/* ---- jinja_call.c ---- */
MUST_USE enum status jinja_call_value(struct jinja_render *r, const struct jinja_value *callee,
                                      const struct jinja_args *args, struct jinja_value *out);
/* Binds and runs a built-in. */
MUST_USE enum status jinja_invoke(struct jinja_render *r, const struct jinja_row *row,
                                  const struct jinja_value *self, const struct jinja_args *args,
                                  struct jinja_value *out);
const struct jinja_row *jinja_row_find(const struct jinja_row *rows, const char *name, size_t size);
const struct jinja_row *jinja_filter_find(const char *name, size_t size);
const struct jinja_row *jinja_test_find(const char *name, size_t size);
const struct jinja_row *jinja_global_find(const char *name, size_t size);
/* Argument helpers: MISSING gives the fallback; INPUT on another type. */
MUST_USE enum status jinja_arg_int(struct jinja_render *r, const struct jinja_value *v,
                                   const char *what, int64_t fallback, int64_t *out);
MUST_USE enum status jinja_arg_string(struct jinja_render *r, const struct jinja_value *v,
                                      const char *what, const struct jinja_string **out);
extern const struct jinja_row JINJA_FILTERS_TEXT[], JINJA_FILTERS_LIST[], JINJA_FILTERS_NUMBER[], JINJA_FILTERS_SORT[];
extern const struct jinja_row JINJA_TESTS[], JINJA_GLOBALS[];
extern const struct jinja_row JINJA_METHODS_STR[], JINJA_METHODS_STR2[], JINJA_METHODS_LIST[];
extern const struct jinja_row JINJA_METHODS_DICT[], JINJA_METHODS_LOOP[], JINJA_METHODS_CYCLER[];

/* ---- jinja_text.c: string work shared by filters and methods; results keep v's markup ---- */
/* Appends c, the code point at byte `at` of s, in another case (its neighbours decide on the small
 * form of a final sigma). */
MUST_USE enum status jinja_case_add(struct jinja_buffer *text, const struct jinja_string *s,
                                    size_t at, uint32_t c, enum jinja_case to);
MUST_USE enum status jinja_text_case(struct jinja_render *r, const struct jinja_value *v,
                                     enum jinja_case to, struct jinja_value *out);
/* First character title case, the rest lower. */
MUST_USE enum status jinja_text_capitalize(struct jinja_render *r, const struct jinja_value *v,
                                           struct jinja_value *out);
/* `chars`: MISSING or None for whitespace. */
MUST_USE enum status jinja_text_strip(struct jinja_render *r, const struct jinja_value *v,
                                      const struct jinja_value *chars, bool left, bool right,
                                      struct jinja_value *out);
/* The first `count` occurrences, all when negative. */
MUST_USE enum status jinja_text_replace(struct jinja_render *r, const struct jinja_value *v,
                                        const struct jinja_string *from,
                                        const struct jinja_string *to, int64_t count,
                                        struct jinja_value *out);
/* To `width` code points with `fill`; align '<', '>' or '^' (as str.center). */
MUST_USE enum status jinja_text_pad(struct jinja_render *r, const struct jinja_value *v,
                                    int64_t width, uint32_t fill, char align,
                                    struct jinja_value *out);
/* List of lines, with their ends when `keep`. */
MUST_USE enum status jinja_text_lines(struct jinja_render *r, const struct jinja_value *v,
                                      bool keep, struct jinja_value *out);
/* str.split and str.rsplit; `separator`: MISSING or None for whitespace; limit < 0: all. */
MUST_USE enum status jinja_text_split(struct jinja_render *r, const struct jinja_value *v,
                                      const struct jinja_value *separator, int64_t limit,
                                      bool from_right, struct jinja_value *out);
/* *out = byte offset of the last occurrence of `part`, SIZE_MAX when absent. */
MUST_USE enum status jinja_text_find_last(struct jinja_render *r, const struct jinja_string *box,
                                          const struct jinja_string *part, size_t *out);
/* Bytes [begin, end) of v as a string of its own. */
MUST_USE enum status jinja_text_part(struct jinja_render *r, const struct jinja_value *v,
                                     size_t begin, size_t end, struct jinja_value *out);
/* separator.join(str(item) for item in items); `strict`: items that are no strings are an error. */
MUST_USE enum status jinja_text_join(struct jinja_render *r, const struct jinja_string *separator,
                                     const struct jinja_value *items, bool strict,
                                     struct jinja_value *out);

/* ---- jinja_format.c, jinja_time.c ---- */
/* format % argument. */
MUST_USE enum status jinja_percent(struct jinja_render *r, const struct jinja_value *format,
                                   const struct jinja_value *argument, struct jinja_value *out);
/* format.format(*args, **kwargs). */
enum status jinja_method_format(struct jinja_render *r, const struct jinja_invocation *in,
                                struct jinja_value *out);
struct jinja_spec {
    uint32_t fill;
    char align; /* '<', '>', '^', '=' or 0 */
    char sign;  /* '+', ' ' or '-' */
    bool alternate;
    char grouping; /* ',' or '_' or 0 */
    int64_t width;
    int64_t precision; /* -1: none */
    char type;         /* 0: none */
};
MUST_USE enum status jinja_format_spec(struct jinja_render *r, const struct jinja_value *v,
                                       const struct jinja_spec *spec, struct jinja_buffer *out);
MUST_USE enum status jinja_strftime(struct jinja_render *r, const struct jinja_string *format,
                                    struct jinja_value *out);

/* ---- jinja_eval.c, jinja_exec.c, jinja_loop.c ---- */
MUST_USE enum status jinja_eval(struct jinja_render *r, const struct jinja_node *n,
                                struct jinja_value *out);
/* Evaluates arguments into pool arrays. */
MUST_USE enum status jinja_eval_args(struct jinja_render *r, const struct jinja_call *call,
                                     struct jinja_args *out);
MUST_USE enum status jinja_exec(struct jinja_render *r, const struct jinja_body *body);
/* Runs `body` with its output captured as a string. */
MUST_USE enum status jinja_capture(struct jinja_render *r, const struct jinja_body *body,
                                   struct jinja_value *out);
MUST_USE enum status jinja_scope_open(struct jinja_render *r, struct jinja_scope *parent,
                                      struct jinja_scope **out);
MUST_USE enum status jinja_scope_set(struct jinja_render *r, struct jinja_scope *s,
                                     const struct jinja_string *name, const struct jinja_value *v);
/* Assigns to a target node in the current scope. */
MUST_USE enum status jinja_assign(struct jinja_render *r, const struct jinja_node *target,
                                  const struct jinja_value *v);
MUST_USE enum status jinja_exec_for(struct jinja_render *r, const struct jinja_node *n);
/* Attribute of `loop`; *found = false when there is no such one. */
MUST_USE enum status jinja_loop_attribute(struct jinja_render *r, struct jinja_loop *l,
                                          const struct jinja_string *name, struct jinja_value *out,
                                          bool *found);
/* loop(children) of a recursive loop. */
MUST_USE enum status jinja_loop_call(struct jinja_render *r, struct jinja_loop *l,
                                     const struct jinja_args *args, struct jinja_value *out);
MUST_USE enum status jinja_loop_text(struct jinja_render *r, struct jinja_loop *l,
                                     struct jinja_buffer *out);
