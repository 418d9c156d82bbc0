/*
 * Rewards to advantages (spec training.md 1.4; Shao et al. 2024, "DeepSeekMath", eq. 3; GDPO's
 * normalise-then-sum). NaN stands for "no reward" (None).
 */
#pragma once

#include "kernels/base/status.h"

#include <stdint.h>

enum scale_rewards { SCALE_GROUP, SCALE_BATCH, SCALE_NONE };
enum aggregation { SUM_THEN_NORMALIZE, NORMALIZE_THEN_SUM };

struct advantage_config {
    enum scale_rewards scale;
    enum aggregation aggregation;
};

/* advantage[i] for `rows` = groups * group_size rows with `functions` rewards each.
 * rewards [rows, functions] row-major, NaN: none; weights [functions]. Also, when not NULL:
 * reward [rows] the weighted sums (NaN: unscorable), group_std [groups] the per-group standard
 * deviation (ddof 1). NaN advantages become 0. Fails with MEMORY. */
struct advantage_args {
    const double *rewards;
    const double *weights;
    int64_t groups;
    int64_t group_size;
    int64_t functions;
    double *advantage;
    double *reward;
    double *group_std;
};

/* Fills args->advantage (and reward, group_std when wanted) from the rewards. */
MUST_USE enum status advantage_compute(const struct advantage_config *config,
                                       const struct advantage_args *args);

/* Mean and standard deviation (ddof 1) of `count` values, NaN skipped; std is NaN below two. */
void advantage_moments(const double *values, int64_t count, double *mean, double *std);
