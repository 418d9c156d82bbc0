/* Keys that follow from others, and checks of keys against each other (spec training.md 1.1, 5). */
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <strings.h>

#include "kernels/ops.h"
#include "recipes/build.h"
#include "recipes/schema_internal.h"
#include "rl/objective.h"
#include "trainer/model/model.h"
#include "trainer/optim/optim.h"

static int64_t gcd(int64_t a, int64_t b)
{
    while (b) {
        const int64_t t = a % b;
        a = b;
        b = t;
    }
    return a;
}

/* Smallest multiple of `step` that is >= `at_least`. */
static int64_t round_up(int64_t at_least, int64_t step)
{
    return (at_least + step - 1) / step * step;
}

static bool power_of_two(int64_t x)
{
    return x > 0 && (x & (x - 1)) == 0;
}

static enum status fail_round(const struct recipe *r, int64_t batch)
{
    char divisors[96] = "";
    const int64_t b = r->per_device_train_batch_size;
    const int64_t w = r->world_size;
    const int64_t s = r->steps_per_generation;
    const int64_t g = r->num_generations;
    for (int64_t d = 2; d <= batch && d <= 64; d++) {
        const size_t used = strlen(divisors);
        if (batch % d == 0 && used + 8 < sizeof divisors) {
            (void)snprintf(divisors + used, sizeof divisors - used, "%s%" PRId64,
                           used ? ", " : "", d);
        }
    }
    const int64_t better_b = round_up(b, g / gcd(g, w * s));
    const int64_t better_s = round_up(s, g / gcd(g, b * w));
    return FAIL(RECIPE,
                "recipe: per_device_train_batch_size %" PRId64 " x world_size %" PRId64
                " x steps_per_generation %" PRId64 " = %" PRId64
                " completions a round is no multiple of num_generations %" PRId64
                "; use per_device_train_batch_size %" PRId64 ", or steps_per_generation "
                "(gradient_accumulation_steps) %" PRId64 "%s%s",
                b, w, s, batch, g, better_b, better_s, *divisors ? ", or num_generations " : "",
                divisors);
}

/* Completions of a round and how many batches it is cut into. */
static enum status resolve_round(struct recipe *r)
{
    const int64_t per_step = r->per_device_train_batch_size * r->world_size;
    const int64_t size = r->generation_batch_size;
    const int64_t steps = r->steps_per_generation;
    if (size != RECIPE_UNSET && steps != RECIPE_UNSET
        && recipe_given(r, "generation_batch_size") && recipe_given(r, "steps_per_generation")) {
        return FAIL(RECIPE,
                    "recipe: generation_batch_size %" PRId64 " and steps_per_generation %" PRId64
                    " exclude each other: a round has per_device_train_batch_size %" PRId64
                    " x world_size %" PRId64
                    " x steps_per_generation completions; give one of them",
                    size, steps, r->per_device_train_batch_size, r->world_size);
    }
    if (size != RECIPE_UNSET && size % per_step != 0) {
        const int64_t below = size / per_step * per_step;
        return FAIL(RECIPE,
                    "recipe: generation_batch_size %" PRId64
                    " is no multiple of per_device_train_batch_size %" PRId64
                    " x world_size %" PRId64 " = %" PRId64 "; use %" PRId64,
                    size, r->per_device_train_batch_size, r->world_size, per_step,
                    below ? below : per_step);
    }
    if (r->steps_per_generation == RECIPE_UNSET) {
        r->steps_per_generation =
            size == RECIPE_UNSET ? r->gradient_accumulation_steps : size / per_step;
    }
    const int64_t batch = per_step * r->steps_per_generation;
    r->generation_batch_size = batch;
    if (r->num_generations < 2) {
        return FAIL(RECIPE, "recipe: num_generations is at least 2 in grpo: an advantage compares "
                            "the completions of a prompt");
    }
    return batch % r->num_generations == 0 ? STATUS_OK : fail_round(r, batch);
}

