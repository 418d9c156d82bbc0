/*
 * Full training: every weight becomes a parameter under the name Hugging Face saves it by. Hooks of
 * kind HOOK_FULL live in the room that the base arena keeps for them; a tied head shares the
 * embedding's parameter, so both of its gradients add up in one place.
 */
#include <string.h>

#include "kernels/base/rng.h"
#include "kernels/tensor/quant.h"
#include "trainer/model/load_internal.h"

struct attach {
    struct model *model;
    struct param_set *params;
};

static enum status add_param(struct param_set *params, const char *module, const char *suffix,
                             int dims, const int64_t *shape, int64_t *index)
{
    char name[SITE_NAME_BYTES + 16];
    (void)snprintf(name, sizeof name, "%s%s", module, suffix);
    return param_set_add(params, name, dims, shape, param_name_decays(name), index);
}

static enum status new_hook(struct attach *a, struct hook **list, struct hook **out)
{
    TRY(arena_alloc(&a->model->base, 1, sizeof **out, out));
    **out = (struct hook){.kind = HOOK_FULL,
                          .next = *list,
                          .slot = -1,
                          .params = a->params,
                          .weight = -1,
                          .bias = -1};
    return STATUS_OK;
}

static enum status check_linear(void *ctx, struct linear *l)
{
    const struct attach *a = ctx;
    if (l->w.dtype != DTYPE_F32 && l->w.dtype != DTYPE_F16 && l->w.dtype != DTYPE_BF16) {
        return FAIL(RECIPE, "%s: %s is packed as %s; full training needs F32, F16 or BF16 weights: "
                            "train an adapter, or start from the unquantized model",
                    a->model->path, l->name, dtype_row(l->w.dtype)->name);
    }
    return STATUS_OK;
}

static enum status attach_linear(void *ctx, struct linear *l)
{
    struct attach *a = ctx;
    struct hook *hook;
    TRY(new_hook(a, &l->hooks, &hook));
    TRY(add_param(a->params, l->name, ".weight", 2, (const int64_t[]){l->out, l->in},
                  &hook->weight));
    if (l->bias) {
        TRY(add_param(a->params, l->name, ".bias", 1, &l->out, &hook->bias));
    }
    l->hooks = hook;
    return STATUS_OK;
}

static enum status attach_norm(struct attach *a, struct norm *n, int64_t length)
{
    struct hook *hook;
    TRY(new_hook(a, &n->hooks, &hook));
    TRY(add_param(a->params, n->name, ".weight", 1, &length, &hook->weight));
    n->hooks = hook;
    return STATUS_OK;
}

enum status model_full_attach(struct model *m, struct param_set *params)
{
    struct attach a = {m, params};
    TRY(model_each_linear(m, check_linear, &a)); /* first, so that a refusal leaves no hook */
    TRY(model_each_linear(m, attach_linear, &a));
    for (int64_t i = 0; i < m->config.layers; i++) {
        for (int k = 0; site_at(k); k++) {
            if (!site_at(k)->linear && site_present(site_at(k), &m->config)) {
                TRY(attach_norm(&a, site_norm(site_at(k), &m->layer[i]),
                                site_size(site_at(k)->out, &m->config)));
            }
        }
    }
    TRY(attach_norm(&a, &m->final_norm, m->config.hidden));
    if (m->config.tied) {
        struct hook *hook;
        TRY(new_hook(&a, &m->head.hooks, &hook));
        hook->weight = m->embed.hooks->weight;
        m->head.hooks = hook;
    }
    return STATUS_OK;
}

enum status model_full_attach_score(struct model *m, struct param_set *params)
{
    struct attach a = {m, params};
    if (!m->config.tied) { /* a classifier has no other head: what is never read is not trained */
        m->config.tied = true;
        m->head = m->embed;
    }
    TRY(model_full_attach(m, params));
    if (m->score.in == 0) {
        m->score = (struct linear){.name = "score", .out = 1, .in = m->config.hidden};
    }
    return attach_linear(&a, &m->score);
}

static const struct hook *full_hook(const struct hook *list, const struct param_set *params)
{
    for (; list; list = list->next) {
        if (list->kind == HOOK_FULL && list->params == params) {
            return list;
        }
    }
    return NULL;
}

static enum status bind_linear(void *ctx, struct linear *l)
{
    const struct attach *a = ctx;
    const struct hook *hook = full_hook(l->hooks, a->params);
    if (!hook) {
        return FAIL(INTERNAL, "%s was not attached to these parameters", l->name);
    }
    float *w = param_value(a->params, hook->weight);
    for (int64_t r = 0; r < l->out; r++) {
        quant_decode(&l->w, r, 0, l->in, w + r * l->in);
    }
    l->w = a->params->params[hook->weight].view;
    if (hook->bias >= 0) {
        float *bias = param_value(a->params, hook->bias);
        memcpy(bias, l->bias, (size_t)l->out * sizeof(float));
        l->bias = bias;
    }
    return STATUS_OK;
}

static enum status bind_norm(void *ctx, struct norm *n)
{
    const struct attach *a = ctx;
    const struct hook *hook = full_hook(n->hooks, a->params);
    if (!hook) {
        return FAIL(INTERNAL, "%s was not attached to these parameters", n->name);
    }
    float *w = param_value(a->params, hook->weight);
    memcpy(w, n->w, (size_t)a->params->params[hook->weight].count * sizeof(float));
    n->w = w;
    return STATUS_OK;
}

enum status model_full_bind(struct model *m, struct param_set *params)
{
    struct attach a = {m, params};
    TRY(model_each_linear(m, bind_linear, &a));
    TRY(model_each_norm(m, bind_norm, &a));
    if (m->config.tied) {
        m->head.w = m->embed.w;
    }
    return STATUS_OK;
}

enum status model_full_bind_score(struct model *m, struct param_set *params, uint64_t seed)
{
    struct attach a = {m, params};
    TRY(model_full_bind(m, params));
    if (m->score.w.data) { /* a classifier's: training goes on from it */
        return bind_linear(&a, &m->score);
    }
    const int64_t index = full_hook(m->score.hooks, params)->weight;
    const struct rng_key key = {.seed = seed, .purpose = RNG_INIT};
    rng_fill_normal(&key, param_value(params, index), m->config.hidden,
                    (float)m->config.initializer_range);
    m->score.w = params->params[index].view;
    return STATUS_OK;
}
