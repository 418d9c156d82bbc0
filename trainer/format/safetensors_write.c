/* safetensors writer: canonical order, header padded to 8 bytes, streamed, atomic. */
#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <unistd.h>

#include "trainer/format/file.h"
#include "trainer/format/safetensors.h"

/* Canonical order: wider dtypes first, then by name; F32 before BF16 before F16. */
static int dtype_rank(enum dtype type)
{
    return type == DTYPE_F32 ? 0 : type == DTYPE_BF16 ? 1 : 2;
}

static int compare_items(const void *a, const void *b)
{
    const struct safetensors_item *x = *(const struct safetensors_item *const *)a;
    const struct safetensors_item *y = *(const struct safetensors_item *const *)b;
    const int order = dtype_rank(x->view.dtype) - dtype_rank(y->view.dtype);
    return order ? order : strcmp(x->name, y->name);
}

static size_t item_bytes(const struct safetensors_item *item)
{
    return (size_t)tensor_count(&item->view) * (size_t)dtype_row(item->view.dtype)->bytes;
}

static json_t *header_of(const struct safetensors_item *const *items, int64_t count)
{
    json_t *header = json_pack("{s:{s:s}}", "__metadata__", "format", "pt");
    size_t at = 0;
    for (int64_t i = 0; i < count; i++) {
        json_t *shape = json_array();
        for (int d = 0; d < items[i]->view.dims; d++) {
            (void)json_array_append_new(shape, json_integer(items[i]->view.shape[d]));
        }
        const size_t end = at + item_bytes(items[i]);
        (void)json_object_set_new(
            header, items[i]->name,
            json_pack("{s:s, s:o, s:[I, I]}", "dtype", dtype_row(items[i]->view.dtype)->name,
                      "shape", shape, "data_offsets", (json_int_t)at, (json_int_t)end));
        at = end;
    }
    return header;
}

/* Header length, header padded with spaces, then every tensor row by row. */
static enum status write_file(FILE *f, const char *path,
                              const struct safetensors_item *const *items, int64_t count)
{
    json_t *header = header_of(items, count);
    if (header && json_object_size(header) != (size_t)count + 1) {
        json_decref(header);
        return FAIL(INTERNAL, "%s: two tensors of one name, or a name that is no UTF-8", path);
    }
    char *text = header ? json_dumps(header, JSON_COMPACT) : NULL;
    json_decref(header);
    if (!text) {
        return FAIL(MEMORY, "%s: no memory for the header", path);
    }
    const size_t length = strlen(text);
    const uint64_t padded = (length + 7) / 8 * 8;
    bool ok = fwrite(&padded, sizeof padded, 1, f) == 1 && fwrite(text, 1, length, f) == length;
    for (size_t i = length; ok && i < padded; i++) {
        ok = fputc(' ', f) != EOF;
    }
    free(text);
    for (int64_t i = 0; ok && i < count; i++) {
        const struct tensor *v = &items[i]->view;
        const size_t row = (size_t)tensor_columns(v) * (size_t)dtype_row(v->dtype)->bytes;
        const char *p = v->data;
        for (int64_t r = 0; ok && r < tensor_rows(v); r++) {
            ok = fwrite(p + (size_t)r * v->row_bytes, 1, row, f) == row;
        }
    }
    return ok && fflush(f) == 0 && fsync(fileno(f)) == 0 ? STATUS_OK : file_fail("write", path);
}

static enum status write_sorted(const char *path, const struct safetensors_item *const *items,
                                int64_t count)
{
    char temporary[4096];
    const int n = snprintf(temporary, sizeof temporary, "%s.tmp", path);
    if (n < 0 || (size_t)n >= sizeof temporary) {
        return FAIL(IO, "%s: the path is too long", path);
    }
    FILE *f = fopen(temporary, "wbe");
    if (!f) {
        return file_fail("create", temporary);
    }
    enum status status = write_file(f, temporary, items, count);
    if (fclose(f) != 0 && status == STATUS_OK) {
        status = file_fail("close", temporary);
    }
    if (status == STATUS_OK && rename(temporary, path) != 0) {
        status = file_fail("rename", temporary);
    }
    if (status != STATUS_OK) {
        (void)unlink(temporary);
    }
    return status;
}

enum status safetensors_write(const char *path, const struct safetensors_item *items, int64_t count)
{
    const struct safetensors_item **order = malloc(((size_t)count + 1) * sizeof *order);
    if (!order) {
        return FAIL(MEMORY, "%s: no memory for %lld tensors", path, (long long)count);
    }
    for (int64_t i = 0; i < count; i++) {
        order[i] = &items[i];
        ASSERT(dtype_row(items[i].view.dtype)->block == 1);
    }
    qsort(order, (size_t)count, sizeof *order, compare_items);
    const enum status status = write_sorted(path, order, count);
    free(order);
    return status;
}
