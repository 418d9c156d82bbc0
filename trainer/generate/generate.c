/* A generation from start to end: checks, memory, and the loop of steps. See generate.h. */
#include "trainer/generate/generate.h"

#include <math.h>
#include <string.h>

#include "kernels/base/clock.h"
#include "trainer/generate/constraint.h"
#include "trainer/generate/scheduler_internal.h"

enum {
    DEFAULT_ROWS = 64,
    PREFILL_TOKENS = 512,
    DRAFT_ROWS = 64,       /* guessed rows of a step */
    DRAFT_TOKENS = 1 << 20 /* tokens that guesses are looked for in */
};

void completion_set_close(struct completion_set *s)
{
    for (int64_t i = 0; s->items && i < s->count; i++) {
        free(s->items[i].ids);
        free(s->items[i].logp);
        free(s->items[i].entropy);
    }
    free(s->items);
    *s = (struct completion_set){0};
}

static int64_t most_of(const struct generate_args *a, const struct prompt *p, int64_t sample)
{
    return p->most ? p->most[sample] : a->sample.max_new_tokens;
}

/* Longest completion that the prompt may get. */
static int64_t most_tokens(const struct generate_args *a, const struct prompt *p)
{
    int64_t most = 0;
    for (int64_t s = 0; s < p->samples; s++) {
        const int64_t n = most_of(a, p, s);
        most = n > most ? n : most;
    }
    return most;
}

static enum status set_open(const struct generate_args *a, struct completion_set *set)
{
    int64_t count = 0;
    for (int64_t p = 0; p < a->prompt_count; p++) {
        count += a->prompts[p].samples;
    }
    *set = (struct completion_set){.items = calloc((size_t)count + 1, sizeof *set->items)};
    if (!set->items) {
        return FAIL(MEMORY, "generate: no memory for %lld completions", (long long)count);
    }
    set->count = count;
    int64_t item = 0;
    for (int64_t p = 0; p < a->prompt_count; p++) {
        for (int64_t s = 0; s < a->prompts[p].samples; s++, item++) {
            struct completion *c = &set->items[item];
            const size_t n = (size_t)most_of(a, &a->prompts[p], s);
            c->prompt = p;
            c->sample = a->prompts[p].which ? a->prompts[p].which[s]
                                            : a->prompts[p].first_sample + (uint32_t)s;
            c->margin = INFINITY;
            c->ids = malloc(n * sizeof *c->ids + 1);
            c->logp = malloc(n * sizeof *c->logp + 1);
            c->entropy = malloc(n * sizeof *c->entropy + 1);
            if (!c->ids || !c->logp || !c->entropy) {
                return FAIL(MEMORY, "generate: no memory for %zu tokens", n);
            }
        }
    }
    return STATUS_OK;
}

static enum status check_prompts(const struct generate_args *a)
{
    for (int64_t p = 0; p < a->prompt_count; p++) {
        const struct prompt *prompt = &a->prompts[p];
        const int64_t most = most_tokens(a, prompt);
        if (prompt->count < 1) {
            return FAIL(RECIPE, "prompt %lld is empty", (long long)p);
        }
        ASSERT(!a->policies || (prompt->slot >= 0 && prompt->slot < a->slots));
        if (prompt->count + most > a->model->rope_positions) {
            return FAIL(
                RECIPE,
                "prompt %lld: %lld tokens + max_completion_length %lld exceed the context of "
                "%lld; shorten the prompt or lower max_completion_length",
                (long long)p, (long long)prompt->count, (long long)most,
                (long long)a->model->rope_positions);
        }
        for (int64_t s = 0; s < prompt->samples; s++) {
            if (most_of(a, prompt, s) < 1) {
                return FAIL(RECIPE, "prompt %lld, sample %lld: a completion has at least one token",
                            (long long)p, (long long)s);
            }
        }
    }
    return sample_check(&a->sample, a->model->config.vocab);
}

/* Most positions of one sequence, and of prompts alone. */
struct extent {
    int64_t total;
    int64_t prompt;
    int64_t completion;
};

