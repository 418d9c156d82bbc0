/*
 * tokenizer.json's post_processor: which ids go before and behind a single text. Graft encodes no
 * pairs, so only "single" templates are read.
 */
#include <string.h>

#include "trainer/text/tokenizer_internal.h"

/* Appends the ids of template token `name` to `list`. */
static enum status special_ids(const struct tokenizer *t, const json_t *specials,
                               const json_t *name, struct token_list *list)
{
    const json_t *ids = json_object_get(
        json_is_string(name) ? json_object_get(specials, json_string_value(name)) : NULL, "ids");
    size_t i;
    const json_t *id;
    if (!json_is_array(ids)) {
        return FAIL(INPUT, "special token '%.40s' is not listed with its ids",
                    json_is_string(name) ? json_string_value(name) : "");
    }
    json_array_foreach(ids, i, id) {
        const json_int_t value = json_is_integer(id) ? json_integer_value(id) : -1;
        if (value < 0 || value >= tokenizer_vocab_size(t)) {
            return FAIL(INPUT, "id of special token '%.40s' is outside the vocabulary",
                        json_string_value(name));
        }
        TRY(token_list_push(list, (int32_t)value));
    }
    return STATUS_OK;
}

/* prefix = new + prefix: a later processor wraps what the earlier ones made. */
static enum status wrap(struct tokenizer *t, const struct token_list *before,
                        const struct token_list *behind)
{
    struct token_list prefix = {0};
    enum status status = STATUS_OK;
    for (int64_t i = 0; i < before->count; i++) {
        TRY_TO(status, done, token_list_push(&prefix, before->ids[i]));
    }
    for (int64_t i = 0; i < t->prefix.count; i++) {
        TRY_TO(status, done, token_list_push(&prefix, t->prefix.ids[i]));
    }
    for (int64_t i = 0; i < behind->count; i++) {
        TRY_TO(status, done, token_list_push(&t->suffix, behind->ids[i]));
    }
    token_list_free(&t->prefix);
    t->prefix = prefix;
    return STATUS_OK;
done:
    token_list_free(&prefix);
    return status;
}

static enum status read_single(struct tokenizer *t, const json_t *json, struct token_list lists[2])
{
    const json_t *single = json_object_get(json, "single");
    const json_t *specials = json_object_get(json, "special_tokens");
    int texts = 0;
    size_t i;
    const json_t *item;
    json_array_foreach(single, i, item) {
        const json_t *special = json_object_get(item, "SpecialToken");
        const json_t *sequence = json_object_get(item, "Sequence");
        if (special != NULL) {
            TRY(special_ids(t, specials, json_object_get(special, "id"), &lists[texts > 0]));
        } else if (sequence != NULL) {
            texts++;
        } else {
            return FAIL(INPUT, "item %zu of 'single' is neither SpecialToken nor Sequence", i);
        }
    }
    return texts == 1 ? STATUS_OK
                      : FAIL(INPUT, "'single' holds the text %d times, not once", texts);
}

static enum status template_processing(struct tokenizer *t, const json_t *json)
{
    struct token_list lists[2] = {0};
    enum status status;
    TRY_TO(status, done, read_single(t, json, lists));
    TRY_TO(status, done, wrap(t, &lists[0], &lists[1]));
done:
    token_list_free(&lists[0]);
    token_list_free(&lists[1]);
    return status;
}

/* "cls": ["<s>", 0] and "sep": ["</s>", 2] around the text. */
static enum status cls_and_sep(struct tokenizer *t, const json_t *json)
{
    int32_t ids[2];
    static const char *const KEYS[] = {"cls", "sep"};
    for (int i = 0; i < 2; i++) {
        const json_t *id = json_array_get(json_object_get(json, KEYS[i]), 1);
        const json_int_t value = json_is_integer(id) ? json_integer_value(id) : -1;
        if (value < 0 || value >= tokenizer_vocab_size(t)) {
            return FAIL(INPUT, "'%s' is not [token, id]", KEYS[i]);
        }
        ids[i] = (int32_t)value;
    }
    const struct token_list before = {.ids = &ids[0], .count = 1};
    const struct token_list behind = {.ids = &ids[1], .count = 1};
    return wrap(t, &before, &behind);
}

static enum status sequence(struct tokenizer *t, const json_t *json, int depth)
{
    size_t i;
    const json_t *item;
    json_array_foreach(json_object_get(json, "processors"), i, item) {
        TRY(tok_json_template(t, item, depth + 1));
    }
    return STATUS_OK;
}

enum status tok_json_template(struct tokenizer *t, const json_t *json, int depth)
{
    if (json == NULL || json_is_null(json)) {
        return STATUS_OK;
    }
    const char *type = json_string_value(json_object_get(json, "type"));
    enum status status = STATUS_OK;
    if (type == NULL || depth > TOK_MAX_DEPTH) {
        return FAIL(INPUT, "post_processor: %s",
                    type == NULL ? "no object with a 'type'" : "Sequences nested too deep");
    }
    if (strcmp(type, "TemplateProcessing") == 0) {
        status = template_processing(t, json);
    } else if (strcmp(type, "Sequence") == 0) {
        status = sequence(t, json, depth);
    } else if (strcmp(type, "BertProcessing") == 0 || strcmp(type, "RobertaProcessing") == 0) {
        status = cls_and_sep(t, json);
    } else if (strcmp(type, "ByteLevel") != 0) { /* ByteLevel changes offsets only */
        return FAIL(INPUT, "post_processor '%.40s' is not supported", type);
    }
    return status == STATUS_OK ? STATUS_OK
                               : status_prefix(status, "post_processor '%.40s': ", type);
}
