/* The reward functions behind the table; add yours here (see reward.h). */
#pragma once

#include "rl/reward/reward.h"

/* State of rewards whose parameters are a table: struct reward_values. Fails with RECIPE. */
MUST_USE enum status reward_open_values(const struct reward *r, const json_t *parameters,
                                        void **state);

/* Frees what reward_open_values made. */
void reward_close_values(void *state);

/* Writes why a score is null; `reason` may be NULL. */
void reward_explain(char *reason, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* 1 when the answer equals the gold answer (boxed, else the last number), else 0. */
double reward_last_number(const void *state, const struct reward_input *in, char *reason);

/* 1 when the completion is <think>\n...\n</think>\n<answer>\n...\n</answer> (open-r1 format). */
double reward_format(const void *state, const struct reward_input *in, char *reason);

/* 0.25 for each of the four tags that occurs exactly once (open-r1 tag_count). */
double reward_tag_count(const void *state, const struct reward_input *in, char *reason);
