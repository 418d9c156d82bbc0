/*
 * safetensors: every accept and reject of formats.md 1 and 10, shards, the writer, and a replayed
 * fuzz (truncations and flips of a small file of our own). Buffers have the file's exact size, so
 * the sanitizer build sees one byte read too far.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "trainer/format/safetensors.h"

enum { PATH_CAP = 4096, FLIPS = 4000 };

#define CHECK(expr)                                                                                \
    do {                                                                                           \
        if ((expr) != STATUS_OK) {                                                                 \
            fail_msg("%s", status_message());                                                      \
        }                                                                                          \
    } while (0)

/* A file in memory: length, header, `data` bytes of 0x11. Free it. */
static uint8_t *make_file(const char *header, size_t length, size_t data, size_t *size)
{
    const uint64_t n = length;
    *size = sizeof n + length + data;
    uint8_t *file = malloc(*size);
    assert_non_null(file);
    memcpy(file, &n, sizeof n);
    memcpy(file + sizeof n, header, length);
    memset(file + sizeof n + length, 0x11, data);
    return file;
}

static enum status open_text(struct safetensors **s, const char *header, size_t data,
                             uint8_t **file)
{
    size_t size;
    *file = make_file(header, strlen(header), data, &size);
    return safetensors_open_memory(s, "t", *file, size);
}

struct reject {
    const char *header;
    size_t data;
    const char *text; /* must be in the message */
};

#define T(dtype, shape, offsets)                                                                   \
    "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"
#define ONE(dtype, shape, offsets) "{\"a\":" T(dtype, shape, offsets) "}"

static const struct reject REJECTS[] = {
    {"", 0, "header"},
    {"{}x", 0, "header"},
    {"\xef\xbb\xbf{}", 0, "header"},
    {"[]", 0, "no JSON object"},
    {"\"a\"", 0, "header"},
    {"{\"a\":{\"dtype\":\"F32\"", 0, "header"},
    {"{\"\xff\":1}", 0, "header"},
    {"{\"\\ud800\":1}", 0, "header"},
    {"{\"__metadata__\":{\"k\":1}}", 0, "'k' is no string"},
    {"{\"__metadata__\":[]}", 0, "no object"},
    {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "duplicate"},
    {"{\"__metadata__\":{\"k\":\"1\",\"k\":\"1\"}}", 0, "duplicate"},
    {"{\"a\":" T("F32", "[1]", "[0,4]") ",\"a\":" T("F32", "[1]", "[0,4]") "}", 4, "duplicate"},
    {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
     "duplicate"},
    {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "needs dtype"},
    {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "needs dtype"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "needs dtype"},
    {"{\"a\":[\"F32\",[1],[0,4]]}", 4, "needs dtype"},
    {ONE("F32", "[1]", "[0,4,4]"), 4, "two data_offsets"},
    {ONE("F32", "[1]", "[0]"), 4, "two data_offsets"},
    {ONE("F32", "[1.0]", "[0,4]"), 4, "shape[0]"},
    {ONE("F32", "[1,1e0]", "[0,4]"), 4, "shape[1]"},
    {ONE("F32", "[1,1,-1]", "[0,4]"), 4, "shape[2]"},
    {ONE("F32", "[18446744073709551616]", "[0,4]"), 4, "too big"},
    {ONE("F32", "[1]", "[0.0,4]"), 4, "data_offsets"},
    {ONE("F32", "[1]", "[-4,0]"), 4, "data_offsets"},
    {ONE("F32", "[1]", "[0,4e0]"), 4, "data_offsets"},
    {ONE("F32", "[1]", "[4,0]"), 4, "data_offsets"},
    {ONE("F32", "[2]", "[0,8]"), 4, "data_offsets"},
    {ONE("F32", "[2]", "[0,4]"), 4, "needs 8 bytes"},
    {ONE("F32", "[]", "[0,8]"), 8, "needs 4 bytes"},
    {ONE("f32", "[1]", "[0,4]"), 4, "unknown dtype 'f32'"},
    {ONE("F33", "[1]", "[0,4]"), 4, "unknown dtype 'F33'"},
    {ONE("F4", "[3]", "[0,1]"), 1, "no whole bytes"},
    {ONE("F32", "[4294967296,4294967296,4294967296]", "[0,4]"), 4, "overflows"},
    {ONE("F32", "[9223372036854775807,4,0]", "[0,0]"), 0, "overflows"},
    {ONE("F64", "[4611686018427387904]", "[0,0]"), 0, "no whole bytes"},
    {ONE("F32", "[1]", "[1,5]"), 5, "hole or overlap at data byte 0"},
    {"{\"a\":" T("F32", "[1]", "[0,4]") ",\"b\":" T("F32", "[1]", "[5,9]") "}", 9,
     "hole or overlap at data byte 4"},
    {"{\"a\":" T("F32", "[2]", "[0,8]") ",\"b\":" T("F32", "[1]", "[4,8]") "}", 8,
     "hole or overlap at data byte 8"},
    {"{\"a\":" T("F32", "[1]", "[0,4]") ",\"b\":" T("F32", "[1]", "[0,4]") "}", 4, "overlap"},
    {ONE("F32", "[1]", "[0,4]"), 5, "tensors cover 4"},
    {"{}", 1, "tensors cover 0"},
};

