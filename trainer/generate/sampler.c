/* One draw: filters in Transformers' order (training.md 1.3), then inverse CDF in token order. */
#include <math.h>

#include "trainer/generate/generate.h"

static int64_t argmax(const float *z, int64_t n)
{
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++) {
        if (z[i] > z[best]) {
            best = i;
        }
    }
    return best;
}

static void swap(float *a, float *b)
{
    const float t = *a;
    *a = *b;
    *b = t;
}

/* k-th largest (k >= 1) by quickselect with a middle pivot; reorders v. */
static float kth_largest(float *v, int64_t n, int64_t k)
{
    int64_t lo = 0;
    int64_t hi = n - 1;
    const int64_t want = k - 1;
    while (lo < hi) {
        const float pivot = v[lo + (hi - lo) / 2];
        int64_t i = lo;
        int64_t j = hi;
        while (i <= j) {
            while (v[i] > pivot) {
                i++;
            }
            while (v[j] < pivot) {
                j--;
            }
            if (i <= j) {
                swap(&v[i++], &v[j--]);
            }
        }
        if (want <= j) {
            hi = j;
        } else if (want >= i) {
            lo = i;
        } else {
            break;
        }
    }
    return v[want];
}

static int compare_floats(const void *a, const void *b)
{
    float x;
    float y;
    __builtin_memcpy(&x, a, sizeof x);
    __builtin_memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

/* Copies the logits >= floor into v and returns how many. */
static int64_t kept_values(const float *z, int64_t n, float floor_z, float *v)
{
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++) {
        if (z[i] >= floor_z) {
            v[count++] = z[i];
        }
    }
    return count;
}

/* Smallest kept logit under top-p: drop ascending values while their mass is <= 1 - p. */
static float top_p_floor(const float *z, int64_t n, double top_p, float floor_z, float *v)
{
    const int64_t count = kept_values(z, n, floor_z, v);
    qsort(v, (size_t)count, sizeof *v, compare_floats);
    const double max = v[count - 1];
    double total = 0.0;
    for (int64_t i = 0; i < count; i++) {
        total += exp((double)v[i] - max);
    }
    double mass = 0.0;
    for (int64_t i = 0; i + 1 < count; i++) {
        mass += exp((double)v[i] - max) / total;
        if (mass > 1.0 - top_p) {
            return v[i];
        }
    }
    return v[count - 1];
}

/* First token, in order, at which the cumulative mass of the kept tokens passes u. */
static int64_t inverse_cdf(const float *z, int64_t n, float floor_z, float max, double u)
{
    double total = 0.0;
    for (int64_t i = 0; i < n; i++) {
        total += z[i] >= floor_z ? (double)expf(z[i] - max) : 0.0;
    }
    const double target = u * total;
    double mass = 0.0;
    int64_t last = 0;
    for (int64_t i = 0; i < n; i++) {
        const float p = z[i] >= floor_z ? expf(z[i] - max) : 0.0f;
        if (p > 0.0f) {
            mass += (double)p;
            last = i;
            if (mass > target) {
                return i;
            }
        }
    }
    return last;
}

int32_t sample_token(const struct sample_config *s, const float *z, int64_t vocab, double u,
                     float *scratch)
{
    const int64_t best = argmax(z, vocab);
    if (s->temperature <= 0.0) {
        return (int32_t)best;
    }
    float floor_z = -INFINITY;
    if (s->top_k > 0 && s->top_k < vocab) {
        const int64_t count = kept_values(z, vocab, floor_z, scratch);
        floor_z = kth_largest(scratch, count, s->top_k);
    }
    if (s->top_p < 1.0) {
        floor_z = top_p_floor(z, vocab, s->top_p, floor_z, scratch);
    }
    if (s->min_p > 0.0) { /* p < min_p * p_max is a bound on the logit, whatever was dropped before */
        const float bound = z[best] + (float)log(s->min_p);
        floor_z = bound > floor_z ? bound : floor_z;
    }
    return (int32_t)inverse_cdf(z, vocab, floor_z, z[best], u);
}
