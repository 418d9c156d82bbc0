/*
 * Rewards by their definitions: edges of patterns, curves, ranges, and the options that mend
 * Open-R1's quirks. golden/rewards holds the recorded functions (parity.test_rewards).
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rl/reward/reward.h"

enum { MOST = 8 };

/* Scores `count` completions by one reward; parameters and row as JSON text, NULL: none. */
static void score_call(const char *name, const char *parameters, const char *row,
                       struct reward_input *inputs, int64_t count, double *scores)
{
    struct reward_set set;
    char reasons[MOST][REWARD_REASON_CAP];
    json_t *p = parameters ? json_loads(parameters, 0, NULL) : NULL;
    json_t *r = row ? json_loads(row, JSON_ALLOW_NUL, NULL) : NULL;
    assert_true((p != NULL) == (parameters != NULL) && (r != NULL) == (row != NULL));
    for (int64_t i = 0; i < count; i++) {
        inputs[i].row = r;
    }
    const struct reward_call call = {.inputs = inputs, .count = count, .reasons = reasons};
    if (reward_set_open(&set, &name, 1, p) != STATUS_OK) {
        fail_msg("%s", status_message());
    }
    assert_int_equal(reward_set_score(&set, 0, &call, scores), STATUS_OK);
    for (int64_t i = 0; i < count; i++) { /* a null score says why, a score says nothing */
        if (isnan(scores[i]) != (reasons[i][0] != '\0')) {
            fail_msg("%s: %g with reason '%s'", name, scores[i], reasons[i]);
        }
    }
    reward_set_close(&set);
    json_decref(p);
    json_decref(r);
}

static double score_one(const char *name, const char *parameters, const char *row,
                        const char *completion)
{
    double score;
    struct reward_input in = {.completion = completion, .tokens = -1};
    score_call(name, parameters, row, &in, 1, &score);
    return score;
}

static void shapes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double format;
        double strict;
        double tags;
    } CASES[] = {
        {"<think>\na\n</think>\n<answer>\nb\n</answer>", 1, 1, 1},
        {"<think>\na\n</think>\n<answer>\nb\n</answer>\nmore", 1, 0, 1},
        {"<think>\na\n</think>\n<answer>\nb\n</answer> more", 0, 0, 1},
        {"x<think>\na\n</think>\n<answer>\nb\n</answer>", 0, 0, 1},
        {"\n<think>\na\n</think>\n<answer>\nb\n</answer>", 0, 0, 1},
        {"<think>\n\n</think>\n<answer>\n\n</answer>", 1, 1, 1},
        {"<think>\n</think>\n<answer>\n</answer>", 0, 0, 1},
        {"<think>\na\n</think>\n\n<answer>\nb\n</answer>", 0, 0, 1},
        {"<think>\na\n</think>\n<answer>\nb\n</answer>x\n</answer>", 1, 1, 0.75},
        {"<think>\n<think>\na\n</think>\n<answer>\nb\n</answer>", 1, 1, 0.75},
        {"<think> a </think> <answer> b </answer>", 0, 0, 0},
        {"<think>\na\n</think>\n", 0, 0, 0.5},
        {"", 0, 0, 0},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        const double format = score_one("format", NULL, NULL, CASES[i].text);
        const double strict =
            score_one("format", "{\"format_strict\": true}", NULL, CASES[i].text);
        const double tags = score_one("tag_count", NULL, NULL, CASES[i].text);
        if (format != CASES[i].format || strict != CASES[i].strict || tags != CASES[i].tags) {
            fail_msg("case %zu: format %g, strict %g, tag_count %g", i, format, strict, tags);
        }
    }
    assert_true(score_one("think_format_reward", NULL, NULL, "<think>a</think> b") == 1);
    assert_true(score_one("think_format_reward", NULL, NULL, "<think></think>") == 1);
    assert_true(score_one("think_format_reward", NULL, NULL, "<think>a</think><think>b") == 0);
    assert_true(score_one("think_format_reward", NULL, NULL, " <think>a</think>") == 0);
    assert_true(score_one("think_format_reward", NULL, NULL, "<think>a") == 0);
}

