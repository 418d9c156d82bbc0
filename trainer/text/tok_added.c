/*
 * Added tokens: matched leftmost-longest in the text before anything else splits it, some on the
 * raw text, some (normalized) on the normalized one. Contents are at most TOK_MAX_ADDED bytes, so a
 * text costs O(n * TOK_MAX_ADDED) at worst.
 */
#include <string.h>

#include "trainer/text/tokenizer_internal.h"

static const char WORD[] = "[" TOK_RUST_WORD "]";

static enum status set_by_id(struct tok_added_set *s, int32_t id, int64_t item)
{
    const int64_t known = s->id_count;
    TRY(tok_grow(&s->by_id, &s->id_count, (int64_t)id + 1, sizeof(*s->by_id)));
    memset(s->by_id + known, 0, (size_t)(s->id_count - known) * sizeof(*s->by_id));
    s->by_id[id] = (int32_t)(item + 1);
    return STATUS_OK;
}

static enum status append_item(struct tok_added_set *s, const struct tok_added *token, int32_t id)
{
    const struct text *content = &token->content;
    TRY(tok_grow(&s->items, &s->capacity, s->count + 1, sizeof(*s->items)));
    TRY(tok_vocab_add(&s->names, content->data, content->length, s->count));
    TRY(set_by_id(s, id, s->count));
    struct tok_added *item = &s->items[s->count];
    *item = *token;
    item->id = id;
    TRY(tok_string_copy(&item->content, content->data, content->length));
    s->count++;
    s->size = id >= s->size ? (int64_t)id + 1 : s->size;
    return STATUS_OK;
}

enum status tok_added_add(struct tokenizer *t, const struct tok_added *token, int32_t *given)
{
    struct tok_added_set *s = &t->added;
    *given = -1;
    if (token->content.length == 0) {
        return STATUS_OK;
    }
    if (token->content.length > TOK_MAX_ADDED || s->count >= TOK_MAX_ID) {
        return FAIL(INPUT, "added token '%.40s...' has %zu bytes; at most %d", token->content.data,
                    token->content.length, TOK_MAX_ADDED);
    }
    const int32_t known =
        tok_vocab_find(&s->names, token->content.data, token->content.length);
    if (known >= 0) { /* the last definition counts */
        struct tok_added *old = &s->items[known];
        const struct tok_added before = *old;
        *old = *token;
        old->content = before.content;
        old->id = before.id;
        *given = before.id;
        return STATUS_OK;
    }
    int64_t id = tok_vocab_find(&t->vocab, token->content.data, token->content.length);
    if (id < 0) {
        const int64_t free_id = s->size > t->vocab.count ? s->size : t->vocab.count;
        id = token->id >= 0 ? token->id : free_id;
    }
    if (id >= TOK_MAX_ID) {
        return FAIL(INPUT, "added token '%s' has id %lld; ids go to %d", token->content.data,
                    (long long)id, TOK_MAX_ID - 1);
    }
    *given = (int32_t)id;
    return append_item(s, token, (int32_t)id);
}

/* Puts items[i] into the matcher of its pass; normalized ones in their normalized form. */
static enum status build_item(struct tokenizer *t, struct tok_work *w, int64_t i)
{
    struct tok_added_set *s = &t->added;
    struct tok_added *item = &s->items[i];
    if (!item->normalized) {
        return tok_trie_add(&s->raw, item->content.data, item->content.length, (int32_t)i);
    }
    const struct tok_text *normal;
    w->clean.length = 0;
    TRY(tok_text_append_lossy(&w->clean, item->content.data, item->content.length));
    const struct tok_range all = {.begin = 0, .end = (int32_t)w->clean.length};
    TRY(tok_normalize(&t->normalizer, w, &w->clean, all, &normal));
    if (normal->length > TOK_MAX_ADDED) {
        return FAIL(INPUT, "added token '%.40s' grows over %d bytes when normalized",
                    item->content.data, TOK_MAX_ADDED);
    }
    TRY(tok_string_copy(&item->shown, normal->data, normal->length));
    return tok_trie_add(&s->normalized, normal->data, normal->length, (int32_t)i);
}

enum status tok_added_build(struct tokenizer *t)
{
    struct tok_work w = {0};
    enum status status;
    TRY_TO(status, done, tok_regex_open(&t->added.word, WORD, strlen(WORD), false));
    for (int64_t i = 0; i < t->added.count; i++) {
        TRY_TO(status, done, build_item(t, &w, i));
    }
done:
    tok_work_free(&w);
    return status;
}

void tok_added_free(struct tok_added_set *s)
{
    for (int64_t i = 0; i < s->count; i++) {
        free(s->items[i].content.data);
        free(s->items[i].shown.data);
    }
    free(s->items);
    free(s->by_id);
    tok_vocab_free(&s->names);
    tok_trie_free(&s->raw);
    tok_trie_free(&s->normalized);
    tok_regex_close(s->word);
    memset(s, 0, sizeof(*s));
}

