/* Regular expressions against PCRE2 on many texts, their limits, masks of ids, and stop strings. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/rng.h"
#include "trainer/generate/constraint.h"
#include "trainer/generate/stop_strings.h"

static bool matches(const struct regex *r, const char *text, size_t n)
{
    int32_t state = 0;
    for (size_t i = 0; i < n && state >= 0; i++) {
        state = regex_next(r, state, (uint8_t)text[i]);
    }
    return state >= 0 && r->accepts[state];
}

static bool pcre_matches(pcre2_code *code, pcre2_match_data *data, const char *text, size_t n)
{
    return pcre2_match(code, (PCRE2_SPTR)text, n, 0, 0, data, NULL) >= 0;
}

/* A random text of the alphabet's characters (each given as a string). */
static size_t random_text(const char *const *alphabet, uint32_t letters, uint32_t row, char *out)
{
    size_t n = 0;
    uint32_t word[4];
    for (uint32_t i = 0;; i++) {
        const struct rng_key key = {.seed = 11, .purpose = RNG_DATA, .row = row, .position = i};
        rng_draw4(&key, word);
        if (word[0] % 9 == 0 || n > 40) {
            return n;
        }
        const char *letter = alphabet[word[1] % letters];
        memcpy(out + n, letter, strlen(letter));
        n += strlen(letter);
    }
}

static void agrees_with_pcre(void **state)
{
    (void)state;
    static const char *const ALPHABET[] = {"a", "b", "c", "0", "7", "-", ".", " ", "\n", "\"", "x",
                                           "{", "}", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x98\x80"};
    static const char *const PATTERNS[] = {
        "", "a", "a|b|", "(?:ab|a)*c?", "[a-c]+", "[^a-c]*", "-?[0-9]+(\\.[0-9]{1,2})?", "a{1,3}b{1,2}",
        "(a|b){0,2}c{2,}", "\\d\\D*", "[\\w-]+\\s?", ".*7.*", "\"[^\"]*\"", "^a.?$", "\\{\\}|[}{]",
        "\xC3\xA9+[\xE2\x82\xAC-\xF0\x9F\x98\x80]*", "[^\xC3\xA9\\d]+", "((a*)*b)*", "a+?b*?c??",
        "(a|ab)(c|bc)(0|7)*", "[.-]+", "[]a]+", "\\x61\\x2e?", "a{0}b"};
    char text[128];
    for (size_t p = 0; p < sizeof PATTERNS / sizeof PATTERNS[0]; p++) {
        char whole[256];
        struct regex r;
        int error;
        PCRE2_SIZE at;
        int64_t hits = 0;
        (void)snprintf(whole, sizeof whole, "^(?:%s)\\z", PATTERNS[p]);
        pcre2_code *code =
            pcre2_compile((PCRE2_SPTR)whole, PCRE2_ZERO_TERMINATED, PCRE2_UTF, &error, &at, NULL);
        assert_non_null(code);
        pcre2_match_data *data = pcre2_match_data_create_from_pattern(code, NULL);
        if (regex_open(&r, PATTERNS[p]) != STATUS_OK) {
            fail_msg("%s", status_message());
        }
        for (uint32_t row = 0; row < 20000; row++) {
            const uint32_t letters = row % 2 ? 16 : 4; /* short alphabets match more often */
            const uint32_t first = row % 4 ? 0 : 9;
            const size_t n = random_text(ALPHABET + first, letters - (row % 2 ? first : 0), row,
                                         text);
            const bool wanted = pcre_matches(code, data, text, n);
            hits += wanted;
            if (matches(&r, text, n) != wanted) {
                text[n] = '\0';
                fail_msg("'%s' on '%s': PCRE says %d", PATTERNS[p], text, wanted);
            }
        }
        if (hits == 0) {
            fail_msg("'%s' never matched", PATTERNS[p]);
        }
        regex_close(&r);
        pcre2_match_data_free(data);
        pcre2_code_free(code);
    }
}

static void bad_patterns_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *pattern;
        const char *says;
    } BAD[] = {
        {"(a", "( without )"}, {"a)", ") without ("}, {"[a", "[ without ]"}, {"*a", "nothing to repeat"},
        {"a{3,2}", "{ wants"}, {"a{x}", "{ wants"}, {"\\1", "not supported"}, {"(?=a)b", "look-around"},
        {"\\bword", "not supported"}, {"a^b", "stands at an end"}, {"[b-a]", "ends before"},
        {"a\\", "backslash"}, {"a{5000}", "4096"}, {"[^\\x00-\xF4\x8F\xBF\xBF]", "matches no text"},
        {"\xC3", "UTF-8"}, {"a*+", "after a repetition"}, {"(a|b)**", "put that in a group"},
        {"a{2}{3}", "after a repetition"}, {"a??+", "after a repetition"},
        /* These explode: the limit is named. */
        {"(a|b)*a(a|b){20}", "8192"}, {"((a{100}){100}){100}", "16384"},
        {"(.{0,200}x){0,70}", "more than"},
    };
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        struct regex r;
        if (regex_open(&r, BAD[i].pattern) != STATUS_RECIPE) {
            fail_msg("'%s' was taken", BAD[i].pattern);
        }
        if (!strstr(status_message(), BAD[i].says)) {
            fail_msg("'%s': %s", BAD[i].pattern, status_message());
        }
    }
    static char deep[2 * REGEX_PATTERN_BYTES];
    struct regex r;
    memset(deep, '(', 300);
    assert_int_equal(regex_open(&r, deep), STATUS_RECIPE);
    assert_non_null(strstr(status_message(), "100"));
    memset(deep, 'a', REGEX_PATTERN_BYTES + 1);
    assert_int_equal(regex_open(&r, deep), STATUS_RECIPE);
    assert_non_null(strstr(status_message(), "4096"));
    deep[REGEX_PATTERN_BYTES] = '\0';
    assert_int_equal(regex_open(&r, deep), STATUS_OK);
    regex_close(&r);
}

