/*
 * The one linear against plain double loops: base, bias, two low-rank hooks, strides, units, hooks
 * switched off, recomputation, full training of weight and bias, rounded operands.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/rng.h"
#include "trainer/model/linear.h"

enum { ROWS = 70, IN = 13, OUT = 19, LDX = 15, LDY = 22, RANK_1 = 3, RANK_2 = 5 };

static const int64_t UNITS[] = {0, 33, 40, ROWS};

struct fixture {
    struct ops_context ops;
    struct arena step;
    struct arena scratch;
    struct param_set params;
    struct hook hooks[2];
    struct linear l;
    struct pass pass;
    float w[OUT * IN];
    float bias[OUT];
    float x[ROWS * LDX];
    float y[ROWS * LDY];
    float dy[ROWS * LDY];
    float dx[ROWS * LDX];
    struct linear_saved saved;
};

static void fill(float *dst, int64_t count, uint32_t module)
{
    const struct rng_key key = {.seed = 5, .purpose = RNG_INIT, .module = module};
    rng_fill_normal(&key, dst, count, 1.0f);
}

static void need(enum status status)
{
    if (status != STATUS_OK) {
        fail_msg("%s", status_message());
    }
}

static void open_fixture(struct fixture *f)
{
    memset(f, 0, sizeof *f);
    need(ops_context_open(&f->ops, &(struct ops_options){.threads = 2}));
    need(arena_open(&f->step, "step", 1 << 16));
    need(arena_open(&f->scratch, "scratch", 1 << 16));
    fill(f->w, OUT * IN, 1);
    fill(f->bias, OUT, 2);
    fill(f->x, ROWS * LDX, 3);
    fill(f->dy, ROWS * LDY, 4);
    f->l = (struct linear){.name = "site",
                           .w = {.dtype = DTYPE_F32,
                                 .dims = 2,
                                 .shape = {OUT, IN},
                                 .row_bytes = IN * sizeof(float),
                                 .data = f->w},
                           .bias = f->bias,
                           .out = OUT,
                           .in = IN};
    f->pass = (struct pass){.ops = &f->ops,
                            .step = &f->step,
                            .scratch = &f->scratch,
                            .hooks = true,
                            .grad = true,
                            .unit_begin = UNITS,
                            .units = 3};
}

static void close_fixture(struct fixture *f)
{
    param_set_close(&f->params);
    arena_close(&f->step);
    arena_close(&f->scratch);
    ops_context_close(&f->ops);
}

static void attach_two(struct fixture *f)
{
    const int64_t rank[2] = {RANK_1, RANK_2};
    char name[8];
    param_set_open(&f->params);
    for (int i = 0; i < 2; i++) {
        struct hook *h = &f->hooks[i];
        *h = (struct hook){.kind = HOOK_LOW_RANK,
                           .next = i == 0 ? &f->hooks[1] : NULL,
                           .slot = -1,
                           .params = &f->params,
                           .rank = rank[i],
                           .scale = i == 0 ? 2.0f : -0.5f};
        (void)snprintf(name, sizeof name, "A%d", i);
        need(param_set_add(&f->params, name, 2, (const int64_t[]){rank[i], f->l.in}, true, &h->a));
        (void)snprintf(name, sizeof name, "B%d", i);
        need(param_set_add(&f->params, name, 2, (const int64_t[]){f->l.out, rank[i]}, true, &h->b));
    }
    need(param_set_seal(&f->params, NULL));
    for (int64_t i = 0; i < f->params.count; i++) {
        fill(param_value(&f->params, i), f->params.params[i].count, 10 + (uint32_t)i);
    }
    f->l.hooks = f->hooks;
}

/* The weight that the linear stands for: W + sum scale B A. */
static void effective_weight(const struct fixture *f, bool hooks, double w[OUT][IN])
{
    for (int o = 0; o < OUT; o++) {
        for (int i = 0; i < IN; i++) {
            w[o][i] = (double)f->w[o * IN + i];
            for (const struct hook *h = hooks ? f->l.hooks : NULL; h; h = h->next) {
                const float *a = param_value(h->params, h->a);
                const float *b = param_value(h->params, h->b);
                for (int64_t r = 0; r < h->rank; r++) {
                    w[o][i] += (double)h->scale * (double)b[o * h->rank + r]
                               * (double)a[r * IN + i];
                }
            }
        }
    }
}

