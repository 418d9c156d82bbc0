/*
 * A Hugging Face folder: tokenizer.json, and around it what names the special tokens, the stop ids
 * and the chat template. Every file but tokenizer.json may be missing.
 */
#include <string.h>

#include "trainer/text/tokenizer_internal.h"

enum { MAX_CONFIG_BYTES = 256 << 20, MAX_PATH_BYTES = 4096 };

static enum status join(char path[MAX_PATH_BYTES], const char *folder, const char *name)
{
    const int n = snprintf(path, MAX_PATH_BYTES, "%s/%s", folder, name);
    return n > 0 && n < MAX_PATH_BYTES ? STATUS_OK
                                       : FAIL(INPUT, "%.100s...: the path is too long", folder);
}

/* *out = the file as JSON; NULL when there is no such file. */
static enum status read_json(json_t **out, const char *folder, const char *name)
{
    char path[MAX_PATH_BYTES];
    struct text bytes;
    *out = NULL;
    TRY(join(path, folder, name));
    TRY(tok_file_read(&bytes, path, MAX_CONFIG_BYTES));
    if (bytes.data == NULL) {
        return STATUS_OK;
    }
    /* model_max_length may be 1000000000000000019884624838656 */
    const enum status status = tok_json_parse(out, &bytes, true);
    free(bytes.data);
    return status == STATUS_OK ? STATUS_OK : status_prefix(status, "%s: ", path);
}

/* bos_token and its kin: a string or an object with "content". */
static enum status read_specials(struct tokenizer *t, const json_t *config)
{
    static const char *const KEYS[TOK_SPECIALS] = {
        [TOK_BOS] = "bos_token", [TOK_EOS] = "eos_token", [TOK_PAD] = "pad_token",
        [TOK_UNK] = "unk_token"};
    for (int i = 0; i < TOK_SPECIALS; i++) {
        const json_t *value = json_object_get(config, KEYS[i]);
        const json_t *content = json_is_object(value) ? json_object_get(value, "content") : value;
        if (json_is_string(content) && t->special_text[i].data == NULL) {
            TRY(tok_set_special(t, (enum tok_special)i, json_string_value(content),
                                json_string_length(content)));
        }
    }
    return STATUS_OK;
}

static enum status set_template(struct tokenizer *t, const char *bytes, size_t n)
{
    struct text copy;
    TRY(tok_string_copy(&copy, bytes, n));
    free(t->chat_template);
    t->chat_template = copy.data;
    return STATUS_OK;
}

/* chat_template: a string, or a list of {name, template} of which "default" counts. */
static enum status read_template(struct tokenizer *t, const json_t *config)
{
    const json_t *value = json_object_get(config, "chat_template");
    const json_t *chosen = json_is_array(value) ? NULL : value;
    size_t i;
    const json_t *item;
    json_array_foreach(value, i, item) {
        const char *name = json_string_value(json_object_get(item, "name"));
        if (chosen == NULL || (name != NULL && strcmp(name, "default") == 0)) {
            chosen = json_object_get(item, "template");
        }
    }
    return json_is_string(chosen)
               ? set_template(t, json_string_value(chosen), json_string_length(chosen))
               : STATUS_OK;
}

static enum status read_config(struct tokenizer *t, const char *folder, const char *name)
{
    json_t *config;
    enum status status;
    TRY(read_json(&config, folder, name));
    TRY_TO(status, done, read_specials(t, config));
    if (t->chat_template == NULL) {
        TRY_TO(status, done, read_template(t, config));
    }
done:
    json_decref(config);
    return status;
}

/* chat_template.jinja comes before the one in tokenizer_config.json. */
static enum status read_jinja(struct tokenizer *t, const char *folder)
{
    char path[MAX_PATH_BYTES];
    struct text bytes;
    TRY(join(path, folder, "chat_template.jinja"));
    TRY(tok_file_read(&bytes, path, MAX_CONFIG_BYTES));
    t->chat_template = bytes.data;
    return STATUS_OK;
}

/* A number or a list of numbers under `key`, each a stop id. */
static enum status read_stop_ids(struct tokenizer *t, const json_t *config, const char *key)
{
    const json_t *value = json_object_get(config, key);
    const size_t count = json_is_array(value) ? json_array_size(value) : 1;
    for (size_t i = 0; i < count; i++) {
        const json_t *id = json_is_array(value) ? json_array_get(value, i) : value;
        const double number = json_is_number(id) ? json_number_value(id) : -1;
        if (number >= 0 && number < TOK_MAX_ID) {
            TRY(tok_add_stop(t, (int64_t)number));
        }
    }
    return STATUS_OK;
}

static enum status read_generation(struct tokenizer *t, const char *folder)
{
    json_t *config;
    TRY(read_json(&config, folder, "generation_config.json"));
    const enum status status = read_stop_ids(t, config, "eos_token_id");
    json_decref(config);
    TRY(status);
    return tok_add_stop(t, t->special_id[TOK_EOS]);
}

static enum status read_folder(struct tokenizer *t, const char *folder)
{
    TRY(read_jinja(t, folder));
    TRY(read_config(t, folder, "tokenizer_config.json"));
    TRY(read_config(t, folder, "special_tokens_map.json"));
    return read_generation(t, folder);
}

enum status tokenizer_open_folder(struct tokenizer **out, const char *folder)
{
    char path[MAX_PATH_BYTES];
    *out = NULL;
    TRY(join(path, folder, "tokenizer.json"));
    TRY(tokenizer_open_file(out, path));
    const enum status status = read_folder(*out, folder);
    if (status != STATUS_OK) {
        tokenizer_close(*out);
        *out = NULL;
        return status_pass(status, __FILE__, __LINE__);
    }
    return STATUS_OK;
}
