/*
 * GRPO, the algorithm. Read prepare() for what a step trains, objectives() for its gradient.
 *
 *   prepare: the rounds this step needs are rolled out and judged (rollout.c); every group's rows in
 *            this step become one unit of work with their token weights.
 *   run:     units are packed as trees (the prompt once, the completions as branches) into
 *            micro-batches; forward -> log-probs -> objective -> d logp -> backward.
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

static void live_drop(struct grpo *g, int64_t i)
{
    round_close(&g->live[i].data);
    free(g->live[i].slice);
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

static int64_t loss_tokens(const struct rollout_row *row)
{
    return row->masked ? 0 : row->count;
}

/* Fills what follows from the data: slices and token count. */
static enum status live_finish(struct grpo *g, struct live_round *live)
{
    live->slice = malloc((size_t)round_rows(g) * sizeof *live->slice);
    if (!live->slice) {
        return FAIL(MEMORY, "round: no memory for %lld rows", (long long)round_rows(g));
    }
    TRY(grpo_plan_slices(&g->config->plan, live->index, live->slice));
    live->tokens = 0.0;
    for (int64_t i = 0; i < round_rows(g); i++) {
        live->tokens += (double)loss_tokens(&live->data.row[i]);
    }
    return STATUS_OK;
}

/* Makes room for one more round. */
static enum status live_grow(struct grpo *g, struct live_round **out)
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

