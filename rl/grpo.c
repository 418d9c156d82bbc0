/*
 * GRPO, the algorithm. Read prepare() for what a step trains, grpo_run() for its gradient.
 *
 *   prepare: the rounds this step needs are rolled out, judged and, where the sampler is not the
 *            policy or there is a reference, scored (grpo_rounds.c); every group's rows in this
 * step become one unit of work with their token weights (grpo_step.c). run:     units are packed as
 * trees (the prompt once, the completions as branches) into micro-batches; forward -> log-probs ->
 * objective -> d logp -> backward (grpo_run.c). log:     grpo_log.c.
 *
 * Rows whose gradient is exactly zero (advantage 0 without KL term, masked) never run.
 */
#include "rl/grpo.h"

#include <math.h>
#include <string.h>

#include "rl/grpo_internal.h"

/* Entropies that decide which tokens stay, or are logged for rows without a forward, must be those
 * of the policy as it is now. */
static enum status renew_entropies(struct grpo *g, int64_t first)
{
    for (int64_t i = 0; i < g->live_count; i++) {
        if (g->live[i].used >= 0 && g->live[i].as_of != g->step) {
            TRY(grpo_score_entropies(g, i, first));
        }
    }
    return STATUS_OK;
}

enum status grpo_begin(struct grpo *g, int64_t step)
{
    if (g->step == step) {
        return STATUS_OK;
    }
    g->step = step;
    g->waves = 0;
    g->replaced_groups = 0;
    g->score_seconds = 0.0;
    ref_sync_step(&g->sync, step);
    grpo_plan_window(&g->config->plan, step, &g->first, &g->window);
    grpo_rounds_drop(g);
    return grpo_take_up(g);
}

static enum status prepare(void *ctx, int64_t step, struct train_units *units)
{
    struct grpo *g = ctx;
    TRY(grpo_begin(g, step));
    while (grpo_draws(g)) {
        TRY(grpo_draw(&g, 1));
        TRY(grpo_take_up(g));
    }
    TRY(renew_entropies(g, g->first));
    TRY(grpo_step_build(g, g->first));
    g->on_policy = true;
    for (int64_t i = 0; i < g->live_count; i++) {
        g->on_policy = g->on_policy && (g->live[i].used < 0 || g->live[i].as_of == step);
    }
    *units = (struct train_units){.count = g->unit_count, .cost = g->cost};
    return STATUS_OK;
}

static enum status evaluate(void *ctx, int64_t step, json_t *line)
{
    struct grpo *g = ctx;
    const struct grpo_config *c = g->config;
    ref_sync_step(&g->sync, step); /* TRL moves the reference before it evaluates */
    if (c->eval.rows > 0) {
        TRY(grpo_evaluate(g, step, line));
    }
    return c->evaluate ? c->evaluate(c->evaluate_ctx, step, line) : STATUS_OK;
}

enum status grpo_open(struct grpo **out, const struct grpo_config *config,
                      const struct rollout_env *env)
{
    *out = NULL;
    TRY(grpo_plan_check(&config->plan));
    struct grpo *g = calloc(1, sizeof *g);
    if (!g) {
        return FAIL(MEMORY, "grpo: no memory");
    }
    g->config = config;
    g->env = env;
    g->step = -1;
    g->pass = (struct unit_pass){
        .model = env->model,
        .ops = env->ops,
        .temperature = (float)config->rollout.sample.temperature,
        .hooks = true,
        .grad = true,
        .full = config->reference,
        .recompute = config->recompute,
    };
    g->sync = (struct ref_sync){.reference = config->reference,
                                .every = config->ref_sync_steps,
                                .alpha = config->ref_mixup_alpha,
                                .output_dir = config->output_dir};
    entropy_control_open(&g->entropy, &config->entropy);
    g->pass.entropy_grad = entropy_control_on(&g->entropy);
    const enum status status = grpo_orders_open(&g->orders, &config->plan);
    if (status != STATUS_OK) {
        grpo_close(g);
        return status;
    }
    *out = g;
    return STATUS_OK;
}

void grpo_hand_over(struct grpo *from, struct grpo *to)
{
    arena_close(&to->pass.pack);
    arena_close(&to->pass.step);
    arena_close(&to->pass.scratch);
    to->pass.pack = from->pass.pack;
    to->pass.step = from->pass.step;
    to->pass.scratch = from->pass.scratch;
    from->pass.pack = (struct arena){0};
    from->pass.step = (struct arena){0};
    from->pass.scratch = (struct arena){0};
}

struct train_method grpo_method(struct grpo *g)
{
    return (struct train_method){
        .name = g->config->objective.loss_type == LOSS_RLOO ? "rloo" : "grpo",
        .ctx = g,
        .prepare = prepare,
        .run = grpo_run,
        .metrics = METRIC_COUNT,
        .log = grpo_log,
        .evaluate = g->config->evaluate || g->config->eval.rows > 0 ? evaluate : NULL,
        .eval_rows = g->config->eval.rows * g->config->eval.group_size,
        .settle = g->config->async_rounds > 0 ? grpo_rounds_settle : NULL,
        .save_state = grpo_save_state,
        .load_state = grpo_load_state,
        .work = grpo_take_work,
    };
}

void grpo_close(struct grpo *g)
{
    if (!g) {
        return;
    }
    if (g->env->comm->rank == 0) {
        rollout_journal_end(g->config->rollout.journal, g->saved_rounds);
    }
    grpo_rounds_close(g);
    free(g->slices);
    free(g->kept);
    free(g->records);
    free(g->units);
    free(g->cost);
    free(g->branches);
    free(g->rows);
    unit_pass_close(&g->pass);
    grpo_lists_close(&g->lists);
    grpo_orders_close(g->orders);
    free(g);
}
