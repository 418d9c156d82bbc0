/*
 * Rows of pairs and of single completions to ids: forms, order after unpairing, mismatched rows,
 * lengths, refusals. The tokenizer is tests/data/tokenizer/byte_level: <s> 2, <|user|> 1, <|end|> 0
 * (its eos), "hello" 38, " world" 43.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rl/unpaired.h"

static const char TEMPLATE[] = "{%- for m in messages -%}{{ '<|user|>' + m.content + '<|end|>' }}"
                               "{%- endfor -%}{%- if add_generation_prompt -%}{{ '<|user|>' }}"
                               "{%- endif -%}";

struct bench {
    struct tokenizer *tokenizer;
    struct chat_template *chat;
    struct prompt_format format;
    json_t *rows;
    struct unpaired_set set;
};

static json_t *row_of(void *ctx, int64_t i)
{
    return json_incref(json_array_get(ctx, (size_t)i));
}

static enum status read_rows(struct bench *b, const char *rows, int64_t max_length)
{
    char folder[512];
    const char *source = getenv("GRAFT_SOURCE");
    *b = (struct bench){.rows = json_loads(rows, 0, NULL), .set = {.max_length = max_length}};
    assert_non_null(b->rows);
    (void)snprintf(folder, sizeof folder, "%s/tests/data/tokenizer/byte_level",
                   source ? source : ".");
    assert_int_equal(tokenizer_open_folder(&b->tokenizer, folder), STATUS_OK);
    assert_int_equal(chat_template_open(&b->chat, TEMPLATE), STATUS_OK);
    b->format = (struct prompt_format){.tokenizer = b->tokenizer, .chat = b->chat};
    const struct unpaired_source s = {row_of, b->rows, (int64_t)json_array_size(b->rows), "rows",
                                      NULL};
    return unpaired_read(&b->format, &s, &b->set);
}

static void close_rows(struct bench *b)
{
    unpaired_set_close(&b->set);
    chat_template_close(b->chat);
    tokenizer_close(b->tokenizer);
    json_decref(b->rows);
}

/* "2 38 | 43 0 +": prompt, completion, label of one row. */
static void describe(const struct unpaired *u, char out[256])
{
    size_t used = 0;
    out[0] = '\0';
    for (int64_t t = 0; t < u->prompt_count + u->count; t++) {
        used += (size_t)snprintf(out + used, 256 - used, "%s%d ", t == u->prompt_count ? "| " : "",
                                 u->ids[t]);
    }
    (void)snprintf(out + used, 256 - used, "%c", u->desirable ? '+' : '-');
}

#define USER(text) "[{\"role\":\"user\",\"content\":\"" text "\"}]"

static const struct {
    const char *rows;
    int64_t max_length;
    const char *want; /* rows joined by ", " */
    int64_t dropped;
} CASES[] = {
    {"[{\"prompt\":\"hello\",\"completion\":\" world\",\"label\":true},"
     " {\"prompt\":\"hello\",\"completion\":\"\",\"label\":0}]", 0, "2 38 | 43 0 +, 2 38 | 0 -", 0},
    {"[{\"prompt\":" USER("hello") ",\"completion\":" USER(" world") ",\"label\":false}]", 0,
     "1 38 0 1 | 43 0 -", 0},
    /* taken apart: first what was chosen, then what was rejected */
    {"[{\"prompt\":\"hello\",\"chosen\":\" world\",\"rejected\":\"hello\"},"
     " {\"prompt\":\"\",\"chosen\":\" world\",\"rejected\":\"\"}]", 0,
     "2 38 | 43 0 +, 2 | 43 0 +, 2 38 | 38 0 -, 2 | 0 -", 0},
    /* without a prompt it is what both begin with */
    {"[{\"chosen\":\"hello world\",\"rejected\":\"hello\"}]", 0, "2 38 | 43 0 +, 2 38 | 0 -", 0},
    {"[{\"chosen\":[{\"role\":\"user\",\"content\":\"hello\"},{\"role\":\"a\",\"content\":\" world\"}],"
     "  \"rejected\":[{\"role\":\"user\",\"content\":\"hello\"},{\"role\":\"a\",\"content\":\"\"}]}]", 0,
     "1 38 0 1 | 43 0 +, 1 38 0 1 | 0 -", 0},
    /* a prompt that fills max_length goes; the whole completion stays in the set */
    {"[{\"prompt\":\"hello\",\"completion\":\" world\",\"label\":true},"
     " {\"prompt\":\"\",\"completion\":\"hello world\",\"label\":true}]", 2, "2 | 38 43 0 +", 1},
    {"[]", 0, "", 0},
};

static void rows_become_ids(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct bench b;
        char got[2048] = "";
        size_t used = 0;
        assert_int_equal(read_rows(&b, CASES[i].rows, CASES[i].max_length), STATUS_OK);
        for (int64_t k = 0; k < b.set.count; k++) {
            char row[256];
            describe(&b.set.items[k], row);
            used += (size_t)snprintf(got + used, sizeof got - used, "%s%s", k ? ", " : "", row);
        }
        if (strcmp(got, CASES[i].want) != 0 || b.set.dropped != CASES[i].dropped) {
            fail_msg("case %zu: %s (%d dropped), expected %s", i, got, (int)b.set.dropped,
                     CASES[i].want);
        }
        close_rows(&b);
    }
}

