/*
 * Regular expressions to a deterministic automaton over bytes, for constrained output. A whole text
 * has to match.
 *
 * The language: UTF-8 literals, . (not a newline), classes [a-z^] with ranges, escapes \d \D \w \W
 * \s \S \n \r \t \f \v \xHH and \ before punctuation, groups ( ) and (?: ), alternatives |, and
 * * + ? {m} {m,} {m,n} (lazy forms mean the same language). ^ may start and $ may end the pattern.
 * Everything else (references, look-around, flags, possessive repetitions, \b, \p) is refused.
 *
 * Method: syntax tree -> Thompson's automaton over UTF-8 bytes -> subset construction (Thompson
 * 1968; Rabin & Scott 1959), complete at opening and bounded, so that a pattern whose automaton
 * explodes is refused before a token is drawn.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/status.h"

enum {
    REGEX_PATTERN_BYTES = 4096,
    REGEX_NODES = 16384,      /* of the syntax tree */
    REGEX_NFA_STATES = 16384, /* after repetitions are written out */
    REGEX_DFA_STATES = 8192,
    REGEX_WORK = 64 << 20     /* steps of the construction */
};

struct regex {
    int32_t states;
    int32_t classes;      /* of bytes that no part of the pattern tells apart */
    uint8_t class_of[256];
    int32_t *next;        /* [states, classes]: state after a byte, -1: no text goes on so */
    bool *accepts;        /* [states] the text so far matches */
    bool *goes_on;        /* [states] some longer text matches */
};

/* Compiles `pattern`; state 0 is the start. Fails with RECIPE: what is wrong and where, or which
 * limit is exceeded; MEMORY. Free with regex_close. */
MUST_USE enum status regex_open(struct regex *out, const char *pattern);

/* Frees and zeroes. */
void regex_close(struct regex *r);

/* State after `byte`; -1 stays -1. */
static inline int32_t regex_next(const struct regex *r, int32_t state, uint8_t byte)
{
    return state < 0 ? -1 : r->next[(int64_t)state * r->classes + r->class_of[byte]];
}
