/* Models from GGUF files: names, row order and the mapping; see load_internal.h. */
#include "trainer/model/load_internal.h"

static void tensor_name(const struct loader *ld, const struct site *s, int64_t layer,
                        const char *suffix, char *buf, size_t size)
{
    (void)ld;
    char stem[SITE_NAME_BYTES];
    site_gguf_name(s, layer, stem);
    (void)snprintf(buf, size, "%s%s", stem, suffix);
}

static bool find(const struct loader *ld, const char *name, struct weight_place *out)
{
    const struct gguf_tensor *t = gguf_tensor_find(ld->source, name);
    if (!t) {
        return false;
    }
    *out = (struct weight_place){.view = t->view, .supported = t->supported, .offset = t->offset};
    if (t->supported) {
        (void)snprintf(out->type, sizeof out->type, "%s", dtype_row(t->view.dtype)->name);
    } else {
        (void)snprintf(out->type, sizeof out->type, "ggml type %u", t->ggml_type);
    }
    return true;
}

enum status model_open_gguf(struct model *m, const struct model_options *options)
{
    TRY(gguf_open(&m->gguf, m->path));
    TRY(model_config_from_gguf(&m->config, m->gguf));
    struct loader ld = {.model = m,
                        .where = m->path,
                        .options = options,
                        .source = m->gguf,
                        .linear = file_linear,
                        .norm = file_norm,
                        .tensor_name = tensor_name,
                        .find = find,
                        .permuted_qk = m->config.family->gguf_permuted_qk};
    return model_assemble(&ld);
}
