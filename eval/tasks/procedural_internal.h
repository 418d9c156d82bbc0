/* Rows and parts of the procedural tasks. */
#pragma once

#include "eval/tasks/procedural.h"

struct procedural_task {
    const char *name;
    double (*score)(const char *answer, const json_t *entry); /* NULL: procedural_score_text */
};

/* Text of the entry's answer, "" when it has none. */
const char *procedural_answer(const json_t *entry);

/* 1 when equal, length(gold) / length(answer) when the answer holds the gold text, else 0. */
double procedural_score_text(const char *answer, const json_t *entry);

/* 1 when equal as Decimals without commas, else as procedural_score_text without commas. */
double procedural_score_decimal(const char *answer, const json_t *entry);

/* The scores of single tasks; as in the package. */
double procedural_score_countdown(const char *answer, const json_t *entry);
/* Product and order of prime factors. */
double procedural_score_factors(const char *answer, const json_t *entry);
/* Distances of roots. */
double procedural_score_roots(const char *answer, const json_t *entry);
/* A sorted list. */
double procedural_score_sorted(const char *answer, const json_t *entry);
/* A Decimal within the last place. */
double procedural_score_places(const char *answer, const json_t *entry);
/* Numerator and denominator. */
double procedural_score_fraction(const char *answer, const json_t *entry);
/* Letters at their places. */
double procedural_score_letters(const char *answer, const json_t *entry);
/* Weekdays, counts, leap years. */
double procedural_score_calendar(const char *answer, const json_t *entry);
/* Distance in the complex plane. */
double procedural_score_complex(const char *answer, const json_t *entry);
