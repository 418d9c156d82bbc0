/* Schema rows of the objective, GRPO's batches and sampling (TRL GRPOConfig); see
 * schema_internal.h. */
#include "recipes/schema_internal.h"
#include "rl/advantage.h"
#include "rl/kto_loss.h"
#include "rl/objective.h"

static const struct recipe_choice LOSSES[] = {
    {"nll", SFT_LOSS_NLL, RECIPE_SFT}, {"chunked_nll", SFT_LOSS_NLL, RECIPE_SFT},
    {"dft", SFT_LOSS_DFT, RECIPE_SFT},
    {"dapo", LOSS_DAPO, RECIPE_GRPO}, {"grpo", LOSS_GRPO, RECIPE_GRPO},
    {"bnpo", LOSS_BNPO, RECIPE_GRPO}, {"dr_grpo", LOSS_DR_GRPO, RECIPE_GRPO},
    {"cispo", LOSS_CISPO, RECIPE_GRPO}, {"sapo", LOSS_SAPO, RECIPE_GRPO},
    {"vespo", LOSS_VESPO, RECIPE_GRPO}, {"luspo", LOSS_LUSPO, RECIPE_GRPO},
    {"rloo", LOSS_RLOO, RECIPE_RLOO}, {"kto", KTO_LOSS_FIRST + KTO_KTO, RECIPE_KTO},
    {"apo_zero_unpaired", KTO_LOSS_FIRST + KTO_APO_ZERO_UNPAIRED, RECIPE_KTO}, {NULL, 0, 0}};
static const struct recipe_choice LEVELS[] = {
    {"token", RATIO_TOKEN, 0}, {"sequence", RATIO_SEQUENCE, 0}, {NULL, 0, 0}};
static const struct recipe_choice SCALES[] = {
    {"group", SCALE_GROUP, 0}, {"batch", SCALE_BATCH, 0}, {"none", SCALE_NONE, 0},
    {"true", SCALE_GROUP, 0}, {"false", SCALE_NONE, 0}, {NULL, 0, 0}};
static const struct recipe_choice AGGREGATIONS[] = {
    {"sum_then_normalize", SUM_THEN_NORMALIZE, 0}, {"normalize_then_sum", NORMALIZE_THEN_SUM, 0},
    {NULL, 0, 0}};