static void test_rejects(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof REJECTS / sizeof REJECTS[0]; i++) {
        struct safetensors *s;
        uint8_t *file;
        const enum status status = open_text(&s, REJECTS[i].header, REJECTS[i].data, &file);
        if (status != STATUS_INPUT || s || strncmp(status_message(), "t: ", 3) != 0
            || !strstr(status_message(), REJECTS[i].text)) {
            fail_msg("case %zu %s: status %d, message '%s', wanted '%s'", i, REJECTS[i].header,
                     (int)status, status_message(), REJECTS[i].text);
        }
        free(file);
    }
}

static const struct {
    const char *header;
    size_t data;
    int64_t count;
} ACCEPTS[] = {
    {"{}", 0, 0},
    {"   \n{}   ", 0, 0},
    {"{\"__metadata__\":null}", 0, 0},
    {"{\"__metadata__\":{\"format\":\"pt\"}}", 0, 0},
    {ONE("F32", "[]", "[0,4]"), 4, 1},
    {ONE("F32", "[0,9223372036854775807,2]", "[0,0]"), 0, 1},
    {ONE("F4", "[2,3]", "[0,3]"), 3, 1},
    {ONE("BF16", "[1,2,1,1,3]", "[0,12]"), 12, 1},
    {"{\"\":" T("I64", "[1]", "[0,8]") "}", 8, 1},
    {"{\"\\u0061\\n\":" T("BOOL", "[3]", "[0,3]") "}", 3, 1},
    {"{\"a\":{\"dtype\":\"U8\",\"more\":[1.5,{}],\"shape\":[1],\"data_offsets\":[0,1]}}", 1, 1},
    {"{\"b\":" T("F16", "[2]", "[4,8]") ",\"z\":" T("U8", "[0]", "[4,4]") ",\"a\":"
     T("F32", "[1]", "[0,4]") "}", 8, 3},
};

static void test_accepts(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof ACCEPTS / sizeof ACCEPTS[0]; i++) {
        struct safetensors *s;
        uint8_t *file;
        CHECK(open_text(&s, ACCEPTS[i].header, ACCEPTS[i].data, &file));
        assert_int_equal(safetensors_count(s), ACCEPTS[i].count);
        for (int64_t k = 0; k < safetensors_count(s); k++) {
            const struct safetensors_entry *e = safetensors_at(s, k);
            assert_ptr_equal(e, safetensors_find(s, e->name));
        }
        assert_null(safetensors_find(s, "no such"));
        assert_null(safetensors_at(s, ACCEPTS[i].count));
        safetensors_close(s);
        free(file);
    }
}

static void test_header_length(void **state)
{
    (void)state;
    static const uint64_t BAD[] = {3, 17, 1ULL << 32, 1ULL << 63, UINT64_MAX, UINT64_MAX - 7,
                                   100000001};
    struct safetensors *s;
    uint8_t file[18] = {2, 0, 0, 0, 0, 0, 0, 0, '{', '}'};
    CHECK(safetensors_open_memory(&s, "t", file, 10));
    safetensors_close(s);
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        memcpy(file, &BAD[i], 8);
        assert_int_equal(safetensors_open_memory(&s, "t", file, 10), STATUS_INPUT);
        assert_non_null(strstr(status_message(), "a header of"));
    }
    for (size_t n = 0; n < 8; n++) {
        assert_int_equal(safetensors_open_memory(&s, "t", n ? file : NULL, n), STATUS_INPUT);
        assert_non_null(strstr(status_message(), "too short"));
    }
}

