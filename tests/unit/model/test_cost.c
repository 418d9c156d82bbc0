/*
 * Predicted costs of units against what is packed, row for row; and how evenly groups of very
 * unequal completions are dealt to ranks by them.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "kernels/base/rng.h"
#include "trainer/comm/shards.h"
#include "trainer/model/cost.h"

enum { BRANCHES = 6, MOST = 700, GROUPS = 48, SHARDS = 8, LAYERS = 4 };

static const struct model_config CONFIG = {
    .layers = LAYERS, .hidden = 576, .heads = 9, .kv_heads = 3, .head_dim = 64, .ff = 1536,
    .vocab = 49152, .layer = {{.window = 0}, {.window = 128}, {.window = 128}, {.window = 0}},
};

struct tree {
    int32_t prompt[MOST];
    int32_t ids[BRANCHES][MOST];
    struct pack_branch branches[BRANCHES];
    struct pack_unit unit;
};

static double uniform(uint32_t row, uint32_t sample)
{
    const struct rng_key key = {.seed = 9, .purpose = RNG_DATA, .row = row, .sample = sample};
    return rng_uniform53(&key);
}

/* A prompt with completions of geometric length that begin alike for a while. */
static void make_tree(struct tree *t, uint32_t n, double mean)
{
    t->unit = (struct pack_unit){.prompt = t->prompt, .branches = t->branches,
                                 .prompt_count = (int64_t)(uniform(n, 900) * 300),
                                 .branch_count = 1 + (int64_t)(uniform(n, 901) * BRANCHES)};
    for (uint32_t b = 0; b < t->unit.branch_count; b++) {
        const int64_t same = (int64_t)(uniform(n, 300 + b) * 9);
        int64_t count = 1 + (int64_t)(log1p(-uniform(n, b)) / log1p(-1.0 / mean));
        count = count < MOST ? count : MOST;
        for (int64_t i = 0; i < count; i++) {
            t->ids[b][i] = (int32_t)(i < same ? i : 1000 + 10 * i + b);
        }
        t->branches[b] = (struct pack_branch){.ids = t->ids[b], .count = count};
    }
}

/* Multiply-adds of forward and backward, from the packed rows one by one. */
static double packed_work(const struct pack_unit *u)
{
    struct arena arena;
    struct batch batch;
    const double row = 2.0 * 576 * (576 + 192) + 3.0 * 576 * 1536;
    assert_int_equal(arena_open(&arena, "pack", pack_bytes(u, 1)), STATUS_OK);
    assert_int_equal(pack_build(&arena, u, 1, &batch), STATUS_OK);
    double work = (double)batch.tokens * row * LAYERS;
    for (int64_t i = 0; i < batch.tokens; i++) {
        for (int l = 0; l < LAYERS; l++) {
            const int64_t window = CONFIG.layer[l].window;
            const int64_t before = batch.position[0][i] + 1;
            const int64_t keys = window > 0 && before > window ? window : before;
            work += 1.75 * 2.0 * 576 * (double)keys;
        }
    }
    work += 576.0 * 49152 * (double)pack_unit_outputs(u);
    arena_close(&arena);
    return work / (row * LAYERS);
}

static void costs_are_those_of_the_packed_rows(void **state)
{
    struct tree *t = malloc(sizeof *t);
    (void)state;
    assert_non_null(t);
    for (uint32_t n = 0; n < 200; n++) {
        make_tree(t, n, n % 2 ? 20 : 200);
        const double cost = (double)unit_cost(&CONFIG, &t->unit);
        assert_true(fabs(cost - UNIT_COST_SCALE * packed_work(&t->unit)) <= 1.0);
    }
    t->unit.branch_count = 0;
    t->unit.prompt_count = 0;
    assert_int_equal(unit_cost(&CONFIG, &t->unit), 0);
    free(t);
}

/* Largest rank's work over the mean. */
static double imbalance(const double *work, const int *shard_of, int ranks)
{
    double sum[SHARDS] = {0};
    double all = 0.0;
    double most = 0.0;
    for (int g = 0; g < GROUPS; g++) {
        sum[shards_owner(shard_of[g], SHARDS, ranks)] += work[g];
        all += work[g];
    }
    for (int r = 0; r < ranks; r++) {
        most = fmax(most, sum[r]);
    }
    return most * ranks / all;
}

static void long_and_short_rows_are_spread(void **state)
{
    struct tree *t = malloc(sizeof *t);
    double by_cost = 0.0;
    double in_order = 0.0;
    (void)state;
    assert_non_null(t);
    for (uint32_t n = 0; n < 20; n++) {
        double work[GROUPS];
        int64_t cost[GROUPS];
        int shard_of[GROUPS];
        int dealt[GROUPS];
        for (uint32_t g = 0; g < GROUPS; g++) {
            make_tree(t, 1000 * (n + 1) + g, 64);
            work[g] = packed_work(&t->unit);
            cost[g] = unit_cost(&CONFIG, &t->unit);
            dealt[g] = (int)g % SHARDS;
        }
        shards_assign(cost, GROUPS, SHARDS, shard_of);
        for (int ranks = 1; ranks <= SHARDS; ranks *= 2) {
            assert_true(imbalance(work, shard_of, ranks) < 1.08);
        }
        by_cost += imbalance(work, shard_of, 4) / 20;
        in_order += imbalance(work, dealt, 4) / 20;
    }
    print_message("busiest of 4 ranks over the mean: %.3f, in turn %.3f\n", by_cost, in_order);
    assert_true(by_cost < 1.03 && in_order > 1.1);
    free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(costs_are_those_of_the_packed_rows),
        cmocka_unit_test(long_and_short_rows_are_spread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
