/*
 * Element and block types of weights: one const row each (name, block, bytes, decode).
 *
 * Packed types keep the block layout of the file they come from (ggml blocks: spec formats.md 3,
 * element-indexed; NF4: bitsandbytes codes, see quant.h).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/status.h"

enum dtype {
    DTYPE_F32,
    DTYPE_F16,
    DTYPE_BF16,
    DTYPE_Q4_0,
    DTYPE_Q4_1,
    DTYPE_Q5_0,
    DTYPE_Q5_1,
    DTYPE_Q8_0,
    DTYPE_Q4_K,
    DTYPE_Q5_K,
    DTYPE_Q6_K,
    DTYPE_NF4, /* bitsandbytes codes with a side table of scales: quant.h; no decode row */
    DTYPE_COUNT
};

struct dtype_row {
    const char *name;     /* "Q4_K" */
    int ggml_id;          /* id in GGUF files, -1: none */
    int block;            /* elements per block */
    int bytes;            /* bytes per block */
    /* dst[i] = value of element i, for `count` elements (a multiple of `block`). */
    void (*decode)(const void *blocks, float *dst, int64_t count);
    /* Inverse, the reference quantizer of formats.md 3; NULL: cannot be written. */
    void (*encode)(const float *src, void *blocks, int64_t count);
};

/* The row of a type. */
const struct dtype_row *dtype_row(enum dtype type);

/* Type with this GGUF id; false when Graft does not read it. */
bool dtype_from_ggml(uint32_t id, enum dtype *out);

/* Type with this name (case-insensitive); false when there is none. */
bool dtype_from_name(const char *name, enum dtype *out);

/* Bytes of one row of `columns` elements. Fails with INPUT when the row is not whole blocks. */
MUST_USE enum status dtype_row_bytes(enum dtype type, int64_t columns, size_t *out);

/* fp16 and bf16 <-> fp32, round half to even, NaN kept (bf16: top 16 bits | 0x40). */
float dtype_f16_to_f32(uint16_t h);

/* Beyond the largest half: infinity; below the least subnormal: a signed zero. */
uint16_t dtype_f32_to_f16(float x);

/* Exact: the 16 bits are the upper half of the float's. */
float dtype_bf16_to_f32(uint16_t h);

/* Half to even on the dropped 16 bits. */
uint16_t dtype_f32_to_bf16(float x);
