/* Opening and closing models: the walk over sites that every loader shares; see load_internal.h. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "kernels/base/checked.h"
#include "trainer/model/load_internal.h"

enum { DEFAULT_POSITIONS = 8192 };

static enum status copy_name(struct arena *a, const char *text, const char **out)
{
    char *copy;
    const size_t bytes = strlen(text) + 1;
    TRY(arena_alloc(a, bytes, 1, &copy));
    if (copy) {
        memcpy(copy, text, bytes);
    }
    *out = copy;
    return STATUS_OK;
}

static enum status make_linear(struct loader *ld, const struct site *s, int64_t layer,
                               struct linear *l)
{
    char name[SITE_NAME_BYTES];
    site_hf_name(s, layer, name);
    *l = (struct linear){.out = site_size(s->out, &ld->model->config),
                         .in = site_size(s->in, &ld->model->config)};
    TRY(copy_name(ld->arena, name, &l->name));
    return ld->linear(ld, s, layer, l);
}

static enum status make_norm(struct loader *ld, const struct site *s, int64_t layer, struct norm *n)
{
    char name[SITE_NAME_BYTES];
    site_hf_name(s, layer, name);
    *n = (struct norm){0};
    TRY(copy_name(ld->arena, name, &n->name));
    return ld->norm(ld, s, layer, n);
}

static enum status make_layer(struct loader *ld, int64_t i, struct model_layer *layer)
{
    *layer = (struct model_layer){0};
    for (int k = 0; site_at(k); k++) {
        const struct site *s = site_at(k);
        if (!site_present(s, &ld->model->config)) {
            continue;
        }
        if (s->linear) {
            TRY(make_linear(ld, s, i, site_linear(s, layer)));
        } else {
            TRY(make_norm(ld, s, i, site_norm(s, layer)));
        }
    }
    return STATUS_OK;
}

static enum status make_rope(struct loader *ld)
{
    struct model *m = ld->model;
    const int64_t half = m->config.head_dim / 2;
    size_t floats;
    if (!checked_mul((size_t)m->rope_positions, (size_t)half, &floats)) {
        return FAIL(MEMORY, "%s: RoPE tables of %" PRId64 " positions overflow", ld->where,
                    m->rope_positions);
    }
    for (int i = 0; i < m->config.rope_count; i++) {
        TRY(arena_alloc(ld->arena, floats, sizeof(float), &m->rope_cos[i]));
        TRY(arena_alloc(ld->arena, floats, sizeof(float), &m->rope_sin[i]));
        if (m->rope_cos[i]) {
            rope_fill_tables(&m->config.ropes[i], m->config.head_dim, m->rope_positions,
                             m->rope_cos[i], m->rope_sin[i]);
        }
    }
    return STATUS_OK;
}

/* One walk. While measuring, layers land in a throw-away struct. */
static enum status walk(struct loader *ld)
{
    struct model *m = ld->model;
    struct model_layer scratch;
    TRY(arena_alloc(ld->arena, (size_t)m->config.layers, sizeof *m->layer, &m->layer));
    TRY(make_linear(ld, site_embed(), -1, &m->embed));
    for (int64_t i = 0; i < m->config.layers; i++) {
        TRY(make_layer(ld, i, m->layer ? &m->layer[i] : &scratch));
    }
    TRY(make_norm(ld, site_final_norm(), -1, &m->final_norm));
    if (m->config.tied) {
        m->head = m->embed;
        TRY(copy_name(ld->arena, site_head()->hf, &m->head.name));
    } else {
        TRY(make_linear(ld, site_head(), -1, &m->head));
    }
    return make_rope(ld);
}

/* Room at the end of the base arena for the hooks of full training. */
static size_t hook_room(const struct model *m)
{
    const size_t sites = 4 + 16 * (size_t)m->config.layers;
    return sites * ((sizeof(struct hook) + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN);
}

enum status model_assemble(struct loader *ld)
{
    struct model *m = ld->model;
    struct arena measure;
    const int64_t asked = ld->options ? ld->options->context : 0;
    m->rope_positions = asked > 0                              ? asked
                        : m->config.context < DEFAULT_POSITIONS ? m->config.context
                                                                : DEFAULT_POSITIONS;
    arena_open_measure(&measure, "base");
    ld->arena = &measure;
    TRY(walk(ld));
    size_t total;
    if (!checked_add(measure.peak, hook_room(m), &total)) {
        return FAIL(MEMORY, "%s: the derived weights overflow the address space", ld->where);
    }
    TRY(arena_open(&m->base, "base", total));
    ld->arena = &m->base;
    return walk(ld);
}

enum status model_open(struct model **out, const char *path, const struct model_options *options)
{
    enum status status = STATUS_OK;
    struct stat st;
    *out = NULL;
    if (stat(path, &st) != 0) {
        return FAIL(INPUT, "%s: %s; a model is a GGUF file or a Hugging Face folder", path,
                    strerror(errno));
    }
    struct model *m = calloc(1, sizeof *m);
    if (!m || !(m->path = strdup(path))) {
        free(m);
        return FAIL(MEMORY, "%s: no memory for the model", path);
    }
    TRY_TO(status, fail,
           S_ISDIR(st.st_mode) ? model_open_folder(m, options) : model_open_gguf(m, options));
    *out = m;
    return STATUS_OK;
fail:
    model_close(m);
    return status;
}

void model_close(struct model *m)
{
    if (!m) {
        return;
    }
    gguf_close(m->gguf);
    if (m->safetensors) {
        safetensors_close(m->safetensors);
    }
    arena_close(&m->base);
    free(m->panels);
    free(m->path);
    free(m);
}

static enum status count_linear(void *ctx, struct linear *l)
{
    *(int64_t *)ctx += l->out * l->in + (l->bias ? l->out : 0);
    return STATUS_OK;
}

int64_t model_parameter_count(const struct model *m)
{
    const struct model_config *c = &m->config;
    int64_t count = c->hidden;
    /* The walk changes nothing; the callback type is shared with those that do. */
    (void)!model_each_linear((struct model *)(uintptr_t)m, count_linear, &count);
    for (int k = 0; site_at(k); k++) {
        if (!site_at(k)->linear && site_present(site_at(k), c)) {
            count += c->layers * site_size(site_at(k)->out, c);
        }
    }
    return count;
}

struct byte_count {
    const struct model *model;
    size_t bytes;
};

static enum status count_bytes(void *ctx, struct linear *l)
{
    struct byte_count *b = ctx;
    const uint8_t *data = l->w.data;
    const struct arena *base = &b->model->base;
    const bool derived = base->base && data >= base->base && data < base->base + base->size;
    if (!derived) {
        b->bytes += (size_t)tensor_rows(&l->w) * l->w.row_bytes;
    }
    return STATUS_OK;
}

size_t model_weight_bytes(const struct model *m)
{
    struct byte_count b = {m, m->base.used};
    (void)!model_each_linear((struct model *)(uintptr_t)m, count_bytes, &b);
    return b.bytes;
}
