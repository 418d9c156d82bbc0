/* The option table; private to the command line and its tests. */
#pragma once

#include "recipes/cli.h"

enum option_kind { OPTION_FLAG, OPTION_TEXT, OPTION_INT };

struct option_row {
    const char *name;
    enum option_kind kind;
    size_t offset;
    const char *value; /* placeholder in help; NULL for flags */
    const char *doc;
};

extern const struct option_row OPTIONS[];
extern const size_t OPTION_COUNT;

/* Row by name when `list` (space-separated) holds it; NULL otherwise. */
const struct option_row *option_find(const char *list, const char *name, size_t length);
