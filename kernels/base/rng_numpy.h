/*
 * NumPy's default generator, bit for bit: `datasets` shuffles and splits with it (spec training.md
 * 2).
 *
 * PCG64 (O'Neill 2014, "PCG: A family of simple fast space-efficient statistically good algorithms
 * for random number generation": XSL-RR 128/64), seeded through SeedSequence.
 */
#pragma once

#include <stdint.h>

struct rng_pcg64 {
    uint64_t state[2]; /* high, low */
    uint64_t step[2];  /* the odd increment, high, low */
    uint32_t half;     /* upper half of the last 64-bit word, when kept */
    int has_half;
};

/* numpy.random.default_rng(seed). */
void rng_pcg_seed(struct rng_pcg64 *g, uint64_t seed);

/* Next 64-bit word. */
uint64_t rng_pcg_next(struct rng_pcg64 *g);

/* p = generator.permutation(n), n < 2^32: Fisher-Yates from the end, draws masked and
 * repeated while too large. */
void rng_pcg_permutation(struct rng_pcg64 *g, int64_t *p, int64_t n);
