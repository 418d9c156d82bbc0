/* Parts of a round of rollouts that rollout.c joins. */
#pragma once

#include "rl/rollout.h"

/* What rewards read besides the completions. */
struct round_source {
    json_t **rows;        /* [groups] dataset rows, owned */
    struct text *prompts; /* [groups] prompt texts, owned */
};

/* Scores of the rewards of scope REWARD_ROW for the rows of this rank (group % size == rank), into
 * row.rewards. Fails with MEMORY, or as a reward does. */
MUST_USE enum status rollout_judge_rows(const struct rollout_config *c,
                                        const struct rollout_env *env,
                                        const struct round_source *source, struct round *r);

/* Scores of the rewards of scope REWARD_CALL, when every rank has all rows: each slice of
 * c->call_rows rows is one call, scored by rank slice % size and exchanged (collective). */
MUST_USE enum status rollout_judge_calls(const struct rollout_config *c,
                                         const struct rollout_env *env,
                                         const struct round_source *source, struct round *r);
