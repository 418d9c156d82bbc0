/*
 * GRPO of one run in pieces, so that several runs can train side by side: setup, accuracy before,
 * training over the loop, accuracy after, report.
 */
#pragma once

#include "recipes/run.h"
#include "recipes/sampling.h"
#include "rl/grpo.h"
#include "rl/rollout_history.h"

/* The method of one run and its settings for the loop; points into itself: do not move it. */
struct grpo_training {
    struct run *run;
    double weights[REWARD_MAX];
    struct sampling sampling;
    struct rollout_history *history; /* NULL: none */
    char folder[4096]; /* of the journals */
    struct rollout_journal journal;
    struct rollout_env env;
    struct grpo_config config;
    struct grpo *grpo;
    struct train_config loop;
    struct train_method method;
};

/* The order of rounds and steps over the run's data, by its recipe. */
struct grpo_plan grpo_training_plan(const struct run *r);

/* Checks a resume, opens the data, attaches what is trained, makes the folder. Collective. Fails as
 * the run's functions do. */
MUST_USE enum status grpo_setup(struct run *r);

/* The recipe's rewards; close the set in any case. Collective. Fails with RECIPE. */
MUST_USE enum status grpo_open_rewards(const struct run *r, struct reward_set *set);

/* The method over a run that is set up; run and rewards are borrowed. Collective. Close in any
 * case. */
MUST_USE enum status grpo_training_open(struct grpo_training *t, struct run *r,
                                        struct reward_set *rewards);

/* Frees the method. */
void grpo_training_close(struct grpo_training *t);

/* Accuracy before training, measured once: accuracy_before.json keeps it for resumed runs. *out:
 * new reference, NULL when the recipe has no such evaluation. Collective. */
MUST_USE enum status grpo_before(struct run *r, json_t **out);

/* The same after training. */
MUST_USE enum status grpo_after(struct run *r, json_t **out);

/* Writes report.html; *line: what the run came to, a new object. Rank 0 calls it. Fails with IO,
 * MEMORY. */
MUST_USE enum status grpo_summary(const struct run *r, const struct train_result *result,
                                  json_t *before, json_t *after, json_t **line);
