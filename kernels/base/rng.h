/*
 * Counter-based random numbers: the same draw on any rank, thread or resume.
 *
 * Philox4x32-10 (Salmon et al., SC'11, "Parallel random numbers: as easy as 1, 2, 3"). The 64-bit
 * Philox key mixes (seed, purpose, step); the 128-bit counter is (row, sample, position, module).
 */
#pragma once

#include <stdint.h>

/* What a draw is for; part of the key, so two uses never share numbers. */
enum rng_purpose {
    RNG_INIT = 1,    /* random weights and adapters */
    RNG_SAMPLE = 2,  /* token sampling */
    RNG_SHUFFLE = 3, /* data order where TRL's is not asked for */
    RNG_DROPOUT = 4,
    RNG_DATA = 5, /* procedural problems */
    RNG_EVAL = 6,
    RNG_NEFTUNE = 7
};

struct rng_key {
    uint64_t seed;
    uint32_t purpose; /* enum rng_purpose */
    uint32_t step;
    uint32_t row;
    uint32_t sample;
    uint32_t position;
    uint32_t module;
};

/* Four 32-bit words of the stream `key`. */
void rng_draw4(const struct rng_key *key, uint32_t out[4]);

/* Uniform in [0, 1): 24 bits. */
float rng_uniform(const struct rng_key *key);

/* Uniform in [0, 1): 53 bits. */
double rng_uniform53(const struct rng_key *key);

/* dst[i] = lo + (hi - lo) * u_i for i < n; the i-th number is keyed by position i / 4 added to
 * key->position, so slices of a tensor can be drawn apart. */
void rng_fill_uniform(const struct rng_key *key, float *dst, int64_t n, float lo, float hi);

/* dst[i] ~ N(0, std^2), Box-Muller on the stream of rng_fill_uniform's keys. */
void rng_fill_normal(const struct rng_key *key, float *dst, int64_t n, float std);

/* MT19937 as torch's CPU generator seeds and draws it (spec/training.md 1.1, adapters.md 1.1):
 * the data orders of TRL come from it. */
struct rng_mt19937 {
    uint32_t state[624];
    int index;
};

/* init_genrand(seed). */
void rng_mt_seed(struct rng_mt19937 *g, uint32_t seed);

/* init_by_array of one key, as Python's random.Random(seed) starts for seeds below 2^32. */
void rng_mt_seed_python(struct rng_mt19937 *g, uint32_t seed);

/* Uniform in [0, n), 0 < n < 2^32, as Python's randrange: the top bits, drawn again while >= n. */
uint32_t rng_mt_below_python(struct rng_mt19937 *g, uint32_t n);

/* Next 32-bit word. */
uint32_t rng_mt_next(struct rng_mt19937 *g);

/* p = torch.randperm(n) from this stream: for i < n-1 swap p[i], p[i + draw % (n-i)]. */
void rng_mt_randperm(struct rng_mt19937 *g, int64_t *p, int64_t n);
