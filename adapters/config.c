/* adapter_config.json in and out, as PEFT 0.21.2 writes it (spec adapters.md 0 and 2.1). */
#include <string.h>

#include "adapters/adapter_internal.h"

static char *copy_text(const char *s)
{
    return s ? strdup(s) : NULL;
}

static void free_list(char **list, int64_t count)
{
    for (int64_t i = 0; list && i < count; i++) {
        free(list[i]);
    }
    free(list);
}

void adapter_config_close(struct adapter_config *c)
{
    free(c->target_regex);
    free_list(c->target_modules, c->target_count);
    free(c->exclude_regex);
    free_list(c->exclude_modules, c->exclude_count);
    free(c->layers_to_transform);
    free(c->layers_pattern);
    free(c->base_model_name_or_path);
    json_decref(c->rank_pattern);
    json_decref(c->alpha_pattern);
    json_decref(c->extra);
    *c = (struct adapter_config){0};
}

static enum status copy_list(char **from, int64_t count, char ***to, int64_t *to_count)
{
    *to_count = 0;
    *to = NULL;
    if (count == 0) {
        return STATUS_OK;
    }
    *to = calloc((size_t)count, sizeof(char *));
    for (int64_t i = 0; *to && i < count; i++) {
        (*to)[i] = strdup(from[i]);
        *to_count = i + 1;
        if (!(*to)[i]) {
            return FAIL(MEMORY, "adapter: no memory for its configuration");
        }
    }
    return *to ? STATUS_OK : FAIL(MEMORY, "adapter: no memory for its configuration");
}

enum status adapter_config_copy(struct adapter_config *to, const struct adapter_config *from)
{
    *to = *from;
    to->target_regex = copy_text(from->target_regex);
    to->exclude_regex = copy_text(from->exclude_regex);
    to->layers_pattern = copy_text(from->layers_pattern);
    to->base_model_name_or_path = copy_text(from->base_model_name_or_path);
    to->rank_pattern = json_deep_copy(from->rank_pattern);
    to->alpha_pattern = json_deep_copy(from->alpha_pattern);
    to->extra = json_deep_copy(from->extra);
    to->target_modules = NULL;
    to->exclude_modules = NULL;
    to->target_count = 0;
    to->exclude_count = 0;
    to->layers_to_transform = NULL;
    if (from->layers_count > 0) {
        const size_t bytes = (size_t)from->layers_count * sizeof(int64_t);
        to->layers_to_transform = malloc(bytes);
        if (!to->layers_to_transform) {
            return FAIL(MEMORY, "adapter: no memory for its configuration");
        }
        memcpy(to->layers_to_transform, from->layers_to_transform, bytes);
    }
    TRY(copy_list(from->target_modules, from->target_count, &to->target_modules,
                  &to->target_count));
    return copy_list(from->exclude_modules, from->exclude_count, &to->exclude_modules,
                     &to->exclude_count);
}

/* A key that is a string or a list of strings. */
static enum status read_names(const json_t *json, const char *key, const char *where, char **text,
                              char ***list, int64_t *count)
{
    const json_t *value = json_object_get(json, key);
    if (json_is_string(value)) {
        *text = strdup(json_string_value(value));
        return *text ? STATUS_OK : FAIL(MEMORY, "%s: no memory", where);
    }
    const size_t n = json_array_size(value);
    if (n == 0) {
        return STATUS_OK;
    }
    *list = calloc(n, sizeof(char *));
    for (size_t i = 0; *list && i < n; i++) {
        const char *s = json_string_value(json_array_get(value, i));
        if (!s) {
            return FAIL(INPUT, "%s: '%s' holds something that is no string", where, key);
        }
        (*list)[i] = strdup(s);
        *count = (int64_t)i + 1;
    }
    return *list ? STATUS_OK : FAIL(MEMORY, "%s: no memory", where);
}

static enum status read_layers(const json_t *json, const char *where, struct adapter_config *c)
{
    const json_t *value = json_object_get(json, "layers_to_transform");
    const size_t n = json_is_integer(value) ? 1 : json_array_size(value);
    if (n == 0) {
        return STATUS_OK;
    }
    c->layers_to_transform = calloc(n, sizeof(int64_t));
    if (!c->layers_to_transform) {
        return FAIL(MEMORY, "%s: no memory", where);
    }
    c->layers_count = (int64_t)n;
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_is_integer(value) ? value : json_array_get(value, i);
        if (!json_is_integer(item)) {
            return FAIL(INPUT, "%s: 'layers_to_transform' holds something that is no integer", where);
        }
        c->layers_to_transform[i] = json_integer_value(item);
    }
    return STATUS_OK;
}

/* Switches that change the result and are not supported: refused, never ignored. */
static enum status refuse_unsupported(const json_t *json, const char *where)
{
    static const char *const FLAGS[] = {"use_dora", "use_qalora", "lora_bias", "fan_in_fan_out"};
    static const char *const OBJECTS[] = {
        "modules_to_save", "target_parameters", "trainable_token_indices", "layer_replication",
        "alora_invocation_tokens", "use_bdlora", "arrow_config", "kasa_config",
        "monteclora_config", "velora_config",
    };
    for (size_t i = 0; i < sizeof FLAGS / sizeof FLAGS[0]; i++) {
        if (json_is_true(json_object_get(json, FLAGS[i]))) {
            return FAIL(INPUT, "%s: '%s' is not supported yet", where, FLAGS[i]);
        }
    }
    for (size_t i = 0; i < sizeof OBJECTS / sizeof OBJECTS[0]; i++) {
        const json_t *value = json_object_get(json, OBJECTS[i]);
        if (value && !json_is_null(value) && !json_is_false(value)
            && !(json_is_array(value) && json_array_size(value) == 0)) {
            return FAIL(INPUT, "%s: '%s' is not supported yet", where, OBJECTS[i]);
        }
    }
    const char *bias = json_string_value(json_object_get(json, "bias"));
    if (bias && strcmp(bias, "none") != 0) {
        return FAIL(INPUT, "%s: bias '%s' is not supported yet", where, bias);
    }
    const json_t *init = json_object_get(json, "init_lora_weights");
    if (json_is_string(init) && strcmp(json_string_value(init), "gaussian") != 0) {
        return FAIL(INPUT,
                    "%s: init_lora_weights '%s' changes the base on load; convert it to plain LoRA "
                    "with PEFT first",
                    where, json_string_value(init));
    }
    return STATUS_OK;
}

