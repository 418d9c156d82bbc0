/*
 * NF4 with double quantization (QLoRA, Dettmers et al. 2023, arXiv 2305.14314) in the layout of
 * bitsandbytes (spec formats.md 4), and decoding of any weight type by rows.
 *
 * A DTYPE_NF4 tensor's `data` holds two codes per byte, row-major over the whole [out, in] matrix,
 * first element in the HIGH nibble; blocks of `blocksize` elements run across row ends. Its `aux`
 * points to a struct quant_nf4. value = NF4[code] * absmax(block), all in fp32.
 */
#pragma once

#include "kernels/tensor/tensor.h"

/* The 16 NF4 code values, ascending. */
extern const float QUANT_NF4_VALUES[16];

struct quant_nf4 {
    int64_t blocksize;         /* elements per block, usually 64 */
    const float *absmax;       /* [blocks] when not double-quantized, else NULL */
    const uint8_t *absmax_q;   /* [blocks] codes into `map` */
    const float *nested;       /* [ceil(blocks / 256)] */
    const float *map;          /* [256] the signed 8-bit dynamic map */
    float offset;              /* mean of the absmax values */
};

/* Bytes needed for the double-quantized form of `count` elements with blocks of 64: codes, then
 * absmax codes, then nested scales, then the map, then the struct, each 64-byte aligned. Fails
 * with MEMORY on overflow. */
MUST_USE enum status quant_nf4_bytes(int64_t count, size_t *out);

/* Quantizes src[rows * columns] into `buffer` (quant_nf4_bytes, 64-byte aligned) as bitsandbytes
 * does (blocksize 64, compress_statistics) and makes the view. */
void quant_nf4_encode(const float *src, int64_t rows, int64_t columns, void *buffer,
                      struct tensor *out);

/* absmax of block `b`, double quantization undone. */
float quant_nf4_absmax(const struct quant_nf4 *q, int64_t b);

/* dst[i] = element (r, first + i), i < count, of any weight in LAYOUT_FILE. `first` and `count` are
 * multiples of the type's block (NF4: any even index). Bit-exact decode in fp32. */
void quant_decode(const struct tensor *w, int64_t r, int64_t first, int64_t count, float *dst);
