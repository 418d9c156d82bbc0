/*
 * Kahneman-Tversky optimisation (Ethayarajh et al. 2024, arXiv 2402.01306) and APO-zero for
 * unpaired completions as functions of completion log-probs (spec training.md 4).
 */
#pragma once

#include <stdbool.h>

enum kto_loss { KTO_KTO, KTO_APO_ZERO_UNPAIRED };

struct kto_config {
    enum kto_loss loss;
    double beta;
    double desirable_weight;
    double undesirable_weight;
};

/* Loss of one completion with log-ratio x = policy - reference against the divergence z (kto alone
 * reads it), and its slope in x. */
double kto_row_loss(const struct kto_config *c, double x, double z, bool desirable, double *slope);
