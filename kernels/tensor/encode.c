/* The reference quantizers of the 32-element block types (spec formats.md 3). */
#include <math.h>
#include <string.h>

#include "kernels/tensor/dtype_internal.h"

static void put_half(uint8_t *p, float x)
{
    const uint16_t h = dtype_f32_to_f16(x);
    memcpy(p, &h, sizeof h);
}

/* Signed value of the largest magnitude, first on ties. */
static float signed_max(const float *x)
{
    float best = 0.0f;
    float magnitude = 0.0f;
    for (int i = 0; i < 32; i++) {
        if (fabsf(x[i]) > magnitude) {
            magnitude = fabsf(x[i]);
            best = x[i];
        }
    }
    return best;
}

static int clamp_trunc(float x, int max)
{
    if (!(x > 0.0f)) { /* NaN too: casting one is undefined */
        return 0;
    }
    return x >= (float)max ? max : (int)x;
}

static void put_nibbles(uint8_t *qs, const int q[32])
{
    for (int i = 0; i < 16; i++) {
        qs[i] = (uint8_t)((q[i] & 15) | (q[i + 16] & 15) << 4);
    }
}

void block_encode_q4_0(const float *src, void *blocks, int64_t count)
{
    uint8_t *p = blocks;
    for (int64_t b = 0; b < count / 32; b++, p += 18) {
        const float d = signed_max(src + 32 * b) / -8.0f;
        const float inverse = d != 0.0f ? 1.0f / d : 0.0f;
        int q[32];
        for (int e = 0; e < 32; e++) {
            q[e] = clamp_trunc(src[32 * b + e] * inverse + 8.5f, 15);
        }
        put_half(p, d);
        put_nibbles(p + 2, q);
    }
}

/* Codes 0..top above the minimum; writes scale and minimum to p[0..4). */
static void encode_offset(const float *x, int top, uint8_t *p, int q[32])
{
    float min = x[0];
    float max = x[0];
    for (int e = 1; e < 32; e++) {
        min = x[e] < min ? x[e] : min;
        max = x[e] > max ? x[e] : max;
    }
    const float d = (max - min) / (float)top;
    const float inverse = d != 0.0f ? 1.0f / d : 0.0f;
    for (int e = 0; e < 32; e++) {
        q[e] = clamp_trunc((x[e] - min) * inverse + 0.5f, top);
    }
    put_half(p, d);
    put_half(p + 2, min);
}

void block_encode_q4_1(const float *src, void *blocks, int64_t count)
{
    uint8_t *p = blocks;
    for (int64_t b = 0; b < count / 32; b++, p += 20) {
        int q[32];
        encode_offset(src + 32 * b, 15, p, q);
        put_nibbles(p + 4, q);
    }
}

void block_encode_q5_1(const float *src, void *blocks, int64_t count)
{
    uint8_t *p = blocks;
    for (int64_t b = 0; b < count / 32; b++, p += 24) {
        uint32_t high = 0;
        int q[32];
        encode_offset(src + 32 * b, 31, p, q);
        for (int e = 0; e < 32; e++) {
            high |= (uint32_t)(q[e] >> 4) << e;
        }
        memcpy(p + 4, &high, sizeof high);
        put_nibbles(p + 8, q);
    }
}

void block_encode_q5_0(const float *src, void *blocks, int64_t count)
{
    uint8_t *p = blocks;
    for (int64_t b = 0; b < count / 32; b++, p += 22) {
        const float d = signed_max(src + 32 * b) / -16.0f;
        const float inverse = d != 0.0f ? 1.0f / d : 0.0f;
        uint32_t high = 0;
        int q[32];
        for (int e = 0; e < 32; e++) {
            q[e] = clamp_trunc(src[32 * b + e] * inverse + 16.5f, 31);
            high |= (uint32_t)(q[e] >> 4) << e;
        }
        put_half(p, d);
        memcpy(p + 2, &high, sizeof high);
        put_nibbles(p + 6, q);
    }
}

void block_encode_q8_0(const float *src, void *blocks, int64_t count)
{
    uint8_t *p = blocks;
    for (int64_t b = 0; b < count / 32; b++, p += 34) {
        const float d = fabsf(signed_max(src + 32 * b)) / 127.0f;
        const float inverse = d != 0.0f ? 1.0f / d : 0.0f;
        put_half(p, d);
        for (int e = 0; e < 32; e++) {
            const float q = roundf(src[32 * b + e] * inverse);
            p[2 + e] = (uint8_t)(int8_t)fmaxf(-127.0f, fminf(127.0f, q)); /* NaN: in range */
        }
    }
}
