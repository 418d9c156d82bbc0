/*
 * GGUF: the malformed files of formats.md 2 and 10 (with the published vulnerabilities of other
 * readers), the writer, split files, golden and real files, and a replayed fuzz. Files in memory
 * have their exact size, so the sanitizer build sees one byte read too far.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "trainer/format/gguf.h"

enum { PATH_CAP = 4096, FILE_CAP = 4096, FLIPS = 4000, DATA = 64 };

#define CHECK(expr)                                                                                \
    do {                                                                                           \
        if ((expr) != STATUS_OK) {                                                                 \
            fail_msg("%s", status_message());                                                      \
        }                                                                                          \
    } while (0)

/* A file being written down field by field. */
struct bytes {
    uint8_t data[FILE_CAP];
    size_t size;
};

static void put(struct bytes *b, const void *p, size_t n)
{
    assert_true(b->size + n <= sizeof b->data);
    memcpy(b->data + b->size, p, n);
    b->size += n;
}

static void u32(struct bytes *b, uint32_t x)
{
    put(b, &x, sizeof x);
}

static void u64(struct bytes *b, uint64_t x)
{
    put(b, &x, sizeof x);
}

static void text(struct bytes *b, const char *s)
{
    u64(b, strlen(s));
    put(b, s, strlen(s));
}

static void head(struct bytes *b, uint32_t version, uint64_t tensors, uint64_t keys)
{
    put(b, "GGUF", 4);
    u32(b, version);
    u64(b, tensors);
    u64(b, keys);
}

static void info(struct bytes *b, const char *name, uint32_t dims, const uint64_t *shape,
                 uint32_t type, uint64_t offset)
{
    text(b, name);
    u32(b, dims);
    for (uint32_t d = 0; d < dims && d < 5; d++) {
        u64(b, shape[d]);
    }
    u32(b, type);
    u64(b, offset);
}

/* Pads to `alignment` and adds `n` bytes of data. */
static void data(struct bytes *b, size_t alignment, size_t n)
{
    static const uint8_t ZEROS[FILE_CAP];
    put(b, ZEROS, (alignment - b->size % alignment) % alignment + n);
}

static enum status open_bytes(struct gguf **g, const struct bytes *b, uint8_t **copy)
{
    *copy = malloc(b->size ? b->size : 1);
    assert_non_null(*copy);
    memcpy(*copy, b->data, b->size);
    return gguf_open_memory(g, "t", *copy, b->size);
}

/* Fails unless `b` is refused with INPUT, the file's name first and `part` in the message. */
static void refuse(const struct bytes *b, const char *what, const char *part)
{
    struct gguf *g;
    uint8_t *copy;
    const enum status status = open_bytes(&g, b, &copy);
    if (status != STATUS_INPUT || g || strncmp(status_message(), "t: ", 3) != 0
        || !strstr(status_message(), part)) {
        fail_msg("%s: status %d, message '%s', wanted '%s'", what, (int)status, status_message(),
                 part);
    }
    free(copy);
}

static void accept(const struct bytes *b, const char *what)
{
    struct gguf *g;
    uint8_t *copy;
    if (open_bytes(&g, b, &copy) != STATUS_OK) {
        fail_msg("%s: %s", what, status_message());
    }
    gguf_close(g);
    free(copy);
}

