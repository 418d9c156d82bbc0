/* Nearest-name suggestions for misspelt keys, options and commands. */
#pragma once

#include <stddef.h>

/* Candidate `i`, NULL past the end. Borrowed. */
typedef const char *(*suggest_fn)(const void *ctx, size_t i);

/* Edits (insert, delete, replace, swap of neighbours; each cost 1) that turn `a` into `b`, case
 * ignored: the optimal string alignment distance. Words over 63 bytes: SIZE_MAX. */
size_t suggest_distance(const char *a, const char *b);

/* The candidate nearest to `word`, first on ties; NULL when none is within a third of its length
 * (at least 1 edit, at most 4). */
const char *suggest_nearest(const char *word, suggest_fn candidates, const void *ctx);
