/*
 * Cases of test_gemm: random packed weights, the scalar definition of the products, and the bench.
 * The scalar sums are written here from kernels/ops.h alone, not taken from kernels/ref.
 */
#pragma once

#include "kernels/ops.h"

struct product_shape {
    int64_t m;
    int64_t n;
    int64_t k;
    int64_t first_row;
    float alpha; /* 0 means 1 */
    bool accumulate;
    bool bias;
};

/* gemm, or gemm_dx when by_rows: then x is dy [m, n] and y is dx [m, k]. */
struct product_case {
    struct product_shape shape;
    bool by_rows;
    int64_t red;  /* columns of x */
    int64_t cols; /* columns of y */
    int64_t ldx;
    int64_t ldy;
    struct arena mem;
    struct tensor w;
    float *x;
    float *y;
    float *y_old;
    float *bias;     /* NULL: none */
    double *want;    /* [m * ldy] */
    double *allowed; /* 0: the same bits */
};

/* Random operands (the same for equal shapes and types). Release with product_close. */
void product_open(struct product_case *p, const struct product_shape *shape, enum dtype type,
                  bool by_rows);
void product_close(struct product_case *p);

/* Fills want and allowed as the context's compute mode, slices and pairs promise. */
void product_expect(struct product_case *p, const struct ops_context *c);

/* Runs the op of the context on p->y. */
void product_call(struct product_case *p, struct ops_context *c);

/* Index of the first element outside what is allowed, or written outside the result; else -1. */
int64_t product_worst(const struct product_case *p);

struct gradient_shape {
    int64_t n;
    int64_t k;
    int64_t units[5];
    int64_t unit_count;
    float alpha;
};

struct gradient_case {
    struct gradient_shape shape;
    int64_t ldx;
    int64_t ldy;
    struct arena mem;
    float *x;
    float *dy;
    float *dw;
    double *want;
    double *allowed;
};

void gradient_open(struct gradient_case *g, const struct gradient_shape *shape);
void gradient_close(struct gradient_case *g);
void gradient_expect(struct gradient_case *g, const struct ops_context *c);
void gradient_call(struct gradient_case *g, struct ops_context *c);
int64_t gradient_worst(const struct gradient_case *g);

/* Random valid blocks of any type. The memory comes from `mem`. */
void gemm_random_weight(struct arena *mem, enum dtype type, int64_t rows, int64_t cols,
                        struct tensor *out);

/* Prints JSON lines for the products of real models: shape, type, mode, tier, GFLOP/s, weights/s.
 * filter: a substring of the line to run, m: rows, 0 for the usual set. */
void gemm_bench(const char *filter, int64_t m);
