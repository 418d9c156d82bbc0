/*
 * The best evaluation of a run, by Transformers' rules (spec training.md 5): which checkpoint is
 * kept, and loaded at the end.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/status.h"

enum { BEST_METRIC = 128 };

struct best_rule {
    char metric[BEST_METRIC]; /* field of an evaluation, "eval_loss"; "": nothing is followed */
    bool greater;             /* is better */
    bool load;                /* the run ends with the weights of the best checkpoint */
    bool save;                /* a new best saves a checkpoint */
};

struct best_state {
    bool any;
    double metric;      /* of the best evaluation, when there is any */
    int64_t step;       /* it was made at; -1: none */
    int64_t checkpoint; /* the best step that has a checkpoint; -1: none */
};

/* No evaluation yet. */
void best_start(struct best_state *s);

/* The metric of an evaluation in `line`. Fails with RECIPE naming the metrics it has. */
MUST_USE enum status best_metric(const struct best_rule *rule, const json_t *line, double *out);

/* An evaluation with `metric` at `step`; true when it is the best so far. NaN never is. */
bool best_observe(const struct best_rule *rule, struct best_state *s, int64_t step, double metric);

/* A new object for a checkpoint, and back (NULL: as best_start). */
json_t *best_save(const struct best_state *s);

/* Reads what best_save made. */
void best_load(struct best_state *s, const json_t *json);
