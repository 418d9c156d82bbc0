/*
 * Commands that run whole stages, one file each (stage_*.c); their rows stand in commands.c. With
 * args->plan_only (`graft estimate`) those with a recipe end at their memory plan: it goes there,
 * nothing is written, output_dir may be missing.
 */
#pragma once

#include "recipes/cli.h"

/* Supervised fine-tuning by recipe, alone or under MPI: checkpoints, adapter or model, log and
 * report go to output_dir. Fails with RECIPE, INPUT, MEMORY, IO, NUMERIC or INTERRUPTED. */
MUST_USE enum status stage_sft(const struct command_args *args);

/* GRPO by recipe: accuracy before, training, accuracy after. Results and failures as stage_sft. */
MUST_USE enum status stage_grpo(const struct command_args *args);

/* graft dpo. */
MUST_USE enum status stage_dpo(const struct command_args *args);

/* graft distill. */
MUST_USE enum status stage_distill(const struct command_args *args);

/* graft reward-model. */
MUST_USE enum status stage_reward_model(const struct command_args *args);

/* graft kto. */
MUST_USE enum status stage_kto(const struct command_args *args);

/* graft rloo: the same stage with leave-one-out advantages. */
MUST_USE enum status stage_rloo(const struct command_args *args);

/* Accuracy of a model, and of it with an adapter, on the recipe's held-out rows: one JSON line
 * with --json, else text. Collective. */
MUST_USE enum status stage_eval(const struct command_args *args);

/* What a run, checkpoint or adapter folder holds, written as an adapter, merged model or GGUF. */
MUST_USE enum status stage_export(const struct command_args *args);

/* Speed of this machine and of one kind of work, one JSON line per figure (rates in tokens/s,
 * times in s, memory in GiB). Writes no file. Fails with USAGE, and as the work does. */
MUST_USE enum status stage_bench(const struct command_args *args);
