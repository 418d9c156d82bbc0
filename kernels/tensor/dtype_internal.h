/* Decoders and encoders of the block types; private to kernels/tensor. Shapes as in dtype_row. */
#pragma once

#include "kernels/tensor/dtype.h"

/* 18 bytes per 32: fp16 d, 4-bit q; d (q - 8). */
void block_decode_q4_0(const void *blocks, float *dst, int64_t count);
/* 20 bytes per 32: fp16 d and m, 4-bit q; d q + m. */
void block_decode_q4_1(const void *blocks, float *dst, int64_t count);
/* 22 bytes per 32: fp16 d, 5-bit q (the fifth bits apart); d (q - 16). */
void block_decode_q5_0(const void *blocks, float *dst, int64_t count);
/* 24 bytes per 32: fp16 d and m, 5-bit q; d q + m. */
void block_decode_q5_1(const void *blocks, float *dst, int64_t count);
/* 34 bytes per 32: fp16 d, int8 q; d q. */
void block_decode_q8_0(const void *blocks, float *dst, int64_t count);
/* 144 bytes per 256: 8 groups with 6-bit scale s and minimum m; d s q - dmin m. */
void block_decode_q4_k(const void *blocks, float *dst, int64_t count);
/* 176 bytes per 256: as Q4_K with a fifth bit of q. */
void block_decode_q5_k(const void *blocks, float *dst, int64_t count);
/* 210 bytes per 256: 16 groups with int8 scale s, 6-bit q; d s (q - 32). */
void block_decode_q6_k(const void *blocks, float *dst, int64_t count);

/* The value largest in magnitude becomes -8; the rest is rounded to its scale. */
void block_encode_q4_0(const float *src, void *blocks, int64_t count);
/* Least value m, range over 15 steps. */
void block_encode_q4_1(const float *src, void *blocks, int64_t count);
/* The value largest in magnitude becomes -16. */
void block_encode_q5_0(const float *src, void *blocks, int64_t count);
/* Least value m, range over 31 steps. */
void block_encode_q5_1(const float *src, void *blocks, int64_t count);
/* Largest magnitude over 127. */
void block_encode_q8_0(const float *src, void *blocks, int64_t count);
/* Per group the scale and minimum of least weighted error, searched, then cut to 6 bits. */
void block_encode_q4_k(const float *src, void *blocks, int64_t count);
/* As Q4_K with 31 steps. */
void block_encode_q5_k(const float *src, void *blocks, int64_t count);
/* Per group the scale of least weighted error, then cut to int8. */
void block_encode_q6_k(const float *src, void *blocks, int64_t count);
