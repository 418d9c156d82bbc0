/*
 * Exact answers: extraction from a completion and comparison with the gold answer. One judge serves
 * rewards and evaluation.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { GRADE_ANSWER_CAP = 256 };

/* Content of the last \boxed{...} with balanced braces. False when there is none or it is longer than
 * GRADE_ANSWER_CAP - 1 bytes. */
bool grade_boxed(const char *text, char answer[GRADE_ANSWER_CAP]);

/* The last number: -?digits with commas and an optional decimal part, commas removed. */
bool grade_last_number(const char *text, char answer[GRADE_ANSWER_CAP]);

/* The gold answer of a row: column "solution", else "answer"; what follows "####" (GSM8K) or stands
 * in \boxed{} when present, else the whole text. False when the row has none. */
bool grade_gold(const json_t *row, char answer[GRADE_ANSWER_CAP]);

/* Equal as decimal numbers of any length ("1,200.0" = "1200"), else as trimmed text. */
bool grade_equal(const char *a, const char *b);

/* 1 when the completion's answer (boxed, else the last number) equals the gold answer of `row`, 0 when
 * not, NaN when the row has no gold answer. */
double grade_completion(const char *completion, const json_t *row);
