/*
 * Gradients of whole models by central differences, and the equalities that backward must keep:
 * checkpointing, micro-batches and skipped blocks change no bit; and both ways of the head agree.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/tiny_model.h"

/* Central differences of an fp32 loss of size 10 to 100 leave about 2e-4. */
static const double MOST_ERROR = 1e-3;

enum { PROMPT = 7, BRANCH = 12, LONG_BRANCH = 290 };

/* Two units: a tree of a prompt with two branches (the second with masked tokens) and a plain
 * sequence. */
struct trees {
    int32_t ids[PROMPT + 3 * BRANCH + LONG_BRANCH];
    uint8_t mask[BRANCH];
    struct pack_branch branch[4];
    struct pack_unit unit[3];
};

static void make_trees(struct trees *w, struct tiny *t)
{
    tiny_ids(t, w->ids, sizeof w->ids / sizeof w->ids[0]);
    for (int i = 0; i < BRANCH; i++) {
        w->mask[i] = i % 3 != 1;
    }
    const int32_t *at = w->ids + PROMPT;
    w->branch[0] = (struct pack_branch){.ids = at, .count = BRANCH};
    w->branch[1] = (struct pack_branch){.ids = at + BRANCH, .count = BRANCH, .loss = w->mask};
    w->branch[2] = (struct pack_branch){.ids = at + 2 * BRANCH, .count = BRANCH};
    w->branch[3] = (struct pack_branch){.ids = at + 3 * BRANCH, .count = LONG_BRANCH};
    w->unit[0] = (struct pack_unit){
        .prompt = w->ids, .prompt_count = PROMPT, .branches = w->branch, .branch_count = 2};
    w->unit[1] = (struct pack_unit){.branches = w->branch + 2, .branch_count = 1};
    w->unit[2] = (struct pack_unit){.branches = w->branch + 3, .branch_count = 1};
}

static void open_ops(struct ops_context *ops)
{
    tiny_need(ops_context_open(ops, &(struct ops_options){.threads = 2}));
}

static double norm_of(const float *x, int64_t n)
{
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        sum += (double)x[i] * (double)x[i];
    }
    return sqrt(sum);
}

/* Moves x by +-step along `direction`, and returns (loss(+) - loss(-)) / (2 step). */
static double slope(struct tiny_run *r, struct tiny *t, float *x, const float *direction,
                    int64_t n, float step)
{
    float *keep = malloc((size_t)n * sizeof *keep);
    double loss[2];
    assert_non_null(keep);
    memcpy(keep, x, (size_t)n * sizeof *keep);
    for (int side = 0; side < 2; side++) {
        for (int64_t i = 0; i < n; i++) {
            x[i] = keep[i] + (side ? -step : step) * direction[i];
        }
        tiny_run_forward(r, t);
        loss[side] = tiny_run_loss(r);
    }
    memcpy(x, keep, (size_t)n * sizeof *keep);
    free(keep);
    return (loss[0] - loss[1]) / (2.0 * (double)step);
}

/* |slope - inner product| along the gradient's direction plus a random one, in units of the
 * gradient's norm. Two steps, so that the cubic error cancels (Richardson). */
static double gradient_error(struct tiny_run *r, struct tiny *t, float *x, const float *g,
                             int64_t n)
{
    float *direction = malloc((size_t)n * sizeof *direction);
    const double norm = norm_of(g, n);
    double inner = 0.0;
    assert_non_null(direction);
    tiny_fill(t, direction, n, 1.0f);
    const double length = norm_of(direction, n);
    for (int64_t i = 0; i < n; i++) {
        const double along = norm > 0.0 ? (double)g[i] / norm : 0.0;
        direction[i] = (float)(along + (double)direction[i] / length);
        inner += (double)direction[i] * (double)g[i];
    }
    const double step = fmin(0.02, 0.15 / fmax(norm, 1e-3));
    const double whole = slope(r, t, x, direction, n, (float)step);
    const double half = slope(r, t, x, direction, n, (float)(0.5 * step));
    free(direction);
    return fabs((4.0 * half - whole) / 3.0 - inner) / fmax(norm, 0.05);
}

