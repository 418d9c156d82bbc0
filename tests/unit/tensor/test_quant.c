/*
 * Block types and NF4 against the bytes of gguf, ggml and bitsandbytes (shared/golden/quant), and
 * the short vectors of formats.md, which need no golden folder.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/tensor/quant.h"
#include "trainer/format/safetensors.h"

enum { PATH_CAP = 4096, ROWS = 37, COLUMNS = 64 * 9 + 6, PIECE = 14 };

#define CHECK(expr)                                                                                \
    do {                                                                                           \
        if ((expr) != STATUS_OK) {                                                                 \
            fail_msg("%s", status_message());                                                      \
        }                                                                                          \
    } while (0)

/* Path inside the golden folder; false (and a reason printed) when it is not there. */
static bool golden_path(char path[PATH_CAP], const char *name)
{
    const char *shared = getenv("GRAFT_SHARED");
    const char *source = getenv("GRAFT_SOURCE");
    (void)snprintf(path, PATH_CAP, "%s%s/golden/quant/%s", shared ? shared : source ? source : ".",
                   shared ? "" : "/../shared", name);
    FILE *f = fopen(path, "rb");
    if (!f) {
        print_message("no golden file %s: skipped\n", path);
        return false;
    }
    (void)fclose(f);
    return true;
}

static const struct safetensors_entry *entry(const struct safetensors *s, const char *a,
                                             const char *b)
{
    char name[256];
    (void)snprintf(name, sizeof name, "%s%s", a, b);
    return safetensors_find(s, name);
}

static const struct safetensors_entry *need(const struct safetensors *s, const char *a,
                                            const char *b)
{
    const struct safetensors_entry *e = entry(s, a, b);
    if (!e) {
        fail_msg("golden tensor %s%s is missing", a, b);
    }
    return e;
}

static void *copy_of(const void *data, size_t bytes)
{
    void *copy = malloc(bytes ? bytes : 1);
    assert_non_null(copy);
    memcpy(copy, data, bytes);
    return copy;
}

/* Fails unless n bytes agree, naming the first that differs. */
static void same_bytes(const char *what, const void *got, const void *want, size_t n)
{
    const uint8_t *a = got;
    const uint8_t *b = want;
    for (size_t i = 0; i < n; i++) {
        if (a[i] != b[i]) {
            fail_msg("%s: byte %zu of %zu is %02x, must be %02x", what, i, n, a[i], b[i]);
        }
    }
}

static const char *const MAKERS[] = {"gguf_py", "ggml", "random"};

static void check_type(const struct safetensors *s, const struct dtype_row *row, int *cases)
{
    const struct safetensors_entry *input = need(s, "input", "");
    const int64_t count = (int64_t)(input->bytes / sizeof(float));
    float *src = copy_of(input->data, input->bytes);
    float *got = malloc(input->bytes);
    for (size_t m = 0; m < sizeof MAKERS / sizeof MAKERS[0]; m++) {
        char name[64];
        (void)snprintf(name, sizeof name, "%s.%s", row->name, MAKERS[m]);
        const struct safetensors_entry *bytes = entry(s, name, ".bytes");
        if (!bytes) {
            continue;
        }
        const struct safetensors_entry *values = need(s, name, ".dequant");
        assert_int_equal(bytes->bytes, (size_t)(count / row->block * row->bytes));
        /* One byte past an aligned start: blocks may lie anywhere. */
        uint8_t *odd = malloc(bytes->bytes + 1);
        memcpy(odd + 1, bytes->data, bytes->bytes);
        row->decode(odd + 1, got, count);
        same_bytes(name, got, values->data, values->bytes);
        if (strcmp(MAKERS[m], "random") != 0 && row->encode) {
            memset(odd, 0xa5, bytes->bytes + 1);
            row->encode(src, odd + 1, count);
            same_bytes(name, odd + 1, bytes->data, bytes->bytes);
            (*cases)++;
        }
        free(odd);
        (*cases)++;
    }
    free(src);
    free(got);
}

static void test_blocks_golden(void **state)
{
    (void)state;
    char path[PATH_CAP];
    if (!golden_path(path, "gguf/blocks.safetensors")) {
        skip();
    }
    struct safetensors *s;
    CHECK(safetensors_open(&s, path));
    int cases = 0;
    for (int t = 0; t < DTYPE_NF4; t++) {
        check_type(s, dtype_row((enum dtype)t), &cases);
    }
    print_message("%d byte-exact block cases\n", cases);
    assert_true(cases > 25);
    safetensors_close(s);
}

