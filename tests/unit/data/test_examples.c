/*
 * Rows to examples: ids, loss masks, truncation, dropped rows and refusals. The tokenizer is
 * tests/data/tokenizer/byte_level: <s> 2, <|user|> 1, <|end|> 0 (its eos), "hello" 38, " world" 43.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "trainer/data/examples.h"

enum { PLAIN, ASSISTANT_ONLY = 1, NOT_COMPLETION_ONLY = 2, NO_CHAT = 4, KEEP_END = 8, KEEP_ALL = 16,
       COMPLETION_NEEDED = 32 };

static const char TEMPLATE[] =
    "{%- for m in messages -%}{%- if m.role == 'assistant' -%}{{ '<|user|>' }}{% generation %}"
    "{{- m.content + '<|end|>' }}{% endgeneration %}{%- else -%}"
    "{{ '<|user|>' + m.content + '<|end|>' }}{%- endif -%}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|user|>' }}{%- endif -%}";

#define CHAT_USER "{\"role\":\"user\",\"content\":\"hello\"}"
#define CHAT_SAID "{\"role\":\"assistant\",\"content\":\" world\"}"

static const struct {
    const char *row;
    int flags;
    int64_t max_length;
    const char *ids;  /* "2 38 0"; NULL: dropped */
    const char *loss; /* one digit per id */
} ROWS[] = {
    {"{\"text\":\"hello world\"}", PLAIN, 0, "2 38 43 0", "1111"},
    {"{\"text\":\"hello<|end|>\"}", PLAIN, 0, "2 38 0", "111"},
    {"{\"text\":\"\"}", PLAIN, 0, "2 0", "11"},
    {"{\"text\":\"hello world\"}", PLAIN, 3, "2 38 43", "111"},
    {"{\"text\":\"hello world\"}", PLAIN, 99, "2 38 43 0", "1111"},
    {"{\"text\":\"hello world\"}", PLAIN, 1, "2", "1"}, /* no target, but TRL keeps it */
    {"{\"text\":\"hello world\"}", KEEP_END, 3, "38 43 0", "111"},
    {"{\"prompt\":\"hello\",\"completion\":\" world\"}", KEEP_END, 3, "38 43 0", "011"},
    {"{\"prompt\":\"hello\",\"completion\":\" world\"}", PLAIN, 0, "2 38 43 0", "0011"},
    {"{\"prompt\":\"hello\",\"completion\":\" world<|end|>\"}", PLAIN, 0, "2 38 43 0", "0011"},
    {"{\"prompt\":\"hello\",\"completion\":\" world\"}", NOT_COMPLETION_ONLY, 0, "2 38 43 0",
     "1111"},
    /* labels first, truncation after: the end goes, a row without labels too */
    {"{\"prompt\":\"hello\",\"completion\":\" world\"}", PLAIN, 3, "2 38 43", "001"},
    {"{\"prompt\":\"hello\",\"completion\":\" world\"}", PLAIN, 2, NULL, NULL},
    /* "he" + "llo" is one token: it belongs to the completion */
    {"{\"prompt\":\"he\",\"completion\":\"llo\"}", PLAIN, 0, "2 38 0", "011"},
    {"{\"prompt\":\"hello\",\"completion\":\"\"}", PLAIN, 0, "2 38 0", "001"},
    {"{\"messages\":[" CHAT_USER "," CHAT_SAID "]}", PLAIN, 0, "1 38 0 1 43 0", "111111"},
    {"{\"messages\":[" CHAT_USER "," CHAT_SAID "]}", ASSISTANT_ONLY, 0, "1 38 0 1 43 0", "000011"},
    {"{\"messages\":[" CHAT_SAID "," CHAT_USER "," CHAT_SAID "]}", ASSISTANT_ONLY, 8,
     "1 43 0 1 38 0 1 43", "01100001"},
    {"{\"messages\":[" CHAT_USER "," CHAT_SAID "]}", ASSISTANT_ONLY, 4, NULL, NULL},
    {"{\"prompt\":[" CHAT_USER "],\"completion\":[" CHAT_SAID "]}", PLAIN, 0, "1 38 0 1 43 0",
     "000011"},
    {"{\"prompt\":[" CHAT_USER "],\"completion\":[" CHAT_SAID "]}", NOT_COMPLETION_ONLY, 0,
     "1 38 0 1 43 0", "111111"},
    {"{\"prompt\":[" CHAT_USER "," CHAT_SAID "," CHAT_USER "],\"completion\":[" CHAT_SAID "]}",
     ASSISTANT_ONLY | NOT_COMPLETION_ONLY, 0, "1 38 0 1 43 0 1 38 0 1 43 0", "000011000011"},
    {"{\"prompt\":[" CHAT_USER "," CHAT_SAID "," CHAT_USER "],\"completion\":[" CHAT_SAID "]}",
     ASSISTANT_ONLY, 0, "1 38 0 1 43 0 1 38 0 1 43 0", "000000000011"},
    {"{\"prompt\":\"hello<|end|>\",\"completion\":\"\"}", PLAIN, 0, "2 38 0 0", "0001"},
    {"{\"input_ids\":[5,6,7],\"labels\":[-100,-100,7]}", PLAIN, 0, "5 6 7", "001"},
    {"{\"input_ids\":[5,6,7],\"labels\":null}", PLAIN, 0, "5 6 7", "111"},
    {"{\"input_ids\":[5,6,7]}", PLAIN, 2, "5 6", "11"},
    {"{\"input_ids\":[5,6,7],\"labels\":[5,-100,-100]}", PLAIN, 0, "5 6 7", "100"},
    {"{\"input_ids\":[5,6],\"labels\":[-100,-100]}", PLAIN, 0, NULL, NULL},
    {"{\"input_ids\":[5,6],\"labels\":[-100,-100]}", KEEP_ALL, 0, "5 6", "00"},
    {"{\"input_ids\":[5]}", PLAIN, 0, "5", "1"},
    /* columns of a dataset that is tokenized already, as TRL folds them into labels */
    {"{\"input_ids\":[5,6,7],\"assistant_masks\":[0,1,1]}", PLAIN, 0, "5 6 7", "011"},
    {"{\"input_ids\":[5,6,7],\"completion_mask\":[0,0,1]}", PLAIN, 0, "5 6 7", "111"},
    {"{\"input_ids\":[5,6,7],\"completion_mask\":[0,0,true]}", COMPLETION_NEEDED, 0, "5 6 7",
     "001"},
    {"{\"input_ids\":[5,6,7],\"completion_mask\":[0,1,1],\"assistant_masks\":[1,1,0]}",
     COMPLETION_NEEDED, 0, "5 6 7", "010"},
    {"{\"input_ids\":[5,6,7],\"labels\":[5,6,-100],\"completion_mask\":[0,1,1]}", COMPLETION_NEEDED,
     0, "5 6 7", "110"},
    {"{\"prompt\":\"hello\",\"completion\":\" world\"}", COMPLETION_NEEDED, 0, "2 38 43 0", "0011"},
    {"{\"input_ids\":[]}", PLAIN, 0, NULL, NULL},
};

