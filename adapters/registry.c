/* The adapter families, one row each, and what is common to all: attach, load, save. */
#include <string.h>
#include <strings.h>

#include "adapters/adapter_internal.h"
#include "adapters/target.h"
#include "kernels/tensor/quant.h"
#include "trainer/format/safetensors.h"

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
    if (is_embedding && !c->target) {
        return STATUS_OK;
    }
    /* all-linear means Linear modules: the embedding is none. */
    if (!target_matches(c->target, l->name, is_head || is_embedding)) {
        return STATUS_OK;
    }
    if (is_embedding || is_head) {
        return FAIL(RECIPE, "target_modules: '%s' can't carry an adapter yet; leave it out", l->name);
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
        if (rank < 1 || rank > 4096) {
            return FAIL(RECIPE, "%s: rank %lld is not in 1..4096", site->linear->name,
                        (long long)rank);
        }
        TRY(a->family->attach(a, site, rank, target_alpha(target, site->linear->name)));
        site->hook.next = site->linear->hooks;
        site->linear->hooks = &site->hook;
        a->count++;
    }
    a->param_count = a->params->count - a->first_param;
    return STATUS_OK;
}

enum status adapter_attach(struct adapter **out, struct model *m, struct param_set *params,
                           const struct adapter_config *config)
{
    *out = NULL;
    const struct adapter_family *family = adapter_family_find(config->family);
    if (!family) {
        return FAIL(RECIPE, "adapter '%s' is not known; use lora", config->family);
    }
    if (config->lora_dropout != 0.0) {
        return FAIL(RECIPE, "lora_dropout: %g is not supported yet; set it to 0",
                    config->lora_dropout);
    }
    struct adapter *a = calloc(1, sizeof *a);
    if (!a) {
        return FAIL(MEMORY, "adapter: no memory");
    }
    a->family = family;
    a->params = params;
    struct target *target = NULL;
    enum status status = adapter_config_copy(&a->config, config);
    if (status == STATUS_OK) {
        status = target_open(&target, config);
    }
    if (status == STATUS_OK) {
        status = attach_sites(a, m, target);
    }
    target_close(target);
    if (status != STATUS_OK) {
        adapter_close(a);
        return status;
    }
    *out = a;
    return STATUS_OK;
}

void adapter_initialize(struct adapter *a, uint64_t seed)
{
    for (int64_t i = 0; i < a->count; i++) {
        a->family->initialize(a, &a->sites[i], seed, (uint32_t)i);
    }
}

void adapter_close(struct adapter *a)
{
    if (!a) {
        return;
    }
    for (int64_t i = 0; i < a->count; i++) {
        struct hook **at = &a->sites[i].linear->hooks;
        while (*at && *at != &a->sites[i].hook) {
            at = &(*at)->next;
        }
        if (*at) {
            *at = a->sites[i].hook.next;
        }
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

/* The file's tensor for a parameter: with or without the wrapper's prefix. */
static const struct safetensors_entry *find_entry(const struct safetensors *file, const char *name)
{
    const struct safetensors_entry *entry = safetensors_find(file, name);
    const char *const prefix = "base_model.model.";
    return entry ? entry : safetensors_find(file, name + strlen(prefix));
}

static enum status load_param(struct adapter *a, int64_t index, const struct safetensors *file,
                              const char *folder)
{
    const struct param *p = &a->params->params[index];
    const struct safetensors_entry *e = find_entry(file, p->name);
    if (!e) {
        return FAIL(INPUT, "%s/adapter_model.safetensors: tensor '%s' is missing", folder, p->name);
    }
    if (!e->supported || e->view.dims != p->dims || e->view.shape[0] != p->shape[0]
        || e->view.shape[1] != p->shape[1]) {
        return FAIL(INPUT,
                    "%s/adapter_model.safetensors: tensor '%s' at byte %llu is %s [%lld, %lld], "
                    "expected F32, F16 or BF16 [%lld, %lld]",
                    folder, p->name, (unsigned long long)e->offset, e->dtype_name,
                    (long long)e->view.shape[0], (long long)e->view.shape[1],
                    (long long)p->shape[0], (long long)p->shape[1]);
    }
    float *value = param_value(a->params, index);
    for (int64_t r = 0; r < p->shape[0]; r++) {
        quant_decode(&e->view, r, 0, p->shape[1], value + r * p->shape[1]);
    }
    return STATUS_OK;
}

enum status adapter_load(struct adapter *a, const char *folder)
{
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/adapter_model.safetensors", folder);
    struct safetensors *file;
    TRY(safetensors_open(&file, path));
    enum status status = STATUS_OK;
    for (int64_t i = 0; status == STATUS_OK && i < a->param_count; i++) {
        status = load_param(a, a->first_param + i, file, folder);
    }
    if (status == STATUS_OK && safetensors_count(file) != a->param_count) {
        status = FAIL(INPUT,
                      "%s: %lld tensors, but its adapter_config.json makes %lld; the extra ones "
                      "belong to a method or module that is not supported",
                      path, (long long)safetensors_count(file), (long long)a->param_count);
    }
    safetensors_close(file);
    return status;
}

static enum status save_weights(const struct adapter *a, const char *folder)
{
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/adapter_model.safetensors", folder);
    struct safetensors_item *items = calloc((size_t)a->param_count, sizeof *items);
    if (!items) {
        return FAIL(MEMORY, "adapter: no memory to write %lld tensors", (long long)a->param_count);
    }
    for (int64_t i = 0; i < a->param_count; i++) {
        const struct param *p = &a->params->params[a->first_param + i];
        items[i] = (struct safetensors_item){.name = p->name, .view = p->view};
    }
    const enum status status = safetensors_write(path, items, a->param_count);
    free(items);
    return status;
}

enum status adapter_save(const struct adapter *a, const char *folder)
{
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/adapter_config.json", folder);
    json_t *config = adapter_config_json(a);
    if (!config) {
        return FAIL(MEMORY, "adapter: no memory for its configuration");
    }
    const int failed = json_dump_file(config, path, JSON_INDENT(2) | JSON_SORT_KEYS);
    json_decref(config);
    if (failed) {
        return FAIL(IO, "%s: cannot be written (disk full or no permission?)", path);
    }
    return save_weights(a, folder);
}
