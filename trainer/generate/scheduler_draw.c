/*
 * From logits to tokens. A branch's members draw from the same logits, each with its own key; those
 * that drew alike stay together. Draft rows are visited depth after depth: a member goes on to the
 * next one while it drew the drafted token.
 */
#include <math.h>

#include "kernels/base/rng.h"
#include "trainer/generate/constraint.h"
#include "trainer/generate/scheduler_internal.h"
#include "trainer/generate/stop_strings.h"

static float top_gap(const float *z, int64_t n)
{
    float first = -INFINITY;
    float second = -INFINITY;
    for (int64_t i = 0; i < n; i++) {
        if (z[i] > first) {
            second = first;
            first = z[i];
        } else if (z[i] > second) {
            second = z[i];
        }
    }
    return first - second;
}

static int32_t draw_token(const struct scheduler *s, const struct draw *w, int thread)
{
    const struct sample_config *c = &s->a->sample;
    const struct completion *done = &s->set->items[w->item];
    const struct prompt *p = &s->a->prompts[done->prompt];
    const int64_t vocab = s->a->model->config.vocab;
    const float *z = s->logits + w->out * vocab;
    const struct generate_policy *own = s->a->policies ? &s->a->policies[p->slot] : NULL;
    const struct rng_key key = {
        .seed = own ? own->seed : c->seed,
        .purpose = c->purpose,
        .step = own ? own->step : c->step,
        .row = p->row,
        .sample = done->sample,
        .position = (uint32_t)done->count,
    };
    if (sample_is_plain(c, done->count)) {
        const int64_t chunks = (vocab + OPS_HEAD_CHUNK - 1) / OPS_HEAD_CHUNK;
        return sample_plain(z, vocab, OPS_HEAD_CHUNK, s->marks + w->out * chunks,
                            rng_uniform53(&key));
    }
    const struct sample_history history = {
        .prompt = p->ids,
        .prompt_count = p->count,
        .ids = done->ids,
        .count = done->count,
        .allowed = c->constraint
                       ? constraint_mask(c->constraint, s->members[w->item].state)
                       : NULL,
    };
    return sample_token(c, z, vocab, &history, rng_uniform53(&key), &s->thread[thread]);
}

static void draw_rows(void *ctx, int64_t begin, int64_t end, int thread)
{
    const struct scheduler *s = ctx;
    const int64_t vocab = s->a->model->config.vocab;
    for (int64_t i = begin; i < end; i++) {
        const struct draw *w = &s->draws[i];
        struct completion *c = &s->set->items[w->item];
        const float *z = s->logits + w->out * vocab;
        const int32_t id = draw_token(s, w, thread);
        c->ids[c->count] = id;
        c->logp[c->count] = z[id] - logit_stats_lse(&s->stats[w->out]);
        c->entropy[c->count] = logit_stats_entropy(&s->stats[w->out]);
        c->count++;
        if (s->a->margins) {
            const float gap = top_gap(z, vocab);
            c->margin = gap < c->margin ? gap : c->margin;
        }
    }
}

static bool is_stop(const struct sample_config *s, int32_t id)
{
    for (int64_t i = 0; i < s->stop_count; i++) {
        if (s->stops[i] == id) {
            return true;
        }
    }
    return false;
}

/* Looks at the token that was drawn last: true when the completion is over. */
static bool is_over(struct scheduler *s, int64_t item)
{
    const struct sample_config *c = &s->a->sample;
    struct completion *done = &s->set->items[item];
    struct member *m = &s->members[item];
    const int32_t id = done->ids[done->count - 1];
    if (done->count >= c->min_new_tokens) {
        done->stopped = is_stop(c, id)
                        || (c->stop_strings
                            && stop_strings_hit(c->stop_strings, done->ids, done->count));
    }
    if (c->constraint && !done->stopped) {
        m->state = constraint_next(c->constraint, m->state, id);
        done->stopped = c->stop_count == 0 && constraint_is_over(c->constraint, m->state);
    }
    return done->stopped || done->count >= m->most;
}

/* How one feed's members came out of a wave. */
struct split {
    struct group on; /* drew the next draft */
    int64_t groups;  /* the others, in s->groups by token */
};

static void join(struct scheduler *s, struct group *g, int64_t item)
{
    s->members[item].next = -1;
    if (g->members++ == 0) {
        g->first = item;
    } else {
        s->members[g->last].next = item;
    }
    g->last = item;
}

