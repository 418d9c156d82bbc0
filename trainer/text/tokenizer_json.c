/* One tokenizer.json: version, components, model, added tokens. Stored truncation and padding are
 * ignored on purpose: they are settings of whoever saved the file. */
#include <string.h>

#include "trainer/text/tokenizer_internal.h"

enum { MAX_JSON_BYTES = 1 << 30 };

enum status tok_json_parse(json_t **out, const struct text *bytes, bool reals)
{
    json_error_t error;
    const size_t flags = JSON_ALLOW_NUL | (reals ? JSON_DECODE_INT_AS_REAL : 0);
    *out = json_loadb(bytes->data, bytes->length, flags, &error);
    if (*out == NULL) {
        return FAIL(INPUT, "line %d, column %d: %s", error.line, error.column, error.text);
    }
    if (!json_is_object(*out)) {
        json_decref(*out);
        *out = NULL;
        return FAIL(INPUT, "no JSON object");
    }
    return STATUS_OK;
}

static enum status read_added_token(struct tokenizer *t, const json_t *item, size_t i)
{
    struct tok_added token = {.id = -1};
    const json_t *content = json_object_get(item, "content");
    int32_t given;
    if (!json_is_string(content)) {
        return FAIL(INPUT, "added_tokens[%zu]: no 'content'", i);
    }
    TRY(tok_json_bool(item, "added_tokens", "special", 0, &token.special));
    TRY(tok_json_bool(item, "added_tokens", "single_word", 0, &token.single_word));
    TRY(tok_json_bool(item, "added_tokens", "lstrip", 0, &token.lstrip));
    TRY(tok_json_bool(item, "added_tokens", "rstrip", 0, &token.rstrip));
    TRY(tok_json_bool(item, "added_tokens", "normalized", !token.special, &token.normalized));
    TRY(tok_string_copy(&token.content, json_string_value(content), json_string_length(content)));
    /* the id in the file is not used: like the library, the vocabulary or the order gives it */
    const enum status status = tok_added_add(t, &token, &given);
    free(token.content.data);
    return status;
}

static enum status load(struct tokenizer *t, const json_t *json)
{
    const json_t *version = json_object_get(json, "version");
    const json_t *decoder = json_object_get(json, "decoder");
    const json_t *added = json_object_get(json, "added_tokens");
    size_t i;
    const json_t *item;
    if (version != NULL &&
        (!json_is_string(version) || strcmp(json_string_value(version), "1.0") != 0)) {
        return FAIL(INPUT, "version is not \"1.0\"; save the tokenizer again by a current library");
    }
    TRY(tok_json_normalizer(&t->normalizer, json_object_get(json, "normalizer"), 0));
    TRY(tok_json_splitter(&t->splitter, json_object_get(json, "pre_tokenizer"), 0));
    TRY(tok_json_decoder(&t->decoder, decoder, 0));
    t->has_decoder = decoder != NULL && !json_is_null(decoder);
    TRY(tok_json_model(t, json_object_get(json, "model")));
    if (added != NULL && !json_is_null(added) && !json_is_array(added)) {
        return FAIL(INPUT, "added_tokens is no list");
    }
    json_array_foreach(added, i, item) {
        TRY(read_added_token(t, item, i));
    }
    TRY(tok_json_template(t, json_object_get(json, "post_processor"), 0));
    return tok_added_build(t);
}

enum status tok_json_load(struct tokenizer *t, const json_t *json, const char *path)
{
    const enum status status = load(t, json);
    return status == STATUS_OK ? STATUS_OK : status_prefix(status, "%s: ", path);
}

enum status tokenizer_open_file(struct tokenizer **out, const char *path)
{
    struct text bytes = {0};
    json_t *json = NULL;
    enum status status;
    *out = NULL;
    TRY_TO(status, done, tok_open_empty(out));
    TRY_TO(status, done, tok_file_read(&bytes, path, MAX_JSON_BYTES));
    if (bytes.data == NULL) {
        status = FAIL(INPUT, "%s: can't be opened; a model folder needs its tokenizer.json", path);
        goto done;
    }
    status = tok_json_parse(&json, &bytes, false);
    if (status != STATUS_OK) {
        status = status_prefix(status, "%s: ", path);
        goto done;
    }
    free(bytes.data); /* before the second copy is built: these files have 30 MB */
    bytes.data = NULL;
    TRY_TO(status, done, tok_json_load(*out, json, path));
done:
    free(bytes.data);
    json_decref(json);
    if (status != STATUS_OK) {
        tokenizer_close(*out);
        *out = NULL;
    }
    return status;
}
