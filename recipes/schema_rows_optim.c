/* Schema rows of optimizer, schedule, length of a run (Transformers TrainingArguments); see schema_internal.h. */
#include "recipes/schema_internal.h"
#include "trainer/optim/optim.h"

static const struct recipe_choice SCHEDULES[] = {
    {"linear", SCHEDULE_LINEAR, 0}, {"cosine", SCHEDULE_COSINE, 0},
    {"constant", SCHEDULE_CONSTANT, 0}, {"constant_with_warmup", SCHEDULE_CONSTANT_WITH_WARMUP, 0},
    {"cosine_with_min_lr", SCHEDULE_COSINE_WITH_MIN_LR, 0}, {NULL, 0, 0}};
static const struct recipe_choice OPTIMS[] = {
    {"adamw_torch", OPTIM_ADAMW, 0}, {"adamw_torch_fused", OPTIM_ADAMW, 0},
    {"adamw", OPTIM_ADAMW, 0}, {"adamw_hf", OPTIM_ADAMW, 0}, {"paged_adamw_32bit", OPTIM_ADAMW, 0},
    {"paged_adamw", OPTIM_ADAMW, 0}, {"sgd", OPTIM_SGD, 0}, {NULL, 0, 0}};

static const struct recipe_field ROWS[] = {
    /* optimizer */
    {"learning_rate", "lr", FIELD_FLOAT, 0, AT(learning_rate), "2e-5", "1e-6", 0, 1e3, NULL, 0,
     "optimizer", "peak learning rate"},
    {"lr_scheduler_type", NULL, FIELD_CHOICE, 0, AT(lr_scheduler_type), "linear", NULL, 0, 0,
     SCHEDULES, 0, "optimizer", "schedule of the learning rate"},
    {"lr_scheduler_kwargs", NULL, FIELD_DICT, 0, AT(lr_scheduler_kwargs), "null", NULL, 0, 0, NULL,
     0, "optimizer", "cosine_with_min_lr: {min_lr_rate: 0.1} or {min_lr: 1e-7}"},
    {"warmup_steps", NULL, FIELD_FLOAT, 0, AT(warmup_steps), "0", NULL, 0, MANY, NULL, 0,
     "optimizer", "steps from 0 to the peak; below 1: share of all steps (warmup_ratio)"},
    {"optim", NULL, FIELD_CHOICE, 0, AT(optim), "adamw_torch", NULL, 0, 0, OPTIMS, 0, "optimizer",
     "optimizer"},
    {"adam_beta1", NULL, FIELD_FLOAT, FIELD_OPEN_HIGH, AT(adam_beta1), "0.9", NULL, 0, 1, NULL, 0,
     "optimizer", "decay of the first moment"},
    {"adam_beta2", NULL, FIELD_FLOAT, FIELD_OPEN_HIGH, AT(adam_beta2), "0.999", NULL, 0, 1, NULL, 0,
     "optimizer", "decay of the second moment"},
    {"adam_epsilon", NULL, FIELD_FLOAT, 0, AT(adam_epsilon), "1e-8", NULL, 0, 1, NULL, 0,
     "optimizer", "added to the root of the second moment"},
    {"weight_decay", NULL, FIELD_FLOAT, 0, AT(weight_decay), "0", NULL, 0, 1e3, NULL, 0,
     "optimizer", "decoupled weight decay; not on norms and biases"},
    {"max_grad_norm", NULL, FIELD_FLOAT, 0, AT(max_grad_norm), "1", NULL, 0, 1e9, NULL, 0,
     "optimizer", "clip the gradient's norm; 0: no clipping"},
    {"num_train_epochs", "num_epochs", FIELD_FLOAT, FIELD_OPEN_LOW, AT(num_train_epochs), "3", NULL,
     0, 1e9, NULL, 0, "optimizer", "passes over the data, unless max_steps is given"},
    {"max_steps", NULL, FIELD_INT, 0, AT(max_steps), "-1", NULL, -1, MANY, NULL, 0, "optimizer",
     "optimizer steps; -1: by num_train_epochs"},
    {"per_device_train_batch_size", "train_batch_size", FIELD_INT, 0,
     AT(per_device_train_batch_size), "8", NULL, 1, 1 << 20, NULL, 0, "optimizer",
     "rows (grpo: completions) per rank of world_size and accumulation step"},
    {"gradient_accumulation_steps", NULL, FIELD_INT, 0, AT(gradient_accumulation_steps), "1", NULL,
     1, 1 << 20, NULL, 0, "optimizer", "batches per optimizer step"},
    {"gradient_checkpointing", "activation_checkpointing", FIELD_BOOL, FIELD_FREE,
     AT(gradient_checkpointing), "true", NULL, 0, 0, NULL, 0, "optimizer",
     "recompute blocks in the backward: less memory, the same bits, slower"},
};

const struct recipe_rows SCHEMA_OPTIM = {ROWS, sizeof ROWS / sizeof *ROWS};
