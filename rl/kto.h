/*
 * Kahneman-Tversky optimisation as a training method (Ethayarajh et al. 2024, arXiv 2402.01306;
 * semantics: spec training.md 4, TRL's KTOTrainer). A unit is one completion. The divergence z of a
 * micro-step comes from mismatched rows, a prompt with the completion of its neighbour: they are
 * scored before the gradients. Run it with train_run.
 */
#pragma once

#include "rl/kto_loss.h"
#include "rl/ref_sync.h"
#include "rl/unpaired.h"
#include "trainer/sft.h"

struct kto_method_config {
    struct sft_plan plan;
    struct kto_config loss;
    bool precompute;       /* the reference's log-probs once, before training */
    struct ref_sync sync;  /* the reference of full training, and whether it moves */
    int64_t micro_batch_tokens;
    int64_t recompute;     /* blocks that the backward computes again, see struct pass */
    struct dropout_config dropout; /* of the forwards that have a backward */
    int64_t eval_batch;    /* per_device_eval_batch_size */
};

struct kto_env {
    const struct model *model;
    struct ops_context *ops;
    const struct comm *comm;
    const struct unpaired_set *rows;
    const struct unpaired_set *eval; /* NULL: no evaluation */
};

struct kto;

/* Prepares (and precomputes); everything is borrowed. Collective. Fails with RECIPE when there is
 * no row, or when a divergence is estimated from batches of one row or rows in a random order. */
MUST_USE enum status kto_open(struct kto **out, const struct kto_method_config *config,
                              const struct kto_env *env);

/* The method for train_run; valid while `k` lives. */
struct train_method kto_method(struct kto *k);

/* Frees the method's state; what it borrowed stays. NULL is allowed. */
void kto_close(struct kto *k);
