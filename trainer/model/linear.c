/*
 * The one linear; see linear.h. Low-rank hooks follow Hu et al. 2021 (arXiv 2106.09685):
 * y += s (x A^T) B^T, so with t = x A^T and dt = s dy B: dB += s dy^T t, dA += dt^T x, dx += dt A.
 * With dropout x stands for m x / (1 - p), m drawn anew from its key wherever it is needed.
 */
#include "trainer/model/model_internal.h"

static enum status refuse_kind(const struct linear *l, const struct hook *h)
{
    return FAIL(RECIPE, "%s: hooks of kind %d are not supported here", l->name, (int)h->kind);
}

static const struct tensor *factor(const struct hook *h, int64_t index)
{
    return &h->params->params[index].view;
}

static float *gradient(const struct pass *p, const struct hook *h, int64_t index)
{
    return pass_plans(p) ? NULL : param_grad(h->params, index);
}

/* x[rows, in] of a linear and its strides. */
struct operand {
    const float *x;
    int64_t ldx;
    int64_t rows;
};

static void base_product(const struct linear *l, const struct pass *p, const struct operand *in,
                         float *y, int64_t ldy)
{
    const struct gemm_args a = {
        .x = in->x,
        .ldx = in->ldx,
        .m = in->rows,
        .w = &l->w,
        .n = l->out,
        .y = y,
        .ldy = ldy,
        .bias = l->bias,
        .alpha = 1.0f,
    };
    p->ops->ops->gemm(p->ops, &a);
}

/* t = x A^T into `low`, and y += scale t B^T where y is wanted. */
static void low_rank_forward(const struct linear *l, const struct pass *p, const struct hook *h,
                             const struct operand *in, float *low, float *y, int64_t ldy)
{
    const struct gemm_args down = {
        .x = in->x,
        .ldx = in->ldx,
        .m = in->rows,
        .w = factor(h, h->a),
        .n = h->rank,
        .y = low,
        .ldy = h->rank,
        .alpha = 1.0f,
    };
    p->ops->ops->gemm(p->ops, &down);
    if (!y) {
        return;
    }
    const struct gemm_args up = {
        .x = low,
        .ldx = h->rank,
        .m = in->rows,
        .w = factor(h, h->b),
        .n = l->out,
        .y = y,
        .ldy = ldy,
        .alpha = h->scale,
        .accumulate = true,
    };
    p->ops->ops->gemm(p->ops, &up);
}

static bool drops(const struct pass *p, const struct hook *h)
{
    return p->noise && h->dropout > 0.0f;
}

/* Replaces *in by its dropped-out copy in scratch, where the hook drops. */
static enum status drop_input(const struct linear *l, const struct pass *p, const struct hook *h,
                              struct operand *in)
{
    float *kept;
    if (!drops(p, h)) {
        return STATUS_OK;
    }
    TRY(arena_alloc(p->scratch, (size_t)(in->rows * l->in), sizeof(float), &kept));
    const struct dropout_args args = {in->x, in->ldx, kept, l->in, in->rows, l->in, h->dropout,
                                      (uint32_t)h->a};
    dropout_apply(p, &args);
    *in = (struct operand){kept, l->in, in->rows};
    return STATUS_OK;
}

/* Hooks of the forward; what they leave goes to p->step when a backward follows. */
static enum status hooks_forward(const struct linear *l, const struct pass *p,
                                 const struct operand *in, float *y, int64_t ldy,
                                 struct linear_saved *saved)
{
    int used = 0;
    for (const struct hook *h = l->hooks; h; h = h->next) {
        if (h->kind == HOOK_FULL) {
            continue; /* the weight itself is the parameter */
        }
        if (h->kind != HOOK_LOW_RANK) {
            return refuse_kind(l, h);
        }
        if (used == LINEAR_MAX_HOOKS) {
            return FAIL(RECIPE, "%s: more than %d adapters on one module", l->name,
                        LINEAR_MAX_HOOKS);
        }
        float *low;
        const size_t before = arena_mark(p->scratch);
        struct arena *keep = p->grad ? p->step : p->scratch; /* one and the same when recomputing */
        struct operand kept = *in;
        TRY(arena_alloc(keep, (size_t)(in->rows * h->rank), sizeof(float), &low));
        const size_t after = arena_mark(p->scratch);
        TRY(drop_input(l, p, h, &kept));
        low_rank_forward(l, p, h, &kept, low, y, ldy);
        if (p->grad) {
            saved->low[used] = low;
        }
        arena_rewind(p->scratch, p->grad ? after : before);
        used++;
    }
    return STATUS_OK;
}

enum status linear_forward(const struct linear *l, const struct pass *p, const float *x,
                           int64_t ldx, int64_t rows, float *y, int64_t ldy,
                           struct linear_saved *saved)
{
    const struct operand in = {x, ldx, rows};
    if (y || pass_plans(p)) {
        base_product(l, p, &in, y, ldy);
    }
    return p->hooks ? hooks_forward(l, p, &in, y, ldy, saved) : STATUS_OK;
}

