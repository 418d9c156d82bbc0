/*
 * graft grpo: reasoning RL by recipe. Setup, accuracy before, train, accuracy after, report.
 */
#include <string.h>

#include "recipes/build.h"
#include "recipes/run.h"
#include "recipes/sampling.h"
#include "recipes/stages.h"
#include "rl/grpo.h"
#include "rl/rollout_history.h"
#include "trainer/format/file.h"
#include "trainer/format/json.h"
#include "trainer/report/report.h"

/* Opens the recipe's rewards; weights default to 1. Close the set in any case. */
static enum status open_rewards(const struct run *r, struct reward_set *set, double *weights)
{
    const struct recipe *c = &r->recipe;
    json_t *parameters;
    TRY(recipe_reward_parameters(c, &parameters));
    const enum status status =
        reward_set_open_isolated(set, r->helper, (const char *const *)c->reward_funcs.items,
                                 c->reward_funcs.count, parameters);
    json_decref(parameters);
    if (status != STATUS_OK) {
        return status_prefix(status, "reward_funcs: ");
    }
    for (int k = 0; k < set->count; k++) {
        weights[k] = k < c->reward_weights.count ? c->reward_weights.items[k] : 1.0;
    }
    return STATUS_OK;
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

static struct grpo_plan plan_of(const struct run *r)
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

/* Trains; `config` is complete but for the evaluation hook. */
static enum status train(struct run *r, struct grpo_config *config, struct train_result *result)
{
    const struct recipe *c = &r->recipe;
    const struct rollout_env env = {
        .model = r->model,
        .ops = &r->ops,
        .comm = &r->comm,
        .format = r->format,
        .row = run_row,
        .row_ctx = &r->train,
        .where = dataset_name(r->train.set),
    };
    struct grpo *g;
    /* An adapter's reference is the bare base, or the adapter that training starts from. */
    if (c->beta > 0 && (!r->adapter || c->adapter_name_or_path)) {
        TRY(comm_agree(&r->comm, model_reference_open(&r->reference, r->model, &r->params)));
        r->reference.adapter = r->adapter != NULL;
        config->reference = &r->reference;
        r->reference_moves = c->sync_ref_model;
    }
    TRY(grpo_open(&g, config, &env));
    const int64_t per_epoch = grpo_plan_steps_per_epoch(&config->plan);
    struct train_config loop;
    TRY(recipe_train(c, run_max_steps(c, per_epoch), per_epoch, &loop));
    config->plan.eval_steps = r->test.set ? loop.eval_steps : 0;
    config->max_steps = loop.max_steps;
    if (loop.eval_steps > 0 && r->test.set) {
        config->evaluate = evaluate_step;
        config->evaluate_ctx = r;
    }
    const struct train_method method = grpo_method(g);
    const enum status status = run_train(r, &loop, &method, result);
    grpo_close(g);
    return status;
}

/* What training needs besides the run. */
struct parts {
    struct reward_set rewards;
    double weights[REWARD_MAX];
    struct sampling sampling;
    struct rollout_history *history; /* NULL: none */
};

static enum status open_parts(struct run *r, struct parts *p)
{
    TRY(open_rewards(r, &p->rewards, p->weights));
    if (r->recipe.rollout_history > 0) {
        TRY(rollout_history_open(&p->history, r->recipe.rollout_history));
    }
    return sampling_open(&p->sampling, &r->recipe, r->tokenizer, r->model->config.vocab, r->stops,
                         r->stop_count);
}

static void close_parts(struct parts *p)
{
    reward_set_close(&p->rewards);
    sampling_close(&p->sampling);
    rollout_history_close(p->history);
}

/* Of the weights that sample: what an interrupted round's completions depend on. */
static uint64_t fingerprint(void *ctx)
{
    const struct run *r = ctx;
    return rollout_hash(1, r->params.value, (size_t)r->params.total * sizeof *r->params.value);
}

static enum status train_with_parts(struct run *r, struct parts *p, struct train_result *result)
{
    const struct recipe *c = &r->recipe;
    char folder[4096];
    (void)snprintf(folder, sizeof folder, "%s/journal", c->output_dir);
    const struct rollout_journal journal = {folder, fingerprint, r};
    struct grpo_config config = {
        .plan = plan_of(r),
        .rollout =
            {
                .group_size = c->num_generations,
                .max_completion_length = c->max_completion_length,
                .mask_truncated = c->mask_truncated_completions,
                .journal = &journal,
                .sample = p->sampling.config,
                .limits = sampling_limits(c),
                .rewards = &p->rewards,
                .weights = p->weights,
                .history = p->history,
                .call_rows = c->per_device_train_batch_size * c->steps_per_generation,
            },
        .async_rounds = c->async_rounds,
        .dynamic_waves = c->dynamic_sampling ? c->dynamic_sampling_waves : 0,
        .micro_batch_tokens = c->micro_batch_tokens,
        .gradient_checkpointing = c->gradient_checkpointing,
        .log_completions = c->log_completions,
        .output_dir = c->output_dir,
    };
    recipe_objective(c, &config.objective);
    recipe_entropy(c, &config.entropy);
    recipe_correction(c, &config.correction);
    config.top_entropy_quantile = c->top_entropy_quantile;
    config.reward_beta = c->method == RECIPE_RLOO ? c->beta : 0;
    config.ref_sync_steps = c->sync_ref_model ? c->ref_model_sync_steps : 0;
    config.ref_mixup_alpha = c->ref_model_mixup_alpha;
    recipe_advantage(c, &config.rollout.advantage);
    if (r->train.source) {
        config.follower = procedural_source_follower(&r->procedural, &p->rewards);
    }
    return train(r, &config, result);
}

static enum status train_open(struct run *r, struct train_result *result)
{
    struct parts parts = {0};
    enum status status = comm_agree(&r->comm, open_parts(r, &parts));
    if (status == STATUS_OK) {
        status = train_with_parts(r, &parts, result);
    }
    close_parts(&parts);
    return status;
}

/* before.json keeps the first measurement, so that a resumed run reports it too. */
static enum status accuracy_before(struct run *r, json_t **out)
{
    char path[4096];
    struct eval_result result;
    *out = NULL;
    if (!r->recipe.eval_on_start || !r->test.set) {
        return STATUS_OK;
    }
    (void)snprintf(path, sizeof path, "%s/accuracy_before.json", r->recipe.output_dir);
    FILE *there = r->recipe.resume == RESUME_AUTO ? fopen(path, "rbe") : NULL;
    bool have = false;
    TRY(comm_any(&r->comm, r->comm.rank == 0 && there != NULL, &have));
    if (there) {
        (void)fclose(there);
    }
    if (have) {
        return comm_agree(&r->comm, r->comm.rank == 0 ? json_load_path(path, 1 << 20, out)
                                                      : STATUS_OK);
    }
    TRY(run_evaluate(r, "before", r->recipe.adapter_name_or_path != NULL, &result));
    *out = eval_result_json(&result);
    if (r->comm.rank == 0) {
        report_note("accuracy before: %.1f %% of %lld problems", 100.0 * result.accuracy,
                    (long long)result.problems);
    }
    return comm_agree(&r->comm,
                      r->comm.rank == 0 ? json_write_path(path, *out) : STATUS_OK);
}

/* A {before, after} pair of one number of the two measurements, for the report's table. */
static json_t *pair(const json_t *before, const json_t *after, const char *key)
{
    return json_pack("{s:O?, s:O?}", "before", json_object_get(before, key), "after",
                     json_object_get(after, key));
}

static enum status write_report(const struct run *r, const struct train_result *result,
                                const json_t *before, const json_t *after)
{
    json_t *summary = json_pack("{s:s, s:I, s:f, s:I}", "method",
                                recipe_method_name(r->recipe.method), "steps",
                                (json_int_t)result->steps, "seconds", result->seconds,
                                "skipped steps", (json_int_t)result->skipped);
    if (summary && after) {
        (void)json_object_set_new(summary, "accuracy", pair(before, after, "accuracy"));
        (void)json_object_set_new(summary, "mean length", pair(before, after, "mean_length"));
        (void)json_object_set_new(summary, "cut off", pair(before, after, "truncated"));
    }
    const enum status status = summary ? report_html(r->recipe.output_dir, summary)
                                       : FAIL(MEMORY, "report: no memory");
    json_decref(summary);
    return status;
}

static enum status summarize(const struct run *r, const struct train_result *result,
                             json_t *before, json_t *after)
{
    TRY(write_report(r, result, before, after));
    json_t *line = json_pack("{s:s, s:I, s:f, s:I, s:s, s:O?, s:O?}", "method",
                             recipe_method_name(r->recipe.method), "steps",
                             (json_int_t)result->steps, "seconds", result->seconds,
                             "skipped_steps", (json_int_t)result->skipped, "output_dir",
                             r->recipe.output_dir, "before", before, "after", after);
    char *text = json_dumps(line, JSON_COMPACT);
    if (text) {
        report_result("%s", text);
    }
    free(text);
    json_decref(line);
    return STATUS_OK;
}

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

static enum status run_grpo(struct run *r)
{
    struct train_result result = {0};
    struct optim_config optim;
    json_t *before = NULL;
    json_t *after = NULL;
    TRY(run_check_resume(r));
    TRY(run_open_data(r));
    TRY(comm_agree(&r->comm, check_columns(r)));
    TRY(recipe_optim(&r->recipe, &optim));
    TRY(run_attach(r, &optim));
    TRY(comm_agree(&r->comm, r->comm.rank == 0 ? file_mkdirs(r->recipe.output_dir) : STATUS_OK));
    enum status status = accuracy_before(r, &before);
    if (status == STATUS_OK) {
        status = train_open(r, &result);
    }
    if (status == STATUS_OK && r->recipe.eval_on_start && r->test.set) {
        struct eval_result last;
        status = run_evaluate(r, "after", true, &last);
        after = status == STATUS_OK ? eval_result_json(&last) : NULL;
        if (after && r->comm.rank == 0) {
            report_note("accuracy after: %.1f %%", 100.0 * last.accuracy);
        }
    }
    if (status == STATUS_OK) {
        status = comm_agree(&r->comm,
                            r->comm.rank == 0 ? summarize(r, &result, before, after) : STATUS_OK);
    }
    json_decref(before);
    json_decref(after);
    return status;
}

static enum status stage(const struct command_args *args, enum recipe_method method)
{
    struct run r;
    enum status status = run_open(&r, args, method);
    if (status == STATUS_OK) {
        status = run_grpo(&r);
    }
    return stage_end(&r, status);
}

enum status stage_grpo(const struct command_args *args)
{
    return stage(args, RECIPE_GRPO);
}

enum status stage_rloo(const struct command_args *args)
{
    return stage(args, RECIPE_RLOO);
}
