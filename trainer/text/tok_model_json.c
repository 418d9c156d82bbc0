/* tokenizer.json's model: BPE (vocabulary, merges, flags) or Unigram. */
#include <math.h>
#include <string.h>

#include "trainer/text/tokenizer_internal.h"

static enum status read_vocab(struct tokenizer *t, const json_t *vocab)
{
    if (!json_is_object(vocab)) {
        return FAIL(INPUT, "model.vocab is no object of token: id");
    }
    const char *token;
    size_t length;
    json_t *id;
    json_object_keylen_foreach((json_t *)(uintptr_t)vocab, token, length, id) {
        if (!json_is_integer(id)) {
            return FAIL(INPUT, "model.vocab: the id of '%.40s' is no integer", token);
        }
        TRY(tok_vocab_add(&t->vocab, token, length, json_integer_value(id)));
    }
    return STATUS_OK;
}

/* A merge's two halves, from "a b" or ["a", "b"]. */
struct merge {
    const char *part[2];
    size_t length[2];
};

static enum status split_merge(const json_t *item, size_t i, bool strings, struct merge *out)
{
    if (json_is_string(item) != strings) {
        return FAIL(INPUT, "model.merges[%zu]: strings and pairs are mixed", i);
    }
    if (strings) {
        const char *line = json_string_value(item);
        const size_t n = json_string_length(item);
        const char *space = memchr(line, ' ', n);
        if (space == NULL || memchr(space + 1, ' ', n - (size_t)(space + 1 - line)) != NULL) {
            return FAIL(INPUT, "model.merges[%zu]: '%.40s' is not two tokens", i, line);
        }
        *out = (struct merge){{line, space + 1},
                              {(size_t)(space - line), n - (size_t)(space + 1 - line)}};
        return STATUS_OK;
    }
    const json_t *left = json_array_get(item, 0);
    const json_t *right = json_array_get(item, 1);
    if (json_array_size(item) != 2 || !json_is_string(left) || !json_is_string(right)) {
        return FAIL(INPUT, "model.merges[%zu] is not a pair of tokens", i);
    }
    *out = (struct merge){{json_string_value(left), json_string_value(right)},
                          {json_string_length(left), json_string_length(right)}};
    return STATUS_OK;
}

/* Looks the halves and the joined token up; the right half loses continuing_subword_prefix. */
static enum status add_merge(struct tokenizer *t, const struct merge *m, size_t i, int32_t rank)
{
    struct tok_text joined = {0};
    const struct tok_bpe *bpe = &t->bpe;
    const size_t skip = bpe->prefix.length < m->length[1] ? bpe->prefix.length : m->length[1];
    int32_t ids[3];
    enum status status;
    TRY_TO(status, done, tok_text_append(&joined, m->part[0], m->length[0], 0, 0));
    TRY_TO(status, done, tok_text_append(&joined, m->part[1] + skip, m->length[1] - skip, 0, 0));
    ids[0] = tok_vocab_find(&t->vocab, m->part[0], m->length[0]);
    ids[1] = tok_vocab_find(&t->vocab, m->part[1], m->length[1]);
    ids[2] = joined.length > 0 ? tok_vocab_find(&t->vocab, joined.data, joined.length) : -1;
    if (ids[0] < 0 || ids[1] < 0 || ids[2] < 0) {
        status = FAIL(INPUT, "model.merges[%zu]: '%.40s' + '%.40s': %s is not in the vocabulary", i,
                      m->part[0], m->part[1],
                      ids[0] < 0   ? "the first"
                      : ids[1] < 0 ? "the second"
                                   : "the result");
        goto done;
    }
    TRY_TO(status, done, tok_pairs_put(&t->bpe.merges, ids[0], ids[1], rank, ids[2]));
done:
    tok_text_free(&joined);
    return status;
}

static enum status read_merges(struct tokenizer *t, const json_t *merges)
{
    if (!json_is_array(merges)) {
        return FAIL(INPUT, "model.merges is no list");
    }
    const bool strings = json_is_string(json_array_get(merges, 0));
    int32_t rank = 0;
    size_t i;
    const json_t *item;
    json_array_foreach(merges, i, item) {
        struct merge m = {0};
        if (strings && json_is_string(item) &&
            strncmp(json_string_value(item), "#version", 8) == 0) {
            continue;
        }
        TRY(split_merge(item, i, strings, &m));
        TRY(add_merge(t, &m, i, rank++));
    }
    return STATUS_OK;
}

/* A string key that may be absent, null or empty: all mean none. */
static enum status optional_string(const json_t *model, const char *key, struct text *out)
{
    const json_t *value = json_object_get(model, key);
    return value == NULL || json_is_null(value) ? STATUS_OK
                                                : tok_json_string(model, "model", key, out);
}

