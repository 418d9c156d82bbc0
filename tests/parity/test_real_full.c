/*
 * Published models from their quantized GGUF files against float32 evaluations of the same weights
 * (golden/real): log-probs, top logits, the greedy continuation, and the bfloat16 mode's distance.
 * The files are looked for in $GRAFT_MODELS or /tmp/models, by size and SHA-256.
 */
#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "tests/support/model_parity.h"
#include "trainer/format/file.h"
#include "trainer/format/json.h"

enum { PATH_BYTES = 1024, MAX_TOKENS = 256, TOP = 20 };

/* golden/README.md: 5e-4 for logits and for the total. */
static const double LOGP_LIMIT = 5e-4;
static const double LOGIT_LIMIT = 5e-4;
static const double NEAR_TIE = 1e-3;
static const double BF16_MEAN_LIMIT = 0.05;

static void need(enum status status, const char *what)
{
    if (status != STATUS_OK) {
        fail_msg("%s: %s (%s)", what, status_message(), status_trace());
    }
}

/* One prompt with its expected continuation. */
struct prompt {
    int32_t ids[MAX_TOKENS];
    int64_t count;  /* prompt tokens */
    int64_t total;  /* and greedy ones */
};

static void read_prompt(const json_t *json, struct prompt *p)
{
    const char *const parts[] = {"ids", "greedy"};
    p->total = 0;
    for (int k = 0; k < 2; k++) {
        const json_t *list = json_object_get(json, parts[k]);
        for (size_t i = 0; i < json_array_size(list); i++) {
            assert_true(p->total < MAX_TOKENS);
            p->ids[p->total++] = (int32_t)json_integer_value(json_array_get(list, i));
        }
        p->count = k == 0 ? p->total : p->count;
    }
    assert_true(p->count > 1 && p->total > p->count);
}

/* Golden tensor "<i>.<name>" with `count` elements of `bytes` bytes. */
static const uint8_t *golden(const struct safetensors *file, size_t i, const char *name,
                             int64_t count)
{
    char full[64];
    (void)snprintf(full, sizeof full, "%zu.%s", i, name);
    const struct safetensors_entry *e = safetensors_find(file, full);
    assert_non_null(e);
    assert_int_equal(tensor_count(&e->view), count);
    return e->data;
}

struct measured {
    double logp;      /* worst |difference| */
    double logit;
    double mean;      /* sum of |difference| of log-probs, for the mean */
    int64_t predicted;
    int64_t ties;     /* greedy tokens that differ inside a near tie */
};

static void measure_logp(const struct parity_output *out, const struct safetensors *file, size_t i,
                         const struct prompt *p, struct measured *r)
{
    const uint8_t *nll = golden(file, i, "nll", p->count - 1);
    for (int64_t t = 0; t + 1 < p->count; t++) {
        double expected;
        memcpy(&expected, nll + (size_t)t * sizeof expected, sizeof expected);
        const double error = fabs((double)out->logp[t] + expected);
        r->logp = !(error <= r->logp) ? error : r->logp;
        r->mean += error;
        r->predicted++;
    }
}

static void measure_logits(const struct parity_output *out, int64_t vocab,
                           const struct safetensors *file, size_t i, const struct prompt *p,
                           struct measured *r)
{
    const uint8_t *ids = golden(file, i, "top_ids", p->count * TOP);
    const uint8_t *logits = golden(file, i, "top_logits", p->count * TOP);
    for (int64_t k = 0; k < p->count * TOP; k++) {
        int32_t id;
        float expected;
        memcpy(&id, ids + (size_t)k * sizeof id, sizeof id);
        memcpy(&expected, logits + (size_t)k * sizeof expected, sizeof expected);
        assert_true(id >= 0 && id < vocab);
        const double error = fabs((double)out->logits[k / TOP * vocab + id] - (double)expected);
        r->logit = !(error <= r->logit) ? error : r->logit;
    }
}

/* Every greedy token must be the best one after its prefix, or tie with it. */
static void measure_greedy(const struct parity_output *out, int64_t vocab, const struct prompt *p,
                           struct measured *r)
{
    for (int64_t t = p->count - 1; t + 1 < p->total; t++) {
        const float *row = out->logits + t * vocab;
        int64_t best = 0;
        for (int64_t j = 1; j < vocab; j++) {
            best = row[j] > row[best] ? j : best;
        }
        if (best != p->ids[t + 1]) {
            const double gap = (double)row[best] - (double)row[p->ids[t + 1]];
            assert_true(gap < NEAR_TIE);
            r->ties++;
        }
    }
}