/* Sorts the feed's members by what they drew; completions that are over leave. */
static enum status sort_members(struct scheduler *s, const struct feed *f, int64_t depth,
                                struct group *groups, struct split *out)
{
    *out = (struct split){.on = {.first = -1}};
    for (int64_t item = f->path; item >= 0;) {
        const int64_t next = s->members[item].next;
        struct completion *c = &s->set->items[item];
        const int32_t id = c->ids[c->count - 1];
        if (!isfinite(c->logp[c->count - 1])) {
            return FAIL(NUMERIC, "the logits of token %lld of a completion are not finite: the "
                                 "model's weights hold NaN or infinity, or overflow",
                        (long long)c->count);
        }
        s->stat.decoded_tokens++;
        if (is_over(s, item)) {
            s->used--;
            s->finished++;
            TRY(s->a->done ? s->a->done(s->a->done_ctx, c) : STATUS_OK);
        } else if (depth < f->drafts && id == f->draft[depth]) {
            join(s, &out->on, item);
        } else {
            int64_t g = 0;
            while (g < out->groups && groups[g].id != id) {
                g++;
            }
            if (g == out->groups) {
                groups[out->groups++] = (struct group){.id = id};
            }
            join(s, &groups[g], item);
        }
        item = next;
    }
    return STATUS_OK;
}

/* The branch's tokens with a group's next one, in the drafts' automaton. */
static int32_t grown_text(struct scheduler *s, const struct branch *b, int32_t text,
                          const struct group *g)
{
    return s->drafts ? draft_extend(s->drafts, b->prompt, text, g->id, (int32_t)g->members) : -1;
}

/* Splits the feed's branch after the draws at `depth`. */
static enum status split_feed(struct scheduler *s, struct feed *f, int64_t depth,
                              struct group *groups)
{
    struct branch *b = &s->branches[f->branch];
    const int64_t fed = b->fed + f->count - f->drafts + depth;
    const int32_t text = b->text;
    struct split split;
    const double members = (double)b->members;
    TRY(sort_members(s, f, depth, groups, &split));
    f->path = split.on.first;
    if (depth < f->drafts) {
        speculation_note_guess(&s->speculation, f->match, (double)split.on.members / members);
        s->stat.accepted += split.on.members > 0;
    }
    int64_t first = 0;
    if (split.on.members > 0) {
        b->first = split.on.first;
        b->members = split.on.members;
        split.on.id = f->draft[depth];
        b->text = grown_text(s, b, text, &split.on);
    } else if (split.groups == 0) {
        b->members = 0;
        b->fed = fed;
        scheduler_release(s, f->branch);
    } else { /* the first group goes on with the pages */
        kv_cache_truncate(s->cache, b->seq, fed);
        b->first = groups[0].first;
        b->members = groups[0].members;
        b->fed = fed;
        b->text = grown_text(s, b, text, &groups[0]);
        first = 1;
    }
    for (int64_t g = first; g < split.groups; g++) {
        TRY(scheduler_fork(s, b, &groups[g], grown_text(s, b, text, &groups[g]), fed));
    }
    return STATUS_OK;
}

/* Lists the draws at `depth`; prepares the constraint's masks. */
static int64_t list_draws(struct scheduler *s, int64_t depth)
{
    int64_t n = 0;
    for (int64_t k = 0; k < s->feed_count; k++) {
        const struct feed *f = &s->feeds[k];
        for (int64_t item = f->path; item >= 0; item = s->members[item].next) {
            s->states[n] = s->members[item].state;
            s->draws[n++] = (struct draw){.item = item, .out = f->out + depth};
        }
    }
    if (s->a->sample.constraint && n > 0) {
        constraint_prepare(s->a->sample.constraint, s->states, n, s->a->ops->pool);
    }
    return n;
}

enum status scheduler_draw(struct scheduler *s, const float *hidden, int64_t n_out)
{
    const struct sample_config *c = &s->a->sample;
    const struct pass pass = scheduler_pass(s);
    const float temperature = c->temperature > 0 ? (float)c->temperature : 1.0f;
    arena_rewind(&s->scratch, 0);
    TRY(model_logits(s->a->model, &pass, hidden, n_out, temperature, s->logits, s->stats,
                     s->marks));
    for (int64_t k = 0; k < s->feed_count; k++) {
        struct feed *f = &s->feeds[k];
        f->path = f->out >= 0 ? s->branches[f->branch].first : -1;
    }
    for (int64_t depth = 0;; depth++) {
        const int64_t n = list_draws(s, depth);
        if (n == 0) {
            return STATUS_OK;
        }
        parallel_for(s->a->ops->pool, n, draw_rows, s);
        for (int64_t k = 0; k < s->feed_count; k++) {
            if (s->feeds[k].path >= 0) {
                TRY(split_feed(s, &s->feeds[k], depth, s->groups));
            }
        }
    }
}
