/*
 * The products on pairs of bf16 with VDPBF16PS (AVX-512 BF16): two elements per step.
 *
 * The instruction takes subnormal inputs as zero, as does VCVTNE2PS2BF16, so rounding with it
 * changes nothing that the product would see.
 */
#include "kernels/cpu/avx512/gemm_vec.h"
#include "kernels/cpu/avx512/pairs.h"
#include "kernels/tensor/quant.h"

#define GEMM_PAIR 2
#define GEMM_BLOCKS

GEMM_INLINE vf g_mac(vf sum, vf a, vf b)
{
    return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
}

GEMM_INLINE vf g_pairs(vf low, vf high)
{
    return (vf)_mm512_cvtne2ps_pbh(high, low);
}

/* Lane i: the pair (even[i], odd[i]), even in the low half. */
GEMM_INLINE vf g_unit(vf even, vf odd)
{
    const vi weave = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8,
                                      23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    const vi both = g_as_int(g_pairs(even, odd));
    return g_as_float(_mm512_permutexvar_epi16(weave, both));
}

GEMM_INLINE void g_put(float *dst, vf even, vf odd)
{
    g_store(dst, g_unit(even, odd));
}

GEMM_INLINE vf g_take(vf sum, const float *a, vf even, vf odd)
{
    return g_mac(sum, g_set(a[0]), g_unit(even, odd));
}

/* Two neighbours of each row, in the low bits of the two 16-bit words of its lane. */
struct gemm_two {
    vi x;
};

struct gemm_codes {
    vf v;
};

/* Integers first .. first + 31, exact, one to a word. */
GEMM_INLINE vi g_integers(int first)
{
    const vi low = _mm512_add_epi32(
        _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
        g_set_int(first));
    return g_as_int(g_pairs(g_float(low), g_float(_mm512_add_epi32(low, g_set_int(16)))));
}

/* Bytes a, b, c, d of every lane; 128: zero. */
GEMM_INLINE vi g_bytes_of(vi q, int a, int b, int c, int d)
{
    const vi one = g_set_int(a | b << 8 | c << 16 | (int)((unsigned)d << 24));
    const vi lane = _mm512_setr_epi32(0, 0x04040404, 0x08080808, 0x0c0c0c0c, 0, 0x04040404,
                                      0x08080808, 0x0c0c0c0c, 0, 0x04040404, 0x08080808,
                                      0x0c0c0c0c, 0, 0x04040404, 0x08080808, 0x0c0c0c0c);
    return _mm512_shuffle_epi8(q, _mm512_or_si512(one, lane));
}

/* Bytes `byte` and byte + 1 (byte even) shifted right; g_shift's sign. */
GEMM_INLINE struct gemm_two g_two(vi q, int byte, int shift)
{
    return (struct gemm_two){g_shift(g_bytes_of(q, byte, 128, byte + 1, 128), shift)};
}

/* Bits `bit` and bit + 1 (bit even) of the 16 from byte `byte` on, each at bit 4 of its word. */
GEMM_INLINE struct gemm_two g_two_bits(vi q, int byte, int bit)
{
    const vi twice = g_bytes_of(q, byte, byte + 1, byte, byte + 1);
    return (struct gemm_two){g_shift(_mm512_srlv_epi16(twice, g_set_int(1 << 16)), bit - 4)};
}

/* Low nibbles; less 8. What lies above them does not matter. */
GEMM_INLINE struct gemm_codes g_code4(struct gemm_two q, bool less)
{
    const vi low = g_integers(less ? -8 : 0);
    const vi table = _mm512_shuffle_i64x2(low, low, 0x44);
    return (struct gemm_codes){g_as_float(_mm512_permutexvar_epi16(q.x, table))};
}

/* `low` in the low nibbles, `high` above. */
GEMM_INLINE vi g_over(struct gemm_two low, struct gemm_two high)
{
    return _mm512_ternarylogic_epi32(g_set_int(0x000f000f), low.x, high.x, 0xca);
}

