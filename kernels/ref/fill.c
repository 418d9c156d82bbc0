/* The reference table. */
#include "kernels/ref/ref.h"

enum status ref_sync(struct ops_context *c)
{
    (void)c; /* the CPU works in place: nothing is queued */
    return STATUS_OK;
}

void ref_fill(struct ops *table)
{
    *table = (struct ops){
        .name = "ref",
        .row_invariant = true,
        .gemm = ref_gemm,
        .gemm_dx = ref_gemm_dx,
        .panel_shape = ref_panel_shape,
        .panel_fill = ref_panel_fill,
        .gemm_dw = ref_gemm_dw,
        .rmsnorm = ref_rmsnorm,
        .rmsnorm_backward = ref_rmsnorm_backward,
        .rope = ref_rope,
        .attention = ref_attention,
        .attention_backward = ref_attention_backward,
        .glu = ref_glu,
        .glu_backward = ref_glu_backward,
        .embed = ref_embed,
        .embed_backward = ref_embed_backward,
        .logit_stats = ref_logit_stats,
        .logit_grad = ref_logit_grad,
        .update = ref_update,
        .adafactor = ref_adafactor,
        .round = ref_round,
        .axpy = ref_axpy,
        .square_sum = ref_square_sum,
        .sync = ref_sync,
    };
}
