/* Bytes of tokens; see token_bytes.h. */
#include "trainer/generate/token_bytes.h"

#include <string.h>

void token_bytes_close(struct token_bytes *b)
{
    free(b->begin);
    free(b->data);
    *b = (struct token_bytes){0};
}

static enum status open_index(struct token_bytes *b, int64_t vocab)
{
    *b = (struct token_bytes){.vocab = vocab};
    b->begin = calloc((size_t)vocab + 1, sizeof *b->begin);
    return b->begin ? STATUS_OK : FAIL(MEMORY, "tokens: no memory for their bytes");
}

/* Appends the bytes of id `id`; *capacity is what data holds. */
static enum status append(struct token_bytes *b, int64_t id, const char *text, size_t n,
                          size_t *capacity)
{
    const size_t used = (size_t)b->begin[id];
    if (used + n > *capacity) {
        const size_t more = (used + n) * 2 + 4096;
        uint8_t *data = realloc(b->data, more);
        if (!data) {
            return FAIL(MEMORY, "tokens: no memory for their bytes");
        }
        b->data = data;
        *capacity = more;
    }
    if (n > 0) {
        memcpy(b->data + used, text, n);
    }
    b->begin[id + 1] = (int64_t)(used + n);
    b->longest = (int64_t)n > b->longest ? (int64_t)n : b->longest;
    return STATUS_OK;
}

enum status token_bytes_open(struct token_bytes *out, const struct tokenizer *t, int64_t vocab)
{
    size_t capacity = 0;
    enum status status = open_index(out, vocab);
    for (int64_t id = 0; status == STATUS_OK && id < vocab; id++) {
        struct text text = {0};
        status = tokenizer_token_bytes(t, (int32_t)id, &text);
        if (status == STATUS_OK) {
            status = append(out, id, text.data, text.length, &capacity);
        }
        free(text.data);
    }
    if (status != STATUS_OK) {
        token_bytes_close(out);
    }
    return status;
}

enum status token_bytes_from(struct token_bytes *out, const char *const *text, const size_t *length,
                             int64_t vocab)
{
    size_t capacity = 0;
    enum status status = open_index(out, vocab);
    for (int64_t id = 0; status == STATUS_OK && id < vocab; id++) {
        status = append(out, id, text[id], length[id], &capacity);
    }
    if (status != STATUS_OK) {
        token_bytes_close(out);
    }
    return status;
}
