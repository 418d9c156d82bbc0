/*
 * Tokenizers on small files of our own (tests/data/tokenizer; the ids in the tables were made by
 * the tokenizers library 0.23.3): encoding, spans, specials, and what a folder adds.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/tokenizer_cases.h"

enum { MAX_IDS = 20 };

struct row {
    const char *text;
    int32_t ids[MAX_IDS];
    int64_t count;
    const char *skipped; /* decoded without special tokens */
};

static const struct row BYTE_LEVEL[] = {
    {"", {2}, 1, ""},
    {"hello world", {2, 38, 43}, 3, "hello world"},
    {"hello  world\n\n", {2, 38, 25, 43, 45}, 5, "hello  world\n\n"},
    {"<|user|>hello<|end|>", {2, 1, 38, 0}, 4, "hello"},
    {"he<x>ll <m> o", {2, 35, 48, 36, 49, 10}, 6, "he<x>ll<m>o"},
    {"rs xrs rs1 rs", {2, 50, 25, 23, 11, 12, 25, 11, 12, 18, 25, 50}, 12, "rs xrs rs1 rs"},
    {"e\xCC\x81 \xC3\xA9", {2, 44, 25, 44}, 4, "\xC3\xA9 \xC3\xA9"},
    {"a\xC5\xBF'\xC5\xBF", {2, 3, 31, 32, 16, 31, 32}, 7, "a\xC5\xBF'\xC5\xBF"},
    {"whole", {2, 47}, 2, "whole"},
    {"12 121212", {2, 18, 19, 25, 18, 19, 18, 19, 18, 19}, 10, "12 121212"},
    {"hello's", {2, 38, 16, 12}, 4, "hello's"},
    {"<|en", {2, 20, 22, 7}, 4, "<|e"},
    {"! !\n\n", {2, 17, 25, 17, 45}, 5, "! !\n\n"},
    {"\xEF\xBF\xBD", {2, 33, 32, 34}, 4, "\xEF\xBF\xBD"},
    {"zzz", {2}, 1, ""}};

static const struct row SENTENCEPIECE[] = {
    {"", {0}, 0, ""},
    {"ab", {16}, 1, "ab"},
    {"abc bc", {16, 12, 9, 15}, 4, "abc bc"},
    {"aab", {14, 13}, 2, "aab"},
    {"\xC3\xA9\xE2\x82\xAC\n", {9, 4, 5, 6, 7, 8, 3}, 7, "\xC3\xA9\xE2\x82\xAC\n"},
    {"zab", {9, 0, 13}, 3, "ab"},
    /* the library emits a waiting <unk> behind the bytes that follow it */
    {"z\xE2\x82\xAC", {9, 6, 7, 8, 0}, 5, "\xE2\x82\xAC"},
    {"  ab", {18, 16}, 2, "  ab"},
    {"a<s>b", {14, 1, 9, 11}, 4, "a b"},
    {"</s>", {2}, 1, ""}};

static const char *data_path(const char *name)
{
    static char path[4096];
    const char *source = getenv("GRAFT_SOURCE");
    (void)snprintf(path, sizeof(path), "%s/tests/data/tokenizer/%s", source == NULL ? "." : source,
                   name);
    return path;
}

static struct tokenizer *open_folder(const char *path)
{
    struct tokenizer *t = NULL;
    if (tokenizer_open_folder(&t, path) != STATUS_OK) {
        fail_msg("%s", status_message());
    }
    return t;
}

static void check_rows(const char *folder, const struct row *rows, size_t count)
{
    struct tokenizer *t = open_folder(data_path(folder));
    for (size_t i = 0; i < count; i++) {
        struct text text;
        assert_true(tokenizer_gives(t, rows[i].text, TOKENIZE_SPECIALS, rows[i].ids,
                                    rows[i].count));
        assert_int_equal(tokenizer_decode(t, rows[i].ids, rows[i].count, true, &text), STATUS_OK);
        assert_string_equal(text.data, rows[i].skipped);
        assert_int_equal(text.length, strlen(rows[i].skipped));
        free(text.data);
    }
    tokenizer_close(t);
}

static void rows_match(void **state)
{
    (void)state;
    check_rows("byte_level", BYTE_LEVEL, sizeof(BYTE_LEVEL) / sizeof(BYTE_LEVEL[0]));
    check_rows("sentencepiece", SENTENCEPIECE, sizeof(SENTENCEPIECE) / sizeof(SENTENCEPIECE[0]));
}

static void flags_choose_specials(void **state)
{
    (void)state;
    struct tokenizer *t = open_folder(data_path("byte_level"));
    assert_true(tokenizer_gives(t, "<|end|>", 0, (int32_t[]){0}, 1));
    /* as plain text: <| e n(dropped) d |> */
    assert_true(tokenizer_gives(t, "<|end|>", TOKENIZE_NO_SPECIAL_TEXT,
                                (int32_t[]){20, 22, 7, 6, 22, 21}, 6));
    /* <x> is added but not special: it stays a token */
    assert_true(tokenizer_gives(t, "<x>", TOKENIZE_NO_SPECIAL_TEXT, (int32_t[]){48}, 1));
    tokenizer_close(t);
}

