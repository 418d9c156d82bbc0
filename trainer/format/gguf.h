/*
 * GGUF v2/v3 reader (spec formats.md 2) and writer. The file is mapped read-only; every count,
 * length, dimension and offset is bounded by the file's size before anything is allocated.
 */
#pragma once

#include "kernels/tensor/tensor.h"

enum gguf_type {
    GGUF_U8, GGUF_I8, GGUF_U16, GGUF_I16, GGUF_U32, GGUF_I32, GGUF_F32, GGUF_BOOL, GGUF_STRING,
    GGUF_ARRAY, GGUF_U64, GGUF_I64, GGUF_F64
};

/* Bytes inside the mapping: not NUL-terminated. */
struct gguf_string {
    const char *data;
    size_t length;
};

struct gguf;

/* Maps and validates `path` (a split file's first part opens the others). Fails with INPUT naming
 * file, tensor or key and byte offset; MEMORY. Close with gguf_close. */
MUST_USE enum status gguf_open(struct gguf **out, const char *path);

/* Same on `size` bytes in memory (borrowed until close); `name` for messages. For fuzzing. */
MUST_USE enum status gguf_open_memory(struct gguf **out, const char *name, const void *data,
                                      size_t size);

/* Unmaps. NULL is allowed. */
void gguf_close(struct gguf *g);

/* Path it was opened by. */
const char *gguf_path(const struct gguf *g);

/* Number of metadata keys. */
int64_t gguf_key_count(const struct gguf *g);

/* Name of key `i`; *type its type, *element the element type of an array, *count its length. */
struct gguf_string gguf_key_at(const struct gguf *g, int64_t i, enum gguf_type *type,
                               enum gguf_type *element, uint64_t *count);

/* True when the key exists. */
bool gguf_has(const struct gguf *g, const char *key);

/* Scalars. Any integer (or bool) type that fits is accepted for gguf_int; any integer or float for
 * gguf_float. Fail with INPUT naming file and key when missing or of another type. */
MUST_USE enum status gguf_int(const struct gguf *g, const char *key, int64_t *out);

/* Any float or integer type as a double. */
MUST_USE enum status gguf_float(const struct gguf *g, const char *key, double *out);

/* The bool type only. */
MUST_USE enum status gguf_bool(const struct gguf *g, const char *key, bool *out);

/* Borrowed from the mapping. */
MUST_USE enum status gguf_string(const struct gguf *g, const char *key, struct gguf_string *out);

/* Length of an array key; 0 when missing or no array. */
int64_t gguf_array_count(const struct gguf *g, const char *key);

/* Element `i` of an array of strings / integers / floats. Index checked; string access is O(1)
 * (offsets are tabulated at open). */
MUST_USE enum status gguf_array_string(const struct gguf *g, const char *key, int64_t i,
                                       struct gguf_string *out);

/* Any integer or bool element type; 64-bit values beyond int64 are refused. */
MUST_USE enum status gguf_array_int(const struct gguf *g, const char *key, int64_t i, int64_t *out);

/* Any number type as a double. */
MUST_USE enum status gguf_array_float(const struct gguf *g, const char *key, int64_t i,
                                      double *out);

/* Number of tensors over all parts of a split file. */
int64_t gguf_tensor_count(const struct gguf *g);

/* Tensor `i`: view into the mapping, shape outermost first (reversed dims). *name is
 * NUL-terminated and lives as long as `g`. An unread type has supported = false. */
struct gguf_tensor {
    const char *name;
    struct tensor view;
    uint32_t ggml_type;
    bool supported;
    uint64_t offset; /* bytes from the start of the file, for messages */
};

/* Tensor `i`, 0 <= i < gguf_tensor_count; borrowed. */
const struct gguf_tensor *gguf_tensor_at(const struct gguf *g, int64_t i);

/* Tensor by name; NULL when there is none. */
const struct gguf_tensor *gguf_tensor_find(const struct gguf *g, const char *name);

/* Writer: keys first, then tensors, then finish (writes header, data, fsync, rename into place). */
struct gguf_writer;

/* Starts a file; nothing is written before gguf_writer_finish. Fails with MEMORY, IO (path too
 * long). */
MUST_USE enum status gguf_writer_open(struct gguf_writer **out, const char *path);

/* Adds a string of `length` bytes (copied), as every key below. Fails with MEMORY. */
MUST_USE enum status gguf_write_string(struct gguf_writer *w, const char *key, const char *value,
                                       size_t length);

/* Adds a uint32. */
MUST_USE enum status gguf_write_u32(struct gguf_writer *w, const char *key, uint32_t value);

/* Adds a float32. */
MUST_USE enum status gguf_write_f32(struct gguf_writer *w, const char *key, float value);

/* Adds a bool. */
MUST_USE enum status gguf_write_bool(struct gguf_writer *w, const char *key, bool value);

/* Adds an array of `count` strings. */
MUST_USE enum status gguf_write_strings(struct gguf_writer *w, const char *key, int64_t count,
                                        const struct gguf_string *values);

/* Adds an array of `count` int32. */
MUST_USE enum status gguf_write_i32s(struct gguf_writer *w, const char *key, int64_t count,
                                     const int32_t *values);
/* The view's data is borrowed until gguf_writer_finish. */
MUST_USE enum status gguf_write_tensor(struct gguf_writer *w, const char *name,
                                       const struct tensor *view);
/* Writes the file and frees the writer, also on failure. */
MUST_USE enum status gguf_writer_finish(struct gguf_writer *w);
/* Frees without writing. NULL is allowed. */
void gguf_writer_abort(struct gguf_writer *w);
