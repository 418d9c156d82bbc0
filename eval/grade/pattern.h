/*
 * Regular expressions of extraction and normalization, compiled once per judge (PCRE2 with JIT).
 * Matching has step limits, so that hostile texts cost bounded time.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "eval/grade/expr.h"

/* Every pattern has one row in pattern_table.c. */
enum pattern_id {
    /* Extraction; groups of LaTeX patterns: 2k+1 content and 2k+2 percent sign of part k. */
    PATTERN_LATEX_HOPE, PATTERN_LATEX_IS, PATTERN_LATEX_COLON, PATTERN_LATEX_ANSWER,
    PATTERN_LATEX_PLAIN, PATTERN_BOXED_LATEX, PATTERN_BOXED_RAW,
    /* Groups of number patterns: expression, whole and decimal parts, percent sign. */
    PATTERN_EXPR_HOPE, PATTERN_EXPR_IS, PATTERN_EXPR_COLON, PATTERN_EXPR_ANSWER,
    PATTERN_EXPR_PLAIN, PATTERN_NUMBER_PLAIN,
    PATTERN_CHOICE_HOPE, PATTERN_CHOICE_IS, PATTERN_CHOICE_COLON, PATTERN_CHOICE_ANSWER,
    PATTERN_CHOICE_START, PATTERN_CHOICE_PLAIN,
    PATTERN_SEPARATOR, /* between boxes */
    PATTERN_LEFT, PATTERN_RIGHT, PATTERN_PERMUTATION, PATTERN_REMOVE, PATTERN_REPLACE,
    PATTERN_DOUBLE_SLASH, PATTERN_UNIT_TEXT, PATTERN_UNIT_WORD,
    PATTERN_CARET_PAREN, PATTERN_SQRT_PAREN, PATTERN_FRAC_DIGITS, PATTERN_LOG_DIGITS,
    PATTERN_FRAC_BRACE_DIGIT, PATTERN_FRAC_DIGIT_BRACE, PATTERN_SQRT_DIGIT,
    PATTERN_EQUALS, PATTERN_COMPLEX, PATTERN_COMMA_NUMBER,
    PATTERN_COUNT
};

enum { PATTERN_MAX_GROUPS = 40 };

/* Where a group matched; begin == SIZE_MAX: not at all. */
struct pattern_group {
    size_t begin, end;
};

struct pattern_match {
    int groups; /* group 0 is the whole match */
    struct pattern_group group[PATTERN_MAX_GROUPS];
};

/* A piece of text. */
struct slice {
    const char *s;
    size_t n;
};

struct pattern_set;

/* Source and options of a pattern (pattern_table.c). */
struct pattern_source {
    const char *text; /* NULL: PATTERN_REPLACE, made of the words */
    bool dot_all;
};
/* The row of a pattern. */
const struct pattern_source *pattern_source(enum pattern_id id);

/* The k-th word that PATTERN_REPLACE looks for (NULL past the last). */
const char *pattern_word(int k);
/* What replaces the k-th word. */
const char *pattern_replacement(int k);

/* Compiles all patterns. Fails with MEMORY. */
MUST_USE enum status pattern_open(struct pattern_set **out);
/* Releases them. NULL is allowed. */
void pattern_close(struct pattern_set *p);

/* The first match in `text` (valid UTF-8) from byte `from` on. False when there is none or the
 * step limit is reached. */
bool pattern_find(struct pattern_set *p, enum pattern_id id, struct slice text, size_t from,
                  struct pattern_match *m);

/* Replaces all matches; \1 and \2 in `with` are groups. NULL slice when out of memory. */
struct slice pattern_replace(struct pattern_set *p, struct expr_pool *pool, enum pattern_id id,
                             struct slice text, const char *with);

/* Replaces each match of PATTERN_REPLACE by its row's text. */
struct slice pattern_replace_words(struct pattern_set *p, struct expr_pool *pool,
                                   struct slice text);

/* Replaces a fixed text. */
struct slice slice_replace(struct expr_pool *pool, struct slice text, const char *what,
                           const char *with);

/* Without white space at its ends. */
struct slice slice_trim(struct slice text);
/* Does it hold this text? */
bool slice_has(struct slice text, const char *what);