static double check_params(struct tiny_run *r, struct tiny *t, const char *what)
{
    double worst = 0.0;
    tiny_run_forward(r, t);
    tiny_run_backward(r, t, NULL);
    r->pass.grad = false;
    for (int64_t i = 0; i < t->params.count; i++) {
        const struct param *p = &t->params.params[i];
        const double error =
            gradient_error(r, t, param_value(&t->params, i), param_grad(&t->params, i), p->count);
        if (!(error < MOST_ERROR)) {
            fail_msg("%s: gradient of %s is off by %.2e of its norm %.3e", what, p->name, error,
                     norm_of(param_grad(&t->params, i), p->count));
        }
        worst = fmax(worst, error);
    }
    return worst;
}

static void check_config(const struct tiny_config *c, bool full, int flags)
{
    struct tiny t;
    struct tiny_run r;
    struct trees w;
    struct ops_context ops;
    open_ops(&ops);
    tiny_open(&t, c);
    if (full) {
        tiny_attach_full(&t);
    } else {
        tiny_attach_lora(&t, 0);
    }
    make_trees(&w, &t);
    tiny_run_open(&r, &t, &ops, w.unit, 2, TINY_GRAD | flags);
    const double worst = check_params(&r, &t, c->name);
    print_message("  %-16s %s: worst of %lld tensors %.1e\n", c->name, full ? "full" : "LoRA",
                  (long long)t.params.count, worst);
    tiny_run_close(&r);
    tiny_close(&t);
    ops_context_close(&ops);
}

static void lora_gradients_agree_with_differences(void **state)
{
    (void)state;
    for (int i = 0; TINY_CONFIGS[i].name; i++) {
        check_config(&TINY_CONFIGS[i], false, 0);
        check_config(&TINY_CONFIGS[i], false, TINY_NO_ENTROPY);
    }
}

static void full_gradients_agree_with_differences(void **state)
{
    (void)state;
    for (int i = 0; TINY_CONFIGS[i].name; i++) {
        check_config(&TINY_CONFIGS[i], true, 0);
    }
}

/* Soft embeddings: every row overridden, so d_embed is the gradient of the override. */
static void d_embed_agrees_with_differences(void **state)
{
    (void)state;
    for (int i = 0; TINY_CONFIGS[i].name; i++) {
        struct tiny t;
        struct tiny_run r;
        struct trees w;
        struct ops_context ops;
        open_ops(&ops);
        tiny_open(&t, &TINY_CONFIGS[i]);
        make_trees(&w, &t);
        tiny_run_open(&r, &t, &ops, w.unit, 2, TINY_GRAD | TINY_NO_HOOKS);
        const int64_t n = r.batch.tokens * t.m->config.hidden;
        float *x = malloc((size_t)n * sizeof *x);
        float *d = malloc((size_t)n * sizeof *d);
        uint8_t *all = malloc((size_t)r.batch.tokens);
        assert_true(x && d && all);
        memset(all, 1, (size_t)r.batch.tokens);
        tiny_fill(&t, x, n, 1.0f);
        r.batch.embeddings = x;
        r.batch.override = all;
        tiny_run_forward(&r, &t);
        tiny_run_backward(&r, &t, d);
        r.pass.grad = false;
        const double error = gradient_error(&r, &t, x, d, n);
        print_message("  %-16s d_embed %.1e\n", TINY_CONFIGS[i].name, error);
        assert_true(error < MOST_ERROR);
        free(x);
        free(d);
        free(all);
        tiny_run_close(&r);
        tiny_close(&t);
        ops_context_close(&ops);
    }
}

/* Gradients of one configuration after the given micro-batches of the same three units. */
struct outcome {
    float *grad;
    float *d_embed;
    int64_t params;
    int64_t rows;
};

