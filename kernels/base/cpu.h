/* CPU tiers: what this machine offers, read once from cpuid, and what GRAFT_ISA forces. */
#pragma once

#include "kernels/base/status.h"

/* Ascending: a machine that has a tier has those below. */
enum cpu_tier { TIER_REF, TIER_AVX2, TIER_AVX512, TIER_AMX, TIER_COUNT };

/* Best tier this machine and kernel (saved register state) support. */
enum cpu_tier cpu_best_tier(void);

/* True when VDPBF16PS exists (AVX-512 BF16). */
int cpu_has_avx512_bf16(void);

/* Tier to use: GRAFT_ISA=ref|avx2|avx512|amx when set, else the best with an implementation
 * (`limit`). Fails with DEVICE when the machine lacks the forced tier and USAGE on another word. */
MUST_USE enum status cpu_choose_tier(enum cpu_tier limit, enum cpu_tier *out);

/* CPUs this process may run on (its affinity mask), at least 1. */
int cpu_allowed(void);

/* "ref", "avx2", "avx512", "amx". */
const char *cpu_tier_name(enum cpu_tier tier);
