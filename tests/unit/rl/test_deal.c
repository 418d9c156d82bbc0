/*
 * Groups of a round to ranks: even by the tokens that the history expects, in turn where nothing
 * tells them apart, every group to one rank.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "kernels/base/rng.h"
#include "rl/rollout_history.h"
#include "rl/rollout_internal.h"

enum { GROUPS = 32, SIZE = 8, MEAN = 64, CAP = 512, MOST_RANKS = 8, ROUNDS = 20 };

struct table {
    struct round r;
    struct rollout_group group[GROUPS];
    struct rollout_row row[GROUPS * SIZE];
    int owner[GROUPS];
    int32_t ids[CAP];
};

/* Round `n`: group g asks prompt g, whose completions have lengths around one drawn for the prompt.
 */
static void make_round(struct table *t, uint32_t n)
{
    t->r = (struct round){.groups = GROUPS, .group_size = SIZE, .group = t->group, .row = t->row,
                          .owner = t->owner};
    for (uint32_t g = 0; g < GROUPS; g++) {
        const struct rng_key of_prompt = {.seed = 5, .purpose = RNG_DATA, .row = g};
        const double mean = -MEAN * log(1.0 - rng_uniform53(&of_prompt));
        t->group[g] = (struct rollout_group){.index = g, .prompt_count = 40};
        for (uint32_t k = 0; k < SIZE; k++) {
            const struct rng_key key = {
                .seed = 7, .purpose = RNG_DATA, .step = n, .row = g, .sample = k};
            const int64_t count = 1 + (int64_t)(mean * (0.75 + 0.5 * rng_uniform53(&key)));
            t->row[g * SIZE + k] =
                (struct rollout_row){.ids = t->ids, .count = count < CAP ? count : CAP};
        }
    }
}

/* Tokens of the rank with the most over what no deal can beat: the mean, or the longest group. */
static double worst(const struct table *t, int ranks, bool in_turn)
{
    double load[MOST_RANKS] = {0};
    double all = 0.0;
    double most = 0.0;
    double longest = 0.0;
    for (int g = 0; g < GROUPS; g++) {
        const int rank = in_turn ? g % ranks : t->owner[g];
        assert_in_range(rank, 0, ranks - 1);
        double own = 0.0;
        for (int k = 0; k < SIZE; k++) {
            own += (double)t->row[g * SIZE + k].count;
        }
        load[rank] += own;
        all += own;
        longest = fmax(longest, own);
    }
    for (int i = 0; i < ranks; i++) {
        most = fmax(most, load[i]);
    }
    return most / fmax(all / ranks, longest);
}

static void long_groups_are_spread(void **state)
{
    (void)state;
    static struct table t;
    struct rollout_history *h;
    assert_int_equal(rollout_history_open(&h, 1 << 20), STATUS_OK);
    const struct rollout_config c = {
        .group_size = SIZE, .max_completion_length = CAP, .history = h};
    make_round(&t, 0);
    assert_int_equal(rollout_history_add(h, &t.r), STATUS_OK);
    for (int ranks = 2; ranks <= MOST_RANKS; ranks++) {
        double dealt = 0.0;
        double turn = 0.0;
        for (uint32_t n = 1; n <= ROUNDS; n++) {
            make_round(&t, n);
            assert_int_equal(rollout_deal(&c, ranks, &t.r), STATUS_OK);
            dealt += worst(&t, ranks, false) / ROUNDS;
            turn += worst(&t, ranks, true) / ROUNDS;
        }
        print_message("%d ranks: %.3f of the least possible, dealt in turn %.3f\n", ranks, dealt,
                      turn);
        assert_true(dealt < 1.1);
        assert_true(dealt < turn);
    }
    rollout_history_close(h);
}

static void groups_alike_go_in_turn(void **state)
{
    (void)state;
    static struct table t;
    const struct rollout_config c = {.group_size = SIZE, .max_completion_length = CAP};
    for (int ranks = 1; ranks <= MOST_RANKS; ranks++) {
        make_round(&t, 0);
        assert_int_equal(rollout_deal(&c, ranks, &t.r), STATUS_OK);
        for (int g = 0; g < GROUPS; g++) {
            assert_int_equal(t.owner[g], g % ranks);
        }
    }
    t.group[5].prompt_count = 8000; /* a long prompt takes the place of its rank's other groups */
    assert_int_equal(rollout_deal(&c, 4, &t.r), STATUS_OK);
    int beside = 0;
    for (int g = 0; g < GROUPS; g++) {
        beside += g != 5 && t.owner[g] == t.owner[5];
    }
    assert_int_equal(beside, GROUPS / 4 - 2);
}

/* Ranks without groups, rounds without groups. */
static void few_groups(void **state)
{
    (void)state;
    static struct table t;
    const struct rollout_config c = {.group_size = SIZE, .max_completion_length = CAP};
    make_round(&t, 0);
    t.r.groups = 2;
    assert_int_equal(rollout_deal(&c, 64, &t.r), STATUS_OK);
    assert_int_equal(t.owner[0], 0);
    assert_int_equal(t.owner[1], 1);
    t.r.groups = 0;
    assert_int_equal(rollout_deal(&c, 3, &t.r), STATUS_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(long_groups_are_spread),
        cmocka_unit_test(groups_alike_go_in_turn),
        cmocka_unit_test(few_groups),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
