/* Rows to examples; see examples.h. Labels are set before truncation, as TRL does. */
#include "trainer/data/examples.h"

#include <string.h>

#include "trainer/format/json.h"

/* Tokens of a row before they become an example. */
struct draft {
    struct token_list list;
    uint8_t *loss;
};

static enum status draft_loss(struct draft *d, uint8_t value)
{
    d->loss = malloc((size_t)d->list.count + 1);
    if (!d->loss) {
        return FAIL(MEMORY, "no memory for %lld tokens", (long long)d->list.count);
    }
    memset(d->loss, value, (size_t)d->list.count);
    return STATUS_OK;
}

/* A column of 0 and 1 beside input_ids: where it is 0 there is no loss. */
static enum status apply_mask(const json_t *row, const char *column, struct draft *d)
{
    const json_t *mask = json_object_get(row, column);
    if (!mask || json_is_null(mask)) {
        return STATUS_OK;
    }
    if ((int64_t)json_array_size(mask) != d->list.count) {
        return FAIL(INPUT, "%zu numbers in %s for %lld input_ids", json_array_size(mask), column,
                    (long long)d->list.count);
    }
    for (size_t i = 0; i < json_array_size(mask); i++) {
        const json_t *bit = json_array_get(mask, i);
        if (!json_is_integer(bit) && !json_is_boolean(bit)) {
            return FAIL(INPUT, "%s[%zu] is neither 0 nor 1", column, i);
        }
        d->loss[i] &= json_is_true(bit) || json_integer_value(bit) != 0;
    }
    return STATUS_OK;
}

/* completion_only_loss: true, and nothing in the row says where a completion begins. */
static enum status need_completion(const struct example_config *c, const json_t *row)
{
    char have[512];
    if (!c->completion_needed) {
        return STATUS_OK;
    }
    json_list_keys(row, have, sizeof have);
    return FAIL(INPUT, "completion_only_loss: true needs rows with 'prompt' and 'completion', or "
                       "'completion_mask' beside 'input_ids'; this one has %s; leave the key out",
                have);
}

static enum status from_ids(const struct example_config *c, const json_t *row, struct draft *d)
{
    const json_t *ids = json_object_get(row, "input_ids");
    const json_t *labels = json_object_get(row, "labels");
    for (size_t i = 0; i < json_array_size(ids); i++) {
        const json_t *id = json_array_get(ids, i);
        if (!json_is_integer(id) || json_integer_value(id) < 0
            || json_integer_value(id) > INT32_MAX) {
            return FAIL(INPUT, "input_ids[%zu] is no token id", i);
        }
        TRY(token_list_push(&d->list, (int32_t)json_integer_value(id)));
    }
    TRY(draft_loss(d, 1));
    if (!labels || json_is_null(labels)) {
        TRY(apply_mask(row, "assistant_masks", d));
        if (!json_is_array(json_object_get(row, "completion_mask"))) {
            return need_completion(c, row);
        }
        return c->completion_needed ? apply_mask(row, "completion_mask", d) : STATUS_OK;
    }
    if (json_array_size(labels) != json_array_size(ids)) {
        return FAIL(INPUT, "%zu labels for %zu input_ids", json_array_size(labels),
                    json_array_size(ids));
    }
    for (size_t i = 0; i < json_array_size(labels); i++) {
        const json_t *label = json_array_get(labels, i);
        d->loss[i] = !json_is_integer(label) || json_integer_value(label) != -100;
        if (d->loss[i] && !json_equal(label, json_array_get(ids, i))) {
            return FAIL(INPUT, "labels[%zu] is neither -100 nor input_ids[%zu]: a token's label is "
                               "the token itself", i, i);
        }
    }
    return STATUS_OK;
}

/* Plain text has no assistant whose words could be told from others. */
static enum status need_messages(const struct example_config *c)
{
    return c->assistant_only_loss ? FAIL(INPUT, "assistant_only_loss needs rows of messages, this "
                                                "is text; leave it out")
                                  : STATUS_OK;
}

