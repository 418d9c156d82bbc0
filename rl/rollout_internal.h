/* Parts of a round of rollouts that rollout.c joins. */
#pragma once

#include "rl/rollout.h"
#include "trainer/store/journal.h"

/* What rewards read besides the completions. */
struct round_source {
    json_t **rows;        /* [groups] dataset rows, owned */
    struct text *prompts; /* [groups] prompt texts, owned */
};

/* Owners of the groups for `ranks` ranks: longest first, each to the rank with the least so far. A
 * group's cost is its prompt and its completions at the length that the history expects (none: all
 * alike). Alike on every rank; decides time alone. Fails with MEMORY. */
MUST_USE enum status rollout_deal(const struct rollout_config *c, int ranks, struct round *r);

/* Fills rows of this rank from the round's journals (replayed, judged) and opens this rank's own,
 * NULL when the configuration has none. Fails with IO, MEMORY. */
MUST_USE enum status rollout_journal_open(const struct rollout_config *c,
                                          const struct rollout_env *env, int64_t round_index,
                                          struct round *r, struct journal **out);

/* Records a finished completion of row `place`. Fails with IO, MEMORY. */
MUST_USE enum status rollout_journal_row(struct journal *j, int64_t place,
                                         const struct completion *done);

/* Records a row's rewards of scope REWARD_ROW, [REWARD_MAX]. Fails with IO. */
MUST_USE enum status rollout_journal_verdict(struct journal *j, int64_t place,
                                             const double *rewards);

/* Completes an input that has ids, tokens, truncated, group and sample by what the round knows of
 * its prompt and by the completion's text, which is owned by *said. Fails with MEMORY. */
MUST_USE enum status rollout_reward_input(const struct rollout_env *env,
                                          const struct round_source *source, struct text *said,
                                          struct reward_input *in);

/* Rewards of scope REWARD_ROW while the round is drawn: those judged by other processes run beside
 * the decoder, the rest is scored when its row's other verdicts are there. */
struct rollout_judging;

/* Opens the judging of this rank's rows. All but the configuration's reward states is borrowed
 * until rollout_judging_close; `journal` may be NULL. Fails with MEMORY. */
MUST_USE enum status rollout_judging_open(struct rollout_judging **out,
                                          const struct rollout_config *c,
                                          const struct rollout_env *env,
                                          const struct round_source *source, int64_t groups,
                                          struct journal *journal);

/* Rows that came out of a journal without a verdict go to their judges, before the rest is drawn.
 * Fails as rollout_judging_add. */
MUST_USE enum status rollout_judging_replayed(struct rollout_judging *j, const struct round *r);

/* Row `place` is finished: what other processes judge goes to them. The ids must stay where they
 * are until the end. Fails with MEMORY, IO, or as a reward does. */
MUST_USE enum status rollout_judging_add(struct rollout_judging *j, int64_t place,
                                         const struct completion *done);

/* Takes the verdicts that are there, without waiting; each complete row goes to the journal. */
MUST_USE enum status rollout_judging_poll(struct rollout_judging *j);

/* Scores what is left of this rank's rows (group owned by it) without a verdict, waits for all, and
 * puts them into row.rewards. Fails as rollout_judging_add. */
MUST_USE enum status rollout_judging_finish(struct rollout_judging *j, struct round *r);

/* Drops what is still out and frees. NULL is allowed. */
void rollout_judging_close(struct rollout_judging *j);

/* A round on its way. */
struct rollout_pending {
    struct rollout_config config;
    const struct rollout_env *env;
    int64_t groups;
    int64_t round_index;
    struct round_source source;
    struct journal *journal; /* of this rank; NULL: none */
    struct rollout_judging *judging;
};

/* Scores of the rewards of scope REWARD_CALL, when every rank has all rows: each slice of
 * c->call_rows rows is one call, scored by rank slice % size and exchanged (collective). */
MUST_USE enum status rollout_judge_calls(const struct rollout_config *c,
                                         const struct rollout_env *env,
                                         const struct round_source *source, struct round *r);
