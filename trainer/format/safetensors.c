/*
 * safetensors reader: the checks of the reference implementation (spec formats.md 1), and stricter
 * where it is lenient (duplicate names).
 */
#include "trainer/format/safetensors.h"

#include <jansson.h>
#include <string.h>

#include "kernels/base/checked.h"
#include "trainer/format/file.h"
#include "trainer/format/json.h"

enum { HEADER_CAP = 100000000, INDEX_CAP = 10000000, NAME_CAP = 4096, DEPTH_CAP = 127 };

/* Size of each dtype in bits. */
static const struct {
    const char *name;
    size_t bits;
} DTYPES[] = {
    {"BOOL", 8},      {"F4", 4},        {"F6_E2M3", 6}, {"F6_E3M2", 6},     {"U8", 8},
    {"I8", 8},        {"F8_E5M2", 8},   {"F8_E4M3", 8}, {"F8_E8M0", 8},     {"F8_E4M3FNUZ", 8},
    {"F8_E5M2FNUZ", 8}, {"I16", 16},    {"U16", 16},    {"F16", 16},        {"BF16", 16},
    {"I32", 32},      {"U32", 32},      {"F32", 32},    {"C64", 64},        {"F64", 64},
    {"I64", 64},      {"U64", 64},
};

/* One mapped (or borrowed) file. */
struct shard {
    char *path;
    struct file_map map;
    bool owned;
    json_t *header;
};

struct safetensors {
    struct shard *shards;
    int64_t shard_count;
    struct safetensors_entry *entries; /* sorted by name */
    int64_t count;
    json_t *index; /* weight_map of a sharded model, NULL otherwise */
};

static enum status get_u64(const json_t *value, uint64_t *out)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0) {
        return STATUS_INPUT;
    }
    *out = (uint64_t)json_integer_value(value);
    return STATUS_OK;
}

static bool find_bits(const char *dtype, size_t *bits)
{
    for (size_t i = 0; i < sizeof DTYPES / sizeof DTYPES[0]; i++) {
        if (strcmp(dtype, DTYPES[i].name) == 0) {
            *bits = DTYPES[i].bits;
            return true;
        }
    }
    return false;
}

/* Bytes of a shape, checked in declaration order; fills the view's shape while it fits. */
static enum status shape_bytes(const json_t *shape, size_t bits, const char *where,
                               struct safetensors_entry *e, size_t *bytes)
{
    size_t elements = 1;
    const size_t dims = json_array_size(shape);
    e->view.dims = dims <= TENSOR_MAX_DIMS ? (int)dims : 0;
    for (size_t i = 0; i < dims; i++) {
        uint64_t d;
        if (get_u64(json_array_get(shape, i), &d) != STATUS_OK) {
            return FAIL(INPUT, "%s: shape[%zu] is no non-negative integer", where, i);
        }
        if (!checked_mul(elements, (size_t)d, &elements)) {
            return FAIL(INPUT, "%s: the shape overflows", where);
        }
        if (i < TENSOR_MAX_DIMS) {
            e->view.shape[i] = (int64_t)d;
        }
    }
    size_t total;
    if (!checked_mul(elements, bits, &total) || total % 8 != 0) {
        return FAIL(INPUT, "%s: %zu elements of %zu bits are no whole bytes", where, elements,
                    bits);
    }
    *bytes = total / 8;
    return STATUS_OK;
}

static void set_view(struct safetensors_entry *e)
{
    enum dtype type;
    e->supported = dtype_from_name(e->dtype_name, &type) && dtype_row(type)->block == 1
                   && e->view.dims > 0;
    if (e->supported) {
        e->view.dtype = type;
        e->view.data = e->data;
        e->view.row_bytes = (size_t)tensor_columns(&e->view) * (size_t)dtype_row(type)->bytes;
    }
}