/* Texts `a` and `b` with the end-of-sequence token's text appended when `b` lacks it. */
static enum status with_eos(const struct example_config *c, const char *a, const char *b,
                            struct text *out)
{
    const char *eos = tokenizer_special_text(c->format.tokenizer, "eos_token");
    const size_t na = strlen(a);
    const size_t nb = strlen(b);
    const size_t ne = eos ? strlen(eos) : 0;
    out->data = malloc(na + nb + ne + 1);
    if (!out->data) {
        return FAIL(MEMORY, "no memory for a row's text");
    }
    memcpy(out->data, a, na);
    memcpy(out->data + na, b, nb);
    out->length = na + nb;
    const bool has = ne > 0 && nb >= ne && memcmp(b + nb - ne, eos, ne) == 0;
    if (ne > 0 && !has) {
        memcpy(out->data + out->length, eos, ne);
        out->length += ne;
    }
    out->data[out->length] = '\0';
    return STATUS_OK;
}

static enum status from_text(const struct example_config *c, const char *text, struct draft *d)
{
    struct text full = {0};
    TRY(need_messages(c));
    TRY(with_eos(c, "", text, &full));
    const enum status status = tokenizer_encode(c->format.tokenizer, full.data, full.length,
                                                TOKENIZE_SPECIALS, &d->list);
    free(full.data);
    TRY(status);
    return draft_loss(d, 1);
}

/* Tokens whose byte span lies inside a generation span carry loss. */
static void mark_spans(const struct template_span *spans, int64_t count,
                       int64_t (*const bytes)[2], struct draft *d)
{
    for (int64_t i = 0; i < d->list.count; i++) {
        d->loss[i] = 0;
        for (int64_t s = 0; s < count; s++) {
            /* a token counts when it begins inside the span, as char_to_token maps it */
            if (bytes[i][0] >= spans[s].begin && bytes[i][0] < spans[s].end) {
                d->loss[i] = 1;
            }
        }
    }
}

/* A row as it is tokenized, and where the assistant speaks in it. */
struct rendered {
    struct text text;
    unsigned flags; /* of tokenizer_encode */
    struct template_span *spans;
    int64_t span_count;
};

/* Tokens of the whole row; all carry loss, or those of the assistant. */
static enum status encode_row(const struct example_config *c, const struct rendered *r,
                              struct draft *d)
{
    int64_t(*bytes)[2] = NULL;
    enum status status = tokenizer_encode_spans(c->format.tokenizer, r->text.data, r->text.length,
                                                r->flags, &d->list, &bytes);
    if (status == STATUS_OK) {
        status = draft_loss(d, 1);
    }
    if (status == STATUS_OK && c->assistant_only_loss) {
        if (r->span_count == 0) {
            status = FAIL(INPUT, "assistant_only_loss: the chat template marks no assistant text "
                                 "({%% generation %%}) in this row");
        } else {
            mark_spans(r->spans, r->span_count, bytes, d);
        }
    }
    free(bytes);
    return status;
}

static enum status from_messages(const struct example_config *c, const json_t *row,
                                 struct draft *d)
{
    struct rendered full = {0};
    enum status status = prompt_render(&c->format, json_object_get(row, "messages"),
                                       json_object_get(row, "tools"), false, &full.text,
                                       &full.spans, &full.span_count);
    if (status == STATUS_OK) {
        status = encode_row(c, &full, d);
    }
    free(full.text.data);
    free(full.spans);
    return status;
}

/* Prompt text and prompt + completion of a row, both as they are tokenized. */
static enum status pair_texts(const struct example_config *c, const json_t *row,
                              struct text *prompt, struct rendered *full)
{
    json_t *p = json_object_get(row, "prompt");
    json_t *q = json_object_get(row, "completion");
    if (json_is_string(p) && json_is_string(q)) {
        full->flags = TOKENIZE_SPECIALS;
        TRY(need_messages(c));
        prompt->data = strdup(json_string_value(p));
        prompt->length = json_string_length(p);
        return prompt->data ? with_eos(c, json_string_value(p), json_string_value(q), &full->text)
                            : FAIL(MEMORY, "no memory for a row's text");
    }
    if (!json_is_array(p) || !json_is_array(q)) {
        return FAIL(INPUT, "'prompt' and 'completion' must both be text or both be messages");
    }
    const json_t *tools = json_object_get(row, "tools");
    TRY(prompt_render(&c->format, p, tools, true, prompt, NULL, NULL));
    json_t *both = json_array();
    (void)json_array_extend(both, p);
    (void)json_array_extend(both, q);
    const enum status status = prompt_render(&c->format, both, tools, false, &full->text,
                                             &full->spans, &full->span_count);
    json_decref(both);
    return status;
}

