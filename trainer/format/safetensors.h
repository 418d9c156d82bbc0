/*
 * safetensors reader and writer (spec formats.md 1): mapped, validated as the reference does,
 * tensors F32, F16, BF16 (others are listed but not readable as weights).
 */
#pragma once

#include "kernels/tensor/tensor.h"

struct safetensors;

struct safetensors_entry {
    const char *name;       /* NUL-terminated, lives with the file */
    const char *dtype_name; /* "F32", "I64", ... as in the file */
    struct tensor view;     /* view.dtype meaningful only when `supported` */
    bool supported;         /* F32, F16 or BF16 */
    const void *data;       /* bytes in the mapping, any alignment */
    size_t bytes;
    uint64_t offset; /* from the start of the file, for messages */
};

/* Maps one file. Fails with INPUT (file, tensor, offset). Close with safetensors_close. */
MUST_USE enum status safetensors_open(struct safetensors **out, const char *path);

/* Same on memory, for fuzzing; data borrowed until close. */
MUST_USE enum status safetensors_open_memory(struct safetensors **out, const char *name,
                                             const void *data, size_t size);

/* Opens `folder`/model.safetensors, or model.safetensors.index.json with all its shards (checked
 * for traversal, missing and surplus tensors) as one set. */
MUST_USE enum status safetensors_open_folder(struct safetensors **out, const char *folder);

/* Unmaps all files of the set. NULL is allowed. */
void safetensors_close(struct safetensors *s);

/* Tensors of the set. */
int64_t safetensors_count(const struct safetensors *s);

/* Tensor `i` in the files' order, 0 <= i < safetensors_count; borrowed. */
const struct safetensors_entry *safetensors_at(const struct safetensors *s, int64_t i);
/* Entry by name, NULL when there is none. */
const struct safetensors_entry *safetensors_find(const struct safetensors *s, const char *name);
/* Value of a __metadata__ key, NULL when there is none. */
const char *safetensors_metadata(const struct safetensors *s, const char *key);

/* One tensor to write; F32, F16 or BF16 views, data borrowed. */
struct safetensors_item {
    const char *name;
    struct tensor view;
};

/* Writes a file in canonical order (dtype descending, then name) with metadata {"format":"pt"},
 * to a temporary name, fsync, rename. Fails with IO naming the file and the cause. */
MUST_USE enum status safetensors_write(const char *path, const struct safetensors_item *items,
                                       int64_t count);
