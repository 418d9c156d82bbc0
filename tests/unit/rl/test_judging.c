/*
 * Judging beside the decoder: completions go to their judges as they end, verdicts find their rows
 * whatever the order, a round lasts as long as the longer of the two and not their sum, and neither
 * a judge that blocks nor one that is given up holds anybody.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "kernels/base/clock.h"
#include "rl/reward/remote.h"
#include "rl/rollout.h"

enum { GROUPS = 3, SIZE = 4, ROWS = GROUPS * SIZE };
enum { WHOLE = 47, X = 23 }; /* ids of "whole" and "x" */

static struct helper *helper;

static int start(void **state)
{
    (void)state;
    return helper_start(&helper, reward_remote_work) == STATUS_OK ? 0 : -1;
}

static int stop(void **state)
{
    (void)state;
    helper_stop(helper);
    return 0;
}

static void nap(double seconds)
{
    const struct timespec t = {(time_t)seconds, (long)(fmod(seconds, 1.0) * 1e9)};
    (void)nanosleep(&t, NULL);
}

/* Scores a completion by its number of bytes, after a delay; those that begin with "whole" never.
 */
static json_t *parameters(const char *delay, int workers, double timeout)
{
    char program[512];
    (void)snprintf(program, sizeof program,
                   "while read -r line; do\n"
                   "    w=${line#*completion\\\":\\\"}\n"
                   "    w=${w%%%%\\\"*}\n"
                   "    case $w in whole*) sleep 60 ;; esac\n"
                   "    sleep %s; echo ${#w}\n"
                   "done\n",
                   delay);
    json_t *p = json_pack("{s:[s, s, s], s:i, s:f}", "reward_program", "/bin/bash", "-c", program,
                          "reward_workers", workers, "reward_timeout", timeout);
    assert_non_null(p);
    return p;
}

/* ---- the queue ---- */

struct heard {
    double score[ROWS];
    int times[ROWS];
    char reason[ROWS][REWARD_REASON_CAP];
};

static enum status hear(void *ctx, int64_t item, double score, const char *reason)
{
    struct heard *h = ctx;
    h->score[item] = score;
    h->times[item]++;
    (void)snprintf(h->reason[item], REWARD_REASON_CAP, "%s", reason);
    return STATUS_OK;
}

static struct reward_remote *open_remote(const char *delay, int workers, double timeout)
{
    const struct remote_options options = {.workers = workers, .seconds = timeout};
    struct reward_remote *r;
    json_t *p = parameters(delay, workers, timeout);
    assert_int_equal(reward_remote_open(&r, helper, "program", p, &options), STATUS_OK);
    json_decref(p);
    return r;
}

static void submit(struct reward_remote *r, struct heard *h, int64_t item, const char *text)
{
    const struct reward_input in = {.completion = text, .tokens = -1};
    assert_int_equal(reward_remote_submit(r, &in, hear, h, item), STATUS_OK);
}

/* A judge that blocks costs its own completion; neither it nor its replacement holds the caller. */
static void a_blocked_judge_holds_nobody(void **state)
{
    struct reward_remote *r = open_remote("0.01", 2, 0.8);
    struct heard h = {.times = {0}};
    double longest = 0.0;
    (void)state;
    const double begin = clock_seconds();
    submit(r, &h, 0, "whole");
    for (int i = 1; i < ROWS; i++) {
        submit(r, &h, i, "four");
    }
    while (reward_remote_pending(r) > 0 && clock_seconds() - begin < 30.0) {
        const double at = clock_seconds();
        assert_int_equal(reward_remote_poll(r, 0), STATUS_OK);
        longest = fmax(longest, clock_seconds() - at);
        nap(0.002);
    }
    assert_int_equal(reward_remote_pending(r), 0);
    assert_true(longest < 0.4); /* below the limit, however busy the machine is */
    assert_true(isnan(h.score[0]));
    assert_non_null(strstr(h.reason[0], "reward_timeout"));
    for (int i = 0; i < ROWS; i++) {
        assert_int_equal(h.times[i], 1);
        assert_true(i == 0 || h.score[i] == 4.0);
    }
    reward_remote_close(r);
}