static struct outcome gradients(const struct tiny_config *c, bool full, int flags, int64_t split)
{
    struct tiny t;
    struct tiny_run r;
    struct trees w;
    struct ops_context ops;
    struct outcome out = {0};
    open_ops(&ops);
    tiny_open(&t, c);
    if (full) {
        tiny_attach_full(&t);
    } else {
        tiny_attach_lora(&t, 0);
    }
    make_trees(&w, &t);
    float *weights = malloc(2048 * sizeof *weights); /* dlogp, then dentropy, of all outputs */
    assert_non_null(weights);
    tiny_fill(&t, weights, 2048, 1.0f);
    int64_t done = 0;
    for (int64_t first = 0; first < 3;) {
        const int64_t count = first == 0 && split > 0 ? split : 3 - first;
        tiny_run_open(&r, &t, &ops, w.unit + first, count, flags | TINY_GRAD);
        memcpy(r.dlogp, weights + done, (size_t)r.batch.n_out * sizeof(float));
        if (r.dentropy) {
            memcpy(r.dentropy, weights + 1024 + done, (size_t)r.batch.n_out * sizeof(float));
        }
        out.rows = r.batch.tokens * t.m->config.hidden;
        free(out.d_embed);
        out.d_embed = malloc((size_t)out.rows * sizeof(float));
        assert_non_null(out.d_embed);
        tiny_run_forward(&r, &t);
        tiny_run_backward(&r, &t, out.d_embed);
        done += r.batch.n_out;
        first += count;
        tiny_run_close(&r);
    }
    assert_true(done > 256); /* more than one tile of the head */
    out.params = t.params.total;
    out.grad = malloc((size_t)out.params * sizeof(float));
    assert_non_null(out.grad);
    memcpy(out.grad, t.params.grad, (size_t)out.params * sizeof(float));
    free(weights);
    tiny_close(&t);
    ops_context_close(&ops);
    return out;
}

static void free_outcome(struct outcome *o)
{
    free(o->grad);
    free(o->d_embed);
}

static void checkpointing_changes_no_bit(void **state)
{
    (void)state;
    for (int i = 0; TINY_CONFIGS[i].name; i++) {
        for (int full = 0; full < 2; full++) {
            const int flags = i % 2 ? TINY_NO_ENTROPY : 0;
            struct outcome plain = gradients(&TINY_CONFIGS[i], full, flags, 0);
            struct outcome saved = gradients(&TINY_CONFIGS[i], full, flags | TINY_CHECKPOINT, 0);
            tiny_same_bits(TINY_CONFIGS[i].name, plain.grad, saved.grad, plain.params);
            tiny_same_bits("d_embed", plain.d_embed, saved.d_embed, plain.rows);
            const int some_flags = flags | TINY_CHECKPOINT_SOME;
            struct outcome some = gradients(&TINY_CONFIGS[i], full, some_flags, 0);
            tiny_same_bits(TINY_CONFIGS[i].name, plain.grad, some.grad, plain.params);
            tiny_same_bits("d_embed", plain.d_embed, some.d_embed, plain.rows);
            free_outcome(&plain);
            free_outcome(&saved);
            free_outcome(&some);
        }
    }
}

/* Units one after the other in several micro-batches: the same sums in the same order. A tied
 * embedding adds the head's part and its own once per micro-batch, so it is left out. */
static void micro_batches_change_no_bit(void **state)
{
    (void)state;
    for (int i = 0; TINY_CONFIGS[i].name; i++) {
        const bool tied = i == 2 || i >= 4;
        for (int full = 0; full < 2 - tied; full++) {
            const int flags = i % 2 ? 0 : TINY_NO_ENTROPY;
            struct outcome one = gradients(&TINY_CONFIGS[i], full, flags, 0);
            for (int64_t split = 1; split < 3; split++) {
                struct outcome two = gradients(&TINY_CONFIGS[i], full, flags, split);
                tiny_same_bits(TINY_CONFIGS[i].name, one.grad, two.grad, one.params);
                free_outcome(&two);
            }
            free_outcome(&one);
        }
    }
}

/* Adapters in the upper layer alone: the backward stops there, and the gradient is the same as when
 * it goes on to the embedding. */
