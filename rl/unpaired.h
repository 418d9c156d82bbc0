/*
 * Rows of unpaired preferences (spec training.md 4, KTO): {"prompt", "completion", "label"} as text
 * or messages, or preference rows {"prompt"?, "chosen", "rejected"}, which become two: of every
 * 1000 rows first all chosen, then all rejected, as TRL's map over batches of 1000 unpairs them.
 */
#pragma once

#include "rl/pairs.h"
#include "rl/tree_rows.h"

struct unpaired {
    int32_t *ids;          /* prompt, completion */
    int64_t prompt_count;
    int64_t count;         /* of the whole completion */
    bool desirable;
};

struct unpaired_set {
    struct unpaired *items;
    int64_t count;
    int64_t capacity;
    int64_t dropped;    /* rows whose prompt alone fills max_length, or without a completion */
    int64_t max_length; /* cuts prompt + completion from the end; 0: never */
};

/* Rows of a dataset in order. */
struct unpaired_source {
    json_t *(*row)(void *ctx, int64_t i); /* a new reference, or NULL with a message */
    void *ctx;
    int64_t count;
    const char *name; /* for messages: "name: row 3" */
    void (*where)(void *ctx, int64_t i, char *out, size_t size); /* a row's place, in place of that;
                                                                    NULL: that */
};

/* Reads all rows. Every row has the form of the first. Fails with INPUT, MEMORY. */
MUST_USE enum status unpaired_read(const struct prompt_format *format,
                                   const struct unpaired_source *source, struct unpaired_set *set);

/* Row `i` as a tree with the completion of row `of` behind its prompt, cut to max_length. */
struct tree_row unpaired_tree(const struct unpaired_set *set, int64_t i, int64_t of);

/* The row whose completion stands behind row i's prompt where the divergence is estimated: the one
 * before it in its window of `batch` rows, the last for the first. */
int64_t unpaired_mismatch(const struct unpaired_set *set, int64_t i, int64_t batch);

/* Frees the rows and empties the set. */
void unpaired_set_close(struct unpaired_set *set);
