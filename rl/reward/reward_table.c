/* One row per reward; see reward.h for how to add one. */
#include <string.h>

#include "rl/reward/reward_internal.h"

static const struct reward REWARDS[] = {
    {"accuracy", reward_accuracy, "solution",
     "1 if the boxed or last number equals the gold answer"},
    {"format", reward_format, NULL, "1 for <think>..</think> then <answer>..</answer> on own lines"},
    {"tag_count", reward_tag_count, NULL, "0.25 per think/answer tag that occurs exactly once"},
};

const struct reward *reward_at(int64_t i)
{
    return i >= 0 && (size_t)i < sizeof REWARDS / sizeof REWARDS[0] ? &REWARDS[i] : NULL;
}

const struct reward *reward_find(const char *name)
{
    for (int64_t i = 0; reward_at(i); i++) {
        const char *const suffix = "_reward"; /* accuracy_reward: TRL's function names */
        const size_t n = strlen(REWARDS[i].name);
        if (strncmp(name, REWARDS[i].name, n) == 0
            && (name[n] == '\0' || strcmp(name + n, suffix) == 0)) {
            return &REWARDS[i];
        }
    }
    return NULL;
}