static const struct recipe_field ROWS[] = {
    /* grpo */
    {"loss_type", NULL, FIELD_CHOICE, 0, AT(loss_type), "nll", "dapo", 0, 0, LOSSES,
     RECIPE_SFT | RECIPE_GRPO | RECIPE_KTO, "loss",
     "the objective; a list in dpo, see dpo_loss_type"},
    {"num_generations", NULL, FIELD_INT, 0, AT(num_generations), "8", NULL, 1, 1 << 16, NULL,
     RECIPE_GRPO, "grpo", "completions per prompt: the group (generate: samples per prompt)"},
    {"num_generations_eval", NULL, FIELD_INT, FIELD_NULLABLE | FIELD_FREE, AT(num_generations_eval),
     "null", NULL, 1, 1 << 16, NULL, RECIPE_GRPO, "grpo",
     "completions per evaluation prompt; null: num_generations"},
    {"max_completion_length", "max_new_tokens", FIELD_INT, 0, AT(max_completion_length), "512",
     NULL, 1, 1 << 24, NULL, RECIPE_GRPO | RECIPE_DISTILL, "grpo", "most tokens of a completion"},
    {"generation_batch_size", NULL, FIELD_INT, FIELD_NULLABLE | FIELD_FOLLOWS,
     AT(generation_batch_size), "null", NULL, 1, MANY, NULL, RECIPE_GRPO, "grpo",
     "completions of a round, all ranks; this or steps_per_generation"},
    {"steps_per_generation", NULL, FIELD_INT, FIELD_NULLABLE, AT(steps_per_generation), "null",
     NULL, 1, 1 << 20, NULL, RECIPE_GRPO, "grpo",
     "batches a round is cut into; null: gradient_accumulation_steps"},
    {"num_iterations", NULL, FIELD_INT, 0, AT(num_iterations), "1", NULL, 1, 1 << 16, NULL,
     RECIPE_GRPO, "grpo", "times a round is trained on (mu)"},
    {"beta", NULL, FIELD_FLOAT, 0, AT(beta), "0", NULL, 0, 1e6, NULL,
     RECIPE_GRPO | RECIPE_DPO | RECIPE_KTO | RECIPE_DISTILL, "grpo",
     "weight of the KL term; 0: no reference model (dpo, kto: how far the policy may go; distill: 0 "
     "KL from the teacher, 1 to it, between: Jensen-Shannon)"},
    {"epsilon", NULL, FIELD_FLOAT, 0, AT(epsilon), "0.2", NULL, 0, 1e6, NULL, RECIPE_GRPO, "grpo",
     "clipping below 1"},
    {"epsilon_high", NULL, FIELD_FLOAT, FIELD_NULLABLE, AT(epsilon_high), "null", NULL, 0, 1e6,
     NULL, RECIPE_GRPO, "grpo", "clipping above 1; null: epsilon. cispo: the cap itself"},
    {"delta", NULL, FIELD_FLOAT, FIELD_NULLABLE, AT(delta), "null", NULL, 0, 1e6, NULL, RECIPE_GRPO,
     "grpo", "upper bound of the ratio in the unclipped term; null: none"},
    {"importance_sampling_level", NULL, FIELD_CHOICE, 0, AT(importance_sampling_level), "token",
     NULL, 0, 0, LEVELS, RECIPE_GRPO, "grpo", "ratio per token, or per sequence (GSPO)"},
    {"scale_rewards", NULL, FIELD_CHOICE, 0, AT(scale_rewards), "group", NULL, 0, 0, SCALES,
     RECIPE_GRPO, "grpo", "divide advantages by the group's or batch's deviation"},
    {"multi_objective_aggregation", NULL, FIELD_CHOICE, 0, AT(multi_objective_aggregation),
     "sum_then_normalize", NULL, 0, 0, AGGREGATIONS, RECIPE_GRPO, "grpo",
     "how several rewards become one advantage"},
    {"mask_truncated_completions", NULL, FIELD_BOOL, 0, AT(mask_truncated_completions), "false",
     NULL, 0, 0, NULL, RECIPE_GRPO, "grpo", "no loss on completions that were cut off"},
    {"use_bias_correction_kl", NULL, FIELD_BOOL, 0, AT(use_bias_correction_kl), "true", NULL, 0, 0,
     NULL, RECIPE_GRPO, "grpo", "multiply the KL term by the ratio"},

    {"dynamic_sampling", NULL, FIELD_BOOL, 0, AT(dynamic_sampling), "false", NULL, 0, 0, NULL,
     RECIPE_GRPO, "grpo", "replace groups of equal rewards by fresh prompts (DAPO)"},
    {"dynamic_sampling_waves", NULL, FIELD_INT, 0, AT(dynamic_sampling_waves), "3", NULL, 1, 64,
     NULL, RECIPE_GRPO, "grpo", "most times that a round's groups are replaced"},
    {"async_rounds", NULL, FIELD_INT, 0, AT(async_rounds), "0", NULL, 0, 1, NULL, RECIPE_GRPO,
     "grpo", "1: a round is drawn one round ahead, by the adapter before the update, while the "
     "judges of the round before it work"},

    /* sampling */
    {"temperature", NULL, FIELD_FLOAT, 0, AT(temperature), "1", NULL, 0, 1e3, NULL,
     RECIPE_GRPO | RECIPE_DISTILL, "sampling",
     "divides the logits, in training too (not in distill); 0: greedy (generate alone)"},
    {"top_p", NULL, FIELD_FLOAT, FIELD_OPEN_LOW, AT(top_p), "1", NULL, 0, 1, NULL, RECIPE_GRPO,
     "sampling", "smallest set of tokens with this much probability; 1: off"},
    {"top_k", NULL, FIELD_INT, FIELD_NULLABLE, AT(top_k), "0", NULL, 0, 1 << 24, NULL, RECIPE_GRPO,
     "sampling", "the k likeliest tokens; 0 or null: off"},
    {"min_p", NULL, FIELD_FLOAT, FIELD_NULLABLE, AT(min_p), "null", NULL, 0, 1, NULL, RECIPE_GRPO,
     "sampling", "drop tokens below this share of the likeliest; null: off"},
    {"repetition_penalty", NULL, FIELD_FLOAT, FIELD_OPEN_LOW, AT(repetition_penalty), "1", NULL, 0,
     1e3, NULL, RECIPE_GRPO, "sampling", "divides (below 0: multiplies) logits of tokens that were "
     "there before, prompt included; 1: off"},
    {"stop_strings", "stop", FIELD_STRINGS, 0, AT(stop_strings), "null", NULL, 0, 0, NULL,
     RECIPE_GRPO, "sampling", "texts that end a completion, wherever token borders lie"},
    {"structured_outputs_regex",
     "vllm_structured_outputs_regex vllm_guided_decoding_regex guided_decoding_regex", FIELD_STRING,
     FIELD_NULLABLE, AT(structured_outputs_regex), "null", NULL, 0, 0, NULL, RECIPE_GRPO, "sampling",
     "regular expression that a whole completion matches"},
    {"generation_kwargs", NULL, FIELD_DICT, 0, AT(generation_kwargs), "null", NULL, 0, 0, NULL,
     RECIPE_GRPO, "sampling", "top_k, top_p, min_p, repetition_penalty, presence_penalty, "
     "frequency_penalty, min_new_tokens, suppress_tokens, stop_token_ids, stop_strings; over the keys"},
};

const struct recipe_rows SCHEMA_RL = {ROWS, sizeof ROWS / sizeof *ROWS};
