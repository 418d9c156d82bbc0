/*
 * What an optimizer step trains: the slices its micro-steps visit, every group's rows as one unit,
 * and each row's weights (spec training.md 1.5). Per-rank scopes go by virtual ranks, so the
 * weights are the same on any number of processes.
 */
#include <math.h>
#include <string.h>

#include "rl/grpo_internal.h"
#include "trainer/model/cost.h"

bool grpo_filters(const struct grpo *g)
{
    return g->config->top_entropy_quantile > 0 && g->config->top_entropy_quantile < 1;
}

static enum status reserve_slices(struct grpo *g)
{
    const int64_t world = g->config->plan.world;
    if (g->window <= g->capacity_slices) {
        return STATUS_OK;
    }
    free(g->slices);
    free(g->kept);
    g->slices = malloc((size_t)g->window * sizeof *g->slices);
    g->kept = malloc((size_t)(g->window * world) * sizeof *g->kept);
    g->capacity_slices = g->slices && g->kept ? g->window : 0;
    return g->capacity_slices ? STATUS_OK
                              : FAIL(MEMORY, "step: no memory for %lld micro-steps",
                                     (long long)g->window);
}

static enum status reserve_rows(struct grpo *g)
{
    const int64_t rows = g->live_count * grpo_plan_round_rows(&g->config->plan);
    const int64_t units = rows / g->config->plan.group_size;
    if (rows <= g->capacity_rows) {
        return STATUS_OK;
    }
    free(g->units);
    free(g->cost);
    free(g->branches);
    free(g->rows);
    free(g->records);
    g->units = malloc((size_t)units * sizeof *g->units);
    g->cost = malloc((size_t)units * sizeof *g->cost);
    g->rows = malloc((size_t)rows * sizeof *g->rows);
    g->records = malloc((size_t)rows * sizeof *g->records);
    g->branches = malloc((size_t)g->config->plan.group_size * sizeof *g->branches);
    const bool good = g->units && g->cost && g->branches && g->rows && g->records;
    g->capacity_rows = good ? rows : 0;
    return good ? STATUS_OK : FAIL(MEMORY, "step: no memory for %lld rows", (long long)rows);
}

static int64_t slice_find(const struct grpo *g, int64_t live, int64_t slice)
{
    for (int64_t s = 0; s < g->slice_count; s++) {
        if (g->slices[s].live == live && g->slices[s].slice == slice) {
            return s;
        }
    }
    return -1;
}

static int64_t rank_of(const struct grpo *g, int64_t row)
{
    return row / (g->config->plan.per_device * g->config->plan.slices);
}

/* The floor over all virtual ranks' loss tokens of a slice. */
static enum status find_floor(const struct grpo *g, struct grpo_slice *s)
{
    const struct live_round *live = &g->live[s->live];
    float *all = malloc(((size_t)s->tokens + 1) * sizeof *all);
    int64_t n = 0;
    if (!all) {
        return FAIL(MEMORY, "step: no memory for %.0f entropies", s->tokens);
    }
    for (int64_t i = 0; i < live->data.groups * live->data.group_size; i++) {
        const int64_t count = grpo_loss_tokens(&live->data.row[i]);
        if (live->slice[i] == s->slice) {
            memcpy(all + n, live->data.row[i].entropy, (size_t)count * sizeof *all);
            n += count;
        }
    }
    s->floor = objective_entropy_floor(all, n, g->config->top_entropy_quantile);
    free(all);
    return STATUS_OK;
}

/* Token counts of a slice: all ranks', and per rank those that the floor keeps. */
static enum status measure_slice(const struct grpo *g, struct grpo_slice *s)
{
    const struct live_round *live = &g->live[s->live];
    const int64_t rows = live->data.groups * live->data.group_size;
    for (int64_t i = 0; i < rows; i++) {
        s->tokens += live->slice[i] == s->slice ? (double)grpo_loss_tokens(&live->data.row[i]) : 0;
    }
    if (grpo_filters(g)) {
        TRY(find_floor(g, s));
    }
    memset(s->kept, 0, (size_t)g->config->plan.world * sizeof *s->kept);
    for (int64_t i = 0; i < rows; i++) {
        const struct rollout_row *row = &live->data.row[i];
        for (int64_t t = 0; live->slice[i] == s->slice && t < grpo_loss_tokens(row); t++) {
            s->kept[rank_of(g, i)] += s->floor <= 0 || (double)row->entropy[t] >= s->floor;
        }
    }
    return STATUS_OK;
}

/* The slices of the window; visiting one twice adds to its times. */
static enum status add_slices(struct grpo *g, int64_t first)
{
    const struct grpo_plan *plan = &g->config->plan;
    g->slice_count = 0;
    for (int64_t m = first; m < first + g->window; m++) {
        int64_t live = 0;
        while (g->live[live].index != grpo_plan_round_of(plan, m)) {
            live++;
        }
        const int64_t slice = grpo_plan_slice_of(plan, m);
        const int64_t at = slice_find(g, live, slice);
        if (at >= 0) {
            g->slices[at].times += 1.0;
            continue;
        }
        struct grpo_slice *s = &g->slices[g->slice_count];
        *s = (struct grpo_slice){.live = live, .slice = slice, .times = 1.0,
                                 .kept = g->kept + g->slice_count * plan->world};
        g->slice_count++;
        TRY(measure_slice(g, s));
    }
    return STATUS_OK;
}

