/*
 * What the tier-independent loops of the products (gemm.c, gemm_dw.c) know about a tier: block
 * sizes and micro-kernels, after BLIS (Van Zee and van de Geijn 2015).
 *
 * Both gemm and gemm_dx are one product y[m, cols] = a[m, red] . b[red, cols]. A panel of b is
 * decoded into scratch as strips [unit][nr], then tiles of mr rows of a pass over it. A unit is one
 * step of the reduction: one element, or a pair of bf16 (even element low) when pair == 2. Every
 * sum starts at +0 and takes the units in ascending order, whatever m, the tile or the thread.
 *
 * The pair rule: acc = VDPBF16PS(acc, a pair, b pair), pairs counted from element 0 of the
 * reduction (gemm_dw: of the token block), an odd end padded with zeros. Where k_slices cuts the
 * reduction at an odd element the pair rule is not used: operands are rounded and multiplied one
 * by one as on the other tiers. Both choices follow from shapes alone.
 *
 * The code rule (COMPUTE_BF16, gemm, block types, no k_slices; kernels/ops.h): a strip holds the
 * integer codes of its blocks, and behind them their scales: of each block d[nr], then the minimum
 * m[nr] where the type has one. Each block's sum starts at +0 in the tier's order of units; then
 * sum = fma(d, block's sum, sum) and sum = fma(m, sum of a's block, sum), blocks ascending.
 */
#pragma once

#include "kernels/ops.h"

enum {
    GEMM_MAX_SLICES = 64, /* ops_context_open refuses more */
    GEMM_DIRECT_ROWS = 4, /* rows that are multiplied without a panel, at most */
    GEMM_GROUP = 32,      /* columns that decode together; panels start at multiples */
    GEMM_SUPER = 256      /* same for the K-quants */
};

/* y[i][0..cols) = fma(alpha, sum, y) or alpha * sum + bias, i < rows, cols <= nr. */
struct gemm_finish {
    const float *sum; /* [rows][nr]; not read by a tile */
    float *y;         /* row stride ldy */
    int64_t ldy;
    int64_t rows;
    int64_t cols;
    const float *bias; /* [cols] or NULL for zeros; not used when accumulating */
    float alpha;
    bool accumulate;
};

/* sum[i][0..nr) (+)= sum over units a[i * a_row + u * a_step] * b[u][0..nr), i < rows <= mr. */
struct gemm_tile {
    int rows;
    bool fresh;  /* start at +0 instead of `sum` */
    bool narrow; /* only the first nr / 2 columns */
    int64_t units;
    const float *a; /* floats, or pairs of bf16 */
    int64_t a_row;
    int64_t a_step;
    const float *b; /* [units][nr] */
    int64_t ahead;  /* floats from a unit of b to one that is fetched meanwhile; 0: none */
    float *sum;     /* [rows][nr] */
    const float *scale; /* by the code rule: [blocks][1 or 2][nr]; NULL: a plain sum */
    const float *xs;    /* [rows][blocks] sums of a's blocks, row stride xs_row; NULL: no minima */
    int64_t xs_row;
    int part;           /* units of a block: of codes, or of tokens for `blocks` */
    bool claims; /* the lines of last's y are fetched meanwhile: stores commit in order, so where y
                  * is in no cache, each would wait for its own */
    const struct gemm_finish *last; /* not NULL: the sums are complete and go to its y instead */
};

/* Weight elements (row .. row + rows, col .. col + cols) to decode. `col` is a multiple of
 * GEMM_GROUP (K-quants: GEMM_SUPER); cols as well, but at the end of a row. */
struct gemm_block {
    const struct tensor *w;
    int64_t row;
    int64_t rows;
    int64_t col;
    int64_t cols;
    float *dst;
    float *scale; /* where the scales of codes go */
};

/* A strip of at most nr weight rows times last->rows rows of a (1, 2 or GEMM_DIRECT_ROWS), all of
 * the reduction at once. block.dst is scratch for [GEMM_DIRECT_ROWS][nr] sums. */
struct gemm_direct {
    struct gemm_block block;
    const float *a;
    int64_t a_row;
    bool round; /* weights of a tier without pairs in COMPUTE_BF16 */
    const float *xs; /* by the code rule: as in a tile */
    int64_t xs_row;
    const struct gemm_finish *last;
};

