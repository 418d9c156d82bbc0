/* Models as Hugging Face folders; see save.h. */
#include <string.h>

#include "trainer/format/json.h"
#include "trainer/format/safetensors.h"
#include "trainer/model/save_internal.h"

static const char *rope_type_name(enum rope_scaling scaling)
{
    switch (scaling) {
    case ROPE_LINEAR:
        return "linear";
    case ROPE_LLAMA3:
        return "llama3";
    case ROPE_YARN:
        return "yarn";
    case ROPE_DEFAULT:
        break;
    }
    return "default";
}

static json_t *rope_to_json(const struct rope_config *r)
{
    json_t *o = json_pack("{s:s, s:f}", "rope_type", rope_type_name(r->scaling), "rope_theta",
                          r->theta);
    if (o && r->scaling != ROPE_DEFAULT) {
        (void)json_object_set_new(o, "factor", json_real(r->factor));
    }
    if (o && (r->scaling == ROPE_LLAMA3 || r->scaling == ROPE_YARN)) {
        (void)json_object_set_new(o, "original_max_position_embeddings",
                                  json_integer(r->original_context));
    }
    if (o && r->scaling == ROPE_LLAMA3) {
        (void)json_object_set_new(o, "low_freq_factor", json_real(r->low_freq_factor));
        (void)json_object_set_new(o, "high_freq_factor", json_real(r->high_freq_factor));
    }
    if (o && r->scaling == ROPE_YARN) {
        (void)json_object_set_new(o, "beta_fast", json_real(r->beta_fast));
        (void)json_object_set_new(o, "beta_slow", json_real(r->beta_slow));
        (void)json_object_set_new(o, "attention_factor", json_real(r->magnitude));
        (void)json_object_set_new(o, "truncate", json_boolean(!r->keep_fraction));
    }
    return o;
}

static json_t *ropes_to_json(const struct model_config *c)
{
    if (c->rope_count < 2) {
        return rope_to_json(&c->ropes[0]);
    }
    return json_pack("{s:o, s:o}", "full_attention", rope_to_json(&c->ropes[0]),
                     "sliding_attention", rope_to_json(&c->ropes[1]));
}

/* Windows: layer_types where layers differ or the family asks, sliding_window when any slides. */
static void windows_to_json(const struct model_config *c, json_t *o)
{
    int64_t window = 0;
    json_t *types = json_array();
    for (int64_t i = 0; i < c->layers; i++) {
        window = c->layer[i].window ? c->layer[i].window : window;
        (void)json_array_append_new(
            types, json_string(c->layer[i].window ? "sliding_attention" : "full_attention"));
    }
    (void)json_object_set_new(o, "sliding_window", window ? json_integer(window) : json_null());
    (void)json_object_set_new(o, "use_sliding_window", json_boolean(window > 0));
    (void)json_object_set_new(o, "layer_types", types);
}

static json_t *stops_to_json(const struct model_config *c)
{
    if (c->stop_count == 1) {
        return json_integer(c->stops[0]);
    }
    json_t *list = c->stop_count ? json_array() : json_null();
    for (int i = 0; i < c->stop_count; i++) {
        (void)json_array_append_new(list, json_integer(c->stops[i]));
    }
    return list;
}

/* "qwen2" -> "Qwen2ForCausalLM", "gemma3_text" -> "Gemma3ForCausalLM". */
static json_t *architecture_name(const struct family *f)
{
    const size_t length = strcspn(f->name, "_");
    return json_sprintf("%c%.*sForCausalLM", f->name[0] - 'a' + 'A', (int)length - 1, f->name + 1);
}

enum status model_config_to_json(const struct model_config *c, json_t **out)
{
    const bool gelu = c->family->act == ACT_GELU_TANH;
    const double scale = (double)c->attn_scale;
    json_t *o = json_pack(
        "{s:[o], s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:b, s:b, s:b, s:s, s:o, "
        "s:o, s:o}",
        "architectures", architecture_name(c->family), "model_type", c->family->name,
        "num_hidden_layers", (json_int_t)c->layers, "hidden_size", (json_int_t)c->hidden,
        "num_attention_heads", (json_int_t)c->heads, "num_key_value_heads",
        (json_int_t)c->kv_heads, "head_dim", (json_int_t)c->head_dim, "intermediate_size",
        (json_int_t)c->ff, "vocab_size", (json_int_t)c->vocab, "max_position_embeddings",
        (json_int_t)c->context, "rms_norm_eps", c->norm_eps, "initializer_range",
        c->initializer_range, "tie_word_embeddings", (int)c->tied, "attention_bias",
        (int)c->o_bias, "mlp_bias", (int)c->mlp_bias, gelu ? "hidden_activation" : "hidden_act",
        gelu ? "gelu_pytorch_tanh" : "silu", "rope_parameters", ropes_to_json(c), "bos_token_id",
        c->bos >= 0 ? json_integer(c->bos) : json_null(), "eos_token_id", stops_to_json(c));
    if (!o) {
        return FAIL(MEMORY, "no memory for config.json");
    }
    windows_to_json(c, o);
    if (c->family->placement == PLACE_SANDWICH) {
        (void)json_object_set_new(o, "query_pre_attn_scalar", json_real(1.0 / (scale * scale)));
        (void)json_object_set_new(o, "attn_logit_softcapping",
                                  c->attn_softcap > 0.0f ? json_real((double)c->attn_softcap)
                                                         : json_null());
        (void)json_object_set_new(o, "final_logit_softcapping",
                                  c->final_softcap > 0.0f ? json_real((double)c->final_softcap)
                                                          : json_null());
    }
    *out = o;
    return STATUS_OK;
}

