/* Token losses and their derivatives; see objective.h. */
#include "rl/objective.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>

/* A token as its loss sees it. */
struct token {
    double ratio;
    double logp;
    double advantage;
    double phi; /* vespo: the row's weight */
};

/* Loss of a token and its slopes in the ratio and, beside it, in the log-prob. */
struct term {
    double loss;
    double d_ratio;
    double d_logp;
};

typedef struct term (*token_fn)(const struct objective_config *c, const struct token *t);

static double clamp(double x, double lo, double hi)
{
    return x < lo ? lo : x > hi ? hi : x;
}

/* -min(min(r, delta) A, clip(r) A). */
static struct term surrogate(const struct objective_config *c, const struct token *t)
{
    const double r = t->ratio;
    const bool capped = c->delta > 0 && r > c->delta;
    const double low = 1.0 - c->epsilon_low;
    const double high = 1.0 + c->epsilon_high;
    const double free_term = (capped ? c->delta : r) * t->advantage;
    const double clipped_term = clamp(r, low, high) * t->advantage;
    const double free_slope = capped ? 0.0 : t->advantage;
    const double clipped_slope = r >= low && r <= high ? t->advantage : 0.0;
    if (free_term < clipped_term) {
        return (struct term){.loss = -free_term, .d_ratio = -free_slope};
    }
    if (free_term > clipped_term) {
        return (struct term){.loss = -clipped_term, .d_ratio = -clipped_slope};
    }
    /* torch.min shares the gradient on ties. */
    return (struct term){.loss = -free_term, .d_ratio = -0.5 * (free_slope + clipped_slope)};
}

/* -sg[min(r, cap)] A logp. */
static struct term cispo(const struct objective_config *c, const struct token *t)
{
    const double weight = fmin(t->ratio, c->epsilon_high) * t->advantage;
    return (struct term){.loss = -weight * t->logp, .d_logp = -weight};
}

/* -(4 / T) sigmoid(T (r - 1)) A. */
static struct term sapo(const struct objective_config *c, const struct token *t)
{
    const double temperature =
        t->advantage > 0 ? c->sapo_temperature_pos : c->sapo_temperature_neg;
    const double s = 1.0 / (1.0 + exp(-temperature * (t->ratio - 1.0)));
    return (struct term){.loss = -4.0 / temperature * s * t->advantage,
                         .d_ratio = -4.0 * s * (1.0 - s) * t->advantage};
}

/* -sg[phi] A logp. */
static struct term vespo(const struct objective_config *c, const struct token *t)
{
    (void)c;
    const double weight = t->phi * t->advantage;
    return (struct term){.loss = -weight * t->logp, .d_logp = -weight};
}

struct loss_row {
    struct loss_kind kind;
    token_fn token;
};

static const struct loss_row LOSSES[LOSS_TYPES] = {
    [LOSS_GRPO] = {{"grpo", NORM_ROW_MEAN, .clips = true}, surrogate},
    [LOSS_BNPO] = {{"bnpo", NORM_MICRO, .clips = true}, surrogate},
    [LOSS_DR_GRPO] = {{"dr_grpo", NORM_LENGTH, .clips = true}, surrogate},
    [LOSS_DAPO] = {{"dapo", NORM_ROUND, .clips = true}, surrogate},
    [LOSS_CISPO] = {{"cispo", NORM_ROUND}, cispo},
    [LOSS_SAPO] = {{"sapo", NORM_ROW_MEAN}, sapo},
    [LOSS_VESPO] = {{"vespo", NORM_ROUND, .row_weight = true}, vespo},
    [LOSS_LUSPO] = {{"luspo", NORM_ROW_SUM, .clips = true}, surrogate},
    /* One loss a row: the mean over its tokens of the same number. */
    [LOSS_RLOO] = {{"rloo", NORM_ROW_MEAN, .clips = true}, surrogate},
};

const struct loss_kind *objective_kind(enum loss_type type)
{
    return &LOSSES[type].kind;
}

