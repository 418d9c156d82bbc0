/* A tensor is a view: type, shape, row stride, pointer. It owns nothing. */
#pragma once

#include "kernels/tensor/dtype.h"

enum { TENSOR_MAX_DIMS = 4 };

/* How the bytes of a weight lie. */
enum layout {
    LAYOUT_FILE,       /* rows of blocks, as in the file */
    LAYOUT_INTERLEAVED /* rows interleaved for the tier's tile (made at load; later work) */
};

/* The values of a weight once more, rounded to bf16, in the order in which gemm of one backend
 * reads them (base_cache): strips of `rows` weight rows, in a strip `pair` neighbours of each row
 * after those of the row above. A backend without such an order has no bytes. */
struct tensor_panels {
    const uint16_t *data; /* borrowed */
    size_t bytes;
    int rows;
    int pair;
};

struct tensor {
    enum dtype dtype;
    enum layout layout;
    int dims;
    int64_t shape[TENSOR_MAX_DIMS]; /* outermost first: a weight is [out, in] */
    size_t row_bytes;               /* bytes from one row of the last dimension to the next */
    const void *data;               /* borrowed: mapped file, arena or cache file */
    const void *aux;                /* DTYPE_NF4: struct quant_nf4; NULL otherwise */
    const struct tensor_panels *panels; /* gemm in COMPUTE_BF16 multiplies these; NULL: none */
};

/* Number of elements; 0 for an empty tensor. */
static inline int64_t tensor_count(const struct tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->dims; i++) {
        n *= t->shape[i];
    }
    return n;
}

/* Elements of the last dimension. */
static inline int64_t tensor_columns(const struct tensor *t)
{
    return t->dims ? t->shape[t->dims - 1] : 1;
}

/* Number of rows: the product of all dimensions but the last. */
static inline int64_t tensor_rows(const struct tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i + 1 < t->dims; i++) {
        n *= t->shape[i];
    }
    return n;
}
