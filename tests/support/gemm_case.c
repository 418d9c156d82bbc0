/* Random packed weights and the scalar products; see gemm_case.h. */
#include "tests/support/gemm_case.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/rng.h"
#include "kernels/tensor/codes.h"
#include "kernels/tensor/quant.h"

enum { CASE_BYTES = 512 << 20, PAD = 3, MAX_SLICES = 64 };

static void *case_alloc(struct arena *mem, int64_t count, size_t item)
{
    void *p = NULL;
    assert_int_equal(arena_alloc(mem, (size_t)count, item, &p), STATUS_OK);
    return p;
}

static float *case_floats(struct arena *mem, int64_t count, uint32_t stream)
{
    float *p = case_alloc(mem, count, sizeof *p);
    const struct rng_key key = {.seed = 5, .purpose = RNG_DATA, .module = stream};
    rng_fill_normal(&key, p, count, 1.0f);
    return p;
}

/* Byte offsets of the halves of a block, ended by -1. */
static const int HALVES[DTYPE_COUNT][3] = {
    [DTYPE_Q4_0] = {0, -1},    [DTYPE_Q4_1] = {0, 2, -1}, [DTYPE_Q5_0] = {0, -1},
    [DTYPE_Q5_1] = {0, 2, -1}, [DTYPE_Q8_0] = {0, -1},    [DTYPE_Q4_K] = {0, 2, -1},
    [DTYPE_Q5_K] = {0, 2, -1}, [DTYPE_Q6_K] = {208, -1},
};

/* Any bits are a valid code; halves must be ordinary numbers. */
static void random_blocks(enum dtype type, uint8_t *data, int64_t blocks, uint32_t stream)
{
    const int bytes = dtype_row(type)->bytes;
    struct rng_key key = {.seed = 6, .purpose = RNG_DATA, .module = stream};
    uint32_t words[4];
    for (int64_t i = 0; i < blocks * bytes; i++) {
        if (i % 16 == 0) {
            key.position = (uint32_t)(i / 16);
            rng_draw4(&key, words);
        }
        data[i] = (uint8_t)(words[i % 16 / 4] >> i % 4 * 8);
    }
    for (int64_t b = 0; b < blocks; b++) {
        for (const int *at = HALVES[type]; *at >= 0; at++) {
            uint8_t *p = data + b * bytes + *at;
            const float size = 0.01f + (float)p[0] / 2560.0f;
            const uint16_t h = dtype_f32_to_f16(p[1] & 1 ? size : -size);
            memcpy(p, &h, sizeof h);
        }
    }
}

void gemm_random_weight(struct arena *mem, enum dtype type, int64_t rows, int64_t cols,
                        struct tensor *out)
{
    size_t bytes;
    const uint32_t stream = 40 + (uint32_t)type;
    const bool from_floats = type <= DTYPE_BF16 || type == DTYPE_NF4;
    const float *values = case_floats(mem, from_floats ? rows * cols : 0, stream);
    *out = (struct tensor){.dtype = type, .dims = 2, .shape = {rows, cols}, .data = values};
    if (type == DTYPE_NF4) {
        assert_int_equal(quant_nf4_bytes(rows * cols, &bytes), STATUS_OK);
        quant_nf4_encode(values, rows, cols, case_alloc(mem, 1, bytes), out);
        return;
    }
    assert_int_equal(dtype_row_bytes(type, cols, &out->row_bytes), STATUS_OK);
    if (type == DTYPE_F32) {
        return;
    }
    uint8_t *data = case_alloc(mem, rows, out->row_bytes);
    if (type == DTYPE_F16 || type == DTYPE_BF16) {
        for (int64_t i = 0; i < rows * cols; i++) {
            const uint16_t h = type == DTYPE_F16 ? dtype_f32_to_f16(values[i])
                                                 : dtype_f32_to_bf16(values[i]);
            memcpy(data + 2 * i, &h, sizeof h);
        }
    } else {
        random_blocks(type, data, rows * cols / dtype_row(type)->block, stream);
    }
    out->data = data;
}

void product_open(struct product_case *p, const struct product_shape *shape, enum dtype type,
                  bool by_rows)
{
    *p = (struct product_case){.shape = *shape, .by_rows = by_rows};
    const int64_t m = shape->m;
    p->shape.alpha = shape->alpha == 0.0f ? 1.0f : shape->alpha;
    p->red = by_rows ? shape->n : shape->k;
    p->cols = by_rows ? shape->k : shape->n;
    p->ldx = p->red + PAD;
    p->ldy = p->cols + PAD;
    assert_int_equal(arena_open(&p->mem, "case", CASE_BYTES), STATUS_OK);
    gemm_random_weight(&p->mem, type, shape->first_row + shape->n, shape->k, &p->w);
    p->x = case_floats(&p->mem, m * p->ldx, 1);
    p->y = case_floats(&p->mem, m * p->ldy, 2);
    p->y_old = case_alloc(&p->mem, m * p->ldy, sizeof *p->y_old);
    memcpy(p->y_old, p->y, (size_t)(m * p->ldy) * sizeof *p->y);
    p->bias = shape->bias && !by_rows ? case_floats(&p->mem, p->cols, 3) : NULL;
    p->want = case_alloc(&p->mem, m * p->ldy, sizeof *p->want);
    p->allowed = case_alloc(&p->mem, m * p->ldy, sizeof *p->allowed);
}

