/* GGUF v3 writer: keys and tensor infos are collected, the file is written at once; see gguf.h. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "trainer/format/file.h"
#include "trainer/format/gguf.h"

enum { ALIGNMENT = 32, PATH_CAP = 4096 };

/* Growing bytes. */
struct buffer {
    uint8_t *data;
    size_t size;
    size_t capacity;
};

struct pending {
    char name[64];
    struct tensor view;
};

struct gguf_writer {
    char path[PATH_CAP];
    struct buffer keys;
    uint64_t key_count;
    struct pending *tensors;
    int64_t tensor_count;
};

static enum status put(struct buffer *b, const void *data, size_t n)
{
    if (b->size + n > b->capacity) {
        const size_t capacity = 2 * (b->size + n) + 256;
        uint8_t *grown = realloc(b->data, capacity);
        if (!grown) {
            return FAIL(MEMORY, "GGUF writer: no memory for %zu bytes", capacity);
        }
        b->data = grown;
        b->capacity = capacity;
    }
    if (n > 0) {
        memcpy(b->data + b->size, data, n);
    }
    b->size += n;
    return STATUS_OK;
}

static enum status put_u32(struct buffer *b, uint32_t x)
{
    return put(b, &x, sizeof x);
}

static enum status put_u64(struct buffer *b, uint64_t x)
{
    return put(b, &x, sizeof x);
}

static enum status put_string(struct buffer *b, const char *s, size_t n)
{
    TRY(put_u64(b, n));
    return put(b, s, n);
}

static enum status put_key(struct gguf_writer *w, const char *key, enum gguf_type type)
{
    TRY(put_string(&w->keys, key, strlen(key)));
    w->key_count++;
    return put_u32(&w->keys, (uint32_t)type);
}

enum status gguf_writer_open(struct gguf_writer **out, const char *path)
{
    *out = NULL;
    if (strlen(path) + 5 > PATH_CAP) {
        return FAIL(IO, "%s: the path is too long", path);
    }
    struct gguf_writer *w = calloc(1, sizeof *w);
    if (!w) {
        return FAIL(MEMORY, "%s: no memory to write it", path);
    }
    memcpy(w->path, path, strlen(path) + 1);
    *out = w;
    return STATUS_OK;
}

void gguf_writer_abort(struct gguf_writer *w)
{
    if (w) {
        free(w->keys.data);
        free(w->tensors);
        free(w);
    }
}

enum status gguf_write_string(struct gguf_writer *w, const char *key, const char *value,
                              size_t length)
{
    TRY(put_key(w, key, GGUF_STRING));
    return put_string(&w->keys, value, length);
}

enum status gguf_write_u32(struct gguf_writer *w, const char *key, uint32_t value)
{
    TRY(put_key(w, key, GGUF_U32));
    return put_u32(&w->keys, value);
}

enum status gguf_write_f32(struct gguf_writer *w, const char *key, float value)
{
    TRY(put_key(w, key, GGUF_F32));
    return put(&w->keys, &value, sizeof value);
}

enum status gguf_write_bool(struct gguf_writer *w, const char *key, bool value)
{
    const uint8_t byte = value;
    TRY(put_key(w, key, GGUF_BOOL));
    return put(&w->keys, &byte, 1);
}

static enum status put_array(struct gguf_writer *w, const char *key, enum gguf_type element,
                             int64_t count)
{
    TRY(put_key(w, key, GGUF_ARRAY));
    TRY(put_u32(&w->keys, (uint32_t)element));
    return put_u64(&w->keys, (uint64_t)count);
}

enum status gguf_write_strings(struct gguf_writer *w, const char *key, int64_t count,
                               const struct gguf_string *values)
{
    TRY(put_array(w, key, GGUF_STRING, count));
    for (int64_t i = 0; i < count; i++) {
        TRY(put_string(&w->keys, values[i].data, values[i].length));
    }
    return STATUS_OK;
}

enum status gguf_write_i32s(struct gguf_writer *w, const char *key, int64_t count,
                            const int32_t *values)
{
    TRY(put_array(w, key, GGUF_I32, count));
    return put(&w->keys, values, (size_t)count * sizeof *values);
}

