/* NF4 with double quantization and decoding by rows; see quant.h. */
#include "kernels/tensor/quant.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/checked.h"

enum { BLOCK = 64, NESTED = 256, ALIGN = 64 };

const float QUANT_NF4_VALUES[16] = {
    -1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f, -0.28444138169288635f,
    -0.18477343022823334f, -0.09105003625154495f, 0.0f, 0.07958029955625534f, 0.16093020141124725f,
    0.24611230194568634f, 0.33791524171829224f, 0.44070982933044434f, 0.5626170039176941f,
    0.7229568362236023f, 1.0f,
};

/* Midpoints between neighbours: a value strictly above goes up. */
static const float MIDPOINTS[15] = {
    -0.8480964f, -0.6106329262f, -0.4599952698f, -0.3396794349f, -0.2346074060f, -0.1379117332f,
    -0.0455250181f, 0.0397901498f, 0.1202552505f, 0.2035212517f, 0.2920137718f, 0.3893125355f,
    0.5016634166f, 0.6427869201f, 0.8614784181f,
};

static int compare_floats(const void *a, const void *b)
{
    float x;
    float y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

/* bitsandbytes' signed 8-bit dynamic map, ascending (formats.md 4). */
static void dynamic_map(float map[256])
{
    int n = 0;
    for (int k = 0; k < 7; k++) {
        const int steps = 1 << k;
        const double scale = pow(10.0, k - 6);
        for (int j = 0; j < steps; j++) {
            const float value = (float)(scale * (0.1 + 0.9 * (2 * j + 1) / (2.0 * steps)));
            map[n++] = value;
            map[n++] = -value;
        }
    }
    map[n++] = 0.0f;
    map[n++] = 1.0f;
    qsort(map, (size_t)n, sizeof *map, compare_floats);
}

/* Code of x in [-1, 1] as bitsandbytes 0.50 on a CPU finds it: it looks up one of 65,536 evenly
 * spaced points, so a value beside a midpoint may go to the farther entry. */
static uint8_t map_code(const float map[256], float value)
{
    const double steps = 65535.0;
    const double index = rint(((double)value + 1.0) / 2.0 * steps);
    const float x = (float)(index / steps * 2.0 - 1.0);
    int lo = 0;
    int hi = 255;
    while (hi - lo > 1) {
        const int mid = (lo + hi) / 2;
        if (map[mid] <= x) {
            lo = mid;
        } else {
            hi = mid;
        }
    }
    return (uint8_t)(x - map[lo] <= map[hi] - x ? lo : hi);
}

/* Offsets of the parts of a quantized matrix inside its buffer. */
struct nf4_parts {
    size_t absmax;
    size_t nested;
    size_t map;
    size_t head;
    size_t end;
};

static bool add_part(size_t *at, size_t bytes)
{
    return checked_add(*at, bytes, at) && checked_align(*at, ALIGN, at);
}

static bool nf4_parts(int64_t count, struct nf4_parts *p)
{
    const size_t n = (size_t)count;
    const size_t blocks = n / BLOCK + (n % BLOCK != 0);
    size_t at = 0;
    bool ok = count >= 0 && add_part(&at, n / 2 + n % 2);
    p->absmax = at;
    ok = ok && add_part(&at, blocks);
    p->nested = at;
    ok = ok && add_part(&at, (blocks / NESTED + 1) * sizeof(float));
    p->map = at;
    ok = ok && add_part(&at, 256 * sizeof(float));
    p->head = at;
    ok = ok && add_part(&at, sizeof(struct quant_nf4));
    p->end = at;
    return ok;
}

enum status quant_nf4_bytes(int64_t count, size_t *out)
{
    struct nf4_parts p;
    if (!nf4_parts(count, &p)) {
        return FAIL(MEMORY, "NF4: %lld elements overflow", (long long)count);
    }
    *out = p.end;
    return STATUS_OK;
}

static uint8_t nf4_code(float x)
{
    uint8_t code = 0;
    while (code < 15 && x > MIDPOINTS[code]) {
        code++;
    }
    return code;
}

/* Codes of one block; returns its absmax. */
static float encode_block(const float *src, int64_t begin, int64_t end, uint8_t *codes)
{
    float absmax = 0.0f;
    for (int64_t i = begin; i < end; i++) {
        absmax = fmaxf(absmax, fabsf(src[i]));
    }
    const float inverse = absmax > 0.0f ? 1.0f / absmax : 0.0f;
    for (int64_t i = begin; i < end; i++) {
        const uint8_t code = nf4_code(src[i] * inverse);
        if (i % 2 == 0) {
            codes[i / 2] = (uint8_t)(code << 4); /* first element in the high nibble */
        } else {
            codes[i / 2] |= code;
        }
    }
    return absmax;
}

static float block_absmax(const float *src, int64_t count, int64_t b)
{
    float absmax = 0.0f;
    const int64_t end = (b + 1) * BLOCK < count ? (b + 1) * BLOCK : count;
    for (int64_t i = b * BLOCK; i < end; i++) {
        absmax = fmaxf(absmax, fabsf(src[i]));
    }
    return absmax;
}

void quant_nf4_encode(const float *src, int64_t rows, int64_t columns, void *buffer,
                      struct tensor *out)
{
    struct nf4_parts parts;
    const int64_t count = rows * columns;
    ASSERT(nf4_parts(count, &parts));
    uint8_t *base = buffer;
    float *nested = (float *)(void *)(base + parts.nested);
    float *map = (float *)(void *)(base + parts.map);
    struct quant_nf4 *head = (struct quant_nf4 *)(void *)(base + parts.head);
    const int64_t blocks = (count + BLOCK - 1) / BLOCK;
    double sum = 0.0;
    dynamic_map(map);
    for (int64_t b = 0; b < blocks; b++) {
        const int64_t end = (b + 1) * BLOCK < count ? (b + 1) * BLOCK : count;
        sum += (double)encode_block(src, b * BLOCK, end, base);
    }
    const float offset = blocks > 0 ? (float)(sum / (double)blocks) : 0.0f;
    for (int64_t group = 0; group * NESTED < blocks; group++) {
        const int64_t end = (group + 1) * NESTED < blocks ? (group + 1) * NESTED : blocks;
        float largest = 0.0f;
        for (int64_t b = group * NESTED; b < end; b++) {
            largest = fmaxf(largest, fabsf(block_absmax(src, count, b) - offset));
        }
        nested[group] = largest;
        const float inverse = largest > 0.0f ? 1.0f / largest : 0.0f;
        for (int64_t b = group * NESTED; b < end; b++) {
            base[parts.absmax + (size_t)b] =
                map_code(map, (block_absmax(src, count, b) - offset) * inverse);
        }
    }
    *head = (struct quant_nf4){
        .blocksize = BLOCK,
        .absmax_q = base + parts.absmax,
        .nested = nested,
        .map = map,
        .offset = offset,
    };
    *out = (struct tensor){
        .dtype = DTYPE_NF4,
        .dims = 2,
        .shape = {rows, columns},
        .row_bytes = (size_t)columns / 2,
        .data = buffer,
        .aux = head,
    };
}

float quant_nf4_absmax(const struct quant_nf4 *q, int64_t b)
{
    if (q->absmax) {
        return q->absmax[b];
    }
    const float product = q->map[q->absmax_q[b]] * q->nested[b / NESTED];
    return product + q->offset;
}

static void decode_nf4(const struct tensor *w, int64_t begin, int64_t count, float *dst)
{
    const struct quant_nf4 *q = w->aux;
    const uint8_t *codes = w->data;
    int64_t block = -1;
    float absmax = 0.0f;
    for (int64_t i = begin; i < begin + count; i++) {
        if (i / q->blocksize != block) {
            block = i / q->blocksize;
            absmax = quant_nf4_absmax(q, block);
        }
        const uint8_t byte = codes[i / 2];
        dst[i - begin] = QUANT_NF4_VALUES[i % 2 ? byte & 15 : byte >> 4] * absmax;
    }
}

void quant_decode(const struct tensor *w, int64_t r, int64_t first, int64_t count, float *dst)
{
    if (w->dtype == DTYPE_NF4) {
        decode_nf4(w, r * tensor_columns(w) + first, count, dst);
        return;
    }
    const struct dtype_row *row = dtype_row(w->dtype);
    const uint8_t *p = w->data;
    p += (size_t)r * w->row_bytes + (size_t)(first / row->block) * (size_t)row->bytes;
    row->decode(p, dst, count);
}
