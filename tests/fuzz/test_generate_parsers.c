/*
 * Random regular expressions and stop strings: a pattern is refused with a message or compiled
 * within its limits and a second, and then agrees with PCRE on random texts; a stop string is hit
 * exactly where plain search finds it. GRAFT_FUZZ_CASES sets how many, GRAFT_FUZZ_SEED which.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "trainer/generate/regex.h"
#include "trainer/generate/stop_strings.h"

enum { PATTERN_CAP = 512, TEXT_CAP = 24, TEXTS = 40 };

/* xorshift64*: a stream of its own, so that cases can be named by seed and number. */
static uint64_t next(uint64_t *s)
{
    *s ^= *s >> 12;
    *s ^= *s << 25;
    *s ^= *s >> 27;
    return *s * 2685821657736338717u;
}

static uint64_t below(uint64_t *s, uint64_t n)
{
    return (next(s) >> 16) % n;
}

static uint64_t setting(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 10) : otherwise;
}

static uint64_t stream_of(uint64_t number)
{
    return (setting("GRAFT_FUZZ_SEED", 1) * 1000003u + number + 1) * 0x9E3779B97F4A7C15u;
}

static double cpu_seconds(void)
{
    return (double)clock() / CLOCKS_PER_SEC;
}

/* Pieces that mean the same here and in PCRE; put together at random they are mostly patterns. */
static const char *const PIECES[] = {
    "a",      "b",      "ab",     "\xC3\xA9", "7",     "[ab]",   "[^a]",   "[a-c7-9]", ".",
    "\\d",    "\\w",    "\\s",    "\\D",      "\\n",   "\\x61",  "\\.",    "\\[",      "(",
    "(?:",    ")",      ")",      "|",        "*",     "+",      "?",      "*?",       "{2}",
    "{1,3}",  "{2,}",   "{0,40}", "{0}",      "[",     "]",      "{",      "}",        "^",
    "$",      "\\",     "{3,1}",  "[b-a]",    "{999}", "\xE2\x82\xAC", "[\xC3\xA9-\xC3\xAF]", "-",
    "a|b|ab", "(a|b)*", "(ab){2,9}", "\\(",
};

static size_t make_pattern(uint64_t *s, char *out)
{
    size_t n = 0;
    const uint64_t pieces = 1 + below(s, 14);
    out[0] = '\0';
    for (uint64_t i = 0; i < pieces; i++) {
        const char *piece = PIECES[below(s, sizeof PIECES / sizeof PIECES[0])];
        n += (size_t)snprintf(out + n, PATTERN_CAP - n, "%s", piece);
    }
    if (n > 0 && below(s, 8) == 0) { /* any byte anywhere */
        out[below(s, n)] = (char)(1 + below(s, 255));
    }
    return strlen(out);
}

static size_t make_text(uint64_t *s, char *out)
{
    static const char *const LETTERS[] = {"a",  "b", "c", "7", "\xC3\xA9", ".", "[", " ",
                                          "\n", "(", "-", "\xE2\x82\xAC"};
    const uint64_t letters = below(s, 2) ? 3 : sizeof LETTERS / sizeof LETTERS[0];
    const uint64_t count = below(s, 7);
    size_t n = 0;
    out[0] = '\0';
    for (uint64_t i = 0; i < count; i++) {
        n += (size_t)snprintf(out + n, TEXT_CAP - n, "%s", LETTERS[below(s, letters)]);
    }
    return n;
}

static bool matches(const struct regex *r, const char *text, size_t n)
{
    int32_t state = 0;
    for (size_t i = 0; i < n && state >= 0; i++) {
        state = regex_next(r, state, (uint8_t)text[i]);
    }
    return state >= 0 && r->accepts[state];
}

/* How often both said yes; fails when they differ. */
static int64_t compare(const struct regex *r, const char *pattern, uint64_t *s)
{
    char whole[PATTERN_CAP + 16];
    int error;
    PCRE2_SIZE at;
    int64_t hits = 0;
    (void)snprintf(whole, sizeof whole, "^(?:%s)\\z", pattern);
    pcre2_code *code =
        pcre2_compile((PCRE2_SPTR)whole, PCRE2_ZERO_TERMINATED, PCRE2_UTF, &error, &at, NULL);
    if (!code) {
        return 0; /* a group that has no number here, a class that PCRE reads as POSIX' */
    }
    pcre2_match_context *limits = pcre2_match_context_create(NULL);
    (void)pcre2_set_match_limit(limits, 100000);
    pcre2_match_data *data = pcre2_match_data_create_from_pattern(code, NULL);
    for (int i = 0; i < TEXTS; i++) {
        char text[TEXT_CAP + 1];
        const size_t n = make_text(s, text);
        const int found = pcre2_match(code, (PCRE2_SPTR)text, n, 0, 0, data, limits);
        if (found < PCRE2_ERROR_NOMATCH) {
            continue; /* PCRE gave up */
        }
        hits += found >= 0;
        if (matches(r, text, n) != (found >= 0)) {
            fail_msg("'%s' on '%s': PCRE says %d", pattern, text, found);
        }
    }
    pcre2_match_data_free(data);
    pcre2_match_context_free(limits);
    pcre2_code_free(code);
    return hits;
}

