/* GRPO's token losses and their derivatives; see objective.h. */
#include "rl/objective.h"

#include <math.h>
#include <stddef.h>

static double clamp(double x, double lo, double hi)
{
    return x < lo ? lo : x > hi ? hi : x;
}

double objective_token_weight(enum loss_type type, const struct objective_scale *s, int64_t count)
{
    const double tokens = count > 0 ? (double)count : 1.0;
    switch (type) {
    case LOSS_GRPO:
        return 1.0 / (tokens * (double)s->rows);
    case LOSS_BNPO:
        return 1.0 / (fmax(s->micro_tokens, 1.0) * s->micro_batches);
    case LOSS_DR_GRPO:
        return 1.0 / ((double)s->rows * (double)s->max_completion_length);
    case LOSS_DAPO:
        return 1.0 / (fmax(s->round_tokens, 1.0) * s->rounds);
    }
    return 0.0;
}

/* Clipped surrogate -min(min(r, delta) A, clip(r) A) and its slope in r. */
static double surrogate(const struct objective_config *c, double r, double advantage, double *slope)
{
    const bool capped = c->delta > 0 && r > c->delta;
    const double low = 1.0 - c->epsilon_low;
    const double high = 1.0 + c->epsilon_high;
    const double free_term = (capped ? c->delta : r) * advantage;
    const double clipped_term = clamp(r, low, high) * advantage;
    const double free_slope = capped ? 0.0 : advantage;
    const double clipped_slope = r >= low && r <= high ? advantage : 0.0;
    if (free_term < clipped_term) {
        *slope = -free_slope;
        return -free_term;
    }
    if (free_term > clipped_term) {
        *slope = -clipped_slope;
        return -clipped_term;
    }
    *slope = -0.5 * (free_slope + clipped_slope); /* torch.min shares the gradient on ties */
    return -free_term;
}

static double log_ratio(const struct objective_row *row, int64_t t)
{
    return row->old ? (double)row->logp[t] - (double)row->old[t] : 0.0;
}

/* exp of the mean log-ratio of the row (GSPO eq. 7). */
static double sequence_ratio(const struct objective_row *row)
{
    double sum = 0.0;
    for (int64_t t = 0; t < row->count; t++) {
        sum += log_ratio(row, t);
    }
    return exp(sum / (row->count > 0 ? (double)row->count : 1.0));
}

/* The k3 estimate exp(ref - logp) - (ref - logp) - 1 and its slope in logp. */
static double kl_estimate(const struct objective_row *row, int64_t t, double *slope)
{
    const double gap = (double)row->ref[t] - (double)row->logp[t];
    *slope = 1.0 - exp(gap);
    return exp(gap) - gap - 1.0;
}

static void count_clip(const struct objective_config *c, double r, double advantage, double amount,
                       struct objective_sums *sums)
{
    const double seen = c->delta > 0 && r > c->delta ? c->delta : r;
    if (seen < 1.0 - c->epsilon_low && advantage < 0) {
        sums->clip_low += amount;
    }
    if (seen > 1.0 + c->epsilon_high && advantage > 0) {
        sums->clip_high += amount;
    }
}

void objective_row(const struct objective_config *c, const struct objective_row *row, float *dlogp,
                   struct objective_sums *sums)
{
    *sums = (struct objective_sums){0};
    const bool sequence = c->level == RATIO_SEQUENCE;
    const double shared = sequence ? sequence_ratio(row) : 1.0;
    double ratio_slope = 0.0; /* sequence level: d loss / d ratio, shared by all tokens */
    for (int64_t t = 0; t < row->count; t++) {
        const double d = log_ratio(row, t);
        const double r = sequence ? shared : exp(d);
        double slope;
        double loss = surrogate(c, r, row->advantage, &slope);
        double direct = 0.0;
        if (c->beta > 0) {
            double kl_slope;
            double kl = kl_estimate(row, t, &kl_slope);
            if (c->bias_correction_kl) {
                slope += c->beta * kl;
                kl_slope *= r;
                kl *= r;
            }
            loss += c->beta * kl;
            direct = c->beta * kl_slope;
            sums->kl += kl;
        }
        sums->loss += row->weight * loss;
        if (sequence) {
            ratio_slope += slope;
            dlogp[t] = (float)(row->weight * direct);
        } else {
            dlogp[t] = (float)(row->weight * (slope * r + direct));
            count_clip(c, r, row->advantage, 1.0, sums);
        }
        sums->max_delta = fmax(sums->max_delta, fabs(d));
    }
    if (sequence && row->count > 0) {
        const double each = row->weight * ratio_slope * shared / (double)row->count;
        for (int64_t t = 0; t < row->count; t++) {
            dlogp[t] += (float)each;
        }
        count_clip(c, shared, row->advantage, 1.0, sums);
    }
}
