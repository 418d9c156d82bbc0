/*
 * From a text to the answer in it: which part is the answer (extract.c), its normal form
 * (normalize.c, boxed.c), plain expressions (plain.c). Source: spec/open-r1.md 3.1 and 3.2.
 */
#pragma once

#include "eval/grade/grade.h"
#include "eval/grade/pattern.h"

/* What a judge needs to read texts. */
struct reader {
    struct pattern_set *patterns;
    struct expr_pool *pool;
    bool strict; /* with the known errors mended */
};

/* What was read. */
struct reading {
    const struct expr *value; /* NULL: none */
    const char *choice;       /* a choice letter, lower case; NULL: none */
    const char *text;         /* of the first match, NULL: none */
    const char *reason;       /* why there is no value */
};

/* Finds and reads the answer in `text` (valid UTF-8). */
void extract_answer(struct reader *r, struct slice text, const struct grade_config *config,
                    struct reading *out);

/* The contents of the boxes of `text`, `text` itself when it has none. */
struct slice boxed_content(struct reader *r, struct slice text, enum grade_boxed mode);

/* The normal form of LaTeX. */
struct slice normalize_latex(struct reader *r, struct slice text, const struct grade_config *config,
                             enum grade_boxed boxed);

/* The text after the last of at least two equals signs, when there are no lists; else `text`. */
struct slice normalize_last_equation(struct reader *r, struct slice text);

/* The value of a plain expression of numbers, + - * / ^ ** and brackets; NULL when it is none. */
const struct expr *plain_parse(struct expr_pool *pool, struct slice text);
