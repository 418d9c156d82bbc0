/*
 * Divergence of the model's next-token distribution p from a teacher's q, over the whole vocabulary
 * in chunks that are never stored for all tokens (generalised Jensen-Shannon, Agarwal et al. 2023,
 * GKD, arXiv 2306.13649, equation 1, as TRL computes it): beta 0: KL(q || p), 1: KL(p || q), else
 * beta KL(q || m) + (1 - beta) KL(p || m) with m = (1 - beta) p + beta q. A row's sums run over the
 * vocabulary in order, whatever the batch or the threads.
 */
#include <math.h>
#include <string.h>

#include "kernels/base/parallel.h"
#include "trainer/model/model_internal.h"

enum { DISTILL_TILE = 128 }; /* rows */

size_t model_divergence_scratch(void)
{
    return 2 * ((size_t)DISTILL_TILE * OPS_HEAD_CHUNK * sizeof(float) + ARENA_ALIGN);
}

/* logits [rows, n] of vocabulary rows [first, first + n). */
static void chunk_logits(const struct model *m, const struct pass *p, const float *hidden,
                         int64_t rows, int64_t first, int64_t n, float *logits)
{
    const struct gemm_args a = {.x = hidden,
                                .ldx = m->config.hidden,
                                .m = rows,
                                .w = &m->head.w,
                                .first_row = first,
                                .n = n,
                                .y = logits,
                                .ldy = n,
                                .bias = m->head.bias ? m->head.bias + first : NULL,
                                .alpha = 1.0f};
    p->ops->ops->gemm(p->ops, &a);
}

/* Both models' logits of one chunk of a tile, and what its rows add to or make of them. */
struct chunk {
    float *own;          /* [rows, n]; the gradient takes its place */
    const float *theirs; /* [rows, n] */
    int64_t n;
    float cap;           /* of the model's logits; 0: none */
    float their_cap;
    const float *lse;    /* [rows] */
    const float *their_lse;
    double beta;
    double *loss;        /* [rows] */
    double *self;        /* [rows] sum of p d loss / d log p */
    const float *weight; /* [rows] of a row's loss; NULL: sums, no gradient */
};

static double capped(float z, float cap)
{
    return cap > 0.0f ? (double)cap * tanh((double)z / (double)cap) : (double)z;
}

/* log((1 - beta) p + beta q). */
static double log_mixture(double lp, double lq, double beta)
{
    const double a = lp + log1p(-beta);
    const double b = lq + log(beta);
    const double most = a > b ? a : b;
    return most + log1p(exp(-fabs(a - b)));
}

static void sum_row(const struct chunk *c, int64_t r)
{
    double loss = 0.0;
    double self = 0.0;
    for (int64_t i = 0; i < c->n; i++) {
        const double lp = capped(c->own[r * c->n + i], c->cap) - (double)c->lse[r];
        const double lq = capped(c->theirs[r * c->n + i], c->their_cap) - (double)c->their_lse[r];
        if (c->beta == 0.0) {
            loss += exp(lq) * (lq - lp);
        } else if (c->beta == 1.0) {
            loss += exp(lp) * (lp - lq);
        } else {
            const double lm = log_mixture(lp, lq, c->beta);
            const double own = (1.0 - c->beta) * exp(lp) * (lp - lm);
            loss += c->beta * exp(lq) * (lq - lm) + own;
            self += own;
        }
    }
    c->loss[r] += loss;
    c->self[r] += c->beta == 1.0 ? loss : self;
}

/* d loss / d z = p - q; p (log p - log q - loss); p ((1 - beta) (log p - log m) - self). */
static void slope_row(const struct chunk *c, int64_t r)
{
    const double w = (double)c->weight[r];
    for (int64_t i = 0; i < c->n; i++) {
        float *at = &c->own[r * c->n + i];
        const double z = capped(*at, c->cap);
        const double lp = z - (double)c->lse[r];
        const double lq = capped(c->theirs[r * c->n + i], c->their_cap) - (double)c->their_lse[r];
        double d;
        if (c->beta == 0.0) {
            d = exp(lp) - exp(lq);
        } else if (c->beta == 1.0) {
            d = exp(lp) * (lp - lq - c->self[r]);
        } else {
            d = exp(lp) * ((1.0 - c->beta) * (lp - log_mixture(lp, lq, c->beta)) - c->self[r]);
        }
        const double t = c->cap > 0.0f ? z / (double)c->cap : 0.0;
        *at = (float)(w * d * (1.0 - t * t));
    }
}