void product_close(struct product_case *p)
{
    arena_close(&p->mem);
}

static float operand(const struct ops_context *c, float x)
{
    return c->compute == COMPUTE_BF16 ? dtype_bf16_to_f32(dtype_f32_to_bf16(x)) : x;
}

/* a . b by the one-by-one rule with slices; *size: sum of |a b|. */
static float scalar_sum(const struct ops_context *c, const float *a, const float *b, int64_t count,
                        double *size)
{
    float part[MAX_SLICES];
    const int slices = c->k_slices;
    *size = 0.0;
    for (int64_t s = 0; s < slices; s++) {
        part[s] = 0.0f;
        for (int64_t i = count * s / slices; i < count * (s + 1) / slices; i++) {
            part[s] = fmaf(a[i], b[i], part[s]);
            *size += fabs((double)a[i] * (double)b[i]);
        }
    }
    for (int left = slices; left > 1; left /= 2) {
        for (int i = 0; i < left / 2; i++) {
            part[i] = part[2 * i] + part[2 * i + 1];
        }
    }
    return part[0];
}

/* Pairs add the same products in another association: each of `count` products and sums, here and
 * there, is off by at most 2^-24 of the largest partial sum, which `size` bounds. Products of bf16
 * below 2^-126 may also count as zero. */
static double pair_error(const struct ops_context *c, int64_t count, double size)
{
    if (c->compute == COMPUTE_F32 || !c->has_bf16_dot) {
        return 0.0;
    }
    return 2.0 * (double)(count + 4) * size * 0x1p-24 + (double)count * 0x1p-120;
}

/* Goes by the code rule of kernels/ops.h. */
static bool coded(const struct product_case *p, const struct ops_context *c)
{
    return c->compute == COMPUTE_BF16 && c->k_slices == 1 && c->tier != TIER_AMX && !p->by_rows
           && code_row(p->w.dtype);
}

/* x . row j of the weight by that rule; *size: sum of all magnitudes in it. */
static float coded_sum(const struct product_case *p, const float *x, int64_t j, double *size)
{
    const struct code_row *type = code_row(p->w.dtype);
    float sum = 0.0f;
    *size = 0.0;
    for (int64_t first = 0; first < p->red; first += type->part) {
        struct code_part part;
        float dot = 0.0f;
        float tree[32];
        code_decode(&p->w, p->shape.first_row + j, first, &part);
        for (int i = 0; i < type->part; i++) {
            dot = fmaf(x[first + i], (float)part.code[i], dot);
            tree[i] = x[first + i];
            *size += fabs((double)x[first + i] * (double)part.scale * part.code[i]);
            *size += fabs((double)x[first + i] * (double)part.minimum);
        }
        sum = fmaf(part.scale, dot, sum);
        for (int half = 16; type->minimum && half > 0; half /= 2) {
            for (int i = 0; i < half; i++) {
                tree[i] += tree[i + half];
            }
        }
        sum = type->minimum ? fmaf(part.minimum, tree[0], sum) : sum;
    }
    return sum;
}

void product_expect(struct product_case *p, const struct ops_context *c)
{
    const int64_t k = p->shape.k;
    const int64_t n = p->shape.n;
    float *w = case_alloc(&p->mem, n * k, sizeof *w);
    float *column = case_alloc(&p->mem, p->red, sizeof *column);
    float *row = case_alloc(&p->mem, p->red, sizeof *row);
    for (int64_t j = 0; j < n; j++) {
        quant_decode(&p->w, p->shape.first_row + j, 0, k, w + j * k);
    }
    for (int64_t j = 0; j < p->cols; j++) {
        for (int64_t r = 0; r < p->red; r++) {
            column[r] = operand(c, p->by_rows ? w[r * k + j] : w[j * k + r]);
        }
        for (int64_t i = 0; i < p->shape.m; i++) {
            double size;
            for (int64_t r = 0; r < p->red; r++) {
                row[r] = operand(c, p->x[i * p->ldx + r]);
            }
            const int64_t at = i * p->ldy + j;
            const float sum = coded(p, c) ? coded_sum(p, row, j, &size)
                                          : scalar_sum(c, row, column, p->red, &size);
            const float alpha = p->shape.alpha;
            const float scaled = alpha * sum;
            const float plain = scaled + (p->bias ? p->bias[j] : 0.0f);
            const float value = p->shape.accumulate ? fmaf(alpha, sum, p->y_old[at]) : plain;
            p->want[at] = (double)value;
            p->allowed[at] = pair_error(c, p->red, size) * fabs((double)alpha);
            if (p->allowed[at] > 0.0) {
                p->allowed[at] += fabs((double)value) * 0x1p-22;
            }
        }
    }
}