static enum status read_entry(const struct shard *s, size_t data_start, const char *name,
                              const json_t *info, struct safetensors_entry *e, uint64_t range[2])
{
    char where[NAME_CAP];
    size_t bits;
    size_t bytes;
    (void)snprintf(where, sizeof where, "%s: tensor '%.200s'", s->path, name);
    const json_t *offsets = json_object_get(info, "data_offsets");
    const json_t *shape = json_object_get(info, "shape");
    const char *dtype = json_string_value(json_object_get(info, "dtype"));
    if (!json_is_object(info) || !dtype || !json_is_array(shape) || !json_is_array(offsets)
        || json_array_size(offsets) != 2) {
        return FAIL(INPUT, "%s: needs dtype, shape and two data_offsets", where);
    }
    if (!find_bits(dtype, &bits)) {
        return FAIL(INPUT, "%s: unknown dtype '%.40s'", where, dtype);
    }
    *e = (struct safetensors_entry){.name = name, .dtype_name = dtype};
    TRY(shape_bytes(shape, bits, where, e, &bytes));
    if (get_u64(json_array_get(offsets, 0), &range[0]) != STATUS_OK
        || get_u64(json_array_get(offsets, 1), &range[1]) != STATUS_OK || range[1] < range[0]
        || range[1] > s->map.size - data_start) {
        return FAIL(INPUT, "%s: data_offsets are not inside the file's %zu data bytes", where,
                    s->map.size - data_start);
    }
    if (range[1] - range[0] != bytes) {
        return FAIL(INPUT, "%s: its shape needs %zu bytes, data_offsets span %llu", where, bytes,
                    (unsigned long long)(range[1] - range[0]));
    }
    e->offset = data_start + range[0];
    e->data = (const char *)s->map.data + e->offset;
    e->bytes = bytes;
    set_view(e);
    return STATUS_OK;
}

/* Byte range of a tensor, for the check that ranges tile the data. */
struct range {
    uint64_t begin;
    uint64_t end;
};

static int compare_ranges(const void *a, const void *b)
{
    const struct range *x = a;
    const struct range *y = b;
    if (x->begin != y->begin) {
        return x->begin < y->begin ? -1 : 1;
    }
    return (x->end > y->end) - (x->end < y->end);
}

static enum status check_tiling(const struct shard *s, size_t data_start, struct range *ranges,
                                size_t count)
{
    uint64_t at = 0;
    qsort(ranges, count, sizeof *ranges, compare_ranges);
    for (size_t i = 0; i < count; i++) {
        if (ranges[i].begin != at) {
            return FAIL(INPUT, "%s: tensors leave a hole or overlap at data byte %llu", s->path,
                        (unsigned long long)at);
        }
        at = ranges[i].end;
    }
    if (at != s->map.size - data_start) {
        return FAIL(INPUT, "%s: %zu data bytes, its tensors cover %llu", s->path,
                    s->map.size - data_start, (unsigned long long)at);
    }
    return STATUS_OK;
}

static enum status check_metadata(const struct shard *s)
{
    const json_t *metadata = json_object_get(s->header, "__metadata__");
    const char *key;
    json_t *value;
    if (metadata && !json_is_object(metadata) && !json_is_null(metadata)) {
        return FAIL(INPUT, "%s: __metadata__ is no object", s->path);
    }
    json_object_foreach((json_t *)(uintptr_t)metadata, key, value)
    {
        if (!json_is_string(value)) {
            return FAIL(INPUT, "%s: __metadata__ '%.40s' is no string", s->path, key);
        }
    }
    return STATUS_OK;
}

/* The reference stops at a depth of 128; jansson would recurse 2048 deep. */
static enum status check_depth(const struct shard *s, const char *text, size_t n)
{
    bool quoted = false;
    int depth = 0;
    for (size_t i = 0; i < n; i++) {
        const char c = text[i];
        if (quoted) {
            i += c == '\\';
            quoted = c != '"';
        } else if (c == '{' || c == '[') {
            depth++;
        } else if (c == '}' || c == ']') {
            depth--;
        } else {
            quoted = c == '"';
        }
        if (depth > DEPTH_CAP) {
            return FAIL(INPUT, "%s: header at byte %zu: nested deeper than %d", s->path, 8 + i,
                        DEPTH_CAP);
        }
    }
    return STATUS_OK;
}

static enum status read_header(struct shard *s, size_t *data_start)
{
    uint64_t n;
    if (s->map.size < 8) {
        return FAIL(INPUT, "%s: %zu bytes are too short for a safetensors file", s->path,
                    s->map.size);
    }
    memcpy(&n, s->map.data, sizeof n);
    if (n > HEADER_CAP || n > s->map.size - 8) {
        return FAIL(INPUT, "%s: a header of %llu bytes in a file of %zu (at byte 0)", s->path,
                    (unsigned long long)n, s->map.size);
    }
    json_error_t error;
    TRY(check_depth(s, (const char *)s->map.data + 8, (size_t)n));
    s->header =
        json_loadb((const char *)s->map.data + 8, (size_t)n, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(s->header)) {
        return FAIL(INPUT, "%s: header at byte %d: %s", s->path, 8 + error.position,
                    s->header ? "no JSON object" : error.text);
    }
    *data_start = 8 + (size_t)n;
    return check_metadata(s);
}

