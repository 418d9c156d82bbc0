/* The products of the CPU tiers: gemm, gemm_dx and gemm_dw of kernels/ops.h on packed weights. */
#pragma once

#include "kernels/ops.h"

/* Overwrite the three products of `table`. Call only when the machine has the tier. In COMPUTE_F32
 * both give the bits of kernels/ref; in COMPUTE_BF16 they do too unless the context has
 * has_bf16_dot, where the AVX-512 tier multiplies pairs (its own rule, see gemm_internal.h). */
void gemm_avx2_fill(struct ops *table);

/* Same for AVX-512; pairs of bf16 when has_bf16_dot. */
void gemm_avx512_fill(struct ops *table);

/* gemm and gemm_dx on bf16 tiles in COMPUTE_BF16, over gemm_avx512_fill's. The process must have
 * the kernel's permission for tile data (cpu_best_tier asks for it). */
void gemm_amx_fill(struct ops *table);