/* The vectors of formats.md 3 and 4. */
static void test_short_vectors(void **state)
{
    (void)state;
    static const struct {
        enum dtype type;
        const char *hex;
    } CASES[] = {
        {DTYPE_Q4_0, "0040809191a2a2b3b3c4c4d5d5e6e6f7f7f8"},
        {DTYPE_Q4_1, "224000cc80809191a2a2b3b3c4c4d5d5e6e6f7f7"},
        {DTYPE_Q5_0, "003c0000ffff00112233445566778899aabbccddeeff"},
        {DTYPE_Q8_0, "083081899199a1a9b1b9c0c8d0d8e0e8f0f8000810182028303840474f575f676f77"},
    };
    float x[32];
    for (int i = 0; i < 32; i++) {
        x[i] = (float)(i - 16);
    }
    for (size_t c = 0; c < sizeof CASES / sizeof CASES[0]; c++) {
        const struct dtype_row *row = dtype_row(CASES[c].type);
        uint8_t bytes[64];
        char hex[129];
        row->encode(x, bytes, 32);
        for (int i = 0; i < row->bytes; i++) {
            (void)snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
        }
        assert_string_equal(hex, CASES[c].hex);
    }
    const float zero[32] = {0};
    uint8_t bytes[64];
    dtype_row(DTYPE_Q4_0)->encode(zero, bytes, 32);
    assert_int_equal(bytes[0], 0);
    assert_int_equal(bytes[1], 0x80); /* d = -0 */
    assert_int_equal(bytes[2], 0x88);
}

/* Every encoder brings values back within the step its format has, from any block of inputs. */
static void test_encode_decode(void **state)
{
    (void)state;
    static const float STEP[DTYPE_COUNT] = {
        [DTYPE_F16] = 0.001f, [DTYPE_BF16] = 0.008f, [DTYPE_Q4_0] = 0.13f, [DTYPE_Q4_1] = 0.07f,
        [DTYPE_Q5_0] = 0.07f, [DTYPE_Q5_1] = 0.04f,  [DTYPE_Q8_0] = 0.01f, [DTYPE_Q4_K] = 0.14f,
        [DTYPE_Q5_K] = 0.08f, [DTYPE_Q6_K] = 0.06f,
    };
    float x[512];
    float y[512];
    uint8_t bytes[512 * 4];
    for (int i = 0; i < 512; i++) {
        x[i] = sinf(0.37f * (float)i) * (i < 256 ? 1.0f : 0.01f);
    }
    for (int t = 0; t < DTYPE_NF4; t++) {
        const struct dtype_row *row = dtype_row((enum dtype)t);
        if (!row->encode) {
            continue;
        }
        row->encode(x, bytes, 512);
        row->decode(bytes, y, 512);
        for (int i = 0; i < 512; i++) {
            const float limit = STEP[t] * (i < 256 ? 1.0f : 0.01f);
            if (!(fabsf(x[i] - y[i]) <= limit)) {
                fail_msg("%s: element %d is %g, was %g", row->name, i, (double)y[i], (double)x[i]);
            }
        }
    }
}

/* Weights that are not finite must not be undefined behaviour (ubsan sees to it). */
static void test_encode_not_finite(void **state)
{
    (void)state;
    static const float BAD[] = {NAN, INFINITY, -INFINITY, 3e38f, -3e38f, 1e-45f};
    float x[256];
    uint8_t bytes[256 * 4 + 64];
    for (size_t b = 0; b < sizeof BAD / sizeof BAD[0]; b++) {
        for (int i = 0; i < 256; i++) {
            x[i] = i % 5 == 0 ? BAD[b] : (float)(i - 128);
        }
        for (int t = 0; t < DTYPE_NF4; t++) {
            const struct dtype_row *row = dtype_row((enum dtype)t);
            const size_t used = (size_t)(256 / row->block * row->bytes);
            memset(bytes, 0x5a, sizeof bytes);
            if (row->encode) {
                row->encode(x, bytes, 256);
                assert_int_equal(bytes[used], 0x5a); /* nothing past the blocks */
            }
        }
    }
}

