/*
 * The decoder: prompts are prefilled once, every completion forks the prompt's pages, and finished
 * rows hand their slot to the next completion at once. See generate.h for what may decide a token.
 */
#include "trainer/generate/generate.h"

#include <math.h>
#include <string.h>

#include "kernels/base/clock.h"
#include "kernels/base/rng.h"

enum { DEFAULT_ROWS = 64, PREFILL_TOKENS = 512 };

/* A completion that is being decoded. */
struct slot {
    int64_t item;     /* index into the set, -1: free */
    int64_t seq;      /* cache sequence */
    int32_t next;     /* token to feed next */
};

/* A prompt in the cache, waiting for its completions to start. */
struct prefilled {
    int64_t prompt;
    int64_t seq;
    float *hidden; /* [hidden] of the last token */
};

struct decoder {
    const struct generate_args *a;
    struct completion_set *set;
    struct kv_cache *cache;
    struct arena step;
    struct arena scratch;
    struct arena own;      /* buffers below */
    int64_t rows;          /* slots */
    struct slot *slots;
    struct prefilled *ready; /* prompts with samples left to start */
    int64_t ready_count;
    int64_t ready_sample;  /* next sample of ready[0] */
    int64_t next_prompt;   /* first prompt not prefilled */
    int64_t next_item;     /* first completion not started */
    float *logits;         /* [rows, vocab] */
    struct logit_stats *stats;
    float *filter;         /* [threads, vocab] */
    float *start_hidden;   /* [rows, hidden] hidden states to draw first tokens from */
    int64_t *start_slot;
    int32_t *ids;          /* batch arrays, [max(rows, prefill)] */
    int32_t *position;
    int32_t *cache_rows;
    int32_t *out_rows;
    struct attn_seq *seqs;
    int64_t batch_cap;
    struct generate_stats stat;
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
    const size_t n = (size_t)a->sample.max_new_tokens;
    int64_t item = 0;
    for (int64_t p = 0; p < a->prompt_count; p++) {
        for (int64_t s = 0; s < a->prompts[p].samples; s++, item++) {
            struct completion *c = &set->items[item];
            c->prompt = p;
            c->sample = a->prompts[p].first_sample + (uint32_t)s;
            c->margin = INFINITY;
            c->ids = malloc(n * sizeof *c->ids);
            c->logp = malloc(n * sizeof *c->logp);
            c->entropy = malloc(n * sizeof *c->entropy);
            if (!c->ids || !c->logp || !c->entropy) {
                return FAIL(MEMORY, "generate: no memory for %lld tokens", (long long)n);
            }
        }
    }
    return STATUS_OK;
}

static int64_t longest_prompt(const struct generate_args *a)
{
    int64_t longest = 0;
    for (int64_t p = 0; p < a->prompt_count; p++) {
        longest = a->prompts[p].count > longest ? a->prompts[p].count : longest;
    }
    return longest;
}

static enum status check_prompts(const struct generate_args *a)
{
    for (int64_t p = 0; p < a->prompt_count; p++) {
        const int64_t total = a->prompts[p].count + a->sample.max_new_tokens;
        if (a->prompts[p].count < 1) {
            return FAIL(RECIPE, "prompt %lld is empty", (long long)p);
        }
        if (total > a->model->rope_positions) {
            return FAIL(RECIPE,
                        "prompt %lld: %lld tokens + max_completion_length %lld exceed the context of "
                        "%lld; shorten the prompt or lower max_completion_length",
                        (long long)p, (long long)a->prompts[p].count,
                        (long long)a->sample.max_new_tokens, (long long)a->model->rope_positions);
        }
    }
    return STATUS_OK;
}

/* Page needs of one row in the worst case, the copied page of a fork included. */
static int64_t pages_per_row(const struct generate_args *a)
{
    return (longest_prompt(a) + a->sample.max_new_tokens + CACHE_PAGE - 1) / CACHE_PAGE + 1;
}

static enum status plan_rows(struct decoder *d, struct kv_cache_shape *shape)
{
    const struct generate_args *a = d->a;
    const struct model_config *c = &a->model->config;
    const int64_t per_row = pages_per_row(a);
    const int64_t prompt_pages = (longest_prompt(a) + CACHE_PAGE - 1) / CACHE_PAGE;
    d->rows = a->limits.max_rows > 0 ? a->limits.max_rows : DEFAULT_ROWS;
    d->rows = d->rows < d->set->count ? d->rows : d->set->count;
    /* Prompts wait in the cache until their samples started: at most one per slot, plus one. */
    const int64_t per_slot = per_row + prompt_pages;
    if (a->limits.cache_pages > 0) {
        const int64_t fit = (a->limits.cache_pages - prompt_pages) / per_slot;
        if (fit < 1) {
            return FAIL(RECIPE,
                        "%lld pages of %d positions can't hold one row (%lld pages needed); raise the "
                        "page budget",
                        (long long)a->limits.cache_pages, CACHE_PAGE,
                        (long long)(per_slot + prompt_pages));
        }
        d->rows = d->rows < fit ? d->rows : fit;
    }
    *shape = (struct kv_cache_shape){
        .layers = c->layers,
        .kv_dim = c->kv_heads * c->head_dim,
        .pages = d->rows * per_slot + prompt_pages,
        .sequences = 2 * d->rows + 2,
        .length = longest_prompt(a) + a->sample.max_new_tokens,
    };
    return STATUS_OK;
}

