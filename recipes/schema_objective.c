/*
 * Which options of the objective fit together (spec training.md 1.2, 1.5). A pair that would be
 * silently without effect is refused: both keys and the rule are named.
 */
#include "recipes/schema_internal.h"
#include <string.h>

#include "recipes/build.h"
#include "rl/advantage.h"
#include "rl/correction.h"
#include "rl/kto_loss.h"
#include "rl/objective.h"

bool recipe_rolls_out(const struct recipe *r)
{
    return r->method == RECIPE_GRPO || r->method == RECIPE_RLOO;
}

enum status schema_check_loss(const struct recipe *r)
{
    const bool kto = r->loss_type >= KTO_LOSS_FIRST;
    const bool sft = r->loss_type >= SFT_LOSS_NLL && !kto;
    if (r->method == RECIPE_KTO && !kto) {
        return FAIL(RECIPE, "recipe: loss_type in kto is kto or apo_zero_unpaired");
    }
    if (r->method == RECIPE_SFT && !sft) {
        return FAIL(RECIPE, "recipe: loss_type in sft is nll or dft");
    }
    if (r->method == RECIPE_GRPO && (sft || kto || r->loss_type == LOSS_RLOO)) {
        return FAIL(RECIPE, "recipe: loss_type in grpo is dapo, grpo, bnpo, dr_grpo, cispo, sapo, "
                            "vespo or luspo");
    }
    if (r->method == RECIPE_RLOO && r->loss_type != LOSS_RLOO) {
        return FAIL(RECIPE, "recipe: loss_type in rloo is rloo; the others are graft grpo's");
    }
    return STATUS_OK;
}

bool recipe_takes_loss(const struct recipe *r)
{
    struct dpo_config listed;
    const bool takes = r->method == RECIPE_DPO ? recipe_dpo(r, &listed) == STATUS_OK
                                               : schema_check_loss(r) == STATUS_OK;
    if (!takes) {
        status_clear();
    }
    return takes;
}

/* A key that something else leaves without effect: refused unless it has its default (a resolved
 * recipe holds every key). */
struct rule {
    const char *key;
    bool changed;
    bool read;
    const char *why;
};

static enum status check_rules(const struct rule *rules, size_t count, const char *other)
{
    for (size_t i = 0; i < count; i++) {
        if (rules[i].changed && !rules[i].read) {
            return FAIL(RECIPE, "recipe: %s and %s: %s; leave it out", rules[i].key, other,
                        rules[i].why);
        }
    }
    return STATUS_OK;
}

/* Options of one loss type that another one doesn't read. */
static enum status check_unread(const struct recipe *r)
{
    const struct loss_kind *kind = objective_kind((enum loss_type)r->loss_type);
    const bool sapo = r->loss_type == LOSS_SAPO;
    const bool vespo = r->loss_type == LOSS_VESPO;
    char other[64];
    const struct rule rules[] = {
        {"delta", !isnan(r->delta), kind->clips, "it has no clipped term for it"},
        {"sapo_temperature_pos", r->sapo_temperature_pos != 1, sapo, "sapo reads it"},
        {"sapo_temperature_neg", r->sapo_temperature_neg != 1.05, sapo, "sapo reads it"},
        {"vespo_k_pos", r->vespo_k_pos != 2, vespo, "vespo reads it"},
        {"vespo_lambda_pos", r->vespo_lambda_pos != 3, vespo, "vespo reads it"},
        {"vespo_k_neg", r->vespo_k_neg != 3, vespo, "vespo reads it"},
        {"vespo_lambda_neg", r->vespo_lambda_neg != 2, vespo, "vespo reads it"},
    };
    (void)snprintf(other, sizeof other, "loss_type: %s", kind->name);
    return check_rules(rules, sizeof rules / sizeof *rules, other);
}

static enum status check_entropy(const struct recipe *r)
{
    const bool adaptive = r->use_adaptive_entropy;
    const char *why = "only the adaptive bonus reads it";
    const struct rule rules[] = {
        {"entropy_coef_min", r->entropy_coef_min != 0, adaptive, why},
        {"entropy_coef_max", r->entropy_coef_max != 1, adaptive, why},
        {"entropy_coef_delta", r->entropy_coef_delta != 0.005, adaptive, why},
        {"entropy_target", r->entropy_target != 0.2, adaptive, why},
    };
    if (r->entropy_coef_min > r->entropy_coef_max) {
        return FAIL(RECIPE, "recipe: entropy_coef_min %g is over entropy_coef_max %g",
                    r->entropy_coef_min, r->entropy_coef_max);
    }
    return check_rules(rules, sizeof rules / sizeof *rules, "use_adaptive_entropy: false");
}

