/*
 * The gated feed-forward block: x += N4?(down(act(gate h) * up h)), h = N3 x (Shazeer 2020, arXiv
 * 2002.05202). gate h and up h are saved; h and their product are recomputed in the backward.
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
    TRY(alloc_rows(step, rows, 1, &s->rstd));
    TRY(alloc_rows(step, rows, c->ff, &s->g));
    TRY(alloc_rows(step, rows, c->ff, &s->u));
    if (layer_of(r)->post_ffn_norm.w) {
        TRY(alloc_rows(step, rows, c->hidden, &s->down));
        TRY(alloc_rows(step, rows, 1, &s->down_rstd));
    }
    return STATUS_OK;
}

static void gated_product(const struct block_run *r, const struct ffn_saved *s, float *h)
{
    const struct glu_args a = {
        .g = s->g,
        .u = s->u,
        .h = h,
        .count = r->b->tokens * r->m->config.ff,
        .act = r->m->config.family->act,
    };
    r->p->ops->ops->glu(r->p->ops, &a);
}

/* y = x + N4?(down h); in a recomputation only what the backward of down and N4 needs. */
static enum status project_down(const struct block_run *r, const float *x, const float *h, float *y,
                                struct ffn_saved *s)
{
    const struct model_config *c = &r->m->config;
    const struct model_layer *l = layer_of(r);
    const int64_t rows = r->b->tokens;
    const bool post = l->post_ffn_norm.w != NULL;
    float *down = post ? s->down : r->recompute ? NULL : y;
    TRY(linear_forward(&l->down, r->p, h, c->ff, rows, down, c->hidden, &s->ld));
    if (post) {
        TRY(norm_forward(r, &l->post_ffn_norm,
                         &(struct norm_rows){s->down, y, s->down_rstd, rows, c->hidden}));
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
    const int64_t rows = r->b->tokens;
    float *normed;
    float *h;
    TRY(alloc_saved(r, s));
    TRY(alloc_rows(r->p->scratch, rows, c->hidden, &normed));
    TRY(alloc_rows(r->p->scratch, rows, c->ff, &h));
    TRY(norm_forward(r, &l->ffn_norm,
                     &(struct norm_rows){x, normed, s->rstd, rows, c->hidden}));
    TRY(linear_forward(&l->gate, r->p, normed, c->hidden, rows, s->g, c->ff, &s->lg));
    TRY(linear_forward(&l->up, r->p, normed, c->hidden, rows, s->u, c->ff, &s->lu));
    gated_product(r, s, h);
    return project_down(r, x, h, y, s);
}

/* dy -> gradients of gate h and up h, in the memory of their values. */
static enum status down_backward(const struct block_run *r, struct ffn_saved *s, const float *dy)
{
    const struct model_config *c = &r->m->config;
    const struct model_layer *l = layer_of(r);
    const struct pass *p = r->p;
    const int64_t rows = r->b->tokens;
    const float *d_down = dy;
    const size_t mark = arena_mark(p->scratch);
    float *h;
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
    TRY(alloc_rows(p->scratch, rows, c->ff, &h));
    if (p->hooks && l->down.hooks) { /* only weight gradients read it */
        gated_product(r, s, h);
    }
    const struct linear_backward_args down = {.x = h,
                                              .ldx = c->ff,
                                              .dy = d_down,
                                              .ldy = c->hidden,
                                              .rows = rows,
                                              .dx = dh,
                                              .lddx = c->ff};
    TRY(linear_backward(&l->down, p, &down, &s->ld));
    const struct glu_backward_args gate = {.g = s->g,
                                           .u = s->u,
                                           .dh = dh,
                                           .dg = s->g,
                                           .du = s->u,
                                           .count = rows * c->ff,
                                           .act = c->family->act};
    p->ops->ops->glu_backward(p->ops, &gate);
    arena_rewind(p->scratch, mark);
    return STATUS_OK;
}

/* Back through gate and up to the normed input; d_normed NULL: not wanted. */
static enum status project_in_backward(const struct block_run *r, const struct ffn_saved *s,
                                       const float *normed, float *d_normed)
{
    const struct model_config *c = &r->m->config;
    const struct model_layer *l = layer_of(r);
    struct linear_backward_args a = {.x = normed,
                                     .ldx = c->hidden,
                                     .dy = s->g,
                                     .ldy = c->ff,
                                     .rows = r->b->tokens,
                                     .dx = d_normed,
                                     .lddx = c->hidden};
    TRY(linear_backward(&l->gate, r->p, &a, &s->lg));
    a.dy = s->u;
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
    float *normed;
    float *d_normed;
    TRY(down_backward(r, s, dy));
    TRY(alloc_rows(r->p->scratch, rows, c->hidden, &normed));
    TRY(alloc_rows(r->p->scratch, rows, c->hidden, &d_normed));
    if (r->p->hooks && (l->gate.hooks || l->up.hooks)) { /* only weight gradients read it */
        TRY(norm_forward(r, &l->ffn_norm,
                         &(struct norm_rows){saved->x, normed, NULL, rows, c->hidden}));
    }
    const bool wanted = dx || (r->p->hooks && l->ffn_norm.hooks);
    TRY(project_in_backward(r, s, normed, wanted ? d_normed : NULL));
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