static enum status decoder_buffers(struct decoder *d)
{
    const struct model_config *c = &d->a->model->config;
    const size_t rows = (size_t)d->rows;
    const size_t vocab = (size_t)c->vocab;
    const size_t threads = (size_t)pool_threads(d->a->ops->pool);
    const int64_t prefill = PREFILL_TOKENS + longest_prompt(d->a);
    d->batch_cap = prefill > d->rows ? prefill : d->rows;
    const size_t cap = (size_t)d->batch_cap;
    const size_t bytes = (rows + threads) * vocab * sizeof(float)
                         + (2 * rows + 2) * (size_t)c->hidden * sizeof(float)
                         + rows * (sizeof(struct logit_stats) + sizeof(struct slot) + 64)
                         + (rows + 2) * sizeof(struct prefilled)
                         + cap * (4 * sizeof(int32_t) + sizeof(struct attn_seq)) + 32 * ARENA_ALIGN;
    TRY(arena_open(&d->own, "decoder", bytes));
    TRY(arena_alloc(&d->own, rows * vocab, sizeof(float), &d->logits));
    TRY(arena_alloc(&d->own, threads * vocab, sizeof(float), &d->filter));
    TRY(arena_alloc(&d->own, rows * (size_t)c->hidden, sizeof(float), &d->start_hidden));
    TRY(arena_alloc(&d->own, rows, sizeof *d->stats, &d->stats));
    TRY(arena_alloc(&d->own, rows, sizeof *d->slots, &d->slots));
    TRY(arena_alloc(&d->own, rows, sizeof *d->start_slot, &d->start_slot));
    TRY(arena_alloc(&d->own, rows + 1, sizeof *d->ready, &d->ready));
    for (int64_t i = 0; i <= d->rows; i++) {
        TRY(arena_alloc(&d->own, (size_t)c->hidden, sizeof(float), &d->ready[i].hidden));
    }
    TRY(arena_alloc(&d->own, cap, sizeof(int32_t), &d->ids));
    TRY(arena_alloc(&d->own, cap, sizeof(int32_t), &d->position));
    TRY(arena_alloc(&d->own, cap, sizeof(int32_t), &d->cache_rows));
    TRY(arena_alloc(&d->own, cap, sizeof(int32_t), &d->out_rows));
    TRY(arena_alloc(&d->own, cap, sizeof *d->seqs, &d->seqs));
    for (int64_t i = 0; i < d->rows; i++) {
        d->slots[i].item = -1;
    }
    return STATUS_OK;
}

static struct pass decoder_pass(struct decoder *d)
{
    return (struct pass){
        .ops = d->a->ops,
        .step = &d->step,
        .scratch = &d->scratch,
        .hooks = d->a->hooks,
    };
}

static enum status decoder_open(struct decoder *d)
{
    struct kv_cache_shape shape;
    TRY(check_prompts(d->a));
    TRY(plan_rows(d, &shape));
    TRY(kv_cache_open(&d->cache, &shape));
    TRY(decoder_buffers(d));
    size_t step_bytes;
    size_t scratch_bytes;
    const struct pass pass = decoder_pass(d);
    TRY(model_plan(d->a->model, &pass, d->batch_cap, d->batch_cap, &step_bytes, &scratch_bytes));
    TRY(arena_open(&d->step, "decode step", step_bytes));
    return arena_open(&d->scratch, "decode scratch", scratch_bytes);
}

static void decoder_close(struct decoder *d)
{
    kv_cache_close(d->cache);
    arena_close(&d->own);
    arena_close(&d->step);
    arena_close(&d->scratch);
}

