/* Vector primitives of the products on AVX2: 8 floats, tiles of 6 x 16. Same names and meaning as
 * kernels/cpu/avx512/gemm_vec.h. */
#pragma once

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define GEMM_INLINE static inline __attribute__((always_inline))
/* Unrolls a short loop of constant length, so that arrays of vectors live in registers. */
#ifdef __clang__
#define GEMM_UNROLL _Pragma("clang loop unroll(full)")
#else
#define GEMM_UNROLL _Pragma("GCC unroll 16")
#endif
#define GEMM_WIDTH 8
#define GEMM_MR 6
#define GEMM_NV 2
#define GEMM_NR (GEMM_NV * GEMM_WIDTH)

typedef __m256 vf;
typedef __m256i vi;
typedef uint32_t gemm_u32 __attribute__((vector_size(32)));

GEMM_INLINE vf g_zero(void) { return _mm256_setzero_ps(); }
GEMM_INLINE vf g_set(float x) { return _mm256_set1_ps(x); }
GEMM_INLINE vi g_set_int(int x) { return _mm256_set1_epi32(x); }
GEMM_INLINE vf g_load(const float *p) { return _mm256_loadu_ps(p); }
GEMM_INLINE void g_store(float *p, vf x) { _mm256_storeu_ps(p, x); }
GEMM_INLINE vf g_add(vf a, vf b) { return _mm256_add_ps(a, b); }
GEMM_INLINE vf g_sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
GEMM_INLINE vf g_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
GEMM_INLINE vf g_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
GEMM_INLINE vi g_and(vi a, vi b) { return _mm256_and_si256(a, b); }
GEMM_INLINE vi g_or(vi a, vi b) { return _mm256_or_si256(a, b); }
GEMM_INLINE vf g_as_float(vi x) { return _mm256_castsi256_ps(x); }
GEMM_INLINE vi g_as_int(vf x) { return _mm256_castps_si256(x); }
GEMM_INLINE vf g_float(vi x) { return _mm256_cvtepi32_ps(x); }

/* Logical shifts by a count; n < 0 shifts left. */
GEMM_INLINE vi g_shift(vi x, int n)
{
    return n < 0 ? (vi)((gemm_u32)x << (uint32_t)-n) : (vi)((gemm_u32)x >> (uint32_t)n);
}

/* Lane i shifted right by first + i. */
GEMM_INLINE vi g_shift_lanes(vi x, int first)
{
    const vi lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_srlv_epi32(x, _mm256_add_epi32(lane, g_set_int(first)));
}

/* Signed byte `b` of each lane. */
GEMM_INLINE vf g_byte(vi x, int b)
{
    return g_float(_mm256_srai_epi32(g_shift(x, 8 * b - 24), 24));
}

/* Low nibble, whatever lies above it; then the same minus 8. */
GEMM_INLINE vf g_nibble(vi x)
{
    return g_float(g_and(x, g_set_int(15)));
}

GEMM_INLINE vf g_nibble_signed(vi x)
{
    return g_float(_mm256_sub_epi32(g_and(x, g_set_int(15)), g_set_int(8)));
}

/* table[low nibble]. */
GEMM_INLINE vf g_lookup(vi x, const float table[16])
{
    const vf low = _mm256_permutevar8x32_ps(g_load(table), x);
    const vf high = _mm256_permutevar8x32_ps(g_load(table + 8), x);
    return _mm256_blendv_ps(low, high, g_as_float(g_shift(x, -28)));
}

/* Low nibble of `low` and the masked bits of `high`. */
GEMM_INLINE vi g_merge(vi low, vi high, int mask)
{
    return g_or(g_and(low, g_set_int(15)), g_and(high, g_set_int(mask)));
}

/* Low nibble of `low` with bit 4 of `high`. */
GEMM_INLINE vf g_five(vi low, vi high)
{
    return g_float(g_merge(low, high, 16));
}

/* The half in the low 16 bits of each lane. */
GEMM_INLINE vf g_half(vi x)
{
    const vi words = _mm256_packus_epi32(g_and(x, g_set_int(0xffff)), _mm256_setzero_si256());
    return _mm256_cvtph_ps(_mm256_castsi256_si128(_mm256_permute4x64_epi64(words, 0x08)));
}

