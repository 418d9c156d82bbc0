/*
 * The loops around the micro-kernels of gemm and gemm_dx. A panel of the weight is decoded once per
 * thread that works on it, into the thread's scratch (it stays in L2), and all rows pass over it.
 * Threads split panels and rows, never the reduction; where a reduction is too long for the scratch
 * or cut in slices, sums wait in memory unrounded, so neither changes a bit. Rules of the sums:
 * gemm_internal.h.
 */
#include <string.h>

#include "kernels/cpu/gemm_internal.h"
#include "kernels/cpu/scratch.h"
#include "kernels/tensor/codes.h"

enum {
    PANEL_FLOATS = 3 << 18, /* a decoded panel and the tail's */
    PANEL_STRIPS = 4,       /* strips of a panel when there are rows enough to share it */
    MANY_ROWS = 96,         /* rows enough */
    CHUNK = 240,            /* rows of an item that keeps sums */
    CHUNK_BYTES = 512 << 10, /* of a that they take, so that it stays in L2 */
    CHUNK_STEP = 48,
    PIECE_BLOCKS = 8,       /* of rows that a thread may take over: what decoding a panel is worth */
    CHUNK_SLICED = 12,      /* fewer when every slice keeps its own sums */
    L1_WAYS = 8,            /* rows a multiple of the page apart that it holds lines of */
    PAGE = 4096,
    PACK_UNITS = 4096       /* of a, about, that an item of rounding makes */
};

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
    const float *a;      /* floats or units, row stride a_row */
    const uint16_t *a16; /* instead: bf16, row stride a_row elements until it is packed */
    int64_t a_row;
    const struct code_row *codes; /* multiplied by the code rule; NULL: not */
    const struct tensor_panels *resident; /* read instead of decoding w; NULL: none */
    const float *xs; /* [m][xs_row] sums of a's blocks of 32, where codes have minima */
    int64_t xs_row;
    int64_t m;
    float *y;
    int64_t ldy;
    const float *bias;
    float alpha;
    bool accumulate;
    int slices;
    int64_t depth;  /* reduction per decoded block, all of it where it fits */
    int64_t strip;  /* floats between strips of a decoded block */
    int64_t panel;  /* columns per item, a multiple of nr */
    int64_t panels;
    int64_t chunk;  /* rows per item, at most */
    int64_t block;  /* rows that are not shared out, at most chunk */
    int64_t blocks;
    const struct product *tail; /* a second product on the same y, added tile by tile */
};

/* What one thread works with: the decoded panel, and the rows of an item. */
struct item {
    const struct product *p;
    int64_t col;
    int64_t cols;
    int64_t row;
    int64_t rows;
    float *b;        /* [strip][unit][nr] */
    const float *strips; /* b, or where they lie in resident panels */
    float *tail;     /* the same of the tail's weight */
    float *sum;      /* [slice][strip][chunk][nr] */
    int64_t slice;   /* floats between slices of sum */
    bool decoded;    /* b and tail hold the whole panel */
};

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

/* Units of a strip that holds `count` elements of the reduction, whole groups when they are columns
 * of the weight. */
static int64_t strip_units(const struct product *p, int64_t count)
{
    return ceil_div(p->by_rows ? count : ceil_div(count, GEMM_GROUP) * GEMM_GROUP, p->t->pair);
}

/* Floats of a strip: its units and, by the code rule, the scales behind them. */
static int64_t strip_floats(const struct product *p, int64_t count)
{
    const int64_t scales = p->codes ? ceil_div(count, p->codes->part) * (1 + p->codes->minimum) : 0;
    return (strip_units(p, count) + scales) * p->t->nr;
}

/* Element `begin` of the reduction in the strip of resident panels that holds column `col`. */
static const uint16_t *panel_at(const struct product *p, int64_t col, int64_t begin)
{
    const int64_t strip = (p->first_row + col) / p->t->nr;
    return p->resident->data + strip * gemm_panel_strip(p->red, p->t) + begin * p->t->nr;
}

/* Resident panels that tiles read where they lie: those of pairs are units already. */
static bool in_place(const struct product *p)
{
    return p->resident && p->t->pair == 2;
}

/* Decodes [begin, end) of the reduction for columns [col, col + cols) into dst; `begin` lies on the
 * grid of blocks. */
