/*
 * Rewards that compare the completions of a call (open-r1's length): they see the rows of one
 * virtual rank, so that scores don't depend on the number of processes. The others:
 * rollout_judging.c.
 */
#include <string.h>

#include "rl/rollout_internal.h"

/* Inputs of some rows of a round, with the texts they point to. */
struct judge_batch {
    int64_t *place; /* [count] rows of the round */
    struct text *said;
    struct reward_input *inputs;
    double *scores;
    int64_t count;
};

static void batch_close(struct judge_batch *b)
{
    for (int64_t i = 0; b->said && i < b->count; i++) {
        free(b->said[i].data);
    }
    free(b->place);
    free(b->said);
    free(b->inputs);
    free(b->scores);
}

static enum status batch_open(struct judge_batch *b, int64_t capacity)
{
    const size_t n = (size_t)capacity + 1;
    *b = (struct judge_batch){
        .place = malloc(n * sizeof *b->place),
        .said = calloc(n, sizeof *b->said),
        .inputs = calloc(n, sizeof *b->inputs),
        .scores = calloc(n, sizeof *b->scores),
    };
    return b->place && b->said && b->inputs && b->scores
               ? STATUS_OK
               : FAIL(MEMORY, "rewards: no memory for %lld completions", (long long)capacity);
}

static enum status batch_add(struct judge_batch *b, const struct rollout_env *env,
                             const struct round_source *source, const struct round *r,
                             int64_t place)
{
    const struct rollout_row *row = &r->row[place];
    const int64_t i = b->count++;
    b->place[i] = place;
    b->inputs[i] = (struct reward_input){.ids = row->ids, .tokens = row->count,
                                         .truncated = !row->stopped, .group = row->group,
                                         .sample = row->sample};
    return rollout_reward_input(env, source, &b->said[i], &b->inputs[i]);
}

/* Scores the batch by reward `k` and stores the scores in its rows. */
static enum status batch_score(struct judge_batch *b, const struct rollout_config *c, int k,
                               struct round *r)
{
    const struct reward_call call = {.inputs = b->inputs, .count = b->count};
    TRY(reward_set_score(c->rewards, k, &call, b->scores));
    for (int64_t i = 0; i < b->count; i++) {
        r->row[b->place[i]].rewards[k] = b->scores[i];
    }
    return STATUS_OK;
}

static bool has_calls(const struct rollout_config *c)
{
    for (int k = 0; k < c->rewards->count; k++) {
        if (c->rewards->items[k].reward->scope == REWARD_CALL) {
            return true;
        }
    }
    return false;
}

/* Rows [begin, end) of the round as one call. */
static enum status judge_slice(const struct rollout_config *c, const struct rollout_env *env,
                               const struct round_source *source, struct round *r, int64_t begin,
                               int64_t end)
{
    struct judge_batch b = {0};
    enum status status = batch_open(&b, end - begin);
    for (int64_t i = begin; status == STATUS_OK && i < end; i++) {
        status = batch_add(&b, env, source, r, i);
    }
    for (int k = 0; status == STATUS_OK && k < c->rewards->count; k++) {
        if (c->rewards->items[k].reward->scope == REWARD_CALL) {
            status = batch_score(&b, c, k, r);
        }
    }
    batch_close(&b);
    return status;
}

/* Rows of slice `s`; the last one may be shorter. */
static void slice_of(const struct rollout_config *c, const struct round *r, int64_t s,
                     int64_t *begin, int64_t *end)
{
    const int64_t rows = r->groups * r->group_size;
    const int64_t size = c->call_rows > 0 ? c->call_rows : rows;
    *begin = s * size;
    *end = *begin + size < rows ? *begin + size : rows;
}

static int64_t slice_count(const struct rollout_config *c, const struct round *r)
{
    const int64_t rows = r->groups * r->group_size;
    return c->call_rows > 0 ? (rows + c->call_rows - 1) / c->call_rows : rows > 0;
}

/* Takes the call scores of a slice out of `at` (REWARD_MAX a row) or puts them there. */
static double *copy_slice(const struct rollout_config *c, struct round *r, int64_t s, double *at,
                          bool out)
{
    int64_t begin;
    int64_t end;
    slice_of(c, r, s, &begin, &end);
    for (int64_t i = begin; i < end; i++, at += REWARD_MAX) {
        for (int k = 0; k < c->rewards->count; k++) {
            if (c->rewards->items[k].reward->scope != REWARD_CALL) {
                continue;
            }
            if (out) {
                at[k] = r->row[i].rewards[k];
            } else {
                r->row[i].rewards[k] = at[k];
            }
        }
    }
    return at;
}

/* Gives every rank the call scores of all slices. */
static enum status exchange_calls(const struct rollout_config *c, const struct comm *comm,
                                  struct round *r)
{
    const size_t rows = (size_t)(r->groups * r->group_size);
    double *mine = calloc(rows * REWARD_MAX + 1, sizeof *mine);
    size_t *offsets = malloc(((size_t)comm->size + 1) * sizeof *offsets);
    void *all = NULL;
    enum status status = mine && offsets ? STATUS_OK : FAIL(MEMORY, "rewards: no memory");
    double *at = mine;
    for (int64_t s = comm->rank; status == STATUS_OK && s < slice_count(c, r); s += comm->size) {
        at = copy_slice(c, r, s, at, true);
    }
    status = comm_agree(comm, status);
    if (status == STATUS_OK) {
        status = comm_gather_all(comm, mine, (size_t)((char *)at - (char *)mine), &all, offsets);
    }
    for (int rank = 0; status == STATUS_OK && rank < comm->size; rank++) {
        at = (double *)((char *)all + offsets[rank]);
        for (int64_t s = rank; s < slice_count(c, r); s += comm->size) {
            at = copy_slice(c, r, s, at, false);
        }
    }
    free(all);
    free(mine);
    free(offsets);
    return comm_agree(comm, status);
}

enum status rollout_judge_calls(const struct rollout_config *c, const struct rollout_env *env,
                                const struct round_source *source, struct round *r)
{
    enum status status = STATUS_OK;
    if (!has_calls(c)) {
        return STATUS_OK;
    }
    for (int64_t s = env->comm->rank; status == STATUS_OK && s < slice_count(c, r);
         s += env->comm->size) {
        int64_t begin;
        int64_t end;
        slice_of(c, r, s, &begin, &end);
        status = judge_slice(c, env, source, r, begin, end);
    }
    TRY(comm_agree(env->comm, status));
    return env->comm->size > 1 ? exchange_calls(c, env->comm, r) : STATUS_OK;
}
