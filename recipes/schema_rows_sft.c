/* Schema rows of supervised fine-tuning (TRL SFTConfig); see schema_internal.h. */
#include "recipes/schema_internal.h"
#include "trainer/data/packing.h"

static const struct recipe_choice PACKINGS[] = {{"bfd", PACKING_BFD, 0},
                                                {"bfd_split", PACKING_BFD_SPLIT, 0},
                                                {"bfd-requeue", PACKING_BFD_SPLIT, 0},
                                                {"wrapped", PACKING_WRAPPED, 0},
                                                {NULL, 0, 0}};
static const struct recipe_choice TRUNCATIONS[] = {
    {"keep_start", TRUNCATION_KEEP_START, 0}, {"keep_end", TRUNCATION_KEEP_END, 0}, {NULL, 0, 0}};
static const struct recipe_choice TRISTATES[] = {
    {"auto", TRISTATE_AUTO, 0}, {"true", TRISTATE_TRUE, 0}, {"false", TRISTATE_FALSE, 0},
    {"null", TRISTATE_AUTO, 0}, {"none", TRISTATE_AUTO, 0}, {NULL, 0, 0}};

static const struct recipe_field ROWS[] = {
    /* sft */
    {"max_length", "max_seq_length max_seq_len", FIELD_INT, FIELD_NULLABLE, AT(max_length), "1024",
     NULL, 0, 1 << 24, NULL,
     RECIPE_SFT | RECIPE_DPO | RECIPE_KTO | RECIPE_REWARD_MODEL | RECIPE_DISTILL, "sft",
     "longer rows are cut (reward-model: left out; distill: their beginning); null or 0: never"},
    {"packing", NULL, FIELD_BOOL, 0, AT(packing), "false", NULL, 0, 0, NULL, RECIPE_SFT, "sft",
     "join rows into rows of max_length tokens, by packing_strategy"},
    {"packing_strategy", NULL, FIELD_CHOICE, 0, AT(packing_strategy), "bfd", NULL, 0, 0, PACKINGS,
     RECIPE_SFT, "sft",
     "bfd: rows stay apart, long ones are cut; bfd_split: long ones go on in another row; wrapped: "
     "one stream of tokens"},
    {"eval_packing", NULL, FIELD_CHOICE, FIELD_FREE, AT(eval_packing), "auto", NULL, 0, 0,
     TRISTATES, RECIPE_SFT, "sft", "packing of the evaluation rows; auto: as packing"},
    {"padding_free", NULL, FIELD_BOOL, 0, AT(padding_free), "false", NULL, 0, 0, NULL,
     RECIPE_SFT | RECIPE_DPO, "sft",
     "rows are never padded here; it decides the length in NEFTune's bound alone"},
    {"label_smoothing_factor", NULL, FIELD_FLOAT, FIELD_OPEN_HIGH, AT(label_smoothing_factor), "0",
     NULL, 0, 1, NULL, RECIPE_SFT, "sft", "share of the loss that is spread over the vocabulary"},
    {"neftune_noise_alpha", NULL, FIELD_FLOAT, FIELD_NULLABLE, AT(neftune_noise_alpha), "null",
     NULL, 0, 1e6, NULL, RECIPE_SFT, "sft",
     "noise on embeddings within alpha / sqrt(length x hidden); null: none"},
    {"truncation_mode", NULL, FIELD_CHOICE, 0, AT(truncation_mode), "keep_start", NULL, 0, 0,
     TRUNCATIONS, RECIPE_SFT | RECIPE_DPO, "sft", "which end of a long row stays"},
    {"completion_only_loss", NULL, FIELD_CHOICE, 0, AT(completion_only_loss), "auto", NULL, 0, 0,
     TRISTATES, RECIPE_SFT, "sft", "no loss on the prompt; auto: when rows have one"},
    {"assistant_only_loss", NULL, FIELD_BOOL, 0, AT(assistant_only_loss), "false", NULL, 0, 0, NULL,
     RECIPE_SFT, "sft", "loss on the template's generation spans alone"},
};

const struct recipe_rows SCHEMA_SFT = {ROWS, sizeof ROWS / sizeof *ROWS};
