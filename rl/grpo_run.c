/*
 * Rows through the model: units are packed as trees, the prompt once and the completions as
 * branches, into micro-batches under the token budget; and the objective of the rows that a step
 * trains.
 */
#include <string.h>

#include "rl/grpo_internal.h"

/* A piece: some rows of one unit that run together over one copy of the prompt. */
struct grpo_piece {
    int64_t unit;  /* place in the caller's order */
    int64_t first; /* rows [first, first + count) of work.rows */
    int64_t count;
};

/* The micro-batch being filled, flushed when the budget is full. */
struct run_list {
    struct grpo *g;
    const struct grpo_work *work;
    struct grpo_piece *pieces; /* of grpo_lists, as the next ones */
    struct pack_unit *trees;
    struct pack_branch *branches;
    uint32_t *keys;
    int64_t count;
    int64_t used_branches;
    int64_t tokens;
};

int64_t grpo_cut_piece(const struct grpo *g, const struct grpo_row *rows, const struct grpo_unit *u,
                       int64_t from, struct pack_branch *branches)
{
    const int64_t end = u->first_row + u->row_count;
    const bool alone = g->config->rollout.limits.unshared || g->config->dropout.on;
    int64_t tokens = 0;
    int64_t count = 0;
    for (int64_t i = from; i < end && (count == 0 || !alone); i++) {
        const struct rollout_row *row = rows[i].row;
        branches[count] = (struct pack_branch){.ids = row->ids, .count = row->count};
        tokens += pack_branch_new_rows(branches, count);
        if (count > 0 && tokens > g->config->micro_batch_tokens) {
            break;
        }
        count++;
    }
    return count;
}

static struct pack_unit piece_tree(const struct run_list *l, const struct grpo_unit *u,
                                   const struct grpo_piece *p)
{
    const struct rollout_group *group = &l->g->live[u->live].data.group[u->group];
    return (struct pack_unit){
        .prompt = group->prompt,
        .prompt_count = group->prompt_count,
        .branches = l->branches + l->used_branches,
        .branch_count = p->count,
    };
}

/* Outputs come row after row in the order of the pieces. */
static void each_row(void *ctx, const struct unit_outputs *out)
{
    const struct run_list *l = ctx;
    int64_t at = 0;
    for (int64_t p = 0; p < l->count; p++) {
        for (int64_t i = 0; i < l->pieces[p].count; i++) {
            const int64_t row = l->pieces[p].first + i;
            l->work->each(l->work->ctx, l->pieces[p].unit, row, at, out);
            at += l->work->rows[row].row->count;
        }
    }
}

static enum status flush(struct run_list *l)
{
    struct unit_pass *pass = &l->g->pass;
    struct pass_noise *noise = &l->g->noise;
    if (l->count > 0) {
        *noise = (struct pass_noise){.seed = l->g->config->dropout.seed,
                                     .step = (uint32_t)l->g->step,
                                     .unit_key = l->keys};
        pass->noise = l->g->config->dropout.on ? noise : NULL;
        TRY(l->work->reference ? unit_pass_reference(pass, l->trees, l->count, each_row, l)
                               : unit_pass_run(pass, l->trees, l->count, each_row, l));
    }
    l->count = 0;
    l->used_branches = 0;
    l->tokens = 0;
    return grpo_rounds_poll(l->g);
}

static enum status run_units(struct run_list *l, const int64_t *order, int64_t count)
{
    const struct grpo_config *c = l->g->config;
    const int64_t batch = c->batch_tokens > 0 ? c->batch_tokens : c->micro_batch_tokens;
    for (int64_t k = 0; k < count; k++) {
        const struct grpo_unit *u = &l->work->units[order[k]];
        for (int64_t at = u->first_row; at < u->first_row + u->row_count;) {
            const struct grpo_piece piece = {
                .unit = k,
                .first = at,
                .count = grpo_cut_piece(l->g, l->work->rows, u, at, l->branches + l->used_branches),
            };
            const struct pack_unit tree = piece_tree(l, u, &piece);
            const int64_t tokens = pack_unit_rows(&tree);
            if (l->count > 0 && l->tokens + tokens > batch) {
                TRY(flush(l));
                continue; /* the branches move to the front of the list */
            }
            l->pieces[l->count] = piece;
            l->keys[l->count] = l->work->rows[at].key; /* with dropout a row is a piece */
            l->trees[l->count++] = tree;
            l->used_branches += piece.count;
            l->tokens += tokens;
            at += piece.count;
        }
    }
    return flush(l);
}

