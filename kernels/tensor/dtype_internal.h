/* Decoders and encoders of the block types; private to kernels/tensor. Shapes as in dtype_row. */
#pragma once

#include "kernels/tensor/dtype.h"

void block_decode_q4_0(const void *blocks, float *dst, int64_t count);
void block_decode_q4_1(const void *blocks, float *dst, int64_t count);
void block_decode_q5_0(const void *blocks, float *dst, int64_t count);
void block_decode_q5_1(const void *blocks, float *dst, int64_t count);
void block_decode_q8_0(const void *blocks, float *dst, int64_t count);
void block_decode_q4_k(const void *blocks, float *dst, int64_t count);
void block_decode_q5_k(const void *blocks, float *dst, int64_t count);
void block_decode_q6_k(const void *blocks, float *dst, int64_t count);

void block_encode_q4_0(const float *src, void *blocks, int64_t count);
void block_encode_q4_1(const float *src, void *blocks, int64_t count);
void block_encode_q5_0(const float *src, void *blocks, int64_t count);
void block_encode_q5_1(const float *src, void *blocks, int64_t count);
void block_encode_q8_0(const float *src, void *blocks, int64_t count);
void block_encode_q4_k(const float *src, void *blocks, int64_t count);
void block_encode_q5_k(const float *src, void *blocks, int64_t count);
void block_encode_q6_k(const float *src, void *blocks, int64_t count);
