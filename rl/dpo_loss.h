/*
 * Direct preference objectives as functions of completion log-probs (spec training.md 4): no model,
 * no tensors. A loss type is one row of the table in dpo_loss.c.
 *
 * Sources: DPO (Rafailov et al. 2023, arXiv 2305.18290), SLiC hinge (2305.10425), IPO (2310.12036),
 * EXO (2402.00856), NCA (2402.05369), robust DPO (2403.00409), BCO (2404.04656), SPPO (2405.00675),
 * AOT (2406.05882), APO (2408.06266), DiscoPOP (2406.08414), f-DPO (2309.16240), WPO (2406.11827),
 * LD-DPO (2409.06411), MPO's weighted lists (2411.10442).
 */
#pragma once

#include "kernels/base/status.h"

#include <stdbool.h>
#include <stdint.h>

enum dpo_loss {
    DPO_SIGMOID,
    DPO_HINGE,
    DPO_IPO,
    DPO_EXO_PAIR,
    DPO_NCA_PAIR,
    DPO_ROBUST,
    DPO_BCO_PAIR,
    DPO_SPPO_HARD,
    DPO_AOT,
    DPO_AOT_UNPAIRED,
    DPO_APO_ZERO,
    DPO_APO_DOWN,
    DPO_DISCOPOP,
    DPO_SFT,
    DPO_SIGMOID_NORM,
    DPO_LOSSES
};

/* f'(ratio) of the divergence from the reference, applied to log-ratios. */
enum dpo_divergence { DPO_REVERSE_KL, DPO_FORWARD_KL, DPO_JS, DPO_ALPHA };

enum { DPO_MAX_LOSSES = 8 };

struct dpo_config {
    enum dpo_loss losses[DPO_MAX_LOSSES]; /* summed with their weights */
    double weights[DPO_MAX_LOSSES];
    int count;
    double beta;
    double label_smoothing;
    enum dpo_divergence divergence;
    double alpha;        /* DPO_ALPHA: the coefficient */
    double ld_alpha;     /* weight of tokens beyond the shorter completion; NAN: 1 */
    bool use_weighting;  /* WPO */
    double discopop_tau;
};

/* Numbers of one pair. Log-probs are sums over completions, LD-weighted. */
struct dpo_pair {
    double chosen;
    double rejected;
    double ref_chosen;
    double ref_rejected;
    double chosen_tokens;
    double rejected_tokens;
    double chosen_plain;     /* sum of the chosen tokens' log-probs, not LD-weighted */
    double sft_scale;        /* sft: pairs of the micro-batch / their chosen tokens */
    double weight;           /* WPO's; 1 without */
    double ref_gap;          /* aot, from dpo_match: the reference's gap of this pair's rank */
    double rejected_partner; /* aot_unpaired: log-ratios of this pair's ranks */
    double chosen_partner;
};

/* Loss of a pair (its micro-batch's is the mean) and its slopes. */
struct dpo_terms {
    double loss;
    double d_chosen;       /* in dpo_pair.chosen */
    double d_rejected;
    double d_chosen_token; /* in every chosen token's log-prob, besides d_chosen */
};

/* Name of a loss type; NULL past the end. */
const char *dpo_loss_name(enum dpo_loss loss);

/* True when a loss needs the log-probs of its whole micro-batch first (dpo_match). */
bool dpo_needs_match(const struct dpo_config *c);

/* Settings that exclude each other: fails with RECIPE naming both keys and the rule. */
MUST_USE enum status dpo_check(const struct dpo_config *c);

/* Fills ref_gap and the partners of the pairs of one micro-batch on its virtual rank: sorted gaps
 * (or log-ratios) of policy and reference meet rank by rank. Fails with MEMORY. */
MUST_USE enum status dpo_match(struct dpo_pair *pairs, int64_t count);

/* Loss and slopes of one pair. */
struct dpo_terms dpo_pair_terms(const struct dpo_config *c, const struct dpo_pair *p);

/* Weight of token t (from 0) of a completion whose pair's shorter one has `shorter` tokens. */
double dpo_token_weight(const struct dpo_config *c, int64_t t, int64_t shorter);