static void stopping_early_changes_no_bit(void **state)
{
    (void)state;
    struct tiny t;
    struct tiny_run r;
    struct trees w;
    struct ops_context ops;
    open_ops(&ops);
    tiny_open(&t, &TINY_CONFIGS[3]);
    tiny_attach_lora(&t, 1);
    make_trees(&w, &t);
    tiny_run_open(&r, &t, &ops, w.unit, 3, TINY_GRAD);
    const int64_t rows = r.batch.tokens * t.m->config.hidden;
    const size_t bytes = (size_t)t.params.total * sizeof(float);
    float *stopped = malloc(bytes);
    float *d_embed = malloc((size_t)rows * sizeof *d_embed);
    assert_true(stopped && d_embed);
    tiny_run_forward(&r, &t);
    tiny_run_backward(&r, &t, NULL);
    memcpy(stopped, t.params.grad, bytes);
    assert_true(norm_of(stopped, t.params.total) > 0.0);
    memset(t.params.grad, 0, bytes);
    tiny_run_forward(&r, &t);
    tiny_run_backward(&r, &t, d_embed);
    tiny_same_bits("gradient", stopped, t.params.grad, t.params.total);
    free(stopped);
    free(d_embed);
    tiny_run_close(&r);
    tiny_close(&t);
    ops_context_close(&ops);
}

/* |a - b| / |b| of the gradients of one configuration with the head's backward done in its forward
 * (no entropies) and with logits computed again (entropies of no weight). */
static double head_ways_differ(const struct tiny_config *c, enum compute compute)
{
    struct tiny t;
    struct tiny_run r;
    struct trees w;
    struct ops_context ops;
    tiny_need(ops_context_open(&ops, &(struct ops_options){.threads = 2, .compute = compute}));
    tiny_open(&t, c);
    tiny_attach_lora(&t, 0);
    make_trees(&w, &t);
    tiny_run_open(&r, &t, &ops, w.unit, 3, TINY_GRAD);
    const size_t bytes = (size_t)t.params.total * sizeof(float);
    float *once = malloc(bytes);
    assert_non_null(once);
    float *zeros = r.dentropy;
    r.dentropy = NULL;
    memset(zeros, 0, (size_t)r.batch.n_out * sizeof *zeros);
    tiny_run_forward(&r, &t);
    assert_non_null(r.head.slope);
    tiny_run_backward(&r, &t, NULL);
    memcpy(once, t.params.grad, bytes);
    memset(t.params.grad, 0, bytes);
    r.dentropy = zeros;
    tiny_run_forward(&r, &t);
    tiny_run_backward(&r, &t, NULL);
    for (int64_t i = 0; i < t.params.total; i++) {
        once[i] -= t.params.grad[i];
    }
    const double error = norm_of(once, t.params.total) / norm_of(t.params.grad, t.params.total);
    free(once);
    tiny_run_close(&r);
    tiny_close(&t);
    ops_context_close(&ops);
    return error;
}

static void both_ways_of_the_head_agree(void **state)
{
    (void)state;
    for (int i = 0; TINY_CONFIGS[i].name; i++) {
        const double exact = head_ways_differ(&TINY_CONFIGS[i], COMPUTE_F32);
        const double rounded = head_ways_differ(&TINY_CONFIGS[i], COMPUTE_BF16);
        print_message("  %-16s float32 %.1e, bfloat16 %.1e\n", TINY_CONFIGS[i].name, exact,
                      rounded);
        assert_true(exact < 1e-5);
        assert_true(rounded > 0.0 && rounded < 0.01);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lora_gradients_agree_with_differences),
        cmocka_unit_test(full_gradients_agree_with_differences),
        cmocka_unit_test(d_embed_agrees_with_differences),
        cmocka_unit_test(checkpointing_changes_no_bit),
        cmocka_unit_test(micro_batches_change_no_bit),
        cmocka_unit_test(stopping_early_changes_no_bit),
        cmocka_unit_test(both_ways_of_the_head_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
