/* Preference losses and their slopes; see dpo_loss.h. */
#include "rl/dpo_loss.h"

#include <math.h>
#include <stdlib.h>

/* What a loss sees: log-ratios, their scores under the divergence, and the scores' slopes. */
struct sides {
    const struct dpo_config *c;
    const struct dpo_pair *p;
    double chosen; /* log-ratios */
    double rejected;
    double chosen_score;
    double rejected_score;
    double chosen_slope;
    double rejected_slope;
};

typedef struct dpo_terms (*loss_fn)(const struct sides *s);

static double sigmoid(double x)
{
    return 1.0 / (1.0 + exp(-x));
}

/* log sigmoid, without overflow. */
static double log_sigmoid(double x)
{
    return x < 0 ? x - log1p(exp(x)) : -log1p(exp(-x));
}

/* d/dx of log sigmoid(x). */
static double log_sigmoid_slope(double x)
{
    return sigmoid(-x);
}

/* A loss of h = beta (score_c - score_j) alone. */
static struct dpo_terms of_margin(const struct sides *s, double loss, double slope)
{
    return (struct dpo_terms){.loss = loss,
                              .d_chosen = slope * s->c->beta * s->chosen_slope,
                              .d_rejected = -slope * s->c->beta * s->rejected_slope};
}

static double margin(const struct sides *s)
{
    return s->c->beta * (s->chosen_score - s->rejected_score);
}

static struct dpo_terms loss_sigmoid(const struct sides *s)
{
    const double h = margin(s);
    return of_margin(s, -log_sigmoid(h), -log_sigmoid_slope(h));
}

static struct dpo_terms loss_hinge(const struct sides *s)
{
    const double h = margin(s);
    return of_margin(s, fmax(0.0, 1.0 - h), h < 1.0 ? -1.0 : 0.0);
}

/* Difference of per-token scores, shared by ipo and sigmoid_norm; `slope` is of the loss in it. */
static double mean_gap(const struct sides *s)
{
    return s->chosen_score / fmax(s->p->chosen_tokens, 1.0)
           - s->rejected_score / fmax(s->p->rejected_tokens, 1.0);
}

static struct dpo_terms of_mean_gap(const struct sides *s, double loss, double slope)
{
    return (struct dpo_terms){
        .loss = loss,
        .d_chosen = slope * s->chosen_slope / fmax(s->p->chosen_tokens, 1.0),
        .d_rejected = -slope * s->rejected_slope / fmax(s->p->rejected_tokens, 1.0)};
}

static struct dpo_terms loss_ipo(const struct sides *s)
{
    const double off = mean_gap(s) - 1.0 / (2.0 * s->c->beta);
    return of_mean_gap(s, off * off, 2.0 * off);
}

static struct dpo_terms loss_sigmoid_norm(const struct sides *s)
{
    const double h = s->c->beta * mean_gap(s);
    return of_mean_gap(s, -log_sigmoid(h), -s->c->beta * log_sigmoid_slope(h));
}

static struct dpo_terms loss_exo(const struct sides *s)
{
    const double h = margin(s);
    const double e = s->c->label_smoothing;
    const double q = sigmoid(h);
    const double up = log_sigmoid(h) - log1p(-e);
    const double down = log_sigmoid(-h) - log(e);
    /* d q = q (1 - q); the slopes of the logs cancel: q (1 - q) - (1 - q) q = 0. */
    return of_margin(s, q * up + (1.0 - q) * down, q * (1.0 - q) * (up - down));
}

static struct dpo_terms loss_robust(const struct sides *s)
{
    const double h = margin(s);
    const double e = s->c->label_smoothing;
    const double over = 1.0 - 2.0 * e;
    return of_margin(s, (-(1.0 - e) * log_sigmoid(h) + e * log_sigmoid(-h)) / over,
                     (-(1.0 - e) * log_sigmoid_slope(h) - e * log_sigmoid_slope(-h)) / over);
}

static struct dpo_terms loss_discopop(const struct sides *s)
{
    const double h = margin(s);
    const double tau = s->c->discopop_tau;
    const double mix = sigmoid(h / tau);
    const double logistic = -log_sigmoid(h);
    const double slope = -log_sigmoid_slope(h) * (1.0 - mix) - exp(-h) * mix
                         + (exp(-h) - logistic) * mix * (1.0 - mix) / tau;
    return of_margin(s, logistic * (1.0 - mix) + exp(-h) * mix, slope);
}

static struct dpo_terms loss_nca(const struct sides *s)
{
    const double b = s->c->beta;
    const double c = b * s->chosen;
    const double j = b * s->rejected;
    return (struct dpo_terms){
        .loss = -log_sigmoid(c) - 0.5 * log_sigmoid(-c) - 0.5 * log_sigmoid(-j),
        .d_chosen = b * (-log_sigmoid_slope(c) + 0.5 * log_sigmoid_slope(-c)),
        .d_rejected = b * 0.5 * log_sigmoid_slope(-j)};
}

