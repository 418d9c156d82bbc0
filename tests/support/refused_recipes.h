/* Recipes of a few lines, and tables of those that are refused. */
#pragma once

#include "recipes/schema.h"

struct refused_recipe {
    const char *text;          /* lines, "key: value\n" each */
    const char *says[3];       /* words of the message, NULL from the first missing one on */
    enum recipe_method method; /* 0: RECIPE_SFT */
};

/* Opens `base` and then `more` as one recipe of a method and resolves it for one rank. Close `r` in
 * any case. */
MUST_USE enum status recipe_lines_open(struct recipe *r, enum recipe_method method,
                                       const char *base, const char *more);

/* Fails the test unless every case, after the lines of `base`, is refused as a recipe with its
 * words. */
void refused_recipes_check(const char *base, const struct refused_recipe *cases, size_t count);

/* How many of the recipe's notes hold `part`. */
int64_t recipe_notes_about(const struct recipe *r, const char *part);
