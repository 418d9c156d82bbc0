/*
 * The head: hidden states to log-probs, entropies, best ids and their gradient, in vocabulary
 * chunks of OPS_HEAD_CHUNK rows that are never stored for all tokens. Rows are independent, so they
 * go in tiles that bound the scratch; a row's numbers depend on the chunks alone. The sampler's
 * logits are the same products and the same statistics.
 */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "trainer/model/model_internal.h"

enum {
    HEAD_TILE = 512, /* rows; a multiple of OPS_GRAD_BLOCK */
    HEAD_PAD = 32    /* columns: rows a multiple of the page apart would share one set of the L1 */
};

/* Shape of one chunk of the logits. */
struct chunk {
    int64_t first; /* vocabulary row */
    int64_t n;
};

static struct chunk chunk_at(const struct model *m, int64_t first)
{
    const int64_t left = m->config.vocab - first;
    return (struct chunk){first, left < OPS_HEAD_CHUNK ? left : OPS_HEAD_CHUNK};
}

static enum status check_head_hooks(const struct model *m, const struct pass *p)
{
    for (const struct hook *h = p->hooks ? m->head.hooks : NULL; h; h = h->next) {
        if (h->kind != HOOK_FULL) {
            return FAIL(RECIPE, "%s: adapters on the head are not supported; take it out of the "
                                "target modules", m->head.name);
        }
    }
    return STATUS_OK;
}

static enum status check_targets(const struct model *m, const int32_t *targets, int64_t n)
{
    for (int64_t i = 0; targets && i < n; i++) {
        if (targets[i] < -1 || targets[i] >= m->config.vocab) {
            return FAIL(INPUT, "token %" PRId32 " is outside the model's vocabulary of %" PRId64
                               "; tokenizer and model don't fit", targets[i], m->config.vocab);
        }
    }
    return STATUS_OK;
}

/* Rows of hidden as an operand; `rounded` is memory for the bf16 of them, or NULL: every product
 * makes its own. */
static struct operand rows_operand(const struct model *m, const struct pass *p,
                                   const float *hidden, int64_t rows, uint16_t *rounded)
{
    struct operand x = {
        .x = (float *)(uintptr_t)hidden, .ld = m->config.hidden, .rows = rows};
    if (rounded) {
        p->ops->ops->round(p->ops, rounded, hidden, rows * m->config.hidden);
        x.x = NULL;
        x.x16 = rounded;
        x.rounded = true;
    }
    return x;
}

/* logits[rows, chunk] = hidden W[chunk]^T. */
static void chunk_logits(const struct model *m, const struct pass *p, const struct operand *hidden,
                         struct chunk c, float *logits, int64_t ld)
{
    const struct gemm_args a = {
        .x = hidden->x,
        .x16 = hidden->x16,
        .ldx = hidden->ld,
        .m = hidden->rows,
        .w = &m->head.w,
        .first_row = c.first,
        .n = c.n,
        .y = logits,
        .ldy = ld,
        .bias = m->head.bias ? m->head.bias + c.first : NULL,
        .alpha = 1.0f,
    };
    p->ops->ops->gemm(p->ops, &a);
}

static struct logit_args stats_args(const struct model *m, float temperature)
{
    return (struct logit_args){
        .inv_temperature = 1.0f / temperature,
        .softcap = m->config.final_softcap,
    };
}

static void init_stats(struct logit_stats *stats, int64_t n)
{
    for (int64_t i = 0; stats && i < n; i++) {
        stats[i] = (struct logit_stats)LOGIT_STATS_INIT;
    }
}

/* Statistics of finished rows to the arrays that are wanted. */
static void put_results(const struct logit_stats *stats, int64_t first, int64_t rows,
                        const int32_t *targets, const struct head_result *out)
{
    for (int64_t i = 0; i < rows; i++) {
        const float lse = logit_stats_lse(&stats[i]);
        const bool aimed = targets && targets[first + i] >= 0;
        if (out->logp) {
            out->logp[first + i] = aimed ? stats[i].target - lse : 0.0f;
        }
        if (out->entropy) {
            out->entropy[first + i] = logit_stats_entropy(&stats[i]);
        }
        if (out->lse) {
            out->lse[first + i] = lse;
        }
        if (out->best) {
            out->best[first + i] = stats[i].best_id;
        }
    }
}

/* The sums of z that model_head collected in out->mean, to means of log p. */
static void finish_means(const struct model *m, const struct logit_stats *stats, float *mean,
                         int64_t rows)
{
    for (int64_t i = 0; mean && i < rows; i++) {
        mean[i] = mean[i] / (float)m->config.vocab - logit_stats_lse(&stats[i]);
    }
}