/* Runs the model over the first `tokens` entries of the batch arrays. */
static enum status run_batch(struct decoder *d, int64_t tokens, int64_t n_seq, int64_t n_out,
                             float **hidden)
{
    arena_rewind(&d->step, 0);
    arena_rewind(&d->scratch, 0);
    const struct batch batch = {
        .tokens = tokens,
        .ids = d->ids,
        .position = {d->position, d->position, d->position},
        .seqs = d->seqs,
        .n_seq = n_seq,
        .out_rows = d->out_rows,
        .n_out = n_out,
        .cache = d->cache,
        .cache_rows = d->cache_rows,
    };
    const struct pass pass = decoder_pass(d);
    return model_forward(d->a->model, &pass, &batch, hidden, NULL);
}

/* Adds one prompt's tokens to the batch arrays; *tokens is the fill. */
static enum status stage_prompt(struct decoder *d, int64_t prompt, int64_t seq, int64_t n_seq,
                                int64_t *tokens)
{
    const struct prompt *p = &d->a->prompts[prompt];
    TRY(kv_cache_append(d->cache, seq, p->count));
    const int32_t *rows = kv_cache_rows(d->cache, seq);
    d->seqs[n_seq] = (struct attn_seq){
        .begin = *tokens,
        .count = p->count,
        .key_rows = rows,
        .tree = (int32_t)n_seq,
    };
    for (int64_t i = 0; i < p->count; i++) {
        d->ids[*tokens + i] = p->ids[i];
        d->position[*tokens + i] = (int32_t)i;
        d->cache_rows[*tokens + i] = rows[i];
    }
    *tokens += p->count;
    d->out_rows[n_seq] = (int32_t)(*tokens - 1);
    return STATUS_OK;
}

/* Prefills the next prompts, enough to fill `free_slots` slots, in one forward. */
static enum status prefill(struct decoder *d, int64_t free_slots)
{
    int64_t tokens = 0;
    int64_t staged = 0;
    int64_t samples = 0;
    const int64_t first = d->ready_count;
    while (d->next_prompt < d->a->prompt_count && samples < free_slots && tokens < PREFILL_TOKENS
           && d->ready_count < d->rows) {
        struct prefilled *r = &d->ready[d->ready_count];
        r->prompt = d->next_prompt;
        TRY(kv_cache_new(d->cache, &r->seq));
        TRY(stage_prompt(d, d->next_prompt, r->seq, staged, &tokens));
        samples += d->a->prompts[d->next_prompt].samples;
        d->ready_count++;
        d->next_prompt++;
        staged++;
    }
    if (staged == 0) {
        return STATUS_OK;
    }
    float *hidden;
    TRY(run_batch(d, tokens, staged, staged, &hidden));
    const size_t width = (size_t)d->a->model->config.hidden;
    for (int64_t i = 0; i < staged; i++) {
        memcpy(d->ready[first + i].hidden, hidden + (size_t)i * width, width * sizeof(float));
    }
    d->stat.prompt_tokens += tokens;
    return STATUS_OK;
}

/* Draws the next token of the rows whose logits lie in d->logits; row i belongs to slot[i]. */
struct draw {
    struct decoder *d;
    const int64_t *slot;
};

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

