/*
 * Random models for training from scratch. Weights are N(0, initializer_range), each row keyed by
 * (seed, tensor, row), so any shape change leaves the other tensors' numbers alone; norms are the
 * identity, biases zero.
 */
#include <string.h>

#include "kernels/base/rng.h"
#include "trainer/format/json.h"
#include "trainer/model/load_internal.h"

/* The tensor's number: 0 embedding, 1 head, then 32 per layer. */
static uint32_t tensor_number(const struct site *s, int64_t layer)
{
    if (layer < 0) {
        return s == site_head() ? 1 : 0;
    }
    uint32_t k = 0;
    while (site_at((int)k) != s) {
        k++;
    }
    return 2 + 32 * (uint32_t)layer + k;
}

static enum status random_linear(struct loader *ld, const struct site *s, int64_t layer,
                                 struct linear *l)
{
    float *w;
    float *bias = NULL;
    TRY(arena_alloc(ld->arena, (size_t)l->out * (size_t)l->in, sizeof(float), &w));
    if (site_has_bias(s, &ld->model->config)) {
        TRY(arena_alloc(ld->arena, (size_t)l->out, sizeof(float), &bias)); /* fresh: zero */
    }
    struct rng_key key = {.seed = ld->seed,
                          .purpose = RNG_INIT,
                          .module = tensor_number(s, layer)};
    for (int64_t r = 0; w && r < l->out; r++) {
        key.row = (uint32_t)r;
        rng_fill_normal(&key, w + r * l->in, l->in, (float)ld->model->config.initializer_range);
    }
    l->bias = bias;
    l->w = (struct tensor){.dtype = DTYPE_F32,
                           .dims = 2,
                           .shape = {l->out, l->in},
                           .row_bytes = (size_t)l->in * sizeof(float),
                           .data = w};
    return STATUS_OK;
}

static enum status identity_norm(struct loader *ld, const struct site *s, int64_t layer,
                                 struct norm *n)
{
    (void)layer;
    const struct model_config *c = &ld->model->config;
    float *w;
    const int64_t length = site_size(s->out, c);
    TRY(arena_alloc(ld->arena, (size_t)length, sizeof(float), &w));
    for (int64_t i = 0; w && i < length; i++) {
        w[i] = c->norm_plus_one ? 0.0f : 1.0f;
    }
    n->w = w;
    return STATUS_OK;
}

enum status model_open_random(struct model **out, const char *config_path, uint64_t seed,
                              const struct model_options *options)
{
    enum status status = STATUS_OK;
    json_t *config = NULL;
    *out = NULL;
    struct model *m = calloc(1, sizeof *m);
    if (!m || !(m->path = strdup(config_path))) {
        free(m);
        return FAIL(MEMORY, "%s: no memory for the model", config_path);
    }
    struct loader ld = {.model = m,
                        .where = m->path,
                        .options = options,
                        .seed = seed,
                        .linear = random_linear,
                        .norm = identity_norm};
    TRY_TO(status, done, json_load_path(config_path, CONFIG_FILE_BYTES, &config));
    TRY_TO(status, done, model_config_from_json(&m->config, config, config_path));
    TRY_TO(status, done, model_assemble(&ld));
    *out = m;
    m = NULL;
done:
    json_decref(config);
    model_close(m);
    return status;
}
