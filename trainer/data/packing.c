/*
 * Best-fit-decreasing and wrapped packing; see packing.h. bfd is Ding et al. 2024 (arXiv
 * 2404.10830): sequences by falling length, each into the bin with the smallest space that fits,
 * the oldest of equals.
 */
#include "trainer/data/packing.h"

#include <string.h>

#include "kernels/base/rng_numpy.h"

enum { BATCH = 1000 };

/* A run of tokens of one example. */
struct piece {
    const struct example *from;
    int64_t begin;
    int64_t count;
    int64_t order; /* place before sorting */
};

struct pieces {
    struct piece *items;
    int64_t count;
    int64_t capacity;
};

static enum status pieces_push(struct pieces *list, struct piece piece)
{
    if (list->count == list->capacity) {
        const int64_t capacity = list->capacity ? 2 * list->capacity : 256;
        struct piece *items = realloc(list->items, (size_t)capacity * sizeof *items);
        if (!items) {
            return FAIL(MEMORY, "packing: no memory for %lld sequences", (long long)capacity);
        }
        list->items = items;
        list->capacity = capacity;
    }
    piece.order = list->count;
    list->items[list->count++] = piece;
    return STATUS_OK;
}

static int longest_first(const void *a, const void *b)
{
    const struct piece *x = a;
    const struct piece *y = b;
    if (x->count != y->count) {
        return x->count < y->count ? 1 : -1;
    }
    return x->order < y->order ? -1 : 1;
}

/* The sequences of examples [begin, end), cut to `length`; split: the rest follows as fragments. */
static enum status collect(const struct example_set *set, int64_t begin, int64_t end,
                           int64_t length, bool split, struct pieces *out)
{
    out->count = 0;
    for (int64_t i = begin; i < end; i++) {
        const struct example *e = &set->items[i];
        const int64_t last = split || e->count < length ? e->count : length;
        for (int64_t at = 0; at < last; at += length) {
            const int64_t left = last - at;
            TRY(pieces_push(out, (struct piece){e, at, left < length ? left : length, 0}));
        }
    }
    qsort(out->items, (size_t)out->count, sizeof *out->items, longest_first);
    return STATUS_OK;
}

/* An example of the pieces whose bin is `bin`, in order; `parts` keeps their boundaries. */
static enum status join(const struct piece *pieces, const int64_t *bin_of, int64_t count,
                        int64_t bin, bool parts, struct example_set *out)
{
    struct example e = {0};
    int64_t used = 0;
    for (int64_t i = 0; i < count; i++) {
        if (bin_of[i] == bin) {
            e.count += pieces[i].count;
            e.part_count++;
        }
    }
    e.ids = malloc((size_t)e.count * sizeof *e.ids);
    e.loss = malloc((size_t)e.count);
    e.parts = malloc((size_t)e.part_count * sizeof *e.parts);
    if (!e.ids || !e.loss || !e.parts) {
        example_close(&e);
        return FAIL(MEMORY, "packing: no memory for a row of %lld tokens", (long long)e.count);
    }
    e.part_count = 0;
    for (int64_t i = 0; i < count; i++) {
        const struct piece *p = &pieces[i];
        if (bin_of[i] != bin) {
            continue;
        }
        memcpy(e.ids + used, p->from->ids + p->begin, (size_t)p->count * sizeof *e.ids);
        memcpy(e.loss + used, p->from->loss + p->begin, (size_t)p->count);
        e.parts[e.part_count++] = p->count;
        used += p->count;
    }
    if (!parts) {
        free(e.parts);
        e.parts = NULL;
        e.part_count = 0;
    }
    example_count_labels(&e);
    const enum status status = example_set_push(out, &e);
    if (status != STATUS_OK) {
        example_close(&e);
    }
    return status;
}

/* bin_of[i] of the sorted pieces; returns the number of bins. space and next are [count], head and
 * tail [length + 1]: a queue of bins for each amount of space left. */
static int64_t fit(const struct pieces *list, int64_t length, int64_t *bin_of, int64_t *next,
                   int64_t *head, int64_t *tail)
{
    int64_t bins = 0;
    for (int64_t s = 0; s <= length; s++) {
        head[s] = -1;
        tail[s] = -1;
    }
    for (int64_t i = 0; i < list->count; i++) {
        int64_t space = list->items[i].count;
        while (space < length && head[space] < 0) {
            space++;
        }
        int64_t bin = bins;
        if (space < length) {
            bin = head[space];
            head[space] = next[bin];
        } else {
            bins++;
        }
        bin_of[i] = bin;
        const int64_t left = space - list->items[i].count;
        next[bin] = -1;
        if (head[left] < 0) {
            head[left] = bin;
        } else {
            next[tail[left]] = bin;
        }
        tail[left] = bin;
    }
    return bins;
}

