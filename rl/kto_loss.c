/* KTO's value function; see kto_loss.h. */
#include "rl/kto_loss.h"

#include <math.h>

static double sigmoid(double x)
{
    return 1.0 / (1.0 + exp(-x));
}

double kto_row_loss(const struct kto_config *c, double x, double z, bool desirable, double *slope)
{
    const double from = c->loss == KTO_KTO ? z : 0.0;
    const double sign = desirable ? 1.0 : -1.0;
    const double weight = desirable ? c->desirable_weight : c->undesirable_weight;
    /* Both sides are 1 - sigmoid(+-beta (x - z)). */
    const double s = sigmoid(sign * c->beta * (x - from));
    *slope = -weight * sign * c->beta * s * (1.0 - s);
    return weight * (1.0 - s);
}
