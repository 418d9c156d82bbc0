/*
 * graft export: what a run trained, in the forms others read: a Hub adapter folder, the base with
 * the adapter merged in (safetensors), or a GGUF adapter for llama.cpp (design 5, spec adapters.md
 * 7, formats.md 8).
 */
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "adapters/adapter.h"
#include "recipes/stages.h"
#include "trainer/format/file.h"
#include "trainer/format/json.h"
#include "trainer/model/save.h"
#include "trainer/report/report.h"
#include "trainer/store/checkpoint.h"

enum { PATH_CAP = 4096, CONFIG_BYTES = 16 << 20, CARD_CAP = 4096 };

enum export_format { EXPORT_ADAPTER, EXPORT_MERGED, EXPORT_GGUF };

static const char *const FORMATS[] = {
    [EXPORT_ADAPTER] = "adapter", [EXPORT_MERGED] = "merged", [EXPORT_GGUF] = "gguf"};

struct export_job {
    const struct command_args *args;
    enum export_format format;
    char source[PATH_CAP]; /* folder with adapter_config.json */
    char output[PATH_CAP];
    const char *base;      /* path or Hub id; NULL: not known */
    struct adapter_config config;
    struct model *model;
    struct param_set params;
    struct adapter *adapter;
};

static enum status join(char out[PATH_CAP], const char *folder, const char *name)
{
    const int n = snprintf(out, PATH_CAP, "%s/%s", folder, name);
    return n < 0 || n >= PATH_CAP ? FAIL(USAGE, "export: the path %.60s... is too long", folder)
                                  : STATUS_OK;
}

static bool exists_in(const char *folder, const char *name)
{
    char path[PATH_CAP];
    const int n = snprintf(path, sizeof path, "%s/%s", folder, name);
    return n > 0 && n < PATH_CAP && access(path, F_OK) == 0;
}

static bool is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* The adapter's folder: the one given, or the newest checkpoint of an unfinished run. */
static enum status find_source(struct export_job *e, const char *given)
{
    int64_t step;
    char *skipped;
    if (!is_folder(given)) {
        return FAIL(INPUT, "%s is no folder; name a run, a checkpoint or an adapter", given);
    }
    if (!exists_in(given, "adapter_config.json")) {
        if (exists_in(given, "model.safetensors")) {
            return FAIL(USAGE, "%s holds a whole model, not an adapter: use it as it is, or see "
                               "graft convert",
                        given);
        }
        TRY(checkpoint_latest(given, &step, &skipped));
        if (skipped) {
            report_note("%s", skipped);
        }
        free(skipped);
        if (step < 0) {
            return FAIL(INPUT, "%s holds neither adapter_config.json nor a whole checkpoint",
                        given);
        }
        char name[64];
        (void)snprintf(name, sizeof name, "checkpoint-%lld", (long long)step);
        TRY(join(e->source, given, name));
        report_note("exporting %s", e->source);
    } else {
        size_t length = strlen(given);
        while (length > 1 && given[length - 1] == '/') {
            length--;
        }
        const int n = snprintf(e->source, PATH_CAP, "%.*s", (int)length, given);
        if (n < 0 || n >= PATH_CAP) {
            return FAIL(USAGE, "export: the path %.60s... is too long", given);
        }
    }
    return adapter_read_config(&e->config, e->source);
}

static bool same_place(const char *a, const char *b)
{
    struct stat first;
    struct stat second;
    return stat(a, &first) == 0 && stat(b, &second) == 0 && first.st_dev == second.st_dev
           && first.st_ino == second.st_ino;
}

/* --output, or the source's name with the format behind it. */
static enum status find_output(struct export_job *e)
{
    static const char *const ENDS[] = {
        [EXPORT_ADAPTER] = "-adapter", [EXPORT_MERGED] = "-merged", [EXPORT_GGUF] = ".gguf"};
    const char *given = e->args->output;
    const int n = snprintf(e->output, PATH_CAP, "%s%s", given ? given : e->source,
                           given ? "" : ENDS[e->format]);
    if (n < 0 || n >= PATH_CAP) {
        return FAIL(USAGE, "export: the output path is too long");
    }
    if (e->format != EXPORT_GGUF) {
        TRY(file_mkdirs(e->output));
    } else if (is_folder(e->output)) {
        char folder[PATH_CAP];
        (void)snprintf(folder, sizeof folder, "%s", e->output);
        TRY(join(e->output, folder, "adapter.gguf"));
    }
    if (same_place(e->source, e->output) || (e->base && same_place(e->base, e->output))) {
        return FAIL(USAGE, "export: %s would be overwritten; name another --output", e->output);
    }
    return STATUS_OK;
}

