/*
 * config.json to the canonical configuration (spec models.md 1.2, 2). Keys a file leaves out take
 * the default of the family's configuration class in Transformers, where that has one that fits.
 */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "trainer/model/config_internal.h"

/* Which layers have a sliding window when layer_types is absent. */
enum sliding {
    SLIDE_NEVER,
    SLIDE_ALL,       /* every layer when sliding_window is a number */
    SLIDE_FLAGGED,   /* use_sliding_window, layers from max_window_layers on */
    SLIDE_PERIOD     /* all but every n-th */
};

/* Class defaults; 0 means the file must say. */
struct class_row {
    const char *family;
    enum sliding sliding;
    bool bias_key;       /* attention_bias is honoured (q, k, v, o) */
    bool mlp_bias_key;   /* mlp_bias likewise */
    bool query_scalar;   /* query_pre_attn_scalar sets the attention scale */
    int64_t kv_heads;    /* absent: this; 0: as many as heads */
    int64_t head_dim;    /* absent: this; 0: hidden / heads */
    int64_t heads;
    int64_t vocab;
    int64_t context;
    int64_t window;      /* sliding_window absent */
    double query_pre_attn_scalar;
    double attn_softcap;
    double final_softcap;
};

static const struct class_row CLASSES[] = {
    {"llama", .bias_key = true, .mlp_bias_key = true, .context = 2048},
    {"mistral", SLIDE_ALL, .kv_heads = 8, .context = 131072, .window = 4096},
    {"ministral", SLIDE_ALL, .kv_heads = 8, .context = 131072, .window = 4096},
    {"qwen2", SLIDE_FLAGGED, .kv_heads = 32, .context = 32768, .window = 4096},
    {"qwen3", SLIDE_FLAGGED, .bias_key = true, .kv_heads = 32, .head_dim = 128, .context = 32768,
     .window = 4096},
    {"gemma", .bias_key = true, .kv_heads = 16, .head_dim = 256, .context = 8192, .vocab = 256000},
    {"gemma2", SLIDE_PERIOD, .bias_key = true, .query_scalar = true, .kv_heads = 4, .heads = 8,
     .head_dim = 256, .context = 8192, .vocab = 256000, .window = 4096,
     .query_pre_attn_scalar = 256, .attn_softcap = 50.0, .final_softcap = 30.0},
    {"gemma3_text", SLIDE_PERIOD, .bias_key = true, .query_scalar = true, .kv_heads = 4, .heads = 8,
     .head_dim = 256, .context = 131072, .vocab = 262208, .window = 4096,
     .query_pre_attn_scalar = 256},
};

static const struct class_row *class_of(const struct family *family)
{
    for (size_t i = 0; i < sizeof CLASSES / sizeof CLASSES[0]; i++) {
        if (strcmp(CLASSES[i].family, family->name) == 0) {
            return &CLASSES[i];
        }
    }
    status_abort("family without a class row", __FILE__, __LINE__);
}

enum status config_number(const json_t *json, const char *key, double fallback, const char *where,
                          double *out)
{
    const json_t *v = json_object_get(json, key);
    *out = fallback;
    if (!v || json_is_null(v)) {
        return STATUS_OK;
    }
    if (!json_is_number(v) || !isfinite(json_number_value(v))) {
        return FAIL(INPUT, "%s: '%s' must be a number", where, key);
    }
    *out = json_number_value(v);
    return STATUS_OK;
}

/* A whole number; absent or null gives `fallback`, which must then be positive (or 0 is allowed by
 * `optional`). */
static enum status whole(const json_t *json, const char *key, int64_t fallback, bool optional,
                         const char *where, int64_t *out)
{
    const json_t *v = json_object_get(json, key);
    if (!v || json_is_null(v)) {
        if (fallback <= 0 && !optional) {
            return FAIL(INPUT, "%s: '%s' is missing", where, key);
        }
        *out = fallback;
        return STATUS_OK;
    }
    if (!json_is_integer(v)) {
        return FAIL(INPUT, "%s: '%s' must be a whole number", where, key);
    }
    *out = json_integer_value(v);
    return STATUS_OK;
}

