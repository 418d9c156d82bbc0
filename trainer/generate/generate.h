/*
 * Batched generation on paged K/V: every prompt's completions are one tree.
 *
 * Every completion's tokens depend on (seed, step, row, sample, position) alone, never on batch
 * limits, page sizes, preemption, drafts, order or ranks; log-probs are of the full T-scaled
 * distribution and equal the training forward's bit for bit.
 */
#pragma once

#include "trainer/generate/sampler.h"
#include "trainer/model/cache.h"
#include "trainer/model/model.h"

/* A text that a completion may repeat: guesses are found in it. */
struct known_text {
    const int32_t *ids;
    int64_t count;
};

struct prompt {
    const int32_t *ids;
    int64_t count;
    int32_t slot;     /* policy that draws, when there are several */
    uint32_t row;     /* random key: index of the prompt in its round */
    int64_t samples;  /* completions wanted */
    uint32_t first_sample; /* random key of the first, usually 0 */
    int64_t expected; /* predicted tokens of a completion; longest first, ties by index */
    const uint32_t *which; /* [samples] random key of each instead of first_sample + i, NULL */
    const int64_t *most; /* [samples] most tokens of each instead of max_new_tokens, NULL: none */
    const struct known_text *earlier; /* [earlier_count] completions of the prompt from before */
    int64_t earlier_count;
};

struct completion {
    int64_t prompt;   /* index into the prompts */
    uint32_t sample;
    int64_t count;    /* tokens, the stop id included */
    int32_t *ids;     /* owned by the set */
    float *logp;      /* log-prob of each token under the T-scaled distribution (T = 1 if greedy) */
    float *entropy;   /* entropy of that distribution at each position */
    bool stopped;     /* ended by a stop id, string or the constraint; false: cut off */
    float margin;     /* greedy: smallest top-1/top-2 gap on the way (log-prob units) */
};

struct completion_set {
    int64_t count;
    struct completion *items; /* prompt-major, sample ascending */
};

enum generate_drafts { DRAFTS_AUTO, DRAFTS_NEVER, DRAFTS_ALWAYS };

/* One of several policies that draw in one batch: adapters on the one base (hook.slot). */
struct generate_policy {
    uint64_t seed; /* instead of the sample's */
    uint32_t step;
};

/* None of these decides a bit of a completion. */
struct generate_limits {
    int64_t max_rows;      /* completions in work at once; 0: 64 */
    int64_t cache_pages;   /* page budget; 0: enough for max_rows */
    int64_t page;          /* positions of a page, a multiple of 32; 0: 32 */
    int64_t prefill;       /* prompt tokens of one step next to the decoded rows; 0: 512 */
    int64_t
        preempt_every; /* tests: every so many steps the newest branch loses its pages; 0: never */
    enum generate_drafts drafts; /* guess tokens ahead and check them together: when it pays */
    bool unshared;         /* every completion computes its prompt and its tokens for itself */
};

/* Called on the generating thread for each completion when it ends, in the order they end. The
 * completion is final and may be taken over (ids, logp and entropy set to NULL). */
typedef enum status (*completion_fn)(void *ctx, struct completion *done);

struct generate_args {
    const struct model *model;
    struct ops_context *ops;
    bool hooks;           /* adapters on */
    const struct prompt *prompts;
    int64_t prompt_count;
    struct sample_config sample;
    const struct generate_policy *policies; /* [slots] of the prompts' slots; NULL: one policy */
    int64_t slots;
    struct generate_limits limits;
    bool margins;         /* fill completion.margin */
    completion_fn done;   /* NULL: none */
    enum status (*between)(void *ctx); /* after each step, with done_ctx; NULL: none */
    void *done_ctx;
};

/* What the decoder did, for the log. */
struct generate_stats {
    int64_t steps;          /* forwards */
    int64_t decode_steps;   /* of these, with at least one next token */
    int64_t decoded_tokens; /* drawn and kept */
    int64_t rows;           /* token rows that went through the model */
    int64_t prompt_tokens;  /* of these, of prompts */
    int64_t recomputed;     /* of these, fed a second time after a preemption or an eviction */
    int64_t saved_rows;     /* rows more that completions for themselves would have taken */
    int64_t preemptions;
    int64_t drafted;        /* rows of guessed tokens */
    int64_t accepted;       /* of these, kept */
    double occupancy;       /* mean completions in work per decode step / slots */
    double decode_seconds;  /* of steps without prompt rows */
    double draw_seconds;    /* of these and others, for the draws */
    double seconds;
};

/* Generates all completions. Fails with RECIPE when a prompt and max_new_tokens exceed the context
 * or the page budget can't hold one row; MEMORY. Free with completion_set_close. After a failure
 * *out is empty; completions handed to `done` stay the receiver's. */
MUST_USE enum status generate(const struct generate_args *a, struct completion_set *out,
                              struct generate_stats *stats);

/* Bytes that a generation takes while it runs. */
struct generate_memory {
    size_t cache;   /* K/V that sequences of this length fill */
    size_t reserve; /* of all pages, filled or not */
    size_t own;     /* the decoder's arrays, logits among them */
    size_t guesses; /* of these, logits of guessed tokens: where none are guessed, never touched */
    size_t pass;    /* activations and scratch of a step */
    int64_t least;  /* pages without which a row does not fit */
    int64_t pages;
};

/* Memory of generate(a), by the code that lays it out: prompts' counts and samples are read, no
 * ids. Fails with RECIPE as generate does. */
MUST_USE enum status generate_plan(const struct generate_args *a, struct generate_memory *out);

/* Frees the completions and empties the set. */
void completion_set_close(struct completion_set *s);