/* Keys of sft that exclude each other: both are named, and the rule. */
static enum status check_sft(const struct recipe *r)
{
    if (r->loss_type == SFT_LOSS_DFT && r->label_smoothing_factor > 0) {
        return FAIL(RECIPE, "recipe: loss_type dft and label_smoothing_factor exclude each other: "
                            "smoothing belongs to nll; leave one out");
    }
    if (r->packing && r->max_length == 0) {
        return FAIL(RECIPE, "recipe: packing needs max_length, the length of the packed rows");
    }
    if (r->packing && r->truncation_mode == TRUNCATION_KEEP_END) {
        return FAIL(RECIPE, "recipe: packing and truncation_mode keep_end exclude each other: "
                            "packing keeps the start of long rows (packing_strategy bfd) or all of "
                            "them (bfd_split)");
    }
    if (r->padding_free && !r->packing && r->max_length > 0 && r->compat == COMPAT_TRL_1_16) {
        return FAIL(RECIPE, "recipe: padding_free without packing and max_length exclude each "
                            "other: it is for rows of any length; set max_length: null");
    }
    return STATUS_OK;
}

static enum status resolve_grpo(struct recipe *r)
{
    TRY(resolve_round(r));
    if (r->eval_strategy != STRATEGY_NO &&
        r->per_device_eval_batch_size * r->world_size % r->num_generations_eval != 0) {
        return FAIL(RECIPE, "recipe: per_device_eval_batch_size %" PRId64 " x world_size %" PRId64
                            " is no multiple of num_generations_eval %" PRId64 "; use "
                            "per_device_eval_batch_size %" PRId64,
                    r->per_device_eval_batch_size, r->world_size, r->num_generations_eval,
                    round_up(r->per_device_eval_batch_size,
                             r->num_generations_eval / gcd(r->num_generations_eval, r->world_size)));
    }
    if (r->reward_funcs.count == 0) {
        return FAIL(RECIPE, "recipe: reward_funcs names at least one reward");
    }
    if (r->reward_weights.count != 0 && r->reward_weights.count != r->reward_funcs.count) {
        return FAIL(RECIPE, "recipe: %" PRId64 " reward_weights for %" PRId64 " reward_funcs",
                    r->reward_weights.count, r->reward_funcs.count);
    }
    if (r->soft_punish_cache > r->max_completion_len) {
        return FAIL(RECIPE, "recipe: soft_punish_cache %" PRId64 " is over max_completion_len %"
                            PRId64, r->soft_punish_cache, r->max_completion_len);
    }
    if (r->temperature <= 0) {
        return FAIL(RECIPE, "recipe: temperature is above 0 in grpo: greedy completions of a "
                            "prompt are all alike");
    }
    return schema_check_objective(r);
}

static enum status resolve_data(struct recipe *r)
{
    if (r->data_digits > 0) {
        int64_t top = 1;
        for (int64_t i = 0; i < r->data_digits; i++) {
            top *= 10;
        }
        r->data_max = top - 1;
        r->data_digits = 0; /* said by data_max from here on */
    }
    if (r->data_min > r->data_max) {
        return FAIL(RECIPE, "recipe: data_min %" PRId64 " is over data_max %" PRId64, r->data_min,
                    r->data_max);
    }
    const bool sums = r->dataset_name && strcmp(r->dataset_name, "sums") == 0;
    if (sums && !r->data_template) {
        return FAIL(RECIPE, "recipe: data_template is the question of dataset_name: sums");
    }
    return STATUS_OK;
}

/* An adapter that training starts from has its own rank, targets and so on. */
static enum status note_adapter(struct recipe *r)
{
    const struct {
        const char *key;
        bool changed;
    } keys[] = {
        {"lora_r", r->lora_r != 16},
        {"lora_alpha", r->lora_alpha != 32},
        {"lora_dropout", r->lora_dropout != 0},
        {"lora_target_modules", r->lora_target_modules.count != 0},
        {"lora_exclude_modules", r->lora_exclude_modules.count != 0},
        {"layers_to_transform", r->layers_to_transform.count != 0},
        {"rank_pattern", r->rank_pattern != NULL},
        {"alpha_pattern", r->alpha_pattern != NULL},
        {"use_rslora", r->use_rslora},
    };
    for (size_t i = 0; r->adapter_name_or_path && i < sizeof keys / sizeof *keys; i++) {
        if (keys[i].changed) {
            TRY(schema_note(r, "recipe: %s has no effect with adapter_name_or_path: the folder has "
                               "its own", keys[i].key));
        }
    }
    return STATUS_OK;
}

