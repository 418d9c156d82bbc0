/*
 * Reference quantizers of the 256-element super-blocks Q4_K, Q5_K and Q6_K (formats.md 3): per
 * sub-block, a small search for the scale (and minimum) of least weighted squared error; then the
 * scales themselves are quantized and the codes remade with the rounded values.
 */
#include <math.h>
#include <string.h>

#include "kernels/tensor/dtype_internal.h"

enum {
    BLOCK_SUPER = 256,
    BYTES_Q4_K = 144,
    BYTES_Q5_K = 176,
    BYTES_Q6_K = 210,
    SUB = 32,
    SUBS = BLOCK_SUPER / SUB,
    SUB6 = 16,
    SUBS6 = BLOCK_SUPER / SUB6,
    CENTRE6 = 32
};

static void put_half(uint8_t *p, float x)
{
    const uint16_t h = dtype_f32_to_f16(x);
    memcpy(p, &h, sizeof h);
}

static float half_at(const uint8_t *p)
{
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return dtype_f16_to_f32(h);
}

/* Half to even by the fp32 adder, as the reference rounds; NaN gives `lo`. */
static int round_clamp(float x, int lo, int hi)
{
    const float magic = 12582912.0f; /* 1.5 * 2^23 */
    if (!(x > (float)lo)) {
        return lo;
    }
    return x >= (float)hi ? hi : (int)((x + magic) - magic);
}

/* What differs between Q4_K and Q5_K: the largest code and the search grid of inverse scales. */
struct offset_search {
    int top;
    int steps;
    float first; /* inverse scale of step i: (top + first + 0.1 i) / (hi - lo) */
};

/* Codes of one trial and the weighted sums its least-squares fit needs. */
struct trial {
    uint8_t codes[SUB];
    float l;
    float ll;
    float xl;
};

static void make_trial(const float *x, const float *w, float lo, float inverse, int top,
                       struct trial *t)
{
    t->l = 0.0f;
    t->ll = 0.0f;
    t->xl = 0.0f;
    for (int i = 0; i < SUB; i++) {
        const int q = round_clamp(inverse * (x[i] - lo), 0, top);
        const float l = (float)q;
        t->codes[i] = (uint8_t)q;
        t->l += w[i] * l;
        t->ll += w[i] * l * l;
        t->xl += w[i] * l * x[i];
    }
}

static float weighted_error(const float *x, const float *w, const uint8_t *codes, float scale,
                            float min)
{
    float error = 0.0f;
    for (int i = 0; i < SUB; i++) {
        const float diff = scale * (float)codes[i] + min - x[i];
        error += w[i] * (diff * diff);
    }
    return error;
}

/* Scale and minimum (<= 0) of one sub-block, x ~ scale * code + min. */
static void fit_offset(const struct offset_search *s, const float *x, float *scale, float *min,
                       uint8_t *codes)
{
    float w[SUB];
    float square = 0.0f;
    for (int i = 0; i < SUB; i++) {
        square += x[i] * x[i];
    }
    const float rms = sqrtf(square / SUB);
    float lo = x[0];
    float hi = x[0];
    float sum_w = 0.0f;
    float sum_x = 0.0f;
    for (int i = 0; i < SUB; i++) {
        w[i] = rms + fabsf(x[i]);
        lo = x[i] < lo ? x[i] : lo;
        hi = x[i] > hi ? x[i] : hi;
        sum_w += w[i];
        sum_x += w[i] * x[i];
    }
    lo = lo > 0.0f ? 0.0f : lo;
    *min = lo;
    *scale = 0.0f;
    memset(codes, 0, SUB);
    if (hi == lo) {
        return;
    }
    const float start = (float)s->top / (hi - lo);
    struct trial t;
    make_trial(x, w, lo, start, s->top, &t);
    *scale = 1.0f / start;
    memcpy(codes, t.codes, SUB);
    float best = weighted_error(x, w, codes, *scale, lo);
    for (int i = 0; i <= s->steps; i++) {
        /* From the best minimum so far, not from the first. */
        make_trial(x, w, *min, (s->first + 0.1f * (float)i + (float)s->top) / (hi - *min), s->top,
                   &t);
        const float det = sum_w * t.ll - t.l * t.l;
        if (!(det > 0.0f)) {
            continue;
        }
        float this_scale = (sum_w * t.xl - sum_x * t.l) / det;
        float this_min = (t.ll * sum_x - t.l * t.xl) / det;
        if (this_min > 0.0f) {
            this_min = 0.0f;
            this_scale = t.xl / t.ll;
        }
        const float error = weighted_error(x, w, t.codes, this_scale, this_min);
        if (error < best) {
            best = error;
            *scale = this_scale;
            *min = this_min;
            memcpy(codes, t.codes, SUB);
        }
    }
}

