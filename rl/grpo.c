/*
 * GRPO, the algorithm. Read prepare() for what a step trains, grpo_run() for its gradient.
 *
 *   prepare: the rounds this step needs are rolled out and judged (rollout.c) and, where the sampler
 *            is foreign or there is a reference, scored (grpo_score.c); every group's rows in this
 *            step become one unit of work with their token weights (grpo_step.c).
 *   run:     units are packed as trees (the prompt once, the completions as branches) into
 *            micro-batches; forward -> log-probs -> objective -> d logp -> backward (grpo_run.c).
 *   log:     grpo_log.c.
 *
 * Rows whose gradient is exactly zero (advantage 0 without KL term, masked) never run.
 */
#include "rl/grpo.h"

#include <math.h>
#include <string.h>

#include "rl/grpo_internal.h"

static int64_t round_rows(const struct grpo *g)
{
    return grpo_plan_round_rows(&g->config->plan);
}

int64_t grpo_loss_tokens(const struct rollout_row *row)
{
    return row->masked ? 0 : row->count;
}

static void live_drop(struct grpo *g, int64_t i)
{
    round_close(&g->live[i].data);
    free(g->live[i].slice);
    free(g->live[i].correction);
    free(g->live[i].token);
    memmove(&g->live[i], &g->live[i + 1], (size_t)(g->live_count - i - 1) * sizeof *g->live);
    g->live_count--;
}

static int64_t live_find(const struct grpo *g, int64_t round)
{
    for (int64_t i = 0; i < g->live_count; i++) {
        if (g->live[i].index == round) {
            return i;
        }
    }
    return -1;
}

enum status grpo_live_finish(struct grpo *g, struct live_round *live)
{
    live->slice = malloc((size_t)round_rows(g) * sizeof *live->slice);
    if (!live->slice) {
        return FAIL(MEMORY, "round: no memory for %lld rows", (long long)round_rows(g));
    }
    TRY(grpo_plan_slices(&g->config->plan, live->index, live->slice));
    live->tokens = 0.0;
    for (int64_t i = 0; i < round_rows(g); i++) {
        live->tokens += (double)grpo_loss_tokens(&live->data.row[i]);
    }
    return grpo_correct(g, live);
}

enum status grpo_live_grow(struct grpo *g, struct live_round **out)
{
    struct live_round *live = realloc(g->live, (size_t)(g->live_count + 1) * sizeof *live);
    if (!live) {
        return FAIL(MEMORY, "round: no memory");
    }
    g->live = live;
    *out = &live[g->live_count];
    **out = (struct live_round){0};
    return STATUS_OK;
}

/* RLOO: advantages again, now that the rows' sums of old - ref are known. */
static enum status penalize(struct grpo *g, struct round *r)
{
    double *penalty = calloc((size_t)round_rows(g) + 1, sizeof *penalty);
    if (!penalty) {
        return FAIL(MEMORY, "round: no memory for %lld rows", (long long)round_rows(g));
    }
    for (int64_t i = 0; i < round_rows(g); i++) {
        const struct rollout_row *row = &r->row[i];
        for (int64_t t = 0; t < grpo_loss_tokens(row); t++) {
            penalty[i] += g->config->reward_beta * ((double)row->logp[t] - (double)row->ref[t]);
        }
    }
    const enum status status = rollout_advantages(&g->config->rollout, penalty, r);
    free(penalty);
    return status;
}

/* Log-probs that the rollout does not bring: a foreign sampler's rows, the reference. */
static enum status score(struct grpo *g, int64_t live)
{
    const struct grpo_config *c = g->config;
    if (c->rollout.source && c->rollout.source->foreign) {
        TRY(grpo_score_policy(g, live));
    }
    if (c->objective.beta > 0 || c->reward_beta > 0) {
        TRY(grpo_score_reference(g, live));
    }
    return c->reward_beta > 0 ? penalize(g, &g->live[live].data) : STATUS_OK;
}

/* The follower sees the round as it was drawn: what replaces flat groups is no fair sample. Closes the
 * round after a failure. */
static enum status follow_round(struct grpo *g, int64_t round, struct round *data)
{
    const struct grpo_follower *follower = &g->config->follower;
    enum status status = follower->observe
                             ? follower->observe(follower->ctx, data, follower->score)
                             : STATUS_OK;
    if (status == STATUS_OK && g->config->dynamic_waves > 0) {
        status = grpo_replace_flat(g, round, data);
    }
    if (status != STATUS_OK) {
        round_close(data);
    }
    return status;
}

