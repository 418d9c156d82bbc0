/* Masks of allowed ids; see constraint.h. */
#include "trainer/generate/constraint.h"

#include <string.h>

enum { MASKS = 2048 };

struct constraint {
    struct regex regex;
    const struct token_bytes *bytes;
    const int32_t *stops;
    int64_t stop_count;
    int64_t words;   /* of a mask */
    int32_t *slot;   /* [states] mask of a state, -1: not in the store */
    uint64_t *store; /* [MASKS, words] */
    int64_t used;
};

void constraint_close(struct constraint *c)
{
    if (c) {
        regex_close(&c->regex);
        free(c->slot);
        free(c->store);
        free(c);
    }
}

static enum status open_store(struct constraint *c)
{
    const size_t states = (size_t)c->regex.states;
    c->words = (c->bytes->vocab + 63) / 64;
    c->slot = malloc(states * sizeof *c->slot);
    c->store = calloc(MASKS * (size_t)c->words, sizeof *c->store); /* touched as it fills */
    if (!c->slot || !c->store) {
        return FAIL(MEMORY, "regular expression: no memory for the masks of %lld ids",
                    (long long)c->bytes->vocab);
    }
    memset(c->slot, -1, states * sizeof *c->slot);
    return STATUS_OK;
}

enum status constraint_open(struct constraint **out, const char *pattern,
                            const struct token_bytes *bytes, const int32_t *stops,
                            int64_t stop_count)
{
    struct constraint *c = calloc(1, sizeof *c);
    *out = NULL;
    if (!c) {
        return FAIL(MEMORY, "regular expression: no memory");
    }
    c->bytes = bytes;
    c->stops = stops;
    c->stop_count = stop_count;
    enum status status = regex_open(&c->regex, pattern);
    if (status == STATUS_OK) {
        status = open_store(c);
    }
    if (status != STATUS_OK) {
        constraint_close(c);
        return status;
    }
    *out = c;
    return STATUS_OK;
}

static bool is_stop(const struct constraint *c, int32_t id)
{
    for (int64_t i = 0; i < c->stop_count; i++) {
        if (c->stops[i] == id) {
            return true;
        }
    }
    return false;
}

/* State behind the bytes of an id; -1: no match can come of it, or there are no bytes. */
static int32_t walk(const struct constraint *c, int32_t state, int64_t id)
{
    const int64_t begin = c->bytes->begin[id];
    const int64_t end = c->bytes->begin[id + 1];
    if (begin == end) {
        return -1;
    }
    for (int64_t i = begin; i < end && state >= 0; i++) {
        state = regex_next(&c->regex, state, c->bytes->data[i]);
    }
    return state;
}

int32_t constraint_next(const struct constraint *c, int32_t state, int32_t id)
{
    if (id < 0 || id >= c->bytes->vocab || is_stop(c, id)) {
        return state;
    }
    const int32_t next = walk(c, state, id);
    return next >= 0 ? next : state;
}

bool constraint_is_over(const struct constraint *c, int32_t state)
{
    return c->regex.accepts[state] && !c->regex.goes_on[state];
}

int64_t constraint_masks(const struct constraint *c)
{
    (void)c;
    return MASKS;
}

/* One mask being filled, by words. */
struct fill {
    const struct constraint *c;
    int32_t state;
    uint64_t *mask;
};

static void fill_words(void *ctx, int64_t begin, int64_t end, int thread)
{
    const struct fill *f = ctx;
    const int64_t vocab = f->c->bytes->vocab;
    (void)thread;
    for (int64_t w = begin; w < end; w++) {
        uint64_t bits = 0;
        for (int64_t id = w * 64; id < w * 64 + 64 && id < vocab; id++) {
            const bool may = walk(f->c, f->state, id) >= 0 && !is_stop(f->c, (int32_t)id);
            bits |= (uint64_t)may << (id % 64);
        }
        f->mask[w] = bits;
    }
}

/* Stop ids may come where the text matches, and where no id of the vocabulary leads on. */
static void allow_stops(const struct constraint *c, int32_t state, uint64_t *mask)
{
    uint64_t any = 0;
    for (int64_t w = 0; w < c->words; w++) {
        any |= mask[w];
    }
    for (int64_t i = 0; (any == 0 || c->regex.accepts[state]) && i < c->stop_count; i++) {
        if (c->stops[i] >= 0 && c->stops[i] < c->bytes->vocab) {
            mask[c->stops[i] / 64] |= (uint64_t)1 << (c->stops[i] % 64);
        }
    }
}

void constraint_prepare(struct constraint *c, const int32_t *states, int64_t count,
                        struct pool *pool)
{
    int64_t missing = 0;
    for (int64_t i = 0; i < count; i++) {
        missing += c->slot[states[i]] < 0;
    }
    if (c->used + missing > MASKS) { /* start over; all wanted states fit by contract */
        memset(c->slot, -1, (size_t)c->regex.states * sizeof *c->slot);
        c->used = 0;
    }
    for (int64_t i = 0; i < count; i++) {
        if (c->slot[states[i]] < 0) {
            ASSERT(c->used < MASKS);
            struct fill f = {.c = c, .state = states[i], .mask = c->store + c->used * c->words};
            parallel_for(pool, c->words, fill_words, &f);
            allow_stops(c, states[i], f.mask);
            c->slot[states[i]] = (int32_t)c->used++;
        }
    }
}

const uint64_t *constraint_mask(const struct constraint *c, int32_t state)
{
    ASSERT(c->slot[state] >= 0);
    return c->store + c->slot[state] * c->words;
}
