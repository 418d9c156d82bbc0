/*
 * gemm_dw: dw[n, k] += alpha * dy^T x by blocks of 32 tokens, with the tile of the products. Both
 * operands are packed by the decoder of float32 "weights" (rows are tokens), so a tile sees units
 * of tokens. Threads split dw; every element takes units and blocks in order.
 */
#include "kernels/cpu/gemm_internal.h"
#include "kernels/cpu/scratch.h"

enum {
    PANEL = 64,    /* columns of dw per item */
    PANEL_N = 96,  /* rows of dw per item */
    TOKENS = 8 * OPS_GRAD_BLOCK,
    PACKED_X = TOKENS * PANEL, /* floats */
    PACKED_DY = TOKENS * PANEL_N
};

_Static_assert(4 * (PACKED_X + PACKED_DY + 16 * 64) <= SCRATCH_THREAD_BYTES, "scratch holds them");

struct gradient {
    struct ops_context *c;
    const struct gemm_tier *t;
    const struct gemm_dw_args *a;
    struct tensor x; /* x and dy as weights, rows are tokens */
    struct tensor dy;
    bool round;
    int64_t panels; /* over k */
};

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static struct tensor token_rows(const float *data, const uint16_t *rounded, int64_t columns,
                                int64_t ld, int64_t rows)
{
    return (struct tensor){
        .dtype = rounded ? DTYPE_BF16 : DTYPE_F32,
        .dims = 2,
        .shape = {rows, columns},
        .row_bytes = (size_t)ld * (rounded ? sizeof *rounded : sizeof *data),
        .data = rounded ? (const void *)rounded : data,
    };
}

static void pack_tokens(const struct gradient *g, const struct gemm_block *block)
{
    g->t->pack_columns(block);
    if (g->round && g->t->pair == 1) {
        g->t->pack_a(block->dst, ceil_div(block->cols, GEMM_GROUP) * GEMM_GROUP * block->rows,
                     block->dst);
    }
}

/* One part of dw and one run of tokens of a unit, all packed. */
struct patch {
    const float *x;  /* [strip][unit][nr] */
    const float *dy; /* [strip][unit][nr] */
    float *sum;      /* one tile */
    int64_t tokens;
    int64_t n;
    int64_t n_count;
    int64_t k;
    int64_t k_count;
};

/* Adds the blocks of the run, in order, to rows [i, i + rows) and one strip of columns. */
static void add_blocks(const struct gradient *g, const struct patch *p, int64_t i, int rows,
                       int64_t strip)
{
    const struct gemm_tier *t = g->t;
    const int64_t units = ceil_div(p->tokens, t->pair);
    const int64_t step = OPS_GRAD_BLOCK / t->pair;
    const struct gemm_finish last = {
        .y = g->a->dw + (p->n + i) * g->a->k + p->k + strip * t->nr,
        .ldy = g->a->k,
        .rows = rows,
        .cols = least(t->nr, p->k_count - strip * t->nr),
        .alpha = g->a->alpha,
        .accumulate = true,
    };
    struct gemm_tile tile = {
        .rows = rows,
        .fresh = true,
        .narrow = last.cols <= t->nr / 2,
        .units = units,
        .a = p->dy + i / t->nr * units * t->nr + i % t->nr,
        .a_row = 1,
        .a_step = t->nr,
        .b = p->x + strip * units * t->nr,
        .sum = p->sum,
        .part = (int)step,
        .last = &last,
    };
    if (t->blocks && last.cols % (t->nr / 2) == 0) {
        t->blocks(&tile);
        return;
    }
    for (int64_t u = 0; u < units; u += step) {
        tile.units = least(step, units - u);
        t->tile(&tile);
        tile.a += step * t->nr;
        tile.b += step * t->nr;
    }
}

static void add_patch(const struct gradient *g, const struct patch *p)
{
    const struct gemm_tier *t = g->t;
    for (int64_t strip = 0; strip * t->nr < p->k_count; strip++) {
        for (int64_t i = 0; i < p->n_count;) {
            /* a tile's rows lie in one strip of dy */
            const int64_t in_strip = t->nr - i % t->nr;
            const int64_t rows = least(t->mr, least(in_strip, p->n_count - i));
            add_blocks(g, p, i, (int)rows, strip);
            i += rows;
        }
    }
}

static void gradient_item(const struct gradient *g, int64_t item, float *scratch)
{
    const struct gemm_dw_args *a = g->a;
    struct patch p = {
        .x = scratch,
        .dy = scratch + PACKED_X,
        .sum = scratch + PACKED_X + PACKED_DY,
        .n = item / g->panels * PANEL_N,
        .k = item % g->panels * PANEL,
    };
    p.n_count = least(PANEL_N, a->n - p.n);
    p.k_count = least(PANEL, a->k - p.k);
    for (int64_t u = 0; u < a->units; u++) {
        for (int64_t t = a->unit_begin[u]; t < a->unit_begin[u + 1]; t += TOKENS) {
            p.tokens = least(TOKENS, a->unit_begin[u + 1] - t);
            const struct gemm_block x = {.w = &g->x, .row = t, .rows = p.tokens, .col = p.k,
                                         .cols = p.k_count, .dst = scratch};
            const struct gemm_block dy = {.w = &g->dy, .row = t, .rows = p.tokens, .col = p.n,
                                          .cols = p.n_count, .dst = scratch + PACKED_X};
            pack_tokens(g, &x);
            pack_tokens(g, &dy);
            add_patch(g, &p);
        }
    }
}

static void gradient_items(void *ctx, int64_t begin, int64_t end, int thread)
{
    const struct gradient *g = ctx;
    for (int64_t i = begin; i < end; i++) {
        gradient_item(g, i, scratch_thread(g->c, thread));
    }
}

void gemm_run_dw(struct ops_context *c, const struct gemm_choice *choice,
                 const struct gemm_dw_args *a)
{
    const bool round = c->compute == COMPUTE_BF16;
    if (a->units <= 0 || a->n <= 0 || a->k <= 0) {
        return;
    }
    const int64_t rows = a->unit_begin[a->units];
    struct gradient g = {
        .c = c,
        .t = round && choice->pairs ? choice->pairs : choice->plain,
        .a = a,
        .x = token_rows(a->x, a->x16, a->k, a->ldx, rows),
        .dy = token_rows(a->dy, a->dy16, a->n, a->ldy, rows),
        .round = round,
        .panels = ceil_div(a->k, PANEL),
    };
    parallel_for(c->pool, g.panels * ceil_div(a->n, PANEL_N), gradient_items, &g);
}
