/* JSON lines in and out of the row commands. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "kernels/base/status.h"
#include "recipes/cli.h"

struct row_stream {
    FILE *in;
    FILE *out;
    const char *name; /* of the input, for messages */
    char *final;      /* output path, NULL: standard output */
    char *partial;    /* written to first, renamed by rows_close */
    char *line;
    size_t capacity;
    int64_t number;   /* of the current line, from 1 */
    int64_t rows;     /* handed out so far */
    int64_t limit;
};

/* Opens --input and --output. Fails with INPUT or IO. Call rows_close in any case. */
MUST_USE enum status rows_open(struct row_stream *s, const struct command_args *args);

/* Next object (the caller drops it), NULL at the end. Empty lines are passed over. Fails with INPUT
 * "file:12: ...". */
MUST_USE enum status rows_next(struct row_stream *s, json_t **row);

/* Writes one line; drops `row`. NULL fails with MEMORY. */
MUST_USE enum status rows_write(struct row_stream *s, json_t *row);

/* Prefixes the last message with "file:12: ", the row being worked on. */
enum status rows_blame(const struct row_stream *s, int64_t number, enum status status);

/* Ends the output: renames it into place when `status` is OK, removes it otherwise. Returns
 * `status` or what went wrong here. */
MUST_USE enum status rows_close(struct row_stream *s, enum status status);
