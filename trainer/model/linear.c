/*
 * The one linear; see linear.h. Low-rank hooks follow Hu et al. 2021 (arXiv 2106.09685):
 * y += s (x A^T) B^T, so with t = x A^T and dt = s dy B: dB += s dy^T t, dA += dt^T x, dx += dt A.
 * With dropout x stands for m x / (1 - p), m drawn anew from its key wherever it is needed. The
 * first hook's second product is the tail of the base's, tile by tile: the bits of a product of its
 * own.
 */
#include "trainer/model/model_internal.h"

/* Few rows (decoding alone) have paths of their own, which take no tail. */
enum { TAIL_ROWS = 5 };

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

bool operand_rounds(const struct pass *p, int64_t cols)
{
    return p->ops->compute == COMPUTE_BF16 && cols % 2 == 0;
}

enum status operand_alloc(const struct pass *p, int64_t rows, int64_t cols, bool rounded,
                          struct operand *out)
{
    *out = (struct operand){.rounded = rounded, .ld = cols, .rows = rows};
    if (!rounded) {
        return alloc_rows(p->scratch, rows, cols, &out->x);
    }
    size_t count;
    if (rows < 0 || !checked_mul((size_t)rows, (size_t)cols, &count)) {
        return FAIL(MEMORY, "arena '%s': %lld rows of %lld numbers overflow", p->scratch->name,
                    (long long)rows, (long long)cols);
    }
    return arena_alloc(p->scratch, count, sizeof *out->x16, &out->x16);
}

static bool drops(const struct pass *p, const struct hook *h)
{
    return p->hooks && p->noise && h->kind == HOOK_LOW_RANK && h->dropout > 0.0f;
}

bool linear_drops(const struct linear *l, const struct pass *p)
{
    for (const struct hook *h = l->hooks; h; h = h->next) {
        if (drops(p, h)) {
            return true;
        }
    }
    return false;
}

static void base_product(const struct linear *l, const struct pass *p, const struct operand *in,
                         const struct gemm_tail *tail, float *y, int64_t ldy)
{
    const struct gemm_args a = {
        .x = in->x,
        .x16 = in->x16,
        .ldx = in->ld,
        .m = in->rows,
        .w = &l->w,
        .n = l->out,
        .y = y,
        .ldy = ldy,
        .bias = l->bias,
        .alpha = 1.0f,
        .tail = tail,
    };
    p->ops->ops->gemm(p->ops, &a);
}

/* low = x A^T. */
static void low_rank_down(const struct pass *p, const struct hook *h, const struct operand *in,
                          float *low)
{
    const struct gemm_args down = {
        .x = in->x,
        .x16 = in->x16,
        .ldx = in->ld,
        .m = in->rows,
        .w = factor(h, h->a),
        .n = h->rank,
        .y = low,
        .ldy = h->rank,
        .alpha = 1.0f,
    };
    p->ops->ops->gemm(p->ops, &down);
}

/* y += scale low B^T. */
static void low_rank_up(const struct linear *l, const struct pass *p, const struct hook *h,
                        const float *low, int64_t rows, float *y, int64_t ldy)
{
    const struct gemm_args up = {
        .x = low,
        .ldx = h->rank,
        .m = rows,
        .w = factor(h, h->b),
        .n = l->out,
        .y = y,
        .ldy = ldy,
        .alpha = h->scale,
        .accumulate = true,
    };
    p->ops->ops->gemm(p->ops, &up);
}

/* Replaces *in by its dropped-out copy in scratch, where the hook drops. */
static enum status drop_input(const struct linear *l, const struct pass *p, const struct hook *h,
                              struct operand *in)
{
    struct operand kept;
    if (!drops(p, h)) {
        return STATUS_OK;
    }
    ASSERT(!in->rounded); /* callers ask linear_drops */
    TRY(operand_alloc(p, in->rows, l->in, false, &kept));
    const struct dropout_args args = {in->x, in->ld, kept.x, l->in, in->rows, l->in, h->dropout,
                                      (uint32_t)h->a};
    dropout_apply(p, &args);
    *in = kept;
    return STATUS_OK;
}

static enum status check_hooks(const struct linear *l, const struct pass *p)
{
    int used = 0;
    for (const struct hook *h = p->hooks ? l->hooks : NULL; h; h = h->next) {
        if (h->kind == HOOK_FULL) {
            continue; /* the weight itself is the parameter */
        }
        if (h->kind != HOOK_LOW_RANK) {
            return refuse_kind(l, h);
        }
        if (used++ == LINEAR_MAX_HOOKS) {
            return FAIL(RECIPE, "%s: more than %d adapters on one module", l->name,
                        LINEAR_MAX_HOOKS);
        }
    }
    return STATUS_OK;
}

/* The next low-rank hook of a list. */
static const struct hook *next_low_rank(const struct pass *p, const struct hook *h)
{
    while (p->hooks && h && h->kind != HOOK_LOW_RANK) {
        h = h->next;
    }
    return p->hooks ? h : NULL;
}

