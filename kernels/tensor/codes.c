/* Integer codes of ggml's block types; see codes.h. */
#include "kernels/tensor/codes.h"

#include <string.h>

static const struct code_row ROWS[DTYPE_COUNT] = {
    [DTYPE_Q4_0] = {32, false}, [DTYPE_Q4_1] = {32, true}, [DTYPE_Q5_0] = {32, false},
    [DTYPE_Q5_1] = {32, true},  [DTYPE_Q8_0] = {32, false}, [DTYPE_Q4_K] = {32, true},
    [DTYPE_Q5_K] = {32, true},  [DTYPE_Q6_K] = {16, false},
};

const struct code_row *code_row(enum dtype type)
{
    return ROWS[type].part ? &ROWS[type] : NULL;
}

static float half_at(const uint8_t *p)
{
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return dtype_f16_to_f32(h);
}

/* Q4_0, Q4_1, Q5_0, Q5_1: halves, then 32 high bits where there are five, then nibbles. */
static void decode_small(const uint8_t *p, bool minimum, bool five, struct code_part *out)
{
    const uint8_t *high = p + (minimum ? 4 : 2);
    const uint8_t *low = high + (five ? 4 : 0);
    const int middle = minimum ? 0 : five ? 16 : 8;
    out->scale = half_at(p);
    out->minimum = minimum ? half_at(p + 2) : 0.0f;
    for (int e = 0; e < 32; e++) {
        const int nibble = (low[e % 16] >> (e / 16 * 4)) & 15;
        const int bit = five ? (high[e / 8] >> (e % 8)) & 1 : 0;
        out->code[e] = (int8_t)((nibble | bit << 4) - middle);
    }
}

static void decode_byte(const uint8_t *p, struct code_part *out)
{
    out->scale = half_at(p);
    out->minimum = 0.0f;
    memcpy(out->code, p + 2, 32);
}

/* Sub-block j of Q4_K or Q5_K. */
static void decode_k45(const uint8_t *p, int j, bool five, struct code_part *out)
{
    const uint8_t *s = p + 4;
    const uint8_t *high = p + 16;
    const uint8_t *low = p + (five ? 48 : 16) + 32 * (j / 2);
    const int scale = j < 4 ? s[j] & 63 : (s[j + 4] & 15) | (s[j - 4] >> 6) << 4;
    const int minimum = j < 4 ? s[j + 4] & 63 : (s[j + 4] >> 4) | (s[j] >> 6) << 4;
    out->scale = half_at(p) * (float)scale;
    out->minimum = -(half_at(p + 2) * (float)minimum);
    for (int l = 0; l < 32; l++) {
        const int nibble = (low[l] >> (4 * (j & 1))) & 15;
        const int bit = five ? (high[l] >> j) & 1 : 0;
        out->code[l] = (int8_t)(nibble | bit << 4);
    }
}

/* Part s of Q6_K: 16 columns of half s / 8. */
static void decode_k6(const uint8_t *p, int s, struct code_part *out)
{
    const int h = s / 8;
    const int g = s % 8 / 2;
    out->scale = half_at(p + 208) * (float)(int8_t)p[192 + s];
    out->minimum = 0.0f;
    for (int i = 0; i < 16; i++) {
        const int l = s % 2 * 16 + i;
        const int low = (p[64 * h + 32 * (g & 1) + l] >> (4 * (g >> 1))) & 15;
        const int high = (p[128 + 32 * h + l] >> (2 * g)) & 3;
        out->code[i] = (int8_t)((low | high << 4) - 32);
    }
}

void code_decode(const struct tensor *w, int64_t r, int64_t first, struct code_part *out)
{
    const struct dtype_row *row = dtype_row(w->dtype);
    const uint8_t *p = (const uint8_t *)w->data + (size_t)r * w->row_bytes
                       + (size_t)(first / row->block) * (size_t)row->bytes;
    const int at = (int)(first % row->block);
    switch (w->dtype) {
    case DTYPE_Q4_0: decode_small(p, false, false, out); break;
    case DTYPE_Q4_1: decode_small(p, true, false, out); break;
    case DTYPE_Q5_0: decode_small(p, false, true, out); break;
    case DTYPE_Q5_1: decode_small(p, true, true, out); break;
    case DTYPE_Q8_0: decode_byte(p, out); break;
    case DTYPE_Q4_K: decode_k45(p, at / 32, false, out); break;
    case DTYPE_Q5_K: decode_k45(p, at / 32, true, out); break;
    case DTYPE_Q6_K: decode_k6(p, at / 16, out); break;
    default: ASSERT(!code_row(w->dtype)); break;
    }
}
