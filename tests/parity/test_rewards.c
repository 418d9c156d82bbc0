/* Rewards against open-r1 (golden/rewards/open_r1.jsonl): format and tag_count, exactly. */
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

static double score(const struct reward *r, const char *completion, const json_t *row)
{
    const struct reward_input in = {.completion = completion, .row = row};
    return r->row(NULL, &in, NULL);
}

/* Scores of one golden line; their number. */
static int check_line(const struct reward *r, const json_t *line, int64_t number)
{
    const json_t *completions = json_object_get(line, "completions");
    const json_t *scores = json_object_get(line, "scores");
    assert_int_equal(json_array_size(completions), json_array_size(scores));
    for (size_t i = 0; i < json_array_size(completions); i++) {
        const char *text = json_string_value(json_array_get(completions, i));
        const double mine = score(r, text, line);
        const double golden = json_number_value(json_array_get(scores, i));
        if (mine != golden) {
            fail_msg("line %d, completion %zu: %s is %g, not %g:\n%s", (int)number, i, r->name,
                     mine, golden, text);
        }
    }
    return (int)json_array_size(completions);
}

static void rewards_follow_open_r1(void **state)
{
    (void)state;
    static const char *const NAMES[] = {"format", "tag_count"};
    char folder[GOLDEN_PATH];
    char path[GOLDEN_PATH + 32];
    struct dataset *lines;
    int done[2] = {0};
    (void)snprintf(path, sizeof path, "%s/open_r1.jsonl", golden_files_folder("rewards", folder));
    golden_files_need(dataset_open(&lines, path, NULL, NULL), path);
    for (int64_t i = 0; i < dataset_count(lines); i++) {
        json_t *line = dataset_row(lines, i);
        assert_non_null(line);
        for (size_t k = 0; k < 2; k++) {
            if (strcmp(json_get_string(line, "reward", ""), NAMES[k]) == 0) {
                done[k] += check_line(reward_find(NAMES[k]), line, i + 1);
            }
        }
        json_decref(line);
    }
    print_message("  %d completions for format, %d for tag_count\n", done[0], done[1]);
    assert_true(done[0] > 0 && done[1] > 0);
    dataset_close(lines);
}

/* Edges of both patterns, by reading them. */
static void edges_of_the_patterns(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double format;
        double tags;
    } CASES[] = {
        {"<think>\na\n</think>\n<answer>\nb\n</answer>", 1.0, 1.0},
        {"<think>\na\n</think>\n<answer>\nb\n</answer>\nmore", 1.0, 1.0},
        {"<think>\na\n</think>\n<answer>\nb\n</answer> more", 0.0, 1.0},
        {"x<think>\na\n</think>\n<answer>\nb\n</answer>", 0.0, 1.0},
        {"<think>\n\n</think>\n<answer>\n\n</answer>", 1.0, 1.0},
        {"<think>\n</think>\n<answer>\n</answer>", 0.0, 1.0},
        {"<think>\na\n</think>\n\n<answer>\nb\n</answer>", 0.0, 1.0},
        {"<think>\na\n</think>\n<answer>\nb\n</answer>x\n</answer>", 1.0, 0.75},
        {"<think>\n<think>\na\n</think>\n<answer>\nb\n</answer>", 1.0, 0.75},
        {"<think> a </think> <answer> b </answer>", 0.0, 0.0},
        {"", 0.0, 0.0},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        const double format = score(reward_find("format"), CASES[i].text, NULL);
        const double tags = score(reward_find("tag_count"), CASES[i].text, NULL);
        if (format != CASES[i].format || tags != CASES[i].tags) {
            fail_msg("case %zu: format %g, tag_count %g", i, format, tags);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(edges_of_the_patterns),
        cmocka_unit_test(rewards_follow_open_r1),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
