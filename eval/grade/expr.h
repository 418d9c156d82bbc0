/*
 * Expressions of the math judge: trees that keep the written form (nothing is evaluated while
 * parsing), held in an arena that counts its bytes. A node that cannot be made is NULL and marks
 * the arena as exhausted, so parsers need no cleanup.
 *
 * Source: spec/open-r1.md 3.2 and 3.3 (which forms Math-Verify distinguishes).
 */
#pragma once

#include <arf.h>
#include <flint/fmpq.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/status.h"

enum expr_kind {
    EXPR_RATIONAL, /* q */
    EXPR_FLOAT,    /* f, rounded to `bits` bits */
    EXPR_SYMBOL,   /* name, real */
    EXPR_PI,
    EXPR_E,
    EXPR_I,
    EXPR_EULER,
    EXPR_INFINITY,
    EXPR_NEG_INFINITY,
    EXPR_ZOO,     /* what division by zero gives */
    EXPR_PERCENT, /* the unevaluated 1/100 */
    EXPR_ADD,
    EXPR_MUL,
    EXPR_POW,
    EXPR_CALL,    /* function `fn` of args */
    EXPR_APPLY,   /* undefined function `name` of args */
    EXPR_DERIVATIVE, /* of args[0] by the symbol args[1]; of one arg: d/dx before its operand */
    EXPR_LIMIT,      /* of args[0] as the symbol args[1] goes to args[2]; left_open: from below */
    EXPR_SUM,     /* body, variable, first, last */
    EXPR_PRODUCT, /* the same */
    EXPR_INTEGRAL,
    EXPR_MATRIX,  /* rows x cols args */
    EXPR_MAT_ADD,
    EXPR_MAT_MUL,
    EXPR_TRANSPOSE,
    EXPR_RELATION, /* lhs, rhs and `relation` */
    EXPR_AND,      /* relations of a chain, in written order */
    EXPR_NOT,
    EXPR_SET,      /* finite; args in written order, the first `distinct` of them differ */
    EXPR_TUPLE,
    EXPR_INTERVAL, /* start, end; left_open, right_open */
    EXPR_UNION,
    EXPR_INTERSECTION,
    EXPR_COMPLEMENT,
    EXPR_NAMED_SET, /* name: "Reals", "EmptySet", ... */
    EXPR_BOOLEAN,
};

enum expr_relation { EXPR_EQ, EXPR_NE, EXPR_LT, EXPR_LE, EXPR_GT, EXPR_GE };

/* Functions with a value. */
enum expr_fn {
    FN_SIN, FN_COS, FN_TAN, FN_CSC, FN_SEC, FN_COT,
    FN_ASIN, FN_ACOS, FN_ATAN, FN_ACSC, FN_ASEC, FN_ACOT,
    FN_SINH, FN_COSH, FN_TANH, FN_ASINH, FN_ACOSH, FN_ATANH,
    FN_LOG, /* one argument: natural; two: argument, base */
    FN_EXP, FN_ABS, FN_FLOOR, FN_CEIL, FN_FACTORIAL, FN_BINOMIAL, FN_GAMMA,
    FN_MAX, FN_MIN, FN_MOD, FN_GCD, FN_LCM,
    FN_COUNT
};

struct expr {
    enum expr_kind kind;
    bool real; /* symbols */
    bool left_open, right_open;
    enum expr_relation relation;
    enum expr_fn fn;
    int count;
    int distinct; /* sets */
    int rows, cols;
    const struct expr **args; /* [count] */
    const char *name;
    fmpq_t q;
    arf_t f;
    int64_t bits;       /* floats */
    struct expr *owned; /* next node that owns a number */
};

/* Blocks of memory that live until expr_reset. */
struct expr_pool {
    struct expr_block *blocks;
    struct expr *numbers; /* nodes whose numbers are to be cleared */
    size_t used;          /* bytes handed out */
    size_t limit;         /* bytes allowed */
    bool exhausted;
};

enum { EXPR_MAX_DIGITS = 4300, EXPR_MAX_NODES_ARGS = 4096 };

/* Readies a pool that may hand out `limit` bytes. */
void expr_pool_open(struct expr_pool *p, size_t limit);

/* Releases every node and all blocks but one. */
void expr_pool_reset(struct expr_pool *p);

/* Releases everything. */
void expr_pool_close(struct expr_pool *p);

/* `size` bytes, 16-byte aligned, zeroed; NULL when the pool is exhausted. */
void *expr_alloc(struct expr_pool *p, size_t size);

/* A copy of `length` bytes with a NUL; NULL when the pool is exhausted. */
char *expr_copy_text(struct expr_pool *p, const char *text, size_t length);

/* A node with room for `count` args, all NULL; NULL when the pool is exhausted. */
struct expr *expr_new(struct expr_pool *p, enum expr_kind kind, int count);

/* A node of one arg; NULL when the arg is NULL or the pool is exhausted. */
struct expr *expr_unary(struct expr_pool *p, enum expr_kind kind, const struct expr *a);
/* The same of two args. */
struct expr *expr_binary(struct expr_pool *p, enum expr_kind kind, const struct expr *a,
                         const struct expr *b);
/* The same of `count` args. */
struct expr *expr_nary(struct expr_pool *p, enum expr_kind kind, const struct expr *const *args,
                       int count);

/* fn(a) or fn(a, b) (b NULL: one argument). */
struct expr *expr_call(struct expr_pool *p, enum expr_fn fn, const struct expr *a,
                       const struct expr *b);

/* The integer n. */
struct expr *expr_integer(struct expr_pool *p, int64_t n);
/* The number q. */
struct expr *expr_rational(struct expr_pool *p, const fmpq_t q);

/* The number written as [-]digits[.digits][E[+-]digits]: an integer without point and exponent,
 * else a float of 53 bits, or more when more than 15 digits are written. NULL when it is no number
 * or has more than EXPR_MAX_DIGITS digits. */
struct expr *expr_number(struct expr_pool *p, const char *text, size_t length);

/* lhs `relation` rhs. */
struct expr *expr_relate(struct expr_pool *p, enum expr_relation relation, const struct expr *lhs,
                         const struct expr *rhs);

/* A symbol; its name is copied. */
struct expr *expr_symbol(struct expr_pool *p, const char *name, size_t length, bool real);

/* A sum or product (or their matrix forms) in which args of the same kind are merged into one
 * list, as the reference parser keeps them. */
struct expr *expr_flat(struct expr_pool *p, enum expr_kind kind, const struct expr *a,
                       const struct expr *b);

/* The finite set of `args`, equal ones once. */
struct expr *expr_set(struct expr_pool *p, const struct expr *const *args, int count);

/* a percent: a * (1/100), not evaluated. */
struct expr *expr_percent(struct expr_pool *p, const struct expr *a);

/* What is n of n percent; NULL when `e` is no percentage. */
const struct expr *expr_percent_of(const struct expr *e);

/* An integer literal? */
bool expr_is_integer(const struct expr *e);
/* A literal: rational, float or infinite? */
bool expr_is_number(const struct expr *e);
/* Of matrix type? */
bool expr_is_matrix(const struct expr *e);
/* A set? Tuples are none. */
bool expr_is_set(const struct expr *e);

/* Same tree, argument order included (products and sums keep their written order). */
bool expr_same(const struct expr *a, const struct expr *b);
