/* The products on AVX-512, and its choice of pairs where VDPBF16PS exists. */
#include "kernels/cpu/avx512/gemm_vec.h"
#include "kernels/cpu/gemm/single.inc"
#include "kernels/cpu/gemm_tiers.h"

const struct gemm_tier GEMM_AVX512 = {
    .nr = GEMM_NR,
    .mr = GEMM_MR,
    .pair = GEMM_PAIR,
    .depth = 256,
    .tile = gemm_tile,
    .finish = gemm_finish,
    .direct = gemm_direct,
    .codes = gemm_codes,
    .sum_blocks = gemm_sum_blocks,
    .pack_rows = gemm_pack_rows,
    .pack_columns = gemm_pack_columns,
    .pack_a = gemm_pack_a,
    .widen = gemm_widen,
};

static struct gemm_choice choose(const struct ops_context *c)
{
    return (struct gemm_choice){&GEMM_AVX512, c->has_bf16_dot ? &GEMM_AVX512_BF16 : NULL};
}

static void forward(struct ops_context *c, const struct gemm_args *a)
{
    const struct gemm_choice choice = choose(c);
    gemm_run(c, &choice, a);
}

static void backward_x(struct ops_context *c, const struct gemm_dx_args *a)
{
    const struct gemm_choice choice = choose(c);
    gemm_run_dx(c, &choice, a);
}

static void backward_w(struct ops_context *c, const struct gemm_dw_args *a)
{
    const struct gemm_choice choice = choose(c);
    gemm_run_dw(c, &choice, a);
}

static void panel_shape(const struct ops_context *c, const struct tensor *w,
                        struct tensor_panels *out)
{
    const struct gemm_choice choice = choose(c);
    gemm_panel_shape(c, &choice, w, out);
}

static void panel_fill(struct ops_context *c, const struct tensor *w, uint16_t *to)
{
    const struct gemm_choice choice = choose(c);
    gemm_panel_fill(c, &choice, w, to);
}

void gemm_avx512_fill(struct ops *table)
{
    table->panel_shape = panel_shape;
    table->panel_fill = panel_fill;
    table->gemm = forward;
    table->gemm_dx = backward_x;
    table->gemm_dw = backward_w;
}
