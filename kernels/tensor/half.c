/* fp16 and bf16 conversions, round half to even; see dtype.h. */
#include <string.h>

#include "kernels/tensor/dtype.h"

static uint32_t bits_of(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static float from_bits(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

float dtype_bf16_to_f32(uint16_t h)
{
    return from_bits((uint32_t)h << 16);
}

uint16_t dtype_f32_to_bf16(float x)
{
    const uint32_t u = bits_of(x);
    if ((u & 0x7fffffffU) > 0x7f800000U) {
        return (uint16_t)((u >> 16) | 0x40U); /* keep NaN a NaN */
    }
    return (uint16_t)((u + 0x7fffU + ((u >> 16) & 1U)) >> 16);
}

float dtype_f16_to_f32(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000U) << 16;
    const uint32_t exponent = (h >> 10) & 0x1fU;
    const uint32_t fraction = h & 0x3ffU;
    if (exponent == 0x1fU) {
        return from_bits(sign | 0x7f800000U | (fraction << 13));
    }
    if (exponent == 0) { /* zero or subnormal: exact in fp32 */
        const float magnitude = (float)fraction * 0x1p-24f;
        return sign ? -magnitude : magnitude;
    }
    return from_bits(sign | ((exponent + 112U) << 23) | (fraction << 13));
}

uint16_t dtype_f32_to_f16(float x)
{
    const uint32_t u = bits_of(x);
    const uint16_t sign = (uint16_t)((u >> 16) & 0x8000U);
    const uint32_t magnitude = u & 0x7fffffffU;
    if (magnitude > 0x7f800000U) {
        return (uint16_t)(sign | 0x7e00U | ((magnitude >> 13) & 0x3ffU));
    }
    if (magnitude >= 0x477ff000U) { /* rounds to 65536 or more */
        return (uint16_t)(sign | 0x7c00U);
    }
    if (magnitude < 0x38800000U) { /* subnormal: let the adder round */
        const float scaled = from_bits(magnitude) + 0.5f;
        return (uint16_t)(sign | (bits_of(scaled) - 0x3f000000U));
    }
    const uint32_t rebased = magnitude - (112U << 23);
    return (uint16_t)(sign | ((rebased + 0xfffU + ((rebased >> 13) & 1U)) >> 13));
}
