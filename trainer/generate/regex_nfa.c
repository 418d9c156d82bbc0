/* Syntax trees to Thompson's automaton over UTF-8 bytes, built from the end to the start. */
#include "trainer/generate/regex_internal.h"

struct builder {
    struct regex_nfa *n;
    const struct regex_tree *t;
};

void regex_nfa_close(struct regex_nfa *n)
{
    free(n->states);
    *n = (struct regex_nfa){0};
}

static enum status add_state(struct builder *b, struct regex_state s, int32_t *out)
{
    if (b->n->count >= REGEX_NFA_STATES) {
        return FAIL(RECIPE, "regular expression: written out it has more than %d states; use fewer or "
                            "smaller repetitions", REGEX_NFA_STATES);
    }
    *out = b->n->count;
    b->n->states[b->n->count++] = s;
    return STATUS_OK;
}

static enum status add_split(struct builder *b, int32_t first, int32_t second, int32_t *out)
{
    return add_state(b, (struct regex_state){.out = first, .out1 = second, .low = -1}, out);
}

/* Code points of one encoded length whose first bytes agree as far as needed: a chain of byte
 * ranges in front of `next`, joined to *out (-1: nothing yet) by a split. */
static enum status add_chain(struct builder *b, const uint8_t low[4], const uint8_t high[4],
                             int size, int32_t next, int32_t *out)
{
    int32_t at = next;
    for (int i = size - 1; i >= 0; i--) {
        TRY(add_state(b, (struct regex_state){.out = at, .out1 = -1, .low = low[i],
                                              .high = high[i]}, &at));
    }
    if (*out < 0) {
        *out = at;
        return STATUS_OK;
    }
    return add_split(b, *out, at, out);
}

static int encode(int32_t point, uint8_t out[4])
{
    if (point < 0x80) {
        out[0] = (uint8_t)point;
        return 1;
    }
    if (point < 0x800) {
        out[0] = (uint8_t)(0xC0 | point >> 6);
        out[1] = (uint8_t)(0x80 | (point & 0x3F));
        return 2;
    }
    if (point < 0x10000) {
        out[0] = (uint8_t)(0xE0 | point >> 12);
        out[1] = (uint8_t)(0x80 | (point >> 6 & 0x3F));
        out[2] = (uint8_t)(0x80 | (point & 0x3F));
        return 3;
    }
    out[0] = (uint8_t)(0xF0 | point >> 18);
    out[1] = (uint8_t)(0x80 | (point >> 12 & 0x3F));
    out[2] = (uint8_t)(0x80 | (point >> 6 & 0x3F));
    out[3] = (uint8_t)(0x80 | (point & 0x3F));
    return 4;
}

/* Cuts [low, high] where the encoded length changes and where trailing bytes are not full ranges.
 */
static enum status add_points(struct builder *b, int32_t low, int32_t high, int32_t next,
                              int32_t *out)
{
    static const int32_t LAST[4] = {0x7F, 0x7FF, 0xFFFF, 0x10FFFF};
    while (low <= high) {
        int32_t end = high;
        if (low >= 0xD800 && low <= 0xDFFF) { /* surrogates are no text */
            low = 0xE000;
            continue;
        }
        end = low < 0xD800 && end > 0xD7FF ? 0xD7FF : end;
        for (int i = 0; i < 4; i++) {
            if (low <= LAST[i] && end > LAST[i]) {
                end = LAST[i];
            }
        }
        uint8_t first[4];
        uint8_t last[4];
        const int size = encode(low, first);
        for (int bits = 6; bits < 6 * size; bits += 6) {
            const int32_t mask = (1 << bits) - 1;
            if ((low & ~mask) != (end & ~mask)) {
                if (low & mask) {
                    end = (low | mask) < end ? low | mask : end;
                } else if ((end & mask) != mask) {
                    end = (end & ~mask) - 1;
                }
            }
        }
        (void)encode(end, last);
        TRY(add_chain(b, first, last, size, next, out));
        low = end + 1;
    }
    return STATUS_OK;
}

static enum status build(struct builder *b, int32_t node, int32_t next, int32_t *out);

static enum status build_set(struct builder *b, const struct regex_node *n, int32_t next,
                             int32_t *out)
{
    *out = -1;
    for (int32_t i = 0; i < n->b; i++) {
        const struct regex_range *r = &b->t->ranges[n->a + i];
        TRY(add_points(b, r->low, r->high, next, out));
    }
    /* An empty class matches nothing: a range that no byte is in. */
    return *out >= 0 ? STATUS_OK
                     : add_state(b, (struct regex_state){.out = next, .out1 = -1, .low = 1}, out);
}

static enum status build_repeat(struct builder *b, const struct regex_node *n, int32_t next,
                                int32_t *out)
{
    int32_t at = next;
    if (n->max < 0) {
        int32_t body;
        TRY(add_split(b, next, next, &at));
        TRY(build(b, n->a, at, &body));
        b->n->states[at].out = body;
    }
    for (int32_t i = n->min; i < n->max; i++) {
        int32_t body;
        TRY(build(b, n->a, at, &body));
        TRY(add_split(b, body, next, &at));
    }
    for (int32_t i = 0; i < n->min; i++) {
        TRY(build(b, n->a, at, &at));
    }
    *out = at;
    return STATUS_OK;
}

static enum status build(struct builder *b, int32_t node, int32_t next, int32_t *out)
{
    const struct regex_node *n = &b->t->nodes[node];
    int32_t first;
    int32_t second;
    switch (n->kind) {
    case REGEX_SET:
        return build_set(b, n, next, out);
    case REGEX_CAT:
        TRY(build(b, n->b, next, &second));
        return build(b, n->a, second, out);
    case REGEX_ALT:
        TRY(build(b, n->a, next, &first));
        TRY(build(b, n->b, next, &second));
        return add_split(b, first, second, out);
    case REGEX_REPEAT:
        return build_repeat(b, n, next, out);
    default:
        *out = next;
        return STATUS_OK;
    }
}

enum status regex_build_nfa(struct regex_nfa *n, const struct regex_tree *t)
{
    struct builder b = {.n = n, .t = t};
    int32_t end;
    *n = (struct regex_nfa){.states = malloc(REGEX_NFA_STATES * sizeof *n->states)};
    if (!n->states) {
        return FAIL(MEMORY, "regular expression: no memory");
    }
    TRY(add_state(&b, (struct regex_state){.out = -1, .out1 = -1, .low = -2}, &end));
    return build(&b, t->root, end, &n->start);
}