static enum status flag(const json_t *json, const char *key, bool fallback, const char *where,
                        bool *out)
{
    const json_t *v = json_object_get(json, key);
    *out = fallback;
    if (!v || json_is_null(v)) {
        return STATUS_OK;
    }
    if (!json_is_boolean(v)) {
        return FAIL(INPUT, "%s: '%s' must be true or false", where, key);
    }
    *out = json_is_true(v);
    return STATUS_OK;
}

static enum status read_sizes(struct model_config *c, const struct class_row *row,
                              const json_t *json, const char *where)
{
    TRY(whole(json, "num_hidden_layers", 0, false, where, &c->layers));
    TRY(whole(json, "hidden_size", 0, false, where, &c->hidden));
    TRY(whole(json, "intermediate_size", 0, false, where, &c->ff));
    TRY(whole(json, "num_attention_heads", row->heads, false, where, &c->heads));
    TRY(whole(json, "vocab_size", row->vocab, false, where, &c->vocab));
    TRY(whole(json, "max_position_embeddings", row->context, false, where, &c->context));
    /* An explicit null asks for the plain rule; only an absent key takes the class default. */
    const bool kv_absent = !json_object_get(json, "num_key_value_heads");
    const bool dim_absent = !json_object_get(json, "head_dim");
    const int64_t kv = kv_absent && row->kv_heads ? row->kv_heads : c->heads;
    TRY(whole(json, "num_key_value_heads", kv, true, where, &c->kv_heads));
    if (c->heads < 1) {
        return FAIL(INPUT, "%s: 'num_attention_heads' must be positive", where);
    }
    const int64_t dim = dim_absent && row->head_dim ? row->head_dim : c->hidden / c->heads;
    return whole(json, "head_dim", dim, true, where, &c->head_dim);
}

/* The family's activation is the one the graph has; a file that asks for another is refused. */
static enum status check_activation(const struct model_config *c, const json_t *json,
                                    const char *where)
{
    const bool gelu = c->family->act == ACT_GELU_TANH;
    const char *key = gelu ? "hidden_activation" : "hidden_act";
    const char *act = json_string_value(json_object_get(json, key));
    if (!act) {
        return STATUS_OK;
    }
    static const char *const SILU[] = {"silu", "swish", NULL};
    static const char *const GELU[] = {"gelu_pytorch_tanh", "gelu_new", "gelu_tanh", NULL};
    for (const char *const *name = gelu ? GELU : SILU; *name; name++) {
        if (strcmp(act, *name) == 0) {
            return STATUS_OK;
        }
    }
    return FAIL(INPUT, "%s: '%s' is '%s'; Graft computes '%s' for %s", where, key, act,
                gelu ? GELU[0] : SILU[0], c->family->name);
}

/* Window of sliding layers in keys, 0 when the file turns sliding off. */
static enum status read_window(const struct class_row *row, const json_t *json, const char *where,
                               int64_t *window)
{
    const bool absent = !json_object_get(json, "sliding_window");
    TRY(whole(json, "sliding_window", absent ? row->window : 0, true, where, window));
    if (row->sliding == SLIDE_NEVER) {
        *window = 0;
    } else if (row->sliding == SLIDE_FLAGGED) {
        bool use;
        TRY(flag(json, "use_sliding_window", false, where, &use));
        *window = use ? *window : 0;
    }
    if (*window < 0 || *window > CONFIG_MAX_CONTEXT) {
        return FAIL(INPUT, "%s: 'sliding_window' %" PRId64 " is impossible", where, *window);
    }
    return STATUS_OK;
}

