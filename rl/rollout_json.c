/* Rounds in checkpoints: floats are written as their bits, so a resume sees the same numbers. */
#include <math.h>
#include <string.h>

#include "rl/rollout.h"

static json_t *floats_to_json(const float *values, int64_t count)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < count; i++) {
        int32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        (void)json_array_append_new(list, json_integer(bits));
    }
    return list;
}

static json_t *ids_to_json(const int32_t *ids, int64_t count)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < count; i++) {
        (void)json_array_append_new(list, json_integer(ids[i]));
    }
    return list;
}

/* 32-bit words from a list of `count` integers; malloc'd, NULL when it doesn't fit. */
static void *words_from_json(const json_t *list, int64_t count)
{
    if (!json_is_array(list) || (int64_t)json_array_size(list) != count) {
        return NULL;
    }
    int32_t *words = malloc((size_t)count * sizeof *words + 1);
    for (int64_t i = 0; words && i < count; i++) {
        words[i] = (int32_t)json_integer_value(json_array_get(list, (size_t)i));
    }
    return words;
}

static json_t *number(double x)
{
    return isnan(x) ? json_null() : json_real(x);
}

static double number_from(const json_t *x)
{
    return json_is_null(x) ? NAN : json_number_value(x);
}

static json_t *row_to_json(const struct rollout_row *row)
{
    json_t *rewards = json_array();
    for (int k = 0; k < REWARD_MAX; k++) {
        (void)json_array_append_new(rewards, number(row->rewards[k]));
    }
    json_t *out = json_pack("{s:I, s:o, s:o, s:o, s:b, s:b, s:o, s:o, s:f}", "count",
                            (json_int_t)row->count, "ids", ids_to_json(row->ids, row->count),
                            "logp", floats_to_json(row->logp, row->count), "entropy",
                            floats_to_json(row->entropy, row->count), "stopped", row->stopped,
                            "masked", row->masked, "rewards", rewards, "reward",
                            number(row->reward), "advantage", row->advantage);
    if (out && row->sampling) {
        (void)json_object_set_new(out, "sampling", floats_to_json(row->sampling, row->count));
    }
    if (out && row->ref) {
        (void)json_object_set_new(out, "ref", floats_to_json(row->ref, row->count));
    }
    return out;
}

enum status round_to_json(const struct round *r, json_t **out)
{
    json_t *groups = json_array();
    json_t *rows = json_array();
    for (int64_t g = 0; g < r->groups; g++) {
        const struct rollout_group *group = &r->group[g];
        (void)json_array_append_new(
            groups,
            json_pack("{s:I, s:I, s:o, s:o}", "index", (json_int_t)group->index, "count",
                      (json_int_t)group->prompt_count, "prompt",
                      ids_to_json(group->prompt, group->prompt_count), "reward_std",
                      number(group->reward_std)));
    }
    for (int64_t i = 0; i < r->groups * r->group_size; i++) {
        (void)json_array_append_new(rows, row_to_json(&r->row[i]));
    }
    *out = json_pack("{s:I, s:f, s:o, s:o}", "group_size", (json_int_t)r->group_size, "flat",
                     r->flat, "groups", groups, "rows", rows);
    return *out ? STATUS_OK : FAIL(MEMORY, "round: no memory for the checkpoint");
}

static enum status row_from_json(const json_t *json, int64_t place, int64_t group_size,
                                 struct rollout_row *row)
{
    row->group = place / group_size;
    row->sample = (uint32_t)(place % group_size);
    row->count = json_integer_value(json_object_get(json, "count"));
    row->ids = words_from_json(json_object_get(json, "ids"), row->count);
    row->logp = words_from_json(json_object_get(json, "logp"), row->count);
    row->entropy = words_from_json(json_object_get(json, "entropy"), row->count);
    const json_t *sampling = json_object_get(json, "sampling");
    const json_t *ref = json_object_get(json, "ref");
    row->sampling = sampling ? words_from_json(sampling, row->count) : NULL;
    row->ref = ref ? words_from_json(ref, row->count) : NULL;
    row->stopped = json_is_true(json_object_get(json, "stopped"));
    row->masked = json_is_true(json_object_get(json, "masked"));
    row->reward = number_from(json_object_get(json, "reward"));
    row->advantage = number_from(json_object_get(json, "advantage"));
    for (int k = 0; k < REWARD_MAX; k++) {
        row->rewards[k] =
            number_from(json_array_get(json_object_get(json, "rewards"), (size_t)k));
    }
    if (!row->ids || !row->logp || !row->entropy || (sampling && !row->sampling)
        || (ref && !row->ref)) {
        return FAIL(INPUT, "checkpoint: row %lld of a round is damaged", (long long)place);
    }
    return STATUS_OK;
}

enum status round_from_json(const json_t *json, struct round *out)
{
    const json_t *groups = json_object_get(json, "groups");
    const json_t *rows = json_object_get(json, "rows");
    *out = (struct round){.groups = (int64_t)json_array_size(groups)};
    const int64_t group_size = json_integer_value(json_object_get(json, "group_size"));
    if (group_size < 1 || (int64_t)json_array_size(rows) != out->groups * group_size) {
        return FAIL(INPUT, "checkpoint: a round's rows don't match its groups");
    }
    out->group_size = group_size;
    out->flat = json_number_value(json_object_get(json, "flat"));
    out->group = calloc((size_t)out->groups + 1, sizeof *out->group);
    out->row = calloc(json_array_size(rows) + 1, sizeof *out->row);
    if (!out->group || !out->row) {
        return FAIL(MEMORY, "round: no memory for the checkpoint's rows");
    }
    for (int64_t g = 0; g < out->groups; g++) {
        const json_t *group = json_array_get(groups, (size_t)g);
        out->group[g].index = json_integer_value(json_object_get(group, "index"));
        out->group[g].prompt_count = json_integer_value(json_object_get(group, "count"));
        out->group[g].reward_std = number_from(json_object_get(group, "reward_std"));
        out->group[g].prompt =
            words_from_json(json_object_get(group, "prompt"), out->group[g].prompt_count);
        if (!out->group[g].prompt) {
            return FAIL(INPUT, "checkpoint: the prompt of group %lld is damaged", (long long)g);
        }
    }
    for (size_t i = 0; i < json_array_size(rows); i++) {
        TRY(row_from_json(json_array_get(rows, i), (int64_t)i, group_size, &out->row[i]));
    }
    return STATUS_OK;
}