static enum status roll_out(struct grpo *g, int64_t round)
{
    const int64_t groups = round_rows(g) / g->config->plan.group_size;
    int64_t *indices = malloc((size_t)groups * sizeof *indices);
    struct live_round *live;
    enum status status = indices ? grpo_live_grow(g, &live) : FAIL(MEMORY, "round: no memory");
    if (status == STATUS_OK) {
        live->index = round;
        live->born = g->step;
        status = grpo_plan_prompts(&g->config->plan, round, indices);
    }
    if (g->env->comm->rank == 0) { /* the checkpoint that holds them is complete by now */
        rollout_journal_drop(g->config->rollout.journal, g->saved_rounds);
    }
    if (status == STATUS_OK) {
        status = rollout_round(&g->config->rollout, g->env, indices, groups, round, &live->data);
    }
    if (status == STATUS_OK) {
        status = follow_round(g, round, &live->data);
    }
    free(indices);
    TRY(status);
    g->live_count++;
    TRY(score(g, g->live_count - 1));
    TRY(grpo_live_finish(g, live));
    for (int64_t i = 0; i < round_rows(g); i++) {
        g->num_tokens += (double)(live->data.row[i].count
                                  + live->data.group[live->data.row[i].group].prompt_count);
    }
    if (g->env->comm->rank == 0 && g->config->log_completions) {
        status = grpo_write_completions(g, live);
    }
    return comm_agree(g->env->comm, status);
}

/* Drops the rounds behind the window and rolls out those that begin in it. */
static enum status renew_rounds(struct grpo *g, int64_t first, int64_t count)
{
    const struct grpo_plan *plan = &g->config->plan;
    const int64_t oldest = grpo_plan_round_of(plan, first);
    const int64_t newest = grpo_plan_round_of(plan, first + count - 1);
    for (int64_t i = g->live_count - 1; i >= 0; i--) {
        if (g->live[i].index < oldest) {
            live_drop(g, i);
        }
    }
    for (int64_t round = oldest; round <= newest; round++) {
        if (live_find(g, round) < 0) {
            TRY(roll_out(g, round));
        }
    }
    return STATUS_OK;
}

/* TRL's callback after step `done`: the reference moves. */
static void sync_reference(struct grpo *g, int64_t done)
{
    const int64_t every = g->config->ref_sync_steps;
    if (g->config->reference && every > 0 && done > 0 && done % every == 0) {
        model_reference_mix(g->config->reference, g->config->ref_mixup_alpha);
    }
}

/* Entropies that decide which tokens stay, or are logged for rows without a forward, must be those of
 * the policy as it is now. */
static enum status renew_entropies(struct grpo *g, int64_t first)
{
    for (int64_t i = 0; i < g->live_count; i++) {
        if (g->live[i].born != g->step) {
            TRY(grpo_score_entropies(g, i, first));
        }
    }
    return STATUS_OK;
}

static enum status prepare(void *ctx, int64_t step, struct train_units *units)
{
    struct grpo *g = ctx;
    int64_t first;
    g->step = step;
    g->waves = 0;
    g->replaced_groups = 0;
    sync_reference(g, step);
    grpo_plan_window(&g->config->plan, step, &first, &g->window);
    TRY(renew_rounds(g, first, g->window));
    TRY(renew_entropies(g, first));
    TRY(grpo_step_build(g, first));
    g->on_policy = true;
    for (int64_t i = 0; i < g->live_count; i++) {
        g->on_policy = g->on_policy && g->live[i].born == step;
    }
    *units = (struct train_units){.count = g->unit_count, .cost = g->cost};
    return STATUS_OK;
}

static enum status evaluate(void *ctx, int64_t step, json_t *line)
{
    const struct grpo *g = ctx;
    return g->config->evaluate(g->config->evaluate_ctx, step, line);
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
    g->pass = (struct unit_pass){
        .model = env->model,
        .ops = env->ops,
        .temperature = (float)config->rollout.sample.temperature,
        .hooks = true,
        .grad = true,
        .full = config->reference,
        .checkpoint = config->gradient_checkpointing,
    };
    entropy_control_open(&g->entropy, &config->entropy);
    g->pass.entropy_grad = entropy_control_on(&g->entropy);
    *out = g;
    return STATUS_OK;
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
        .evaluate = g->config->evaluate ? evaluate : NULL,
        .save_state = grpo_save_state,
        .load_state = grpo_load_state,
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
    while (g->live_count > 0) {
        live_drop(g, g->live_count - 1);
    }
    free(g->live);
    free(g->slices);
    free(g->kept);
    free(g->records);
    free(g->units);
    free(g->cost);
    free(g->rows);
    unit_pass_close(&g->pass);
    free(g);
}
