/*
 * Rewards as recipes name them: those of the table, and reward models, which are folders that graft
 * reward-model (or TRL's RewardTrainer with PEFT) wrote. A model scores the chat template's text of
 * prompt and completion, or the plain texts joined, at its last token (TRL GRPOTrainer).
 */
#pragma once

#include "kernels/ops.h"
#include "rl/reward/reward.h"

struct reward_judge_options {
    struct helper *helper;        /* starts the workers of isolated rewards; NULL: judged here */
    const json_t *parameters;     /* of the rewards; borrowed */
    enum compute compute;         /* of reward models */
    int threads;                  /* of one model; 0: all cores */
    const int *cpus;              /* of the threads, NULL: anywhere. Borrowed while models open */
    const char *system_prompt;    /* that prompts get in front; NULL: none. Borrowed */
    const json_t *template_kwargs; /* borrowed; NULL: none */
};

/* True when `name` is a reward model's folder. */
bool reward_judge_is_model(const char *name);

/* Opens rewards by name, in order; a model's name in logs is its folder's. Fails with RECIPE,
 * INPUT, MEMORY. Close with reward_set_close also after a failure; names and what the options
 * borrow must outlive it. */
MUST_USE enum status reward_judge_open(struct reward_set *set,
                                       const struct reward_judge_options *options,
                                       const char *const *names, int64_t count);