static void test_half_floats(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        const float f = dtype_f16_to_f32((uint16_t)h);
        const float b = dtype_bf16_to_f32((uint16_t)h);
        const bool f_nan = (h & 0x7fff) > 0x7c00;
        const bool b_nan = (h & 0x7fff) > 0x7f80;
        assert_true(isnan(f) == f_nan);
        assert_true(isnan(b) == b_nan);
        assert_int_equal(dtype_f32_to_f16(f), f_nan ? (h | 0x200) : h);
        assert_int_equal(dtype_f32_to_bf16(b), b_nan ? (h | 0x40) : h);
        if ((h & 0x7fff) < 0x7bff) { /* half-way to the next value: to the even one */
            const float next = dtype_f16_to_f32((uint16_t)(h + 1));
            const float middle = f + (next - f) / 2.0f;
            assert_int_equal(dtype_f32_to_f16(middle), h + (h & 1));
            assert_int_equal(dtype_f32_to_f16(nextafterf(middle, next)), h + 1);
            assert_int_equal(dtype_f32_to_f16(nextafterf(middle, f)), h);
        }
    }
    assert_int_equal(dtype_f32_to_f16(65519.996f), 0x7bff);
    assert_int_equal(dtype_f32_to_f16(65520.0f), 0x7c00);
    assert_int_equal(dtype_f32_to_f16(-1e30f), 0xfc00);
    assert_int_equal(dtype_f32_to_bf16(1.00390625f), 0x3f80);  /* tie, even below */
    assert_int_equal(dtype_f32_to_bf16(1.01171875f), 0x3f82);  /* tie, even above */
}

static void test_lookups(void **state)
{
    (void)state;
    enum dtype t;
    size_t bytes;
    assert_true(dtype_from_ggml(12, &t) && t == DTYPE_Q4_K);
    assert_true(dtype_from_ggml(30, &t) && t == DTYPE_BF16);
    assert_false(dtype_from_ggml(4, &t));
    assert_false(dtype_from_ggml(UINT32_MAX, &t)); /* NF4 has no id */
    assert_true(dtype_from_name("q6_k", &t) && t == DTYPE_Q6_K);
    assert_false(dtype_from_name("Q6", &t));
    CHECK(dtype_row_bytes(DTYPE_Q4_K, 512, &bytes));
    assert_int_equal(bytes, 288);
    assert_int_equal(dtype_row_bytes(DTYPE_Q4_K, 511, &bytes), STATUS_INPUT);
    assert_int_equal(dtype_row_bytes(DTYPE_Q8_0, -32, &bytes), STATUS_INPUT);
    assert_int_equal(dtype_row_bytes(DTYPE_F32, INT64_MAX, &bytes), STATUS_INPUT);
}

/* One bitsandbytes matrix of a golden file as a tensor. */
struct bnb {
    struct tensor w;
    struct quant_nf4 q;
    float *floats[3]; /* owned copies: golden data may lie at any address */
    const struct safetensors_entry *values;
};

static float *floats_of(const struct safetensors *s, const char *name, const char *part)
{
    const struct safetensors_entry *e = entry(s, name, part);
    return e ? copy_of(e->data, e->bytes) : NULL;
}

static void load_bnb(const struct safetensors *s, const char *name, struct bnb *b)
{
    const struct safetensors_entry *text = need(s, name, ".weight.quant_state.bitsandbytes__nf4");
    json_t *json = json_loadb(text->data, text->bytes, 0, NULL);
    assert_non_null(json);
    const json_t *shape = json_object_get(json, "shape");
    *b = (struct bnb){.values = need(s, name, ".dequant")};
    b->q.blocksize = json_integer_value(json_object_get(json, "blocksize"));
    const json_t *offset = json_object_get(json, "nested_offset");
    if (offset) {
        b->floats[0] = floats_of(s, name, ".weight.nested_absmax");
        b->floats[1] = floats_of(s, name, ".weight.nested_quant_map");
        b->q.nested = b->floats[0];
        b->q.map = b->floats[1];
        b->q.absmax_q = need(s, name, ".weight.absmax")->data;
        b->q.offset = (float)json_number_value(offset);
    } else {
        b->floats[2] = floats_of(s, name, ".weight.absmax");
        b->q.absmax = b->floats[2];
    }
    b->w = (struct tensor){
        .dtype = DTYPE_NF4,
        .dims = 2,
        .shape = {json_integer_value(json_array_get(shape, 0)),
                  json_integer_value(json_array_get(shape, 1))},
        .data = need(s, name, ".weight")->data,
        .aux = &b->q,
    };
    json_decref(json);
}

