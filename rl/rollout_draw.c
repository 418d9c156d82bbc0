/*
 * Drawing completions: of one round, or of the rounds of several policies in one batch, where each
 * row's adapter is the one of its slot. Rows are computed alike in any batch, so a round's
 * completions are the same bits either way.
 */
#include <string.h>

#include "kernels/base/rng.h"
#include "rl/rollout_history.h"
#include "rl/rollout_internal.h"
#include "trainer/comm/shards.h"

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

/* The samples of this rank's groups that are not there yet, as prompts of all rounds in turn. */
struct missing {
    const struct rollout_drawn *rounds;
    struct prompt *prompts; /* [groups of all rounds], slot: the round */
    int64_t *group_of;      /* [groups of all rounds] the prompt's group in its round */
    uint32_t *which;        /* [rows of all rounds] */
    struct generate_policy *policies; /* [rounds] */
    int64_t count;
    int64_t rows; /* of `which`, used */
};

static void missing_close(struct missing *m)
{
    free(m->prompts);
    free(m->group_of);
    free(m->which);
    free(m->policies);
}

static enum status missing_open(struct missing *m, const struct rollout_drawn *rounds,
                                int64_t count)
{
    size_t groups = 1;
    size_t rows = 1;
    for (int64_t i = 0; i < count; i++) {
        groups += (size_t)rounds[i].round->groups;
        rows += (size_t)(rounds[i].round->groups * rounds[i].round->group_size);
    }
    *m = (struct missing){
        .rounds = rounds,
        .prompts = calloc(groups, sizeof *m->prompts),
        .group_of = calloc(groups, sizeof *m->group_of),
        .which = calloc(rows, sizeof *m->which),
        .policies = calloc((size_t)count + 1, sizeof *m->policies),
    };
    return m->prompts && m->group_of && m->which && m->policies
               ? STATUS_OK
               : FAIL(MEMORY, "rollout: no memory for %zu prompts", groups);
}

/* Group g of round i, when some of its samples are missing. */
static void add_group(struct missing *m, int64_t i, int64_t g)
{
    const struct rollout_config *c = &m->rounds[i].pending->config;
    const struct round *r = m->rounds[i].round;
    uint32_t *which = m->which + m->rows;
    int64_t samples = 0;
    for (int64_t k = 0; k < r->group_size; k++) {
        if (!r->row[g * r->group_size + k].ids) {
            which[samples++] = (uint32_t)k;
        }
    }
    if (samples == 0) {
        return;
    }
    struct prompt *p = &m->prompts[m->count];
    m->group_of[m->count++] = g;
    m->rows += samples;
    *p = (struct prompt){
        .ids = r->group[g].prompt,
        .count = r->group[g].prompt_count,
        .slot = (int32_t)i,
        .row = (uint32_t)(c->first_row + g),
        .samples = samples,
        .which = which,
    };
    if (c->history) {
        p->expected = rollout_history_expected(c->history, r->group[g].index);
        p->earlier = rollout_history_find(c->history, r->group[g].index, &p->earlier_count);
    }
}

enum status rollout_deal(const struct rollout_config *c, int ranks, struct round *r)
{
    int64_t *cost = malloc(((size_t)r->groups + (size_t)ranks + 1) * sizeof *cost);
    if (!cost) {
        return FAIL(MEMORY, "rollout: no memory for %lld groups", (long long)r->groups);
    }
    for (int64_t g = 0; g < r->groups; g++) {
        const int64_t known =
            c->history ? rollout_history_expected(c->history, r->group[g].index) : 0;
        const int64_t expected = known > 0 ? known : c->max_completion_length;
        const int64_t prompts = c->limits.unshared ? r->group_size : 1;
        cost[g] = prompts * r->group[g].prompt_count + r->group_size * expected;
    }
    shards_deal(cost, r->groups, ranks, cost + r->groups, r->owner);
    free(cost);
    return STATUS_OK;
}

static void find_missing(struct missing *m, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        const struct rollout_pending *p = m->rounds[i].pending;
        const struct comm *comm = p->env->comm;
        m->policies[i] = (struct generate_policy){.seed = p->config.sample.seed,
                                                  .step = (uint32_t)p->round_index};
        const struct round *r = m->rounds[i].round;
        for (int64_t g = 0; g < r->groups; g++) {
            if (r->owner[g] == comm->rank) {
                add_group(m, i, g);
            }
        }
    }
}

/* Row of a completion in its round. */
static int64_t place_of(const struct missing *m, const struct completion *done)
{
    const struct round *r = m->rounds[m->prompts[done->prompt].slot].round;
    return m->group_of[done->prompt] * r->group_size + done->sample;
}

static enum status take_finished(void *ctx, struct completion *done)
{
    const struct missing *m = ctx;
    const struct rollout_pending *p = m->rounds[m->prompts[done->prompt].slot].pending;
    const int64_t place = place_of(m, done);
    if (p->journal) {
        TRY(rollout_journal_row(p->journal, place, done));
    }
    return rollout_judging_add(p->judging, place, done);
}

/* The judges of all rounds; rounds without prompts left have none at work. */
struct drawing {
    struct missing missing; /* first: completions are handed over with it */
    int64_t count;
};

static enum status take_verdicts(void *ctx)
{
    const struct drawing *d = ctx;
    for (int64_t i = 0; i < d->count; i++) {
        TRY(rollout_poll(d->missing.rounds[i].pending));
    }
    return STATUS_OK;
}

/* Moves the completions of this rank into their rounds. */
static enum status take_completions(const struct missing *m, struct completion_set *set)
{
    for (int64_t i = 0; i < set->count; i++) {
        struct completion *done = &set->items[i];
        const struct rollout_drawn *to = &m->rounds[m->prompts[done->prompt].slot];
        const struct rollout_config *c = &to->pending->config;
        struct rollout_row *row = &to->round->row[place_of(m, done)];
        *row = (struct rollout_row){
            .group = m->group_of[done->prompt],
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

/* Generates what is missing; judges begin with what is finished. */
static enum status generate_missing(struct drawing *d)
{
    const struct missing *m = &d->missing;
    const struct rollout_pending *first = m->rounds[0].pending;
    const struct rollout_config *c = &first->config;
    struct completion_set set = {0};
    struct generate_stats stats = {0};
    struct generate_args args = {
        .model = first->env->model,
        .ops = first->env->ops,
        .hooks = true,
        .prompts = m->prompts,
        .prompt_count = m->count,
        .sample = c->sample,
        .policies = d->count > 1 ? m->policies : NULL,
        .slots = d->count > 1 ? d->count : 0,
        .limits = c->limits,
        .done = take_finished,
        .between = take_verdicts,
        .done_ctx = d,
    };
    args.sample.max_new_tokens = c->max_completion_length;
    args.sample.step = m->policies[0].step;
    args.sample.purpose = RNG_SAMPLE;
    enum status status = c->source ? c->source->complete(c->source->ctx, &args, &set, &stats)
                                   : generate(&args, &set, &stats);
    if (status == STATUS_OK) {
        status = take_completions(m, &set);
    }
    for (int64_t i = 0; i < d->count; i++) {
        m->rounds[i].round->stats = stats;
    }
    completion_set_close(&set);
    return status;
}

enum status rollout_draw(const struct rollout_drawn *rounds, int64_t count)
{
    struct drawing d = {.count = count};
    enum status status = missing_open(&d.missing, rounds, count);
    if (status == STATUS_OK) {
        find_missing(&d.missing, count);
        status = generate_missing(&d);
    }
    missing_close(&d.missing);
    return comm_agree(rounds[0].pending->env->comm, status);
}
