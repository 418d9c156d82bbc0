/* The loops of peak.h and which of them this machine runs. */
#include "kernels/cpu/peak.h"

static const struct peak_kind KINDS[] = {
    {"avx2_fma", TIER_AVX2, false, COMPUTE_F32, 10 * 8 * 2.0, peak_avx2_fma},
    {"avx512_fma", TIER_AVX512, false, COMPUTE_F32, 20 * 16 * 2.0, peak_avx512_fma},
    {"avx512_bf16", TIER_AVX512, true, COMPUTE_BF16, 20 * 32 * 2.0, peak_avx512_bf16},
    {"amx_bf16", TIER_AMX, true, COMPUTE_BF16, 4 * 16 * 16 * 32 * 2.0, peak_amx_bf16},
};

enum { KIND_COUNT = sizeof KINDS / sizeof KINDS[0] };

static bool machine_has(const struct peak_kind *k)
{
    return k->tier <= cpu_best_tier() && (!k->bf16_dot || cpu_has_avx512_bf16());
}

const struct peak_kind *peak_at(int i)
{
    for (int k = 0; k < KIND_COUNT; k++) {
        if (machine_has(&KINDS[k]) && i-- == 0) {
            return &KINDS[k];
        }
    }
    return NULL;
}

const struct peak_kind *peak_of(const struct ops_context *ops)
{
    const struct peak_kind *best = NULL;
    for (int k = 0; k < KIND_COUNT; k++) {
        const bool dot = !KINDS[k].bf16_dot || (ops->has_bf16_dot && ops->compute == COMPUTE_BF16);
        if (machine_has(&KINDS[k]) && KINDS[k].tier <= ops->tier && dot) {
            best = &KINDS[k];
        }
    }
    return best;
}
