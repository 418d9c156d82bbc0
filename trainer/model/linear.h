/*
 * The one linear: the only place that multiplies by weights and calls hooks.
 *
 * y = x W^T + b, then each hook adds its part. With hooks switched off (the reference policy) the
 * bare base is computed.
 */
#pragma once

#include "trainer/model/hook.h"

struct linear {
    const char *name;   /* Hugging Face module path "model.layers.0.self_attn.q_proj" (owned by model) */
    struct tensor w;    /* [out, in]; in full training a view of the parameter */
    const float *bias;  /* [out] or NULL */
    int64_t out;
    int64_t in;
    struct hook *hooks; /* list, NULL: none. Hooks are owned by who attached them */
};

/* What a forward leaves for its backward: one x A^T per low-rank hook, in list order. */
struct linear_saved {
    float *low[4]; /* [rows, rank] each */
};
enum { LINEAR_MAX_HOOKS = 4 };

/* Randomness of a training pass, keyed so that it doesn't depend on how units are batched. */
struct pass_noise {
    uint64_t seed;
    uint32_t step;
    const uint32_t *unit_key; /* [units] the number of each unit in its step */
    const float *embedding;   /* [units] NEFTune: bound of the noise on embeddings; NULL: none */
};

/* How a pass runs. */
struct pass {
    struct ops_context *ops;
    struct arena *step;     /* saved activations live here until the step is rewound */
    struct arena *scratch;  /* gone after the block */
    bool hooks;             /* false: adapters off, the reference policy */
    bool grad;              /* a backward will follow: save what it needs */
    bool checkpoint;        /* save block inputs only and recompute in the backward */
    const int64_t *unit_begin; /* [units + 1] token offsets of the units, for weight gradients */
    int64_t units;
    const struct pass_noise *noise; /* dropout and NEFTune; NULL: neither (evaluation, sampling) */
};

/* y[rows, out] = linear(x[rows, in]) with row strides ldx, ldy; `saved` is filled (from p->step)
 * when p->grad. y NULL: only `saved` is wanted (recomputation). Fails with MEMORY when an arena is
 * full, RECIPE on hooks that a linear does not know. */
MUST_USE enum status linear_forward(const struct linear *l, const struct pass *p, const float *x,
                                    int64_t ldx, int64_t rows, float *y, int64_t ldy,
                                    struct linear_saved *saved);

/* dx[rows, in] (+)= backward of dy through base and hooks (dx NULL: not wanted); gradients of hook
 * parameters are added by units. x is the forward's input. accumulate: add to dx. */
struct linear_backward_args {
    const float *x;
    int64_t ldx;
    const float *dy;
    int64_t ldy;
    int64_t rows;
    float *dx;
    int64_t lddx;
    bool accumulate;
};

/* Fails with MEMORY when scratch is full, RECIPE on unknown hooks. */
MUST_USE enum status linear_backward(const struct linear *l, const struct pass *p,
                                     const struct linear_backward_args *a,
                                     const struct linear_saved *saved);
