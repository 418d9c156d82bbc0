/*
 * Broken tokenizer files and hostile texts. Each row edits one place of a good file: the edited one
 * must fail with INPUT and a message that names the culprit, never crash.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/tokenizer_cases.h"

struct edit {
    const char *find;
    const char *put;
    const char *message; /* part of it; NULL: the file must open */
};

#define REGEX_START "\"Regex\": \"(?i:'s|'t|'re|'ve|'m|'ll|'d)|"
#define NFC "{\n  \"type\": \"NFC\"\n }"
#define FIRST_MERGE "[\n    \"h\",\n    \"e\"\n   ]"

static const struct edit EDITS[] = {
    {"\"1.0\"", "\"1.0\"", NULL},
    {"\"1.0\"", "\"2.0\"", "version"},
    {"\"1.0\"", "1", "version"},
    /* model */
    {"\"BPE\"", "\"WordPiece\"", "model 'WordPiece'"},
    {"\"model\"", "\"modem\"", "model is missing"},
    {"\"dropout\": null", "\"dropout\": 0.0", NULL},
    {"\"dropout\": null", "\"dropout\": 0.1", "dropout"},
    {"\"byte_fallback\": false", "\"byte_fallback\": 1", "byte_fallback"},
    {"\"a\": 3,", "\"a\": -1,", "id -1"},
    {"\"a\": 3,", "\"a\": 4294967296,", "id 4294967296"},
    {"\"a\": 3,", "\"a\": 99999999999999999999,", "integer"},
    {"\"a\": 3,", "\"a\": \"3\",", "no integer"},
    {"\"a\": 3,", "\"a\": 3.5,", "no integer"},
    {"\"a\": 3,", "\"a\\u0000\": 3,", "NUL"},
    {"\"a\": 3,", "\"\\ud800\": 3,", "line"},
    {"\"vocab\": {", "\"vocab\": [], \"v\": {", "vocab"},
    /* merges */
    {FIRST_MERGE, "\"h e\"", "merges[1]: strings and pairs are mixed"},
    {FIRST_MERGE, "[\"h\", \"Q\"]", "merges[0]"},
    {FIRST_MERGE, "[\"QQQQQQQQQQQQQQQQQQQQQQQQ\", \"e\"]", "the first is not in"},
    {FIRST_MERGE, "[\"e\", \"h\"]", "the result is not in"},
    {FIRST_MERGE, "[\"h\", \"e\", \"l\"]", "not a pair"},
    {FIRST_MERGE, "[\"h\", 1]", "not a pair"},
    {FIRST_MERGE, "null", "merges[0]"},
    {"\"merges\"", "\"verges\"", "merges is no list"},
    {"\"unk_token\": null", "\"unk_token\": \"nowhere\"", NULL},
    /* components */
    {NFC, "{\"type\": \"Nmt\"}", "normalizer 'Nmt' is not supported"},
    {NFC, "{\"type\": \"Precompiled\", \"precompiled_charsmap\": \"\"}", "'Precompiled'"},
    {NFC, "{}", "normalizer"},
    {NFC, "{\"type\": \"Sequence\"}", "no list"},
    {NFC, "{\"type\": \"Sequence\", \"normalizers\": [1]}", "item 0"},
    {NFC, "{\"type\": \"Replace\", \"content\": \"\", \"pattern\": {\"String\": \"\"}}", "empty"},
    {NFC, "{\"type\": \"Replace\", \"content\": 1, \"pattern\": {\"String\": \"a\"}}", "content"},
    {NFC, "{\"type\": \"Replace\", \"content\": \"\", \"pattern\": \"a\"}", "pattern"},
    {"\"type\": \"Split\"", "\"type\": \"BertPreTokenizer\"", "pre_tokenizer 'BertPreTokenizer'"},
    {"\"Isolated\"", "\"Sideways\"", "behavior"},
    {"\"use_regex\": false", "\"use_regex\": \"no\"", "use_regex"},
    {"\"decoder\": {\n  \"type\": \"ByteLevel\"", "\"decoder\": {\"type\": \"CTC\"",
     "decoder 'CTC'"},
    {"\"TemplateProcessing\"", "\"RobertaPreprocessing\"", "post_processor"},
    {"\"single\": [", "\"single\": [{\"Sequence\": {\"id\": \"A\"}}, ", "2 times"},
    {"\"single\": [", "\"single\": [7, ", "item 0"},
    {"\"ids\": [\n     2\n    ]", "\"ids\": [51]", "outside the vocabulary"},
    {"\"ids\": [\n     2\n    ]", "\"ids\": 2", "not listed"},
    {"\"added_tokens\": [", "\"added_tokens\": [{\"id\": 1}, ", "added_tokens[0]"},
    {"\"added_tokens\": [", "\"added_tokens\": 1, \"x\": [", "added_tokens"},
    {"\"content\": \"<x>\"", "\"content\": \"\"", NULL},
    /* patterns */
    {REGEX_START, "\"Regex\": \"(", "( without )"},
    {REGEX_START, "\"Regex\": \")", ") without ("},
    {REGEX_START, "\"Regex\": \"[a\", \"rest\": \"", "set without ]"},
    {REGEX_START, "\"Regex\": \"[a&&b]|", "intersection"},
    {REGEX_START, "\"Regex\": \"[a[^b]]|", "negated set"},
    {REGEX_START, "\"Regex\": \"[a[b[c]]]|", NULL},
    {REGEX_START, "\"Regex\": \"(*LIMIT_MATCH=1)|", "(*...)"},
    {REGEX_START, "\"Regex\": \"\\\\p{Nonsense}|", "pattern"},
    {REGEX_START, "\"Regex\": \"\\\\p{L|", "pattern"},
    {REGEX_START, "\"Regex\": \"\\\\pL|", "without {name}"},
    {REGEX_START, "\"Regex\": \"\\\\u12|", "four hexadecimal"},
    {REGEX_START, "\"Regex\": \"\\\\C|", "unknown escape"},
    {REGEX_START, "\"Regex\": \"a(?i)b|", "options"},
    {REGEX_START, "\"Regex\": \"(?~a)|", "pattern"},
    {REGEX_START, "\"Regex\": \"**|", "pattern"},
    {REGEX_START, "\"Regex\": \"+{2}+|", "pattern"},
    {REGEX_START, "\"Regex\": \"(?:(?:(?:a{999}){999}){999}){999}|", "pattern"},
};

