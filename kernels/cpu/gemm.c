/*
 * The loops around the micro-kernels of gemm and gemm_dx: panels of the weight are decoded once per
 * item into the thread's scratch and used for all its rows. Threads split panels and rows, never
 * the reduction; where the loops cut the reduction to stay in the caches, sums wait in memory
 * unrounded, so neither changes a bit. Rules of the sums: gemm_internal.h.
 */
#include "kernels/cpu/gemm_internal.h"
#include "kernels/cpu/scratch.h"

enum {
    DEPTH_ROWS = 512,     /* columns of w per decoded block when they are the reduction */
    DEPTH_COLUMNS = 256,  /* rows of w per decoded block when they are */
    PANEL_COLUMNS = 64,   /* columns of w per item when they are the output */
    PANEL_FLOATS = 1 << 16,
    CHUNK = 240,          /* rows of a per item, a multiple of every mr */
    CHUNK_SLICED = 12,    /* fewer when every slice keeps its own sums */
    PACK_ROWS = 16        /* rows of a rounded per item */
};

_Static_assert(DEPTH_ROWS * 32 <= PANEL_FLOATS && DEPTH_COLUMNS * GEMM_SUPER <= PANEL_FLOATS,
               "a decoded block fits its place");
_Static_assert(4 * (PANEL_FLOATS + GEMM_MAX_SLICES * CHUNK_SLICED * GEMM_SUPER)
                       <= SCRATCH_THREAD_BYTES
                   && 4 * (PANEL_FLOATS + CHUNK * GEMM_SUPER) <= SCRATCH_THREAD_BYTES,
               "sums fit a thread's scratch");

/* y[m, cols] = a[m, red] . b, b the weight or its transpose. */
struct product {
    struct ops_context *c;
    const struct gemm_tier *t;
    const struct tensor *w;
    int64_t first_row;
    bool by_rows; /* the reduction runs over the rows of w (gemm_dx) */
    bool round;   /* COMPUTE_BF16 */
    int64_t red;
    int64_t cols;
    const float *a; /* floats or units, row stride a_row */
    int64_t a_row;
    int64_t m;
    float *y;
    int64_t ldy;
    const float *bias;
    float alpha;
    bool accumulate;
    int slices;
    int64_t depth;  /* reduction per decoded block */
    int64_t panel;  /* columns per item, a multiple of nr */
    int64_t panels;
    int64_t chunk;  /* rows per item, a multiple of mr */
};

/* One panel and one chunk of rows, in the scratch of one thread. */
struct item {
    const struct product *p;
    int64_t col;
    int64_t cols;
    int64_t row;
    int64_t rows;
    float *b;        /* [strip][unit][nr] */
    float *sum;      /* [slice][strip][chunk][nr] */
    int64_t slice;   /* floats between slices of sum */
};

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

/* Decodes [begin, end) of the reduction; *strip: floats between strips, *skip: units before
 * `begin` (blocks of columns start on their grid). */
static void decode_block(const struct item *it, int64_t begin, int64_t end, int64_t *strip,
                         int64_t *skip)
{
    const struct product *p = it->p;
    const struct gemm_tier *t = p->t;
    struct gemm_block block = {.w = p->w, .dst = it->b};
    if (p->by_rows) {
        block.row = p->first_row + begin;
        block.rows = end - begin;
        block.col = it->col;
        block.cols = it->cols;
        *strip = ceil_div(end - begin, t->pair) * t->nr;
        *skip = 0;
        t->pack_columns(&block);
    } else {
        block.row = p->first_row + it->col;
        block.rows = it->cols;
        block.col = begin / p->depth * p->depth;
        block.cols = least(p->depth, p->red - block.col);
        *strip = ceil_div(ceil_div(block.cols, GEMM_GROUP) * GEMM_GROUP, t->pair) * t->nr;
        *skip = (begin - block.col) / t->pair;
        t->pack_rows(&block);
    }
    if (p->round && t->pair == 1) {
        t->pack_a(it->b, *strip * ceil_div(it->cols, t->nr), it->b);
    }
}