/* A header over the cap is refused even where the file is that large (a sparse one). */
static void test_header_cap(void **state)
{
    const char *folder = *state;
    char path[PATH_CAP];
    const uint64_t n = 100000001;
    struct safetensors *s;
    (void)snprintf(path, sizeof path, "%s/cap.safetensors", folder);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(&n, sizeof n, 1, f), 1);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(truncate(path, 8 + 100000001), 0);
    assert_int_equal(safetensors_open(&s, path), STATUS_INPUT);
    assert_non_null(strstr(status_message(), "100000001"));
    assert_int_equal(unlink(path), 0);
}

static void test_nesting(void **state)
{
    (void)state;
    static const size_t DEPTHS[] = {100, 200, 100000};
    for (size_t d = 0; d < 3; d++) {
        const char *head = "{\"a\":{\"more\":";
        const char *tail = ",\"note\":\"[[[\\\"[[[\",\"dtype\":\"U8\",\"shape\":[1],"
                           "\"data_offsets\":[0,1]}}";
        const size_t length = strlen(head) + 2 * DEPTHS[d] + strlen(tail);
        char *text = malloc(length + 1);
        char *p = text + strlen(head);
        memcpy(text, head, strlen(head));
        memset(p, '[', DEPTHS[d]);
        memset(p + DEPTHS[d], ']', DEPTHS[d]);
        memcpy(p + 2 * DEPTHS[d], tail, strlen(tail) + 1);
        struct safetensors *s;
        uint8_t *file;
        const enum status status = open_text(&s, text, 1, &file);
        assert_int_equal(status, d == 0 ? STATUS_OK : STATUS_INPUT);
        if (d == 0) {
            safetensors_close(s);
        }
        free(text);
        free(file);
    }
}

/* A million tensors on one range: an error in the time of one pass, not a hang. */
static void test_many_on_one_range(void **state)
{
    (void)state;
    enum { COUNT = 1000000, LINE = 64 };
    char *text = malloc((size_t)COUNT * LINE + 2);
    assert_non_null(text);
    size_t at = 0;
    for (int i = 0; i < COUNT; i++) {
        at += (size_t)snprintf(text + at, LINE, "%c\"%d\":" T("U8", "[1]", "[0,1]"),
                               i ? ',' : '{', i);
    }
    text[at++] = '}';
    size_t size;
    uint8_t *file = make_file(text, at, 1, &size);
    struct safetensors *s;
    assert_int_equal(safetensors_open_memory(&s, "t", file, size), STATUS_INPUT);
    assert_non_null(strstr(status_message(), "overlap"));
    free(file);
    free(text);
}

/* ---- writer ---- */

static void join(char path[PATH_CAP], const char *folder, const char *name)
{
    const int n = snprintf(path, PATH_CAP, "%s/%s", folder, name);
    assert_true(n > 0 && n < PATH_CAP);
}

static const float FLOATS[6] = {1, 2, 3, 4, 5, 6};
static const uint16_t HALVES[4] = {0x3c00, 0x4000, 0x4200, 0x4400};

/* b: F16 [2,2]; a: F32 [2,2] with a row stride of 3; c: BF16 [4]; e: F32 [0,2]. */
static void make_items(struct safetensors_item items[4])
{
    items[0] = (struct safetensors_item){"b\"\n", {.dtype = DTYPE_F16, .dims = 2, .shape = {2, 2},
                                                   .row_bytes = 4, .data = HALVES}};
    items[1] = (struct safetensors_item){"a", {.dtype = DTYPE_F32, .dims = 2, .shape = {2, 2},
                                               .row_bytes = 12, .data = FLOATS}};
    items[2] = (struct safetensors_item){"c", {.dtype = DTYPE_BF16, .dims = 1, .shape = {4},
                                               .row_bytes = 8, .data = HALVES}};
    items[3] = (struct safetensors_item){"e", {.dtype = DTYPE_F32, .dims = 2, .shape = {0, 2},
                                               .row_bytes = 8, .data = FLOATS}};
}

static uint8_t *read_all(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    uint8_t *bytes = malloc(1 << 16);
    *size = fread(bytes, 1, 1 << 16, f);
    (void)fclose(f);
    return bytes;
}