static enum status check_reference(const struct recipe *r)
{
    const bool sync = r->sync_ref_model;
    const char *why = "only a reference that moves reads it";
    const struct rule rules[] = {
        {"ref_model_mixup_alpha", r->ref_model_mixup_alpha != 0.6, sync, why},
        {"ref_model_sync_steps", r->ref_model_sync_steps != 512, sync, why},
    };
    if (!sync) {
        return check_rules(rules, sizeof rules / sizeof *rules, "sync_ref_model: false");
    }
    if (r->use_peft || r->adapter_name_or_path) {
        return FAIL(RECIPE, "recipe: sync_ref_model and use_peft exclude each other: an adapter's "
                            "reference is the base, which never moves");
    }
    if (r->beta == 0) {
        return FAIL(RECIPE, "recipe: sync_ref_model and beta: 0 exclude each other: without the KL "
                            "term there is no reference; set beta above 0");
    }
    return STATUS_OK;
}

/* Keys of grpo's losses that RLOO's one loss doesn't have (TRL's RLOOConfig has no such key). */
static enum status check_rloo(const struct recipe *r)
{
    const char *why = "it belongs to grpo's losses";
    const struct rule rules[] = {
        {"importance_sampling_level", r->importance_sampling_level != RATIO_TOKEN, false, why},
        {"async_rounds", r->async_rounds != 0, false, why},
        {"delta", !isnan(r->delta), false, why},
        {"scale_rewards", r->scale_rewards != SCALE_GROUP, false, why},
        {"multi_objective_aggregation", r->multi_objective_aggregation != SUM_THEN_NORMALIZE, false,
         why},
        {"use_bias_correction_kl", !r->use_bias_correction_kl, false, why},
        {"entropy_coef", r->entropy_coef != 0, false, why},
        {"use_adaptive_entropy", r->use_adaptive_entropy, false, why},
        {"top_entropy_quantile", r->top_entropy_quantile != 1, false, why},
        {"off_policy_mask_threshold", !isnan(r->off_policy_mask_threshold), false, why},
    };
    TRY(check_rules(rules, sizeof rules / sizeof *rules, "rloo"));
    const struct float_list *range = &r->reward_clip_range;
    if (range->count != 0 && (range->count != 2 || range->items[0] > range->items[1])) {
        return FAIL(RECIPE, "recipe: reward_clip_range is [low, high]");
    }
    return STATUS_OK;
}

/* Bounds of the sampler's correction: they enclose something, and a mode that moves to them has
 * one. */
static enum status check_correction(const struct recipe *r)
{
    const double low = r->sampling_correction_min;
    const double high = r->sampling_correction_max;
    const int mode = r->sampling_correction_mode;
    const bool moves = mode == CORRECTION_TOKEN_TRUNCATE || mode == CORRECTION_SEQUENCE_TRUNCATE;
    if (low >= high) {
        return FAIL(RECIPE, "recipe: sampling_correction_min %g is not below sampling_correction_max "
                            "%g (vllm_importance_sampling_clip_min, _clip_max): no weight lies "
                            "between", low, high);
    }
    if (r->sampling_correction && moves && isnan(low) && isnan(high)) {
        return FAIL(RECIPE, "recipe: sampling_correction_mode: %s needs sampling_correction_min or "
                            "sampling_correction_max: it moves weights to these bounds",
                    mode == CORRECTION_TOKEN_TRUNCATE ? "token_truncate" : "sequence_truncate");
    }
    return STATUS_OK;
}

/* What an older policy's completions need. */
static enum status check_async(const struct recipe *r)
{
    const struct correction_config c = {.mode =
                                            (enum correction_mode)r->sampling_correction_mode};
    TRY(check_correction(r));
    if (r->async_rounds == 0) {
        return STATUS_OK;
    }
    if (r->dynamic_sampling) {
        return FAIL(RECIPE, "recipe: async_rounds and dynamic_sampling exclude each other: which "
                            "groups are flat is known only after the round's judges, when the next "
                            "policy is there; set async_rounds: 0");
    }
    if (r->loss_type == LOSS_VESPO && r->sampling_correction && correction_of_rows(c.mode)) {
        return FAIL(RECIPE, "recipe: loss_type: vespo and async_rounds with a "
                            "sampling_correction_mode of sequences exclude each other: this loss "
                            "weighs sequences by itself; set sampling_correction_mode: "
                            "token_truncate");
    }
    return STATUS_OK;
}

