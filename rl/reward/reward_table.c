/* One row per reward; see reward.h for how to add one. */
#include <string.h>

#include "rl/reward/reward_internal.h"

/* Members of rewards whose state is their parameters alone, and of those that hold a judge. */
#define VALUES(table)                                                                              \
    .parameters = (table), .open = reward_open_values, .close = reward_close_values
#define JUDGED(table)                                                                              \
    .needs = "solution", .parameters = (table), .open = reward_open_judged,                        \
    .close = reward_close_judged
/* Members of rewards that run programs. */
#define PROGRAMS(table, opener)                                                                    \
    .isolated = true, .parameters = (table), .open = (opener), .close = reward_close_code

static const struct reward REWARDS[] = {
    /* Open-R1 */
    {
        .name = "accuracy",
        JUDGED(REWARD_JUDGE_PARAMETERS),
        .row = reward_accuracy,
        .doc = "1 if the answer equals the gold one by Math-Verify; it must stand in a box or be "
               "announced",
    },
    {
        .name = "format",
        .aliases = "format_reward",
        VALUES(REWARD_FORMAT_PARAMETERS),
        .row = reward_format,
        .doc = "1 for <think>..</think> then <answer>..</answer> on own lines",
    },
    {
        .name = "tag_count",
        .aliases = "tag_count_reward",
        .row = reward_tag_count,
        .doc = "0.25 per think/answer tag that occurs exactly once",
    },
    {
        .name = "reasoning_steps",
        .aliases = "reasoning_steps_reward",
        VALUES(REWARD_STEPS_PARAMETERS),
        .row = reward_reasoning_steps,
        .doc = "a third per mark of a step: Step 1:, First, a bullet; at most 1",
    },
    {
        .name = "length",
        .aliases = "len_reward",
        .scope = REWARD_CALL,
        JUDGED(REWARD_LENGTH_PARAMETERS),
        .score = reward_length,
        .doc = "0.5 for the shortest completion of the call to -0.5 for the longest; wrong ones at "
               "most 0",
    },
    {
        .name = "cosine",
        JUDGED(REWARD_COSINE_PARAMETERS),
        .row = reward_cosine,
        .doc = "right and wrong answers scaled by a cosine of their characters",
    },
    {
        .name = "repetition_penalty",
        VALUES(REWARD_REPETITION_PARAMETERS),
        .row = reward_repetition,
        .doc = "share of repeated n-grams of words, times a penalty",
    },
    {
        .name = "soft_overlong_punishment",
        .aliases = "soft_overlong_punishment_reward get_soft_overlong_punishment soft_overlong",
        VALUES(REWARD_OVERLONG_PARAMETERS),
        .row = reward_overlong,
        .doc = "0, falling to -1 over the last tokens before the longest completion",
    },
    {
        .name = "code_format",
        .aliases = "code_format_reward get_code_format_reward",
        VALUES(REWARD_CODE_FORMAT_PARAMETERS),
        .row = reward_code_format,
        .doc = "format with a fenced code block in the answer",
    },

    {
        .name = "code",
        .aliases = "code_reward",
        .needs = "verification_info",
        PROGRAMS(REWARD_CODE_PARAMETERS, reward_open_code),
        .row = reward_code,
        .doc = "share of the test cases that the program passes, in a sandbox",
    },
    {
        .name = "binary_code",
        .aliases = "binary_code_reward",
        .needs = "verification_info",
        PROGRAMS(REWARD_CODE_PARAMETERS, reward_open_code),
        .row = reward_binary_code,
        .doc = "1 when the program passes every test case",
    },
    {
        .name = "ioi_code",
        .aliases = "ioi_code_reward",
        .needs = "tests",
        PROGRAMS(REWARD_CONTEST_PARAMETERS, reward_open_contest),
        .row = reward_ioi,
        .doc = "least score of an IOI subtask's tests, with its graders and checker",
    },
    {
        .name = "cf_code",
        .aliases = "cf_code_reward",
        .needs = "official_tests",
        PROGRAMS(REWARD_CONTEST_PARAMETERS, reward_open_contest),
        .row = reward_codeforces,
        .doc = "Codeforces tests with their checker; no code -1, not compiling -0.1",
    },

    /* TRL */
    {
        .name = "accuracy_reward",
        JUDGED(REWARD_JUDGE_PARAMETERS),
        .row = reward_accuracy_trl,
        .doc = "accuracy with TRL's settings of the judge",
    },
    {
        .name = "reasoning_accuracy_reward",
        .aliases = "reasoning_accuracy",
        JUDGED(REWARD_REASONING_PARAMETERS),
        .row = reward_reasoning_accuracy,
        .doc = "accuracy of what follows the reasoning; 0 when it does not end",
    },
    {
        .name = "think_format_reward",
        .aliases = "think_format",
        .row = reward_think_format,
        .doc = "1 when the completion starts with <think>, once, and closes it",
    },
    {
        .name = "cosine_scaled_reward",
        .aliases = "get_cosine_scaled_reward cosine_scaled",
        JUDGED(REWARD_COSINE_SCALED_PARAMETERS),
        .row = reward_cosine_scaled,
        .doc = "right and wrong answers scaled by a cosine of their tokens, flat at the end",
    },
    {
        .name = "repetition_penalty_reward",
        .aliases = "get_repetition_penalty_reward",
        VALUES(REWARD_TOKEN_REPETITION_PARAMETERS),
        .row = reward_token_repetition,
        .doc = "share of repeated n-grams of tokens, times a penalty",
    },

    /* Graft */
    {
        .name = "last_number",
        .needs = "solution",
        .row = reward_last_number,
        .doc = "1 if the boxed or else the last number equals the gold answer",
    },
    {
        .name = "program",
        .isolated = true,
        .parameters = REWARD_PROGRAM_PARAMETERS,
        .open = reward_open_program,
        .row = reward_program,
        .close = reward_close_program,
        .doc = "a program of your own (reward_program), over JSON lines",
    },
    {
        .name = "library",
        .isolated = true,
        .parameters = REWARD_LIBRARY_PARAMETERS,
        .open = reward_open_library,
        .row = reward_library,
        .close = reward_close_library,
        .doc = "a shared library of your own (reward_library), see rl/reward/graft_reward.h",
    },
    {
        .name = "procedural",
        .needs = "metadata",
        .parameters = REWARD_PROCEDURAL_PARAMETERS,
        .open = reward_open_procedural,
        .row = reward_procedural,
        .close = reward_close_values,
        .doc = "score of the row's procedural task, 0 to 1",
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
