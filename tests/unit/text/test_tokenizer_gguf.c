/*
 * Tokenizers from GGUF keys, on files made here: the three merge orders, the rules of .pre, BOS
 * defaults, stop ids, and what must be refused. The real models are in test_tokenizer_golden.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/tokenizer_cases.h"
#include "tests/support/tokenizer_gguf.h"

#define BLANK "\xE2\x96\x81"

/* Ids:                          0        1      2       3         4      5    6    7     8 */
static const char *const SP_TOKENS[] = {"<unk>", "<s>",  "</s>", "<0xC3>",   "<0xA9>", BLANK, "a",
                                        "b",     "ab",
                                        /* 9         10    11    12       13 */
                                        BLANK "a", "ba", "aa", "<turn>", "  ", NULL};
static const int32_t SP_TYPES[] = {2, 3, 3, 6, 6, 1, 1, 1, 1, 1, 1, 1, 4, 4};
enum { SP_COUNT = sizeof(SP_TYPES) / sizeof(SP_TYPES[0]) };

static enum status open_bytes(struct gguf_bytes *b, struct tokenizer **t)
{
    struct gguf *g = NULL;
    size_t size;
    const void *bytes = gguf_bytes_finish(b, &size);
    if (gguf_open_memory(&g, "made.gguf", bytes, size) != STATUS_OK) {
        fail_msg("%s", status_message());
    }
    const enum status status = tokenizer_open_gguf(t, g);
    gguf_close(g);
    free(b->bytes); /* the tokenizer has copies of everything */
    *b = (struct gguf_bytes){0};
    return status;
}

static struct tokenizer *must_open(struct gguf_bytes *b)
{
    struct tokenizer *t = NULL;
    if (open_bytes(b, &t) != STATUS_OK) {
        fail_msg("%s", status_message());
    }
    return t;
}

/* Keys of a SentencePiece model; scores may be NULL. */
static void put_sentencepiece(struct gguf_bytes *b, const char *architecture, const float *scores)
{
    gguf_bytes_string(b, "general.architecture", architecture);
    gguf_bytes_string(b, "tokenizer.ggml.model", "llama");
    gguf_bytes_strings(b, "tokenizer.ggml.tokens", SP_TOKENS, -1);
    gguf_bytes_i32s(b, "tokenizer.ggml.token_type", SP_TYPES, SP_COUNT);
    gguf_bytes_u32(b, "tokenizer.ggml.bos_token_id", 1);
    gguf_bytes_u32(b, "tokenizer.ggml.eos_token_id", 2);
    gguf_bytes_u32(b, "tokenizer.ggml.unknown_token_id", 0);
    if (scores != NULL) {
        gguf_bytes_f32s(b, "tokenizer.ggml.scores", scores, SP_COUNT);
    }
}

static void scores_choose_merges(void **state)
{
    (void)state;
    /* _a best, then ba, ab; aa last */
    static const float SCORES[] = {0, 0, 0, 0, 0, -9, -9, -9, -3, -1, -2, -4, 0, -5};
    struct gguf_bytes b = {0};
    put_sentencepiece(&b, "llama", SCORES);
    struct tokenizer *t = must_open(&b);
    /* _abab: _a, then ba before ab: _a ba b */
    assert_true(tokenizer_gives(t, "abab", TOKENIZE_SPECIALS, (int32_t[]){1, 9, 10, 7}, 4));
    /* _baaa: ba, then the leftmost aa */
    assert_true(tokenizer_gives(t, "baaaa", 0, (int32_t[]){5, 10, 11, 6}, 4));
    /* bytes of e acute have tokens, the euro sign's have not */
    assert_true(tokenizer_gives(t, "\xC3\xA9", 0, (int32_t[]){5, 3, 4}, 3));
    assert_true(tokenizer_gives(t, "a<turn>a</s>", 0, (int32_t[]){9, 12, 9, 2}, 4));
    struct text text;
    const int32_t ids[] = {1, 9, 10, 7, 3, 4};
    assert_int_equal(tokenizer_decode(t, ids, 6, true, &text), STATUS_OK);
    assert_string_equal(text.data, "abab\xC3\xA9");
    free(text.data);
    tokenizer_close(t);
}

