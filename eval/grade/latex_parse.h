/*
 * LaTeX answers to expressions, by the reference grammar (spec/open-r1.md 3.2): of several ways to
 * read a text the first alternative that reaches its end counts.
 */
#pragma once

#include "eval/grade/latex_lex.h"

/* The expression of `text` (NUL-terminated UTF-8, normalized). NULL when there is none, with why in
 * *reason. Symbols are `real`, or explicitly not. `strict`: i is the imaginary unit, and 2(3) a
 * product. */
const struct expr *latex_parse(struct expr_pool *p, const char *text, bool real, bool strict,
                               const char **reason);