static void code_shapes(void **state)
{
    (void)state;
    const char *cpp = "<think>\na\n</think>\n<answer>\n```cpp\nint x;\n```\n</answer>";
    assert_true(score_one("code_format", NULL, NULL, cpp) == 0);
    assert_true(score_one("code_format", "{\"code_language\": \"cpp\"}", NULL, cpp) == 1);
    assert_true(score_one("code_format", "{\"language\": \"cpp\"}", NULL, cpp) == 1);
    assert_true(score_one("code_format", NULL, "{\"language\": \"cpp\"}", cpp) == 1);
    assert_true(score_one("code_format", NULL, "{\"language\": \"c\"}", cpp) == 1); /* a prefix */
    assert_true(score_one("code_format", NULL, "{\"language\": 5}", cpp) == 0);
    char longer[100];
    char row[200];
    memset(longer, 'x', sizeof longer);
    longer[sizeof longer - 1] = '\0';
    (void)snprintf(row, sizeof row, "{\"language\": \"%s\"}", longer);
    assert_true(score_one("code_format", NULL, row, cpp) == 0);
    /* The fence must close inside the answer. */
    assert_true(score_one("code_format", NULL, NULL,
                          "<think>\na\n</think>\n<answer>\n```python\nx\n</answer>") == 0);
    assert_true(score_one("code_format", NULL, NULL,
                          "<think>\n```python\n```\n</think>\n<answer>\nx\n</answer>") == 0);
}

static void steps_are_counted(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double score;
        double multiline;
    } CASES[] = {
        {"", 0, 0},
        {"Step 1: a Step 22: b", 2.0 / 3, 2.0 / 3},
        {"Step : a Step 1 b step 1:", 0, 0},
        {"1. a\n2. b\n3. c\n4. d", 1.0 / 3, 1},
        {"12.5 apples", 1.0 / 3, 1.0 / 3},
        {" 1. a", 0, 0},
        {"a\n- b\n* c", 2.0 / 3, 2.0 / 3},
        {"- a", 0, 0},
        {"First, Second, Next, Finally,", 1, 1},
        {"first, FIRST, First", 0, 0},
        {"\xd9\xa1. arabic digit", 1.0 / 3, 1.0 / 3},
        {"Step \xd9\xa1\xd9\xa2: two of them", 1.0 / 3, 1.0 / 3},
        {"\xff\xfe Step \xff: Next, \xff", 1.0 / 3, 1.0 / 3},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        const double score = score_one("reasoning_steps", NULL, NULL, CASES[i].text);
        const double multiline = score_one(
            "reasoning_steps", "{\"reasoning_steps_multiline\": true}", NULL, CASES[i].text);
        if (fabs(score - CASES[i].score) > 1e-15 || fabs(multiline - CASES[i].multiline) > 1e-15) {
            fail_msg("case %zu: %g, multiline %g", i, score, multiline);
        }
    }
}

static void repetition_of_words(void **state)
{
    (void)state;
    static const struct {
        const char *parameters;
        const char *text;
        double score;
    } CASES[] = {
        {NULL, "", 0},
        {NULL, "a b", 0},
        {NULL, "a b c", 0},
        {NULL, "a b c a b c", -0.25},            /* abc bca cab abc */
        {NULL, "A b C\n\ta B\xc2\xa0" "c", -0.25}, /* case and spaces of any kind */
        {"{\"ngram_size\": 1, \"max_penalty\": -0.5}", "a a a a", -0.375},
        {"{\"repetition_n_grams\": 2}", "a a a a a", -0.75},
        {"{\"max_penalty\": 0}", "a a a a", 0},
        {"{\"ngram_size\": 1}", "\xc4\xb0 i \xce\xa3\xce\xa3 \xcf\x83\xcf\x82", -0.25}, /* SS = ss */
        {"{\"ngram_size\": 1, \"repetition_unit\": \"characters\"}", "\xe6\x95\xb0 \xe6\x95\xb0", -0.5},
        {"{\"ngram_size\": 1}", "\xff \xff \xfe", -1.0 / 3},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        const double score =
            score_one("repetition_penalty", CASES[i].parameters, NULL, CASES[i].text);
        if (fabs(score - CASES[i].score) > 1e-15) {
            fail_msg("case %zu: %.17g, not %g", i, score, CASES[i].score);
        }
    }
}