enum status gguf_write_tensor(struct gguf_writer *w, const char *name, const struct tensor *view)
{
    struct pending *tensors =
        realloc(w->tensors, (size_t)(w->tensor_count + 1) * sizeof *tensors);
    if (!tensors) {
        return FAIL(MEMORY, "%s: no memory for tensor '%s'", w->path, name);
    }
    w->tensors = tensors;
    if (strlen(name) >= sizeof tensors->name || dtype_row(view->dtype)->ggml_id < 0) {
        return FAIL(INPUT, "%s: tensor '%s' can't be stored: name too long or type %s unknown to GGUF",
                    w->path, name, dtype_row(view->dtype)->name);
    }
    size_t row_bytes;
    TRY(dtype_row_bytes(view->dtype, tensor_columns(view), &row_bytes));
    if (row_bytes != view->row_bytes) {
        return FAIL(INTERNAL, "%s: tensor '%s': its rows are %zu bytes, %zu apart; pack them first",
                    w->path, name, row_bytes, view->row_bytes);
    }
    struct pending *p = &tensors[w->tensor_count++];
    *p = (struct pending){.view = *view};
    memcpy(p->name, name, strlen(name) + 1);
    return STATUS_OK;
}

static size_t aligned(size_t n)
{
    return (n + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static size_t data_bytes(const struct pending *p)
{
    return (size_t)tensor_rows(&p->view) * p->view.row_bytes;
}

/* Header, keys and tensor infos. */
static enum status make_head(const struct gguf_writer *w, struct buffer *head)
{
    TRY(put(head, "GGUF", 4));
    TRY(put_u32(head, 3));
    TRY(put_u64(head, (uint64_t)w->tensor_count));
    TRY(put_u64(head, w->key_count));
    TRY(put(head, w->keys.data, w->keys.size));
    size_t offset = 0;
    for (int64_t i = 0; i < w->tensor_count; i++) {
        const struct pending *p = &w->tensors[i];
        TRY(put_string(head, p->name, strlen(p->name)));
        TRY(put_u32(head, (uint32_t)p->view.dims));
        for (int d = p->view.dims - 1; d >= 0; d--) {
            TRY(put_u64(head, (uint64_t)p->view.shape[d]));
        }
        TRY(put_u32(head, (uint32_t)dtype_row(p->view.dtype)->ggml_id));
        TRY(put_u64(head, offset));
        offset += aligned(data_bytes(p));
    }
    return STATUS_OK;
}

static bool pad(FILE *f, size_t written)
{
    static const uint8_t ZEROS[ALIGNMENT];
    const size_t n = aligned(written) - written;
    return fwrite(ZEROS, 1, n, f) == n;
}

static enum status write_file(const struct gguf_writer *w, FILE *f, const char *path)
{
    struct buffer head = {0};
    const enum status status = make_head(w, &head);
    bool ok = status == STATUS_OK && fwrite(head.data, 1, head.size, f) == head.size
              && pad(f, head.size);
    free(head.data);
    TRY(status);
    for (int64_t i = 0; ok && i < w->tensor_count; i++) {
        const size_t n = data_bytes(&w->tensors[i]);
        ok = fwrite(w->tensors[i].view.data, 1, n, f) == n && pad(f, n);
    }
    return ok && fflush(f) == 0 && fsync(fileno(f)) == 0 ? STATUS_OK : file_fail("write", path);
}

/* A file our own reader refuses (a key or tensor given twice) is not published. */
static enum status read_back(const char *path)
{
    struct file_map m;
    struct gguf *g = NULL;
    TRY(file_map_open(&m, path));
    const enum status status = gguf_open_memory(&g, path, m.data, m.size);
    gguf_close(g);
    file_map_close(&m);
    return status == STATUS_INPUT
               ? FAIL(INTERNAL, "written file is not readable: %s", status_message())
               : status;
}

enum status gguf_writer_finish(struct gguf_writer *w)
{
    char temporary[PATH_CAP + 8];
    (void)snprintf(temporary, sizeof temporary, "%s.tmp", w->path);
    FILE *f = fopen(temporary, "wbe");
    enum status status = f ? write_file(w, f, temporary) : file_fail("create", temporary);
    if (f && fclose(f) != 0 && status == STATUS_OK) {
        status = file_fail("close", temporary);
    }
    if (status == STATUS_OK) {
        status = read_back(temporary);
    }
    if (status == STATUS_OK && rename(temporary, w->path) != 0) {
        status = file_fail("rename", temporary);
    }
    if (status != STATUS_OK) {
        (void)unlink(temporary);
    }
    gguf_writer_abort(w);
    return status;
}
