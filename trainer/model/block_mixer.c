/*
 * The attention block: x += N2?(O(attn(rope(norm?(Q N1 x)), rope(norm?(K N1 x)), V N1 x))). The
 * normed input is recomputed in the backward; scores and probabilities are never stored.
 */
#include <string.h>

#include "trainer/model/cache.h"
#include "trainer/model/model_internal.h"

/* Sizes that every step of the block uses. */
struct mixer_sizes {
    int64_t rows;
    int64_t hidden;
    int64_t q;
    int64_t kv;
};

static struct mixer_sizes sizes_of(const struct block_run *r)
{
    const struct model_config *c = &r->m->config;
    return (struct mixer_sizes){r->b->tokens, c->hidden, c->heads * c->head_dim,
                                c->kv_heads * c->head_dim};
}

static const struct model_layer *layer_of(const struct block_run *r)
{
    return &r->m->layer[r->layer];
}

/* Keys and values are kept rounded where attention would round them. */
static bool rounds_keys(const struct block_run *r)
{
    return r->b->cache ? kv_cache_rounded(r->b->cache)
                       : operand_rounds(r->p, r->m->config.head_dim);
}

/* k and v as attention wants them; the floats before that are gone with the scratch. */
static enum status alloc_keys(const struct block_run *r, struct mixer_saved *s)
{
    const struct mixer_sizes n = sizes_of(r);
    struct arena *floats = rounds_keys(r) ? r->p->scratch : r->p->step;
    if (rounds_keys(r)) {
        const size_t count = (size_t)(n.rows * n.kv);
        ASSERT(r->p->ops->compute == COMPUTE_BF16);
        TRY(arena_alloc(r->p->step, count, sizeof *s->k16, &s->k16));
        TRY(arena_alloc(r->p->step, count, sizeof *s->v16, &s->v16));
    }
    TRY(alloc_rows(floats, n.rows, n.kv, &s->k));
    return alloc_rows(floats, n.rows, n.kv, &s->v);
}

static enum status alloc_saved(const struct block_run *r, struct mixer_saved *s)
{
    const struct mixer_sizes n = sizes_of(r);
    const struct model_layer *l = layer_of(r);
    struct arena *step = r->p->step;
    TRY(alloc_rows(step, n.rows, 1, &s->rstd));
    TRY(alloc_rows(step, n.rows, n.q, &s->q));
    TRY(alloc_keys(r, s));
    TRY(alloc_rows(step, n.rows, n.q, &s->attn));
    if (r->p->grad) {
        TRY(alloc_rows(step, n.rows, r->m->config.heads, &s->lse));
    }
    s->q_raw = s->q;
    s->k_raw = s->k;
    if (l->q_norm.w && r->p->grad) { /* else normed in place */
        TRY(alloc_rows(step, n.rows, n.q, &s->q_raw));
        TRY(alloc_rows(step, n.rows, n.kv, &s->k_raw));
        TRY(alloc_rows(step, n.rows, r->m->config.heads, &s->q_rstd));
        TRY(alloc_rows(step, n.rows, r->m->config.kv_heads, &s->k_rstd));
    }
    if (l->post_attn_norm.w) {
        TRY(alloc_rows(step, n.rows, n.hidden, &s->o));
        TRY(alloc_rows(step, n.rows, 1, &s->o_rstd));
    }
    return STATUS_OK;
}

/* The input of Q, K and V, an operand of their products only. */
static enum status alloc_normed(const struct block_run *r, struct operand *out)
{
    const struct model_layer *l = layer_of(r);
    const struct mixer_sizes n = sizes_of(r);
    const bool floats =
        linear_drops(&l->q, r->p) || linear_drops(&l->k, r->p) || linear_drops(&l->v, r->p);
    return operand_alloc(r->p, n.rows, n.hidden, !floats && operand_rounds(r->p, n.hidden), out);
}

static void rotate(const struct block_run *r, float *x, int64_t heads, bool inverse)
{
    const struct model_config *c = &r->m->config;
    const int table = c->layer[r->layer].rope;
    const struct rope_args args = {
        .x = x,
        .ldx = heads * c->head_dim,
        .rows = r->b->tokens,
        .heads = (int)heads,
        .head_dim = (int)c->head_dim,
        .dim = (int)c->head_dim,
        .cos = r->m->rope_cos[table],
        .sin = r->m->rope_sin[table],
        .position = r->b->position[0],
        .inverse = inverse,
    };
    r->p->ops->ops->rope(r->p->ops, &args);
}

