/*
 * 8-bit dynamic codes for optimizer state (Dettmers et al. 2022, arXiv 2110.02861), as
 * bitsandbytes 0.50 uses them on the CPU: blocks of 256 numbers, each a code into a map of 256
 * values in [-1, 1] times the block's largest magnitude. The code of x is looked up by
 * round((x + 1) / 2 * 65535) in a table of nearest values, so numbers closer than 2^-15 to each
 * other, zero included, share a code.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { DYNAMIC8_BLOCK = 256, DYNAMIC8_CODES = 256, DYNAMIC8_TABLE = 65536 };

struct dynamic8 {
    float value[DYNAMIC8_CODES]; /* ascending */
    uint8_t code[DYNAMIC8_TABLE];
};

/* Fills a map: values of both signs for momenta, or of 0 and above for squares. */
void dynamic8_make(struct dynamic8 *map, bool both_signs);

/* Codes and largest magnitude of one block x[count], count <= DYNAMIC8_BLOCK. A block of zeros has
 * codes 0 and magnitude 0. */
void dynamic8_encode(const struct dynamic8 *map, const float *x, int64_t count, uint8_t *code,
                     float *absmax);

/* x[count] = value of each code * absmax. */
void dynamic8_decode(const struct dynamic8 *map, const uint8_t *code, float absmax, int64_t count,
                     float *x);
