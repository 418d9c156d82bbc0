/*
 * Learning-rate schedules of Transformers' get_scheduler (spec training.md 5). Most give a
 * multiplier of the peak rate from the step alone; the adaptive ones (reduce_lr_on_plateau, greedy)
 * change the rates after each evaluation and keep a state that belongs into checkpoints.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/status.h"

enum schedule_kind {
    SCHEDULE_LINEAR,
    SCHEDULE_COSINE,
    SCHEDULE_COSINE_WITH_RESTARTS,
    SCHEDULE_COSINE_WITH_MIN_LR,
    SCHEDULE_COSINE_WARMUP_WITH_MIN_LR,
    SCHEDULE_POLYNOMIAL,
    SCHEDULE_INVERSE_SQRT,
    SCHEDULE_CONSTANT,
    SCHEDULE_CONSTANT_WITH_WARMUP,
    SCHEDULE_WARMUP_STABLE_DECAY,
    SCHEDULE_REDUCE_ON_PLATEAU,
    SCHEDULE_GREEDY,
    SCHEDULE_KINDS
};

enum schedule_shape { SHAPE_LINEAR, SHAPE_COSINE, SHAPE_ONE_MINUS_SQRT };
enum schedule_mode { SCHEDULE_MIN, SCHEDULE_MAX };
enum schedule_threshold { THRESHOLD_REL, THRESHOLD_ABS };

enum { SCHEDULE_GROUPS = 3, SCHEDULE_WINDOW = 1024 };

/* Names and defaults are those of lr_scheduler_kwargs. A kind reads its own members only. */
struct schedule_config {
    enum schedule_kind kind;
    double warmup_steps;   /* < 1: a ratio of all steps (ceil), else whole (floor) */
    double num_cycles;
    double min_lr;         /* NAN: not given */
    double min_lr_rate;    /* NAN: not given */
    double warmup_lr_rate; /* NAN: from 1 / warmup */
    double min_lr_ratio;
    double lr_end;
    double power;
    double timescale;      /* 0: warmup, or 10000 without one */
    double num_decay_steps;
    double num_stable_steps; /* NAN: what is left */
    int warmup_type;       /* enum schedule_shape */
    int decay_type;
    int mode;              /* enum schedule_mode: what is better */
    int threshold_mode;    /* enum schedule_threshold */
    double factor;
    double patience;
    double threshold;
    double cooldown;
    double warmup;         /* greedy: observations after an increase that are not judged */
    double max_lr;
    double eps;
    int smooth;
    double window_size;
    double reset_start;
};

/* State of an adaptive schedule. */
struct schedule_state {
    double lr[SCHEDULE_GROUPS];
    double first_lr[SCHEDULE_GROUPS];
    double best;
    int64_t bad;      /* observations in a row without progress */
    int64_t good;     /* greedy: with progress */
    int64_t cooldown; /* observations left */
    int64_t warmup;
    int64_t reset_start;
    double sum;       /* of the window */
    int64_t values;
    double value[SCHEDULE_WINDOW]; /* oldest first */
};

/* Name as recipes spell it. */
const char *schedule_name(enum schedule_kind kind);

/* Defaults of a kind, then `kwargs` (an object or NULL). `learning_rate` is the peak. Fails with
 * RECIPE naming a key the kind does not have, a wrong value or one that is missing. */
MUST_USE enum status schedule_configure(struct schedule_config *out, enum schedule_kind kind,
                                        double warmup_steps, double learning_rate,
                                        const json_t *kwargs);

/* True when the rates follow evaluations instead of the step. */
bool schedule_is_adaptive(const struct schedule_config *c);

/* Multiplier of update `t` (0 for the first) of `total`, the one USED by that step, for a peak of
 * `learning_rate`; 1 for adaptive kinds. */
double schedule_multiplier(const struct schedule_config *c, double learning_rate, int64_t t,
                           int64_t total);

/* Start of an adaptive schedule with the groups' rates. */
void schedule_start(struct schedule_state *s, const struct schedule_config *c,
                    const double lr[SCHEDULE_GROUPS]);

/* Takes in one evaluation's metric and sets s->lr. */
void schedule_observe(struct schedule_state *s, const struct schedule_config *c, double metric);

/* The state as a new JSON object; reading it back gives the same bits. NULL without memory. */
json_t *schedule_state_save(const struct schedule_state *s);

/* Fails with INPUT when a member is missing. */
MUST_USE enum status schedule_state_load(struct schedule_state *s, const json_t *saved);
