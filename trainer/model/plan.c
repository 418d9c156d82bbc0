/* Memory of a pass: the pass itself with measuring arenas and ops that do nothing. */
#include "trainer/model/model_internal.h"

#define PLAN_OP(name, args)                                                                        \
    static void plan_##name(struct ops_context *c, const struct args *a)                           \
    {                                                                                              \
        (void)c;                                                                                   \
        (void)a;                                                                                   \
    }
PLAN_OP(gemm, gemm_args)
PLAN_OP(gemm_dx, gemm_dx_args)
PLAN_OP(gemm_dw, gemm_dw_args)
PLAN_OP(rmsnorm, rmsnorm_args)
PLAN_OP(rmsnorm_backward, rmsnorm_backward_args)
PLAN_OP(rope, rope_args)
PLAN_OP(attention, attn_args)
PLAN_OP(attention_backward, attn_backward_args)
PLAN_OP(glu, glu_args)
PLAN_OP(glu_backward, glu_backward_args)
PLAN_OP(embed, embed_args)
PLAN_OP(embed_backward, embed_backward_args)
PLAN_OP(logit_stats, logit_args)
PLAN_OP(logit_grad, logit_grad_args)
#undef PLAN_OP

static void plan_round(struct ops_context *c, uint16_t *y, const float *x, int64_t count)
{
    (void)c;
    (void)y;
    (void)x;
    (void)count;
}

static void plan_axpy(struct ops_context *c, float *y, const float *x, float alpha, int64_t count)
{
    (void)c;
    (void)y;
    (void)x;
    (void)alpha;
    (void)count;
}

static enum status plan_sync(struct ops_context *c)
{
    (void)c;
    return STATUS_OK;
}

const struct ops PLAN_OPS = {
    .name = "plan",
    .gemm = plan_gemm,
    .gemm_dx = plan_gemm_dx,
    .gemm_dw = plan_gemm_dw,
    .rmsnorm = plan_rmsnorm,
    .rmsnorm_backward = plan_rmsnorm_backward,
    .rope = plan_rope,
    .attention = plan_attention,
    .attention_backward = plan_attention_backward,
    .glu = plan_glu,
    .glu_backward = plan_glu_backward,
    .embed = plan_embed,
    .embed_backward = plan_embed_backward,
    .logit_stats = plan_logit_stats,
    .logit_grad = plan_logit_grad,
    .round = plan_round,
    .axpy = plan_axpy,
    .sync = plan_sync,
};

/* One measured pass: forward, head and, with p->grad, backward. */
static enum status measure_pass(const struct model *m, const struct pass *p,
                                const struct batch *b)
{
    float *hidden;
    struct model_state *state = NULL;
    struct head_result head = {0};
    TRY(model_forward(m, p, b, &hidden, &state));
    TRY(model_head_slope(m, p, b->n_out, &head));
    TRY(model_head(m, p, hidden, b->n_out, NULL, 1.0f, &head));
    if (!p->grad) {
        return STATUS_OK;
    }
    const struct model_backward_args a = {.batch = b, .temperature = 1.0f, .head = &head};
    return model_backward(m, p, &a);
}

enum status model_plan(const struct model *m, const struct pass *p, int64_t tokens, int64_t n_out,
                       size_t *step_bytes, size_t *scratch_bytes)
{
    struct arena step;
    struct arena scratch;
    struct ops_context ops = {.ops = &PLAN_OPS, .compute = p->ops->compute};
    const struct batch batch = {.tokens = tokens, .n_out = n_out};
    struct pass pass = *p;
    arena_open_measure(&step, "step");
    arena_open_measure(&scratch, "scratch");
    pass.ops = &ops;
    pass.step = &step;
    pass.scratch = &scratch;
    TRY(measure_pass(m, &pass, &batch));
    if (p->grad) { /* the same arenas serve passes without a backward: scoring, the reference */
        pass.grad = false;
        arena_rewind(&step, 0);
        arena_rewind(&scratch, 0);
        TRY(measure_pass(m, &pass, &batch));
    }
    *step_bytes = step.peak;
    *scratch_bytes = scratch.peak;
    return STATUS_OK;
}