static void test_header(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        const char *part;
        uint32_t version;
        uint64_t tensors;
        uint64_t keys;
    } CASES[] = {
        {"v0", "version 0", 0, 0, 0},
        {"v1", "version 1", 1, 0, 0},
        {"v4", "version 4", 4, 0, 0},
        {"big-endian", "big-endian", 0x03000000, 0, 0},
        {"keys 2^32", "4294967296 keys", 3, 0, 1ULL << 32},
        {"keys 2^61 (CVE-2024-23605)", "2305843009213693952 keys", 3, 0, 1ULL << 61},
        {"keys 2^63", "9223372036854775808 keys", 3, 0, 1ULL << 63},
        {"keys 2^64-1", "18446744073709551615 keys", 3, 0, UINT64_MAX},
        {"tensors 2^32", "4294967296 tensors", 3, 1ULL << 32, 0},
        {"tensors 2^61 (CVE-2024-21836)", "2305843009213693952 tensors", 3, 1ULL << 61, 0},
        {"tensors 2^63", "9223372036854775808 tensors", 3, 1ULL << 63, 0},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct bytes b = {.size = 0};
        head(&b, CASES[i].version, CASES[i].tensors, CASES[i].keys);
        data(&b, 32, 32);
        refuse(&b, CASES[i].what, CASES[i].part);
    }
    struct bytes b = {.size = 0};
    head(&b, 2, 0, 0);
    accept(&b, "v2, empty");
    memcpy(b.data, "GGUf", 4);
    refuse(&b, "magic", "no GGUF file");
    struct bytes none = {.size = 0};
    refuse(&none, "no bytes", "cut off in the magic");
}

/* One key: the bytes after the 24-byte header. `expect` NULL: accepted. */
static void one_key(const char *what, uint64_t keys, const struct bytes *body, const char *expect)
{
    struct bytes b = {.size = 0};
    head(&b, 3, 0, keys);
    put(&b, body->data, body->size);
    if (expect) {
        refuse(&b, what, expect);
    } else {
        accept(&b, what);
    }
}

static void test_keys(void **state)
{
    (void)state;
    struct bytes b = {.size = 0};
    u64(&b, 1ULL << 63);
    data(&b, 1, 16);
    one_key("key length 2^63 (CVE-2024-23496)", 1, &b, "9223372036854775808 bytes");
    memset(b.data, 0xff, 8);
    one_key("key length 2^64-1", 1, &b, "18446744073709551615 bytes");
    b.size = 0;
    text(&b, "");
    u32(&b, GGUF_U8);
    put(&b, "\0\0", 2);
    one_key("empty key", 1, &b, "a key of 0 bytes");
    b.size = 0;
    u64(&b, 7);
    put(&b, "abcdef", 6);
    one_key("key one byte past the end", 1, &b, "has 7 bytes, the file only 6 more");
    for (uint32_t type = 13; type != 0; type = type == 13 ? 0x80000000U : type << 1) {
        b.size = 0;
        text(&b, "k");
        u32(&b, type);
        data(&b, 1, 8);
        one_key("type beyond the last or negative", 1, &b, "unknown value type");
    }
    for (uint8_t x = 0; x < 3; x++) {
        b.size = 0;
        text(&b, "k");
        u32(&b, GGUF_BOOL);
        put(&b, &x, 1);
        one_key("boolean", 1, &b, x > 1 ? "no boolean" : NULL);
    }
    b.size = 0;
    for (int i = 0; i < 2; i++) {
        text(&b, "same");
        u32(&b, GGUF_U8);
        put(&b, "x", 1);
    }
    one_key("duplicate key", 2, &b, "'same' is there twice");
    b.size = 0;
    text(&b, "k");
    u32(&b, GGUF_STRING);
    u64(&b, 4);
    put(&b, "abc", 3);
    one_key("string of remaining + 1", 1, &b, "has 4 bytes, the file only 3 more");
    b.size = 0;
    text(&b, "key");
    u32(&b, GGUF_U64);
    put(&b, "1234567", 7);
    one_key("scalar cut", 1, &b, "cut off in key");
}

static void array_case(const char *what, uint32_t element, uint64_t count, size_t n,
                       const char *expect)
{
    struct bytes b = {.size = 0};
    text(&b, "k");
    u32(&b, GGUF_ARRAY);
    u32(&b, element);
    u64(&b, count);
    data(&b, 1, n);
    one_key(what, 1, &b, expect);
}

