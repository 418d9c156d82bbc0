/*
 * Unigram models: the best path over byte positions by the sum of scores (Viterbi), then pieces
 * outside the vocabulary are fused and become bytes or the unknown token.
 */
#include <string.h>

#include "trainer/text/tokenizer_internal.h"

/* Best path up to a byte position. */
struct tok_node {
    double score;
    int32_t id;    /* of the last piece, -1: not reached; the model's unk for unknown characters */
    int32_t begin; /* where the last piece starts */
    int32_t next;  /* on the best path of the whole: where the piece that starts here ends */
};

void tok_unigram_free(struct tok_unigram *m)
{
    tok_trie_free(&m->trie);
    free(m->scores);
    memset(m, 0, sizeof(*m));
}

static void relax(struct tok_node *node, double score, int32_t id, int32_t begin)
{
    if (node->id < 0 || score > node->score) {
        *node = (struct tok_node){.score = score, .id = id, .begin = begin};
    }
}

/* nodes[i] = best path to byte i of the piece. */
static void forward(const struct tok_unigram *m, struct tok_node *nodes, const char *bytes,
                    int32_t n)
{
    for (int32_t i = 0; i <= n; i++) {
        nodes[i] = (struct tok_node){.id = -1};
    }
    for (int32_t at = 0; at < n;) {
        size_t size;
        (void)tok_utf8_get(bytes + at, &size);
        const int32_t next = at + (int32_t)size;
        const double base = nodes[at].score;
        bool single = false;
        int32_t node = 0;
        for (int32_t i = at; i < n; i++) {
            node = tok_trie_step(&m->trie, node, bytes[i]);
            if (node < 0) {
                break;
            }
            const int32_t id = m->trie.values[node];
            if (id >= 0) {
                relax(&nodes[i + 1], base + m->scores[id], id, at);
                single = single || i + 1 == next;
            }
        }
        if (!single) {
            relax(&nodes[next], base + m->unk_score, m->unk, at);
        }
        at = next;
    }
}

/* Pushes a stretch of unknown characters: the token of that text, bytes, or the unknown token. */
static enum status push_unknown(const struct tok_unigram *m, const struct tok_vocab *v,
                                const struct tok_text *text, struct tok_range r,
                                struct tok_sink *sink)
{
    const int32_t whole = tok_vocab_find(v, text->data + r.begin, (size_t)(r.end - r.begin));
    bool bytes = m->byte_fallback && whole < 0;
    for (int32_t i = r.begin; bytes && i < r.end; i++) {
        bytes = m->bytes[(uint8_t)text->data[i]] >= 0;
    }
    if (!bytes) {
        return tok_sink_push_text(sink, whole >= 0 ? whole : m->unk, text, r.begin, r.end);
    }
    for (int32_t i = r.begin; i < r.end; i++) {
        TRY(tok_sink_push_text(sink, m->bytes[(uint8_t)text->data[i]], text, i, i + 1));
    }
    return STATUS_OK;
}

enum status tok_unigram_encode(const struct tok_unigram *m, const struct tok_vocab *v,
                               struct tok_scratch *s, const struct tok_text *text,
                               struct tok_range piece, struct tok_sink *sink)
{
    const int32_t n = piece.end - piece.begin;
    TRY(tok_grow(&s->nodes, &s->node_capacity, (int64_t)n + 1, sizeof(*s->nodes)));
    forward(m, s->nodes, text->data + piece.begin, n);
    for (int32_t at = n; at > 0; at = s->nodes[at].begin) {
        s->nodes[s->nodes[at].begin].next = at;
    }
    for (int32_t at = 0; at < n;) {
        int32_t end = s->nodes[at].next;
        if (s->nodes[end].id == m->unk) {
            while (end < n && s->nodes[s->nodes[end].next].id == m->unk) {
                end = s->nodes[end].next;
            }
            TRY(push_unknown(m, v, text, (struct tok_range){.begin = piece.begin + at,
                                                            .end = piece.begin + end}, sink));
        } else {
            TRY(tok_sink_push_text(sink, s->nodes[end].id, text, piece.begin + at,
                                   piece.begin + end));
        }
        at = end;
    }
    return STATUS_OK;
}
