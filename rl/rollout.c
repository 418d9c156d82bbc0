/* A round of rollouts; see rollout.h. */
#include "rl/rollout.h"

#include <math.h>
#include <string.h>

#include "kernels/base/clock.h"
#include "kernels/base/rng.h"
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
    *r = (struct round){0};
}

static enum status round_open(struct round *r, int64_t groups, int64_t group_size)
{
    *r = (struct round){.groups = groups, .group_size = group_size};
    r->group = calloc((size_t)groups + 1, sizeof *r->group);
    r->row = calloc((size_t)(groups * group_size) + 1, sizeof *r->row);
    if (!r->group || !r->row) {
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

/* The log-probs of a foreign sampler are not the policy's: those are scored later. */
static enum status make_foreign(struct rollout_row *row)
{
    row->sampling = row->logp;
    row->logp = calloc((size_t)row->count + 1, sizeof *row->logp);
    free(row->entropy);
    row->entropy = calloc((size_t)row->count + 1, sizeof *row->entropy);
    return row->logp && row->entropy ? STATUS_OK
                                     : FAIL(MEMORY, "rollout: no memory for log-probs");
}

/* Moves the generated completions of this rank into the round. */
static enum status take_completions(const struct rollout_config *c, struct completion_set *set,
                                    const int64_t *group_of, struct round *r)
{
    for (int64_t i = 0; i < set->count; i++) {
        struct completion *done = &set->items[i];
        const int64_t g = group_of[done->prompt];
        struct rollout_row *row = &r->row[g * r->group_size + done->sample];
        *row = (struct rollout_row){
            .group = g,
            .sample = done->sample,
            .count = done->count,
            .ids = done->ids,
            .logp = done->logp,
            .entropy = done->entropy,
            .stopped = done->stopped,
            .masked = c->mask_truncated && !done->stopped,
        };
        done->ids = NULL;
        done->logp = NULL;
        done->entropy = NULL;
        if (c->source && c->source->foreign) {
            TRY(make_foreign(row));
        }
    }
    return STATUS_OK;
}

/* The samples of this rank's groups that are not there yet, as prompts. */
struct missing {
    struct prompt *prompts; /* [groups] */
    int64_t *group_of;      /* [groups] */
    uint32_t *which;        /* [groups * group_size] */
    int64_t count;
};

static void missing_close(struct missing *m)
{
    free(m->prompts);
    free(m->group_of);
    free(m->which);
}

/* Group g belongs to rank g % size. */
static enum status find_missing(const struct rollout_config *c, const struct comm *comm,
                                const struct round *r, struct missing *m)
{
    const size_t groups = (size_t)r->groups + 1;
    *m = (struct missing){
        .prompts = calloc(groups, sizeof *m->prompts),
        .group_of = calloc(groups, sizeof *m->group_of),
        .which = calloc(groups * (size_t)r->group_size, sizeof *m->which),
    };
    if (!m->prompts || !m->group_of || !m->which) {
        return FAIL(MEMORY, "rollout: no memory for %lld prompts", (long long)r->groups);
    }
    for (int64_t g = comm->rank; g < r->groups; g += comm->size) {
        uint32_t *which = m->which + g * r->group_size;
        int64_t samples = 0;
        for (int64_t k = 0; k < r->group_size; k++) {
            if (!r->row[g * r->group_size + k].ids) {
                which[samples++] = (uint32_t)k;
            }
        }
        if (samples > 0) {
            struct prompt *p = &m->prompts[m->count];
            m->group_of[m->count++] = g;
            *p = (struct prompt){
                .ids = r->group[g].prompt,
                .count = r->group[g].prompt_count,
                .row = (uint32_t)(c->first_row + g),
                .samples = samples,
                .which = which,
            };
            if (c->history) {
                p->expected = rollout_history_expected(c->history, r->group[g].index);
                p->earlier = rollout_history_find(c->history, r->group[g].index,
                                                  &p->earlier_count);
            }
        }
    }
    return STATUS_OK;
}

/* Where a finished completion goes. */
struct finished_ctx {
    struct journal *journal; /* NULL: none */
    struct rollout_judging *judging;
    const int64_t *group_of;
    int64_t group_size;
};

static enum status take_finished(void *ctx, struct completion *done)
{
    const struct finished_ctx *c = ctx;
    const int64_t place = c->group_of[done->prompt] * c->group_size + done->sample;
    if (c->journal) {
        TRY(rollout_journal_row(c->journal, place, done));
    }
    return rollout_judging_add(c->judging, place, done);
}

static enum status take_verdicts(void *ctx)
{
    const struct finished_ctx *c = ctx;
    return rollout_judging_poll(c->judging);
}

/* Generates what is missing of this rank's groups; judges begin with what is finished. */
static enum status generate_mine(const struct rollout_config *c, const struct rollout_env *env,
                                 int64_t round_index, struct round *r, struct journal *journal,
                                 struct rollout_judging *judging)
{
    struct missing m;
    struct completion_set set = {0};
    enum status status = find_missing(c, env->comm, r, &m);
    struct finished_ctx finished = {journal, judging, m.group_of, r->group_size};
    struct generate_args args = {
        .model = env->model,
        .ops = env->ops,
        .hooks = true,
        .prompts = m.prompts,
        .prompt_count = m.count,
        .sample = c->sample,
        .limits = c->limits,
        .done = take_finished,
        .between = take_verdicts,
        .done_ctx = &finished,
    };
    args.sample.max_new_tokens = c->max_completion_length;
    args.sample.step = (uint32_t)round_index;
    args.sample.purpose = RNG_SAMPLE;
    if (status == STATUS_OK) {
        status = c->source ? c->source->complete(c->source->ctx, &args, &set, &r->stats)
                           : generate(&args, &set, &r->stats);
    }
    if (status == STATUS_OK) {
        status = take_completions(c, &set, m.group_of, r);
    }
    completion_set_close(&set);
    missing_close(&m);
    return status;
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
        *bytes += i / r->group_size % comm->size == comm->rank ? wire_bytes(&r->row[i]) : 0;
    }
    char *at = malloc(*bytes + 1);
    *out = at;
    if (!at) {
        return FAIL(MEMORY, "rollout: no memory for %zu bytes", *bytes);
    }
    for (int64_t i = 0; i < rows; i++) {
        const struct rollout_row *row = &r->row[i];
        if (i / r->group_size % comm->size != comm->rank) {
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

struct rollout_pending {
    struct rollout_config config;
    const struct rollout_env *env;
    int64_t groups;
    struct round_source source;
    struct journal *journal; /* of this rank; NULL: none */
    struct rollout_judging *judging;
};

void rollout_cancel(struct rollout_pending *p)
{
    if (p) {
        rollout_judging_close(p->judging);
        journal_close(p->journal);
        source_close(&p->source, p->groups);
        free(p);
    }
}

/* This rank's completions, as far as no journal has them. */
static enum status draw_mine(struct rollout_pending *p, const int64_t *indices, int64_t round_index,
                             struct round *r)
{
    TRY(source_open(&p->source, p->groups));
    TRY(build_prompts(p->env, indices, r, &p->source));
    TRY(rollout_journal_open(&p->config, p->env, round_index, r, &p->journal));
    TRY(rollout_judging_open(&p->judging, &p->config, p->env, &p->source, p->groups, p->journal));
    return generate_mine(&p->config, p->env, round_index, r, p->journal, p->judging);
}

enum status rollout_begin(const struct rollout_config *c, const struct rollout_env *env,
                          const int64_t *indices, int64_t groups, int64_t round_index,
                          struct round *out, struct rollout_pending **pending)
{
    struct rollout_pending *p = calloc(1, sizeof *p);
    enum status status = round_open(out, groups, c->group_size);
    if (status == STATUS_OK && !p) {
        status = FAIL(MEMORY, "rollout: no memory");
    }
    if (status == STATUS_OK) {
        p->config = *c;
        p->env = env;
        p->groups = groups;
        status = draw_mine(p, indices, round_index, out);
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
    TRY(rollout_begin(c, env, indices, groups, round_index, out, &pending));
    return rollout_finish(pending, out);
}