static void test_arrays(void **state)
{
    (void)state;
    array_case("empty array", GGUF_STRING, 0, 0, NULL);
    array_case("three floats", GGUF_F32, 3, 12, NULL);
    array_case("two empty strings", GGUF_STRING, 2, 16, NULL);
    array_case("nested", GGUF_ARRAY, 1, 40, "nested arrays");
    array_case("element type 13", 13, 1, 40, "unknown value type 13");
    array_case("u8 x 2^40", GGUF_U8, 1ULL << 40, 40, "1099511627776 elements");
    array_case("u64 x 2^61 (CVE-2024-21825)", GGUF_U64, 1ULL << 61, 40, "2305843009213693952");
    array_case("strings x 2^61", GGUF_STRING, 1ULL << 61, 40, "2305843009213693952");
    array_case("strings x 2^64-1", GGUF_STRING, UINT64_MAX, 40, "18446744073709551615");
    array_case("one too many", GGUF_F32, 4, 15, "4 elements");
    struct bytes b = {.size = 0};
    text(&b, "k");
    u32(&b, GGUF_ARRAY);
    u32(&b, GGUF_STRING);
    u64(&b, 2);
    text(&b, "ab");
    u64(&b, 1ULL << 62);
    one_key("string in an array", 1, &b, "has 4611686018427387904 bytes");
}

static void test_alignment(void **state)
{
    (void)state;
    static const struct {
        const char *part;
        uint32_t type;
        uint32_t value;
    } CASES[] = {
        {"alignment 0 ", GGUF_U32, 0},        {"alignment 3 ", GGUF_U32, 3},
        {"no u32", GGUF_I32, 32},             {"2147483648", GGUF_U32, 0x80000000U},
        {"4294967295", GGUF_U32, UINT32_MAX}, {NULL, GGUF_U32, 1},
        {NULL, GGUF_U32, 64},                 {"no u32", GGUF_F32, 32},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct bytes b = {.size = 0};
        head(&b, 3, 1, 1);
        text(&b, "general.alignment");
        u32(&b, CASES[i].type);
        u32(&b, CASES[i].value);
        info(&b, "a", 1, (uint64_t[]){2}, 0, 0);
        data(&b, CASES[i].part ? 32 : CASES[i].value, 8);
        if (CASES[i].part) {
            refuse(&b, "alignment", CASES[i].part);
        } else {
            accept(&b, "alignment");
        }
    }
}

/* One tensor with DATA bytes of data behind it. */
struct tensor_case {
    const char *what;
    const char *part; /* NULL: accepted */
    uint64_t shape[5];
    uint64_t offset;
    uint32_t dims;
    uint32_t type;
    int surplus; /* added to DATA */
};

#define BIG(n) (1ULL << (n))

static const struct tensor_case TENSORS[] = {
    {"scalar row", NULL, {16}, 0, 1, 0, 0},
    {"four dimensions", NULL, {2, 2, 2, 2}, 0, 4, 0, 0},
    {"Q4_0 rows", NULL, {32, 3}, 0, 2, 2, 0},
    {"dims 0", "has 0 dimensions", {1}, 0, 0, 0, 0},
    {"dims 5 (stack write elsewhere)", "has 5 dimensions", {1, 1, 1, 1, 1}, 0, 5, 0, 0},
    {"dims 2^31", "has 2147483648 dimensions", {1}, 0, 0x80000000U, 0, 0},
    {"dims 2^32-1", "has 4294967295 dimensions", {1}, 0, UINT32_MAX, 0, 0},
    {"dimension 0", "dimension 0 is 0", {0, 4}, 0, 2, 0, 0},
    {"dimension -1", "dimension 1 is 18446744073709551615", {1, UINT64_MAX}, 0, 2, 0, 0},
    {"bytes wrap (CVE-2026-33298)", "cut off", {1152, BIG(42) + 1}, 0, 2, 0, 0},
    {"elements wrap to 0 (CVE-2024-21802)", "overflow", {BIG(32), BIG(32)}, 0, 2, 0, 0},
    {"elements wrap to 4", "overflow", {4, BIG(62) + 1, 1}, 0, 3, 0, 0},
    {"row of 2^62 floats", "overflow", {BIG(62)}, 0, 1, 0, 0},
    {"elements wrap, type not read", "overflow", {256, BIG(60), 16}, 0, 3, 10, 0},
    {"past the end (CVE-2026-7482)", "cut off", {17}, 0, 1, 0, 0},
    {"cut by one byte", "cut off", {16}, 0, 1, 0, -1},
    {"half a block", "not whole Q4_0 blocks", {16}, 0, 1, 2, 0},
    {"rows of half a block", "not whole Q4_0 blocks", {16, 2}, 0, 2, 2, 0},
    {"type 4", "type 4", {16}, 0, 1, 4, 0},
    {"type 5", "type 5", {16}, 0, 1, 5, 0},
    {"type 31", "type 31", {16}, 0, 1, 31, 0},
    {"type 36", "type 36", {16}, 0, 1, 36, 0},
    {"type 43", "type 43", {16}, 0, 1, 43, 0},
    {"type 2^31", "type 2147483648", {16}, 0, 1, 0x80000000U, 0},
    {"type -1", "type 4294967295", {16}, 0, 1, UINT32_MAX, 0},
    {"unread type", NULL, {256}, 0, 1, 10, 20},
    {"offset gap", "offset 32, expected 0", {8}, 32, 1, 0, 0},
    {"offset not aligned", "not a multiple", {8}, 4, 1, 0, 0},
    {"offset past the end", "expected 0", {8}, 4096, 1, 0, 0},
    {"offset wraps", "expected 0", {8}, UINT64_MAX - 31, 1, 0, 0},
};

