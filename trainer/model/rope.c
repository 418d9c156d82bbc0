/*
 * Tables of rotary angles (spec models.md 1.3): default, linear, llama3 and yarn frequencies. The
 * frequencies are rounded to fp32 after each step as torch does, because an angle is position times
 * frequency: at position 8000 one ulp of a frequency is 5e-4 of a radian.
 */
#include <math.h>

#include "trainer/model/config.h"

/* Llama 3.1: long wavelengths are stretched, short ones kept, those between are blended. */
static float scale_llama3(const struct rope_config *r, float inv)
{
    const float context = (float)r->original_context;
    const float factor = (float)r->factor;
    const float low = (float)r->low_freq_factor;
    const float high = (float)r->high_freq_factor;
    const float wavelength = 6.283185307179586f / inv;
    if (wavelength < context / high) {
        return inv;
    }
    if (wavelength > context / low || high <= low) {
        return inv / factor;
    }
    const float smooth = (context / wavelength - low) / (high - low);
    return (1.0f - smooth) * inv / factor + smooth * inv;
}

/* Index of the frequency that turns `turns` times over the original context (YaRN, Peng et al.,
 * arXiv 2309.00071). */
static double yarn_index(const struct rope_config *r, int64_t dim, double turns)
{
    return (double)dim * log((double)r->original_context / (turns * 2.0 * 3.14159265358979323846))
           / (2.0 * log(r->theta));
}

static float scale_yarn(const struct rope_config *r, int64_t dim, int64_t j, float inv)
{
    double low = yarn_index(r, dim, r->beta_fast);
    double high = yarn_index(r, dim, r->beta_slow);
    if (!r->keep_fraction) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0.0);
    high = fmin(high, (double)(dim - 1));
    if (low == high) {
        high += 0.001;
    }
    const float ramp = ((float)j - (float)low) / (float)(high - low);
    const float interpolate = fminf(fmaxf(ramp, 0.0f), 1.0f);
    return inv / (float)r->factor * interpolate + inv * (1.0f - interpolate);
}

static float frequency(const struct rope_config *r, int64_t dim, int64_t j)
{
    const float exponent = (float)(2 * j) / (float)dim;
    const float inv = 1.0f / powf((float)r->theta, exponent);
    const float divided = r->divisors ? inv / r->divisors[j] : inv;
    switch (r->scaling) {
    case ROPE_LINEAR:
        return divided / (float)r->factor;
    case ROPE_LLAMA3:
        return scale_llama3(r, divided);
    case ROPE_YARN:
        return scale_yarn(r, dim, j, divided);
    case ROPE_DEFAULT:
        break;
    }
    return divided;
}

void rope_fill_tables(const struct rope_config *r, int64_t dim, int64_t positions, float *cos_table,
                      float *sin_table)
{
    const int64_t half = dim / 2;
    const float magnitude = r->magnitude > 0.0 ? (float)r->magnitude : 1.0f;
    for (int64_t j = 0; j < half; j++) {
        const float inv = frequency(r, dim, j);
        for (int64_t p = 0; p < positions; p++) {
            const float angle = (float)p * inv;
            cos_table[p * half + j] = (float)cos((double)angle) * magnitude;
            sin_table[p * half + j] = (float)sin((double)angle) * magnitude;
        }
    }
}

float rope_divisor(const struct rope_config *r, int64_t dim, int64_t j)
{
    const struct rope_config plain = {.scaling = ROPE_DEFAULT, .theta = r->theta};
    return frequency(&plain, dim, j) / frequency(r, dim, j);
}
