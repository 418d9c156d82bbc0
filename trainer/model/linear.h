/*
 * The one linear: the only place that multiplies by weights and calls hooks.
 *
 * y = x W^T + b, then each hook adds its part. With hooks switched off (the reference policy) the
 * bare base is computed.
 */
#pragma once

#include "trainer/model/hook.h"

struct linear {
    const char
        *name; /* Hugging Face module path "model.layers.0.self_attn.q_proj" (owned by model) */
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

/* Whether a method trains with dropout, and the seed of its draws. */
struct dropout_config {
    bool on;
    uint64_t seed;
};

/* How a pass runs. */
struct pass {
    struct ops_context *ops;
    struct arena *step;     /* saved activations live here until the step is rewound */
    struct arena *scratch;  /* gone after the block */
    bool hooks;             /* false: adapters off, the reference policy */
    bool grad;              /* a backward will follow: save what it needs */
    int64_t recompute;      /* the first so many blocks save their input only and run again in the
                             * backward; the same bits for any number */
    const int64_t *unit_begin; /* [units + 1] token offsets of the units, for weight gradients */
    int64_t units;
    const struct pass_noise *noise; /* dropout and NEFTune; NULL: neither (evaluation, sampling) */
    const int64_t *slot_begin;      /* [slots + 1] rows of each adapter slot, for passes without
                                       backward;      NULL: every hook is for all rows */
};

/* Activations that products read: floats, or where a pass rounds them (COMPUTE_BF16) the bf16 that
 * every product would make of them, the same bits for half the memory. */
struct operand {
    float *x;      /* [rows, cols], row stride ld; NULL where rounded */
    uint16_t *x16; /* [rows, cols], row stride ld; NULL where not */
    bool rounded;
    int64_t ld;
    int64_t rows;
};

/* True when rows of `cols` numbers can be rounded operands in this pass. */
bool operand_rounds(const struct pass *p, int64_t cols);

/* Memory for [rows, cols] from p->scratch, floats or rounded. Fails with MEMORY. */
MUST_USE enum status operand_alloc(const struct pass *p, int64_t rows, int64_t cols, bool rounded,
                                   struct operand *out);

/* True when a hook of the linear drops numbers of its input in this pass: then it wants floats. */
bool linear_drops(const struct linear *l, const struct pass *p);

/* y[rows, out] = linear(in[rows, in]) with row stride ldy; `saved` is filled (from p->step) when
 * p->grad. y NULL: only `saved` is wanted (recomputation). Fails with MEMORY when an arena is
 * full, RECIPE on hooks that a linear does not know. */
MUST_USE enum status linear_forward(const struct linear *l, const struct pass *p,
                                    const struct operand *in, float *y, int64_t ldy,
                                    struct linear_saved *saved);

/* dx[rows, in] (+)= backward of dy through base and hooks (dx NULL: not wanted); gradients of hook
 * parameters are added by units. x is the forward's input. accumulate: add to dx. */
struct linear_backward_args {
    struct operand x;
    struct operand dy;
    float *dx;
    int64_t lddx;
    bool accumulate;
};

/* Fails with MEMORY when scratch is full, RECIPE on unknown hooks. */
MUST_USE enum status linear_backward(const struct linear *l, const struct pass *p,
                                     const struct linear_backward_args *a,
                                     const struct linear_saved *saved);