static enum status from_pair(const struct example_config *c, const json_t *row, struct draft *d)
{
    struct text prompt = {0};
    struct rendered full = {0};
    struct token_list alone = {0};
    enum status status = pair_texts(c, row, &prompt, &full);
    if (status == STATUS_OK) {
        status = tokenizer_encode(c->format.tokenizer, prompt.data, prompt.length, full.flags,
                                  &alone);
    }
    if (status == STATUS_OK) {
        status = encode_row(c, &full, d);
    }
    /* The completion starts where the two tokenizations part. */
    for (int64_t i = 0; status == STATUS_OK && c->completion_only_loss && i < alone.count
                        && i < d->list.count && alone.ids[i] == d->list.ids[i];
         i++) {
        d->loss[i] = 0;
    }
    free(prompt.data);
    free(full.text.data);
    free(full.spans);
    token_list_free(&alone);
    return status;
}

static enum status missing_columns(const struct example_config *c, const json_t *row)
{
    char have[512];
    json_list_keys(row, have, sizeof have);
    return FAIL(INPUT, "needs 'input_ids', '%s', 'messages' or 'prompt' and 'completion'; it has %s",
                c->text_column ? c->text_column : "text", have);
}

static enum status make_draft(const struct example_config *c, const json_t *row, struct draft *d)
{
    const json_t *text = json_object_get(row, c->text_column ? c->text_column : "text");
    if (json_is_array(json_object_get(row, "input_ids"))) {
        return from_ids(c, row, d);
    }
    if (json_is_array(json_object_get(row, "messages"))) {
        TRY(need_completion(c, row));
        return from_messages(c, row, d);
    }
    if (json_object_get(row, "prompt") && json_object_get(row, "completion")) {
        return from_pair(c, row, d);
    }
    if (json_is_string(text)) {
        TRY(need_completion(c, row));
        return from_text(c, json_string_value(text), d);
    }
    return missing_columns(c, row);
}

void example_count_labels(struct example *e)
{
    const int64_t whole[1] = {e->count};
    const int64_t *parts = e->parts ? e->parts : whole;
    const int64_t count = e->parts ? e->part_count : 1;
    e->labels = 0;
    for (int64_t part = 0, at = 0; part < count; at += parts[part++]) {
        for (int64_t i = 1; i < parts[part]; i++) {
            e->labels += e->loss[at + i] != 0;
        }
    }
}

enum status example_set_push(struct example_set *set, const struct example *e)
{
    if (set->count == set->capacity) {
        const int64_t capacity = set->capacity ? 2 * set->capacity : 64;
        struct example *items = realloc(set->items, (size_t)capacity * sizeof *items);
        if (!items) {
            return FAIL(MEMORY, "no memory for %lld examples", (long long)capacity);
        }
        set->items = items;
        set->capacity = capacity;
    }
    set->items[set->count++] = *e;
    return STATUS_OK;
}

static void truncate_example(const struct example_config *c, struct example *e)
{
    if (c->max_length == 0 || e->count <= c->max_length) {
        return;
    }
    if (c->keep_end) {
        const int64_t skip = e->count - c->max_length;
        memmove(e->ids, e->ids + skip, (size_t)c->max_length * sizeof *e->ids);
        memmove(e->loss, e->loss + skip, (size_t)c->max_length);
    }
    e->count = c->max_length;
}

enum status example_add(const struct example_config *c, const json_t *row, const char *where,
                        struct example_set *set)
{
    struct draft d = {0};
    enum status status = make_draft(c, row, &d);
    if (status == STATUS_OK) {
        struct example e = {.ids = d.list.ids, .loss = d.loss, .count = d.list.count};
        truncate_example(c, &e);
        example_count_labels(&e);
        if (!c->keep_all && !memchr(e.loss, 1, (size_t)e.count)) {
            set->dropped++;
        } else {
            status = example_set_push(set, &e);
            d = status == STATUS_OK ? (struct draft){0} : d;
        }
    }
    token_list_free(&d.list);
    free(d.loss);
    return status == STATUS_OK ? status : status_prefix(status, "%s: ", where);
}

void example_close(struct example *e)
{
    free(e->ids);
    free(e->loss);
    free(e->parts);
    *e = (struct example){0};
}

void example_set_close(struct example_set *set)
{
    for (int64_t i = 0; i < set->count; i++) {
        example_close(&set->items[i]);
    }
    free(set->items);
    *set = (struct example_set){0};
}
