/* Parts of DPO that dpo.c and dpo_eval.c share; private to them. */
#pragma once

#include "rl/dpo.h"
#include "rl/tree_rows.h"

/* Metric sums of a pair, weighted so that their totals are TRL's logged means. */
enum {
    DPO_METRIC_LOSS,
    DPO_METRIC_REWARD_CHOSEN,
    DPO_METRIC_REWARD_REJECTED,
    DPO_METRIC_ACCURACY,
    DPO_METRIC_LOGP_CHOSEN,
    DPO_METRIC_LOGP_REJECTED,
    DPO_METRIC_LOGITS_CHOSEN,
    DPO_METRIC_LOGITS_REJECTED,
    DPO_METRIC_ENTROPY,
    DPO_METRIC_CORRECT,
    DPO_METRIC_COUNT
};

/* What a pass says about a pair. */
struct dpo_record {
    struct dpo_pair numbers;
    double entropy;   /* summed over both completions */
    double correct;   /* chosen tokens that were the likeliest */
    double logits[2]; /* sums of the mean logits of chosen and rejected tokens */
};

/* Shares of a pair in the means of its micro-batch. */
struct dpo_shares {
    double pairs;       /* 1 / pairs */
    double tokens;      /* 1 / tokens of both completions */
    double of_side[2];  /* 1 / tokens of the chosen ones, of the rejected ones */
};

/* A pair of the step. */
struct dpo_row {
    const struct pair *pair;
    double weight;          /* of its loss in the step's */
    struct dpo_shares mean;
    struct dpo_pair numbers;
};

struct dpo {
    const struct dpo_method_config *config;
    const struct dpo_env *env;
    struct tree_runner runner;
    struct ref_sync sync;
    struct dpo_row *rows;
    int64_t *cost;
    int64_t count;
    int64_t step;     /* that was prepared */
    double (*ref)[2]; /* [pairs] precomputed sums of chosen and rejected */
    double num_tokens;
};

/* The pair as a tree. */
struct tree_row dpo_tree(const struct pair *p);

/* A pair's constants; the log-probs are filled by dpo_measure. */
struct dpo_pair dpo_numbers(const struct pair *p);

/* The policy's, and when it is at hand the reference's, numbers of a pair at output `at`. */
void dpo_measure(const struct dpo_config *c, const struct pair *p, int64_t at,
                 const struct unit_outputs *out, struct dpo_record *r);

/* Shares of pairs [0, count) of one micro-batch; `micro_steps` of them make the mean. */
struct dpo_shares dpo_share(const struct pair *const *pairs, int64_t count, double micro_steps);

/* Adds a pair's metrics, the loss apart, to sums [DPO_METRIC_COUNT]. */
void dpo_add_metrics(double beta, const struct dpo_record *r, const struct dpo_shares *mean,
                     double *sums);

/* Metric totals as fields, their names behind `prefix`. */
void dpo_log_metrics(const double *totals, const char *prefix, json_t *line);

/* Evaluates the held-out pairs (collective); see dpo_eval.c. */
MUST_USE enum status dpo_evaluate(void *ctx, int64_t step, json_t *line);
