/* The scalar head of a reward model: one row of weights over the final hidden states. */
#include "trainer/model/model_internal.h"

enum status model_score(const struct model *m, const struct pass *p, const float *hidden,
                        int64_t n_out, float *score)
{
    ASSERT(m->score.in == m->config.hidden);
    const struct gemm_args a = {.x = hidden,
                                .ldx = m->config.hidden,
                                .m = n_out,
                                .w = &m->score.w,
                                .n = 1,
                                .y = score,
                                .ldy = 1,
                                .alpha = 1.0f};
    p->ops->ops->gemm(p->ops, &a);
    return p->ops->ops->sync(p->ops);
}

void score_backward(const struct block_run *r, const struct model_backward_args *a,
                    float *dhidden)
{
    const struct linear *l = &r->m->score;
    const struct pass *p = r->p;
    const int64_t rows = r->b->n_out;
    if (dhidden) {
        const struct gemm_dx_args dx = {.dy = a->dscore,
                                        .ldy = 1,
                                        .m = rows,
                                        .w = &l->w,
                                        .n = 1,
                                        .dx = dhidden,
                                        .ldx = l->in,
                                        .alpha = 1.0f};
        p->ops->ops->gemm_dx(p->ops, &dx);
    }
    for (const struct hook *h = p->hooks ? l->hooks : NULL; h; h = h->next) {
        const struct gemm_dw_args dw = {.dy = a->dscore,
                                        .ldy = 1,
                                        .x = a->hidden,
                                        .ldx = l->in,
                                        .n = 1,
                                        .k = l->in,
                                        .dw = param_grad(h->params, h->weight),
                                        .alpha = 1.0f,
                                        .unit_begin = r->out_unit_begin,
                                        .units = p->units};
        p->ops->ops->gemm_dw(p->ops, &dw);
    }
}
