/* SeedSequence, PCG64 and NumPy's shuffle; see rng_numpy.h. */
#include "kernels/base/rng_numpy.h"

typedef unsigned __int128 u128;

enum { POOL = 4 };

/* Mixes a word into the running hash of SeedSequence (O'Neill's randutils). */
static uint32_t hash_word(uint32_t value, uint32_t *constant, uint32_t multiplier)
{
    value ^= *constant;
    *constant *= multiplier;
    value *= *constant;
    return value ^ value >> 16;
}

static uint32_t mix_words(uint32_t x, uint32_t y)
{
    const uint32_t mixed = 0xca01f9ddU * x - 0x4973f715U * y;
    return mixed ^ mixed >> 16;
}

static void fill_pool(uint64_t seed, uint32_t pool[POOL])
{
    const uint32_t words[POOL] = {(uint32_t)seed, (uint32_t)(seed >> 32), 0, 0};
    uint32_t constant = 0x43b0d7e5U;
    for (int i = 0; i < POOL; i++) {
        pool[i] = hash_word(words[i], &constant, 0x931e8875U);
    }
    for (int from = 0; from < POOL; from++) {
        for (int to = 0; to < POOL; to++) {
            if (from != to) {
                pool[to] = mix_words(pool[to], hash_word(pool[from], &constant, 0x931e8875U));
            }
        }
    }
}

static u128 load(const uint64_t words[2])
{
    return (u128)words[0] << 64 | words[1];
}

static void store(u128 value, uint64_t words[2])
{
    words[0] = (uint64_t)(value >> 64);
    words[1] = (uint64_t)value;
}

static void advance(struct rng_pcg64 *g)
{
    const u128 multiplier = (u128)0x2360ed051fc65da4ULL << 64 | 0x4385df649fccf645ULL;
    store(load(g->state) * multiplier + load(g->step), g->state);
}

void rng_pcg_seed(struct rng_pcg64 *g, uint64_t seed)
{
    uint32_t pool[POOL];
    uint64_t words[POOL];
    uint32_t constant = 0x8b51f9ddU;
    fill_pool(seed, pool);
    for (int i = 0; i < POOL; i++) {
        const uint32_t low = hash_word(pool[2 * i % POOL], &constant, 0x58f38dedU);
        const uint32_t high = hash_word(pool[(2 * i + 1) % POOL], &constant, 0x58f38dedU);
        words[i] = (uint64_t)high << 32 | low;
    }
    *g = (struct rng_pcg64){0};
    store(load(words + 2) << 1 | 1, g->step);
    advance(g);
    store(load(g->state) + load(words), g->state);
    advance(g);
}

uint64_t rng_pcg_next(struct rng_pcg64 *g)
{
    advance(g);
    const uint64_t folded = g->state[0] ^ g->state[1];
    const unsigned turn = (unsigned)(g->state[0] >> 58);
    return folded >> turn | folded << (-turn & 63U);
}

/* Words come in pairs, the lower half first. */
static uint32_t next32(struct rng_pcg64 *g)
{
    if (g->has_half) {
        g->has_half = 0;
        return g->half;
    }
    const uint64_t word = rng_pcg_next(g);
    g->half = (uint32_t)(word >> 32);
    g->has_half = 1;
    return (uint32_t)word;
}

/* Uniform in [0, max]: draws of as many bits as max has, until one fits. */
static uint32_t up_to(struct rng_pcg64 *g, uint32_t max)
{
    const uint32_t mask = UINT32_MAX >> __builtin_clz(max | 1U);
    uint32_t draw;
    do {
        draw = next32(g) & mask;
    } while (draw > max);
    return draw;
}

void rng_pcg_permutation(struct rng_pcg64 *g, int64_t *p, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        p[i] = i;
    }
    for (int64_t i = n - 1; i > 0; i--) {
        const int64_t j = up_to(g, (uint32_t)i);
        const int64_t kept = p[i];
        p[i] = p[j];
        p[j] = kept;
    }
}
