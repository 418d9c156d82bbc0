/*
 * Byte pair encoding of one piece: a heap of candidate merges over a linked list of symbols,
 * O(n log n) for any piece. Candidates are not removed when their symbols change; a popped one
 * counts only if its place still merges to the same token.
 *
 * Three orders: by the rank of a list of merges; by the highest score of the joined token
 * (SentencePiece vocabularies without merges); by the joined token's id and the left part's length
 * (how merges of Gemma vocabularies are rebuilt).
 */
#include <string.h>

#include "trainer/text/tokenizer_internal.h"

struct tok_symbol {
    int32_t id; /* -1: no token of its own (BY_SCORE: may still become part of one) */
    int32_t begin;
    int32_t length; /* bytes, 0: merged into its left neighbour */
    int32_t previous;
    int32_t next;
};

struct tok_candidate {
    double key;
    int32_t position;
    int32_t id;
};

void tok_byte_tokens(const struct tok_vocab *v, int32_t out[256])
{
    for (int b = 0; b < 256; b++) {
        char name[8];
        const int n = snprintf(name, sizeof(name), "<0x%02X>", b);
        out[b] = tok_vocab_find(v, name, (size_t)n);
    }
}

void tok_bpe_prepare(struct tok_bpe *m, const struct tok_vocab *v)
{
    for (int32_t cp = 0; cp < TOK_SMALL_CHARS; cp++) {
        char bytes[4];
        m->small[cp] = tok_vocab_find(v, bytes, tok_utf8_put(cp, bytes));
    }
    tok_byte_tokens(v, m->bytes);
}

void tok_bpe_free(struct tok_bpe *m)
{
    free(m->merges.slots);
    free(m->scores);
    free(m->prefix.data);
    free(m->suffix.data);
    memset(m, 0, sizeof(*m));
}

static enum status add_symbol(struct tok_scratch *s, int32_t id, int32_t begin, int32_t length)
{
    TRY(tok_grow(&s->symbols, &s->symbol_capacity, s->symbol_count + 1, sizeof(*s->symbols)));
    const int32_t place = (int32_t)s->symbol_count++;
    s->symbols[place] = (struct tok_symbol){.id = id, .begin = begin, .length = length,
                                            .previous = place - 1, .next = place + 1};
    return STATUS_OK;
}

/* Id of one character with the subword prefix and suffix where they apply; -1: none. */
static enum status char_id(const struct tok_bpe *m, const struct tok_vocab *v, const char *bytes,
                           size_t n, bool affixed[2], int32_t *id)
{
    struct tok_text whole = {0};
    enum status status = STATUS_OK;
    if (affixed[0]) {
        TRY_TO(status, done, tok_text_append(&whole, m->prefix.data, m->prefix.length, 0, 0));
    }
    TRY_TO(status, done, tok_text_append(&whole, bytes, n, 0, 0));
    if (affixed[1]) {
        TRY_TO(status, done, tok_text_append(&whole, m->suffix.data, m->suffix.length, 0, 0));
    }
    *id = tok_vocab_find(v, whole.data, whole.length);
done:
    tok_text_free(&whole);
    return status;
}

/* The unknown token that waits to see whether the next character joins it. */
struct pending {
    bool any;
    int32_t begin;
    int32_t length;
};

static enum status flush_unknown(const struct tok_bpe *m, struct tok_scratch *s,
                                 struct pending *unk)
{
    if (unk->any) {
        unk->any = false;
        return add_symbol(s, m->unk, unk->begin, unk->length);
    }
    return STATUS_OK;
}

/* True when every byte has a token; they become the symbols. */
static enum status byte_symbols(const int32_t bytes[256], struct tok_scratch *s,
                                const struct tok_text *text, int32_t begin, int32_t n, bool *done)
{
    *done = false;
    for (int32_t i = 0; i < n; i++) {
        if (bytes[(uint8_t)text->data[begin + i]] < 0) {
            return STATUS_OK;
        }
    }
    for (int32_t i = 0; i < n; i++) {
        TRY(add_symbol(s, bytes[(uint8_t)text->data[begin + i]], begin + i, 1));
    }
    *done = true;
    return STATUS_OK;
}

