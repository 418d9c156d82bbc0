/* Sampling settings; see sampling.h. */
#include "recipes/sampling.h"

#include <math.h>
#include <string.h>

void sampling_close(struct sampling *s)
{
    stop_strings_close(s->stop_strings);
    constraint_close(s->constraint);
    token_bytes_close(&s->bytes);
    *s = (struct sampling){0};
}

static enum status refuse(const char *key, const char *why)
{
    return FAIL(RECIPE, "generation_kwargs: '%.60s': %s", key, why);
}

/* Appends a list of ids, or one id, to ids[*count]. */
static enum status add_ids(const char *key, const json_t *value, int32_t *ids, int64_t *count)
{
    const size_t n = json_is_array(value) ? json_array_size(value) : 1;
    for (size_t i = 0; i < n; i++) {
        const json_t *id = json_is_array(value) ? json_array_get(value, i) : value;
        if (!json_is_integer(id) || json_integer_value(id) < 0
            || json_integer_value(id) > INT32_MAX) {
            return refuse(key, "needs token ids");
        }
        if (*count >= SAMPLING_MOST_IDS) {
            return refuse(key, "more than 1024 ids");
        }
        ids[(*count)++] = (int32_t)json_integer_value(id);
    }
    return STATUS_OK;
}

/* Numbers of generation_kwargs by name. */
static double *number_of(struct sample_config *c, const char *key)
{
    const struct {
        const char *name;
        double *at;
    } numbers[] = {
        {"top_p", &c->top_p},
        {"min_p", &c->min_p},
        {"repetition_penalty", &c->repetition_penalty},
        {"presence_penalty", &c->presence_penalty},
        {"frequency_penalty", &c->frequency_penalty},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (strcmp(numbers[i].name, key) == 0) {
            return numbers[i].at;
        }
    }
    return NULL;
}

static enum status set_count(const char *key, const json_t *value, int64_t *out)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0) {
        return refuse(key, "needs a whole number from 0");
    }
    *out = json_integer_value(value);
    return STATUS_OK;
}

/* Strings that stop, the recipe's and those of generation_kwargs. */
struct strings {
    const char *items[STOP_STRING_COUNT + 1];
    int64_t count;
};

static enum status add_strings(const char *key, const json_t *value, struct strings *s)
{
    const size_t n = json_is_array(value) ? json_array_size(value) : 1;
    for (size_t i = 0; i < n && s->count <= STOP_STRING_COUNT; i++) {
        const json_t *text = json_is_array(value) ? json_array_get(value, i) : value;
        if (!json_is_string(text)) {
            return refuse(key, "needs texts");
        }
        s->items[s->count++] = json_string_value(text);
    }
    return STATUS_OK;
}

static enum status take_kwarg(struct sampling *s, const char *key, const json_t *value,
                              struct strings *strings)
{
    struct sample_config *c = &s->config;
    double *number = number_of(c, key);
    if (number) {
        *number = json_number_value(value);
        return json_is_number(value) ? STATUS_OK : refuse(key, "needs a number");
    }
    if (strcmp(key, "top_k") == 0) {
        return set_count(key, value, &c->top_k);
    }
    if (strcmp(key, "min_new_tokens") == 0 || strcmp(key, "min_tokens") == 0) {
        return set_count(key, value, &c->min_new_tokens);
    }
    if (strcmp(key, "suppress_tokens") == 0) {
        return add_ids(key, value, s->suppress, &c->suppress_count);
    }
    if (strcmp(key, "stop_token_ids") == 0 || strcmp(key, "eos_token_id") == 0) {
        return add_ids(key, value, s->stops, &c->stop_count);
    }
    if (strcmp(key, "stop") == 0 || strcmp(key, "stop_strings") == 0) {
        return add_strings(key, value, strings);
    }
    if (strcmp(key, "temperature") == 0) {
        return refuse(key, "training divides by it, too: set the recipe's temperature");
    }
    if (strcmp(key, "max_new_tokens") == 0 || strcmp(key, "max_tokens") == 0) {
        return refuse(key, "set max_completion_length");
    }
    return refuse(key,
                  "is not known; use top_k, top_p, min_p, repetition_penalty, presence_penalty, "
                  "frequency_penalty, min_new_tokens, suppress_tokens, stop_token_ids or "
                  "stop_strings");
}

static enum status take_all(struct sampling *s, const struct recipe *r, struct strings *strings)
{
    const char *key;
    json_t *value;
    for (int64_t i = 0; i < r->stop_strings.count && strings->count <= STOP_STRING_COUNT; i++) {
        strings->items[strings->count++] = r->stop_strings.items[i];
    }
    json_object_foreach (r->generation_kwargs, key, value) {
        TRY(take_kwarg(s, key, value, strings));
    }
    return STATUS_OK;
}

enum status sampling_open(struct sampling *out, const struct recipe *recipe,
                          const struct tokenizer *tokenizer, int64_t vocab, const int32_t *stops,
                          int64_t stop_count)
{
    struct strings strings = {.count = 0};
    *out = (struct sampling){.config = {
        .temperature = recipe->temperature,
        .top_k = recipe->top_k,
        .top_p = recipe->top_p,
        .min_p = isnan(recipe->min_p) ? 0.0 : recipe->min_p,
        .repetition_penalty = recipe->repetition_penalty,
        .stops = out->stops,
        .suppress = out->suppress,
        .seed = (uint64_t)recipe->seed,
    }};
    for (int64_t i = 0; i < stop_count && i < SAMPLING_MOST_IDS; i++) {
        out->stops[out->config.stop_count++] = stops[i];
    }
    TRY(take_all(out, recipe, &strings));
    TRY(sample_check(&out->config, vocab));
    if (strings.count > 0 || recipe->structured_outputs_regex) {
        TRY(token_bytes_open(&out->bytes, tokenizer, vocab));
    }
    if (strings.count > 0) {
        TRY(stop_strings_open(&out->stop_strings, strings.items, strings.count, &out->bytes));
        out->config.stop_strings = out->stop_strings;
    }
    if (recipe->structured_outputs_regex) {
        const enum status status =
            constraint_open(&out->constraint, recipe->structured_outputs_regex, &out->bytes,
                            out->stops, out->config.stop_count);
        if (status != STATUS_OK) {
            return status_prefix(status, "structured_outputs_regex: ");
        }
        out->config.constraint = out->constraint;
    }
    return STATUS_OK;
}

struct generate_limits sampling_limits(const struct recipe *recipe)
{
    return (struct generate_limits){
        .max_rows = recipe->rollout_rows,
        .cache_pages = recipe->rollout_pages,
        .page = recipe->rollout_page_size,
        .drafts = (enum generate_drafts)recipe->speculation,
        .unshared = !recipe->prefix_sharing,
    };
}
