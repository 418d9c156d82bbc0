/*
 * Schedules that follow the evaluations: torch's ReduceLROnPlateau and Transformers' GreedyLR
 * (arXiv 2512.14527); see schedule.h.
 */
#include <math.h>
#include <string.h>

#include "trainer/optim/schedule.h"

bool schedule_is_adaptive(const struct schedule_config *c)
{
    return c->kind == SCHEDULE_REDUCE_ON_PLATEAU || c->kind == SCHEDULE_GREEDY;
}

static void forget(struct schedule_state *s, const struct schedule_config *c)
{
    s->best = c->mode == SCHEDULE_MIN ? INFINITY : -INFINITY;
    s->bad = 0;
    s->good = 0;
    s->cooldown = 0;
    s->warmup = 0;
    s->reset_start = (int64_t)c->reset_start;
    s->sum = 0;
    s->values = 0;
}

void schedule_start(struct schedule_state *s, const struct schedule_config *c,
                    const double lr[SCHEDULE_GROUPS])
{
    *s = (struct schedule_state){0};
    memcpy(s->lr, lr, sizeof s->lr);
    memcpy(s->first_lr, lr, sizeof s->first_lr);
    forget(s, c);
}

static bool better(const struct schedule_config *c, double value, double best)
{
    if (c->mode == SCHEDULE_MIN) {
        return value < (c->threshold_mode == THRESHOLD_REL ? best * (1.0 - c->threshold)
                                                           : best - c->threshold);
    }
    return value > (c->threshold_mode == THRESHOLD_REL ? best * (1.0 + c->threshold)
                                                       : best + c->threshold);
}

/* Lowers every group's rate; true when none is above the least rate any more. */
static bool reduce(struct schedule_state *s, const struct schedule_config *c)
{
    bool least = true;
    for (int i = 0; i < SCHEDULE_GROUPS; i++) {
        const double lr = fmax(s->lr[i] * c->factor, c->min_lr);
        if (s->lr[i] - lr > c->eps) {
            s->lr[i] = lr;
        }
        least = least && !(s->lr[i] > c->min_lr);
    }
    return least;
}

static void observe_plateau(struct schedule_state *s, const struct schedule_config *c,
                            double metric)
{
    if (better(c, metric, s->best)) {
        s->best = metric;
        s->bad = 0;
    } else {
        s->bad++;
    }
    if (s->cooldown > 0) {
        s->cooldown--;
        s->bad = 0;
    }
    if (s->bad > (int64_t)c->patience) {
        (void)reduce(s, c);
        s->cooldown = (int64_t)c->cooldown;
        s->bad = 0;
    }
}

static void greedy_reduce(struct schedule_state *s, const struct schedule_config *c)
{
    if (reduce(s, c) && --s->reset_start <= 0) {
        memcpy(s->lr, s->first_lr, sizeof s->lr);
        forget(s, c);
    }
    s->cooldown = (int64_t)c->cooldown;
    s->bad = 0;
}

static void greedy_increase(struct schedule_state *s, const struct schedule_config *c)
{
    for (int i = 0; i < SCHEDULE_GROUPS; i++) {
        const double lr = fmin(s->lr[i] / c->factor, c->max_lr);
        if (lr - s->lr[i] > c->eps) {
            s->lr[i] = lr;
        }
    }
    s->reset_start = (int64_t)c->reset_start;
    s->warmup = (int64_t)c->warmup;
    s->good = 0;
}

/* Mean of the newest values. */
static double smoothed(struct schedule_state *s, const struct schedule_config *c, double metric)
{
    s->sum += metric;
    if (s->values == (int64_t)c->window_size) {
        s->sum -= s->value[0];
        s->values--;
        memmove(s->value, s->value + 1, (size_t)s->values * sizeof *s->value);
    }
    s->value[s->values++] = metric;
    return s->sum / (double)s->values;
}

static void observe_greedy(struct schedule_state *s, const struct schedule_config *c, double metric)
{
    const double value = c->smooth ? smoothed(s, c, metric) : metric;
    if (s->cooldown > 0 || s->warmup > 0) {
        int64_t *left = s->cooldown > 0 ? &s->cooldown : &s->warmup;
        (*left)--;
        s->bad = 0;
        s->good = 0;
        return;
    }
    if (better(c, value, s->best)) {
        s->best = value;
        s->bad = 0;
        s->good++;
    } else {
        s->bad++;
        s->good = 0;
    }
    if (s->good > (int64_t)c->patience) {
        greedy_increase(s, c);
    } else if (s->bad > (int64_t)c->patience) {
        greedy_reduce(s, c);
    }
}

void schedule_observe(struct schedule_state *s, const struct schedule_config *c, double metric)
{
    if (c->kind == SCHEDULE_GREEDY) {
        observe_greedy(s, c, metric);
    } else if (c->kind == SCHEDULE_REDUCE_ON_PLATEAU) {
        observe_plateau(s, c, metric);
    }
}

static json_t *numbers(const double *x, int64_t count)
{
    json_t *list = json_array();
    for (int64_t i = 0; list && i < count; i++) {
        (void)json_array_append_new(list, json_real(x[i]));
    }
    return list;
}

json_t *schedule_state_save(const struct schedule_state *s)
{
    json_t *best = isfinite(s->best) ? json_real(s->best) : json_null();
    return json_pack("{s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:f, s:o}", "lr",
                     numbers(s->lr, SCHEDULE_GROUPS), "first_lr",
                     numbers(s->first_lr, SCHEDULE_GROUPS), "best", best, "bad",
                     (json_int_t)s->bad, "good", (json_int_t)s->good, "cooldown",
                     (json_int_t)s->cooldown, "warmup", (json_int_t)s->warmup, "reset_start",
                     (json_int_t)s->reset_start, "sum", s->sum, "window",
                     numbers(s->value, s->values));
}

static bool read_numbers(const json_t *list, double *x, int64_t least, int64_t most, int64_t *count)
{
    *count = (int64_t)json_array_size(list);
    bool good = json_is_array(list) && *count >= least && *count <= most;
    for (int64_t i = 0; good && i < *count; i++) {
        const json_t *number = json_array_get(list, (size_t)i);
        good = json_is_number(number);
        x[i] = json_number_value(number);
    }
    return good;
}

enum status schedule_state_load(struct schedule_state *s, const json_t *saved)
{
    struct {
        const char *key;
        int64_t *at;
    } const counts[] = {{"bad", &s->bad},
                        {"good", &s->good},
                        {"cooldown", &s->cooldown},
                        {"warmup", &s->warmup},
                        {"reset_start", &s->reset_start}};
    int64_t groups;
    const json_t *best = json_object_get(saved, "best");
    bool good = read_numbers(json_object_get(saved, "lr"), s->lr, SCHEDULE_GROUPS, SCHEDULE_GROUPS,
                             &groups)
                && read_numbers(json_object_get(saved, "first_lr"), s->first_lr, SCHEDULE_GROUPS,
                                SCHEDULE_GROUPS, &groups)
                && read_numbers(json_object_get(saved, "window"), s->value, 0, SCHEDULE_WINDOW,
                                &s->values)
                && best;
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        const json_t *number = json_object_get(saved, counts[i].key);
        good = good && json_is_integer(number);
        *counts[i].at = json_integer_value(number);
    }
    if (json_is_number(best)) { /* null: the infinity that schedule_start set */
        s->best = json_number_value(best);
    }
    s->sum = json_number_value(json_object_get(saved, "sum"));
    return good ? STATUS_OK
                : FAIL(INPUT, "checkpoint: the schedule's state is missing or damaged");
}
