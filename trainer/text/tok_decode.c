/*
 * Decoding: the tokens of the ids as a list of strings that each decoder step rewrites. The strings
 * of a list lie one behind the other in one buffer, so the joined text is the buffer itself.
 */
#include <string.h>

#include "trainer/text/tokenizer_internal.h"

struct pieces {
    struct tok_text text;
    struct tok_ranges ranges;
};

static void pieces_free(struct pieces *p)
{
    tok_text_free(&p->text);
    free(p->ranges.items);
}

/* Ends the string that started at byte `begin`. */
static enum status pieces_end(struct pieces *p, size_t begin)
{
    return tok_ranges_push(&p->ranges, (struct tok_range){.begin = (int32_t)begin,
                                                          .end = (int32_t)p->text.length,
                                                          .id = -1});
}

static enum status pieces_add(struct pieces *p, const char *bytes, size_t n)
{
    const size_t begin = p->text.length;
    TRY(tok_text_append(&p->text, bytes, n, 0, 0));
    return pieces_end(p, begin);
}

/* Appends the bytes a token's characters stand for; a token with other characters as it is. */
static enum status append_bytes(struct tok_text *out, const char *token, size_t n)
{
    const size_t start = out->length;
    for (size_t i = 0; i < n;) {
        size_t size;
        const int byte = tok_char_byte(tok_utf8_get(token + i, &size));
        if (byte < 0) {
            out->length = start;
            return tok_text_append(out, token, n, 0, 0);
        }
        const char c = (char)byte;
        TRY(tok_text_append(out, &c, 1, 0, 0));
        i += size;
    }
    return STATUS_OK;
}

static enum status decode_byte_level(const struct pieces *in, struct pieces *out)
{
    struct tok_text bytes = {0};
    enum status status = STATUS_OK;
    for (int64_t i = 0; i < in->ranges.count; i++) {
        const struct tok_range r = in->ranges.items[i];
        TRY_TO(status, done,
               append_bytes(&bytes, in->text.data + r.begin, (size_t)(r.end - r.begin)));
    }
    TRY_TO(status, done, tok_text_append_lossy(&out->text, bytes.data, bytes.length));
    TRY_TO(status, done, pieces_end(out, 0));
done:
    tok_text_free(&bytes);
    return status;
}

static int hex_digit(char c)
{
    const char *digits = "0123456789abcdef0123456789ABCDEF";
    const char *at = c == '\0' ? NULL : strchr(digits, c);
    return at == NULL ? -1 : (int)((at - digits) & 15);
}

