/* Updates over the parameter arena: runs of equal decay are one call each; see optim.h. */
#include "trainer/optim/optim.h"

#include <math.h>

int optim_moments(const struct optim_config *c)
{
    return c->kind == OPTIM_ADAMW ? 2 : 0;
}

double optim_grad_norm(struct ops_context *ops, const struct param_set *p)
{
    return sqrt(ops->ops->square_sum(ops, p->grad, p->total));
}

static double clip_factor(const struct optim_config *c, double norm)
{
    if (c->max_grad_norm <= 0) {
        return 1.0;
    }
    const double factor = c->max_grad_norm / (norm + 1e-6);
    return factor < 1.0 ? factor : 1.0;
}

static void adamw_run(struct ops_context *ops, struct param_set *p, int64_t begin, int64_t end,
                      const struct adamw_args *common)
{
    struct adamw_args a = *common;
    a.p = p->value + begin;
    a.g = p->grad + begin;
    a.m = p->m + begin;
    a.v = p->v + begin;
    a.count = end - begin;
    ops->ops->adamw(ops, &a);
}

static void adamw_all(struct ops_context *ops, struct param_set *p, const struct optim_config *c,
                      const struct adamw_args *common)
{
    int64_t begin = 0;
    for (int64_t i = 0; i < p->count; i++) {
        const bool last = i + 1 == p->count;
        if (!last && p->params[i + 1].decay == p->params[i].decay) {
            continue;
        }
        const int64_t end = last ? p->total : p->params[i + 1].offset;
        struct adamw_args run = *common;
        run.weight_decay = p->params[i].decay ? (float)c->weight_decay : 0.0f;
        adamw_run(ops, p, begin, end, &run);
        begin = end;
    }
}

static void sgd_all(struct ops_context *ops, struct param_set *p, const struct optim_config *c,
                    double lr, double factor)
{
    for (int64_t i = 0; c->weight_decay > 0 && i < p->count; i++) {
        if (p->params[i].decay) { /* torch adds wd * p to the (clipped) gradient */
            ops->ops->axpy(ops, param_grad(p, i), param_value(p, i),
                           (float)(c->weight_decay / factor), p->params[i].count);
        }
    }
    ops->ops->axpy(ops, p->value, p->grad, (float)(-lr * factor), p->total);
}

void optim_update(struct ops_context *ops, struct param_set *p, const struct optim_config *c,
                  double lr, double norm, int64_t step)
{
    const double factor = clip_factor(c, norm);
    if (c->kind == OPTIM_SGD) {
        sgd_all(ops, p, c, lr, factor);
        return;
    }
    const struct adamw_args common = {
        .lr = (float)lr,
        .beta1 = (float)c->beta1,
        .beta2 = (float)c->beta2,
        .eps = (float)c->eps,
        .grad_scale = (float)factor,
        .step = step,
    };
    adamw_all(ops, p, c, &common);
}