static const struct {
    const char *row;
    int flags;
    const char *words[4]; /* all in the message */
} WRONG[] = {
    {"{\"question\":\"?\",\"gold\":1}", PLAIN, {"'text'", "question", "gold", "messages"}},
    {"{}", PLAIN, {"'text'", "no"}},
    {"{\"text\":3}", PLAIN, {"text"}},
    {"{\"prompt\":\"hello\"}", PLAIN, {"completion", "prompt"}},
    {"{\"prompt\":\"hello\",\"completion\":[" CHAT_SAID "]}", PLAIN, {"both", "text", "messages"}},
    {"{\"prompt\":1,\"completion\":2}", PLAIN, {"both"}},
    {"{\"messages\":[" CHAT_USER "]}", ASSISTANT_ONLY, {"assistant_only_loss", "generation"}},
    {"{\"messages\":[" CHAT_USER "," CHAT_SAID "]}", NO_CHAT, {"template"}},
    {"{\"text\":\"hello\"}", ASSISTANT_ONLY, {"assistant_only_loss", "messages"}},
    {"{\"prompt\":\"hello\",\"completion\":\"x\"}", ASSISTANT_ONLY, {"assistant_only_loss"}},
    {"{\"messages\":[3]}", PLAIN, {"message"}},
    {"{\"messages\":\"hello\"}", PLAIN, {"messages"}},
    {"{\"input_ids\":[1,-1]}", PLAIN, {"input_ids[1]"}},
    {"{\"input_ids\":[2.5]}", PLAIN, {"input_ids[0]"}},
    {"{\"input_ids\":[4294967296]}", PLAIN, {"input_ids[0]"}},
    {"{\"input_ids\":[1,2],\"labels\":[1]}", PLAIN, {"1 labels", "2 input_ids"}},
    {"{\"input_ids\":[1,2],\"labels\":7}", PLAIN, {"labels"}},
    {"{\"input_ids\":[1,2],\"labels\":[1,\"x\"]}", PLAIN, {"labels[1]"}},
    {"{\"input_ids\":[1,2],\"labels\":[1,5]}", PLAIN, {"labels[1]", "input_ids[1]"}},
    {"{\"input_ids\":[1,2],\"assistant_masks\":[1]}", PLAIN, {"assistant_masks", "2 input_ids"}},
    {"{\"input_ids\":[1,2],\"assistant_masks\":[1,\"x\"]}", PLAIN, {"assistant_masks[1]"}},
    {"{\"text\":\"hello\"}", COMPLETION_NEEDED, {"completion_only_loss", "'completion'", "text"}},
    {"{\"messages\":[" CHAT_USER "," CHAT_SAID "]}", COMPLETION_NEEDED,
     {"completion_only_loss", "'completion'", "messages"}},
    {"{\"input_ids\":[1,2]}", COMPLETION_NEEDED, {"completion_only_loss", "completion_mask"}},
};