static struct dpo_terms loss_bco(const struct sides *s)
{
    const double b = s->c->beta;
    const double c = b * s->chosen;
    const double j = b * s->rejected;
    return (struct dpo_terms){.loss = -log_sigmoid(c) - log_sigmoid(-j),
                              .d_chosen = -b * log_sigmoid_slope(c),
                              .d_rejected = b * log_sigmoid_slope(-j)};
}

static struct dpo_terms loss_sppo(const struct sides *s)
{
    const double c = s->chosen - 0.5 / s->c->beta;
    const double j = s->rejected + 0.5 / s->c->beta;
    return (struct dpo_terms){.loss = c * c + j * j, .d_chosen = 2.0 * c, .d_rejected = 2.0 * j};
}

/* Smoothed logistic loss of beta delta, and its slope in delta. */
static double smoothed(const struct dpo_config *c, double delta, double *slope)
{
    const double h = c->beta * delta;
    const double e = c->label_smoothing;
    *slope = c->beta * (-(1.0 - e) * log_sigmoid_slope(h) + e * log_sigmoid_slope(-h));
    return -(1.0 - e) * log_sigmoid(h) - e * log_sigmoid(-h);
}

static struct dpo_terms loss_aot(const struct sides *s)
{
    double slope;
    const double loss = smoothed(s->c, s->p->chosen - s->p->rejected - s->p->ref_gap, &slope);
    return (struct dpo_terms){.loss = loss, .d_chosen = slope, .d_rejected = -slope};
}

/* The loss of a rank goes to its chosen side; both sides have their slopes. */
static struct dpo_terms loss_aot_unpaired(const struct sides *s)
{
    double up;
    double down;
    const double loss = smoothed(s->c, s->chosen - s->p->rejected_partner, &up);
    (void)smoothed(s->c, s->p->chosen_partner - s->rejected, &down);
    return (struct dpo_terms){.loss = loss, .d_chosen = up, .d_rejected = -down};
}

static struct dpo_terms loss_apo_zero(const struct sides *s)
{
    const double b = s->c->beta;
    const double c = sigmoid(b * s->chosen);
    const double j = sigmoid(b * s->rejected);
    return (struct dpo_terms){.loss = 1.0 - c + j,
                              .d_chosen = -b * c * (1.0 - c),
                              .d_rejected = b * j * (1.0 - j)};
}

static struct dpo_terms loss_apo_down(const struct sides *s)
{
    const double b = s->c->beta;
    const double c = sigmoid(b * s->chosen);
    const double gap = sigmoid(b * (s->chosen - s->rejected));
    const double gap_slope = b * gap * (1.0 - gap);
    return (struct dpo_terms){.loss = c + 1.0 - gap,
                              .d_chosen = b * c * (1.0 - c) - gap_slope,
                              .d_rejected = gap_slope};
}

static struct dpo_terms loss_sft(const struct sides *s)
{
    return (struct dpo_terms){.loss = -s->p->chosen_plain * s->p->sft_scale,
                              .d_chosen_token = -s->p->sft_scale};
}

static const struct {
    const char *name;
    loss_fn fn;
    bool matched;        /* needs its whole micro-batch */
    bool any_divergence; /* a function of differences, where other divergences than reverse_kl hold
                          */
} LOSSES[DPO_LOSSES] = {
    [DPO_SIGMOID] = {"sigmoid", loss_sigmoid, false, true},
    [DPO_HINGE] = {"hinge", loss_hinge, false, true},
    [DPO_IPO] = {"ipo", loss_ipo, false, true},
    [DPO_EXO_PAIR] = {"exo_pair", loss_exo, false, true},
    [DPO_NCA_PAIR] = {"nca_pair", loss_nca, false, false},
    [DPO_ROBUST] = {"robust", loss_robust, false, true},
    [DPO_BCO_PAIR] = {"bco_pair", loss_bco, false, false},
    [DPO_SPPO_HARD] = {"sppo_hard", loss_sppo, false, false},
    [DPO_AOT] = {"aot", loss_aot, true, false},
    [DPO_AOT_UNPAIRED] = {"aot_unpaired", loss_aot_unpaired, true, false},
    [DPO_APO_ZERO] = {"apo_zero", loss_apo_zero, false, false},
    [DPO_APO_DOWN] = {"apo_down", loss_apo_down, false, false},
    [DPO_DISCOPOP] = {"discopop", loss_discopop, false, true},
    [DPO_SFT] = {"sft", loss_sft, false, true},
    [DPO_SIGMOID_NORM] = {"sigmoid_norm", loss_sigmoid_norm, false, true},
};

const char *dpo_loss_name(enum dpo_loss loss)
{
    return loss < DPO_LOSSES ? LOSSES[loss].name : NULL;
}

bool dpo_needs_match(const struct dpo_config *c)
{
    for (int i = 0; i < c->count; i++) {
        if (LOSSES[c->losses[i]].matched) {
            return true;
        }
    }
    return false;
}

