/* Schema rows of rewards (Open-R1); see schema_internal.h. */
#include "recipes/schema_internal.h"

static const struct recipe_field ROWS[] = {
    /* rewards */
    {"reward_funcs", "reward_func", FIELD_STRINGS, 0, AT(reward_funcs), "accuracy,format,tag_count",
     NULL, 0, 0, NULL, RECIPE_GRPO, "rewards", "rewards by name"},
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
     RECIPE_GRPO, "rewards", "cosine: length of a long answer"},
    {"repetition_n_grams", NULL, FIELD_INT, 0, AT(repetition_n_grams), "3", NULL, 1, 1024, NULL,
     RECIPE_GRPO, "rewards", "repetition_penalty: words of an n-gram"},
    {"repetition_max_penalty", NULL, FIELD_FLOAT, 0, AT(repetition_max_penalty), "-1", NULL, -1e9,
     0, NULL, RECIPE_GRPO, "rewards", "repetition_penalty: reward of pure repetition"},
    {"max_completion_len", NULL, FIELD_INT, 0, AT(max_completion_len), "16384", NULL, 1, MANY, NULL,
     RECIPE_GRPO, "rewards", "soft_overlong_punishment: longest completion"},
    {"soft_punish_cache", NULL, FIELD_INT, 0, AT(soft_punish_cache), "4096", NULL, 1, MANY, NULL,
     RECIPE_GRPO, "rewards", "soft_overlong_punishment: tokens over which it grows"},
};

const struct recipe_rows SCHEMA_REWARDS = {ROWS, sizeof ROWS / sizeof *ROWS};
