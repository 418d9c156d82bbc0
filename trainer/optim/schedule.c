/* Multipliers of Transformers' schedules by step; see schedule.h. Steps count from 0. */
#include "trainer/optim/schedule.h"

#include <math.h>

static const double PI = 3.14159265358979323846;

/* Where a step lies. */
struct place {
    double step;
    double warmup;
    double total;
    double peak; /* learning rate */
};

static double ramp(const struct place *p)
{
    return p->step / fmax(1.0, p->warmup);
}

static double progress(const struct place *p)
{
    return (p->step - p->warmup) / fmax(1.0, p->total - p->warmup);
}

static double wave(double cycles, double x)
{
    return 0.5 * (1.0 + cos(PI * cycles * 2.0 * x));
}

static double floor_rate(const struct schedule_config *c, const struct place *p)
{
    return isnan(c->min_lr_rate) ? c->min_lr / p->peak : c->min_lr_rate;
}

static double lifted(double factor, double least)
{
    return fmax(0.0, factor * (1.0 - least) + least);
}

static double linear(const struct schedule_config *c, const struct place *p)
{
    (void)c;
    return p->step < p->warmup
               ? ramp(p)
               : fmax(0.0, (p->total - p->step) / fmax(1.0, p->total - p->warmup));
}

static double cosine(const struct schedule_config *c, const struct place *p)
{
    return p->step < p->warmup ? ramp(p) : fmax(0.0, wave(c->num_cycles, progress(p)));
}

static double restarts(const struct schedule_config *c, const struct place *p)
{
    if (p->step < p->warmup) {
        return ramp(p);
    }
    const double x = progress(p);
    return x >= 1.0 ? 0.0 : fmax(0.0, 0.5 * (1.0 + cos(PI * fmod(c->num_cycles * x, 1.0))));
}

static double min_lr(const struct schedule_config *c, const struct place *p)
{
    return p->step < p->warmup ? ramp(p)
                               : lifted(wave(c->num_cycles, progress(p)), floor_rate(c, p));
}

static double warmup_min_lr(const struct schedule_config *c, const struct place *p)
{
    if (p->step >= p->warmup) {
        const double x = (p->step - p->warmup + 1.0) / fmax(1.0, p->total - p->warmup);
        return lifted(wave(c->num_cycles, x), floor_rate(c, p));
    }
    if (isnan(c->warmup_lr_rate)) {
        return (p->step + 1.0) / fmax(1.0, p->warmup);
    }
    return c->warmup_lr_rate
           + (1.0 - c->warmup_lr_rate) * p->step / fmax(1.0, p->warmup - 1.0);
}

static double polynomial(const struct schedule_config *c, const struct place *p)
{
    if (p->step < p->warmup) {
        return ramp(p);
    }
    if (p->step > p->total) {
        return c->lr_end / p->peak;
    }
    const double left = 1.0 - (p->step - p->warmup) / fmax(1.0, p->total - p->warmup);
    return ((p->peak - c->lr_end) * pow(left, c->power) + c->lr_end) / p->peak;
}

static double inverse_sqrt(const struct schedule_config *c, const struct place *p)
{
    if (p->step < p->warmup) {
        return ramp(p);
    }
    const double scale = c->timescale > 0 ? c->timescale : p->warmup > 0 ? p->warmup : 10000.0;
    return 1.0 / sqrt((p->step + (scale - p->warmup)) / scale);
}

static double constant(const struct schedule_config *c, const struct place *p)
{
    (void)c;
    (void)p;
    return 1.0;
}

static double constant_with_warmup(const struct schedule_config *c, const struct place *p)
{
    (void)c;
    return p->step < p->warmup ? ramp(p) : 1.0;
}

/* Rises from 0 to 1. */
static double rise(int shape, double x)
{
    switch ((enum schedule_shape)shape) {
    case SHAPE_COSINE:
        return 0.5 * (1.0 - cos(PI * x));
    case SHAPE_ONE_MINUS_SQRT:
        return 1.0 - sqrt(1.0 - x);
    case SHAPE_LINEAR:
        break;
    }
    return x;
}

static double fall(int shape, double cycles, double x)
{
    switch ((enum schedule_shape)shape) {
    case SHAPE_COSINE:
        return wave(cycles, x);
    case SHAPE_ONE_MINUS_SQRT:
        return 1.0 - sqrt(x);
    case SHAPE_LINEAR:
        break;
    }
    return 1.0 - x;
}

static double stable_decay(const struct schedule_config *c, const struct place *p)
{
    const double stable = isnan(c->num_stable_steps)
                              ? p->total - p->warmup - c->num_decay_steps
                              : c->num_stable_steps;
    const double into = p->step - p->warmup - stable;
    if (p->step < p->warmup) {
        return lifted(rise(c->warmup_type, ramp(p)), c->min_lr_ratio);
    }
    if (into < 0) {
        return 1.0;
    }
    if (into < c->num_decay_steps) {
        const double x = into / fmax(1.0, c->num_decay_steps);
        return lifted(fall(c->decay_type, c->num_cycles, x), c->min_lr_ratio);
    }
    return c->min_lr_ratio;
}

static const struct {
    const char *name;
    double (*multiplier)(const struct schedule_config *c, const struct place *p);
} KINDS[SCHEDULE_KINDS] = {
    [SCHEDULE_LINEAR] = {"linear", linear},
    [SCHEDULE_COSINE] = {"cosine", cosine},
    [SCHEDULE_COSINE_WITH_RESTARTS] = {"cosine_with_restarts", restarts},
    [SCHEDULE_COSINE_WITH_MIN_LR] = {"cosine_with_min_lr", min_lr},
    [SCHEDULE_COSINE_WARMUP_WITH_MIN_LR] = {"cosine_warmup_with_min_lr", warmup_min_lr},
    [SCHEDULE_POLYNOMIAL] = {"polynomial", polynomial},
    [SCHEDULE_INVERSE_SQRT] = {"inverse_sqrt", inverse_sqrt},
    [SCHEDULE_CONSTANT] = {"constant", constant},
    [SCHEDULE_CONSTANT_WITH_WARMUP] = {"constant_with_warmup", constant_with_warmup},
    [SCHEDULE_WARMUP_STABLE_DECAY] = {"warmup_stable_decay", stable_decay},
    [SCHEDULE_REDUCE_ON_PLATEAU] = {"reduce_lr_on_plateau", constant},
    [SCHEDULE_GREEDY] = {"greedy", constant},
};

const char *schedule_name(enum schedule_kind kind)
{
    return KINDS[kind].name;
}

double schedule_multiplier(const struct schedule_config *c, double learning_rate, int64_t t,
                           int64_t total)
{
    const bool ratio = c->warmup_steps > 0 && c->warmup_steps < 1;
    const struct place place = {
        .step = (double)t,
        .warmup = ratio ? ceil(c->warmup_steps * (double)total)
                        : floor(c->warmup_steps),
        .total = (double)total,
        .peak = learning_rate,
    };
    return learning_rate > 0 ? KINDS[c->kind].multiplier(c, &place) : 1.0;
}
