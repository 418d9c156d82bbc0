/*
 * Earlier rounds' completions: the newest of a prompt stays, the budget holds whatever comes,
 * expected lengths are means; against a plain list that keeps everything.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/rng.h"
#include "rl/rollout_history.h"

enum { GROUPS = 4, SIZE = 3, ROWS = GROUPS * SIZE, MOST = 20, PROMPTS = 12, ROUNDS = 60 };

struct table {
    struct round r;
    struct rollout_group group[GROUPS];
    struct rollout_row row[ROWS];
    int32_t ids[ROWS][MOST];
};

static uint64_t draw(uint32_t round, uint32_t i, uint64_t below)
{
    const struct rng_key key = {.seed = 3, .purpose = RNG_DATA, .row = round, .sample = i};
    uint32_t word[4];
    rng_draw4(&key, word);
    return word[0] % below;
}

/* Round `n` of the test: prompts and lengths by chance, ids that say where they come from. */
static void make_round(struct table *t, uint32_t n)
{
    t->r = (struct round){.groups = GROUPS, .group_size = SIZE, .group = t->group, .row = t->row};
    for (uint32_t g = 0; g < GROUPS; g++) {
        t->group[g] = (struct rollout_group){.index = (int64_t)draw(n, 1000 + g, PROMPTS)};
    }
    for (uint32_t i = 0; i < ROWS; i++) {
        t->row[i] = (struct rollout_row){.ids = t->ids[i], .count = 1 + (int64_t)draw(n, i, MOST)};
        for (int k = 0; k < MOST; k++) {
            t->ids[i][k] = (int32_t)(n * 10000 + i * 100 + (uint32_t)k);
        }
    }
}

static int64_t group_tokens(const struct table *t, int g)
{
    int64_t tokens = 0;
    for (int k = 0; k < SIZE; k++) {
        tokens += t->row[g * SIZE + k].count;
    }
    return tokens;
}

/* The newest round's texts of a prompt, or none; all that is kept fits the budget. */
static void check(const struct rollout_history *h, struct table *all, uint32_t rounds,
                  int64_t budget)
{
    int64_t kept = 0;
    int64_t texts = 0;
    for (int64_t p = 0; p < PROMPTS; p++) {
        int64_t count;
        const struct known_text *found = rollout_history_find(h, p, &count);
        const struct table *newest = NULL;
        int at = 0;
        for (uint32_t n = 0; n < rounds; n++) {
            for (int g = 0; g < GROUPS; g++) {
                if (all[n].group[g].index == p) {
                    newest = &all[n];
                    at = g;
                }
            }
        }
        if (!found) {
            assert_int_equal(count, 0);
            continue;
        }
        assert_non_null(newest);
        assert_int_equal(count, SIZE);
        for (int k = 0; k < SIZE; k++) {
            const struct rollout_row *row = &newest->row[at * SIZE + k];
            assert_int_equal(found[k].count, row->count);
            assert_memory_equal(found[k].ids, row->ids, (size_t)row->count * sizeof(int32_t));
        }
        const int64_t tokens = group_tokens(newest, at);
        assert_int_equal(rollout_history_expected(h, p), (tokens + SIZE - 1) / SIZE);
        kept += tokens;
        texts += SIZE;
    }
    assert_true(kept <= budget);
    assert_int_equal(rollout_history_expected(h, PROMPTS),
                     texts > 0 ? (kept + texts - 1) / texts : 0);
}

static void the_newest_within_the_budget_stays(void **state)
{
    static const int64_t BUDGETS[] = {1, 10, 47, 150, 100000};
    struct table *all = calloc(ROUNDS, sizeof *all);
    (void)state;
    assert_non_null(all);
    for (size_t b = 0; b < sizeof BUDGETS / sizeof BUDGETS[0]; b++) {
        struct rollout_history *h;
        int64_t known = 0;
        assert_int_equal(rollout_history_open(&h, BUDGETS[b]), STATUS_OK);
        assert_int_equal(rollout_history_expected(h, 0), 0);
        for (uint32_t n = 0; n < ROUNDS; n++) {
            make_round(&all[n], n);
            assert_int_equal(rollout_history_add(h, &all[n].r), STATUS_OK);
            check(h, all, n + 1, BUDGETS[b]);
        }
        for (int64_t p = 0; p < PROMPTS; p++) {
            int64_t count;
            known += rollout_history_find(h, p, &count) != NULL;
        }
        assert_true(BUDGETS[b] < 100000 ? known < PROMPTS : known == PROMPTS);
        assert_true(BUDGETS[b] < SIZE || known > 0 || BUDGETS[b] < 47);
        rollout_history_close(h);
    }
    free(all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_newest_within_the_budget_stays)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
