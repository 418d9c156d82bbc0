/* Schema rows of the model and its adapter (PEFT; TRL ModelConfig); see schema_internal.h. */
#include "adapters/adapter.h"
#include "recipes/schema_internal.h"

static const struct recipe_choice DTYPES[] = {
    {"auto", 0, 0}, {"bfloat16", 1, 0}, {"float16", 2, 0}, {"float32", 3, 0}, {NULL, 0, 0}};
static const struct recipe_choice QUANTIZE[] = {
    {"none", QUANTIZE_NONE, 0}, {"nf4", QUANTIZE_NF4, 0}, {NULL, 0, 0}};
static const struct recipe_choice INITS[] = {
    {"true", ADAPTER_INIT_DEFAULT, 0}, {"gaussian", ADAPTER_INIT_GAUSSIAN, 0},
    {"false", ADAPTER_INIT_RANDOM_B, 0}, {"default", ADAPTER_INIT_DEFAULT, 0}, {NULL, 0, 0}};

static const struct recipe_field ROWS[] = {
    /* model */
    {"model_name_or_path", "model", FIELD_STRING, 0, AT(model_name_or_path), "null", NULL, 0, 0,
     NULL, 0, "model", "GGUF file, or folder with config.json and safetensors"},
    {"init_from_config", NULL, FIELD_STRING, 0, AT(init_from_config), "null", NULL, 0, 0, NULL, 0,
     "model", "train a new random model of this config.json instead"},
    {"tokenizer_name_or_path", "tokenizer_name tokenizer", FIELD_STRING, 0,
     AT(tokenizer_name_or_path), "null", NULL, 0, 0, NULL, 0, "model",
     "folder, tokenizer.json or GGUF; null: the model's own"},
    {"chat_template", "chat_template_path", FIELD_STRING, 0, AT(chat_template), "null", NULL, 0, 0,
     NULL, 0, "model", "Jinja text or a .jinja file; null: the model's own"},
    {"eos_token", NULL, FIELD_STRING, 0, AT(eos_token), "null", NULL, 0, 0, NULL, 0, "model",
     "token that ends a turn; null: the tokenizer's"},
    {"max_model_length", "vllm_max_model_length vllm_max_model_len", FIELD_INT,
     FIELD_FREE | FIELD_NULLABLE, AT(max_model_length), "0", NULL, 0, 1 << 24, NULL, 0, "model",
     "longest sequence in tokens; 0: the model's own, at most 8192"},
    {"dtype", "torch_dtype", FIELD_CHOICE, FIELD_FREE, AT(dtype), "auto", NULL, 0, 0, DTYPES, 0,
     "model", "accepted; weights keep the type of the file, see compute"},
    {"quantize", "bnb_4bit_type", FIELD_CHOICE, 0, AT(quantize), "none", NULL, 0, 0, QUANTIZE, 0,
     "model", "quantize the frozen linear weights of a folder at load"},

    /* adapter */
    {"use_peft", NULL, FIELD_BOOL, 0, AT(use_peft), "false", NULL, 0, 0, NULL, 0, "adapter",
     "train a LoRA adapter on the frozen base; false: train every weight"},
    {"adapter_name_or_path", NULL, FIELD_STRING, 0, AT(adapter_name_or_path), "null", NULL, 0, 0,
     NULL, 0, "adapter", "start from this PEFT folder"},
    {"lora_r", "r rank lora_rank", FIELD_INT, 0, AT(lora_r), "16", NULL, 1, 65536, NULL, 0,
     "adapter", "rank"},
    {"lora_alpha", NULL, FIELD_FLOAT, FIELD_OPEN_LOW, AT(lora_alpha), "32", NULL, 0, 1e9, NULL, 0,
     "adapter", "the update is scaled by alpha / r"},
    {"lora_dropout", NULL, FIELD_FLOAT, FIELD_OPEN_HIGH, AT(lora_dropout), "0", NULL, 0, 1, NULL,
     0, "adapter", "dropout on the adapter's input (TRL: 0.05)"},
    {"disable_dropout", NULL, FIELD_BOOL, 0, AT(disable_dropout), "false", NULL, 0, 0, NULL,
     RECIPE_GRPO | RECIPE_DPO | RECIPE_KTO | RECIPE_REWARD_MODEL | RECIPE_DISTILL, "adapter",
     "train without lora_dropout, as TRL's preference trainers do; false in grpo, rloo"},
    {"lora_target_modules", "target_modules", FIELD_STRINGS, 0, AT(lora_target_modules), "null",
     NULL, 0, 0, NULL, 0, "adapter",
     "module names; one word may be all-linear or a regex; null: the family's default"},
    {"lora_exclude_modules", "exclude_modules", FIELD_STRINGS, 0, AT(lora_exclude_modules), "null",
     NULL, 0, 0, NULL, 0, "adapter", "module names left out"},
    {"layers_to_transform", NULL, FIELD_INTS, 0, AT(layers_to_transform), "null", NULL, 0, 65535,
     NULL, 0, "adapter", "layer numbers that get an adapter; null: all"},
    {"layers_pattern", NULL, FIELD_STRING, 0, AT(layers_pattern), "null", NULL, 0, 0, NULL, 0,
     "adapter", "name before the layer number, with layers_to_transform"},
    {"rank_pattern", NULL, FIELD_DICT, 0, AT(rank_pattern), "null", NULL, 0, 0, NULL, 0, "adapter",
     "module pattern: rank"},
    {"alpha_pattern", NULL, FIELD_DICT, 0, AT(alpha_pattern), "null", NULL, 0, 0, NULL, 0,
     "adapter", "module pattern: alpha"},
    {"init_lora_weights", NULL, FIELD_CHOICE, 0, AT(init_lora_weights), "true", NULL, 0, 0, INITS,
     0, "adapter", "initial values"},
    {"use_rslora", NULL, FIELD_BOOL, 0, AT(use_rslora), "false", NULL, 0, 0, NULL, 0, "adapter",
     "scale by alpha / sqrt(r)"},
};

const struct recipe_rows SCHEMA_MODEL = {ROWS, sizeof ROWS / sizeof *ROWS};
