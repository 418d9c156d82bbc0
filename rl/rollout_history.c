/* Earlier rounds' completions; see rollout_history.h. */
#include "rl/rollout_history.h"

#include <string.h>

/* One prompt of one round: its completions' ids behind each other in one block. */
struct entry {
    int64_t index;
    int64_t tokens;
    int64_t count;
    struct known_text *texts; /* [count] into ids */
    int32_t *ids;
};

struct rollout_history {
    int64_t budget;
    int64_t tokens;
    int64_t texts;
    struct entry *entries; /* [capacity] oldest first */
    int64_t count;
    int64_t capacity;
};

enum status rollout_history_open(struct rollout_history **out, int64_t tokens)
{
    ASSERT(tokens > 0);
    *out = calloc(1, sizeof **out);
    if (!*out) {
        return FAIL(MEMORY, "history: no memory");
    }
    (*out)->budget = tokens;
    return STATUS_OK;
}

static void entry_close(struct entry *e)
{
    free(e->texts);
    free(e->ids);
}

static void drop(struct rollout_history *h, int64_t i)
{
    h->tokens -= h->entries[i].tokens;
    h->texts -= h->entries[i].count;
    entry_close(&h->entries[i]);
    memmove(&h->entries[i], &h->entries[i + 1],
            (size_t)(h->count - i - 1) * sizeof *h->entries);
    h->count--;
}

static int64_t find(const struct rollout_history *h, int64_t index)
{
    for (int64_t i = h->count - 1; i >= 0; i--) {
        if (h->entries[i].index == index) {
            return i;
        }
    }
    return -1;
}

static enum status reserve(struct rollout_history *h)
{
    if (h->count < h->capacity) {
        return STATUS_OK;
    }
    const int64_t capacity = h->capacity > 0 ? 2 * h->capacity : 16;
    struct entry *entries = realloc(h->entries, (size_t)capacity * sizeof *entries);
    if (!entries) {
        return FAIL(MEMORY, "history: no memory for %lld prompts", (long long)capacity);
    }
    h->entries = entries;
    h->capacity = capacity;
    return STATUS_OK;
}

static enum status make_entry(const struct round *r, int64_t g, int64_t tokens, struct entry *e)
{
    const struct rollout_row *rows = &r->row[g * r->group_size];
    *e = (struct entry){
        .index = r->group[g].index,
        .tokens = tokens,
        .count = r->group_size,
        .texts = malloc((size_t)r->group_size * sizeof *e->texts),
        .ids = malloc((size_t)tokens * sizeof *e->ids + 1),
    };
    if (!e->texts || !e->ids) {
        entry_close(e);
        return FAIL(MEMORY, "history: no memory for %lld tokens", (long long)tokens);
    }
    int64_t at = 0;
    for (int64_t k = 0; k < r->group_size; k++) {
        memcpy(e->ids + at, rows[k].ids, (size_t)rows[k].count * sizeof *e->ids);
        e->texts[k] = (struct known_text){e->ids + at, rows[k].count};
        at += rows[k].count;
    }
    return STATUS_OK;
}

enum status rollout_history_add(struct rollout_history *h, const struct round *r)
{
    for (int64_t g = 0; g < r->groups; g++) {
        const int64_t before = find(h, r->group[g].index);
        int64_t tokens = 0;
        for (int64_t k = 0; k < r->group_size; k++) {
            tokens += r->row[g * r->group_size + k].count;
        }
        if (before >= 0) {
            drop(h, before);
        }
        if (tokens > h->budget) {
            continue;
        }
        while (h->tokens + tokens > h->budget) {
            drop(h, 0);
        }
        TRY(reserve(h));
        TRY(make_entry(r, g, tokens, &h->entries[h->count]));
        h->count++;
        h->tokens += tokens;
        h->texts += r->group_size;
    }
    return STATUS_OK;
}

const struct known_text *rollout_history_find(const struct rollout_history *h, int64_t index,
                                              int64_t *count)
{
    const int64_t i = find(h, index);
    *count = i >= 0 ? h->entries[i].count : 0;
    return i >= 0 ? h->entries[i].texts : NULL;
}

int64_t rollout_history_expected(const struct rollout_history *h, int64_t index)
{
    const int64_t i = find(h, index);
    const int64_t tokens = i >= 0 ? h->entries[i].tokens : h->tokens;
    const int64_t texts = i >= 0 ? h->entries[i].count : h->texts;
    return texts > 0 ? (tokens + texts - 1) / texts : 0;
}

void rollout_history_close(struct rollout_history *h)
{
    for (int64_t i = 0; h && i < h->count; i++) {
        entry_close(&h->entries[i]);
    }
    if (h) {
        free(h->entries);
        free(h);
    }
}
