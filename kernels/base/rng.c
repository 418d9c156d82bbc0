/* Philox4x32-10 and MT19937; see rng.h. */
#include "kernels/base/rng.h"

#include <math.h>

/* splitmix64 finaliser (Steele et al., OOPSLA 2014). */
static uint64_t mix64(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

void rng_draw4(const struct rng_key *key, uint32_t out[4])
{
    const uint64_t tag = ((uint64_t)key->purpose << 32) | key->step;
    const uint64_t mixed = mix64(key->seed + 0x9e3779b97f4a7c15ULL * (mix64(tag) | 1U));
    uint32_t k0 = (uint32_t)mixed;
    uint32_t k1 = (uint32_t)(mixed >> 32);
    uint32_t c0 = key->row;
    uint32_t c1 = key->sample;
    uint32_t c2 = key->position;
    uint32_t c3 = key->module;
    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = (uint64_t)0xD2511F53U * c0;
        const uint64_t p1 = (uint64_t)0xCD9E8D57U * c2;
        const uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        const uint32_t n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9U;
        k1 += 0xBB67AE85U;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

float rng_uniform(const struct rng_key *key)
{
    uint32_t w[4];
    rng_draw4(key, w);
    return (float)(w[0] >> 8) * 0x1p-24f;
}

double rng_uniform53(const struct rng_key *key)
{
    uint32_t w[4];
    rng_draw4(key, w);
    const uint64_t bits = ((uint64_t)w[0] << 32 | w[1]) >> 11;
    return (double)bits * 0x1p-53;
}

void rng_fill_uniform(const struct rng_key *key, float *dst, int64_t n, float lo, float hi)
{
    struct rng_key k = *key;
    uint32_t w[4] = {0};
    for (int64_t i = 0; i < n; i++) {
        if (i % 4 == 0) {
            k.position = key->position + (uint32_t)(i / 4);
            rng_draw4(&k, w);
        }
        dst[i] = lo + (hi - lo) * ((float)(w[i % 4] >> 8) * 0x1p-24f);
    }
}

void rng_fill_normal(const struct rng_key *key, float *dst, int64_t n, float std)
{
    const double two_pi = 6.283185307179586476925;
    struct rng_key k = *key;
    uint32_t w[4] = {0};
    for (int64_t i = 0; i < n; i++) {
        if (i % 4 == 0) {
            k.position = key->position + (uint32_t)(i / 4);
            rng_draw4(&k, w);
        }
        const int pair = (int)(i % 4) / 2 * 2;
        const double u1 = ((double)w[pair] + 0.5) * 0x1p-32;
        const double u2 = (double)w[pair + 1] * 0x1p-32;
        const double radius = sqrt(-2.0 * log(u1));
        const double unit = i % 2 ? sin(two_pi * u2) : cos(two_pi * u2);
        dst[i] = std * (float)(radius * unit);
    }
}

void rng_mt_seed(struct rng_mt19937 *g, uint32_t seed)
{
    g->state[0] = seed;
    for (uint32_t i = 1; i < 624; i++) {
        const uint32_t prev = g->state[i - 1];
        g->state[i] = 1812433253U * (prev ^ (prev >> 30)) + i;
    }
    g->index = 624;
}

void rng_mt_seed_python(struct rng_mt19937 *g, uint32_t seed)
{
    uint32_t *s = g->state;
    rng_mt_seed(g, 19650218U);
    for (uint32_t i = 1, k = 624; k > 0; k--) { /* one key word: j stays 0 */
        s[i] = (s[i] ^ ((s[i - 1] ^ (s[i - 1] >> 30)) * 1664525U)) + seed;
        if (++i >= 624) {
            s[0] = s[623];
            i = 1;
        }
    }
    for (uint32_t i = 2, k = 623; k > 0; k--) {
        s[i] = (s[i] ^ ((s[i - 1] ^ (s[i - 1] >> 30)) * 1566083941U)) - i;
        if (++i >= 624) {
            s[0] = s[623];
            i = 1;
        }
    }
    s[0] = 0x80000000U;
}

uint32_t rng_mt_below_python(struct rng_mt19937 *g, uint32_t n)
{
    const int bits = 32 - __builtin_clz(n);
    uint32_t r;
    do {
        r = rng_mt_next(g) >> (32 - bits);
    } while (r >= n);
    return r;
}

static void mt_refill(struct rng_mt19937 *g)
{
    uint32_t *s = g->state;
    for (int i = 0; i < 624; i++) {
        const uint32_t y = (s[i] & 0x80000000U) | (s[(i + 1) % 624] & 0x7fffffffU);
        s[i] = s[(i + 397) % 624] ^ (y >> 1) ^ ((y & 1U) ? 0x9908b0dfU : 0U);
    }
    g->index = 0;
}

uint32_t rng_mt_next(struct rng_mt19937 *g)
{
    if (g->index >= 624) {
        mt_refill(g);
    }
    uint32_t y = g->state[g->index++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680U;
    y ^= (y << 15) & 0xefc60000U;
    return y ^ (y >> 18);
}

void rng_mt_randperm(struct rng_mt19937 *g, int64_t *p, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        p[i] = i;
    }
    for (int64_t i = 0; i + 1 < n; i++) {
        const int64_t j = i + (int64_t)(rng_mt_next(g) % (uint32_t)(n - i));
        const int64_t t = p[i];
        p[i] = p[j];
        p[j] = t;
    }
}
