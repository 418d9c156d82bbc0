/* Encoding: the stages of tokenizer_internal.h in order, and the scratch they share. */
#include <string.h>

#include "trainer/text/tokenizer_internal.h"

void tok_scratch_free(struct tok_scratch *s)
{
    free(s->symbols);
    free(s->heap);
    free(s->nodes);
    memset(s, 0, sizeof(*s));
}

void tok_work_free(struct tok_work *w)
{
    tok_text_free(&w->clean);
    for (int i = 0; i < 2; i++) {
        tok_text_free(&w->normal[i]);
        tok_text_free(&w->split[i]);
        free(w->pieces[i].items);
    }
    free(w->outer.items);
    free(w->inner.items);
    free(w->matches.items);
    tok_regex_run_close(&w->run);
    tok_scratch_free(&w->scratch);
}

enum status tok_sink_push(struct tok_sink *s, int32_t id, int64_t begin, int64_t end)
{
    TRY(token_list_push(s->ids, id));
    if (s->want_spans) {
        TRY(tok_grow(&s->spans, &s->span_capacity, s->span_count + 1, sizeof(*s->spans)));
        s->spans[s->span_count][0] = begin;
        s->spans[s->span_count][1] = end;
        s->span_count++;
    }
    return STATUS_OK;
}

enum status tok_sink_push_text(struct tok_sink *s, int32_t id, const struct tok_text *text,
                               int32_t begin, int32_t end)
{
    if (!s->want_spans || begin >= end) {
        return tok_sink_push(s, id, 0, 0);
    }
    return tok_sink_push(s, id, text->origin[begin][0], text->origin[end - 1][1]);
}

/* A stretch of normalized text without added tokens. */
static enum status encode_text(const struct tokenizer *t, struct tok_work *w,
                               const struct tok_text *text, struct tok_range range,
                               struct tok_sink *sink)
{
    const struct tok_text *split;
    const struct tok_ranges *pieces;
    TRY(tok_split(&t->splitter, w, text, range, &split, &pieces));
    for (int64_t i = 0; i < pieces->count; i++) {
        const struct tok_range piece = pieces->items[i];
        if (piece.begin == piece.end) {
            continue;
        }
        if (t->model == TOK_MODEL_UNIGRAM) {
            TRY(tok_unigram_encode(&t->unigram, &t->vocab, &w->scratch, split, piece, sink));
        } else {
            TRY(tok_bpe_encode(&t->bpe, &t->vocab, &w->scratch, split, piece, sink));
        }
    }
    return STATUS_OK;
}

/* A stretch of raw text without raw added tokens. */
static enum status encode_raw(const struct tokenizer *t, struct tok_work *w,
                              struct tok_range range, unsigned flags, struct tok_sink *sink)
{
    const struct tok_text *normal;
    TRY(tok_normalize(&t->normalizer, w, &w->clean, range, &normal));
    const struct tok_match_args args = {
        .text = normal,
        .range = {.begin = 0, .end = (int32_t)normal->length, .id = -1, .first = range.first},
        .normalized = true,
        .no_special_text = (flags & TOKENIZE_NO_SPECIAL_TEXT) != 0,
        .run = &w->run};
    w->inner.count = 0;
    TRY(tok_added_match(t, &args, &w->inner));
    for (int64_t i = 0; i < w->inner.count; i++) {
        const struct tok_range r = w->inner.items[i];
        if (r.id >= 0) {
            TRY(tok_sink_push_text(sink, r.id, normal, r.begin, r.end));
        } else {
            TRY(encode_text(t, w, normal, r, sink));
        }
    }
    return STATUS_OK;
}

static enum status push_all(struct tok_sink *sink, const struct token_list *ids, int64_t at)
{
    for (int64_t i = 0; i < ids->count; i++) {
        TRY(tok_sink_push(sink, ids->ids[i], at, at));
    }
    return STATUS_OK;
}

static enum status encode_all(const struct tokenizer *t, struct tok_work *w, const char *text,
                              size_t length, unsigned flags, struct tok_sink *sink)
{
    if (length > TOK_MAX_TEXT) {
        return FAIL(INPUT, "tokenizer: a text of %zu bytes; at most %d, cut it", length,
                    TOK_MAX_TEXT);
    }
    TRY(tok_text_append_lossy(&w->clean, text, length));
    const struct tok_match_args args = {
        .text = &w->clean,
        .range = {.begin = 0, .end = (int32_t)w->clean.length, .id = -1, .first = true},
        .no_special_text = (flags & TOKENIZE_NO_SPECIAL_TEXT) != 0,
        .run = &w->run};
    TRY(tok_added_match(t, &args, &w->outer));
    if (flags & TOKENIZE_SPECIALS) {
        TRY(push_all(sink, &t->prefix, 0));
    }
    for (int64_t i = 0; i < w->outer.count; i++) {
        const struct tok_range r = w->outer.items[i];
        if (r.id >= 0) {
            TRY(tok_sink_push_text(sink, r.id, &w->clean, r.begin, r.end));
        } else {
            TRY(encode_raw(t, w, r, flags, sink));
        }
    }
    return flags & TOKENIZE_SPECIALS ? push_all(sink, &t->suffix, (int64_t)length) : STATUS_OK;
}

static enum status encode(const struct tokenizer *t, const char *text, size_t length,
                          unsigned flags, struct tok_sink *sink)
{
    struct tok_work w = {0};
    const int64_t before = sink->ids->count;
    w.clean.aligned = sink->want_spans;
    for (int i = 0; i < 2; i++) {
        w.normal[i].aligned = sink->want_spans;
        w.split[i].aligned = sink->want_spans;
    }
    const enum status status = encode_all(t, &w, text, length, flags, sink);
    tok_work_free(&w);
    if (status != STATUS_OK) {
        sink->ids->count = before;
        return status_pass(status, __FILE__, __LINE__);
    }
    return STATUS_OK;
}

enum status tokenizer_encode(const struct tokenizer *t, const char *text, size_t length,
                             unsigned flags, struct token_list *out)
{
    struct tok_sink sink = {.ids = out};
    return encode(t, text, length, flags, &sink);
}

enum status tokenizer_encode_spans(const struct tokenizer *t, const char *text, size_t length,
                                   unsigned flags, struct token_list *out, int64_t (**spans)[2])
{
    struct tok_sink sink = {.ids = out, .want_spans = true};
    *spans = NULL;
    const enum status status = encode(t, text, length, flags, &sink);
    if (status != STATUS_OK) {
        free(sink.spans);
        return status_pass(status, __FILE__, __LINE__);
    }
    *spans = sink.spans;
    return STATUS_OK;
}