static enum status roll_out(struct grpo *g, int64_t round)
{
    const int64_t groups = round_rows(g) / g->config->plan.group_size;
    int64_t *indices = malloc((size_t)groups * sizeof *indices);
    struct live_round *live;
    enum status status = indices ? live_grow(g, &live) : FAIL(MEMORY, "round: no memory");
    if (status == STATUS_OK) {
        live->index = round;
        live->born = g->step;
        status = grpo_plan_prompts(&g->config->plan, round, indices);
    }
    if (status == STATUS_OK) {
        status = rollout_round(&g->config->rollout, g->env, indices, groups, round, &live->data);
    }
    free(indices);
    TRY(status);
    g->live_count++;
    TRY(live_finish(g, live));
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

/* How often the window visits slice `slice` of round `round`. */
static int64_t visits(const struct grpo *g, int64_t first, int64_t round, int64_t slice)
{
    const struct grpo_plan *plan = &g->config->plan;
    int64_t n = 0;
    for (int64_t m = first; m < first + g->window; m++) {
        n += grpo_plan_round_of(plan, m) == round && grpo_plan_slice_of(plan, m) == slice;
    }
    return n;
}

/* bnpo: loss tokens of the row's micro-batch on its virtual rank. */
static double micro_tokens(const struct grpo *g, const struct live_round *live, int64_t row)
{
    const int64_t per_rank = g->config->plan.per_device * g->config->plan.slices;
    const int64_t begin = row / per_rank * per_rank;
    double tokens = 0.0;
    for (int64_t i = begin; i < begin + per_rank; i++) {
        if (live->slice[i] == live->slice[row]) {
            tokens += (double)loss_tokens(&live->data.row[i]);
        }
    }
    return tokens;
}

static double row_weight(const struct grpo *g, const struct live_round *live, int64_t row)
{
    const struct grpo_plan *plan = &g->config->plan;
    const enum loss_type type = g->config->objective.loss_type;
    const struct objective_scale scale = {
        .rows = plan->world * plan->per_device * g->window,
        .round_tokens = live->tokens,
        .rounds = (double)g->window / (double)plan->slices,
        .micro_tokens = type == LOSS_BNPO ? micro_tokens(g, live, row) : 0.0,
        .micro_batches = (double)(plan->world * g->window),
        .max_completion_length = g->config->rollout.max_completion_length,
    };
    return objective_token_weight(type, &scale, loss_tokens(&live->data.row[row]));
}

/* True when the row's gradient is zero whatever the model says. */
static bool row_is_idle(const struct grpo *g, const struct rollout_row *row)
{
    return loss_tokens(row) == 0 || (row->advantage == 0.0 && g->config->objective.beta == 0.0);
}

static enum status reserve(struct grpo *g)
{
    const int64_t rows = g->live_count * round_rows(g);
    const int64_t units = rows / g->config->plan.group_size;
    if (rows <= g->capacity_rows) {
        return STATUS_OK;
    }
    free(g->units);
    free(g->cost);
    free(g->rows);
    g->units = malloc((size_t)units * sizeof *g->units);
    g->cost = malloc((size_t)units * sizeof *g->cost);
    g->rows = malloc((size_t)rows * sizeof *g->rows);
    g->capacity_rows = rows;
    if (!g->units || !g->cost || !g->rows) {
        g->capacity_rows = 0;
        return FAIL(MEMORY, "step: no memory for %lld rows", (long long)rows);
    }
    return STATUS_OK;
}

/* One group's rows of this window as a unit; idle rows are left out, an idle group altogether. */
static void add_unit(struct grpo *g, int64_t first, int64_t live_index, int64_t group)
{
    struct live_round *live = &g->live[live_index];
    struct grpo_unit unit = {.live = live_index, .group = group, .first_row = g->row_count};
    int64_t cost = live->data.group[group].prompt_count;
    int64_t seen = 0;
    for (int64_t s = 0; s < live->data.group_size; s++) {
        const int64_t i = group * live->data.group_size + s;
        struct rollout_row *row = &live->data.row[i];
        const int64_t times = visits(g, first, live->index, live->slice[i]);
        seen += times;
        if (times == 0) {
            continue;
        }
        if (row_is_idle(g, row)) {
            for (int64_t t = 0; t < loss_tokens(row); t++) {
                g->skipped_entropy += (double)times * (double)row->entropy[t];
            }
            g->skipped_tokens += (double)(times * loss_tokens(row));
            continue;
        }
        g->rows[g->row_count++] = (struct grpo_row){
            .row = row,
            .weight = (double)times * row_weight(g, live, i),
        };
        cost += row->count;
        unit.row_count++;
    }
    if (unit.row_count > 0) {
        g->cost[g->unit_count] = cost;
        g->units[g->unit_count++] = unit;
    } else {
        g->skipped_groups += seen > 0;
    }
}

static enum status prepare(void *ctx, int64_t step, struct train_units *units)
{
    struct grpo *g = ctx;
    int64_t first;
    g->step = step;
    grpo_plan_window(&g->config->plan, step, &first, &g->window);
    TRY(renew_rounds(g, first, g->window));
    TRY(reserve(g));
    g->unit_count = 0;
    g->row_count = 0;
    g->skipped_groups = 0;
    g->skipped_entropy = 0.0;
    g->skipped_tokens = 0.0;
    g->max_delta = 0.0;
    g->on_policy = true;
    for (int64_t i = 0; i < g->live_count; i++) {
        g->on_policy = g->on_policy && g->live[i].born == step;
        for (int64_t group = 0; group < g->live[i].data.groups; group++) {
            add_unit(g, first, i, group);
        }
    }
    *units = (struct train_units){.count = g->unit_count, .cost = g->cost};
    return STATUS_OK;
}

/* A piece: some rows of one unit that run together over one copy of the prompt. */
struct piece {
    int64_t unit;  /* index into the caller's list */
    int64_t first; /* rows [first, first + count) of grpo.rows */
    int64_t count;
};

/* Cuts a unit where the token budget is full; the rule sees nothing but the unit and the budget. */
static int64_t cut_piece(const struct grpo *g, const struct grpo_unit *u, int64_t from)
{
    int64_t tokens = g->live[u->live].data.group[u->group].prompt_count;
    int64_t count = 0;
    for (int64_t i = from; i < u->first_row + u->row_count; i++) {
        tokens += g->rows[i].row->count;
        if (count > 0 && tokens > g->config->micro_batch_tokens) {
            break;
        }
        count++;
    }
    return count;
}

static struct pack_unit piece_tree(const struct grpo *g, const struct grpo_unit *u,
                                   const struct piece *p, struct pack_branch *branches)
{
    const struct rollout_group *group = &g->live[u->live].data.group[u->group];
    for (int64_t i = 0; i < p->count; i++) {
        const struct rollout_row *row = g->rows[p->first + i].row;
        branches[i] = (struct pack_branch){.ids = row->ids, .count = row->count};
    }
    return (struct pack_unit){
        .prompt = group->prompt,
        .prompt_count = group->prompt_count,
        .branches = branches,
        .branch_count = p->count,
    };
}

/* The pieces of the micro-batch that is running, and where their sums go. */
struct batch_rows {
    struct grpo *g;
    const struct piece *pieces;
    int64_t count;
    double *sums;
};

/* Objective of one row at output `at`; its sums go to its unit. */
static void row_objective(struct grpo *g, const struct grpo_row *r, int64_t at,
                          const struct unit_outputs *out, double *unit)
{
    const struct objective_row row = {
        .count = r->row->count,
        .logp = out->head->logp + at,
        .old = r->row->logp,
        .ref = out->ref ? out->ref + at : NULL,
        .advantage = r->row->advantage,
        .weight = r->weight,
    };
    struct objective_sums s;
    objective_row(&g->config->objective, &row, out->dlogp + at, NULL, &s);
    unit[METRIC_LOSS] += s.loss;
    unit[METRIC_KL] += s.kl;
    unit[METRIC_CLIP_LOW] += s.clip_low;
    unit[METRIC_CLIP_HIGH] += s.clip_high;
    unit[METRIC_TOKENS] += (double)row.count;
    unit[METRIC_ROWS] += 1.0;
    for (int64_t t = 0; t < row.count; t++) {
        unit[METRIC_ENTROPY] += (double)out->head->entropy[at + t];
    }
    g->max_delta = fmax(g->max_delta, s.max_delta);
}

/* Outputs come row after row in the order of the pieces. */
static void objectives(void *ctx, const struct unit_outputs *out)
{
    const struct batch_rows *b = ctx;
    int64_t at = 0;
    for (int64_t p = 0; p < b->count; p++) {
        double *unit = b->sums + b->pieces[p].unit * METRIC_COUNT;
        for (int64_t i = 0; i < b->pieces[p].count; i++) {
            const struct grpo_row *r = &b->g->rows[b->pieces[p].first + i];
            row_objective(b->g, r, at, out, unit);
            at += r->row->count;
        }
    }
}

/* Work list of run(): pieces with their trees, flushed when the budget is full. */
struct run_list {
    struct piece *pieces;
    struct pack_unit *trees;
    struct pack_branch *branches;
    int64_t count;
    int64_t used_branches;
    int64_t tokens;
};

static enum status flush(struct grpo *g, struct run_list *l, double *sums)
{
    if (l->count > 0) {
        struct batch_rows rows = {.g = g, .pieces = l->pieces, .count = l->count, .sums = sums};
        TRY(unit_pass_run(&g->pass, l->trees, l->count, objectives, &rows));
    }
    l->count = 0;
    l->used_branches = 0;
    l->tokens = 0;
    return STATUS_OK;
}

static enum status run_units(struct grpo *g, struct run_list *l, const int64_t *units,
                             int64_t count, double *sums)
{
    for (int64_t k = 0; k < count; k++) {
        const struct grpo_unit *u = &g->units[units[k]];
        for (int64_t at = u->first_row; at < u->first_row + u->row_count;) {
            const struct piece piece = {.unit = k, .first = at, .count = cut_piece(g, u, at)};
            const struct pack_unit tree =
                piece_tree(g, u, &piece, l->branches + l->used_branches);
            if (l->count > 0 && l->tokens + pack_unit_rows(&tree) > g->config->micro_batch_tokens) {
                TRY(flush(g, l, sums));
                continue; /* the branches move to the front of the list */
            }
            l->pieces[l->count] = piece;
            l->trees[l->count++] = tree;
            l->used_branches += piece.count;
            l->tokens += pack_unit_rows(&tree);
            at += piece.count;
        }
    }
    return flush(g, l, sums);
}

static enum status run(void *ctx, const int64_t *units, int64_t count, double *sums)
{
    struct grpo *g = ctx;
    int64_t rows = 0;
    for (int64_t k = 0; k < count; k++) {
        rows += g->units[units[k]].row_count;
    }
    memset(sums, 0, (size_t)(count * METRIC_COUNT) * sizeof *sums);
    struct run_list l = {
        .pieces = malloc((size_t)rows * sizeof *l.pieces),
        .trees = malloc((size_t)rows * sizeof *l.trees),
        .branches = malloc((size_t)rows * sizeof *l.branches),
    };
    const enum status status = l.pieces && l.trees && l.branches
                                   ? run_units(g, &l, units, count, sums)
                                   : FAIL(MEMORY, "step: no memory for %lld rows", (long long)rows);
    free(l.pieces);
    free(l.trees);
    free(l.branches);
    return status;
}

static enum status evaluate(void *ctx, int64_t step, json_t *line)
{
    const struct grpo *g = ctx;
    return g->config->evaluate(g->config->evaluate_ctx, step, line);
}

/* True when the rounds at hand are still needed by the step after the current one. */
static bool in_mid_round(const struct grpo *g, const struct live_round *live)
{
    int64_t first;
    int64_t count;
    grpo_plan_window(&g->config->plan, g->step + 1, &first, &count);
    return live->index >= grpo_plan_round_of(&g->config->plan, first);
}

static enum status save_state(void *ctx, json_t *state)
{
    const struct grpo *g = ctx;
    json_t *rounds = json_array();
    (void)json_object_set_new(state, "num_tokens", json_real(g->num_tokens));
    (void)json_object_set_new(state, "rounds", rounds);
    for (int64_t i = 0; i < g->live_count; i++) {
        if (in_mid_round(g, &g->live[i])) {
            json_t *data;
            TRY(round_to_json(&g->live[i].data, &data));
            (void)json_array_append_new(
                rounds, json_pack("{s:I, s:I, s:o}", "index", (json_int_t)g->live[i].index, "born",
                                  (json_int_t)g->live[i].born, "data", data));
        }
    }
    return STATUS_OK;
}

static enum status load_state(void *ctx, const json_t *state)
{
    struct grpo *g = ctx;
    g->num_tokens = json_real_value(json_object_get(state, "num_tokens"));
    const json_t *rounds = json_object_get(state, "rounds");
    for (size_t i = 0; i < json_array_size(rounds); i++) {
        const json_t *saved = json_array_get(rounds, i);
        struct live_round *live;
        TRY(live_grow(g, &live));
        live->index = json_integer_value(json_object_get(saved, "index"));
        live->born = json_integer_value(json_object_get(saved, "born"));
        TRY(round_from_json(json_object_get(saved, "data"), &live->data));
        g->live_count++;
        if (live->data.groups * live->data.group_size != round_rows(g)) {
            return FAIL(INPUT, "checkpoint: a round of %lld rows, the recipe has %lld",
                        (long long)(live->data.groups * live->data.group_size),
                        (long long)round_rows(g));
        }
        TRY(live_finish(g, live));
    }
    return STATUS_OK;
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
        .reference = config->objective.beta > 0,
        .checkpoint = config->gradient_checkpointing,
    };
    *out = g;
    return STATUS_OK;
}

struct train_method grpo_method(struct grpo *g)
{
    return (struct train_method){
        .name = "grpo",
        .ctx = g,
        .prepare = prepare,
        .run = run,
        .metrics = METRIC_COUNT,
        .log = grpo_log,
        .evaluate = g->config->evaluate ? evaluate : NULL,
        .save_state = save_state,
        .load_state = load_state,
    };
}

void grpo_close(struct grpo *g)
{
    if (!g) {
        return;
    }
    while (g->live_count > 0) {
        live_drop(g, g->live_count - 1);
    }
    free(g->live);
    free(g->units);
    free(g->cost);
    free(g->rows);
    unit_pass_close(&g->pass);
    free(g);
}
