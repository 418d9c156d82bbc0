/*
 * A token batch: packed rows of tokens without padding, each with position, sequence (attention
 * tree branch), unit of work, and adapter slot.
 */
#pragma once

#include "kernels/ops.h"

struct batch {
    int64_t tokens;             /* T */
    const int32_t *ids;         /* [T] */
    const int32_t *position[3]; /* [T]; text: the three are the same pointer (t, h, w of mrope) */
    const int32_t *adapter_slot; /* [T], NULL: all slot 0 */
    const float *embeddings;    /* [T, hidden] override, NULL: none (vision, audio, soft prompts) */
    const uint8_t *override;    /* [T] nonzero: take embeddings[t] instead of the token's */
    const struct attn_seq *seqs; /* queries and key rows; they cover the T rows */
    int64_t n_seq;
    const int64_t *unit_begin;  /* [units + 1]; NULL in rollout */
    int64_t units;
    const int32_t *out_rows;    /* [n_out] rows whose next-token distribution is needed; grouped by unit,
                                   a row may repeat (the last prompt token of a tree predicts the
                                   first token of every branch) */
    const int32_t *targets;     /* [n_out] next token of each, -1: none */
    int64_t n_out;
    const int32_t *expand; /* [n_wanted] output of each wanted log-prob: equal ones are computed
                              once; NULL: they are the outputs */
    const int32_t *wanted_targets; /* [n_wanted] */
    int64_t n_wanted;
    struct kv_cache *cache;     /* rollout: K and V go here; NULL: they live in the step arena */
    const int32_t *cache_rows;  /* [T] row of the cache for each token's K and V */
};
