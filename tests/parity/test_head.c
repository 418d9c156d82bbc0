/*
 * The head's statistics against TRL's fused head (golden/grpo/head): log-prob, entropy and the
 * gradient of both for every temperature, logit scale and soft cap. The scale multiplies the logits
 * where a model's head applies it, before the cap.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/ops.h"
#include "tests/support/golden_rl.h"
#include "trainer/format/json.h"

/* The file's entropies are differences of F32 numbers as large as the logits, so TRL itself is up
 * to 6e-6 from the exact ones; Graft is held closer to those. */
static const double FILE_LIMIT = 1e-5;
static const double EXACT_LIMIT = 2e-6;

static struct {
    double value; /* against the file: log-prob relative to it, entropy */
    double grad;  /* relative to the row's largest, at least 1 */
    double exact; /* log-prob and entropy against double */
} worst;

/* Rows [rows] of vocab logits with their targets, -1: none. */
struct inputs {
    int64_t rows;
    int64_t vocab;
    float *logits; /* as in the file: one more position per sequence than rows */
    int64_t *labels;
    float *up;
    float *up_entropy;
    int64_t length; /* positions of a sequence */
};

static float *wanted(const struct safetensors *f, const char *name, const char *what)
{
    char key[96];
    int64_t n;
    (void)snprintf(key, sizeof key, "%s.%s", name, what);
    float *values = golden_floats(f, key, &n);
    assert_non_null(values);
    return values;
}

/* One position in double. */
struct exact {
    double logp[64];
    double entropy;
};

static void compute_exact(const float *logits, int64_t vocab, double scale, double cap,
                          double temperature, struct exact *e)
{
    double sum = 0.0;
    for (int64_t v = 0; v < vocab; v++) {
        const double z = scale * (double)logits[v];
        e->logp[v] = (cap > 0 ? cap * tanh(z / cap) : z) / temperature;
        sum += exp(e->logp[v]);
    }
    e->entropy = 0.0;
    for (int64_t v = 0; v < vocab; v++) {
        e->logp[v] -= log(sum);
        e->entropy -= exp(e->logp[v]) * e->logp[v];
    }
}

static void run_case(struct ops_context *ops, const json_t *c, const struct safetensors *f,
                     const struct inputs *in)
{
    const char *name = json_get_string(c, "name", "");
    const double scale = json_get_number(c, "logit_scale", 1.0);
    float *logp = wanted(f, name, "log_probs");
    float *entropy = wanted(f, name, "entropy");
    float *grad = wanted(f, name, "d_logits");
    worst.value = worst.grad = 0.0;
    for (int64_t r = 0; r < in->rows; r++) {
        const int64_t per = in->length - 1;
        const int64_t at = r / per * in->length + r % per;
        const int32_t target = (int32_t)in->labels[at + 1];
        const int32_t aimed = target < 0 ? -1 : target;
        float z[64];
        struct logit_stats stats = LOGIT_STATS_INIT;
        for (int64_t v = 0; v < in->vocab; v++) {
            z[v] = (float)scale * in->logits[at * in->vocab + v];
        }
        const struct logit_args a = {.logits = z, .ld = in->vocab, .rows = 1, .n = in->vocab,
                                     .targets = &aimed, .stats = &stats,
                                     .inv_temperature =
                                         (float)(1.0 / json_get_number(c, "temperature", 1)),
                                     .softcap = (float)json_get_number(c, "softcap", 0)};
        ops->ops->logit_stats(ops, &a);
        const float lse = logit_stats_lse(&stats);
        const float h = logit_stats_entropy(&stats);
        const double got = aimed < 0 ? 0.0 : (double)stats.target - (double)lse;
        worst.value = fmax(worst.value, fabs(got - (double)logp[r]) / fmax(1.0, fabs(got)));
        worst.value = fmax(worst.value, aimed < 0 ? 0.0 : fabs((double)(h - entropy[r])));
        struct exact e;
        compute_exact(in->logits + at * in->vocab, in->vocab, scale,
                      json_get_number(c, "softcap", 0), json_get_number(c, "temperature", 1), &e);
        worst.exact = fmax(worst.exact, fabs((double)h - e.entropy));
        if (aimed >= 0) {
            worst.exact = fmax(worst.exact, fabs(got - e.logp[aimed]) / fmax(1.0, fabs(got)));
        }
        const float up = aimed < 0 ? 0.0f : in->up[r];
        const float up_entropy = aimed < 0 ? 0.0f : in->up_entropy[r];
        const struct logit_grad_args g = {.logits = z, .ld = in->vocab, .rows = 1, .n = in->vocab,
                                          .targets = &aimed,
                                          .inv_temperature = a.inv_temperature,
                                          .softcap = a.softcap, .lse = &lse, .entropy = &h,
                                          .dlogp = &up, .dentropy = &up_entropy};
        ops->ops->logit_grad(ops, &g);
        double largest = 1.0;
        for (int64_t v = 0; v < in->vocab; v++) {
            largest = fmax(largest, fabs((double)grad[at * in->vocab + v]));
        }
        for (int64_t v = 0; v < in->vocab; v++) {
            const double d = scale * (double)z[v] - (double)grad[at * in->vocab + v];
            worst.grad = fmax(worst.grad, fabs(d) / largest);
        }
    }
    print_message("  %-28s log-prob and entropy %.1e, gradient %.1e\n", name, worst.value,
                  worst.grad);
    if (!(worst.value <= FILE_LIMIT && worst.grad <= FILE_LIMIT && worst.exact <= EXACT_LIMIT)) {
        fail_msg("%s: log-probs and entropies %.2g (exact %.2g), gradients %.2g", name, worst.value,
                 worst.exact, worst.grad);
    }
    free(logp);
    free(entropy);
    free(grad);
}

