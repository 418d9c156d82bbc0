/*
 * Private to the jinja_*.c files and chat_template.c: the state of a render and what works on it.
 * Functions that can fail return INPUT with the template's line in the message, or MEMORY.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/status.h"
#include "trainer/text/chat_template.h"
#include "trainer/text/jinja_source_internal.h"
#include "trainer/text/jinja_text_internal.h"
#include "trainer/text/jinja_value_internal.h"

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
/* An empty LIST or TUPLE in the pool. */
MUST_USE enum status jinja_list_new(struct jinja_render *r, enum jinja_type type,
                                    struct jinja_value *out);
/* Appends a copy of v, a step of the budget. INPUT when v nests too deeply. */
MUST_USE enum status jinja_list_push(struct jinja_render *r, struct jinja_list *list,
                                     const struct jinja_value *v);
/* The tuple (a, b). */
MUST_USE enum status jinja_pair_new(struct jinja_render *r, const struct jinja_value *a,
                                    const struct jinja_value *b, struct jinja_value *out);
/* An empty DICT or NAMESPACE in the pool; entries keep the order they came in. */
MUST_USE enum status jinja_dict_new(struct jinja_render *r, enum jinja_type type,
                                    struct jinja_value *out);
/* keys(), values() or items() of `d`. */
MUST_USE enum status jinja_view_new(struct jinja_render *r, struct jinja_dict *d,
                                    enum jinja_view_kind kind, struct jinja_value *out);
/* Inserts or replaces. Fails with INPUT when the key is unhashable. */
MUST_USE enum status jinja_dict_set(struct jinja_render *r, struct jinja_dict *d,
                                    const struct jinja_value *key, const struct jinja_value *value);
/* *found = the entry's value, NULL when absent; NULL for unhashable keys too. */
MUST_USE enum status jinja_dict_get(struct jinja_render *r, const struct jinja_dict *d,
                                    const struct jinja_value *key,
                                    const struct jinja_value **found);
/* An undefined value: `hint` says what was looked up, or `owner` (a type) lacks `name`. The texts
 * are borrowed. */
MUST_USE enum status jinja_undefined_new(struct jinja_render *r, const char *hint,
                                         const char *owner, const struct jinja_value *name,
                                         struct jinja_value *out);
/* Fails with the message of an undefined value. */
enum status jinja_undefined_fail(struct jinja_render *r, const struct jinja_value *v);
/* Nesting of v: values deeper than JINJA_VALUE_DEPTH are never made, so recursion over one is safe.
 * A namespace counts as 0: it is mutable and may hold itself. */
int jinja_nesting(const struct jinja_value *v);
/* Python's name of the type ("str", "NoneType"), for messages. */
const char *jinja_type_name(const struct jinja_value *v);
/* bool(v) as Python has it; undefined is false. */
bool jinja_truth(const struct jinja_value *v);
/* False for lists, dicts and tuples that hold one. */
bool jinja_hashable(const struct jinja_value *v);
bool jinja_is_int(const struct jinja_value *v, int64_t *out); /* INT or BOOL */
bool jinja_is_number(const struct jinja_value *v, double *out);
/* The value true or false. */
struct jinja_value jinja_bool(bool b);
/* An integer value. */
struct jinja_value jinja_int(int64_t i);
/* A float value. */
struct jinja_value jinja_real(double d);
/* The value None. */
struct jinja_value jinja_none(void);

/* ---- jinja_compare.c ---- */
MUST_USE enum status jinja_equal(struct jinja_render *r, const struct jinja_value *a,
                                 const struct jinja_value *b, bool *out);
/* *out = a < b; INPUT when the types have no order. */
MUST_USE enum status jinja_less(struct jinja_render *r, const struct jinja_value *a,
                                const struct jinja_value *b, bool *out);
/* *out = a op b for the comparison operators, in and not in. INPUT when the types have no order. */
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
/* Appends repr(v). INPUT when values nest too deeply. */
MUST_USE enum status jinja_repr(struct jinja_render *r, const struct jinja_value *v,
                                struct jinja_buffer *out);
/* str(v) as a string value; a string is returned as it is. */
MUST_USE enum status jinja_to_string(struct jinja_render *r, const struct jinja_value *v,
                                     struct jinja_value *out);
/* Shortest text that reads back as `d`, as the reference prints it. */
void jinja_float_text(double d, char out[JINJA_NUMBER]);
/* From JSON. */
MUST_USE enum status jinja_from_json(struct jinja_render *r, const json_t *json, int depth,
                                     struct jinja_value *out);
/* The filter tojson(ensure_ascii, indent, separators, sort_keys): v as JSON text. */
enum status jinja_filter_tojson(struct jinja_render *r, const struct jinja_invocation *in,
                                struct jinja_value *out);

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
/* True when jinja_iter_open takes the value. */
bool jinja_iterable(const struct jinja_value *v);
/* len(v); -1 when it has none. */
int64_t jinja_length(const struct jinja_value *v);
/* list(v). */
MUST_USE enum status jinja_collect(struct jinja_render *r, const struct jinja_value *v,
                                   struct jinja_value *out);