enum status model_head_slope(const struct model *m, const struct pass *p, int64_t n_out,
                             struct head_result *head)
{
    if (!p->grad || (p->hooks && m->head.hooks)) {
        return STATUS_OK;
    }
    return alloc_rows(p->step, n_out, m->config.hidden, &head->slope);
}

/* What d logp / d hidden of a tile needs besides its logits. */
struct slope_rows {
    float *out;       /* [rows, hidden] */
    uint16_t *exps16; /* as the logits, or NULL: their memory takes them */
    float *shrink;    /* [rows] */
};

static enum status alloc_slope(const struct pass *p, int64_t rows, int64_t ld,
                               struct slope_rows *s)
{
    TRY(arena_alloc(p->scratch, (size_t)rows, sizeof *s->shrink, &s->shrink));
    if (p->ops->compute == COMPUTE_BF16) {
        TRY(arena_alloc(p->scratch, (size_t)(rows * ld), sizeof *s->exps16, &s->exps16));
    }
    return STATUS_OK;
}

/* out = shrink out + exps W[chunk]: the sum over ids so far of e^(z - max) W. */
static void add_chunk_slope(const struct model *m, const struct pass *p, const struct slope_rows *s,
                            const struct logit_args *stats)
{
    const int64_t hidden = m->config.hidden;
    for (int64_t i = 0; stats->first > 0 && i < stats->rows; i++) {
        for (int64_t c = 0; s->shrink[i] != 1.0f && c < hidden; c++) {
            s->out[i * hidden + c] *= s->shrink[i];
        }
    }
    const struct gemm_dx_args dx = {
        .dy = stats->exps,
        .dy16 = stats->exps16,
        .ldy = stats->ld,
        .m = stats->rows,
        .w = &m->head.w,
        .first_row = stats->first,
        .n = stats->n,
        .dx = s->out,
        .ldx = hidden,
        .alpha = 1.0f,
        .accumulate = stats->first > 0,
    };
    p->ops->ops->gemm_dx(p->ops, &dx);
}

/* Turns sums over the other ids into d logp / d hidden = ((1 - p) W[target] - sum p W) / T, the
 * cap's slope in each term. The target's own term is apart because 1 - p of a likely id would drown
 * in the rounding of its p. */
static void finish_slope(const struct model *m, const struct pass *p, const struct slope_rows *s,
                         const struct logit_args *tile, float *row)
{
    const int64_t hidden = m->config.hidden;
    const float cap = m->config.final_softcap;
    for (int64_t i = 0; i < tile->rows; i++) {
        const struct logit_stats *st = &tile->stats[i];
        const int32_t target = tile->targets ? tile->targets[i] : -1;
        float *out = s->out + i * hidden;
        if (target < 0) {
            memset(out, 0, (size_t)hidden * sizeof *out);
            continue;
        }
        const struct embed_args fetch = {
            .w = &m->head.w, .ids = &target, .rows = 1, .scale = 1.0f, .y = row};
        p->ops->ops->embed(p->ops, &fetch);
        const float t = cap > 0.0f ? st->target / (tile->inv_temperature * cap) : 0.0f;
        const float own = -expm1f(st->target - logit_stats_lse(st)) * (1.0f - t * t)
                          * tile->inv_temperature;
        const float others = tile->inv_temperature / st->sum;
        for (int64_t c = 0; c < hidden; c++) {
            out[c] = own * row[c] - others * out[c];
        }
    }
}

