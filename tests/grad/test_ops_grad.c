/*
 * Gradients of the ops by central differences: for loss L = sum of r * output with random r, the
 * op's backward against (L(x + h) - L(x - h)) / 2h at a few places of every input, on every tier.
 *
 * Tolerance: with h = 2^-6 the truncation is h^2/6 of the third derivative, 4e-5 of O(1); L is
 * summed in double from float outputs of O(1), so its rounding is about 2^-24 sqrt(outputs) / 2h,
 * 6e-5 for 500 outputs. 2e-3 of the largest gradient leaves room for both.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/kernels_case.h"

static const float STEP = 0.015625f;
static const double TOLERANCE = 2e-3;
enum { PROBES = 24 };

/* A differentiable function made of ops: what forward writes into `out` weighted by `r`. */
struct graph {
    struct run run;
    void (*forward)(struct graph *g);
    float *out;
    const float *r; /* d loss / d out */
    int64_t outputs;
};

static double loss(struct graph *g)
{
    double sum = 0.0;
    g->forward(g);
    for (int64_t i = 0; i < g->outputs; i++) {
        sum += (double)g->r[i] * (double)g->out[i];
    }
    return sum;
}

/* Checks PROBES places of x[count] against the gradient dx. */
static void check(struct graph *g, const char *what, float *x, const float *dx, int64_t count)
{
    double scale = 1e-3;
    for (int64_t i = 0; i < count; i++) {
        scale = fmax(scale, fabs((double)dx[i]));
    }
    for (int64_t p = 0; p < PROBES; p++) {
        const int64_t i = count <= PROBES ? p % count : p * 7919 % count;
        const float old = x[i];
        x[i] = old + STEP;
        const double up = loss(g);
        const double high = (double)x[i];
        x[i] = old - STEP;
        const double down = loss(g);
        const double slope = (up - down) / (high - (double)x[i]);
        x[i] = old;
        if (!(fabs(slope - (double)dx[i]) <= TOLERANCE * scale)) {
            fail_msg("%s on %s: gradient %lld is %.6g, differences say %.6g", what,
                     g->run.c->ops->name, (long long)i, (double)dx[i], slope);
        }
    }
}

static void graph_open(struct graph *g, struct ops_context *c, void (*forward)(struct graph *))
{
    *g = (struct graph){.run = {.c = c}, .forward = forward};
    assert_int_equal(arena_open(&g->run.mem, "graph", 64 << 20), STATUS_OK);
}

static void graph_outputs(struct graph *g, float *out, int64_t count)
{
    g->out = out;
    g->outputs = count;
    g->r = run_input(&g->run, count, 1.0f);
}

static void gemm_forward(struct graph *g)
{
    g->run.c->ops->gemm(g->run.c, &g->run.a.gemm);
}

static void gemm_gradients(struct ops_context *c)
{
    enum { M = 37, N = 19, K = 34 };
    static const int64_t units[] = {0, 3, 3, M};
    struct graph g;
    graph_open(&g, c, gemm_forward);
    struct run *r = &g.run;
    float *x = run_input(r, M * K, 1.0f);
    run_weight(r, N, K, 1.0f);
    graph_outputs(&g, run_output(r, M * N), M * N);
    r->a.gemm = (struct gemm_args){.x = x, .ldx = K, .m = M, .w = &r->w, .n = N, .y = g.out,
                                   .ldy = N, .alpha = 0.5f};
    float *dx = run_output(r, M * K);
    float *dw = run_output(r, N * K);
    c->ops->gemm_dx(c, &(struct gemm_dx_args){.dy = g.r, .ldy = N, .m = M, .w = &r->w, .n = N,
                                              .dx = dx, .ldx = K, .alpha = 0.5f});
    c->ops->gemm_dw(c, &(struct gemm_dw_args){.dy = g.r, .ldy = N, .x = x, .ldx = K, .n = N,
                                              .k = K, .dw = dw, .alpha = 0.5f,
                                              .unit_begin = units, .units = 3});
    check(&g, "gemm_dx", x, dx, M * K);
    float *w = NULL;
    memcpy(&w, &r->w.data, sizeof w); /* the test owns what the tensor only views */
    check(&g, "gemm_dw", w, dw, N * K);
    kernel_run_close(r);
}

static void rmsnorm_forward(struct graph *g)
{
    g->run.c->ops->rmsnorm(g->run.c, &g->run.a.rmsnorm);
}