static void tokens_decide(void **state)
{
    (void)state;
    static const int32_t IDS[] = {5, 5, 5, 5, 5};
    struct reward_input in[] = {
        {.completion = "", .ids = IDS, .tokens = 5},
        {.completion = "", .ids = IDS, .tokens = 1},
        {.completion = "", .tokens = -1},
    };
    double scores[MOST];
    score_call("repetition_penalty_reward", "{\"ngram_size\": 2}", NULL, in, 3, scores);
    assert_true(scores[0] == -0.75 && scores[1] == 0 && isnan(scores[2]));

    struct reward_input lengths[] = {
        {.completion = "", .tokens = 80}, {.completion = "", .tokens = 81},
        {.completion = "", .tokens = 90}, {.completion = "", .tokens = 100},
        {.completion = "", .tokens = 101}, {.completion = "", .tokens = -1},
    };
    score_call("soft_overlong_punishment",
               "{\"max_completion_len\": 100, \"soft_punish_cache\": 20}", NULL, lengths, 6,
               scores);
    assert_true(scores[0] == 0 && scores[1] == -0.05 && scores[2] == -0.5 && scores[3] == -1);
    assert_true(scores[4] == -1 && isnan(scores[5]));
    score_call("soft_overlong_punishment",
               "{\"max_completion_len\": 80, \"soft_punish_cache\": 0}", NULL, lengths, 2, scores);
    assert_true(scores[0] == 0 && scores[1] == -1);
}

static void accuracy_asks_the_judge(void **state)
{
    (void)state;
    static const char ROW[] = "{\"solution\": \"$7$\"}";
    static const char *const NAMES[] = {"accuracy", "accuracy_reward", "reasoning_accuracy_reward"};
    for (size_t i = 0; i < 3; i++) {
        assert_true(score_one(NAMES[i], NULL, ROW, "a</think> \\boxed{7}") == 1);
        assert_true(score_one(NAMES[i], NULL, ROW, "a</think> \\boxed{8}") == 0);
        assert_true(score_one(NAMES[i], NULL, ROW, "a</think> so it is $7$") == 0); /* unanchored */
        assert_true(isnan(score_one(NAMES[i], NULL, NULL, "a</think> \\boxed{7}")));
        assert_true(
            isnan(score_one(NAMES[i], NULL, "{\"solution\": \"\"}", "a</think> \\boxed{7}")));
        assert_true(
            isnan(score_one(NAMES[i], NULL, "{\"solution\": [1]}", "a</think> \\boxed{7}")));
        assert_true(score_one(NAMES[i], NULL, "{\"answer\": 7}", "a</think> \\boxed{7}") == 1);
        assert_true(score_one(NAMES[i], NULL, "{\"answer\": 7.5}", "a</think> \\boxed{7.5}") == 1);
    }
    assert_true(score_one("last_number", NULL, "{\"solution\": \"7\"}", "so it is 7") == 1);
    /* Behind the first delimiter that occurs, its last place. */
    const char *text = "\\boxed{7}</think>x</think> \\boxed{8} <answer> \\boxed{7}";
    assert_true(score_one("reasoning_accuracy_reward", NULL, ROW, "\\boxed{7}") == 0);
    assert_true(score_one("reasoning_accuracy_reward", "{\"reasoning_delimiters\": \"<answer>\"}",
                          ROW, text) == 1);
    assert_true(score_one("reasoning_accuracy_reward",
                          "{\"reasoning_delimiters\": [\"<end>\", \"<answer>\", \"</think>\"]}",
                          ROW, text)
                == 1);
    assert_true(score_one("reasoning_accuracy_reward", "{\"reasoning_delimiters\": [\"<end>\"]}",
                          ROW, text) == 0);
}

