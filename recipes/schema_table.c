/*
 * The schema: one row per key, in a file per subject (schema_rows_*.c). Names and defaults are
 * those of TRL 1.16 / Transformers 5.23 (spec training.md 1.2, 3, 5), Open-R1 (spec open-r1.md 1.2)
 * and PEFT; older names are aliases.
 */
#include "recipes/schema_internal.h"

static const struct recipe_rows *const SUBJECTS[] = {
    &SCHEMA_MODEL, &SCHEMA_DATA, &SCHEMA_OPTIM,   &SCHEMA_RUN,
    &SCHEMA_SFT,   &SCHEMA_RL, &SCHEMA_OBJECTIVE, &SCHEMA_DPO,   &SCHEMA_REWARDS, &SCHEMA_EVAL,
};

enum { SUBJECT_COUNT = sizeof SUBJECTS / sizeof *SUBJECTS };

size_t schema_count(void)
{
    size_t count = 0;
    for (size_t s = 0; s < SUBJECT_COUNT; s++) {
        count += SUBJECTS[s]->count;
    }
    return count;
}

const struct recipe_field *schema_field(size_t i)
{
    for (size_t s = 0; s < SUBJECT_COUNT; s++) {
        if (i < SUBJECTS[s]->count) {
            return &SUBJECTS[s]->rows[i];
        }
        i -= SUBJECTS[s]->count;
    }
    return NULL;
}

size_t schema_index(const struct recipe_field *f)
{
    size_t before = 0;
    for (size_t s = 0; s < SUBJECT_COUNT; s++) {
        if (f >= SUBJECTS[s]->rows && f < SUBJECTS[s]->rows + SUBJECTS[s]->count) {
            return before + (size_t)(f - SUBJECTS[s]->rows);
        }
        before += SUBJECTS[s]->count;
    }
    return before;
}

const struct recipe_default RECIPE_DEFAULTS[] = {
    {"logging_steps", 0, true, "500"},
    {"gradient_checkpointing", 0, true, "false"},
    {"packing_strategy", RECIPE_SFT, true, "wrapped"},
    {"loss_type", RECIPE_GRPO, true, "bnpo"},
    {"beta", RECIPE_GRPO, true, "0.04"},
    {"max_completion_length", RECIPE_GRPO, true, "256"},
    {"max_prompt_length", RECIPE_GRPO, true, "512"},
    {"use_bias_correction_kl", RECIPE_GRPO, true, "false"},
    {"beta", RECIPE_DPO | RECIPE_KTO, false, "0.1"},
    {"loss_type", RECIPE_KTO, false, "kto"},
    {"disable_dropout", RECIPE_DPO | RECIPE_KTO | RECIPE_REWARD_MODEL | RECIPE_DISTILL, false,
     "true"},
    {"learning_rate", RECIPE_REWARD_MODEL, false, "1e-4"},
    {"learning_rate", RECIPE_DISTILL, false, "2e-5"},
    {"beta", RECIPE_DISTILL, false, "0.5"},
    {"temperature", RECIPE_DISTILL, false, "0.9"},
    {"max_completion_length", RECIPE_DISTILL, false, "128"},
    {"train_sampling_strategy", RECIPE_KTO, false, "sequential"},
    {"loss_type", RECIPE_RLOO, false, "rloo"},
    {"num_generations", RECIPE_RLOO, false, "2"},
    {"beta", RECIPE_RLOO, false, "0.05"},
};

const size_t RECIPE_DEFAULT_COUNT = sizeof RECIPE_DEFAULTS / sizeof *RECIPE_DEFAULTS;
