/*
 * Fuzzing replayed in ctest: every truncation (in steps) and seeded byte flips of our small
 * tokenizer.json files must open or fail with INPUT, and what opens must survive an encode and a
 * decode. Worth most under asan+ubsan.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "kernels/base/rng.h"
#include "trainer/text/tokenizer.h"

static const char TEXT[] = "hello <|user|> e\xCC\x81 12 \xFF <m> ab\n rs \xE2\x82\xAC";

struct target {
    char path[64];
    int fd; /* a file in memory */
    char bytes[1 << 14];
    size_t size;
    int opened;
    int refused;
};

static void load_target(struct target *f, const char *name)
{
    char path[4096];
    const char *source = getenv("GRAFT_SOURCE");
    (void)snprintf(path, sizeof(path), "%s/tests/data/tokenizer/%s/tokenizer.json",
                   source == NULL ? "." : source, name);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    f->size = fread(f->bytes, 1, sizeof(f->bytes), file);
    (void)fclose(file);
    assert_true(f->size > 1000 && f->size < sizeof(f->bytes));
    f->opened = f->refused = 0;
    f->fd = memfd_create("tokenizer", 0);
    assert_true(f->fd >= 0);
    (void)snprintf(f->path, sizeof(f->path), "/proc/self/fd/%d", f->fd);
}

static void try_tokenizer(const struct tokenizer *t)
{
    struct token_list ids = {0};
    struct text text = {0};
    const enum status status =
        tokenizer_encode(t, TEXT, sizeof(TEXT) - 1, TOKENIZE_SPECIALS, &ids);
    assert_true(status == STATUS_OK || status == STATUS_INPUT);
    if (status == STATUS_OK) {
        assert_int_equal(tokenizer_decode(t, ids.ids, ids.count, false, &text), STATUS_OK);
    }
    free(text.data);
    token_list_free(&ids);
}

static void try_bytes(struct target *f, const char *bytes, size_t n)
{
    struct tokenizer *t = NULL;
    assert_int_equal(ftruncate(f->fd, 0), 0);
    assert_int_equal(pwrite(f->fd, bytes, n, 0), (ssize_t)n);
    const enum status status = tokenizer_open_file(&t, f->path);
    assert_true(status == STATUS_OK || status == STATUS_INPUT);
    if (status == STATUS_OK) {
        f->opened++;
        try_tokenizer(t);
    } else {
        f->refused++;
        assert_null(t);
        assert_true(strlen(status_message()) > 0);
    }
    tokenizer_close(t);
}

static void fuzz(const char *name, uint64_t seed)
{
    static struct target f;
    static char changed[sizeof(f.bytes)];
    load_target(&f, name);
    for (size_t n = 0; n < f.size - 2; n += 13) {
        try_bytes(&f, f.bytes, n);
    }
    assert_int_equal(f.opened, 0); /* no proper beginning of the file is a tokenizer */
    for (uint32_t i = 0; i < 2500; i++) {
        const struct rng_key key = {.seed = seed, .purpose = RNG_DATA, .row = i};
        uint32_t draw[4];
        rng_draw4(&key, draw);
        memcpy(changed, f.bytes, f.size);
        changed[draw[0] % f.size] = (char)(draw[1] & 0xFF);
        if (draw[1] & 0x100) { /* a printable byte keeps more of the file valid */
            changed[draw[0] % f.size] = (char)(' ' + draw[1] % 95);
        }
        changed[draw[2] % f.size] ^= (char)(draw[3] & 0x200 ? 1 << (draw[3] % 8) : 0);
        try_bytes(&f, changed, f.size);
    }
    (void)close(f.fd);
    print_message("%s: %d opened, %d refused\n", name, f.opened, f.refused);
    assert_true(f.opened > 100 && f.refused > 100);
}

static void byte_level(void **state)
{
    (void)state;
    fuzz("byte_level", 1);
}

static void sentencepiece(void **state)
{
    (void)state;
    fuzz("sentencepiece", 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(byte_level),
                                       cmocka_unit_test(sentencepiece)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