static struct tokenizer *tokenizer;
static struct chat_template *chat;

static int open_text(void **state)
{
    (void)state;
    char path[1024];
    const char *source = getenv("GRAFT_SOURCE");
    (void)snprintf(path, sizeof path, "%s/tests/data/tokenizer/byte_level", source ? source : ".");
    return tokenizer_open_folder(&tokenizer, path) != STATUS_OK
           || chat_template_open(&chat, TEMPLATE) != STATUS_OK;
}

static int close_text(void **state)
{
    (void)state;
    tokenizer_close(tokenizer);
    chat_template_close(chat);
    return 0;
}

static enum status add(const char *text, int flags, int64_t max_length, struct example_set *set)
{
    const struct example_config c = {
        .format = {.tokenizer = tokenizer, .chat = flags & NO_CHAT ? NULL : chat},
        .max_length = max_length,
        .keep_end = (flags & KEEP_END) != 0,
        .keep_all = (flags & KEEP_ALL) != 0,
        .completion_only_loss = !(flags & NOT_COMPLETION_ONLY),
        .completion_needed = (flags & COMPLETION_NEEDED) != 0,
        .assistant_only_loss = (flags & ASSISTANT_ONLY) != 0,
    };
    json_t *row = json_loads(text, 0, NULL);
    assert_non_null(row);
    const enum status status = example_add(&c, row, "made: row 3", set);
    json_decref(row);
    return status;
}