static enum status open_base(struct export_job *e)
{
    if (!e->base || access(e->base, R_OK) != 0) {
        return FAIL(USAGE, "export: --base is missing: the model the adapter was trained on%s%s",
                    e->base ? ", which is not at " : "", e->base ? e->base : "");
    }
    if (e->config.score) {
        return FAIL(RECIPE, "%s is a reward model: its score head has no place in --format merged or "
                            "gguf; the folder itself is what PEFT loads", e->source);
    }
    TRY(model_open(&e->model, e->base, NULL));
    TRY(adapter_attach(&e->adapter, e->model, &e->params, &e->config));
    TRY(param_set_seal(&e->params, NULL));
    return adapter_load(e->adapter, e->source);
}

/* Copies those of the tokenizer's files that `folder` has. */
static enum status copy_tokenizer(const char *folder, const char *output, int *copied)
{
    static const char *const FILES[] = {
        "tokenizer.json",   "tokenizer_config.json", "special_tokens_map.json",
        "tokenizer.model",  "vocab.json",            "merges.txt",
        "added_tokens.json", "chat_template.jinja",  "generation_config.json"};
    *copied = 0;
    for (size_t i = 0; i < sizeof FILES / sizeof FILES[0]; i++) {
        char from[PATH_CAP];
        char to[PATH_CAP];
        if (exists_in(folder, FILES[i])) {
            TRY(join(from, folder, FILES[i]));
            TRY(join(to, output, FILES[i]));
            TRY(file_copy(from, to));
            (*copied)++;
        }
    }
    return STATUS_OK;
}

/* A Hub id, or "" for a local path, which would mean nothing to others. */
static const char *hub_id(const char *base)
{
    return !base || base[0] == '/' || base[0] == '.' || access(base, F_OK) == 0 ? "" : base;
}

/* True when the source is a reward model's adapter. */
static bool has_score(const struct export_job *e)
{
    struct adapter_config config = {0};
    const enum status status = adapter_read_config(&config, e->source);
    const bool score = config.score;
    adapter_config_close(&config);
    if (status != STATUS_OK) {
        status_clear();
    }
    return score;
}

static enum status write_card(const struct export_job *e)
{
    char path[PATH_CAP];
    char text[CARD_CAP];
    const bool score = has_score(e);
    char tag[PATH_CAP] = "";
    const char *id = hub_id(e->base);
    if (*id) {
        (void)snprintf(tag, sizeof tag, "- base_model:adapter:%s\n", id);
    }
    const int n = snprintf(text, sizeof text,
                           "---\nbase_model: %s\nlibrary_name: peft\npipeline_tag: "
                           "text-%s\ntags:\n%s- lora\n%s- transformers\n---\n\n# LoRA "
                           "adapter\n\nExported by Graft %s.\n",
                           *id ? id : "''", score ? "classification" : "generation", tag,
                           score ? "- reward-model\n" : "", GRAFT_VERSION);
    if (n < 0 || n >= CARD_CAP) {
        return FAIL(USAGE, "export: the name of the base is too long");
    }
    TRY(join(path, e->output, "README.md"));
    return file_write_atomic(path, text, (size_t)n);
}

/* The source's card; a base given on the command line replaces the one its front matter names, as
 * in adapter_config.json. */
static enum status copy_card(const struct export_job *e)
{
    static const char KEY[] = "\nbase_model:";
    char from[PATH_CAP];
    char to[PATH_CAP];
    struct file_map card;
    TRY(join(from, e->source, "README.md"));
    TRY(join(to, e->output, "README.md"));
    TRY(file_map_open(&card, from));
    const char *text = card.data;
    const char *at = e->args->base && text ? memmem(text, card.size, KEY, strlen(KEY)) : NULL;
    const char *id = hub_id(e->base);
    enum status status;
    if (!at) {
        status = file_write_atomic(to, text, card.size);
    } else {
        const size_t left = card.size - (size_t)(at + 1 - text);
        const char *end = memchr(at + 1, '\n', left);
        char *changed = NULL;
        const int n = asprintf(&changed, "%.*s%s %s%.*s", (int)(at - text), text, KEY,
                               *id ? id : "''", end ? (int)(text + card.size - end) : 0,
                               end ? end : "");
        status = n < 0 ? FAIL(MEMORY, "export: out of memory")
                       : file_write_atomic(to, changed, (size_t)n);
        free(n < 0 ? NULL : changed);
    }
    file_map_close(&card);
    return status;
}

