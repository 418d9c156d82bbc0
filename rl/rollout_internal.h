/* Parts of a round of rollouts that rollout.c joins. */
#pragma once

#include "rl/rollout.h"
#include "trainer/store/journal.h"

/* What rewards read besides the completions. */
struct round_source {
    json_t **rows;        /* [groups] dataset rows, owned */
    struct text *prompts; /* [groups] prompt texts, owned */
};

/* Fills rows of this rank from the round's journals (replayed, judged) and opens this rank's own, NULL
 * when the configuration has none. Fails with IO, MEMORY. */
MUST_USE enum status rollout_journal_open(const struct rollout_config *c,
                                          const struct rollout_env *env, int64_t round_index,
                                          struct round *r, struct journal **out);

/* Records a finished completion of row `place`. Fails with IO, MEMORY. */
MUST_USE enum status rollout_journal_row(struct journal *j, int64_t place,
                                         const struct completion *done);

/* Records a row's rewards of scope REWARD_ROW, [REWARD_MAX]. Fails with IO. */
MUST_USE enum status rollout_journal_verdict(struct journal *j, int64_t place,
                                             const double *rewards);

/* Scores of the rewards of scope REWARD_ROW for the rows of this rank (group % size == rank) without a
 * verdict, into row.rewards; each goes to the journal, when there is one. Fails with MEMORY, or as a reward does. */
MUST_USE enum status rollout_judge_rows(const struct rollout_config *c,
                                        const struct rollout_env *env,
                                        const struct round_source *source, struct round *r,
                                        struct journal *journal);

/* Scores of the rewards of scope REWARD_CALL, when every rank has all rows: each slice of
 * c->call_rows rows is one call, scored by rank slice % size and exchanged (collective). */
MUST_USE enum status rollout_judge_calls(const struct rollout_config *c,
                                         const struct rollout_env *env,
                                         const struct round_source *source, struct round *r);
