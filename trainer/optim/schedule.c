/* Learning-rate multipliers of Transformers' get_scheduler; step t counts from 0 (training.md 5). */
#include <math.h>

#include "trainer/optim/optim.h"

static double warmup_steps(const struct optim_config *c, int64_t total)
{
    if (c->warmup_steps > 0 && c->warmup_steps < 1) {
        return ceil(c->warmup_steps * (double)total);
    }
    return c->warmup_steps;
}

static double cosine(double t, double warmup, double total)
{
    const double progress = (t - warmup) / fmax(1.0, total - warmup);
    return fmax(0.0, 0.5 * (1.0 + cos(2.0 * 3.14159265358979323846 * 0.5 * progress)));
}

double optim_schedule(const struct optim_config *c, int64_t t, int64_t total)
{
    const double n = (double)total;
    const double step = (double)t;
    const double warmup = warmup_steps(c, total);
    if (c->schedule == SCHEDULE_CONSTANT) {
        return 1.0;
    }
    if (step < warmup) {
        return step / fmax(1.0, warmup);
    }
    switch (c->schedule) {
    case SCHEDULE_LINEAR:
        return fmax(0.0, (n - step) / fmax(1.0, n - warmup));
    case SCHEDULE_COSINE:
        return cosine(step, warmup, n);
    case SCHEDULE_COSINE_WITH_MIN_LR:
        return cosine(step, warmup, n) * (1.0 - c->min_lr_rate) + c->min_lr_rate;
    case SCHEDULE_CONSTANT:
    case SCHEDULE_CONSTANT_WITH_WARMUP:
        break;
    }
    return 1.0;
}