/* The rows of an adapter's slot, and where their results begin in y. */
static struct operand slot_rows(const struct pass *p, const struct operand *in, int32_t slot,
                                int64_t *first)
{
    struct operand own = *in;
    *first = 0;
    if (!pass_plans(p)) { /* a plan gives all rows to any slot */
        *first = p->slot_begin[slot];
        own.rows = p->slot_begin[slot + 1] - *first;
        own.x = in->x ? in->x + *first * in->ld : NULL;
        own.x16 = in->x16 ? in->x16 + *first * in->ld : NULL;
    }
    return own;
}

/* Several adapters, each for the rows of its slot. */
static enum status slots_forward(const struct linear *l, const struct pass *p,
                                 const struct operand *in, float *y, int64_t ldy)
{
    base_product(l, p, in, NULL, y, ldy);
    for (const struct hook *h = p->hooks ? l->hooks : NULL; h; h = h->next) {
        if (h->kind != HOOK_LOW_RANK || h->slot < 0) {
            return refuse_kind(l, h);
        }
        int64_t first;
        float *low;
        const struct operand own = slot_rows(p, in, h->slot, &first);
        const size_t mark = arena_mark(p->scratch);
        TRY(arena_alloc(p->scratch, (size_t)(own.rows * h->rank), sizeof(float), &low));
        if (own.rows > 0) {
            low_rank_down(p, h, &own, low);
            low_rank_up(l, p, h, low, own.rows, pass_plans(p) ? NULL : y + first * ldy, ldy);
        }
        arena_rewind(p->scratch, mark);
    }
    return STATUS_OK;
}

enum status linear_forward(const struct linear *l, const struct pass *p, const struct operand *in,
                           float *y, int64_t ldy, struct linear_saved *saved)
{
    struct arena *keep = p->grad ? p->step : p->scratch; /* one and the same when recomputing */
    const bool wanted = y || pass_plans(p);
    if (p->slot_begin) {
        ASSERT(!p->grad);
        return slots_forward(l, p, in, y, ldy);
    }
    const struct hook *h = next_low_rank(p, l->hooks);
    TRY(check_hooks(l, p));
    if (wanted && !h) {
        base_product(l, p, in, NULL, y, ldy);
    }
    for (int used = 0; h; h = next_low_rank(p, h->next), used++) {
        float *low;
        const size_t before = arena_mark(p->scratch);
        struct operand kept = *in;
        TRY(arena_alloc(keep, (size_t)(in->rows * h->rank), sizeof(float), &low));
        const size_t after = arena_mark(p->scratch);
        TRY(drop_input(l, p, h, &kept));
        low_rank_down(p, h, &kept, low);
        const bool tailed = used == 0 && in->rows >= TAIL_ROWS;
        const struct gemm_tail tail = {low, h->rank, factor(h, h->b), h->scale};
        if (wanted && used == 0) {
            base_product(l, p, in, tailed ? &tail : NULL, y, ldy);
        }
        if (wanted && !tailed) {
            low_rank_up(l, p, h, low, in->rows, y, ldy);
        }
        if (p->grad) {
            saved->low[used] = low;
        }
        arena_rewind(p->scratch, p->grad ? after : before);
    }
    return STATUS_OK;
}

/* dw[n, k] += alpha dy^T x by the pass's units. */
static void weight_gradient(const struct pass *p, struct gemm_dw_args dw)
{
    dw.unit_begin = p->unit_begin;
    dw.units = p->units;
    p->ops->ops->gemm_dw(p->ops, &dw);
}

static void base_backward(const struct linear *l, const struct pass *p,
                          const struct linear_backward_args *a, const struct gemm_tail *tail)
{
    const struct gemm_dx_args base = {
        .dy = a->dy.x,
        .dy16 = a->dy.x16,
        .ldy = a->dy.ld,
        .m = a->dy.rows,
        .w = &l->w,
        .n = l->out,
        .dx = a->dx,
        .ldx = a->lddx,
        .alpha = 1.0f,
        .accumulate = a->accumulate,
        .tail = tail,
    };
    p->ops->ops->gemm_dx(p->ops, &base);
}

/* dt = scale dy B, and the gradients of both factors. */
static void low_rank_gradients(const struct linear *l, const struct pass *p, const struct hook *h,
                               const struct linear_backward_args *a, const struct operand *in,
                               const float *low, float *dt)
{
    const struct gemm_dx_args back = {
        .dy = a->dy.x,
        .dy16 = a->dy.x16,
        .ldy = a->dy.ld,
        .m = a->dy.rows,
        .w = factor(h, h->b),
        .n = l->out,
        .dx = dt,
        .ldx = h->rank,
        .alpha = h->scale,
    };
    p->ops->ops->gemm_dx(p->ops, &back);
    weight_gradient(p, (struct gemm_dw_args){.dy = a->dy.x,
                                            .dy16 = a->dy.x16,
                                            .ldy = a->dy.ld,
                                            .x = low,
                                            .ldx = h->rank,
                                            .n = l->out,
                                            .k = h->rank,
                                            .dw = gradient(p, h, h->b),
                                            .alpha = h->scale});
    weight_gradient(p, (struct gemm_dw_args){.dy = dt,
                                            .ldy = h->rank,
                                            .x = in->x,
                                            .x16 = in->x16,
                                            .ldx = in->ld,
                                            .n = h->rank,
                                            .k = l->in,
                                            .dw = gradient(p, h, h->a),
                                            .alpha = 1.0f});
}