/* The bytes of the tokens behind the first, joined, are the bytes of the text. */
static void token_bytes_join_to_the_text(void **state)
{
    (void)state;
    static const char *const FOLDERS[] = {"byte_level", "sentencepiece"};
    static const char *const TEXTS[] = {"hello world \xC3\xA9", "aab ab\xE2\x82\xAC ab"};
    for (int f = 0; f < 2; f++) {
        struct tokenizer *t = open_folder(data_path(FOLDERS[f]));
        struct token_list ids = {0};
        char joined[256];
        size_t n = 0;
        assert_int_equal(tokenizer_encode(t, TEXTS[f], strlen(TEXTS[f]), 0, &ids), STATUS_OK);
        for (int64_t i = 0; i < ids.count; i++) {
            struct text bytes;
            assert_int_equal(tokenizer_token_bytes(t, ids.ids[i], &bytes), STATUS_OK);
            memcpy(joined + n, bytes.data, bytes.length);
            n += bytes.length;
            free(bytes.data);
        }
        /* sentencepiece puts a space in front of the first word */
        const size_t skip = joined[0] == ' ' && TEXTS[f][0] != ' ';
        assert_int_equal(n - skip, strlen(TEXTS[f]));
        assert_memory_equal(joined + skip, TEXTS[f], n - skip);
        struct text none;
        assert_int_equal(tokenizer_token_bytes(t, 0, &none), STATUS_OK); /* special */
        assert_int_equal(none.length, 0);
        free(none.data);
        assert_int_equal(tokenizer_token_bytes(t, 1 << 20, &none), STATUS_OK); /* beyond */
        assert_int_equal(none.length, 0);
        free(none.data);
        token_list_free(&ids);
        tokenizer_close(t);
    }
}

static void spans_point_into_the_text(void **state)
{
    (void)state;
    static const char TEXT[] = "e\xCC\x81 world<|end|> <m> o";
    static const int64_t WANTED[][2] = {{0, 0}, {0, 3}, {3, 9}, {9, 16}, {16, 21}, {21, 22}};
    struct tokenizer *t = open_folder(data_path("byte_level"));
    struct token_list ids = {0};
    int64_t(*spans)[2] = NULL;
    assert_int_equal(tokenizer_encode_spans(t, TEXT, strlen(TEXT), TOKENIZE_SPECIALS, &ids, &spans),
                     STATUS_OK);
    assert_int_equal(ids.count, 6);
    assert_memory_equal(spans, WANTED, sizeof(WANTED));
    for (size_t i = 0; i < sizeof(BYTE_LEVEL) / sizeof(BYTE_LEVEL[0]); i++) {
        assert_true(tokenizer_spans_sane(t, BYTE_LEVEL[i].text, strlen(BYTE_LEVEL[i].text), "row"));
    }
    free(spans);
    token_list_free(&ids);
    tokenizer_close(t);
}

static void encode_appends(void **state)
{
    (void)state;
    struct tokenizer *t = open_folder(data_path("byte_level"));
    struct token_list ids = {0};
    assert_int_equal(token_list_push(&ids, 7), STATUS_OK);
    assert_int_equal(tokenizer_encode(t, "hello", 5, 0, &ids), STATUS_OK);
    assert_int_equal(ids.count, 2);
    assert_int_equal(ids.ids[0], 7);
    assert_int_equal(ids.ids[1], 38);
    token_list_free(&ids);
    tokenizer_close(t);
}

static void folder_names_specials(void **state)
{
    (void)state;
    struct tokenizer *t = open_folder(data_path("byte_level"));
    int64_t count;
    const int32_t *stops = tokenizer_stop_ids(t, &count);
    assert_int_equal(tokenizer_vocab_size(t), 51);
    assert_int_equal(tokenizer_bos(t), 2);
    assert_int_equal(tokenizer_eos(t), 0);
    assert_int_equal(tokenizer_pad(t), -1);
    assert_string_equal(tokenizer_special_text(t, "bos_token"), "<s>");
    assert_string_equal(tokenizer_special_text(t, "eos_token"), "<|end|>");
    assert_null(tokenizer_special_text(t, "pad_token"));
    assert_null(tokenizer_special_text(t, "nonsense"));
    assert_int_equal(count, 2); /* generation_config's list, then eos_token, which is in it */
    assert_int_equal(stops[0], 1);
    assert_int_equal(stops[1], 0);
    assert_string_equal(tokenizer_chat_template(t), "from jinja");
    assert_int_equal(tokenizer_find(t, "<|user|>"), 1);
    assert_int_equal(tokenizer_find(t, "<x>"), 48);
    assert_int_equal(tokenizer_find(t, "hell"), 37);
    assert_int_equal(tokenizer_find(t, "nothing"), -1);
    tokenizer_close(t);
}

