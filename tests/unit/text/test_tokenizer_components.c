/*
 * Each normalizer, splitter and decoder by itself, and the pattern dialect. The rows of
 * components.jsonl hold a component's JSON, a text and what the tokenizers library 0.23.3 makes of
 * it: "normalized", "pieces", or "joined" from "tokens".
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "trainer/text/tokenizer_internal.h"

static FILE *open_rows(void)
{
    char path[4096];
    const char *source = getenv("GRAFT_SOURCE");
    (void)snprintf(path, sizeof(path), "%s/tests/data/tokenizer/components.jsonl",
                   source == NULL ? "." : source);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    return file;
}

static bool same(const char *bytes, size_t n, const json_t *wanted)
{
    return json_string_length(wanted) == n && memcmp(bytes, json_string_value(wanted), n) == 0;
}

static void put_text(struct tok_text *t, const json_t *string)
{
    t->length = 0;
    assert_int_equal(
        tok_text_append_lossy(t, json_string_value(string), json_string_length(string)),
        STATUS_OK);
}

static bool check_normalizer(const json_t *row)
{
    struct tok_work w = {.clean = {.aligned = true},
                         .normal = {{.aligned = true}, {.aligned = true}}};
    struct tok_steps steps = {0};
    const struct tok_text *out = NULL;
    put_text(&w.clean, json_object_get(row, "text"));
    const struct tok_range all = {.end = (int32_t)w.clean.length, .id = -1};
    assert_int_equal(tok_json_normalizer(&steps, json_object_get(row, "normalizer"), 0), STATUS_OK);
    assert_int_equal(tok_normalize(&steps, &w, &w.clean, all, &out), STATUS_OK);
    bool good = same(out->data, out->length, json_object_get(row, "normalized"));
    for (size_t i = 0; i < out->length; i++) { /* origins: in the text and in order */
        good = good && out->origin[i][0] <= out->origin[i][1] && out->origin[i][1] <= all.end &&
               (i == 0 || out->origin[i - 1][0] <= out->origin[i][0]);
    }
    tok_steps_free(&steps);
    tok_work_free(&w);
    return good;
}

static bool check_splitter(const json_t *row)
{
    struct tok_work w = {0};
    struct tok_steps steps = {0};
    const struct tok_text *text = NULL;
    const struct tok_ranges *pieces = NULL;
    const json_t *normalized = json_object_get(row, "normalized");
    const json_t *wanted = json_object_get(row, "pieces");
    put_text(&w.clean, normalized != NULL ? normalized : json_object_get(row, "text"));
    const struct tok_range all = {.end = (int32_t)w.clean.length, .id = -1, .first = true};
    const enum status opened =
        tok_json_splitter(&steps, json_object_get(row, "pre_tokenizer"), 0);
    if (opened != STATUS_OK) {
        (void)fprintf(stderr, "%s\n", status_message());
    }
    assert_int_equal(opened, STATUS_OK);
    assert_int_equal(tok_split(&steps, &w, &w.clean, all, &text, &pieces), STATUS_OK);
    bool good = (size_t)pieces->count == json_array_size(wanted);
    for (int64_t i = 0; i < pieces->count; i++) {
        const struct tok_range r = pieces->items[i];
        const char *bytes = text->data + r.begin;
        const size_t n = (size_t)(r.end - r.begin);
        if (!good || !same(bytes, n, json_array_get(wanted, (size_t)i))) {
            (void)fprintf(stderr, "  piece %d: '%.*s'\n", (int)i, (int)n, bytes);
            good = false;
        }
    }
    tok_steps_free(&steps);
    tok_work_free(&w);
    return good;
}

static bool check_decoder(const json_t *row)
{
    struct tokenizer *t = NULL;
    struct token_list ids = {0};
    struct text text;
    size_t i;
    const json_t *token;
    assert_int_equal(tok_open_empty(&t), STATUS_OK);
    json_array_foreach(json_object_get(row, "tokens"), i, token) {
        assert_int_equal(tok_vocab_add(&t->vocab, json_string_value(token),
                                       json_string_length(token), (int64_t)i), STATUS_OK);
        assert_int_equal(token_list_push(&ids, (int32_t)i), STATUS_OK);
    }
    assert_int_equal(tok_json_decoder(&t->decoder, json_object_get(row, "decoder"), 0), STATUS_OK);
    t->has_decoder = true;
    assert_int_equal(tokenizer_decode(t, ids.ids, ids.count, false, &text), STATUS_OK);
    const bool good = same(text.data, text.length, json_object_get(row, "joined"));
    if (!good) {
        (void)fprintf(stderr, "  got '%s'\n", text.data);
    }
    free(text.data);
    token_list_free(&ids);
    tokenizer_close(t);
    return good;
}