/* Reads one shard and appends its entries. */
static enum status read_shard(struct safetensors *st, struct shard *s)
{
    size_t data_start;
    TRY(read_header(s, &data_start));
    const size_t most = json_object_size(s->header);
    struct safetensors_entry *entries =
        realloc(st->entries, ((size_t)st->count + most + 1) * sizeof *entries);
    struct range *ranges = malloc((most + 1) * sizeof *ranges);
    st->entries = entries ? entries : st->entries;
    if (!entries || !ranges) {
        free(ranges);
        return FAIL(MEMORY, "%s: no memory for %zu tensors", s->path, most);
    }
    const char *name;
    json_t *info;
    size_t count = 0;
    enum status status = STATUS_OK;
    json_object_foreach(s->header, name, info)
    {
        if (status != STATUS_OK || strcmp(name, "__metadata__") == 0) {
            continue;
        }
        uint64_t range[2];
        status = read_entry(s, data_start, name, info, &entries[st->count], range);
        if (status == STATUS_OK) {
            ranges[count++] = (struct range){range[0], range[1]};
            st->count++;
        }
    }
    if (status == STATUS_OK) {
        status = check_tiling(s, data_start, ranges, count);
    }
    free(ranges);
    return status;
}

static int compare_entries(const void *a, const void *b)
{
    const struct safetensors_entry *x = a;
    const struct safetensors_entry *y = b;
    return strcmp(x->name, y->name);
}

static enum status sort_entries(struct safetensors *st, const char *where)
{
    qsort(st->entries, (size_t)st->count, sizeof *st->entries, compare_entries);
    for (int64_t i = 1; i < st->count; i++) {
        if (strcmp(st->entries[i - 1].name, st->entries[i].name) == 0) {
            return FAIL(INPUT, "%s: tensor '%.200s' is there twice", where, st->entries[i].name);
        }
    }
    return STATUS_OK;
}

static enum status set_open(struct safetensors **out, int64_t shards)
{
    struct safetensors *st = calloc(1, sizeof *st);
    *out = NULL;
    if (st) {
        st->shards = calloc((size_t)shards, sizeof *st->shards);
    }
    if (!st || !st->shards) {
        free(st);
        return FAIL(MEMORY, "safetensors: no memory for %lld files", (long long)shards);
    }
    st->shard_count = shards;
    *out = st;
    return STATUS_OK;
}

static enum status open_shard(struct safetensors *st, struct shard *s, const char *path)
{
    s->path = strdup(path);
    if (!s->path) {
        return FAIL(MEMORY, "%s: no memory", path);
    }
    TRY(file_map_open(&s->map, path));
    s->owned = true;
    return read_shard(st, s);
}

static enum status finish(struct safetensors **out, struct safetensors *st, enum status status,
                          const char *where)
{
    if (status == STATUS_OK) {
        status = sort_entries(st, where);
    }
    if (status != STATUS_OK) {
        safetensors_close(st);
        return status;
    }
    *out = st;
    return STATUS_OK;
}

enum status safetensors_open(struct safetensors **out, const char *path)
{
    struct safetensors *st;
    *out = NULL;
    TRY(set_open(&st, 1));
    return finish(out, st, open_shard(st, &st->shards[0], path), path);
}

enum status safetensors_open_memory(struct safetensors **out, const char *name, const void *data,
                                    size_t size)
{
    struct safetensors *st;
    *out = NULL;
    TRY(set_open(&st, 1));
    st->shards[0].path = strdup(name);
    st->shards[0].map = (struct file_map){.data = data, .size = size};
    const enum status status =
        st->shards[0].path ? read_shard(st, &st->shards[0]) : FAIL(MEMORY, "%s: no memory", name);
    return finish(out, st, status, name);
}

/* A shard's file name may not leave the folder. */
static enum status check_file_name(const char *name, const char *index)
{
    if (!name || !*name || strchr(name, '/') || strstr(name, "..")) {
        return FAIL(INPUT, "%s: weight_map names the file '%.80s', which leaves the folder", index,
                    name ? name : "(none)");
    }
    return STATUS_OK;
}

