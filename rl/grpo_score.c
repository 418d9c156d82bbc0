/*
 * Scoring passes over a round: log-probs of rows that another sampler wrote, entropies after the
 * policy moved, the reference. Groups are dealt to ranks by their tokens, the results exchanged;
 * masked rows are never read by a loss and stay out.
 */
#include <string.h>

#include "kernels/base/clock.h"
#include "rl/grpo_internal.h"
#include "trainer/comm/shards.h"

/* Arrays that a pass fills in. */
enum { FILL_LOGP = 1, FILL_ENTROPY = 2, FILL_REF = 4 };

enum { EVERY_ROW = -1, IDLE_ROWS = -2 };

struct scoring {
    struct grpo *g;
    struct live_round *live;
    unsigned fill;
    int64_t first; /* micro-step of the window whose rows count; or one of these: */
    struct grpo_unit *units;
    struct grpo_row *rows;
    int64_t *order;
    int *owner;    /* [groups] rank that scores it */
    int64_t count; /* units of this rank */
};

static float *filled(struct rollout_row *row, unsigned what)
{
    return what == FILL_LOGP ? row->logp : what == FILL_ENTROPY ? row->entropy : row->ref;
}

static void keep_row(void *ctx, int64_t unit, int64_t index, int64_t at,
                     const struct unit_outputs *out)
{
    const struct scoring *s = ctx;
    struct rollout_row *row = s->rows[index].row;
    const size_t bytes = (size_t)row->count * sizeof(float);
    (void)unit;
    if (s->fill & FILL_LOGP) {
        memcpy(row->logp, out->head->logp + at, bytes);
    }
    if (s->fill & FILL_ENTROPY) {
        memcpy(row->entropy, out->head->entropy + at, bytes);
    }
    if (s->fill & FILL_REF) {
        memcpy(row->ref, out->head->logp + at, bytes);
    }
}

static bool in_window(const struct scoring *s, int64_t row)
{
    const struct grpo_plan *plan = &s->g->config->plan;
    for (int64_t m = s->first; m < s->first + s->g->window; m++) {
        if (grpo_plan_round_of(plan, m) == s->live->index
            && grpo_plan_slice_of(plan, m) == s->live->slice[row]) {
            return true;
        }
    }
    return false;
}

static bool wanted(const struct scoring *s, int64_t i)
{
    const struct rollout_row *row = &s->live->data.row[i];
    if (row->masked || s->first == EVERY_ROW) {
        return !row->masked;
    }
    if (s->first == IDLE_ROWS) {
        return grpo_row_idle(s->g, row);
    }
    return (grpo_filters(s->g) || grpo_row_idle(s->g, row)) && in_window(s, i);
}

/* Owners of the groups: by the tokens of their rows that are wanted, with the prompt. Fails with
 * MEMORY. */
static enum status deal(struct scoring *s)
{
    const struct round *r = &s->live->data;
    const int ranks = s->g->env->comm->size;
    int64_t *cost = calloc((size_t)r->groups + (size_t)ranks + 1, sizeof *cost);
    if (!cost) {
        return FAIL(MEMORY, "scores: no memory for %lld groups", (long long)r->groups);
    }
    for (int64_t i = 0; i < r->groups * r->group_size; i++) {
        const int64_t group = i / r->group_size;
        if (wanted(s, i)) {
            cost[group] += r->row[i].count + (cost[group] == 0 ? r->group[group].prompt_count : 0);
        }
    }
    shards_deal(cost, r->groups, ranks, cost + r->groups, s->owner);
    free(cost);
    return STATUS_OK;
}

/* Units and rows of the groups of rank `rank`. */
static void list_units(struct scoring *s, int rank)
{
    struct round *r = &s->live->data;
    int64_t rows = 0;
    s->count = 0;
    for (int64_t group = 0; group < r->groups; group++) {
        if (s->owner[group] != rank) {
            continue;
        }
        struct grpo_unit *u = &s->units[s->count];
        *u = (struct grpo_unit){.live = s->live - s->g->live, .group = group, .first_row = rows};
        for (int64_t i = group * r->group_size; i < (group + 1) * r->group_size; i++) {
            if (wanted(s, i)) {
                s->rows[rows++] = (struct grpo_row){.row = &r->row[i]};
                u->row_count++;
            }
        }
        s->order[s->count] = s->count;
        s->count++;
    }
}

/* Copies the filled arrays of a rank's rows to or from one buffer; returns its floats. */
static size_t copy_rank(struct scoring *s, int rank, float *buffer, bool to_buffer)
{
    size_t n = 0;
    list_units(s, rank);
    for (int64_t k = 0; k < s->count; k++) {
        for (int64_t i = 0; i < s->units[k].row_count; i++) {
            struct rollout_row *row = s->rows[s->units[k].first_row + i].row;
            for (unsigned what = FILL_LOGP; what <= FILL_REF; what <<= 1) {
                if (!(s->fill & what)) {
                    continue;
                }
                float *values = filled(row, what);
                if (buffer && to_buffer) {
                    memcpy(buffer + n, values, (size_t)row->count * sizeof(float));
                } else if (buffer) {
                    memcpy(values, buffer + n, (size_t)row->count * sizeof(float));
                }
                n += (size_t)row->count;
            }
        }
    }
    return n;
}

