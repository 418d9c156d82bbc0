/* A round of rollouts; see rollout.h. */
#include "rl/rollout.h"

#include <math.h>
#include <string.h>

#include "kernels/base/clock.h"
#include "rl/rollout_history.h"
#include "rl/rollout_internal.h"

void round_close(struct round *r)
{
    for (int64_t i = 0; r->row && i < r->groups * r->group_size; i++) {
        free(r->row[i].ids);
        free(r->row[i].logp);
        free(r->row[i].entropy);
        free(r->row[i].sampling);
        free(r->row[i].ref);
    }
    for (int64_t g = 0; r->group && g < r->groups; g++) {
        free(r->group[g].prompt);
    }
    free(r->row);
    free(r->group);
    free(r->owner);
    *r = (struct round){0};
}

static enum status round_open(struct round *r, int64_t groups, int64_t group_size)
{
    *r = (struct round){.groups = groups, .group_size = group_size};
    r->group = calloc((size_t)groups + 1, sizeof *r->group);
    r->row = calloc((size_t)(groups * group_size) + 1, sizeof *r->row);
    r->owner = calloc((size_t)groups + 1, sizeof *r->owner);
    if (!r->group || !r->row || !r->owner) {
        return FAIL(MEMORY, "rollout: no memory for %lld groups of %lld", (long long)groups,
                    (long long)group_size);
    }
    return STATUS_OK;
}

/* Tokenizes the prompts of all groups: cheap, so every rank does it for itself. */
static enum status build_prompts(const struct rollout_env *env, const int64_t *indices,
                                 struct round *r, struct round_source *source)
{
    for (int64_t g = 0; g < r->groups; g++) {
        char where[512];
        (void)snprintf(where, sizeof where, "%s: row %lld", env->where, (long long)indices[g] + 1);
        source->rows[g] = env->row(env->row_ctx, indices[g]);
        if (!source->rows[g]) {
            return FAIL(INPUT, "%s: cannot be read", where);
        }
        struct token_list list = {0};
        const enum status status =
            prompt_ids(&env->format, source->rows[g], where, &list, &source->prompts[g]);
        r->group[g] = (struct rollout_group){
            .index = indices[g],
            .prompt = list.ids,
            .prompt_count = list.count,
        };
        TRY(status);
    }
    return STATUS_OK;
}

/* Fixed part of a row on the wire; ids, logp and entropy follow. */
struct wire_row {
    int64_t place; /* index into round.row */
    int64_t count;
    int64_t stopped;
    int64_t replayed;
    int64_t sampled; /* nonzero: a foreign sampler's log-probs follow as well */
    double rewards[REWARD_MAX];
};

static size_t wire_bytes(const struct rollout_row *row)
{
    return sizeof(struct wire_row)
           + (size_t)row->count * (sizeof(int32_t) + (row->sampling ? 3 : 2) * sizeof(float));
}

static char *put(char *at, const void *data, size_t bytes)
{
    memcpy(at, data, bytes);
    return at + bytes;
}

static enum status pack_mine(const struct round *r, const struct comm *comm, char **out,
                             size_t *bytes)
{
    *bytes = 0;
    const int64_t rows = r->groups * r->group_size;
    for (int64_t i = 0; i < rows; i++) {
        *bytes += r->owner[i / r->group_size] == comm->rank ? wire_bytes(&r->row[i]) : 0;
    }
    char *at = malloc(*bytes + 1);
    *out = at;
    if (!at) {
        return FAIL(MEMORY, "rollout: no memory for %zu bytes", *bytes);
    }
    for (int64_t i = 0; i < rows; i++) {
        const struct rollout_row *row = &r->row[i];
        if (r->owner[i / r->group_size] != comm->rank) {
            continue;
        }
        struct wire_row head = {.place = i, .count = row->count, .stopped = row->stopped,
                                .replayed = row->replayed, .sampled = row->sampling != NULL};
        memcpy(head.rewards, row->rewards, sizeof head.rewards);
        const size_t n = (size_t)row->count;
        at = put(at, &head, sizeof head);
        at = put(at, row->ids, n * sizeof(int32_t));
        at = put(at, row->logp, n * sizeof(float));
        at = put(at, row->entropy, n * sizeof(float));
        at = row->sampling ? put(at, row->sampling, n * sizeof(float)) : at;
    }
    return STATUS_OK;
}