/* Where rows of a strip go. */
static struct gemm_finish finish_of(const struct item *it, int64_t strip, int64_t row, int64_t rows)
{
    const struct product *p = it->p;
    const int64_t col = it->col + strip * p->t->nr;
    return (struct gemm_finish){
        .sum = it->sum + (strip * p->chunk + row) * p->t->nr,
        .y = p->y + (it->row + row) * p->ldy + col,
        .ldy = p->ldy,
        .rows = rows,
        .cols = least(p->t->nr, it->col + it->cols - col),
        .bias = p->bias ? p->bias + col : NULL,
        .alpha = p->alpha,
        .accumulate = p->accumulate,
    };
}

/* Part of one slice of the reduction, inside one block. */
struct stretch {
    int64_t slice;
    int64_t begin;
    int64_t end;
    bool fresh; /* first of the slice */
    bool last;  /* the sums are complete after it */
};

/* All rows of the item over one stretch of the reduction. */
static void multiply_stretch(const struct item *it, const struct stretch *s)
{
    const struct product *p = it->p;
    const struct gemm_tier *t = p->t;
    int64_t strip_floats;
    int64_t skip;
    decode_block(it, s->begin, s->end, &strip_floats, &skip);
    for (int64_t strip = 0; strip * t->nr < it->cols; strip++) {
        for (int64_t row = 0; row < it->rows; row += t->mr) {
            const int64_t rows = least(t->mr, it->rows - row);
            const struct gemm_finish finish = finish_of(it, strip, row, rows);
            const struct gemm_tile tile = {
                .rows = (int)rows,
                .fresh = s->fresh,
                .narrow = finish.cols <= t->nr / 2,
                .units = ceil_div(s->end - s->begin, t->pair),
                .a = p->a + (it->row + row) * p->a_row + s->begin / t->pair,
                .a_row = p->a_row,
                .a_step = 1,
                .b = it->b + strip * strip_floats + skip * t->nr,
                .sum = it->sum + s->slice * it->slice + (strip * p->chunk + row) * t->nr,
                .last = s->last ? &finish : NULL,
            };
            t->tile(&tile);
        }
    }
}

/* Adds the slices as a binary tree, nearest first, into the first. */
static void add_slices(const struct item *it)
{
    for (int width = 1; width < it->p->slices; width *= 2) {
        for (int s = 0; s < it->p->slices; s += 2 * width) {
            float *to = it->sum + s * it->slice;
            const float *from = to + width * it->slice;
            for (int64_t i = 0; i < it->slice; i++) {
                to[i] += from[i];
            }
        }
    }
}

static void product_item(const struct item *it)
{
    const struct product *p = it->p;
    for (int64_t i = 0; p->slices > 1 && i < p->slices * it->slice; i++) {
        it->sum[i] = 0.0f; /* slices may be empty, tiles narrow */
    }
    for (int64_t i = 0; i < p->slices; i++) {
        struct stretch s = {.slice = i, .begin = p->red * i / p->slices, .fresh = true};
        const int64_t end = p->red * (i + 1) / p->slices;
        for (; s.begin < end; s.begin = s.end, s.fresh = false) {
            s.end = least(end, (s.begin / p->depth + 1) * p->depth);
            s.last = p->slices == 1 && s.end == end;
            multiply_stretch(it, &s);
        }
    }
    if (p->slices > 1) {
        add_slices(it);
        for (int64_t strip = 0; strip * p->t->nr < it->cols; strip++) {
            const struct gemm_finish finish = finish_of(it, strip, 0, it->rows);
            p->t->finish(&finish);
        }
    }
}

static void product_items(void *ctx, int64_t begin, int64_t end, int thread)
{
    const struct product *p = ctx;
    float *scratch = scratch_thread(p->c, thread);
    for (int64_t i = begin; i < end; i++) {
        const int64_t col = i % p->panels * p->panel;
        const int64_t row = i / p->panels * p->chunk;
        const struct item item = {
            .p = p,
            .col = col,
            .cols = least(p->panel, p->cols - col),
            .row = row,
            .rows = least(p->chunk, p->m - row),
            .b = scratch,
            .sum = scratch + PANEL_FLOATS,
            .slice = p->panel * p->chunk,
        };
        product_item(&item);
    }
}

/* Cuts y into items. Few panels and many threads: fewer rows each, decoding more often. */
static void product_run(struct product *p)
{
    const int threads = pool_threads(p->c->pool);
    p->panels = ceil_div(p->cols, p->panel);
    p->chunk = p->slices > 1 ? CHUNK_SLICED : CHUNK;
    while (p->chunk > 48 && p->panels * ceil_div(p->m, p->chunk) < 2 * threads) {
        p->chunk = p->chunk / 24 * 12;
    }
    parallel_for(p->c->pool, p->panels * ceil_div(p->m, p->chunk), product_items, p);
}

