/* Paged K/V; see cache.h. */
#include "trainer/model/cache.h"

#include <inttypes.h>
#include <string.h>

#include "kernels/base/checked.h"

struct cache_sequence {
    bool used;
    int64_t length;
    int64_t pages;
    int32_t *page; /* [pages] in logical order; page_limit long */
    int32_t *rows; /* [length]; shape.length long */
};

struct kv_cache {
    struct kv_cache_shape shape;
    struct arena arena;
    int64_t page_limit;  /* pages of the longest sequence */
    int64_t free_pages;
    int32_t *free_page;  /* [free_pages] stack */
    int32_t *references; /* [pages] sequences that hold the page */
    struct cache_sequence *seq;
    unsigned char *keys;   /* [layers, pages * page, kv_dim] of row_bytes / kv_dim each */
    unsigned char *values;
    int64_t row_bytes;
};

static int64_t pages_for(const struct kv_cache *c, int64_t length)
{
    return (length + c->shape.page - 1) / c->shape.page;
}

/* The shape with its defaults filled in. */
static struct kv_cache_shape filled(const struct kv_cache_shape *shape)
{
    struct kv_cache_shape s = *shape;
    s.page = s.page > 0 ? s.page : CACHE_PAGE;
    return s;
}

/* Lays the cache out in an arena (measuring: only sizes). */
static enum status lay_out(struct kv_cache *c, struct arena *a)
{
    const struct kv_cache_shape *s = &c->shape;
    const size_t rows = (size_t)s->pages * (size_t)s->page;
    const size_t sequences = (size_t)s->sequences;
    size_t floats;
    size_t slots;
    if (!checked_mul(rows, (size_t)s->kv_dim, &floats)
        || !checked_mul(floats, (size_t)s->layers, &floats)
        || !checked_mul(sequences, (size_t)(s->length + c->page_limit), &slots)) {
        return FAIL(MEMORY, "K/V cache: %" PRId64 " pages overflow the address space", s->pages);
    }
    TRY(arena_alloc(a, (size_t)s->pages, sizeof(int32_t), &c->free_page));
    TRY(arena_alloc(a, (size_t)s->pages, sizeof(int32_t), &c->references));
    TRY(arena_alloc(a, sequences, sizeof *c->seq, &c->seq));
    int32_t *place;
    TRY(arena_alloc(a, slots, sizeof(int32_t), &place));
    for (int64_t i = 0; place && i < s->sequences; i++) {
        c->seq[i].page = place + i * (s->length + c->page_limit);
        c->seq[i].rows = c->seq[i].page + c->page_limit;
    }
    const size_t element = s->rounded ? sizeof(uint16_t) : sizeof(float);
    c->row_bytes = s->kv_dim * (int64_t)element;
    TRY(arena_alloc(a, floats, element, &c->keys));
    return arena_alloc(a, floats, element, &c->values);
}

static enum status check_shape(const struct kv_cache_shape *s)
{
    if (s->layers < 1 || s->kv_dim < 1 || s->pages < 1 || s->sequences < 1 || s->length < 1
        || s->page % OPS_ATTN_BLOCK != 0 || s->pages > INT32_MAX / s->page
        || s->length > INT32_MAX) {
        return FAIL(MEMORY,
                    "K/V cache: %" PRId64 " pages of %" PRId64 " positions for %" PRId64
                    " sequences of %" PRId64 " is no possible size; change rollout_pages",
                    s->pages, s->page, s->sequences, s->length);
    }
    return STATUS_OK;
}

static enum status measure(const struct kv_cache_shape *shape, size_t *bytes)
{
    struct arena a;
    struct kv_cache c = {.shape = filled(shape)};
    TRY(check_shape(&c.shape));
    c.page_limit = pages_for(&c, shape->length);
    arena_open_measure(&a, "K/V cache");
    TRY(lay_out(&c, &a));
    *bytes = a.peak;
    return STATUS_OK;
}

size_t kv_cache_bytes(const struct kv_cache_shape *shape)
{
    size_t bytes;
    return measure(shape, &bytes) == STATUS_OK ? bytes : SIZE_MAX;
}

enum status kv_cache_open(struct kv_cache **out, const struct kv_cache_shape *shape)
{
    enum status status = STATUS_OK;
    size_t bytes;
    *out = NULL;
    TRY(measure(shape, &bytes));
    struct kv_cache *c = calloc(1, sizeof *c);
    if (!c) {
        return FAIL(MEMORY, "K/V cache: no memory");
    }
    c->shape = filled(shape);
    c->page_limit = pages_for(c, shape->length);
    TRY_TO(status, fail, arena_open(&c->arena, "K/V cache", bytes));
    TRY_TO(status, fail, lay_out(c, &c->arena));
    for (int64_t i = 0; i < shape->pages; i++) { /* the lowest page is taken first */
        c->free_page[i] = (int32_t)(shape->pages - 1 - i);
    }
    c->free_pages = shape->pages;
    *out = c;
    return STATUS_OK;
fail:
    kv_cache_close(c);
    return status_prefix(status, "%" PRId64 " pages (rollout_pages): ", shape->pages);
}

void kv_cache_close(struct kv_cache *c)
{
    if (c) {
        arena_close(&c->arena);
        free(c);
    }
}

static struct cache_sequence *sequence(const struct kv_cache *c, int64_t seq)
{
    ASSERT(seq >= 0 && seq < c->shape.sequences && c->seq[seq].used);
    return &c->seq[seq];
}

