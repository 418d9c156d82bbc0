/* Group-relative advantages; see advantage.h. Double throughout: rewards are few. */
#include "rl/advantage.h"

#include <math.h>

static const double EPSILON = 1e-4; /* added to the standard deviation, outside the root */

void advantage_moments(const double *values, int64_t count, double *mean, double *std)
{
    double sum = 0.0;
    int64_t n = 0;
    for (int64_t i = 0; i < count; i++) {
        if (!isnan(values[i])) {
            sum += values[i];
            n++;
        }
    }
    *mean = n ? sum / (double)n : NAN;
    double squares = 0.0;
    for (int64_t i = 0; i < count; i++) {
        if (!isnan(values[i])) {
            squares += (values[i] - *mean) * (values[i] - *mean);
        }
    }
    *std = n > 1 ? sqrt(squares / (double)(n - 1)) : NAN;
}

/* Weighted sum of a row's rewards, NaN ones skipped; NaN when there is none at all. */
static double weighted_sum(const double *row, const double *weights, int64_t functions)
{
    double sum = 0.0;
    int64_t scored = 0;
    for (int64_t k = 0; k < functions; k++) {
        if (!isnan(row[k])) {
            sum += weights[k] * row[k];
            scored++;
        }
    }
    return scored ? sum : NAN;
}

static void nan_to_zero(double *values, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        values[i] = isnan(values[i]) ? 0.0 : values[i];
    }
}

/* A deviation that TRL calls zero (torch.isclose to 0). */
static bool is_flat(double std)
{
    return fabs(std) <= 1e-8;
}

static void normalize_sums(const struct advantage_config *c, const struct advantage_args *a,
                           const double *sums)
{
    double batch_mean;
    double batch_std;
    double flat = 0.0;
    advantage_moments(sums, a->groups * a->group_size, &batch_mean, &batch_std);
    for (int64_t g = 0; g < a->groups; g++) {
        double mean;
        double std;
        advantage_moments(sums + g * a->group_size, a->group_size, &mean, &std);
        const double scale = c->scale == SCALE_GROUP   ? std + EPSILON
                             : c->scale == SCALE_BATCH ? batch_std + EPSILON
                                                       : 1.0;
        flat += is_flat(c->scale == SCALE_BATCH ? batch_std : std);
        for (int64_t i = g * a->group_size; i < (g + 1) * a->group_size; i++) {
            a->advantage[i] = (sums[i] - mean) / scale;
        }
    }
    if (a->flat) {
        *a->flat = flat / (double)a->groups;
    }
}

/* A row against the mean of its scorable siblings; 0/0 where it has none. */
static void leave_one_out(const struct advantage_config *c, const struct advantage_args *a,
                          double *sums)
{
    const int64_t rows = a->groups * a->group_size;
    double flat = 0.0;
    for (int64_t i = 0; i < rows; i++) {
        if (c->clip && !isnan(sums[i])) {
            sums[i] = fmin(fmax(sums[i], c->clip_low), c->clip_high);
        }
        sums[i] -= a->penalty ? a->penalty[i] : 0.0;
    }
    for (int64_t g = 0; g < a->groups; g++) {
        const double *group = sums + g * a->group_size;
        double mean;
        double std;
        double sum = 0.0;
        double count = 0.0;
        advantage_moments(group, a->group_size, &mean, &std);
        flat += is_flat(std);
        for (int64_t i = 0; i < a->group_size; i++) {
            sum += isnan(group[i]) ? 0.0 : group[i];
            count += !isnan(group[i]);
        }
        for (int64_t i = 0; i < a->group_size; i++) {
            a->advantage[g * a->group_size + i] =
                count > 1 ? group[i] - (sum - group[i]) / (count - 1) : NAN;
        }
    }
    if (c->normalize) {
        double mean;
        double std;
        advantage_moments(a->advantage, rows, &mean, &std);
        for (int64_t i = 0; i < rows; i++) {
            a->advantage[i] = (a->advantage[i] - mean) / (std + EPSILON);
        }
    }
    if (a->flat) {
        *a->flat = flat / (double)a->groups;
    }
}

/* GDPO: every reward function is normalised in its group, then the weighted sum over the batch. */
static void normalize_columns(const struct advantage_args *a, double *column)
{
    const int64_t rows = a->groups * a->group_size;
    for (int64_t i = 0; i < rows; i++) {
        a->advantage[i] = 0.0;
    }
    for (int64_t k = 0; k < a->functions; k++) {
        for (int64_t i = 0; i < rows; i++) {
            column[i] = a->rewards[i * a->functions + k];
        }
        for (int64_t g = 0; g < a->groups; g++) {
            double mean;
            double std;
            advantage_moments(column + g * a->group_size, a->group_size, &mean, &std);
            for (int64_t i = g * a->group_size; i < (g + 1) * a->group_size; i++) {
                const double z = (column[i] - mean) / (std + EPSILON);
                a->advantage[i] += isnan(z) ? 0.0 : a->weights[k] * z;
            }
        }
    }
    for (int64_t i = 0; i < rows; i++) { /* an unscorable row stays out of the batch's moments */
        if (isnan(weighted_sum(a->rewards + i * a->functions, a->weights, a->functions))) {
            a->advantage[i] = NAN;
        }
    }
    double mean;
    double std;
    advantage_moments(a->advantage, rows, &mean, &std);
    for (int64_t i = 0; i < rows; i++) {
        a->advantage[i] = (a->advantage[i] - mean) / (std + EPSILON);
    }
    if (a->flat) {
        *a->flat = is_flat(std);
    }
}

enum status advantage_compute(const struct advantage_config *config,
                              const struct advantage_args *args)
{
    const int64_t rows = args->groups * args->group_size;
    double *sums = malloc((size_t)(rows + 1) * sizeof *sums);
    if (!sums) {
        return FAIL(MEMORY, "advantages: no memory for %lld rows", (long long)rows);
    }
    for (int64_t i = 0; i < rows; i++) {
        sums[i] = weighted_sum(args->rewards + i * args->functions, args->weights, args->functions);
        if (args->reward) {
            args->reward[i] = sums[i];
        }
    }
    for (int64_t g = 0; args->group_std && g < args->groups; g++) {
        double mean;
        advantage_moments(sums + g * args->group_size, args->group_size, &mean,
                          &args->group_std[g]);
    }
    if (config->leave_one_out) {
        leave_one_out(config, args, sums);
    } else if (config->aggregation == SUM_THEN_NORMALIZE) {
        normalize_sums(config, args, sums);
    } else {
        normalize_columns(args, sums);
    }
    nan_to_zero(args->advantage, rows);
    free(sums);
    return STATUS_OK;
}