/* Low nibbles with bit 4 of `high`; less 16. */
GEMM_INLINE struct gemm_codes g_code5(struct gemm_two low, struct gemm_two high, bool less)
{
    const vi table = g_integers(less ? -16 : 0);
    return (struct gemm_codes){g_as_float(_mm512_permutexvar_epi16(g_over(low, high), table))};
}

/* Low nibbles with bits 4 and 5 of `high`, less 32. */
GEMM_INLINE struct gemm_codes g_code6(struct gemm_two low, struct gemm_two high)
{
    return (struct gemm_codes){g_as_float(_mm512_permutex2var_epi16(
        g_integers(-32), g_over(low, high), g_integers(0)))};
}

/* Signed bytes times 2^24, for g_scale8: they become floats at the top of their lanes. */
GEMM_INLINE struct gemm_codes g_code8(vi q, int byte)
{
    const vi upper = _mm512_setr_epi32(
        0x210001, 0x230003, 0x250005, 0x270007, 0x290009, 0x2b000b, 0x2d000d, 0x2f000f, 0x310011,
        0x330013, 0x350015, 0x370017, 0x390019, 0x3b001b, 0x3d001d, 0x3f001f);
    const vf even = g_float(g_bytes_of(q, 128, 128, 128, byte));
    const vf odd = g_float(g_bytes_of(q, 128, 128, 128, byte + 1));
    return (struct gemm_codes){
        g_as_float(_mm512_permutex2var_epi16(g_as_int(even), upper, g_as_int(odd)))};
}

GEMM_INLINE vf g_scale8(vf d)
{
    return g_mul(d, g_set(0x1p-24f));
}

GEMM_INLINE vf g_code_take(vf sum, const float *a, struct gemm_codes c)
{
    return g_mac(sum, g_set(a[0]), c.v);
}

GEMM_INLINE void g_code_store(float *dst, struct gemm_codes c)
{
    g_store(dst, c.v);
}

#include "kernels/cpu/gemm/all.inc"

/* Neighbours are pairs already: 32 floats become 16 units. */
static void gemm_pack_a(const float *src, int64_t count, float *dst)
{
    int64_t i = 0;
    for (; i + 2 * GEMM_WIDTH <= count; i += 2 * GEMM_WIDTH) {
        g_store(dst + i / 2, g_pairs(g_load(src + i), g_load(src + i + GEMM_WIDTH)));
    }
    if (i < count) {
        float last[2 * GEMM_WIDTH] = {0};
        float units[GEMM_WIDTH];
        memcpy(last, src + i, (size_t)(count - i) * sizeof *last);
        g_store(units, g_pairs(g_load(last), g_load(last + GEMM_WIDTH)));
        memcpy(dst + i / 2, units, (size_t)(count - i + 1) / 2 * sizeof *units);
    }
}

/* Sums of blocks of 32: neighbours, then x[i] + x[i + 8] of those, 4, 2, 1. */
static void gemm_sum_blocks(const float *units, int64_t blocks, float *dst)
{
    for (int64_t b = 0; b < blocks; b++) {
        const vi x = g_as_int(g_load(units + 16 * b));
        const vf even = g_as_float(g_shift(x, -16));
        const vf odd = g_as_float(g_and(x, g_set_int((int)0xffff0000)));
        dst[b] = _mm512_reduce_add_ps(g_add(even, odd));
    }
}

const struct gemm_tier GEMM_AVX512_BF16 = {
    .nr = GEMM_NR,
    .mr = GEMM_MR,
    .pair = GEMM_PAIR,
    .depth = 8192, /* 24 products a unit hide the strip's way from L2 */
    .tile = gemm_tile,
    .blocks = gemm_blocks,
    .finish = gemm_finish,
    .direct = gemm_direct,
    .codes = gemm_codes,
    .sum_blocks = gemm_sum_blocks,
    .pack_rows = gemm_pack_rows,
    .pack_columns = gemm_pack_columns,
    .pack_a = gemm_pack_a,
};