static void free_bnb(struct bnb *b)
{
    for (int i = 0; i < 3; i++) {
        free(b->floats[i]);
    }
}

/* Decodes row by row and compares with the recorded values, cast to their type. */
static void check_decode(const char *where, const struct bnb *b)
{
    enum dtype type;
    const int64_t columns = tensor_columns(&b->w);
    assert_true(dtype_from_name(b->values->dtype_name, &type));
    const size_t row_bytes = (size_t)columns * (size_t)dtype_row(type)->bytes;
    float *row = malloc((size_t)columns * sizeof *row);
    uint8_t *cast = malloc(row_bytes);
    for (int64_t r = 0; r < tensor_rows(&b->w); r++) {
        quant_decode(&b->w, r, 0, columns, row);
        dtype_row(type)->encode(row, cast, columns);
        const uint8_t *want = (const uint8_t *)b->values->data + (size_t)r * row_bytes;
        same_bytes(where, cast, want, row_bytes);
    }
    free(row);
    free(cast);
}

/* Quantizes the recorded input and compares codes, scales and offset with bitsandbytes'. */
static void check_encode(const struct safetensors *inputs, const struct safetensors *s,
                         const char *name, const struct bnb *b)
{
    const struct safetensors_entry *input = need(inputs, name, "");
    const struct safetensors_entry *codes = need(s, name, ".weight");
    const int64_t count = tensor_count(&b->w);
    const int64_t blocks = (count + 63) / 64;
    float *src = copy_of(input->data, input->bytes);
    size_t bytes;
    struct tensor got;
    CHECK(quant_nf4_bytes(count, &bytes));
    void *buffer = aligned_alloc(64, bytes);
    quant_nf4_encode(src, b->w.shape[0], b->w.shape[1], buffer, &got);
    const struct quant_nf4 *q = got.aux;
    same_bytes(name, got.data, codes->data, codes->bytes);
    /* The reference sums the mean in vector order: its last bit may differ, and with it every
     * value derived from it by a few units. */
    assert_true(fabsf(q->offset - b->q.offset) <= 2e-7f * fabsf(b->q.offset));
    for (int64_t i = 0; i < blocks; i++) {
        assert_int_equal(q->absmax_q[i], b->q.absmax_q[i]);
        /* map * nested + offset: two units of the map, one of the offset (twice: nested too). */
        const float limit = 2.4e-7f * b->q.nested[i / 256] + 4e-7f * fabsf(b->q.offset);
        assert_true(fabsf(quant_nf4_absmax(q, i) - quant_nf4_absmax(&b->q, i)) <= limit);
    }
    for (int i = 0; i < 256; i++) { /* linspace differs by two units between builds (spec) */
        assert_true(fabsf(q->map[i] - b->q.map[i]) <= 2.4e-7f * fabsf(b->q.map[i]));
    }
    free(buffer);
    free(src);
}

static int check_bnb_file(const char *path, const struct safetensors *inputs)
{
    struct safetensors *s;
    int cases = 0;
    CHECK(safetensors_open(&s, path));
    for (int64_t i = 0; i < safetensors_count(inputs); i++) {
        const char *name = safetensors_at(inputs, i)->name;
        struct bnb b;
        if (!entry(s, name, ".weight")) {
            continue;
        }
        load_bnb(s, name, &b);
        check_decode(path, &b);
        if (b.q.absmax_q && b.q.blocksize == 64 && strstr(path, "float32")) {
            check_encode(inputs, s, name, &b);
            cases++;
        }
        free_bnb(&b);
        cases++;
    }
    safetensors_close(s);
    return cases;
}

static void test_bitsandbytes_golden(void **state)
{
    (void)state;
    char path[PATH_CAP];
    struct safetensors *inputs;
    if (!golden_path(path, "bnb/inputs.safetensors")) {
        skip();
    }
    CHECK(safetensors_open(&inputs, path));
    int cases = 0;
    assert_true(golden_path(path, "bnb/inputs.safetensors"));
    *strrchr(path, '/') = '\0';
    DIR *folder = opendir(path);
    assert_non_null(folder);
    for (const struct dirent *e = readdir(folder); e; e = readdir(folder)) {
        char file[PATH_CAP];
        const int n = snprintf(file, sizeof file, "%s/%s", path, e->d_name);
        if (strncmp(e->d_name, "nf4_", 4) == 0 && n > 0 && n < PATH_CAP) {
            cases += check_bnb_file(file, inputs);
        }
    }
    (void)closedir(folder);
    print_message("%d bitsandbytes cases\n", cases);
    assert_true(cases > 20);
    safetensors_close(inputs);
}