static char *read_base(void)
{
    static char bytes[1 << 16];
    char path[4096];
    const char *source = getenv("GRAFT_SOURCE");
    (void)snprintf(path, sizeof(path), "%s/tests/data/tokenizer/byte_level/tokenizer.json",
                   source == NULL ? "." : source);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    bytes[fread(bytes, 1, sizeof(bytes) - 1, file)] = '\0';
    (void)fclose(file);
    return bytes;
}

/* Opens `text` as a tokenizer.json: a file in memory, since there are many. */
static enum status open_text(const char *text, size_t n, struct tokenizer **t)
{
    char path[64];
    const int fd = memfd_create("tokenizer", 0);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, n), (ssize_t)n);
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    const enum status status = tokenizer_open_file(t, path);
    (void)close(fd);
    return status;
}

/* Opens the base file with the first `find` replaced by `put`. */
static enum status open_edited(const char *find, const char *put, struct tokenizer **t)
{
    const char *base = read_base();
    const char *at = strstr(base, find);
    if (at == NULL) {
        fail_msg("the base file has no '%s'", find);
        return STATUS_INTERNAL;
    }
    const size_t before = (size_t)(at - base);
    const size_t size = strlen(base) + strlen(put) + 1;
    char *edited = malloc(size);
    assert_non_null(edited);
    (void)snprintf(edited, size, "%.*s%s%s", (int)before, base, put, at + strlen(find));
    const enum status status = open_text(edited, strlen(edited), t);
    free(edited);
    return status;
}