static void random_patterns(void **state)
{
    const uint64_t cases = setting("GRAFT_FUZZ_CASES", 4000);
    int64_t taken = 0;
    int64_t hits = 0;
    double slowest = 0.0;
    (void)state;
    for (uint64_t c = 0; c < cases; c++) {
        uint64_t s = stream_of(c);
        char pattern[PATTERN_CAP];
        struct regex r = {0};
        (void)make_pattern(&s, pattern);
        const double start = cpu_seconds();
        const enum status status = regex_open(&r, pattern);
        const double seconds = cpu_seconds() - start;
        slowest = seconds > slowest ? seconds : slowest;
        if (status == STATUS_OK) {
            assert_true(r.states > 0 && r.states <= REGEX_DFA_STATES);
            taken++;
            hits += compare(&r, pattern, &s);
            regex_close(&r);
        } else {
            assert_int_equal(status, STATUS_RECIPE);
            assert_true(strlen(status_message()) > 0);
            status_clear();
        }
    }
    print_message("%lld of %lld patterns compiled, %lld matches, slowest %.3f s\n",
                  (long long)taken, (long long)cases, (long long)hits, slowest);
    assert_true(slowest < 5.0); /* a second, and the sanitizers' slowness */
    assert_true(taken > (int64_t)cases / 8 && hits > 0);
}

/* Tokens over two letters, some empty, and strings over the same: borders fall everywhere. */
static void random_stop_strings(void **state)
{
    static const char *const WORDS[] = {"a", "b", "ab", "ba", "aab", "", "bbbab", "abababab"};
    enum { VOCAB = sizeof WORDS / sizeof WORDS[0], MOST = 30, STRINGS = 4 };
    const uint64_t cases = setting("GRAFT_FUZZ_CASES", 4000);
    size_t length[VOCAB];
    struct token_bytes bytes;
    int64_t hits = 0;
    (void)state;
    for (int i = 0; i < VOCAB; i++) {
        length[i] = strlen(WORDS[i]);
    }
    assert_int_equal(token_bytes_from(&bytes, WORDS, length, VOCAB), STATUS_OK);
    for (uint64_t c = 0; c < cases; c++) {
        uint64_t s = stream_of(c);
        char text[STRINGS][16];
        const char *strings[STRINGS];
        struct stop_strings *stops;
        int32_t ids[MOST];
        char said[MOST * 8 + 1] = "";
        const int64_t count = 1 + (int64_t)below(&s, STRINGS);
        for (int64_t i = 0; i < count; i++) {
            const size_t n = 1 + below(&s, 12);
            for (size_t k = 0; k < n; k++) {
                text[i][k] = below(&s, 2) ? 'a' : 'b';
            }
            text[i][n] = '\0';
            strings[i] = text[i];
        }
        assert_int_equal(stop_strings_open(&stops, strings, count, &bytes), STATUS_OK);
        for (int64_t t = 0; t < MOST; t++) {
            const size_t before = strlen(said);
            ids[t] = (int32_t)below(&s, VOCAB);
            memcpy(said + before, WORDS[ids[t]], length[ids[t]] + 1);
            bool wanted = false;
            for (int64_t i = 0; i < count;
                 i++) { /* an occurrence that ends inside the last token */
                const char *at = said;
                while ((at = strstr(at, strings[i])) != NULL) {
                    wanted = wanted || (size_t)(at - said) + strlen(strings[i]) > before;
                    at++;
                }
            }
            hits += wanted;
            assert_int_equal(stop_strings_hit(stops, ids, t + 1), wanted);
        }
        stop_strings_close(stops);
    }
    assert_true(hits > (int64_t)cases);
    token_bytes_close(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_patterns),
        cmocka_unit_test(random_stop_strings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
