/*
 * The policy objectives as functions of per-token log-probs and entropies (spec training.md 1.5,
 * 4): no model, no tensors. One row is one completion; the caller supplies the weight that its loss
 * type gives a token (objective_token_weight), so batches, ranks and micro-batches never enter
 * here. A loss type is one row of the table in objective.c: name, normaliser, flags, token
 * function.
 *
 * Sources: GRPO (Shao et al. 2024, arXiv 2402.03300), DAPO (Yu et al. 2025, 2503.14476), Dr. GRPO
 * (Liu et al. 2025, 2503.20783), GSPO's sequence ratio (Zheng et al. 2025, 2507.18071), CISPO
 * (MiniMax-M1, 2506.13585), SAPO (2511.20347), VESPO, LUSPO, RLOO (Ahmadian et al. 2024,
 * 2402.14740); entropy mask (Wang et al. 2025, 2506.01939); off-policy mask (DeepSeek-V3.2).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum loss_type {
    LOSS_GRPO,
    LOSS_BNPO,
    LOSS_DR_GRPO,
    LOSS_DAPO,
    LOSS_CISPO,
    LOSS_SAPO,
    LOSS_VESPO,
    LOSS_LUSPO,
    LOSS_RLOO,
    LOSS_TYPES
};

/* What the ratio r is: exp(d_t), exp(mean d) or exp(sum d), d = logp - old. The last is RLOO's. */
enum ratio_level { RATIO_TOKEN, RATIO_SEQUENCE, RATIO_SUM };

struct objective_config {
    enum loss_type loss_type;
    enum ratio_level level;
    double epsilon_low;
    double epsilon_high;       /* cispo: the cap itself */
    double delta;              /* two-sided clip (0: off) */
    double beta;               /* KL coefficient (0: no reference) */
    bool bias_correction_kl;   /* KL term times the differentiable ratio */
    bool off_policy_mask;      /* drop rows with A < 0 whose mean (sampling - logp) is over ... */
    double off_policy_threshold;
    double sapo_temperature_pos;
    double sapo_temperature_neg;
    double vespo_k_pos;
    double vespo_lambda_pos;
    double vespo_k_neg;
    double vespo_lambda_neg;
};

/* One completion of `count` tokens. */
struct objective_row {
    int64_t count;
    const float *logp;       /* [count] current policy */
    const float *old;        /* [count] behaviour policy; NULL: on-policy, ratio exactly 1 */
    const float *ref;        /* [count] reference policy, read when beta > 0 */
    const float *sampling;   /* [count] the sampler's own, NaN: unknown; NULL: old */
    const float *entropy;    /* [count] read when floor or bonus is given */
    const float *correction; /* [count] sampler importance ratios (correction.h); NULL: 1 */
    double advantage;
    double weight;           /* of each token, see objective_token_weight */
    double entropy_floor;    /* tokens with less entropy are left out; <= 0: none is */
    double entropy_bonus;    /* the loss falls by this times a kept token's entropy; 0: no bonus */
};

/* What a row adds to the loss and the metrics (plain sums over its tokens). */
struct objective_sums {
    double loss;      /* policy and KL terms minus the bonus */
    double policy;    /* weight * sum of token losses, without the bonus */
    double kl;        /* sum of the KL estimate, after the ratio weight */
    double entropy;   /* of kept tokens, when row.entropy is given */
    double kept;      /* tokens at or above the floor */
    double clip_low; /* tokens with r < 1 - eps_low and A < 0 (1 a row when the ratio is a row's) */
    double clip_high; /* tokens with r > 1 + eps_high (cispo: eps_high) and A > 0 */
    double phi;       /* vespo: the row's weight */
    double max_delta; /* largest |logp - old| */
};

/* dlogp[t] = d loss / d logp[t], dentropy[t] = d loss / d entropy[t] (both written; dentropy may be
 * NULL when there is no bonus) and the sums of one row. */
void objective_row(const struct objective_config *c, const struct objective_row *row, float *dlogp,
                   float *dentropy, struct objective_sums *sums);

/* How a loss type weighs its tokens. */
enum loss_normalizer {
    NORM_ROW_MEAN,  /* mean over the tokens of a row, then over rows */
    NORM_MICRO,     /* mean over the tokens of a micro-batch on its rank */
    NORM_LENGTH,    /* rows x max_completion_length */
    NORM_ROUND,     /* tokens of the round */
    NORM_ROW_SUM    /* sum over a row, mean over rows */
};

/* The public half of a loss type's row in the table. */
struct loss_kind {
    const char *name;
    enum loss_normalizer normalizer;
    bool clips;       /* clipped surrogate: delta applies, clip_ratio metrics */
    bool row_weight;  /* its weight is a sequence's by itself: level must be token (vespo) */
};

/* Row of a loss type. */
const struct loss_kind *objective_kind(enum loss_type type);

/* Numbers of the optimizer step that decide a token's weight. */
struct objective_scale {
    int64_t rows;             /* completions of the whole step, all virtual ranks */
    double round_tokens;      /* NORM_ROUND: loss tokens of the round(s) of the step, at least 1 */
    double rounds;            /* NORM_ROUND: gradient_accumulation / steps_per_generation */
    double micro_tokens; /* NORM_MICRO: loss tokens of the row's micro-batch on its virtual rank */
    double micro_batches;     /* NORM_MICRO: world_size * gradient_accumulation */
    int64_t max_completion_length; /* NORM_LENGTH */
};

/* Weight of each token of a row with `count` loss tokens, such that the sum over the step's rows of
 * weight * token loss is TRL's window loss averaged over ranks. */
double objective_token_weight(enum loss_type type, const struct objective_scale *s, int64_t count);

/* The entropy below which a token is not among the `share` most uncertain of a micro-step: torch's
 * linear quantile 1 - share in float32 of entropies [count], which are sorted in place. 0 when
 * there is none. */
double objective_entropy_floor(float *entropies, int64_t count, double share);
