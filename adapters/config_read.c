/*
 * adapter_config.json in: PEFT's tolerance (absent keys take defaults, unknown keys are kept aside)
 * but no silence: what would change the result and is not supported is refused by name (spec
 * adapters.md 0, 2.1, 2.4).
 */
#include <string.h>
#include <unistd.h>

#include "adapters/adapter_internal.h"
#include "trainer/format/json.h"

enum { CONFIG_BYTES = 16 << 20, PATH_CAP = 4096 };

/* True for what Python takes as true: PEFT's switches are tested like that. */
static bool is_set(const json_t *value)
{
    switch (value ? json_typeof(value) : JSON_NULL) {
    case JSON_OBJECT:
        return json_object_size(value) > 0;
    case JSON_ARRAY:
        return json_array_size(value) > 0;
    case JSON_STRING:
        return json_string_length(value) > 0;
    case JSON_INTEGER:
    case JSON_REAL:
        return json_number_value(value) != 0.0;
    case JSON_TRUE:
        return true;
    case JSON_FALSE:
    case JSON_NULL:
        break;
    }
    return false;
}

/* A key that is a string or a list of strings. */
static enum status read_names(const json_t *json, const char *key, const char *where, char **text,
                              char ***list, int64_t *count)
{
    const json_t *value = json_object_get(json, key);
    const size_t n = json_array_size(value);
    if (!value || json_is_null(value)) {
        return STATUS_OK;
    }
    if (json_is_string(value)) {
        *text = strdup(json_string_value(value));
        return *text ? STATUS_OK : FAIL(MEMORY, "%s: no memory", where);
    }
    if (!json_is_array(value)) {
        return FAIL(INPUT, "%s: '%s' is a string or a list of strings", where, key);
    }
    *list = calloc(n ? n : 1, sizeof(char *));
    for (size_t i = 0; *list && i < n; i++) {
        const char *s = json_string_value(json_array_get(value, i));
        if (!s) {
            return FAIL(INPUT, "%s: '%s' holds something that is no string", where, key);
        }
        (*list)[i] = strdup(s);
        *count = (int64_t)i + 1;
        if (!(*list)[i]) {
            return FAIL(MEMORY, "%s: no memory", where);
        }
    }
    return *list ? STATUS_OK : FAIL(MEMORY, "%s: no memory", where);
}

static enum status read_targets(struct adapter_config *c, const json_t *json, const char *where)
{
    TRY(read_names(json, "target_modules", where, &c->target_regex, &c->target_modules,
                   &c->target_count));
    if (c->target_modules && c->target_count == 0) {
        return FAIL(INPUT, "%s: 'target_modules' is empty, the adapter changes nothing", where);
    }
    return read_names(json, "exclude_modules", where, &c->exclude_regex, &c->exclude_modules,
                      &c->exclude_count);
}

static enum status read_layers(struct adapter_config *c, const json_t *json, const char *where)
{
    const json_t *value = json_object_get(json, "layers_to_transform");
    const size_t n = json_is_integer(value) ? 1 : json_array_size(value);
    if (value && !json_is_null(value) && !json_is_integer(value) && !json_is_array(value)) {
        return FAIL(INPUT, "%s: 'layers_to_transform' is an integer or a list of them", where);
    }
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
            return FAIL(INPUT, "%s: 'layers_to_transform' holds something that is no integer",
                        where);
        }
        c->layers_to_transform[i] = json_integer_value(item);
    }
    return STATUS_OK;
}

/* A string, or a list of one. */
static enum status read_layers_pattern(struct adapter_config *c, const json_t *json,
                                       const char *where)
{
    const json_t *value = json_object_get(json, "layers_pattern");
    if (!is_set(value)) {
        return STATUS_OK;
    }
    const char *s = json_string_value(json_is_array(value) ? json_array_get(value, 0) : value);
    if (!s || json_array_size(value) > 1) {
        return FAIL(INPUT, "%s: 'layers_pattern' is not supported but as one string", where);
    }
    c->layers_pattern = strdup(s);
    return c->layers_pattern ? STATUS_OK : FAIL(MEMORY, "%s: no memory", where);
}

/* Only what leaves the base alone may be loaded: PEFT runs the initialiser again on load. */
static enum status read_init(struct adapter_config *c, const json_t *json, const char *where)
{
    const json_t *value = json_object_get(json, "init_lora_weights");
    const char *name = json_string_value(value);
    c->init = ADAPTER_INIT_DEFAULT;
    if (json_is_false(value)) {
        c->init = ADAPTER_INIT_RANDOM_B;
    } else if (name && strcmp(name, "gaussian") == 0) {
        c->init = ADAPTER_INIT_GAUSSIAN;
    } else if (name && strcmp(name, "mica") == 0) {
        return FAIL(INPUT, "%s: init_lora_weights 'mica' freezes B, which is not supported", where);
    } else if (name && strcmp(name, "orthogonal") != 0 && strcmp(name, "eva") != 0) {
        return FAIL(INPUT,
                    "%s: init_lora_weights '%s' changes the base on load; convert it to plain LoRA "
                    "with PEFT first (save_pretrained, path_initial_model_for_weight_conversion)",
                    where, name);
    }
    return STATUS_OK;
}