void product_call(struct product_case *p, struct ops_context *c)
{
    const struct product_shape *s = &p->shape;
    if (p->by_rows) {
        const struct gemm_dx_args a = {
            .dy = p->x, .ldy = p->ldx, .m = s->m, .w = &p->w, .first_row = s->first_row,
            .n = s->n, .dx = p->y, .ldx = p->ldy, .alpha = s->alpha, .accumulate = s->accumulate,
        };
        c->ops->gemm_dx(c, &a);
    } else {
        const struct gemm_args a = {
            .x = p->x, .ldx = p->ldx, .m = s->m, .w = &p->w, .first_row = s->first_row,
            .n = s->n, .y = p->y, .ldy = p->ldy, .bias = p->bias, .alpha = s->alpha,
            .accumulate = s->accumulate,
        };
        c->ops->gemm(c, &a);
    }
}

/* Equal bits unless a distance is allowed. NaN is never right. */
static bool close_enough(float got, double want, double allowed)
{
    const float exact = (float)want;
    return allowed > 0.0 ? fabs((double)got - want) <= allowed
                         : memcmp(&got, &exact, sizeof got) == 0;
}

int64_t product_worst(const struct product_case *p)
{
    for (int64_t at = 0; at < p->shape.m * p->ldy; at++) {
        const bool inside = at % p->ldy < p->cols;
        if (inside ? !close_enough(p->y[at], p->want[at], p->allowed[at])
                   : memcmp(&p->y[at], &p->y_old[at], sizeof p->y[at]) != 0) {
            return at;
        }
    }
    return -1;
}

void gradient_open(struct gradient_case *g, const struct gradient_shape *shape)
{
    *g = (struct gradient_case){.shape = *shape, .ldx = shape->k + PAD, .ldy = shape->n + PAD};
    const int64_t rows = shape->units[shape->unit_count];
    const int64_t count = shape->n * shape->k;
    assert_int_equal(arena_open(&g->mem, "case", CASE_BYTES), STATUS_OK);
    g->x = case_floats(&g->mem, rows * g->ldx, 1);
    g->dy = case_floats(&g->mem, rows * g->ldy, 2);
    g->dw = case_floats(&g->mem, count, 3);
    g->want = case_alloc(&g->mem, count, sizeof *g->want);
    g->allowed = case_alloc(&g->mem, count, sizeof *g->allowed);
}

void gradient_close(struct gradient_case *g)
{
    arena_close(&g->mem);
}

void gradient_expect(struct gradient_case *g, const struct ops_context *c)
{
    const struct gradient_shape *s = &g->shape;
    const struct ops_context whole = {.compute = c->compute, .k_slices = 1};
    for (int64_t cell = 0; cell < s->n * s->k; cell++) {
        float value = g->dw[cell];
        double allowed = 0.0;
        for (int64_t u = 0; u < s->unit_count; u++) {
            for (int64_t b = s->units[u]; b < s->units[u + 1]; b += OPS_GRAD_BLOCK) {
                float dy[OPS_GRAD_BLOCK];
                float x[OPS_GRAD_BLOCK];
                int64_t count = 0;
                double size;
                for (int64_t t = b; t < s->units[u + 1] && count < OPS_GRAD_BLOCK; t++, count++) {
                    dy[count] = operand(c, g->dy[t * g->ldy + cell / s->k]);
                    x[count] = operand(c, g->x[t * g->ldx + cell % s->k]);
                }
                value = fmaf(s->alpha, scalar_sum(&whole, dy, x, count, &size), value);
                allowed += pair_error(c, count, size) * fabs((double)s->alpha);
                allowed += allowed > 0.0 ? fabs((double)value) * 0x1p-22 : 0.0;
            }
        }
        g->want[cell] = (double)value;
        g->allowed[cell] = allowed;
    }
}

void gradient_call(struct gradient_case *g, struct ops_context *c)
{
    const struct gradient_shape *s = &g->shape;
    const struct gemm_dw_args a = {
        .dy = g->dy, .ldy = g->ldy, .x = g->x, .ldx = g->ldx, .n = s->n, .k = s->k, .dw = g->dw,
        .alpha = s->alpha, .unit_begin = s->units, .units = s->unit_count,
    };
    c->ops->gemm_dw(c, &a);
}

int64_t gradient_worst(const struct gradient_case *g)
{
    for (int64_t cell = 0; cell < g->shape.n * g->shape.k; cell++) {
        if (!close_enough(g->dw[cell], g->want[cell], g->allowed[cell])) {
            return cell;
        }
    }
    return -1;
}
