/*
 * Rewards: functions of one completion, one const row each in reward_table.c. Add your own in three
 * steps: write `double my_reward(const struct reward_input *in)` in rl/reward/my.c, declare it in
 * reward_internal.h, add a row to the table. NaN means "no score" (TRL's None).
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/status.h"

struct reward_input {
    const char *completion;  /* text without special tokens, NUL-terminated */
    int64_t tokens;          /* completion length in tokens, EOS included */
    bool truncated;          /* cut off at max_completion_length */
    const json_t *row;       /* the dataset row: "solution", "answer", ... (borrowed) */
    const json_t *parameters; /* reward parameters of the recipe, object or NULL */
};

/* One score. Must not fail, block or allocate without bound; NaN: not scorable. */
typedef double (*reward_fn)(const struct reward_input *in);

struct reward {
    const char *name;
    reward_fn score;
    const char *needs; /* column the row must have, NULL: none */
    const char *doc;
};

/* Row by name; NULL when there is none. */
const struct reward *reward_find(const char *name);

/* Row `i`, NULL past the end. */
const struct reward *reward_at(int64_t i);
