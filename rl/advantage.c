/*
 * Group-relative advantages; see advantage.h. Every result is rounded to F32 and sums are taken in
 * torch's order: an advantage near 0 is a difference of near numbers, whose rounding alone would
 * move a loss that cancels, and Adam's steps, away from TRL's.
 */
#include "rl/advantage.h"

#include <math.h>

#include "rl/reward/reward.h"

enum { LANES = 8, PARTIAL = 4 };

/* Of +, -, *, / and the root of F32 numbers in double this is F32 arithmetic: 53 >= 2 * 24 + 2. */
static double f32(double x)
{
    return (double)(float)x;
}

/* The divisor of a deviation: 1e-4 is added outside the root. */
static double divisor(double std)
{
    return f32(std + f32(1e-4));
}

/* Values of a sum: x, or (x - mean)^2; NaN adds nothing. */
struct summed {
    const double *values;
    int64_t count;
    int64_t lanes; /* that torch adds side by side: 8, or 1 where the values are a column */
    bool squares;
    double mean;
};

static double term(const struct summed *s, int64_t i)
{
    const double x = s->values[i];
    const double d = f32(x - s->mean);
    return isnan(x) ? 0.0 : s->squares ? f32(d * d) : x;
}

/* In the order of torch's CPU kernel for up to 512 values: the rest of the lanes first, and in each
 * lane four partial sums. */
static double sum_of(const struct summed *s)
{
    double partial[PARTIAL][LANES] = {0};
    const int64_t lanes = s->count < LANES ? 1 : s->lanes;
    const int64_t rows = s->count / lanes;
    double sum = 0.0;
    for (int64_t i = 0; i < rows; i++) {
        double *to = partial[i < rows / PARTIAL * PARTIAL ? i % PARTIAL : 0];
        for (int64_t l = 0; l < lanes; l++) {
            to[l] = f32(to[l] + term(s, i * lanes + l));
        }
    }
    for (int64_t i = rows * lanes; i < s->count; i++) {
        sum = f32(sum + term(s, i));
    }
    for (int64_t l = 0; l < lanes; l++) {
        for (int k = 1; k < PARTIAL; k++) {
            partial[0][l] = f32(partial[0][l] + partial[k][l]);
        }
        sum = f32(sum + partial[0][l]);
    }
    return sum;
}

/* How many values are not NaN, and the one they all are, NaN where they differ. */
static int64_t count_of(const double *values, int64_t count, double *common)
{
    int64_t n = 0;
    bool equal = true;
    *common = NAN;
    for (int64_t i = 0; i < count; i++) {
        if (!isnan(values[i])) {
            equal = equal && (n == 0 || values[i] == *common);
            *common = n == 0 ? values[i] : *common;
            n++;
        }
    }
    *common = equal ? *common : NAN;
    return n;
}

static void moments(const double *values, int64_t count, int64_t lanes, double *mean, double *std)
{
    struct summed s = {.values = values, .count = count, .lanes = lanes};
    double common;
    const int64_t n = count_of(values, count, &common);
    /* torch's mean of equal rewards can be one rounding off them, which trains on nothing. */
    *mean = !isnan(common) ? common : n ? f32(sum_of(&s) / (double)n) : NAN;
    s.mean = *mean;
    s.squares = true;
    *std = n > 1 ? f32(sqrt(f32(f32(sum_of(&s) / (double)n) * f32((double)n / (double)(n - 1)))))
                 : NAN;
}

void advantage_moments(const double *values, int64_t count, double *mean, double *std)
{
    moments(values, count, LANES, mean, std);
}

