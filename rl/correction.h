/*
 * Correction for a sampler that is not the policy (spec training.md 1.5): importance ratios
 * exp(old - sampling) per token or per row, bounded by clipping or by dropping. Graft's own sampler
 * is the policy bit for bit, its ratio is exactly 1 and nothing here runs; it serves foreign
 * samplers (completion_source.foreign) and rounds that an older policy drew (async_rounds).
 * Truncated importance sampling: Yao et al. 2025.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum correction_mode {
    CORRECTION_TOKEN_TRUNCATE,
    CORRECTION_TOKEN_MASK,
    CORRECTION_SEQUENCE_TRUNCATE,
    CORRECTION_SEQUENCE_MASK
};

struct correction_config {
    bool on;
    enum correction_mode mode;
    double clip_min; /* NAN: none */
    double clip_max; /* NAN: none */
};

/* Metrics of many rows: differences |old - sampling| over scored tokens, ratios over tokens (over
 * rows in the sequence modes) after the bounds. Start from zeros. */
struct correction_sums {
    double difference;
    double difference_max;
    double scored;
    double ratio;
    double ratio_min;
    double ratio_max;
    double ratios;
};

/* ratio[t] of a row of `count` loss tokens; a NaN in `sampling` counts as no difference. Row modes
 * write the one ratio everywhere. *sums grows. */
void correction_row(const struct correction_config *c, const float *old, const float *sampling,
                    int64_t count, float *ratio, struct correction_sums *sums);

/* Adds the sums of other rows. */
void correction_add(struct correction_sums *to, const struct correction_sums *from);

/* True when one ratio stands for a whole row. */
bool correction_of_rows(enum correction_mode mode);
