/* One row per reward; see reward.h for how to add one. */
#include <string.h>

#include "rl/reward/reward_internal.h"

static const struct reward REWARDS[] = {
    {
        .name = "last_number",
        .needs = "solution",
        .row = reward_last_number,
        .doc = "1 if the boxed or else the last number equals the gold answer",
    },
    {
        .name = "accuracy",
        .aliases = "accuracy_reward",
        .needs = "solution",
        .row = reward_last_number,
        .doc = "1 if the boxed or last number equals the gold answer",
    },
    {
        .name = "format",
        .aliases = "format_reward",
        .row = reward_format,
        .doc = "1 for <think>..</think> then <answer>..</answer> on own lines",
    },
    {
        .name = "tag_count",
        .aliases = "tag_count_reward",
        .row = reward_tag_count,
        .doc = "0.25 per think/answer tag that occurs exactly once",
    },
};

const struct reward *reward_at(int64_t i)
{
    return i >= 0 && (size_t)i < sizeof REWARDS / sizeof REWARDS[0] ? &REWARDS[i] : NULL;
}

/* True when `word` is one of the space-separated `words`. */
static bool among(const char *words, const char *word)
{
    const size_t n = strlen(word);
    for (const char *p = words; p && n > 0 && *p; p += strspn(p, " ")) {
        const size_t length = strcspn(p, " ");
        if (length == n && memcmp(p, word, n) == 0) {
            return true;
        }
        p += length;
    }
    return false;
}

const struct reward *reward_find(const char *name)
{
    for (int64_t i = 0; reward_at(i); i++) {
        if (strcmp(REWARDS[i].name, name) == 0 || among(REWARDS[i].aliases, name)) {
            return &REWARDS[i];
        }
    }
    return NULL;
}

void reward_names(char *out, size_t size)
{
    size_t used = 0;
    out[0] = '\0';
    for (int64_t i = 0; reward_at(i) && used < size; i++) {
        const int n = snprintf(out + used, size - used, "%s%s", i ? ", " : "", reward_at(i)->name);
        used += n > 0 ? (size_t)n : 0;
    }
}

const struct reward_parameter *reward_parameter_find(const struct reward *r, const char *key)
{
    for (const struct reward_parameter *p = r->parameters; p && p->key; p++) {
        if (strcmp(p->key, key) == 0 || among(p->aliases, key)) {
            return p;
        }
    }
    return NULL;
}
