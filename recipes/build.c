/* Recipe members to module configurations; see build.h. */
#include "recipes/build.h"

#include <string.h>
#include <strings.h>

int64_t recipe_steps(double value, int64_t max_steps)
{
    if (value >= 1) {
        return (int64_t)value;
    }
    const int64_t steps = (int64_t)ceil(value * (double)max_steps);
    return steps > 0 ? steps : 1;
}

enum status recipe_optim(const struct recipe *r, struct optim_config *out)
{
    optim_defaults(out, (enum optim_kind)r->optim);
    out->learning_rate = r->learning_rate;
    out->beta1 = r->adam_beta1;
    out->beta2 = r->adam_beta2;
    if (!optim_has_own_eps(out->kind)) {
        out->eps = r->adam_epsilon;
    }
    out->weight_decay = r->weight_decay;
    out->max_grad_norm = r->max_grad_norm;
    out->loraplus_lr_ratio = isnan(r->loraplus_lr_ratio) ? 0 : r->loraplus_lr_ratio;
    out->loraplus_lr_embedding = r->loraplus_lr_embedding;
    out->loraplus_weight_decay = r->loraplus_weight_decay;
    TRY(optim_configure(out, r->optim_args));
    return schedule_configure(&out->schedule, (enum schedule_kind)r->lr_scheduler_type,
                              r->warmup_steps, r->learning_rate, r->lr_scheduler_kwargs);
}

static int64_t strategy_steps(int strategy, double steps, int64_t max_steps,
                              int64_t steps_per_epoch)
{
    switch ((enum recipe_strategy)strategy) {
    case STRATEGY_STEPS:
        return recipe_steps(steps, max_steps);
    case STRATEGY_EPOCH:
        return steps_per_epoch;
    default:
        return 0;
    }
}

/* First step that may be evaluated: eval_delay counts epochs where evaluations do. */
static int64_t delay_steps(const struct recipe *r, int64_t steps_per_epoch)
{
    if (isnan(r->eval_delay)) {
        return 0;
    }
    const bool epochs = r->eval_strategy == STRATEGY_EPOCH;
    return (int64_t)ceil(r->eval_delay * (epochs ? (double)steps_per_epoch : 1.0));
}

enum status recipe_train(const struct recipe *r, int64_t max_steps, int64_t steps_per_epoch,
                         struct train_config *out)
{
    *out = (struct train_config){
        .output_dir = r->output_dir,
        .max_steps = max_steps,
        .logging_steps = recipe_steps(r->logging_steps, max_steps),
        .save_steps = strategy_steps(r->save_strategy, r->save_steps, max_steps, steps_per_epoch),
        .save_total_limit = r->save_total_limit,
        .eval_steps = strategy_steps(r->eval_strategy, r->eval_steps, max_steps, steps_per_epoch),
        .eval_delay = delay_steps(r, steps_per_epoch),
        .steps_per_epoch = steps_per_epoch,
        .epochs = r->max_steps > 0 && steps_per_epoch > 0
                      ? ceil((double)max_steps / (double)steps_per_epoch)
                      : r->num_train_epochs,
        .batch = r->per_device_train_batch_size,
        .logging_first_step = r->logging_first_step,
        .tensorboard = r->tensorboard,
        .shards = (int)r->shards,
        .max_nonfinite_steps = r->max_nonfinite_steps,
        .resume = r->resume == RESUME_AUTO,
        .step_rows =
            r->per_device_train_batch_size * r->world_size * r->gradient_accumulation_steps,
        .best = {.greater = r->greater_is_better == TRISTATE_TRUE,
                 .load = r->load_best_model_at_end,
                 .save = r->save_strategy == STRATEGY_BEST},
    };
    const char *metric = r->eval_strategy == STRATEGY_NO ? NULL : r->metric_for_best_model;
    if (metric) {
        (void)snprintf(out->best.metric, sizeof out->best.metric, "%s%s",
                       strncmp(metric, "eval_", 5) == 0 ? "" : "eval_", metric);
    }
    return recipe_optim(r, &out->optim);
}

static bool copy_text(const char *text, char **out)
{
    *out = text ? strdup(text) : NULL;
    return *out || !text;
}

