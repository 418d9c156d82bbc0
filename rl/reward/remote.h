/*
 * A reward judged in worker processes: for rewards that start programs (they fork, so they need a
 * process of one thread), load foreign code, or take long. Completions are dealt to the workers one
 * by one; scores go to their places, so which worker ends first decides nothing. A worker that
 * crashes or exceeds its time costs one null score and is replaced.
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

/* Ends the workers and frees. NULL is allowed. */
void reward_remote_close(struct reward_remote *r);

/* A worker's life: opens the reward that `order` names and answers until its socket ends; the
 * helper's work function. */
void reward_remote_work(int fd, const json_t *order);
