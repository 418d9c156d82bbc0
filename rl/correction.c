/* Bounded importance ratios; see correction.h. */
#include "rl/correction.h"

#include <math.h>

bool correction_of_rows(enum correction_mode mode)
{
    return mode == CORRECTION_SEQUENCE_TRUNCATE || mode == CORRECTION_SEQUENCE_MASK;
}

/* Truncating moves a ratio to the bound, masking drops it. */
static double bounded(const struct correction_config *c, double ratio)
{
    const bool drops = c->mode == CORRECTION_TOKEN_MASK || c->mode == CORRECTION_SEQUENCE_MASK;
    if (!isnan(c->clip_min) && ratio < c->clip_min) {
        return drops ? 0.0 : c->clip_min;
    }
    if (!isnan(c->clip_max) && ratio > c->clip_max) {
        return drops ? 0.0 : c->clip_max;
    }
    return ratio;
}

static void count_ratio(struct correction_sums *s, double ratio)
{
    s->ratio_min = s->ratios > 0 ? fmin(s->ratio_min, ratio) : ratio;
    s->ratio_max = s->ratios > 0 ? fmax(s->ratio_max, ratio) : ratio;
    s->ratio += ratio;
    s->ratios += 1.0;
}

void correction_add(struct correction_sums *to, const struct correction_sums *from)
{
    if (from->ratios > 0) {
        to->ratio_min = to->ratios > 0 ? fmin(to->ratio_min, from->ratio_min) : from->ratio_min;
        to->ratio_max = to->ratios > 0 ? fmax(to->ratio_max, from->ratio_max) : from->ratio_max;
    }
    to->difference += from->difference;
    to->difference_max = fmax(to->difference_max, from->difference_max);
    to->scored += from->scored;
    to->ratio += from->ratio;
    to->ratios += from->ratios;
}

void correction_row(const struct correction_config *c, const float *old, const float *sampling,
                    int64_t count, float *ratio, struct correction_sums *sums)
{
    const bool whole = correction_of_rows(c->mode);
    double sum = 0.0;
    for (int64_t t = 0; t < count; t++) {
        const double gap = (double)old[t] - (double)sampling[t];
        if (!isnan(gap)) {
            sum += gap;
            sums->difference += fabs(gap);
            sums->difference_max = fmax(sums->difference_max, fabs(gap));
            sums->scored += 1.0;
        }
        if (!whole) {
            const double r = bounded(c, exp(isnan(gap) ? 0.0 : gap));
            ratio[t] = (float)r;
            count_ratio(sums, r);
        }
    }
    if (whole) {
        const double r = bounded(c, exp(sum));
        for (int64_t t = 0; t < count; t++) {
            ratio[t] = (float)r;
        }
        count_ratio(sums, r);
    }
}
