/* Schema rows of preference training (TRL DPOConfig, KTOConfig,
 * RewardConfig, GKDConfig); see schema_internal.h. */
#include "recipes/schema_internal.h"
#include "rl/dpo_loss.h"

static const struct recipe_choice DIVERGENCES[] = {{"reverse_kl", DPO_REVERSE_KL, 0},
                                                   {"forward_kl", DPO_FORWARD_KL, 0},
                                                   {"js_divergence", DPO_JS, 0},
                                                   {"alpha_divergence", DPO_ALPHA, 0},
                                                   {NULL, 0, 0}};

static const struct recipe_field ROWS[] = {
    {"dpo_loss_type", NULL, FIELD_STRINGS, 0, AT(dpo_loss_type), "sigmoid", NULL, 0, 0, NULL,
     RECIPE_DPO, "dpo",
     "written loss_type; losses that are summed: sigmoid, hinge, ipo, exo_pair, nca_pair, robust, bco_pair, sppo_hard, "
     "aot, aot_unpaired, apo_zero, apo_down, discopop, sft, sigmoid_norm"},
    {"loss_weights", NULL, FIELD_FLOATS, 0, AT(loss_weights), "null", NULL, -1e6, 1e6, NULL,
     RECIPE_DPO, "dpo", "one weight per loss; null: all 1"},
    {"label_smoothing", NULL, FIELD_FLOAT, FIELD_OPEN_HIGH, AT(label_smoothing), "0", NULL, 0, 1,
     NULL, RECIPE_DPO, "dpo", "probability that a label is wrong (exo_pair, robust, aot)"},
    {"f_divergence_type", NULL, FIELD_CHOICE, 0, AT(f_divergence_type), "reverse_kl", NULL, 0, 0,
     DIVERGENCES, RECIPE_DPO, "dpo", "divergence from the reference"},
    {"f_alpha_divergence_coef", NULL, FIELD_FLOAT, 0, AT(f_alpha_divergence_coef), "0.5", NULL,
     -1e3, 1e3, NULL, RECIPE_DPO, "dpo", "alpha of alpha_divergence"},
    {"ld_alpha", NULL, FIELD_FLOAT, FIELD_NULLABLE, AT(ld_alpha), "null", NULL, 0, 1, NULL,
     RECIPE_DPO, "dpo", "weight of tokens beyond the shorter completion; null: 1"},
    {"use_weighting", NULL, FIELD_BOOL, 0, AT(use_weighting), "false", NULL, 0, 0, NULL, RECIPE_DPO,
     "dpo", "weigh pairs by how likely the policy finds them (WPO)"},
    {"discopop_tau", NULL, FIELD_FLOAT, FIELD_OPEN_LOW, AT(discopop_tau), "0.05", NULL, 0, 1e6,
     NULL, RECIPE_DPO, "dpo", "temperature of discopop"},
    {"precompute_ref_log_probs", NULL, FIELD_BOOL, FIELD_FREE, AT(precompute_ref_log_probs),
     "false", NULL, 0, 0, NULL, RECIPE_DPO | RECIPE_KTO, "dpo",
     "score the reference once, before training"},

    {"desirable_weight", NULL, FIELD_FLOAT, 0, AT(desirable_weight), "1", NULL, 0, 1e6, NULL,
     RECIPE_KTO, "kto", "weight of the losses of desirable completions"},
    {"undesirable_weight", NULL, FIELD_FLOAT, 0, AT(undesirable_weight), "1", NULL, 0, 1e6, NULL,
     RECIPE_KTO, "kto", "weight of the losses of the others"},

    {"center_rewards_coefficient", NULL, FIELD_FLOAT, FIELD_NULLABLE,
     AT(center_rewards_coefficient), "null", NULL, 0, 1e6, NULL, RECIPE_REWARD_MODEL,
     "reward-model", "weight of the squared sum of a pair's scores; null: none"},

    {"teacher_model_name_or_path", NULL, FIELD_STRING, 0, AT(teacher_model_name_or_path), "null",
     NULL, 0, 0, NULL, RECIPE_DISTILL, "distill",
     "the teacher: a GGUF file or a model folder, of the student's vocabulary"},
    {"lmbda", NULL, FIELD_FLOAT, 0, AT(lmbda), "0.5", NULL, 0, 1, NULL, RECIPE_DISTILL, "distill",
     "share of micro-steps whose completions the student samples"},
    {"seq_kd", NULL, FIELD_BOOL, 0, AT(seq_kd), "false", NULL, 0, 0, NULL, RECIPE_DISTILL,
     "distill", "the teacher samples those of the other micro-steps; false: the dataset has them"},
};

const struct recipe_rows SCHEMA_DPO = {ROWS, sizeof ROWS / sizeof *ROWS};