static bool copy_list(const struct string_list *list, char ***out, int64_t *count)
{
    if (list->count == 0) {
        return true;
    }
    *out = calloc((size_t)list->count, sizeof **out);
    bool good = *out != NULL;
    for (int64_t i = 0; good && i < list->count; i++) {
        good = copy_text(list->items[i], &(*out)[i]);
        *count = i + good;
    }
    return good;
}

/* One word that stands for many modules: PEFT's string form. */
static bool is_pattern(const struct string_list *list)
{
    return list->count == 1 && (strcasecmp(list->items[0], "all-linear") == 0 ||
                                strpbrk(list->items[0], "()[]{}|\\*+^$?"));
}

static bool copy_targets(const struct string_list *list, char **regex, char ***items,
                         int64_t *count)
{
    return is_pattern(list) ? copy_text(list->items[0], regex) : copy_list(list, items, count);
}

enum status recipe_adapter(const struct recipe *r, struct adapter_config *out)
{
    *out = (struct adapter_config){.family = "lora",
                                   .r = r->lora_r,
                                   .lora_alpha = r->lora_alpha,
                                   .lora_dropout = r->lora_dropout,
                                   .use_rslora = r->use_rslora,
                                   .score = r->method == RECIPE_REWARD_MODEL,
                                   .init = (enum adapter_init)r->init_lora_weights,
                                   .rank_pattern = json_incref(r->rank_pattern),
                                   .alpha_pattern = json_incref(r->alpha_pattern)};
    bool good = copy_targets(&r->lora_target_modules, &out->target_regex, &out->target_modules,
                             &out->target_count) &&
                copy_targets(&r->lora_exclude_modules, &out->exclude_regex, &out->exclude_modules,
                             &out->exclude_count) &&
                copy_text(r->layers_pattern, &out->layers_pattern) &&
                copy_text(r->model_name_or_path, &out->base_model_name_or_path);
    if (good && r->layers_to_transform.count > 0) {
        const size_t bytes = (size_t)r->layers_to_transform.count * sizeof(int64_t);
        out->layers_to_transform = malloc(bytes);
        good = out->layers_to_transform != NULL;
        if (good) {
            memcpy(out->layers_to_transform, r->layers_to_transform.items, bytes);
            out->layers_count = r->layers_to_transform.count;
        }
    }
    if (!good) {
        adapter_config_close(out);
        return FAIL(MEMORY, "adapter: out of memory");
    }
    return STATUS_OK;
}

void recipe_objective(const struct recipe *r, struct objective_config *out)
{
    *out = (struct objective_config){
        .loss_type = (enum loss_type)r->loss_type,
        .level = (enum ratio_level)r->importance_sampling_level,
        .epsilon_low = r->epsilon,
        .epsilon_high = r->epsilon_high,
        .delta = isnan(r->delta) ? 0 : r->delta,
        .beta = r->beta,
        .bias_correction_kl = r->use_bias_correction_kl,
        .off_policy_mask = !isnan(r->off_policy_mask_threshold),
        .off_policy_threshold = r->off_policy_mask_threshold,
        .sapo_temperature_pos = r->sapo_temperature_pos,
        .sapo_temperature_neg = r->sapo_temperature_neg,
        .vespo_k_pos = r->vespo_k_pos,
        .vespo_lambda_pos = r->vespo_lambda_pos,
        .vespo_k_neg = r->vespo_k_neg,
        .vespo_lambda_neg = r->vespo_lambda_neg,
    };
    if (r->method == RECIPE_RLOO) { /* the divergence is in the reward */
        out->level = RATIO_SUM;
        out->beta = 0;
    }
}

static enum status find_dpo_loss(const char *name, enum dpo_loss *out)
{
    char known[512] = "";
    for (int k = 0; k < DPO_LOSSES; k++) {
        const size_t used = strlen(known);
        if (strcmp(name, dpo_loss_name((enum dpo_loss)k)) == 0) {
            *out = (enum dpo_loss)k;
            return STATUS_OK;
        }
        (void)snprintf(known + used, sizeof known - used, "%s%s", used ? ", " : "",
                       dpo_loss_name((enum dpo_loss)k));
    }
    return FAIL(RECIPE, "recipe: loss_type '%.40s' is not dpo's; it has %s", name, known);
}

