/* What the files of trainer/data share about datasets; private. */
#pragma once

#include "trainer/data/dataset.h"
#include "trainer/format/file.h"

enum { DATASET_PATH = 4096, DATASET_SPLIT = 256 };

/* Row `row` of part `part`. */
struct view_row {
    int32_t part;
    int64_t row;
};

/* Datasets that one or more views take rows from, with the columns that stay of each. */
struct view_parts {
    int users; /* views and holders; the last one frees */
    int64_t count;
    struct dataset **part;
    json_t **columns; /* arrays of names; NULL: all */
};

struct dataset {
    char *name;
    struct file_map map;
    size_t *line;    /* [rows + 1] byte offsets of non-empty lines; NULL: no lines */
    int64_t *number; /* [rows] line numbers, for messages */
    json_t *rows;    /* in memory, NULL otherwise */
    struct view_parts *parts; /* NULL: rows of its own */
    struct view_row *order;   /* [total] of a view */
    int64_t total;
    int64_t begin; /* the slice */
    int64_t end;
};

/* Begin and end from "10:20]", "-5:]" or "10%:20%]" (NULL: all rows), percentages rounded as
 * `datasets` does. Fails with RECIPE. */
MUST_USE enum status dataset_apply_slice(struct dataset *d, const char *slice);

/* Splits "train[10:20]" into the name and the slice behind the bracket (NULL: none). Fails with
 * RECIPE. */
MUST_USE enum status dataset_parse_split(const char *split, char name[DATASET_SPLIT],
                                         const char **slice);

/* One file. Fails with INPUT, MEMORY. */
MUST_USE enum status dataset_open_file(struct dataset **out, const char *path);

/* True when `text` ends with `end`. */
bool dataset_ends_with(const char *text, const char *end);

/* A view with room for `total` rows over `parts`, which it becomes a user of. NULL: no memory. */
struct dataset *dataset_view_new(const char *name, struct view_parts *parts, int64_t total);

/* Parts for `count` datasets, none there yet, with one user. NULL: no memory. */
struct view_parts *view_parts_new(int64_t count);

/* One user less. NULL is allowed. */
void view_parts_release(struct view_parts *p);

/* Row of a view: that of its part, the columns picked. */
json_t *dataset_view_row(const struct dataset *d, int64_t at);
