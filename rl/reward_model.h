/*
 * Reward modelling as a training method: a scalar head over the model learns which of two answers
 * is better (Bradley-Terry; Ouyang et al. 2022, arXiv 2203.02155; semantics: spec training.md 4,
 * TRL's RewardTrainer). Loss of a pair: -log sigmoid(r_c - r_r - margin) + center (r_c + r_r)^2
 * (the centring of Eisenstein et al. 2023, arXiv 2312.09244). A unit is a pair, its common
 * beginning computed once. Run it with train_run.
 */
#pragma once

#include "rl/ranked.h"
#include "trainer/sft.h"

struct reward_model_config {
    struct sft_plan plan;
    double center;         /* center_rewards_coefficient; 0: none */
    int64_t micro_batch_tokens;
    int64_t recompute;     /* blocks that the backward computes again, see struct pass */
    struct dropout_config dropout; /* of the forwards that have a backward */
    int64_t eval_batch;    /* per_device_eval_batch_size */
};

struct reward_model_env {
    const struct model *model; /* with a scalar head */
    struct ops_context *ops;
    const struct comm *comm;
    const struct ranked_set *pairs;
    const struct ranked_set *eval; /* NULL: no evaluation */
};

/* Loss of a pair of scores and its slopes in both. */
double reward_pair_loss(double chosen, double rejected, double margin, double center,
                        double slope[2]);

struct reward_model;

/* Prepares; everything is borrowed. Fails with RECIPE when there is no pair. */
MUST_USE enum status reward_model_open(struct reward_model **out,
                                       const struct reward_model_config *config,
                                       const struct reward_model_env *env);

/* The method for train_run; valid while `m` lives. */
struct train_method reward_model_method(struct reward_model *m);

/* Frees the method's state; what it borrowed stays. NULL is allowed. */
void reward_model_close(struct reward_model *m);
