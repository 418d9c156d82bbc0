/* The adapter families, one row each, and what is common to all: attaching to a model. */
#include <math.h>
#include <string.h>
#include <strings.h>

#include "adapters/adapter_internal.h"
#include "adapters/target.h"
#include "kernels/base/rng.h"

static const struct adapter_family *const FAMILIES[] = {&ADAPTER_LORA};

const struct adapter_family *adapter_family_find(const char *name)
{
    for (size_t i = 0; i < sizeof FAMILIES / sizeof FAMILIES[0]; i++) {
        if (strcasecmp(name, FAMILIES[i]->name) == 0) {
            return FAMILIES[i];
        }
    }
    return NULL;
}

/* Collects the matching modules; with sites NULL it only counts. */
struct collector {
    const struct target *target;
    const struct model *model;
    struct adapter_site *sites;
    int64_t count;
    char names[512]; /* some module names, for the message when nothing matches */
};

static enum status collect(void *ctx, struct linear *l)
{
    struct collector *c = ctx;
    const size_t used = strlen(c->names);
    if (used + strlen(l->name) + 3 < sizeof c->names) {
        (void)snprintf(c->names + used, sizeof c->names - used, "%s%s", used ? ", " : "", l->name);
    }
    const bool is_head = strcmp(l->name, c->model->head.name) == 0;
    const bool is_embedding = l == &c->model->embed;
    /* all-linear means Linear modules: the embedding is none. */
    if (!target_matches(c->target, l->name, is_head || is_embedding)) {
        return STATUS_OK;
    }
    if (is_embedding || is_head) {
        return FAIL(RECIPE, "target_modules: '%s' can't carry an adapter yet; leave it out",
                    l->name);
    }
    if (c->sites) {
        c->sites[c->count].linear = l;
    }
    c->count++;
    return STATUS_OK;
}

static enum status attach_sites(struct adapter *a, struct model *m, const struct target *target)
{
    struct collector c = {.target = target, .model = m};
    TRY(model_each_linear(m, collect, &c));
    TRY(target_check(target));
    if (c.count == 0) {
        return FAIL(RECIPE, "target_modules match no module of this model; it has %s ...", c.names);
    }
    a->sites = calloc((size_t)c.count, sizeof *a->sites);
    if (!a->sites) {
        return FAIL(MEMORY, "adapter: no memory for %lld modules", (long long)c.count);
    }
    c.sites = a->sites;
    c.count = 0;
    TRY(model_each_linear(m, collect, &c));
    a->first_param = a->params->count;
    for (int64_t i = 0; i < c.count; i++) {
        struct adapter_site *site = &a->sites[i];
        const int64_t rank = target_rank(target, site->linear->name);
        const double alpha = target_alpha(target, site->linear->name);
        TRY(target_check(target));
        if (rank < 1 || rank > ADAPTER_MAX_RANK || !(fabs(alpha) <= ADAPTER_MAX_ALPHA)) {
            return FAIL(RECIPE, "%s: rank %lld and alpha %g: the rank is 1..%d, |alpha| <= %g",
                        site->linear->name, (long long)rank, alpha, ADAPTER_MAX_RANK,
                        ADAPTER_MAX_ALPHA);
        }
        TRY(a->family->attach(a, site, rank, alpha));
        a->count++;
    }
    a->param_count = a->params->count - a->first_param;
    return STATUS_OK;
}

/* A scalar head over the model: PEFT saves it whole, beside the factors (modules_to_save). */
static enum status attach_score(struct adapter *a, struct model *m)
{
    const int64_t shape[2] = {1, m->config.hidden};
    if (m->score.in > 0) {
        return FAIL(RECIPE, "the model has a scalar head already");
    }
    a->score = (struct hook){.kind = HOOK_FULL, .slot = -1, .params = a->params, .bias = -1};
    TRY(param_set_add(a->params, "base_model.model.score.weight", 2, shape, true,
                      &a->score.weight));
    a->param_count++;
    m->score = (struct linear){.name = "score", .out = 1, .in = m->config.hidden,
                               .hooks = &a->score};
    return STATUS_OK;
}

/* The head reads its parameter, once that has a place. */
double adapter_dropout(const struct adapter *a)
{
    return a ? a->config.lora_dropout : 0.0;
}

void adapter_bind(struct adapter *a)
{
    if (a->config.score) {
        a->model->score.w = a->params->params[a->score.weight].view;
    }
}

enum status adapter_attach(struct adapter **out, struct model *m, struct param_set *params,
                           const struct adapter_config *config)
{
    *out = NULL;
    const char *name = config->family ? config->family : "";
    const struct adapter_family *family = adapter_family_find(name);
    if (!family) {
        return FAIL(RECIPE, "adapter '%s' is not known; use lora", name);
    }
    if (!(config->lora_dropout >= 0.0 && config->lora_dropout < 1.0)) {
        return FAIL(RECIPE, "lora_dropout: %g is outside [0, 1)", config->lora_dropout);
    }
    struct adapter *a = calloc(1, sizeof *a);
    if (!a) {
        return FAIL(MEMORY, "adapter: no memory");
    }
    a->family = family;
    a->params = params;
    a->model = m;
    struct target *target = NULL;
    enum status status = adapter_config_copy(&a->config, config);
    if (status == STATUS_OK) {
        status = target_open(&target, config);
    }
    if (status == STATUS_OK) {
        status = attach_sites(a, m, target);
    }
    if (status == STATUS_OK && config->score) {
        status = attach_score(a, m);
    }
    target_close(target);
    if (status != STATUS_OK) {
        adapter_close(a);
        return status;
    }
    adapter_hang(a, -1);
    *out = a;
    return STATUS_OK;
}

void adapter_hang(struct adapter *a, int32_t slot)
{
    adapter_take_off(a);
    for (int64_t i = 0; i < a->count; i++) {
        struct adapter_site *site = &a->sites[i];
        site->hook.slot = slot;
        site->hook.next = site->linear->hooks;
        site->linear->hooks = &site->hook;
    }
}

void adapter_take_off(struct adapter *a)
{
    for (int64_t i = 0; i < a->count; i++) {
        struct hook **at = &a->sites[i].linear->hooks;
        while (*at && *at != &a->sites[i].hook) {
            at = &(*at)->next;
        }
        if (*at) {
            *at = a->sites[i].hook.next;
        }
    }
}

void adapter_initialize(struct adapter *a, uint64_t seed)
{
    for (int64_t i = 0; i < a->count; i++) {
        a->family->initialize(a, &a->sites[i], seed, (uint32_t)i);
    }
    if (a->config.score) {
        const struct rng_key key = {.seed = seed, .purpose = RNG_INIT,
                                    .module = 2 * (uint32_t)a->count};
        rng_fill_normal(&key, param_value(a->params, a->score.weight), a->model->config.hidden,
                        (float)a->model->config.initializer_range);
    }
    adapter_bind(a);
}

void adapter_close(struct adapter *a)
{
    if (!a) {
        return;
    }
    adapter_take_off(a);
    if (a->model && a->model->score.hooks == &a->score) {
        a->model->score = (struct linear){0};
    }
    free(a->sites);
    adapter_config_close(&a->config);
    free(a);
}

int64_t adapter_parameter_count(const struct adapter *a)
{
    int64_t n = 0;
    for (int64_t i = 0; i < a->param_count; i++) {
        n += a->params->params[a->first_param + i].count;
    }
    return n;
}
