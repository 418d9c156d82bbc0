/* Preference rows to ids; see pairs.h. */
#include "rl/pairs.h"

#include <string.h>

/* Leading messages that both conversations share. */
static json_t *common_messages(const json_t *a, const json_t *b)
{
    json_t *prompt = json_array();
    for (size_t i = 0; i < json_array_size(a) && i < json_array_size(b); i++) {
        if (!json_equal(json_array_get(a, i), json_array_get(b, i))) {
            break;
        }
        (void)json_array_append(prompt, json_array_get(a, i));
    }
    return prompt;
}

/* Length of the text both begin with; a space before the difference belongs to the completions. */
static size_t common_text(const char *a, const char *b)
{
    size_t n = 0;
    while (a[n] && a[n] == b[n]) {
        n++;
    }
    return n > 0 && a[n - 1] == ' ' ? n - 1 : n;
}

static json_t *messages_from(const json_t *all, size_t first)
{
    json_t *rest = json_array();
    for (size_t i = first; i < json_array_size(all); i++) {
        (void)json_array_append(rest, json_array_get(all, i));
    }
    return rest;
}

json_t *pair_side(const json_t *row, const char *side)
{
    const json_t *prompt = json_object_get(row, "prompt");
    const json_t *chosen = json_object_get(row, "chosen");
    const json_t *rejected = json_object_get(row, "rejected");
    const json_t *mine = json_object_get(row, side);
    json_t *out = json_object();
    if (prompt) {
        (void)json_object_set(out, "prompt", (json_t *)(uintptr_t)prompt);
        (void)json_object_set(out, "completion", (json_t *)(uintptr_t)mine);
    } else if (json_is_array(chosen)) {
        json_t *shared = common_messages(chosen, rejected);
        (void)json_object_set_new(out, "completion", messages_from(mine, json_array_size(shared)));
        (void)json_object_set_new(out, "prompt", shared);
    } else {
        const size_t n = common_text(json_string_value(chosen), json_string_value(rejected));
        (void)json_object_set_new(out, "prompt", json_stringn(json_string_value(chosen), n));
        (void)json_object_set_new(out, "completion", json_string(json_string_value(mine) + n));
    }
    return out;
}

int64_t pair_completion_at(const struct example *e)
{
    int64_t t = 0;
    while (t < e->count && !e->loss[t]) {
        t++;
    }
    return t;
}

static enum status grow(struct pair_set *set)
{
    if (set->count < set->capacity) {
        return STATUS_OK;
    }
    const int64_t capacity = set->capacity ? 2 * set->capacity : 64;
    struct pair *items = realloc(set->items, (size_t)capacity * sizeof *items);
    if (!items) {
        return FAIL(MEMORY, "pairs: no memory for %lld", (long long)capacity);
    }
    set->items = items;
    set->capacity = capacity;
    return STATUS_OK;
}

static int64_t cut(int64_t count, int64_t max_length)
{
    return max_length > 0 && count > max_length ? max_length : count;
}

static enum status join(const struct example *chosen, const struct example *rejected,
                        int64_t max_length, struct pair_set *set)
{
    const int64_t a = pair_completion_at(chosen);
    const int64_t b = pair_completion_at(rejected);
    const int64_t prompt = a < b ? a : b;
    struct pair p = {.prompt_count = prompt,
                     .chosen_count = cut(chosen->count, max_length) - prompt,
                     .rejected_count = cut(rejected->count, max_length) - prompt};
    const int64_t unseen = prompt == 0; /* a first token is predicted from nothing */
    if ((max_length > 0 && prompt >= max_length) || p.chosen_count <= unseen
        || p.rejected_count <= unseen) {
        set->dropped++;
        return STATUS_OK;
    }
    TRY(grow(set));
    p.ids = malloc((size_t)(prompt + p.chosen_count + p.rejected_count) * sizeof *p.ids);
    if (!p.ids) {
        return FAIL(MEMORY, "pairs: no memory for a row");
    }
    memcpy(p.ids, chosen->ids, (size_t)(prompt + p.chosen_count) * sizeof *p.ids);
    memcpy(p.ids + prompt + p.chosen_count, rejected->ids + prompt,
           (size_t)p.rejected_count * sizeof *p.ids);
    set->items[set->count++] = p;
    return STATUS_OK;
}

enum status pair_add(const struct prompt_format *format, int64_t max_length, const json_t *row,
                     const char *where, struct pair_set *set)
{
    static const char *const SIDES[2] = {"chosen", "rejected"};
    const struct example_config config = {.format = *format, .completion_only_loss = true};
    struct example_set examples = {0};
    enum status status = STATUS_OK;
    const json_t *chosen = json_object_get(row, "chosen");
    const json_t *rejected = json_object_get(row, "rejected");
    const bool text = json_is_string(chosen) && json_is_string(rejected);
    if (!text && !(json_is_array(chosen) && json_is_array(rejected))) {
        return FAIL(INPUT, "%s: needs columns chosen and rejected, both text or both messages",
                    where);
    }
    for (int k = 0; status == STATUS_OK && k < 2; k++) {
        json_t *side = pair_side(row, SIDES[k]);
        status = example_add(&config, side, where, &examples);
        json_decref(side);
    }
    if (status == STATUS_OK && examples.count == 2) {
        status = join(&examples.items[0], &examples.items[1], max_length, set);
    } else if (status == STATUS_OK) {
        set->dropped++;
    }
    example_set_close(&examples);
    return status;
}

void pair_set_close(struct pair_set *set)
{
    for (int64_t i = 0; i < set->count; i++) {
        free(set->items[i].ids);
    }
    free(set->items);
    *set = (struct pair_set){0};
}
