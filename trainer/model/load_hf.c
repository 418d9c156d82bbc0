/* Models from Hugging Face folders: config.json, generation_config.json and safetensors whose names
 * carry one of several prefixes (spec models.md 1.2); see load_internal.h. */
#include <string.h>
#include <unistd.h>

#include "trainer/format/json.h"
#include "trainer/model/config_internal.h"
#include "trainer/model/load_internal.h"

struct hf_source {
    struct safetensors *file;
    const char *body; /* what stands before "layers.0...": "model." */
    const char *head; /* what stands before "lm_head" */
};

static void tensor_name(const struct loader *ld, const struct site *s, int64_t layer,
                        const char *suffix, char *buf, size_t size)
{
    const struct hf_source *h = ld->source;
    char name[SITE_NAME_BYTES];
    site_hf_name(s, layer, name);
    static const char MODEL[] = "model.";
    if (strncmp(name, MODEL, sizeof MODEL - 1) == 0) {
        (void)snprintf(buf, size, "%s%s%s", h->body, name + sizeof MODEL - 1, suffix);
    } else {
        (void)snprintf(buf, size, "%s%s%s", h->head, name, suffix);
    }
}

static bool find(const struct loader *ld, const char *name, struct weight_place *out)
{
    const struct hf_source *h = ld->source;
    const struct safetensors_entry *e = safetensors_find(h->file, name);
    if (!e) {
        return false;
    }
    *out = (struct weight_place){.view = e->view, .supported = e->supported, .offset = e->offset};
    out->view.data = e->data;
    (void)snprintf(out->type, sizeof out->type, "%s", e->dtype_name);
    return true;
}

/* The spelling whose embedding is in the file; the usual one when none is. */
static void choose_prefix(struct hf_source *h)
{
    static const char *const BODIES[] = {"model.", "", "model.language_model.",
                                         "language_model.model."};
    static const char *const HEADS[] = {"", "language_model.", "model."};
    char name[SITE_NAME_BYTES];
    h->body = BODIES[0];
    h->head = HEADS[0];
    for (size_t i = 0; i < sizeof BODIES / sizeof BODIES[0]; i++) {
        (void)snprintf(name, sizeof name, "%sembed_tokens.weight", BODIES[i]);
        if (safetensors_find(h->file, name)) {
            h->body = BODIES[i];
            break;
        }
    }
    for (size_t i = 0; i < sizeof HEADS / sizeof HEADS[0]; i++) {
        (void)snprintf(name, sizeof name, "%slm_head.weight", HEADS[i]);
        if (safetensors_find(h->file, name)) {
            h->head = HEADS[i];
            break;
        }
    }
}

/* Serialized quantization is read where it is bitsandbytes' 4-bit form. */
static enum status check_quantization(const json_t *json, const char *where, bool *packed)
{
    const json_t *q = json_object_get(json, "quantization_config");
    *packed = json_is_object(q);
    if (!*packed) {
        return STATUS_OK;
    }
    const char *method = json_string_value(json_object_get(q, "quant_method"));
    if (method && strcmp(method, "bitsandbytes") == 0) {
        return STATUS_OK;
    }
    return FAIL(INPUT, "%s: quantization_config.quant_method '%s' is not supported; use the "
                       "unquantized model (quantize: nf4 packs it at load) or a GGUF file", where,
                method ? method : "(none)");
}

static enum status read_config(struct model *m, bool *packed)
{
    char path[4096];
    enum status status = STATUS_OK;
    json_t *config = NULL;
    json_t *generation = NULL;
    if (strlen(m->path) > sizeof path - 64) {
        return FAIL(INPUT, "%s: the path is too long", m->path);
    }
    (void)snprintf(path, sizeof path, "%s/config.json", m->path);
    TRY_TO(status, done, json_load_path(path, CONFIG_FILE_BYTES, &config));
    TRY_TO(status, done, model_config_from_json(&m->config, config, path));
    TRY_TO(status, done, check_quantization(config, path, packed));
    (void)snprintf(path, sizeof path, "%s/generation_config.json", m->path);
    if (access(path, F_OK) == 0) {
        TRY_TO(status, done, json_load_path(path, CONFIG_FILE_BYTES, &generation));
        TRY_TO(status, done, config_read_specials(&m->config, generation, path));
    }
done:
    json_decref(config);
    json_decref(generation);
    return status;
}

/* Transformers rounds the embedding's multiplier to the weights' type (spec models.md 2.5). */
static void round_embed_scale(struct model *m)
{
    if (m->embed.w.dtype == DTYPE_BF16) {
        m->config.embed_scale = dtype_bf16_to_f32(dtype_f32_to_bf16(m->config.embed_scale));
    } else if (m->embed.w.dtype == DTYPE_F16) {
        m->config.embed_scale = dtype_f16_to_f32(dtype_f32_to_f16(m->config.embed_scale));
    }
}

/* A classifier has a score head and no lm_head; nothing reads the one that stands in for it. */
static bool is_classifier(const struct hf_source *h)
{
    return safetensors_find(h->file, "score.weight")
           && !safetensors_find(h->file, "lm_head.weight");
}

/* The scalar head of a reward model. */
static enum status load_score(struct model *m)
{
    const struct safetensors_entry *e = safetensors_find(m->safetensors, "score.weight");
    if (!e) {
        return STATUS_OK;
    }
    const struct tensor *t = &e->view;
    if (!e->supported || dtype_row(t->dtype)->block != 1 || t->dims != 2
        || t->shape[1] != m->config.hidden || t->shape[0] < 1) {
        return FAIL(INPUT, "%s: tensor 'score.weight' is no F32, F16 or BF16 matrix of %lld columns",
                    m->path, (long long)m->config.hidden);
    }
    if (t->shape[0] != 1) {
        return FAIL(INPUT, "%s: score.weight has %lld rows: a reward model has num_labels 1, this is a "
                           "classifier", m->path, (long long)t->shape[0]);
    }
    m->score = (struct linear){.name = "score", .out = 1, .in = m->config.hidden, .w = *t};
    m->score.w.data = (void *)(uintptr_t)e->data;
    return (uintptr_t)e->data % (size_t)dtype_row(t->dtype)->bytes == 0
               ? STATUS_OK
               : FAIL(INPUT, "%s: score.weight is not aligned", m->path);
}

enum status model_open_folder(struct model *m, const struct model_options *options)
{
    bool packed;
    TRY(read_config(m, &packed));
    TRY(safetensors_open_folder(&m->safetensors, m->path));
    struct hf_source source = {.file = m->safetensors};
    choose_prefix(&source);
    m->config.tied = m->config.tied || is_classifier(&source);
    struct loader ld = {.model = m,
                        .where = m->path,
                        .options = options,
                        .source = &source,
                        .linear = file_linear,
                        .norm = file_norm,
                        .tensor_name = tensor_name,
                        .find = find,
                        .packed_source = packed};
    TRY(model_assemble(&ld));
    round_embed_scale(m);
    return load_score(m);
}
