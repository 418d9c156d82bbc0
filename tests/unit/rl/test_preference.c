/*
 * DPO and KTO over a tiny model, without golden data: gradients are the losses' derivatives (the
 * divergence held still), evaluation says what training says of the same rows, micro-batches show
 * in no bit, rows without a prompt have one prediction less, the reference moves when it is time.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "rl/dpo.h"
#include "rl/kto.h"
#include "tests/support/tiny_model.h"
#include "trainer/format/json.h"

enum { ROWS = 5, TOKENS = 9 };

struct bench {
    struct tiny t;
    struct ops_context ops;
    struct comm comm;
    int32_t ids[ROWS][TOKENS];
    struct unpaired rows[ROWS];
    struct pair pairs[ROWS];
    struct unpaired_set set;
    struct pair_set pair_set;
    struct kto_method_config kto;
    struct dpo_method_config dpo;
};

static void bench_open(struct bench *b)
{
    const struct ops_options options = {.threads = 1, .compute = COMPUTE_F32};
    const struct sft_plan plan = {.rows = ROWS, .world = 1, .per_device = 2, .accumulation = 3};
    *b = (struct bench){0};
    tiny_open(&b->t, TINY_CONFIGS);
    tiny_attach_lora(&b->t, 0);
    tiny_need(ops_context_open(&b->ops, &options));
    tiny_need(comm_open(&b->comm));
    for (int i = 0; i < ROWS; i++) {
        const int64_t prompt = i == 3 ? 0 : 2 + i % 2; /* one row has none */
        tiny_ids(&b->t, b->ids[i], TOKENS);
        b->rows[i] = (struct unpaired){b->ids[i], prompt, TOKENS - prompt - i % 3, i % 3 != 1};
        b->pairs[i] = (struct pair){b->ids[i], prompt, 3, TOKENS - prompt - 3 - i % 2};
    }
    b->set = (struct unpaired_set){.items = b->rows, .count = ROWS, .max_length = TOKENS - 1};
    b->pair_set = (struct pair_set){.items = b->pairs, .count = ROWS};
    b->kto = (struct kto_method_config){
        .plan = plan,
        .loss = {.loss = KTO_KTO, .beta = 0.4, .desirable_weight = 1.2, .undesirable_weight = 0.9},
        .micro_batch_tokens = 1000,
        .eval_batch = 2,
    };
    b->dpo = (struct dpo_method_config){
        .plan = plan,
        .loss = {.losses = {DPO_IPO, DPO_SFT, DPO_AOT}, .weights = {0.3, 0.2, 1.0}, .count = 3,
                 .beta = 0.4, .ld_alpha = 0.5},
        .micro_batch_tokens = 1000,
        .eval_batch = 2,
    };
}

static void bench_close(struct bench *b)
{
    comm_close(&b->comm);
    ops_context_close(&b->ops);
    tiny_close(&b->t);
}

/* One method of either kind over the bench's rows, which are held out too. */
struct opened {
    struct kto *kto;
    struct dpo *dpo;
    struct kto_env kto_env;
    struct dpo_env dpo_env;
    struct train_method m;
};

static void method_open(struct opened *o, struct bench *b, bool kto)
{
    *o = (struct opened){0};
    o->kto_env = (struct kto_env){b->t.m, &b->ops, &b->comm, &b->set, &b->set};
    o->dpo_env = (struct dpo_env){b->t.m, &b->ops, &b->comm, &b->pair_set, &b->pair_set};
    if (kto) {
        tiny_need(kto_open(&o->kto, &b->kto, &o->kto_env));
        o->m = kto_method(o->kto);
    } else {
        tiny_need(dpo_open(&o->dpo, &b->dpo, &o->dpo_env));
        o->m = dpo_method(o->dpo);
    }
}

static void method_close(struct opened *o)
{
    kto_close(o->kto);
    dpo_close(o->dpo);
}

/* Totals of step 0, its gradient in params.grad; rows run in one shard. */
static void run_step(struct opened *o, struct bench *b, bool prepare, double *totals)
{
    static const int64_t ALL[ROWS] = {0, 1, 2, 3, 4};
    static double sums[ROWS * TRAIN_MAX_METRICS];
    struct train_units units;
    if (prepare) {
        tiny_need(o->m.prepare(o->m.ctx, 0, &units));
        assert_int_equal(units.count, ROWS);
    }
    memset(b->t.params.grad, 0, (size_t)b->t.params.total * sizeof(float));
    tiny_need(o->m.run(o->m.ctx, ALL, ROWS, sums));
    memset(totals, 0, TRAIN_MAX_METRICS * sizeof *totals);
    for (int i = 0; i < ROWS * o->m.metrics; i++) {
        totals[i % o->m.metrics] += sums[i];
    }
}

