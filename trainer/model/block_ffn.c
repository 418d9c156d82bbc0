/*
 * The gated feed-forward block: x += N4?(down(act(gate h) * up h)), h = N3 x (Shazeer 2020, arXiv
 * 2002.05202). gate h and up h are saved, rounded in COMPUTE_BF16; h and their product are recomputed
 * in the backward.
 */
#include "trainer/model/model_internal.h"

static const struct model_layer *layer_of(const struct block_run *r)
{
    return &r->m->layer[r->layer];
}

static enum status alloc_saved(const struct block_run *r, struct ffn_saved *s)
{
    const struct model_config *c = &r->m->config;
    const int64_t rows = r->b->tokens;
    struct arena *step = r->p->step;
    const bool rounds = operand_rounds(r->p, c->ff);
    TRY(alloc_rows(step, rows, 1, &s->rstd));
    TRY(alloc_rows(rounds ? r->p->scratch : step, rows, c->ff, &s->g));
    TRY(alloc_rows(rounds ? r->p->scratch : step, rows, c->ff, &s->u));
    s->g16 = s->u16 = NULL;
    if (rounds && r->p->grad) {
        TRY(arena_alloc(step, (size_t)(rows * c->ff), sizeof *s->g16, &s->g16));
        TRY(arena_alloc(step, (size_t)(rows * c->ff), sizeof *s->u16, &s->u16));
    }
    if (layer_of(r)->post_ffn_norm.w) {
        TRY(alloc_rows(step, rows, c->hidden, &s->down));
        TRY(alloc_rows(step, rows, 1, &s->down_rstd));
    }
    return STATUS_OK;
}

/* The input of gate and up, an operand of their products only. */
static enum status alloc_normed(const struct block_run *r, struct operand *out)
{
    const struct model_layer *l = layer_of(r);
    const int64_t hidden = r->m->config.hidden;
    const bool floats = linear_drops(&l->gate, r->p) || linear_drops(&l->up, r->p);
    return operand_alloc(r->p, r->b->tokens, hidden, !floats && operand_rounds(r->p, hidden), out);
}

/* The input of down. */
static enum status alloc_gated(const struct block_run *r, struct operand *out)
{
    const int64_t ff = r->m->config.ff;
    const bool rounded = !linear_drops(&layer_of(r)->down, r->p) && operand_rounds(r->p, ff);
    return operand_alloc(r->p, r->b->tokens, ff, rounded, out);
}

/* h = act(g) u. The forward keeps g and u rounded, if the backward wants them so. */
static void gated_product(const struct block_run *r, const struct ffn_saved *s,
                          const struct operand *h)
{
    const struct glu_args a = {
        .g = s->g,
        .u = s->u,
        .g16 = s->g ? NULL : s->g16,
        .u16 = s->u ? NULL : s->u16,
        .h = h->x,
        .h16 = h->x16,
        .kept_g = s->g ? s->g16 : NULL,
        .kept_u = s->u ? s->u16 : NULL,
        .count = r->b->tokens * r->m->config.ff,
        .act = r->m->config.family->act,
    };
    r->p->ops->ops->glu(r->p->ops, &a);
}

/* y = x + N4?(down h); in a recomputation only what the backward of down and N4 needs. */
static enum status project_down(const struct block_run *r, const float *x, const struct operand *h,
                                float *y, struct ffn_saved *s)
{
    const struct model_config *c = &r->m->config;
    const struct model_layer *l = layer_of(r);
    const int64_t rows = r->b->tokens;
    const bool post = l->post_ffn_norm.w != NULL;
    float *down = post ? s->down : r->recompute ? NULL : y;
    TRY(linear_forward(&l->down, r->p, h, down, c->hidden, &s->ld));
    if (post) {
        TRY(norm_forward(r, &l->post_ffn_norm,
                         &(struct norm_rows){s->down, y, s->down_rstd, rows, c->hidden, NULL}));
    }
    if (!r->recompute) {
        add_rows(r->p, y, x, rows * c->hidden);
    }
    return STATUS_OK;
}

static enum status ffn_forward(const struct block_run *r, const float *x, float *y,
                               struct block_saved *saved)
{
    struct ffn_saved *s = &saved->u.ffn;
    const struct model_config *c = &r->m->config;
    const struct model_layer *l = layer_of(r);
    struct operand normed;
    struct operand h;
    TRY(alloc_saved(r, s));
    TRY(alloc_normed(r, &normed));
    TRY(alloc_gated(r, &h));
    TRY(norm_forward(
        r, &l->ffn_norm,
        &(struct norm_rows){x, normed.x, s->rstd, normed.rows, c->hidden, normed.x16}));
    TRY(linear_forward(&l->gate, r->p, &normed, s->g, c->ff, &s->lg));
    TRY(linear_forward(&l->up, r->p, &normed, s->u, c->ff, &s->lu));
    gated_product(r, s, &h);
    if (s->g16) {
        s->g = s->u = NULL; /* gone with the scratch */
    }
    return project_down(r, x, &h, y, s);
}

/* Gradients of gate h and up h. */
struct gate_grads {
    struct operand g;
    struct operand u;
};