static void check_example(size_t k, const struct example *e)
{
    char ids[256] = "";
    char loss[64] = "";
    int64_t labels = 0;
    assert_true(e->count < 32);
    for (int64_t i = 0; i < e->count; i++) {
        const size_t used = strlen(ids);
        (void)snprintf(ids + used, sizeof ids - used, "%s%d", i ? " " : "", e->ids[i]);
        loss[i] = e->loss[i] ? '1' : '0';
        labels += i > 0 && e->loss[i];
    }
    if (strcmp(ids, ROWS[k].ids) != 0 || strcmp(loss, ROWS[k].loss) != 0) {
        fail_msg("row %zu: ids %s loss %s, not %s and %s", k, ids, loss, ROWS[k].ids,
                 ROWS[k].loss);
    }
    assert_int_equal(e->labels, labels);
}

static void rows_become_examples(void **state)
{
    (void)state;
    struct example_set set = {0};
    int64_t count = 0;
    int64_t dropped = 0;
    for (size_t k = 0; k < sizeof ROWS / sizeof ROWS[0]; k++) {
        if (add(ROWS[k].row, ROWS[k].flags, ROWS[k].max_length, &set) != STATUS_OK) {
            fail_msg("row %zu: %s", k, status_message());
        }
        count += ROWS[k].ids != NULL;
        dropped += ROWS[k].ids == NULL;
        assert_int_equal(set.count, count);
        assert_int_equal(set.dropped, dropped);
        if (ROWS[k].ids) {
            check_example(k, &set.items[set.count - 1]);
        }
    }
    example_set_close(&set);
    assert_int_equal(set.count, 0);
}

static void wrong_rows_are_refused(void **state)
{
    (void)state;
    struct example_set set = {0};
    for (size_t k = 0; k < sizeof WRONG / sizeof WRONG[0]; k++) {
        const enum status status = add(WRONG[k].row, WRONG[k].flags, 0, &set);
        if (status == STATUS_OK) {
            fail_msg("%s was taken", WRONG[k].row);
        }
        assert_int_equal(set.count + set.dropped, 0);
        if (strncmp(status_message(), "made: row 3: ", 13) != 0) {
            fail_msg("%s: the message does not name the row: %s", WRONG[k].row, status_message());
        }
        for (size_t w = 0; w < 4 && WRONG[k].words[w]; w++) {
            if (!strstr(status_message(), WRONG[k].words[w])) {
                fail_msg("'%s' is not in: %s", WRONG[k].words[w], status_message());
            }
        }
    }
    example_set_close(&set);
}

static void text_column_may_be_named(void **state)
{
    (void)state;
    struct example_set set = {0};
    const struct example_config c = {.format = {.tokenizer = tokenizer}, .text_column = "body"};
    json_t *row = json_pack("{s:s, s:s}", "body", "hello", "text", "x");
    assert_int_equal(example_add(&c, row, "made", &set), STATUS_OK);
    assert_int_equal(set.items[0].count, 3);
    assert_int_equal(set.items[0].ids[1], 38);
    (void)json_object_del(row, "body");
    assert_int_equal(example_add(&c, row, "made", &set), STATUS_INPUT);
    assert_non_null(strstr(status_message(), "'body'"));
    json_decref(row);
    example_set_close(&set);
}

/* The set grows past its first block and keeps what it has. */
static void sets_grow(void **state)
{
    (void)state;
    struct example_set set = {0};
    char text[64];
    for (int i = 0; i < 300; i++) {
        (void)snprintf(text, sizeof text, "{\"input_ids\":[%d,%d]}", i, i + 1);
        assert_int_equal(add(text, PLAIN, 0, &set), STATUS_OK);
    }
    assert_int_equal(set.count, 300);
    for (int i = 0; i < 300; i++) {
        assert_int_equal(set.items[i].ids[0], i);
    }
    example_set_close(&set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_become_examples),
        cmocka_unit_test(wrong_rows_are_refused),
        cmocka_unit_test(text_column_may_be_named),
        cmocka_unit_test(sets_grow),
    };
    return cmocka_run_group_tests(tests, open_text, close_text);
}
