/*
 * A curriculum over procedural tasks: the level of a task rises when its success rate over a window
 * of answers reaches a threshold, and falls when it drops to another. All of it is sums over
 * answers in order, so that every rank and a resumed run come to the same levels.
 */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "kernels/base/status.h"

enum { CURRICULUM_MOST_TASKS = 32 };

struct curriculum_config {
    double raise;   /* success rate from which the level rises */
    double lower;   /* success rate down to which it falls; below `raise` */
    int64_t window; /* answers of a task between two looks at its rate */
};

struct curriculum_task {
    int64_t level;
    int64_t levels; /* of the task */
    int64_t answers; /* since the last look */
    double sum;      /* of their scores */
};

struct curriculum {
    struct curriculum_config config;
    struct curriculum_task tasks[CURRICULUM_MOST_TASKS];
    int64_t count;
};

/* Counts one answer of a task, its score in [0, 1] (NaN: none), and moves the level when the window
 * is full; then the counts begin again. */
void curriculum_observe(struct curriculum *c, int64_t task, double score);

/* The state as JSON (new reference), and back; a state of other tasks fails with INPUT. */
json_t *curriculum_to_json(const struct curriculum *c);
/* Reads what curriculum_to_json wrote. */
MUST_USE enum status curriculum_from_json(struct curriculum *c, const json_t *json);