static void rmsnorm_gradients(struct ops_context *c)
{
    enum { M = 35, N = 20 };
    static const int64_t units[] = {0, 2, M};
    for (int plus_one = 0; plus_one < 2; plus_one++) {
        struct graph g;
        graph_open(&g, c, rmsnorm_forward);
        struct run *r = &g.run;
        float *x = run_input(r, M * N, 1.0f);
        float *w = run_input(r, N, 1.0f);
        float *rstd = run_output(r, M);
        graph_outputs(&g, run_output(r, M * N), M * N);
        r->a.rmsnorm = (struct rmsnorm_args){.x = x, .ldx = N, .y = g.out, .ldy = N, .w = w,
                                             .plus_one = plus_one, .eps = 1e-5f, .rstd = rstd,
                                             .rows = M, .cols = N};
        float *dx = run_output(r, M * N);
        float *dw = run_output(r, N);
        (void)loss(&g);
        memcpy(dx, g.r, M * N * sizeof *dx); /* in place, as ops.h allows */
        c->ops->rmsnorm_backward(
            c, &(struct rmsnorm_backward_args){.x = x, .ldx = N, .dy = dx, .ldy = N, .w = w,
                                               .plus_one = plus_one, .rstd = rstd, .dx = dx,
                                               .lddx = N, .dw = dw, .unit_begin = units,
                                               .units = 2, .rows = M, .cols = N});
        check(&g, "rmsnorm dx", x, dx, M * N);
        check(&g, "rmsnorm dw", w, dw, N);
        kernel_run_close(r);
    }
}

/* Rope works in place: the forward starts from a copy. */
static void rope_forward(struct graph *g)
{
    memcpy(g->out, g->run.x, (size_t)g->outputs * sizeof *g->out);
    g->run.c->ops->rope(g->run.c, &g->run.a.rope);
}

static void rope_gradients(struct ops_context *c)
{
    enum { M = 6, HEADS = 2, DIM = 12, N = HEADS * DIM };
    static const int32_t position[M] = {0, 3, 1, 4, 1, 2};
    struct graph g;
    graph_open(&g, c, rope_forward);
    struct run *r = &g.run;
    r->x = run_input(r, M * N, 1.0f);
    float *angle = run_input(r, 5 * DIM / 2, 2.0f);
    float *sine = run_input(r, 5 * DIM / 2, 1.0f);
    for (int i = 0; i < 5 * DIM / 2; i++) {
        sine[i] = sinf(angle[i]);
        angle[i] = cosf(angle[i]);
    }
    graph_outputs(&g, run_output(r, M * N), M * N);
    r->a.rope = (struct rope_args){.x = g.out, .ldx = N, .rows = M, .heads = HEADS,
                                   .head_dim = DIM, .dim = DIM, .cos = angle, .sin = sine,
                                   .position = position};
    float *dx = run_output(r, M * N);
    memcpy(dx, g.r, M * N * sizeof *dx);
    struct rope_args back = r->a.rope;
    back.x = dx;
    back.inverse = true;
    c->ops->rope(c, &back);
    check(&g, "rope", r->x, dx, M * N);
    kernel_run_close(r);
}

static void glu_forward(struct graph *g)
{
    g->run.c->ops->glu(g->run.c, &g->run.a.glu);
}

static void glu_gradients(struct ops_context *c)
{
    enum { N = 45 };
    for (int act = 0; act < 2; act++) {
        struct graph g;
        graph_open(&g, c, glu_forward);
        struct run *r = &g.run;
        float *gate = run_input(r, N, 2.0f);
        float *up = run_input(r, N, 1.0f);
        graph_outputs(&g, run_output(r, N), N);
        r->a.glu = (struct glu_args){.g = gate, .u = up, .h = g.out, .count = N,
                                     .act = (enum activation)act};
        float *dg = run_output(r, N);
        float *du = run_output(r, N);
        c->ops->glu_backward(c, &(struct glu_backward_args){.g = gate, .u = up, .dh = g.r,
                                                            .dg = dg, .du = du, .count = N,
                                                            .act = (enum activation)act});
        check(&g, act ? "gelu dg" : "silu dg", gate, dg, N);
        check(&g, "glu du", up, du, N);
        kernel_run_close(r);
    }
}

static void embed_forward(struct graph *g)
{
    g->run.c->ops->embed(g->run.c, &g->run.a.embed);
}

