/*
 * GGUF v2/v3 reader (spec formats.md 2). One cursor bounded by the file reads everything; a count
 * is checked against the bytes that are left before memory is reserved for it.
 */
#include "trainer/format/gguf.h"

#include <string.h>

#include "kernels/base/checked.h"
#include "trainer/format/file.h"

enum { NAME_CAP = 65, KEY_CAP = 65535, MIN_KV = 14, MIN_INFO = 24 };

/* Bytes of a scalar of each type; 0: string or array. */
static const uint8_t TYPE_BYTES[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

struct kv {
    struct gguf_string key;
    enum gguf_type type;
    enum gguf_type element; /* of an array */
    uint64_t count;         /* of an array */
    const uint8_t *value;   /* scalar bytes, or first element */
    struct gguf_string string;
    uint64_t *offsets;      /* array of strings: offset of each from the file's start */
};

struct gguf {
    char *path;
    struct file_map map;
    bool owned;
    struct kv *kvs;
    int64_t kv_count;
    struct gguf_tensor *tensors;
    char (*names)[NAME_CAP];
    int64_t tensor_count;
    int64_t *by_name; /* tensor indices sorted by name */
    uint64_t data_start;
    struct gguf *next; /* further parts of a split file, owned */
};

/* Reading position. */
struct cursor {
    const struct gguf *g;
    uint64_t at;
};

static uint64_t left(const struct cursor *c)
{
    return c->g->map.size - c->at;
}

static enum status cut_off(const struct cursor *c, const char *what)
{
    return FAIL(INPUT, "%s: cut off in %s at byte %llu", c->g->path, what,
                (unsigned long long)c->at);
}

static enum status read_bytes(struct cursor *c, void *out, size_t n, const char *what)
{
    if (left(c) < n) {
        return cut_off(c, what);
    }
    memcpy(out, (const uint8_t *)c->g->map.data + c->at, n);
    c->at += n;
    return STATUS_OK;
}

static enum status read_string(struct cursor *c, struct gguf_string *s, const char *what)
{
    uint64_t n;
    TRY(read_bytes(c, &n, sizeof n, what));
    if (n > left(c)) {
        return FAIL(INPUT, "%s: %s at byte %llu has %llu bytes, the file only %llu more",
                    c->g->path, what, (unsigned long long)(c->at - 8), (unsigned long long)n,
                    (unsigned long long)left(c));
    }
    s->data = (const char *)c->g->map.data + c->at;
    s->length = (size_t)n;
    c->at += n;
    return STATUS_OK;
}

static enum status read_type(struct cursor *c, enum gguf_type *out, const char *what)
{
    uint32_t t;
    TRY(read_bytes(c, &t, sizeof t, what));
    if (t > GGUF_F64) {
        return FAIL(INPUT, "%s: unknown value type %u of %s at byte %llu", c->g->path, t, what,
                    (unsigned long long)(c->at - 4));
    }
    *out = (enum gguf_type)t;
    return STATUS_OK;
}

static enum status read_array(struct cursor *c, struct kv *kv, const char *name)
{
    TRY(read_type(c, &kv->element, name));
    TRY(read_bytes(c, &kv->count, sizeof kv->count, name));
    if (kv->element == GGUF_ARRAY) {
        return FAIL(INPUT, "%s: key '%.80s' at byte %llu: nested arrays are not allowed",
                    c->g->path, name, (unsigned long long)c->at);
    }
    const uint64_t least = kv->element == GGUF_STRING ? 8 : TYPE_BYTES[kv->element];
    if (kv->count > left(c) / least) {
        return FAIL(INPUT, "%s: key '%.80s' at byte %llu: %llu elements don't fit in the file",
                    c->g->path, name, (unsigned long long)c->at, (unsigned long long)kv->count);
    }
    kv->value = (const uint8_t *)c->g->map.data + c->at;
    if (kv->element != GGUF_STRING) {
        c->at += kv->count * least;
        return STATUS_OK;
    }
    kv->offsets = malloc((size_t)kv->count * sizeof *kv->offsets + 1);
    if (!kv->offsets) {
        return FAIL(MEMORY, "%s: no memory for %llu strings", c->g->path,
                    (unsigned long long)kv->count);
    }
    for (uint64_t i = 0; i < kv->count; i++) {
        struct gguf_string unused;
        kv->offsets[i] = c->at;
        TRY(read_string(c, &unused, name));
    }
    return STATUS_OK;
}

static enum status read_kv(struct cursor *c, struct kv *kv)
{
    char name[128];
    const uint64_t start = c->at;
    TRY(read_string(c, &kv->key, "a key"));
    if (kv->key.length == 0 || kv->key.length > KEY_CAP) {
        return FAIL(INPUT, "%s: a key of %zu bytes at byte %llu", c->g->path, kv->key.length,
                    (unsigned long long)start);
    }
    (void)snprintf(name, sizeof name, "%.*s", (int)(kv->key.length < 100 ? kv->key.length : 100),
                   kv->key.data);
    TRY(read_type(c, &kv->type, name));
    if (kv->type == GGUF_STRING) {
        return read_string(c, &kv->string, name);
    }
    if (kv->type == GGUF_ARRAY) {
        return read_array(c, kv, name);
    }
    kv->value = (const uint8_t *)c->g->map.data + c->at;
    if (left(c) < TYPE_BYTES[kv->type]) {
        return cut_off(c, name);
    }
    c->at += TYPE_BYTES[kv->type];
    if (kv->type == GGUF_BOOL && *kv->value > 1) {
        return FAIL(INPUT, "%s: key '%s' at byte %llu is no boolean", c->g->path, name,
                    (unsigned long long)(c->at - 1));
    }
    return STATUS_OK;
}

static bool same(struct gguf_string a, const char *b, size_t n)
{
    return a.length == n && memcmp(a.data, b, n) == 0;
}

static const struct kv *find_kv(const struct gguf *g, const char *key)
{
    const size_t n = strlen(key);
    for (int64_t i = 0; i < g->kv_count; i++) {
        if (same(g->kvs[i].key, key, n)) {
            return &g->kvs[i];
        }
    }
    return NULL;
}

static int compare_keys(const void *a, const void *b)
{
    const struct kv *x = *(const struct kv *const *)a;
    const struct kv *y = *(const struct kv *const *)b;
    const size_t n = x->key.length < y->key.length ? x->key.length : y->key.length;
    const int order = memcmp(x->key.data, y->key.data, n);
    return order ? order : (x->key.length > y->key.length) - (x->key.length < y->key.length);
}

static enum status check_unique_keys(const struct gguf *g)
{
    const struct kv **order = malloc(((size_t)g->kv_count + 1) * sizeof *order);
    enum status status = order ? STATUS_OK : FAIL(MEMORY, "%s: no memory", g->path);
    for (int64_t i = 0; order && i < g->kv_count; i++) {
        order[i] = &g->kvs[i];
    }
    if (order) {
        qsort(order, (size_t)g->kv_count, sizeof *order, compare_keys);
    }
    for (int64_t i = 1; status == STATUS_OK && i < g->kv_count; i++) {
        if (compare_keys(&order[i - 1], &order[i]) == 0) {
            status = FAIL(INPUT, "%s: key '%.*s' is there twice", g->path,
                          (int)order[i]->key.length, order[i]->key.data);
        }
    }
    free(order);
    return status;
}

static enum status read_kvs(struct gguf *g, struct cursor *c, uint64_t count)
{
    if (count > left(c) / MIN_KV) {
        return FAIL(INPUT, "%s: %llu keys don't fit in %llu bytes (byte 16)", g->path,
                    (unsigned long long)count, (unsigned long long)left(c));
    }
    g->kvs = calloc((size_t)count + 1, sizeof *g->kvs);
    if (!g->kvs) {
        return FAIL(MEMORY, "%s: no memory for %llu keys", g->path, (unsigned long long)count);
    }
    for (uint64_t i = 0; i < count; i++) {
        g->kv_count = (int64_t)i + 1; /* also frees a half-read one */
        TRY(read_kv(c, &g->kvs[i]));
    }
    return check_unique_keys(g);
}

/* Name, dimensions, type and offset of one tensor; its data range is checked later. */
static enum status read_info(struct cursor *c, struct gguf_tensor *t, char name[NAME_CAP])
{
    struct gguf_string s;
    uint32_t dims;
    const uint64_t start = c->at;
    const char *path = c->g->path;
    TRY(read_string(c, &s, "a tensor name"));
    if (s.length == 0 || s.length >= NAME_CAP || memchr(s.data, 0, s.length)) {
        return FAIL(INPUT, "%s: a tensor name of %zu bytes at byte %llu (1 to 64)", path, s.length,
                    (unsigned long long)start);
    }
    memcpy(name, s.data, s.length);
    name[s.length] = '\0';
    t->name = name;
    TRY(read_bytes(c, &dims, sizeof dims, name));
    if (dims < 1 || dims > TENSOR_MAX_DIMS) {
        return FAIL(INPUT, "%s: tensor '%s' at byte %llu has %u dimensions (1 to 4)", path, name,
                    (unsigned long long)start, dims);
    }
    t->view.dims = (int)dims;
    int64_t elements = 1;
    for (uint32_t d = 0; d < dims; d++) {
        uint64_t n;
        TRY(read_bytes(c, &n, sizeof n, name));
        if (n == 0 || n > INT64_MAX) {
            return FAIL(INPUT, "%s: tensor '%s' at byte %llu: dimension %u is %llu", path, name,
                        (unsigned long long)start, d, (unsigned long long)n);
        }
        if (__builtin_mul_overflow(elements, (int64_t)n, &elements)) {
            return FAIL(INPUT, "%s: tensor '%s' at byte %llu: its elements overflow", path, name,
                        (unsigned long long)start);
        }
        t->view.shape[dims - 1 - d] = (int64_t)n; /* dims[0] is the contiguous one */
    }
    TRY(read_bytes(c, &t->ggml_type, sizeof t->ggml_type, name));
    TRY(read_bytes(c, &t->offset, sizeof t->offset, name));
    enum dtype type;
    t->supported = dtype_from_ggml(t->ggml_type, &type);
    if (t->supported) {
        t->view.dtype = type;
    }
    return STATUS_OK;
}

static bool removed_type(uint32_t id)
{
    return id == 4 || id == 5 || (id >= 31 && id <= 33) || (id >= 36 && id <= 38) || id > 42;
}

/* Bytes of a tensor's data, checked. */
static enum status data_bytes(const struct gguf *g, struct gguf_tensor *t, size_t *out)
{
    const struct tensor *v = &t->view;
    size_t rows = 1;
    bool ok = true;
    for (int d = 0; d + 1 < v->dims; d++) {
        ok = ok && checked_mul(rows, (size_t)v->shape[d], &rows);
    }
    if (dtype_row_bytes(v->dtype, tensor_columns(v), &t->view.row_bytes) != STATUS_OK) {
        (void)status_prefix(STATUS_INPUT, "%s: tensor '%s': ", g->path, t->name);
        return STATUS_INPUT;
    }
    if (!ok || !checked_mul(rows, t->view.row_bytes, out)) {
        return FAIL(INPUT, "%s: tensor '%s': its size overflows", g->path, t->name);
    }
    return STATUS_OK;
}

/* Checks offset, alignment and extent, and makes the view. */
static enum status place_tensor(const struct gguf *g, struct gguf_tensor *t, uint64_t alignment,
                                uint64_t *expected)
{
    const uint64_t available = g->map.size - g->data_start;
    if (removed_type(t->ggml_type)) {
        return FAIL(INPUT, "%s: tensor '%s' at byte %llu of the data has type %u, which no reader "
                    "knows", g->path, t->name, (unsigned long long)t->offset, t->ggml_type);
    }
    if (t->offset % alignment != 0) {
        return FAIL(INPUT, "%s: tensor '%s': offset %llu is not a multiple of %llu", g->path,
                    t->name, (unsigned long long)t->offset, (unsigned long long)alignment);
    }
    if (t->offset > available || (*expected != UINT64_MAX && t->offset != *expected)) {
        return FAIL(INPUT, "%s: tensor '%s': offset %llu, expected %llu of %llu data bytes",
                    g->path, t->name, (unsigned long long)t->offset,
                    (unsigned long long)*expected, (unsigned long long)available);
    }
    if (!t->supported) { /* its size is unknown: the next offset can't be foretold */
        *expected = UINT64_MAX;
        t->offset += g->data_start;
        return STATUS_OK;
    }
    size_t bytes;
    size_t end;
    TRY(data_bytes(g, t, &bytes));
    if (bytes > available - t->offset) {
        return FAIL(INPUT,
                    "%s: tensor '%s' needs %zu bytes at byte %llu, but the file ends at %zu: it is "
                    "cut off",
                    g->path, t->name, bytes, (unsigned long long)(g->data_start + t->offset),
                    g->map.size);
    }
    *expected =
        checked_align((size_t)t->offset + bytes, (size_t)alignment, &end) ? end : UINT64_MAX;
    t->offset += g->data_start;
    t->view.data = (const uint8_t *)g->map.data + t->offset;
    return STATUS_OK;
}

static enum status find_alignment(const struct gguf *g, uint64_t *out)
{
    const struct kv *kv = find_kv(g, "general.alignment");
    *out = 32;
    if (!kv) {
        return STATUS_OK;
    }
    uint32_t value;
    if (kv->type != GGUF_U32) {
        return FAIL(INPUT, "%s: general.alignment is no u32", g->path);
    }
    memcpy(&value, kv->value, sizeof value);
    if (value == 0 || (value & (value - 1)) != 0 || value > 1U << 20) {
        return FAIL(INPUT, "%s: general.alignment %u is no power of two up to 2^20", g->path,
                    value);
    }
    *out = value;
    return STATUS_OK;
}

/* qsort has no context: sort pairs of name and index. */
struct named {
    const char *name;
    int64_t index;
};

static int compare_named(const void *a, const void *b)
{
    return strcmp(((const struct named *)a)->name, ((const struct named *)b)->name);
}

static enum status index_names(struct gguf *g)
{
    struct named *order = malloc(((size_t)g->tensor_count + 1) * sizeof *order);
    g->by_name = malloc(((size_t)g->tensor_count + 1) * sizeof *g->by_name);
    if (!order || !g->by_name) {
        free(order);
        return FAIL(MEMORY, "%s: no memory for %lld names", g->path, (long long)g->tensor_count);
    }
    for (int64_t i = 0; i < g->tensor_count; i++) {
        order[i] = (struct named){g->tensors[i].name, i};
    }
    qsort(order, (size_t)g->tensor_count, sizeof *order, compare_named);
    enum status status = STATUS_OK;
    for (int64_t i = 0; i < g->tensor_count; i++) {
        g->by_name[i] = order[i].index;
        if (i > 0 && strcmp(order[i - 1].name, order[i].name) == 0) {
            status = FAIL(INPUT, "%s: tensor '%s' is there twice", g->path, order[i].name);
        }
    }
    free(order);
    return status;
}

static enum status read_tensors(struct gguf *g, struct cursor *c, uint64_t count)
{
    if (count > left(c) / MIN_INFO) {
        return FAIL(INPUT, "%s: %llu tensors don't fit in %llu bytes (byte 8)", g->path,
                    (unsigned long long)count, (unsigned long long)left(c));
    }
    g->tensors = calloc((size_t)count + 1, sizeof *g->tensors);
    g->names = calloc((size_t)count + 1, sizeof *g->names);
    if (!g->tensors || !g->names) {
        return FAIL(MEMORY, "%s: no memory for %llu tensors", g->path, (unsigned long long)count);
    }
    g->tensor_count = (int64_t)count;
    for (uint64_t i = 0; i < count; i++) {
        TRY(read_info(c, &g->tensors[i], g->names[i]));
    }
    uint64_t alignment;
    size_t start;
    TRY(find_alignment(g, &alignment));
    if (!checked_align((size_t)c->at, (size_t)alignment, &start)
        || (start > g->map.size && count > 0)) {
        return cut_off(c, "the tensor data");
    }
    g->data_start = start < g->map.size ? start : g->map.size;
    uint64_t expected = 0;
    for (uint64_t i = 0; i < count; i++) {
        TRY(place_tensor(g, &g->tensors[i], alignment, &expected));
    }
    return index_names(g);
}

static enum status parse(struct gguf *g)
{
    struct cursor c = {.g = g};
    char magic[4];
    uint32_t version;
    uint64_t tensors;
    uint64_t kvs;
    TRY(read_bytes(&c, magic, sizeof magic, "the magic"));
    if (memcmp(magic, "GGUF", 4) != 0) {
        return FAIL(INPUT, "%s: no GGUF file (byte 0)", g->path);
    }
    TRY(read_bytes(&c, &version, sizeof version, "the version"));
    if ((version & 0xffffU) == 0 && version != 0) {
        return FAIL(INPUT, "%s: a big-endian GGUF file; convert it to little-endian", g->path);
    }
    if (version != 2 && version != 3) {
        return FAIL(INPUT, "%s: GGUF version %u (byte 4); 2 and 3 are read", g->path, version);
    }
    TRY(read_bytes(&c, &tensors, sizeof tensors, "the tensor count"));
    TRY(read_bytes(&c, &kvs, sizeof kvs, "the key count"));
    TRY(read_kvs(g, &c, kvs));
    return read_tensors(g, &c, tensors);
}

static enum status open_one(struct gguf **out, const char *path)
{
    struct gguf *g = calloc(1, sizeof *g);
    *out = NULL;
    if (!g || !(g->path = strdup(path))) {
        free(g);
        return FAIL(MEMORY, "%s: no memory", path);
    }
    enum status status = file_map_open(&g->map, path);
    g->owned = status == STATUS_OK;
    if (status == STATUS_OK) {
        status = parse(g);
    }
    if (status != STATUS_OK) {
        gguf_close(g);
        return status;
    }
    *out = g;
    return STATUS_OK;
}

/* Path of part `i` (0-based) of `count`, from the name the first part was opened by. */
static enum status part_path(const char *first, int64_t i, int64_t count, char *out, size_t cap)
{
    char suffix[64];
    const size_t length = strlen(first);
    (void)snprintf(suffix, sizeof suffix, "-00001-of-%05lld.gguf", (long long)count);
    const size_t n = strlen(suffix);
    if (length <= n || strcmp(first + length - n, suffix) != 0) {
        return FAIL(INPUT, "%s: the first of %lld parts must be named ...%s", first,
                    (long long)count, suffix);
    }
    (void)snprintf(out, cap, "%.*s-%05lld-of-%05lld.gguf", (int)(length - n), first,
                   (long long)(i + 1), (long long)count);
    return STATUS_OK;
}

/* Part `i` of `count` must say so itself. */
static enum status check_part(const struct gguf *part, int64_t i, int64_t count)
{
    int64_t no = 0;
    int64_t theirs = 0;
    TRY(gguf_int(part, "split.no", &no));
    TRY(gguf_int(part, "split.count", &theirs));
    if (no != i || theirs != count) {
        return FAIL(INPUT, "%s: is part %lld of %lld, expected %lld of %lld", part->path,
                    (long long)no, (long long)theirs, (long long)i, (long long)count);
    }
    return STATUS_OK;
}

/* No tensor of `part` is in an earlier one; `first` is the chain's head. */
static enum status check_no_repeat(const struct gguf *first, const struct gguf *part)
{
    for (int64_t i = 0; i < part->tensor_count; i++) {
        const char *name = part->tensors[i].name;
        if (gguf_tensor_find(first, name) != &part->tensors[i]) {
            return FAIL(INPUT, "%s: tensor '%s' is there twice, here and in an earlier part",
                        part->path, name);
        }
    }
    return STATUS_OK;
}

static enum status open_parts(struct gguf *g)
{
    int64_t count = 1;
    int64_t total = 0;
    if (!find_kv(g, "split.count")) {
        return STATUS_OK;
    }
    TRY(gguf_int(g, "split.count", &count));
    if (count < 1 || count > 99999) {
        return FAIL(INPUT, "%s: split.count %lld", g->path, (long long)count);
    }
    struct gguf *last = g;
    for (int64_t i = 1; i < count; i++) {
        char path[4096];
        TRY(part_path(g->path, i, count, path, sizeof path));
        TRY(open_one(&last->next, path));
        last = last->next;
        TRY(check_part(last, i, count));
        TRY(check_no_repeat(g, last));
    }
    if (count > 1) { /* after the names: a middle part opened first is told so by its name */
        TRY(check_part(g, 0, count));
    }
    if (find_kv(g, "split.tensors.count")) {
        TRY(gguf_int(g, "split.tensors.count", &total));
        if (total != gguf_tensor_count(g)) {
            return FAIL(INPUT, "%s: the parts hold %lld tensors, split.tensors.count says %lld",
                        g->path, (long long)gguf_tensor_count(g), (long long)total);
        }
    }
    return STATUS_OK;
}

enum status gguf_open(struct gguf **out, const char *path)
{
    TRY(open_one(out, path));
    const enum status status = open_parts(*out);
    if (status != STATUS_OK) {
        gguf_close(*out);
        *out = NULL;
    }
    return status;
}

enum status gguf_open_memory(struct gguf **out, const char *name, const void *data, size_t size)
{
    struct gguf *g = calloc(1, sizeof *g);
    *out = NULL;
    if (!g || !(g->path = strdup(name))) {
        free(g);
        return FAIL(MEMORY, "%s: no memory", name);
    }
    g->map = (struct file_map){.data = data, .size = size};
    const enum status status = parse(g);
    if (status != STATUS_OK) {
        gguf_close(g);
        return status;
    }
    *out = g;
    return STATUS_OK;
}

void gguf_close(struct gguf *g)
{
    while (g) {
        struct gguf *next = g->next;
        for (int64_t i = 0; g->kvs && i < g->kv_count; i++) {
            free(g->kvs[i].offsets);
        }
        free(g->kvs);
        free(g->tensors);
        free(g->names);
        free(g->by_name);
        if (g->owned) {
            file_map_close(&g->map);
        }
        free(g->path);
        free(g);
        g = next;
    }
}

const char *gguf_path(const struct gguf *g)
{
    return g->path;
}

int64_t gguf_tensor_count(const struct gguf *g)
{
    int64_t n = 0;
    for (; g; g = g->next) {
        n += g->tensor_count;
    }
    return n;
}

const struct gguf_tensor *gguf_tensor_at(const struct gguf *g, int64_t i)
{
    for (; g; g = g->next) {
        if (i < g->tensor_count) {
            return i >= 0 ? &g->tensors[i] : NULL;
        }
        i -= g->tensor_count;
    }
    return NULL;
}

const struct gguf_tensor *gguf_tensor_find(const struct gguf *g, const char *name)
{
    for (; g; g = g->next) {
        int64_t lo = 0;
        int64_t hi = g->tensor_count;
        while (lo < hi) {
            const int64_t mid = (lo + hi) / 2;
            const int order = strcmp(g->tensors[g->by_name[mid]].name, name);
            if (order == 0) {
                return &g->tensors[g->by_name[mid]];
            }
            lo = order < 0 ? mid + 1 : lo;
            hi = order < 0 ? hi : mid;
        }
    }
    return NULL;
}

int64_t gguf_key_count(const struct gguf *g)
{
    return g->kv_count;
}

struct gguf_string gguf_key_at(const struct gguf *g, int64_t i, enum gguf_type *type,
                               enum gguf_type *element, uint64_t *count)
{
    const struct kv *kv = &g->kvs[i];
    *type = kv->type;
    *element = kv->element;
    *count = kv->count;
    return kv->key;
}

bool gguf_has(const struct gguf *g, const char *key)
{
    return find_kv(g, key) != NULL;
}

static enum status need_kv(const struct gguf *g, const char *key, const struct kv **out)
{
    *out = find_kv(g, key);
    return *out ? STATUS_OK : FAIL(INPUT, "%s: key '%s' is missing", g->path, key);
}

/* An integer of any width; false when the type is no integer or the value does not fit. */
static bool load_int(enum gguf_type type, const uint8_t *p, int64_t *out)
{
    uint64_t u = 0;
    if (type == GGUF_STRING || type == GGUF_ARRAY || type == GGUF_F32 || type == GGUF_F64) {
        return false;
    }
    const int bits = TYPE_BYTES[type] * 8;
    memcpy(&u, p, TYPE_BYTES[type]);
    const bool is_signed = type == GGUF_I8 || type == GGUF_I16 || type == GGUF_I32
                           || type == GGUF_I64;
    if (is_signed && bits < 64 && (u >> (bits - 1)) & 1U) {
        u |= ~0ULL << bits;
    }
    *out = (int64_t)u;
    return is_signed || u <= INT64_MAX;
}

static bool load_float(enum gguf_type type, const uint8_t *p, double *out)
{
    int64_t i;
    if (type == GGUF_F32) {
        float f;
        memcpy(&f, p, sizeof f);
        *out = (double)f;
        return true;
    }
    if (type == GGUF_F64) {
        memcpy(out, p, sizeof *out);
        return true;
    }
    if (load_int(type, p, &i)) {
        *out = (double)i;
        return true;
    }
    return false;
}

enum status gguf_int(const struct gguf *g, const char *key, int64_t *out)
{
    const struct kv *kv;
    TRY(need_kv(g, key, &kv));
    return load_int(kv->type, kv->value, out)
               ? STATUS_OK
               : FAIL(INPUT, "%s: key '%s' is no integer that fits", g->path, key);
}

enum status gguf_float(const struct gguf *g, const char *key, double *out)
{
    const struct kv *kv;
    TRY(need_kv(g, key, &kv));
    return load_float(kv->type, kv->value, out)
               ? STATUS_OK
               : FAIL(INPUT, "%s: key '%s' is no number", g->path, key);
}

enum status gguf_bool(const struct gguf *g, const char *key, bool *out)
{
    const struct kv *kv;
    TRY(need_kv(g, key, &kv));
    if (kv->type != GGUF_BOOL) {
        return FAIL(INPUT, "%s: key '%s' is no boolean", g->path, key);
    }
    *out = *kv->value != 0;
    return STATUS_OK;
}

enum status gguf_string(const struct gguf *g, const char *key, struct gguf_string *out)
{
    const struct kv *kv;
    TRY(need_kv(g, key, &kv));
    if (kv->type != GGUF_STRING) {
        return FAIL(INPUT, "%s: key '%s' is no string", g->path, key);
    }
    *out = kv->string;
    return STATUS_OK;
}

int64_t gguf_array_count(const struct gguf *g, const char *key)
{
    const struct kv *kv = find_kv(g, key);
    return kv && kv->type == GGUF_ARRAY ? (int64_t)kv->count : 0;
}

static enum status need_element(const struct gguf *g, const char *key, int64_t i,
                                const struct kv **out)
{
    TRY(need_kv(g, key, out));
    if ((*out)->type != GGUF_ARRAY || i < 0 || (uint64_t)i >= (*out)->count) {
        return FAIL(INPUT, "%s: key '%s' has no element %lld", g->path, key, (long long)i);
    }
    return STATUS_OK;
}

enum status gguf_array_string(const struct gguf *g, const char *key, int64_t i,
                              struct gguf_string *out)
{
    const struct kv *kv;
    TRY(need_element(g, key, i, &kv));
    if (kv->element != GGUF_STRING) {
        return FAIL(INPUT, "%s: key '%s' is no array of strings", g->path, key);
    }
    const uint8_t *p = (const uint8_t *)g->map.data + kv->offsets[i];
    uint64_t n;
    memcpy(&n, p, sizeof n);
    *out = (struct gguf_string){.data = (const char *)p + 8, .length = (size_t)n};
    return STATUS_OK;
}

enum status gguf_array_int(const struct gguf *g, const char *key, int64_t i, int64_t *out)
{
    const struct kv *kv;
    TRY(need_element(g, key, i, &kv));
    if (kv->element == GGUF_STRING
        || !load_int(kv->element, kv->value + (size_t)i * TYPE_BYTES[kv->element], out)) {
        return FAIL(INPUT, "%s: key '%s' is no array of integers", g->path, key);
    }
    return STATUS_OK;
}

enum status gguf_array_float(const struct gguf *g, const char *key, int64_t i, double *out)
{
    const struct kv *kv;
    TRY(need_element(g, key, i, &kv));
    if (kv->element == GGUF_STRING
        || !load_float(kv->element, kv->value + (size_t)i * TYPE_BYTES[kv->element], out)) {
        return FAIL(INPUT, "%s: key '%s' is no array of numbers", g->path, key);
    }
    return STATUS_OK;
}
