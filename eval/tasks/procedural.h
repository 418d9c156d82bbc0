/*
 * Procedural tasks: questions from a seed and an index, with an exact judge each. The 18 tasks,
 * their difficulty keys, prompts and scores are those of reasoning-gym 0.1.25 (Stojanovski et al.
 * 2025, arXiv 2505.24760); the questions are Graft's own, drawn from counter-based random numbers,
 * so that a seed and an index are the same question on any rank.
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

/* *score of a completion for the row of a task ("task", or metadata's source_dataset; metadata an
 * object or JSON text): the answer in <answer> tags, else the whole completion, stripped. False
 * when the row is not one of a task. */
bool procedural_judge(const char *completion, const json_t *row, double *score);

/* The task a row names, NULL: none. *entry is a new reference to the row as procedural_score takes
 * it. */
const struct procedural_task *procedural_entry(const json_t *row, json_t **entry);

/* ---- questions ---- */

enum { PROCEDURAL_MOST_KEYS = 12, PROCEDURAL_MOST_WEIGHTS = 4 };

/* The difficulty of a task: values of its keys. */
struct procedural_config {
    const struct procedural_task *task;
    double values[PROCEDURAL_MOST_KEYS]; /* numbers, flags, bits of lists; by place in the table */
    double weights[PROCEDURAL_MOST_WEIGHTS]; /* of the operators, where the task has them */
};

/* Sets up the task's defaults, or a level of its curriculum (0 .. procedural_levels - 1; < 0: no
 * curriculum), then the keys of `given` (the package's names; an object or NULL). Fails with
 * RECIPE: a key the task doesn't have, a value out of its range, a minimum over its maximum. */
MUST_USE enum status procedural_configure(const struct procedural_task *t, int64_t level,
                                          const json_t *given, struct procedural_config *out);

/* Levels of the task's curriculum, as the package's classes define them. */
int64_t procedural_levels(const struct procedural_task *t);

/* Question `index` of `seed`: a new row {"question", "answer", "task", "metadata"}. The same
 * numbers give the same row anywhere. Fails with RECIPE when no question has the difficulty,
 * MEMORY. */
MUST_USE enum status procedural_question(const struct procedural_config *c, uint64_t seed,
                                         uint64_t index, json_t **out);

/* Names of the tasks, "countdown, gcd, ..."; cut at `size`. */
void procedural_names(char *out, size_t size);

/* The package's extract_answer: what stands between the last <answer> and </answer>, stripped, in
 * new memory; NULL when there is none (or no memory). */
char *procedural_extract(const char *completion);