static enum status need_pages(const struct kv_cache *c, int64_t count)
{
    if (count > c->free_pages) {
        return FAIL(MEMORY,
                    "K/V cache: %" PRId64 " more pages needed, %" PRId64 " of %" PRId64
                    " are free; raise rollout_pages or lower rollout_rows",
                    count, c->free_pages, c->shape.pages);
    }
    return STATUS_OK;
}

static int32_t take_page(struct kv_cache *c)
{
    const int32_t page = c->free_page[--c->free_pages];
    c->references[page] = 1;
    return page;
}

static void drop_page(struct kv_cache *c, int32_t page)
{
    if (--c->references[page] == 0) {
        c->free_page[c->free_pages++] = page;
    }
}

/* Copies the first `positions` rows of a page, keys and values of every layer. */
static void copy_page(struct kv_cache *c, int32_t from, int32_t to, int64_t positions)
{
    const int64_t page = c->shape.page * c->row_bytes;
    const size_t bytes = (size_t)(positions * c->row_bytes);
    for (int64_t l = 0; l < c->shape.layers; l++) {
        unsigned char *keys = kv_cache_keys(c, l);
        unsigned char *values = kv_cache_values(c, l);
        memcpy(keys + to * page, keys + from * page, bytes);
        memcpy(values + to * page, values + from * page, bytes);
    }
}

/* Rows of positions [begin, end) from the page table. */
static void fill_rows(const struct kv_cache *c, struct cache_sequence *s, int64_t begin,
                      int64_t end)
{
    const int64_t page = c->shape.page;
    for (int64_t i = begin; i < end; i++) {
        s->rows[i] = (int32_t)(s->page[i / page] * page + i % page);
    }
}

enum status kv_cache_new(struct kv_cache *c, int64_t *seq)
{
    for (int64_t i = 0; i < c->shape.sequences; i++) {
        struct cache_sequence *s = &c->seq[i];
        if (!s->used) {
            s->used = true;
            s->length = 0;
            s->pages = 0;
            *seq = i;
            return STATUS_OK;
        }
    }
    return FAIL(MEMORY, "K/V cache: all %" PRId64 " sequences are in use; raise rollout_rows",
                c->shape.sequences);
}

enum status kv_cache_fork(struct kv_cache *c, int64_t from, int64_t length, int64_t *seq)
{
    const struct cache_sequence *source = sequence(c, from);
    const int64_t full = length / c->shape.page;
    const int64_t rest = length % c->shape.page;
    ASSERT(length >= 0 && length <= source->length);
    TRY(need_pages(c, rest > 0));
    TRY(kv_cache_new(c, seq));
    struct cache_sequence *s = &c->seq[*seq];
    for (int64_t i = 0; i < full; i++) {
        s->page[i] = source->page[i];
        c->references[s->page[i]]++;
    }
    s->pages = full;
    if (rest > 0) {
        s->page[s->pages++] = take_page(c);
        copy_page(c, source->page[full], s->page[full], rest);
    }
    s->length = length;
    fill_rows(c, s, 0, length);
    return STATUS_OK;
}

enum status kv_cache_append(struct kv_cache *c, int64_t seq, int64_t count)
{
    struct cache_sequence *s = sequence(c, seq);
    ASSERT(count >= 0);
    if (count > c->shape.length - s->length) {
        return FAIL(MEMORY,
                    "K/V cache: %" PRId64 " more positions after %" PRId64
                    " exceed the longest sequence of %" PRId64,
                    count, s->length, c->shape.length);
    }
    const int64_t last = s->pages - 1;
    const int64_t rest = s->length % c->shape.page;
    /* After a truncation the last page may be one that others share beyond our length. */
    const bool shared = count > 0 && rest > 0 && c->references[s->page[last]] > 1;
    const int64_t pages = pages_for(c, s->length + count);
    TRY(need_pages(c, pages - s->pages + shared));
    if (shared) {
        const int32_t old = s->page[last];
        s->page[last] = take_page(c);
        copy_page(c, old, s->page[last], rest);
        drop_page(c, old);
        fill_rows(c, s, last * c->shape.page, s->length);
    }
    while (s->pages < pages) {
        s->page[s->pages++] = take_page(c);
    }
    fill_rows(c, s, s->length, s->length + count);
    s->length += count;
    return STATUS_OK;
}

void kv_cache_truncate(struct kv_cache *c, int64_t seq, int64_t length)
{
    struct cache_sequence *s = sequence(c, seq);
    ASSERT(length >= 0 && length <= s->length);
    while (s->pages > pages_for(c, length)) {
        drop_page(c, s->page[--s->pages]);
    }
    s->length = length;
}

void kv_cache_free(struct kv_cache *c, int64_t seq)
{
    kv_cache_truncate(c, seq, 0);
    c->seq[seq].used = false;
}

int64_t kv_cache_length(const struct kv_cache *c, int64_t seq)
{
    return sequence(c, seq)->length;
}

int64_t kv_cache_free_pages(const struct kv_cache *c)
{
    return c->free_pages;
}

const int32_t *kv_cache_rows(const struct kv_cache *c, int64_t seq)
{
    return sequence(c, seq)->rows;
}

bool kv_cache_rounded(const struct kv_cache *c)
{
    return c->shape.rounded;
}

static void *layer_rows(const struct kv_cache *c, unsigned char *base, int64_t layer)
{
    ASSERT(layer >= 0 && layer < c->shape.layers);
    return base + layer * c->shape.pages * c->shape.page * c->row_bytes;
}

void *kv_cache_keys(const struct kv_cache *c, int64_t layer)
{
    return layer_rows(c, c->keys, layer);
}

void *kv_cache_values(const struct kv_cache *c, int64_t layer)
{
    return layer_rows(c, c->values, layer);
}