/* The longest token that starts at `at`: its item and *end; -1: none. */
static int32_t longest_at(const struct tok_trie *trie, const struct tok_text *text, int32_t at,
                          int32_t limit, int32_t *end)
{
    int32_t best = -1;
    int32_t node = 0;
    for (int32_t i = at; i < limit; i++) {
        node = tok_trie_step(trie, node, text->data[i]);
        if (node < 0) {
            break;
        }
        if (trie->values[node] >= 0) {
            best = trie->values[node];
            *end = i + 1;
        }
    }
    return best;
}

/* Start of the character that ends at `end`. */
static int32_t char_before(const struct tok_text *text, int32_t begin, int32_t end)
{
    int32_t at = end - 1;
    while (at > begin && (text->data[at] & 0xC0) == 0x80) {
        at--;
    }
    return at;
}

static enum status is_word(const struct tokenizer *t, const struct tok_match_args *a,
                           int32_t at, bool *out)
{
    bool valid;
    const size_t size = tok_utf8_step(a->text->data + at, (size_t)(a->range.end - at), &valid);
    struct tok_regex_cursor cursor = {0};
    size_t begin;
    size_t end;
    return tok_regex_next(t->added.word, a->run, a->text->data + at, size, &cursor, &begin, &end,
                          out);
}

/* Is the match [begin, end) free of word characters on both sides? */
static enum status stands_alone(const struct tokenizer *t, const struct tok_match_args *a,
                                int32_t begin, int32_t end, bool *out)
{
    bool before = false;
    bool behind = false;
    if (begin > a->range.begin) {
        TRY(is_word(t, a, char_before(a->text, a->range.begin, begin), &before));
    }
    if (end < a->range.end) {
        TRY(is_word(t, a, end, &behind));
    }
    *out = !before && !behind;
    return STATUS_OK;
}

/* Lets the token swallow the white space around it, but not what an earlier token has. */
static struct tok_range swallow(const struct tok_match_args *a, const struct tok_added *token,
                                struct tok_range match, int32_t done)
{
    size_t size;
    while (token->lstrip && match.begin > a->range.begin) {
        const int32_t at = char_before(a->text, a->range.begin, match.begin);
        if (!tok_is_space(tok_utf8_get(a->text->data + at, &size))) {
            break;
        }
        match.begin = at;
    }
    if (token->lstrip && match.begin < done) {
        match.begin = done;
    }
    while (token->rstrip && match.end < a->range.end &&
           tok_is_space(tok_utf8_get(a->text->data + match.end, &size))) {
        match.end += (int32_t)size;
    }
    return match;
}

enum status tok_added_match(const struct tokenizer *t, const struct tok_match_args *args,
                            struct tok_ranges *out)
{
    const struct tok_trie *trie = args->normalized ? &t->added.normalized : &t->added.raw;
    const struct tok_range range = args->range;
    const char *data = args->text->data;
    int32_t done = range.begin;
    for (int32_t i = range.begin; trie->nodes > 0 && i < range.end;) {
        int32_t end = 0;
        const int32_t item = trie->first[(uint8_t)data[i]]
                                 ? longest_at(trie, args->text, i, range.end, &end)
                                 : -1;
        if (item < 0) {
            i++;
            continue;
        }
        const struct tok_added *token = &t->added.items[item];
        struct tok_range match = {.begin = i, .end = end, .id = token->id};
        i = end;
        bool alone = true;
        if (token->single_word) {
            TRY(stands_alone(t, args, match.begin, match.end, &alone));
        }
        if (!alone || (token->special && args->no_special_text)) {
            continue;
        }
        match = swallow(args, token, match, done);
        if (done < match.begin) {
            TRY(tok_ranges_push(out, (struct tok_range){
                                         .begin = done, .end = match.begin, .id = -1,
                                         .first = range.first && done == range.begin}));
        }
        TRY(tok_ranges_push(out, match));
        done = match.end;
    }
    if (done < range.end) {
        TRY(tok_ranges_push(out, (struct tok_range){.begin = done, .end = range.end, .id = -1,
                                                    .first = range.first && done == range.begin}));
    }
    return STATUS_OK;
}

static bool is_special_item(const struct tokenizer *t, int32_t item)
{
    return item >= 0 && t->added.items[item].special;
}

bool tok_is_special(const struct tokenizer *t, int32_t id)
{
    size_t n;
    if (id >= 0 && id < t->added.id_count && t->added.by_id[id] != 0) {
        return is_special_item(t, t->added.by_id[id] - 1);
    }
    const char *content = tok_vocab_text(&t->vocab, id, &n);
    return content != NULL && is_special_item(t, tok_vocab_find(&t->added.names, content, n));
}