/* Directional derivative along the gradient, by central differences. */
static void gradients_are_derivatives(void **state)
{
    (void)state;
    for (int kto = 0; kto < 2; kto++) {
        struct bench b;
        struct opened o;
        double totals[TRAIN_MAX_METRICS];
        double loss[2];
        double square = 0.0;
        bench_open(&b);
        method_open(&o, &b, kto);
        run_step(&o, &b, true, totals);
        const int64_t n = b.t.params.total;
        float *start = malloc((size_t)n * sizeof *start);
        float *grad = malloc((size_t)n * sizeof *grad);
        assert_true(start && grad);
        memcpy(start, b.t.params.value, (size_t)n * sizeof *start);
        memcpy(grad, b.t.params.grad, (size_t)n * sizeof *grad);
        for (int64_t i = 0; i < n; i++) {
            square += (double)grad[i] * (double)grad[i];
        }
        assert_true(square > 1e-6);
        const double h = 2e-3 / sqrt(square);
        for (int k = 0; k < 2; k++) {
            for (int64_t i = 0; i < n; i++) {
                b.t.params.value[i] = start[i] + (float)(k ? -h : h) * grad[i];
            }
            /* The divergence and aot's partners are constants of the gradient. */
            run_step(&o, &b, false, totals);
            loss[k] = totals[0];
        }
        const double slope = (loss[0] - loss[1]) / (2.0 * h);
        if (fabs(slope - square) > 0.02 * square) {
            fail_msg("%s: derivative %g, gradient squared %g", o.m.name, slope, square);
        }
        free(start);
        free(grad);
        method_close(&o);
        bench_close(&b);
    }
}

static double field(const json_t *line, const char *prefix, const char *key)
{
    char name[64];
    (void)snprintf(name, sizeof name, "%s%s", prefix, key);
    const json_t *value = json_object_get(line, name);
    if (!json_is_number(value)) {
        fail_msg("%s is missing", name);
    }
    return json_number_value(value);
}

/* The step is all rows once, in micro-steps of two as the evaluation's batches. */
static void evaluation_says_what_training_says(void **state)
{
    (void)state;
    static const char *const KEYS[] = {"rewards/chosen", "rewards/rejected", "rewards/margins",
                                       "logps/chosen", "logps/rejected", "logits/chosen",
                                       "logits/rejected", "entropy"};
    for (int kto = 0; kto < 2; kto++) {
        struct bench b;
        struct opened o;
        double totals[TRAIN_MAX_METRICS];
        json_t *line = json_object();
        bench_open(&b);
        method_open(&o, &b, kto);
        run_step(&o, &b, true, totals);
        tiny_need(o.m.log(o.m.ctx, totals, line));
        tiny_need(o.m.evaluate(o.m.ctx, 1, line));
        for (size_t i = 0; i < sizeof KEYS / sizeof *KEYS; i++) {
            const double a = field(line, "", KEYS[i]);
            const double e = field(line, "eval_", KEYS[i]);
            if (!(fabs(a - e) <= 1e-6 * fabs(a))) {
                fail_msg("%s %s: %.9g, evaluation %.9g", o.m.name, KEYS[i], a, e);
            }
        }
        if (kto) {
            assert_true(fabs(field(line, "", "kl") - field(line, "eval_", "kl")) < 1e-9);
        }
        /* The loss is weighted by rows there and by micro-steps here: batches of 2, 2, 1. */
        assert_true(isfinite(field(line, "", "eval_loss")));
        json_decref(line);
        method_close(&o);
        bench_close(&b);
    }
}