/* What is dropped is never heard of again; the others' verdicts come. */
static void dropped_requests_are_gone(void **state)
{
    struct reward_remote *r = open_remote("0.02", 2, 30.0);
    struct heard mine = {.times = {0}};
    struct heard other = {.times = {0}};
    (void)state;
    submit(r, &mine, 0, "whole");
    submit(r, &other, 0, "abc");
    submit(r, &mine, 1, "whole");
    for (int i = 1; i < ROWS; i++) {
        submit(r, i % 2 ? &other : &mine, i, "abcdef");
    }
    reward_remote_drop(r, &mine);
    while (reward_remote_pending(r) > 0) {
        assert_int_equal(reward_remote_poll(r, -1), STATUS_OK);
    }
    for (int i = 0; i < ROWS; i++) {
        assert_int_equal(mine.times[i], 0);
        assert_int_equal(other.times[i], i == 0 || i % 2 == 1);
    }
    assert_true(other.score[0] == 3.0 && other.score[1] == 6.0);
    reward_remote_close(r);
}

/* ---- rounds ---- */

/* A decoder: every row takes `seconds`, row r says r + 1 letters, or what blocks the judge. */
struct decoder {
    double seconds;
    int64_t stuck; /* row, -1: none */
    bool fails;    /* after its last row */
};

static enum status decode(void *ctx, const struct generate_args *args, struct completion_set *out,
                          struct generate_stats *stats)
{
    const struct decoder *d = ctx;
    *stats = (struct generate_stats){0};
    out->items = calloc(ROWS, sizeof *out->items);
    assert_non_null(out->items);
    for (int64_t r = 0; r < ROWS; r++) {
        struct completion *c = &out->items[out->count++];
        *c = (struct completion){.prompt = r / SIZE, .sample = (uint32_t)(r % SIZE),
                                 .stopped = true};
        c->ids = calloc(ROWS + 1, sizeof *c->ids);
        c->logp = calloc(ROWS + 1, sizeof *c->logp);
        c->entropy = calloc(ROWS + 1, sizeof *c->entropy);
        assert_true(c->ids && c->logp && c->entropy);
        c->count = r == d->stuck ? 1 : r + 1;
        for (int64_t t = 0; t < c->count; t++) {
            c->ids[t] = r == d->stuck ? WHOLE : X;
        }
        nap(d->seconds);
        TRY(args->done(args->done_ctx, c));
        TRY(args->between(args->done_ctx));
    }
    return d->fails ? FAIL(DEVICE, "the decoder fails") : STATUS_OK;
}

static json_t *row_of(void *ctx, int64_t i)
{
    (void)ctx;
    return json_pack("{s:s, s:i}", "prompt", "p", "row", (int)i);
}

struct bench {
    struct tokenizer *tokenizer;
    struct comm comm;
    struct rollout_env env;
    struct completion_source source;
    struct reward_set rewards;
    double weights[2];
    struct rollout_config config;
};

static void bench_open(struct bench *b, struct decoder *d, json_t *p)
{
    const char *source = getenv("GRAFT_SOURCE");
    const char *names[2] = {"program", "repetition_penalty"};
    char path[4096];
    *b = (struct bench){.weights = {1.0, 0.5}, .source = {.complete = decode, .ctx = d}};
    (void)snprintf(path, sizeof path, "%s/tests/data/tokenizer/byte_level", source ? source : ".");
    assert_int_equal(tokenizer_open_folder(&b->tokenizer, path), STATUS_OK);
    assert_int_equal(comm_open(&b->comm), STATUS_OK);
    assert_int_equal(reward_set_open_isolated(&b->rewards, helper, names, 2, p), STATUS_OK);
    b->env = (struct rollout_env){.comm = &b->comm, .format = {.tokenizer = b->tokenizer},
                                  .row = row_of, .where = "table"};
    b->config = (struct rollout_config){.group_size = SIZE, .max_completion_length = ROWS + 1,
                                        .rewards = &b->rewards, .weights = b->weights,
                                        .source = &b->source};
}

static void bench_close(struct bench *b)
{
    reward_set_close(&b->rewards);
    comm_close(&b->comm);
    tokenizer_close(b->tokenizer);
}