static void missing_files_are_fine(void **state)
{
    (void)state;
    struct tokenizer *t = open_folder(data_path("sentencepiece"));
    int64_t count = -1;
    (void)tokenizer_stop_ids(t, &count);
    assert_int_equal(count, 0);
    assert_int_equal(tokenizer_bos(t), -1);
    assert_null(tokenizer_chat_template(t));
    tokenizer_close(t);
    assert_int_equal(tokenizer_open_folder(&t, data_path("none")), STATUS_INPUT);
    assert_null(t);
    assert_non_null(strstr(status_message(), "tokenizer.json"));
    tokenizer_close(NULL);
}

static void write_file(const char *folder, const char *name, const char *text)
{
    char path[4096];
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
}

static void copy_tokenizer(const char *folder)
{
    static char bytes[1 << 16];
    FILE *file = fopen(data_path("byte_level/tokenizer.json"), "rb");
    assert_non_null(file);
    const size_t n = fread(bytes, 1, sizeof(bytes) - 1, file);
    bytes[n] = '\0';
    (void)fclose(file);
    write_file(folder, "tokenizer.json", bytes);
}

/* What other shapes of the config files give. */
struct config_case {
    const char *config;
    const char *generation;
    const char *template; /* wanted; NULL: none */
    int64_t stops;        /* wanted count */
    const char *error;    /* wanted instead: part of the message */
};

static const struct config_case CONFIGS[] = {
    {"{\"chat_template\": \"plain\"}", "{\"eos_token_id\": 1}", "plain", 1, NULL},
    {"{\"chat_template\": [{\"name\": \"tool_use\", \"template\": \"t\"}, {\"name\": \"default\", "
     "\"template\": \"d\"}]}", "{}", "d", 0, NULL},
    {"{\"chat_template\": [{\"name\": \"rag\", \"template\": \"r\"}]}", "{}", "r", 0, NULL},
    {"{\"eos_token\": \"<|end|>\"}", "{\"eos_token_id\": [1, 5, 1]}", NULL, 3, NULL},
    {"{\"eos_token\": \"unheard-of\"}", "{\"eos_token_id\": [-1, 99999, \"x\", null]}", NULL, 0,
     NULL},
    {"{", "{}", NULL, 0, "tokenizer_config.json"},
    {"[]", "{}", NULL, 0, "tokenizer_config.json"},
    {"{}", "{\"a\": \"\\ud800\"}", NULL, 0, "generation_config.json"}};

static void configs_are_read(void **state)
{
    (void)state;
    char folder[] = "/tmp/graft-tokenizer-XXXXXX";
    char path[4096];
    static const char *const FILES[] = {"tokenizer.json", "tokenizer_config.json",
                                        "generation_config.json"};
    assert_non_null(mkdtemp(folder));
    copy_tokenizer(folder);
    for (size_t i = 0; i < sizeof(CONFIGS) / sizeof(CONFIGS[0]); i++) {
        const struct config_case *c = &CONFIGS[i];
        struct tokenizer *t = NULL;
        int64_t count;
        write_file(folder, FILES[1], c->config);
        write_file(folder, FILES[2], c->generation);
        if (c->error != NULL) {
            assert_int_equal(tokenizer_open_folder(&t, folder), STATUS_INPUT);
            assert_non_null(strstr(status_message(), c->error));
            continue;
        }
        t = open_folder(folder);
        (void)tokenizer_stop_ids(t, &count);
        assert_int_equal(count, c->stops);
        if (c->template == NULL) {
            assert_null(tokenizer_chat_template(t));
        } else {
            assert_string_equal(tokenizer_chat_template(t), c->template);
        }
        tokenizer_close(t);
    }
    for (size_t i = 0; i < 3; i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", folder, FILES[i]);
        (void)unlink(path);
    }
    (void)rmdir(folder);
}

static void decode_refuses_foreign_ids(void **state)
{
    (void)state;
    static const int32_t BAD[] = {-1, 51, INT32_MAX, INT32_MIN};
    struct tokenizer *t = open_folder(data_path("byte_level"));
    struct text text;
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
        assert_int_equal(tokenizer_decode(t, &BAD[i], 1, false, &text), STATUS_INPUT);
        assert_null(text.data);
    }
    assert_int_equal(tokenizer_decode(t, NULL, 0, false, &text), STATUS_OK);
    assert_string_equal(text.data, "");
    free(text.data);
    tokenizer_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(rows_match),
                                       cmocka_unit_test(flags_choose_specials),
                                       cmocka_unit_test(token_bytes_join_to_the_text),
        cmocka_unit_test(spans_point_into_the_text),
                                       cmocka_unit_test(encode_appends),
                                       cmocka_unit_test(folder_names_specials),
                                       cmocka_unit_test(missing_files_are_fine),
                                       cmocka_unit_test(configs_are_read),
                                       cmocka_unit_test(decode_refuses_foreign_ids)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
