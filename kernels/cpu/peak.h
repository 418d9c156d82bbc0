/*
 * What a core's arithmetic can do at most: loops of independent fused multiply-adds that touch
 * registers alone, one per kind of instruction that products use. The roof of the roofline
 * (Williams et al. 2009); the tiers' own products are measured against it.
 */
#pragma once

#include <stdint.h>

#include "kernels/ops.h"

/* Runs the loop `rounds` times; the result keeps the compiler from leaving it out. */
typedef float (*peak_fn)(int64_t rounds);

struct peak_kind {
    const char *name; /* "avx512_bf16" */
    enum cpu_tier tier;
    bool bf16_dot;    /* needs AVX-512 BF16 */
    enum compute compute; /* whose products these instructions do */
    double flops;     /* of a round */
    peak_fn run;
};

/* Kind i that this machine has, in ascending speed; NULL behind the last. */
const struct peak_kind *peak_at(int i);

/* The instructions of an open context's products; NULL: the reference tier has no such loop. */
const struct peak_kind *peak_of(const struct ops_context *ops);

/* Eight-wide fp32 multiply-adds: 10 per round. */
float peak_avx2_fma(int64_t rounds);

/* Sixteen-wide: 20 per round. */
float peak_avx512_fma(int64_t rounds);

/* VDPBF16PS: 20 per round, 32 multiply-adds each. */
float peak_avx512_bf16(int64_t rounds);

/* TDPBF16PS on four accumulators: 4 per round, 16 x 16 x 32 multiply-adds each. */
float peak_amx_bf16(int64_t rounds);
