/*
 * Judging in worker processes: scores go to their places whichever worker ends first, a crash or a
 * hang costs one null score, messages of a reward that cannot open arrive, and nothing outlives its
 * parent.
 */
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "rl/reward/frame.h"
#include "rl/reward/remote.h"

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

/* Scores a completion by its own words; bash reads a line and finds the completion. */
static const char PROGRAM[] =
    "while read -r line; do\n"
    "    w=${line#*completion\\\":\\\"}\n"
    "    w=${w%%\\\"*}\n"
    "    case $w in\n"
    "    crash*) exit 3 ;;\n"
    "    hang*) sleep 60 ;;\n"
    "    noise*) echo blah ;;\n"
    "    null*) echo '{\"score\": null, \"reason\": \"not today\"}' ;;\n"
    "    slow*) sleep 0.3; echo ${w#slow} ;;\n"
    "    *) echo $w ;;\n"
    "    esac\n"
    "done\n";

static json_t *parameters(const char *more)
{
    char text[256];
    (void)snprintf(text, sizeof text, "{\"reward_workers\": 3%s}", more);
    json_t *json = json_loads(text, 0, NULL);
    assert_non_null(json);
    (void)json_object_set_new(json, "reward_program",
                              json_pack("[s, s, s]", "/bin/bash", "-c", PROGRAM));
    return json;
}

enum { COUNT = 12 };

static void score_texts(struct reward_set *set, const char *const texts[COUNT],
                        double scores[COUNT], char reasons[COUNT][REWARD_REASON_CAP])
{
    struct reward_input inputs[COUNT] = {0};
    for (int i = 0; i < COUNT; i++) {
        inputs[i] = (struct reward_input){.completion = texts[i], .tokens = -1};
    }
    const struct reward_call call = {.inputs = inputs, .count = COUNT, .reasons = reasons};
    assert_int_equal(reward_set_score(set, 0, &call, scores), STATUS_OK);
}

static void test_places(void **state)
{
    static const char *const TEXTS[COUNT] = {"slow0", "1", "slow2", "3", "4",  "slow5",
                                             "6",     "7", "8",     "9", "10", "11"};
    const char *name = "program";
    struct reward_set set;
    double scores[COUNT];
    char reasons[COUNT][REWARD_REASON_CAP];
    json_t *p = parameters("");
    (void)state;
    assert_int_equal(reward_set_open_isolated(&set, helper, &name, 1, p), STATUS_OK);
    assert_non_null(set.items[0].remote);
    score_texts(&set, TEXTS, scores, reasons);
    for (int i = 0; i < COUNT; i++) {
        assert_true(scores[i] == i);
        assert_string_equal(reasons[i], "");
    }
    reward_set_close(&set);
    json_decref(p);
}

static void test_failures(void **state)
{
    static const char *const TEXTS[COUNT] = {"0",     "crash", "2", "noise", "4",  "null",
                                             "hang6", "7",     "8", "9",     "10", "\xff\xfe"};
    const char *name = "program";
    struct reward_set set;
    double scores[COUNT];
    char reasons[COUNT][REWARD_REASON_CAP];
    json_t *p = parameters(", \"reward_program_timeout\": 0.5");
    (void)state;
    assert_int_equal(reward_set_open_isolated(&set, helper, &name, 1, p), STATUS_OK);
    score_texts(&set, TEXTS, scores, reasons);
    for (int i = 0; i < COUNT; i++) {
        const bool null = i == 1 || i == 3 || i == 5 || i == 6 || i == 11;
        assert_true(null ? isnan(scores[i]) : scores[i] == i);
    }
    assert_non_null(strstr(reasons[1], "ended without an answer"));
    assert_non_null(strstr(reasons[3], "is no score"));
    assert_string_equal(reasons[5], "not today");
    assert_non_null(strstr(reasons[6], "reward_program_timeout"));
    assert_non_null(strstr(reasons[11], "UTF-8"));
    reward_set_close(&set);
    json_decref(p);
}

/* The judge's own limit, over the program's. */
static void test_timeout(void **state)
{
    static const char *const TEXTS[COUNT] = {"hang", "1", "2", "3", "4",  "5",
                                             "6",    "7", "8", "9", "10", "11"};
    const char *name = "program";
    struct reward_set set;
    double scores[COUNT];
    char reasons[COUNT][REWARD_REASON_CAP];
    json_t *p = parameters(", \"reward_timeout\": 1");
    (void)state;
    assert_int_equal(reward_set_open_isolated(&set, helper, &name, 1, p), STATUS_OK);
    for (int again = 0; again < 2; again++) {
        score_texts(&set, TEXTS, scores, reasons);
        assert_true(isnan(scores[0]));
        assert_non_null(strstr(reasons[0], "reward_timeout"));
        assert_true(scores[11] == 11);
    }
    reward_set_close(&set);
    json_decref(p);
}

static void test_refused(void **state)
{
    const char *name = "program";
    struct reward_set set;
    json_t *p = json_loads("{\"reward_program\": \"/no/such/program\"}", 0, NULL);
    (void)state;
    assert_int_equal(reward_set_open_isolated(&set, helper, &name, 1, p), STATUS_RECIPE);
    assert_non_null(strstr(status_message(), "/no/such/program"));
    reward_set_close(&set);
    (void)json_object_set_new(p, "reward_workers", json_integer(100));
    assert_int_equal(reward_set_open_isolated(&set, helper, &name, 1, p), STATUS_RECIPE);
    assert_non_null(strstr(status_message(), "reward_workers"));
    reward_set_close(&set);
    json_decref(p);
}

/* Writes its own and its helper's worker's life to the pipe by holding it open. */
static void hold(int fd, const json_t *order)
{
    (void)order;
    json_t *greeting = json_string("here");
    if (frame_send(fd, greeting) == STATUS_OK) {
        (void)pause();
    }
}

static void test_dies_with_its_parent(void **state)
{
    int ends[2];
    char byte;
    (void)state;
    assert_int_equal(pipe(ends), 0);
    const pid_t child = fork();
    if (child == 0) {
        struct helper *own;
        struct helper_worker w;
        json_t *order = json_object();
        json_t *greeting = NULL;
        (void)close(ends[0]);
        const bool good = helper_start(&own, hold) == STATUS_OK
                          && helper_spawn(own, order, &w) == STATUS_OK
                          && frame_receive(w.fd, &greeting) == STATUS_OK && greeting;
        (void)!write(ends[1], good ? "y" : "n", 1);
        (void)pause();
        _exit(0);
    }
    (void)close(ends[1]);
    assert_int_equal(read(ends[0], &byte, 1), 1);
    assert_int_equal(byte, 'y');
    assert_int_equal(kill(child, SIGKILL), 0);
    /* The end comes when the last of the three processes is gone. */
    assert_int_equal(read(ends[0], &byte, 1), 0);
    (void)waitpid(child, NULL, 0);
    (void)close(ends[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_places),  cmocka_unit_test(test_failures),
        cmocka_unit_test(test_timeout), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_dies_with_its_parent),
    };
    (void)alarm(120);
    return cmocka_run_group_tests(tests, start, stop);
}