static void edits_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(EDITS) / sizeof(EDITS[0]); i++) {
        struct tokenizer *t = NULL;
        const enum status status = open_edited(EDITS[i].find, EDITS[i].put, &t);
        const bool good = EDITS[i].message == NULL
                              ? status == STATUS_OK
                              : status == STATUS_INPUT &&
                                    strstr(status_message(), EDITS[i].message) != NULL;
        if (!good) {
            fail_msg("edit %zu '%s': %d %s", i, EDITS[i].put, (int)status, status_message());
        }
        assert_true((t != NULL) == (status == STATUS_OK));
        tokenizer_close(t);
    }
}

/* `count` times `open`, then `middle`, then `count` times `close`, in place of the normalizer. */
static enum status open_nested(const char *open, const char *middle, const char *close, int count)
{
    struct tokenizer *t = NULL;
    const size_t size = (strlen(open) + strlen(close)) * (size_t)count + strlen(middle) + 1;
    char *text = malloc(size);
    assert_non_null(text);
    size_t at = 0;
    for (int i = 0; i < count; i++) {
        at += (size_t)snprintf(text + at, size - at, "%s", open);
    }
    at += (size_t)snprintf(text + at, size - at, "%s", middle);
    for (int i = 0; i < count; i++) {
        at += (size_t)snprintf(text + at, size - at, "%s", close);
    }
    const enum status status = open_edited(NFC, text, &t);
    free(text);
    tokenizer_close(t);
    return status;
}

static void nesting_is_bounded(void **state)
{
    (void)state;
    static const char OPEN[] = "{\"type\":\"Sequence\",\"normalizers\":[";
    assert_int_equal(open_nested(OPEN, NFC, "]}", 5), STATUS_OK);
    assert_int_equal(open_nested(OPEN, NFC, "]}", 100), STATUS_INPUT);
    assert_int_equal(open_nested(OPEN, NFC, "]}", 100000), STATUS_INPUT);
    assert_int_equal(open_nested("[", "", "]", 1000000), STATUS_INPUT);
}

static void long_added_token_is_refused(void **state)
{
    (void)state;
    char put[1400];
    struct tokenizer *t = NULL;
    (void)snprintf(put, sizeof(put), "\"content\": \"%01100d\"", 0);
    assert_int_equal(open_edited("\"content\": \"<x>\"", put, &t), STATUS_INPUT);
    assert_non_null(strstr(status_message(), "1100 bytes"));
}

static void unknown_token_may_be_missing(void **state)
{
    (void)state;
    struct tokenizer *t = NULL;
    struct token_list ids = {0};
    assert_int_equal(open_edited("\"unk_token\": null", "\"unk_token\": \"nowhere\"", &t),
                     STATUS_OK);
    assert_int_equal(tokenizer_encode(t, "hello", 5, 0, &ids), STATUS_OK);
    assert_int_equal(tokenizer_encode(t, "hello zz", 8, 0, &ids), STATUS_INPUT);
    assert_int_equal(ids.count, 1); /* a failed call appends nothing */
    token_list_free(&ids);
    tokenizer_close(t);
}

static void wild_pattern_ends(void **state)
{
    (void)state;
    static char text[4000];
    struct tokenizer *t = NULL;
    struct token_list ids = {0};
    memset(text, 'a', sizeof(text) - 1);
    text[sizeof(text) - 2] = 'b';
    assert_int_equal(open_edited(REGEX_START, "\"Regex\": \"(a+)+$|", &t), STATUS_OK);
    assert_int_equal(tokenizer_encode(t, text, strlen(text), 0, &ids), STATUS_INPUT);
    assert_non_null(strstr(status_message(), "limit"));
    assert_int_equal(ids.count, 0);
    tokenizer_close(t);
}

