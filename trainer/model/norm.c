/* Norm sites of the blocks: one call to ops, and the gradient of a trained weight. */
#include "trainer/model/model_internal.h"

static enum status check_hooks(const struct pass *p, const struct norm *n)
{
    for (const struct hook *h = p->hooks ? n->hooks : NULL; h; h = h->next) {
        if (h->kind != HOOK_FULL) {
            return FAIL(RECIPE, "%s: hooks of kind %d do not fit a norm", n->name, (int)h->kind);
        }
    }
    return STATUS_OK;
}

enum status norm_forward(const struct block_run *r, const struct norm *n,
                         const struct norm_rows *a)
{
    TRY(check_hooks(r->p, n));
    const struct rmsnorm_args args = {
        .x = a->x,
        .ldx = a->cols,
        .y = a->y,
        .y16 = a->y16,
        .ldy = a->cols,
        .w = n->w,
        .plus_one = r->m->config.norm_plus_one,
        .eps = (float)r->m->config.norm_eps,
        .rstd = a->rstd,
        .rows = a->rows,
        .cols = a->cols,
    };
    r->p->ops->ops->rmsnorm(r->p->ops, &args);
    return STATUS_OK;
}

/* The units counted in rows of a norm. */
static enum status row_units(const struct pass *p, int64_t per_token, const int64_t **out)
{
    int64_t *units;
    *out = p->unit_begin;
    if (per_token == 1) {
        return STATUS_OK;
    }
    TRY(arena_alloc(p->scratch, (size_t)p->units + 1, sizeof *units, &units));
    for (int64_t i = 0; units && i <= p->units; i++) {
        units[i] = p->unit_begin[i] * per_token;
    }
    *out = units;
    return STATUS_OK;
}

enum status norm_backward(const struct block_run *r, const struct norm *n,
                          const struct norm_backward_rows *a)
{
    const struct pass *p = r->p;
    const size_t mark = arena_mark(p->scratch);
    struct rmsnorm_backward_args args = {
        .x = a->x,
        .ldx = a->cols,
        .dy = a->dy,
        .ldy = a->cols,
        .w = n->w,
        .plus_one = r->m->config.norm_plus_one,
        .rstd = a->rstd,
        .dx = a->dx,
        .lddx = a->cols,
        .accumulate = a->accumulate,
        .rows = a->rows,
        .cols = a->cols,
    };
    if (p->hooks && n->hooks) {
        TRY(row_units(p, a->per_token, &args.unit_begin));
        args.units = p->units;
        args.dw = pass_plans(p) ? NULL : param_grad(n->hooks->params, n->hooks->weight);
    }
    p->ops->ops->rmsnorm_backward(p->ops, &args);
    arena_rewind(p->scratch, mark);
    return STATUS_OK;
}

void add_rows(const struct pass *p, float *y, const float *x, int64_t count)
{
    p->ops->ops->axpy(p->ops, y, x, 1.0f, count);
}
