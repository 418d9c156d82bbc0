/* The weights' second copy; see reference.h. */
#include "trainer/model/reference.h"

#include <string.h>

#include "trainer/format/file.h"
#include "trainer/model/load_internal.h"

enum status model_reference_open(struct model_reference *r, struct model *m,
                                 const struct param_set *params)
{
    const size_t bytes = (size_t)params->total * sizeof(float);
    *r = (struct model_reference){.model = m, .params = params, .values = malloc(bytes + 1)};
    if (!r->values) {
        return FAIL(MEMORY, "reference model: no memory for a copy of %lld weights; train an "
                            "adapter (use_peft: true) or set beta: 0", (long long)params->total);
    }
    memcpy(r->values, params->value, bytes);
    return STATUS_OK;
}

/* Where a site finds its weights, and where they lie. */
struct move {
    const struct param_set *params;
    const float *from;
    float *to;
};

static float *moved(const struct move *m, const float *at)
{
    return at ? m->to + (at - m->from) : NULL;
}

static bool inside(const struct move *m, const void *at)
{
    const float *p = at;
    return p && p >= m->from && p < m->from + m->params->total;
}

static enum status move_linear(void *ctx, struct linear *l)
{
    const struct move *m = ctx;
    if (inside(m, l->w.data)) {
        l->w.data = moved(m, l->w.data);
    }
    if (inside(m, l->bias)) {
        l->bias = moved(m, l->bias);
    }
    return STATUS_OK;
}

static enum status move_norm(void *ctx, struct norm *n)
{
    const struct move *m = ctx;
    if (inside(m, n->w)) {
        n->w = moved(m, n->w);
    }
    return STATUS_OK;
}

static void move_model(struct model_reference *r, const float *from, float *to)
{
    struct move m = {r->params, from, to};
    const enum status linears = model_each_linear(r->model, move_linear, &m);
    const enum status norms = model_each_norm(r->model, move_norm, &m);
    ASSERT(linears == STATUS_OK && norms == STATUS_OK); /* the callbacks never fail */
    if (r->model->config.tied) {
        r->model->head.w = r->model->embed.w;
    }
}

/* Hooks find their numbers through the set, so pointing it elsewhere is enough. */
static void move_adapter(struct model_reference *r)
{
    struct param_set *params = (struct param_set *)(uintptr_t)r->params;
    float *policy = params->value;
    params->value = r->values;
    r->values = policy;
}

void model_reference_enter(struct model_reference *r)
{
    if (r && r->adapter) {
        move_adapter(r);
    } else if (r) {
        move_model(r, r->params->value, r->values);
    }
}

void model_reference_leave(struct model_reference *r)
{
    if (r && r->adapter) {
        move_adapter(r);
    } else if (r) {
        move_model(r, r->values, r->params->value);
    }
}

void model_reference_mix(struct model_reference *r, double alpha)
{
    for (int64_t i = 0; i < r->params->total; i++) {
        r->values[i] = (float)(1.0 - alpha) * r->values[i] + (float)alpha * r->params->value[i];
    }
}

static void path_of(const char *folder, char *path, size_t size)
{
    (void)snprintf(path, size, "%s/reference.bin", folder);
}

enum status model_reference_save(const struct model_reference *r, const char *folder)
{
    char path[4096];
    path_of(folder, path, sizeof path);
    return file_write_atomic(path, r->values, (size_t)r->params->total * sizeof(float));
}

enum status model_reference_load(struct model_reference *r, const char *folder)
{
    char path[4096];
    struct file_map m;
    const size_t bytes = (size_t)r->params->total * sizeof(float);
    path_of(folder, path, sizeof path);
    TRY(file_map_open(&m, path));
    const bool fits = m.size == bytes;
    if (fits) {
        memcpy(r->values, m.data, bytes);
    }
    file_map_close(&m);
    return fits ? STATUS_OK : FAIL(INPUT, "%s: not %zu bytes, the reference of this model", path,
                                   bytes);
}

void model_reference_close(struct model_reference *r)
{
    free(r->values);
    *r = (struct model_reference){0};
}