static struct extent find_extent(const struct generate_args *a)
{
    struct extent e = {0};
    for (int64_t p = 0; p < a->prompt_count; p++) {
        const int64_t count = a->prompts[p].count;
        const int64_t most = most_tokens(a, &a->prompts[p]);
        e.total = count + most > e.total ? count + most : e.total;
        e.prompt = count > e.prompt ? count : e.prompt;
        e.completion = most > e.completion ? most : e.completion;
    }
    return e;
}

/* Slots and pages. A row alone needs its positions and one page for the copy of a fork; by default
 * there are pages for all slots at once. */
static enum status plan_cache(struct scheduler *s, struct kv_cache_shape *shape)
{
    const struct generate_args *a = s->a;
    const struct model_config *c = &a->model->config;
    const struct extent e = find_extent(a);
    const int64_t page = a->limits.page > 0 ? a->limits.page : CACHE_PAGE;
    const int64_t least = (e.total + page - 1) / page + 1;
    const int64_t prompts = a->prompt_count < s->rows ? a->prompt_count : s->rows;
    const int64_t shared = a->limits.unshared ? 0 : (e.prompt + page - 1) / page;
    const int64_t own = a->limits.unshared ? least : (e.completion + page - 1) / page + 2;
    if (a->limits.cache_pages > 0 && a->limits.cache_pages < least) {
        return FAIL(
            RECIPE,
            "rollout_pages: %lld pages of %lld positions can't hold one row of %lld tokens; at "
            "least %lld pages are needed",
            (long long)a->limits.cache_pages, (long long)page, (long long)e.total,
            (long long)least);
    }
    s->sequence_cap = 2 * s->rows + 2;
    *shape = (struct kv_cache_shape){
        .layers = c->layers,
        .kv_dim = c->kv_heads * c->head_dim,
        .pages = a->limits.cache_pages > 0 ? a->limits.cache_pages
                                           : s->rows * own + 2 * prompts * shared + 1,
        .sequences = s->sequence_cap,
        .length = e.total,
        .page = page,
        .rounded = a->ops->compute == COMPUTE_BF16 && c->head_dim % 2 == 0,
    };
    return STATUS_OK;
}

static void plan_rows(struct scheduler *s)
{
    const struct generate_args *a = s->a;
    const int64_t prefill = a->limits.prefill > 0 ? a->limits.prefill : PREFILL_TOKENS;
    s->rows = a->limits.max_rows > 0 ? a->limits.max_rows : DEFAULT_ROWS;
    s->rows = s->rows < s->set->count ? s->rows : s->set->count;
    if (a->sample.constraint && s->rows > constraint_masks(a->sample.constraint)) {
        s->rows = constraint_masks(a->sample.constraint);
    }
    const bool drafts = a->limits.drafts != DRAFTS_NEVER && !a->limits.unshared;
    s->draft_cap = !drafts ? 0 : s->rows * SPECULATION_MOST < DRAFT_ROWS
                                      ? s->rows * SPECULATION_MOST
                                      : DRAFT_ROWS;
    s->out_cap = s->rows + s->draft_cap;
    s->batch_cap = s->rows + s->draft_cap + prefill;
}

/* Tokens of the prompt's earlier completions, together at most `most`. */
static int64_t earlier_tokens(const struct prompt *p, int64_t most)
{
    int64_t tokens = 0;
    for (int64_t k = 0; k < p->earlier_count && tokens < most; k++) {
        tokens += p->earlier[k].count;
    }
    return tokens < most ? tokens : most;
}

/* Tokens of all prompts and completions, as far as drafts look. */
static int64_t draft_tokens(const struct generate_args *a)
{
    int64_t tokens = 0;
    for (int64_t p = 0; p < a->prompt_count && tokens < DRAFT_TOKENS; p++) {
        tokens += a->prompts[p].count + earlier_tokens(&a->prompts[p], DRAFT_TOKENS);
        for (int64_t s = 0; s < a->prompts[p].samples && tokens < DRAFT_TOKENS; s++) {
            tokens += most_of(a, &a->prompts[p], s);
        }
    }
    return tokens < DRAFT_TOKENS ? tokens : DRAFT_TOKENS;
}

/* The prompts' own tokens are the first that guesses are found in, then what was said to them
 * before. Earlier texts get half of the room, in equal shares: what is said now matters more. */