static void near(double a, double b)
{
    if (!(fabs(a - b) <= 2e-5 * fmax(10.0, fabs(b)))) {
        fail_msg("%.9g is not %.9g", a, b);
    }
}

static void check_forward(const struct fixture *f, bool hooks)
{
    double w[OUT][IN];
    effective_weight(f, hooks, w);
    for (int t = 0; t < ROWS; t++) {
        for (int o = 0; o < OUT; o++) {
            double sum = (double)f->bias[o];
            for (int i = 0; i < IN; i++) {
                sum += w[o][i] * (double)f->x[t * LDX + i];
            }
            near((double)f->y[t * LDY + o], sum);
        }
    }
}

static void check_dx(const struct fixture *f, const float *before)
{
    double w[OUT][IN];
    effective_weight(f, true, w);
    for (int t = 0; t < ROWS; t++) {
        for (int i = 0; i < IN; i++) {
            double sum = before ? (double)before[t * LDX + i] : 0.0;
            for (int o = 0; o < OUT; o++) {
                sum += w[o][i] * (double)f->dy[t * LDY + o];
            }
            near((double)f->dx[t * LDX + i], sum);
        }
    }
}

/* dB = scale dy^T (x A^T), dA = scale (dy B)^T x. */
static void check_low_rank_gradient(const struct fixture *f, const struct hook *h)
{
    const float *a = param_value(h->params, h->a);
    const float *b = param_value(h->params, h->b);
    for (int64_t r = 0; r < h->rank; r++) {
        double da[IN] = {0};
        double db[OUT] = {0};
        for (int t = 0; t < ROWS; t++) {
            double low = 0.0;
            double back = 0.0;
            for (int i = 0; i < IN; i++) {
                low += (double)f->x[t * LDX + i] * (double)a[r * IN + i];
            }
            for (int o = 0; o < OUT; o++) {
                back += (double)f->dy[t * LDY + o] * (double)b[o * h->rank + r];
                db[o] += (double)h->scale * (double)f->dy[t * LDY + o] * low;
            }
            for (int i = 0; i < IN; i++) {
                da[i] += (double)h->scale * back * (double)f->x[t * LDX + i];
            }
        }
        for (int i = 0; i < IN; i++) {
            near((double)param_grad(h->params, h->a)[r * IN + i], da[i]);
        }
        for (int o = 0; o < OUT; o++) {
            near((double)param_grad(h->params, h->b)[o * h->rank + r], db[o]);
        }
    }
}

static enum status run_forward(struct fixture *f, bool wanted)
{
    const struct operand in = {.x = f->x, .ld = LDX, .rows = ROWS};
    return linear_forward(&f->l, &f->pass, &in, wanted ? f->y : NULL, LDY, &f->saved);
}

static void run_backward(struct fixture *f, bool dx, bool accumulate)
{
    const struct linear_backward_args a = {.x = {.x = f->x, .ld = LDX, .rows = ROWS},
                                           .dy = {.x = f->dy, .ld = LDY, .rows = ROWS},
                                           .dx = dx ? f->dx : NULL,
                                           .lddx = LDX,
                                           .accumulate = accumulate};
    need(linear_backward(&f->l, &f->pass, &a, &f->saved));
    assert_int_equal(f->scratch.used, 0);
}

