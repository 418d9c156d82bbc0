/*
 * The rounds at hand: drawn, judged, scored, dropped.
 *
 * A round is drawn by the policy of some step and comes into use when the window reaches it. These are
 * one step, but with async_rounds: then round n + 1 is drawn in the step that takes round n into use,
 * before it does so and before the policy moves. A round's judges thus work while the round before it is
 * trained on and the round after it is drawn. When a round comes into use its log-probs become the
 * sampler's, the policy of that step scores it anew (by the training forward itself where the step
 * trains all of it), and the importance correction weighs the difference (spec training.md 1.5). Which
 * policy draws depends on the step alone, so neither the ranks nor a resume change a bit.
 */
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

void grpo_live_drop(struct grpo *g, int64_t i)
{
    rollout_cancel(g->live[i].pending);
    round_close(&g->live[i].data);
    free(g->live[i].slice);
    free(g->live[i].correction);
    free(g->live[i].sampling);
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
    grpo_orders_slices(g->orders, live->index, live->slice);
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

enum status grpo_penalize(const struct grpo *g, const struct rollout_config *c, struct round *r)
{
    const int64_t rows = r->groups * r->group_size;
    double *penalty = calloc((size_t)rows + 1, sizeof *penalty);
    if (!penalty) {
        return FAIL(MEMORY, "round: no memory for %lld rows", (long long)rows);
    }
    for (int64_t i = 0; i < rows; i++) {
        const struct rollout_row *row = &r->row[i];
        for (int64_t t = 0; t < grpo_loss_tokens(row); t++) {
            penalty[i] += g->config->reward_beta * ((double)row->logp[t] - (double)row->ref[t]);
        }
    }
    const enum status status = rollout_advantages(c, penalty, r);
    free(penalty);
    return status;
}

/* The log-probs that a round was drawn with become its sampler's. */
static enum status keep_sampling(struct round *r)
{
    for (int64_t i = 0; i < r->groups * r->group_size; i++) {
        struct rollout_row *row = &r->row[i];
        const size_t bytes = (size_t)row->count * sizeof *row->sampling;
        row->sampling = malloc(bytes + 1);
        if (!row->sampling) {
            return FAIL(MEMORY, "round: no memory for log-probs");
        }
        memcpy(row->sampling, row->logp, bytes);
    }
    return STATUS_OK;
}

/* True when the step at hand trains all of the round and nothing needs its scores before: then the
 * training forward has the log-probs that the ratios are taken against. */
static bool scores_late(const struct grpo *g, const struct live_round *live)
{
    const struct grpo_plan *plan = &g->config->plan;
    const int64_t end = g->first + g->window;
    return !grpo_filters(g) && !g->config->dropout.on
           && grpo_plan_round_of(plan, end) > live->index
           && (g->first == 0 || grpo_plan_round_of(plan, g->first - 1) < live->index);
}

/* Log-probs that the rollout does not bring: those of rows that another sampler or an older policy
 * drew, and the reference's. */
static enum status score(struct grpo *g, int64_t at)
{
    const struct grpo_config *c = g->config;
    struct live_round *live = &g->live[at];
    const bool foreign = c->rollout.source && c->rollout.source->foreign;
    const bool stale = live->born != g->step && c->correction.on;
    if (stale && !foreign) {
        TRY(keep_sampling(&live->data));
    }
    live->late = stale && !foreign && scores_late(g, live);
    if (foreign || stale) {
        TRY(live->late ? grpo_score_idle(g, at) : grpo_score_policy(g, at));
        live->as_of = g->step;
    }
    if (c->objective.beta > 0 || c->reward_beta > 0) {
        TRY(grpo_score_reference(g, at));
    }
    return c->reward_beta > 0 ? grpo_penalize(g, &c->rollout, &live->data) : STATUS_OK;
}

/* The follower sees the round as it was drawn: what replaces flat groups is no fair sample. */
static enum status follow_round(struct grpo *g, int64_t round, struct round *data)
{
    const struct grpo_follower *follower = &g->config->follower;
    if (follower->observe) {
        TRY(follower->observe(follower->ctx, data, follower->score));
    }
    return g->config->dynamic_waves > 0 ? grpo_replace_flat(g, round, data) : STATUS_OK;
}

/* The last round that the run trains on. */
static int64_t last_round(const struct grpo *g)
{
    int64_t first;
    int64_t count;
    grpo_plan_window(&g->config->plan, g->config->max_steps - 1, &first, &count);
    return grpo_plan_round_of(&g->config->plan, first + count - 1);
}

/* The round to be drawn next: of the window, then the one ahead; -1: none. */
static int64_t next_round(const struct grpo *g)
{
    const struct grpo_plan *plan = &g->config->plan;
    const int64_t newest = grpo_plan_round_of(plan, g->first + g->window - 1);
    for (int64_t round = grpo_plan_round_of(plan, g->first); round <= newest; round++) {
        if (live_find(g, round) < 0) {
            return round;
        }
    }
    const bool ahead = g->config->async_rounds > 0 && newest < last_round(g);
    return ahead && live_find(g, newest + 1) < 0 ? newest + 1 : -1;
}

bool grpo_draws(const struct grpo *g)
{
    return next_round(g) >= 0;
}

/* A new round, with prompts and journals, at the end of g->live. */
static enum status open_round(struct grpo *g)
{
    const int64_t round = next_round(g);
    const int64_t groups = round_rows(g) / g->config->plan.group_size;
    int64_t *indices = malloc((size_t)groups * sizeof *indices);
    struct live_round *live;
    enum status status = indices ? grpo_live_grow(g, &live) : FAIL(MEMORY, "round: no memory");
    if (status == STATUS_OK) {
        live->index = round;
        live->born = g->step;
        live->used = -1;
        live->as_of = g->step;
        grpo_orders_prompts(g->orders, round, indices);
    }
    if (g->env->comm->rank == 0) { /* the checkpoint that holds them is complete by now */
        rollout_journal_drop(g->config->rollout.journal, g->saved_rounds);
    }
    if (status == STATUS_OK) {
        status = rollout_open(&g->config->rollout, g->env, indices, groups, round, &live->data,
                              &live->pending);
    }
    free(indices);
    g->live_count += status == STATUS_OK;
    return status;
}

enum status grpo_draw(struct grpo *const *methods, int64_t count)
{
    struct rollout_drawn *rounds = calloc((size_t)count + 1, sizeof *rounds);
    enum status status = rounds ? STATUS_OK : FAIL(MEMORY, "round: no memory");
    for (int64_t i = 0; status == STATUS_OK && i < count; i++) {
        struct grpo *g = methods[i];
        status = open_round(g);
        if (status == STATUS_OK) {
            struct live_round *live = &g->live[g->live_count - 1];
            rounds[i] = (struct rollout_drawn){live->pending, &live->data};
        }
    }
    if (status == STATUS_OK) {
        status = rollout_draw(rounds, count);
    }
    free(rounds);
    return status;
}

static enum status settle(struct live_round *live)
{
    struct rollout_pending *pending = live->pending;
    live->pending = NULL;
    return pending ? rollout_finish(pending, &live->data) : STATUS_OK;
}

enum status grpo_rounds_settle(void *ctx)
{
    struct grpo *g = ctx;
    for (int64_t i = 0; i < g->live_count; i++) {
        TRY(settle(&g->live[i]));
    }
    return STATUS_OK;
}

/* Brings a drawn round into use: verdicts, scores, slices. */
static enum status take_up(struct grpo *g, int64_t at)
{
    struct live_round *live = &g->live[at];
    enum status status = STATUS_OK;
    TRY(settle(live));
    live->used = g->step;
    TRY(follow_round(g, live->index, &live->data));
    TRY(score(g, at));
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

enum status grpo_take_up(struct grpo *g)
{
    const struct grpo_plan *plan = &g->config->plan;
    const int64_t newest = grpo_plan_round_of(plan, g->first + g->window - 1);
    if (g->config->async_rounds > 0 && grpo_draws(g)) {
        return STATUS_OK; /* drawing first leaves the judges time */
    }
    for (int64_t round = grpo_plan_round_of(plan, g->first); round <= newest; round++) {
        const int64_t at = live_find(g, round);
        if (at < 0) {
            break;
        }
        if (g->live[at].used < 0) {
            TRY(take_up(g, at));
        }
    }
    return STATUS_OK;
}

void grpo_rounds_drop(struct grpo *g)
{
    for (int64_t i = g->live_count - 1; i >= 0; i--) {
        if (g->live[i].index < grpo_plan_round_of(&g->config->plan, g->first)) {
            grpo_live_drop(g, i);
        }
    }
}

enum status grpo_rounds_poll(struct grpo *g)
{
    for (int64_t i = 0; i < g->live_count; i++) {
        if (g->live[i].pending) {
            TRY(rollout_poll(g->live[i].pending));
        }
    }
    return STATUS_OK;
}

void grpo_rounds_close(struct grpo *g)
{
    while (g->live_count > 0) {
        grpo_live_drop(g, g->live_count - 1);
    }
    free(g->live);
}
