/*
 * Built-in procedural data: sums of integers with their exact answers, so that a machine without
 * any dataset can train and judge.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/status.h"

struct sums_config {
    int64_t min;          /* smallest and largest operand */
    int64_t max;
    int64_t terms;        /* operands per problem, 2..8 */
    int64_t count;        /* problems; 0: every combination (refused beyond 1,000,000) */
    int64_t holdout;      /* how many of them are held out */
    uint64_t seed;        /* of the shuffle and the draw */
    const char *question; /* with {a}, {b}, {c} ... for the operands, e.g. "What is {a} + {b}?" */
    bool messages;        /* prompt as [{"role":"user",...}] instead of text */
    const char *completion; /* answer text with {answer} and operands, for SFT rows; NULL: none */
};

/* Rows {"prompt", "answer", "solution"} (and "completion") in two new arrays, disjoint: problems
 * are shuffled as Python's random.Random(seed).shuffle would, the first `holdout` are held out (out
 * of more than 1,000,000 combinations, `count` distinct ones are drawn instead). Fails with RECIPE
 * on impossible numbers. */
MUST_USE enum status sums_rows(const struct sums_config *c, json_t **train, json_t **held_out);
