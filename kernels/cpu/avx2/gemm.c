/* The products on AVX2 and FMA. */
#include "kernels/cpu/avx2/gemm_vec.h"
#include "kernels/cpu/gemm/single.inc"
#include "kernels/cpu/gemm_tiers.h"

const struct gemm_tier GEMM_AVX2 = {
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

static const struct gemm_choice CHOICE = {&GEMM_AVX2, NULL};

static void forward(struct ops_context *c, const struct gemm_args *a)
{
    gemm_run(c, &CHOICE, a);
}

static void backward_x(struct ops_context *c, const struct gemm_dx_args *a)
{
    gemm_run_dx(c, &CHOICE, a);
}

static void backward_w(struct ops_context *c, const struct gemm_dw_args *a)
{
    gemm_run_dw(c, &CHOICE, a);
}

static void panel_shape(const struct ops_context *c, const struct tensor *w,
                        struct tensor_panels *out)
{
    gemm_panel_shape(c, &CHOICE, w, out);
}

static void panel_fill(struct ops_context *c, const struct tensor *w, uint16_t *to)
{
    gemm_panel_fill(c, &CHOICE, w, to);
}

void gemm_avx2_fill(struct ops *table)
{
    table->panel_shape = panel_shape;
    table->panel_fill = panel_fill;
    table->gemm = forward;
    table->gemm_dx = backward_x;
    table->gemm_dw = backward_w;
}
