/*
 * Rewards against the functions of open-r1 and TRL (golden/rewards): every recorded call, exactly.
 * The math judge decides accuracy, length and the cosines; the rest is the rewards' own.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "rl/reward/reward.h"
#include "tests/support/golden_files.h"
#include "trainer/data/dataset.h"
#include "trainer/format/json.h"

enum { MOST = 64 };

/* One recorded call: inputs with the columns of their completion. */
struct recorded {
    struct reward_input inputs[MOST];
    json_t *rows[MOST];
    int32_t *ids[MOST];
    int64_t count;
};

static void take_columns(struct recorded *r, const json_t *line)
{
    static const char *const COLUMNS[] = {"solution", "language"};
    for (int64_t i = 0; i < r->count; i++) {
        r->rows[i] = json_object();
        for (size_t c = 0; c < sizeof COLUMNS / sizeof COLUMNS[0]; c++) {
            json_t *value = json_array_get(json_object_get(line, COLUMNS[c]), (size_t)i);
            if (value) {
                assert_int_equal(json_object_set(r->rows[i], COLUMNS[c], value), 0);
            }
        }
        r->inputs[i].row = r->rows[i];
    }
}

static void take_tokens(struct recorded *r, const json_t *line)
{
    const json_t *lengths = json_object_get(line, "completion_lengths");
    const json_t *lists = json_object_get(line, "completion_ids");
    for (int64_t i = 0; i < r->count; i++) {
        const json_t *list = json_array_get(lists, (size_t)i);
        const json_t *length = json_array_get(lengths, (size_t)i);
        r->inputs[i].tokens = length ? json_integer_value(length)
                              : list ? (int64_t)json_array_size(list)
                                     : -1;
        if (r->inputs[i].tokens < 0) {
            continue;
        }
        /* Lengths alone were recorded where all ids are the same. */
        r->ids[i] = calloc((size_t)r->inputs[i].tokens + 1, sizeof *r->ids[i]);
        assert_non_null(r->ids[i]);
        for (size_t t = 0; t < json_array_size(list); t++) {
            r->ids[i][t] = (int32_t)json_integer_value(json_array_get(list, t));
        }
        r->inputs[i].ids = r->ids[i];
    }
}

static void recorded_open(struct recorded *r, const json_t *line)
{
    const json_t *completions = json_object_get(line, "completions");
    *r = (struct recorded){.count = (int64_t)json_array_size(completions)};
    assert_true(r->count <= MOST);
    for (int64_t i = 0; i < r->count; i++) {
        r->inputs[i].completion = json_string_value(json_array_get(completions, (size_t)i));
        assert_non_null(r->inputs[i].completion);
    }
    take_columns(r, line);
    take_tokens(r, line);
}

static void recorded_close(struct recorded *r)
{
    for (int64_t i = 0; i < r->count; i++) {
        json_decref(r->rows[i]);
        free(r->ids[i]);
    }
}

/* Completions whose score differs from the recorded one. */
static int check_line(const json_t *line, int64_t number)
{
    struct recorded r;
    struct reward_set set;
    double scores[MOST];
    int wrong = 0;
    const char *name = json_get_string(line, "reward", "");
    recorded_open(&r, line);
    assert_int_equal(reward_set_open(&set, &name, 1, json_object_get(line, "params")), STATUS_OK);
    const struct reward_call call = {.inputs = r.inputs, .count = r.count};
    assert_int_equal(reward_set_score(&set, 0, &call, scores), STATUS_OK);
    const json_t *golden = json_object_get(line, "scores");
    assert_int_equal(json_array_size(golden), r.count);
    for (int64_t i = 0; i < r.count; i++) {
        const json_t *want = json_array_get(golden, (size_t)i);
        const double score = json_number_value(want);
        const bool same = json_is_null(want)
                              ? isnan(scores[i])
                              : fabs(scores[i] - score) <= 1e-12 * fmax(1, fabs(score));
        if (!same) {
            wrong++;
            print_message("  line %d, completion %d: %s is %g, not %s%g: %.200s | %s\n",
                          (int)number, (int)i, name, scores[i], json_is_null(want) ? "null " : "",
                          score, r.inputs[i].completion,
                          json_get_string(r.rows[i], "solution", ""));
        }
    }
    reward_set_close(&set);
    recorded_close(&r);
    return wrong;
}

static void follow(const char *file)
{
    char folder[GOLDEN_PATH];
    char path[GOLDEN_PATH + 32];
    struct dataset *lines;
    int calls = 0;
    int wrong = 0;
    (void)snprintf(path, sizeof path, "rewards/%s", file);
    (void)snprintf(path, sizeof path, "%s", golden_files_folder(path, folder));
    golden_files_need(dataset_open(&lines, path, NULL, NULL), path);
    for (int64_t i = 0; i < dataset_count(lines); i++) {
        json_t *line = dataset_row(lines, i);
        assert_non_null(line);
        /* extract_code is the sandbox's helper, not a reward. */
        if (strcmp(json_get_string(line, "reward", ""), "extract_code") != 0) {
            wrong += check_line(line, i + 1);
            calls++;
        }
        json_decref(line);
    }
    print_message("  %s: %d calls, %d scores differ\n", file, calls, wrong);
    assert_true(calls > 0);
    assert_int_equal(wrong, 0);
    dataset_close(lines);
}

static void rewards_follow_open_r1(void **state)
{
    (void)state;
    follow("open_r1.jsonl");
}

static void rewards_follow_trl(void **state)
{
    (void)state;
    follow("trl.jsonl");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rewards_follow_open_r1),
        cmocka_unit_test(rewards_follow_trl),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