/* Room for `rows` pieces. */
static enum status reserve(struct grpo_lists *l, int64_t rows)
{
    const size_t n = (size_t)rows;
    if (rows <= l->capacity) {
        return STATUS_OK;
    }
    grpo_lists_close(l);
    *l = (struct grpo_lists){
        .pieces = malloc(n * sizeof *l->pieces),
        .trees = malloc(n * sizeof *l->trees),
        .branches = malloc(n * sizeof *l->branches),
        .keys = malloc(n * sizeof *l->keys),
        .capacity = rows,
    };
    if (!l->pieces || !l->trees || !l->branches || !l->keys) {
        grpo_lists_close(l);
        return FAIL(MEMORY, "step: no memory for %lld rows", (long long)rows);
    }
    return STATUS_OK;
}

void grpo_lists_close(struct grpo_lists *l)
{
    free(l->pieces);
    free(l->trees);
    free(l->branches);
    free(l->keys);
    *l = (struct grpo_lists){0};
}

enum status grpo_work_run(struct grpo *g, const struct grpo_work *w, const int64_t *order,
                          int64_t count)
{
    int64_t rows = 0;
    for (int64_t k = 0; k < count; k++) {
        rows += w->units[order[k]].row_count;
    }
    TRY(reserve(&g->lists, rows));
    struct run_list l = {
        .g = g,
        .work = w,
        .pieces = g->lists.pieces,
        .trees = g->lists.trees,
        .branches = g->lists.branches,
        .keys = g->lists.keys,
    };
    const enum status status = run_units(&l, order, count);
    g->pass.noise = NULL; /* its keys may go */
    return status;
}

/* Where the sums of a run of units go. */
struct objective_ctx {
    struct grpo *g;
    double *sums;
};

/* True when the training forward's own log-probs are those that its ratios are taken against, which
 * are then 1: TRL scores a round before training on it only where an optimizer step trains less
 * than all of its visits. Without dropout the sampler's log-probs are the same bits. */
static bool ratio_is_one(const struct grpo *g, const struct grpo_row *r)
{
    const struct grpo_plan *plan = &g->config->plan;
    return g->config->dropout.on && !r->row->sampling
           && g->config->objective.loss_type != LOSS_RLOO
           && plan->accumulation % (plan->slices * plan->iterations) == 0;
}

/* Objective of one row at output `at`: loss to its unit, the rest to its record. */
static void row_objective(void *ctx, int64_t unit, int64_t index, int64_t at,
                          const struct unit_outputs *out)
{
    const struct objective_ctx *o = ctx;
    struct grpo *g = o->g;
    const struct grpo_row *r = &g->rows[index];
    struct grpo_record *record = &g->records[g->record_count++];
    const bool late = g->live[g->slices[r->slice].live].late;
    const float *logp = out->head->logp + at;
    *record = (struct grpo_record){.row = index};
    if (late) {
        correction_row(&g->config->correction, logp, r->row->sampling, r->row->count, r->correction,
                       &record->sampling);
    }
    const struct objective_row row = {
        .count = r->row->count,
        .logp = logp,
        .old = late || ratio_is_one(g, r) ? logp : r->row->logp,
        .ref = r->row->ref,
        .sampling = r->row->sampling,
        .entropy = g->config->dropout.on && grpo_filters(g) ? r->row->entropy
                                                            : out->head->entropy + at,
        .correction = r->correction,
        .advantage = r->row->advantage,
        .weight = r->weight,
        .entropy_floor = g->slices[r->slice].floor,
        .entropy_bonus = r->bonus,
    };
    objective_row(&g->config->objective, &row, out->dlogp + at,
                  out->dentropy ? out->dentropy + at : NULL, &record->sums);
    for (int64_t t = 0; t < row.count; t++) {
        record->entropy += (double)out->head->entropy[at + t];
    }
    o->sums[unit * METRIC_COUNT + METRIC_LOSS] += record->sums.loss;
}

enum status grpo_run(void *ctx, const int64_t *units, int64_t count, double *sums)
{
    struct grpo *g = ctx;
    struct objective_ctx o = {g, sums};
    const struct grpo_work work = {
        .units = g->units, .rows = g->rows, .each = row_objective, .ctx = &o};
    memset(sums, 0, (size_t)(count * METRIC_COUNT) * sizeof *sums);
    return grpo_work_run(g, &work, units, count);
}
