/* Inputs of rewards as JSON, so that slow judges can run in other processes. */
#include <string.h>

#include "rl/reward/reward_internal.h"

static json_t *ids_list(const struct reward_input *in)
{
    json_t *list = json_array();
    for (int64_t i = 0; list && i < in->tokens; i++) {
        (void)json_array_append_new(list, json_integer(in->ids[i]));
    }
    return list;
}

json_t *reward_input_to_json(const struct reward_input *in)
{
    json_t *json = json_pack("{s:s, s:s?, s:I, s:b, s:I, s:I}", "completion", in->completion,
                             "prompt", in->prompt, "tokens", (json_int_t)in->tokens, "truncated",
                             in->truncated, "group", (json_int_t)in->group, "sample",
                             (json_int_t)in->sample);
    if (!json) {
        return NULL;
    }
    bool good = !in->ids || json_object_set_new(json, "ids", ids_list(in)) == 0;
    /* The value is shared, not changed: jansson has no const references. */
    good = good && (!in->messages || json_object_set(json, "messages",
                                                     (json_t *)(uintptr_t)in->messages) == 0);
    good = good && (!in->row || json_object_set(json, "row", (json_t *)(uintptr_t)in->row) == 0);
    if (!good) {
        json_decref(json);
        return NULL;
    }
    return json;
}

static enum status read_ids(const json_t *list, struct reward_input *out)
{
    int32_t *ids = malloc(json_array_size(list) * sizeof *ids + 1);
    if (!ids) {
        return FAIL(MEMORY, "reward input: no memory for %zu ids", json_array_size(list));
    }
    out->ids = ids;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *id = json_array_get(list, i);
        if (!json_is_integer(id) || json_integer_value(id) < 0
            || json_integer_value(id) > INT32_MAX) {
            return FAIL(INPUT, "reward input: ids[%zu] is no token id", i);
        }
        ids[i] = (int32_t)json_integer_value(id);
    }
    return STATUS_OK;
}

enum status reward_input_from_json(const json_t *json, struct reward_input *out)
{
    const json_t *tokens = json_object_get(json, "tokens");
    const json_t *ids = json_object_get(json, "ids");
    *out = (struct reward_input){
        .completion = json_string_value(json_object_get(json, "completion")),
        .prompt = json_string_value(json_object_get(json, "prompt")),
        .messages = json_object_get(json, "messages"),
        .tokens = json_is_integer(tokens) ? json_integer_value(tokens) : -1,
        .truncated = json_is_true(json_object_get(json, "truncated")),
        .row = json_object_get(json, "row"),
        .group = json_integer_value(json_object_get(json, "group")),
        .sample = json_integer_value(json_object_get(json, "sample")),
    };
    if (!out->completion) {
        return FAIL(INPUT, "reward input: no text under \"completion\"");
    }
    if (!ids) {
        return STATUS_OK;
    }
    if (!json_is_array(ids) || (tokens && (int64_t)json_array_size(ids) != out->tokens)) {
        return FAIL(INPUT, "reward input: \"ids\" is no list of \"tokens\" ids");
    }
    out->tokens = (int64_t)json_array_size(ids);
    const enum status status = read_ids(ids, out);
    if (status != STATUS_OK) {
        reward_input_close(out);
    }
    return status;
}

void reward_input_close(struct reward_input *in)
{
    free((void *)(uintptr_t)in->ids);
    in->ids = NULL;
}
