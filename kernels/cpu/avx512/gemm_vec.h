/* Vector primitives of the products on AVX-512: 16 floats, tiles of 12 x 32. Included by the tier's
 * own sources only. */
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
#define GEMM_WIDTH 16
#define GEMM_MR 12
#define GEMM_NV 2
#define GEMM_NR (GEMM_NV * GEMM_WIDTH)

typedef __m512 vf;
typedef __m512i vi;
typedef uint32_t gemm_u32 __attribute__((vector_size(64)));

GEMM_INLINE vf g_zero(void) { return _mm512_setzero_ps(); }
GEMM_INLINE vf g_set(float x) { return _mm512_set1_ps(x); }
GEMM_INLINE vi g_set_int(int x) { return _mm512_set1_epi32(x); }
GEMM_INLINE vf g_load(const float *p) { return _mm512_loadu_ps(p); }
GEMM_INLINE void g_store(float *p, vf x) { _mm512_storeu_ps(p, x); }
GEMM_INLINE vf g_add(vf a, vf b) { return _mm512_add_ps(a, b); }
GEMM_INLINE vf g_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
GEMM_INLINE vf g_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
GEMM_INLINE vf g_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
GEMM_INLINE vi g_and(vi a, vi b) { return _mm512_and_si512(a, b); }
GEMM_INLINE vi g_or(vi a, vi b) { return _mm512_or_si512(a, b); }
GEMM_INLINE vf g_as_float(vi x) { return _mm512_castsi512_ps(x); }
GEMM_INLINE vi g_as_int(vf x) { return _mm512_castps_si512(x); }
GEMM_INLINE vf g_float(vi x) { return _mm512_cvtepi32_ps(x); }

/* Logical shifts by a count; n < 0 shifts left. */
GEMM_INLINE vi g_shift(vi x, int n)
{
    return n < 0 ? (vi)((gemm_u32)x << (uint32_t)-n) : (vi)((gemm_u32)x >> (uint32_t)n);
}

/* Lane i shifted right by first + i. */
GEMM_INLINE vi g_shift_lanes(vi x, int first)
{
    const vi lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    return _mm512_srlv_epi32(x, _mm512_add_epi32(lane, g_set_int(first)));
}

/* Signed byte `b` of each lane. */
GEMM_INLINE vf g_byte(vi x, int b)
{
    return g_float(_mm512_srai_epi32(g_shift(x, 8 * b - 24), 24));
}

/* Low nibble, whatever lies above it; then the same minus 8. */
GEMM_INLINE vf g_nibble(vi x)
{
    return _mm512_permutexvar_ps(
        x, _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
}

GEMM_INLINE vf g_nibble_signed(vi x)
{
    return _mm512_permutexvar_ps(
        x, _mm512_setr_ps(-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7));
}

/* table[low nibble]. */
GEMM_INLINE vf g_lookup(vi x, const float table[16])
{
    return _mm512_permutexvar_ps(x, g_load(table));
}

/* Low nibble of `low` and the masked bits of `high`. */
GEMM_INLINE vi g_merge(vi low, vi high, int mask)
{
    const vi bits = _mm512_ternarylogic_epi32(g_set_int(15), low, high, 0xca);
    return g_and(bits, g_set_int(15 | mask));
}

/* Low nibble of `low` with bit 4 of `high`. */
GEMM_INLINE vf g_five(vi low, vi high)
{
    const vi bits = _mm512_ternarylogic_epi32(g_set_int(15), low, high, 0xca);
    return _mm512_permutex2var_ps(
        _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), bits,
        _mm512_setr_ps(16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31));
}

/* The half in the low 16 bits of each lane. */
GEMM_INLINE vf g_half(vi x) { return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(x)); }

/* 16 unsigned bytes, signed bytes, 16-bit words, halves; 8 bytes as nibbles, high one first. */
GEMM_INLINE vi g_bytes(const uint8_t *p)
{
    return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p));
}

