/* Rows of distillation: prompts and the dataset's completions; see distill.h. */
#include <string.h>

#include "rl/distill.h"
#include "rl/pairs.h"

/* Messages but the last, and the last; or the row itself. A new reference. */
static json_t *split_row(const json_t *row)
{
    const json_t *all = json_object_get(row, "messages");
    const size_t n = json_array_size(all);
    if (n < 2) {
        return json_incref((json_t *)(uintptr_t)row);
    }
    json_t *prompt = json_array();
    for (size_t i = 0; i + 1 < n; i++) {
        (void)json_array_append(prompt, json_array_get(all, i));
    }
    json_t *out = json_pack("{s:o, s:[O]}", "prompt", prompt, "completion",
                            json_array_get(all, n - 1));
    (void)json_object_set(out, "tools", json_object_get(row, "tools"));
    return out;
}

static enum status push(struct distill_set *set, const struct distill_row *r)
{
    if (set->count == set->capacity) {
        const int64_t capacity = set->capacity ? 2 * set->capacity : 64;
        struct distill_row *items = realloc(set->items, (size_t)capacity * sizeof *items);
        if (!items) {
            return FAIL(MEMORY, "rows: no memory for %lld", (long long)capacity);
        }
        set->items = items;
        set->capacity = capacity;
    }
    set->items[set->count++] = *r;
    return STATUS_OK;
}

/* Keeps the last max_length tokens; a row without a prompt left is dropped. */
static enum status add_ids(struct distill_set *set, int64_t max_length, const int32_t *ids,
                           int64_t prompt, int64_t total)
{
    const int64_t skip = max_length > 0 && total > max_length ? total - max_length : 0;
    if (prompt - skip < 1) {
        set->dropped++;
        return STATUS_OK;
    }
    struct distill_row r = {.ids = malloc((size_t)(total - skip) * sizeof *ids),
                            .prompt_count = prompt - skip,
                            .count = total - prompt};
    if (!r.ids) {
        return FAIL(MEMORY, "no memory for a row of %lld tokens", (long long)total);
    }
    memcpy(r.ids, ids + skip, (size_t)(total - skip) * sizeof *ids);
    const enum status status = push(set, &r);
    if (status != STATUS_OK) {
        free(r.ids);
    }
    return status;
}

enum status distill_add(const struct prompt_format *format, int64_t max_length, const json_t *row,
                        const char *where, struct distill_set *set)
{
    const struct example_config config = {.format = *format, .completion_only_loss = true,
                                          .keep_all = true};
    struct example_set made = {0};
    struct token_list prompt = {0};
    json_t *split = split_row(row);
    enum status status;
    if (json_object_get(split, "completion")) {
        status = example_add(&config, split, where, &made);
        const struct example *e = made.items;
        if (status == STATUS_OK) {
            status = add_ids(set, max_length, e->ids, pair_completion_at(e), e->count);
        }
    } else {
        status = prompt_ids(format, split, where, &prompt, NULL);
        if (status == STATUS_OK) {
            status = add_ids(set, max_length, prompt.ids, prompt.count, prompt.count);
        }
    }
    token_list_free(&prompt);
    example_set_close(&made);
    json_decref(split);
    return status;
}

void distill_set_close(struct distill_set *set)
{
    for (int64_t i = 0; i < set->count; i++) {
        free(set->items[i].ids);
    }
    free(set->items);
    *set = (struct distill_set){0};
}