static void cosines(void **state)
{
    (void)state;
    static const char RIGHT[] = "\\boxed{7} ..";      /* 12 characters */
    static const char WRONG[] = "\\boxed{8} \xc3\xa9."; /* 12 characters, 13 bytes */
    static const char ROW[] = "{\"solution\": \"$7$\"}";
    const double half = 1e-15;
    assert_true(fabs(score_one("cosine", "{\"max_len\": 24}", ROW, RIGHT) - 0.75) < half);
    assert_true(fabs(score_one("cosine", "{\"max_len\": 24}", ROW, WRONG) + 0.75) < half);
    assert_true(fabs(score_one("cosine", "{\"max_len\": 12}", ROW, RIGHT) - 0.5) < half);
    assert_true(fabs(score_one("cosine", "{\"max_len\": 12}", ROW, WRONG) + 0.5) < half);
    /* Behind max_len the curve rises again, unless clamped. */
    assert_true(fabs(score_one("cosine", "{\"max_len\": 6}", ROW, RIGHT) - 1.0) < half);
    assert_true(fabs(score_one("cosine", "{\"max_len\": 6, \"cosine_clamp\": true}", ROW, RIGHT)
                     - 0.5) < half);
    /* An unreadable gold answer is right at any length, or null. */
    static const char NO_GOLD[] = "{\"solution\": \"none\"}";
    assert_true(score_one("cosine", NULL, NO_GOLD, WRONG) == 1.0);
    assert_true(isnan(score_one("cosine", "{\"unreadable_gold_null\": true}", NO_GOLD, WRONG)));
    /* TRL: tokens, clamped, null. */
    double scores[MOST];
    struct reward_input in[] = {
        {.completion = RIGHT, .tokens = 0},  {.completion = RIGHT, .tokens = 50},
        {.completion = RIGHT, .tokens = 900}, {.completion = WRONG, .tokens = 50},
        {.completion = RIGHT, .tokens = -1},
    };
    score_call("cosine_scaled_reward", "{\"max_len\": 100}", ROW, in, 5, scores);
    assert_true(scores[0] == 1.0 && fabs(scores[1] - 0.75) < half && scores[2] == 0.5);
    assert_true(fabs(scores[3] + 0.75) < half && isnan(scores[4]));
    score_call("cosine_scaled_reward", NULL, NO_GOLD, in, 1, scores);
    assert_true(isnan(scores[0]));
}

static void lengths_compare_a_call(void **state)
{
    (void)state;
    static const char ROW[] = "{\"solution\": \"$7$\"}";
    double s[MOST];
    struct reward_input in[] = {
        {.completion = "\\boxed{7}", .group = 0},            /* 9 characters, right */
        {.completion = "\\boxed{8} \xc3\xa9\xc3\xa9\xc3\xa9", .group = 0}, /* 13, wrong */
        {.completion = "\\boxed{7} 34567", .group = 1},       /* 15, right */
        {.completion = "\\boxed{8} 3456789", .group = 1},     /* 17, wrong */
    };
    score_call("length", NULL, ROW, in, 4, s);
    assert_true(s[0] == 0.5 && s[1] == 0.0 && s[2] == -0.25 && s[3] == -0.5);
    score_call("length", "{\"length_by_group\": true}", ROW, in, 4, s);
    assert_true(s[0] == 0.5 && s[1] == -0.5 && s[2] == 0.5 && s[3] == -0.5);
    score_call("length", NULL, ROW, in, 1, s); /* all equal */
    assert_true(s[0] == 0.0);
    score_call("length", NULL, "{\"solution\": \"none\"}", in, 2, s); /* counts as right */
    assert_true(s[0] == 0.5 && s[1] == -0.5);
    score_call("length", "{\"unreadable_gold_null\": true}", "{\"solution\": \"none\"}", in, 2, s);
    assert_true(isnan(s[0]) && isnan(s[1]));
}

