/*
 * Hooks: how adapters change the model. The one linear calls them; so do embedding, norm, attention
 * (extra K/V) and head, each with the kinds that make sense there. trainer/ never includes
 * adapters/: an adapter builds hooks and hangs them on sites of the model.
 */
#pragma once

#include "trainer/model/params.h"

enum hook_kind {
    HOOK_LOW_RANK,   /* y += scale * (x A^T) B^T */
    HOOK_DELTA,      /* y += x D^T (later) */
    HOOK_INPUT,      /* x transformed before the product (later) */
    HOOK_OUTPUT,     /* y transformed after it (later) */
    HOOK_MAGNITUDE,  /* DoRA (later) */
    HOOK_EXTRA_KV,   /* virtual tokens at attention (later) */
    HOOK_FULL        /* the weight itself is trained: w and bias are parameters */
};

struct hook {
    enum hook_kind kind;
    struct hook *next; /* several may hang on one site; applied in order */
    int32_t slot;      /* adapter slot: rows whose batch slot equals it (or all when slot < 0) */
    struct param_set *params;
    /* HOOK_LOW_RANK: indices of A [r, in] and B [out, r]; scale = alpha / r or alpha / sqrt(r) */
    int64_t a;
    int64_t b;
    int64_t rank;
    float scale;
    float dropout; /* probability that an element of x is left out while training */
    /* HOOK_FULL: indices of the weight and the bias (-1: none) */
    int64_t weight;
    int64_t bias;
};