enum status model_head(const struct model *m, const struct pass *p, const float *hidden,
                       int64_t n_out, const int32_t *targets, float temperature,
                       const struct head_result *out)
{
    const size_t mark = arena_mark(p->scratch);
    const int64_t tile = n_out < HEAD_TILE ? n_out : HEAD_TILE;
    const int64_t ld = chunk_at(m, 0).n + HEAD_PAD;
    const bool sloped = out->slope || (pass_plans(p) && p->grad);
    struct slope_rows slope = {0};
    float *logits;
    float *row;
    uint16_t *rounded = NULL;
    struct logit_stats *stats;
    TRY(check_head_hooks(m, p));
    TRY(check_targets(m, pass_plans(p) ? NULL : targets, n_out));
    TRY(alloc_rows(p->scratch, tile, ld, &logits));
    TRY(alloc_rows(p->scratch, 1, m->config.hidden, &row));
    TRY(arena_alloc(p->scratch, (size_t)tile, sizeof *stats, &stats));
    if (operand_rounds(p, m->config.hidden)) {
        TRY(arena_alloc(p->scratch, (size_t)(tile * m->config.hidden), sizeof *rounded, &rounded));
    }
    if (sloped) {
        TRY(alloc_slope(p, tile, ld, &slope));
    }
    for (int64_t first = 0; !pass_plans(p) && first < n_out; first += tile) {
        const int64_t rows = n_out - first < tile ? n_out - first : tile;
        const struct operand x =
            rows_operand(m, p, hidden + first * m->config.hidden, rows, rounded);
        struct logit_args a = stats_args(m, temperature);
        init_stats(stats, rows);
        float *mean = out->mean ? out->mean + first : NULL;
        if (mean) {
            memset(mean, 0, (size_t)rows * sizeof *mean);
        }
        for (int64_t v = 0; v < m->config.vocab; v += OPS_HEAD_CHUNK) {
            const struct chunk c = chunk_at(m, v);
            chunk_logits(m, p, &x, c, logits, ld);
            a.logits = logits;
            a.ld = ld;
            a.rows = rows;
            a.n = c.n;
            a.first = v;
            a.targets = targets ? targets + first : NULL;
            a.stats = stats;
            a.sums = mean;
            if (out->slope) {
                const bool pairs = slope.exps16 && c.n % 2 == 0;
                slope.out = out->slope + first * m->config.hidden;
                a.shrink = slope.shrink;
                a.exps16 = pairs ? slope.exps16 : NULL;
                a.exps = pairs ? NULL : logits;
            }
            p->ops->ops->logit_stats(p->ops, &a);
            if (out->slope) {
                add_chunk_slope(m, p, &slope, &a);
            }
        }
        TRY(p->ops->ops->sync(p->ops));
        if (out->slope) {
            finish_slope(m, p, &slope, &a, row);
        }
        put_results(stats, first, rows, targets, out);
        finish_means(m, stats, mean, rows);
    }
    arena_rewind(p->scratch, mark);
    return STATUS_OK;
}

enum status model_logits(const struct model *m, const struct pass *p, const float *hidden,
                         int64_t n_out, float temperature, float *logits,
                         struct logit_stats *stats, struct logit_mark *marks)
{
    const int64_t chunks = (m->config.vocab + OPS_HEAD_CHUNK - 1) / OPS_HEAD_CHUNK;
    TRY(check_head_hooks(m, p));
    const struct operand x = rows_operand(m, p, hidden, n_out, NULL);
    init_stats(stats, n_out);
    for (int64_t v = 0; v < m->config.vocab; v += OPS_HEAD_CHUNK) {
        const struct chunk c = chunk_at(m, v);
        struct logit_args a = stats_args(m, temperature);
        chunk_logits(m, p, &x, c, logits + v, m->config.vocab);
        a.logits = logits + v;
        a.ld = m->config.vocab;
        a.rows = n_out;
        a.n = c.n;
        a.first = v;
        a.stats = stats;
        a.store = true;
        p->ops->ops->logit_stats(p->ops, &a);
        for (int64_t i = 0; marks && i < n_out; i++) {
            marks[i * chunks + v / OPS_HEAD_CHUNK] =
                (struct logit_mark){stats[i].max, stats[i].sum};
        }
    }
    return p->ops->ops->sync(p->ops);
}

/* One tile of rows in the head's backward. */
struct tile {
    int64_t first;
    int64_t rows;
    int64_t units;
    int64_t *unit_begin; /* [units + 1] rows of the tile where a unit, or a rest of one, starts */
};

/* Ends a tile that begins at `first`: at most HEAD_TILE rows, and a unit is only cut where one of
 * its 32-token blocks ends, so tiles do not show in the weight gradient. */
static int64_t tile_end(const int64_t *unit_begin, int64_t units, int64_t first, int64_t n_out)
{
    const int64_t end = first + HEAD_TILE;
    if (end >= n_out) {
        return n_out;
    }
    for (int64_t u = 0; u < units; u++) {
        if (unit_begin[u] < end && end < unit_begin[u + 1]) {
            return unit_begin[u] + (end - unit_begin[u]) / OPS_GRAD_BLOCK * OPS_GRAD_BLOCK;
        }
    }
    return end;
}

