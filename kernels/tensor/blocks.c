/*
 * Decoding of ggml's block types, element-indexed (spec formats.md 3). Products and sums are
 * rounded one by one in fp32 (the build sets no contraction), so every tier can repeat them bit for
 * bit.
 */
#include <string.h>

#include "kernels/tensor/dtype_internal.h"

static float half_at(const uint8_t *p)
{
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return dtype_f16_to_f32(h);
}

static uint32_t word_at(const uint8_t *p)
{
    uint32_t w;
    memcpy(&w, p, sizeof w);
    return w;
}

/* Low nibbles are elements 0..15 of a 32-block, high nibbles 16..31. */
static int nibble(const uint8_t *qs, int e)
{
    return (qs[e % 16] >> (e / 16 * 4)) & 15;
}

void block_decode_q4_0(const void *blocks, float *dst, int64_t count)
{
    const uint8_t *p = blocks;
    for (int64_t b = 0; b < count / 32; b++, p += 18) {
        const float d = half_at(p);
        for (int e = 0; e < 32; e++) {
            dst[32 * b + e] = (float)(nibble(p + 2, e) - 8) * d;
        }
    }
}

void block_decode_q4_1(const void *blocks, float *dst, int64_t count)
{
    const uint8_t *p = blocks;
    for (int64_t b = 0; b < count / 32; b++, p += 20) {
        const float d = half_at(p);
        const float m = half_at(p + 2);
        for (int e = 0; e < 32; e++) {
            const float product = (float)nibble(p + 4, e) * d;
            dst[32 * b + e] = product + m;
        }
    }
}

void block_decode_q5_0(const void *blocks, float *dst, int64_t count)
{
    const uint8_t *p = blocks;
    for (int64_t b = 0; b < count / 32; b++, p += 22) {
        const float d = half_at(p);
        const uint32_t high = word_at(p + 2);
        for (int e = 0; e < 32; e++) {
            const int q = nibble(p + 6, e) | (int)((high >> e) & 1U) << 4;
            dst[32 * b + e] = (float)(q - 16) * d;
        }
    }
}

void block_decode_q5_1(const void *blocks, float *dst, int64_t count)
{
    const uint8_t *p = blocks;
    for (int64_t b = 0; b < count / 32; b++, p += 24) {
        const float d = half_at(p);
        const float m = half_at(p + 2);
        const uint32_t high = word_at(p + 4);
        for (int e = 0; e < 32; e++) {
            const int q = nibble(p + 8, e) | (int)((high >> e) & 1U) << 4;
            const float product = (float)q * d;
            dst[32 * b + e] = product + m;
        }
    }
}

void block_decode_q8_0(const void *blocks, float *dst, int64_t count)
{
    const uint8_t *p = blocks;
    for (int64_t b = 0; b < count / 32; b++, p += 34) {
        const float d = half_at(p);
        for (int e = 0; e < 32; e++) {
            dst[32 * b + e] = (float)(int8_t)p[2 + e] * d;
        }
    }
}

/* 6-bit scale and minimum of sub-block j of Q4_K and Q5_K. */
static void scale_min(const uint8_t *s, int j, int *scale, int *min)
{
    if (j < 4) {
        *scale = s[j] & 63;
        *min = s[j + 4] & 63;
    } else {
        *scale = (s[j + 4] & 15) | (s[j - 4] >> 6) << 4;
        *min = (s[j + 4] >> 4) | (s[j] >> 6) << 4;
    }
}

/* One 256-block of Q4_K or Q5_K; `high` is NULL for Q4_K. */
static void decode_k45(const uint8_t *p, const uint8_t *high, const uint8_t *qs, float *dst)
{
    const float d = half_at(p);
    const float dmin = half_at(p + 2);
    for (int j = 0; j < 8; j++) {
        int scale;
        int min;
        scale_min(p + 4, j, &scale, &min);
        const float ds = d * (float)scale;
        const float dm = dmin * (float)min;
        for (int l = 0; l < 32; l++) {
            int q = (qs[32 * (j / 2) + l] >> (4 * (j & 1))) & 15;
            q |= high ? ((high[l] >> j) & 1) << 4 : 0;
            const float product = ds * (float)q;
            dst[32 * j + l] = product - dm;
        }
    }
}

void block_decode_q4_k(const void *blocks, float *dst, int64_t count)
{
    const uint8_t *p = blocks;
    for (int64_t b = 0; b < count / 256; b++, p += 144) {
        decode_k45(p, NULL, p + 16, dst + 256 * b);
    }
}

void block_decode_q5_k(const void *blocks, float *dst, int64_t count)
{
    const uint8_t *p = blocks;
    for (int64_t b = 0; b < count / 256; b++, p += 176) {
        decode_k45(p, p + 16, p + 48, dst + 256 * b);
    }
}

void block_decode_q6_k(const void *blocks, float *dst, int64_t count)
{
    const uint8_t *p = blocks;
    for (int64_t b = 0; b < count / 256; b++, p += 210) {
        const float d = half_at(p + 208);
        for (int e = 0; e < 256; e++) {
            const int h = e / 128;
            const int g = e % 128 / 32;
            const int l = e % 32;
            const int lo = (p[64 * h + 32 * (g & 1) + l] >> (4 * (g >> 1))) & 15;
            const int hi = (p[128 + 32 * h + l] >> (2 * g)) & 3;
            const float ds = d * (float)(int8_t)p[192 + e / 16];
            dst[256 * b + e] = ds * (float)((lo | hi << 4) - 32);
        }
    }
}
