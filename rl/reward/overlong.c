/* Soft overlong punishment (DAPO, arXiv 2503.14476, equation 13); Open-R1 and TRL agree on it. */
#include <math.h>

#include "rl/reward/reward_internal.h"

enum { LONGEST, CACHE };

const struct reward_parameter REWARD_OVERLONG_PARAMETERS[] = {
    {.key = "max_completion_len",
     .type = PARAMETER_COUNT,
     .def = 16384,
     .low = 1,
     .high = 1e15,
     .doc = "tokens of the longest completion"},
    {.key = "soft_punish_cache",
     .type = PARAMETER_COUNT,
     .def = 4096,
     .low = 0,
     .high = 1e15,
     .doc = "tokens before it over which the punishment grows"},
    {0},
};

double reward_overlong(const void *state, const struct reward_input *in, char *reason)
{
    const struct reward_values *v = state;
    const double free_tokens = v->number[LONGEST] - v->number[CACHE];
    const double tokens = (double)in->tokens;
    if (in->tokens < 0) {
        reward_explain(reason, "the length in tokens is not known");
        return NAN;
    }
    if (tokens <= free_tokens) {
        return 0.0;
    }
    return tokens <= v->number[LONGEST] ? (free_tokens - tokens) / v->number[CACHE] : -1.0;
}