/* Item `index` of a list, tuple, range or string, 0 <= index < length. */
MUST_USE enum status jinja_sequence_at(struct jinja_render *r, const struct jinja_value *v,
                                       int64_t index, struct jinja_value *out);
/* An ITER over `source` that prints as `type_name` (borrowed). INPUT when it is not iterable. */
MUST_USE enum status jinja_iter_value(struct jinja_render *r, const struct jinja_value *source,
                                      const char *type_name, struct jinja_value *out);

/* ---- jinja_ops.c, jinja_access.c ---- */
/* *out must be neither a nor b. */
MUST_USE enum status jinja_math(struct jinja_render *r, enum jinja_op op,
                                const struct jinja_value *a, const struct jinja_value *b,
                                struct jinja_value *out);
/* -v, or +v without `minus`. INPUT on what is no number. */
MUST_USE enum status jinja_negate(struct jinja_render *r, const struct jinja_value *v, bool minus,
                                  struct jinja_value *out);
/* str(v) with & < > ' " as entities, marked as markup; markup is returned as it is. */
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
/* Row of a table that ends with a NULL name; NULL when there is none. */
const struct jinja_row *jinja_row_find(const struct jinja_row *rows, const char *name, size_t size);
/* The filter with this name; NULL when there is none. */
const struct jinja_row *jinja_filter_find(const char *name, size_t size);
/* The test with this name; NULL when there is none. */
const struct jinja_row *jinja_test_find(const char *name, size_t size);
/* The global function with this name; NULL when there is none. */
const struct jinja_row *jinja_global_find(const char *name, size_t size);
/* Whether the text's cased characters are all lower (option 0) or upper (1) case, and exist. */
enum status jinja_case_question(struct jinja_render *r, const struct jinja_invocation *in,
                                struct jinja_value *out);
/* Argument helpers: MISSING gives the fallback; INPUT on another type. */
MUST_USE enum status jinja_arg_int(struct jinja_render *r, const struct jinja_value *v,
                                   const char *what, int64_t fallback, int64_t *out);
/* Borrowed from v; no fallback. INPUT on anything but a string. */
MUST_USE enum status jinja_arg_string(struct jinja_render *r, const struct jinja_value *v,
                                      const char *what, const struct jinja_string **out);
extern const struct jinja_row JINJA_FILTERS_TEXT[], JINJA_FILTERS_LIST[];
extern const struct jinja_row JINJA_FILTERS_NUMBER[], JINJA_FILTERS_SORT[];
extern const struct jinja_row JINJA_TESTS[], JINJA_GLOBALS[];
extern const struct jinja_row JINJA_METHODS_STR[], JINJA_METHODS_STR2[], JINJA_METHODS_LIST[];
extern const struct jinja_row JINJA_METHODS_DICT[], JINJA_METHODS_LOOP[], JINJA_METHODS_CYCLER[];

/* ---- jinja_eval.c, jinja_exec.c, jinja_loop.c ---- */
MUST_USE enum status jinja_eval(struct jinja_render *r, const struct jinja_node *n,
                                struct jinja_value *out);
/* Evaluates arguments into pool arrays. */
MUST_USE enum status jinja_eval_args(struct jinja_render *r, const struct jinja_call *call,
                                     struct jinja_args *out);
/* Runs the nodes in order until r->flow leaves FLOW_ON; output goes to r->out. */
MUST_USE enum status jinja_exec(struct jinja_render *r, const struct jinja_body *body);
/* Runs `body` with its output captured as a string. */
MUST_USE enum status jinja_capture(struct jinja_render *r, const struct jinja_body *body,
                                   struct jinja_value *out);
/* An empty scope in the pool below `parent` (NULL: none). */
MUST_USE enum status jinja_scope_open(struct jinja_render *r, struct jinja_scope *parent,
                                      struct jinja_scope **out);
/* Sets `name`, an interned identifier, in this scope alone. */
MUST_USE enum status jinja_scope_set(struct jinja_render *r, struct jinja_scope *s,
                                     const struct jinja_string *name, const struct jinja_value *v);
/* Assigns to a target node in the current scope. */
MUST_USE enum status jinja_assign(struct jinja_render *r, const struct jinja_node *target,
                                  const struct jinja_value *v);
/* Runs a FOR node over its source, with its filter, `loop` and else part. */
MUST_USE enum status jinja_exec_for(struct jinja_render *r, const struct jinja_node *n);
/* Attribute of `loop`; *found = false when there is no such one. */
MUST_USE enum status jinja_loop_attribute(struct jinja_render *r, struct jinja_loop *l,
                                          const struct jinja_string *name, struct jinja_value *out,
                                          bool *found);
/* loop(children) of a recursive loop. */
MUST_USE enum status jinja_loop_call(struct jinja_render *r, struct jinja_loop *l,
                                     const struct jinja_args *args, struct jinja_value *out);
/* Appends what str(loop) gives. INPUT when the source fails while it is counted. */
MUST_USE enum status jinja_loop_text(struct jinja_render *r, struct jinja_loop *l,
                                     struct jinja_buffer *out);