static void embed_gradients(struct ops_context *c)
{
    enum { M = 9, VOCAB = 4, N = 10 };
    static const int32_t ids[M] = {0, 3, 3, 1, 0, 3, 1, 1, 3};
    struct graph g;
    graph_open(&g, c, embed_forward);
    struct run *r = &g.run;
    run_weight(r, VOCAB, N, 1.0f);
    graph_outputs(&g, run_output(r, M * N), M * N);
    r->a.embed = (struct embed_args){.w = &r->w, .ids = ids, .rows = M, .scale = 3.0f, .y = g.out};
    float *dw = run_output(r, VOCAB * N);
    c->ops->embed_backward(c, &(struct embed_backward_args){.dy = g.r, .ids = ids, .rows = M,
                                                            .cols = N, .scale = 3.0f, .dw = dw});
    float *w = NULL;
    memcpy(&w, &r->w.data, sizeof w);
    check(&g, "embed_backward", w, dw, VOCAB * N);
    kernel_run_close(r);
}

enum { HEAD_ROWS = 3, HEAD_VOCAB = 75, HEAD_SPLIT = 40 };

/* out[t] = logp of the target, out[rows + t] = entropy, out[2 rows + t] = mean log p, in two chunks
 * of the vocabulary. */
static void head_forward(struct graph *g)
{
    struct logit_args a = g->run.a.logit;
    for (int t = 0; t < HEAD_ROWS; t++) {
        a.stats[t] = (struct logit_stats)LOGIT_STATS_INIT;
        a.sums[t] = 0.0f;
    }
    a.n = HEAD_SPLIT;
    g->run.c->ops->logit_stats(g->run.c, &a);
    a.logits += HEAD_SPLIT;
    a.first = HEAD_SPLIT;
    a.n = HEAD_VOCAB - HEAD_SPLIT;
    g->run.c->ops->logit_stats(g->run.c, &a);
    for (int t = 0; t < HEAD_ROWS; t++) {
        g->out[t] = a.stats[t].target - logit_stats_lse(&a.stats[t]);
        g->out[HEAD_ROWS + t] = logit_stats_entropy(&a.stats[t]);
        g->out[2 * HEAD_ROWS + t] = a.sums[t] / HEAD_VOCAB - logit_stats_lse(&a.stats[t]);
    }
}

static void head_gradients(struct ops_context *c)
{
    static const int32_t targets[HEAD_ROWS] = {2, 41, 74};
    for (int capped = 0; capped < 2; capped++) {
        struct graph g;
        graph_open(&g, c, head_forward);
        struct run *r = &g.run;
        float *logits = run_input(r, HEAD_ROWS * HEAD_VOCAB, 2.0f);
        struct logit_stats *stats = (struct logit_stats *)run_output(r, HEAD_ROWS * 6);
        graph_outputs(&g, run_output(r, 3 * HEAD_ROWS), 3 * HEAD_ROWS);
        r->a.logit = (struct logit_args){.logits = logits, .ld = HEAD_VOCAB, .rows = HEAD_ROWS,
                                         .targets = targets, .inv_temperature = 1.25f,
                                         .softcap = capped ? 5.0f : 0.0f, .stats = stats,
                                         .sums = run_output(r, HEAD_ROWS)};
        (void)loss(&g);
        float *d = run_output(r, HEAD_ROWS * HEAD_VOCAB);
        float *lse = run_output(r, HEAD_ROWS);
        float *entropy = run_output(r, HEAD_ROWS);
        memcpy(d, logits, HEAD_ROWS * HEAD_VOCAB * sizeof *d);
        for (int t = 0; t < HEAD_ROWS; t++) {
            lse[t] = logit_stats_lse(&stats[t]);
            entropy[t] = logit_stats_entropy(&stats[t]);
        }
        c->ops->logit_grad(
            c, &(struct logit_grad_args){.logits = d, .ld = HEAD_VOCAB, .rows = HEAD_ROWS,
                                         .n = HEAD_VOCAB, .targets = targets,
                                         .inv_temperature = 1.25f,
                                         .softcap = capped ? 5.0f : 0.0f, .lse = lse,
                                         .entropy = entropy, .dlogp = g.r,
                                         .dentropy = g.r + HEAD_ROWS,
                                         .dmean = g.r + 2 * HEAD_ROWS,
                                         .inv_vocab = 1.0f / HEAD_VOCAB});
        check(&g, "logit_grad", logits, d, HEAD_ROWS * HEAD_VOCAB);
        kernel_run_close(r);
    }
}

static void attention_forward(struct graph *g)
{
    g->run.c->ops->attention(g->run.c, &g->run.a.attention.fwd);
}