/* Head-wise norms of q and k, weights shared by the heads. */
static enum status qk_norms(const struct block_run *r, struct mixer_saved *s)
{
    const struct model_config *c = &r->m->config;
    const struct model_layer *l = layer_of(r);
    const int64_t rows = r->b->tokens;
    if (!l->q_norm.w) {
        return STATUS_OK;
    }
    TRY(norm_forward(r, &l->q_norm, &(struct norm_rows){s->q_raw, s->q, s->q_rstd, rows * c->heads,
                                                        c->head_dim, NULL}));
    return norm_forward(r, &l->k_norm, &(struct norm_rows){s->k_raw, s->k, s->k_rstd,
                                                           rows * c->kv_heads, c->head_dim, NULL});
}

static void round_keys(const struct block_run *r, const struct mixer_saved *s, int64_t cols)
{
    const struct ops *ops = r->p->ops->ops;
    ops->round(r->p->ops, s->k16, s->k, r->b->tokens * cols);
    ops->round(r->p->ops, s->v16, s->v, r->b->tokens * cols);
}

/* Rollout: the rows of K and V move to their cache rows. */
static void store_rows(const struct block_run *r, const struct mixer_saved *s, int64_t cols)
{
    unsigned char *keys = kv_cache_keys(r->b->cache, r->layer);
    unsigned char *values = kv_cache_values(r->b->cache, r->layer);
    const unsigned char *k = s->k16 ? (const void *)s->k16 : (const void *)s->k;
    const unsigned char *v = s->v16 ? (const void *)s->v16 : (const void *)s->v;
    const int64_t bytes = cols * (int64_t)(s->k16 ? sizeof *s->k16 : sizeof *s->k);
    for (int64_t t = 0; t < r->b->tokens; t++) {
        const int64_t row = r->b->cache_rows[t];
        memcpy(keys + row * bytes, k + t * bytes, (size_t)bytes);
        memcpy(values + row * bytes, v + t * bytes, (size_t)bytes);
    }
}

static struct attn_args attention_args(const struct block_run *r, const struct mixer_saved *s)
{
    const struct model_config *c = &r->m->config;
    const struct mixer_sizes n = sizes_of(r);
    const struct kv_cache *cache = r->b->cache;
    const bool rounded = rounds_keys(r);
    const void *own_k = rounded ? (const void *)s->k16 : (const void *)s->k;
    const void *own_v = rounded ? (const void *)s->v16 : (const void *)s->v;
    const void *k = cache ? kv_cache_keys(cache, r->layer) : own_k;
    const void *v = cache ? kv_cache_values(cache, r->layer) : own_v;
    return (struct attn_args){
        .q = s->q,
        .ldq = n.q,
        .k = rounded ? NULL : k,
        .v = rounded ? NULL : v,
        .k16 = rounded ? k : NULL,
        .v16 = rounded ? v : NULL,
        .ldkv = n.kv,
        .out = s->attn,
        .ldo = n.q,
        .lse = s->lse,
        .seqs = r->b->seqs,
        .n_seq = r->b->n_seq,
        .heads = (int)c->heads,
        .kv_heads = (int)c->kv_heads,
        .head_dim = (int)c->head_dim,
        .scale = c->attn_scale,
        .window = c->layer[r->layer].window,
        .softcap = c->attn_softcap,
    };
}

/* y = x + N2?(O attn); in a recomputation only what the backward of O and N2 needs. */
static enum status project_out(const struct block_run *r, const float *x, float *y,
                               struct mixer_saved *s)
{
    const struct mixer_sizes n = sizes_of(r);
    const struct model_layer *l = layer_of(r);
    const bool post = l->post_attn_norm.w != NULL;
    float *o = post ? s->o : r->recompute ? NULL : y;
    const struct operand attn = {.x = s->attn, .ld = n.q, .rows = n.rows};
    TRY(linear_forward(&l->o, r->p, &attn, o, n.hidden, &s->lo));
    if (post) {
        TRY(norm_forward(r, &l->post_attn_norm,
                         &(struct norm_rows){s->o, y, s->o_rstd, n.rows, n.hidden, NULL}));
    }
    if (!r->recompute) {
        add_rows(r->p, y, x, n.rows * n.hidden);
    }
    return STATUS_OK;
}

