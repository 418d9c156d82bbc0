/* The sampler's processors and filters against Transformers' own list (golden/grpo/sampling). */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/golden_rl.h"
#include "trainer/generate/sampler.h"

enum { MOST_VOCAB = 128, MOST_IDS = 64 };

static double number(const json_t *settings, const char *key, double otherwise)
{
    const json_t *value = json_object_get(settings, key);
    return value ? json_number_value(value) : otherwise;
}

static struct sample_config config_of(const json_t *settings, int32_t *suppress)
{
    const json_t *list = json_object_get(settings, "suppress_tokens");
    for (size_t i = 0; i < json_array_size(list); i++) {
        suppress[i] = (int32_t)json_integer_value(json_array_get(list, i));
    }
    return (struct sample_config){
        .temperature = number(settings, "temperature", 1.0),
        .top_k = (int64_t)number(settings, "top_k", 0.0),
        .top_p = number(settings, "top_p", 1.0),
        .min_p = number(settings, "min_p", 0.0),
        .repetition_penalty = number(settings, "repetition_penalty", 1.0),
        .suppress = suppress,
        .suppress_count = (int64_t)json_array_size(list),
    };
}

struct inputs {
    float *logits;
    int64_t *ids;
    int64_t rows;
    int64_t vocab;
    int64_t length;
};

/* Probabilities of one row after the filters. */
static int64_t filtered_row(const struct sample_config *c, const struct inputs *in, int64_t row,
                            double *p)
{
    float z[MOST_VOCAB];
    float kept[MOST_VOCAB];
    float values[MOST_VOCAB];
    int32_t counts[MOST_VOCAB] = {0};
    int32_t ids[MOST_IDS];
    const struct sample_scratch scratch = {kept, values, counts};
    for (int64_t i = 0; i < in->length; i++) {
        ids[i] = (int32_t)in->ids[row * in->length + i];
    }
    for (int64_t i = 0; i < in->vocab; i++) {
        z[i] = in->logits[row * in->vocab + i] / (float)c->temperature;
    }
    /* The penalty counts prompt and completion alike: where they part is of no importance. */
    const struct sample_history history = {.prompt = ids, .prompt_count = in->length / 2,
                                           .ids = ids + in->length / 2,
                                           .count = in->length - in->length / 2};
    sample_filter(c, z, in->vocab, &history, &scratch);
    double total = 0.0;
    int64_t count = 0;
    for (int64_t i = 0; i < in->vocab; i++) {
        p[i] = exp((double)kept[i]);
        total += p[i];
        count += kept[i] > -INFINITY;
    }
    for (int64_t i = 0; i < in->vocab; i++) {
        p[i] /= total;
    }
    return count;
}

/* True when another id of the row has the same logit: which of equal ids top-p keeps is up to the
 * reference's sort, which is not stable; only how many is a rule. */
static bool is_tied(const float *z, int64_t vocab, int64_t id)
{
    for (int64_t i = 0; i < vocab; i++) {
        if (i != id && z[i] >= z[id] && z[i] <= z[id]) {
            return true;
        }
    }
    return false;
}

static void run_case(const json_t *c, const struct safetensors *file, const struct inputs *in)
{
    char name[128];
    int32_t suppress[MOST_IDS];
    double p[MOST_VOCAB];
    int64_t count;
    const struct sample_config config = config_of(json_object_get(c, "settings"), suppress);
    (void)snprintf(name, sizeof name, "%s.probs", json_string_value(json_object_get(c, "name")));
    float *wanted = golden_floats(file, name, &count);
    assert_non_null(wanted);
    for (int64_t row = 0; row < in->rows; row++) {
        const int64_t kept = filtered_row(&config, in, row, p);
        assert_int_equal(kept, json_integer_value(json_array_get(json_object_get(c, "kept"),
                                                                 (size_t)row)));
        double tied = 0.0; /* what the ids with an equal one have together */
        for (int64_t i = 0; i < in->vocab; i++) {
            const double far = p[i] - (double)wanted[row * in->vocab + i];
            if (is_tied(in->logits + row * in->vocab, in->vocab, i)) {
                tied += far;
            } else if (fabs(far) > 1e-6) {
                fail_msg("%s: row %lld, id %lld: %.9g, expected %.9g", name, (long long)row,
                         (long long)i, p[i], (double)wanted[row * in->vocab + i]);
            }
        }
        assert_true(fabs(tied) < 1e-6);
    }
    free(wanted);
}

static void filters_equal_transformers(void **state)
{
    (void)state;
    char path[4096];
    struct safetensors *file;
    struct inputs in;
    int64_t n;
    if (!golden_path("grpo/sampling/filters.json", path)) {
        skip();
    }
    json_t *cases = golden_json(path);
    assert_true(golden_path("grpo/sampling/filters.safetensors", path));
    assert_int_equal(safetensors_open(&file, path), STATUS_OK);
    in.logits = golden_floats(file, "logits", &n);
    in.rows = (int64_t)json_array_size(json_object_get(json_array_get(cases, 0), "kept"));
    in.vocab = n / in.rows;
    in.ids = golden_ints(file, "ids", &n);
    in.length = n / in.rows;
    assert_true(in.logits && in.ids && in.vocab <= MOST_VOCAB && in.length <= MOST_IDS);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        run_case(json_array_get(cases, i), file, &in);
    }
    print_message("%zu cases of %lld rows\n", json_array_size(cases), (long long)in.rows);
    free(in.logits);
    free(in.ids);
    safetensors_close(file);
    json_decref(cases);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(filters_equal_transformers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