static void chunk_rows(void *ctx, int64_t begin, int64_t end, int thread)
{
    const struct chunk *c = ctx;
    (void)thread;
    for (int64_t r = begin; r < end; r++) {
        if (c->weight) {
            slope_row(c, r);
        } else {
            sum_row(c, r);
        }
    }
}

/* One pass over the vocabulary for the rows of a tile; dhidden NULL: sums alone. */
static enum status tile_pass(const struct model *m, const struct pass *p, const float *hidden,
                             const struct distill *d, int64_t first, int64_t rows,
                             const float *weight, float *dhidden)
{
    const struct model *t = d->teacher;
    const int64_t vocab = m->config.vocab;
    const int64_t width = vocab < OPS_HEAD_CHUNK ? vocab : OPS_HEAD_CHUNK;
    const size_t mark = arena_mark(p->scratch);
    float *theirs;
    float *own;
    TRY(alloc_rows(p->scratch, rows, width, &own));
    TRY(alloc_rows(p->scratch, rows, width, &theirs));
    for (int64_t v = 0; v < vocab; v += OPS_HEAD_CHUNK) {
        const int64_t n = vocab - v < OPS_HEAD_CHUNK ? vocab - v : OPS_HEAD_CHUNK;
        chunk_logits(m, p, hidden + first * m->config.hidden, rows, v, n, own);
        chunk_logits(t, p, d->teacher_hidden + first * t->config.hidden, rows, v, n, theirs);
        TRY(p->ops->ops->sync(p->ops));
        struct chunk c = {own, theirs, n, m->config.final_softcap, t->config.final_softcap,
                          d->lse + first, d->teacher_lse + first, d->beta, d->loss + first,
                          d->self + first, weight ? weight + first : NULL};
        parallel_for(p->ops->pool, rows, chunk_rows, &c);
        if (dhidden) {
            const struct gemm_dx_args dx = {.dy = own,
                                            .ldy = n,
                                            .m = rows,
                                            .w = &m->head.w,
                                            .first_row = v,
                                            .n = n,
                                            .dx = dhidden + first * m->config.hidden,
                                            .ldx = m->config.hidden,
                                            .alpha = 1.0f,
                                            .accumulate = v > 0};
            p->ops->ops->gemm_dx(p->ops, &dx);
        }
    }
    arena_rewind(p->scratch, mark);
    return p->ops->ops->sync(p->ops);
}

enum status model_divergence(const struct model *m, const struct pass *p, const float *hidden,
                             int64_t n_out, const struct distill *d)
{
    memset(d->loss, 0, (size_t)n_out * sizeof *d->loss);
    memset(d->self, 0, (size_t)n_out * sizeof *d->self);
    for (int64_t first = 0; first < n_out; first += DISTILL_TILE) {
        const int64_t rows = n_out - first < DISTILL_TILE ? n_out - first : DISTILL_TILE;
        TRY(tile_pass(m, p, hidden, d, first, rows, NULL, NULL));
    }
    return STATUS_OK;
}

enum status distill_backward(const struct block_run *r, const struct model_backward_args *a,
                             float *dhidden)
{
    if (r->p->hooks && r->m->head.hooks) {
        return FAIL(RECIPE, "distillation trains adapters; set use_peft: true");
    }
    for (int64_t first = 0; dhidden && first < r->b->n_out; first += DISTILL_TILE) {
        const int64_t left = r->b->n_out - first;
        TRY(tile_pass(r->m, r->p, a->hidden, a->distill, first,
                      left < DISTILL_TILE ? left : DISTILL_TILE, a->dlogp, dhidden));
    }
    return STATUS_OK;
}
