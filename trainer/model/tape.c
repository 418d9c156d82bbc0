/* The walk over the tape of blocks, up and down; see model_internal.h. */
#include <inttypes.h>

#include "trainer/model/model_internal.h"

struct model_state {
    struct block_saved *blocks; /* [block_count] */
};

int64_t block_count(const struct model *m)
{
    return 2 * m->config.layers + 2;
}

const struct block_ops *block_at(const struct model *m, int64_t i, int64_t *layer)
{
    *layer = 0;
    if (i == 0) {
        return &BLOCK_EMBED;
    }
    if (i == block_count(m) - 1) {
        return &BLOCK_OUTPUT;
    }
    *layer = (i - 1) / 2;
    return (i - 1) % 2 == 0 ? &BLOCK_MIXER : &BLOCK_FFN;
}

static enum status check_tokens(const struct model *m, const struct batch *b)
{
    for (int64_t t = 0; t < b->tokens; t++) {
        const bool own = b->embeddings && b->override[t];
        if (!own && (b->ids[t] < 0 || b->ids[t] >= m->config.vocab)) {
            return FAIL(INPUT, "token %" PRId32 " is outside the model's vocabulary of %" PRId64
                               "; tokenizer and model don't fit", b->ids[t], m->config.vocab);
        }
        if (b->position[0][t] < 0 || b->position[0][t] >= m->rope_positions) {
            return FAIL(INPUT, "position %" PRId32 " is outside the context of %" PRId64
                               " that was prepared; shorten the sequence or raise the context",
                        b->position[0][t], m->rope_positions);
        }
    }
    return STATUS_OK;
}

static enum status check_batch(const struct model *m, const struct pass *p, const struct batch *b)
{
    if (b->adapter_slot) {
        return FAIL(RECIPE, "adapters chosen row by row are not supported yet");
    }
    ASSERT(!b->cache || !p->grad); /* training rows are the batch's own */
    for (int64_t i = 0; i < b->n_out; i++) {
        ASSERT(b->out_rows[i] >= 0 && b->out_rows[i] < b->tokens);
    }
    return check_tokens(m, b);
}

/* Memory that takes the outputs of the blocks: one per block when a backward follows, two in turn
 * otherwise. */
struct stream {
    float *x[2];
};

static enum status next_output(const struct block_run *r, struct stream *s, int64_t i, float **y)
{
    const int64_t hidden = r->m->config.hidden;
    if (i == block_count(r->m) - 1) {
        return alloc_rows(r->p->step, r->b->n_out, hidden, y);
    }
    if (r->p->grad || i < 2) {
        TRY(alloc_rows(r->p->step, r->b->tokens, hidden, &s->x[i % 2]));
    }
    *y = s->x[i % 2];
    return STATUS_OK;
}

/* One block of the forward: what it saves stays in the step, or goes with the scratch when there is
 * no backward or the backward will recompute it. */
static enum status forward_block(struct block_run *r, int64_t i, const float *x, float *y,
                                 struct model_state *state)
{
    const struct pass *whole = r->p;
    const size_t mark = arena_mark(whole->scratch);
    const struct block_ops *block = block_at(r->m, i, &r->layer);
    struct pass inner = *whole;
    struct block_saved passing = {0};
    struct block_saved *saved = state ? &state->blocks[i] : &passing;
    if (!whole->grad || i < whole->recompute) {
        inner.grad = false;
        inner.step = whole->scratch;
        saved = &passing;
    }
    r->p = &inner;
    const enum status status = block->forward(r, x, y, saved);
    r->p = whole;
    TRY(status);
    if (state) {
        state->blocks[i].x = x;
    }
    arena_rewind(whole->scratch, mark);
    return STATUS_OK;
}

static enum status open_state(const struct model *m, const struct pass *p,
                              struct model_state **out)
{
    struct model_state *state;
    struct block_saved *blocks;
    const int64_t count = block_count(m);
    TRY(arena_alloc(p->step, 1, sizeof *state, &state));
    TRY(arena_alloc(p->step, (size_t)count, sizeof *blocks, &blocks));
    if (state) {
        state->blocks = blocks;
        for (int64_t i = 0; i < count; i++) {
            blocks[i] = (struct block_saved){0};
        }
    }
    *out = state;
    return STATUS_OK;
}