/* A character without a token: bytes, the unknown token, or nothing at all. */
static enum status unknown_char(const struct tok_bpe *m, struct tok_scratch *s,
                                const struct tok_text *text, struct tok_range c,
                                struct pending *unk)
{
    if (m->byte_fallback) {
        bool done;
        TRY(byte_symbols(m->bytes, s, text, c.begin, c.end - c.begin, &done));
        if (done) {
            return STATUS_OK;
        }
    }
    if (m->unk == TOK_UNK_MISSING) {
        return FAIL(INPUT, "tokenizer: the text needs model.unk_token, which is not in the "
                           "vocabulary");
    }
    if (m->unk == TOK_UNK_NONE) {
        return STATUS_OK;
    }
    if (unk->any && m->fuse_unk) {
        unk->length += c.end - c.begin;
        return STATUS_OK;
    }
    TRY(flush_unknown(m, s, unk));
    *unk = (struct pending){.any = true, .begin = c.begin, .length = c.end - c.begin};
    return STATUS_OK;
}

/* Cuts the piece into its first symbols, one per character. */
static enum status first_symbols(const struct tok_bpe *m, const struct tok_vocab *v,
                                 struct tok_scratch *s, const struct tok_text *text,
                                 struct tok_range piece)
{
    struct pending unk = {0};
    s->symbol_count = 0;
    for (int32_t i = piece.begin; i < piece.end;) {
        size_t size;
        const char *bytes = text->data + i;
        const int32_t cp = tok_utf8_get(bytes, &size);
        const int32_t end = i + (int32_t)size;
        bool affixed[2] = {m->prefix.length > 0 && i > piece.begin,
                           m->suffix.length > 0 && end == piece.end};
        int32_t id = -1;
        if (affixed[0] || affixed[1]) {
            TRY(char_id(m, v, bytes, size, affixed, &id));
        } else {
            id = cp < TOK_SMALL_CHARS ? m->small[cp] : tok_vocab_find(v, bytes, size);
        }
        if (id >= 0 || m->order == TOK_BY_SCORE) {
            TRY(flush_unknown(m, s, &unk));
            TRY(add_symbol(s, id, i, (int32_t)size));
        } else {
            TRY(unknown_char(m, s, text, (struct tok_range){.begin = i, .end = end}, &unk));
        }
        i = end;
    }
    TRY(flush_unknown(m, s, &unk));
    if (s->symbol_count > 0) {
        s->symbols[s->symbol_count - 1].next = -1;
    }
    return STATUS_OK;
}

static int32_t count_chars(const char *bytes, int32_t n)
{
    int32_t count = 0;
    for (int32_t i = 0; i < n; i++) {
        count += (bytes[i] & 0xC0) != 0x80;
    }
    return count;
}

struct merger {
    const struct tok_bpe *m;
    const struct tok_vocab *v;
    struct tok_scratch *s;
    const struct tok_text *text;
};

/* What the symbols at `position` and behind it merge to. */
static bool find_merge(const struct merger *g, int32_t position, struct tok_candidate *out)
{
    const struct tok_symbol *left = &g->s->symbols[position];
    const struct tok_symbol *right = &g->s->symbols[left->next];
    out->position = position;
    if (g->m->order == TOK_BY_RANK) {
        const struct tok_pair *pair = tok_pairs_get(&g->m->merges, left->id, right->id);
        if (pair == NULL) {
            return false;
        }
        out->key = pair->rank;
        out->id = pair->id;
        return true;
    }
    const char *bytes = g->text->data + left->begin;
    const bool by_score = g->m->order == TOK_BY_SCORE;
    if (!by_score && (left->id < 0 || right->id < 0)) {
        return false;
    }
    out->id = tok_vocab_find(g->v, bytes, (size_t)left->length + (size_t)right->length);
    if (out->id < 0) {
        return false;
    }
    out->key = by_score ? -(double)g->m->scores[out->id]
                        : out->id * 65536.0 + count_chars(bytes, left->length);
    return true;
}

static bool before(const struct tok_candidate *a, const struct tok_candidate *b)
{
    return a->key < b->key || (!(b->key < a->key) && a->position < b->position);
}