/* dx += dt A, through the dropout's mask where there is one; `in` is the dropped-out copy of x,
 * which has done its work. */
static void low_rank_into(const struct linear *l, const struct pass *p, const struct hook *h,
                          const struct linear_backward_args *a, const struct operand *in,
                          const float *dt)
{
    const bool masked = drops(p, h);
    const struct gemm_dx_args into = {
        .dy = dt,
        .ldy = h->rank,
        .m = a->dy.rows,
        .w = factor(h, h->a),
        .n = h->rank,
        .dx = masked ? in->x : a->dx,
        .ldx = masked ? in->ld : a->lddx,
        .alpha = 1.0f,
        .accumulate = !masked,
    };
    p->ops->ops->gemm_dx(p->ops, &into);
    if (masked) {
        const struct dropout_args args = {in->x, in->ld, a->dx, a->lddx, a->dy.rows, l->in,
                                          h->dropout, (uint32_t)h->a};
        dropout_add(p, &args);
    }
}

/* Hook number `used` of the list; the first one does the base's product as well. */
static enum status low_rank_backward(const struct linear *l, const struct pass *p,
                                     const struct hook *h, const struct linear_backward_args *a,
                                     const float *low, bool first)
{
    float *dt;
    struct operand in = a->x;
    const size_t mark = arena_mark(p->scratch);
    TRY(drop_input(l, p, h, &in));
    TRY(arena_alloc(p->scratch, (size_t)(a->dy.rows * h->rank), sizeof(float), &dt));
    low_rank_gradients(l, p, h, a, &in, low, dt);
    const bool tailed = first && !drops(p, h) && a->dy.rows >= TAIL_ROWS;
    const struct gemm_tail tail = {dt, h->rank, factor(h, h->a), 1.0f};
    if (a->dx && first) {
        base_backward(l, p, a, tailed ? &tail : NULL);
    }
    if (a->dx && !tailed) {
        low_rank_into(l, p, h, a, &in, dt);
    }
    arena_rewind(p->scratch, mark);
    return STATUS_OK;
}

/* The bias sums dy over tokens by the rule of weights: a product with a column of ones. */
static enum status full_backward(const struct linear *l, const struct pass *p,
                                 const struct hook *h, const struct linear_backward_args *a)
{
    weight_gradient(p, (struct gemm_dw_args){.dy = a->dy.x,
                                            .dy16 = a->dy.x16,
                                            .ldy = a->dy.ld,
                                            .x = a->x.x,
                                            .x16 = a->x.x16,
                                            .ldx = a->x.ld,
                                            .n = l->out,
                                            .k = l->in,
                                            .dw = gradient(p, h, h->weight),
                                            .alpha = 1.0f});
    if (h->bias < 0) {
        return STATUS_OK;
    }
    float *ones;
    const size_t mark = arena_mark(p->scratch);
    TRY(arena_alloc(p->scratch, (size_t)a->dy.rows, sizeof(float), &ones));
    for (int64_t i = 0; ones && i < a->dy.rows; i++) {
        ones[i] = 1.0f;
    }
    weight_gradient(p, (struct gemm_dw_args){.dy = a->dy.x,
                                            .dy16 = a->dy.x16,
                                            .ldy = a->dy.ld,
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
    if (a->dx && !next_low_rank(p, l->hooks)) {
        base_backward(l, p, a, NULL);
    }
    for (const struct hook *h = l->hooks; h; h = h->next) {
        if (h->kind == HOOK_FULL) {
            TRY(full_backward(l, p, h, a));
        } else if (h->kind == HOOK_LOW_RANK) {
            ASSERT(used < LINEAR_MAX_HOOKS); /* the forward refused more */
            TRY(low_rank_backward(l, p, h, a, saved->low[used], used == 0));
            used++;
        } else {
            return refuse_kind(l, h);
        }
    }
    return STATUS_OK;
}

enum status linear_backward(const struct linear *l, const struct pass *p,
                            const struct linear_backward_args *a, const struct linear_saved *saved)
{
    struct linear_backward_args once = *a;
    const size_t mark = arena_mark(p->scratch);
    if (!p->hooks || !l->hooks) {
        if (a->dx) {
            base_backward(l, p, a, NULL);
        }
        return STATUS_OK;
    }
    if (!a->dy.rounded && a->dy.ld == l->out && operand_rounds(p, l->out)) {
        TRY(operand_alloc(p, a->dy.rows, l->out, true, &once.dy)); /* several products read it */
        p->ops->ops->round(p->ops, once.dy.x16, a->dy.x, a->dy.rows * l->out);
    }
    TRY(hooks_backward(l, p, &once, saved));
    arena_rewind(p->scratch, mark);
    return STATUS_OK;
}