/* They take the memory of their values, unless they are rounded for the products. */
static enum status alloc_grads(const struct block_run *r, const struct ffn_saved *s,
                               struct gate_grads *d)
{
    const int64_t ff = r->m->config.ff;
    const int64_t rows = r->b->tokens;
    if (!operand_rounds(r->p, ff)) {
        d->g = (struct operand){.x = s->g, .ld = ff, .rows = rows};
        d->u = (struct operand){.x = s->u, .ld = ff, .rows = rows};
        return STATUS_OK;
    }
    TRY(operand_alloc(r->p, rows, ff, true, &d->g));
    return operand_alloc(r->p, rows, ff, true, &d->u);
}

/* dy -> gradients of gate h and up h. */
static enum status down_backward(const struct block_run *r, const struct ffn_saved *s, float *dy,
                                 const struct gate_grads *d)
{
    const struct model_config *c = &r->m->config;
    const struct model_layer *l = layer_of(r);
    const struct pass *p = r->p;
    const int64_t rows = r->b->tokens;
    float *d_down = dy;
    const size_t mark = arena_mark(p->scratch);
    struct operand h;
    float *dh;
    TRY(alloc_rows(p->scratch, rows, c->ff, &dh));
    if (l->post_ffn_norm.w) {
        float *d_post;
        TRY(alloc_rows(p->scratch, rows, c->hidden, &d_post));
        TRY(norm_backward(r, &l->post_ffn_norm,
                          &(struct norm_backward_rows){.x = s->down,
                                                       .dy = dy,
                                                       .dx = d_post,
                                                       .rstd = s->down_rstd,
                                                       .rows = rows,
                                                       .cols = c->hidden,
                                                       .per_token = 1}));
        d_down = d_post;
    }
    TRY(alloc_gated(r, &h));
    if (p->hooks && l->down.hooks) { /* only weight gradients read it */
        gated_product(r, s, &h);
    }
    const struct linear_backward_args down = {.x = h,
                                              .dy = {.x = d_down, .ld = c->hidden, .rows = rows},
                                              .dx = dh,
                                              .lddx = c->ff};
    TRY(linear_backward(&l->down, p, &down, &s->ld));
    const struct glu_backward_args gate = {.g = s->g,
                                           .u = s->u,
                                           .g16 = s->g16,
                                           .u16 = s->u16,
                                           .dh = dh,
                                           .dg = d->g.x,
                                           .du = d->u.x,
                                           .dg16 = d->g.x16,
                                           .du16 = d->u.x16,
                                           .count = rows * c->ff,
                                           .act = c->family->act};
    p->ops->ops->glu_backward(p->ops, &gate);
    arena_rewind(p->scratch, mark);
    return STATUS_OK;
}

/* Back through gate and up to the normed input; d_normed NULL: not wanted. */
static enum status project_in_backward(const struct block_run *r, const struct ffn_saved *s,
                                       const struct operand *normed, const struct gate_grads *d,
                                       float *d_normed)
{
    const struct model_config *c = &r->m->config;
    const struct model_layer *l = layer_of(r);
    struct linear_backward_args a = {
        .x = *normed, .dy = d->g, .dx = d_normed, .lddx = c->hidden};
    TRY(linear_backward(&l->gate, r->p, &a, &s->lg));
    a.dy = d->u;
    a.accumulate = true;
    return linear_backward(&l->up, r->p, &a, &s->lu);
}

static enum status ffn_backward(const struct block_run *r, struct block_saved *saved, float *dy,
                                float *dx)
{
    struct ffn_saved *s = &saved->u.ffn;
    const struct model_config *c = &r->m->config;
    const struct model_layer *l = layer_of(r);
    const int64_t rows = r->b->tokens;
    struct gate_grads d;
    struct operand normed;
    float *d_normed;
    TRY(alloc_grads(r, s, &d));
    TRY(down_backward(r, s, dy, &d));
    TRY(alloc_normed(r, &normed));
    TRY(alloc_rows(r->p->scratch, rows, c->hidden, &d_normed));
    if (r->p->hooks && (l->gate.hooks || l->up.hooks)) { /* only weight gradients read it */
        TRY(norm_forward(r, &l->ffn_norm,
                         &(struct norm_rows){saved->x, normed.x, NULL, rows, c->hidden,
                                             normed.x16}));
    }
    const bool wanted = dx || (r->p->hooks && l->ffn_norm.hooks);
    TRY(project_in_backward(r, s, &normed, &d, wanted ? d_normed : NULL));
    if (!wanted) {
        return STATUS_OK;
    }
    /* The residual path: dx = dy + the block's part. */
    return norm_backward(r, &l->ffn_norm,
                         &(struct norm_backward_rows){.x = saved->x,
                                                      .dy = d_normed,
                                                      .dx = dy,
                                                      .rstd = s->rstd,
                                                      .rows = rows,
                                                      .cols = c->hidden,
                                                      .per_token = 1,
                                                      .accumulate = true});
}

static bool ffn_trained(const struct model *m, int64_t layer)
{
    const struct model_layer *l = &m->layer[layer];
    return l->ffn_norm.hooks || l->gate.hooks || l->up.hooks || l->down.hooks
           || l->post_ffn_norm.hooks;
}

const struct block_ops BLOCK_FFN = {
    .name = "ffn",
    .forward = ffn_forward,
    .backward = ffn_backward,
    .trained = ffn_trained,
};