/* Rolls a round out; returns its seconds. */
static double run(struct decoder *d, const char *delay, int workers, double timeout,
                  struct round *r)
{
    static const int64_t INDICES[GROUPS] = {0, 1, 2};
    struct bench b;
    json_t *p = parameters(delay, workers, timeout);
    bench_open(&b, d, p);
    json_decref(p);
    const double begin = clock_seconds();
    assert_int_equal(rollout_round(&b.config, &b.env, INDICES, GROUPS, 0, r), STATUS_OK);
    const double seconds = clock_seconds() - begin;
    bench_close(&b);
    return seconds;
}

/* Delays differ from judge to judge and from run to run; scores don't. */
static void verdicts_do_not_depend_on_time(void **state)
{
    (void)state;
    for (int workers = 1; workers <= 4; workers++) {
        struct decoder d = {.seconds = 0.001 * workers, .stuck = -1};
        struct round r;
        (void)run(&d, "0.0$((RANDOM % 3))", workers, 30.0, &r);
        for (int64_t i = 0; i < ROWS; i++) {
            assert_true(r.row[i].rewards[0] == (double)(i + 1));
            assert_true(r.row[i].rewards[1] <= 0.0); /* scored in this process */
        }
        round_close(&r);
    }
}

/* Decoder and judge take about as long: together little more than one of them. */
static void a_round_lasts_as_long_as_its_longer_part(void **state)
{
    struct decoder d = {.seconds = 0.06, .stuck = -1};
    struct round r;
    (void)state;
    const double seconds = run(&d, "0.05", 1, 30.0, &r);
    const double decoding = ROWS * 0.06;
    const double judging = ROWS * 0.05;
    assert_true(seconds >= decoding);
    assert_true(seconds < decoding + 0.6 * judging);
    assert_true(r.judge_seconds < 0.6 * judging);
    round_close(&r);
    d.seconds = 0.0; /* nothing to hide behind: the wait is the judge's, and counted */
    (void)run(&d, "0.05", 1, 30.0, &r);
    assert_true(r.judge_seconds > 0.8 * judging);
    round_close(&r);
}

static void a_stuck_row_ends_at_its_limit(void **state)
{
    struct decoder d = {.seconds = 0.001, .stuck = 7};
    struct round r;
    (void)state;
    const double seconds = run(&d, "0", 3, 0.7, &r);
    assert_true(seconds < 20.0);
    for (int64_t i = 0; i < ROWS; i++) {
        assert_true(i == 7 ? isnan(r.row[i].rewards[0])
                           : r.row[i].rewards[0] == (double)(i + 1));
    }
    round_close(&r);
}

/* A failing decoder ends the round while verdicts are out; the judges serve the next one. */
static void a_failed_round_leaves_nothing_behind(void **state)
{
    static const int64_t INDICES[GROUPS] = {0, 1, 2};
    struct decoder d = {.stuck = 3, .fails = true};
    struct bench b;
    struct round r;
    json_t *p = parameters("0.01", 2, 30.0);
    (void)state;
    bench_open(&b, &d, p);
    json_decref(p);
    assert_int_equal(rollout_round(&b.config, &b.env, INDICES, GROUPS, 0, &r), STATUS_DEVICE);
    assert_int_equal(reward_remote_pending(b.rewards.items[0].remote), 0);
    d = (struct decoder){.stuck = -1};
    assert_int_equal(rollout_round(&b.config, &b.env, INDICES, GROUPS, 1, &r), STATUS_OK);
    for (int64_t i = 0; i < ROWS; i++) {
        assert_true(r.row[i].rewards[0] == (double)(i + 1));
    }
    round_close(&r);
    bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_blocked_judge_holds_nobody),
        cmocka_unit_test(dropped_requests_are_gone),
        cmocka_unit_test(verdicts_do_not_depend_on_time),
        cmocka_unit_test(a_round_lasts_as_long_as_its_longer_part),
        cmocka_unit_test(a_stuck_row_ends_at_its_limit),
        cmocka_unit_test(a_failed_round_leaves_nothing_behind),
    };
    (void)alarm(120);
    return cmocka_run_group_tests(tests, start, stop);
}