/* A prefix with two branches and a sequence of its own; key rows are not the query rows. */
static void attention_gradients(struct ops_context *c)
{
    enum { HEADS = 3, KV = 2, DIM = 12, T = 40 + 6 + 3 + 5, KEYS = T };
    static const struct {
        int64_t window;
        float softcap;
    } KINDS[] = {{0, 0.0f}, {7, 0.0f}, {0, 3.0f}};
    int32_t rows[4][48];
    for (int j = 0; j < 46; j++) {
        rows[0][j] = rows[1][j] = rows[2][j] = T - 1 - j;
        rows[2][j] = j < 40 ? T - 1 - j : T - 1 - (j + 6);
        rows[3][j] = T - 1 - (49 + j % 5);
    }
    const struct attn_seq seqs[] = {
        {0, 40, 0, rows[0], 0}, {40, 6, 40, rows[1], 0}, {46, 3, 40, rows[2], 0},
        {49, 5, 0, rows[3], 1}};
    for (size_t i = 0; i < sizeof KINDS / sizeof KINDS[0]; i++) {
        struct graph g;
        graph_open(&g, c, attention_forward);
        struct run *r = &g.run;
        float *q = run_input(r, T * HEADS * DIM, 1.0f);
        float *k = run_input(r, KEYS * KV * DIM, 1.0f);
        float *v = run_input(r, KEYS * KV * DIM, 1.0f);
        float *lse = run_output(r, T * HEADS);
        graph_outputs(&g, run_output(r, T * HEADS * DIM), T * HEADS * DIM);
        struct attn_backward_args *b = &r->a.attention;
        *b = (struct attn_backward_args){
            .fwd = {.q = q, .ldq = HEADS * DIM, .k = k, .v = v, .ldkv = KV * DIM, .out = g.out,
                    .ldo = HEADS * DIM, .lse = lse, .seqs = seqs, .n_seq = 4, .heads = HEADS,
                    .kv_heads = KV, .head_dim = DIM, .scale = 0.3f, .window = KINDS[i].window,
                    .softcap = KINDS[i].softcap},
            .dout = g.r};
        b->dq = run_input(r, T * HEADS * DIM, 1.0f);
        b->dk = memset(run_input(r, KEYS * KV * DIM, 1.0f), 0, KEYS * KV * DIM * sizeof(float));
        b->dv = memset(run_input(r, KEYS * KV * DIM, 1.0f), 0, KEYS * KV * DIM * sizeof(float));
        (void)loss(&g);
        c->ops->attention_backward(c, b);
        check(&g, "attention dq", q, b->dq, T * HEADS * DIM);
        check(&g, "attention dk", k, b->dk, KEYS * KV * DIM);
        check(&g, "attention dv", v, b->dv, KEYS * KV * DIM);
        kernel_run_close(r);
    }
}

static const struct {
    const char *name;
    void (*run)(struct ops_context *c);
} GRADIENTS[] = {
    {"gemm", gemm_gradients},   {"rmsnorm", rmsnorm_gradients}, {"rope", rope_gradients},
    {"glu", glu_gradients},     {"embed", embed_gradients},     {"head", head_gradients},
    {"attention", attention_gradients},
};
enum { GRADIENT_COUNT = (int)(sizeof GRADIENTS / sizeof GRADIENTS[0]), TIER_TESTS = 3 };

struct pick {
    int gradient;
    enum cpu_tier tier;
};

static void matches_differences(void **state)
{
    const struct pick *pick = *state;
    const struct ops_options options = {.threads = 2};
    struct ops_context c;
    case_open_or_skip(&c, pick->tier, &options);
    GRADIENTS[pick->gradient].run(&c);
    ops_context_close(&c);
}

int main(void)
{
    enum { COUNT = GRADIENT_COUNT * TIER_TESTS };
    struct pick picks[COUNT];
    char names[COUNT][64];
    struct CMUnitTest tests[COUNT];
    for (int i = 0; i < COUNT; i++) {
        picks[i] = (struct pick){i / TIER_TESTS, (enum cpu_tier)(i % TIER_TESTS)};
        (void)snprintf(names[i], sizeof names[i], "%s on %s", GRADIENTS[picks[i].gradient].name,
                       cpu_tier_name(picks[i].tier));
        tests[i] = (struct CMUnitTest){names[i], matches_differences, NULL, NULL, &picks[i]};
    }
    return _cmocka_run_group_tests("ops gradients", tests, COUNT, NULL, NULL);
}
