/* The GRPO method of a run; see grpo_training.h. */
#include "recipes/grpo_training.h"

#include <string.h>

#include "recipes/build.h"
#include "recipes/memory.h"
#include "recipes/reward_judge.h"
#include "trainer/format/file.h"

/* The first row must have what prompts and rewards read ("answer" will do for a solution). */
static enum status check_columns(struct run *r)
{
    const struct recipe *c = &r->recipe;
    TRY(dataset_need_column(r->train.set, c->dataset_prompt_column));
    for (int64_t k = 0; k < c->reward_funcs.count; k++) {
        const struct reward *reward = reward_find(c->reward_funcs.items[k]);
        json_t *row = reward && reward->needs ? run_row(&r->train, 0) : NULL;
        const bool solution = row && strcmp(reward->needs, "solution") == 0;
        const bool there = !row || json_object_get(row, reward->needs)
                           || (solution && json_object_get(row, "answer"));
        json_decref(row);
        if (!there) {
            return dataset_need_column(r->train.set, solution ? c->dataset_solution_column
                                                              : reward->needs);
        }
    }
    return STATUS_OK;
}

struct grpo_plan grpo_training_plan(const struct run *r)
{
    const struct recipe *c = &r->recipe;
    return (struct grpo_plan){
        .rows = dataset_count(r->train.set),
        .world = c->world_size,
        .per_device = c->per_device_train_batch_size,
        .accumulation = c->gradient_accumulation_steps,
        .slices = c->steps_per_generation,
        .iterations = c->num_iterations,
        .group_size = c->num_generations,
        .shuffle = c->shuffle_dataset,
        .seed = (uint64_t)c->data_seed,
    };
}

static enum status plan_memory(struct run *r)
{
    const struct grpo_plan plan = grpo_training_plan(r);
    struct memory_plan memory;
    TRY(comm_agree(&r->comm, grpo_plan_check(&plan)));
    if (r->leader) { /* planned with all members */
        r->cache_pages = r->leader->cache_pages;
        r->batch_tokens = r->leader->batch_tokens;
        r->recompute = r->leader->recompute;
        return STATUS_OK;
    }
    TRY(memory_plan_grpo(r, &plan, &memory));
    r->cache_pages = memory.pages;
    r->batch_tokens = memory.micro_batch_tokens;
    r->recompute = memory.recompute;
    if (r->plan_only) {
        *r->plan_only = memory;
    }
    return STATUS_OK;
}

enum status grpo_setup(struct run *r)
{
    struct optim_config optim;
    if (!r->plan_only) {
        TRY(run_check_resume(r));
    }
    TRY(run_open_data(r));
    TRY(comm_agree(&r->comm, check_columns(r)));
    TRY(recipe_optim(&r->recipe, &optim));
    TRY(run_attach(r, &optim));
    TRY(plan_memory(r));
    return comm_agree(&r->comm, r->plan_only ? STATUS_OK :
                      r->comm.rank == 0 ? file_mkdirs(r->recipe.output_dir) : STATUS_OK);
}

static enum status open_rewards(const struct run *r, struct reward_set *set)
{
    const struct recipe *c = &r->recipe;
    json_t *parameters;
    TRY(recipe_reward_parameters(c, &parameters));
    const struct reward_judge_options options = {
        .helper = r->helper,
        .parameters = parameters,
        .compute = (enum compute)c->compute,
        .threads = pool_threads(r->ops->pool),
        .cpus = pool_cpus(r->ops->pool),
        .system_prompt = c->system_prompt,
        .template_kwargs = c->chat_template_kwargs,
    };
    const enum status status = reward_judge_open(set, &options,
                                                 (const char *const *)c->reward_funcs.items,
                                                 c->reward_funcs.count);
    json_decref(parameters);
    return status == STATUS_OK ? status : status_prefix(status, "reward_funcs: ");
}

enum status grpo_open_rewards(const struct run *r, struct reward_set *set)
{
    return comm_agree(&r->comm, open_rewards(r, set));
}

static enum status evaluate_step(void *ctx, int64_t step, json_t *line)
{
    struct run *r = ctx;
    struct eval_result result;
    char label[64];
    (void)snprintf(label, sizeof label, "step %lld", (long long)step);
    TRY(run_evaluate(r, label, true, &result));
    (void)json_object_set_new(line, "eval_accuracy", json_real(result.accuracy));
    return STATUS_OK;
}

/* eval_accuracy is Graft's own measurement: its keys ask for it. */
static bool asks_for_accuracy(const struct recipe *c)
{
    return recipe_given(c, "eval_num_generations") || recipe_given(c, "eval_temperature") ||
           recipe_given(c, "eval_top_p") || recipe_given(c, "eval_top_k");
}

/* Of the weights that sample: what an interrupted round's completions depend on. */
static uint64_t fingerprint(void *ctx)
{
    const struct run *r = ctx;
    return rollout_hash(1, r->params.value, (size_t)r->params.total * sizeof *r->params.value);
}