static void heads_are_trls(void **state)
{
    (void)state;
    char path[4096];
    struct safetensors *f;
    struct inputs in;
    int64_t n;
    int64_t logits;
    if (!golden_path("grpo/head.safetensors", path)) {
        print_message("golden/grpo is not here\n");
        skip();
    }
    assert_int_equal(safetensors_open(&f, path), STATUS_OK);
    (void)golden_path("grpo/head.json", path);
    json_t *cases = golden_json(path);
    in.logits = golden_floats(f, "logits", &logits);
    in.labels = golden_ints(f, "labels", &n);
    in.up = golden_floats(f, "d_logps", &in.rows);
    in.up_entropy = golden_floats(f, "d_entropies", &in.rows);
    in.vocab = logits / n;
    in.length = n / (n - in.rows); /* each sequence has one position more than rows */
    assert_true(in.vocab <= 64 && json_array_size(cases) > 0);
    const struct ops_options options = {.threads = 1, .compute = COMPUTE_F32};
    struct ops_context ops;
    assert_int_equal(ops_context_open(&ops, &options), STATUS_OK);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        run_case(&ops, json_array_get(cases, i), f, &in);
    }
    print_message("%zu cases: log-probs and entropies within %.1e of the exact ones\n",
                  json_array_size(cases), worst.exact);
    ops_context_close(&ops);
    free(in.logits);
    free(in.labels);
    free(in.up);
    free(in.up_entropy);
    safetensors_close(f);
    json_decref(cases);
}

/* Every width of vocabulary, with and without a cap: lanes beyond the last logit must not count. */
static void odd_vocabularies_are_exact(void **state)
{
    (void)state;
    const struct ops_options options = {.threads = 1, .compute = COMPUTE_F32};
    struct ops_context ops;
    assert_int_equal(ops_context_open(&ops, &options), STATUS_OK);
    for (int64_t n = 1; n <= 40; n++) {
        for (int capped = 0; capped < 2; capped++) {
            const int32_t target = (int32_t)(n / 2);
            float z[40];
            struct exact e;
            struct logit_stats stats = LOGIT_STATS_INIT;
            for (int64_t v = 0; v < n; v++) {
                z[v] = (float)((v * 37 + n * 11) % 17) * 0.25f - 2.0f;
            }
            compute_exact(z, n, 1.0, capped ? 1.5 : 0.0, 0.5, &e);
            const struct logit_args a = {.logits = z, .ld = n, .rows = 1, .n = n,
                                         .targets = &target, .stats = &stats,
                                         .inv_temperature = 2.0f,
                                         .softcap = capped ? 1.5f : 0.0f};
            ops.ops->logit_stats(&ops, &a);
            const double logp = (double)stats.target - (double)logit_stats_lse(&stats);
            assert_true(fabs(logp - e.logp[target]) < 4e-6);
            assert_true(fabs((double)logit_stats_entropy(&stats) - e.entropy) < 4e-6);
        }
    }
    ops_context_close(&ops);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(odd_vocabularies_are_exact),
        cmocka_unit_test(heads_are_trls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
