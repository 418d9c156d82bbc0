/*
 * GRPO's batch arithmetic as TRL has it (spec training.md 1.1): which prompts a round takes, which
 * rows an optimizer step trains. Pure functions of the recipe and the step, so a resume on another
 * number of ranks needs no stored sampler state.
 */
#pragma once

#include "kernels/base/status.h"

#include <stdbool.h>
#include <stdint.h>

struct grpo_plan {
    int64_t rows;            /* prompts in the dataset */
    int64_t world;           /* virtual ranks */
    int64_t per_device;      /* completions per micro-step and virtual rank */
    int64_t accumulation;    /* micro-steps per optimizer step */
    int64_t slices;          /* steps_per_generation: micro-steps that share a round */
    int64_t iterations;      /* num_iterations */
    int64_t group_size;      /* num_generations */
    bool shuffle;
    uint64_t seed;
    int64_t eval_steps;      /* steps between evaluations, each takes two words; 0: none */
    int64_t eval_delay;      /* there are none before this step */
    bool eval_on_start;      /* but one before the first */
};

/* Checks divisibility; fails with RECIPE saying which numbers would work. */
MUST_USE enum status grpo_plan_check(const struct grpo_plan *p);

/* Completions of a round: per_device * world * slices. */
int64_t grpo_plan_round_rows(const struct grpo_plan *p);

/* Rounds of one epoch (the partial last chunk is dropped) and optimizer steps of one epoch. */
int64_t grpo_plan_rounds_per_epoch(const struct grpo_plan *p);

/* Optimizer steps of one epoch; the last may have fewer micro-steps. */
int64_t grpo_plan_steps_per_epoch(const struct grpo_plan *p);

/* Micro-steps [first, first + count) of optimizer step `step`, counted from the start of training.
 */
void grpo_plan_window(const struct grpo_plan *p, int64_t step, int64_t *first, int64_t *count);

/* Round and slice of a micro-step. */
int64_t grpo_plan_round_of(const struct grpo_plan *p, int64_t micro);

/* 0 .. slices - 1: which part of its round a micro-step trains. */
int64_t grpo_plan_slice_of(const struct grpo_plan *p, int64_t micro);

/* The orders of many rounds, for a run that asks for one after the other: each costs no more than
 * its own draws. */
struct grpo_orders;

/* The plan is borrowed. Fails with MEMORY; close in either case. */
MUST_USE enum status grpo_orders_open(struct grpo_orders **out, const struct grpo_plan *p);

/* As grpo_plan_prompts; a round before the last one asked for draws all from the start. */
void grpo_orders_prompts(struct grpo_orders *o, int64_t round, int64_t *indices);

/* As grpo_plan_slices, likewise. */
void grpo_orders_slices(struct grpo_orders *o, int64_t round, int64_t *slice);

/* NULL is allowed. */
void grpo_orders_close(struct grpo_orders *o);

/* Dataset rows of round `round`: indices[0 .. round rows / group size). Fails with MEMORY. */
MUST_USE enum status grpo_plan_prompts(const struct grpo_plan *p, int64_t round, int64_t *indices);

/* slice[i] of every row i of round `round`: each virtual rank permutes its rows with torch's global
 * generator and cuts them into slices. Fails with MEMORY. */
MUST_USE enum status grpo_plan_slices(const struct grpo_plan *p, int64_t round, int64_t *slice);