static enum status exchange(struct scoring *s)
{
    const struct comm *comm = s->g->env->comm;
    if (comm->size == 1) {
        return STATUS_OK;
    }
    const size_t n = copy_rank(s, comm->rank, NULL, true);
    float *mine = malloc((n + 1) * sizeof *mine);
    size_t *offsets = malloc(((size_t)comm->size + 1) * sizeof *offsets);
    void *all = NULL;
    enum status status = mine && offsets ? STATUS_OK : FAIL(MEMORY, "scores: no memory");
    TRY_TO(status, out, comm_agree(comm, status));
    (void)copy_rank(s, comm->rank, mine, true);
    TRY_TO(status, out, comm_gather_all(comm, mine, n * sizeof *mine, &all, offsets));
    for (int rank = 0; rank < comm->size; rank++) {
        if (rank != comm->rank) {
            (void)copy_rank(s, rank, (float *)((char *)all + offsets[rank]), false);
        }
    }
out:
    free(mine);
    free(offsets);
    free(all);
    return status;
}

/* Rooms for the reference's numbers, on every rank. */
static enum status make_ref(struct round *r)
{
    for (int64_t i = 0; i < r->groups * r->group_size; i++) {
        free(r->row[i].ref);
        r->row[i].ref = calloc((size_t)r->row[i].count + 1, sizeof(float));
        if (!r->row[i].ref) {
            return FAIL(MEMORY, "reference: no memory for a row of %lld tokens",
                        (long long)r->row[i].count);
        }
    }
    return STATUS_OK;
}

static enum status score(struct grpo *g, int64_t live, unsigned fill, int64_t first)
{
    const double start = clock_seconds();
    struct scoring s = {.g = g, .live = &g->live[live], .fill = fill, .first = first};
    const struct round *r = &s.live->data;
    const bool grad = g->pass.grad;
    s.units = malloc((size_t)r->groups * sizeof *s.units + 1);
    s.order = malloc((size_t)r->groups * sizeof *s.order + 1);
    s.rows = malloc((size_t)(r->groups * r->group_size) * sizeof *s.rows + 1);
    s.owner = malloc((size_t)r->groups * sizeof *s.owner + 1);
    enum status status = s.units && s.order && s.rows && s.owner
                             ? deal(&s) : FAIL(MEMORY, "scores: no memory");
    if (status == STATUS_OK && fill == FILL_REF) {
        status = make_ref(&s.live->data);
    }
    if (status == STATUS_OK) {
        list_units(&s, g->env->comm->rank);
        const struct grpo_work work = {.units = s.units, .rows = s.rows,
                                       .reference = fill == FILL_REF, .each = keep_row, .ctx = &s};
        g->pass.grad = false;
        status = grpo_work_run(g, &work, s.order, s.count);
        g->pass.grad = grad;
    }
    status = comm_agree(g->env->comm, status);
    if (status == STATUS_OK) {
        status = exchange(&s);
    }
    free(s.units);
    free(s.order);
    free(s.rows);
    free(s.owner);
    g->score_seconds += clock_seconds() - start;
    return status;
}

enum status grpo_score_policy(struct grpo *g, int64_t live)
{
    return score(g, live, FILL_LOGP | FILL_ENTROPY, EVERY_ROW);
}

enum status grpo_score_idle(struct grpo *g, int64_t live)
{
    return score(g, live, FILL_LOGP | FILL_ENTROPY, IDLE_ROWS);
}

enum status grpo_score_entropies(struct grpo *g, int64_t live, int64_t first)
{
    return score(g, live, FILL_ENTROPY, first);
}

enum status grpo_score_reference(struct grpo *g, int64_t live)
{
    return score(g, live, FILL_REF, EVERY_ROW);
}

enum status grpo_correct(struct grpo *g, struct live_round *live)
{
    const struct correction_config *c = &g->config->correction;
    const struct round *r = &live->data;
    const int64_t rows = r->groups * r->group_size;
    int64_t tokens = 0;
    if (!c->on || rows == 0 || !r->row[0].sampling) {
        return STATUS_OK;
    }
    live->token = malloc((size_t)rows * sizeof *live->token);
    for (int64_t i = 0; live->token && i < rows; i++) {
        live->token[i] = tokens;
        tokens += r->row[i].count;
    }
    live->correction = malloc((size_t)tokens * sizeof *live->correction + 1);
    live->sampling = calloc((size_t)rows, sizeof *live->sampling);
    if (!live->token || !live->correction || !live->sampling) {
        return FAIL(MEMORY, "sampler correction: no memory for %lld tokens", (long long)tokens);
    }
    for (int64_t i = 0; i < rows; i++) {
        const struct rollout_row *row = &r->row[i];
        if (!live->late || grpo_row_idle(g, row)) {
            correction_row(c, row->logp, row->sampling, grpo_loss_tokens(row),
                           live->correction + live->token[i], &live->sampling[i]);
        }
    }
    return STATUS_OK;
}
