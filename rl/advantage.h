/*
 * Rewards to advantages (spec training.md 1.4; Shao et al. 2024, "DeepSeekMath", eq. 3; GDPO's
 * normalise-then-sum; RLOO, Ahmadian et al. 2024, arXiv 2402.14740). NaN stands for "no reward"
 * (None).
 */
#pragma once

#include "kernels/base/status.h"

#include <stdbool.h>
#include <stdint.h>

enum scale_rewards { SCALE_GROUP, SCALE_BATCH, SCALE_NONE };
enum aggregation { SUM_THEN_NORMALIZE, NORMALIZE_THEN_SUM };

struct advantage_config {
    enum scale_rewards scale;
    enum aggregation aggregation;
    /* RLOO (spec training.md 4) instead: the baseline is the mean of a row's scorable siblings. */
    bool leave_one_out;
    bool normalize; /* then (A - mean) / (std + 1e-4) over all rows */
    bool clip;      /* weighted sums are clipped to [clip_low, clip_high] first */
    double clip_low;
    double clip_high;
};

/* advantage[i] for `rows` = groups * group_size rows with `functions` rewards each.
 * rewards [rows, functions] row-major, NaN: none; weights [functions]. Also, when not NULL:
 * reward [rows] the weighted sums (NaN: unscorable), group_std [groups] the per-group standard
 * deviation (ddof 1), flat the share of rows whose divisor is 0 (TRL's frac_reward_zero_std).
 * penalty [rows], RLOO alone: taken off the clipped sums (NULL: none). NaN advantages become 0. */
struct advantage_args {
    const double *rewards;
    const double *weights;
    int64_t groups;
    int64_t group_size;
    int64_t functions;
    double *advantage;
    double *reward;
    double *group_std;
    double *flat;
    const double *penalty;
};

/* Fills args->advantage (and reward, group_std when wanted) from the rewards. */
MUST_USE enum status advantage_compute(const struct advantage_config *config,
                                       const struct advantage_args *args);

/* Mean and standard deviation (ddof 1) of `count` values, NaN skipped; std is NaN below two. */
void advantage_moments(const double *values, int64_t count, double *mean, double *std);