static enum status read_layer_types(struct model_config *c, const json_t *types, int64_t window,
                                    const char *where)
{
    if (!json_is_array(types) || json_array_size(types) != (size_t)c->layers) {
        return FAIL(INPUT, "%s: 'layer_types' must be a list of %" PRId64 " names", where,
                    c->layers);
    }
    for (int64_t i = 0; i < c->layers; i++) {
        const char *type = json_string_value(json_array_get(types, (size_t)i));
        if (type && strcmp(type, "sliding_attention") == 0) {
            c->layer[i] = (struct layer_config){window, c->rope_count - 1};
        } else if (type
                   && (strcmp(type, "full_attention") == 0 || strcmp(type, "attention") == 0)) {
            c->layer[i] = (struct layer_config){0, 0};
        } else {
            return FAIL(INPUT, "%s: layer_types[%" PRId64 "] is '%s'; known: full_attention, "
                               "sliding_attention", where, i, type ? type : "(no string)");
        }
    }
    return STATUS_OK;
}

static enum status read_layers(struct model_config *c, const struct class_row *row,
                               const json_t *json, const char *where)
{
    int64_t window;
    TRY(read_window(row, json, where, &window));
    const json_t *types = json_object_get(json, "layer_types");
    if (row->sliding != SLIDE_NEVER && types && !json_is_null(types)) {
        return read_layer_types(c, types, window, where);
    }
    int64_t period;
    int64_t first;
    TRY(whole(json, "_sliding_window_pattern", c->family->sliding_period, true, where, &period));
    TRY(whole(json, "sliding_window_pattern", period, true, where, &period));
    TRY(whole(json, "max_window_layers", 28, true, where, &first));
    if (row->sliding == SLIDE_PERIOD && period < 1) {
        return FAIL(INPUT, "%s: 'sliding_window_pattern' must be positive", where);
    }
    for (int64_t i = 0; i < c->layers; i++) {
        const bool slides = row->sliding == SLIDE_ALL
                            || (row->sliding == SLIDE_FLAGGED && i >= first)
                            || (row->sliding == SLIDE_PERIOD && (i + 1) % period != 0);
        c->layer[i].window = slides ? window : 0;
        c->layer[i].rope = slides ? c->rope_count - 1 : 0;
    }
    return STATUS_OK;
}

enum status config_read_specials(struct model_config *c, const json_t *json, const char *where)
{
    const json_t *bos = json_object_get(json, "bos_token_id");
    if (json_is_integer(bos) && json_integer_value(bos) >= 0
        && json_integer_value(bos) <= INT32_MAX) {
        c->bos = (int32_t)json_integer_value(bos);
    }
    const json_t *eos = json_object_get(json, "eos_token_id");
    if (!eos || json_is_null(eos)) {
        return STATUS_OK;
    }
    c->stop_count = 0;
    if (json_is_integer(eos)) {
        config_add_stop(c, json_integer_value(eos));
        return STATUS_OK;
    }
    if (!json_is_array(eos)) {
        return FAIL(INPUT, "%s: 'eos_token_id' must be a number or a list of numbers", where);
    }
    for (size_t i = 0; i < json_array_size(eos); i++) {
        const json_t *id = json_array_get(eos, i);
        if (!json_is_integer(id)) {
            return FAIL(INPUT, "%s: 'eos_token_id' must hold whole numbers", where);
        }
        config_add_stop(c, json_integer_value(id));
    }
    return STATUS_OK;
}

