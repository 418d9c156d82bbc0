/* Tier selection: the reference fills the table, each tier then overwrites what it does better. */
#include "kernels/cpu/select_internal.h"

#include "kernels/cpu/gemm_tiers.h"
#include "kernels/ref/ref.h"

bool select_fill(enum cpu_tier tier, struct ops *table)
{
    if (tier >= TIER_COUNT) {
        return false;
    }
    ref_fill(table);
    if (tier < TIER_AVX2) {
        return true;
    }
    vec_avx2_fill(table);
    gemm_avx2_fill(table);
    if (tier < TIER_AVX512) {
        return true;
    }
    vec_avx512_fill(table);
    gemm_avx512_fill(table);
    if (tier >= TIER_AMX) {
        gemm_amx_fill(table);
    }
    return true;
}