static enum status push(struct tok_scratch *s, struct tok_candidate c)
{
    TRY(tok_grow(&s->heap, &s->heap_capacity, s->heap_count + 1, sizeof(*s->heap)));
    int64_t i = s->heap_count++;
    for (; i > 0 && before(&c, &s->heap[(i - 1) / 2]); i = (i - 1) / 2) {
        s->heap[i] = s->heap[(i - 1) / 2];
    }
    s->heap[i] = c;
    return STATUS_OK;
}

static struct tok_candidate pop(struct tok_scratch *s)
{
    const struct tok_candidate top = s->heap[0];
    const struct tok_candidate last = s->heap[--s->heap_count];
    int64_t i = 0;
    for (;;) {
        int64_t child = 2 * i + 1;
        if (child >= s->heap_count) {
            break;
        }
        if (child + 1 < s->heap_count && before(&s->heap[child + 1], &s->heap[child])) {
            child++;
        }
        if (!before(&s->heap[child], &last)) {
            break;
        }
        s->heap[i] = s->heap[child];
        i = child;
    }
    s->heap[i] = last;
    return top;
}

static enum status push_merge(const struct merger *g, int32_t position)
{
    struct tok_candidate c;
    if (position < 0 || g->s->symbols[position].next < 0 || !find_merge(g, position, &c)) {
        return STATUS_OK;
    }
    return push(g->s, c);
}

static enum status merge_all(const struct merger *g)
{
    struct tok_scratch *s = g->s;
    s->heap_count = 0;
    for (int32_t i = 0; i + 1 < s->symbol_count; i++) {
        TRY(push_merge(g, i));
    }
    while (s->heap_count > 0) {
        const struct tok_candidate top = pop(s);
        struct tok_symbol *left = &s->symbols[top.position];
        struct tok_candidate now;
        if (left->length == 0 || left->next < 0 || !find_merge(g, top.position, &now) ||
            now.id != top.id) {
            continue;
        }
        struct tok_symbol *right = &s->symbols[left->next];
        left->id = top.id;
        left->length = right->begin + right->length - left->begin;
        left->next = right->next;
        right->length = 0;
        if (left->next >= 0) {
            s->symbols[left->next].previous = top.position;
        }
        TRY(push_merge(g, left->previous));
        TRY(push_merge(g, top.position));
    }
    return STATUS_OK;
}

/* A symbol that never became a token: its bytes, else the unknown token. */
static enum status push_bytes(const struct merger *g, const struct tok_symbol *symbol,
                              struct tok_sink *sink)
{
    for (int32_t i = 0; i < symbol->length; i++) {
        const int32_t id = g->m->bytes[(uint8_t)g->text->data[symbol->begin + i]];
        if (id >= 0) {
            TRY(tok_sink_push_text(sink, id, g->text, symbol->begin + i, symbol->begin + i + 1));
        } else if (g->m->unk >= 0) {
            TRY(tok_sink_push_text(sink, g->m->unk, g->text, symbol->begin + i,
                                   symbol->begin + i + 1));
        }
    }
    return STATUS_OK;
}

enum status tok_bpe_encode(const struct tok_bpe *m, const struct tok_vocab *v,
                           struct tok_scratch *scratch, const struct tok_text *text,
                           struct tok_range piece, struct tok_sink *sink)
{
    const struct merger g = {.m = m, .v = v, .s = scratch, .text = text};
    if (m->ignore_merges) {
        const int32_t id = tok_vocab_find(v, text->data + piece.begin,
                                          (size_t)(piece.end - piece.begin));
        if (id >= 0) {
            return tok_sink_push_text(sink, id, text, piece.begin, piece.end);
        }
    }
    TRY(first_symbols(m, v, scratch, text, piece));
    TRY(merge_all(&g));
    for (int64_t i = 0; i < scratch->symbol_count; i++) {
        const struct tok_symbol *symbol = &scratch->symbols[i];
        if (symbol->length == 0) {
            continue;
        }
        if (symbol->id < 0) {
            TRY(push_bytes(&g, symbol, sink));
        } else {
            TRY(tok_sink_push_text(sink, symbol->id, text, symbol->begin,
                                   symbol->begin + symbol->length));
        }
    }
    return STATUS_OK;
}
