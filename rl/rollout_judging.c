/*
 * Rewards that look at one completion, judged by the rank that generated it. What runs in other
 * processes is handed over as soon as the completion ends, and its verdicts are taken between the
 * decoder's steps; cheap rewards are scored here. A score depends on its completion alone, so the
 * order in which verdicts come decides nothing.
 */
#include <math.h>
#include <string.h>

#include "rl/reward/remote.h"
#include "rl/rollout_internal.h"
#include "trainer/report/report.h"

enum { TURN_MS = 5 }; /* one wait, when several rewards have verdicts out */

struct judged_row {
    struct text said;
    struct reward_input input;
    int out;        /* verdicts that other processes owe */
    bool added;
    bool done;
    double rewards[REWARD_MAX];
};

struct rollout_judging {
    const struct rollout_config *c;
    const struct rollout_env *env;
    const struct round_source *source;
    struct journal *journal; /* NULL: none */
    struct judged_row *row;  /* [rows] */
    int64_t rows;
    int64_t out; /* rows that other processes owe verdicts */
    int64_t unscored[REWARD_MAX]; /* by other processes */
    char why[REWARD_MAX][REWARD_REASON_CAP]; /* of the first of them */
};

enum status rollout_reward_input(const struct rollout_env *env, const struct round_source *source,
                                 struct text *said, struct reward_input *in)
{
    const json_t *prompt = json_object_get(source->rows[in->group], "prompt");
    TRY(completion_text(env->format.tokenizer, in->ids, in->tokens, said));
    in->completion = said->data;
    in->prompt = source->prompts[in->group].data;
    in->messages = json_is_array(prompt) ? prompt : NULL;
    in->row = source->rows[in->group];
    return STATUS_OK;
}

enum status rollout_judging_open(struct rollout_judging **out, const struct rollout_config *c,
                                 const struct rollout_env *env, const struct round_source *source,
                                 int64_t groups, struct journal *journal)
{
    struct rollout_judging *j = calloc(1, sizeof *j);
    *out = j;
    if (j) {
        *j = (struct rollout_judging){.c = c, .env = env, .source = source, .journal = journal,
                                      .rows = groups * c->group_size};
        j->row = calloc((size_t)j->rows + 1, sizeof *j->row);
    }
    return j && j->row ? STATUS_OK : FAIL(MEMORY, "rewards: no memory for a round's verdicts");
}

/* A reward of one completion; `remote`: judged by another process. */
static bool is_of_rows(const struct reward_use *use, bool remote)
{
    return use->reward->scope == REWARD_ROW && (use->remote != NULL) == remote;
}

/* Scores by the rewards of this process; the row's verdict is complete. */
static enum status complete(struct rollout_judging *j, int64_t place)
{
    struct judged_row *row = &j->row[place];
    const struct reward_call call = {.inputs = &row->input, .count = 1};
    bool any = false;
    for (int k = 0; k < j->c->rewards->count; k++) {
        if (is_of_rows(&j->c->rewards->items[k], false)) {
            TRY(reward_set_score(j->c->rewards, k, &call, &row->rewards[k]));
        }
        any = any || j->c->rewards->items[k].reward->scope == REWARD_ROW;
    }
    row->done = true;
    free(row->said.data);
    row->said = (struct text){0};
    return any && j->journal ? rollout_journal_verdict(j->journal, place, row->rewards)
                             : STATUS_OK;
}

/* A verdict of reward item % REWARD_MAX. */
static enum status hear(void *ctx, int64_t item, double score, const char *reason)
{
    struct rollout_judging *j = ctx;
    struct judged_row *row = &j->row[item / REWARD_MAX];
    const int64_t k = item % REWARD_MAX;
    if (isnan(score) && j->unscored[k]++ == 0) {
        (void)snprintf(j->why[k], sizeof j->why[k], "%s", reason);
    }
    row->rewards[k] = score;
    row->out--;
    if (row->out > 0) {
        return STATUS_OK;
    }
    j->out--;
    return complete(j, item / REWARD_MAX);
}