static void unpairing_goes_by_thousands(void **state)
{
    (void)state;
    enum { ROWS = 1002 };
    char *text = calloc(1, 128 * ROWS);
    size_t used = 0;
    assert_non_null(text);
    for (int i = 0; i < ROWS; i++) {
        used += (size_t)snprintf(text + used, 128, "%s{\"prompt\":\"hello\",\"chosen\":\" world\","
                                 "\"rejected\":\"\"}", i ? "," : "[");
    }
    (void)snprintf(text + used, 8, "]");
    struct bench b;
    assert_int_equal(read_rows(&b, text, 0), STATUS_OK);
    assert_int_equal(b.set.count, 2 * ROWS);
    for (int64_t i = 0; i < b.set.count; i++) {
        const bool chosen = i < 1000 || (i >= 2000 && i < 2002);
        assert_int_equal(b.set.items[i].desirable, chosen);
    }
    close_rows(&b);
    free(text);
}

static void neighbours_are_mismatched(void **state)
{
    (void)state;
    static const int64_t WANT[7] = {2, 0, 1, 5, 3, 4, 6}; /* windows of 3; the last is alone */
    const struct unpaired_set set = {.count = 7};
    for (int64_t i = 0; i < 7; i++) {
        assert_int_equal(unpaired_mismatch(&set, i, 3), WANT[i]);
    }
    struct bench b;
    assert_int_equal(read_rows(&b,
                               "[{\"prompt\":\"hello\",\"completion\":\" world\",\"label\":true},"
                               " {\"prompt\":\"\",\"completion\":\"hello world\",\"label\":true}]",
                               4),
                     STATUS_OK);
    const struct tree_row own = unpaired_tree(&b.set, 1, 1);
    const struct tree_row cut = unpaired_tree(&b.set, 0, 1);
    assert_int_equal(tree_row_outputs(&own, 0), 3);
    assert_int_equal(cut.prompt_count, 2);
    assert_int_equal(cut.branches[0].count, 2); /* 38 43, without the end: max_length */
    assert_int_equal(cut.branches[0].ids[1], 43);
    assert_int_equal(tree_row_tokens(&cut), 4);
    const struct tree_row bare = {.branches = {{.count = 4}}, .branch_count = 1};
    assert_int_equal(tree_row_outputs(&bare, 0), 3);
    close_rows(&b);
}

static void bad_rows_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *rows, *says;
    } BAD[] = {
        {"[{\"prompt\":\"a\",\"completion\":\"b\"}]", "row 1: kto needs columns"},
        {"[{\"prompt\":\"a\",\"completion\":\"b\",\"label\":true},{\"completion\":\"b\","
         "\"label\":true}]", "row 2: kto needs columns"},
        {"[{\"prompt\":\"a\",\"completion\":\"b\",\"label\":2}]", "label is true"},
        {"[{\"prompt\":\"a\",\"completion\":\"b\",\"label\":\"yes\"}]", "label is true"},
        {"[{\"prompt\":\"a\",\"completion\":[],\"label\":true}]", "both"},
        {"[{\"prompt\":\"a\",\"chosen\":\"b\",\"rejected\":[]}]", "both text or both messages"},
        {"[{\"chosen\":\"b\",\"rejected\":\"c\"},{\"chosen\":\"b\"}]", "row 2"},
        {"[{\"chosen\":1,\"rejected\":2}]", "both text or both messages"},
    };
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        struct bench b;
        assert_int_equal(read_rows(&b, BAD[i].rows, 0), STATUS_INPUT);
        if (!strstr(status_message(), BAD[i].says)) {
            fail_msg("case %zu: %s", i, status_message());
        }
        status_clear();
        close_rows(&b);
    }
}

static void place_of(void *ctx, int64_t i, char *out, size_t size)
{
    (void)ctx;
    (void)snprintf(out, size, "part.jsonl: row %lld", (long long)i + 7);
}

/* Rows of a mixture are named by their own file. */
static void places_come_from_the_source(void **state)
{
    (void)state;
    struct bench b;
    assert_int_equal(read_rows(&b, "[]", 0), STATUS_OK);
    json_t *rows = json_loads("[{\"prompt\":\"a\",\"completion\":\"b\"}]", 0, NULL);
    const struct unpaired_source s = {row_of, rows, 1, "mixture", place_of};
    assert_int_equal(unpaired_read(&b.format, &s, &b.set), STATUS_INPUT);
    assert_non_null(strstr(status_message(), "part.jsonl: row 7: kto needs columns"));
    assert_null(strstr(status_message(), "mixture"));
    status_clear();
    json_decref(rows);
    close_rows(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_become_ids),
        cmocka_unit_test(unpairing_goes_by_thousands),
        cmocka_unit_test(neighbours_are_mismatched),
        cmocka_unit_test(bad_rows_are_named),
        cmocka_unit_test(places_come_from_the_source),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