static void open_texts(struct scheduler *s)
{
    const int64_t share = DRAFT_TOKENS / 2 / (s->a->prompt_count > 0 ? s->a->prompt_count : 1);
    for (int64_t i = 0; i < s->waiting_count; i++) {
        struct branch *b = &s->branches[s->waiting[i]];
        const struct prompt *p = &s->a->prompts[b->prompt];
        b->text = s->drafts ? draft_root(s->drafts, b->prompt) : -1;
        for (int64_t t = 0; s->drafts && t < p->count; t++) {
            b->text = draft_extend(s->drafts, b->prompt, b->text, p->ids[t], 1);
        }
        int64_t left = share;
        for (int64_t k = 0; b->text >= 0 && k < p->earlier_count; k++) {
            int32_t text = b->text;
            for (int64_t t = 0; t < p->earlier[k].count && left > 0; t++, left--) {
                text = draft_extend(s->drafts, b->prompt, text, p->earlier[k].ids[t], 1);
            }
        }
    }
}

static enum status alloc_threads(struct scheduler *s)
{
    const size_t vocab = (size_t)s->a->model->config.vocab;
    const int threads = pool_threads(s->a->ops->pool);
    TRY(arena_alloc(&s->own, (size_t)threads, sizeof *s->thread, &s->thread));
    struct sample_scratch *t = s->thread;
    for (int i = 0; i < threads; i++) {
        struct sample_scratch own = {0};
        TRY(arena_alloc(&s->own, vocab, sizeof(float), &own.z));
        TRY(arena_alloc(&s->own, vocab, sizeof(float), &own.values));
        TRY(arena_alloc(&s->own, vocab, sizeof(int32_t), &own.counts));
        if (t) {
            t[i] = own;
        }
    }
    return STATUS_OK;
}

/* Lays the arrays out in s->own (measuring: only sizes). */
static enum status lay_out(struct scheduler *s)
{
    const size_t items = (size_t)s->set->count;
    const size_t rows = (size_t)s->rows;
    const size_t out = (size_t)s->out_cap;
    const size_t cap = (size_t)s->batch_cap;
    const size_t vocab = (size_t)s->a->model->config.vocab;
    const size_t chunks = (vocab + OPS_HEAD_CHUNK - 1) / OPS_HEAD_CHUNK;
    TRY(arena_alloc(&s->own, items, sizeof *s->branches, &s->branches));
    TRY(arena_alloc(&s->own, items, sizeof *s->members, &s->members));
    TRY(arena_alloc(&s->own, (size_t)s->a->prompt_count, sizeof *s->prompts, &s->prompts));
    TRY(arena_alloc(&s->own, rows + 1, sizeof *s->running, &s->running));
    TRY(arena_alloc(&s->own, items, sizeof *s->waiting, &s->waiting));
    TRY(arena_alloc(&s->own, rows, sizeof *s->feeds, &s->feeds));
    TRY(arena_alloc(&s->own, rows, sizeof *s->draws, &s->draws));
    TRY(arena_alloc(&s->own, rows, sizeof *s->states, &s->states));
    TRY(arena_alloc(&s->own, rows, sizeof *s->groups, &s->groups));
    TRY(arena_alloc(&s->own, out * vocab, sizeof(float), &s->logits));
    TRY(arena_alloc(&s->own, out, sizeof *s->stats, &s->stats));
    TRY(arena_alloc(&s->own, out * chunks, sizeof *s->marks, &s->marks));
    TRY(arena_alloc(&s->own, cap, sizeof(int32_t), &s->ids));
    TRY(arena_alloc(&s->own, cap, sizeof(int32_t), &s->position));
    TRY(arena_alloc(&s->own, cap, sizeof(int32_t), &s->cache_rows));
    TRY(arena_alloc(&s->own, out, sizeof(int32_t), &s->out_rows));
    TRY(arena_alloc(&s->own, rows, sizeof *s->seqs, &s->seqs));
    if (s->a->policies) {
        TRY(arena_alloc(&s->own, (size_t)s->a->slots + 1, sizeof *s->slot_begin, &s->slot_begin));
    }
    TRY(arena_alloc(&s->own, (size_t)s->draft_cap, sizeof(int32_t), &s->draft_ids));
    if (s->draft_cap > 0) {
        TRY(draft_open(&s->drafts, &s->own, s->a->prompt_count, draft_tokens(s->a)));
    }
    return alloc_threads(s);
}

