/*
 * A tree whose branches begin alike, or are the same, against the same branches as units of their
 * own: log-probs, entropies and the reference's log-probs bit for bit, gradients up to the order of
 * sums.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/tiny_model.h"
#include "trainer/model/unit_pass.h"

enum { PROMPT = 21, LENGTH = 40, BRANCHES = 5, OUTPUTS = 3 * LENGTH + 12 + LENGTH };

struct seen {
    float logp[OUTPUTS];
    float entropy[OUTPUTS];
    float ref[OUTPUTS];
    int32_t best[OUTPUTS];
    int64_t at;
};

/* Derivatives that differ from output to output. */
static void objective(void *ctx, const struct unit_outputs *out)
{
    struct seen *s = ctx;
    for (int64_t i = 0; i < out->batch->n_out; i++, s->at++) {
        s->logp[s->at] = out->head->logp[i];
        s->entropy[s->at] = out->head->entropy[i];
        s->best[s->at] = out->head->best[i];
        s->ref[s->at] = out->ref[i];
        out->dlogp[i] = 0.1f * (float)(s->at % 7) - 0.25f;
        out->dentropy[i] = 0.05f * (float)(s->at % 5);
    }
}

static void run(struct tiny *t, struct ops_context *ops, const struct pack_unit *units,
                int64_t count, struct seen *seen)
{
    struct unit_pass pass = {.model = t->m, .ops = ops, .temperature = 0.9f, .hooks = true,
                             .grad = true, .reference = true, .entropy_grad = true};
    *seen = (struct seen){.at = 0};
    memset(t->params.grad, 0, (size_t)t->params.total * sizeof(float));
    tiny_need(unit_pass_run(&pass, units, count, objective, seen));
    unit_pass_close(&pass);
    assert_int_equal(seen->at, OUTPUTS);
}

static void trees_equal_their_branches(void **state)
{
    (void)state;
    struct tiny t = {0};
    struct ops_context ops;
    const struct ops_options options = {.threads = 1, .compute = COMPUTE_F32};
    static int32_t ids[BRANCHES][LENGTH];
    static int32_t prompt[PROMPT];
    static struct seen tree;
    static struct seen apart;
    struct pack_branch branches[BRANCHES];
    struct pack_unit units[BRANCHES];
    tiny_need(ops_context_open(&ops, &options));
    tiny_open(&t, &TINY_CONFIGS[0]);
    tiny_attach_lora(&t, 0);
    tiny_ids(&t, prompt, PROMPT);
    for (int i = 0; i < BRANCHES; i++) {
        static const int64_t SHARED[BRANCHES] = {0, 17, LENGTH, 12, 33};
        tiny_ids(&t, ids[i], LENGTH);
        memcpy(ids[i], ids[i == 4 ? 1 : 0], (size_t)SHARED[i] * sizeof(int32_t));
        branches[i] = (struct pack_branch){.ids = ids[i], .count = i == 3 ? 12 : LENGTH};
        units[i] = (struct pack_unit){prompt, PROMPT, &branches[i], 1};
    }
    const struct pack_unit whole = {prompt, PROMPT, branches, BRANCHES};
    assert_true(pack_unit_rows(&whole) < PROMPT + 3 * LENGTH);
    run(&t, &ops, units, BRANCHES, &apart);
    float *grad = malloc((size_t)t.params.total * sizeof *grad);
    assert_non_null(grad);
    memcpy(grad, t.params.grad, (size_t)t.params.total * sizeof *grad);
    run(&t, &ops, &whole, 1, &tree);
    tiny_same_bits("log-probs", tree.logp, apart.logp, OUTPUTS);
    tiny_same_bits("entropies", tree.entropy, apart.entropy, OUTPUTS);
    tiny_same_bits("reference", tree.ref, apart.ref, OUTPUTS);
    assert_memory_equal(tree.best, apart.best, sizeof tree.best);
    double difference = 0.0;
    double norm = 0.0;
    for (int64_t i = 0; i < t.params.total; i++) {
        const double d = (double)t.params.grad[i] - (double)grad[i];
        difference += d * d;
        norm += (double)grad[i] * (double)grad[i];
    }
    print_message("relative difference of gradients %.2g\n", sqrt(difference / norm));
    assert_true(norm > 0 && difference < 1e-10 * norm);
    free(grad);
    tiny_close(&t);
    ops_context_close(&ops);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(trees_equal_their_branches)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
