/* Schema rows of supervised fine-tuning (TRL SFTConfig); see schema_internal.h. */
#include "recipes/schema_internal.h"

static const struct recipe_choice TRUNCATIONS[] = {
    {"keep_start", TRUNCATION_KEEP_START, 0}, {NULL, 0, 0}};
static const struct recipe_choice TRISTATES[] = {
    {"auto", TRISTATE_AUTO, 0}, {"true", TRISTATE_TRUE, 0}, {"false", TRISTATE_FALSE, 0},
    {"null", TRISTATE_AUTO, 0}, {"none", TRISTATE_AUTO, 0}, {NULL, 0, 0}};

static const struct recipe_field ROWS[] = {
    /* sft */
    {"max_length", "max_seq_length max_seq_len", FIELD_INT, FIELD_NULLABLE, AT(max_length), "1024",
     NULL, 0, 1 << 24, NULL, RECIPE_SFT, "sft", "longer rows are cut; null or 0: never"},
    {"truncation_mode", NULL, FIELD_CHOICE, 0, AT(truncation_mode), "keep_start", NULL, 0, 0,
     TRUNCATIONS, RECIPE_SFT, "sft", "which end of a long row stays"},
    {"completion_only_loss", NULL, FIELD_CHOICE, 0, AT(completion_only_loss), "auto", NULL, 0, 0,
     TRISTATES, RECIPE_SFT, "sft", "no loss on the prompt; auto: when rows have one"},
    {"assistant_only_loss", NULL, FIELD_BOOL, 0, AT(assistant_only_loss), "false", NULL, 0, 0, NULL,
     RECIPE_SFT, "sft", "loss on the template's generation spans alone"},
};

const struct recipe_rows SCHEMA_SFT = {ROWS, sizeof ROWS / sizeof *ROWS};
