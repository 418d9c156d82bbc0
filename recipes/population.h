/*
 * Runs side by side on one base: the members of a recipe's population. Each is a run of its own with
 * its folder, log and checkpoints, and ends in the bits of that run alone.
 */
#pragma once

#include "recipes/run.h"

/* Trains the members of the leader's population by GRPO, step after step in turn, and prints one line
 * with all results. Collective. Fails as the members do, naming the member. */
MUST_USE enum status population_grpo(struct run *leader, const struct command_args *args);
