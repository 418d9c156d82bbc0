/*
 * Rounds whose completions come from a table: what a completion source hands over is judged, kept
 * through a checkpoint's JSON, and its log-probs are held apart when the sampler is foreign.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rl/rollout.h"

enum { GROUPS = 2, SIZE = 3 };

static const char *source_folder(void)
{
    const char *source = getenv("GRAFT_SOURCE");
    return source ? source : ".";
}

static json_t *row_of(void *ctx, int64_t i)
{
    (void)ctx;
    return json_pack("{s:s, s:i}", "prompt", i % 2 ? "two words" : "one", "row", (int)i);
}

/* Row r has r % 3 + 1 tokens, the first being `r`; every second row ends with the stop id. */
static enum status table(void *ctx, const struct generate_args *args, struct completion_set *out,
                         struct generate_stats *stats)
{
    const bool logps = *(const bool *)ctx;
    *stats = (struct generate_stats){0};
    out->items = calloc(GROUPS * SIZE, sizeof *out->items);
    assert_non_null(out->items);
    for (int64_t p = 0; p < args->prompt_count; p++) {
        assert_int_equal(args->prompts[p].samples, SIZE);
        for (uint32_t s = 0; s < SIZE; s++) {
            const int64_t r = out->count++;
            struct completion *c = &out->items[r];
            *c = (struct completion){.prompt = p, .sample = s, .count = r % 3 + 1,
                                     .stopped = r % 2 == 0};
            c->ids = calloc((size_t)c->count, sizeof *c->ids);
            c->ids[0] = (int32_t)(70 + r);
            c->logp = logps ? calloc((size_t)c->count, sizeof *c->logp) : NULL;
            c->entropy = logps ? calloc((size_t)c->count, sizeof *c->entropy) : NULL;
            if (logps) {
                c->logp[0] = r == 4 ? NAN : -0.5f * (float)r;
            }
        }
    }
    return STATUS_OK;
}

static double length_of(const void *unused, const struct reward_input *in, char *reason)
{
    (void)unused;
    (void)reason;
    return (double)in->tokens;
}

static const struct reward LENGTH = {.name = "length", .row = length_of};

struct bench {
    struct tokenizer *tokenizer;
    struct comm comm;
    struct rollout_env env;
    bool logps;
    struct completion_source source;
    struct reward_set rewards;
    double weights[1];
    struct rollout_config config;
};

static void bench_open(struct bench *b, bool foreign, bool logps)
{
    char path[4096];
    *b = (struct bench){.logps = logps, .rewards = {.items = {{.reward = &LENGTH, .name = "length"}}, .count = 1},
                        .weights = {1.0}};
    (void)snprintf(path, sizeof path, "%s/tests/data/tokenizer/byte_level", source_folder());
    assert_int_equal(tokenizer_open_folder(&b->tokenizer, path), STATUS_OK);
    assert_int_equal(comm_open(&b->comm), STATUS_OK);
    b->source = (struct completion_source){.complete = table, .ctx = &b->logps, .foreign = foreign};
    b->env = (struct rollout_env){.comm = &b->comm, .format = {.tokenizer = b->tokenizer},
                                  .row = row_of, .where = "table"};
    b->config = (struct rollout_config){.group_size = SIZE, .max_completion_length = 4,
                                        .mask_truncated = true, .rewards = &b->rewards,
                                        .weights = b->weights,
                                        .source = &b->source};
}

static void bench_close(struct bench *b)
{
    comm_close(&b->comm);
    tokenizer_close(b->tokenizer);
}

static void check_round(const struct round *r, bool foreign, bool logps)
{
    for (int64_t i = 0; i < GROUPS * SIZE; i++) {
        const struct rollout_row *row = &r->row[i];
        assert_int_equal(row->count, i % 3 + 1);
        assert_int_equal(row->ids[0], 70 + i);
        assert_int_equal(row->masked, i % 2 != 0);
        assert_int_equal(row->sampling != NULL, foreign && logps);
        if (foreign && logps) {
            assert_true(i == 4 ? isnan(row->sampling[0]) : row->sampling[0] == -0.5f * (float)i);
        }
        assert_true(foreign ? row->logp[0] == 0 && row->entropy[0] == 0
                            : i == 4 || row->logp[0] == -0.5f * (float)i);
        /* lengths 1, 2, 3 in each group: advantages of the group's moments */
        assert_true(fabs(row->advantage - (double)(i % 3 - 1)) < 1e-12);
    }
}

static void tables_become_rounds(void **state)
{
    (void)state;
    static const int64_t INDICES[GROUPS] = {4, 1};
    for (int kind = 0; kind < 3; kind++) { /* native; foreign with log-probs; foreign without */
        const bool foreign = kind > 0;
        const bool logps = kind < 2;
        struct bench b;
        struct round round;
        struct round again;
        json_t *json;
        bench_open(&b, foreign, logps);
        b.config.advantage.scale = SCALE_NONE;
        assert_int_equal(rollout_round(&b.config, &b.env, INDICES, GROUPS, 0, &round), STATUS_OK);
        check_round(&round, foreign, logps);
        assert_int_equal(round_to_json(&round, &json), STATUS_OK);
        assert_int_equal(round_from_json(json, &again), STATUS_OK);
        check_round(&again, foreign, logps);
        json_decref(json);
        round_close(&round);
        round_close(&again);
        bench_close(&b);
    }
}

static void damaged_log_probs_are_refused(void **state)
{
    (void)state;
    static const int64_t INDICES[GROUPS] = {4, 1};
    struct bench b;
    struct round round;
    json_t *json;
    bench_open(&b, true, true);
    assert_int_equal(rollout_round(&b.config, &b.env, INDICES, GROUPS, 0, &round), STATUS_OK);
    assert_int_equal(round_to_json(&round, &json), STATUS_OK);
    round_close(&round);
    json_t *row = json_array_get(json_object_get(json, "rows"), 1);
    assert_int_equal(json_array_clear(json_object_get(row, "sampling")), 0);
    assert_int_equal(round_from_json(json, &round), STATUS_INPUT);
    round_close(&round);
    json_decref(json);
    bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_become_rounds),
        cmocka_unit_test(damaged_log_probs_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
