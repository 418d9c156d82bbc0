/*
 * grade: verdicts of the math judge on rows {"gold", "answer"}, on all cores, in the order of the
 * rows (design.md 5).
 */
#include <math.h>
#include <string.h>

#include "eval/grade/grade.h"
#include "recipes/commands.h"
#include "recipes/row_pool.h"

static enum status grader_open(void *ctx, void **state)
{
    struct grade *g;
    TRY(grade_open(*(const enum grade_rule *)ctx, &g));
    *state = g;
    return STATUS_OK;
}

static void grader_close(void *state)
{
    grade_close(state);
}

static enum status grade_row(struct grade *g, const json_t *row, json_t **result)
{
    const json_t *gold = json_object_get(row, "gold");
    const json_t *answer = json_object_get(row, "answer");
    if (!json_is_string(gold) || !json_is_string(answer)) {
        return FAIL(INPUT, "a row needs \"gold\" and \"answer\", both texts");
    }
    const char *g_text = json_string_value(gold);
    const char *a_text = json_string_value(answer);
    const size_t g_length = json_string_length(gold);
    const size_t a_length = json_string_length(answer);
    bool equal;
    double reward;
    TRY(grade_verify(g, g_text, g_length, a_text, a_length, &equal));
    TRY(grade_reward(g, g_text, g_length, a_text, a_length, &reward));
    *result = json_pack("{s:b, s:o}", "equal", (int)equal, "reward",
                        isnan(reward) ? json_null() : json_real(reward));
    if (*result && isnan(reward)) {
        const struct grade_answer *a;
        TRY(grade_parse(g, g_text, g_length, &GRADE_CONFIG_OPEN_R1_GOLD, &a));
        (void)json_object_set_new(*result, "reason", json_string(grade_answer_reason(a)));
    }
    return *result ? STATUS_OK : FAIL(MEMORY, "no memory for the result");
}

static enum status grader_run(void *state, struct row_job *job)
{
    for (size_t i = 0; i < json_array_size(job->rows); i++) {
        json_t *result = NULL;
        job->bad = (int64_t)i;
        const enum status status = grade_row(state, json_array_get(job->rows, i), &result);
        if (status != STATUS_OK) {
            json_decref(result);
            return status;
        }
        if (json_array_append_new(job->results, result) != 0) {
            return FAIL(MEMORY, "no memory for the result");
        }
    }
    return STATUS_OK;
}

enum status cmd_grade(const struct command_args *args)
{
    enum grade_rule rule = GRADE_MATH_VERIFY;
    struct row_stream rows;
    const struct row_pool pool = {
        .threads = args->threads,
        .ctx = &rule,
        .open = grader_open,
        .run = grader_run,
        .close = grader_close,
    };
    if (args->rule && strcmp(args->rule, "strict") == 0) {
        rule = GRADE_STRICT;
    } else if (args->rule && strcmp(args->rule, "math-verify") != 0) {
        return FAIL(USAGE, "grade: --rule %.40s: use math-verify or strict", args->rule);
    }
    enum status status = rows_open(&rows, args);
    if (status == STATUS_OK) {
        status = row_pool_run(&pool, &rows);
    }
    return rows_close(&rows, status);
}
