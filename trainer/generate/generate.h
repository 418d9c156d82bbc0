/*
 * Batched decode on paged K/V with a shared prompt prefix, and the sampler.
 *
 * Every completion's tokens depend on (seed, step, row, sample, position) alone, never on batch
 * limits, page sizes, order or ranks; log-probs are of the full T-scaled distribution and equal the
 * training forward's bit for bit.
 */
#pragma once

#include "trainer/model/cache.h"
#include "trainer/model/model.h"

struct sample_config {
    double temperature;   /* 0: greedy */
    int64_t top_k;        /* 0: off; ties with the k-th are kept */
    double top_p;         /* 1: off */
    double min_p;         /* 0: off */
    int64_t max_new_tokens;
    const int32_t *stops; /* ids that end a completion; the id itself is kept */
    int64_t stop_count;
    uint64_t seed;
    uint32_t step;        /* part of the random key */
    uint32_t purpose;     /* enum rng_purpose */
};

struct prompt {
    const int32_t *ids;
    int64_t count;
    uint32_t row;     /* random key: index of the prompt in its round */
    int64_t samples;  /* completions wanted */
    uint32_t first_sample; /* random key of the first, usually 0 */
};

struct completion {
    int64_t prompt;   /* index into the prompts */
    uint32_t sample;
    int64_t count;    /* tokens, the stop id included */
    int32_t *ids;     /* owned by the set */
    float *logp;      /* log-prob of each token under the T-scaled distribution (T = 1 if greedy) */
    float *entropy;   /* entropy of that distribution at each position */
    bool stopped;     /* ended by a stop id; false: cut off at max_new_tokens */
    float margin;     /* greedy: smallest top-1/top-2 gap on the way (log-prob units) */
};

struct completion_set {
    int64_t count;
    struct completion *items; /* prompt-major, sample ascending */
};

struct generate_limits {
    int64_t max_rows;     /* sequences decoded at once; 0: 64 */
    int64_t cache_pages;  /* page budget; 0: enough for max_rows */
};

struct generate_args {
    const struct model *model;
    struct ops_context *ops;
    bool hooks;           /* adapters on */
    const struct prompt *prompts;
    int64_t prompt_count;
    struct sample_config sample;
    struct generate_limits limits;
    bool margins;         /* fill completion.margin */
};

/* What the decoder did, for the log. */
struct generate_stats {
    int64_t prompt_tokens;
    int64_t decode_steps;
    int64_t decoded_tokens;
    double occupancy;     /* mean decoded rows per step / max_rows used */
    double decode_seconds; /* of the decode steps alone, without prefill */
    double seconds;
};

/* Generates all completions. Fails with RECIPE when a prompt and max_new_tokens exceed the context or
 * the page budget can't hold one row; MEMORY. Free with completion_set_close. */
MUST_USE enum status generate(const struct generate_args *a, struct completion_set *out,
                              struct generate_stats *stats);

/* Frees the completions and empties the set. */
void completion_set_close(struct completion_set *s);

/* One draw from logits z [vocab] (already divided by T): filters top-k, top-p, min-p in this order on
 * the distribution (training.md 1.3), then inverse CDF in token order with uniform u in [0, 1).
 * scratch [vocab]. Greedy when temperature is 0 (first on ties). */
int32_t sample_token(const struct sample_config *s, const float *z, int64_t vocab, double u,
                     float *scratch);