/* 6-bit scales and minima into 12 bytes: the inverse of the decoder's scale_min. */
static void pack_scales(const uint8_t *sc, const uint8_t *mn, uint8_t *s)
{
    for (int j = 0; j < 4; j++) {
        s[j] = (uint8_t)(sc[j] | (sc[j + 4] >> 4) << 6);
        s[j + 4] = (uint8_t)(mn[j] | (mn[j + 4] >> 4) << 6);
        s[j + 8] = (uint8_t)((sc[j + 4] & 15) | (mn[j + 4] & 15) << 4);
    }
}

/* Codes[256] of one super-block; writes d, dmin and the packed scales to b[0..16). */
static void encode_offset(const struct offset_search *s, const float *x, uint8_t *b,
                          uint8_t *codes)
{
    float scales[SUBS];
    float mins[SUBS];
    float max_scale = 0.0f;
    float max_min = 0.0f;
    for (int j = 0; j < SUBS; j++) {
        float min;
        fit_offset(s, x + SUB * j, &scales[j], &min, codes + SUB * j);
        mins[j] = -min;
        max_scale = scales[j] > max_scale ? scales[j] : max_scale;
        max_min = mins[j] > max_min ? mins[j] : max_min;
    }
    const float scale_inverse = max_scale > 0.0f ? 63.0f / max_scale : 0.0f;
    const float min_inverse = max_min > 0.0f ? 63.0f / max_min : 0.0f;
    uint8_t sc[SUBS];
    uint8_t mn[SUBS];
    for (int j = 0; j < SUBS; j++) {
        sc[j] = (uint8_t)round_clamp(scale_inverse * scales[j], 0, 63);
        mn[j] = (uint8_t)round_clamp(min_inverse * mins[j], 0, 63);
    }
    put_half(b, max_scale / 63.0f);
    put_half(b + 2, max_min / 63.0f);
    pack_scales(sc, mn, b + 4);
    const float d = half_at(b);
    const float dmin = half_at(b + 2);
    for (int j = 0; j < SUBS; j++) {
        const float scale = d * (float)sc[j];
        const float min = dmin * (float)mn[j];
        for (int l = 0; l < SUB && scale != 0.0f; l++) {
            const int e = SUB * j + l;
            codes[e] = (uint8_t)round_clamp((x[e] + min) / scale, 0, s->top);
        }
    }
}

static void pack_nibbles(const uint8_t *codes, uint8_t *qs)
{
    for (int j = 0; j < SUBS / 2; j++) {
        for (int l = 0; l < SUB; l++) {
            const int lo = codes[2 * SUB * j + l] & 15;
            const int hi = codes[2 * SUB * j + SUB + l] & 15;
            qs[SUB * j + l] = (uint8_t)(lo | hi << 4);
        }
    }
}

void block_encode_q4_k(const float *src, void *blocks, int64_t count)
{
    static const struct offset_search SEARCH = {.top = 15, .steps = 20, .first = -1.0f};
    uint8_t *b = blocks;
    for (int64_t i = 0; i < count; i += BLOCK_SUPER, b += BYTES_Q4_K) {
        uint8_t codes[BLOCK_SUPER];
        encode_offset(&SEARCH, src + i, b, codes);
        pack_nibbles(codes, b + 16);
    }
}