/* bnpo: loss tokens of the row's micro-batch on its virtual rank. */
static double micro_tokens(const struct grpo *g, const struct live_round *live, int64_t row)
{
    const int64_t per_rank = g->config->plan.per_device * g->config->plan.slices;
    const int64_t begin = row / per_rank * per_rank;
    double tokens = 0.0;
    for (int64_t i = begin; i < begin + per_rank; i++) {
        if (live->slice[i] == live->slice[row]) {
            tokens += (double)grpo_loss_tokens(&live->data.row[i]);
        }
    }
    return tokens;
}

static double row_weight(const struct grpo *g, const struct live_round *live, int64_t row)
{
    const struct grpo_plan *plan = &g->config->plan;
    const enum loss_type type = g->config->objective.loss_type;
    const bool micro = objective_kind(type)->normalizer == NORM_MICRO;
    const struct objective_scale scale = {
        .rows = plan->world * plan->per_device * g->window,
        .round_tokens = live->tokens,
        .rounds = (double)g->window / (double)plan->slices,
        .micro_tokens = micro ? micro_tokens(g, live, row) : 0.0,
        .micro_batches = (double)(plan->world * g->window),
        .max_completion_length = g->config->rollout.max_completion_length,
    };
    return objective_token_weight(type, &scale, grpo_loss_tokens(&live->data.row[row]));
}

/* The bonus is a mean over a rank's kept tokens of a micro-batch, then over ranks and window. */
static double row_bonus(const struct grpo *g, const struct grpo_slice *s, int64_t row)
{
    const double batches = (double)(g->config->plan.world * g->window);
    return entropy_control_coef(&g->entropy) / (fmax(s->kept[rank_of(g, row)], 1.0) * batches);
}

bool grpo_row_idle(const struct grpo *g, const struct rollout_row *row)
{
    const bool flat = row->advantage == 0.0 && g->config->objective.beta == 0.0;
    return grpo_loss_tokens(row) == 0 || (flat && !entropy_control_on(&g->entropy));
}

static void count_idle(struct grpo_slice *s, const struct rollout_row *row)
{
    for (int64_t t = 0; t < grpo_loss_tokens(row); t++) {
        s->idle_entropy += (double)row->entropy[t];
    }
    s->idle_tokens += (double)grpo_loss_tokens(row);
    s->idle_rows += grpo_loss_tokens(row) > 0;
}

/* Cost of the unit's pieces, each with a copy of the prompt. */
static int64_t predict_cost(const struct grpo *g, const struct grpo_unit *u)
{
    const struct rollout_group *group = &g->live[u->live].data.group[u->group];
    int64_t cost = 0;
    for (int64_t at = u->first_row; at < u->first_row + u->row_count;) {
        const struct pack_unit piece = {
            .prompt = group->prompt,
            .prompt_count = group->prompt_count,
            .branches = g->branches,
            .branch_count = grpo_cut_piece(g, g->rows, u, at, g->branches),
        };
        cost += unit_cost(&g->env->model->config, &piece);
        at += piece.branch_count;
    }
    return cost;
}

/* One group's rows of this window as a unit; idle rows are left out, an idle group altogether. */
static void add_unit(struct grpo *g, int64_t live_index, int64_t group)
{
    struct live_round *live = &g->live[live_index];
    struct grpo_unit unit = {.live = live_index, .group = group, .first_row = g->row_count};
    bool seen = false;
    for (int64_t k = 0; k < live->data.group_size; k++) {
        const int64_t i = group * live->data.group_size + k;
        struct rollout_row *row = &live->data.row[i];
        const int64_t at = slice_find(g, live_index, live->slice[i]);
        seen = seen || at >= 0;
        if (at < 0) {
            continue;
        }
        struct grpo_slice *s = &g->slices[at];
        if (grpo_row_idle(g, row)) {
            count_idle(s, row);
            continue;
        }
        g->rows[g->row_count++] = (struct grpo_row){
            .row = row,
            .slice = at,
            .key =
                (uint32_t)((uint64_t)live->index * (uint64_t)grpo_plan_round_rows(&g->config->plan)
                           + (uint64_t)i),
            .weight = s->times * row_weight(g, live, i),
            .bonus = s->times * row_bonus(g, s, i),
            .correction =
                live->correction && row->sampling ? live->correction + live->token[i] : NULL,
        };
        unit.row_count++;
    }
    if (unit.row_count > 0) {
        g->cost[g->unit_count] = predict_cost(g, &unit);
        g->units[g->unit_count++] = unit;
    } else {
        g->skipped_groups += seen;
    }
}

enum status grpo_step_build(struct grpo *g, int64_t first)
{
    TRY(reserve_slices(g));
    TRY(reserve_rows(g));
    TRY(add_slices(g, first));
    g->unit_count = 0;
    g->row_count = 0;
    g->record_count = 0;
    g->skipped_groups = 0;
    for (int64_t i = 0; i < g->live_count; i++) {
        const int64_t groups = g->live[i].used < 0 ? 0 : g->live[i].data.groups;
        for (int64_t group = 0; group < groups; group++) {
            add_unit(g, i, group);
        }
    }
    return STATUS_OK;
}