struct gemm_tier {
    int nr;   /* columns of a strip */
    int mr;   /* rows of a tile */
    int pair; /* elements of a unit: 1 or 2 */
    int depth; /* elements of the reduction per pass, even: as many as a strip of b may have without
                * slowing the tile down; each pass but the first loads the sums again */
    void (*tile)(const struct gemm_tile *t);
    void (*finish)(const struct gemm_finish *f);
    /* A tile of whole vectors that adds block after block of t->part units to last's y. NULL: a tile
     * per block. */
    void (*blocks)(const struct gemm_tile *t);
    /* Whole groups of columns only. False: the type has no such path and nothing was done.
     * NULL: the tile is used for any number of rows. */
    bool (*direct)(const struct gemm_direct *d);
    /* The code rule for the types that have codes: pack_rows of whole blocks with their scales, or
     * with `d` (whose block is b) its sums straight away. NULL: the tier does not know the rule. */
    void (*codes)(const struct gemm_block *b, const struct gemm_direct *d);
    /* dst[b] = sum of the 32 elements of a, in units, from element 32 b on. */
    void (*sum_blocks)(const float *units, int64_t blocks, float *dst);
    /* Reduction over the columns: dst[unit][nr], strip column = weight row, rows <= nr. Columns
     * are written up to the next multiple of GEMM_GROUP. Strip columns past `rows` hold nothing of
     * use; for rows <= nr / 2 the upper half is not written (multiply it narrow). */
    void (*pack_rows)(const struct gemm_block *b);
    /* Reduction over the rows: dst[strip][unit][nr], strip column = weight column. Weight columns
     * past the row's end are zero, strips cover cols rounded up to GEMM_GROUP. */
    void (*pack_columns)(const struct gemm_block *b);
    /* count floats of one row of `a` -> units as the tile wants them in COMPUTE_BF16. dst holds
     * ceil(count / pair) units, an odd end padded with zero. */
    void (*pack_a)(const float *src, int64_t count, float *dst);
    /* The same of bf16, for a tier of single elements. NULL: rows of bf16 are units as they are. */
    void (*widen)(const uint16_t *src, int64_t count, float *dst);
};

extern const struct gemm_tier GEMM_AVX2;
extern const struct gemm_tier GEMM_AVX512;
extern const struct gemm_tier GEMM_AVX512_BF16;

/* The three ops on a tier; `pairs` is the tier to use in COMPUTE_BF16 when it can (or NULL). */
struct gemm_choice {
    const struct gemm_tier *plain;
    const struct gemm_tier *pairs;
};

/* y = x W^T as struct gemm_args says: tiles of x rows over weight strips, panels shared out to the
 * threads. Scratch is the context's. Shapes were checked by the plan; it can't fail. */
void gemm_run(struct ops_context *c, const struct gemm_choice *choice, const struct gemm_args *a);

/* dx = dy W as struct gemm_dx_args says: the same product with the reduction over weight rows. */
void gemm_run_dx(struct ops_context *c, const struct gemm_choice *choice,
                 const struct gemm_dx_args *a);

/* The tier that multiplies along a reduction of `red`: that of pairs in COMPUTE_BF16, where no slice
 * begins within one. */
const struct gemm_tier *gemm_tier_of(const struct ops_context *c, const struct gemm_choice *choice,
                                     int64_t red);

/* bf16 of a strip of resident panels of a weight of `red` columns. */
int64_t gemm_panel_strip(int64_t red, const struct gemm_tier *t);

/* The panels of panel_shape and panel_fill: the strips that gemm_run decodes, units as bf16. */
void gemm_panel_shape(const struct ops_context *c, const struct gemm_choice *choice,
                      const struct tensor *w, struct tensor_panels *out);

/* Strips are shared out to the threads; what lies past the weight's edges is zero. */
void gemm_panel_fill(struct ops_context *c, const struct gemm_choice *choice,
                     const struct tensor *w, uint16_t *to);

/* dw += dy^T x as struct gemm_dw_args says: OPS_GRAD_BLOCK tokens at a time, counted from each
 * unit's first token; threads share out rows of dw, so sums never depend on their number. */
void gemm_run_dw(struct ops_context *c, const struct gemm_choice *choice,
                 const struct gemm_dw_args *a);