/* Pairs that TRL takes with a warning. */
static enum status note_level(struct recipe *r)
{
    const enum loss_type type = (enum loss_type)r->loss_type;
    const bool sequence = r->importance_sampling_level == RATIO_SEQUENCE;
    const bool sums = type == LOSS_BNPO || type == LOSS_DR_GRPO || type == LOSS_DAPO ||
                      type == LOSS_CISPO;
    if (type == LOSS_LUSPO && !sequence) {
        return schema_note(r, "recipe: loss_type: luspo is meant for importance_sampling_level: "
                              "sequence");
    }
    return sequence && sums
               ? schema_note(r, "recipe: importance_sampling_level: sequence with loss_type: %s "
                                "weighs completions by their length; GSPO has loss_type: grpo",
                             objective_kind(type)->name)
               : STATUS_OK;
}

enum status schema_check_objective(struct recipe *r)
{
    const enum loss_type type = (enum loss_type)r->loss_type;
    TRY(check_reference(r));
    if (r->method == RECIPE_RLOO) {
        return check_rloo(r);
    }
    TRY(check_async(r));
    TRY(check_unread(r));
    if (objective_kind(type)->row_weight && r->importance_sampling_level != RATIO_TOKEN) {
        return FAIL(RECIPE, "recipe: importance_sampling_level: sequence and loss_type: %s exclude "
                            "each other: this loss weighs whole sequences by itself",
                    objective_kind(type)->name);
    }
    TRY(note_level(r));
    return check_entropy(r);
}

static enum status check_kto(const struct recipe *r)
{
    if (r->loss_type != KTO_LOSS_FIRST + KTO_KTO) {
        return STATUS_OK;
    }
    if (r->train_sampling_strategy != SAMPLING_SEQUENTIAL) {
        return FAIL(RECIPE, "recipe: loss_type: kto and train_sampling_strategy: random exclude "
                            "each other: a row's neighbours in the data give the divergence; use "
                            "sequential, or loss_type: apo_zero_unpaired");
    }
    if (r->per_device_train_batch_size < 2) {
        return FAIL(RECIPE, "recipe: loss_type: kto needs per_device_train_batch_size above 1: the "
                            "divergence comes from completions of other rows of the batch");
    }
    return STATUS_OK;
}

/* Options of one of dpo's losses or divergences that the recipe's don't have. */
static enum status check_dpo_unread(struct recipe *r, const struct dpo_config *c)
{
    const struct rule rules[] = {
        {"f_alpha_divergence_coef", r->f_alpha_divergence_coef != 0.5,
         r->f_divergence_type == DPO_ALPHA, "alpha_divergence reads it"},
    };
    bool discopop = false;
    bool smooths = false;
    for (int i = 0; i < c->count; i++) {
        const enum dpo_loss loss = c->losses[i];
        discopop |= loss == DPO_DISCOPOP;
        smooths |= loss == DPO_EXO_PAIR || loss == DPO_ROBUST || loss == DPO_AOT ||
                   loss == DPO_AOT_UNPAIRED;
    }
    if (r->discopop_tau != 0.05 && !discopop) {
        return FAIL(RECIPE, "recipe: discopop_tau and loss_type without discopop: discopop reads it; "
                            "leave it out");
    }
    if (r->label_smoothing != 0 && !smooths) {
        TRY(schema_note(r, "recipe: label_smoothing has no effect with this loss_type (TRL 0.18 "
                           "smoothed sigmoid); exo_pair, robust, aot and aot_unpaired read it"));
    }
    return check_rules(rules, sizeof rules / sizeof *rules, "f_divergence_type");
}

enum status schema_check_preference(struct recipe *r)
{
    struct dpo_config config;
    if (r->beta <= 0) {
        return FAIL(RECIPE, "recipe: beta is above 0 in %s: it weighs the reference",
                    recipe_method_name(r->method));
    }
    TRY(check_reference(r));
    if (r->sync_ref_model && r->precompute_ref_log_probs) {
        return FAIL(RECIPE, "recipe: sync_ref_model and precompute_ref_log_probs exclude each "
                            "other: a reference that moves cannot be scored once");
    }
    if (r->method == RECIPE_KTO) {
        return check_kto(r);
    }
    if (r->padding_free) {
        TRY(schema_note(r, "recipe: padding_free has no effect in dpo: rows are never padded"));
    }
    TRY(recipe_dpo(r, &config));
    TRY(status_prefix(dpo_check(&config), "recipe: "));
    return check_dpo_unread(r, &config);
}