/* adapter_config.json as it is, but for a base given on the command line. */
static enum status write_config(const struct export_job *e)
{
    char path[PATH_CAP];
    json_t *json;
    TRY(join(path, e->source, "adapter_config.json"));
    TRY(json_load_path(path, CONFIG_BYTES, &json));
    if (e->args->base) {
        (void)json_object_set_new(json, "base_model_name_or_path", json_string(e->args->base));
    }
    enum status status = join(path, e->output, "adapter_config.json");
    if (status == STATUS_OK) {
        status = json_write_path(path, json);
    }
    json_decref(json);
    return status;
}

static enum status export_adapter(const struct export_job *e)
{
    char from[PATH_CAP];
    char to[PATH_CAP];
    int copied;
    TRY(join(from, e->source, "adapter_model.safetensors"));
    TRY(join(to, e->output, "adapter_model.safetensors"));
    TRY(file_copy(from, to));
    TRY(write_config(e));
    if (exists_in(e->source, "README.md")) {
        TRY(copy_card(e));
    } else {
        TRY(write_card(e));
    }
    TRY(copy_tokenizer(e->source, e->output, &copied));
    return copied == 0 && e->base && is_folder(e->base)
               ? copy_tokenizer(e->base, e->output, &copied)
               : STATUS_OK;
}

/* --dtype, or the base's own type; packed weights become BF16. */
static enum status merged_type(const struct export_job *e, enum dtype *out)
{
    static const struct {
        const char *name;
        enum dtype dtype;
    } TYPES[] = {{"float32", DTYPE_F32}, {"float16", DTYPE_F16}, {"bfloat16", DTYPE_BF16}};
    const enum dtype own = e->model->layer[0].q.w.dtype;
    const char *name = e->args->dtype;
    *out = own == DTYPE_F32 || own == DTYPE_F16 ? own : DTYPE_BF16;
    for (size_t i = 0; name && i < sizeof TYPES / sizeof TYPES[0]; i++) {
        if (strcmp(name, TYPES[i].name) == 0) {
            *out = TYPES[i].dtype;
            return STATUS_OK;
        }
    }
    return name ? FAIL(USAGE, "export: --dtype is float32, float16 or bfloat16, not '%.60s'", name)
                : STATUS_OK;
}

static enum status export_merged(const struct export_job *e)
{
    struct model_folder_options options = {.edit = adapter_merge_row, .edit_ctx = e->adapter};
    char path[PATH_CAP];
    json_t *config = NULL;
    int copied = 0;
    TRY(merged_type(e, &options.dtype));
    if (is_folder(e->base)) {
        TRY(copy_tokenizer(e->base, e->output, &copied));
        TRY(join(path, e->base, "config.json"));
        TRY(json_load_path(path, CONFIG_BYTES, &config));
    }
    options.config = config;
    const enum status status = model_save_folder(e->model, e->output, &options);
    json_decref(config);
    if (status == STATUS_OK && copied == 0) {
        report_note("%s has no tokenizer files, so the merged folder has none", e->base);
    }
    return status;
}

static enum status run_export_format(struct export_job *e)
{
    if (e->format == EXPORT_ADAPTER) {
        return export_adapter(e);
    }
    TRY(open_base(e));
    return e->format == EXPORT_MERGED ? export_merged(e)
                                      : adapter_save_gguf(e->adapter, e->model, e->output);
}

static enum status choose_format(struct export_job *e)
{
    const char *name = e->args->format ? e->args->format : "adapter";
    for (size_t i = 0; i < sizeof FORMATS / sizeof FORMATS[0]; i++) {
        if (strcmp(name, FORMATS[i]) == 0) {
            e->format = (enum export_format)i;
            return STATUS_OK;
        }
    }
    return FAIL(USAGE, "export: --format is adapter, merged or gguf, not '%.60s'", name);
}

static void export_close(struct export_job *e)
{
    adapter_close(e->adapter);
    param_set_close(&e->params);
    if (e->model) {
        model_close(e->model);
    }
    adapter_config_close(&e->config);
    free(e);
}

enum status stage_export(const struct command_args *args)
{
    enum status status;
    if (args->word_count != 1) {
        return FAIL(USAGE, "export: name a run, a checkpoint or an adapter folder");
    }
    struct export_job *e = calloc(1, sizeof *e);
    if (!e) {
        return FAIL(MEMORY, "export: out of memory");
    }
    e->args = args;
    param_set_open(&e->params);
    TRY_TO(status, done, choose_format(e));
    TRY_TO(status, done, find_source(e, args->words[0]));
    e->base = args->base ? args->base : e->config.base_model_name_or_path;
    TRY_TO(status, done, find_output(e));
    TRY_TO(status, done, run_export_format(e));
    report_result("%s", e->output);
done:
    export_close(e);
    return status;
}