enum status dpo_check(const struct dpo_config *c)
{
    if (c->count < 1) {
        return FAIL(RECIPE, "loss_type: a dpo run has at least one loss");
    }
    for (int i = 0; i < c->count; i++) {
        const enum dpo_loss loss = c->losses[i];
        const char *name = LOSSES[loss].name;
        if (c->divergence != DPO_REVERSE_KL && !LOSSES[loss].any_divergence) {
            return FAIL(RECIPE, "f_divergence_type and loss_type: %s exclude each other: other "
                                "divergences than reverse_kl leave a term that cancels in the "
                                "difference of a pair alone; use reverse_kl or sigmoid", name);
        }
        if (c->use_weighting && LOSSES[loss].matched) {
            return FAIL(RECIPE, "use_weighting and loss_type: %s exclude each other: weights are of "
                                "pairs, this loss compares sorted batches", name);
        }
        if (c->use_weighting && (loss == DPO_HINGE || loss == DPO_SFT)) {
            return FAIL(RECIPE, "use_weighting and loss_type: %s exclude each other, as in TRL, "
                                "where this pair fails; use sigmoid", name);
        }
        if (loss == DPO_EXO_PAIR && !(c->label_smoothing > 0 && c->label_smoothing < 1)) {
            return FAIL(RECIPE, "loss_type: exo_pair needs label_smoothing above 0 (1e-3): it takes "
                                "its logarithm");
        }
        if (loss == DPO_ROBUST && c->label_smoothing >= 0.5) {
            return FAIL(RECIPE, "loss_type: robust needs label_smoothing below 0.5: it divides by "
                                "1 - 2 label_smoothing");
        }
    }
    return STATUS_OK;
}

/* A value and the pair it belongs to. */
struct ranked {
    double value;
    int64_t pair;
};

static int by_value(const void *a, const void *b)
{
    const struct ranked *x = a;
    const struct ranked *y = b;
    const int order = (x->value > y->value) - (x->value < y->value);
    return order ? order : (x->pair > y->pair) - (x->pair < y->pair);
}

enum { SORT_GAP, SORT_REF_GAP, SORT_CHOSEN, SORT_REJECTED, SORTS };

enum status dpo_match(struct dpo_pair *pairs, int64_t count)
{
    struct ranked *all = malloc((size_t)(SORTS * count) * sizeof *all + 1);
    if (!all) {
        return FAIL(MEMORY, "pairs: no memory to sort %lld", (long long)count);
    }
    for (int64_t i = 0; i < count; i++) {
        const struct dpo_pair *p = &pairs[i];
        const double values[SORTS] = {p->chosen - p->rejected, p->ref_chosen - p->ref_rejected,
                                      p->chosen - p->ref_chosen, p->rejected - p->ref_rejected};
        for (int k = 0; k < SORTS; k++) {
            all[k * count + i] = (struct ranked){values[k], i};
        }
    }
    for (int k = 0; k < SORTS; k++) {
        qsort(all + k * count, (size_t)count, sizeof *all, by_value);
    }
    for (int64_t i = 0; i < count; i++) {
        const struct ranked *chosen = &all[SORT_CHOSEN * count + i];
        const struct ranked *rejected = &all[SORT_REJECTED * count + i];
        pairs[all[SORT_GAP * count + i].pair].ref_gap = all[SORT_REF_GAP * count + i].value;
        pairs[chosen->pair].rejected_partner = rejected->value;
        pairs[rejected->pair].chosen_partner = chosen->value;
    }
    free(all);
    return STATUS_OK;
}

/* Score of a log-ratio under the divergence. */
static double score(const struct dpo_config *c, double x, double *slope)
{
    const double a = c->alpha - 1.0;
    switch (c->divergence) {
    case DPO_FORWARD_KL:
        *slope = exp(-x);
        return 1.0 - exp(-x);
    case DPO_JS:
        *slope = log_sigmoid_slope(x);
        return log(2.0) + log_sigmoid(x);
    case DPO_ALPHA:
        if (fabs(a) >= 1e-6) {
            const double power = exp(fmin(a * x, 80.0));
            *slope = a * x <= 80.0 ? power : 0.0;
            return (power - 1.0) / a;
        }
        break;
    case DPO_REVERSE_KL:
        break;
    }
    *slope = 1.0;
    return x;
}

struct dpo_terms dpo_pair_terms(const struct dpo_config *c, const struct dpo_pair *p)
{
    struct dpo_terms sum = {0};
    struct sides s = {.c = c,
                      .p = p,
                      .chosen = p->chosen - p->ref_chosen,
                      .rejected = p->rejected - p->ref_rejected};
    s.chosen_score = score(c, s.chosen, &s.chosen_slope);
    s.rejected_score = score(c, s.rejected, &s.rejected_slope);
    for (int i = 0; i < c->count; i++) {
        const struct dpo_terms t = LOSSES[c->losses[i]].fn(&s);
        const double weight = c->weights[i] * (c->use_weighting ? p->weight : 1.0);
        sum.loss += weight * t.loss;
        sum.d_chosen += weight * t.d_chosen;
        sum.d_rejected += weight * t.d_rejected;
        sum.d_chosen_token += weight * t.d_chosen_token;
    }
    return sum;
}

double dpo_token_weight(const struct dpo_config *c, int64_t t, int64_t shorter)
{
    return isnan(c->ld_alpha) || t < shorter ? 1.0 : c->ld_alpha;
}
