/*
 * The reference tier: the scalar definition of every op in kernels/ops.h. Loops are plain, sums
 * ascend from +0, a product and its add are one fused multiply-add, and the compiler may not
 * contract anything else (-ffp-contract=off). Other tiers are right when they agree with these up
 * to the rounding of a reordered sum. parallel_for only splits independent outputs.
 *
 * Shapes, units and meaning of the arguments: kernels/ops.h. No entry can fail.
 */
#pragma once

#include "kernels/ops.h"

/* Fills every entry of `table` with the reference; name "ref". */
void ref_fill(struct ops *table);

void ref_gemm(struct ops_context *c, const struct gemm_args *a);
void ref_gemm_dx(struct ops_context *c, const struct gemm_dx_args *a);
void ref_gemm_dw(struct ops_context *c, const struct gemm_dw_args *a);
void ref_rmsnorm(struct ops_context *c, const struct rmsnorm_args *a);
void ref_rmsnorm_backward(struct ops_context *c, const struct rmsnorm_backward_args *a);
void ref_rope(struct ops_context *c, const struct rope_args *a);
void ref_attention(struct ops_context *c, const struct attn_args *a);
void ref_attention_backward(struct ops_context *c, const struct attn_backward_args *a);
void ref_glu(struct ops_context *c, const struct glu_args *a);
void ref_glu_backward(struct ops_context *c, const struct glu_backward_args *a);
void ref_embed(struct ops_context *c, const struct embed_args *a);
void ref_embed_backward(struct ops_context *c, const struct embed_backward_args *a);
void ref_logit_stats(struct ops_context *c, const struct logit_args *a);
void ref_logit_grad(struct ops_context *c, const struct logit_grad_args *a);
void ref_adamw(struct ops_context *c, const struct adamw_args *a);
void ref_axpy(struct ops_context *c, float *y, const float *x, float alpha, int64_t count);
double ref_square_sum(struct ops_context *c, const float *x, int64_t count);
enum status ref_sync(struct ops_context *c);