enum status model_forward(const struct model *m, const struct pass *p, const struct batch *b,
                          float **hidden, struct model_state **state)
{
    struct block_run r = {.m = m, .p = p, .b = b};
    struct stream stream = {0};
    struct model_state *saved = NULL;
    float *x = NULL;
    if (!pass_plans(p)) {
        TRY(check_batch(m, p, b));
    }
    if (p->grad) {
        TRY(open_state(m, p, &saved));
    }
    for (int64_t i = 0; i < block_count(m); i++) {
        float *y;
        TRY(next_output(&r, &stream, i, &y));
        TRY(forward_block(&r, i, x, y, saved));
        x = y;
    }
    TRY(p->ops->ops->sync(p->ops));
    *hidden = x;
    if (state) {
        *state = saved;
    }
    return STATUS_OK;
}

/* The lowest block whose backward is needed; block_count when none is. */
static int64_t lowest_block(const struct model *m, const struct pass *p, bool d_embed)
{
    const int64_t count = block_count(m);
    for (int64_t i = 0; i < count; i++) {
        int64_t layer;
        const struct block_ops *block = block_at(m, i, &layer);
        if ((d_embed && i == 0) || (p->hooks && block->trained(m, layer))) {
            return i;
        }
    }
    return count;
}

/* Where each unit's outputs begin. Without units all outputs are one. */
static enum status output_units(const struct pass *p, const struct batch *b, const int64_t **out)
{
    int64_t *begin;
    TRY(arena_alloc(p->scratch, (size_t)p->units + 1, sizeof *begin, &begin));
    *out = begin;
    if (pass_plans(p)) {
        return STATUS_OK;
    }
    int64_t i = 0;
    for (int64_t u = 0; u < p->units; u++) {
        begin[u] = i;
        while (i < b->n_out && b->out_rows[i] < p->unit_begin[u + 1]) {
            i++;
        }
    }
    begin[p->units] = i;
    ASSERT(p->units == 0 || i == b->n_out); /* out_rows are grouped by unit */
    return STATUS_OK;
}

/* One block of the backward; a recomputed one first runs its forward again, into the scratch. */
static enum status backward_block(struct block_run *r, int64_t i, struct model_state *state,
                                  float *dy, float *dx)
{
    const struct pass *whole = r->p;
    const size_t mark = arena_mark(whole->scratch);
    const struct block_ops *block = block_at(r->m, i, &r->layer);
    struct block_saved again = {0};
    struct block_saved *saved = state ? &state->blocks[i] : &again;
    enum status status = STATUS_OK;
    struct pass inner = *whole;
    if (i < whole->recompute) {
        float *y;
        const bool last = i == block_count(r->m) - 1;
        TRY(alloc_rows(whole->scratch, last ? r->b->n_out : r->b->tokens, r->m->config.hidden,
                       &y));
        again.x = saved->x;
        inner.step = whole->scratch;
        saved = &again;
        r->p = &inner;
        r->recompute = true;
        status = block->forward(r, again.x, y, &again);
        r->recompute = false;
        r->p = whole;
        TRY(status);
    }
    TRY(block->backward(r, saved, dy, dx));
    arena_rewind(whole->scratch, mark);
    return STATUS_OK;
}

enum status model_backward(const struct model *m, const struct pass *p,
                           const struct model_backward_args *a)
{
    const struct batch *b = a->batch;
    const size_t mark = arena_mark(p->scratch);
    const int64_t count = block_count(m);
    const int64_t lowest = lowest_block(m, p, a->d_embed || pass_plans(p));
    struct block_run r = {.m = m, .p = p, .b = b};
    float *dhidden;
    float *dx;
    ASSERT(p->grad && (!p->hooks || p->units > 0 || pass_plans(p)));
    TRY(output_units(p, b, &r.out_unit_begin));
    TRY(alloc_rows(p->scratch, b->n_out, m->config.hidden, &dhidden));
    TRY(alloc_rows(p->scratch, b->tokens, m->config.hidden, &dx));
    if (a->distill) {
        TRY(distill_backward(&r, a, lowest < count ? dhidden : NULL));
    } else if (a->dscore) {
        score_backward(&r, a, lowest < count ? dhidden : NULL);
    } else {
        TRY(head_backward(&r, a, lowest < count ? dhidden : NULL));
    }
    float *dy = dhidden;
    for (int64_t i = count - 1; i >= lowest; i--) {
        float *to = i == 0 ? a->d_embed : i > lowest ? dx : NULL;
        TRY(backward_block(&r, i, a->state, dy, to));
        dy = dx;
    }
    arena_rewind(p->scratch, mark);
    return p->ops->ops->sync(p->ops);
}