GEMM_INLINE vf g_signed_bytes(const uint8_t *p)
{
    return g_float(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
}

GEMM_INLINE vi g_words(const uint8_t *p)
{
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
}

GEMM_INLINE vf g_halves(const uint8_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}

GEMM_INLINE vi g_nibbles_high_first(const uint8_t *p)
{
    const vi x = _mm512_cvtepu8_epi64(_mm_loadl_epi64((const __m128i *)p));
    return g_or(_mm512_srli_epi64(x, 4), _mm512_slli_epi64(x, 32));
}

/* The words of four vectors, of rows i, i + 4, i + 8, i + 12 for i = 0..3, in the order of lanes.
 */
GEMM_INLINE void g_transpose_four(const vi r[4], vi out[4])
{
    const vi low01 = _mm512_unpacklo_epi32(r[0], r[1]);
    const vi low23 = _mm512_unpacklo_epi32(r[2], r[3]);
    const vi high01 = _mm512_unpackhi_epi32(r[0], r[1]);
    const vi high23 = _mm512_unpackhi_epi32(r[2], r[3]);
    out[0] = _mm512_unpacklo_epi64(low01, low23);
    out[1] = _mm512_unpackhi_epi64(low01, low23);
    out[2] = _mm512_unpacklo_epi64(high01, high23);
    out[3] = _mm512_unpackhi_epi64(high01, high23);
}

GEMM_INLINE vi g_four_rows(const uint8_t *a, const uint8_t *b, const uint8_t *c, const uint8_t *d)
{
    vi x = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)a));
    x = _mm512_inserti32x4(x, _mm_loadu_si128((const __m128i *)b), 1);
    x = _mm512_inserti32x4(x, _mm_loadu_si128((const __m128i *)c), 2);
    return _mm512_inserti32x4(x, _mm_loadu_si128((const __m128i *)d), 3);
}

/* out[j] = 32-bit word j of the 16 bytes at p[lane] + at, for every lane. */
GEMM_INLINE void g_transpose(const uint8_t *const p[16], int64_t at, vi out[4])
{
    vi r[4];
    GEMM_UNROLL
    for (int i = 0; i < 4; i++) {
        r[i] = g_four_rows(p[i] + at, p[i + 4] + at, p[i + 8] + at, p[i + 12] + at);
    }
    g_transpose_four(r, out);
}

/* The same of rows that lie `stride` bytes apart. */
GEMM_INLINE void g_transpose_rows(const uint8_t *p, int64_t stride, vi out[4])
{
    const uint8_t *p4 = p + 4 * stride;
    const uint8_t *p8 = p + 8 * stride;
    const uint8_t *p12 = p4 + 8 * stride;
    const int64_t third = 3 * stride;
    const vi r[4] = {
        g_four_rows(p, p4, p8, p12),
        g_four_rows(p + stride, p4 + stride, p8 + stride, p12 + stride),
        g_four_rows(p + 2 * stride, p4 + 2 * stride, p8 + 2 * stride, p12 + 2 * stride),
        g_four_rows(p + third, p4 + third, p8 + third, p12 + third),
    };
    g_transpose_four(r, out);
}

GEMM_INLINE int g_word_at(const uint8_t *p)
{
    int x;
    memcpy(&x, p, sizeof x);
    return x;
}

/* The 32-bit word at p[lane] + at. */
GEMM_INLINE vi g_gather(const uint8_t *const p[16], int64_t at)
{
    return _mm512_setr_epi32(
        g_word_at(p[0] + at), g_word_at(p[1] + at), g_word_at(p[2] + at), g_word_at(p[3] + at),
        g_word_at(p[4] + at), g_word_at(p[5] + at), g_word_at(p[6] + at), g_word_at(p[7] + at),
        g_word_at(p[8] + at), g_word_at(p[9] + at), g_word_at(p[10] + at), g_word_at(p[11] + at),
        g_word_at(p[12] + at), g_word_at(p[13] + at), g_word_at(p[14] + at),
        g_word_at(p[15] + at));
}

/* Rounded to bf16 (half to even, NaN kept), as a float. */
GEMM_INLINE vf g_round_bf16(vf x)
{
    const vi bits = g_as_int(x);
    const vi odd = g_and(g_shift(bits, 16), g_set_int(1));
    const vi near = _mm512_add_epi32(bits, _mm512_add_epi32(odd, g_set_int(0x7fff)));
    const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    const vi kept = _mm512_mask_or_epi32(near, nan, bits, g_set_int(0x400000));
    return g_as_float(g_and(kept, g_set_int((int)0xffff0000)));
}