static void tile_units(const int64_t *unit_begin, int64_t units, struct tile *t)
{
    const int64_t end = t->first + t->rows;
    t->units = 0;
    t->unit_begin[0] = 0;
    for (int64_t u = 0; u < units; u++) {
        const int64_t stop = unit_begin[u + 1] < end ? unit_begin[u + 1] : end;
        if (stop - t->first > t->unit_begin[t->units]) {
            t->unit_begin[++t->units] = stop - t->first;
        }
    }
}

/* Gradient of one chunk of one tile: logits again, their gradient in place, then both products. */
static void chunk_backward(const struct block_run *r, const struct model_backward_args *a,
                           const struct tile *t, struct chunk c, float *logits, float *dhidden)
{
    const struct model *m = r->m;
    const struct pass *p = r->p;
    const int64_t hidden = m->config.hidden;
    const float *x = a->hidden + t->first * hidden;
    const struct operand rows = rows_operand(m, p, x, t->rows, NULL);
    chunk_logits(m, p, &rows, c, logits, c.n);
    const struct logit_grad_args grad = {
        .logits = logits,
        .ld = c.n,
        .rows = t->rows,
        .n = c.n,
        .first = c.first,
        .targets = a->batch->targets + t->first,
        .inv_temperature = 1.0f / a->temperature,
        .softcap = m->config.final_softcap,
        .lse = a->head->lse + t->first,
        .entropy = a->head->entropy ? a->head->entropy + t->first : NULL,
        .dlogp = a->dlogp + t->first,
        .dentropy = a->dentropy ? a->dentropy + t->first : NULL,
        .dmean = a->dmean ? a->dmean + t->first : NULL,
        .inv_vocab = 1.0f / (float)m->config.vocab,
    };
    p->ops->ops->logit_grad(p->ops, &grad);
    if (dhidden) {
        const struct gemm_dx_args dx = {.dy = logits,
                                        .ldy = c.n,
                                        .m = t->rows,
                                        .w = &m->head.w,
                                        .first_row = c.first,
                                        .n = c.n,
                                        .dx = dhidden + t->first * hidden,
                                        .ldx = hidden,
                                        .alpha = 1.0f,
                                        .accumulate = c.first > 0};
        p->ops->ops->gemm_dx(p->ops, &dx);
    }
    if (p->hooks && m->head.hooks) {
        const struct hook *h = m->head.hooks;
        const struct gemm_dw_args dw = {.dy = logits,
                                        .ldy = c.n,
                                        .x = x,
                                        .ldx = hidden,
                                        .n = c.n,
                                        .k = hidden,
                                        .dw = param_grad(h->params, h->weight) + c.first * hidden,
                                        .alpha = 1.0f,
                                        .unit_begin = t->unit_begin,
                                        .units = t->units};
        p->ops->ops->gemm_dw(p->ops, &dw);
    }
}

/* dhidden = dlogp d logp / d hidden: the vocabulary was done with in the forward. */
static void scale_slope(const struct block_run *r, const struct model_backward_args *a,
                        float *dhidden)
{
    const int64_t hidden = r->m->config.hidden;
    for (int64_t i = 0; dhidden && i < r->b->n_out; i++) {
        for (int64_t c = 0; c < hidden; c++) {
            dhidden[i * hidden + c] = a->dlogp[i] * a->head->slope[i * hidden + c];
        }
    }
}

enum status head_backward(const struct block_run *r, const struct model_backward_args *a,
                          float *dhidden)
{
    const struct pass *p = r->p;
    const int64_t n_out = r->b->n_out;
    const size_t mark = arena_mark(p->scratch);
    struct tile t = {0};
    float *logits;
    if (a->head->slope && !a->dentropy && !a->dmean && !pass_plans(p)) {
        scale_slope(r, a, dhidden);
        return STATUS_OK;
    }
    TRY(alloc_rows(p->scratch, n_out < HEAD_TILE ? n_out : HEAD_TILE, chunk_at(r->m, 0).n,
                   &logits));
    TRY(arena_alloc(p->scratch, (size_t)p->units + 1, sizeof *t.unit_begin, &t.unit_begin));
    for (; !pass_plans(p) && t.first < n_out; t.first += t.rows) {
        t.rows = tile_end(r->out_unit_begin, p->units, t.first, n_out) - t.first;
        tile_units(r->out_unit_begin, p->units, &t);
        for (int64_t v = 0; v < r->m->config.vocab; v += OPS_HEAD_CHUNK) {
            chunk_backward(r, a, &t, chunk_at(r->m, v), logits, dhidden);
        }
    }
    arena_rewind(p->scratch, mark);
    return STATUS_OK;
}