/* Distinct file names of the weight map, as an object used as a set. */
static enum status shard_names(const json_t *map, const char *index, json_t **out)
{
    const char *tensor;
    json_t *file;
    *out = json_object();
    json_object_foreach((json_t *)(uintptr_t)map, tensor, file)
    {
        TRY(check_file_name(json_string_value(file), index));
        (void)json_object_set_new(*out, json_string_value(file), json_true());
    }
    return json_object_size(*out) > 0 ? STATUS_OK
                                      : FAIL(INPUT, "%s: weight_map is empty or missing", index);
}

/* Every mapped tensor lies in its shard and nothing else is there. */
static enum status check_index(const struct safetensors *st, const json_t *map, const char *folder)
{
    for (int64_t i = 0; i < st->shard_count; i++) {
        const char *slash = strrchr(st->shards[i].path, '/');
        const char *name;
        json_t *info;
        json_object_foreach(st->shards[i].header, name, info)
        {
            const char *file = json_string_value(json_object_get(map, name));
            if (strcmp(name, "__metadata__") != 0
                && (!file || strcmp(file, slash ? slash + 1 : st->shards[i].path) != 0)) {
                return FAIL(INPUT, "%s: tensor '%.200s' is not in the index, or for another file",
                            st->shards[i].path, name);
            }
        }
    }
    if ((int64_t)json_object_size(map) != st->count) {
        return FAIL(INPUT, "%s: the index names %zu tensors, the files hold %lld", folder,
                    json_object_size(map), (long long)st->count);
    }
    return STATUS_OK;
}

static enum status open_shards(struct safetensors **out, const char *folder, const json_t *map,
                               const char *index)
{
    json_t *names = NULL;
    struct safetensors *st = NULL;
    enum status status = shard_names(map, index, &names);
    if (status == STATUS_OK) {
        status = set_open(&st, (int64_t)json_object_size(names));
    }
    const char *name;
    json_t *unused;
    int64_t i = 0;
    json_object_foreach(names, name, unused)
    {
        char path[NAME_CAP];
        (void)snprintf(path, sizeof path, "%s/%s", folder, name);
        if (status == STATUS_OK) {
            status = open_shard(st, &st->shards[i++], path);
        }
    }
    if (status == STATUS_OK) {
        status = check_index(st, map, folder);
    }
    json_decref(names);
    return st ? finish(out, st, status, folder) : status;
}

enum status safetensors_open_folder(struct safetensors **out, const char *folder)
{
    char path[NAME_CAP];
    char index[NAME_CAP];
    *out = NULL;
    (void)snprintf(path, sizeof path, "%s/model.safetensors", folder);
    (void)snprintf(index, sizeof index, "%s/model.safetensors.index.json", folder);
    FILE *there = fopen(index, "rbe");
    if (!there) {
        return safetensors_open(out, path);
    }
    (void)fclose(there);
    json_t *json = NULL;
    TRY(json_load_path(index, INDEX_CAP, &json));
    const enum status status =
        open_shards(out, folder, json_object_get(json, "weight_map"), index);
    json_decref(json);
    return status;
}

void safetensors_close(struct safetensors *s)
{
    if (!s) {
        return;
    }
    for (int64_t i = 0; i < s->shard_count; i++) {
        json_decref(s->shards[i].header);
        free(s->shards[i].path);
        if (s->shards[i].owned) {
            file_map_close(&s->shards[i].map);
        }
    }
    free(s->shards);
    free(s->entries);
    free(s);
}

int64_t safetensors_count(const struct safetensors *s)
{
    return s->count;
}

const struct safetensors_entry *safetensors_at(const struct safetensors *s, int64_t i)
{
    return i >= 0 && i < s->count ? &s->entries[i] : NULL;
}

const struct safetensors_entry *safetensors_find(const struct safetensors *s, const char *name)
{
    const struct safetensors_entry key = {.name = name};
    return s->count > 0 ? bsearch(&key, s->entries, (size_t)s->count, sizeof *s->entries,
                                  compare_entries)
                        : NULL;
}

const char *safetensors_metadata(const struct safetensors *s, const char *key)
{
    return json_string_value(
        json_object_get(json_object_get(s->shards[0].header, "__metadata__"), key));
}