/* Invalid UTF-8 and what it must be read as: U+FFFD per maximal invalid part. */
static const struct {
    const char *bytes;
    const char *same;
} INVALID[] = {{"\xFF", "\xEF\xBF\xBD"},
               {"a\x80z", "a\xEF\xBF\xBDz"},
               {"\xC3", "\xEF\xBF\xBD"},
               {"\xC0\xAF", "\xEF\xBF\xBD\xEF\xBF\xBD"},
               {"\xE2\x82", "\xEF\xBF\xBD"},
               {"\xE2\x82h", "\xEF\xBF\xBDh"},
               {"\xED\xA0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},
               {"\xF0\x9F\x98", "\xEF\xBF\xBD"},
               {"\xF5\x80", "\xEF\xBF\xBD\xEF\xBF\xBD"},
               {"\xF4\x90\x80\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"}};

static void invalid_utf8_is_replaced(void **state)
{
    (void)state;
    struct tokenizer *t = NULL;
    assert_int_equal(open_edited("\"1.0\"", "\"1.0\"", &t), STATUS_OK);
    for (size_t i = 0; i < sizeof(INVALID) / sizeof(INVALID[0]); i++) {
        struct token_list wanted = {0};
        const char *same = INVALID[i].same;
        assert_int_equal(tokenizer_encode(t, same, strlen(same), 0, &wanted), STATUS_OK);
        assert_true(tokenizer_gives(t, INVALID[i].bytes, 0, wanted.ids, wanted.count));
        assert_true(tokenizer_spans_sane(t, INVALID[i].bytes, strlen(INVALID[i].bytes), "bytes"));
        token_list_free(&wanted);
    }
    tokenizer_close(t);
}

/* A mebibyte of `unit` repeated; the text must come back and take no quadratic time. */
static void encode_mebibyte(const struct tokenizer *t, const char *unit)
{
    enum { SIZE = 1 << 20 };
    const size_t n = strlen(unit);
    const size_t length = SIZE / n * n;
    struct token_list ids = {0};
    struct text back;
    char *text = malloc(SIZE);
    assert_non_null(text);
    for (size_t i = 0; i < length; i++) {
        text[i] = unit[i % n];
    }
    const clock_t start = clock();
    assert_int_equal(tokenizer_encode(t, text, length, 0, &ids), STATUS_OK);
    assert_true((double)(clock() - start) / CLOCKS_PER_SEC < 20.0); /* 0.5 s without sanitizers */
    assert_int_equal(tokenizer_decode(t, ids.ids, ids.count, false, &back), STATUS_OK);
    assert_int_equal(back.length, length);
    assert_memory_equal(back.data, text, length);
    free(back.data);
    free(text);
    token_list_free(&ids);
}

static void long_texts_are_bounded(void **state)
{
    (void)state;
    static const char *const UNITS[] = {"l", " ", "1", "\n", "!", "l ", "hello", "\xC3\xA9",
                                        "<|end|>"};
    struct tokenizer *t = NULL;
    assert_int_equal(open_edited("\"1.0\"", "\"1.0\"", &t), STATUS_OK);
    for (size_t i = 0; i < sizeof(UNITS) / sizeof(UNITS[0]); i++) {
        encode_mebibyte(t, UNITS[i]);
    }
    tokenizer_close(t);
}

/* Marks that sort backwards: the run must be ordered in O(n log n). */
static void long_mark_runs_are_bounded(void **state)
{
    (void)state;
    enum { PAIRS = 1 << 17 };
    struct tokenizer *t = NULL;
    struct token_list ids = {0};
    char *text = malloc((size_t)PAIRS * 4);
    assert_non_null(text);
    for (size_t i = 0; i < PAIRS; i++) {
        memcpy(text + 4 * i, "\xCC\x81\xCC\xA3", 4); /* class 230, then 220 */
    }
    const clock_t start = clock();
    assert_int_equal(open_edited("\"1.0\"", "\"1.0\"", &t), STATUS_OK);
    assert_int_equal(tokenizer_encode(t, text, (size_t)PAIRS * 4, 0, &ids), STATUS_OK);
    assert_true((double)(clock() - start) / CLOCKS_PER_SEC < 20.0);
    assert_true(ids.count > 0);
    free(text);
    token_list_free(&ids);
    tokenizer_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(edits_are_refused),
                                       cmocka_unit_test(nesting_is_bounded),
                                       cmocka_unit_test(long_added_token_is_refused),
                                       cmocka_unit_test(unknown_token_may_be_missing),
                                       cmocka_unit_test(wild_pattern_ends),
                                       cmocka_unit_test(invalid_utf8_is_replaced),
                                       cmocka_unit_test(long_texts_are_bounded),
                                       cmocka_unit_test(long_mark_runs_are_bounded)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