static enum status check_model(struct recipe *r)
{
    if (!r->model_name_or_path && !r->init_from_config) {
        return FAIL(RECIPE, "recipe: model_name_or_path is missing (or init_from_config, to train "
                            "from scratch)");
    }
    if (r->model_name_or_path && r->init_from_config) {
        return FAIL(RECIPE, "recipe: model_name_or_path and init_from_config exclude each other");
    }
    if (r->base_cache == BASE_CACHE_BF16 && r->compute == COMPUTE_F32) {
        return FAIL(RECIPE, "recipe: base_cache: bf16 rounds the weights; with compute: float32 leave "
                            "it out");
    }
    if (r->method == RECIPE_EVAL || r->method == RECIPE_GENERATE || r->use_peft) {
        return r->use_peft ? note_adapter(r) : STATUS_OK;
    }
    if (r->quantize != QUANTIZE_NONE) {
        return FAIL(RECIPE, "recipe: quantized weights are frozen; set use_peft: true");
    }
    if (r->base_cache == BASE_CACHE_BF16) {
        return FAIL(RECIPE, "recipe: base_cache: bf16 holds weights that do not change; set use_peft: "
                            "true, or leave it out");
    }
    if (r->adapter_name_or_path) {
        return FAIL(RECIPE, "recipe: adapter_name_or_path needs use_peft: true");
    }
    if (recipe_given(r, "lora_r") || recipe_given(r, "lora_target_modules")) {
        TRY(schema_note(r, "recipe: lora_* keys have no effect without use_peft: true"));
    }
    return STATUS_OK;
}

/* True for the methods that train something. */
static bool trains_something(const struct recipe *r)
{
    size_t i = 0;
    while (recipe_training_method(i) && recipe_training_method(i) != r->method) {
        i++;
    }
    return recipe_training_method(i) != 0;
}

/* Steps between things are a share of all steps below 1, else whole. */
static enum status check_intervals(const struct recipe *r)
{
    const struct {
        const char *key;
        double value;
        bool read;
    } intervals[] = {
        {"logging_steps", r->logging_steps, true},
        {"eval_steps", r->eval_steps, r->eval_strategy == STRATEGY_STEPS},
        {"save_steps", r->save_steps, r->save_strategy == STRATEGY_STEPS},
    };
    for (size_t i = 0; i < sizeof intervals / sizeof *intervals; i++) {
        const double value = intervals[i].value;
        if (intervals[i].read && value > 1 && value != floor(value)) {
            return FAIL(RECIPE, "recipe: %s %g is above 1, a number of steps, and not whole; below 1 "
                                "it is a share of all steps", intervals[i].key, value);
        }
    }
    return STATUS_OK;
}

static enum status check_run(struct recipe *r)
{
    if (!power_of_two(r->shards) || !power_of_two(r->k_slices)) {
        return FAIL(RECIPE, "recipe: shards and k_slices are powers of two (1, 2, 4, 8 ...)");
    }
    const bool trains = trains_something(r);
    if (trains && !r->output_dir) {
        return FAIL(RECIPE, "recipe: output_dir is missing");
    }
    TRY(check_intervals(r));
    if (trains && !r->dataset_name && !recipe_has_mixture(r)) {
        return FAIL(RECIPE, "recipe: dataset_name is missing (a JSONL file, a folder, or sums), or "
                            "dataset_mixture or datasets");
    }
    return schema_check_mixture(r);
}

