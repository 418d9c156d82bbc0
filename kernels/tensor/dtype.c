/* The table of element and block types, and the plain ones; see dtype.h. */
#include <string.h>
#include <strings.h>

#include "kernels/base/checked.h"
#include "kernels/tensor/dtype_internal.h"

static void decode_f32(const void *blocks, float *dst, int64_t count)
{
    memcpy(dst, blocks, (size_t)count * sizeof *dst);
}

static void encode_f32(const float *src, void *blocks, int64_t count)
{
    memcpy(blocks, src, (size_t)count * sizeof *src);
}

static uint16_t load_u16(const uint8_t *p)
{
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return h;
}

static void decode_f16(const void *blocks, float *dst, int64_t count)
{
    const uint8_t *p = blocks;
    for (int64_t i = 0; i < count; i++) {
        dst[i] = dtype_f16_to_f32(load_u16(p + 2 * i));
    }
}

static void encode_f16(const float *src, void *blocks, int64_t count)
{
    uint8_t *p = blocks;
    for (int64_t i = 0; i < count; i++) {
        const uint16_t h = dtype_f32_to_f16(src[i]);
        memcpy(p + 2 * i, &h, sizeof h);
    }
}

static void decode_bf16(const void *blocks, float *dst, int64_t count)
{
    const uint8_t *p = blocks;
    for (int64_t i = 0; i < count; i++) {
        dst[i] = dtype_bf16_to_f32(load_u16(p + 2 * i));
    }
}

static void encode_bf16(const float *src, void *blocks, int64_t count)
{
    uint8_t *p = blocks;
    for (int64_t i = 0; i < count; i++) {
        const uint16_t h = dtype_f32_to_bf16(src[i]);
        memcpy(p + 2 * i, &h, sizeof h);
    }
}

static const struct dtype_row ROWS[DTYPE_COUNT] = {
    [DTYPE_F32] = {"F32", 0, 1, 4, decode_f32, encode_f32},
    [DTYPE_F16] = {"F16", 1, 1, 2, decode_f16, encode_f16},
    [DTYPE_BF16] = {"BF16", 30, 1, 2, decode_bf16, encode_bf16},
    [DTYPE_Q4_0] = {"Q4_0", 2, 32, 18, block_decode_q4_0, block_encode_q4_0},
    [DTYPE_Q4_1] = {"Q4_1", 3, 32, 20, block_decode_q4_1, block_encode_q4_1},
    [DTYPE_Q5_0] = {"Q5_0", 6, 32, 22, block_decode_q5_0, block_encode_q5_0},
    [DTYPE_Q5_1] = {"Q5_1", 7, 32, 24, block_decode_q5_1, block_encode_q5_1},
    [DTYPE_Q8_0] = {"Q8_0", 8, 32, 34, block_decode_q8_0, block_encode_q8_0},
    [DTYPE_Q4_K] = {"Q4_K", 12, 256, 144, block_decode_q4_k, block_encode_q4_k},
    [DTYPE_Q5_K] = {"Q5_K", 13, 256, 176, block_decode_q5_k, block_encode_q5_k},
    [DTYPE_Q6_K] = {"Q6_K", 14, 256, 210, block_decode_q6_k, block_encode_q6_k},
    [DTYPE_NF4] = {"NF4", -1, 2, 1, NULL, NULL},
};

const struct dtype_row *dtype_row(enum dtype type)
{
    return &ROWS[type];
}

bool dtype_from_ggml(uint32_t id, enum dtype *out)
{
    for (int t = 0; t < DTYPE_COUNT; t++) {
        if (ROWS[t].ggml_id >= 0 && (uint32_t)ROWS[t].ggml_id == id) {
            *out = (enum dtype)t;
            return true;
        }
    }
    return false;
}

bool dtype_from_name(const char *name, enum dtype *out)
{
    for (int t = 0; t < DTYPE_COUNT; t++) {
        if (strcasecmp(name, ROWS[t].name) == 0) {
            *out = (enum dtype)t;
            return true;
        }
    }
    return false;
}

enum status dtype_row_bytes(enum dtype type, int64_t columns, size_t *out)
{
    const struct dtype_row *row = &ROWS[type];
    if (columns < 0 || columns % row->block != 0) {
        return FAIL(INPUT, "a row of %lld elements is not whole %s blocks of %d",
                    (long long)columns, row->name, row->block);
    }
    if (!checked_mul((size_t)(columns / row->block), (size_t)row->bytes, out)) {
        return FAIL(INPUT, "a row of %lld elements overflows", (long long)columns);
    }
    return STATUS_OK;
}