void block_encode_q5_k(const float *src, void *blocks, int64_t count)
{
    static const struct offset_search SEARCH = {.top = 31, .steps = 15, .first = -0.5f};
    uint8_t *b = blocks;
    for (int64_t i = 0; i < count; i += BLOCK_SUPER, b += BYTES_Q5_K) {
        uint8_t codes[BLOCK_SUPER];
        encode_offset(&SEARCH, src + i, b, codes);
        memset(b + 16, 0, SUB);
        for (int e = 0; e < BLOCK_SUPER; e++) {
            b[16 + e % SUB] |= (uint8_t)((codes[e] >> 4 & 1) << e / SUB);
        }
        pack_nibbles(codes, b + 48);
    }
}

/* Sums of x*l and l*l weighted by x^2, and the codes l, for one inverse scale. */
static void sum_signed(const float *x, float inverse, float *xl, float *ll, int8_t *codes)
{
    *xl = 0.0f;
    *ll = 0.0f;
    for (int i = 0; i < SUB6; i++) {
        const int q = round_clamp(inverse * x[i], -CENTRE6, CENTRE6 - 1);
        const float w = x[i] * x[i];
        codes[i] = (int8_t)q;
        *xl += w * x[i] * (float)q;
        *ll += w * (float)q * (float)q;
    }
}

/* Scale of a 16-element sub-block, x ~ scale * code; 0 for a block of (nearly) zeros. */
static float fit_signed(const float *x, int8_t *codes)
{
    float peak = 0.0f;
    for (int i = 0; i < SUB6; i++) {
        peak = fabsf(x[i]) > fabsf(peak) ? x[i] : peak;
    }
    memset(codes, -CENTRE6, SUB6); /* a sub-block of zeros stores the raw code 0 */
    if (fabsf(peak) < 1e-15f) {
        return 0.0f;
    }
    float xl;
    float ll;
    sum_signed(x, -(float)CENTRE6 / peak, &xl, &ll, codes);
    float scale = ll > 0.0f ? xl / ll : 0.0f;
    float best = scale * xl;
    for (int i = -9; i <= 9; i++) {
        int8_t trial[SUB6];
        if (i == 0) {
            continue;
        }
        sum_signed(x, -((float)CENTRE6 + 0.1f * (float)i) / peak, &xl, &ll, trial);
        if (ll > 0.0f && xl * xl > best * ll) {
            scale = xl / ll;
            best = scale * xl;
            memcpy(codes, trial, SUB6);
        }
    }
    return scale;
}

static void pack_six(const int8_t *codes, uint8_t *b)
{
    memset(b, 0, 192);
    for (int e = 0; e < BLOCK_SUPER; e++) {
        const int half = e / 128;
        const int g = e % 128 / 32;
        const int l = e % 32;
        const int q = codes[e] + CENTRE6;
        b[64 * half + 32 * (g & 1) + l] |= (uint8_t)((q & 15) << 4 * (g >> 1));
        b[128 + 32 * half + l] |= (uint8_t)((q >> 4) << 2 * g);
    }
}

static void encode_six(const float *x, uint8_t *b)
{
    int8_t codes[BLOCK_SUPER];
    float scales[SUBS6];
    float peak = 0.0f;
    for (int j = 0; j < SUBS6; j++) {
        scales[j] = fit_signed(x + SUB6 * j, codes + SUB6 * j);
        peak = fabsf(scales[j]) > fabsf(peak) ? scales[j] : peak;
    }
    if (fabsf(peak) < 1e-15f) {
        memset(b, 0, BYTES_Q6_K);
        return;
    }
    const float inverse = -128.0f / peak;
    put_half(b + 208, 1.0f / inverse);
    const float d = half_at(b + 208);
    for (int j = 0; j < SUBS6; j++) {
        const int sc = round_clamp(inverse * scales[j], -128, 127);
        b[192 + j] = (uint8_t)(int8_t)sc;
        const float scale = d * (float)sc;
        for (int e = SUB6 * j; e < SUB6 * (j + 1) && scale != 0.0f; e++) {
            codes[e] = (int8_t)round_clamp(x[e] / scale, -CENTRE6, CENTRE6 - 1);
        }
    }
    pack_six(codes, b);
}

void block_encode_q6_k(const float *src, void *blocks, int64_t count)
{
    uint8_t *b = blocks;
    for (int64_t i = 0; i < count; i += BLOCK_SUPER, b += BYTES_Q6_K) {
        encode_six(src + i, b);
    }
}
