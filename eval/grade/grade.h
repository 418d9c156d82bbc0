/*
 * Exact answers: extraction from a completion and comparison with the gold answer. One judge serves
 * rewards and evaluation.
 *
 * The math judge gives the verdicts of Math-Verify 0.9.0 (spec/open-r1.md 3): a text is searched
 * for an answer by a `grade_config`, the answer becomes an expression, two expressions are
 * compared. Work is bounded by steps, digits, depth and memory, never by time: what exceeds a bound
 * has no value and a reason.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/status.h"

enum { GRADE_ANSWER_CAP = 256 };

/* Content of the last \boxed{...} with balanced braces. False when there is none or it is longer
 * than GRADE_ANSWER_CAP - 1 bytes. */
bool grade_boxed(const char *text, char answer[GRADE_ANSWER_CAP]);

/* The last number: -?digits with commas and an optional decimal part, commas removed. */
bool grade_last_number(const char *text, char answer[GRADE_ANSWER_CAP]);

/* The gold answer of a row: column "solution", else "answer"; what follows "####" (GSM8K) or stands
 * in \boxed{} when present, else the whole text. False when the row has none. */
bool grade_gold(const json_t *row, char answer[GRADE_ANSWER_CAP]);

/* Equal as decimal numbers of any length ("1,200.0" = "1200"), else as trimmed text. */
bool grade_equal(const char *a, const char *b);

/* 1 when the completion's answer (boxed, else the last number) equals the gold answer of `row`, 0
 * when not, NaN when the row has no gold answer. */
double grade_completion(const char *completion, const json_t *row);

/*
 * Which verdicts: those of Math-Verify with its quirks, or with its known errors mended. Strict
 * differs in this:
 * - i is the imaginary unit and other symbols are real, so that (1+2i)^2 = -3+4i, 4i = 4 i;
 * - numbers differ however small they are (10^-20 and 10^-21);
 * - a single letter behind an operator is a variable, no unit (-7+6t); a unit goes also when a space
 *   follows it;
 * - 2(3) is a product, not the mixed number 5;
 * - a full stop or comma at the end of an answer goes ("No.", "12."); -007 is -7;
 * - intersections and differences of finite sets are evaluated;
 * - relations in one unknown are equal when their solutions are (2x=4 and x=2, 1<x<3 and 3>x>1), and
 *   a set may stand on either side of such a comparison;
 * - a symbol equals a longer form of it (x and 2x/2);
 * - identities count that simplification does not find (tan 2x = 2 tan x / (1 - tan^2 x)).
 * Kept in both: 28% equals 28 and 0.28, floats are compared at six decimals, case is ignored.
 */
enum grade_rule { GRADE_MATH_VERIFY, GRADE_STRICT };

/* Which \boxed{} of a text make the answer: the whole text is the answer, the last one with its
 * neighbours, all of them joined by commas. */
enum grade_boxed { GRADE_BOXED_NONE, GRADE_BOXED_LAST, GRADE_BOXED_ALL };

/* How to find and read an answer; Math-Verify's extraction and normalization settings. */
struct grade_config {
    bool latex;               /* LaTeX between dollars, brackets, in boxes */
    bool expr;                /* plain numbers and expressions of digits */
    bool choices;             /* the letters A to D, as text */
    bool latex_unanchored;    /* LaTeX also without "answer is" before it */
    bool expr_unanchored;
    bool choices_unanchored;
    bool first_match;         /* give up after the first match that cannot be read */
    int boxed_priority;       /* of \boxed{}: 0 first, 50 after "final answer is", -1 off */
    enum grade_boxed boxed;
    bool units;               /* drop units */
    bool malformed_operators; /* mend \frac12, \sqrt3, ^(..) */
    bool nits;                /* mend ".5" */
    bool equations;           /* a=b=c is c */
};

/* Both default configs: what Math-Verify's parse(text) does. */
extern const struct grade_config GRADE_CONFIG_DEFAULT;
/* Of the gold answer in Open-R1's accuracy reward: the default, first match only. */
extern const struct grade_config GRADE_CONFIG_OPEN_R1_GOLD;
/* Of the completion in Open-R1's accuracy, length and cosine rewards. */
extern const struct grade_config GRADE_CONFIG_OPEN_R1_ANSWER;
/* LaTeX alone, first match only: gold of Open-R1's length and cosine rewards. */
extern const struct grade_config GRADE_CONFIG_LATEX;
/* Of the completion in TRL's accuracy_reward. */
extern const struct grade_config GRADE_CONFIG_TRL_ANSWER;

/* A judge: compiled patterns and the memory of parsed answers. One per thread; open, use and close
 * it on the same thread. */
struct grade;

/* A parsed answer: an expression, the text it came from, or nothing. Owned by its judge. */
struct grade_answer;

/* Opens a judge. Fails with MEMORY. Close with grade_close. */
MUST_USE enum status grade_open(enum grade_rule rule, struct grade **out);

/* Releases the judge and its answers. NULL is allowed. */
void grade_close(struct grade *g);

/* Forgets all parsed answers of the judge: they must not be used again. Call it between problems:
 * a judge keeps 32 MB, and what no longer fits is an empty answer with that reason. */
void grade_reset(struct grade *g);

/* Finds and reads the answer in the `length` bytes at `text` (any bytes). *out is never NULL on
 * success and lives until grade_reset or grade_close. No text fails: one without a readable answer
 * gives an empty one with a reason. */
MUST_USE enum status grade_parse(struct grade *g, const char *text, size_t length,
                                 const struct grade_config *config,
                                 const struct grade_answer **out);

/* True when the answer is empty (Math-Verify's []). */
bool grade_answer_empty(const struct grade_answer *a);

/* Why the answer is empty or has no value; "" when it has one. */
const char *grade_answer_reason(const struct grade_answer *a);

/* The normalized text the answer came from, "" when there is none. */
const char *grade_answer_text(const struct grade_answer *a);

/* verify(gold, answer) of Math-Verify; not symmetric. Comparisons beyond the judge's bounds are
 * false. */
bool grade_equal_parsed(struct grade *g, const struct grade_answer *gold,
                        const struct grade_answer *answer);

/* *equal = verify(parse(gold), parse(answer)) with GRADE_CONFIG_DEFAULT. Resets the judge. Fails
 * with MEMORY. */
MUST_USE enum status grade_verify(struct grade *g, const char *gold, size_t gold_length,
                                  const char *answer, size_t answer_length, bool *equal);

/* *reward = Open-R1's accuracy reward: 1 or 0, NaN when the gold answer cannot be read. Resets the
 * judge. Fails with MEMORY. */
MUST_USE enum status grade_reward(struct grade *g, const char *gold, size_t gold_length,
                                  const char *answer, size_t answer_length, double *reward);
