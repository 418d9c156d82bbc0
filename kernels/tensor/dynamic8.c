/* Dynamic 8-bit codes; see dynamic8.h. */
#include "kernels/tensor/dynamic8.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { EXPONENTS = 7 };

static int ascending(const void *a, const void *b)
{
    const float x = *(const float *)a;
    const float y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Point i of n from 0.1 to 1, counted from the nearer end as torch.linspace does. */
static float point(int i, int n)
{
    const float step = (1.0f - 0.1f) / (float)(n - 1);
    return i < n / 2 ? fmaf(step, (float)i, 0.1f) : fmaf(-step, (float)(n - 1 - i), 1.0f);
}

/* For each power of ten from 1e-6 to 1, 2^k values between a tenth of it and itself (twice as many
 * when the sign bit is free), plus 0 and 1. */
static void make_values(float *value, bool both_signs)
{
    int count = 0;
    for (int e = 0; e < EXPONENTS; e++) {
        const int points = both_signs ? (1 << e) + 1 : (2 << e) + 1;
        const float scale = (float)pow(10.0, e - (EXPONENTS - 1));
        for (int i = 0; i + 1 < points; i++) {
            const float mean = (point(i, points) + point(i + 1, points)) / 2.0f;
            value[count++] = scale * mean;
            if (both_signs) {
                value[count++] = -scale * mean;
            }
        }
    }
    value[count++] = 0.0f;
    value[count++] = 1.0f;
    qsort(value, (size_t)count, sizeof *value, ascending);
}

void dynamic8_make(struct dynamic8 *map, bool both_signs)
{
    int code = 0;
    make_values(map->value, both_signs);
    for (int i = 0; i < DYNAMIC8_TABLE; i++) {
        const float x = 2.0f * (float)i / (float)(DYNAMIC8_TABLE - 1) - 1.0f;
        while (code + 1 < DYNAMIC8_CODES
               && x > (map->value[code] + map->value[code + 1]) * 0.5f) {
            code++;
        }
        map->code[i] = (uint8_t)code;
    }
}

void dynamic8_encode(const struct dynamic8 *map, const float *x, int64_t count, uint8_t *code,
                     float *absmax)
{
    float largest = 0.0f;
    for (int64_t i = 0; i < count; i++) {
        const float size = fabsf(x[i]);
        largest = size > largest ? size : largest;
    }
    *absmax = largest;
    if (largest == 0.0f) {
        memset(code, 0, (size_t)count);
        return;
    }
    const float inverse = 1.0f / largest;
    for (int64_t i = 0; i < count; i++) {
        const float ratio = x[i] * inverse;
        const float above = ratio > -1.0f ? ratio : -1.0f; /* NaN too */
        const float scaled = above < 1.0f ? above : 1.0f;
        /* Exact in double, so this rounds once, as the fused product and sum it stands for. */
        const double place = (double)((scaled + 1.0f) * 0.5f) * (DYNAMIC8_TABLE - 1) + 0.5;
        code[i] = map->code[(int)(float)place];
    }
}

void dynamic8_decode(const struct dynamic8 *map, const uint8_t *code, float absmax, int64_t count,
                     float *x)
{
    for (int64_t i = 0; i < count; i++) {
        x[i] = map->value[code[i]] * absmax;
    }
}