static void fill_rollout(struct grpo_training *t, struct reward_set *rewards)
{
    struct run *r = t->run;
    const struct recipe *c = &r->recipe;
    (void)snprintf(t->folder, sizeof t->folder, "%s/journal", c->output_dir);
    t->journal = (struct rollout_journal){t->folder, fingerprint, r};
    for (int k = 0; k < rewards->count; k++) {
        t->weights[k] = k < c->reward_weights.count ? c->reward_weights.items[k] : 1.0;
    }
    t->config.rollout = (struct rollout_config){
        .group_size = c->num_generations,
        .max_completion_length = c->max_completion_length,
        .mask_truncated = c->mask_truncated_completions,
        .journal = &t->journal,
        .sample = t->sampling.config,
        .limits = run_limits(r),
        .rewards = rewards,
        .weights = t->weights,
        .history = t->history,
        .call_rows = c->per_device_train_batch_size * c->steps_per_generation,
    };
    recipe_advantage(c, &t->config.rollout.advantage);
    t->env = (struct rollout_env){
        .model = r->model,
        .ops = r->ops,
        .comm = &r->comm,
        .format = r->format,
        .row = run_row,
        .row_ctx = &r->train,
        .where = dataset_name(r->train.set),
    };
}

static void fill_method(struct grpo_training *t, struct reward_set *rewards)
{
    struct run *r = t->run;
    const struct recipe *c = &r->recipe;
    struct grpo_config *config = &t->config;
    config->plan = grpo_training_plan(r);
    config->async_rounds = c->async_rounds;
    config->dynamic_waves = c->dynamic_sampling ? c->dynamic_sampling_waves : 0;
    config->micro_batch_tokens = c->micro_batch_tokens;
    config->batch_tokens = r->batch_tokens;
    config->recompute = r->recompute;
    config->dropout = run_dropout(r);
    config->log_completions = c->log_completions;
    config->output_dir = c->output_dir;
    config->top_entropy_quantile = c->top_entropy_quantile;
    config->reward_beta = c->method == RECIPE_RLOO ? c->beta : 0;
    config->ref_sync_steps = c->sync_ref_model ? c->ref_model_sync_steps : 0;
    config->ref_mixup_alpha = c->ref_model_mixup_alpha;
    recipe_objective(c, &config->objective);
    recipe_entropy(c, &config->entropy);
    recipe_correction(c, &config->correction);
    if (r->train.source) {
        config->follower = procedural_source_follower(&r->procedural, rewards);
    }
}

static enum status open_parts(struct grpo_training *t)
{
    const struct run *r = t->run;
    if (r->recipe.rollout_history > 0) {
        TRY(rollout_history_open(&t->history, r->recipe.rollout_history));
    }
    return sampling_open(&t->sampling, &r->recipe, r->tokenizer, r->model->config.vocab, r->stops,
                         r->stop_count);
}

enum status grpo_training_open(struct grpo_training *t, struct run *r, struct reward_set *rewards)
{
    const struct recipe *c = &r->recipe;
    *t = (struct grpo_training){.run = r};
    TRY(comm_agree(&r->comm, open_parts(t)));
    fill_rollout(t, rewards);
    fill_method(t, rewards);
    /* An adapter's reference is the bare base, or the adapter that training starts from. */
    if (c->beta > 0 && (!r->adapter || c->adapter_name_or_path)) {
        TRY(comm_agree(&r->comm, model_reference_open(&r->reference, r->model, &r->params)));
        r->reference.adapter = r->adapter != NULL;
        t->config.reference = &r->reference;
        r->reference_moves = c->sync_ref_model;
    }
    TRY(grpo_open(&t->grpo, &t->config, &t->env));
    const int64_t per_epoch = grpo_plan_steps_per_epoch(&t->config.plan);
    TRY(recipe_train(c, run_max_steps(c, per_epoch), per_epoch, &t->loop));
    if (t->loop.eval_steps > 0 && r->test.set) {
        const int64_t rows = dataset_count(r->test.set);
        t->config.eval = (struct grpo_eval){
            .rows = c->eval_samples > 0 && c->eval_samples < rows ? c->eval_samples : rows,
            .group_size = c->num_generations_eval,
            .per_device = c->per_device_eval_batch_size,
            .row = run_row,
            .row_ctx = &r->test,
            .where = dataset_name(r->test.set),
        };
        t->loop.eval_on_start = c->eval_on_start; /* beside the accuracy that the stage measures */
        t->config.plan.eval_on_start = c->eval_on_start;
        t->config.plan.eval_steps = t->loop.eval_steps;
        t->config.plan.eval_delay = t->loop.eval_delay;
    }
    t->config.max_steps = t->loop.max_steps;
    if (t->config.eval.rows > 0 && asks_for_accuracy(c)) {
        t->config.evaluate = evaluate_step;
        t->config.evaluate_ctx = r;
    }
    t->method = grpo_method(t->grpo);
    return STATUS_OK;
}

void grpo_training_close(struct grpo_training *t)
{
    grpo_close(t->grpo);
    sampling_close(&t->sampling);
    rollout_history_close(t->history);
}