enum status recipe_dpo(const struct recipe *r, struct dpo_config *out)
{
    *out = (struct dpo_config){
        .count = (int)r->dpo_loss_type.count,
        .beta = r->beta,
        .label_smoothing = r->label_smoothing,
        .divergence = (enum dpo_divergence)r->f_divergence_type,
        .alpha = r->f_alpha_divergence_coef,
        .ld_alpha = r->ld_alpha,
        .use_weighting = r->use_weighting,
        .discopop_tau = r->discopop_tau,
    };
    if (r->dpo_loss_type.count > DPO_MAX_LOSSES) {
        return FAIL(RECIPE, "recipe: loss_type lists %lld losses; at most %d are summed",
                    (long long)r->dpo_loss_type.count, DPO_MAX_LOSSES);
    }
    if (r->loss_weights.count != 0 && r->loss_weights.count != r->dpo_loss_type.count) {
        return FAIL(RECIPE, "recipe: %lld loss_weights for %lld losses in loss_type",
                    (long long)r->loss_weights.count, (long long)r->dpo_loss_type.count);
    }
    for (int i = 0; i < out->count; i++) {
        TRY(find_dpo_loss(r->dpo_loss_type.items[i], &out->losses[i]));
        out->weights[i] = r->loss_weights.count ? r->loss_weights.items[i] : 1.0;
    }
    return STATUS_OK;
}

struct kto_config recipe_kto(const struct recipe *r)
{
    return (struct kto_config){
        .loss = (enum kto_loss)(r->loss_type - KTO_LOSS_FIRST),
        .beta = r->beta,
        .desirable_weight = r->desirable_weight,
        .undesirable_weight = r->undesirable_weight,
    };
}

void recipe_entropy(const struct recipe *r, struct entropy_config *out)
{
    *out = (struct entropy_config){
        .coef = r->entropy_coef,
        .adaptive = r->use_adaptive_entropy,
        .min = r->entropy_coef_min,
        .max = r->entropy_coef_max,
        .delta = r->entropy_coef_delta,
        .target = r->entropy_target,
    };
}

void recipe_correction(const struct recipe *r, struct correction_config *out)
{
    *out = (struct correction_config){
        .on = r->async_rounds > 0 && r->sampling_correction,
        .mode = (enum correction_mode)r->sampling_correction_mode,
        .clip_min = r->sampling_correction_min,
        .clip_max = r->sampling_correction_max,
    };
}

void recipe_advantage(const struct recipe *r, struct advantage_config *out)
{
    *out = (struct advantage_config){
        .scale = (enum scale_rewards)r->scale_rewards,
        .aggregation = (enum aggregation)r->multi_objective_aggregation,
        .leave_one_out = r->method == RECIPE_RLOO,
        .normalize = r->normalize_advantages,
        .clip = r->reward_clip_range.count == 2,
    };
    if (out->clip) {
        out->clip_low = r->reward_clip_range.items[0];
        out->clip_high = r->reward_clip_range.items[1];
    }
}

void recipe_sums(const struct recipe *r, bool messages, struct sums_config *out)
{
    *out = (struct sums_config){
        .min = r->data_min,
        .max = r->data_max,
        .terms = r->data_terms,
        .count = r->data_count,
        .holdout = r->data_holdout,
        .seed = (uint64_t)r->data_split_seed,
        .question = r->data_template,
        .messages = messages,
        .completion = r->method == RECIPE_SFT ? r->data_completion : NULL,
    };
}

enum status recipe_apply_env(const struct recipe *r)
{
    const char *key;
    json_t *value;
    json_object_foreach (r->env, key, value) {
        char *text = json_is_string(value) ? strdup(json_string_value(value))
                                           : json_dumps(value, JSON_ENCODE_ANY);
        const bool simple = !json_is_object(value) && !json_is_array(value);
        const bool set = text && simple && setenv(key, text, 1) == 0;
        free(text);
        if (!set) {
            return FAIL(RECIPE, "recipe: env: '%.80s' is a name with a word or number", key);
        }
    }
    return STATUS_OK;
}