static void draw_rows(void *ctx, int64_t begin, int64_t end, int thread)
{
    const struct draw *w = ctx;
    struct decoder *d = w->d;
    const struct sample_config *s = &d->a->sample;
    const int64_t vocab = d->a->model->config.vocab;
    for (int64_t i = begin; i < end; i++) {
        struct slot *slot = &d->slots[w->slot[i]];
        struct completion *c = &d->set->items[slot->item];
        const float *z = d->logits + i * vocab;
        const struct rng_key key = {
            .seed = s->seed,
            .purpose = s->purpose,
            .step = s->step,
            .row = d->a->prompts[c->prompt].row,
            .sample = c->sample,
            .position = (uint32_t)c->count,
        };
        const int32_t id = sample_token(s, z, vocab, rng_uniform53(&key), d->filter + thread * vocab);
        c->ids[c->count] = id;
        c->logp[c->count] = z[id] - logit_stats_lse(&d->stats[i]);
        c->entropy[c->count] = logit_stats_entropy(&d->stats[i]);
        c->count++;
        if (d->a->margins) {
            const float gap = top_gap(z, vocab);
            c->margin = gap < c->margin ? gap : c->margin;
        }
        slot->next = id;
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

/* Logits of `count` hidden rows, a draw for each, and the slots of finished completions freed. */
static enum status draw_tokens(struct decoder *d, const float *hidden, int64_t count,
                               const int64_t *slot)
{
    const struct sample_config *s = &d->a->sample;
    const struct pass pass = decoder_pass(d);
    const float temperature = s->temperature > 0 ? (float)s->temperature : 1.0f;
    arena_rewind(&d->scratch, 0);
    TRY(model_logits(d->a->model, &pass, hidden, count, temperature, d->logits, d->stats));
    struct draw work = {.d = d, .slot = slot};
    parallel_for(d->a->ops->pool, count, draw_rows, &work);
    for (int64_t i = 0; i < count; i++) {
        struct slot *at = &d->slots[slot[i]];
        struct completion *c = &d->set->items[at->item];
        c->stopped = is_stop(s, at->next);
        if (c->stopped || c->count == s->max_new_tokens) {
            kv_cache_free(d->cache, at->seq);
            at->item = -1;
        }
    }
    d->stat.decoded_tokens += count;
    return STATUS_OK;
}

/* Starts completions of prefilled prompts in free slots: forks the pages, draws the first token. */
static enum status start_completions(struct decoder *d)
{
    const size_t width = (size_t)d->a->model->config.hidden;
    int64_t started = 0;
    for (int64_t i = 0; i < d->rows && d->ready_count > 0; i++) {
        if (d->slots[i].item >= 0) {
            continue;
        }
        struct prefilled *r = &d->ready[0];
        const struct prompt *p = &d->a->prompts[r->prompt];
        if (d->ready_sample < p->samples) {
            d->slots[i].item = d->next_item++;
            TRY(kv_cache_fork(d->cache, r->seq, p->count, &d->slots[i].seq));
            memcpy(d->start_hidden + (size_t)started * width, r->hidden, width * sizeof(float));
            d->start_slot[started++] = i;
            d->ready_sample++;
        }
        if (d->ready_sample >= p->samples) {
            const struct prefilled done = *r;
            kv_cache_free(d->cache, done.seq);
            memmove(d->ready, d->ready + 1, (size_t)(d->ready_count - 1) * sizeof *d->ready);
            d->ready_count--;
            d->ready[d->ready_count].hidden = done.hidden; /* keep the buffer in the pool */
            d->ready_sample = 0;
        }
    }
    return started ? draw_tokens(d, d->start_hidden, started, d->start_slot) : STATUS_OK;
}

static int64_t free_slots(const struct decoder *d)
{
    int64_t n = 0;
    for (int64_t i = 0; i < d->rows; i++) {
        n += d->slots[i].item < 0;
    }
    return n;
}

/* One token for every running completion. */
static enum status decode_step(struct decoder *d)
{
    int64_t running = 0;
    for (int64_t i = 0; i < d->rows; i++) {
        struct slot *s = &d->slots[i];
        if (s->item < 0) {
            continue;
        }
        const int64_t position = kv_cache_length(d->cache, s->seq);
        TRY(kv_cache_append(d->cache, s->seq, 1));
        const int32_t *rows = kv_cache_rows(d->cache, s->seq);
        d->seqs[running] = (struct attn_seq){
            .begin = running,
            .count = 1,
            .pos_begin = position,
            .key_rows = rows,
            .tree = (int32_t)running,
        };
        d->ids[running] = s->next;
        d->position[running] = (int32_t)position;
        d->cache_rows[running] = rows[position];
        d->out_rows[running] = (int32_t)running;
        d->start_slot[running] = i;
        running++;
    }
    if (running == 0) {
        return STATUS_OK;
    }
    float *hidden;
    TRY(run_batch(d, running, running, running, &hidden));
    d->stat.decode_steps++;
    d->stat.occupancy += (double)running / (double)d->rows;
    return draw_tokens(d, hidden, running, d->start_slot);
}

static bool finished(const struct decoder *d)
{
    return d->next_item == d->set->count && free_slots(d) == d->rows;
}

static enum status decode_all(struct decoder *d)
{
    while (!finished(d)) {
        int64_t open = free_slots(d);
        while (open > 0 && (d->ready_count > 0 || d->next_prompt < d->a->prompt_count)) {
            if (d->ready_count == 0) {
                TRY(prefill(d, open));
            }
            TRY(start_completions(d));
            open = free_slots(d);
        }
        const double start = clock_seconds();
        TRY(decode_step(d));
        d->stat.decode_seconds += clock_seconds() - start;
    }
    return STATUS_OK;
}

enum status generate(const struct generate_args *a, struct completion_set *out,
                     struct generate_stats *stats)
{
    struct decoder d = {.a = a, .set = out};
    const double start = clock_seconds();
    enum status status = set_open(a, out);
    if (status == STATUS_OK && out->count > 0 && a->sample.max_new_tokens > 0) {
        status = decoder_open(&d);
        if (status == STATUS_OK) {
            status = decode_all(&d);
        }
        decoder_close(&d);
    }
    if (status != STATUS_OK) {
        completion_set_close(out);
    }
    if (stats) {
        *stats = d.stat;
        stats->occupancy /= d.stat.decode_steps > 0 ? (double)d.stat.decode_steps : 1.0;
        stats->seconds = clock_seconds() - start;
    }
    return status;
}