static void test_tensors(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof TENSORS / sizeof TENSORS[0]; i++) {
        const struct tensor_case *c = &TENSORS[i];
        struct bytes b = {.size = 0};
        head(&b, 3, 1, 0);
        info(&b, "w", c->dims, c->shape, c->type, c->offset);
        data(&b, 32, (size_t)(DATA + c->surplus));
        if (c->part) {
            refuse(&b, c->what, c->part);
        } else {
            accept(&b, c->what);
        }
    }
}

static void test_tensor_names(void **state)
{
    (void)state;
    static const size_t LENGTHS[] = {0, 1, 63, 64, 65, 1000};
    for (size_t i = 0; i < sizeof LENGTHS / sizeof LENGTHS[0]; i++) {
        char name[1001];
        struct bytes b = {.size = 0};
        memset(name, 'n', sizeof name);
        name[LENGTHS[i]] = '\0';
        head(&b, 3, 1, 0);
        info(&b, name, 1, (uint64_t[]){8}, 0, 0);
        data(&b, 32, 32);
        if (LENGTHS[i] == 0 || LENGTHS[i] > 64) {
            refuse(&b, "name length", "a tensor name of");
        } else {
            accept(&b, "name length");
        }
    }
    /* Compared untruncated: equal in 63 bytes is not the same; equal in all is. */
    for (int same = 0; same < 2; same++) {
        char name[65];
        struct bytes b = {.size = 0};
        memset(name, 'n', 64);
        name[64] = '\0';
        head(&b, 3, 2, 0);
        info(&b, name, 1, (uint64_t[]){8}, 0, 0);
        name[63] = same ? 'n' : 'm';
        info(&b, name, 1, (uint64_t[]){8}, 0, 32);
        data(&b, 32, 64);
        if (same) {
            refuse(&b, "same name", "is there twice");
        } else {
            accept(&b, "63 equal bytes");
        }
    }
}

static void test_two_tensors(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        const char *part;
        uint64_t second;
    } CASES[] = {
        {"packed with padding", NULL, 32},
        {"overlap", "offset 0, expected 32", 0},
        {"gap", "offset 64, expected 32", 64},
        {"no padding", "not a multiple", 20},
        {"second wraps (CVE-2025-53630)", "expected 32", UINT64_MAX - 63},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct bytes b = {.size = 0};
        head(&b, 3, 2, 0);
        info(&b, "a", 1, (uint64_t[]){5}, 0, 0);
        info(&b, "b", 1, (uint64_t[]){8}, 0, CASES[i].second);
        data(&b, 32, 128);
        if (CASES[i].part) {
            refuse(&b, CASES[i].what, CASES[i].part);
        } else {
            accept(&b, CASES[i].what);
        }
    }
    struct bytes b = {.size = 0}; /* the running sum of sizes wraps (CVE-2026-27940) */
    head(&b, 3, 2, 0);
    info(&b, "a", 1, (uint64_t[]){BIG(61) - 1}, 0, 0);
    info(&b, "b", 1, (uint64_t[]){BIG(61)}, 0, BIG(63) - 32);
    data(&b, 32, 64);
    refuse(&b, "sum wraps", "cut off");
    b.size = 0; /* the table ends where the data should start */
    head(&b, 3, 1, 0);
    info(&b, "a", 1, (uint64_t[]){8}, 0, 0);
    refuse(&b, "no data", "cut off in the tensor data");
}

