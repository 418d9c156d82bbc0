/*
 * Preference rows to pairs (spec training.md 4): {"prompt", "chosen", "rejected"} as text or
 * messages, or {"chosen", "rejected"} alone, whose common beginning is the prompt. A pair is a
 * tree: the prompt once, both completions as branches.
 */
#pragma once

#include "trainer/data/examples.h"

struct pair {
    int32_t *ids;          /* prompt, chosen, rejected, one after the other */
    int64_t prompt_count;
    int64_t chosen_count;
    int64_t rejected_count;
};

struct pair_set {
    struct pair *items;
    int64_t count;
    int64_t capacity;
    int64_t dropped; /* rows whose prompt alone fills max_length, or without a completion */
};

/* Appends the pair of one row; `max_length` (0: none) cuts prompt + completion from the end.
 * `where` names the row in messages. Fails with INPUT, MEMORY. */
MUST_USE enum status pair_add(const struct prompt_format *format, int64_t max_length,
                              const json_t *row, const char *where, struct pair_set *set);

/* {"prompt", "completion"} of one side ("chosen", "rejected") of a preference row, a new object; a
 * missing prompt is what both sides share. Both sides are text, or both messages. */
json_t *pair_side(const json_t *row, const char *side);

/* Token of a prompt and completion example at which the completion begins. */
int64_t pair_completion_at(const struct example *e);

/* Frees the pairs and empties the set. */
void pair_set_close(struct pair_set *set);