/* Optimizer and schedule against the rest of the recipe. */
static enum status check_optim(struct recipe *r)
{
    struct optim_config optim;
    TRY(recipe_optim(r, &optim));
    const bool adapter = r->use_peft || r->adapter_name_or_path;
    const bool trains = trains_something(r);
    const char *schedule = schedule_name(optim.schedule.kind);
    if (trains && adapter && optim.kind == OPTIM_MUON) {
        return FAIL(RECIPE, "recipe: optim: muon trains whole matrices; with use_peft: true use "
                            "adamw_torch");
    }
    if (trains && !adapter && optim.kind == OPTIM_LORA_FA) {
        return FAIL(RECIPE, "recipe: optim: lora_fa trains LoRA adapters; set use_peft: true");
    }
    if (trains && !adapter && optim.loraplus_lr_ratio > 0) {
        return FAIL(RECIPE, "recipe: loraplus_lr_ratio trains LoRA adapters; set use_peft: true");
    }
    if (optim.loraplus_lr_ratio > 0 && r->weight_decay > 0) {
        TRY(schema_note(r, "recipe: with loraplus_lr_ratio the decay is loraplus_weight_decay; "
                           "weight_decay has no effect"));
    }
    if (trains && schedule_is_adaptive(&optim.schedule) && r->eval_strategy == STRATEGY_NO) {
        return FAIL(RECIPE, "recipe: lr_scheduler_type: %s follows evaluations; set eval_strategy: "
                            "steps", schedule);
    }
    return STATUS_OK;
}

static enum status check_distill(const struct recipe *r)
{
    if (!r->teacher_model_name_or_path) {
        return FAIL(RECIPE, "recipe: teacher_model_name_or_path is missing: a GGUF file or a model "
                            "folder");
    }
    if (r->beta > 1) {
        return FAIL(RECIPE, "recipe: beta in distill is in [0, 1]: 0 is the KL divergence from the "
                            "teacher, 1 to it");
    }
    if (!r->use_peft) {
        return FAIL(RECIPE, "recipe: distill trains adapters; set use_peft: true");
    }
    if (r->temperature <= 0 && (r->lmbda > 0 || r->seq_kd)) {
        return FAIL(RECIPE, "recipe: temperature is above 0 in distill: completions are sampled");
    }
    return STATUS_OK;
}

/* The sampler's and logger's "not given" become the numbers they stand for. */
static void fill_unset(struct recipe *r)
{
    struct {
        int64_t *at;
        int64_t value;
    } const ints[] = {{&r->data_seed, r->seed},
                      {&r->save_total_limit, 0},
                      {&r->num_generations_eval, r->num_generations},
                      {&r->max_length, 0},
                      {&r->max_model_length, 0},
                      {&r->top_k, 0}};
    for (size_t i = 0; i < sizeof ints / sizeof *ints; i++) {
        if (*ints[i].at == RECIPE_UNSET) {
            *ints[i].at = ints[i].value;
        }
    }
    if (isnan(r->epsilon_high)) {
        r->epsilon_high = r->epsilon;
    }
    if (isnan(r->min_p)) {
        r->min_p = 0;
    }
    if (isnan(r->eval_steps)) {
        r->eval_steps = r->logging_steps;
    }
    if (r->eval_max_new_tokens == 0) {
        r->eval_max_new_tokens = r->max_completion_length;
    }
}

enum status recipe_resolve(struct recipe *r, int64_t ranks)
{
    if (r->world_size == 0) {
        r->world_size = ranks;
    }
    TRY(check_model(r));
    TRY(check_run(r));
    TRY(schema_check_loss(r));
    TRY(check_optim(r));
    TRY(schema_check_population(r));
    TRY(resolve_data(r));
    fill_unset(r);
    TRY(schema_resolve_best(r));
    if (isnan(r->neftune_noise_alpha)) {
        r->neftune_noise_alpha = 0;
    }
    if (r->method == RECIPE_SFT) {
        return check_sft(r);
    }
    if (r->method == RECIPE_DISTILL) {
        return check_distill(r);
    }
    if (r->method == RECIPE_DPO || r->method == RECIPE_KTO) {
        return schema_check_preference(r);
    }
    return recipe_rolls_out(r) ? resolve_grpo(r) : STATUS_OK;
}