static void two_low_rank_hooks(void **state)
{
    (void)state;
    static struct fixture f;
    float before[ROWS * LDX];
    open_fixture(&f);
    attach_two(&f);
    need(run_forward(&f, true));
    check_forward(&f, true);
    fill(f.dx, ROWS * LDX, 30);
    memcpy(before, f.dx, sizeof before);
    run_backward(&f, true, true);
    check_dx(&f, before);
    check_low_rank_gradient(&f, &f.hooks[0]);
    check_low_rank_gradient(&f, &f.hooks[1]);
    /* Without dx and from a recomputation: the same gradient again, on top. */
    float once[OUT * RANK_2];
    memcpy(once, param_grad(&f.params, f.hooks[1].b), sizeof once);
    memset(&f.saved, 0, sizeof f.saved);
    memset(f.params.grad, 0, (size_t)f.params.total * sizeof(float));
    need(run_forward(&f, false));
    run_backward(&f, false, false);
    assert_memory_equal(once, param_grad(&f.params, f.hooks[1].b), sizeof once);
    close_fixture(&f);
}

static void hooks_switched_off(void **state)
{
    (void)state;
    static struct fixture f;
    open_fixture(&f);
    attach_two(&f);
    f.pass.hooks = false;
    need(run_forward(&f, true));
    check_forward(&f, false);
    assert_int_equal(f.step.used, 0);
    run_backward(&f, true, false);
    for (int64_t i = 0; i < f.params.total; i++) {
        assert_true(f.params.grad[i] == 0.0f);
    }
    f.pass.hooks = true;
    f.pass.grad = false; /* nothing is kept where no backward follows */
    need(run_forward(&f, true));
    check_forward(&f, true);
    assert_int_equal(f.step.used + f.scratch.used, 0);
    close_fixture(&f);
}

/* A sum over tokens in blocks of 32 counted from each unit's start, as ops.h defines it. */
static void check_block_sum(const float *grad, const struct fixture *f, int o)
{
    float expected = 0.0f;
    for (int u = 0; u < 3; u++) {
        for (int64_t b = UNITS[u]; b < UNITS[u + 1]; b += OPS_GRAD_BLOCK) {
            float sum = 0.0f;
            for (int64_t t = b; t < b + OPS_GRAD_BLOCK && t < UNITS[u + 1]; t++) {
                sum += f->dy[t * LDY + o];
            }
            expected += sum;
        }
    }
    near((double)*grad, (double)expected);
}

static void full_training(void **state)
{
    (void)state;
    static struct fixture f;
    open_fixture(&f);
    f.hooks[0] = (struct hook){.kind = HOOK_FULL, .slot = -1, .params = &f.params};
    param_set_open(&f.params);
    need(param_set_add(&f.params, "w", 2, (const int64_t[]){OUT, IN}, true, &f.hooks[0].weight));
    need(param_set_add(&f.params, "b", 1, (const int64_t[]){OUT}, false, &f.hooks[0].bias));
    need(param_set_seal(&f.params, NULL));
    f.l.hooks = f.hooks;
    need(run_forward(&f, true));
    check_forward(&f, false);
    run_backward(&f, false, false);
    for (int o = 0; o < OUT; o++) {
        for (int i = 0; i < IN; i++) {
            double sum = 0.0;
            for (int t = 0; t < ROWS; t++) {
                sum += (double)f.dy[t * LDY + o] * (double)f.x[t * LDX + i];
            }
            near((double)param_grad(&f.params, 0)[o * IN + i], sum);
        }
        check_block_sum(&param_grad(&f.params, 1)[o], &f, o);
    }
    close_fixture(&f);
}

static void unknown_hooks_are_refused(void **state)
{
    (void)state;
    static struct fixture f;
    struct hook many[LINEAR_MAX_HOOKS + 1];
    open_fixture(&f);
    attach_two(&f);
    for (int i = 0; i <= LINEAR_MAX_HOOKS; i++) {
        many[i] = f.hooks[0];
        many[i].next = i < LINEAR_MAX_HOOKS ? &many[i + 1] : NULL;
    }
    f.l.hooks = many;
    assert_int_equal(run_forward(&f, true), STATUS_RECIPE);
    f.l.hooks = many + 1;
    need(run_forward(&f, true));
    many[2].kind = HOOK_MAGNITUDE;
    assert_int_equal(run_forward(&f, true), STATUS_RECIPE);
    f.step.size = f.step.used; /* no room for x A^T */
    f.l.hooks = f.hooks;
    assert_int_equal(run_forward(&f, true), STATUS_MEMORY);
    f.step.size = 1 << 16;
    close_fixture(&f);
}

