/*
 * A recipe: everything a run is told, in TRL's and Open-R1's vocabulary (spec training.md 0).
 *
 * One table of fields (schema_table.c, schema_rows_*.c) gives parsing of YAML and key=value,
 * aliases of both generations of names, checks, --help and the resolved copy saved with the run.
 * Values are owned by the recipe.
 */
#pragma once

#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/status.h"

/* An integer that was not given; a float that was not given is NAN. */
#define RECIPE_UNSET INT64_MIN

/* Methods a key belongs to, and what a recipe is opened for. */
enum recipe_method {
    RECIPE_SFT = 1,
    RECIPE_GRPO = 2,
    RECIPE_EVAL = 4,
    RECIPE_GENERATE = 8,
    RECIPE_RLOO = 16, /* takes grpo's keys too */
    RECIPE_DPO = 32,
    RECIPE_KTO = 64,
    RECIPE_REWARD_MODEL = 128,
    RECIPE_DISTILL = 256,
    RECIPE_ANY = 511
};

/* Losses of sft; those of grpo are enum loss_type (rl/objective.h). One member holds either. */
enum recipe_sft_loss { SFT_LOSS_NLL = 100, SFT_LOSS_DFT };
/* Losses of kto: this and the enum kto_loss. */
enum recipe_kto_loss { KTO_LOSS_FIRST = 200 };
enum recipe_strategy { STRATEGY_NO, STRATEGY_STEPS, STRATEGY_EPOCH, STRATEGY_BEST };
enum recipe_truncation { TRUNCATION_KEEP_START, TRUNCATION_KEEP_END };
enum recipe_sampling { SAMPLING_RANDOM, SAMPLING_SEQUENTIAL };
enum recipe_resume { RESUME_AUTO, RESUME_NEVER };
enum base_cache { BASE_CACHE_NONE, BASE_CACHE_BF16 };
enum recipe_compat { COMPAT_TRL_1_16, COMPAT_TRL_0_18 };
/* completion_only_loss: auto follows the data. */
enum recipe_tristate { TRISTATE_AUTO = -1, TRISTATE_FALSE = 0, TRISTATE_TRUE = 1 };

struct string_list {
    char **items;
    int64_t count;
};

struct float_list {
    double *items;
    int64_t count;
};

struct int_list {
    int64_t *items;
    int64_t count;
};

/* One member per key, of the same name; units, meaning and ranges are the table's docs. Strings may
 * be NULL (not given), dicts NULL (empty). Choices hold the enum named behind them. */
struct recipe {
    enum recipe_method method; /* what it was opened for */

    /* model */
    char *model_name_or_path;
    char *init_from_config;
    char *tokenizer_name_or_path;
    char *chat_template;
    char *eos_token;
    int64_t max_model_length;
    int dtype; /* index: auto, bfloat16, float16, float32; what the file holds is kept */
    int quantize; /* enum quantize */

    /* adapter */
    bool use_peft;
    char *adapter_name_or_path;
    int64_t lora_r;
    double lora_alpha;
    double lora_dropout;
    bool disable_dropout;
    struct string_list lora_target_modules;
    struct string_list lora_exclude_modules;
    struct int_list layers_to_transform;
    char *layers_pattern;
    json_t *rank_pattern;
    json_t *alpha_pattern;
    int init_lora_weights; /* enum adapter_init */
    bool use_rslora;

    /* data */
    char *dataset_name;
    char *dataset_config;
    json_t *dataset_mixture;   /* Open-R1 */
    json_t *datasets;          /* TRL: a list of mappings */
    double test_split_size;    /* NAN: not given */
    char *dataset_train_split;
    char *dataset_test_split;
    char *dataset_prompt_column;
    char *dataset_solution_column;
    char *dataset_text_field;
    char *system_prompt;
    char *prompt_template;
    json_t *chat_template_kwargs;
    int64_t max_prompt_length; /* RECIPE_UNSET: no cut */
    bool shuffle_dataset;
    int train_sampling_strategy; /* enum recipe_sampling */
    bool dataloader_drop_last;
    int64_t data_seed;
    int64_t data_digits;
    int64_t data_min;
    int64_t data_max;
    int64_t data_terms;
    char *data_template;
    char *data_completion;
    int64_t data_count;
    int64_t data_holdout;
    int64_t data_split_seed;
    struct string_list procedural_tasks;
    json_t *procedural_config;
    bool curriculum;
    int64_t curriculum_level;
    int64_t curriculum_window;
    double curriculum_raise;
    double curriculum_lower;

    /* optimizer */
    double learning_rate;
    int lr_scheduler_type; /* enum schedule_kind */
    json_t *lr_scheduler_kwargs;
    double warmup_steps; /* < 1: share of max_steps */
    int optim;           /* enum optim_kind */
    char *optim_args;
    double loraplus_lr_ratio; /* NAN: no LoRA+ */
    double loraplus_lr_embedding;
    double loraplus_weight_decay;
    double adam_beta1;
    double adam_beta2;
    double adam_epsilon;
    double weight_decay;
    double max_grad_norm;
    double num_train_epochs;
    int64_t max_steps; /* <= 0: by epochs */
    int64_t per_device_train_batch_size;
    int64_t gradient_accumulation_steps;
    bool gradient_checkpointing;

