/* Byte-level BPE from tokenizer.json to GGUF's gpt2 model; see gguf_tokenizer.h. */
#include "recipes/gguf_tokenizer.h"

#include <string.h>
#include <unistd.h>

#include "trainer/format/json.h"

enum { PATH_CAP = 4096, JSON_CAP = 64 << 20, MAX_TOKENS = 1 << 22 };
enum { TYPE_NORMAL = 1, TYPE_CONTROL = 3, TYPE_USER = 4, TYPE_UNUSED = 5 };

/* Names of GGUF's pre-tokenizers by what tokenizer.json says. */
static const char *pre_name(const json_t *pre)
{
    const char *type = json_get_string(pre, "type", "");
    if (strcmp(type, "ByteLevel") == 0 && json_get_bool(pre, "use_regex", true)) {
        return "gpt-2";
    }
    const json_t *parts = json_object_get(pre, "pretokenizers");
    const json_t *first = json_array_get(parts, 0);
    const char *first_type = json_get_string(first, "type", "");
    if (strcmp(first_type, "Digits") == 0) {
        return "smollm";
    }
    const char *regex = json_get_string(json_object_get(first, "pattern"), "Regex", "");
    if (strcmp(first_type, "Split") == 0 && strstr(regex, "\\p{N}{1,3}")) {
        return "llama-bpe";
    }
    return strcmp(first_type, "Split") == 0 && strstr(regex, "|\\p{N}|") ? "qwen2" : NULL;
}

/* Vocabulary by id. */
struct vocabulary {
    struct gguf_string *tokens;
    int32_t *types;
    int64_t count;
};

static enum status place(struct vocabulary *v, int64_t id, const char *text, int32_t type)
{
    if (id < 0 || id >= v->count) {
        return FAIL(INPUT, "tokenizer.json: token '%.40s' has the id %lld outside 0..%lld", text,
                    (long long)id, (long long)v->count - 1);
    }
    v->tokens[id] = (struct gguf_string){.data = text, .length = strlen(text)};
    v->types[id] = type;
    return STATUS_OK;
}

static int64_t highest_id(const json_t *vocab, const json_t *added)
{
    int64_t top = -1;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)vocab, key, value)
    {
        top = json_integer_value(value) > top ? json_integer_value(value) : top;
    }
    for (size_t i = 0; i < json_array_size(added); i++) {
        const int64_t id = json_get_int(json_array_get(added, i), "id", -1);
        top = id > top ? id : top;
    }
    return top;
}

static enum status fill(struct vocabulary *v, const json_t *vocab, const json_t *added)
{
    const char *key;
    json_t *value;
    for (int64_t i = 0; i < v->count; i++) {
        v->tokens[i] = (struct gguf_string){.data = "", .length = 0};
        v->types[i] = TYPE_UNUSED;
    }
    json_object_foreach((json_t *)(uintptr_t)vocab, key, value)
    {
        TRY(place(v, json_integer_value(value), key, TYPE_NORMAL));
    }
    for (size_t i = 0; i < json_array_size(added); i++) {
        const json_t *token = json_array_get(added, i);
        TRY(place(v, json_get_int(token, "id", -1), json_get_string(token, "content", ""),
                  json_get_bool(token, "special", false) ? TYPE_CONTROL : TYPE_USER));
    }
    return STATUS_OK;
}

static enum status write_vocabulary(struct gguf_writer *w, const json_t *tokenizer)
{
    const json_t *vocab = json_object_get(json_object_get(tokenizer, "model"), "vocab");
    const json_t *added = json_object_get(tokenizer, "added_tokens");
    struct vocabulary v = {.count = highest_id(vocab, added) + 1};
    if (v.count < 1 || v.count > MAX_TOKENS) {
        return FAIL(INPUT, "tokenizer.json: %lld tokens", (long long)v.count);
    }
    v.tokens = calloc((size_t)v.count, sizeof *v.tokens);
    v.types = calloc((size_t)v.count, sizeof *v.types);
    enum status status = v.tokens && v.types ? fill(&v, vocab, added)
                                             : FAIL(MEMORY, "tokenizer.json: no memory");
    if (status == STATUS_OK) {
        status = gguf_write_strings(w, "tokenizer.ggml.tokens", v.count, v.tokens);
    }
    if (status == STATUS_OK) {
        status = gguf_write_i32s(w, "tokenizer.ggml.token_type", v.count, v.types);
    }
    free(v.tokens);
    free(v.types);
    return status;
}

