/* inspect: architecture, tensors and totals of GGUF, safetensors, model folders, adapters and
 * checkpoints. One JSON object is made first; the text form prints it. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "recipes/commands.h"
#include "trainer/format/gguf.h"
#include "trainer/format/safetensors.h"
#include "trainer/model/config.h"
#include "trainer/report/report.h"

static bool has_file(const char *folder, const char *name)
{
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return access(path, R_OK) == 0;
}

/* Adds one tensor to `out` and to the totals of its type. bytes < 0: unknown. */
static enum status add_tensor(json_t *out, const char *name, const char *type,
                              const struct tensor *view, int64_t bytes)
{
    json_t *shape = json_array();
    for (int i = 0; i < view->dims; i++) {
        (void)json_array_append_new(shape, json_integer(view->shape[i]));
    }
    json_t *row = json_pack("{s:s, s:s, s:o, s:o}", "name", name, "type", type, "shape", shape,
                            "bytes", bytes < 0 ? json_null() : json_integer(bytes));
    json_t *totals = json_object_get(out, "types");
    json_t *total = json_object_get(totals, type);
    if (!total) {
        total = json_pack("{s:i, s:i, s:i}", "tensors", 0, "elements", 0, "bytes", 0);
        (void)json_object_set_new(totals, type, total);
    }
    if (!row || !total || json_array_append_new(json_object_get(out, "tensors"), row) != 0) {
        return FAIL(MEMORY, "inspect: out of memory");
    }
    const struct {
        const char *key;
        int64_t add;
    } sums[] = {{"tensors", 1}, {"elements", tensor_count(view)}, {"bytes", bytes < 0 ? 0 : bytes}};
    for (size_t i = 0; i < sizeof sums / sizeof *sums; i++) {
        json_t *value = json_object_get(total, sums[i].key);
        (void)json_integer_set(value, json_integer_value(value) + sums[i].add);
    }
    return STATUS_OK;
}

static json_t *new_report(const char *path, const char *kind)
{
    return json_pack("{s:s, s:s, s:{}, s:{}, s:[]}", "path", path, "kind", kind, "about", "types",
                     "tensors");
}

static void about_int(json_t *out, const char *key, int64_t value)
{
    (void)json_object_set_new(json_object_get(out, "about"), key, json_integer(value));
}

static void about_text(json_t *out, const char *key, const char *value)
{
    (void)json_object_set_new(json_object_get(out, "about"), key, json_string(value));
}

static void about_config(json_t *out, const struct model_config *c)
{
    about_text(out, "architecture", c->family->name);
    about_int(out, "layers", c->layers);
    about_int(out, "hidden", c->hidden);
    about_int(out, "heads", c->heads);
    about_int(out, "kv_heads", c->kv_heads);
    about_int(out, "head_dim", c->head_dim);
    about_int(out, "feed_forward", c->ff);
    about_int(out, "vocabulary", c->vocab);
    about_int(out, "context", c->context);
    about_text(out, "tied", c->tied ? "yes" : "no");
}

/* A model's shape; NULL: the program runs none such. */
static void about_model(json_t *out, const struct model_config *config)
{
    if (config) {
        about_config(out, config);
    } else {
        about_text(out, "note", "no model Graft runs");
        status_clear();
    }
}

static enum status inspect_gguf(json_t *out, const char *path)
{
    struct gguf *g;
    struct gguf_string name;
    TRY(gguf_open(&g, path));
    about_int(out, "keys", gguf_key_count(g));
    if (gguf_has(g, "general.architecture") &&
        gguf_string(g, "general.architecture", &name) == STATUS_OK) {
        (void)json_object_set_new(json_object_get(out, "about"), "architecture",
                                  json_stringn(name.data, name.length));
    }
    struct model_config *config = calloc(1, sizeof *config);
    const bool runs = config && model_config_from_gguf(config, g) == STATUS_OK;
    about_model(out, runs ? config : NULL);
    enum status status = config ? STATUS_OK : FAIL(MEMORY, "inspect: out of memory");
    free(config);
    for (int64_t i = 0; i < gguf_tensor_count(g) && status == STATUS_OK; i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        char type[32];
        (void)snprintf(type, sizeof type, "ggml-%" PRIu32, t->ggml_type);
        const int64_t bytes =
            t->supported ? tensor_rows(&t->view) * (int64_t)t->view.row_bytes : -1;
        status = add_tensor(out, t->name, t->supported ? dtype_row(t->view.dtype)->name : type,
                            &t->view, bytes);
    }
    gguf_close(g);
    return status;
}

static enum status add_safetensors(json_t *out, struct safetensors *s)
{
    for (int64_t i = 0; i < safetensors_count(s); i++) {
        const struct safetensors_entry *e = safetensors_at(s, i);
        TRY(add_tensor(out, e->name, e->dtype_name, &e->view, (int64_t)e->bytes));
    }
    return STATUS_OK;
}

static enum status inspect_safetensors(json_t *out, const char *path, bool folder)
{
    struct safetensors *s;
    TRY(folder ? safetensors_open_folder(&s, path) : safetensors_open(&s, path));
    const enum status status = add_safetensors(out, s);
    safetensors_close(s);
    return status;
}

static enum status load_json(const char *folder, const char *name, json_t **out)
{
    char path[4096];
    json_error_t error;
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    *out = json_load_file(path, 0, &error);
    return *out ? STATUS_OK : FAIL(INPUT, "%s:%d: %s", path, error.line, error.text);
}

