/*
 * Splitting steps (pre-tokenizers) and the list of steps itself. Every splitter is a pattern with a
 * behaviour: digits, punctuation and white space are patterns too. Text that no pattern matches
 * stays as a piece of its own.
 */
#include <string.h>

#include "trainer/text/tokenizer_internal.h"

enum status tok_steps_add(struct tok_steps *s, enum tok_kind kind, struct tok_step **out)
{
    if (s->count == TOK_MAX_STEPS) {
        return FAIL(INPUT, "over %d steps in a row", TOK_MAX_STEPS);
    }
    TRY(tok_grow(&s->items, &s->capacity, s->count + 1, sizeof(*s->items)));
    *out = &s->items[s->count++];
    memset(*out, 0, sizeof(**out));
    (*out)->kind = kind;
    return STATUS_OK;
}

enum status tok_steps_split(struct tok_steps *s, const char *pattern, enum tok_behavior behavior,
                            bool invert)
{
    struct tok_step *step;
    TRY(tok_steps_add(s, TOK_SPLIT, &step));
    step->behavior = behavior;
    step->invert = invert;
    return tok_regex_open(&step->regex, pattern, strlen(pattern), false);
}

enum status tok_steps_replace(struct tok_steps *s, const char *from, const char *to)
{
    struct tok_step *step;
    TRY(tok_steps_add(s, TOK_REPLACE, &step));
    TRY(tok_string_copy(&step->content, to, strlen(to)));
    return tok_regex_open(&step->regex, from, strlen(from), true);
}

enum status tok_steps_byte_level(struct tok_steps *s, bool prefix_space, bool use_regex)
{
    struct tok_step *step;
    if (prefix_space) {
        TRY(tok_steps_add(s, TOK_PREFIX_SPACE, &step));
    }
    if (use_regex) {
        TRY(tok_steps_split(s, TOK_PATTERN_G2, TOK_ISOLATED, false));
    }
    return tok_steps_add(s, TOK_BYTE_LEVEL, &step);
}

void tok_steps_free(struct tok_steps *s)
{
    for (int64_t i = 0; i < s->count; i++) {
        tok_regex_close(s->items[i].regex);
        free(s->items[i].content.data);
    }
    free(s->items);
    memset(s, 0, sizeof(*s));
}

/* Matches and the gaps between them; id: 1 match, 0 gap (the other way round when inverted). */
static enum status find_matches(const struct tok_step *step, struct tok_work *w,
                                const struct tok_text *text, struct tok_range piece)
{
    const size_t n = (size_t)(piece.end - piece.begin);
    const char *subject = text->data + piece.begin;
    struct tok_regex_cursor cursor = {0};
    const int32_t is_match = step->invert ? 0 : 1;
    int32_t done = 0;
    w->matches.count = 0;
    for (;;) {
        size_t begin;
        size_t end;
        bool found;
        TRY(tok_regex_next(step->regex, &w->run, subject, n, &cursor, &begin, &end, &found));
        if (!found) {
            break;
        }
        if ((size_t)done < begin) {
            TRY(tok_ranges_push(&w->matches, (struct tok_range){.begin = done,
                                                                .end = (int32_t)begin,
                                                                .id = !is_match}));
        }
        TRY(tok_ranges_push(&w->matches, (struct tok_range){.begin = (int32_t)begin,
                                                            .end = (int32_t)end, .id = is_match}));
        done = (int32_t)end;
    }
    if ((size_t)done < n) {
        TRY(tok_ranges_push(&w->matches, (struct tok_range){.begin = done, .end = (int32_t)n,
                                                            .id = !is_match}));
    }
    return STATUS_OK;
}

/* Joins neighbours as `behavior` says; in place, since the list only shrinks. */
static void merge_matches(enum tok_behavior behavior, struct tok_ranges *m)
{
    int64_t kept = 0;
    bool previous = false;
    if (behavior == TOK_MERGED_WITH_NEXT) {
        /* the mirror image of the loop below, written from the end of the array */
        kept = m->count;
        for (int64_t i = m->count - 1; i >= 0; i--) {
            const struct tok_range r = m->items[i];
            if (r.id != 0 && !previous && kept < m->count) {
                m->items[kept].begin = r.begin;
            } else {
                m->items[--kept] = r;
            }
            previous = r.id != 0;
        }
        m->count -= kept;
        memmove(m->items, m->items + kept, (size_t)m->count * sizeof(*m->items));
        return;
    }
    for (int64_t i = 0; i < m->count; i++) {
        const struct tok_range r = m->items[i];
        const bool match = r.id != 0;
        const bool joins = behavior == TOK_CONTIGUOUS ? match == previous : match && !previous;
        if (joins && kept > 0) {
            m->items[kept - 1].end = r.end;
        } else {
            m->items[kept++] = r;
        }
        previous = match;
    }
    m->count = kept;
}

