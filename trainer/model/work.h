/*
 * How far a step is from what the machine could do: the time that the measured limits allow for its
 * products with weights, over the time it took (roofline, Williams et al. 2009). Attention and
 * recomputation are not counted as work.
 */
#pragma once

#include "trainer/model/model.h"

/* Multiply-adds of one token row, by what takes part in the backward. */
struct work_costs {
    double layers;  /* linears of all layers */
    double head;    /* output embedding */
    double adapter; /* low-rank factors: forward, d input, d weight */
    double bytes;   /* of the weights that a pass over any number of rows reads once */
    bool full;      /* linears and head are trained: a d weight, too */
};

/* Peaks of this process' threads. */
struct work_peaks {
    double gflops;
    double read_gb_per_second;
};

/* Work of a step in token rows and next-token distributions. */
struct work {
    double passes;  /* decoder steps: each reads the weights at least once */
    double decoded_rows; /* in these, prompts and guesses included */
    double decoded_outputs;
    double scored_rows; /* forward alone */
    double scored_outputs;
    double trained_rows; /* forward and backward */
    double trained_outputs;
};

/* Costs of a model's rows; `adapter`: trained numbers of its adapter. Fails as model_each_linear.
 */
MUST_USE enum status work_costs_of(struct model *m, double adapter, bool full,
                                   struct work_costs *out);

/* Floating-point operations of a forward over `rows` tokens with `outputs` distributions. */
double work_forward_flops(const struct work_costs *c, double rows, double outputs);

/* Same with the backward. */
double work_train_flops(const struct work_costs *c, double rows, double outputs);

/* Seconds of `passes` equal passes of together `flops`, each at least one read of the weights. */
double work_pass_seconds(const struct work_costs *c, const struct work_peaks *p, double passes,
                         double flops);

/* Seconds that the limits allow for the work. */
double work_seconds(const struct work_costs *c, const struct work_peaks *p, const struct work *w);

/* *sum += *more; *more is zeroed. */
void work_move(struct work *sum, struct work *more);
