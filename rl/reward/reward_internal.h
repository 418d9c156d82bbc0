/* The reward functions behind the table; add yours here (see reward.h). */
#pragma once

#include "rl/reward/reward.h"

/* 1 when the answer equals the gold answer (boxed, else the last number), else 0. */
double reward_accuracy(const struct reward_input *in);

/* 1 when the completion is <think>\n...\n</think>\n<answer>\n...\n</answer> (open-r1 format). */
double reward_format(const struct reward_input *in);

/* 0.25 for each of the four tags that occurs exactly once (open-r1 tag_count). */
double reward_tag_count(const struct reward_input *in);