/* A merge is "a b" or ["a", "b"]. */
static enum status write_merges(struct gguf_writer *w, const json_t *merges)
{
    const size_t n = json_array_size(merges);
    struct gguf_string *strings = calloc(n + 1, sizeof *strings);
    char **joined = calloc(n + 1, sizeof *joined);
    enum status status = strings && joined ? STATUS_OK : FAIL(MEMORY, "tokenizer.json: no memory");
    for (size_t i = 0; status == STATUS_OK && i < n; i++) {
        const json_t *merge = json_array_get(merges, i);
        const char *text = json_string_value(merge);
        if (!text) {
            const char *a = json_string_value(json_array_get(merge, 0));
            const char *b = json_string_value(json_array_get(merge, 1));
            if (!a || !b || asprintf(&joined[i], "%s %s", a, b) < 0) {
                status = FAIL(INPUT, "tokenizer.json: merge %zu is no pair", i);
                break;
            }
            text = joined[i];
        }
        strings[i] = (struct gguf_string){.data = text, .length = strlen(text)};
    }
    if (status == STATUS_OK) {
        status = gguf_write_strings(w, "tokenizer.ggml.merges", (int64_t)n, strings);
    }
    for (size_t i = 0; joined && i < n; i++) {
        free(joined[i]);
    }
    free(joined);
    free(strings);
    return status;
}

/* Content of a special token: a string or an AddedToken object. */
static const char *special_text(const json_t *config, const char *key)
{
    const json_t *value = json_object_get(config, key);
    return json_is_object(value) ? json_get_string(value, "content", NULL)
                                 : json_string_value(value);
}

static enum status write_special(struct gguf_writer *w, const json_t *tokenizer,
                                 const json_t *config, const char *key, const char *name)
{
    const char *text = special_text(config, key);
    const json_t *added = json_object_get(tokenizer, "added_tokens");
    for (size_t i = 0; text && i < json_array_size(added); i++) {
        const json_t *token = json_array_get(added, i);
        if (strcmp(json_get_string(token, "content", ""), text) == 0) {
            return gguf_write_u32(w, name, (uint32_t)json_get_int(token, "id", 0));
        }
    }
    return STATUS_OK;
}

static enum status write_config(struct gguf_writer *w, const json_t *tokenizer,
                                const json_t *config)
{
    const char *template = json_get_string(config, "chat_template", NULL);
    TRY(write_special(w, tokenizer, config, "bos_token", "tokenizer.ggml.bos_token_id"));
    TRY(write_special(w, tokenizer, config, "eos_token", "tokenizer.ggml.eos_token_id"));
    TRY(write_special(w, tokenizer, config, "pad_token", "tokenizer.ggml.padding_token_id"));
    TRY(gguf_write_bool(w, "tokenizer.ggml.add_bos_token",
                        json_get_bool(config, "add_bos_token", false)));
    return template ? gguf_write_string(w, "tokenizer.chat_template", template, strlen(template))
                    : STATUS_OK;
}

static enum status write_all(struct gguf_writer *w, const json_t *tokenizer, const json_t *config)
{
    const json_t *model = json_object_get(tokenizer, "model");
    const char *pre = pre_name(json_object_get(tokenizer, "pre_tokenizer"));
    if (strcmp(json_get_string(model, "type", "BPE"), "BPE") != 0 || !pre) {
        return FAIL(INPUT, "tokenizer.json: only byte-level BPE with a known splitter can be "
                           "written to GGUF");
    }
    TRY(gguf_write_string(w, "tokenizer.ggml.model", "gpt2", 4));
    TRY(gguf_write_string(w, "tokenizer.ggml.pre", pre, strlen(pre)));
    TRY(write_vocabulary(w, tokenizer));
    TRY(write_merges(w, json_object_get(model, "merges")));
    return write_config(w, tokenizer, config);
}

enum status gguf_tokenizer_keys(void *ctx, struct gguf_writer *w)
{
    const char *folder = ctx;
    char path[PATH_CAP];
    json_t *tokenizer;
    json_t *config = NULL;
    (void)snprintf(path, sizeof path, "%s/tokenizer.json", folder);
    TRY(json_load_path(path, JSON_CAP, &tokenizer));
    (void)snprintf(path, sizeof path, "%s/tokenizer_config.json", folder);
    enum status status = STATUS_OK;
    if (access(path, F_OK) == 0) { /* specials and template are optional */
        status = json_load_path(path, JSON_CAP, &config);
    }
    if (status == STATUS_OK) {
        status = write_all(w, tokenizer, config);
    }
    json_decref(tokenizer);
    json_decref(config);
    return status;
}
