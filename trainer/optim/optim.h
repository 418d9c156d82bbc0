/*
 * Optimizers over the contiguous parameter arena, learning-rate schedules and clipping, as torch
 * and Transformers compute them (spec training.md 5).
 */
#pragma once

#include "trainer/model/params.h"

enum optim_kind { OPTIM_ADAMW, OPTIM_SGD };
enum schedule_kind {
    SCHEDULE_LINEAR,
    SCHEDULE_COSINE,
    SCHEDULE_CONSTANT,
    SCHEDULE_CONSTANT_WITH_WARMUP,
    SCHEDULE_COSINE_WITH_MIN_LR
};

struct optim_config {
    enum optim_kind kind;
    double learning_rate;
    double beta1;
    double beta2;
    double eps;
    double weight_decay;
    double max_grad_norm;   /* 0: no clipping, the norm is still measured */
    enum schedule_kind schedule;
    double warmup_steps;    /* < 1: a ratio of max_steps (ceil) */
    double min_lr_rate;     /* cosine_with_min_lr */
};

/* Number of moment arrays the optimizer needs: AdamW 2, sgd 0. */
int optim_moments(const struct optim_config *c);

/* Learning-rate multiplier of update `t` (0 for the first) of `total`: the one USED by that step. */
double optim_schedule(const struct optim_config *c, int64_t t, int64_t total);

/* Global L2 norm of the gradient, before clipping; NaN or inf when it is not finite. */
double optim_grad_norm(struct ops_context *ops, const struct param_set *p);

/* One update with learning rate `lr`; `norm` from optim_grad_norm decides the clipping factor
 * max / (norm + 1e-6) when < 1. `step` is 1 for the first update. Zeroes nothing. */
void optim_update(struct ops_context *ops, struct param_set *p, const struct optim_config *c,
                  double lr, double norm, int64_t step);
