/*
 * First and last block of the tape: embedding rows in, and the rows whose next token is wanted out
 * through the final norm. Gathering is an embedding lookup in the activations, so it runs on ops.
 */
#include <string.h>

#include "trainer/model/model_internal.h"

/* Rows of `x` as an embedding matrix. */
static struct tensor matrix_view(const float *x, int64_t rows, int64_t cols)
{
    return (struct tensor){.dtype = DTYPE_F32,
                           .dims = 2,
                           .shape = {rows, cols},
                           .row_bytes = (size_t)cols * sizeof(float),
                           .data = x};
}

static enum status check_embed_hooks(const struct block_run *r)
{
    const struct linear *l = &r->m->embed;
    for (const struct hook *h = r->p->hooks ? l->hooks : NULL; h; h = h->next) {
        if (h->kind != HOOK_FULL) {
            return FAIL(RECIPE, "%s: adapters on the embedding are not supported; take it out of "
                                "the target modules", l->name);
        }
    }
    return STATUS_OK;
}

static enum status embed_forward(const struct block_run *r, const float *x, float *y,
                                 struct block_saved *saved)
{
    (void)x;
    (void)saved;
    const struct batch *b = r->b;
    const int64_t hidden = r->m->config.hidden;
    TRY(check_embed_hooks(r));
    if (r->recompute) {
        return STATUS_OK;
    }
    const struct embed_args args = {
        .w = &r->m->embed.w,
        .ids = b->ids,
        .rows = b->tokens,
        .scale = r->m->config.embed_scale,
        .y = y,
    };
    r->p->ops->ops->embed(r->p->ops, &args);
    for (int64_t t = 0; b->embeddings && t < b->tokens; t++) {
        if (b->override[t]) {
            memcpy(y + t * hidden, b->embeddings + t * hidden, (size_t)hidden * sizeof(float));
        }
    }
    noise_embeddings(r->p, y, hidden);
    return STATUS_OK;
}

static enum status embed_backward(const struct block_run *r, struct block_saved *saved, float *dy,
                                  float *dx)
{
    (void)saved;
    const struct batch *b = r->b;
    const int64_t hidden = r->m->config.hidden;
    if (pass_plans(r->p)) {
        return STATUS_OK;
    }
    if (dx && dx != dy) {
        memcpy(dx, dy, (size_t)(b->tokens * hidden) * sizeof(float));
    }
    if (!r->p->hooks || !r->m->embed.hooks) {
        return STATUS_OK;
    }
    const struct hook *h = r->m->embed.hooks;
    for (int64_t t = 0; b->embeddings && t < b->tokens; t++) {
        if (b->override[t]) { /* the table had no part in these rows */
            memset(dy + t * hidden, 0, (size_t)hidden * sizeof(float));
        }
    }
    /* A tied head added its part to the same gradient before. */
    const struct embed_backward_args args = {
        .dy = dy,
        .ids = b->ids,
        .rows = b->tokens,
        .cols = hidden,
        .scale = r->m->config.embed_scale,
        .dw = param_grad(h->params, h->weight),
    };
    r->p->ops->ops->embed_backward(r->p->ops, &args);
    return STATUS_OK;
}

static bool embed_trained(const struct model *m, int64_t layer)
{
    (void)layer;
    return m->embed.hooks != NULL;
}

static enum status output_forward(const struct block_run *r, const float *x, float *y,
                                  struct block_saved *saved)
{
    struct output_saved *s = &saved->u.output;
    const int64_t hidden = r->m->config.hidden;
    const int64_t n = r->b->n_out;
    TRY(alloc_rows(r->p->step, n, hidden, &s->x));
    TRY(alloc_rows(r->p->step, n, 1, &s->rstd));
    const struct tensor rows = matrix_view(x, r->b->tokens, hidden);
    const struct embed_args gather = {
        .w = &rows,
        .ids = r->b->out_rows,
        .rows = n,
        .scale = 1.0f,
        .y = s->x,
    };
    r->p->ops->ops->embed(r->p->ops, &gather);
    return norm_forward(r, &r->m->final_norm,
                        &(struct norm_rows){s->x, y, s->rstd, n, hidden, NULL});
}

static enum status output_backward(const struct block_run *r, struct block_saved *saved, float *dy,
                                   float *dx)
{
    const struct output_saved *s = &saved->u.output;
    const int64_t hidden = r->m->config.hidden;
    /* Rows are outputs here, so the units are counted in outputs. */
    struct pass p = *r->p;
    struct block_run run = *r;
    p.unit_begin = r->out_unit_begin;
    run.p = &p;
    TRY(norm_backward(&run, &r->m->final_norm,
                      &(struct norm_backward_rows){.x = s->x,
                                                   .dy = dy,
                                                   .dx = dy,
                                                   .rstd = s->rstd,
                                                   .rows = r->b->n_out,
                                                   .cols = hidden,
                                                   .per_token = 1}));
    if (!dx) {
        return STATUS_OK;
    }
    memset(dx, 0, (size_t)(r->b->tokens * hidden) * sizeof(float));
    const struct embed_backward_args scatter = {
        .dy = dy,
        .ids = r->b->out_rows,
        .rows = r->b->n_out,
        .cols = hidden,
        .scale = 1.0f,
        .dw = dx,
    };
    r->p->ops->ops->embed_backward(r->p->ops, &scatter);
    return STATUS_OK;
}

static bool output_trained(const struct model *m, int64_t layer)
{
    (void)layer;
    return m->final_norm.hooks != NULL;
}

const struct block_ops BLOCK_EMBED = {
    .name = "embed",
    .forward = embed_forward,
    .backward = embed_backward,
    .trained = embed_trained,
};

const struct block_ops BLOCK_OUTPUT = {
    .name = "output",
    .forward = output_forward,
    .backward = output_backward,
    .trained = output_trained,
};