static void micro_batches_do_not_show(void **state)
{
    (void)state;
    for (int kto = 0; kto < 2; kto++) {
        struct bench b;
        double totals[2][TRAIN_MAX_METRICS];
        bench_open(&b);
        float *grad = malloc((size_t)b.t.params.total * sizeof *grad);
        assert_non_null(grad);
        for (int k = 0; k < 4; k++) {
            struct opened o;
            b.kto.micro_batch_tokens = b.dpo.micro_batch_tokens = k % 2 ? 1 : 1000;
            b.kto.precompute = b.dpo.precompute = k >= 2;
            method_open(&o, &b, kto);
            run_step(&o, &b, true, totals[k > 0]);
            if (k == 0) {
                memcpy(grad, b.t.params.grad, (size_t)b.t.params.total * sizeof *grad);
            } else {
                tiny_same_bits(o.m.name, b.t.params.grad, grad, b.t.params.total);
                assert_memory_equal(totals[0], totals[1], sizeof *totals);
            }
            method_close(&o);
        }
        free(grad);
        bench_close(&b);
    }
}

static void sides_may_be_missing(void **state)
{
    (void)state;
    struct bench b;
    struct opened o;
    double totals[TRAIN_MAX_METRICS];
    json_t *line = json_object();
    bench_open(&b);
    for (int i = 0; i < ROWS; i++) {
        b.rows[i].desirable = true;
    }
    method_open(&o, &b, true);
    run_step(&o, &b, true, totals);
    tiny_need(o.m.log(o.m.ctx, totals, line));
    assert_non_null(json_object_get(line, "rewards/chosen"));
    assert_null(json_object_get(line, "rewards/rejected"));
    assert_null(json_object_get(line, "rewards/margins"));
    assert_null(json_object_get(line, "logits/rejected"));
    json_decref(line);
    method_close(&o);
    bench_close(&b);
}

static void settings_are_refused(void **state)
{
    (void)state;
    struct bench b;
    struct kto *k;
    bench_open(&b);
    const struct unpaired_set none = {.dropped = 3};
    const struct kto_env empty = {b.t.m, &b.ops, &b.comm, &none, NULL};
    const struct kto_env env = {b.t.m, &b.ops, &b.comm, &b.set, NULL};
    assert_int_equal(kto_open(&k, &b.kto, &empty), STATUS_RECIPE);
    assert_non_null(strstr(status_message(), "3 dropped"));
    status_clear();
    b.kto.plan.per_device = 1;
    assert_int_equal(kto_open(&k, &b.kto, &env), STATUS_RECIPE);
    status_clear();
    b.kto.plan.per_device = 2;
    b.kto.plan.shuffle = true;
    assert_int_equal(kto_open(&k, &b.kto, &env), STATUS_RECIPE);
    status_clear();
    b.kto.loss.loss = KTO_APO_ZERO_UNPAIRED; /* it needs no divergence */
    tiny_need(kto_open(&k, &b.kto, &env));
    kto_close(k);
    kto_close(NULL);
    dpo_close(NULL);
    bench_close(&b);
}

static void the_reference_moves_on_time(void **state)
{
    (void)state;
    float value[2] = {1.0f, 2.0f};
    float copy[2] = {0.0f, 0.0f};
    const struct param_set params = {.total = 2, .value = value};
    struct model_reference reference = {.params = &params, .values = copy};
    struct ref_sync s = {.reference = &reference, .every = 3, .alpha = 0.5};
    json_t *saved = json_object();
    ref_sync_step(&s, 0);
    ref_sync_step(&s, 2);
    assert_true(copy[0] == 0.0f);
    ref_sync_step(&s, 3);
    assert_true(copy[0] == 0.5f && copy[1] == 1.0f);
    ref_sync_step(&s, 3); /* once: an evaluation and the next step both ask */
    assert_true(copy[0] == 0.5f);
    ref_sync_save(&s, 4, saved);
    assert_int_equal(json_get_int(saved, "reference_step", 0), 4);
    assert_int_equal(json_get_int(saved, "reference_moved", 0), 3);
    struct ref_sync still = {.reference = &reference};
    ref_sync_step(&still, 3);
    assert_true(copy[0] == 0.5f);
    tiny_need(ref_sync_load(&still, saved));
    s.output_dir = "/nonexistent";
    assert_int_equal(ref_sync_load(&s, saved), STATUS_INPUT);
    status_clear();
    json_decref(saved);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_are_derivatives),
        cmocka_unit_test(evaluation_says_what_training_says),
        cmocka_unit_test(micro_batches_do_not_show),
        cmocka_unit_test(sides_may_be_missing),
        cmocka_unit_test(settings_are_refused),
        cmocka_unit_test(the_reference_moves_on_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
