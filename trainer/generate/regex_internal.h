/* The parts of a regular expression's compilation. */
#pragma once

#include "trainer/generate/regex.h"

enum regex_kind { REGEX_EMPTY, REGEX_SET, REGEX_CAT, REGEX_ALT, REGEX_REPEAT };

/* Code points [low, high]. */
struct regex_range {
    int32_t low;
    int32_t high;
};

struct regex_node {
    enum regex_kind kind;
    int32_t a;     /* CAT, ALT, REPEAT: child; SET: first range */
    int32_t b;     /* CAT, ALT: child; SET: number of ranges */
    int32_t min;   /* REPEAT */
    int32_t max;   /* REPEAT, -1: no bound */
};

struct regex_tree {
    struct regex_node *nodes;
    int32_t count;
    struct regex_range *ranges;
    int32_t range_count;
    int32_t root;
};

/* Parses the pattern. Fails with RECIPE, MEMORY; regex_tree_close in either case. */
MUST_USE enum status regex_parse(struct regex_tree *t, const char *pattern);

/* Frees and zeroes. */
void regex_tree_close(struct regex_tree *t);

/* A state of Thompson's automaton: a byte in [low, high] leads to out; a split leads to both. */
struct regex_state {
    int32_t out;
    int32_t out1;  /* split: the other way, -1 */
    int16_t low;   /* -1: a split; -2: the end */
    int16_t high;
};

struct regex_nfa {
    struct regex_state *states;
    int32_t count;
    int32_t start;
};

/* Writes the tree out as an automaton. Fails with RECIPE when it has more than REGEX_NFA_STATES;
 * MEMORY; regex_nfa_close in either case. */
MUST_USE enum status regex_build_nfa(struct regex_nfa *n, const struct regex_tree *t);

/* Frees and zeroes. */
void regex_nfa_close(struct regex_nfa *n);
