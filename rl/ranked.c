/* Preference rows to scored sequences; see ranked.h. */
#include "rl/ranked.h"

#include <math.h>
#include <string.h>

enum status scored_text_make(const int32_t *ids, int64_t count, int32_t pad,
                             struct scored_text *out)
{
    int64_t last = count - 1;
    while (last > 0 && ids[last] == pad) {
        last--;
    }
    const int64_t rows = last + 2;
    *out = (struct scored_text){.ids = malloc((size_t)rows * sizeof *out->ids),
                                .loss = calloc((size_t)rows, 1),
                                .count = rows,
                                .tokens = count};
    if (!out->ids || !out->loss) {
        scored_text_close(out);
        return FAIL(MEMORY, "no memory for a row of %lld tokens", (long long)count);
    }
    memcpy(out->ids, ids, (size_t)(rows - 1) * sizeof *ids);
    out->ids[rows - 1] = ids[last];
    out->loss[rows - 1] = 1;
    return STATUS_OK;
}

void scored_text_close(struct scored_text *t)
{
    free(t->ids);
    free(t->loss);
    *t = (struct scored_text){0};
}

int32_t ranked_pad_token(const struct tokenizer *tokenizer)
{
    static const char *const NAMES[] = {"pad_token", "eos_token"};
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        const char *text = tokenizer_special_text(tokenizer, NAMES[i]);
        const int32_t id = text && *text ? tokenizer_find(tokenizer, text) : -1;
        if (id >= 0) {
            return id;
        }
    }
    return -1;
}

/* {"text"} or {"messages"} of one side behind the prompt; NULL when their kinds differ. */
static json_t *side_row(const json_t *row, const char *side)
{
    json_t *prompt = json_object_get(row, "prompt");
    json_t *mine = json_object_get(row, side);
    json_t *out = json_object();
    if (json_is_string(mine) && (!prompt || json_is_string(prompt))) {
        (void)json_object_set_new(out, "text",
                                  json_sprintf("%s%s", prompt ? json_string_value(prompt) : "",
                                               json_string_value(mine)));
        return out;
    }
    if (json_is_array(mine) && (!prompt || json_is_array(prompt))) {
        json_t *all = prompt ? json_copy(prompt) : json_array();
        (void)json_array_extend(all, mine);
        (void)json_object_set_new(out, "messages", all);
        (void)json_object_set(out, "tools", json_object_get(row, "tools"));
        return out;
    }
    json_decref(out);
    return NULL;
}

static enum status make_side(const struct prompt_format *format, const json_t *row,
                             const char *side, const char *where, struct scored_text *out)
{
    const struct example_config config = {.format = *format, .keep_all = true};
    struct example_set made = {0};
    json_t *text = side_row(row, side);
    if (!text) {
        return FAIL(INPUT, "%s: needs columns chosen and rejected, and prompt if there is one, all "
                           "text or all messages", where);
    }
    enum status status = example_add(&config, text, where, &made);
    if (status == STATUS_OK && made.items[0].count == 0) {
        status = FAIL(INPUT, "%s: %s is empty", where, side);
    }
    if (status == STATUS_OK) {
        status = scored_text_make(made.items[0].ids, made.items[0].count,
                                  ranked_pad_token(format->tokenizer), out);
    }
    example_set_close(&made);
    json_decref(text);
    return status;
}

static void ranked_close(struct ranked *r)
{
    scored_text_close(&r->side[0]);
    scored_text_close(&r->side[1]);
}

static enum status push(struct ranked_set *set, const struct ranked *r)
{
    if (set->count == set->capacity) {
        const int64_t capacity = set->capacity ? 2 * set->capacity : 64;
        struct ranked *items = realloc(set->items, (size_t)capacity * sizeof *items);
        if (!items) {
            return FAIL(MEMORY, "pairs: no memory for %lld", (long long)capacity);
        }
        set->items = items;
        set->capacity = capacity;
    }
    set->items[set->count++] = *r;
    return STATUS_OK;
}

enum status ranked_add(const struct prompt_format *format, int64_t max_length, const json_t *row,
                       const char *where, struct ranked_set *set)
{
    const json_t *margin = json_object_get(row, "margin");
    struct ranked r = {.margin = json_number_value(margin)};
    if (margin && !json_is_null(margin) && !json_is_number(margin)) {
        return FAIL(INPUT, "%s: margin is a number", where);
    }
    enum status status = make_side(format, row, "chosen", where, &r.side[0]);
    if (status == STATUS_OK) {
        status = make_side(format, row, "rejected", where, &r.side[1]);
    }
    const bool fits = max_length <= 0
                      || (r.side[0].tokens <= max_length && r.side[1].tokens <= max_length);
    if (status == STATUS_OK && fits) {
        status = push(set, &r);
        r = status == STATUS_OK ? (struct ranked){0} : r;
    } else if (status == STATUS_OK) {
        set->dropped++;
    }
    ranked_close(&r);
    return status;
}

struct tree_row ranked_tree(const struct ranked *r)
{
    struct tree_row t = {.branch_count = 2};
    for (int k = 0; k < 2; k++) {
        t.branches[k] = (struct pack_branch){.ids = r->side[k].ids,
                                             .count = r->side[k].count,
                                             .loss = r->side[k].loss};
    }
    return t;
}

void ranked_set_close(struct ranked_set *set)
{
    for (int64_t i = 0; i < set->count; i++) {
        ranked_close(&set->items[i]);
    }
    free(set->items);
    *set = (struct ranked_set){0};
}