/* ---- writer and accessors ---- */

static void join(char path[PATH_CAP], const char *folder, const char *name)
{
    const int n = snprintf(path, PATH_CAP, "%s/%s", folder, name);
    assert_true(n > 0 && n < PATH_CAP);
}

static const float FLOATS[64] = {1, 2, 3, 4, 5, 6};
static const struct gguf_string WORDS[3] = {{"a", 1}, {"", 0}, {"b\0c", 3}};
static const int32_t NUMBERS[3] = {-1, 0, 2147483647};

static struct gguf_writer *start(const char *path)
{
    struct gguf_writer *w;
    CHECK(gguf_writer_open(&w, path));
    CHECK(gguf_write_string(w, "general.architecture", "llama", 5));
    CHECK(gguf_write_u32(w, "n", 4000000000U));
    CHECK(gguf_write_f32(w, "f", 0.5f));
    CHECK(gguf_write_bool(w, "yes", true));
    CHECK(gguf_write_strings(w, "words", 3, WORDS));
    CHECK(gguf_write_i32s(w, "numbers", 3, NUMBERS));
    return w;
}

static void write_small(const char *path)
{
    uint8_t blocks[36];
    float zeros[64] = {0};
    dtype_row(DTYPE_Q4_0)->encode(zeros, blocks, 64);
    struct gguf_writer *w = start(path);
    const struct tensor a = {
        .dtype = DTYPE_F32, .dims = 2, .shape = {3, 2}, .row_bytes = 8, .data = FLOATS};
    const struct tensor q = {
        .dtype = DTYPE_Q4_0, .dims = 2, .shape = {1, 64}, .row_bytes = 36, .data = blocks};
    CHECK(gguf_write_tensor(w, "a.weight", &a));
    CHECK(gguf_write_tensor(w, "q.weight", &q));
    CHECK(gguf_writer_finish(w));
}

static void check_scalars(const struct gguf *g)
{
    int64_t i;
    double f;
    bool yes;
    struct gguf_string s;
    CHECK(gguf_string(g, "general.architecture", &s));
    assert_true(s.length == 5 && memcmp(s.data, "llama", 5) == 0);
    CHECK(gguf_int(g, "n", &i));
    assert_true(i == 4000000000);
    CHECK(gguf_float(g, "f", &f));
    assert_true(f == 0.5);
    CHECK(gguf_float(g, "n", &f));
    assert_true(f == 4e9);
    CHECK(gguf_bool(g, "yes", &yes));
    assert_true(yes);
    CHECK(gguf_int(g, "yes", &i));
    assert_true(i == 1);
    assert_int_equal(gguf_int(g, "f", &i), STATUS_INPUT);
    assert_int_equal(gguf_int(g, "words", &i), STATUS_INPUT);
    assert_int_equal(gguf_int(g, "general.architecture", &i), STATUS_INPUT);
    assert_int_equal(gguf_float(g, "general.architecture", &f), STATUS_INPUT);
    assert_int_equal(gguf_bool(g, "n", &yes), STATUS_INPUT);
    assert_int_equal(gguf_string(g, "n", &s), STATUS_INPUT);
    assert_int_equal(gguf_int(g, "none", &i), STATUS_INPUT);
    assert_non_null(strstr(status_message(), "'none' is missing"));
    assert_true(gguf_has(g, "f") && !gguf_has(g, "none"));
}

