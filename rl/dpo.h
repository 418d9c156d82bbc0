/*
 * Direct preference optimisation as a training method (Rafailov et al. 2023, arXiv 2305.18290;
 * semantics: spec training.md 4). A unit is one pair, its prompt computed once. Run it with
 * train_run.
 */
#pragma once

#include "rl/dpo_loss.h"
#include "rl/pairs.h"
#include "rl/ref_sync.h"
#include "trainer/sft.h"

struct dpo_method_config {
    struct sft_plan plan;  /* rows are pairs; orders are those of sft */
    struct dpo_config loss;
    bool precompute;       /* the reference's log-probs once, before training */
    struct ref_sync sync;  /* the reference of full training, and whether it moves */
    int64_t micro_batch_tokens;
    int64_t recompute;     /* blocks that the backward computes again, see struct pass */
    struct dropout_config dropout; /* of the forwards that have a backward */
    int64_t eval_batch;    /* per_device_eval_batch_size */
};

struct dpo_env {
    const struct model *model;
    struct ops_context *ops;
    const struct comm *comm;
    const struct pair_set *pairs;
    const struct pair_set *eval; /* held-out pairs; NULL: no evaluation */
};

struct dpo;

/* Prepares (and precomputes); everything is borrowed. Collective. Fails with RECIPE when there is
 * no pair or the losses don't fit. */
MUST_USE enum status dpo_open(struct dpo **out, const struct dpo_method_config *config,
                              const struct dpo_env *env);

/* The method for train_run; valid while `d` lives. */
struct train_method dpo_method(struct dpo *d);

/* Frees the method's state; what it borrowed stays. NULL is allowed. */
void dpo_close(struct dpo *d);