static enum status open_arrays(struct scheduler *s)
{
    arena_open_measure(&s->own, "decoder");
    TRY(lay_out(s));
    const size_t bytes = s->own.peak;
    TRY(arena_open(&s->own, "decoder", bytes));
    return lay_out(s);
}

struct pass scheduler_pass(struct scheduler *s)
{
    return (struct pass){
        .ops = s->a->ops,
        .step = &s->step,
        .scratch = &s->scratch,
        .hooks = s->a->hooks,
        .slot_begin = s->slot_begin,
    };
}

static int32_t slot_of(const struct scheduler *s, const struct feed *f)
{
    return s->a->prompts[s->branches[f->branch].prompt].slot;
}

/* Whether feed x goes behind y: by policy, so that each adapter's rows are one range, then by
 * prompt, so that attention finds the sequences that share keys side by side. */
static bool goes_behind(const struct scheduler *s, const struct feed *x, const struct feed *y)
{
    const int32_t slots[] = {slot_of(s, x), slot_of(s, y)};
    return slots[0] != slots[1] ? slots[0] > slots[1]
                                : s->branches[x->branch].prompt > s->branches[y->branch].prompt;
}

/* Sorts the feeds, which decides no bit, and notes where each policy's rows begin. */
static void sort_feeds(struct scheduler *s)
{
    for (int64_t k = 1; k < s->feed_count; k++) {
        const struct feed f = s->feeds[k];
        int64_t at = k;
        for (; at > 0 && goes_behind(s, &s->feeds[at - 1], &f); at--) {
            s->feeds[at] = s->feeds[at - 1];
        }
        s->feeds[at] = f;
    }
    if (!s->slot_begin) {
        return;
    }
    int64_t rows = 0;
    int64_t k = 0;
    for (int64_t slot = 0; slot < s->a->slots; slot++) {
        s->slot_begin[slot] = rows;
        for (; k < s->feed_count && slot_of(s, &s->feeds[k]) == slot; k++) {
            rows += s->feeds[k].count;
        }
    }
    s->slot_begin[s->a->slots] = rows;
}

/* All members of every prompt wait; the stack ends with the longest expected, first on ties. */
static void enqueue(struct scheduler *s)
{
    int64_t item = 0;
    for (int64_t i = 0; i < s->set->count; i++) {
        s->branches[i].next_free = i + 1 < s->set->count ? i + 1 : -1;
        s->members[i].state = CONSTRAINT_START;
    }
    for (int64_t p = 0; p < s->a->prompt_count; p++) {
        const int64_t samples = s->a->prompts[p].samples;
        s->prompts[p] = (struct prompt_state){.waiting = samples, .anchor = -1};
        if (samples < 1) {
            continue;
        }
        const int64_t index = s->free_branch;
        s->free_branch = s->branches[index].next_free;
        s->branches[index] =
            (struct branch){.prompt = p, .first = item, .members = samples, .seq = -1};
        for (int64_t k = 0; k < samples; k++, item++) {
            s->members[item].next = k + 1 < samples ? item + 1 : -1;
            s->members[item].most = most_of(s->a, &s->a->prompts[p], k);
        }
        int64_t at = s->waiting_count++;
        for (; at > 0; at--) {
            const int64_t other = s->branches[s->waiting[at - 1]].prompt;
            if (s->a->prompts[other].expected < s->a->prompts[p].expected) {
                break;
            }
            s->waiting[at] = s->waiting[at - 1];
        }
        s->waiting[at] = index;
    }
}

static enum status scheduler_open(struct scheduler *s)
{
    struct kv_cache_shape shape;
    TRY(check_prompts(s->a));
    plan_rows(s);
    TRY(plan_cache(s, &shape));
    TRY(kv_cache_open(&s->cache, &shape));
    TRY(open_arrays(s));
    enqueue(s);
    open_texts(s);
    size_t step_bytes;
    size_t scratch_bytes;
    const struct pass pass = scheduler_pass(s);
    TRY(model_plan(s->a->model, &pass, s->batch_cap, s->out_cap, &step_bytes, &scratch_bytes));
    TRY(arena_open(&s->step, "decode step", step_bytes));
    return arena_open(&s->scratch, "decode scratch", scratch_bytes);
}

