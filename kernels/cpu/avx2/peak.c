/* Peak of eight-wide fp32 multiply-adds; see kernels/cpu/peak.h. */
#include "kernels/cpu/peak.h"

#include <immintrin.h>

float peak_avx2_fma(int64_t rounds)
{
    enum { SUMS = 10 };
    __m256 sum[SUMS];
    const __m256 x = _mm256_set1_ps(0.5f);
    for (int i = 0; i < SUMS; i++) {
        sum[i] = _mm256_set1_ps((float)i);
    }
    for (int64_t r = 0; r < rounds; r++) {
#pragma GCC unroll 16
        for (int i = 0; i < SUMS; i++) {
            sum[i] = _mm256_fmadd_ps(sum[i], x, x);
        }
    }
    for (int i = 1; i < SUMS; i++) {
        sum[0] = _mm256_add_ps(sum[0], sum[i]);
    }
    return _mm256_cvtss_f32(sum[0]);
}
