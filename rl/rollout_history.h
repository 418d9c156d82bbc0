/*
 * What earlier rounds said to the prompts of the dataset, within a budget of tokens: texts to guess
 * from (lossless speculation) and expected lengths (longest first). Both decide time alone, so the
 * history is in no checkpoint: it begins anew after a resume.
 */
#pragma once

#include "rl/rollout.h"

/* Bytes that a kept token takes here, for plans. */
enum { ROLLOUT_HISTORY_TOKEN_BYTES = 4 };

/* Opens a history of at most `tokens` tokens, at least one. Fails with MEMORY. */
MUST_USE enum status rollout_history_open(struct rollout_history **out, int64_t tokens);

/* Takes the completions of a round in: of a prompt (a row of the dataset) the newest round stays,
 * of all the newest that the budget allows. Fails with MEMORY. */
MUST_USE enum status rollout_history_add(struct rollout_history *h, const struct round *r);

/* The completions to dataset row `index`; NULL and *count 0: none. Borrowed until the next add. */
const struct known_text *rollout_history_find(const struct rollout_history *h, int64_t index,
                                              int64_t *count);

/* Expected tokens of a completion to dataset row `index`: the mean of its earlier ones, else of
 * all; 0: nothing is known. */
int64_t rollout_history_expected(const struct rollout_history *h, int64_t index);

/* NULL is allowed. */
void rollout_history_close(struct rollout_history *h);
