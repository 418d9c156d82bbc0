/*
 * The GRPO objectives as functions of per-token log-probs (spec training.md 1.5): no model, no
 * tensors. One row is one completion; the caller supplies the weight that its loss type gives a
 * token (objective_token_weight), so batches, ranks and micro-batches never enter here.
 *
 * Sources: GRPO (Shao et al. 2024, arXiv 2402.03300), DAPO (Yu et al. 2025, 2503.14476), Dr. GRPO
 * (Liu et al. 2025, 2503.20783), GSPO's sequence ratio (Zheng et al. 2025, 2507.18071).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum loss_type { LOSS_GRPO, LOSS_BNPO, LOSS_DR_GRPO, LOSS_DAPO };
enum ratio_level { RATIO_TOKEN, RATIO_SEQUENCE };

struct objective_config {
    enum loss_type loss_type;
    enum ratio_level level;
    double epsilon_low;
    double epsilon_high;
    double delta;              /* two-sided clip (0: off) */
    double beta;               /* KL coefficient (0: no reference) */
    bool bias_correction_kl;   /* KL term times the differentiable ratio */
};

/* One completion of `count` tokens. */
struct objective_row {
    int64_t count;
    const float *logp; /* [count] current policy */
    const float *old;  /* [count] behaviour policy; NULL: on-policy, ratio exactly 1 */
    const float *ref;  /* [count] reference policy, read when beta > 0 */
    double advantage;
    double weight;     /* of each token, see objective_token_weight */
};

/* What a row adds to the loss and the metrics (plain sums over its tokens). */
struct objective_sums {
    double loss;      /* weight * sum of token losses */
    double kl;        /* sum of the KL estimate, after the ratio weight */
    double clip_low;  /* tokens with r < 1 - eps_low and A < 0 (rows when the ratio is the sequence's) */
    double clip_high; /* tokens with r > 1 + eps_high and A > 0 */
    double max_delta; /* largest |logp - old| */
};

/* dlogp[t] = d loss / d logp[t] (written) and the sums of one row. */
void objective_row(const struct objective_config *c, const struct objective_row *row, float *dlogp,
                   struct objective_sums *sums);

/* Numbers of the optimizer step that decide a token's weight. */
struct objective_scale {
    int64_t rows;             /* completions of the whole step, all virtual ranks */
    double round_tokens;      /* dapo: loss tokens of the round(s) of the step, at least 1 */
    double rounds;            /* dapo: gradient_accumulation / steps_per_generation */
    double micro_tokens;      /* bnpo: loss tokens of the row's micro-batch on its virtual rank */
    double micro_batches;     /* bnpo: world_size * gradient_accumulation */
    int64_t max_completion_length; /* dr_grpo */
};

/* Weight of each token of a row with `count` loss tokens, such that the sum over the step's rows of
 * weight * token loss is TRL's window loss averaged over ranks. */
double objective_token_weight(enum loss_type type, const struct objective_scale *s, int64_t count);