double objective_token_weight(enum loss_type type, const struct objective_scale *s, int64_t count)
{
    switch (LOSSES[type].kind.normalizer) {
    case NORM_ROW_MEAN:
        return 1.0 / ((count > 0 ? (double)count : 1.0) * (double)s->rows);
    case NORM_MICRO:
        return 1.0 / (fmax(s->micro_tokens, 1.0) * s->micro_batches);
    case NORM_LENGTH:
        return 1.0 / ((double)s->rows * (double)s->max_completion_length);
    case NORM_ROUND:
        return 1.0 / (fmax(s->round_tokens, 1.0) * s->rounds);
    case NORM_ROW_SUM:
        return 1.0 / (double)s->rows;
    }
    return 0.0;
}

static int by_value(const void *a, const void *b)
{
    const float x = *(const float *)a;
    const float y = *(const float *)b;
    return (x > y) - (x < y);
}

double objective_entropy_floor(float *entropies, int64_t count, double share)
{
    if (count == 0) {
        return 0.0;
    }
    qsort(entropies, (size_t)count, sizeof *entropies, by_value);
    const float rank = (float)(1.0 - share) * (float)(count - 1);
    const int64_t below = (int64_t)rank;
    const float weight = rank - (float)below;
    const float low = entropies[below];
    const float high = entropies[(int64_t)ceilf(rank)];
    const float at = weight < 0.5f ? low + weight * (high - low)
                                   : high - (high - low) * (1.0f - weight);
    return (double)at;
}

static double log_ratio(const struct objective_row *row, int64_t t)
{
    return row->old ? (double)row->logp[t] - (double)row->old[t] : 0.0;
}

/* The ratio that all tokens of a row share: exp of the mean (GSPO eq. 7) or the sum of d. */
static double shared_ratio(const struct objective_config *c, const struct objective_row *row)
{
    double sum = 0.0;
    for (int64_t t = 0; t < row->count; t++) {
        sum += log_ratio(row, t);
    }
    return exp(c->level == RATIO_SUM || row->count == 0 ? sum : sum / (double)row->count);
}

/* The row's gamma weight e^lambda w^k e^(-lambda w) of its whole ratio w, w the policy's over the
 * sampler's; 0 where it isn't finite. */
static double gamma_weight(const struct objective_config *c, const struct objective_row *row)
{
    const double least = log(1e-8);
    double log_w = 0.0;
    for (int64_t t = 0; t < row->count; t++) {
        log_w += clamp(log_ratio(row, t), -20.0, 20.0);
        if (row->correction) {
            log_w += clamp(log((double)row->correction[t]), least, 20.0);
        }
    }
    log_w = clamp(log_w, least, 20.0);
    const bool positive = row->advantage >= 0;
    const double k = positive ? c->vespo_k_pos : c->vespo_k_neg;
    const double lambda = fmax(positive ? c->vespo_lambda_pos : c->vespo_lambda_neg, 1e-4);
    const double phi = exp(lambda + k * log_w - lambda * exp(log_w));
    return isfinite(phi) ? phi : 0.0;
}

/* DeepSeek-V3.2: a row to move away from must still be likely under the policy. */
static bool off_policy(const struct objective_config *c, const struct objective_row *row)
{
    const float *from = row->sampling ? row->sampling : row->old;
    double sum = 0.0;
    if (!c->off_policy_mask || row->advantage >= 0) {
        return false;
    }
    for (int64_t t = 0; from && t < row->count; t++) {
        const double gap = (double)from[t] - (double)row->logp[t];
        sum += isnan(gap) ? 0.0 : gap;
    }
    return sum / fmax((double)row->count, 1.0) > c->off_policy_threshold;
}

/* The k3 estimate exp(ref - logp) - (ref - logp) - 1 and its slope in logp. */
static double kl_estimate(const struct objective_row *row, int64_t t, double *slope)
{
    const double gap = (double)row->ref[t] - (double)row->logp[t];
    *slope = 1.0 - exp(gap);
    return exp(gap) - gap - 1.0;
}

