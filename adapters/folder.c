/* adapter_model.safetensors in and out, in the folder layout of PEFT (spec adapters.md 0). */
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "adapters/adapter_internal.h"
#include "kernels/tensor/quant.h"
#include "trainer/format/json.h"
#include "trainer/format/safetensors.h"

enum { PATH_CAP = 4096 };

/* What PEFT's wrapper puts before a module's path; files of bare models lack it. */
static const char PREFIX[] = "base_model.model.";

static enum status path_of(char out[PATH_CAP], const char *folder, const char *name)
{
    const int n = snprintf(out, PATH_CAP, "%s/%s", folder, name);
    return n < 0 || n >= PATH_CAP ? FAIL(INPUT, "adapter folder '%.60s...': the path is too long",
                                         folder)
                                  : STATUS_OK;
}

static const struct safetensors_entry *find_entry(const struct safetensors *file, const char *name)
{
    const struct safetensors_entry *entry = safetensors_find(file, name);
    return entry ? entry : safetensors_find(file, name + strlen(PREFIX));
}

/* "F32 [4, 64]" */
static const char *describe(const struct safetensors_entry *e, char *buf, size_t size)
{
    size_t used = (size_t)snprintf(buf, size, "%.16s [", e->dtype_name);
    for (int i = 0; i < e->view.dims && used + 32 < size; i++) {
        used += (size_t)snprintf(buf + used, size - used, "%s%" PRId64, i ? ", " : "",
                                 e->view.shape[i]);
    }
    (void)snprintf(buf + used, size - used, "]");
    return buf;
}

static enum status load_param(struct adapter *a, int64_t index, const struct safetensors *file,
                              const char *path)
{
    const struct param *p = &a->params->params[index];
    const struct safetensors_entry *e = find_entry(file, p->name);
    if (!e) {
        return FAIL(INPUT, "%s: tensor '%s' is missing", path, p->name);
    }
    const bool same = e->view.dims == 2 && p->dims == 2 && e->view.shape[0] == p->shape[0]
                      && e->view.shape[1] == p->shape[1];
    if (!e->supported || !same) {
        char found[160];
        return FAIL(INPUT,
                    "%s: tensor '%s' at byte %" PRIu64 " is %s, expected F32, F16 or BF16 "
                    "[%" PRId64 ", %" PRId64 "]; does the adapter belong to this model?",
                    path, p->name, e->offset, describe(e, found, sizeof found), p->shape[0],
                    p->shape[1]);
    }
    float *value = param_value(a->params, index);
    for (int64_t r = 0; r < p->shape[0]; r++) {
        quant_decode(&e->view, r, 0, p->shape[1], value + r * p->shape[1]);
    }
    return STATUS_OK;
}

static bool belongs(const struct adapter *a, const char *name)
{
    for (int64_t i = 0; i < a->param_count; i++) {
        const char *own = a->params->params[a->first_param + i].name;
        if (strcmp(name, own) == 0 || strcmp(name, own + strlen(PREFIX)) == 0) {
            return true;
        }
    }
    return false;
}

/* PEFT ignores tensors it does not expect; here they mean that the result would differ. */
static enum status refuse_surplus(const struct adapter *a, const struct safetensors *file,
                                  const char *path)
{
    if (safetensors_count(file) == a->param_count) {
        return STATUS_OK;
    }
    for (int64_t i = 0; i < safetensors_count(file); i++) {
        const struct safetensors_entry *e = safetensors_at(file, i);
        if (!belongs(a, e->name)) {
            return FAIL(INPUT,
                        "%s: tensor '%.200s' at byte %" PRIu64 " has no place in this model with "
                        "this adapter_config.json",
                        path, e->name, e->offset);
        }
    }
    return FAIL(INPUT, "%s: tensors appear twice, with and without '%s'", path, PREFIX);
}

enum status adapter_load(struct adapter *a, const char *folder)
{
    char path[PATH_CAP];
    char pickle[PATH_CAP];
    struct safetensors *file;
    TRY(path_of(path, folder, "adapter_model.safetensors"));
    TRY(path_of(pickle, folder, "adapter_model.bin"));
    if (access(path, F_OK) != 0 && access(pickle, F_OK) == 0) {
        return FAIL(INPUT, "%s: pickled tensors are not read; save the adapter again with "
                           "safe_serialization=True",
                    pickle);
    }
    TRY(safetensors_open(&file, path));
    enum status status = STATUS_OK;
    for (int64_t i = 0; status == STATUS_OK && i < a->param_count; i++) {
        status = load_param(a, a->first_param + i, file, path);
    }
    if (status == STATUS_OK) {
        status = refuse_surplus(a, file, path);
    }
    safetensors_close(file);
    adapter_bind(a);
    return status;
}

static enum status save_weights(const struct adapter *a, const char *path)
{
    struct safetensors_item *items = calloc((size_t)a->param_count, sizeof *items);
    if (!items) {
        return FAIL(MEMORY, "%s: no memory to write %" PRId64 " tensors", path, a->param_count);
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
    char path[PATH_CAP];
    json_t *config = adapter_config_json(a);
    if (!config) {
        return FAIL(MEMORY, "adapter: no memory for its configuration");
    }
    enum status status = path_of(path, folder, "adapter_config.json");
    if (status == STATUS_OK) {
        status = json_write_path(path, config);
    }
    json_decref(config);
    TRY(status);
    TRY(path_of(path, folder, "adapter_model.safetensors"));
    return save_weights(a, path);
}
