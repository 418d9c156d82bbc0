/* GGUF files in memory that hold keys only, for tokenizer tests. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zero-initialise; free(bytes) at the end. Allocation failures abort. */
struct gguf_bytes {
    char *bytes;
    size_t length;
    size_t capacity;
    uint64_t keys;
};

void gguf_bytes_string(struct gguf_bytes *b, const char *key, const char *value);
void gguf_bytes_u32(struct gguf_bytes *b, const char *key, uint32_t value);
void gguf_bytes_bool(struct gguf_bytes *b, const char *key, bool value);

/* Arrays of `count` items; strings may be NULL-terminated lists (count < 0). */
void gguf_bytes_strings(struct gguf_bytes *b, const char *key, const char *const *items,
                        int64_t count);
void gguf_bytes_i32s(struct gguf_bytes *b, const char *key, const int32_t *items, int64_t count);
void gguf_bytes_f32s(struct gguf_bytes *b, const char *key, const float *items, int64_t count);

/* Writes the header and returns the file (borrowed from b). */
const void *gguf_bytes_finish(struct gguf_bytes *b, size_t *size);