/* Copies `count` items of `item` bytes from *at into new memory. */
static void *take(const char **at, int64_t count, size_t item)
{
    void *p = malloc((size_t)count * item + 1);
    if (p) {
        memcpy(p, *at, (size_t)count * item);
    }
    *at += (size_t)count * item;
    return p;
}

static enum status unpack_rank(const struct rollout_config *c, const char *at, const char *end,
                               struct round *r)
{
    while (at < end) {
        struct wire_row head;
        memcpy(&head, at, sizeof head);
        at += sizeof head;
        struct rollout_row *row = &r->row[head.place];
        *row = (struct rollout_row){
            .group = head.place / r->group_size,
            .sample = (uint32_t)(head.place % r->group_size),
            .count = head.count,
            .stopped = head.stopped != 0,
            .replayed = head.replayed != 0,
            .masked = c->mask_truncated && !head.stopped,
        };
        memcpy(row->rewards, head.rewards, sizeof head.rewards);
        row->ids = take(&at, head.count, sizeof(int32_t));
        row->logp = take(&at, head.count, sizeof(float));
        row->entropy = take(&at, head.count, sizeof(float));
        row->sampling = head.sampled ? take(&at, head.count, sizeof(float)) : NULL;
        if (!row->ids || !row->logp || !row->entropy || (head.sampled && !row->sampling)) {
            return FAIL(MEMORY, "rollout: no memory for a completion");
        }
    }
    return STATUS_OK;
}

/* Gives every rank all rows. */
static enum status exchange(const struct rollout_config *c, const struct comm *comm,
                            struct round *r)
{
    if (comm->size == 1) {
        return STATUS_OK;
    }
    char *mine = NULL;
    void *all = NULL;
    size_t bytes = 0;
    size_t *offsets = malloc(((size_t)comm->size + 1) * sizeof *offsets);
    enum status status = offsets ? STATUS_OK : FAIL(MEMORY, "rollout: no memory");
    if (status == STATUS_OK) {
        status = pack_mine(r, comm, &mine, &bytes);
    }
    status = comm_agree(comm, status);
    if (status == STATUS_OK) {
        status = comm_gather_all(comm, mine, bytes, &all, offsets);
    }
    for (int rank = 0; status == STATUS_OK && rank < comm->size; rank++) {
        if (rank != comm->rank) {
            status = unpack_rank(c, (const char *)all + offsets[rank],
                                 (const char *)all + offsets[rank + 1], r);
        }
    }
    free(mine);
    free(all);
    free(offsets);
    return comm_agree(comm, status);
}

enum status rollout_advantages(const struct rollout_config *c, const double *penalty,
                               struct round *r)
{
    const int64_t rows = r->groups * r->group_size;
    const int64_t k = c->rewards->count;
    double *buffer = malloc((size_t)(rows * (k + 2) + r->groups + 1) * sizeof *buffer);
    if (!buffer) {
        return FAIL(MEMORY, "rollout: no memory for rewards");
    }
    for (int64_t i = 0; i < rows; i++) {
        memcpy(buffer + i * k, r->row[i].rewards, (size_t)k * sizeof *buffer);
    }
    const struct advantage_args args = {
        .rewards = buffer,
        .weights = c->weights,
        .groups = r->groups,
        .group_size = r->group_size,
        .functions = k,
        .advantage = buffer + rows * k,
        .reward = buffer + rows * (k + 1),
        .group_std = buffer + rows * (k + 2),
        .flat = &r->flat,
        .penalty = penalty,
    };
    const enum status status = advantage_compute(&c->advantage, &args);
    for (int64_t i = 0; status == STATUS_OK && i < rows; i++) {
        r->row[i].advantage = args.advantage[i];
        r->row[i].reward = args.reward[i];
        r->group[i / r->group_size].reward_std = args.group_std[i / r->group_size];
    }
    free(buffer);
    return status;
}