/* dw[n, k] += alpha dy^T x by the pass's units. */
static void weight_gradient(const struct pass *p, struct gemm_dw_args dw)
{
    dw.unit_begin = p->unit_begin;
    dw.units = p->units;
    p->ops->ops->gemm_dw(p->ops, &dw);
}

static enum status low_rank_backward(const struct linear *l, const struct pass *p,
                                     const struct hook *h, const struct linear_backward_args *a,
                                     const float *low)
{
    float *dt;
    struct operand in = {a->x, a->ldx, a->rows};
    const size_t mark = arena_mark(p->scratch);
    TRY(drop_input(l, p, h, &in));
    TRY(arena_alloc(p->scratch, (size_t)(a->rows * h->rank), sizeof(float), &dt));
    const struct gemm_dx_args back = {
        .dy = a->dy,
        .ldy = a->ldy,
        .m = a->rows,
        .w = factor(h, h->b),
        .n = l->out,
        .dx = dt,
        .ldx = h->rank,
        .alpha = h->scale,
    };
    p->ops->ops->gemm_dx(p->ops, &back);
    weight_gradient(p, (struct gemm_dw_args){.dy = a->dy,
                                            .ldy = a->ldy,
                                            .x = low,
                                            .ldx = h->rank,
                                            .n = l->out,
                                            .k = h->rank,
                                            .dw = gradient(p, h, h->b),
                                            .alpha = h->scale});
    weight_gradient(p, (struct gemm_dw_args){.dy = dt,
                                            .ldy = h->rank,
                                            .x = in.x,
                                            .ldx = in.ldx,
                                            .n = h->rank,
                                            .k = l->in,
                                            .dw = gradient(p, h, h->a),
                                            .alpha = 1.0f});
    if (a->dx) {
        const bool masked = drops(p, h); /* the copy of x in scratch has done its work */
        const struct gemm_dx_args into = {
            .dy = dt,
            .ldy = h->rank,
            .m = a->rows,
            .w = factor(h, h->a),
            .n = h->rank,
            .dx = masked ? (float *)(uintptr_t)in.x : a->dx,
            .ldx = masked ? in.ldx : a->lddx,
            .alpha = 1.0f,
            .accumulate = !masked,
        };
        p->ops->ops->gemm_dx(p->ops, &into);
        if (masked) {
            const struct dropout_args args = {in.x, in.ldx, a->dx, a->lddx, a->rows, l->in,
                                              h->dropout, (uint32_t)h->a};
            dropout_add(p, &args);
        }
    }
    arena_rewind(p->scratch, mark);
    return STATUS_OK;
}

/* The bias sums dy over tokens by the rule of weights: a product with a column of ones. */
static enum status full_backward(const struct linear *l, const struct pass *p,
                                 const struct hook *h, const struct linear_backward_args *a)
{
    weight_gradient(p, (struct gemm_dw_args){.dy = a->dy,
                                            .ldy = a->ldy,
                                            .x = a->x,
                                            .ldx = a->ldx,
                                            .n = l->out,
                                            .k = l->in,
                                            .dw = gradient(p, h, h->weight),
                                            .alpha = 1.0f});
    if (h->bias < 0) {
        return STATUS_OK;
    }
    float *ones;
    const size_t mark = arena_mark(p->scratch);
    TRY(arena_alloc(p->scratch, (size_t)a->rows, sizeof(float), &ones));
    for (int64_t i = 0; ones && i < a->rows; i++) {
        ones[i] = 1.0f;
    }
    weight_gradient(p, (struct gemm_dw_args){.dy = a->dy,
                                            .ldy = a->ldy,
                                            .x = ones,
                                            .ldx = 1,
                                            .n = l->out,
                                            .k = 1,
                                            .dw = gradient(p, h, h->bias),
                                            .alpha = 1.0f});
    arena_rewind(p->scratch, mark);
    return STATUS_OK;
}

static enum status hooks_backward(const struct linear *l, const struct pass *p,
                                  const struct linear_backward_args *a,
                                  const struct linear_saved *saved)
{
    int used = 0;
    for (const struct hook *h = l->hooks; h; h = h->next) {
        if (h->kind == HOOK_FULL) {
            TRY(full_backward(l, p, h, a));
        } else if (h->kind == HOOK_LOW_RANK) {
            ASSERT(used < LINEAR_MAX_HOOKS); /* the forward refused more */
            TRY(low_rank_backward(l, p, h, a, saved->low[used++]));
        } else {
            return refuse_kind(l, h);
        }
    }
    return STATUS_OK;
}

enum status linear_backward(const struct linear *l, const struct pass *p,
                            const struct linear_backward_args *a, const struct linear_saved *saved)
{
    if (a->dx) {
        const struct gemm_dx_args base = {
            .dy = a->dy,
            .ldy = a->ldy,
            .m = a->rows,
            .w = &l->w,
            .n = l->out,
            .dx = a->dx,
            .ldx = a->lddx,
            .alpha = 1.0f,
            .accumulate = a->accumulate,
        };
        p->ops->ops->gemm_dx(p->ops, &base);
    }
    return p->hooks ? hooks_backward(l, p, a, saved) : STATUS_OK;
}
