/*
 * Supervised fine-tuning as a training method (spec training.md 3): the negative log-likelihood of
 * the labelled tokens, normalised over all of an optimizer step. Run it with train_run.
 */
#pragma once

#include "trainer/data/examples.h"
#include "trainer/train.h"

/* Which rows an optimizer step takes (accelerate's even batches over virtual ranks). */
struct sft_plan {
    int64_t rows;
    int64_t world;        /* virtual ranks */
    int64_t per_device;   /* rows per micro-step and virtual rank */
    int64_t accumulation; /* micro-steps per optimizer step */
    bool drop_last;       /* leave out the short batch, and rounds some rank gets no batch of */
    bool shuffle;         /* epoch e: torch.randperm(rows) seeded with seed + e */
    uint64_t seed;
};

/* Optimizer steps of one epoch: ceil(micro-steps / accumulation). */
int64_t sft_plan_steps_per_epoch(const struct sft_plan *p);

/* Micro-steps of one epoch; the last optimizer step may have fewer than the others. */
int64_t sft_plan_micro_steps_per_epoch(const struct sft_plan *p);

/* Rows of optimizer step `step`: malloc'd indices (caller frees) and their number. */
MUST_USE enum status sft_plan_rows(const struct sft_plan *p, int64_t step, int64_t **indices,
                                   int64_t *count);

enum sft_loss { SFT_NLL, SFT_DFT };

struct sft_config {
    struct sft_plan plan;
    enum sft_loss loss;
    double label_smoothing;      /* nll alone: (1 - e) nll + e mean over the vocabulary of -log p */
    double neftune_noise_alpha;  /* 0: none */
    bool padding_free;           /* NEFTune's length is that of the whole batch */
    uint64_t seed;               /* of dropout and noise */
    int64_t micro_batch_tokens;
    int64_t recompute; /* blocks that the backward computes again, see struct pass */
    int64_t eval_batch;          /* per_device_eval_batch_size */
};

struct sft_env {
    const struct model *model;
    struct ops_context *ops;
    const struct comm *comm;
    const struct example_set *train;
    const struct example_set *eval; /* NULL: no evaluation split */
};

struct sft;

/* Prepares; everything is borrowed. Fails with RECIPE when the dataset is empty. */
MUST_USE enum status sft_open(struct sft **out, const struct sft_config *config,
                              const struct sft_env *env);

/* The method for train_run; valid while `s` lives. */
struct train_method sft_method(struct sft *s);

/* Mean loss and token accuracy over the evaluation examples (collective): adds eval_loss,
 * eval_mean_token_accuracy and eval_entropy to `line`. */
MUST_USE enum status sft_evaluate(struct sft *s, json_t *line);

/* Frees the method's state; what it borrowed stays. NULL is allowed. */
void sft_close(struct sft *s);
