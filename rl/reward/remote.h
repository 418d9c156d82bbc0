/*
 * A reward judged in worker processes: for rewards that start programs (they fork, so they need a
 * process of one thread), load foreign code, or take long. Completions are dealt to the workers one
 * by one, all at once or as they come; scores go to their places, so which worker ends first
 * decides nothing. A worker that crashes or exceeds its time costs one null score and is replaced,
 * while the others and the caller go on. One thread at a time uses a reward_remote.
 */
#pragma once

#include "rl/reward/helper.h"
#include "rl/reward/reward.h"

struct reward_remote;

/* Workers and their limits. */
struct remote_options {
    int workers;    /* at least 1 */
    double seconds; /* of one completion, before its worker is replaced */
};

/* Opens `workers` workers for the reward named `name`, each with the parameters. Fails as the
 * reward's open does, with its message; IO, DEVICE when there are no processes. */
MUST_USE enum status reward_remote_open(struct reward_remote **out, struct helper *helper,
                                        const char *name, const json_t *parameters,
                                        const struct remote_options *options);

/* Scores of a call, as struct reward's score. Fails with IO or DEVICE when no worker can be
 * started any more. */
MUST_USE enum status reward_remote_score(struct reward_remote *r, const struct reward_call *call,
                                         double *scores);

/* Hears one verdict: the score (NaN: none, with a reason) of what was submitted as `item`. */
typedef enum status (*reward_verdict_fn)(void *ctx, int64_t item, double score, const char *reason);

/* Hands one completion over to be judged while the caller goes on. `in` is not kept, but its
 * messages and row are shared until the verdict (references). Each gives exactly one call of `fn`,
 * from reward_remote_submit or reward_remote_poll, unless it is dropped. Fails as
 * reward_remote_score, and with MEMORY. */
MUST_USE enum status reward_remote_submit(struct reward_remote *r, const struct reward_input *in,
                                          reward_verdict_fn fn, void *ctx, int64_t item);

/* Takes the verdicts that are there and keeps the workers busy. When anything is out it waits for
 * the next verdict or time limit, `milliseconds` at most, negative: as long as that takes. Fails as
 * reward_remote_score, or as `fn`. */
MUST_USE enum status reward_remote_poll(struct reward_remote *r, int milliseconds);

/* Completions submitted without a verdict so far. */
int64_t reward_remote_pending(const struct reward_remote *r);

/* Forgets what was submitted with `ctx`; workers that judge it are replaced. */
void reward_remote_drop(struct reward_remote *r, const void *ctx);

/* Ends the workers and frees. NULL is allowed. */
void reward_remote_close(struct reward_remote *r);

/* A worker's life: opens the reward that `order` names and answers until its socket ends; the
 * helper's work function. */
void reward_remote_work(int fd, const json_t *order);