static void add_kl(const struct objective_config *c, const struct objective_row *row, int64_t t,
                   double ratio, struct term *term, struct objective_sums *sums)
{
    double slope;
    double kl = kl_estimate(row, t, &slope);
    if (c->bias_correction_kl) {
        term->d_ratio += c->beta * kl;
        slope *= ratio;
        kl *= ratio;
    }
    term->loss += c->beta * kl;
    term->d_logp += c->beta * slope;
    sums->kl += kl;
}

static void count_clip(const struct objective_config *c, double r, double advantage,
                       struct objective_sums *sums)
{
    const bool absolute = c->loss_type == LOSS_CISPO;
    const double seen = !absolute && c->delta > 0 && r > c->delta ? c->delta : r;
    sums->clip_low += seen < 1.0 - c->epsilon_low && advantage < 0;
    sums->clip_high += seen > (absolute ? 0.0 : 1.0) + c->epsilon_high && advantage > 0;
}

/* Entropy of token t: what the floor keeps and the bonus pays for. Returns whether it is kept. */
static bool weigh_entropy(const struct objective_row *row, int64_t t, float *dentropy,
                          struct objective_sums *sums)
{
    const double h = row->entropy ? (double)row->entropy[t] : 0.0;
    const bool kept = row->entropy_floor <= 0 || h >= row->entropy_floor;
    if (dentropy) {
        dentropy[t] = kept ? (float)-row->entropy_bonus : 0.0f;
    }
    if (kept) {
        sums->entropy += h;
        sums->kept += 1.0;
        sums->loss -= row->entropy_bonus * h;
    }
    return kept;
}

/* Chain from the shared ratio to every log-prob: d r / d logp_t is r / count, or r for the sum. */
static void spread_shared(const struct objective_config *c, const struct objective_row *row,
                          double slope, double ratio, float *dlogp)
{
    const double over = c->level == RATIO_SUM ? 1.0 : (double)row->count;
    for (int64_t t = 0; t < row->count; t++) {
        dlogp[t] += (float)(row->weight * slope * ratio / over);
    }
}

void objective_row(const struct objective_config *c, const struct objective_row *row, float *dlogp,
                   float *dentropy, struct objective_sums *sums)
{
    *sums = (struct objective_sums){0};
    const struct loss_row *loss = &LOSSES[c->loss_type];
    const bool shared = c->level != RATIO_TOKEN;
    const double row_ratio = shared ? shared_ratio(c, row) : 1.0;
    const double keep_row = off_policy(c, row) ? 0.0 : 1.0;
    const bool corrects = row->correction && !loss->kind.row_weight;
    double shared_slope = 0.0;
    sums->phi = loss->kind.row_weight ? gamma_weight(c, row) : 0.0;
    for (int64_t t = 0; t < row->count; t++) {
        const double d = log_ratio(row, t);
        const struct token token = {.ratio = shared ? row_ratio : exp(d),
                                    .logp = (double)row->logp[t],
                                    .advantage = row->advantage,
                                    .phi = sums->phi};
        struct term term = loss->token(c, &token);
        const double factor = keep_row * weigh_entropy(row, t, dentropy, sums)
                              * (corrects ? (double)row->correction[t] : 1.0);
        term.loss *= factor;
        term.d_ratio *= factor;
        term.d_logp *= factor;
        if (c->beta > 0) { /* gets none of these factors */
            add_kl(c, row, t, token.ratio, &term, sums);
        }
        sums->policy += row->weight * term.loss;
        shared_slope += term.d_ratio;
        dlogp[t] = (float)(row->weight * (term.d_logp + (shared ? 0 : term.d_ratio * token.ratio)));
        if (!shared) {
            count_clip(c, token.ratio, row->advantage, sums);
        }
        sums->max_delta = fmax(sums->max_delta, fabs(d));
    }
    if (shared) {
        spread_shared(c, row, shared_slope, row_ratio, dlogp);
        count_clip(c, row_ratio, row->advantage, sums);
    }
    sums->loss += sums->policy;
}