static enum status source_open(struct round_source *source, int64_t groups)
{
    source->rows = calloc((size_t)groups + 1, sizeof(json_t *));
    source->prompts = calloc((size_t)groups + 1, sizeof *source->prompts);
    return source->rows && source->prompts
               ? STATUS_OK
               : FAIL(MEMORY, "rollout: no memory for %lld rows", (long long)groups);
}

static void source_close(struct round_source *source, int64_t groups)
{
    for (int64_t g = 0; source->rows && g < groups; g++) {
        json_decref(source->rows[g]);
    }
    for (int64_t g = 0; source->prompts && g < groups; g++) {
        free(source->prompts[g].data);
    }
    free(source->rows);
    free(source->prompts);
}

void rollout_cancel(struct rollout_pending *p)
{
    if (p) {
        rollout_judging_close(p->judging);
        journal_close(p->journal);
        source_close(&p->source, p->groups);
        free(p);
    }
}

static enum status open_pending(struct rollout_pending *p, const int64_t *indices, struct round *r)
{
    TRY(source_open(&p->source, p->groups));
    TRY(build_prompts(p->env, indices, r, &p->source));
    TRY(rollout_deal(&p->config, p->env->comm->size, r));
    TRY(rollout_journal_open(&p->config, p->env, p->round_index, r, &p->journal));
    TRY(rollout_judging_open(&p->judging, &p->config, p->env, &p->source, p->groups, p->journal));
    return rollout_judging_replayed(p->judging, r);
}

enum status rollout_open(const struct rollout_config *c, const struct rollout_env *env,
                         const int64_t *indices, int64_t groups, int64_t round_index,
                         struct round *out, struct rollout_pending **pending)
{
    struct rollout_pending *p = calloc(1, sizeof *p);
    enum status status = round_open(out, groups, c->group_size);
    if (status == STATUS_OK && !p) {
        status = FAIL(MEMORY, "rollout: no memory");
    }
    if (status == STATUS_OK) {
        *p = (struct rollout_pending){.config = *c, .env = env, .groups = groups,
                                      .round_index = round_index};
        status = open_pending(p, indices, out);
    }
    status = comm_agree(env->comm, status);
    if (status != STATUS_OK) {
        rollout_cancel(p);
        round_close(out);
        p = NULL;
    }
    *pending = p;
    return status;
}

enum status rollout_poll(struct rollout_pending *p)
{
    return rollout_judging_poll(p->judging);
}

enum status rollout_finish(struct rollout_pending *p, struct round *r)
{
    const struct comm *comm = p->env->comm;
    const double start = clock_seconds();
    enum status status = rollout_judging_finish(p->judging, r);
    r->judge_seconds = clock_seconds() - start;
    status = comm_agree(comm, status);
    if (status == STATUS_OK) {
        status = exchange(&p->config, comm, r);
    }
    if (status == STATUS_OK) {
        status = rollout_judge_calls(&p->config, p->env, &p->source, r);
    }
    if (status == STATUS_OK) {
        status = rollout_advantages(&p->config, NULL, r);
    }
    if (status == STATUS_OK && p->config.history) {
        status = comm_agree(comm, rollout_history_add(p->config.history, r));
    }
    rollout_cancel(p);
    if (status != STATUS_OK) {
        round_close(r);
    }
    return status;
}

enum status rollout_round(const struct rollout_config *c, const struct rollout_env *env,
                          const int64_t *indices, int64_t groups, int64_t round_index,
                          struct round *out)
{
    struct rollout_pending *pending;
    TRY(rollout_open(c, env, indices, groups, round_index, out, &pending));
    const struct rollout_drawn drawn = {pending, out};
    const enum status status = rollout_draw(&drawn, 1);
    if (status != STATUS_OK) {
        rollout_cancel(pending);
        round_close(out);
        return status;
    }
    return rollout_finish(pending, out);
}
