/*
 * One draw: processors and filters in Transformers' order (spec training.md 1.3), then inverse CDF
 * in token order.
 *
 *   repetition penalty (prompt + generated) -> frequency and presence penalty (generated) -> min
 *   tokens -> suppressed ids -> constraint -> temperature -> top-k -> top-p -> min-p -> draw
 *
 * Logits arrive divided by T already, as model_logits gives them. That commutes with the penalties:
 * the repetition penalty scales, the others are divided by T here.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/status.h"

struct constraint;
struct logit_mark;
struct stop_strings;

struct sample_config {
    double temperature;        /* 0: greedy */
    int64_t top_k;             /* 0: off; ties with the k-th are kept */
    double top_p;              /* 1 or 0: off */
    double min_p;              /* 0: off */
    double repetition_penalty; /* 1 or 0: off */
    double presence_penalty;   /* 0: off */
    double frequency_penalty;  /* 0: off */
    int64_t min_new_tokens;    /* no stop before so many tokens */
    int64_t max_new_tokens;
    const int32_t *stops;      /* ids that end a completion; the id itself is kept */
    int64_t stop_count;
    const int32_t *suppress;   /* ids that are never drawn */
    int64_t suppress_count;
    const struct stop_strings *stop_strings; /* NULL: none */
    struct constraint *constraint;           /* NULL: none */
    uint64_t seed;
    uint32_t step;    /* part of the random key */
    uint32_t purpose; /* enum rng_purpose */
};

/* What a completion consists of so far, for the penalties. */
struct sample_history {
    const int32_t *prompt;
    int64_t prompt_count;
    const int32_t *ids; /* generated */
    int64_t count;
    const uint64_t *allowed; /* bit per id that the constraint allows; NULL: all */
};

/* Memory of one thread. */
struct sample_scratch {
    float *z;        /* [vocab] */
    float *values;   /* [vocab] */
    int32_t *counts; /* [vocab], zero between calls */
};

/* Checks the settings against a vocabulary; fails with RECIPE naming the key. */
MUST_USE enum status sample_check(const struct sample_config *s, int64_t vocab);

/* True when every id may be drawn with its own probability: no filter, penalty or list is on at the
 * completion's `count`-th token. */
bool sample_is_plain(const struct sample_config *s, int64_t count);

/* Writes the logits after all processors and filters to w->z: dropped ids are -inf. Penalties read
 * h. Filters that need a temperature are off when it is 0. */
void sample_filter(const struct sample_config *s, const float *z, int64_t vocab,
                   const struct sample_history *h, const struct sample_scratch *w);

/* One draw from logits z [vocab] (already divided by T) with uniform u in [0, 1): filters, then
 * inverse CDF in token order. Greedy when temperature is 0 (first on ties). */
int32_t sample_token(const struct sample_config *s, const float *z, int64_t vocab,
                     const struct sample_history *h, double u, const struct sample_scratch *w);

/* The same draw for a plain row from the marks of its chunks of `chunk` ids (model_logits): reads
 * the logits of one chunk alone. */
int32_t sample_plain(const float *z, int64_t vocab, int64_t chunk, const struct logit_mark *marks,
                     double u);
