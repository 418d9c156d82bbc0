/* The tokenizer object: opening, closing, what it knows about ids, specials and stop tokens. */
#include <string.h>

#include "trainer/text/tokenizer_internal.h"

static const char *const SPECIAL_NAMES[TOK_SPECIALS] = {
    [TOK_BOS] = "bos_token", [TOK_EOS] = "eos_token", [TOK_PAD] = "pad_token",
    [TOK_UNK] = "unk_token"};

enum status token_list_push(struct token_list *list, int32_t id)
{
    TRY(tok_grow(&list->ids, &list->capacity, list->count + 1, sizeof(*list->ids)));
    list->ids[list->count++] = id;
    return STATUS_OK;
}

void token_list_free(struct token_list *list)
{
    free(list->ids);
    memset(list, 0, sizeof(*list));
}

enum status tok_open_empty(struct tokenizer **out)
{
    struct tokenizer *t = calloc(1, sizeof(*t));
    *out = t;
    if (t == NULL) {
        return FAIL(MEMORY, "tokenizer: no memory");
    }
    for (int i = 0; i < TOK_SPECIALS; i++) {
        t->special_id[i] = -1;
    }
    return STATUS_OK;
}

void tokenizer_close(struct tokenizer *t)
{
    if (t == NULL) {
        return;
    }
    tok_vocab_free(&t->vocab);
    tok_bpe_free(&t->bpe);
    tok_unigram_free(&t->unigram);
    tok_steps_free(&t->normalizer);
    tok_steps_free(&t->splitter);
    tok_steps_free(&t->decoder);
    tok_added_free(&t->added);
    token_list_free(&t->prefix);
    token_list_free(&t->suffix);
    token_list_free(&t->stops);
    for (int i = 0; i < TOK_SPECIALS; i++) {
        free(t->special_text[i].data);
    }
    free(t->chat_template);
    free(t);
}

int32_t tokenizer_vocab_size(const struct tokenizer *t)
{
    return t->added.size > t->vocab.size ? (int32_t)t->added.size : t->vocab.size;
}

static int32_t find(const struct tokenizer *t, const char *content, size_t n)
{
    const int32_t item = tok_vocab_find(&t->added.names, content, n);
    return item >= 0 ? t->added.items[item].id : tok_vocab_find(&t->vocab, content, n);
}

int32_t tokenizer_find(const struct tokenizer *t, const char *content)
{
    return find(t, content, strlen(content));
}

const char *tok_id_text(const struct tokenizer *t, int32_t id, size_t *n)
{
    if (id >= 0 && id < t->added.id_count && t->added.by_id[id] != 0) {
        const struct tok_added *item = &t->added.items[t->added.by_id[id] - 1];
        const struct text *text = item->shown.data != NULL ? &item->shown : &item->content;
        *n = text->length;
        return text->data;
    }
    return tok_vocab_text(&t->vocab, id, n);
}

int32_t tokenizer_bos(const struct tokenizer *t)
{
    return t->special_id[TOK_BOS];
}

int32_t tokenizer_eos(const struct tokenizer *t)
{
    return t->special_id[TOK_EOS];
}

int32_t tokenizer_pad(const struct tokenizer *t)
{
    return t->special_id[TOK_PAD];
}

const int32_t *tokenizer_stop_ids(const struct tokenizer *t, int64_t *count)
{
    *count = t->stops.count;
    return t->stops.ids;
}

const char *tokenizer_chat_template(const struct tokenizer *t)
{
    return t->chat_template;
}

const char *tokenizer_special_text(const struct tokenizer *t, const char *name)
{
    for (int i = 0; i < TOK_SPECIALS; i++) {
        if (strcmp(name, SPECIAL_NAMES[i]) == 0) {
            return t->special_text[i].data;
        }
    }
    return NULL;
}

enum status tok_set_special(struct tokenizer *t, enum tok_special which, const char *content,
                            size_t n)
{
    struct text copy;
    TRY(tok_string_copy(&copy, content, n));
    free(t->special_text[which].data);
    t->special_text[which] = copy;
    t->special_id[which] = find(t, content, n);
    return STATUS_OK;
}

enum status tok_add_stop(struct tokenizer *t, int64_t id)
{
    if (id < 0 || id >= tokenizer_vocab_size(t)) {
        return STATUS_OK;
    }
    for (int64_t i = 0; i < t->stops.count; i++) {
        if (t->stops.ids[i] == id) {
            return STATUS_OK;
        }
    }
    return token_list_push(&t->stops, (int32_t)id);
}