/* Forward and backward of an even-sized linear in COMPUTE_BF16, over all rows or the first few. */
static void run_rounded(struct fixture *f, bool rounded, bool given, int64_t rows)
{
    static uint16_t x16[ROWS * LDX];
    static uint16_t dy16[ROWS * LDY];
    const struct ops *ops = f->ops.ops;
    const int64_t in = f->l.in;
    const int64_t out = f->l.out;
    struct linear_backward_args a = {.x = {.x = f->x, .ld = in, .rows = rows},
                                     .dy = {.x = f->dy, .ld = given ? out : out + 2, .rows = rows},
                                     .dx = f->dx,
                                     .lddx = LDX,
                                     .accumulate = true};
    if (rounded) {
        ops->round(&f->ops, x16, f->x, ROWS * in);
        a.x = (struct operand){.x16 = x16, .rounded = true, .ld = in, .rows = rows};
    }
    if (rounded && given) {
        ops->round(&f->ops, dy16, f->dy, ROWS * out);
        a.dy = (struct operand){.x16 = dy16, .rounded = true, .ld = out, .rows = rows};
    }
    memset(f->params.grad, 0, (size_t)f->params.total * sizeof(float));
    fill(f->y, ROWS * LDY, 40);
    fill(f->dx, ROWS * LDX, 41);
    need(linear_forward(&f->l, &f->pass, &a.x, f->y, LDY, &f->saved));
    need(linear_backward(&f->l, &f->pass, &a, &f->saved));
    assert_int_equal(f->scratch.used, 0);
    arena_rewind(&f->step, 0);
}

/* Operands rounded once have the bits of operands that every product rounds, and a fused low-rank
 * product those of a product of its own: the first rows of a long call equal a short call. */
static void rounded_operands_change_no_bit(void **state)
{
    (void)state;
    static struct fixture f;
    static float y[ROWS * LDY];
    static float dx[ROWS * LDX];
    static float grad[2048];
    open_fixture(&f);
    f.ops.compute = COMPUTE_BF16;
    f.l.in = f.l.w.shape[1] = IN - 1;
    f.l.out = f.l.w.shape[0] = OUT - 1;
    attach_two(&f);
    assert_true(operand_rounds(&f.pass, f.l.in) && !operand_rounds(&f.pass, IN));
    for (int given = 0; given < 2; given++) {
        run_rounded(&f, false, given, ROWS);
        memcpy(y, f.y, sizeof y);
        memcpy(dx, f.dx, sizeof dx);
        assert_true((size_t)f.params.total <= sizeof grad / sizeof grad[0]);
        memcpy(grad, f.params.grad, (size_t)f.params.total * sizeof(float));
        run_rounded(&f, true, given, ROWS);
        assert_memory_equal(y, f.y, sizeof y);
        assert_memory_equal(dx, f.dx, sizeof dx);
        assert_memory_equal(grad, f.params.grad, (size_t)f.params.total * sizeof(float));
        f.pass.units = 1; /* its 33 rows */
        run_rounded(&f, true, given, UNITS[1]);
        assert_memory_equal(y, f.y, (size_t)(UNITS[1] * LDY) * sizeof(float));
        assert_memory_equal(dx, f.dx, (size_t)(UNITS[1] * LDX) * sizeof(float));
        f.pass.units = 3;
    }
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_low_rank_hooks),
        cmocka_unit_test(hooks_switched_off),
        cmocka_unit_test(full_training),
        cmocka_unit_test(unknown_hooks_are_refused),
        cmocka_unit_test(rounded_operands_change_no_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
