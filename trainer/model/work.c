/* Limits of a step's products; see work.h. */
#include "trainer/model/work.h"

#include <math.h>

struct counting {
    const struct model *m;
    struct work_costs *c;
};

static enum status count_linear(void *ctx, struct linear *l)
{
    const struct counting *n = ctx;
    const double weights = (double)l->out * (double)l->in;
    const bool head = l == &n->m->head || (l == &n->m->embed && n->m->config.tied);
    if (l == &n->m->embed && !head) {
        return STATUS_OK; /* rows are looked up, not multiplied */
    }
    *(head ? &n->c->head : &n->c->layers) += weights;
    n->c->bytes += l->w.row_bytes ? (double)l->w.row_bytes * (double)l->out : weights / 2.0;
    return STATUS_OK;
}

enum status work_costs_of(struct model *m, double adapter, bool full, struct work_costs *out)
{
    struct counting n = {m, out};
    *out = (struct work_costs){.adapter = adapter, .full = full};
    return model_each_linear(m, count_linear, &n);
}

double work_forward_flops(const struct work_costs *c, double rows, double outputs)
{
    return 2.0 * (rows * (c->layers + c->adapter) + outputs * c->head);
}

double work_train_flops(const struct work_costs *c, double rows, double outputs)
{
    const double times = c->full ? 3.0 : 2.0; /* forward, d input, d weight */
    return 2.0 * (rows * (times * c->layers + 3.0 * c->adapter) + outputs * times * c->head);
}

double work_pass_seconds(const struct work_costs *c, const struct work_peaks *p, double passes,
                         double flops)
{
    return fmax(flops / (p->gflops * 1e9), passes * c->bytes / (p->read_gb_per_second * 1e9));
}

double work_seconds(const struct work_costs *c, const struct work_peaks *p, const struct work *w)
{
    const double flops = work_forward_flops(c, w->scored_rows, w->scored_outputs)
                         + work_train_flops(c, w->trained_rows, w->trained_outputs);
    return flops / (p->gflops * 1e9)
           + work_pass_seconds(c, p, w->passes,
                               work_forward_flops(c, w->decoded_rows, w->decoded_outputs));
}

void work_move(struct work *sum, struct work *more)
{
    sum->passes += more->passes;
    sum->decoded_rows += more->decoded_rows;
    sum->decoded_outputs += more->decoded_outputs;
    sum->scored_rows += more->scored_rows;
    sum->scored_outputs += more->scored_outputs;
    sum->trained_rows += more->trained_rows;
    sum->trained_outputs += more->trained_outputs;
    *more = (struct work){0};
}