static void check_array_keys(const struct gguf *g)
{
    int64_t i;
    double f;
    struct gguf_string s;
    assert_int_equal(gguf_array_count(g, "words"), 3);
    assert_int_equal(gguf_array_count(g, "n"), 0);
    assert_int_equal(gguf_array_count(g, "none"), 0);
    for (int64_t k = 0; k < 3; k++) {
        CHECK(gguf_array_string(g, "words", k, &s));
        assert_true(s.length == WORDS[k].length && memcmp(s.data, WORDS[k].data, s.length) == 0);
        CHECK(gguf_array_int(g, "numbers", k, &i));
        assert_true(i == NUMBERS[k]);
        CHECK(gguf_array_float(g, "numbers", k, &f));
        assert_true(f == NUMBERS[k]);
    }
    assert_int_equal(gguf_array_string(g, "words", 3, &s), STATUS_INPUT);
    assert_int_equal(gguf_array_string(g, "words", -1, &s), STATUS_INPUT);
    assert_int_equal(gguf_array_string(g, "numbers", 0, &s), STATUS_INPUT);
    assert_int_equal(gguf_array_int(g, "words", 0, &i), STATUS_INPUT);
    assert_int_equal(gguf_array_int(g, "n", 0, &i), STATUS_INPUT);
    assert_int_equal(gguf_array_int(g, "numbers", INT64_MAX, &i), STATUS_INPUT);
}

static void test_write_and_read(void **state)
{
    char path[PATH_CAP];
    struct gguf *g;
    join(path, *state, "w.gguf");
    write_small(path);
    CHECK(gguf_open(&g, path));
    assert_string_equal(gguf_path(g), path);
    check_scalars(g);
    check_array_keys(g);
    assert_int_equal(gguf_key_count(g), 6);
    enum gguf_type type;
    enum gguf_type element;
    uint64_t count;
    const struct gguf_string key = gguf_key_at(g, 4, &type, &element, &count);
    assert_true(key.length == 5 && type == GGUF_ARRAY && element == GGUF_STRING && count == 3);
    assert_int_equal(gguf_tensor_count(g), 2);
    const struct gguf_tensor *a = gguf_tensor_find(g, "a.weight");
    const struct gguf_tensor *q = gguf_tensor_find(g, "q.weight");
    assert_true(a && q && a == gguf_tensor_at(g, 0) && q == gguf_tensor_at(g, 1));
    assert_true(a->view.shape[0] == 3 && a->view.shape[1] == 2 && a->view.row_bytes == 8);
    assert_memory_equal(a->view.data, FLOATS, 24);
    assert_true(q->supported && q->view.dtype == DTYPE_Q4_0 && q->view.row_bytes == 36);
    assert_int_equal(q->offset, a->offset + 32);
    assert_int_equal(a->offset % 32, 0);
    assert_null(gguf_tensor_find(g, "b"));
    assert_null(gguf_tensor_at(g, 2));
    gguf_close(g);
    gguf_close(NULL);
    assert_int_equal(unlink(path), 0);
}

static void test_write_errors(void **state)
{
    char path[PATH_CAP];
    char name[80];
    const struct tensor a = {
        .dtype = DTYPE_F32, .dims = 2, .shape = {3, 2}, .row_bytes = 8, .data = FLOATS};
    struct tensor strided = a;
    struct tensor nf4 = a;
    join(path, *state, "e.gguf");
    struct gguf_writer *w = start(path);
    memset(name, 'x', sizeof name);
    name[64] = '\0';
    strided.row_bytes = 12;
    nf4.dtype = DTYPE_NF4;
    assert_int_not_equal(gguf_write_tensor(w, name, &a), STATUS_OK);
    assert_int_not_equal(gguf_write_tensor(w, "s", &strided), STATUS_OK);
    assert_int_not_equal(gguf_write_tensor(w, "n", &nf4), STATUS_OK);
    gguf_writer_abort(w);
    gguf_writer_abort(NULL);
    assert_int_not_equal(access(path, F_OK), 0);
    w = start(path);
    CHECK(gguf_write_tensor(w, "a", &a));
    CHECK(gguf_write_tensor(w, "a", &a));
    assert_int_not_equal(gguf_writer_finish(w), STATUS_OK);
    w = start(path);
    CHECK(gguf_write_u32(w, "n", 1));
    assert_int_not_equal(gguf_writer_finish(w), STATUS_OK);
    assert_int_not_equal(access(path, F_OK), 0); /* nothing a reader would refuse is left */
    join(path, *state, "none/e.gguf");
    assert_int_equal(gguf_writer_finish(start(path)), STATUS_IO);
    assert_non_null(strstr(status_message(), "none/e.gguf"));
}