/* Scales, caps, biases and tying. `outer` is the whole file, `json` its text part. */
static enum status read_switches(struct model_config *c, const struct class_row *row,
                                 const json_t *json, const json_t *outer, const char *where)
{
    double scalar;
    double attn_cap;
    double final_cap;
    TRY(config_number(json, "rms_norm_eps", 1e-6, where, &c->norm_eps));
    TRY(config_number(json, "initializer_range", 0.02, where, &c->initializer_range));
    TRY(config_number(json, "query_pre_attn_scalar", row->query_pre_attn_scalar, where, &scalar));
    if (row->query_scalar) {
        if (!(scalar > 0.0)) {
            return FAIL(INPUT, "%s: 'query_pre_attn_scalar' must be positive", where);
        }
        c->attn_scale = (float)(1.0 / sqrt(scalar));
        /* Absent means the class default, an explicit null none. Gemma 3 has the attention's key
         * too, and its attention does not look at it. */
        const bool attn_absent =
            row->attn_softcap == 0.0 || !json_object_get(json, "attn_logit_softcapping");
        const bool final_absent = !json_object_get(json, "final_logit_softcapping");
        TRY(config_number(attn_absent ? NULL : json, "attn_logit_softcapping",
                          attn_absent ? row->attn_softcap : 0.0, where, &attn_cap));
        TRY(config_number(json, "final_logit_softcapping", final_absent ? row->final_softcap : 0.0,
                          where, &final_cap));
        c->attn_softcap = (float)attn_cap;
        c->final_softcap = (float)final_cap;
    }
    bool bias;
    bool bidirectional;
    TRY(flag(json, "attention_bias", false, where, &bias));
    TRY(flag(json, "mlp_bias", false, where, &c->mlp_bias));
    TRY(flag(json, "use_bidirectional_attention", false, where, &bidirectional));
    if (bidirectional) {
        return FAIL(INPUT, "%s: bidirectional attention (an embedding model) is not supported",
                    where);
    }
    c->qkv_bias = c->family->qkv_bias || (row->bias_key && bias);
    c->o_bias = row->bias_key && bias;
    c->mlp_bias = c->mlp_bias && row->mlp_bias_key;
    c->norm_plus_one = c->family->norm_plus_one;
    TRY(flag(outer, "tie_word_embeddings", c->family->tied_by_default, where, &c->tied));
    return flag(json, "tie_word_embeddings", c->tied, where, &c->tied);
}

/* Wrappers whose text part is one of ours; their towers are left aside. */
static bool is_wrapper(const char *model_type)
{
    return strcmp(model_type, "gemma3") == 0 || strcmp(model_type, "mistral3") == 0;
}

static enum status find_family(const json_t *json, const char *where, const json_t **text,
                               const struct family **family)
{
    const char *type = json_string_value(json_object_get(json, "model_type"));
    if (!json_is_object(json) || !type) {
        return FAIL(INPUT, "%s: no 'model_type'; is this a model's config.json?", where);
    }
    *text = json;
    *family = family_by_model_type(type);
    if (is_wrapper(type)) {
        *text = json_object_get(json, "text_config");
        const char *inner = json_string_value(json_object_get(*text, "model_type"));
        if (!json_is_object(*text)) {
            return FAIL(INPUT, "%s: model_type '%s' without 'text_config'", where, type);
        }
        type = inner ? inner : strcmp(type, "gemma3") == 0 ? "gemma3_text" : "mistral";
        *family = family_by_model_type(type);
    }
    if (!*family) {
        char known[256];
        return FAIL(INPUT, "%s: model_type '%s' is not supported; known: %s", where, type,
                    family_list(false, known, sizeof known));
    }
    return STATUS_OK;
}

enum status model_config_from_json(struct model_config *c, const json_t *json, const char *where)
{
    const json_t *text;
    memset(c, 0, sizeof *c);
    c->bos = -1;
    TRY(find_family(json, where, &text, &c->family));
    const struct class_row *row = class_of(c->family);
    TRY(read_sizes(c, row, text, where));
    TRY(config_check_sizes(c, where));
    TRY(check_activation(c, text, where));
    TRY(read_switches(c, row, text, json, where));
    TRY(config_rope_from_json(c, text, where));
    TRY(config_finish(c, where));
    TRY(read_layers(c, row, text, where));
    TRY(config_read_specials(c, json, where));
    return text == json ? STATUS_OK : config_read_specials(c, text, where);
}