static enum status pack_bfd(const struct example_set *set, bool split, int64_t length,
                            struct example_set *out)
{
    struct pieces list = {0};
    int64_t *queues = malloc((size_t)(2 * (length + 1)) * sizeof *queues);
    enum status status = queues ? STATUS_OK : FAIL(MEMORY, "packing: no memory for %lld spaces",
                                                   (long long)length);
    for (int64_t begin = 0; status == STATUS_OK && begin < set->count; begin += BATCH) {
        const int64_t end = begin + BATCH < set->count ? begin + BATCH : set->count;
        status = collect(set, begin, end, length, split, &list);
        int64_t *bins = malloc((size_t)(2 * list.count + 1) * sizeof *bins);
        if (status == STATUS_OK && !bins) {
            status = FAIL(MEMORY, "packing: no memory for %lld sequences", (long long)list.count);
        }
        const int64_t count = status == STATUS_OK
                                  ? fit(&list, length, bins, bins + list.count, queues,
                                        queues + length + 1)
                                  : 0;
        for (int64_t b = 0; status == STATUS_OK && b < count; b++) {
            status = join(list.items, bins, list.count, b, true, out);
        }
        free(bins);
    }
    free(list.items);
    free(queues);
    return status;
}

/* Cuts the concatenation of examples [begin, end) every `length` tokens. */
static enum status wrap(const struct example_set *set, int64_t begin, int64_t end, int64_t length,
                        struct example_set *out)
{
    struct pieces row = {0};
    int64_t used = 0;
    enum status status = STATUS_OK;
    static const int64_t ONE_BIN[BATCH + 1];
    for (int64_t i = begin; status == STATUS_OK && i < end; i++) {
        const struct example *e = &set->items[i];
        for (int64_t at = 0; status == STATUS_OK && at < e->count;) {
            const int64_t room = length - used;
            const int64_t take = e->count - at < room ? e->count - at : room;
            status = pieces_push(&row, (struct piece){e, at, take, 0});
            at += take;
            used += take;
            if (status == STATUS_OK && used == length) {
                status = join(row.items, ONE_BIN, row.count, 0, false, out);
                row.count = 0;
                used = 0;
            }
        }
    }
    if (status == STATUS_OK && used > 0) {
        status = join(row.items, ONE_BIN, row.count, 0, false, out);
    }
    free(row.items);
    return status;
}

static enum status pack_wrapped(const struct example_set *set, int64_t length,
                                struct example_set *out)
{
    for (int64_t begin = 0; begin < set->count; begin += BATCH) {
        const int64_t end = begin + BATCH < set->count ? begin + BATCH : set->count;
        TRY(wrap(set, begin, end, length, out));
    }
    return STATUS_OK;
}

enum status example_set_pack(struct example_set *set, enum packing packing, int64_t length)
{
    struct example_set packed = {.dropped = set->dropped};
    if (packing == PACKING_NONE) {
        return STATUS_OK;
    }
    ASSERT(length > 0);
    const enum status status = packing == PACKING_WRAPPED
                                   ? pack_wrapped(set, length, &packed)
                                   : pack_bfd(set, packing == PACKING_BFD_SPLIT, length, &packed);
    example_set_close(status == STATUS_OK ? set : &packed);
    if (status == STATUS_OK) {
        *set = packed;
    }
    return status;
}

enum status example_set_shuffle(struct example_set *set, uint64_t seed)
{
    struct rng_pcg64 g;
    const size_t n = (size_t)set->count;
    int64_t *order = malloc(n * sizeof *order + 1);
    struct example *items = malloc(n * sizeof *items + 1);
    if (!order || !items) {
        free(order);
        free(items);
        return FAIL(MEMORY, "shuffle: no memory for %lld rows", (long long)set->count);
    }
    rng_pcg_seed(&g, seed);
    rng_pcg_permutation(&g, order, set->count);
    for (int64_t i = 0; i < set->count; i++) {
        items[i] = set->items[order[i]];
    }
    free(order);
    free(set->items);
    set->items = items;
    set->capacity = set->count;
    return STATUS_OK;
}