static void run_prompts(const struct model *m, enum compute compute, const json_t *cases,
                        const struct safetensors *file, struct measured *r)
{
    struct ops_context ops;
    const struct ops_options options = {.threads = 0, .compute = compute};
    need(ops_context_open(&ops, &options), "context");
    for (size_t i = 0; i < json_array_size(cases); i++) {
        struct prompt p;
        struct parity_input in;
        struct parity_output out;
        read_prompt(json_array_get(cases, i), &p);
        need(parity_input_ids(&in, p.ids, p.total), "input");
        need(parity_run(m, &ops, &in, 0, &out), "forward");
        measure_logp(&out, file, i, &p, r);
        if (compute == COMPUTE_F32) {
            measure_logits(&out, m->config.vocab, file, i, &p, r);
            measure_greedy(&out, m->config.vocab, &p, r);
        }
        parity_output_close(&out);
        parity_input_close(&in);
    }
    ops_context_close(&ops);
}

/* The file of this size and digest among the models; false when it is not there. */
static bool find_model(const json_t *json, char path[PATH_BYTES])
{
    const char *given = getenv("GRAFT_MODELS");
    const char *folder = given ? given : "/tmp/models";
    bool found = false;
    DIR *dir = opendir(folder);
    for (struct dirent *e = dir ? readdir(dir) : NULL; e && !found; e = readdir(dir)) {
        struct stat st;
        char hex[65];
        (void)snprintf(path, PATH_BYTES, "%s/%s", folder, e->d_name);
        if (stat(path, &st) == 0 && S_ISREG(st.st_mode)
            && (int64_t)st.st_size == json_get_int(json, "bytes", -1)) {
            need(file_sha256(path, hex), path);
            found = strcmp(hex, json_get_string(json, "sha256", "")) == 0;
        }
    }
    if (dir) {
        (void)closedir(dir);
    }
    return found;
}

/* The golden set `name` against its model. */
static void compare_real(const char *name)
{
    char path[PATH_BYTES];
    char model_path[PATH_BYTES];
    json_t *json;
    struct safetensors *file;
    struct model *m;
    const char *shared = getenv("GRAFT_SHARED");
    shared = shared ? shared : "../shared";
    (void)snprintf(path, sizeof path, "%s/golden/real/%s.json", shared, name);
    if (json_load_path(path, 64 << 20, &json) != STATUS_OK) {
        print_message("skipped: %s\n", status_message());
        skip();
    }
    if (!find_model(json, model_path)) {
        json_decref(json);
        print_message("skipped: no file of %s in $GRAFT_MODELS or /tmp/models\n", name);
        skip();
    }
    (void)snprintf(path, sizeof path, "%s/golden/real/%s.safetensors", shared, name);
    need(safetensors_open(&file, path), path);
    need(model_open(&m, model_path, NULL), model_path);
    struct measured f32 = {0};
    struct measured bf16 = {0};
    run_prompts(m, COMPUTE_F32, json_object_get(json, "cases"), file, &f32);
    run_prompts(m, COMPUTE_BF16, json_object_get(json, "cases"), file, &bf16);
    const double mean = bf16.mean / (double)bf16.predicted;
    print_message("  %s: %lld log-probs, worst %.1e, top logits %.1e, %lld ties; bfloat16 mean "
                  "%.1e\n", name, (long long)f32.predicted, f32.logp, f32.logit,
                  (long long)f32.ties, mean);
    assert_true(f32.predicted > 0);
    assert_true(f32.logp <= LOGP_LIMIT);
    assert_true(f32.logit <= LOGIT_LIMIT);
    assert_true(mean <= BF16_MEAN_LIMIT);
    assert_true(mean > 0.0); /* bfloat16 does round */
    model_close(m);
    safetensors_close(file);
    json_decref(json);
}

static void smollm2_agrees(void **state)
{
    (void)state;
    compare_real("smollm2-135m-instruct-q4_1");
}

static void qwen_agrees(void **state)
{
    (void)state;
    compare_real("qwen-0.5b");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(smollm2_agrees),
        cmocka_unit_test(qwen_agrees),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
