/* The drafts' automaton against plain search over texts that grow side by side, and when it is
 * full; how far a guess goes by what steps cost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/rng.h"
#include "trainer/generate/draft.h"
#include "trainer/generate/scheduler_internal.h"

enum { TEXTS = 5, LENGTH = 60 };

struct texts {
    int32_t ids[TEXTS][LENGTH];
    int64_t count[TEXTS];
};

/* Occurrences of `n` ids, followed by `next` (or anything, -1), in all texts. */
static int64_t occurrences(const struct texts *t, const int32_t *ids, int64_t n, int32_t next)
{
    int64_t found = 0;
    for (int k = 0; k < TEXTS; k++) {
        for (int64_t i = 0; i + n < t->count[k]; i++) {
            found += memcmp(t->ids[k] + i, ids, (size_t)n * sizeof *ids) == 0
                     && (next < 0 || t->ids[k][i + n] == next);
        }
    }
    return found;
}

static int64_t longest_known_ending(const struct texts *t, int k)
{
    for (int64_t n = t->count[k]; n > 0; n--) {
        if (occurrences(t, t->ids[k] + t->count[k] - n, n, -1) > 0) {
            return n;
        }
    }
    return 0;
}

static void check_proposal(const struct draft *d, const struct texts *t, int k, int32_t state)
{
    int32_t ids[4];
    int64_t match;
    const int64_t n = draft_propose(d, state, 4, ids, &match);
    const int64_t wanted = longest_known_ending(t, k);
    assert_int_equal(match, wanted);
    assert_int_equal(n > 0, wanted > 0);
    int32_t seen[LENGTH + 4]; /* the ending with the guess behind it is somewhere, too */
    memcpy(seen, t->ids[k] + t->count[k] - match, (size_t)match * sizeof *seen);
    for (int64_t i = 0; i < n; i++) {
        assert_true(occurrences(t, seen, match + i, ids[i]) > 0);
        seen[match + i] = ids[i];
    }
}

static void proposals_follow_the_longest_known_ending(void **state)
{
    (void)state;
    for (uint32_t seed = 0; seed < 12; seed++) {
        struct arena arena;
        struct draft *d;
        static struct texts t;
        int32_t at[TEXTS];
        assert_int_equal(arena_open(&arena, "test", 1 << 20), STATUS_OK);
        assert_int_equal(draft_open(&d, &arena, 2, TEXTS * LENGTH), STATUS_OK);
        t = (struct texts){0};
        for (int k = 0; k < TEXTS; k++) {
            at[k] = draft_root(d, 1);
        }
        for (uint32_t i = 0; i < TEXTS * LENGTH; i++) {
            uint32_t word[4];
            const struct rng_key key = {.seed = seed, .purpose = RNG_DATA, .position = i};
            rng_draw4(&key, word);
            const int k = (int)(word[0] % TEXTS);
            if (t.count[k] == LENGTH) {
                continue;
            }
            const int32_t id = (int32_t)(word[1] % (2 + seed % 4));
            t.ids[k][t.count[k]++] = id;
            at[k] = draft_extend(d, 1, at[k], id, 1);
            assert_true(at[k] >= 0);
            check_proposal(d, &t, k, at[k]);
        }
        arena_close(&arena);
    }
}

static void a_full_automaton_stops_quietly(void **state)
{
    (void)state;
    struct arena arena;
    struct draft *d;
    int32_t ids[4];
    int64_t match;
    assert_int_equal(arena_open(&arena, "test", 1 << 16), STATUS_OK);
    assert_int_equal(draft_open(&d, &arena, 1, 8), STATUS_OK);
    int32_t at = draft_root(d, 0);
    assert_int_equal(draft_propose(d, at, 4, ids, &match), 0);
    for (int32_t i = 0; i < 100 && at >= 0; i++) {
        at = draft_extend(d, 0, at, i % 3, 2);
    }
    assert_int_equal(at, -1);
    assert_int_equal(draft_extend(d, 0, at, 1, 1), -1);
    assert_int_equal(draft_propose(d, at, 4, ids, &match), 0);
    assert_int_equal(match, 0);
    arena_close(&arena);
}

static void guesses_go_as_far_as_they_pay(void **state)
{
    (void)state;
    struct speculation p = {0};
    assert_int_equal(speculation_length(&p, DRAFTS_AUTO, 9, 4), 0); /* nothing is measured */
    assert_int_equal(speculation_length(&p, DRAFTS_ALWAYS, 1, 4), SPECULATION_MOST);
    for (int i = 0; i < 50; i++) { /* one second, whatever the rows: guesses are free */
        speculation_note_step(&p, 1 + i % 8, 1.0);
    }
    assert_int_equal(speculation_length(&p, DRAFTS_AUTO, 9, 4), SPECULATION_MOST);
    for (int i = 0; i < 50; i++) { /* none is kept */
        speculation_note_guess(&p, 9, 0.0);
    }
    p.rt = 0.0;
    p = (struct speculation){.tried = {[3] = p.tried[3]}, .kept = {[3] = p.kept[3]}};
    for (int i = 0; i < 50; i++) { /* half the time is in the rows */
        speculation_note_step(&p, 1 + i % 8, 0.5 + (1 + i % 8) * 0.0625);
    }
    assert_int_equal(speculation_length(&p, DRAFTS_AUTO, 9, 4), 0);
    const int64_t short_match = speculation_length(&p, DRAFTS_AUTO, 2, 4);
    assert_true(short_match >= 1 && short_match < SPECULATION_MOST);
    assert_int_equal(speculation_length(&p, DRAFTS_AUTO, 2, 9), 0); /* too many rows */
    assert_int_equal(speculation_length(&p, DRAFTS_NEVER, 2, 4), 0);
    struct speculation full = {0};
    for (int i = 0; i < 50; i++) { /* all of the time is in the rows: never */
        speculation_note_step(&full, 1 + i % 8, (1 + i % 8) * 0.125);
        speculation_note_guess(&full, 9, 1.0);
    }
    assert_int_equal(speculation_length(&full, DRAFTS_AUTO, 9, 4), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(proposals_follow_the_longest_known_ending),
        cmocka_unit_test(a_full_automaton_stops_quietly),
        cmocka_unit_test(guesses_go_as_far_as_they_pay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
