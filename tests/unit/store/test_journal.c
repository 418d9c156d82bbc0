/* Journals: what was appended comes back; a torn or damaged end, another key and no file do not
 * hurt. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/golden_rl.h"
#include "trainer/store/journal.h"

struct records {
    int64_t count;
    uint32_t kind[16];
    size_t bytes[16];
    char first[16];
};

static enum status keep(void *ctx, uint32_t kind, const void *data, size_t bytes)
{
    struct records *r = ctx;
    assert_true(r->count < 16);
    r->kind[r->count] = kind;
    r->bytes[r->count] = bytes;
    r->first[r->count++] = bytes > 0 ? *(const char *)data : 0;
    return STATUS_OK;
}

static struct records replay(const char *path, uint64_t key)
{
    struct records r = {0};
    assert_int_equal(journal_replay(path, key, keep, &r), STATUS_OK);
    return r;
}

static void append_all(const char *path, uint64_t key, const char *letters)
{
    struct journal *j;
    static char data[5000];
    assert_int_equal(journal_open(&j, path, key), STATUS_OK);
    for (uint32_t i = 0; letters[i]; i++) {
        memset(data, letters[i], sizeof data);
        assert_int_equal(journal_append(j, i + 1, data, i * 1000), STATUS_OK);
    }
    journal_close(j);
}

static off_t size_of(const char *path)
{
    struct stat s;
    assert_int_equal(stat(path, &s), 0);
    return s.st_size;
}

static void records_come_back(void **state)
{
    (void)state;
    char folder[64];
    char path[128];
    golden_scratch(folder);
    (void)snprintf(path, sizeof path, "%s/j", folder);
    assert_int_equal(replay(path, 7).count, 0); /* no file */
    append_all(path, 7, "abc");
    append_all(path, 7, "de");
    const struct records r = replay(path, 7);
    assert_int_equal(r.count, 5);
    assert_int_equal(r.kind[2], 3);
    assert_int_equal(r.bytes[2], 2000);
    assert_int_equal(r.first[2], 'c');
    assert_int_equal(r.first[4], 'e');
    assert_int_equal(replay(path, 8).count, 0); /* another key */
    append_all(path, 8, "x");
    assert_int_equal(replay(path, 7).count, 0);
    assert_int_equal(replay(path, 8).count, 1);
    golden_scratch_remove(folder);
}

/* Cut anywhere, the whole records before the cut stay, and appending goes on behind them. */
static void torn_ends_are_cut(void **state)
{
    (void)state;
    char folder[64];
    char path[128];
    golden_scratch(folder);
    (void)snprintf(path, sizeof path, "%s/j", folder);
    append_all(path, 7, "abcd");
    const off_t whole = size_of(path);
    static const off_t ENDS[5] = {16, 28, 1040, 3052, 6064}; /* behind header and each record */
    assert_int_equal(whole, ENDS[4]);
    for (off_t cut = whole; cut > 0; cut -= cut > 60 ? 37 : 1) {
        int64_t wanted = -1;
        for (int i = 0; i < 5; i++) {
            wanted += cut >= ENDS[i];
        }
        (void)unlink(path);
        append_all(path, 7, "abcd");
        assert_int_equal(truncate(path, cut), 0);
        assert_int_equal(replay(path, 7).count, wanted > 0 ? wanted : 0);
        append_all(path, 7, "z");
        assert_int_equal(replay(path, 7).count, (wanted > 0 ? wanted : 0) + 1);
    }
    golden_scratch_remove(folder);
}

static void flipped_bytes_end_the_replay(void **state)
{
    (void)state;
    char folder[64];
    char path[128];
    golden_scratch(folder);
    (void)snprintf(path, sizeof path, "%s/j", folder);
    for (long at = 0; at < 6064; at += at < 60 ? 1 : 41) {
        (void)unlink(path);
        append_all(path, 7, "abcd");
        FILE *f = fopen(path, "r+be");
        assert_non_null(f);
        assert_int_equal(fseek(f, at, SEEK_SET), 0);
        const int byte = fgetc(f);
        assert_int_equal(fseek(f, at, SEEK_SET), 0);
        assert_int_not_equal(fputc(byte ^ 0x40, f), EOF);
        assert_int_equal(fclose(f), 0);
        const struct records r = replay(path, 7);
        assert_int_equal(r.count, at < 28 ? 0 : at < 1040 ? 1 : at < 3052 ? 2 : 3);
    }
    golden_scratch_remove(folder);
}

static enum status refuse(void *ctx, uint32_t kind, const void *data, size_t bytes)
{
    (void)ctx;
    (void)kind;
    (void)data;
    (void)bytes;
    return FAIL(INPUT, "not wanted");
}

static void failures_are_passed_on(void **state)
{
    (void)state;
    char folder[64];
    char path[128];
    struct journal *j;
    golden_scratch(folder);
    (void)snprintf(path, sizeof path, "%s/none/j", folder);
    assert_int_equal(journal_open(&j, path, 1), STATUS_IO);
    assert_non_null(strstr(status_message(), "none/j"));
    (void)snprintf(path, sizeof path, "%s/j", folder);
    append_all(path, 7, "a");
    assert_int_equal(journal_replay(path, 7, refuse, NULL), STATUS_INPUT);
    golden_scratch_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_come_back),
        cmocka_unit_test(torn_ends_are_cut),
        cmocka_unit_test(flipped_bytes_end_the_replay),
        cmocka_unit_test(failures_are_passed_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
