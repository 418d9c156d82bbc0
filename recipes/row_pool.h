/* Rows of JSON lines through worker threads; results leave in the order of the rows. */
#pragma once

#include "recipes/rows.h"

/* Rows that are worked on together. */
struct row_job {
    json_t *rows;    /* array of objects */
    int64_t *lines;  /* [rows] line numbers, for messages */
    json_t *results; /* array to fill, one object a row */
    int64_t bad;     /* on failure: which of the rows is to blame */
    enum status status;
    char *message;   /* of a failure */
};

struct row_pool {
    int64_t threads; /* 0: one per core this process may use */
    void *ctx;
    /* True when `row` belongs into the job that begins with `first`; NULL: every row is a job. */
    bool (*joins)(void *ctx, const json_t *first, const json_t *row);
    /* Called on each worker's own thread: its state, what it does with a job, the end. */
    enum status (*open)(void *ctx, void **state);
    enum status (*run)(void *state, struct row_job *job);
    void (*close)(void *state);
};

/* Runs all rows of the stream. Fails like the first job in order that failed, with its line in
 * front, or as open does; then nothing behind that job is written. */
MUST_USE enum status row_pool_run(const struct row_pool *pool, struct row_stream *stream);