static void procedural_rows_name_their_judge(void **state)
{
    (void)state;
    static const char ROW[] = "{\"task\": \"gcd\", \"answer\": \"15\", \"metadata\": {}}";
    static const struct {
        const char *parameters;
        const char *completion;
        double score;
    } CASES[] = {
        {NULL, "so <answer> 15 </answer>.", 1.0},
        {NULL, " 15\n", 1.0},
        {NULL, "it is 15", 0.25},
        {"{\"procedural_answer\": \"tagged\"}", "15", 0.0},
        {"{\"procedural_answer\": \"tagged\"}", "<answer>15</answer>", 1.0},
        {"{\"procedural_answer\": \"whole\"}", "  15 ", 1.0},
        {"{\"procedural_answer\": \"raw\"}", " 15 ", 0.5},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        const double x = score_one("procedural", CASES[i].parameters, ROW, CASES[i].completion);
        if (x != CASES[i].score) {
            fail_msg("case %zu: %g", i, x);
        }
    }
    /* Metadata as data sets keep it, and rows without a task. */
    assert_true(
        score_one("procedural", NULL,
                  "{\"answer\": \"15\", \"metadata\": \"{\\\"source_dataset\\\": \\\"gcd\\\"}\"}",
                  "15")
        == 1.0);
    assert_true(
        isnan(score_one("procedural", NULL, "{\"answer\": \"15\", \"metadata\": {}}", "15")));
    assert_true(isnan(score_one("procedural", NULL, "{\"task\": \"gcd\"}", "15")));
    assert_true(isnan(score_one("procedural", NULL, NULL, "15")));
    struct reward_set set;
    const char *const name = "procedural";
    json_t *p = json_loads("{\"procedural_answer\": \"loud\"}", 0, NULL);
    assert_int_equal(reward_set_open(&set, &name, 1, p), STATUS_RECIPE);
    assert_non_null(strstr(status_message(), "procedural_answer 'loud'"));
    reward_set_close(&set);
    json_decref(p);
}

/* Any bytes, empty and huge texts: a score or null, in bounded time. */
static void hostile_completions(void **state)
{
    (void)state;
    enum { SIZE = 1 << 20 };
    char *text = malloc(SIZE + 1);
    assert_non_null(text);
    static const char PATTERN[] = "<think>\n\xff{\\boxed{ Step 1\n-\xf0\x9f</think>\n<answer>\n";
    for (size_t i = 0; i < SIZE; i++) {
        text[i] = PATTERN[i % (sizeof PATTERN - 1)];
    }
    text[SIZE] = '\0';
    for (int64_t i = 0; reward_at(i); i++) {
        struct reward_input in[] = {{.completion = text, .tokens = -1},
                                    {.completion = "", .tokens = 0}};
        double scores[2];
        if (reward_at(i)->isolated) {
            continue; /* test_code_rewards and cli/custom_reward.sh have theirs */
        }
        score_call(reward_at(i)->name, NULL, "{\"solution\": \"$7$\"}", in, 2, scores);
        score_call(reward_at(i)->name, NULL, "{\"solution\": \"\\u0000\"}", in + 1, 1, scores);
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes),
        cmocka_unit_test(code_shapes),
        cmocka_unit_test(steps_are_counted),
        cmocka_unit_test(repetition_of_words),
        cmocka_unit_test(tokens_decide),
        cmocka_unit_test(accuracy_asks_the_judge),
        cmocka_unit_test(cosines),
        cmocka_unit_test(lengths_compare_a_call),
        cmocka_unit_test(procedural_rows_name_their_judge),
        cmocka_unit_test(hostile_completions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
