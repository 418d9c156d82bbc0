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
    *b = (struct bench){.logps = logps,
                        .rewards = {.items = {{.reward = &LENGTH, .name = "length"}}, .count = 1},
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

/* What a reward of a call saw: the size of each call, and its rows by prompt and sample. */
struct seen {
    int64_t calls;
    int64_t counts[8];
    int64_t rows;
};

static enum status look(void *state, const struct reward_call *call, double *scores)
{
    struct seen *s = state;
    s->counts[s->calls++] = call->count;
    for (int64_t i = 0; i < call->count; i++) {
        const struct reward_input *in = &call->inputs[i];
        assert_int_equal(in->group * SIZE + in->sample, s->rows); /* in the sampler's order */
        assert_int_equal(in->ids[0], 70 + s->rows);
        assert_int_equal(in->tokens, s->rows % 3 + 1);
        assert_int_equal(in->truncated, s->rows % 2 != 0);
        assert_string_equal(in->prompt, in->group == 0 ? "one" : "two words");
        assert_null(in->messages);
        assert_int_equal(json_integer_value(json_object_get(in->row, "row")),
                         in->group == 0 ? 4 : 1);
        scores[i] = (double)(100 * s->calls + i);
        s->rows++;
    }
    return STATUS_OK;
}

static const struct reward LOOK = {.name = "look", .scope = REWARD_CALL, .score = look};

/* A round is cut into the calls of virtual ranks; the last one may be shorter. */
static void rewards_of_calls_see_slices(void **state)
{
    (void)state;
    static const int64_t INDICES[GROUPS] = {4, 1};
    static const struct {
        int64_t call_rows;
        int64_t calls;
        int64_t first;
        int64_t last;
    } CASES[] = {{0, 1, 6, 6}, {6, 1, 6, 6}, {3, 2, 3, 3},
                 {2, 3, 2, 2}, {4, 2, 4, 2}, {9, 1, 6, 6}};
    for (size_t k = 0; k < sizeof CASES / sizeof CASES[0]; k++) {
        struct bench b;
        struct round round;
        struct seen seen = {0};
        bench_open(&b, false, true);
        b.rewards.items[1] = (struct reward_use){.reward = &LOOK, .name = "look", .state = &seen};
        b.rewards.count = 2;
        const double weights[] = {1.0, 0.5};
        b.config.weights = weights;
        b.config.call_rows = CASES[k].call_rows;
        assert_int_equal(rollout_round(&b.config, &b.env, INDICES, GROUPS, 0, &round), STATUS_OK);
        assert_int_equal(seen.calls, CASES[k].calls);
        assert_int_equal(seen.counts[0], CASES[k].first);
        assert_int_equal(seen.counts[seen.calls - 1], CASES[k].last);
        const int64_t size = CASES[k].call_rows > 0 ? CASES[k].call_rows : GROUPS * SIZE;
        for (int64_t i = 0; i < GROUPS * SIZE; i++) {
            const double score = (double)(100 * (i / size + 1) + i % size);
            assert_true(round.row[i].rewards[0] == (double)(i % 3 + 1));
            assert_true(round.row[i].rewards[1] == score);
            assert_true(round.row[i].reward == round.row[i].rewards[0] + 0.5 * score);
        }
        round_close(&round);
        bench_close(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_become_rounds),
        cmocka_unit_test(damaged_log_probs_are_refused),
        cmocka_unit_test(rewards_of_calls_see_slices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
