/*
 * Direct preference optimisation as a training method (Rafailov et al. 2023, arXiv 2305.18290;
 * semantics: spec training.md 4). A unit is one pair, its prompt computed once. Run it with
 * train_run.
 */
#pragma once

#include "rl/dpo_loss.h"
#include "rl/pairs.h"
#include "trainer/model/reference.h"
#include "trainer/sft.h"

struct dpo_method_config {
    struct sft_plan plan;  /* rows are pairs; orders are those of sft */
    struct dpo_config loss;
    bool precompute;       /* the reference's log-probs once, before training */
    struct model_reference *reference; /* full training; NULL: the bare base */
    int64_t micro_batch_tokens;
    bool gradient_checkpointing;
};

struct dpo_env {
    const struct model *model;
    struct ops_context *ops;
    const struct comm *comm;
    const struct pair_set *pairs;
};

struct dpo;

/* Prepares (and precomputes); everything is borrowed. Collective. Fails with RECIPE when there is no
 * pair or the losses don't fit. */
MUST_USE enum status dpo_open(struct dpo **out, const struct dpo_method_config *config,
                              const struct dpo_env *env);

/* The method for train_run; valid while `d` lives. */
struct train_method dpo_method(struct dpo *d);

/* Frees the method's state; what it borrowed stays. NULL is allowed. */
void dpo_close(struct dpo *d);
