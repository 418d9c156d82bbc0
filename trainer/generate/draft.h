/*
 * Guesses of the next tokens from what was generated before: one suffix automaton per prompt over
 * the prompt, its completions while they grow, and earlier ones (Blumer et al. 1985; several texts
 * share one automaton). A guess follows the longest ending of a completion that occurred elsewhere.
 *
 * Guesses decide time, never a token.
 */
#pragma once

#include <stdint.h>

#include "kernels/base/arena.h"

struct draft;

/* In `arena`; when `tokens` tokens were added, more are not taken in. Fails with MEMORY. */
MUST_USE enum status draft_open(struct draft **out, struct arena *arena, int64_t prompts,
                                int64_t tokens);

/* State of a prompt's empty text. */
int32_t draft_root(const struct draft *d, int64_t prompt);

/* State of a text grown by `id`; `weight` texts did so. -1 when the automaton is full: stays -1. */
int32_t draft_extend(struct draft *d, int64_t prompt, int32_t state, int32_t id, int32_t weight);

/* Likely ids behind the text of `state`: writes at most `most` to ids, returns how many. *match is
 * the number of tokens that the guess is based on. */
int64_t draft_propose(const struct draft *d, int32_t state, int64_t most, int32_t *ids,
                      int64_t *match);
