/*
 * Texts with origins, lists of ranges, strings and small files: the memory of the tokenizer.
 * Origins are kept only when the caller wants spans; they cost eight bytes per byte.
 */
#include <string.h>

#include "kernels/base/checked.h"
#include "trainer/text/tokenizer_internal.h"

enum status tok_grow(void *pointer, int64_t *capacity, int64_t count, size_t item)
{
    if (count <= *capacity) {
        return STATUS_OK;
    }
    int64_t wanted = *capacity < 16 ? 16 : *capacity;
    while (wanted < count) {
        wanted = wanted > INT64_MAX / 2 ? count : wanted * 2;
    }
    size_t bytes;
    if (!checked_mul((size_t)wanted, item, &bytes)) {
        return FAIL(MEMORY, "tokenizer: a list of %lld items does not fit in memory",
                    (long long)count);
    }
    void *old;
    memcpy(&old, pointer, sizeof(old));
    void *grown = realloc(old, bytes);
    if (grown == NULL) {
        return FAIL(MEMORY, "tokenizer: no memory for %zu bytes", bytes);
    }
    memcpy(pointer, &grown, sizeof(grown));
    *capacity = wanted;
    return STATUS_OK;
}

static enum status text_reserve(struct tok_text *t, size_t extra)
{
    size_t needed;
    if (!checked_add(t->length, extra, &needed) || needed > TOK_MAX_BUFFER) {
        return FAIL(INPUT, "tokenizer: the text grows over %d bytes; split it", TOK_MAX_BUFFER);
    }
    if (needed <= t->capacity) {
        return STATUS_OK;
    }
    size_t capacity = t->capacity < 64 ? 64 : t->capacity;
    while (capacity < needed) {
        capacity *= 2;
    }
    char *data = realloc(t->data, capacity);
    if (data == NULL) {
        return FAIL(MEMORY, "tokenizer: no memory for %zu bytes of text", capacity);
    }
    t->data = data;
    if (t->aligned) {
        void *origin = realloc(t->origin, capacity * sizeof(*t->origin));
        if (origin == NULL) {
            return FAIL(MEMORY, "tokenizer: no memory for %zu spans", capacity);
        }
        t->origin = origin;
    }
    t->capacity = capacity;
    return STATUS_OK;
}

enum status tok_text_append(struct tok_text *t, const char *bytes, size_t n, int32_t begin,
                            int32_t end)
{
    TRY(text_reserve(t, n));
    if (n > 0) {
        memcpy(t->data + t->length, bytes, n);
    }
    for (size_t i = 0; t->aligned && i < n; i++) {
        t->origin[t->length + i][0] = begin;
        t->origin[t->length + i][1] = end;
    }
    t->length += n;
    return STATUS_OK;
}

enum status tok_text_copy(struct tok_text *t, const struct tok_text *from, size_t begin, size_t end)
{
    TRY(text_reserve(t, end - begin));
    if (end > begin) {
        memcpy(t->data + t->length, from->data + begin, end - begin);
    }
    if (t->aligned && end > begin) {
        memcpy(t->origin + t->length, from->origin + begin, (end - begin) * sizeof(*t->origin));
    }
    t->length += end - begin;
    return STATUS_OK;
}

enum status tok_text_replace(struct tok_text *t, const char *bytes, size_t n,
                             const struct tok_text *from, size_t begin, size_t end)
{
    int32_t source[2] = {0, 0};
    if (t->aligned && end > begin) {
        source[0] = from->origin[begin][0];
        source[1] = from->origin[end - 1][1];
    } else if (t->aligned && begin < from->length) {
        source[0] = source[1] = from->origin[begin][0];
    } else if (t->aligned && begin > 0) {
        source[0] = source[1] = from->origin[begin - 1][1];
    }
    return tok_text_append(t, bytes, n, source[0], source[1]);
}

enum status tok_text_append_lossy(struct tok_text *t, const char *bytes, size_t n)
{
    TRY(text_reserve(t, n));
    for (size_t i = 0; i < n;) {
        bool valid;
        const size_t size = tok_utf8_step(bytes + i, n - i, &valid);
        if (!valid) {
            TRY(tok_text_append(t, "\xEF\xBF\xBD", 3, (int32_t)i, (int32_t)(i + size)));
        } else if (t->aligned) {
            for (size_t k = 0; k < size; k++) {
                TRY(tok_text_append(t, bytes + i + k, 1, (int32_t)(i + k), (int32_t)(i + k + 1)));
            }
        } else {
            TRY(tok_text_append(t, bytes + i, size, 0, 0));
        }
        i += size;
    }
    return STATUS_OK;
}

void tok_text_free(struct tok_text *t)
{
    free(t->data);
    free(t->origin);
    memset(t, 0, sizeof(*t));
}

enum status tok_ranges_push(struct tok_ranges *list, struct tok_range range)
{
    TRY(tok_grow(&list->items, &list->capacity, list->count + 1, sizeof(*list->items)));
    list->items[list->count++] = range;
    return STATUS_OK;
}

enum status tok_string_copy(struct text *out, const char *bytes, size_t n)
{
    char *copy = malloc(n + 1);
    if (copy == NULL) {
        return FAIL(MEMORY, "tokenizer: no memory for a string of %zu bytes", n);
    }
    if (n > 0) {
        memcpy(copy, bytes, n);
    }
    copy[n] = '\0';
    out->data = copy;
    out->length = n;
    return STATUS_OK;
}

/* Reads all of `file`; growing, since pipes and /proc files have no size. */
static enum status read_all(struct text *out, FILE *file, const char *path, size_t limit)
{
    int64_t capacity = 0;
    for (;;) {
        TRY(tok_grow(&out->data, &capacity, (int64_t)out->length + (1 << 16), 1));
        const size_t room = (size_t)capacity - out->length - 1;
        const size_t got = fread(out->data + out->length, 1, room, file);
        out->length += got;
        if (out->length > limit) {
            return FAIL(INPUT, "%s: over %zu bytes; this is no such file", path, limit);
        }
        if (got < room) {
            break;
        }
    }
    if (ferror(file)) {
        return FAIL(INPUT, "%s: can't be read; is it a file?", path);
    }
    out->data[out->length] = '\0';
    return STATUS_OK;
}

enum status tok_file_read(struct text *out, const char *path, size_t limit)
{
    *out = (struct text){0};
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return STATUS_OK;
    }
    const enum status status = read_all(out, file, path, limit);
    (void)fclose(file);
    if (status != STATUS_OK) {
        free(out->data);
        *out = (struct text){0};
        return status_pass(status, __FILE__, __LINE__);
    }
    return STATUS_OK;
}