struct kind {
    const char *key; /* of the wanted result */
    bool (*check)(const json_t *row);
    int least; /* rows of this kind in the file, at least */
};

static void rows_match(void **state)
{
    const struct kind *kind = *state;
    FILE *file = open_rows();
    char *line = NULL;
    size_t size = 0;
    int failed = 0;
    int total = 0;
    while (getline(&line, &size, file) > 0) {
        json_t *row = json_loads(line, JSON_ALLOW_NUL, NULL);
        assert_non_null(row);
        if (json_object_get(row, kind->key) != NULL) {
            total++;
            if (!kind->check(row)) {
                failed++;
                (void)fprintf(stderr, "failed: %s", line);
            }
        }
        json_decref(row);
    }
    free(line);
    (void)fclose(file);
    print_message("%s: %d of %d rows\n", kind->key, total - failed, total);
    assert_int_equal(failed, 0);
    assert_true(total >= kind->least);
}

/* Pattern -> its PCRE2 form; NULL: refused. */
static void dialect_is_translated(void **state)
{
    (void)state;
    static const struct {
        const char *from;
        const char *to;
    } ROWS[] = {{"a{,3}", "a{0,3}"},       {"(ab){2}+", "(?:(ab){2})+"}, {"x{", "x\\{"},
                {"x{,}", "x\\{,}"},        {"(?m:.)", "(?s:.)"},         {"(?i-m)a", "(?i-s)a"},
                {"[a[bc]d]", "[abcd]"},    {"[]a]", "[\\]a]"},           {"[^]a]", "[^\\]a]"},
                {"\\u00e9", "\\x{00e9}"},  {"\\h", "[0-9A-Fa-f]"},       {"[\\h]", "[0-9A-Fa-f]"},
                {"\\v", "\\x0b"},          {"\\.\\-", "\\.\\-"},         {"(?=a)(?!b)", "(?=a)(?!b)"},
                {"a(?i)b", NULL},          {"[a&&b]", NULL},             {"[\\W]", NULL},
                {"[[:punct:]]", NULL},     {"\\", NULL},                 {"(?<n>a)\\k<n>",
                                                                          "(?<n>a)\\k<n>"},
                {"\\y", NULL},             {"(", NULL},                  {"[[[", NULL}};
    for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
        struct tok_text out = {0};
        const enum status status = tok_regex_translate(&out, ROWS[i].from, strlen(ROWS[i].from));
        if (ROWS[i].to == NULL) {
            assert_int_equal(status, STATUS_INPUT);
        } else if (status != STATUS_OK || out.length != strlen(ROWS[i].to) ||
                   memcmp(out.data, ROWS[i].to, out.length) != 0) {
            fail_msg("'%s': '%.*s' %s", ROWS[i].from, (int)out.length, out.data,
                     status == STATUS_OK ? "" : status_message());
        }
        tok_text_free(&out);
    }
}

static void byte_map_is_a_bijection(void **state)
{
    (void)state;
    for (int b = 0; b < 256; b++) {
        assert_int_equal(tok_char_byte(tok_byte_char((uint8_t)b)), b);
    }
    assert_int_equal(tok_byte_char(' '), 0x120);
    assert_int_equal(tok_byte_char('\n'), 0x10A);
    assert_int_equal(tok_byte_char(0xFF), 0xFF);
    assert_int_equal(tok_char_byte(' '), -1);
    assert_int_equal(tok_char_byte(0x144), -1);
}

int main(void)
{
    static struct kind KINDS[] = {{"normalized", check_normalizer, 30},
                                  {"pieces", check_splitter, 50},
                                  {"joined", check_decoder, 10}};
    const struct CMUnitTest tests[] = {
        {.name = "normalizers", .test_func = rows_match, .initial_state = &KINDS[0]},
        {.name = "splitters", .test_func = rows_match, .initial_state = &KINDS[1]},
        {.name = "decoders", .test_func = rows_match, .initial_state = &KINDS[2]},
        cmocka_unit_test(dialect_is_translated),
        cmocka_unit_test(byte_map_is_a_bijection)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