static void decode_block(const struct product *p, int64_t col, int64_t cols, int64_t begin,
                         int64_t end, float *dst)
{
    const struct gemm_tier *t = p->t;
    struct gemm_block block = {.w = p->w, .dst = dst};
    const int64_t strip = strip_floats(p, end - begin);
    if (p->by_rows) {
        block.row = p->first_row + begin;
        block.rows = end - begin;
        block.col = col;
        block.cols = cols;
        t->pack_columns(&block);
    } else {
        for (int64_t at = 0; at < cols; at += t->nr) {
            block.row = p->first_row + col + at;
            block.rows = least(t->nr, cols - at);
            block.col = begin;
            block.cols = end - begin;
            block.dst = dst + at / t->nr * strip;
            block.scale = block.dst + strip_units(p, end - begin) * t->nr;
            if (p->resident) {
                t->widen(panel_at(p, col + at, begin), strip, block.dst);
            } else if (p->codes) {
                t->codes(&block, NULL);
            } else {
                t->pack_rows(&block);
            }
        }
    }
    if (p->round && t->pair == 1 && !p->codes && !p->resident) {
        t->pack_a(dst, strip * ceil_div(cols, t->nr), dst);
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

/* Part of one slice of the reduction, inside one decoded block. */
struct stretch {
    int64_t slice;
    int64_t begin;
    int64_t end;
    bool fresh; /* first of the slice */
    bool last;  /* the sums are complete after it */
    int64_t block; /* where the decoded block begins */
    const float *scale; /* of the strip's codes */
};

/* A tile of the product and, on the y that it has written, one of the tail. Filled once per strip:
 * a tile of a short reduction takes little longer than its description. */
struct tile_pair {
    struct gemm_tile main;
    struct gemm_finish finish;
    struct gemm_tile tail;
    struct gemm_finish tail_finish;
};

/* What a tile needs of a strip for the code rule */
static void tile_codes(const struct product *p, const struct stretch *s, struct gemm_tile *tile)
{
    tile->part = p->codes->part / p->t->pair;
    tile->scale = s->scale
                  + (s->begin - s->block) / p->codes->part * (1 + p->codes->minimum) * p->t->nr;
    tile->xs_row = p->codes->minimum ? p->xs_row : 0;
}

/* The tail's tiles: those of strips that are not whole sum up in `sum`. */
static void start_tail(const struct product *tail, const float *b, float *sum,
                       struct tile_pair *pair)
{
    pair->tail_finish = pair->finish;
    pair->tail_finish.bias = NULL;
    pair->tail_finish.alpha = tail->alpha;
    pair->tail_finish.accumulate = true;
    pair->tail = (struct gemm_tile){
        .fresh = true,
        .narrow = pair->main.narrow,
        .units = ceil_div(tail->red, tail->t->pair),
        .a_row = tail->a_row,
        .a_step = 1,
        .b = b,
        .sum = sum,
        .last = &pair->tail_finish,
    };
}

/* All but the rows of a strip's tiles. */
static void start_tiles(const struct item *it, const struct stretch *s, int64_t strip,
                        const float *b, struct tile_pair *pair)
{
    const struct product *p = it->p;
    pair->finish = finish_of(it, strip, 0, 0);
    pair->main = (struct gemm_tile){
        .fresh = s->fresh,
        .narrow = pair->finish.cols <= p->t->nr / 2,
        .units = ceil_div(s->end - s->begin, p->t->pair),
        .a_row = p->a_row,
        .a_step = 1,
        .b = b,
        .ahead = in_place(p) && p->m > GEMM_DIRECT_ROWS && p->m < MANY_ROWS ? p->strip : 0,
        .claims = s->last && p->m >= MANY_ROWS,
        .last = s->last ? &pair->finish : NULL,
    };
    if (p->codes) {
        tile_codes(p, s, &pair->main);
    }
    if (s->last && p->tail) {
        start_tail(p->tail, it->tail + strip * p->tail->strip, it->sum, pair);
    }
}

/* All rows of the item over one stretch of the reduction, for one strip. */
static void multiply_strip(const struct item *it, const struct stretch *s, int64_t strip,
                           const float *b)
{
    const struct product *p = it->p;
    const struct gemm_tier *t = p->t;
    struct tile_pair pair;
    start_tiles(it, s, strip, b, &pair);
    float *y = pair.finish.y;
    float *sum = it->sum + s->slice * it->slice + strip * p->chunk * t->nr;
    const float *xs = p->codes && p->codes->minimum
                          ? p->xs + it->row * p->xs_row + s->begin / p->codes->part : NULL;
    for (int64_t row = 0; row < it->rows; row += t->mr) {
        const int64_t rows = least(t->mr, it->rows - row);
        pair.finish.rows = rows;
        pair.finish.y = y + row * p->ldy;
        pair.main.rows = (int)rows;
        pair.main.a = p->a + (it->row + row) * p->a_row + s->begin / t->pair;
        pair.main.sum = sum + row * t->nr;
        pair.main.xs = xs ? xs + row * p->xs_row : NULL;
        t->tile(&pair.main);
        if (s->last && p->tail) {
            pair.tail_finish.rows = rows;
            pair.tail_finish.y = pair.finish.y;
            pair.tail.rows = (int)rows;
            pair.tail.a = p->tail->a + (it->row + row) * p->tail->a_row;
            t->tile(&pair.tail);
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

/* One stretch for every strip, in pieces of the tier's depth. */
static void multiply_stretch(const struct item *it, const struct stretch *whole)
{
    const struct product *p = it->p;
    const struct gemm_tier *t = p->t;
    for (int64_t strip = 0; strip * t->nr < it->cols; strip++) {
        struct stretch s = *whole;
        const float *b = it->strips + strip * p->strip;
        s.scale = b + strip_units(p, least(p->depth, p->red - s.block)) * t->nr;
        for (; s.begin < whole->end; s.begin = s.end, s.fresh = false) {
            s.end = whole->end - s.begin < 2 * t->depth ? whole->end : s.begin + t->depth;
            s.last = whole->last && s.end == whole->end;
            multiply_strip(it, &s, strip, b + (s.begin - s.block) / t->pair * t->nr);
        }
    }
}

/* The stretches of the item that lie in the decoded block [begin, end). */
static void multiply_block(const struct item *it, int64_t begin, int64_t end)
{
    const struct product *p = it->p;
    for (int64_t i = 0; i < p->slices; i++) {
        const int64_t first = p->red * i / p->slices;
        const int64_t stop = p->red * (i + 1) / p->slices;
        struct stretch s = {.slice = i, .begin = first > begin ? first : begin, .block = begin};
        s.end = least(stop, end);
        s.fresh = s.begin == first;
        s.last = p->slices == 1 && s.end == stop;
        if (s.begin < s.end) {
            multiply_stretch(it, &s);
        }
    }
}

static void product_item(struct item *it)
{
    const struct product *p = it->p;
    for (int64_t i = 0; p->slices > 1 && i < p->slices * it->slice; i++) {
        it->sum[i] = 0.0f; /* slices may be empty, tiles narrow */
    }
    if (!it->decoded && p->tail) {
        decode_block(p->tail, it->col, it->cols, 0, p->tail->red, it->tail);
    }
    for (int64_t begin = 0; begin < p->red; begin += p->depth) {
        const int64_t end = least(begin + p->depth, p->red);
        if (in_place(p)) {
            it->strips = (const float *)(const void *)panel_at(p, it->col, 0);
        } else if (!it->decoded) {
            decode_block(p, it->col, it->cols, begin, end, it->b);
            it->strips = it->b;
        }
        multiply_block(it, begin, end);
    }
    it->decoded = p->depth >= p->red;
    if (p->slices > 1) {
        add_slices(it);
        for (int64_t strip = 0; strip * p->t->nr < it->cols; strip++) {
            const struct gemm_finish finish = finish_of(it, strip, 0, it->rows);
            p->t->finish(&finish);
        }
    }
}

/* Few rows: weights are multiplied as they are decoded. False: the type cannot. */
static bool product_direct(const struct item *it)
{
    const struct product *p = it->p;
    if (!p->t->direct || p->resident || p->by_rows || p->slices > 1 || p->m > GEMM_DIRECT_ROWS
        || p->red % GEMM_GROUP != 0) {
        return false;
    }
    const int64_t most = p->m == GEMM_DIRECT_ROWS ? GEMM_DIRECT_ROWS : 2;
    for (int64_t row = 0; row < p->m; row += most) {
        const int64_t rows = least(most, p->m - row);
        const struct gemm_finish last = finish_of(it, 0, row, rows);
        const struct gemm_direct direct = {
            .block = {.w = p->w, .row = p->first_row + it->col, .rows = it->cols,
                      .cols = p->red, .dst = it->sum},
            .a = p->a + row * p->a_row,
            .a_row = p->a_row,
            .round = p->round,
            .xs = p->xs ? p->xs + row * p->xs_row : NULL,
            .xs_row = p->xs_row,
            .last = &last,
        };
        if (p->codes) {
            p->t->codes(&direct.block, &direct);
        } else if (!p->t->direct(&direct)) {
            return false;
        }
    }
    return true;
}

/* Work is counted in blocks of rows times strips, panel after panel, and shared out evenly: panels
 * differ in width. Where a count falls. */
struct place {
    int64_t panel;
    int64_t block;
};

static int64_t strips_from(const struct product *p, int64_t panel)
{
    return ceil_div(p->cols - panel * p->panel, p->t->nr);
}

static struct place place_of(const struct product *p, int64_t count)
{
    const int64_t whole = p->panel / p->t->nr * p->blocks; /* of a panel that is not the last */
    const struct place end = {p->panels, 0};
    const int64_t panel = count / whole;
    if (panel >= p->panels) {
        return end;
    }
    return (struct place){panel, (count - panel * whole)
                                     / least(p->panel / p->t->nr, strips_from(p, panel))};
}

/* Items [begin, end), panel after panel. */
static void product_piece(struct item *item, int64_t begin, int64_t end)
{
    const struct product *p = item->p;
    const struct place first = place_of(p, begin);
    const struct place last = place_of(p, end);
    for (int64_t panel = first.panel; panel < p->panels && panel <= last.panel; panel++) {
        const int64_t stop = least((panel == last.panel ? last.block : p->blocks) * p->block, p->m);
        item->decoded = item->decoded && item->col == panel * p->panel;
        item->col = panel * p->panel;
        item->cols = least(p->panel, p->cols - item->col);
        item->row = panel == first.panel ? first.block * p->block : 0;
        for (; item->row < stop; item->row += item->rows) {
            item->rows = least(p->chunk / p->block * p->block, stop - item->row);
            if (p->tail || !product_direct(item)) {
                product_item(item);
            }
        }
    }
}

/* A thread decodes a panel once for all its rows, whatever pieces they come in. */
static void product_items(void *ctx, int64_t begin, int64_t end, int thread)
{
    const struct product *p = ctx;
    float *scratch = scratch_thread(p->c, thread);
    struct item item = {
        .p = p,
        .col = -1,
        .b = scratch,
        .sum = scratch + PANEL_FLOATS,
        .slice = p->panel * p->chunk,
    };
    item.tail = scratch + PANEL_FLOATS - (p->tail ? p->tail->strip * (p->panel / p->t->nr) : 0);
    do {
        product_piece(&item, begin, end);
    } while (parallel_more(p->c->pool, thread, &begin, &end));
}

/* Widths of panels and depth of decoded blocks, from the shapes and the scratch. */
static void product_panels(struct product *p)
{
    const struct gemm_tier *t = p->t;
    const bool super = p->w->dtype != DTYPE_NF4 && dtype_row(p->w->dtype)->block > GEMM_GROUP;
    const int64_t tail = p->tail ? p->tail->strip : 0;
    const int64_t all = strip_floats(p, p->red);
    int64_t strips = p->by_rows ? (super ? GEMM_SUPER : 2 * GEMM_GROUP) / t->nr : 1;
    while (p->m >= MANY_ROWS && strips < PANEL_STRIPS
           && 2 * strips * (all + tail) <= PANEL_FLOATS) {
        strips *= 2;
    }
    p->panel = strips * t->nr;
    p->panels = ceil_div(p->cols, p->panel);
    p->depth = p->red;
    p->strip = all;
    ASSERT(p->m > GEMM_DIRECT_ROWS || p->by_rows || strips == 1); /* a strip is an item */
    if (strips * (all + tail) > PANEL_FLOATS && !in_place(p)) {
        const int64_t room = (PANEL_FLOATS - strips * tail) / strips / t->nr * t->pair;
        p->depth = (p->codes ? room / 2 : room) / GEMM_SUPER * GEMM_SUPER; /* scales: under half */
        p->strip = strip_floats(p, p->depth);
    }
}

/* Few rows are not shared out: every thread that had some would decode the panel. */
static void product_run(struct product *p)
{
    product_panels(p);
    p->chunk = p->slices > 1 ? CHUNK_SLICED : CHUNK;
    while (p->chunk > MANY_ROWS && p->chunk * 4 * strip_units(p, p->red) > CHUNK_BYTES) {
        p->chunk -= CHUNK_STEP;
    }
    p->block = least(p->m < MANY_ROWS ? MANY_ROWS : p->t->mr, p->chunk);
    p->blocks = ceil_div(p->m, p->block);
    if (p->m < MANY_ROWS) {
        parallel_for(p->c->pool, strips_from(p, 0) * p->blocks, product_items, p);
    } else {
        parallel_for_pieces(p->c->pool, strips_from(p, 0) * p->blocks,
                            PIECE_BLOCKS * p->panel / p->t->nr, product_items, p);
    }
}

struct rounding {
    const struct product *p;
    bool units; /* a holds units, which are copied */
    float *dst; /* [m][stride], or NULL: a's units stay where they are */
    int64_t stride;
    float *xs; /* [m][blocks], or NULL */
    int64_t rows; /* of an item */
};

static void round_row(const struct rounding *r, int64_t row)
{
    const struct product *p = r->p;
    const float *units = p->a + row * p->a_row;
    if (r->dst) {
        float *dst = r->dst + row * r->stride;
        if (r->units) {
            memcpy(dst, units, (size_t)ceil_div(p->red, p->t->pair) * sizeof *dst);
        } else if (p->a16) {
            p->t->widen(p->a16 + row * p->a_row, p->red, dst);
        } else {
            p->t->pack_a(units, p->red, dst);
        }
        units = dst;
    }
    if (r->xs) {
        p->t->sum_blocks(units, p->xs_row, r->xs + row * p->xs_row);
    }
}

static void round_rows(void *ctx, int64_t begin, int64_t end, int thread)
{
    (void)thread;
    const struct rounding *r = ctx;
    const int64_t last = least(end * r->rows, r->p->m);
    for (int64_t row = begin * r->rows; row < last; row++) {
        round_row(r, row);
    }
}

/* Floats in COMPUTE_F32, and rows of bf16 for a tier of pairs, are units as they are. */
static bool units_already(const struct product *p)
{
    return !p->round || (p->a16 && p->t->pair == 2);
}

/* Units whose rows lie a multiple of the page apart: the lines of a tile's rows would drive each
 * other from the L1. A copy costs less where there are many rows. */
static bool rows_collide(const struct product *p)
{
    const int64_t row = p->a_row * (int64_t)(p->a16 ? sizeof *p->a16 : sizeof *p->a);
    const int rows = p->codes ? p->t->mr / 2 : p->t->mr;
    return rows > L1_WAYS && p->m >= MANY_ROWS && row % PAGE == 0;
}

/* Floats between rows of the packed form; not a multiple of the page. 0: a stays as it is. */
static int64_t packed_stride(const struct product *p)
{
    return units_already(p) && !rows_collide(p)
               ? 0
               : ceil_div(ceil_div(p->red, p->t->pair), 16) * 16 + 16;
}

/* Floats of a packed row and of the sums of its blocks. */
static int64_t packed_floats(const struct product *p)
{
    return packed_stride(p) + p->xs_row;
}

/* Rows [row, row + rows) of a product with their units and sums, in `dst` where they are made. */
static void round_part(struct product *part, const struct product *p, int64_t row, int64_t rows,
                       float *dst)
{
    struct rounding r = {.p = part, .stride = packed_stride(p)};
    *part = *p;
    part->m = rows;
    part->y = p->y + row * p->ldy;
    part->a = p->a ? p->a + row * p->a_row : NULL;
    part->a16 = p->a16 ? p->a16 + row * p->a_row : NULL;
    if (units_already(part) && part->a16) {
        ASSERT(part->a_row % 2 == 0 && part->red % 2 == 0);
        part->a = (const float *)(const void *)part->a16;
        part->a_row /= 2;
        part->a16 = NULL;
    }
    r.units = units_already(p);
    r.dst = r.stride ? dst : NULL;
    r.xs = p->xs_row ? dst + rows * r.stride : NULL;
    if (r.dst || r.xs) {
        r.rows = ceil_div(PACK_UNITS, ceil_div(p->red, p->t->pair));
        parallel_for(p->c->pool, ceil_div(rows, r.rows), round_rows, &r);
    }
    if (r.dst) {
        part->a = r.dst;
        part->a_row = r.stride;
        part->a16 = NULL;
    }
    part->xs = r.xs;
}

/* Packs as many rows of the operands as the shared scratch holds, multiplies, goes on. */
static void product_packed(const struct product *p)
{
    struct arena *scratch = &p->c->scratch;
    const size_t mark = arena_mark(scratch);
    const int64_t stride = packed_floats(p);
    const int64_t tail = p->tail ? packed_floats(p->tail) : 0;
    const int64_t room = (int64_t)(scratch->size - scratch->used - 2 * ARENA_ALIGN) / 4;
    const int64_t rows = stride + tail > 0 ? least(room / (stride + tail), p->m) : p->m;
    float *dst = NULL;
    float *dst_tail = NULL;
    ASSERT(rows > 0);
    ASSERT(arena_alloc(scratch, (size_t)(rows * stride), sizeof *dst, &dst) == STATUS_OK);
    ASSERT(arena_alloc(scratch, (size_t)(rows * tail), sizeof *dst, &dst_tail) == STATUS_OK);
    for (int64_t row = 0; row < p->m; row += rows) {
        const int64_t count = least(rows, p->m - row);
        struct product part;
        struct product part_tail;
        round_part(&part, p, row, count, dst);
        if (p->tail) {
            round_part(&part_tail, p->tail, row, count, dst_tail);
            part.tail = &part_tail;
        }
        product_run(&part);
    }
    arena_rewind(scratch, mark);
}

static void product_start(struct product *p, const struct gemm_choice *choice)
{
    ASSERT(p->w->layout == LAYOUT_FILE);
    p->slices = p->c->k_slices;
    p->round = p->c->compute == COMPUTE_BF16;
    p->t = gemm_tier_of(p->c, choice, p->red);
    if (p->round && !p->by_rows && p->w->panels) {
        p->resident = p->w->panels;
        ASSERT(p->resident->rows == p->t->nr && p->resident->pair == p->t->pair
               && p->first_row % p->t->nr == 0);
    } else if (p->round && !p->by_rows && p->slices == 1 && p->t->codes) {
        p->codes = code_row(p->w->dtype);
        p->xs_row = p->codes && p->codes->minimum ? p->red / GEMM_GROUP : 0;
    }
    ASSERT(p->round || !p->a16);
}

/* A product and, tile by tile, its tail; with k_slices or codes in it the tail comes after. */
static void product_both(struct product *p, struct product *tail, const struct gemm_tail *a,
                         const struct gemm_choice *choice)
{
    if (p->m <= 0 || p->cols <= 0) {
        return;
    }
    product_start(p, choice);
    if (!a) {
        product_packed(p);
        return;
    }
    tail->w = a->w;
    tail->first_row = 0;
    tail->red = tail->by_rows ? tensor_rows(a->w) : tensor_columns(a->w);
    tail->a = a->x;
    tail->a16 = NULL;
    tail->a_row = a->ldx;
    tail->bias = NULL;
    tail->alpha = a->alpha;
    tail->accumulate = true;
    product_start(tail, choice);
    tail->strip = strip_units(tail, tail->red) * tail->t->nr;
    if (p->slices == 1 && !tail->codes) {
        p->tail = tail;
    }
    product_packed(p);
    if (!p->tail) {
        product_packed(tail);
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
        .a16 = a->x16,
        .a_row = a->ldx,
        .m = a->m,
        .y = a->y,
        .ldy = a->ldy,
        .bias = a->bias,
        .alpha = a->alpha,
        .accumulate = a->accumulate,
    };
    struct product tail = p;
    product_both(&p, &tail, a->tail, choice);
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
        .a16 = a->dy16,
        .a_row = a->ldy,
        .m = a->m,
        .y = a->dx,
        .ldy = a->ldx,
        .alpha = a->alpha,
        .accumulate = a->accumulate,
    };
    struct product tail = p;
    product_both(&p, &tail, a->tail, choice);
}
