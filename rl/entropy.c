/* The adaptive entropy coefficient; see entropy.h. */
#include "rl/entropy.h"

#include <math.h>

void entropy_control_open(struct entropy_control *e, const struct entropy_config *config)
{
    *e = (struct entropy_control){.config = *config, .coef = config->coef, .last = INFINITY};
}

bool entropy_control_on(const struct entropy_control *e)
{
    return e->config.adaptive || e->config.coef != 0;
}

double entropy_control_coef(const struct entropy_control *e)
{
    return !e->config.adaptive || e->last <= e->config.target ? e->coef : 0.0;
}

void entropy_control_update(struct entropy_control *e, double sum, double tokens)
{
    const struct entropy_config *c = &e->config;
    const double mean = sum / fmax(tokens, 1.0);
    if (!c->adaptive) {
        return;
    }
    e->coef = mean <= c->target ? fmin(e->coef + c->delta, c->max)
                                : fmax(e->coef - c->delta, c->min);
    e->last = mean;
}