static void scheduler_close(struct scheduler *s)
{
    kv_cache_close(s->cache);
    arena_close(&s->own);
    arena_close(&s->step);
    arena_close(&s->scratch);
}

/* K/V of sequences that reach their end: each prompt in work once, each row its own tokens and its
 * copy of the page it shares with its prompt. */
static size_t filled_bytes(const struct scheduler *s, const struct kv_cache_shape *shape)
{
    const struct extent e = find_extent(s->a);
    const int64_t samples = s->a->prompts[0].samples > 0 ? s->a->prompts[0].samples : 1;
    const int64_t prompts = s->a->limits.unshared ? 0 : (s->rows + samples - 1) / samples;
    const int64_t own = e.completion + (s->a->limits.unshared ? e.prompt : e.prompt % shape->page);
    const int64_t positions = s->rows * own + prompts * e.prompt;
    const int64_t most = shape->pages * shape->page;
    struct kv_cache_shape one = *shape;
    one.pages = 1;
    one.sequences = 1;
    one.length = 1;
    const size_t per_position = kv_cache_bytes(&one) / (size_t)shape->page;
    return (size_t)(positions < most ? positions : most) * per_position;
}

enum status generate_plan(const struct generate_args *a, struct generate_memory *out)
{
    struct completion_set set = {0};
    struct scheduler s = {.a = a, .set = &set};
    struct kv_cache_shape shape;
    size_t step;
    size_t scratch;
    *out = (struct generate_memory){0};
    for (int64_t p = 0; p < a->prompt_count; p++) {
        set.count += a->prompts[p].samples;
    }
    if (set.count == 0) {
        return STATUS_OK;
    }
    TRY(check_prompts(a));
    plan_rows(&s);
    TRY(plan_cache(&s, &shape));
    arena_open_measure(&s.own, "decoder");
    TRY(lay_out(&s));
    const struct pass pass = scheduler_pass(&s);
    int64_t tokens = s.out_cap; /* a step has no more than these and the prompts of all */
    for (int64_t p = 0; p < a->prompt_count && tokens < s.batch_cap; p++) {
        tokens += a->prompts[p].count * (a->limits.unshared ? a->prompts[p].samples : 1);
    }
    tokens = tokens < s.batch_cap ? tokens : s.batch_cap;
    TRY(model_plan(a->model, &pass, tokens, s.out_cap, &step, &scratch));
    const struct extent e = find_extent(a);
    out->cache = filled_bytes(&s, &shape);
    out->reserve = kv_cache_bytes(&shape);
    out->own = s.own.peak;
    out->guesses = (size_t)s.draft_cap * (size_t)a->model->config.vocab * sizeof(float);
    out->pass = step + scratch;
    out->least = (e.total + shape.page - 1) / shape.page + 1;
    out->pages = shape.pages;
    return STATUS_OK;
}

/* Work of a feed, for the log. */
static void count_feed(struct scheduler *s, const struct feed *f)
{
    const struct branch *b = &s->branches[f->branch];
    const int64_t prompt = s->a->prompts[b->prompt].count;
    const int64_t end = b->fed + f->count;
    const int64_t again = b->again < end ? b->again : end;
    s->stat.rows += f->count;
    s->stat.recomputed += again > b->fed ? again - b->fed : 0;
    s->stat.prompt_tokens += b->fed < prompt ? (end < prompt ? end : prompt) - b->fed : 0;
    s->stat.saved_rows += f->count * (b->members - 1);
    s->stat.drafted += f->drafts;
}