static enum status read_bpe_flags(struct tokenizer *t, const json_t *model)
{
    struct tok_bpe *m = &t->bpe;
    struct text unk = {0};
    const json_t *dropout = json_object_get(model, "dropout");
    if (dropout != NULL && !json_is_null(dropout) &&
        (!json_is_number(dropout) || fpclassify(json_number_value(dropout)) != FP_ZERO)) {
        return FAIL(INPUT, "model.dropout: random merges are not supported; set it to null");
    }
    TRY(tok_json_bool(model, "model", "fuse_unk", 0, &m->fuse_unk));
    TRY(tok_json_bool(model, "model", "byte_fallback", 0, &m->byte_fallback));
    TRY(tok_json_bool(model, "model", "ignore_merges", 0, &m->ignore_merges));
    TRY(optional_string(model, "continuing_subword_prefix", &m->prefix));
    TRY(optional_string(model, "end_of_word_suffix", &m->suffix));
    TRY(optional_string(model, "unk_token", &unk));
    m->unk = TOK_UNK_NONE;
    if (unk.data != NULL) {
        const int32_t id = tok_vocab_find(&t->vocab, unk.data, unk.length);
        m->unk = id < 0 ? TOK_UNK_MISSING : id;
        free(unk.data);
    }
    return STATUS_OK;
}

static enum status read_bpe(struct tokenizer *t, const json_t *model)
{
    t->model = TOK_MODEL_BPE;
    t->bpe.order = TOK_BY_RANK;
    TRY(read_vocab(t, json_object_get(model, "vocab")));
    TRY(read_bpe_flags(t, model));
    TRY(read_merges(t, json_object_get(model, "merges")));
    tok_bpe_prepare(&t->bpe, &t->vocab);
    return STATUS_OK;
}

/* The score as serde_json reads it: digits as an integer, divided once by a power of ten. That can
 * be one unit off the nearest double, which decides ties between paths. Files hold shortest
 * decimals, so the digits are those of the shortest decimal that gives `nearest`. */
static double serde_score(double nearest)
{
    char digits[40];
    if (!isfinite(nearest)) {
        return nearest;
    }
    for (int places = 0; places < 17; places++) {
        (void)snprintf(digits, sizeof(digits), "%.*f", places, fabs(nearest));
        const bool same = !(strtod(digits, NULL) < fabs(nearest)) &&
                          !(strtod(digits, NULL) > fabs(nearest));
        char *point = strchr(digits, '.');
        if (point != NULL) {
            memmove(point, point + 1, strlen(point));
        }
        if (strlen(digits) > 18) {
            break;
        }
        if (same) {
            const double value = (double)strtoull(digits, NULL, 10) / pow(10.0, places);
            return nearest < 0 ? -value : value;
        }
    }
    return nearest;
}

static enum status read_unigram_vocab(struct tokenizer *t, const json_t *vocab)
{
    struct tok_unigram *m = &t->unigram;
    double lowest = 0;
    size_t i;
    const json_t *item;
    m->scores = calloc(json_array_size(vocab) + 1, sizeof(*m->scores));
    if (m->scores == NULL) {
        return FAIL(MEMORY, "tokenizer: no memory for %zu scores", json_array_size(vocab));
    }
    json_array_foreach(vocab, i, item) {
        const json_t *token = json_array_get(item, 0);
        const json_t *score = json_array_get(item, 1);
        if (!json_is_string(token) || !json_is_number(score)) {
            return FAIL(INPUT, "model.vocab[%zu] is not [token, score]", i);
        }
        const char *bytes = json_string_value(token);
        const size_t n = json_string_length(token);
        m->scores[i] = serde_score(json_number_value(score));
        lowest = i == 0 || m->scores[i] < lowest ? m->scores[i] : lowest;
        TRY(tok_vocab_add(&t->vocab, bytes, n, (int64_t)i));
        TRY(tok_trie_add(&m->trie, bytes, n, (int32_t)i));
    }
    m->unk_score = lowest - 10.0;
    return STATUS_OK;
}

static enum status read_unigram(struct tokenizer *t, const json_t *model)
{
    const json_t *unk = json_object_get(model, "unk_id");
    const json_t *vocab = json_object_get(model, "vocab");
    t->model = TOK_MODEL_UNIGRAM;
    if (!json_is_array(vocab) || json_array_size(vocab) == 0) {
        return FAIL(INPUT, "model.vocab is no list of [token, score]");
    }
    TRY(read_unigram_vocab(t, vocab));
    TRY(tok_json_bool(model, "model", "byte_fallback", 0, &t->unigram.byte_fallback));
    if (!json_is_integer(unk) || json_integer_value(unk) < 0 ||
        json_integer_value(unk) >= (json_int_t)json_array_size(vocab)) {
        return FAIL(INPUT, "model.unk_id is not an id of the vocabulary");
    }
    t->unigram.unk = (int32_t)json_integer_value(unk);
    tok_byte_tokens(&t->vocab, t->unigram.bytes);
    return STATUS_OK;
}

enum status tok_json_model(struct tokenizer *t, const json_t *model)
{
    if (!json_is_object(model)) {
        return FAIL(INPUT, "model is missing");
    }
    const json_t *type = json_object_get(model, "type");
    const char *name = json_string_value(type);
    if (name == NULL) { /* old files leave it out */
        name = json_is_array(json_object_get(model, "vocab")) ? "Unigram" : "BPE";
    }
    if (strcmp(name, "BPE") == 0) {
        return read_bpe(t, model);
    }
    if (strcmp(name, "Unigram") == 0) {
        return read_unigram(t, model);
    }
    return FAIL(INPUT, "model '%.40s' is not supported; BPE and Unigram are", name);
}
