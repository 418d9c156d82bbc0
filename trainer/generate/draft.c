/* Suffix automata; see draft.h. */
#include "trainer/generate/draft.h"

#include <string.h>

enum { COUNT_DEPTH = 24 }; /* endings whose occurrences a new token counts */

struct state {
    int32_t link;   /* longest ending that occurs in other places, too; -1: the root */
    int32_t length; /* of the longest text that leads here */
    int32_t count;  /* occurrences */
    int32_t edges;  /* first edge, -1 */
};

struct edge {
    int32_t from;
    int32_t id;
    int32_t to;
    int32_t next; /* of the same state */
};

struct draft {
    struct state *states;
    int64_t count;
    int64_t state_cap;
    struct edge *edges;
    int64_t edge_count;
    int64_t edge_cap;
    int32_t *hash; /* [hash_size] edge + 1 */
    int64_t hash_size;
};

/* An automaton has at most 2n states and 3n edges (Blumer et al.). */
static void sizes(int64_t prompts, int64_t tokens, struct draft *d)
{
    d->state_cap = prompts + 2 * tokens + 2;
    d->edge_cap = 3 * tokens + 2;
    d->hash_size = 64;
    while (d->hash_size < 2 * d->edge_cap) {
        d->hash_size *= 2;
    }
}

static enum status lay_out(struct arena *arena, struct draft **out, struct draft *shape)
{
    TRY(arena_alloc(arena, 1, sizeof **out, out));
    TRY(arena_alloc(arena, (size_t)shape->state_cap, sizeof *shape->states, &shape->states));
    TRY(arena_alloc(arena, (size_t)shape->edge_cap, sizeof *shape->edges, &shape->edges));
    return arena_alloc(arena, (size_t)shape->hash_size, sizeof *shape->hash, &shape->hash);
}

enum status draft_open(struct draft **out, struct arena *arena, int64_t prompts, int64_t tokens)
{
    struct draft shape = {0};
    sizes(prompts, tokens, &shape);
    TRY(lay_out(arena, out, &shape));
    if (!*out) {
        return STATUS_OK; /* measuring */
    }
    memset(shape.hash, 0, (size_t)shape.hash_size * sizeof *shape.hash);
    for (int64_t p = 0; p < prompts; p++) {
        shape.states[p] = (struct state){.link = -1, .edges = -1};
    }
    shape.count = prompts;
    **out = shape;
    return STATUS_OK;
}

int32_t draft_root(const struct draft *d, int64_t prompt)
{
    ASSERT(prompt < d->count);
    return (int32_t)prompt;
}

static int64_t slot_of(const struct draft *d, int32_t from, int32_t id)
{
    uint64_t h = ((uint64_t)(uint32_t)from << 32 | (uint32_t)id) * 0x9E3779B97F4A7C15u;
    h ^= h >> 29;
    int64_t at = (int64_t)(h & (uint64_t)(d->hash_size - 1));
    while (d->hash[at]) {
        const struct edge *e = &d->edges[d->hash[at] - 1];
        if (e->from == from && e->id == id) {
            break;
        }
        at = (at + 1) & (d->hash_size - 1);
    }
    return at;
}

/* State behind an edge, -1: none. */
static int32_t follow(const struct draft *d, int32_t from, int32_t id)
{
    const int32_t edge = d->hash[slot_of(d, from, id)];
    return edge ? d->edges[edge - 1].to : -1;
}

static void set_edge(struct draft *d, int32_t from, int32_t id, int32_t to)
{
    const int64_t at = slot_of(d, from, id);
    if (d->hash[at]) {
        d->edges[d->hash[at] - 1].to = to;
        return;
    }
    d->edges[d->edge_count] = (struct edge){from, id, to, d->states[from].edges};
    d->states[from].edges = (int32_t)d->edge_count;
    d->hash[at] = (int32_t)++d->edge_count;
}

static int64_t edges_of(const struct draft *d, int32_t state)
{
    int64_t n = 0;
    for (int32_t e = d->states[state].edges; e >= 0; e = d->edges[e].next) {
        n++;
    }
    return n;
}

static int32_t new_state(struct draft *d, int32_t length)
{
    d->states[d->count] = (struct state){.link = -1, .length = length, .edges = -1};
    return (int32_t)d->count++;
}

/* The part of `q` whose texts are no longer than `length`, as a state of its own. */
static int32_t clone(struct draft *d, int32_t p, int32_t id, int32_t q)
{
    const int32_t c = new_state(d, d->states[p].length + 1);
    d->states[c].link = d->states[q].link;
    d->states[c].count = d->states[q].count;
    for (int32_t e = d->states[q].edges; e >= 0; e = d->edges[e].next) {
        set_edge(d, c, d->edges[e].id, d->edges[e].to);
    }
    for (; p >= 0 && follow(d, p, id) == q; p = d->states[p].link) {
        set_edge(d, p, id, c);
    }
    d->states[q].link = c;
    return c;
}

/* Room for the most an extension can add: two states, the edges of a copy, one per ending. */
static bool has_room(const struct draft *d, int32_t state, int32_t id)
{
    int64_t edges = 2;
    int32_t p = state;
    for (; p >= 0 && follow(d, p, id) < 0; p = d->states[p].link) {
        edges++;
    }
    edges += p >= 0 ? edges_of(d, follow(d, p, id)) : 0;
    return d->count + 2 <= d->state_cap && d->edge_count + edges <= d->edge_cap;
}

static int32_t grow(struct draft *d, int64_t prompt, int32_t p, int32_t id)
{
    int32_t q = follow(d, p, id);
    if (q >= 0) { /* another text went on so before */
        return d->states[q].length == d->states[p].length + 1 ? q : clone(d, p, id, q);
    }
    const int32_t cur = new_state(d, d->states[p].length + 1);
    for (; p >= 0 && (q = follow(d, p, id)) < 0; p = d->states[p].link) {
        set_edge(d, p, id, cur);
    }
    if (p < 0) {
        d->states[cur].link = draft_root(d, prompt);
    } else {
        d->states[cur].link =
            d->states[q].length == d->states[p].length + 1 ? q : clone(d, p, id, q);
    }
    return cur;
}

int32_t draft_extend(struct draft *d, int64_t prompt, int32_t state, int32_t id, int32_t weight)
{
    if (state < 0 || !has_room(d, state, id)) {
        return -1;
    }
    const int32_t to = grow(d, prompt, state, id);
    int32_t at = to;
    for (int depth = 0; at >= 0 && depth < COUNT_DEPTH; depth++, at = d->states[at].link) {
        d->states[at].count += weight;
    }
    return to;
}

int64_t draft_propose(const struct draft *d, int32_t state, int64_t most, int32_t *ids,
                      int64_t *match)
{
    while (state >= 0 && d->states[state].edges < 0) {
        state = d->states[state].link;
    }
    *match = state >= 0 ? d->states[state].length : 0;
    int64_t n = 0;
    for (; state >= 0 && *match > 0 && n < most; n++) {
        int32_t best = -1;
        for (int32_t e = d->states[state].edges; e >= 0; e = d->edges[e].next) {
            if (best < 0 || d->states[d->edges[e].to].count > d->states[d->edges[best].to].count) {
                best = e;
            }
        }
        if (best < 0) {
            break;
        }
        ids[n] = d->edges[best].id;
        state = d->edges[best].to;
    }
    return n;
}