/* 8 unsigned bytes, signed bytes, 16-bit words, halves; 4 bytes as nibbles, high one first. */
GEMM_INLINE vi g_bytes(const uint8_t *p)
{
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p));
}

GEMM_INLINE vf g_signed_bytes(const uint8_t *p)
{
    return g_float(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}

GEMM_INLINE vi g_words(const uint8_t *p)
{
    return _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));
}

GEMM_INLINE vf g_halves(const uint8_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}

GEMM_INLINE int g_word_at(const uint8_t *p)
{
    int x;
    memcpy(&x, p, sizeof x);
    return x;
}

GEMM_INLINE vi g_nibbles_high_first(const uint8_t *p)
{
    const vi x = _mm256_cvtepu8_epi64(_mm_cvtsi32_si128(g_word_at(p)));
    return g_or(_mm256_srli_epi64(x, 4), _mm256_slli_epi64(x, 32));
}

/* The words of four vectors, of rows i and i + 4 for i = 0..3, in the order of lanes. */
GEMM_INLINE void g_transpose_four(const vi r[4], vi out[4])
{
    const vi low01 = _mm256_unpacklo_epi32(r[0], r[1]);
    const vi low23 = _mm256_unpacklo_epi32(r[2], r[3]);
    const vi high01 = _mm256_unpackhi_epi32(r[0], r[1]);
    const vi high23 = _mm256_unpackhi_epi32(r[2], r[3]);
    out[0] = _mm256_unpacklo_epi64(low01, low23);
    out[1] = _mm256_unpackhi_epi64(low01, low23);
    out[2] = _mm256_unpacklo_epi64(high01, high23);
    out[3] = _mm256_unpackhi_epi64(high01, high23);
}

GEMM_INLINE vi g_two_rows(const uint8_t *a, const uint8_t *b)
{
    const vi x = _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)a));
    return _mm256_inserti128_si256(x, _mm_loadu_si128((const __m128i *)b), 1);
}

/* out[j] = 32-bit word j of the 16 bytes at p[lane] + at, for every lane. */
GEMM_INLINE void g_transpose(const uint8_t *const p[8], int64_t at, vi out[4])
{
    vi r[4];
    GEMM_UNROLL
    for (int i = 0; i < 4; i++) {
        r[i] = g_two_rows(p[i] + at, p[i + 4] + at);
    }
    g_transpose_four(r, out);
}

/* The same of rows that lie `stride` bytes apart. */
GEMM_INLINE void g_transpose_rows(const uint8_t *p, int64_t stride, vi out[4])
{
    const uint8_t *p4 = p + 4 * stride;
    const int64_t third = 3 * stride;
    const vi r[4] = {
        g_two_rows(p, p4),
        g_two_rows(p + stride, p4 + stride),
        g_two_rows(p + 2 * stride, p4 + 2 * stride),
        g_two_rows(p + third, p4 + third),
    };
    g_transpose_four(r, out);
}

/* The 32-bit word at p[lane] + at. */
GEMM_INLINE vi g_gather(const uint8_t *const p[8], int64_t at)
{
    return _mm256_setr_epi32(g_word_at(p[0] + at), g_word_at(p[1] + at), g_word_at(p[2] + at),
                             g_word_at(p[3] + at), g_word_at(p[4] + at), g_word_at(p[5] + at),
                             g_word_at(p[6] + at), g_word_at(p[7] + at));
}

/* Rounded to bf16 (half to even, NaN kept), as a float. */
GEMM_INLINE vf g_round_bf16(vf x)
{
    const vi bits = g_as_int(x);
    const vi odd = g_and(g_shift(bits, 16), g_set_int(1));
    const vi near = _mm256_add_epi32(bits, _mm256_add_epi32(odd, g_set_int(0x7fff)));
    const vi quiet = g_or(bits, g_set_int(0x400000));
    const vf kept = _mm256_blendv_ps(g_as_float(near), g_as_float(quiet),
                                     _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    return g_as_float(g_and(g_as_int(kept), g_set_int((int)0xffff0000)));
}
