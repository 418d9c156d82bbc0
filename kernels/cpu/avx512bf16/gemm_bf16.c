/*
 * The products on pairs of bf16 with VDPBF16PS (AVX-512 BF16): two elements per step.
 *
 * The instruction takes subnormal inputs as zero, as does VCVTNE2PS2BF16, so rounding with it
 * changes nothing that the product would see.
 */
#include "kernels/cpu/avx512/gemm_vec.h"

#define GEMM_PAIR 2

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

const struct gemm_tier GEMM_AVX512_BF16 = {
    .nr = GEMM_NR,
    .mr = GEMM_MR,
    .pair = GEMM_PAIR,
    .depth = 256,
    .tile = gemm_tile,
    .finish = gemm_finish,
    .direct = gemm_direct,
    .pack_rows = gemm_pack_rows,
    .pack_columns = gemm_pack_columns,
    .pack_a = gemm_pack_a,
};
