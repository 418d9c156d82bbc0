/*
 * Adafactor (Shazeer & Stern 2018) as Transformers has it: rows and columns of squares for
 * matrices, full squares for vectors. The Trainer turns scale_parameter and relative_step off.
 */
#include <math.h>

#include "trainer/optim/optim_internal.h"

/* The last two dimensions make a matrix, the ones before a batch of them. */
static void shape_of(const struct param *p, int64_t *batch, int64_t *rows, int64_t *cols)
{
    *cols = p->shape[p->dims - 1];
    *rows = p->dims >= 2 ? p->shape[p->dims - 2] : 1;
    *batch = p->count / (*rows * *cols);
}

void adafactor_slots(const struct optim_config *c, const struct param *p,
                     struct param_slot slot[PARAM_SLOTS])
{
    int64_t batch;
    int64_t rows;
    int64_t cols;
    shape_of(p, &batch, &rows, &cols);
    if (p->dims >= 2) {
        optim_slot(&slot[0], "row", false, batch * rows);
        optim_slot(&slot[1], "col", false, batch * cols);
    } else {
        optim_slot(&slot[1], "v", false, p->count);
    }
    if (c->mean_beta > 0) {
        optim_slot(&slot[2], "m", false, p->count);
    }
}

static double rate(const struct optim_step *s, int64_t i)
{
    const struct optim_config *c = s->config;
    const struct param *p = &s->params->params[i];
    const double t = (double)s->step;
    double lr = optim_lr(s, p);
    if (c->relative_step != 0) {
        lr = fmin(c->warmup_init != 0 ? 1e-6 * t : 1e-2, 1.0 / sqrt(t));
    }
    if (c->scale_parameter != 0) {
        const double sum = s->ops->ops->square_sum(s->ops, param_value(s->params, i), p->count);
        lr *= fmax(c->eps_scale, sqrt(sum / (double)p->count));
    }
    return lr;
}

void adafactor_update(const struct optim_step *s)
{
    const struct optim_config *c = s->config;
    for (int64_t i = 0; i < s->params->count; i++) {
        const struct param *p = &s->params->params[i];
        struct adafactor_args a = {
            .p = param_value(s->params, i),
            .g = param_grad(s->params, i),
            .row = p->slot[0].data,
            .col = p->slot[1].data,
            .mean_update = p->slot[2].data,
            .lr = rate(s, i),
            .beta1 = c->mean_beta,
            .beta2 = 1.0 - pow((double)s->step, c->decay_rate),
            .eps = c->eps,
            .clip = c->clip_threshold,
            .weight_decay = optim_decay(s, p),
            .grad_scale = s->factor,
        };
        shape_of(p, &a.batch, &a.rows, &a.cols);
        s->ops->ops->adafactor(s->ops, &a);
    }
}