static enum status inspect_model_folder(json_t *out, const char *path)
{
    json_t *json;
    TRY(load_json(path, "config.json", &json));
    struct model_config *config = calloc(1, sizeof *config);
    const bool runs = config && model_config_from_json(config, json, path) == STATUS_OK;
    if (!runs) {
        const char *type = json_string_value(json_object_get(json, "model_type"));
        about_text(out, "architecture", type ? type : "unknown");
    }
    about_model(out, runs ? config : NULL);
    const enum status status = config ? STATUS_OK : FAIL(MEMORY, "inspect: out of memory");
    free(config);
    json_decref(json);
    return status == STATUS_OK ? inspect_safetensors(out, path, true) : status;
}

/* adapter_config.json's main keys. */
static enum status inspect_adapter(json_t *out, const char *path)
{
    static const char *const keys[] = {"peft_type", "base_model_name_or_path", "r", "lora_alpha",
                                       "use_rslora", "target_modules"};
    json_t *config = NULL;
    char file[4096];
    TRY(load_json(path, "adapter_config.json", &config));
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        json_t *value = json_object_get(config, keys[i]);
        if (value) {
            (void)json_object_set(json_object_get(out, "about"), keys[i], value);
        }
    }
    json_decref(config);
    (void)snprintf(file, sizeof file, "%s/adapter_model.safetensors", path);
    return inspect_safetensors(out, file, false);
}

static enum status inspect_folder(const char *path, json_t **out)
{
    const bool adapter = has_file(path, "adapter_config.json");
    const bool checkpoint = has_file(path, "trainer_state.json");
    if (!adapter && !has_file(path, "config.json")) {
        return FAIL(INPUT, "%s: holds neither adapter_config.json nor config.json", path);
    }
    *out = new_report(path, checkpoint ? "checkpoint" : adapter ? "adapter" : "model folder");
    if (checkpoint) {
        json_t *state;
        TRY(load_json(path, "trainer_state.json", &state));
        about_int(*out, "global_step", json_integer_value(json_object_get(state, "global_step")));
        json_decref(state);
    }
    return adapter ? inspect_adapter(*out, path) : inspect_model_folder(*out, path);
}

static enum status inspect_path(const char *path, json_t **out)
{
    struct stat info;
    char magic[4] = "";
    if (stat(path, &info) != 0) {
        return FAIL(INPUT, "%s: %s", path, strerror(errno));
    }
    if (S_ISDIR(info.st_mode)) {
        return inspect_folder(path, out);
    }
    FILE *in = fopen(path, "rb");
    const size_t n = in ? fread(magic, 1, sizeof magic, in) : 0;
    if (in) {
        (void)fclose(in);
    }
    const bool gguf = n == sizeof magic && memcmp(magic, "GGUF", sizeof magic) == 0;
    *out = new_report(path, gguf ? "GGUF file" : "safetensors file");
    return gguf ? inspect_gguf(*out, path) : inspect_safetensors(*out, path, false);
}

static void print_about(const json_t *about)
{
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)(uintptr_t)about, key, value) {
        char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
        report_result("%-24s %s", key,
                      json_is_string(value) ? json_string_value(value) : text ? text : "");
        free(text);
    }
}

static double mib(const json_t *bytes)
{
    return (double)json_integer_value(bytes) / (1 << 20);
}

static void print_report(const json_t *out)
{
    size_t i;
    json_t *row;
    const char *type;
    report_result("%s: %s", json_string_value(json_object_get(out, "path")),
                  json_string_value(json_object_get(out, "kind")));
    print_about(json_object_get(out, "about"));
    report_result("\n%-8s %-20s %12s  %s", "type", "shape", "bytes", "tensor");
    json_array_foreach (json_object_get(out, "tensors"), i, row) {
        char *shape = json_dumps(json_object_get(row, "shape"), JSON_COMPACT);
        const json_t *bytes = json_object_get(row, "bytes");
        char count[32] = "?";
        if (json_is_integer(bytes)) {
            (void)snprintf(count, sizeof count, "%" JSON_INTEGER_FORMAT, json_integer_value(bytes));
        }
        report_result("%-8s %-20s %12s  %s", json_string_value(json_object_get(row, "type")),
                      shape ? shape : "", count, json_string_value(json_object_get(row, "name")));
        free(shape);
    }
    report_result("\n%-8s %8s %16s %12s", "type", "tensors", "elements", "MiB");
    json_object_foreach (json_object_get(out, "types"), type, row) {
        report_result("%-8s %8" JSON_INTEGER_FORMAT " %16" JSON_INTEGER_FORMAT " %12.2f", type,
                      json_integer_value(json_object_get(row, "tensors")),
                      json_integer_value(json_object_get(row, "elements")),
                      mib(json_object_get(row, "bytes")));
    }
}

enum status cmd_inspect(const struct command_args *args)
{
    json_t *out = NULL;
    if (args->word_count != 1) {
        return FAIL(USAGE, "inspect: name a file or folder");
    }
    const enum status status = inspect_path(args->words[0], &out);
    if (status == STATUS_OK && args->json) {
        char *text = json_dumps(out, JSON_INDENT(1) | JSON_PRESERVE_ORDER);
        report_result("%s", text ? text : "{}");
        free(text);
    } else if (status == STATUS_OK) {
        print_report(out);
    }
    json_decref(out);
    return status;
}