static void gemma_merges_by_id(void **state)
{
    (void)state;
    struct gguf_bytes b = {0};
    put_sentencepiece(&b, "gemma3", NULL);
    struct tokenizer *t = must_open(&b);
    /* no prefix; ab (8) before ba (10), _a (9) before aa */
    assert_true(tokenizer_gives(t, "abab", 0, (int32_t[]){8, 8}, 2));
    assert_true(tokenizer_gives(t, " ab", 0, (int32_t[]){5, 8}, 2));
    /* the token of two real spaces is the one of two U+2581 */
    assert_true(tokenizer_gives(t, "b  b", 0, (int32_t[]){7, 13, 7}, 3));
    struct text text;
    assert_int_equal(tokenizer_decode(t, (int32_t[]){13, 9}, 2, false, &text), STATUS_OK);
    assert_string_equal(text.data, "   a");
    free(text.data);
    tokenizer_close(t);
}

static const char *const BPE_TOKENS[] = {"a", "b", "1", "2", "12", "ab", "\xC4\xA0", "<e>", "<t>",
                                         "<b>", "\xC3\x83\xC2\xA9", "\xC3\x83", "\xC2\xA9", NULL};
static const int32_t BPE_TYPES[] = {1, 1, 1, 1, 1, 1, 1, 3, 3, 3, 1, 1, 1};
static const char *const BPE_MERGES[] = {"a b", "1 2", "\xC3\x83 \xC2\xA9", NULL};

static void put_byte_level(struct gguf_bytes *b, const char *pre)
{
    gguf_bytes_string(b, "tokenizer.ggml.model", "gpt2");
    gguf_bytes_strings(b, "tokenizer.ggml.tokens", BPE_TOKENS, -1);
    gguf_bytes_i32s(b, "tokenizer.ggml.token_type", BPE_TYPES, 13);
    gguf_bytes_strings(b, "tokenizer.ggml.merges", BPE_MERGES, -1);
    gguf_bytes_u32(b, "tokenizer.ggml.bos_token_id", 9);
    gguf_bytes_u32(b, "tokenizer.ggml.eos_token_id", 7);
    if (pre != NULL) {
        gguf_bytes_string(b, "tokenizer.ggml.pre", pre);
    }
}

/* What "e+acute 12" gives: whether the normal form composes, digits stay together, BOS leads. */
struct pre_case {
    const char *pre;
    bool bos;
    bool composes;
    bool joins_digits;
};

static const struct pre_case PRES[] = {
    {"llama-bpe", true, false, true}, {"dbrx", false, false, true},
    {"qwen2", false, true, false},    {"deepseek-r1-qwen", false, false, false},
    {"qwen35", false, true, false},   {"gpt-2", false, false, true},
    {"smollm", false, false, false},  {"tekken", true, false, false},
    {"gpt-4o", false, false, true},   {"deepseek-v3", false, false, true},
    {NULL, false, false, true}};

static void pre_names_the_splitter(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(PRES) / sizeof(PRES[0]); i++) {
        struct gguf_bytes b = {0};
        int32_t wanted[8];
        int64_t n = 0;
        put_byte_level(&b, PRES[i].pre);
        struct tokenizer *t = must_open(&b);
        if (PRES[i].bos) {
            wanted[n++] = 9;
        }
        if (PRES[i].composes) { /* e and the acute have no tokens, e acute has one */
            wanted[n++] = 10;
        }
        wanted[n++] = 6;
        wanted[n++] = PRES[i].joins_digits ? 4 : 2;
        if (!PRES[i].joins_digits) {
            wanted[n++] = 3;
        }
        if (!tokenizer_gives(t, "e\xCC\x81 12", TOKENIZE_SPECIALS, wanted, n)) {
            fail_msg("pre %s", PRES[i].pre == NULL ? "(none)" : PRES[i].pre);
        }
        tokenizer_close(t);
    }
}