/* Switches that change the result and are not supported: refused, never ignored. */
static enum status refuse_unsupported(const json_t *json, const char *where)
{
    static const char *const KEYS[] = {
        "use_dora", "use_qalora", "lora_bias", "fan_in_fan_out", "target_parameters", "trainable_token_indices", "layer_replication",
        "alora_invocation_tokens", "use_bdlora", "arrow_config", "kasa_config",
        "monteclora_config", "velora_config",
    };
    for (size_t i = 0; i < sizeof KEYS / sizeof KEYS[0]; i++) {
        if (is_set(json_object_get(json, KEYS[i]))) {
            return FAIL(INPUT, "%s: '%s' is not supported yet", where, KEYS[i]);
        }
    }
    const json_t *bias = json_object_get(json, "bias");
    if (is_set(bias) && strcmp(json_is_string(bias) ? json_string_value(bias) : "", "none") != 0) {
        return FAIL(INPUT, "%s: bias '%s' is not supported yet", where,
                    json_is_string(bias) ? json_string_value(bias) : "(no string)");
    }
    return STATUS_OK;
}

/* Of the modules that PEFT saves whole, a reward model's scalar head alone is known. */
static enum status read_score(struct adapter_config *c, const json_t *json, const char *where)
{
    const json_t *saved = json_object_get(json, "modules_to_save");
    const char *task = json_string_value(json_object_get(json, "task_type"));
    bool heads = json_array_size(saved) > 0;
    for (size_t i = 0; i < json_array_size(saved); i++) {
        const char *name = json_string_value(json_array_get(saved, i));
        heads = heads && name && (strcmp(name, "score") == 0 || strcmp(name, "classifier") == 0);
    }
    c->score = task && strcmp(task, "SEQ_CLS") == 0;
    if (is_set(saved) && !(heads && c->score)) {
        return FAIL(INPUT, "%s: 'modules_to_save' is not supported yet but as a reward model's "
                           "score (task_type SEQ_CLS)", where);
    }
    return STATUS_OK;
}

/* A number in [low, high]; absent or null: `fallback`. */
static enum status read_number(const json_t *json, const char *key, double fallback, double low,
                               double high, const char *where, double *out)
{
    const json_t *value = json_object_get(json, key);
    *out = fallback;
    if (!value || json_is_null(value)) {
        return STATUS_OK;
    }
    *out = json_number_value(value);
    if (!json_is_number(value) || !(*out >= low && *out <= high)) {
        return FAIL(INPUT, "%s: '%s' is not a number in %g..%g", where, key, low, high);
    }
    return STATUS_OK;
}

static enum status read_numbers(struct adapter_config *c, const json_t *json, const char *where)
{
    double rank;
    TRY(read_number(json, "r", 8, 1, ADAPTER_MAX_RANK, where, &rank));
    TRY(read_number(json, "lora_alpha", 8, -ADAPTER_MAX_ALPHA, ADAPTER_MAX_ALPHA, where,
                    &c->lora_alpha));
    c->r = (int64_t)rank;
    if ((double)c->r != rank) {
        return FAIL(INPUT, "%s: 'r' is %g, not a whole number", where, rank);
    }
    static const char *const PATTERNS[] = {"rank_pattern", "alpha_pattern"};
    for (int i = 0; i < 2; i++) {
        const json_t *value = json_object_get(json, PATTERNS[i]);
        if (value && !json_is_null(value) && !json_is_object(value)) {
            return FAIL(INPUT, "%s: '%s' is not an object of numbers", where, PATTERNS[i]);
        }
    }
    c->rank_pattern = json_deep_copy(json_object_get(json, "rank_pattern"));
    c->alpha_pattern = json_deep_copy(json_object_get(json, "alpha_pattern"));
    return STATUS_OK;
}

static enum status read_object(struct adapter_config *c, const json_t *json, const char *where)
{
    const char *type = json_string_value(json_object_get(json, "peft_type"));
    const struct adapter_family *family = type ? adapter_family_find(type) : NULL;
    if (!family) {
        return FAIL(INPUT, "%s: peft_type '%s' is not supported; use LORA", where,
                    type ? type : "(missing)");
    }
    c->family = family->name;
    TRY(refuse_unsupported(json, where));
    TRY(read_score(c, json, where));
    TRY(read_init(c, json, where));
    TRY(read_numbers(c, json, where));
    c->use_rslora = is_set(json_object_get(json, "use_rslora"));
    const char *base = json_string_value(json_object_get(json, "base_model_name_or_path"));
    c->base_model_name_or_path = base ? strdup(base) : NULL;
    c->extra = json_deep_copy(json);
    if (!c->extra || (base && !c->base_model_name_or_path)) {
        return FAIL(MEMORY, "%s: no memory", where);
    }
    TRY(read_targets(c, json, where));
    TRY(read_layers(c, json, where));
    return read_layers_pattern(c, json, where);
}

enum status adapter_read_config(struct adapter_config *config, const char *folder)
{
    char path[PATH_CAP];
    json_t *json;
    *config = (struct adapter_config){0};
    const int n = snprintf(path, sizeof path, "%s/adapter_config.json", folder);
    if (n < 0 || n >= PATH_CAP) {
        return FAIL(INPUT, "adapter folder '%.60s...': the path is too long", folder);
    }
    if (access(path, F_OK) != 0) {
        return FAIL(INPUT, "%s is not there; an adapter is a folder as PEFT writes it", path);
    }
    TRY(json_load_path(path, CONFIG_BYTES, &json));
    const enum status status = read_object(config, json, path);
    json_decref(json);
    if (status != STATUS_OK) {
        adapter_config_close(config);
    }
    return status;
}