struct rounding {
    const struct product *p;
    float *dst; /* [m][stride] */
    int64_t stride;
};

static void round_rows(void *ctx, int64_t begin, int64_t end, int thread)
{
    (void)thread;
    const struct rounding *r = ctx;
    const int64_t last = least(end * PACK_ROWS, r->p->m);
    for (int64_t row = begin * PACK_ROWS; row < last; row++) {
        r->p->t->pack_a(r->p->a + row * r->p->a_row, r->p->red, r->dst + row * r->stride);
    }
}

/* COMPUTE_BF16: rounds as many rows of `a` as the shared scratch holds, multiplies, goes on. */
static void product_rounded(struct product *p)
{
    struct arena *scratch = &p->c->scratch;
    const size_t mark = arena_mark(scratch);
    const int64_t units = ceil_div(p->red, p->t->pair);
    const int64_t stride = ceil_div(units, 16) * 16 + 16; /* not a multiple of the page */
    const int64_t room = (int64_t)(scratch->size - scratch->used - ARENA_ALIGN) / 4 / stride;
    struct product part = *p;
    struct rounding r = {.p = &part, .stride = stride};
    ASSERT(room > 0);
    const int64_t rows = least(room, p->m);
    ASSERT(arena_alloc(scratch, (size_t)(rows * stride), sizeof *r.dst, &r.dst) == STATUS_OK);
    for (int64_t row = 0; row < p->m; row += rows) {
        part = *p;
        part.m = least(rows, p->m - row);
        part.a = p->a + row * p->a_row;
        part.y = p->y + row * p->ldy;
        parallel_for(p->c->pool, ceil_div(part.m, PACK_ROWS), round_rows, &r);
        part.a = r.dst;
        part.a_row = stride;
        product_run(&part);
    }
    arena_rewind(scratch, mark);
}

/* True when every slice of `red` starts at an even element. */
static bool slices_even(int64_t red, int slices)
{
    for (int64_t s = 0; s < slices; s++) {
        if (red * s / slices % 2 != 0) {
            return false;
        }
    }
    return true;
}

static void product_start(struct product *p, const struct gemm_choice *choice)
{
    const bool super = p->w->dtype != DTYPE_NF4 && dtype_row(p->w->dtype)->block > GEMM_GROUP;
    ASSERT(p->w->layout == LAYOUT_FILE);
    if (p->m <= 0 || p->cols <= 0) {
        return;
    }
    p->slices = p->c->k_slices;
    p->round = p->c->compute == COMPUTE_BF16;
    p->t = choice->plain;
    if (p->round && choice->pairs && slices_even(p->red, p->slices)) {
        p->t = choice->pairs;
    }
    p->depth = p->by_rows ? DEPTH_COLUMNS : DEPTH_ROWS;
    p->panel = p->t->nr;
    if (p->by_rows) {
        p->panel = super ? GEMM_SUPER : PANEL_COLUMNS;
    }
    if (p->round) {
        product_rounded(p);
    } else {
        product_run(p);
    }
}

void gemm_run(struct ops_context *c, const struct gemm_choice *choice, const struct gemm_args *a)
{
    struct product p = {
        .c = c,
        .w = a->w,
        .first_row = a->first_row,
        .red = tensor_columns(a->w),
        .cols = a->n,
        .a = a->x,
        .a_row = a->ldx,
        .m = a->m,
        .y = a->y,
        .ldy = a->ldy,
        .bias = a->bias,
        .alpha = a->alpha,
        .accumulate = a->accumulate,
    };
    product_start(&p, choice);
}

void gemm_run_dx(struct ops_context *c, const struct gemm_choice *choice,
                 const struct gemm_dx_args *a)
{
    struct product p = {
        .c = c,
        .w = a->w,
        .first_row = a->first_row,
        .by_rows = true,
        .red = a->n,
        .cols = tensor_columns(a->w),
        .a = a->dy,
        .a_row = a->ldy,
        .m = a->m,
        .y = a->dx,
        .ldy = a->ldx,
        .alpha = a->alpha,
        .accumulate = a->accumulate,
    };
    product_start(&p, choice);
}
