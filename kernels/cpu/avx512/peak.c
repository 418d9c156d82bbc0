/* Peak of sixteen-wide fp32 multiply-adds; see kernels/cpu/peak.h. */
#include "kernels/cpu/peak.h"

#include <immintrin.h>

float peak_avx512_fma(int64_t rounds)
{
    enum { SUMS = 20 };
    __m512 sum[SUMS];
    const __m512 x = _mm512_set1_ps(0.5f);
    for (int i = 0; i < SUMS; i++) {
        sum[i] = _mm512_set1_ps((float)i);
    }
    for (int64_t r = 0; r < rounds; r++) {
#pragma GCC unroll 32
        for (int i = 0; i < SUMS; i++) {
            sum[i] = _mm512_fmadd_ps(sum[i], x, x);
        }
    }
    for (int i = 1; i < SUMS; i++) {
        sum[0] = _mm512_add_ps(sum[0], sum[i]);
    }
    return _mm512_cvtss_f32(sum[0]);
}
