/*
 * Products with a weight matrix and their two gradients, scalar.
 *
 * gemm and gemm_dx sum over k and n ascending, in k_slices slices [len*s/S, len*(s+1)/S) added as a
 * binary tree, nearest first; types with integer codes go by the code rule, but for weights with
 * resident panels, whose values are rounded. gemm_dw sums 32-token blocks counted from each unit's
 * first token.
 */
#include <math.h>
#include <string.h>

#include "kernels/cpu/scratch.h"
#include "kernels/ref/ref.h"
#include "kernels/tensor/codes.h"
#include "kernels/tensor/quant.h"

enum {
    MAX_SLICES = 64,    /* ops_context_open refuses more */
    DX_COLUMNS = 256,   /* columns of one item of gemm_dx: the largest quantization block */
    DX_ROWS = 8
};

/* Operand as the compute mode sees it: bf16 mode rounds half to even. */
static float operand(const struct ops_context *c, float x)
{
    return c->compute == COMPUTE_BF16 ? dtype_bf16_to_f32(dtype_f32_to_bf16(x)) : x;
}

/* Element i of an operand that may be given rounded. */
static float element(const struct ops_context *c, const float *x, const uint16_t *x16, int64_t i)
{
    return x16 ? dtype_bf16_to_f32(x16[i]) : operand(c, x[i]);
}

static float tree_sum(float *part, int slices)
{
    for (int width = 1; width < slices; width *= 2) {
        for (int s = 0; s < slices; s += 2 * width) {
            part[s] += part[s + width];
        }
    }
    return part[0];
}

static float finish(float sum, float alpha, bool accumulate, float old, float bias)
{
    return accumulate ? fmaf(alpha, sum, old) : alpha * sum + bias;
}

struct gemm_job {
    struct ops_context *c;
    const struct gemm_args *a;
};

static void gemm_columns(void *ctx, int64_t begin, int64_t end, int thread)
{
    const struct gemm_job *job = ctx;
    const struct gemm_args *a = job->a;
    const int64_t k = tensor_columns(a->w);
    const int slices = job->c->k_slices;
    float *w = scratch_thread(job->c, thread);
    for (int64_t j = begin; j < end; j++) {
        quant_decode(a->w, a->first_row + j, 0, k, w);
        for (int64_t i = 0; i < k; i++) {
            w[i] = operand(job->c, w[i]);
        }
        for (int64_t t = 0; t < a->m; t++) {
            float part[MAX_SLICES];
            for (int s = 0; s < slices; s++) {
                part[s] = 0.0f;
                for (int64_t i = k * s / slices; i < k * (s + 1) / slices; i++) {
                    part[s] = fmaf(element(job->c, a->x, a->x16, t * a->ldx + i), w[i], part[s]);
                }
            }
            float *y = a->y + t * a->ldy + j;
            *y = finish(tree_sum(part, slices), a->alpha, a->accumulate, *y,
                        a->bias ? a->bias[j] : 0.0f);
        }
    }
}

/* Sum of 32 numbers: halves added, i and i + 16, then 8, 4, 2, 1. */
static float block_sum(const float *x)
{
    float s[32];
    memcpy(s, x, sizeof s);
    for (int half = 16; half > 0; half /= 2) {
        for (int i = 0; i < half; i++) {
            s[i] += s[i + half];
        }
    }
    return s[0];
}

/* The code rule: whole blocks of codes in fp32, then their scale, then the minimum. */
static float code_sum(const struct gemm_job *job, int64_t j, int64_t t)
{
    const struct gemm_args *a = job->a;
    const struct code_row *row = code_row(a->w->dtype);
    const int64_t k = tensor_columns(a->w);
    float sum = 0.0f;
    for (int64_t first = 0; first < k; first += row->part) {
        struct code_part part;
        float x[32];
        float dot = 0.0f;
        code_decode(a->w, a->first_row + j, first, &part);
        for (int i = 0; i < row->part; i++) {
            x[i] = element(job->c, a->x, a->x16, t * a->ldx + first + i);
            dot = fmaf(x[i], (float)part.code[i], dot);
        }
        sum = fmaf(part.scale, dot, sum);
        if (row->minimum) {
            sum = fmaf(part.minimum, block_sum(x), sum);
        }
    }
    return sum;
}

static void gemm_code_columns(void *ctx, int64_t begin, int64_t end, int thread)
{
    const struct gemm_job *job = ctx;
    const struct gemm_args *a = job->a;
    (void)thread;
    for (int64_t j = begin; j < end; j++) {
        for (int64_t t = 0; t < a->m; t++) {
            float *y = a->y + t * a->ldy + j;
            *y = finish(code_sum(job, j, t), a->alpha, a->accumulate, *y,
                        a->bias ? a->bias[j] : 0.0f);
        }
    }
}

void ref_gemm(struct ops_context *c, const struct gemm_args *a)
{
    ASSERT(tensor_columns(a->w) <= SCRATCH_MAX_COLUMNS);
    struct gemm_job job = {c, a};
    const bool coded = c->compute == COMPUTE_BF16 && c->k_slices == 1 && !a->w->panels
                       && code_row(a->w->dtype);
    parallel_for(c->pool, a->n, coded ? gemm_code_columns : gemm_columns, &job);
    if (a->tail) {
        const struct gemm_args tail = {.x = a->tail->x,
                                       .ldx = a->tail->ldx,
                                       .m = a->m,
                                       .w = a->tail->w,
                                       .n = a->n,
                                       .y = a->y,
                                       .ldy = a->ldy,
                                       .alpha = a->tail->alpha,
                                       .accumulate = true};
        ref_gemm(c, &tail);
    }
}