static double number_or(const json_t *json, const char *key, double fallback)
{
    const json_t *value = json_object_get(json, key);
    return json_is_number(value) ? json_number_value(value) : fallback;
}

static enum status read_object(struct adapter_config *c, const json_t *json, const char *where)
{
    const char *type = json_string_value(json_object_get(json, "peft_type"));
    const struct adapter_family *family = type ? adapter_family_find(type) : NULL;
    if (!family) {
        return FAIL(INPUT, "%s: peft_type '%s' is not supported; use LORA", where,
                    type ? type : "(missing)");
    }
    TRY(refuse_unsupported(json, where));
    c->family = family->name;
    c->r = (int64_t)number_or(json, "r", 8);
    c->lora_alpha = number_or(json, "lora_alpha", 8);
    c->use_rslora = json_is_true(json_object_get(json, "use_rslora"));
    c->layers_pattern = copy_text(json_string_value(json_object_get(json, "layers_pattern")));
    c->base_model_name_or_path =
        copy_text(json_string_value(json_object_get(json, "base_model_name_or_path")));
    c->rank_pattern = json_deep_copy(json_object_get(json, "rank_pattern"));
    c->alpha_pattern = json_deep_copy(json_object_get(json, "alpha_pattern"));
    c->extra = json_deep_copy(json);
    TRY(read_names(json, "target_modules", where, &c->target_regex, &c->target_modules,
                   &c->target_count));
    TRY(read_names(json, "exclude_modules", where, &c->exclude_regex, &c->exclude_modules,
                   &c->exclude_count));
    return read_layers(json, where, c);
}

enum status adapter_read_config(struct adapter_config *config, const char *folder)
{
    char path[4096];
    *config = (struct adapter_config){0};
    (void)snprintf(path, sizeof path, "%s/adapter_config.json", folder);
    json_error_t error;
    json_t *json = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
    if (!json) {
        return FAIL(INPUT, "%s:%d:%d: %s", path, error.line, error.column, error.text);
    }
    const enum status status = read_object(config, json, path);
    json_decref(json);
    if (status != STATUS_OK) {
        adapter_config_close(config);
    }
    return status;
}

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

/* The last parts of the wrapped modules' paths ("q_proj"), sorted and unique, when they name exactly
 * those modules; else their full paths. PEFT reads both. */
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

static json_t *init_json(enum adapter_init init)
{
    return init == ADAPTER_INIT_GAUSSIAN ? json_string("gaussian")
                                         : json_boolean(init == ADAPTER_INIT_DEFAULT);
}

json_t *adapter_config_json(const struct adapter *a)
{
    const struct adapter_config *c = &a->config;
    const bool plain_list = c->layers_count == 0 && c->exclude_count == 0 && !c->exclude_regex;
    const bool all_linear = c->target_regex && strcmp(c->target_regex, "all-linear") == 0;
    json_t *targets = plain_list && (all_linear || (!c->target_regex && c->target_count == 0))
                          ? wrapped_names(a)
                          : names_json(c->target_regex, c->target_modules, c->target_count);
    json_t *layers = json_null();
    if (c->layers_count > 0) {
        layers = json_array();
        for (int64_t i = 0; i < c->layers_count; i++) {
            (void)json_array_append_new(layers, json_integer(c->layers_to_transform[i]));
        }
    }
    json_t *excluded = c->exclude_regex || c->exclude_count > 0
                           ? names_json(c->exclude_regex, c->exclude_modules, c->exclude_count)
                           : json_null();
    const double whole = (double)(json_int_t)c->lora_alpha;
    json_t *alpha = whole == c->lora_alpha ? json_integer((json_int_t)whole)
                                           : json_real(c->lora_alpha);
    return json_pack(
        "{s:s, s:s, s:s?, s:n, s:n, s:b, s:I, s:o, s:f, s:o, s:o, s:s, s:b, s:n, s:o, s:o, s:o, s:b, "
        "s:b, s:b, s:o, s:s?, s:{}, s:s}",
        "peft_type", a->family->peft_type, "task_type", "CAUSAL_LM", "base_model_name_or_path",
        c->base_model_name_or_path, "revision", "auto_mapping", "inference_mode", 1, "r",
        (json_int_t)c->r, "lora_alpha", alpha, "lora_dropout", 0.0, "target_modules", targets,
        "exclude_modules", excluded, "bias", "none", "fan_in_fan_out", 0, "modules_to_save",
        "init_lora_weights", init_json(c->init), "rank_pattern",
        c->rank_pattern ? json_deep_copy(c->rank_pattern) : json_object(), "alpha_pattern",
        c->alpha_pattern ? json_deep_copy(c->alpha_pattern) : json_object(), "use_rslora",
        c->use_rslora, "use_dora", 0, "lora_bias", 0, "layers_to_transform", layers,
        "layers_pattern", c->layers_pattern, "loftq_config", "peft_version", "0.21.2");
}
