/* What every rule of an optimizer update needs, rounded to float once; shared by the tiers. */
#pragma once

#include "kernels/ops.h"

enum { UPDATE_CHUNK = 4096 }; /* numbers per item of work: a whole number of blocks */

struct update_coef {
    float scale;   /* of the gradient */
    float couple;  /* weight decay inside the gradient, 0: none */
    float decay;   /* 1 - lr wd */
    float lr;
    float rate;    /* lr / (1 - beta1^t) */
    float bias1;   /* 1 - beta1^t */
    float root;    /* sqrt(1 - beta2^t) */
    float beta[3];
    float rest[3]; /* 1 - beta */
    float alpha;
    float eps;
    float momentum;
    float damp;    /* 1 - dampening */
    bool first;
    bool nesterov;
    bool decay_last;
};

/* Numbers of one rule over n elements, n <= UPDATE_CHUNK; states not there are NULL. */
typedef void (*update_fn)(const struct update_coef *c, float *p, const float *g, float *const *s,
                          int64_t n);

/* Coefficients of an update; products and powers in double. */
void update_coef_make(const struct update_args *a, struct update_coef *out);

/* Runs `fn` over all numbers, states decoded and encoded block by block where they are codes. */
void update_run(struct pool *pool, const struct update_args *a, update_fn fn);