void ref_panel_shape(const struct ops_context *c, const struct tensor *w,
                     struct tensor_panels *out)
{
    (void)c;
    (void)w;
    *out = (struct tensor_panels){0};
}

void ref_panel_fill(struct ops_context *c, const struct tensor *w, uint16_t *to)
{
    (void)c;
    (void)w;
    (void)to;
}

struct gemm_dx_job {
    struct ops_context *c;
    const struct gemm_dx_args *a;
};

/* sum[s][t][i] over the weight rows of each slice, for `rows` rows of dy and `width` columns. */
static void dx_sums(const struct gemm_dx_job *job, int64_t row, int64_t rows, int64_t column,
                    int64_t width, float *sum)
{
    const struct gemm_dx_args *a = job->a;
    const int slices = job->c->k_slices;
    for (int s = 0; s < slices; s++) {
        float *part = sum + (int64_t)s * DX_ROWS * DX_COLUMNS;
        for (int64_t i = 0; i < DX_ROWS * DX_COLUMNS; i++) {
            part[i] = 0.0f;
        }
        for (int64_t j = a->n * s / slices; j < a->n * (s + 1) / slices; j++) {
            float w[DX_COLUMNS];
            quant_decode(a->w, a->first_row + j, column, width, w);
            for (int64_t t = 0; t < rows; t++) {
                const float g = element(job->c, a->dy, a->dy16, (row + t) * a->ldy + j);
                for (int64_t i = 0; i < width; i++) {
                    float *p = &part[t * DX_COLUMNS + i];
                    *p = fmaf(g, operand(job->c, w[i]), *p);
                }
            }
        }
    }
}

static void gemm_dx_columns(void *ctx, int64_t begin, int64_t end, int thread)
{
    const struct gemm_dx_job *job = ctx;
    const struct gemm_dx_args *a = job->a;
    const int64_t k = tensor_columns(a->w);
    const int slices = job->c->k_slices;
    float *sum = scratch_thread(job->c, thread);
    for (int64_t item = begin; item < end; item++) {
        const int64_t column = item * DX_COLUMNS;
        const int64_t width = k - column < DX_COLUMNS ? k - column : DX_COLUMNS;
        for (int64_t row = 0; row < a->m; row += DX_ROWS) {
            const int64_t rows = a->m - row < DX_ROWS ? a->m - row : DX_ROWS;
            dx_sums(job, row, rows, column, width, sum);
            for (int64_t cell = 0; cell < rows * width; cell++) {
                const int64_t t = cell / width;
                const int64_t i = cell % width;
                float part[MAX_SLICES];
                for (int s = 0; s < slices; s++) {
                    part[s] = sum[((int64_t)s * DX_ROWS + t) * DX_COLUMNS + i];
                }
                float *dx = a->dx + (row + t) * a->ldx + column + i;
                *dx = finish(tree_sum(part, slices), a->alpha, a->accumulate, *dx, 0.0f);
            }
        }
    }
}

void ref_gemm_dx(struct ops_context *c, const struct gemm_dx_args *a)
{
    struct gemm_dx_job job = {c, a};
    const int64_t k = tensor_columns(a->w);
    parallel_for(c->pool, (k + DX_COLUMNS - 1) / DX_COLUMNS, gemm_dx_columns, &job);
    if (a->tail) {
        const struct gemm_dx_args tail = {.dy = a->tail->x,
                                          .ldy = a->tail->ldx,
                                          .m = a->m,
                                          .w = a->tail->w,
                                          .n = tensor_rows(a->tail->w),
                                          .dx = a->dx,
                                          .ldx = a->ldx,
                                          .alpha = a->tail->alpha,
                                          .accumulate = true};
        ref_gemm_dx(c, &tail);
    }
}

struct gemm_dw_job {
    struct ops_context *c;
    const struct gemm_dw_args *a;
};

static void gemm_dw_rows(void *ctx, int64_t begin, int64_t end, int thread)
{
    (void)thread;
    const struct gemm_dw_job *job = ctx;
    const struct gemm_dw_args *a = job->a;
    for (int64_t cell = begin * a->k; cell < end * a->k; cell++) {
        const int64_t j = cell / a->k;
        const int64_t i = cell % a->k;
        float *dw = &a->dw[cell];
        for (int64_t u = 0; u < a->units; u++) {
            for (int64_t b = a->unit_begin[u]; b < a->unit_begin[u + 1]; b += OPS_GRAD_BLOCK) {
                const int64_t stop = a->unit_begin[u + 1] - b < OPS_GRAD_BLOCK
                                         ? a->unit_begin[u + 1]
                                         : b + OPS_GRAD_BLOCK;
                float sum = 0.0f;
                for (int64_t t = b; t < stop; t++) {
                    sum = fmaf(element(job->c, a->dy, a->dy16, t * a->ldy + j),
                               element(job->c, a->x, a->x16, t * a->ldx + i), sum);
                }
                *dw = fmaf(a->alpha, sum, *dw);
            }
        }
    }
}

void ref_gemm_dw(struct ops_context *c, const struct gemm_dw_args *a)
{
    struct gemm_dw_job job = {c, a};
    parallel_for(c->pool, a->n, gemm_dw_rows, &job);
}