/* A vocabulary with letters, words that cross borders, bytes of a character, and two stop ids. */
static const char *const WORDS[] = {"a", "b", "ab", "7", "12", "1.5", "\xC3", "\xA9", "", "<end>",
                                    "abc", "STO", "P!", "xSTOPy", "ST"};
enum { WORD_COUNT = sizeof WORDS / sizeof WORDS[0], END = 9, NOTHING = 8 };

static void open_words(struct token_bytes *b)
{
    size_t length[WORD_COUNT];
    for (int i = 0; i < WORD_COUNT; i++) {
        length[i] = strlen(WORDS[i]);
    }
    assert_int_equal(token_bytes_from(b, WORDS, length, WORD_COUNT), STATUS_OK);
}

static bool allows(const struct constraint *c, int32_t state, int id)
{
    return (constraint_mask(c, state)[id / 64] >> (id % 64)) & 1;
}

static void masks_follow_the_automaton(void **state)
{
    (void)state;
    struct token_bytes bytes;
    struct constraint *c;
    const int32_t stop = END;
    open_words(&bytes);
    assert_int_equal(constraint_open(&c, "(ab|\xC3\xA9)[0-9]{1,2}", &bytes, &stop, 1), STATUS_OK);
    int32_t at[2] = {CONSTRAINT_START, CONSTRAINT_START};
    constraint_prepare(c, at, 2, NULL);
    static const char FIRST[] = "101000100000000"; /* a, ab, first byte of the character */
    for (int i = 0; i < WORD_COUNT; i++) {
        assert_int_equal(allows(c, at[0], i), FIRST[i] == '1');
    }
    at[0] = constraint_next(c, at[0], 6);
    at[0] = constraint_next(c, at[0], 7);
    constraint_prepare(c, at, 1, NULL);
    assert_true(allows(c, at[0], 3) && allows(c, at[0], 4) && !allows(c, at[0], 5));
    assert_false(allows(c, at[0], END)); /* the text doesn't match yet */
    at[0] = constraint_next(c, at[0], 3);
    constraint_prepare(c, at, 1, NULL);
    assert_true(allows(c, at[0], END) && allows(c, at[0], 3) && !allows(c, at[0], 4));
    assert_false(allows(c, at[0], NOTHING));
    assert_false(constraint_is_over(c, at[0]));
    at[0] = constraint_next(c, at[0], 3);
    assert_true(constraint_is_over(c, at[0]));
    assert_int_equal(constraint_next(c, at[0], END), at[0]);
    constraint_close(c);
    token_bytes_close(&bytes);
}

static void stop_strings_cross_token_borders(void **state)
{
    (void)state;
    struct token_bytes bytes;
    struct stop_strings *s;
    static const char *const STRINGS[] = {"STOP", "b7"};
    open_words(&bytes);
    assert_int_equal(stop_strings_open(&s, STRINGS, 2, &bytes), STATUS_OK);
    const int32_t split[] = {0, 11, 12};        /* a STO P! */
    const int32_t inside[] = {13};              /* xSTOPy */
    const int32_t apart[] = {11, 0, 12};        /* STO a P! */
    const int32_t nothing[] = {14, 8, 9, 12};   /* ST "" <end> P! */
    const int32_t second[] = {2, NOTHING, 3};   /* ab "" 7: ids without bytes don't part it */
    const int32_t before[] = {13, 0};           /* it was complete a token earlier */
    assert_true(stop_strings_hit(s, split, 3));
    assert_false(stop_strings_hit(s, split, 2));
    assert_true(stop_strings_hit(s, inside, 1));
    assert_false(stop_strings_hit(s, apart, 3));
    assert_false(stop_strings_hit(s, nothing, 4));
    assert_true(stop_strings_hit(s, second, 3));
    assert_false(stop_strings_hit(s, before, 2));
    assert_false(stop_strings_hit(s, before, 0));
    const int32_t beyond[] = {11, WORD_COUNT + 5};
    assert_false(stop_strings_hit(s, beyond, 2));
    stop_strings_close(s);
    static char endless[400];
    memset(endless, 'x', sizeof endless - 1);
    const char *const bad[] = {endless};
    assert_int_equal(stop_strings_open(&s, bad, 1, &bytes), STATUS_RECIPE);
    assert_non_null(strstr(status_message(), "256"));
    const char *const empty[] = {""};
    assert_int_equal(stop_strings_open(&s, empty, 1, &bytes), STATUS_RECIPE);
    token_bytes_close(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_pcre),
        cmocka_unit_test(bad_patterns_are_refused),
        cmocka_unit_test(masks_follow_the_automaton),
        cmocka_unit_test(stop_strings_cross_token_borders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
