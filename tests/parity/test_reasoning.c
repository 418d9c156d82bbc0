/* Scores of reasoning-gym's answers (golden/reasoning): every one of them. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "eval/tasks/procedural.h"
#include "tests/support/golden_files.h"
#include "trainer/data/dataset.h"
#include "trainer/format/json.h"

/* Scores of one question that differ; *count grows by the answers. */
static int check_question(const json_t *line, int *count)
{
    const char *name = json_get_string(line, "task", "");
    const struct procedural_task *task = procedural_find(name);
    const json_t *trials = json_object_get(line, "trials");
    int wrong = 0;
    if (!task) {
        fail_msg("no task %s", name);
    }
    for (size_t i = 0; i < json_array_size(trials); i++) {
        const json_t *trial = json_array_get(trials, i);
        const json_t *score = json_object_get(trial, "score");
        const char *answer = json_string_value(json_object_get(trial, "answer"));
        const double mine = procedural_score(task, answer, line);
        const bool same = score ? fabs(mine - json_number_value(score)) <= 1e-12 : isnan(mine);
        if (!same) {
            print_message("  %s: '%s' against '%s' is %g, not %g\n", name, answer ? answer : "null",
                          json_get_string(line, "answer", ""), mine,
                          score ? json_number_value(score) : NAN);
        }
        wrong += !same;
        (*count)++;
    }
    return wrong;
}

static void scores_follow_the_package(void **state)
{
    (void)state;
    char folder[GOLDEN_PATH];
    char path[GOLDEN_PATH + 32];
    struct dataset *lines;
    int count = 0;
    int wrong = 0;
    (void)snprintf(path, sizeof path, "%s/questions.jsonl",
                   golden_files_folder("reasoning", folder));
    golden_files_need(dataset_open(&lines, path, NULL, NULL), path);
    for (int64_t i = 0; i < dataset_count(lines); i++) {
        json_t *line = dataset_row(lines, i);
        assert_non_null(line);
        wrong += check_question(line, &count);
        json_decref(line);
    }
    print_message("  %d answers, %d scores differ\n", count, wrong);
    assert_true(count > 0);
    assert_int_equal(wrong, 0);
    dataset_close(lines);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(scores_follow_the_package)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