/* Every truncation and many flips of a valid file: accepted or INPUT, never more. */
static void test_replayed_fuzz(void **state)
{
    char path[PATH_CAP];
    struct gguf *g;
    join(path, *state, "f.gguf");
    write_small(path);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    uint8_t *bytes = malloc(FILE_CAP);
    const size_t size = fread(bytes, 1, FILE_CAP, f);
    (void)fclose(f);
    size_t refused = 0;
    for (size_t n = 0; n < size; n++) {
        uint8_t *cut = malloc(n ? n : 1);
        memcpy(cut, bytes, n);
        const enum status status = gguf_open_memory(&g, "t", cut, n);
        assert_true(status == STATUS_INPUT || n + 32 > size); /* the last padding may be missing */
        refused += status == STATUS_INPUT;
        gguf_close(g);
        free(cut);
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
        const enum status status = gguf_open_memory(&g, "t", copy, size);
        assert_true(status == STATUS_OK || status == STATUS_INPUT);
        accepted += status == STATUS_OK;
        gguf_close(g);
        free(copy);
    }
    print_message("%zu of %zu truncations refused; of %d flips %d accepted\n", refused, size, FLIPS,
                  accepted);
    free(bytes);
    assert_int_equal(unlink(path), 0);
}

/* ---- split files ---- */

struct part {
    uint32_t no;
    uint32_t count;
    const char *tensor;
};

static void write_part(const char *folder, int i, int of, const struct part *p, uint32_t total)
{
    char path[PATH_CAP];
    char name[64];
    const struct tensor a = {
        .dtype = DTYPE_F32, .dims = 1, .shape = {8}, .row_bytes = 32, .data = FLOATS};
    (void)snprintf(name, sizeof name, "m-%05d-of-%05d.gguf", i + 1, of);
    join(path, folder, name);
    struct gguf_writer *w;
    CHECK(gguf_writer_open(&w, path));
    CHECK(gguf_write_u32(w, "split.no", p->no));
    CHECK(gguf_write_u32(w, "split.count", p->count));
    CHECK(gguf_write_u32(w, "split.tensors.count", total));
    CHECK(gguf_write_tensor(w, p->tensor, &a));
    CHECK(gguf_writer_finish(w));
}

static void test_split(void **state)
{
    static const struct {
        const char *what;
        const char *part; /* NULL: accepted */
        struct part parts[2];
        uint32_t total;
    } CASES[] = {
        {"good", NULL, {{0, 2, "a"}, {1, 2, "b"}}, 2},
        {"second says 0", "expected 1 of 2", {{0, 2, "a"}, {0, 2, "b"}}, 2},
        {"first says 1", "expected 0 of 2", {{1, 2, "a"}, {1, 2, "b"}}, 2},
        {"counts differ", "part 1 of 3", {{0, 2, "a"}, {1, 3, "b"}}, 2},
        {"first says 3 parts", "must be named", {{0, 3, "a"}, {1, 3, "b"}}, 2},
        {"first says 0 parts", "split.count 0", {{0, 0, "a"}, {1, 2, "b"}}, 2},
        {"too many tensors", "split.tensors.count says 1", {{0, 2, "a"}, {1, 2, "b"}}, 1},
        {"one tensor twice", "'a' is there twice", {{0, 2, "a"}, {1, 2, "a"}}, 2},
    };
    const char *folder = *state;
    char path[PATH_CAP];
    struct gguf *g;
    join(path, folder, "m-00001-of-00002.gguf");
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        for (int k = 0; k < 2; k++) {
            write_part(folder, k, 2, &CASES[i].parts[k], CASES[i].total);
        }
        const enum status status = gguf_open(&g, path);
        if (!CASES[i].part) {
            CHECK(status);
            assert_int_equal(gguf_tensor_count(g), 2);
            assert_string_equal(gguf_tensor_at(g, 1)->name, "b");
            assert_non_null(gguf_tensor_find(g, "a"));
            assert_memory_equal(gguf_tensor_find(g, "b")->view.data, FLOATS, 32);
            gguf_close(g);
        } else if (status != STATUS_INPUT || !strstr(status_message(), CASES[i].part)) {
            fail_msg("%s: status %d, message '%s'", CASES[i].what, (int)status, status_message());
        }
    }
    for (int k = 0; k < 2; k++) {
        write_part(folder, k, 2, &CASES[0].parts[k], 2);
    }
    join(path, folder, "m-00002-of-00002.gguf");
    assert_int_equal(gguf_open(&g, path), STATUS_INPUT);
    assert_non_null(strstr(status_message(), "first of 2 parts"));
    assert_int_equal(unlink(path), 0);
    join(path, folder, "m-00001-of-00002.gguf");
    assert_int_equal(gguf_open(&g, path), STATUS_INPUT);
    assert_non_null(strstr(status_message(), "m-00002-of-00002.gguf"));
}