static void test_write_and_read(void **state)
{
    char path[PATH_CAP];
    struct safetensors_item items[4];
    struct safetensors *s;
    join(path, *state, "w.safetensors");
    make_items(items);
    CHECK(safetensors_write(path, items, 4));
    CHECK(safetensors_open(&s, path));
    assert_int_equal(safetensors_count(s), 4);
    assert_string_equal(safetensors_metadata(s, "format"), "pt");
    assert_null(safetensors_metadata(s, "none"));
    const struct safetensors_entry *a = safetensors_find(s, "a");
    const struct safetensors_entry *b = safetensors_find(s, "b\"\n");
    const struct safetensors_entry *c = safetensors_find(s, "c");
    const struct safetensors_entry *e = safetensors_find(s, "e");
    static const float PACKED[4] = {1, 2, 4, 5};
    assert_true(a && b && c && e && a->supported && b->supported && c->supported);
    assert_memory_equal(a->data, PACKED, sizeof PACKED);
    assert_memory_equal(b->data, HALVES, sizeof HALVES);
    assert_int_equal(a->view.row_bytes, 8);
    assert_int_equal(c->view.dtype, DTYPE_BF16);
    assert_int_equal(e->bytes, 0);
    /* Canonical: F32 (by name), BF16, F16; header a multiple of 8. */
    assert_true(a->offset % 8 == 0 && a->offset == e->offset - a->bytes);
    assert_true(c->offset == e->offset && b->offset == c->offset + c->bytes);
    safetensors_close(s);
    assert_int_equal(unlink(path), 0);
}

static void test_write_errors(void **state)
{
    char path[PATH_CAP];
    struct safetensors_item items[4];
    make_items(items);
    join(path, *state, "no/such/folder.safetensors");
    assert_int_equal(safetensors_write(path, items, 4), STATUS_IO);
    assert_non_null(strstr(status_message(), "folder.safetensors"));
    items[3].name = "a";
    join(path, *state, "twice.safetensors");
    assert_int_not_equal(safetensors_write(path, items, 4), STATUS_OK);
    assert_int_not_equal(access(path, F_OK), 0); /* nothing half-made is left */
    if (access("/dev/full", W_OK) == 0 && symlink("/dev/full", path) == 0) {
        char temporary[PATH_CAP];
        join(temporary, *state, "twice.safetensors.tmp");
        items[3].name = "e";
        assert_int_equal(rename(path, temporary), 0); /* what the writer opens */
        assert_int_equal(safetensors_write(path, items, 4), STATUS_IO);
        assert_non_null(strstr(status_message(), "disk is full"));
    }
}

/* Every truncation and many flips of a valid file: accepted or INPUT, never more. */
static void test_replayed_fuzz(void **state)
{
    char path[PATH_CAP];
    struct safetensors_item items[4];
    size_t size;
    struct safetensors *s;
    join(path, *state, "f.safetensors");
    make_items(items);
    CHECK(safetensors_write(path, items, 4));
    uint8_t *bytes = read_all(path, &size);
    for (size_t n = 0; n < size; n++) {
        uint8_t *cut = malloc(n + 1);
        memcpy(cut, bytes, n);
        uint8_t *exact = realloc(cut, n ? n : 1);
        assert_int_equal(safetensors_open_memory(&s, "t", exact, n), STATUS_INPUT);
        free(exact);
    }
    uint64_t x = 88172645463325252ULL; /* xorshift: the same flips in every run */
    int accepted = 0;
    for (int i = 0; i < FLIPS; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        uint8_t *copy = malloc(size);
        memcpy(copy, bytes, size);
        copy[x % size] ^= (uint8_t)(1U << (x >> 32) % 8);
        copy[(x >> 20) % size] = (uint8_t)(x >> 40);
        const enum status status = safetensors_open_memory(&s, "t", copy, size);
        assert_true(status == STATUS_OK || status == STATUS_INPUT);
        accepted += status == STATUS_OK;
        safetensors_close(s);
        free(copy);
    }
    print_message("%zu truncations refused; of %d flips %d accepted\n", size, FLIPS, accepted);
    free(bytes);
    assert_int_equal(unlink(path), 0);
}

/* ---- shards ---- */

static void write_one(const char *folder, const char *file, const char *name)
{
    char path[PATH_CAP];
    const struct safetensors_item item = {
        name, {.dtype = DTYPE_F32, .dims = 1, .shape = {2}, .row_bytes = 8, .data = FLOATS}};
    join(path, folder, file);
    CHECK(safetensors_write(path, &item, 1));
}

