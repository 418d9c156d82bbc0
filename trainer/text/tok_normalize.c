/* Normalizer steps: each rewrites a piece of text into another buffer and keeps origins. */
#include <string.h>

#include <utf8proc.h>

#include "trainer/text/tokenizer_internal.h"

enum status tok_replace_matches(const struct tok_step *step, struct tok_regex_run *run,
                                const struct tok_text *in, struct tok_range range,
                                struct tok_text *out)
{
    const size_t base = (size_t)range.begin;
    const size_t n = (size_t)(range.end - range.begin);
    struct tok_regex_cursor cursor = {0};
    size_t done = 0;
    for (;;) {
        size_t begin;
        size_t end;
        bool found;
        TRY(tok_regex_next(step->regex, run, in->data + base, n, &cursor, &begin, &end, &found));
        if (!found) {
            break;
        }
        TRY(tok_text_copy(out, in, base + done, base + begin));
        TRY(tok_text_replace(out, step->content.data, step->content.length, in, base + begin,
                             base + end));
        done = end;
    }
    return tok_text_copy(out, in, base + done, base + n);
}

enum status tok_byte_level(const struct tok_text *in, struct tok_range range, struct tok_text *out)
{
    for (int32_t i = range.begin; i < range.end; i++) {
        char bytes[4];
        const size_t size = tok_utf8_put(tok_byte_char((uint8_t)in->data[i]), bytes);
        TRY(tok_text_replace(out, bytes, size, in, (size_t)i, (size_t)i + 1));
    }
    return STATUS_OK;
}

/* Lower case per character; only U+0130 has a lower case of two characters. */
static enum status lowercase(const struct tok_text *in, struct tok_range range,
                             struct tok_text *out)
{
    for (int32_t i = range.begin; i < range.end;) {
        size_t size;
        const int32_t cp = tok_utf8_get(in->data + i, &size);
        const size_t next = (size_t)i + size;
        char bytes[4];
        if (cp == 0x130) {
            TRY(tok_text_replace(out, "i\xCC\x87", 3, in, (size_t)i, next));
        } else {
            const size_t lower = tok_utf8_put(utf8proc_tolower(cp), bytes);
            TRY(tok_text_replace(out, bytes, lower, in, (size_t)i, next));
        }
        i = (int32_t)next;
    }
    return STATUS_OK;
}

/* Leaves out combining marks. */
static enum status strip_accents(const struct tok_text *in, struct tok_range range,
                                 struct tok_text *out)
{
    for (int32_t i = range.begin; i < range.end;) {
        size_t size;
        if (!tok_is_mark(tok_utf8_get(in->data + i, &size))) {
            TRY(tok_text_copy(out, in, (size_t)i, (size_t)i + size));
        }
        i += (int32_t)size;
    }
    return STATUS_OK;
}

static enum status strip_space(const struct tok_step *step, const struct tok_text *in,
                               struct tok_range range, struct tok_text *out)
{
    size_t size;
    while (step->left && range.begin < range.end &&
           tok_is_space(tok_utf8_get(in->data + range.begin, &size))) {
        range.begin += (int32_t)size;
    }
    while (step->right && range.begin < range.end) {
        int32_t last = range.end - 1;
        while (last > range.begin && (in->data[last] & 0xC0) == 0x80) {
            last--;
        }
        if (!tok_is_space(tok_utf8_get(in->data + last, &size))) {
            break;
        }
        range.end = last;
    }
    return tok_text_copy(out, in, (size_t)range.begin, (size_t)range.end);
}

static enum status apply(const struct tok_step *step, struct tok_regex_run *run,
                         const struct tok_text *in, struct tok_range range, struct tok_text *out)
{
    switch (step->kind) {
    case TOK_NFC:
    case TOK_NFD:
        return tok_unicode_normalize(in, range, false, step->kind == TOK_NFC, out);
    case TOK_NFKC:
    case TOK_NFKD:
        return tok_unicode_normalize(in, range, true, step->kind == TOK_NFKC, out);
    case TOK_REPLACE:
        return tok_replace_matches(step, run, in, range, out);
    case TOK_PREPEND:
        if (range.begin < range.end) {
            TRY(tok_text_replace(out, step->content.data, step->content.length, in,
                                 (size_t)range.begin, (size_t)range.begin));
        }
        return tok_text_copy(out, in, (size_t)range.begin, (size_t)range.end);
    case TOK_LOWERCASE:
        return lowercase(in, range, out);
    case TOK_STRIP_SPACE:
        return strip_space(step, in, range, out);
    case TOK_STRIP_ACCENTS:
        return strip_accents(in, range, out);
    case TOK_BYTE_LEVEL:
        return tok_byte_level(in, range, out);
    default:
        return FAIL(INTERNAL, "tokenizer: step %d is no normalizer", (int)step->kind);
    }
}

enum status tok_normalize(const struct tok_steps *steps, struct tok_work *w,
                          const struct tok_text *in, struct tok_range range,
                          const struct tok_text **out)
{
    struct tok_text *to = &w->normal[0];
    to->length = 0;
    if (steps->count == 0) {
        *out = to;
        return tok_text_copy(to, in, (size_t)range.begin, (size_t)range.end);
    }
    for (int64_t i = 0; i < steps->count; i++) {
        to = &w->normal[i & 1];
        to->length = 0;
        TRY(apply(&steps->items[i], &w->run, in, range, to));
        in = to;
        range = (struct tok_range){.begin = 0, .end = (int32_t)to->length};
    }
    *out = to;
    return STATUS_OK;
}
