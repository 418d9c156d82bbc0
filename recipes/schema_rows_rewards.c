/* Schema rows of rewards (Open-R1); see schema_internal.h. */
#include "recipes/schema_internal.h"

/* The numbers are places of the names; rewards get the name. */
static const struct recipe_choice RULES[] = {{"math-verify", 0, 0}, {"strict", 1, 0}, {NULL, 0, 0}};
static const struct recipe_choice ANSWERS[] = {
    {"auto", 0, 0}, {"tagged", 1, 0}, {"whole", 2, 0}, {"raw", 3, 0}, {NULL, 0, 0}};
static const struct recipe_choice UNITS[] = {{"words", 0, 0}, {"characters", 1, 0}, {NULL, 0, 0}};

static const struct recipe_choice PROFILES[] = {{"full", 0, 0}, {"reduced", 1, 0}, {NULL, 0, 0}};
static const struct recipe_choice SCORINGS[] = {
    {"weighted_sum", 0, 0}, {"pass_fail", 1, 0}, {"partial", 2, 0}, {NULL, 0, 0}};

static const struct recipe_field ROWS[] = {
    /* rewards */
    {"reward_funcs", "reward_func", FIELD_STRINGS, 0, AT(reward_funcs), "accuracy,format,tag_count",
     NULL, 0, 0, NULL, RECIPE_GRPO, "rewards", "rewards by name, and folders of reward models"},
    {"reward_weights", NULL, FIELD_FLOATS, 0, AT(reward_weights), "null", NULL, -1e9, 1e9, NULL,
     RECIPE_GRPO, "rewards", "one weight per reward; null: all 1"},
    {"cosine_min_value_wrong", NULL, FIELD_FLOAT, 0, AT(cosine_min_value_wrong), "0", NULL, -1e9,
     1e9, NULL, RECIPE_GRPO, "rewards", "cosine: short wrong answer"},
    {"cosine_max_value_wrong", NULL, FIELD_FLOAT, 0, AT(cosine_max_value_wrong), "-0.5", NULL, -1e9,
     1e9, NULL, RECIPE_GRPO, "rewards", "cosine: long wrong answer"},
    {"cosine_min_value_correct", NULL, FIELD_FLOAT, 0, AT(cosine_min_value_correct), "0.5", NULL,
     -1e9, 1e9, NULL, RECIPE_GRPO, "rewards", "cosine: long right answer"},
    {"cosine_max_value_correct", NULL, FIELD_FLOAT, 0, AT(cosine_max_value_correct), "1", NULL,
     -1e9, 1e9, NULL, RECIPE_GRPO, "rewards", "cosine: short right answer"},
    {"cosine_max_len", NULL, FIELD_INT, 0, AT(cosine_max_len), "1000", NULL, 1, MANY, NULL,
     RECIPE_GRPO, "rewards",
     "cosine: characters of a long answer; cosine_scaled_reward: its tokens"},
    {"cosine_clamp", NULL, FIELD_BOOL, 0, AT(cosine_clamp), "false", NULL, 0, 0, NULL, RECIPE_GRPO,
     "rewards", "cosine: flat behind cosine_max_len; false: it rises again, as in Open-R1"},
    {"judge_rule", NULL, FIELD_CHOICE, 0, AT(judge_rule), "math-verify", NULL, 0, 0, RULES,
     RECIPE_GRPO, "rewards", "verdicts of Math-Verify, or strict: its known errors mended"},
    {"judge_swapped", NULL, FIELD_BOOL, 0, AT(judge_swapped), "true", NULL, 0, 0, NULL, RECIPE_GRPO,
     "rewards", "length, cosine: compare (answer, gold), as Open-R1 does; false: (gold, answer)"},
    {"unreadable_gold_null", NULL, FIELD_BOOL, 0, AT(unreadable_gold_null), "false", NULL, 0, 0,
     NULL, RECIPE_GRPO, "rewards",
     "length, cosine: no score where the gold answer can't be read; false: it counts as right"},
    {"length_by_group", NULL, FIELD_BOOL, 0, AT(length_by_group), "false", NULL, 0, 0, NULL,
     RECIPE_GRPO, "rewards",
     "length: range of the prompt's group; false: of a virtual rank's call, as in Open-R1"},
    {"reasoning_delimiters", NULL, FIELD_STRINGS, 0, AT(reasoning_delimiters), "null", NULL, 0, 0,
     NULL, RECIPE_GRPO, "rewards",
     "reasoning_accuracy_reward: texts that end the reasoning; null: </think>"},
    {"reasoning_steps_multiline", NULL, FIELD_BOOL, 0, AT(reasoning_steps_multiline), "false", NULL,
     0, 0, NULL, RECIPE_GRPO, "rewards",
     "reasoning_steps: a number starts a step on any line; false: at the text's start alone"},
    {"format_strict", NULL, FIELD_BOOL, 0, AT(format_strict), "false", NULL, 0, 0, NULL,
     RECIPE_GRPO, "rewards", "format, code_format: nothing may follow the closing tag"},
    {"code_language", NULL, FIELD_STRING, 0, AT(code_language), "python", NULL, 0, 0, NULL,
     RECIPE_GRPO, "rewards", "code rewards: language; a row's column language goes before it"},
    {"code_timeout", NULL, FIELD_FLOAT, 0, AT(code_timeout), "5", NULL, 0.01, 3600, NULL,
     RECIPE_GRPO, "rewards", "code, binary_code: seconds of a test case"},
    {"code_memory", NULL, FIELD_INT, 0, AT(code_memory), "512", NULL, 16, 1 << 20, NULL,
     RECIPE_GRPO, "rewards", "code, binary_code: MiB of a test case"},
    {"code_strict", NULL, FIELD_BOOL, 0, AT(code_strict), "false", NULL, 0, 0, NULL, RECIPE_GRPO,
     "rewards", "code: all lines count, a timeout fails its case alone, no cases are no score"},
    {"sandbox_profile", NULL, FIELD_CHOICE, 0, AT(sandbox_profile), "full", NULL, 0, 0, PROFILES,
     RECIPE_GRPO, "rewards",
     "code rewards: reduced does without namespaces, where a container forbids them"},
    {"code_eval_test_batch_size", NULL, FIELD_INT, 0, AT(code_eval_test_batch_size), "1", NULL, -1,
     1000000, NULL, RECIPE_GRPO, "rewards",
     "ioi_code, cf_code: tests run before a failure ends it; cf_code: 0 or -1: all"},
    {"code_eval_scoring_mode", NULL, FIELD_CHOICE, 0, AT(code_eval_scoring_mode), "weighted_sum",
     NULL, 0, 0, SCORINGS, RECIPE_GRPO, "rewards",
     "cf_code: pass_fail, partial, or weighted_sum (pass_fail + 0.1 partial)"},
    {"reward_program", NULL, FIELD_STRINGS, 0, AT(reward_program), "null", NULL, 0, 0, NULL,
     RECIPE_GRPO, "rewards", "reward program: a program of yours and its arguments, JSON lines"},
    {"reward_program_timeout", NULL, FIELD_FLOAT, FIELD_FREE, AT(reward_program_timeout), "30",
     NULL, 0.01, 86400, NULL, RECIPE_GRPO, "rewards", "reward program: seconds of an answer"},
    {"reward_library", NULL, FIELD_STRING, 0, AT(reward_library), "null", NULL, 0, 0, NULL,
     RECIPE_GRPO, "rewards", "reward library: a shared library with graft_reward()"},
    {"reward_workers", "parallel_code_exec_per_proc", FIELD_INT, FIELD_FREE, AT(reward_workers),
     "2", NULL, 1, 64, NULL, RECIPE_GRPO, "rewards",
     "processes of a rank that judge code, programs and libraries"},
    {"reward_timeout", NULL, FIELD_FLOAT, FIELD_FREE, AT(reward_timeout), "300", NULL, 0.01, 86400,
     NULL, RECIPE_GRPO, "rewards", "seconds of one completion before such a process is replaced"},
    {"repetition_n_grams", NULL, FIELD_INT, 0, AT(repetition_n_grams), "3", NULL, 1, 1024, NULL,
     RECIPE_GRPO, "rewards",
     "repetition_penalty: words of an n-gram; repetition_penalty_reward: tokens"},
    {"repetition_unit", NULL, FIELD_CHOICE, 0, AT(repetition_unit), "words", NULL, 0, 0, UNITS,
     RECIPE_GRPO, "rewards", "repetition_penalty: what an n-gram is made of"},
    {"repetition_max_penalty", NULL, FIELD_FLOAT, 0, AT(repetition_max_penalty), "-1", NULL, -1e9,
     0, NULL, RECIPE_GRPO, "rewards", "repetition_penalty: reward of pure repetition"},
    {"procedural_answer", NULL, FIELD_CHOICE, 0, AT(procedural_answer), "auto", NULL, 0, 0, ANSWERS,
     RECIPE_GRPO, "rewards",
     "procedural: the answer is in <answer> tags, the whole completion, as it is; auto: tags, else "
     "whole"},
    {"max_completion_len", NULL, FIELD_INT, 0, AT(max_completion_len), "16384", NULL, 1, MANY, NULL,
     RECIPE_GRPO, "rewards", "soft_overlong_punishment: longest completion"},
    {"soft_punish_cache", NULL, FIELD_INT, 0, AT(soft_punish_cache), "4096", NULL, 0, MANY, NULL,
     RECIPE_GRPO, "rewards", "soft_overlong_punishment: tokens over which it grows"},
};

const struct recipe_rows SCHEMA_REWARDS = {ROWS, sizeof ROWS / sizeof *ROWS};
