/* Matrices: sums, products, transposes and determinants; see compare.h. */
#include <flint/fmpq_mat.h>
#include <string.h>

#include "eval/grade/compare.h"

enum { MAX_CELLS = 256, MAX_SYMBOLIC = 4 };

static struct expr *new_matrix(struct expr_pool *p, int rows, int cols)
{
    struct expr *m = rows * cols > MAX_CELLS ? NULL : expr_new(p, EXPR_MATRIX, rows * cols);
    if (m) {
        m->rows = rows;
        m->cols = cols;
    }
    return m;
}

/* A cell that is a plain number becomes a literal again. */
static const struct expr *settle(struct comparison *c, const struct expr *e)
{
    if (!e) {
        return NULL;
    }
    struct value_point at = {.precision = 64, .sample = -1, .steps = c->steps};
    struct value v;
    value_init(&v);
    value_of(&at, e, &v);
    c->steps = at.steps;
    if (v.kind == VALUE_RATIONAL) {
        e = expr_rational(c->pool, v.q);
    } else if (v.kind == VALUE_FLOAT) {
        struct expr *f = expr_number(c->pool, "0.0", 3);
        if (f) {
            arf_set(f->f, v.f);
            f->bits = v.bits;
        }
        e = f;
    }
    value_clear(&v);
    return e;
}

static const struct expr *add(struct comparison *c, const struct expr *a, const struct expr *b)
{
    if (a->rows != b->rows || a->cols != b->cols) {
        return NULL;
    }
    struct expr *m = new_matrix(c->pool, a->rows, a->cols);
    for (int i = 0; m && i < m->count; i++) {
        m->args[i] = settle(c, expr_binary(c->pool, EXPR_ADD, a->args[i], b->args[i]));
        if (!m->args[i]) {
            return NULL;
        }
    }
    return m;
}

static const struct expr *scale(struct comparison *c, const struct expr *factor,
                                const struct expr *a)
{
    struct expr *m = new_matrix(c->pool, a->rows, a->cols);
    for (int i = 0; m && i < m->count; i++) {
        m->args[i] = settle(c, expr_binary(c->pool, EXPR_MUL, factor, a->args[i]));
        if (!m->args[i]) {
            return NULL;
        }
    }
    return m;
}

static const struct expr *multiply(struct comparison *c, const struct expr *a,
                                   const struct expr *b)
{
    if (a->kind != EXPR_MATRIX) {
        return b->kind == EXPR_MATRIX ? scale(c, a, b) : expr_binary(c->pool, EXPR_MUL, a, b);
    }
    if (b->kind != EXPR_MATRIX) {
        return scale(c, b, a);
    }
    if (a->cols != b->rows || a->cols > MAX_CELLS) {
        return NULL;
    }
    struct expr *m = new_matrix(c->pool, a->rows, b->cols);
    for (int i = 0; m && i < m->count; i++) {
        struct expr *cell = expr_new(c->pool, EXPR_ADD, a->cols);
        for (int k = 0; cell && k < a->cols; k++) {
            cell->args[k] = expr_binary(c->pool, EXPR_MUL, a->args[i / b->cols * a->cols + k],
                                        b->args[k * b->cols + i % b->cols]);
            if (!cell->args[k]) {
                return NULL;
            }
        }
        m->args[i] = settle(c, cell);
        if (!m->args[i]) {
            return NULL;
        }
    }
    return m;
}

static const struct expr *transpose(struct comparison *c, const struct expr *a)
{
    struct expr *m = new_matrix(c->pool, a->cols, a->rows);
    for (int i = 0; m && i < m->count; i++) {
        m->args[i] = a->args[i % a->rows * a->cols + i / a->rows];
    }
    return m;
}

const struct expr *compare_matrix(struct comparison *c, const struct expr *e)
{
    if (!expr_is_matrix(e) || e->kind == EXPR_MATRIX) {
        return e;
    }
    if (c->depth > 30 || --c->steps <= 0) {
        return NULL;
    }
    c->depth++;
    const struct expr *m = compare_matrix(c, e->args[0]);
    if (m && e->kind == EXPR_TRANSPOSE) {
        m = m->kind == EXPR_MATRIX ? transpose(c, m) : NULL;
    }
    for (int i = 1; m && i < e->count; i++) {
        const struct expr *next = compare_matrix(c, e->args[i]);
        if (!next) {
            m = NULL;
        } else if (e->kind == EXPR_MAT_MUL) {
            m = multiply(c, m, next);
        } else {
            m = m->kind == EXPR_MATRIX && next->kind == EXPR_MATRIX ? add(c, m, next) : NULL;
        }
    }
    c->depth--;
    return m;
}

static const struct expr *rational_determinant(struct expr_pool *p, const struct expr *m)
{
    fmpq_mat_t a;
    struct expr *e = expr_integer(p, 0);
    if (!e) {
        return NULL;
    }
    fmpq_mat_init(a, m->rows, m->cols);
    for (int i = 0; i < m->count; i++) {
        fmpq_set(fmpq_mat_entry(a, i / m->cols, i % m->cols), m->args[i]->q);
    }
    fmpq_mat_det(e->q, a);
    fmpq_mat_clear(a);
    return e;
}

/* Expansion by the first row. */
static const struct expr *expand(struct expr_pool *p, const struct expr *m)
{
    if (m->rows == 1) {
        return m->args[0];
    }
    struct expr *sum = expr_new(p, EXPR_ADD, m->cols);
    for (int j = 0; sum && j < m->cols; j++) {
        struct expr *minor = new_matrix(p, m->rows - 1, m->cols - 1);
        for (int i = 0; minor && i < minor->count; i++) {
            const int col = i % minor->cols;
            minor->args[i] = m->args[(i / minor->cols + 1) * m->cols + col + (col >= j)];
        }
        const struct expr *det = minor ? expand(p, minor) : NULL;
        const struct expr *args[3] = {expr_integer(p, j % 2 ? -1 : 1), m->args[j], det};
        sum->args[j] = expr_nary(p, EXPR_MUL, args, 3);
        if (!sum->args[j]) {
            return NULL;
        }
    }
    return sum;
}

const struct expr *compare_determinant(struct expr_pool *p, const struct expr *m)
{
    bool rational = true;
    if (m->rows != m->cols || m->rows > 8) {
        return NULL;
    }
    for (int i = 0; i < m->count; i++) {
        rational = rational && m->args[i]->kind == EXPR_RATIONAL;
    }
    if (rational) {
        return rational_determinant(p, m);
    }
    return m->rows <= MAX_SYMBOLIC ? expand(p, m) : NULL;
}