static enum status add(struct rollout_judging *j, int64_t place, const struct reward_input *given)
{
    struct judged_row *row = &j->row[place];
    row->added = true;
    row->input = *given;
    TRY(rollout_reward_input(j->env, j->source, &row->said, &row->input));
    for (int k = 0; k < j->c->rewards->count; k++) {
        row->out += is_of_rows(&j->c->rewards->items[k], true);
    }
    if (row->out == 0) {
        return complete(j, place);
    }
    j->out++;
    for (int k = 0; k < j->c->rewards->count; k++) {
        if (is_of_rows(&j->c->rewards->items[k], true)) {
            TRY(reward_remote_submit(j->c->rewards->items[k].remote, &row->input, hear, j,
                                     place * REWARD_MAX + k));
        }
    }
    return STATUS_OK;
}

static bool has_remote(const struct rollout_judging *j)
{
    for (int k = 0; k < j->c->rewards->count; k++) {
        if (is_of_rows(&j->c->rewards->items[k], true)) {
            return true;
        }
    }
    return false;
}

enum status rollout_judging_add(struct rollout_judging *j, int64_t place,
                                const struct completion *done)
{
    const struct reward_input in = {.ids = done->ids, .tokens = done->count,
                                    .truncated = !done->stopped,
                                    .group = place / j->c->group_size, .sample = done->sample};
    return has_remote(j) ? add(j, place, &in) : STATUS_OK; /* cheap ones: after the decoder */
}

/* This rank's rows that are there and have neither a verdict nor a judge. */
static enum status add_waiting(struct rollout_judging *j, const struct round *r)
{
    for (int64_t i = 0; i < j->rows; i++) {
        const struct rollout_row *row = &r->row[i];
        const bool mine = r->owner[i / r->group_size] == j->env->comm->rank;
        if (mine && row->ids && !row->judged && !j->row[i].added) {
            const struct reward_input in = {.ids = row->ids, .tokens = row->count,
                                            .truncated = !row->stopped, .group = row->group,
                                            .sample = row->sample};
            TRY(add(j, i, &in));
        }
    }
    return STATUS_OK;
}

enum status rollout_judging_replayed(struct rollout_judging *j, const struct round *r)
{
    return has_remote(j) ? add_waiting(j, r) : STATUS_OK;
}

/* A look at every reward's processes, for at most `milliseconds` each (negative: until a verdict).
 * *busy: rewards with verdicts out. */
static enum status poll_all(const struct rollout_judging *j, int milliseconds, int *busy)
{
    *busy = 0;
    for (int k = 0; k < j->c->rewards->count; k++) {
        struct reward_remote *remote = j->c->rewards->items[k].remote;
        if (remote && reward_remote_pending(remote) > 0) {
            TRY(reward_remote_poll(remote, milliseconds));
            *busy += reward_remote_pending(remote) > 0;
        }
    }
    return STATUS_OK;
}

enum status rollout_judging_poll(struct rollout_judging *j)
{
    int busy;
    return poll_all(j, 0, &busy);
}

/* A judge that failed must not go unnoticed: its rows train without that reward. */
static void tell_unscored(const struct rollout_judging *j)
{
    for (int k = 0; k < j->c->rewards->count; k++) {
        if (j->unscored[k] > 0) {
            report_note("reward '%s': no score for %lld of this rank's completions, the first: %s",
                        j->c->rewards->items[k].name, (long long)j->unscored[k], j->why[k]);
        }
    }
}

enum status rollout_judging_finish(struct rollout_judging *j, struct round *r)
{
    int busy;
    TRY(add_waiting(j, r));
    TRY(poll_all(j, 0, &busy));
    while (j->out > 0) { /* the judges may have more to do, for the round behind */
        TRY(poll_all(j, busy > 1 ? TURN_MS : -1, &busy));
    }
    tell_unscored(j);
    for (int64_t i = 0; i < j->rows; i++) {
        if (j->row[i].done) {
            memcpy(r->row[i].rewards, j->row[i].rewards, sizeof r->row[i].rewards);
        }
    }
    return STATUS_OK;
}

void rollout_judging_close(struct rollout_judging *j)
{
    if (!j) {
        return;
    }
    for (int k = 0; k < j->c->rewards->count; k++) {
        if (j->c->rewards->items[k].remote) {
            reward_remote_drop(j->c->rewards->items[k].remote, j);
        }
    }
    for (int64_t i = 0; j->row && i < j->rows; i++) {
        free(j->row[i].said.data);
    }
    free(j->row);
    free(j);
}