static void test_nf4_short_vector(void **state)
{
    (void)state;
    float x[64];
    char hex[65];
    struct tensor t;
    size_t bytes;
    for (int i = 0; i < 64; i++) {
        x[i] = (float)(i - 32) / 32.0f;
    }
    CHECK(quant_nf4_bytes(64, &bytes));
    void *buffer = aligned_alloc(64, bytes);
    quant_nf4_encode(x, 1, 64, buffer, &t);
    for (int i = 0; i < 32; i++) {
        (void)snprintf(hex + 2 * i, 3, "%02x", ((const uint8_t *)t.data)[i]);
    }
    assert_string_equal(hex, "000001111111122222333344455566677788999aaabbbccccddddeeeeeeeffff");
    free(buffer);
}

/* Blocks run over row ends, counts are odd, a block is all zero: decoding in pieces is decoding
 * whole, and every value is a code times a scale near its block's. */
static void test_nf4_pieces(void **state)
{
    (void)state;
    const int64_t count = (int64_t)ROWS * COLUMNS;
    float *x = calloc((size_t)count, sizeof *x);
    float *whole = malloc((size_t)count * sizeof *whole);
    float piece[PIECE];
    struct tensor t;
    size_t bytes;
    for (int64_t i = 128; i < count; i++) {
        x[i] = sinf(0.11f * (float)i) * (1.0f + 0.001f * (float)(i % 997));
    }
    CHECK(quant_nf4_bytes(count, &bytes));
    void *buffer = aligned_alloc(64, bytes);
    quant_nf4_encode(x, ROWS, COLUMNS, buffer, &t);
    for (int64_t r = 0; r < ROWS; r++) {
        quant_decode(&t, r, 0, COLUMNS, whole + r * COLUMNS);
    }
    for (int64_t i = 0; i < count; i++) {
        if (!(fabsf(whole[i] - x[i]) <= 0.16f * 2.0f)) { /* half the widest gap, |x| < 2 */
            fail_msg("element %lld is %g, was %g", (long long)i, (double)whole[i], (double)x[i]);
        }
    }
    for (int64_t r = 0; r < ROWS; r++) {
        for (int64_t c = 0; c + PIECE <= COLUMNS; c += PIECE) {
            quant_decode(&t, r, c, PIECE, piece);
            same_bytes("piece", piece, whole + r * COLUMNS + c, sizeof piece);
        }
    }
    assert_true(whole[0] == 0.0f && whole[127] == 0.0f);
    free(buffer);
    free(whole);
    free(x);
}

/* Block types by rows: strides and inner starts. */
static void test_decode_rows(void **state)
{
    (void)state;
    float x[3 * 512];
    float all[512];
    float part[256];
    uint8_t bytes[3 * 512 * 4];
    for (int i = 0; i < 3 * 512; i++) {
        x[i] = cosf(0.3f * (float)i);
    }
    for (int d = 0; d < DTYPE_NF4; d++) {
        const struct dtype_row *row = dtype_row((enum dtype)d);
        struct tensor t = {.dtype = (enum dtype)d, .dims = 2, .shape = {3, 512}, .data = bytes};
        if (!row->encode) {
            continue;
        }
        CHECK(dtype_row_bytes(t.dtype, 512, &t.row_bytes));
        row->encode(x, bytes, 3 * 512);
        for (int r = 0; r < 3; r++) {
            row->decode(bytes + (size_t)r * t.row_bytes, all, 512);
            quant_decode(&t, r, 256, 256, part);
            same_bytes(row->name, part, all + 256, sizeof part);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lookups),
        cmocka_unit_test(test_half_floats),
        cmocka_unit_test(test_short_vectors),
        cmocka_unit_test(test_encode_decode),
        cmocka_unit_test(test_encode_not_finite),
        cmocka_unit_test(test_blocks_golden),
        cmocka_unit_test(test_bitsandbytes_golden),
        cmocka_unit_test(test_nf4_short_vector),
        cmocka_unit_test(test_nf4_pieces),
        cmocka_unit_test(test_decode_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