static enum status split_piece(const struct tok_step *step, struct tok_work *w,
                               const struct tok_text *text, struct tok_range piece,
                               struct tok_ranges *out)
{
    TRY(find_matches(step, w, text, piece));
    if (step->behavior != TOK_REMOVED && step->behavior != TOK_ISOLATED) {
        merge_matches(step->behavior, &w->matches);
    }
    for (int64_t i = 0; i < w->matches.count; i++) {
        const struct tok_range r = w->matches.items[i];
        if (r.begin == r.end || (step->behavior == TOK_REMOVED && r.id != 0)) {
            continue;
        }
        TRY(tok_ranges_push(out, (struct tok_range){.begin = piece.begin + r.begin,
                                                    .end = piece.begin + r.end, .id = -1,
                                                    .first = piece.first && r.begin == 0}));
    }
    return STATUS_OK;
}

static bool starts_with(const struct tok_text *text, size_t begin, size_t end,
                        const struct text *what)
{
    return end - begin >= what->length && what->length > 0 &&
           memcmp(text->data + begin, what->data, what->length) == 0;
}

/* Cuts [begin, end) before every replacement character: MergedWithNext on that literal. */
static enum status metaspace_cut(const struct tok_step *step, const struct tok_text *text,
                                 struct tok_range whole, struct tok_ranges *out)
{
    struct tok_range piece = whole;
    for (int32_t i = whole.begin; i < whole.end; i++) {
        if (i > piece.begin &&
            starts_with(text, (size_t)i, (size_t)whole.end, &step->content)) {
            piece.end = i;
            TRY(tok_ranges_push(out, piece));
            piece.begin = i;
            piece.first = false;
        }
    }
    piece.end = whole.end;
    return piece.begin < piece.end ? tok_ranges_push(out, piece) : STATUS_OK;
}

static enum status metaspace(const struct tok_step *step, const struct tok_text *in,
                             struct tok_range piece, struct tok_text *text, struct tok_ranges *out)
{
    const struct tok_range moved = {.begin = (int32_t)text->length, .id = -1,
                                    .first = piece.first};
    const bool wanted = step->prepend == TOK_PREPEND_ALWAYS ||
                        (step->prepend == TOK_PREPEND_FIRST && piece.first);
    const bool has = in->data[piece.begin] == ' ' ||
                     starts_with(in, (size_t)piece.begin, (size_t)piece.end, &step->content);
    if (wanted && !has) {
        TRY(tok_text_replace(text, step->content.data, step->content.length, in,
                             (size_t)piece.begin, (size_t)piece.begin));
    }
    for (int32_t i = piece.begin; i < piece.end; i++) {
        if (in->data[i] == ' ') {
            TRY(tok_text_replace(text, step->content.data, step->content.length, in, (size_t)i,
                                 (size_t)i + 1));
        } else {
            TRY(tok_text_copy(text, in, (size_t)i, (size_t)i + 1));
        }
    }
    struct tok_range whole = moved;
    whole.end = (int32_t)text->length;
    return step->cut ? metaspace_cut(step, text, whole, out) : tok_ranges_push(out, whole);
}

/* Steps that rewrite the text of each piece. */
static enum status rewrite_piece(const struct tok_step *step, const struct tok_text *in,
                                 struct tok_range piece, struct tok_text *text,
                                 struct tok_ranges *out)
{
    if (step->kind == TOK_METASPACE) {
        return metaspace(step, in, piece, text, out);
    }
    struct tok_range moved = {.begin = (int32_t)text->length, .id = -1, .first = piece.first};
    if (step->kind == TOK_BYTE_LEVEL) {
        TRY(tok_byte_level(in, piece, text));
    } else {
        if (in->data[piece.begin] != ' ') {
            TRY(tok_text_replace(text, " ", 1, in, (size_t)piece.begin, (size_t)piece.begin));
        }
        TRY(tok_text_copy(text, in, (size_t)piece.begin, (size_t)piece.end));
    }
    moved.end = (int32_t)text->length;
    return tok_ranges_push(out, moved);
}

enum status tok_split(const struct tok_steps *steps, struct tok_work *w, const struct tok_text *in,
                      struct tok_range range, const struct tok_text **text,
                      const struct tok_ranges **pieces)
{
    int list = 0;
    int buffer = 0;
    w->pieces[0].count = 0;
    *text = in;
    if (range.begin < range.end) {
        TRY(tok_ranges_push(&w->pieces[0], range));
    }
    for (int64_t i = 0; i < steps->count; i++) {
        const struct tok_step *step = &steps->items[i];
        const struct tok_ranges *from = &w->pieces[list];
        struct tok_ranges *to = &w->pieces[1 - list];
        to->count = 0;
        if (step->kind == TOK_SPLIT) {
            for (int64_t k = 0; k < from->count; k++) {
                TRY(split_piece(step, w, *text, from->items[k], to));
            }
        } else {
            struct tok_text *rewritten = &w->split[buffer];
            rewritten->length = 0;
            for (int64_t k = 0; k < from->count; k++) {
                TRY(rewrite_piece(step, *text, from->items[k], rewritten, to));
            }
            *text = rewritten;
            buffer = 1 - buffer;
        }
        list = 1 - list;
    }
    *pieces = &w->pieces[list];
    return STATUS_OK;
}
