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

/* y[m, n] (+)= alpha x[m, k] W[n, k]^T (+ bias), k ascending, W decoded a row at a time. */
void ref_gemm(struct ops_context *c, const struct gemm_args *a);
/* dx[m, k] (+)= alpha dy[m, n] W[n, k], n ascending. */
void ref_gemm_dx(struct ops_context *c, const struct gemm_dx_args *a);
/* Panels without bytes: ref_gemm rounds what it decodes of a weight that has them. */
void ref_panel_shape(const struct ops_context *c, const struct tensor *w,
                     struct tensor_panels *out);
/* Writes nothing. */
void ref_panel_fill(struct ops_context *c, const struct tensor *w, uint16_t *to);
/* dw[n, k] += alpha sum_t dy[t, n] x[t, k], by blocks of OPS_GRAD_BLOCK tokens of each unit. */
void ref_gemm_dw(struct ops_context *c, const struct gemm_dw_args *a);
/* y[rows, cols] = x / sqrt(mean(x^2) + eps) * w; rstd [rows] kept when wanted. */
void ref_rmsnorm(struct ops_context *c, const struct rmsnorm_args *a);
/* dx (+)= rstd (dy w - xhat mean(dy w xhat)), dw[cols] += sum of dy xhat by units. */
void ref_rmsnorm_backward(struct ops_context *c, const struct rmsnorm_backward_args *a);
/* Rotates the pairs (j, j + dim/2) of each head of x [rows, heads * head_dim] in place. */
void ref_rope(struct ops_context *c, const struct rope_args *a);
/* out[t, h] = softmax(scale q k^T, causal, window) v, and lse [T, heads] when wanted. */
void ref_attention(struct ops_context *c, const struct attn_args *a);
/* dq written, dk and dv added to; probabilities are recomputed from lse. */
void ref_attention_backward(struct ops_context *c, const struct attn_backward_args *a);
/* h[count] = act(g) * u. */
void ref_glu(struct ops_context *c, const struct glu_args *a);
/* dg = dh u act'(g), du = dh act(g), each [count]. */
void ref_glu_backward(struct ops_context *c, const struct glu_backward_args *a);
/* y[rows, cols] = scale * row ids[t] of the embedding. */
void ref_embed(struct ops_context *c, const struct embed_args *a);
/* dw[ids[t]] += scale * dy[t], tokens ascending. */
void ref_embed_backward(struct ops_context *c, const struct embed_backward_args *a);
/* Takes one vocabulary chunk [rows, n] of logits into the running statistics [rows]. */
void ref_logit_stats(struct ops_context *c, const struct logit_args *a);
/* One chunk of logits [rows, n] to d loss / d logits, in place. */
void ref_logit_grad(struct ops_context *c, const struct logit_grad_args *a);
/* One elementwise optimizer update of p and its states [count] from g. */
void ref_update(struct ops_context *c, const struct update_args *a);
/* One Adafactor update of p [batch, rows, cols] from g. */
void ref_adafactor(struct ops_context *c, const struct adafactor_args *a);
/* y[i] = bf16 of x[i], half to even, i < count. */
void ref_round(struct ops_context *c, uint16_t *y, const float *x, int64_t count);
/* y[i] += alpha x[i], i < count. */
void ref_axpy(struct ops_context *c, float *y, const float *x, float alpha, int64_t count);
/* Sum of x[i]^2 in double, by chunks of 4096 added in order. */
double ref_square_sum(struct ops_context *c, const float *x, int64_t count);
/* Nothing is ever queued: always OK. */
enum status ref_sync(struct ops_context *c);
