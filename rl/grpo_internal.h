/* Private state of the GRPO method. */
#pragma once

#include "rl/grpo.h"
#include "trainer/model/unit_pass.h"

/* Metric sums of a unit; the loop adds them over units in order. */
enum {
    METRIC_LOSS,
    METRIC_KL,
    METRIC_ENTROPY,
    METRIC_CLIP_LOW,
    METRIC_CLIP_HIGH,
    METRIC_TOKENS,   /* loss tokens trained in this step */
    METRIC_ROWS,
    METRIC_COUNT
};

/* A round that is still being trained on. */
struct live_round {
    int64_t index;
    int64_t born;      /* optimizer step it was generated at */
    double tokens;     /* loss tokens of the round */
    int64_t *slice;    /* [rows] which slice each row belongs to */
    struct round data;
};

/* A group's rows in this optimizer step. */
struct grpo_unit {
    int64_t live;      /* index into grpo.live */
    int64_t group;
    int64_t first_row; /* into grpo.rows */
    int64_t row_count;
};

struct grpo_row {
    struct rollout_row *row;
    double weight; /* of each loss token in this step's loss */
};

struct grpo {
    const struct grpo_config *config;
    const struct rollout_env *env;
    struct live_round *live;
    int64_t live_count;
    struct grpo_unit *units;
    int64_t *cost;
    struct grpo_row *rows;
    int64_t unit_count;
    int64_t row_count;
    int64_t capacity_rows;
    int64_t step;            /* being prepared */
    int64_t window;          /* micro-steps of this optimizer step */
    int64_t skipped_groups;
    double skipped_entropy;  /* sampler's entropy of rows that need no forward */
    double skipped_tokens;
    double max_delta;        /* largest |logp - sampler's| of on-policy rows on this rank */
    bool on_policy;
    double num_tokens;       /* running total, TRL's num_tokens */
    struct unit_pass pass;
};

/* Log fields of a step (collective). */
MUST_USE enum status grpo_log(void *ctx, const double *totals, json_t *line);

/* Appends a new round's rows to completions.jsonl; rank 0 only. */
MUST_USE enum status grpo_write_completions(const struct grpo *g, const struct live_round *live);