static enum status mixer_forward(const struct block_run *r, const float *x, float *y,
                                 struct block_saved *saved)
{
    struct mixer_saved *s = &saved->u.mixer;
    const struct mixer_sizes n = sizes_of(r);
    const struct model_layer *l = layer_of(r);
    struct operand normed;
    TRY(alloc_saved(r, s));
    TRY(alloc_normed(r, &normed));
    TRY(norm_forward(r, &l->attn_norm,
                     &(struct norm_rows){x, normed.x, s->rstd, n.rows, n.hidden, normed.x16}));
    TRY(linear_forward(&l->q, r->p, &normed, s->q_raw, n.q, &s->lq));
    TRY(linear_forward(&l->k, r->p, &normed, s->k_raw, n.kv, &s->lk));
    TRY(linear_forward(&l->v, r->p, &normed, s->v, n.kv, &s->lv));
    TRY(qk_norms(r, s));
    rotate(r, s->q, r->m->config.heads, false);
    rotate(r, s->k, r->m->config.kv_heads, false);
    if (s->k16) {
        round_keys(r, s, n.kv);
    }
    if (r->b->cache) {
        store_rows(r, s, n.kv);
    }
    const struct attn_args attention = attention_args(r, s);
    r->p->ops->ops->attention(r->p->ops, &attention);
    return project_out(r, x, y, s);
}

/* Gradients of one layer's attention inputs. */
struct mixer_grads {
    float *q; /* [T, heads * d] */
    float *k; /* [T, kv_heads * d] */
    float *v; /* [T, kv_heads * d] */
};

/* dy -> gradients of q, k, v after RoPE. */
static enum status attention_backward(const struct block_run *r, struct mixer_saved *s,
                                      float *dy, struct mixer_grads *g)
{
    const struct mixer_sizes n = sizes_of(r);
    const struct model_layer *l = layer_of(r);
    struct arena *scratch = r->p->scratch;
    float *d_o = dy;
    float *d_attn;
    TRY(alloc_rows(scratch, n.rows, n.q, &g->q));
    TRY(alloc_rows(scratch, n.rows, n.kv, &g->k));
    TRY(alloc_rows(scratch, n.rows, n.kv, &g->v));
    const size_t mark = arena_mark(scratch);
    TRY(alloc_rows(scratch, n.rows, n.q, &d_attn));
    if (l->post_attn_norm.w) {
        float *d_post;
        TRY(alloc_rows(scratch, n.rows, n.hidden, &d_post));
        TRY(norm_backward(r, &l->post_attn_norm,
                          &(struct norm_backward_rows){.x = s->o,
                                                       .dy = dy,
                                                       .dx = d_post,
                                                       .rstd = s->o_rstd,
                                                       .rows = n.rows,
                                                       .cols = n.hidden,
                                                       .per_token = 1}));
        d_o = d_post;
    }
    const struct linear_backward_args o = {.x = {.x = s->attn, .ld = n.q, .rows = n.rows},
                                           .dy = {.x = d_o, .ld = n.hidden, .rows = n.rows},
                                           .dx = d_attn,
                                           .lddx = n.q};
    TRY(linear_backward(&l->o, r->p, &o, &s->lo));
    if (!pass_plans(r->p)) {
        memset(g->k, 0, (size_t)(n.rows * n.kv) * sizeof(float));
        memset(g->v, 0, (size_t)(n.rows * n.kv) * sizeof(float));
    }
    const struct attn_backward_args args = {
        .fwd = attention_args(r, s), .dout = d_attn, .dq = g->q, .dk = g->k, .dv = g->v};
    r->p->ops->ops->attention_backward(r->p->ops, &args);
    arena_rewind(scratch, mark);
    return STATUS_OK;
}