/* The byte of a token "<0xHH>", -1: another token. */
static int byte_token(const char *token, size_t n)
{
    if (n != 6 || memcmp(token, "<0x", 3) != 0 || token[5] != '>') {
        return -1;
    }
    const int high = hex_digit(token[3]);
    const int low = hex_digit(token[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* Ends a run of byte tokens: a string when it is UTF-8, else U+FFFD per byte. */
static enum status flush_bytes(struct tok_text *run, struct pieces *out)
{
    bool valid = true;
    for (size_t i = 0; i < run->length && valid;) {
        i += tok_utf8_step(run->data + i, run->length - i, &valid);
    }
    if (valid && run->length > 0) {
        TRY(pieces_add(out, run->data, run->length));
    }
    for (size_t i = 0; i < run->length && !valid; i++) {
        TRY(pieces_add(out, "\xEF\xBF\xBD", 3));
    }
    run->length = 0;
    return STATUS_OK;
}

static enum status decode_byte_fallback(const struct pieces *in, struct pieces *out)
{
    struct tok_text run = {0};
    enum status status = STATUS_OK;
    for (int64_t i = 0; i < in->ranges.count; i++) {
        const struct tok_range r = in->ranges.items[i];
        const char *token = in->text.data + r.begin;
        const size_t n = (size_t)(r.end - r.begin);
        const int byte = byte_token(token, n);
        if (byte >= 0) {
            const char c = (char)byte;
            TRY_TO(status, done, tok_text_append(&run, &c, 1, 0, 0));
            continue;
        }
        TRY_TO(status, done, flush_bytes(&run, out));
        TRY_TO(status, done, pieces_add(out, token, n));
    }
    TRY_TO(status, done, flush_bytes(&run, out));
done:
    tok_text_free(&run);
    return status;
}

/* Cuts up to `start` and `stop` times the step's character off both ends. */
static struct tok_range strip(const struct tok_step *step, const char *data, struct tok_range r)
{
    const int32_t n = (int32_t)step->content.length;
    for (int64_t k = 0; k < step->start && r.end - r.begin >= n; k++) {
        if (memcmp(data + r.begin, step->content.data, (size_t)n) != 0) {
            break;
        }
        r.begin += n;
    }
    for (int64_t k = 0; k < step->stop && r.end - r.begin >= n; k++) {
        if (memcmp(data + r.end - n, step->content.data, (size_t)n) != 0) {
            break;
        }
        r.end -= n;
    }
    return r;
}

/* Replacement characters become spaces; the one that starts the text came with the prefix. */
static enum status metaspace(const struct tok_step *step, const struct tok_text *in,
                             struct tok_range r, bool first, struct tok_text *out)
{
    const int32_t n = (int32_t)step->content.length;
    for (int32_t i = r.begin; i < r.end;) {
        if (r.end - i >= n && memcmp(in->data + i, step->content.data, (size_t)n) == 0) {
            if (!first || step->prepend == TOK_PREPEND_NEVER) {
                TRY(tok_text_append(out, " ", 1, 0, 0));
            }
            i += n;
        } else {
            TRY(tok_text_append(out, in->data + i, 1, 0, 0));
            i++;
        }
    }
    return STATUS_OK;
}

/* Steps that work on each string alone. */
static enum status decode_each(const struct tok_step *step, struct tok_regex_run *run,
                               const struct pieces *in, struct pieces *out)
{
    for (int64_t i = 0; i < in->ranges.count; i++) {
        struct tok_range r = in->ranges.items[i];
        const size_t begin = out->text.length;
        if (step->kind == TOK_REPLACE) {
            TRY(tok_replace_matches(step, run, &in->text, r, &out->text));
        } else if (step->kind == TOK_METASPACE) {
            TRY(metaspace(step, &in->text, r, i == 0, &out->text));
        } else if (step->kind == TOK_STRIP) {
            r = strip(step, in->text.data, r);
            TRY(tok_text_copy(&out->text, &in->text, (size_t)r.begin, (size_t)r.end));
        } else {
            return FAIL(INTERNAL, "tokenizer: step %d is no decoder", (int)step->kind);
        }
        TRY(pieces_end(out, begin));
    }
    return STATUS_OK;
}

static enum status decode_step(const struct tok_step *step, struct tok_regex_run *run,
                               const struct pieces *in, struct pieces *out)
{
    out->text.length = 0;
    out->ranges.count = 0;
    switch (step->kind) {
    case TOK_BYTE_LEVEL:
        return decode_byte_level(in, out);
    case TOK_BYTE_FALLBACK:
        return decode_byte_fallback(in, out);
    case TOK_FUSE:
        TRY(tok_text_copy(&out->text, &in->text, 0, in->text.length));
        return pieces_end(out, 0);
    default:
        return decode_each(step, run, in, out);
    }
}

/* The strings of the ids; without a decoder they are joined by spaces. */
static enum status collect(const struct tokenizer *t, const int32_t *ids, int64_t count,
                           bool skip_special, struct pieces *out)
{
    const int32_t size = tokenizer_vocab_size(t);
    for (int64_t i = 0; i < count; i++) {
        size_t n = 0;
        if (ids[i] < 0 || ids[i] >= size) {
            return FAIL(INPUT, "decode: id %d (place %lld) is outside the vocabulary of %d tokens",
                        ids[i], (long long)i, size);
        }
        const char *token = tok_id_text(t, ids[i], &n);
        if (token == NULL || (skip_special && tok_is_special(t, ids[i]))) {
            continue;
        }
        const size_t begin = out->text.length;
        if (!t->has_decoder && out->ranges.count > 0) {
            TRY(tok_text_append(&out->text, " ", 1, 0, 0));
        }
        TRY(tok_text_append(&out->text, token, n, 0, 0));
        TRY(pieces_end(out, begin));
    }
    return STATUS_OK;
}

enum status tokenizer_decode(const struct tokenizer *t, const int32_t *ids, int64_t count,
                             bool skip_special, struct text *out)
{
    struct pieces pieces[2] = {0};
    struct tok_regex_run run = {0};
    enum status status;
    int64_t step = 0;
    *out = (struct text){0};
    TRY_TO(status, done, collect(t, ids, count, skip_special, &pieces[0]));
    for (; step < t->decoder.count; step++) {
        TRY_TO(status, done, decode_step(&t->decoder.items[step], &run, &pieces[step & 1],
                                         &pieces[1 - (step & 1)]));
    }
    TRY_TO(status, done,
           tok_string_copy(out, pieces[step & 1].text.data, pieces[step & 1].text.length));
done:
    tok_regex_run_close(&run);
    pieces_free(&pieces[0]);
    pieces_free(&pieces[1]);
    return status;
}

static bool decodes_by(const struct tokenizer *t, enum tok_kind kind)
{
    for (int64_t i = 0; i < t->decoder.count; i++) {
        if (t->decoder.items[i].kind == kind) {
            return true;
        }
    }
    return false;
}

/* What a token adds behind an equal one: steps that treat the start of a text differently are out.
 */
static enum status second_of_two(const struct tokenizer *t, int32_t id, struct text *out)
{
    const int32_t twice[2] = {id, id};
    struct text one;
    struct text two;
    TRY(tokenizer_decode(t, twice, 1, true, &one));
    const enum status status = tokenizer_decode(t, twice, 2, true, &two);
    free(one.data);
    TRY(status);
    memmove(two.data, two.data + one.length, two.length - one.length + 1);
    *out = (struct text){.data = two.data, .length = two.length - one.length};
    return STATUS_OK;
}

enum status tokenizer_token_bytes(const struct tokenizer *t, int32_t id, struct text *out)
{
    size_t n = 0;
    const bool known = id >= 0 && id < tokenizer_vocab_size(t);
    const char *token = known ? tok_id_text(t, id, &n) : NULL;
    if (token == NULL || tok_is_special(t, id)) {
        return tok_string_copy(out, "", 0);
    }
    if (decodes_by(t, TOK_BYTE_FALLBACK) && byte_token(token, n) >= 0) {
        const char byte = (char)byte_token(token, n);
        return tok_string_copy(out, &byte, 1);
    }
    if (!decodes_by(t, TOK_BYTE_LEVEL)) {
        return second_of_two(t, id, out);
    }
    struct tok_text bytes = {0};
    enum status status = append_bytes(&bytes, token, n);
    if (status == STATUS_OK) {
        status = tok_string_copy(out, bytes.length ? bytes.data : "", bytes.length);
    }
    tok_text_free(&bytes);
    return status;
}