struct folder_writer {
    const struct model *model;
    const struct model_folder_options *options;
    struct arena *arena;
    struct safetensors_item *items; /* NULL in the measuring walk */
    int64_t count;
};

static enum status add_item(struct folder_writer *w, const char *module, const char *suffix,
                            const struct save_source *source)
{
    char *name;
    struct tensor view;
    const size_t bytes = strlen(module) + strlen(suffix) + 1;
    TRY(arena_alloc(w->arena, bytes, 1, &name));
    TRY(save_encode(w->arena, source, &view));
    if (w->items) {
        (void)snprintf(name, bytes, "%s%s", module, suffix);
        w->items[w->count] = (struct safetensors_item){name, view};
    }
    w->count++;
    return STATUS_OK;
}

static enum status visit(void *ctx, const struct site *site, int64_t layer,
                         const struct linear *l, const struct norm *n)
{
    struct folder_writer *w = ctx;
    const struct model_config *c = &w->model->config;
    char module[SITE_NAME_BYTES];
    site_hf_name(site, layer, module);
    struct save_source s = {.rows = 1,
                            .columns = site_size(site->out, c),
                            .dims = 1,
                            .dtype = w->options->dtype};
    if (n) {
        s.values = n->w;
        s.add = c->family->norm_plus_one && !c->norm_plus_one ? -1.0f : 0.0f;
        return add_item(w, module, ".weight", &s);
    }
    struct save_source matrix = {.linear = l,
                                 .rows = l->out,
                                 .columns = l->in,
                                 .dims = 2,
                                 .dtype = w->options->dtype,
                                 .edit = w->options->edit,
                                 .edit_ctx = w->options->edit_ctx};
    TRY(add_item(w, module, ".weight", &matrix));
    if (!l->bias) {
        return STATUS_OK;
    }
    s.values = l->bias;
    return add_item(w, module, ".bias", &s);
}

/* All weights, a reward model's score head included. */
static enum status visit_all(const struct model *m, struct folder_writer *w)
{
    const struct save_source score = {.linear = &m->score,
                                      .rows = m->score.out,
                                      .columns = m->score.in,
                                      .dims = 2,
                                      .dtype = w->options->dtype};
    TRY(save_walk(m, visit, w));
    return m->score.in > 0 ? add_item(w, "score", ".weight", &score) : STATUS_OK;
}

/* What makes Transformers read the folder as a reward model: one label. */
static void mark_classifier(json_t *config)
{
    const char *name =
        json_string_value(json_array_get(json_object_get(config, "architectures"), 0));
    const char *end = name ? strstr(name, "ForCausalLM") : NULL;
    if (end) {
        (void)json_object_set_new(config, "architectures",
                                  json_pack("[o]", json_sprintf("%.*sForSequenceClassification",
                                                                (int)(end - name), name)));
    }
    (void)json_object_set_new(config, "id2label", json_pack("{s:s}", "0", "LABEL_0"));
    (void)json_object_set_new(config, "label2id", json_pack("{s:i}", "LABEL_0", 0));
}

static enum status write_weights(const struct model *m, const char *path,
                                 const struct model_folder_options *options)
{
    enum status status = STATUS_OK;
    struct arena measure;
    struct arena data = {0};
    struct folder_writer w = {.model = m, .options = options, .arena = &measure};
    arena_open_measure(&measure, "saved weights");
    TRY(visit_all(m, &w));
    struct safetensors_item *items = calloc((size_t)w.count, sizeof *items);
    TRY_TO(status, done,
           items ? STATUS_OK : FAIL(MEMORY, "%s: no memory for the list of tensors", path));
    TRY_TO(status, done, arena_open(&data, "saved weights", measure.peak));
    w = (struct folder_writer){.model = m, .options = options, .arena = &data, .items = items};
    TRY_TO(status, done, visit_all(m, &w));
    TRY_TO(status, done, safetensors_write(path, items, w.count));
done:
    arena_close(&data);
    free(items);
    return status;
}

static enum status write_config(const struct model *m, const char *path, enum dtype dtype,
                                const json_t *given)
{
    json_t *config = given ? json_deep_copy(given) : NULL;
    if (!config) {
        TRY(model_config_to_json(&m->config, &config));
    }
    const char *name = dtype == DTYPE_BF16  ? "bfloat16"
                       : dtype == DTYPE_F16 ? "float16"
                                            : "float32";
    (void)json_object_del(config, "quantization_config"); /* what is written is plain */
    (void)json_object_del(config, "torch_dtype");
    if (m->score.in > 0) {
        mark_classifier(config);
    }
    (void)json_object_set_new(config, "dtype", json_string(name));
    const enum status status = json_write_path(path, config);
    json_decref(config);
    return status;
}

enum status model_save_folder(struct model *m, const char *folder,
                              const struct model_folder_options *options)
{
    char path[4096];
    const enum dtype dtype = options->dtype;
    if (!options->config && m->config.ropes[0].divisors) {
        return FAIL(RECIPE, "%s carries RoPE as divisors, which config.json cannot say; give the "
                            "original config.json", m->path);
    }
    if (dtype != DTYPE_F32 && dtype != DTYPE_F16 && dtype != DTYPE_BF16) {
        return FAIL(RECIPE, "a Hugging Face folder holds F32, F16 or BF16, not %s",
                    dtype_row(dtype)->name);
    }
    if (strlen(folder) > sizeof path - 64) {
        return FAIL(IO, "%s: the path is too long", folder);
    }
    (void)snprintf(path, sizeof path, "%s/model.safetensors", folder);
    TRY(write_weights(m, path, options));
    (void)snprintf(path, sizeof path, "%s/config.json", folder);
    return write_config(m, path, dtype, options->config);
}
