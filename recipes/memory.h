/*
 * Memory of a run before it starts, by the plan code that sizes its arenas, and the choice that the
 * key `memory` asks for: how many blocks save their input only and run again in the backward (Chen
 * et al. 2016, arXiv 1604.06174), how many tokens a micro-batch has, how many K/V pages a rollout.
 * None of these changes a bit of the result. `graft estimate` prints the plan, the stages follow
 * it.
 */
#pragma once

#include "recipes/measure.h"
#include "recipes/run.h"
#include "recipes/sampling.h"
#include "rl/distill.h"
#include "rl/grpo.h"
#include "rl/pairs.h"
#include "rl/ranked.h"
#include "rl/unpaired.h"
#include "trainer/step_size.h"

/* What a forward and backward of at most `budget` tokens holds at most. */
typedef enum status (*memory_batch_fn)(const void *ctx, int64_t budget, struct step_size *out);

struct memory_request {
    const struct recipe *recipe;
    const struct model *model;
    struct ops_context *ops;
    const struct comm *comm;
    struct measure_memory process; /* before anything is attached */
    /* training; params NULL: none */
    const struct param_set *params;
    const struct param_layout *layout; /* of a set that is not sealed yet, else NULL */
    memory_batch_fn batch;
    const void *batch_ctx;
    bool batch_fixed; /* the budget decides bits: micro_batch_tokens stands */
    bool reference;   /* a copy of the trained values */
    const struct model *teacher; /* runs on every micro-batch, too; NULL: none */
    size_t teacher_mapped;       /* bytes of its file */
    int64_t members; /* of a population, 0: none */
    int64_t others;  /* bytes that all members but the one of `params` train and keep */
    size_t image;    /* largest checkpoint of theirs */
    /* generation; samples 0: none */
    int64_t prompts;
    int64_t prompt;     /* tokens of the longest */
    int64_t samples;    /* completions of each */
    int64_t completion; /* tokens of the longest */
    int64_t history;    /* tokens of earlier completions that are kept */
    const struct model *sampler[2]; /* models that generate, one after the other; NULL: the model */
};

enum { MEMORY_LINES = 20 };

struct memory_plan {
    struct memory_line {
        const char *what;
        int64_t bytes;
        char note[96];
    } line[MEMORY_LINES];
    int count;
    int64_t total; /* bytes a rank holds at its peak */
    int64_t image;  /* of a checkpoint */
    int64_t budget; /* what the total had to fit, 0: nothing said so */
    int64_t micro_batch_tokens;
    int64_t recompute; /* blocks */
    int64_t blocks;    /* of the model */
    int64_t pages;     /* K/V pages, 0: as many as the rows need */
    struct step_size size; /* of the largest micro-batch */
};

/* Chooses and adds up. With `memory` in the recipe the total fits it, or the call fails with MEMORY
 * and says the least that would do; without, the machine's free memory decides and nothing is
 * refused. A recipe's own gradient_checkpointing is kept. */
MUST_USE enum status memory_plan_make(const struct memory_request *q, struct memory_plan *out);

/* One line on standard error by rank 0 when the recipe sets `memory`. */
void memory_plan_note(const struct memory_plan *p, const struct comm *comm);

/* Plans of the methods, from an attached run (run_attach). A set recipe.memory is honoured or
 * refused: MEMORY. All ranks agree on the outcome. */
MUST_USE enum status memory_plan_sft(struct run *r, const struct sft_plan *plan,
                                     const struct example_set *rows, struct memory_plan *out);

/* Of pairs, each one row of a prompt and two completions. */
MUST_USE enum status memory_plan_dpo(struct run *r, const struct sft_plan *plan,
                                     const struct pair_set *pairs, struct memory_plan *out);

/* Of completions marked good or bad, each with the prompt before it. */
MUST_USE enum status memory_plan_kto(struct run *r, const struct sft_plan *plan,
                                     const struct unpaired_set *rows, struct memory_plan *out);

/* Of pairs of whole texts, each of which gets one score. */
MUST_USE enum status memory_plan_reward_model(struct run *r, const struct sft_plan *plan,
                                              const struct ranked_set *pairs,
                                              struct memory_plan *out);

/* Of rows whose completions student or teacher write, all to their longest, where the config says
 * so; both models are open. */
MUST_USE enum status memory_plan_distill(struct run *r, const struct distill_config *config,
                                         const struct distill_env *env, struct memory_plan *out);

/* Of groups whose completions all reach their longest. */
MUST_USE enum status memory_plan_grpo(struct run *r, const struct grpo_plan *plan,
                                      struct memory_plan *out);

/* Of an evaluation's generations; nothing is trained. */
MUST_USE enum status memory_plan_eval(struct run *r, struct memory_plan *out);
