/* Unpaired preference rows to ids; see unpaired.h. */
#include "rl/unpaired.h"

#include <string.h>

enum { WINDOW = 1000 }; /* rows of a batch of datasets.map */

static enum status grow(struct unpaired_set *set)
{
    if (set->count < set->capacity) {
        return STATUS_OK;
    }
    const int64_t capacity = set->capacity ? 2 * set->capacity : 64;
    struct unpaired *items = realloc(set->items, (size_t)capacity * sizeof *items);
    if (!items) {
        return FAIL(MEMORY, "rows: no memory for %lld", (long long)capacity);
    }
    set->items = items;
    set->capacity = capacity;
    return STATUS_OK;
}

/* Appends one prompt and completion. */
static enum status add(const struct prompt_format *format, const json_t *row, bool desirable,
                       const char *where, struct unpaired_set *set)
{
    const struct example_config config = {.format = *format, .completion_only_loss = true};
    struct example_set made = {0};
    enum status status = example_add(&config, row, where, &made);
    if (status == STATUS_OK && made.count == 1) {
        struct example *e = &made.items[0];
        const int64_t prompt = pair_completion_at(e);
        const bool full = set->max_length > 0 && prompt >= set->max_length;
        /* A first token is predicted from nothing. */
        if (!full && e->count - prompt > (prompt == 0)) {
            status = grow(set);
            if (status == STATUS_OK) {
                set->items[set->count++] = (struct unpaired){e->ids, prompt, e->count - prompt,
                                                             desirable};
                e->ids = NULL;
            }
        } else {
            set->dropped++;
        }
    } else if (status == STATUS_OK) {
        set->dropped++;
    }
    example_set_close(&made);
    return status;
}

static bool is_paired(const json_t *row)
{
    return json_object_get(row, "chosen") && json_object_get(row, "rejected");
}

/* One side of a preference row. */
static enum status add_side(const struct prompt_format *format, const json_t *row, bool chosen,
                            const char *where, struct unpaired_set *set)
{
    const json_t *a = json_object_get(row, "chosen");
    const json_t *b = json_object_get(row, "rejected");
    if (!(json_is_string(a) && json_is_string(b)) && !(json_is_array(a) && json_is_array(b))) {
        return FAIL(INPUT, "%s: needs chosen and rejected, both text or both messages", where);
    }
    json_t *side = pair_side(row, chosen ? "chosen" : "rejected");
    const enum status status = add(format, side, chosen, where, set);
    json_decref(side);
    return status;
}

static enum status add_labelled(const struct prompt_format *format, const json_t *row,
                                const char *where, struct unpaired_set *set)
{
    const json_t *label = json_object_get(row, "label");
    const bool number = json_is_integer(label)
                        && (json_integer_value(label) == 0 || json_integer_value(label) == 1);
    if (!json_object_get(row, "prompt") || !json_object_get(row, "completion") || !label) {
        return FAIL(INPUT, "%s: kto needs columns prompt, completion and label, or chosen and "
                           "rejected", where);
    }
    if (!json_is_boolean(label) && !number) {
        return FAIL(INPUT, "%s: label is true (desirable) or false", where);
    }
    return add(format, row, number ? json_integer_value(label) == 1 : json_is_true(label), where,
               set);
}

/* One pass over the rows [begin, end); side 1: their chosen, 0: their rejected, -1: labelled rows.
 */
static enum status read_window(const struct prompt_format *format,
                               const struct unpaired_source *source, int64_t begin, int64_t end,
                               int side, struct unpaired_set *set)
{
    for (int64_t i = begin; i < end; i++) {
        char where[512];
        (void)snprintf(where, sizeof where, "%s: row %lld", source->name, (long long)i + 1);
        if (source->where) {
            source->where(source->ctx, i, where, sizeof where);
        }
        json_t *row = source->row(source->ctx, i);
        if (!row) {
            return STATUS_INPUT;
        }
        const enum status status = side < 0 ? add_labelled(format, row, where, set)
                                            : add_side(format, row, side == 1, where, set);
        json_decref(row);
        TRY(status);
    }
    return STATUS_OK;
}

enum status unpaired_read(const struct prompt_format *format, const struct unpaired_source *source,
                          struct unpaired_set *set)
{
    json_t *first = source->count > 0 ? source->row(source->ctx, 0) : NULL;
    if (source->count > 0 && !first) {
        return STATUS_INPUT;
    }
    const bool paired = is_paired(first);
    json_decref(first);
    if (!paired) {
        return read_window(format, source, 0, source->count, -1, set);
    }
    for (int64_t begin = 0; begin < source->count; begin += WINDOW) {
        const int64_t end = begin + WINDOW < source->count ? begin + WINDOW : source->count;
        TRY(read_window(format, source, begin, end, 1, set));
        TRY(read_window(format, source, begin, end, 0, set));
    }
    return STATUS_OK;
}

struct tree_row unpaired_tree(const struct unpaired_set *set, int64_t i, int64_t of)
{
    const struct unpaired *own = &set->items[i];
    const struct unpaired *other = &set->items[of];
    const int64_t room = set->max_length > 0 ? set->max_length - own->prompt_count : other->count;
    return (struct tree_row){
        .prompt = own->ids,
        .prompt_count = own->prompt_count,
        .branches = {{.ids = other->ids + other->prompt_count,
                      .count = other->count < room ? other->count : room}},
        .branch_count = 1,
    };
}

int64_t unpaired_mismatch(const struct unpaired_set *set, int64_t i, int64_t batch)
{
    const int64_t first = i / batch * batch;
    const int64_t end = first + batch < set->count ? first + batch : set->count;
    return i > first ? i - 1 : end - 1;
}

void unpaired_set_close(struct unpaired_set *set)
{
    for (int64_t i = 0; i < set->count; i++) {
        free(set->items[i].ids);
    }
    free(set->items);
    *set = (struct unpaired_set){0};
}