/* Back through RoPE and the qk-norms, in place. */
static enum status qk_backward(const struct block_run *r, const struct mixer_saved *s,
                               const struct mixer_grads *g)
{
    const struct model_config *c = &r->m->config;
    const struct model_layer *l = layer_of(r);
    rotate(r, g->q, c->heads, true);
    rotate(r, g->k, c->kv_heads, true);
    if (!l->q_norm.w) {
        return STATUS_OK;
    }
    TRY(norm_backward(r, &l->q_norm,
                      &(struct norm_backward_rows){.x = s->q_raw,
                                                   .dy = g->q,
                                                   .dx = g->q,
                                                   .rstd = s->q_rstd,
                                                   .rows = r->b->tokens * c->heads,
                                                   .cols = c->head_dim,
                                                   .per_token = c->heads}));
    return norm_backward(r, &l->k_norm,
                         &(struct norm_backward_rows){.x = s->k_raw,
                                                      .dy = g->k,
                                                      .dx = g->k,
                                                      .rstd = s->k_rstd,
                                                      .rows = r->b->tokens * c->kv_heads,
                                                      .cols = c->head_dim,
                                                      .per_token = c->kv_heads});
}

/* Back through Q, K, V to the normed input; d_normed NULL: not wanted. */
static enum status project_in_backward(const struct block_run *r, const struct mixer_saved *s,
                                       const struct operand *normed, const struct mixer_grads *g,
                                       float *d_normed)
{
    const struct mixer_sizes n = sizes_of(r);
    const struct model_layer *l = layer_of(r);
    const struct {
        const struct linear *l;
        const struct linear_saved *saved;
        float *dy;
        int64_t cols;
    } parts[] = {{&l->q, &s->lq, g->q, n.q},
                 {&l->k, &s->lk, g->k, n.kv},
                 {&l->v, &s->lv, g->v, n.kv}};
    for (int i = 0; i < 3; i++) {
        const struct linear_backward_args a = {.x = *normed,
                                               .dy = {.x = parts[i].dy,
                                                      .ld = parts[i].cols,
                                                      .rows = n.rows},
                                               .dx = d_normed,
                                               .lddx = n.hidden,
                                               .accumulate = i > 0};
        TRY(linear_backward(parts[i].l, r->p, &a, parts[i].saved));
    }
    return STATUS_OK;
}

static enum status mixer_backward(const struct block_run *r, struct block_saved *saved, float *dy,
                                  float *dx)
{
    struct mixer_saved *s = &saved->u.mixer;
    const struct mixer_sizes n = sizes_of(r);
    const struct model_layer *l = layer_of(r);
    struct mixer_grads g;
    struct operand normed;
    float *d_normed;
    TRY(attention_backward(r, s, dy, &g));
    TRY(qk_backward(r, s, &g));
    TRY(alloc_normed(r, &normed));
    TRY(alloc_rows(r->p->scratch, n.rows, n.hidden, &d_normed));
    if (r->p->hooks && (l->q.hooks || l->k.hooks || l->v.hooks)) { /* weight gradients read it */
        TRY(norm_forward(r, &l->attn_norm,
                         &(struct norm_rows){saved->x, normed.x, NULL, n.rows, n.hidden,
                                             normed.x16}));
    }
    const bool wanted = dx || (r->p->hooks && l->attn_norm.hooks);
    TRY(project_in_backward(r, s, &normed, &g, wanted ? d_normed : NULL));
    if (!wanted) {
        return STATUS_OK;
    }
    /* The residual path: dx = dy + the block's part. */
    return norm_backward(r, &l->attn_norm,
                         &(struct norm_backward_rows){.x = saved->x,
                                                      .dy = d_normed,
                                                      .dx = dy,
                                                      .rstd = s->rstd,
                                                      .rows = n.rows,
                                                      .cols = n.hidden,
                                                      .per_token = 1,
                                                      .accumulate = true});
}

static bool mixer_trained(const struct model *m, int64_t layer)
{
    const struct model_layer *l = &m->layer[layer];
    return l->attn_norm.hooks || l->q.hooks || l->k.hooks || l->v.hooks || l->o.hooks
           || l->q_norm.hooks || l->k_norm.hooks || l->post_attn_norm.hooks;
}

const struct block_ops BLOCK_MIXER = {
    .name = "mixer",
    .forward = mixer_forward,
    .backward = mixer_backward,
    .trained = mixer_trained,
};
