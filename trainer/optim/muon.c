/*
 * Muon (Jordan 2024; Liu et al. 2025, arXiv 2502.16982) as torch.optim.Muon: the momentum of a
 * hidden matrix is brought near an orthogonal one by Newton-Schulz steps. Embeddings, the head,
 * norms and biases learn by AdamW, as its authors ask. torch iterates in bfloat16; here it is the
 * precision of the context (compute).
 */
#include <math.h>
#include <string.h>

#include "trainer/optim/optim_internal.h"

/* Coefficients of the quintic step. */
static const float NS_A = 3.4445f;
static const float NS_B = -4.7750f;
static const float NS_C = 2.0315f;

static bool is_matrix(const struct param *p)
{
    return p->dims == 2 && !optim_is_embedding(p) && !strstr(p->name, "lm_head");
}

static int64_t shorter(const struct param *p)
{
    return p->shape[0] < p->shape[1] ? p->shape[0] : p->shape[1];
}

/* Workspace: two matrices of the largest size and two squares of the largest shorter side. */
enum status muon_prepare(const struct optim_config *c, struct param_set *p, size_t *workspace)
{
    int64_t numbers = 0;
    int64_t side = 0;
    (void)c;
    for (int64_t i = 0; i < p->count; i++) {
        const struct param *e = &p->params[i];
        if (strstr(e->name, "lora_")) {
            return FAIL(RECIPE, "optim: muon trains whole matrices, not LoRA factors; use "
                                "adamw_torch, or use_peft: false");
        }
        if (is_matrix(e)) {
            numbers = e->count > numbers ? e->count : numbers;
            side = shorter(e) > side ? shorter(e) : side;
        }
    }
    *workspace = 2 * sizeof(float) * ((size_t)numbers + (size_t)(side * side) + ARENA_ALIGN);
    return STATUS_OK;
}

void muon_slots(const struct optim_config *c, const struct param *p,
                struct param_slot slot[PARAM_SLOTS])
{
    (void)c;
    if (is_matrix(p)) {
        optim_slot(&slot[0], "buf", false, p->count);
    } else {
        adamw_slots(p, slot);
    }
}

struct newton_schulz {
    struct ops_context *ops;
    int64_t rows;
    int64_t cols;
    float *x;    /* [rows, cols] */
    float *next; /* [rows, cols] */
    float *gram; /* [side, side] */
    float *poly; /* [side, side] */
};

static struct tensor view(float *data, int64_t rows, int64_t cols)
{
    return (struct tensor){.dtype = DTYPE_F32,
                           .dims = 2,
                           .shape = {rows, cols},
                           .row_bytes = (size_t)cols * sizeof(float),
                           .data = data};
}

/* y [m, n] = alpha x [m, k] w [n, k]^T + y */
static void product(struct ops_context *ops, const float *x, int64_t m, const struct tensor *w,
                    float alpha, float *y)
{
    const struct gemm_args a = {.x = x,
                                .ldx = w->shape[1],
                                .m = m,
                                .w = w,
                                .n = w->shape[0],
                                .y = y,
                                .ldy = w->shape[0],
                                .alpha = alpha,
                                .accumulate = true};
    ops->ops->gemm(ops, &a);
}

/* gram = x x^T, or x^T x when that is the smaller one. */
static void gram_of(const struct newton_schulz *s)
{
    const int64_t unit[2] = {0, s->rows};
    if (s->rows <= s->cols) {
        const struct tensor x = view(s->x, s->rows, s->cols);
        memset(s->gram, 0, (size_t)(s->rows * s->rows) * sizeof(float));
        product(s->ops, s->x, s->rows, &x, 1.0f, s->gram);
        return;
    }
    memset(s->gram, 0, (size_t)(s->cols * s->cols) * sizeof(float));
    const struct gemm_dw_args a = {.dy = s->x,
                                   .ldy = s->cols,
                                   .x = s->x,
                                   .ldx = s->cols,
                                   .n = s->cols,
                                   .k = s->cols,
                                   .dw = s->gram,
                                   .alpha = 1.0f,
                                   .unit_begin = unit,
                                   .units = 1};
    s->ops->ops->gemm_dw(s->ops, &a);
}