    /* run */
    char *output_dir;
    int64_t seed;
    int resume; /* enum recipe_resume */
    double logging_steps;
    bool logging_first_step;
    int save_strategy; /* enum recipe_strategy */
    double save_steps; /* < 1: share of max_steps */
    int64_t save_total_limit; /* 0: keep all */
    bool load_best_model_at_end;
    char *metric_for_best_model;
    int greater_is_better; /* enum recipe_tristate; auto before resolution */
    int eval_strategy;        /* enum recipe_strategy */
    double eval_steps;
    bool eval_on_start;
    double eval_delay; /* steps, or epochs with eval_strategy epoch */
    int64_t per_device_eval_batch_size;
    bool tensorboard;
    bool log_completions;
    int64_t num_completions_to_print;
    json_t *env;
    json_t *population; /* a list of mappings: what each member has of its own */

    /* Graft's own */
    int compute; /* enum compute */
    int64_t shards;
    int64_t k_slices;
    int64_t world_size; /* 0 before resolution: ranks at first start */
    int64_t threads;
    int64_t memory; /* bytes, 0: what the machine has */
    int base_cache; /* enum base_cache */
    int64_t micro_batch_tokens;
    int64_t max_nonfinite_steps;
    int64_t rollout_rows;
    int64_t rollout_pages;
    int64_t rollout_page_size;
    bool prefix_sharing;
    int speculation; /* enum generate_drafts */
    int64_t rollout_history; /* tokens */
    int compat; /* enum recipe_compat */

    /* sft */
    int64_t max_length; /* 0: no truncation */
    int truncation_mode; /* enum recipe_truncation */
    int completion_only_loss; /* enum recipe_tristate */
    bool assistant_only_loss;
    bool packing;
    int packing_strategy; /* enum packing */
    int eval_packing;     /* enum recipe_tristate: auto: as packing */
    bool padding_free;
    double label_smoothing_factor;
    double neftune_noise_alpha; /* NAN: none */

    /* grpo */
    int loss_type; /* enum loss_type, recipe_sft_loss or recipe_kto_loss */
    int64_t num_generations;
    int64_t num_generations_eval;
    int64_t max_completion_length;
    int64_t generation_batch_size;
    int64_t steps_per_generation;
    int64_t num_iterations;
    double beta;
    double epsilon;
    double epsilon_high;
    double delta; /* NAN: off */
    int importance_sampling_level; /* enum ratio_level */
    int scale_rewards;             /* enum scale_rewards */
    int multi_objective_aggregation; /* enum aggregation */
    bool mask_truncated_completions;
    bool use_bias_correction_kl;
    double off_policy_mask_threshold; /* NAN: off */
    double top_entropy_quantile;
    double entropy_coef;
    bool use_adaptive_entropy;
    double entropy_coef_min;
    double entropy_coef_max;
    double entropy_coef_delta;
    double entropy_target;
    double sapo_temperature_pos;
    double sapo_temperature_neg;
    double vespo_k_pos;
    double vespo_lambda_pos;
    double vespo_k_neg;
    double vespo_lambda_neg;
    bool sampling_correction;
    int sampling_correction_mode; /* enum correction_mode */
    double sampling_correction_max; /* NAN: none */
    double sampling_correction_min; /* NAN: none */
    bool sync_ref_model;
    double ref_model_mixup_alpha;
    int64_t ref_model_sync_steps;
    struct string_list dpo_loss_type; /* dpo's loss_type */
    struct float_list loss_weights;   /* dpo */
    double label_smoothing;
    int f_divergence_type; /* enum dpo_divergence */
    double f_alpha_divergence_coef;
    double ld_alpha; /* NAN: off */
    bool use_weighting;
    double discopop_tau;
    bool precompute_ref_log_probs;
    double desirable_weight; /* kto */
    double undesirable_weight;
    double center_rewards_coefficient; /* reward-model; NAN: none */
    char *teacher_model_name_or_path;  /* distill */
    double lmbda;
    bool seq_kd;
    bool normalize_advantages;           /* rloo */
    struct float_list reward_clip_range; /* rloo: none, or two */

    /* sampling */
    double temperature;
    double top_p;
    int64_t top_k; /* 0: off */
    double min_p;  /* 0: off */
    double repetition_penalty;
    bool dynamic_sampling;
    int64_t dynamic_sampling_waves;
    int64_t async_rounds;
    struct string_list stop_strings;
    char *structured_outputs_regex;
    json_t *generation_kwargs;

