/* Parts of KTO that kto.c and kto_metrics.c share; private to them. */
#pragma once

#include "rl/kto.h"

/* Metric sums of a row, weighted so that their totals are TRL's logged means. Those of a side stand
 * at [desirable]. */
enum {
    KTO_METRIC_LOSS,
    KTO_METRIC_KL,
    KTO_METRIC_ENTROPY,
    KTO_METRIC_MARGIN,
    KTO_METRIC_REWARD,
    KTO_METRIC_LOGP = KTO_METRIC_REWARD + 2,
    KTO_METRIC_LOGITS = KTO_METRIC_LOGP + 2,
    KTO_METRIC_ROWS = KTO_METRIC_LOGITS + 2, /* rows of the side: without any it has no numbers */
    KTO_METRIC_COUNT = KTO_METRIC_ROWS + 2
};

/* What a pass says about a row. */
struct kto_record {
    double logp;
    double ref;
    double entropy; /* summed over the completion, like the mean logits */
    double logits;
};

/* Shares of a row in the means of a step. */
struct kto_shares {
    double tokens;     /* 1 / (completion tokens x micro-steps) */
    double rows;       /* 1 / (rows of its side x micro-steps that have the side) */
    double side_tokens;
    double margin;     /* signed share in reward margins, of micro-steps with both sides */
    double kl;         /* 1 / (rows x micro-steps) */
};

/* A row of the step, or of an evaluation. */
struct kto_row {
    const struct unpaired_set *set;
    int64_t index;   /* into the set */
    int64_t outputs; /* predicted tokens */
    bool desirable;
    double weight;   /* of its loss in the step's */
    double z;        /* divergence of its micro-step */
    struct kto_shares mean;
    double ref;      /* precomputed */
};

struct kto {
    const struct kto_method_config *config;
    const struct kto_env *env;
    struct tree_runner runner;
    struct ref_sync sync;
    struct kto_row *rows;
    int64_t *cost;
    int64_t count;
    int64_t step;     /* that was prepared */
    double (*ref)[2]; /* [rows] precomputed: own completion, the neighbour's */
    double num_tokens;
};

/* The row as a tree. */
struct tree_row kto_tree(const struct kto_row *r);

/* A row of a set; its shares are filled by kto_share. */
struct kto_row kto_make_row(const struct unpaired_set *set, int64_t index);

/* Sums of a completion at output `at`. */
void kto_measure(int64_t outputs, int64_t at, const struct unit_outputs *out,
                 struct kto_record *record);

/* Fills the shares of rows [0, count), cut into micro-steps of `micro` rows. */
void kto_share(struct kto_row *rows, int64_t count, int64_t micro);

/* Adds a row's metrics, the loss apart, to sums [KTO_METRIC_COUNT]. */
void kto_add_metrics(double beta, const struct kto_row *r, const struct kto_record *record,
                     double *sums);

/* Metric totals as fields, their names behind `prefix`; a side without rows has none. */
void kto_log_metrics(const double *totals, const char *prefix, json_t *line);

/* Fills z of rows from mismatched ones: of each micro-step of `micro` rows the mean over batches of
 * `batch` of their means of policy - reference, at least 0. `refs`: precomputed ones by row of the
 * set, or NULL. Collective. */
MUST_USE enum status kto_divergence(struct kto *k, struct kto_row *rows, int64_t count,
                                    int64_t micro, int64_t batch, const double (*refs)[2]);

/* Evaluates the held-out rows (collective). */
MUST_USE enum status kto_evaluate(void *ctx, int64_t step, json_t *line);
