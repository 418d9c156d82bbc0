/*
 * Private to the jinja_*.c files and chat_template.c: limits, memory and values.
 *
 * Everything a render makes (strings, lists, scopes) comes from one pool that is freed as a whole;
 * everything a template is made of lives in the template's pool and is never written after
 * chat_template_open, so one template may be rendered by several threads.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/status.h"

enum {
    JINJA_DEPTH = 200,       /* nested blocks or brackets of the source; nested macro calls */
    JINJA_EVAL_DEPTH = 1600, /* nodes under evaluation at once: bounds the C stack */
    JINJA_VALUE_DEPTH = 200, /* nesting of lists and objects */
    JINJA_STEPS = 10000000,
    JINJA_BYTES_PER_STEP = 64, /* handling this many bytes counts as a step */
    JINJA_OUTPUT = 64 << 20,   /* bytes of output, and of any one string */
    JINJA_RANGE = 100000,      /* as the reference sandbox */
    JINJA_ARGS = 6,            /* named parameters of a built-in */
    JINJA_NUMBER = 64          /* bytes for the text of a number */
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
/* Frees everything the pool ever gave; it may be used again. */
void jinja_pool_close(struct jinja_pool *p);

/* Growing bytes on the heap; capped at JINJA_OUTPUT. Zero-initialise; free data. */
struct jinja_buffer {
    char *data;
    size_t size;
    size_t capacity;
};
/* Appends and keeps a NUL behind. INPUT past JINJA_OUTPUT, MEMORY. */
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
    unsigned option; /* the row's */
};
struct jinja_render;
typedef enum status (*jinja_fn)(struct jinja_render *r, const struct jinja_invocation *in,
                                struct jinja_value *out);
/* A built-in filter, test, method or function. `params`: names in order, '!' after a required one;
 * NULL: it reads in->raw itself. `option` tells rows of one function apart. */
struct jinja_row {
    const char *name;
    const char *params;
    jinja_fn fn;
    unsigned option;
};