static void write_index(const char *folder, const char *text)
{
    char path[PATH_CAP];
    join(path, folder, "model.safetensors.index.json");
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    (void)fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

#define S1 "model-00001-of-00002.safetensors"
#define S2 "model-00002-of-00002.safetensors"

static void test_shards(void **state)
{
    static const struct {
        const char *index;
        const char *text; /* NULL: accepted */
    } CASES[] = {
        {"{\"weight_map\":{\"a\":\"" S1 "\",\"b\":\"" S2 "\"}}", NULL},
        {"{\"metadata\":{\"total_size\":16},\"weight_map\":{\"b\":\"" S2 "\",\"a\":\"" S1 "\"}}",
         NULL},
        {"{\"weight_map\":{\"a\":\"../" S1 "\",\"b\":\"" S2 "\"}}", "leaves the folder"},
        {"{\"weight_map\":{\"a\":\"/" S1 "\",\"b\":\"" S2 "\"}}", "leaves the folder"},
        {"{\"weight_map\":{\"a\":\"" S1 "\",\"b\":\"..\"}}", "leaves the folder"},
        {"{\"weight_map\":{\"a\":\"" S1 "\",\"b\":7}}", "leaves the folder"},
        {"{\"weight_map\":{\"a\":\"" S1 "\",\"b\":\"gone.safetensors\"}}", "gone.safetensors"},
        {"{\"weight_map\":{\"a\":\"" S2 "\",\"b\":\"" S1 "\"}}", "for another file"},
        {"{\"weight_map\":{\"a\":\"" S1 "\"}}", NULL},
        {"{\"weight_map\":{\"a\":\"" S1 "\",\"b\":\"" S1 "\"}}", "names 2 tensors"},
        {"{\"weight_map\":{\"a\":\"" S1 "\",\"b\":\"" S2 "\",\"c\":\"" S2 "\"}}",
         "names 3 tensors"},
        {"{\"weight_map\":{\"x\":\"" S1 "\",\"b\":\"" S2 "\"}}", "'a' is not in the index"},
        {"{\"weight_map\":[]}", "empty or missing"},
        {"{\"weight_map\":{}}", "empty or missing"},
        {"{}", "empty or missing"},
        {"{\"weight_map\":{\"a\":\"" S1 "\",\"a\":\"" S2 "\"}}", "duplicate"},
        {"{\"weight_map\":", "model.safetensors.index.json:1:"},
    };
    const char *folder = *state;
    write_one(folder, S1, "a");
    write_one(folder, S2, "b");
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct safetensors *s;
        write_index(folder, CASES[i].index);
        const enum status status = safetensors_open_folder(&s, folder);
        if (!CASES[i].text) {
            CHECK(status);
            assert_non_null(safetensors_find(s, "a"));
            assert_memory_equal(safetensors_find(s, "a")->data, FLOATS, 8);
            safetensors_close(s);
        } else if (status != STATUS_INPUT || !strstr(status_message(), CASES[i].text)) {
            fail_msg("case %zu: status %d, message '%s'", i, (int)status, status_message());
        }
    }
    /* The same tensor in both files (a tied one stored twice). */
    struct safetensors *s;
    write_one(folder, S2, "a");
    write_index(folder, CASES[0].index);
    assert_int_equal(safetensors_open_folder(&s, folder), STATUS_INPUT);
}

static void test_folder(void **state)
{
    struct safetensors *s;
    char path[PATH_CAP];
    join(path, *state, "model.safetensors.index.json");
    (void)unlink(path);
    assert_int_equal(safetensors_open_folder(&s, *state), STATUS_INPUT);
    assert_non_null(strstr(status_message(), "model.safetensors"));
    write_one(*state, "model.safetensors", "a");
    CHECK(safetensors_open_folder(&s, *state));
    assert_int_equal(safetensors_count(s), 1);
    safetensors_close(s);
    /* A pipe in the place of a file must not block. */
    join(path, *state, "pipe.safetensors");
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(safetensors_open(&s, path), STATUS_INPUT);
    assert_int_equal(safetensors_open(&s, *state), STATUS_INPUT); /* a folder */
}

static int make_folder(void **state)
{
    static char folder[] = "/tmp/graft-safetensors-XXXXXX";
    *state = mkdtemp(folder);
    return *state ? 0 : -1;
}

static int remove_folder(void **state)
{
    char command[PATH_CAP];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", (const char *)*state);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rejects),         cmocka_unit_test(test_accepts),
        cmocka_unit_test(test_header_length),   cmocka_unit_test(test_header_cap),
        cmocka_unit_test(test_nesting),         cmocka_unit_test(test_many_on_one_range),
        cmocka_unit_test(test_write_and_read),  cmocka_unit_test(test_write_errors),
        cmocka_unit_test(test_replayed_fuzz),   cmocka_unit_test(test_shards),
        cmocka_unit_test(test_folder),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
