/*
 * Runs side by side on one base: the members of a recipe's population. Each is a run of its own
 * with its folder, log and checkpoints, and ends in the bits of that run alone.
 */
#pragma once

#include "recipes/memory.h"
#include "recipes/run.h"

/* Trains the members of the leader's population by GRPO, step after step in turn, and prints one
 * line with all results. Collective. Fails as the members do, naming the member. */
MUST_USE enum status population_grpo(struct run *leader, const struct command_args *args);

/* Plans the memory of all members together and notes the choice in the leader, whose data it opens.
 * Fails with MEMORY when the leader's key `memory` does not hold it. Collective. */
MUST_USE enum status population_plan(struct run *leader, const struct command_args *args,
                                     struct memory_plan *out);
