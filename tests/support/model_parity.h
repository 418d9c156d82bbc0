/*
 * Parity of whole models: golden inputs become one packed batch, one pass gives logits, log-probs,
 * loss and gradients, and tensors are compared by name with what the reference packages computed.
 */
#pragma once

#include "trainer/format/safetensors.h"
#include "trainer/model/model.h"
#include "trainer/model/params.h"

/* Golden rows without their pads; every kept token is a row of the batch and an output. */
struct parity_input {
    int64_t tokens;
    int32_t *ids;
    int32_t *position;
    int32_t *targets;  /* -1: none */
    int64_t *golden;   /* flat index b * T + t of each kept token in the golden tensors */
    int32_t *rows;     /* 0, 1, 2, ...: out_rows and key_rows */
    struct attn_seq *seqs;
    int64_t *unit_begin;
    int64_t n_seq;
    int64_t width;     /* T of the golden tensors */
    int64_t n_targets;
    struct arena arena;
};

/* From input_ids and, where the file has them, attention_mask, position_ids and labels. */
MUST_USE enum status parity_input_open(struct parity_input *in, const struct safetensors *golden);

/* One sequence of ids. */
MUST_USE enum status parity_input_ids(struct parity_input *in, const int32_t *ids, int64_t count);
void parity_input_close(struct parity_input *in);

/* One pass over the input, F32. */
struct parity_output {
    float *logits;  /* [tokens, vocab] */
    float *logp;    /* [tokens], 0 where there is no target */
    float *d_embed; /* [tokens, hidden]; NULL without gradient */
    double loss;    /* mean of -logp over targets */
    struct arena arena;
};

enum parity_flags {
    PARITY_HOOKS = 1,     /* adapters or trained weights on */
    PARITY_GRAD = 2,      /* backward too: gradients are added to the param sets of the hooks */
    PARITY_CHECKPOINT = 4 /* recompute blocks in the backward */
};

/* Runs forward, and backward with PARITY_GRAD. */
MUST_USE enum status parity_run(const struct model *m, struct ops_context *ops,
                                const struct parity_input *in, unsigned flags,
                                struct parity_output *out);
void parity_output_close(struct parity_output *out);

/* Worst errors so far, in the measures of the limits. */
struct parity_worst {
    double logits; /* max |a - b| */
    double logp;
    double loss;
    double d_embed; /* max |a - b| / max |b| */
    double grad;    /* likewise, worst over tensors */
    char grad_name[160];
};

/* Compares an output with golden logits, logprobs, loss, d_embed (those the file has; d_embed only
 * when it was computed). Fails with INPUT when a golden tensor has another shape. */
MUST_USE enum status parity_compare(const struct model *m, const struct parity_input *in,
                                    const struct parity_output *out,
                                    const struct safetensors *golden, struct parity_worst *worst);

/* Compares every parameter's gradient with golden `grad.<name>`. Fails with INPUT when a golden
 * gradient is missing or has no parameter. */
MUST_USE enum status parity_compare_grads(const struct param_set *params,
                                          const struct safetensors *golden,
                                          struct parity_worst *worst);