/* Puts a feed's tokens into the batch arrays behind the first *tokens. */
static void stage(struct scheduler *s, int64_t k, int64_t *tokens, int64_t *n_out)
{
    struct feed *f = &s->feeds[k];
    const struct branch *b = &s->branches[f->branch];
    const int32_t *rows = kv_cache_rows(s->cache, b->seq);
    s->seqs[k] = (struct attn_seq){
        .begin = *tokens,
        .count = f->count,
        .pos_begin = b->fed,
        .key_rows = rows,
        .tree = (int32_t)k,
    };
    for (int64_t i = 0; i < f->count; i++) {
        const int64_t at = b->fed + i;
        const int64_t drafted = i - (f->count - f->drafts);
        s->ids[*tokens + i] = drafted >= 0 ? f->draft[drafted] : branch_token(s, b, at);
        s->position[*tokens + i] = (int32_t)at;
        s->cache_rows[*tokens + i] = rows[at];
    }
    *tokens += f->count;
    if (f->out >= 0) {
        f->out = *n_out;
        for (int64_t i = f->drafts; i >= 0; i--) {
            s->out_rows[(*n_out)++] = (int32_t)(*tokens - 1 - i);
        }
    }
}

static enum status forward(struct scheduler *s, float **hidden, int64_t *n_out)
{
    int64_t tokens = 0;
    *n_out = 0;
    for (int64_t k = 0; k < s->feed_count; k++) {
        count_feed(s, &s->feeds[k]);
        stage(s, k, &tokens, n_out);
    }
    ASSERT(tokens > 0 && tokens <= s->batch_cap && *n_out <= s->out_cap);
    arena_rewind(&s->step, 0);
    arena_rewind(&s->scratch, 0);
    const struct batch batch = {
        .tokens = tokens,
        .ids = s->ids,
        .position = {s->position, s->position, s->position},
        .seqs = s->seqs,
        .n_seq = s->feed_count,
        .out_rows = s->out_rows,
        .n_out = *n_out,
        .cache = s->cache,
        .cache_rows = s->cache_rows,
    };
    const struct pass pass = scheduler_pass(s);
    return model_forward(s->a->model, &pass, &batch, hidden, NULL);
}

/* Feeds that stop before their last token only grow their pages. */
static void advance_partial(struct scheduler *s)
{
    for (int64_t k = 0; k < s->feed_count; k++) {
        if (s->feeds[k].out < 0) {
            s->branches[s->feeds[k].branch].fed += s->feeds[k].count;
        }
    }
}

static enum status run_step(struct scheduler *s)
{
    const double start = clock_seconds();
    const int64_t rows = s->stat.rows;
    const int64_t every = s->a->limits.preempt_every;
    if (every > 0 && s->stat.steps % every == every - 1 && s->running_count > 1) {
        scheduler_preempt(s, s->running_count - 1);
    }
    TRY(scheduler_admit(s));
    TRY(scheduler_plan_feeds(s));
    sort_feeds(s);
    float *hidden;
    int64_t n_out;
    TRY(forward(s, &hidden, &n_out));
    s->stat.steps++;
    advance_partial(s);
    if (n_out > 0) {
        const double drawing = clock_seconds();
        s->stat.decode_steps++;
        s->stat.occupancy += (double)s->used / (double)s->rows;
        TRY(scheduler_draw(s, hidden, n_out));
        s->stat.draw_seconds += clock_seconds() - drawing;
    }
    const double seconds = clock_seconds() - start;
    if (s->step_prompt_rows == 0) {
        speculation_note_step(&s->speculation, s->stat.rows - rows, seconds);
    }
    s->stat.decode_seconds += s->step_prompt_rows == 0 ? seconds : 0.0;
    return STATUS_OK;
}

enum status generate(const struct generate_args *a, struct completion_set *out,
                     struct generate_stats *stats)
{
    struct scheduler s = {.a = a, .set = out};
    const double start = clock_seconds();
    enum status status = set_open(a, out);
    if (status == STATUS_OK && out->count > 0) {
        status = scheduler_open(&s);
        while (status == STATUS_OK && s.finished < out->count) {
            status = run_step(&s);
            if (status == STATUS_OK && a->between) {
                status = a->between(a->done_ctx);
            }
        }
        scheduler_close(&s);
    }
    if (status != STATUS_OK) {
        completion_set_close(out);
    }
    if (stats) {
        *stats = s.stat;
        stats->occupancy /= s.stat.decode_steps > 0 ? (double)s.stat.decode_steps : 1.0;
        stats->seconds = clock_seconds() - start;
    }
    return status;
}