/* Weighted sum of a row's rewards, NaN ones skipped; NaN when there is none at all. */
static double weighted_sum(const double *row, const double *weights, int64_t functions)
{
    double products[REWARD_MAX];
    double common;
    const struct summed s = {.values = products, .count = functions, .lanes = LANES};
    for (int64_t k = 0; k < functions; k++) {
        products[k] = f32(f32(row[k]) * f32(weights[k]));
    }
    return count_of(products, functions, &common) ? sum_of(&s) : NAN;
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
        const double scale = c->scale == SCALE_GROUP   ? divisor(std)
                             : c->scale == SCALE_BATCH ? divisor(batch_std)
                                                       : 1.0;
        flat += is_flat(c->scale == SCALE_BATCH ? batch_std : std);
        for (int64_t i = g * a->group_size; i < (g + 1) * a->group_size; i++) {
            a->advantage[i] = f32(f32(sums[i] - mean) / scale);
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
            sums[i] = fmin(fmax(sums[i], f32(c->clip_low)), f32(c->clip_high));
        }
        sums[i] = f32(sums[i] - (a->penalty ? f32(a->penalty[i]) : 0.0));
    }
    for (int64_t g = 0; g < a->groups; g++) {
        const double *group = sums + g * a->group_size;
        double mean;
        double std;
        double common;
        const struct summed s = {.values = group, .count = a->group_size, .lanes = LANES};
        const double sum = sum_of(&s);
        const int64_t count = count_of(group, a->group_size, &common);
        advantage_moments(group, a->group_size, &mean, &std);
        flat += is_flat(std);
        for (int64_t i = 0; i < a->group_size; i++) {
            const double others = f32(f32(sum - group[i]) / (double)(count - 1));
            a->advantage[g * a->group_size + i] =
                count < 2 ? NAN : isnan(common) ? f32(group[i] - others) : group[i] - common;
        }
    }
    if (c->normalize) {
        double mean;
        double std;
        advantage_moments(a->advantage, rows, &mean, &std);
        for (int64_t i = 0; i < rows; i++) {
            a->advantage[i] = f32(f32(a->advantage[i] - mean) / divisor(std));
        }
    }
    if (a->flat) {
        *a->flat = flat / (double)a->groups;
    }
}

/* GDPO: every reward function is normalised in its group, then the weighted sum over the batch.
 * `scores` [rows, functions] and `column` [group_size] are working space. */
static void normalize_columns(const struct advantage_args *a, double *scores, double *column)
{
    const int64_t rows = a->groups * a->group_size;
    const int64_t n = a->functions;
    double mean;
    double std;
    for (int64_t i = 0; i < a->groups * n; i++) {
        const int64_t first = i / n * a->group_size * n + i % n;
        for (int64_t r = 0; r < a->group_size; r++) {
            column[r] = f32(a->rewards[first + r * n]);
        }
        moments(column, a->group_size, n > 1 ? 1 : LANES, &mean, &std);
        for (int64_t r = 0; r < a->group_size; r++) {
            scores[first + r * n] = f32(f32(column[r] - mean) / divisor(std));
        }
    }
    for (int64_t i = 0; i < rows; i++) { /* an unscorable row stays out of the batch's moments */
        const double *row = a->rewards + i * n;
        const double sum = weighted_sum(scores + i * n, a->weights, n);
        a->advantage[i] = isnan(weighted_sum(row, a->weights, n)) ? NAN : isnan(sum) ? 0.0 : sum;
    }
    advantage_moments(a->advantage, rows, &mean, &std);
    for (int64_t i = 0; i < rows; i++) {
        a->advantage[i] = f32(f32(a->advantage[i] - mean) / divisor(std));
    }
    if (a->flat) {
        *a->flat = is_flat(std);
    }
}

enum status advantage_compute(const struct advantage_config *config,
                              const struct advantage_args *args)
{
    const int64_t rows = args->groups * args->group_size;
    double *sums = malloc((size_t)(rows * (args->functions + 2) + 1) * sizeof *sums);
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
        normalize_columns(args, sums + rows, sums + rows * (args->functions + 1));
    }
    nan_to_zero(args->advantage, rows);
    free(sums);
    return STATUS_OK;
}
