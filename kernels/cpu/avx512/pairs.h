/* Units of two rows of bf16. Included by sources of tiers with AVX-512 BW only. */
#pragma once

#include <immintrin.h>

/* to[i] = (even[i], odd[i]) for 32 columns of two rows of bf16, the even row in the low half; a
 * missing odd row (NULL) is zero. `to` takes 128 bytes. */
static inline __attribute__((always_inline)) void pairs_of_rows(const void *even, const void *odd,
                                                                float *to)
{
    const __m512i low =
        _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7, 38, 6,
                         37, 5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
    const __m512i high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
    const __m512i a = _mm512_loadu_si512(even);
    const __m512i b = odd ? _mm512_loadu_si512(odd) : _mm512_setzero_si512();
    _mm512_storeu_si512(to, _mm512_permutex2var_epi16(a, low, b));
    _mm512_storeu_si512(to + 16, _mm512_permutex2var_epi16(a, high, b));
}