/* ---- files of other makers ---- */

/* Opens every .gguf of a folder, decodes the start of each tensor; returns how many files. */
static int open_folder(const char *folder)
{
    int files = 0;
    DIR *d = opendir(folder);
    for (const struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
        char path[PATH_CAP];
        const size_t n = strlen(e->d_name);
        struct gguf *g;
        if (n < 5 || strcmp(e->d_name + n - 5, ".gguf") != 0) {
            continue;
        }
        join(path, folder, e->d_name);
        CHECK(gguf_open(&g, path));
        int64_t unread = 0;
        for (int64_t i = 0; i < gguf_tensor_count(g); i++) {
            const struct gguf_tensor *t = gguf_tensor_at(g, i);
            float x[256];
            unread += !t->supported;
            if (t->supported && tensor_columns(&t->view) >= 256) {
                dtype_row(t->view.dtype)->decode(t->view.data, x, 256);
                assert_true(x[0] == x[0]);
            }
            assert_ptr_equal(gguf_tensor_find(g, t->name), t);
        }
        print_message("%s: %lld keys, %lld tensors, %lld of types not read\n", e->d_name,
                      (long long)gguf_key_count(g), (long long)gguf_tensor_count(g),
                      (long long)unread);
        gguf_close(g);
        files++;
    }
    if (d) {
        (void)closedir(d);
    }
    return files;
}

static void test_golden_files(void **state)
{
    (void)state;
    const char *shared = getenv("GRAFT_SHARED");
    const char *source = getenv("GRAFT_SOURCE");
    char folder[PATH_CAP];
    (void)snprintf(folder, sizeof folder, "%s%s/golden/quant/gguf",
                   shared ? shared : source ? source : ".", shared ? "" : "/../shared");
    const int files = open_folder(folder);
    if (files == 0) {
        print_message("no golden folder %s: skipped\n", folder);
        skip();
    }
    assert_true(files >= 7);
}

static void test_real_files(void **state)
{
    (void)state;
    const char *folder = getenv("GRAFT_MODELS");
    if (open_folder(folder ? folder : "/tmp/models") == 0) {
        print_message("no models in $GRAFT_MODELS or /tmp/models: skipped\n");
        skip();
    }
}

static int make_folder(void **state)
{
    static char folder[] = "/tmp/graft-gguf-XXXXXX";
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
        cmocka_unit_test(test_header),         cmocka_unit_test(test_keys),
        cmocka_unit_test(test_arrays),         cmocka_unit_test(test_alignment),
        cmocka_unit_test(test_tensors),        cmocka_unit_test(test_tensor_names),
        cmocka_unit_test(test_two_tensors),    cmocka_unit_test(test_write_and_read),
        cmocka_unit_test(test_write_errors),   cmocka_unit_test(test_replayed_fuzz),
        cmocka_unit_test(test_split),          cmocka_unit_test(test_golden_files),
        cmocka_unit_test(test_real_files),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
