/*
 * The entropy bonus' coefficient (spec training.md 1.5): fixed, or moved by delta at the end of
 * every optimizer step so that the window's mean entropy stays near the target. The bonus of a step
 * goes by what the step before measured.
 */
#pragma once

#include <stdbool.h>

struct entropy_config {
    double coef;    /* fixed, or where the adaptive one starts */
    bool adaptive;
    double min;
    double max;
    double delta;
    double target;
};

struct entropy_control {
    struct entropy_config config;
    double coef;
    double last; /* mean entropy of the last window; infinite before the first */
};

/* Before the first step. */
void entropy_control_open(struct entropy_control *e, const struct entropy_config *config);

/* True when the loss has a bonus at all; the adaptive one stays on at 0. */
bool entropy_control_on(const struct entropy_control *e);

/* The coefficient of this step's bonus. */
double entropy_control_coef(const struct entropy_control *e);

/* Ends a step whose kept tokens had this sum of entropies. */
void entropy_control_update(struct entropy_control *e, double sum, double tokens);