/* x = a x + (b G + c G^2) x, G the gram matrix; from the right when rows > cols. */
static void iterate(struct newton_schulz *s)
{
    const int64_t side = s->rows <= s->cols ? s->rows : s->cols;
    const int64_t count = s->rows * s->cols;
    const struct tensor gram = view(s->gram, side, side);
    gram_of(s);
    for (int64_t i = 0; i < side * side; i++) {
        s->poly[i] = NS_B * s->gram[i];
    }
    product(s->ops, s->gram, side, &gram, NS_C, s->poly); /* symmetric: G G^T is G^2 */
    for (int64_t i = 0; i < count; i++) {
        s->next[i] = NS_A * s->x[i];
    }
    if (s->rows <= s->cols) {
        const struct tensor x = view(s->x, s->rows, s->cols);
        const struct gemm_dx_args a = {.dy = s->poly,
                                       .ldy = side,
                                       .m = side,
                                       .w = &x,
                                       .n = side,
                                       .dx = s->next,
                                       .ldx = s->cols,
                                       .alpha = 1.0f,
                                       .accumulate = true};
        s->ops->ops->gemm_dx(s->ops, &a);
    } else {
        const struct tensor poly = view(s->poly, side, side);
        product(s->ops, s->x, s->rows, &poly, 1.0f, s->next);
    }
    float *x = s->x;
    s->x = s->next;
    s->next = x;
}

static double adjusted(const struct optim_config *c, const struct param *p)
{
    const double rows = (double)p->shape[0];
    const double cols = (double)p->shape[1];
    switch ((enum optim_adjust)c->adjust) {
    case ADJUST_MATCH_RMS_ADAMW:
        return 0.2 * sqrt(fmax(rows, cols));
    case ADJUST_SPECTRAL_UNCLAMPED:
        return sqrt(rows / cols);
    case ADJUST_ORIGINAL:
        break;
    }
    return sqrt(fmax(1.0, rows / cols));
}

/* buf = momentum buf + (1 - momentum) g; x = buf, or with nesterov the same mean of g and buf. */
static void momentum(const struct optim_step *s, int64_t i, float *x)
{
    const struct param *p = &s->params->params[i];
    const float *g = param_grad(s->params, i);
    const float scale = (float)s->factor;
    const float rest = (float)(1.0 - s->config->momentum);
    const bool nesterov = s->config->nesterov != 0;
    float *buf = p->slot[0].data;
    for (int64_t k = 0; k < p->count; k++) {
        const float d = g[k] * scale;
        buf[k] = fmaf(rest, d - buf[k], buf[k]);
        x[k] = nesterov ? fmaf(rest, d - buf[k], buf[k]) : buf[k];
    }
}

static void update_matrix(const struct optim_step *s, int64_t i)
{
    const struct param *p = &s->params->params[i];
    const int64_t side = shorter(p);
    const double lr = optim_lr(s, p);
    float *value = param_value(s->params, i);
    float *at = s->params->workspace;
    struct newton_schulz ns = {.ops = s->ops, .rows = p->shape[0], .cols = p->shape[1]};
    ns.x = at;
    ns.next = ns.x + p->count;
    ns.gram = ns.next + p->count;
    ns.poly = ns.gram + side * side;
    momentum(s, i, ns.x);
    const double norm = sqrt(s->ops->ops->square_sum(s->ops, ns.x, p->count));
    const float unit = (float)(1.0 / fmax(norm, s->config->ns_eps));
    for (int64_t k = 0; k < p->count; k++) {
        ns.x[k] *= unit;
    }
    for (int step = 0; step < (int)s->config->ns_steps; step++) {
        iterate(&ns);
    }
    const float decay = (float)(1.0 - lr * optim_decay(s, p));
    const float rate = (float)(-lr * adjusted(s->config, p));
    for (int64_t k = 0; k < p->count; k++) {
        value[k] = fmaf(rate, ns.x[k], value[k] * decay);
    }
}

void muon_update(const struct optim_step *s)
{
    const struct optim_config *c = s->config;
    const double share = c->adamw_lr <= 0 || c->learning_rate <= 0
                             ? 1.0
                             : c->adamw_lr / c->learning_rate;
    for (int64_t i = 0; i < s->params->count; i++) {
        const struct param *p = &s->params->params[i];
        if (is_matrix(p)) {
            update_matrix(s, i);
            continue;
        }
        struct update_args a = {
            .rule = UPDATE_ADAMW,
            .lr = optim_lr(s, p) * share, /* the same schedule on its own peak */
            .beta1 = c->beta1,
            .beta2 = c->beta2,
            .eps = c->eps,
            .weight_decay = optim_decay(s, p),
        };
        optim_update_run(s, i, p->count, &a);
    }
}
