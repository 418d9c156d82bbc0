#include "tests/support/tokenizer_gguf.h"

#include <stdlib.h>
#include <string.h>

enum { HEADER = 24, TYPE_U32 = 4, TYPE_I32 = 5, TYPE_F32 = 6, TYPE_BOOL = 7, TYPE_STRING = 8,
       TYPE_ARRAY = 9 };

static void add(struct gguf_bytes *b, const void *data, size_t n)
{
    if (b->length == 0) {
        b->length = HEADER;
    }
    if (b->length + n > b->capacity) {
        b->capacity = (b->length + n) * 2;
        b->bytes = realloc(b->bytes, b->capacity);
        if (b->bytes == NULL) {
            abort();
        }
    }
    memcpy(b->bytes + b->length, data, n);
    b->length += n;
}

static void add_u32(struct gguf_bytes *b, uint32_t value)
{
    add(b, &value, sizeof(value));
}

static void add_string(struct gguf_bytes *b, const char *string)
{
    const uint64_t n = strlen(string);
    add(b, &n, sizeof(n));
    add(b, string, n);
}

static void add_key(struct gguf_bytes *b, const char *key, uint32_t type)
{
    add_string(b, key);
    add_u32(b, type);
    b->keys++;
}

static void add_array(struct gguf_bytes *b, const char *key, uint32_t type, int64_t count)
{
    const uint64_t n = (uint64_t)count;
    add_key(b, key, TYPE_ARRAY);
    add_u32(b, type);
    add(b, &n, sizeof(n));
}

void gguf_bytes_string(struct gguf_bytes *b, const char *key, const char *value)
{
    add_key(b, key, TYPE_STRING);
    add_string(b, value);
}

void gguf_bytes_u32(struct gguf_bytes *b, const char *key, uint32_t value)
{
    add_key(b, key, TYPE_U32);
    add_u32(b, value);
}

void gguf_bytes_bool(struct gguf_bytes *b, const char *key, bool value)
{
    const uint8_t byte = value;
    add_key(b, key, TYPE_BOOL);
    add(b, &byte, 1);
}

void gguf_bytes_strings(struct gguf_bytes *b, const char *key, const char *const *items,
                        int64_t count)
{
    int64_t n = 0;
    while (count < 0 && items[n] != NULL) {
        n++;
    }
    n = count < 0 ? n : count;
    add_array(b, key, TYPE_STRING, n);
    for (int64_t i = 0; i < n; i++) {
        add_string(b, items[i]);
    }
}

void gguf_bytes_i32s(struct gguf_bytes *b, const char *key, const int32_t *items, int64_t count)
{
    add_array(b, key, TYPE_I32, count);
    add(b, items, (size_t)count * sizeof(*items));
}

void gguf_bytes_f32s(struct gguf_bytes *b, const char *key, const float *items, int64_t count)
{
    add_array(b, key, TYPE_F32, count);
    add(b, items, (size_t)count * sizeof(*items));
}

const void *gguf_bytes_finish(struct gguf_bytes *b, size_t *size)
{
    const uint32_t version = 3;
    const uint64_t tensors = 0;
    memcpy(b->bytes, "GGUF", 4);
    memcpy(b->bytes + 4, &version, sizeof(version));
    memcpy(b->bytes + 8, &tensors, sizeof(tensors));
    memcpy(b->bytes + 16, &b->keys, sizeof(b->keys));
    *size = b->length;
    return b->bytes;
}
