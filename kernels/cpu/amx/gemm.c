/*
 * The products on AMX: decoders and packing of the pairs of AVX-512 BF16, whose panels already lie
 * as the tiles want them (a unit is two neighbours of the reduction), and tiles of TDPBF16PS for
 * every number of rows. Weight gradients stay on pairs: their operands lie the other way.
 */
#include <immintrin.h>

/* gcc 12 does not tell the compiler that LDTILECFG and TILELOADD read memory and drops the stores
 * before them; the barrier keeps them. */
#define AMX_BARRIER(p) __asm__ volatile("" ::"r"(p) : "memory")
#define AMX_CONFIG(config)                                                                         \
    do {                                                                                           \
        AMX_BARRIER(config);                                                                       \
        _tile_loadconfig(config);                                                                  \
    } while (0)
#define AMX_ZERO(t) _tile_zero(t)
#define AMX_LOAD(t, base, stride)                                                                  \
    do {                                                                                           \
        AMX_BARRIER(base);                                                                         \
        _tile_loadd(t, base, stride);                                                              \
    } while (0)
#define AMX_STORE(t, base, stride)                                                                 \
    do {                                                                                           \
        _tile_stored(t, base, stride);                                                             \
        AMX_BARRIER(base);                                                                         \
    } while (0)
#define AMX_DOT(sum, a, b) _tile_dpbf16ps(sum, a, b)
#define AMX_FINISH(f) GEMM_AVX512_BF16.finish(f)

#include "kernels/cpu/amx/tile.inc"

#include "kernels/cpu/gemm_tiers.h"

enum { AMX_DEPTH = 4096 }; /* a stretch stores its tiles once */

/* The tier of this call: the pairs' with another tile, and no way around it for few rows. */
static struct gemm_tier amx_tier(void)
{
    struct gemm_tier t = GEMM_AVX512_BF16;
    t.mr = AMX_SIDE;
    t.depth = AMX_DEPTH;
    t.tile = amx_tile;
    t.direct = NULL;
    t.codes = NULL; /* a tile's sums run over blocks of other scales */
    return t;
}

static void forward(struct ops_context *c, const struct gemm_args *a)
{
    const struct gemm_tier tiles = amx_tier();
    const struct gemm_choice choice = {&GEMM_AVX512, c->has_bf16_dot ? &tiles : NULL};
    gemm_run(c, &choice, a);
}

static void backward_x(struct ops_context *c, const struct gemm_dx_args *a)
{
    const struct gemm_tier tiles = amx_tier();
    const struct gemm_choice choice = {&GEMM_AVX512, c->has_bf16_dot ? &tiles : NULL};
    gemm_run_dx(c, &choice, a);
}

void gemm_amx_fill(struct ops *table)
{
    table->name = "amx";
    table->gemm = forward;
    table->gemm_dx = backward_x;
}
