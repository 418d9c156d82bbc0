/*
 * On-policy distillation as a training method (GKD, Agarwal et al. 2023, arXiv 2306.13649; semantics:
 * spec training.md 4, TRL's GKDTrainer): the student learns the teacher's next-token distributions on
 * the rows' completions, on its own samples, or on the teacher's. A unit is a row. Run it with
 * train_run.
 *
 * Every micro-step draws once from Python's random stream of the seed: with probability lmbda its rows
 * get completions of the student, else with seq_kd of the teacher. The loss is the sum of divergences
 * over the labels that the dataset's rows of the step have (TRL counts those also for sampled
 * completions); rows without a completion count the tokens that were sampled.
 */
#pragma once

#include "trainer/data/prompt.h"
#include "trainer/generate/generate.h"
#include "trainer/sft.h"

/* A prompt with the completion of the dataset; count 0: none. */
struct distill_row {
    int32_t *ids; /* [prompt_count + count] */
    int64_t prompt_count;
    int64_t count;
};

struct distill_set {
    struct distill_row *items;
    int64_t count;
    int64_t capacity;
    int64_t dropped; /* rows of which max_length leaves no prompt */
};

/* Appends {"messages"} (the last one is the completion), {"prompt", "completion"} or {"prompt"}. Of
 * longer rows the last max_length tokens stay (0: no limit). Fails with INPUT, MEMORY. */
MUST_USE enum status distill_add(const struct prompt_format *format, int64_t max_length,
                                 const json_t *row, const char *where, struct distill_set *set);

/* Frees the rows and empties the set. */
void distill_set_close(struct distill_set *set);

struct distill_config {
    struct sft_plan plan;
    double lmbda;         /* share of micro-steps with completions of the student */
    double beta;          /* of the generalised Jensen-Shannon divergence */
    bool seq_kd;          /* the other micro-steps take the teacher's completions */
    uint64_t seed;        /* of the draws */
    struct sample_config sample;   /* temperature, max_new_tokens, stops */
    struct generate_limits limits;
    int64_t micro_batch_tokens;
    int64_t recompute; /* blocks that the backward computes again, see struct pass */
    struct dropout_config dropout; /* of the forwards that have a backward */
    int64_t eval_batch;   /* per_device_eval_batch_size */
    /* Tests: completions of a prompt instead of the sampler's. NULL: the sampler. */
    enum status (*script)(void *ctx, int64_t micro_step, int64_t row, struct token_list *out);
    void *script_ctx;
};

struct distill_env {
    const struct model *model;
    const struct model *teacher; /* of the same vocabulary */
    struct ops_context *ops;
    const struct comm *comm;
    const struct distill_set *rows;
    const struct distill_set *eval; /* NULL: no evaluation; all of them have completions */
};

struct distiller;

/* Prepares; everything is borrowed. Fails with RECIPE when there is no row, the vocabularies
 * differ, or rows without a completion would be trained on as they are. */
MUST_USE enum status distill_open(struct distiller **out, const struct distill_config *config,
                                  const struct distill_env *env);

/* The method for train_run; valid while `d` lives. */
struct train_method distill_method(struct distiller *d);

/* Frees the method's state; what it borrowed stays. NULL is allowed. */
void distill_close(struct distiller *d);