    /* rewards */
    struct string_list reward_funcs;
    struct float_list reward_weights;
    double cosine_min_value_wrong;
    double cosine_max_value_wrong;
    double cosine_min_value_correct;
    double cosine_max_value_correct;
    int64_t cosine_max_len;
    bool cosine_clamp;
    int judge_rule; /* index: math-verify, strict */
    bool judge_swapped;
    bool unreadable_gold_null;
    bool length_by_group;
    struct string_list reasoning_delimiters;
    bool reasoning_steps_multiline;
    bool format_strict;
    char *code_language;
    double code_timeout;
    int64_t code_memory;
    bool code_strict;
    int sandbox_profile; /* index: full, reduced */
    int64_t code_eval_test_batch_size;
    int code_eval_scoring_mode; /* index: weighted_sum, pass_fail, partial */
    struct string_list reward_program;
    double reward_program_timeout;
    char *reward_library;
    int64_t reward_workers;
    double reward_timeout;
    int repetition_unit; /* index: words, characters */
    int procedural_answer; /* index: auto, tagged, whole, raw */
    int64_t repetition_n_grams;
    double repetition_max_penalty;
    int64_t max_completion_len;
    int64_t soft_punish_cache;

    /* evaluation and generation */
    struct string_list eval_tasks;
    int64_t eval_samples;
    int64_t eval_num_generations;
    double eval_temperature;
    double eval_top_p;
    int64_t eval_top_k;
    int64_t eval_max_new_tokens;
    char *output_file;
    char *prompt;

    struct string_list notes; /* what the reader should know; the command prints them */
    uint8_t *given;           /* [fields] nonzero: set by file or argument */
};

/* Opens a recipe for one method: defaults, then the file (path NULL: none), then `count` arguments
 * "key=value". Fails with RECIPE: "file:line:column: unknown key 'rnak', did you mean 'rank'?".
 * Not resolved yet. Close also after a failure. */
MUST_USE enum status recipe_open(struct recipe *r, enum recipe_method method, const char *path,
                                 int64_t count, char *const *overrides);

/* Same from text (a checkpoint's recipe); `name` stands for the file in messages. */
MUST_USE enum status recipe_open_text(struct recipe *r, enum recipe_method method,
                                      const char *name, const char *text);

/* Sets one "key=value" argument. */
MUST_USE enum status recipe_override(struct recipe *r, const char *argument);

/* Fills what follows from other keys (world_size from `ranks` when 0, epsilon_high, data_seed,
 * generation_batch_size, ...) and checks keys against each other: batch arithmetic (spec
 * training.md 1.1, naming the numbers that would work), required keys, losses of the method. Fails
 * with RECIPE. */
MUST_USE enum status recipe_resolve(struct recipe *r, int64_t ranks);

/* Members of the population, 0: the recipe is one run. */
int64_t recipe_members(const struct recipe *r);

/* Makes an unresolved recipe that of its member `i`: its keys set, no population, output_dir
 * OUTPUT/member-i. Fails with RECIPE. */
MUST_USE enum status recipe_become_member(struct recipe *r, int64_t i);

/* Frees and zeroes. */
void recipe_close(struct recipe *r);

/* True when file or argument set this key (its main name). */
bool recipe_given(const struct recipe *r, const char *key);

/* What an opened recipe is for, judged by the keys it sets: eval when it sets up an evaluation and
 * names no output_dir, else the first method, in recipe_training_method's order, that has all keys
 * that not every method has. */
enum recipe_method recipe_guess_method(const struct recipe *r);

/* Training method i: sft, grpo, rloo, dpo, kto, reward-model, distill; 0 past the end. */
enum recipe_method recipe_training_method(size_t i);

/* True when loss_type is one of the losses of the recipe's method, or it has no such key. */
bool recipe_takes_loss(const struct recipe *r);

/* Name of the first method among these bits, "grpo". */
const char *recipe_method_name(unsigned methods);

/* True when the data are a mixture: dataset_mixture or datasets. */
bool recipe_has_mixture(const struct recipe *r);

/* True for the methods that sample and judge completions: grpo and rloo. */
bool recipe_rolls_out(const struct recipe *r);

/* The recipe as YAML with every key of its method; reading it gives the same recipe. The caller
 * frees *text. */
MUST_USE enum status recipe_dump(const struct recipe *r, char **text);

/* Names of the keys that decide bits and differ, "a, b"; NULL when none (`*text` is malloc'd). For
 * resume: both resolved. */
MUST_USE enum status recipe_diff(const struct recipe *a, const struct recipe *b, char **text);

/* SHA-256 in hex of the keys that decide bits (65 bytes). */
MUST_USE enum status recipe_hash(const struct recipe *r, char out[65]);

/* Reference of the keys of a method (bits of enum recipe_method) as text: key, type, default,
 * range, meaning, other names. The caller frees *text. */
MUST_USE enum status recipe_reference(unsigned methods, char **text);

/* The page of all keys in Markdown, those of other programs with their state included
 * (.docs/keys.md). The caller frees *text. Fails with MEMORY. */
MUST_USE enum status recipe_keys_page(char **text);

/* True when `word` is a key or one of its other names. */
bool recipe_knows_key(const char *word);
