/*
 * The reference of full training: what it says stays while the policy moves, the policy is itself
 * again afterwards, mixing moves it, a checkpoint keeps it; the derivative in the entropies reaches
 * the weights.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/model_files.h"
#include "tests/support/tiny_model.h"
#include "trainer/model/unit_pass.h"

enum { TOKENS = 9, OUTPUTS = TOKENS - 1 };

struct seen {
    float logp[OUTPUTS];
    float entropy[OUTPUTS];
    float ref[OUTPUTS];
    bool have_ref;
    float up; /* derivative in every entropy */
};

static void keep(void *ctx, const struct unit_outputs *out)
{
    struct seen *s = ctx;
    assert_int_equal(out->batch->n_out, OUTPUTS);
    memcpy(s->logp, out->head->logp, sizeof s->logp);
    memcpy(s->entropy, out->head->entropy, sizeof s->entropy);
    s->have_ref = out->ref != NULL;
    if (out->ref) {
        memcpy(s->ref, out->ref, sizeof s->ref);
    }
    for (int i = 0; i < OUTPUTS; i++) {
        if (out->dlogp) {
            out->dlogp[i] = 0.0f;
        }
        if (out->dentropy) {
            out->dentropy[i] = s->up;
        }
    }
}

struct bench {
    struct tiny t;
    struct ops_context ops;
    struct unit_pass pass;
    int32_t ids[TOKENS];
    struct pack_branch branch;
    struct pack_unit unit;
};

static void bench_open(struct bench *b, const struct tiny_config *c)
{
    const struct ops_options options = {.threads = 1, .compute = COMPUTE_F32};
    *b = (struct bench){0};
    tiny_open(&b->t, c);
    tiny_attach_full(&b->t);
    tiny_need(ops_context_open(&b->ops, &options));
    tiny_ids(&b->t, b->ids, TOKENS);
    b->branch = (struct pack_branch){.ids = b->ids, .count = TOKENS};
    b->unit = (struct pack_unit){.branches = &b->branch, .branch_count = 1};
    b->pass = (struct unit_pass){.model = b->t.m, .ops = &b->ops, .temperature = 1.0f,
                                 .hooks = true};
}

static void bench_close(struct bench *b)
{
    unit_pass_close(&b->pass);
    ops_context_close(&b->ops);
    tiny_close(&b->t);
}

static void run(struct bench *b, struct seen *s)
{
    tiny_need(unit_pass_run(&b->pass, &b->unit, 1, keep, s));
}

static void the_reference_stays(void **state)
{
    (void)state;
    for (const struct tiny_config *c = TINY_CONFIGS; c->name; c++) {
        struct bench b;
        struct model_reference reference;
        struct seen first = {0};
        struct seen later = {0};
        struct seen alone = {0};
        struct seen again = {0};
        bench_open(&b, c);
        run(&b, &first);
        assert_false(first.have_ref);
        tiny_need(model_reference_open(&reference, b.t.m, &b.t.params));
        b.pass.reference = true;
        b.pass.full = &reference;
        for (int64_t i = 0; i < b.t.params.total; i++) {
            b.t.params.value[i] *= 1.25f;
        }
        run(&b, &later);
        assert_true(later.have_ref);
        tiny_same_bits(c->name, later.ref, first.logp, OUTPUTS);
        assert_true(memcmp(later.logp, first.logp, sizeof first.logp) != 0);
        tiny_need(unit_pass_reference(&b.pass, &b.unit, 1, keep, &alone));
        tiny_same_bits(c->name, alone.logp, first.logp, OUTPUTS);
        tiny_same_bits(c->name, alone.entropy, first.entropy, OUTPUTS);
        model_reference_mix(&reference, 1.0); /* all the way to the policy */
        run(&b, &again);
        tiny_same_bits(c->name, again.logp, later.logp, OUTPUTS);
        tiny_same_bits(c->name, again.ref, later.logp, OUTPUTS);
        model_reference_close(&reference);
        bench_close(&b);
    }
}

static void mixing_is_linear(void **state)
{
    (void)state;
    struct bench b;
    struct model_reference reference;
    bench_open(&b, TINY_CONFIGS);
    const float start = b.t.params.value[0];
    tiny_need(model_reference_open(&reference, b.t.m, &b.t.params));
    b.t.params.value[0] = start + 1.0f;
    model_reference_mix(&reference, 0.25);
    assert_true(fabsf(reference.values[0] - (start + 0.25f)) < 1e-6f);
    model_reference_mix(&reference, 0.5);
    assert_true(fabsf(reference.values[0] - (start + 0.625f)) < 1e-6f);
    model_reference_close(&reference);
    bench_close(&b);
}

/* A checkpoint's copy comes back; other files are refused. */
static void the_copy_is_saved(void **state)
{
    (void)state;
    struct bench b;
    struct model_reference reference;
    struct model_files files;
    char path[MODEL_FILES_PATH];
    bench_open(&b, TINY_CONFIGS);
    model_files_make(&files);
    tiny_need(model_reference_open(&reference, b.t.m, &b.t.params));
    const size_t bytes = (size_t)b.t.params.total * sizeof(float);
    float *kept = malloc(bytes);
    assert_non_null(kept);
    memcpy(kept, reference.values, bytes);
    assert_int_equal(model_reference_load(&reference, files.folder), STATUS_INPUT);
    status_clear();
    tiny_need(model_reference_save(&reference, files.folder));
    memset(reference.values, 0, bytes);
    tiny_need(model_reference_load(&reference, files.folder));
    tiny_same_bits("reference.bin", reference.values, kept, b.t.params.total);
    assert_int_equal(truncate(model_files_path(&files, "reference.bin", path), 12), 0);
    assert_int_equal(model_reference_load(&reference, files.folder), STATUS_INPUT);
    assert_non_null(strstr(status_message(), "reference.bin"));
    status_clear();
    tiny_same_bits("refused", reference.values, kept, b.t.params.total);
    assert_int_not_equal(model_reference_save(&reference, "/nonexistent"), STATUS_OK);
    status_clear();
    free(kept);
    model_reference_close(&reference);
    model_files_remove(&files);
    bench_close(&b);
}

/* d (sum of entropies) / d weight by central differences of one norm weight. */
static void entropies_have_a_gradient(void **state)
{
    (void)state;
    struct bench b;
    struct seen s = {.up = 1.0f};
    bench_open(&b, TINY_CONFIGS);
    const int64_t at = b.t.params.count - 1; /* the final norm */
    float *w = param_value(&b.t.params, at);
    double sum[2];
    for (int k = 0; k < 2; k++) {
        const float keep_w = w[0];
        w[0] += k ? -0x1p-7f : 0x1p-7f;
        run(&b, &s);
        w[0] = keep_w;
        sum[k] = 0.0;
        for (int i = 0; i < OUTPUTS; i++) {
            sum[k] += (double)s.entropy[i];
        }
    }
    b.pass.grad = true;
    b.pass.entropy_grad = true;
    memset(b.t.params.grad, 0, (size_t)b.t.params.total * sizeof(float));
    run(&b, &s);
    const double slope = (sum[0] - sum[1]) / 0x1p-6;
    const double got = (double)param_grad(&b.t.params, at)[0];
    assert_true(fabs(slope) > 1e-3);
    assert_true(fabs(got - slope) < 0.02 * fabs(slope) + 1e-4);
    bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_reference_stays),
        cmocka_unit_test(mixing_is_linear),
        cmocka_unit_test(the_copy_is_saved),
        cmocka_unit_test(entropies_have_a_gradient),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