static void specials_and_stops(void **state)
{
    (void)state;
    struct gguf_bytes b = {0};
    int64_t count;
    put_byte_level(&b, "qwen2");
    gguf_bytes_u32(&b, "tokenizer.ggml.eot_token_id", 8);
    gguf_bytes_u32(&b, "tokenizer.ggml.eom_token_id", 7);
    gguf_bytes_u32(&b, "tokenizer.ggml.padding_token_id", UINT32_MAX);
    gguf_bytes_bool(&b, "tokenizer.ggml.add_bos_token", true);
    gguf_bytes_bool(&b, "tokenizer.ggml.add_eos_token", true);
    gguf_bytes_string(&b, "tokenizer.chat_template", "{{ x }}");
    struct tokenizer *t = must_open(&b);
    const int32_t *stops = tokenizer_stop_ids(t, &count);
    assert_int_equal(count, 2);
    assert_int_equal(stops[0], 7);
    assert_int_equal(stops[1], 8);
    assert_int_equal(tokenizer_bos(t), 9);
    assert_int_equal(tokenizer_pad(t), -1);
    assert_string_equal(tokenizer_special_text(t, "eos_token"), "<e>");
    assert_string_equal(tokenizer_chat_template(t), "{{ x }}");
    assert_int_equal(tokenizer_vocab_size(t), 13);
    assert_true(tokenizer_gives(t, "ab<t>", TOKENIZE_SPECIALS, (int32_t[]){9, 5, 8, 7}, 4));
    tokenizer_close(t);
}

enum broken { NO_MODEL, NO_TOKENS, ODD_TYPES, BAD_PRE, BAD_MODEL, BAD_MERGE, LOST_MERGE,
              NO_SCORES, NAN_SCORE, BROKEN_COUNT };

static const char *const BROKEN_MESSAGES[BROKEN_COUNT] = {
    [NO_MODEL] = "tokenizer.ggml.model", [NO_TOKENS] = "tokenizer.ggml.tokens",
    [ODD_TYPES] = "types",               [BAD_PRE] = "'mystery' is not supported",
    [BAD_MODEL] = "'rwkv' is not",       [BAD_MERGE] = "merges[1] is not two tokens",
    [LOST_MERGE] = "not in the vocabulary", [NO_SCORES] = "neither merges nor a score",
    [NAN_SCORE] = "not a number"};

static void put_broken(struct gguf_bytes *b, enum broken which)
{
    static const char *const ONE_PART[] = {"a b", "ab", NULL};
    static const char *const LOST[] = {"b a", NULL};
    static float scores[SP_COUNT];
    scores[3] = NAN;
    if (which == NO_SCORES || which == NAN_SCORE) {
        put_sentencepiece(b, "llama", which == NAN_SCORE ? scores : NULL);
        return;
    }
    if (which != NO_MODEL) {
        gguf_bytes_string(b, "tokenizer.ggml.model", which == BAD_MODEL ? "rwkv" : "gpt2");
    }
    gguf_bytes_string(b, "tokenizer.ggml.pre", which == BAD_PRE ? "mystery" : "gpt-2");
    if (which != NO_TOKENS) {
        gguf_bytes_strings(b, "tokenizer.ggml.tokens", BPE_TOKENS, -1);
    }
    if (which == ODD_TYPES) {
        gguf_bytes_i32s(b, "tokenizer.ggml.token_type", BPE_TYPES, 5);
    }
    if (which == BAD_MERGE || which == LOST_MERGE) {
        gguf_bytes_strings(b, "tokenizer.ggml.merges", which == BAD_MERGE ? ONE_PART : LOST, -1);
    }
}

static void broken_keys_are_refused(void **state)
{
    (void)state;
    for (int i = 0; i < BROKEN_COUNT; i++) {
        struct gguf_bytes b = {0};
        struct tokenizer *t = NULL;
        put_broken(&b, (enum broken)i);
        const enum status status = open_bytes(&b, &t);
        if (status != STATUS_INPUT || strstr(status_message(), BROKEN_MESSAGES[i]) == NULL ||
            strstr(status_message(), "made.gguf") == NULL) {
            fail_msg("case %d: %d %s", i, (int)status, status_message());
        }
        assert_null(t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(scores_choose_merges),
                                       cmocka_unit_test(gemma_merges_by_id),
                                       cmocka_unit_test(pre_names_the_splitter),
                                       cmocka_unit_test(specials_and_stops),
                                       cmocka_unit_test(broken_keys_are_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
