/* adapter_config.json out, with the keys PEFT 0.21.2 writes (spec adapters.md 0 and 2.1). */
#include <string.h>
#include <strings.h>

#include "adapters/adapter_internal.h"

static json_t *names_json(const char *text, char *const *list, int64_t count)
{
    if (text) {
        return json_string(text);
    }
    json_t *array = json_array();
    for (int64_t i = 0; i < count; i++) {
        (void)json_array_append_new(array, json_string(list[i]));
    }
    return array;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The last parts of the wrapped modules' paths ("q_proj"), sorted and unique. With all-linear or
 * PEFT's defaults a name is wrapped wherever exclude_modules and layers_to_transform, which are
 * written too, let it: the suffixes stand for exactly the same modules. */
static json_t *wrapped_names(const struct adapter *a)
{
    const char **names = calloc((size_t)a->count, sizeof *names);
    json_t *array = json_array();
    for (int64_t i = 0; names && i < a->count; i++) {
        const char *dot = strrchr(a->sites[i].linear->name, '.');
        names[i] = dot ? dot + 1 : a->sites[i].linear->name;
    }
    if (names) {
        qsort(names, (size_t)a->count, sizeof *names, compare_names);
    }
    for (int64_t i = 0; names && i < a->count; i++) {
        if (i == 0 || strcmp(names[i], names[i - 1]) != 0) {
            (void)json_array_append_new(array, json_string(names[i]));
        }
    }
    free(names);
    return array;
}

static json_t *targets_json(const struct adapter *a)
{
    const struct adapter_config *c = &a->config;
    const bool all_linear = c->target_regex && strcasecmp(c->target_regex, "all-linear") == 0;
    const bool defaults = !c->target_regex && c->target_count == 0;
    return all_linear || defaults
               ? wrapped_names(a)
               : names_json(c->target_regex, c->target_modules, c->target_count);
}

static json_t *layers_json(const struct adapter_config *c)
{
    if (c->layers_count == 0) {
        return json_null();
    }
    json_t *layers = json_array();
    for (int64_t i = 0; i < c->layers_count; i++) {
        (void)json_array_append_new(layers, json_integer(c->layers_to_transform[i]));
    }
    return layers;
}

static json_t *init_json(enum adapter_init init)
{
    return init == ADAPTER_INIT_GAUSSIAN ? json_string("gaussian")
                                         : json_boolean(init == ADAPTER_INIT_DEFAULT);
}

/* PEFT writes whole alphas as integers. */
static json_t *alpha_json(double alpha)
{
    const json_int_t whole = (json_int_t)alpha; /* |alpha| <= ADAPTER_MAX_ALPHA */
    return (double)whole == alpha ? json_integer(whole) : json_real(alpha);
}

/* PEFT gives every sequence classifier both names. */
static json_t *saved_modules_json(const struct adapter_config *c)
{
    return c->score ? json_pack("[s, s]", "classifier", "score") : json_null();
}

static json_t *pattern_json(const json_t *pattern)
{
    return pattern ? json_deep_copy(pattern) : json_object();
}

/* Every key of PEFT's LoraConfig at its default. */
static json_t *defaults_json(void)
{
    static const char *const NULLS[] = {
        "alora_invocation_tokens", "arrow_config", "auto_mapping", "corda_config", "eva_config",
        "kasa_config", "layer_replication", "lora_ga_config", "megatron_config", "modules_to_save",
        "monteclora_config", "revision", "target_parameters", "trainable_token_indices",
        "use_bdlora", "velora_config",
    };
    json_t *o = json_pack("{s:s, s:b, s:b, s:b, s:b, s:b, s:b, s:b, s:{}, s:s, s:i, s:f, s:s}",
                          "bias", "none", "ensure_weight_tying", 0, "fan_in_fan_out", 0,
                          "inference_mode", 1, "lora_bias", 0, "use_dora", 0, "use_qalora", 0,
                          "use_rslora", 0, "loftq_config", "megatron_core", "megatron.core",
                          "qalora_group_size", 16, "lora_dropout", 0.0, "task_type", "CAUSAL_LM");
    for (size_t i = 0; o && i < sizeof NULLS / sizeof NULLS[0]; i++) {
        (void)json_object_set_new(o, NULLS[i], json_null());
    }
    return o;
}

json_t *adapter_config_json(const struct adapter *a)
{
    const struct adapter_config *c = &a->config;
    json_t *o = defaults_json();
    json_t *excluded = c->exclude_regex || c->exclude_count > 0
                           ? names_json(c->exclude_regex, c->exclude_modules, c->exclude_count)
                           : json_null();
    json_t *own = json_pack(
        "{s:s, s:s, s:s?, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:b, s:o, s:s?, s:o}", "peft_type",
        a->family->peft_type, "peft_version", "0.21.2", "base_model_name_or_path",
        c->base_model_name_or_path, "r", (json_int_t)c->r, "lora_alpha", alpha_json(c->lora_alpha),
        "target_modules", targets_json(a), "exclude_modules", excluded, "init_lora_weights",
        init_json(c->init), "rank_pattern", pattern_json(c->rank_pattern), "alpha_pattern",
        pattern_json(c->alpha_pattern), "use_rslora", c->use_rslora, "layers_to_transform",
        layers_json(c), "layers_pattern", c->layers_pattern, "modules_to_save",
        saved_modules_json(c));
    if (c->score && own) {
        (void)json_object_set_new(own, "task_type", json_string("SEQ_CLS"));
    }
    const bool good = o && own && (!c->extra || json_object_update(o, c->extra) == 0)
                      && json_object_update(o, own) == 0
                      && json_object_set_new(o, "inference_mode", json_true()) == 0;
    json_decref(own);
    if (!good) {
        json_decref(o);
        return NULL;
    }
    return o;
}
