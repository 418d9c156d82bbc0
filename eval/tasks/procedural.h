/*
 * Procedural tasks: questions from a seed and an index, with an exact judge each. The 18 tasks, their
 * difficulty keys, prompts and scores are those of reasoning-gym 0.1.25 (Stojanovski et al. 2025,
 * arXiv 2505.24760); the questions are Graft's own, drawn from counter-based random numbers, so that
 * a seed and an index are the same question on any rank.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/status.h"

struct procedural_task;

/* Task by name, NULL: none. */
const struct procedural_task *procedural_find(const char *name);
/* Task `i`, NULL past the end. */
const struct procedural_task *procedural_at(int64_t i);
/* Its name. */
const char *procedural_name(const struct procedural_task *t);

/* The package's score of an answer: `answer` text or NULL (None), `entry` the row with "answer" and
 * "metadata". NaN where the package raises an error, or the entry is not one of this task. Partial
 * credits and quirks as there: most scores fall with every character around the answer. */
double procedural_score(const struct procedural_task *t, const char *answer, const json_t *entry);

/* The package's extract_answer: what stands between the last <answer> and </answer>, stripped, in
 * new memory; NULL when there is none (or no memory). */
char *procedural_extract(const char *completion);
