/*
 * Merging and the GGUF adapter, checked against each other: what llama.cpp would compute from the
 * file (W + alpha / rank * B A on its own row order) must be the weights of the merged model.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "adapters/adapter.h"
#include "kernels/base/rng.h"
#include "tests/support/model_files.h"
#include "tests/support/model_parity.h"
#include "trainer/format/gguf.h"

#define SIZES                                                                                      \
    "\"hidden_size\": 16, \"num_attention_heads\": 4, \"num_key_value_heads\": 2,"                 \
    "\"head_dim\": 8, \"intermediate_size\": 24, \"num_hidden_layers\": 2,"                        \
    "\"vocab_size\": 40, \"max_position_embeddings\": 64, \"rms_norm_eps\": 1e-6,"                 \
    "\"initializer_range\": 0.3}"

static const struct export_case {
    const char *name;
    const char *model;
    const char *adapter;
    double alpha; /* that the file must carry */
} CASES[] = {
    {"plain, permuted rows", "{\"model_type\": \"llama\"," SIZES,
     "{\"peft_type\": \"LORA\", \"r\": 2, \"lora_alpha\": 6, \"target_modules\": \"all-linear\","
     "\"rank_pattern\": {\"q_proj\": 3}}", 6},
    {"rsLoRA of one rank", "{\"model_type\": \"qwen3\"," SIZES,
     "{\"peft_type\": \"LORA\", \"r\": 4, \"lora_alpha\": 6, \"use_rslora\": true}", 12},
    {"rsLoRA of several ranks", "{\"model_type\": \"llama\"," SIZES,
     "{\"peft_type\": \"LORA\", \"r\": 4, \"lora_alpha\": 6, \"use_rslora\": true,"
     "\"target_modules\": [\"q_proj\", \"k_proj\", \"down_proj\"],"
     "\"rank_pattern\": {\"down_proj\": 2}}", 0},
    {"alphas of their own", "{\"model_type\": \"qwen2\"," SIZES,
     "{\"peft_type\": \"LORA\", \"r\": 2, \"lora_alpha\": 6, \"alpha_pattern\": {\"v_proj\": 1}}",
     0},
};

static void need(enum status status)
{
    if (status != STATUS_OK) {
        fail_msg("%s (%s)", status_message(), status_trace());
    }
}

/* A random model with a random adapter on it. */
struct exported {
    struct model_files f;
    struct model *m;
    struct adapter_config config;
    struct param_set params;
    struct adapter *adapter;
};

static void exported_open(struct exported *x, const struct export_case *c)
{
    model_files_make(&x->f);
    x->m = model_files_random(&x->f, c->model, 5);
    model_files_write(&x->f, "adapter_config.json", c->adapter);
    need(adapter_read_config(&x->config, x->f.folder));
    param_set_open(&x->params);
    need(adapter_attach(&x->adapter, x->m, &x->params, &x->config));
    need(param_set_seal(&x->params, NULL));
    const struct rng_key key = {.seed = 9, .purpose = RNG_INIT};
    rng_fill_normal(&key, x->params.value, x->params.total, 0.4f);
}

static void exported_close(struct exported *x)
{
    adapter_close(x->adapter);
    adapter_config_close(&x->config);
    param_set_close(&x->params);
    model_close(x->m);
    model_files_remove(&x->f);
}

static float at(const struct gguf_tensor *t, int64_t row, int64_t column)
{
    assert_int_equal(t->view.dtype, DTYPE_F32);
    float v;
    memcpy(&v, (const uint8_t *)t->view.data + (size_t)row * t->view.row_bytes
                   + (size_t)column * sizeof v, sizeof v);
    return v;
}

/* max |base + scale B A - merged| of one tensor, as llama.cpp reads the files. */
static double applied_error(const struct gguf_tensor *base, const struct gguf_tensor *merged,
                            const struct gguf_tensor *a, const struct gguf_tensor *b, double alpha)
{
    const int64_t rank = b->view.shape[1];
    const double scale = alpha > 0.0 ? alpha / (double)rank : 1.0;
    double worst = 0.0;
    assert_int_equal(a->view.shape[0], rank);
    assert_int_equal(a->view.shape[1], base->view.shape[1]);
    assert_int_equal(b->view.shape[0], base->view.shape[0]);
    for (int64_t r = 0; r < base->view.shape[0]; r++) {
        for (int64_t i = 0; i < base->view.shape[1]; i++) {
            double v = (double)at(base, r, i);
            for (int64_t k = 0; k < rank; k++) {
                v += scale * (double)at(b, r, k) * (double)at(a, k, i);
            }
            worst = fmax(worst, fabs(v - (double)at(merged, r, i)));
        }
    }
    return worst;
}

static struct gguf *save_model(struct exported *x, const char *name, bool merge)
{
    char path[MODEL_FILES_PATH];
    struct gguf *g;
    const struct model_gguf_options options = {.linear = DTYPE_F32,
                                               .embedding = DTYPE_F32,
                                               .edit = merge ? adapter_merge_row : NULL,
                                               .edit_ctx = x->adapter};
    need(model_save_gguf(x->m, model_files_path(&x->f, name, path), &options));
    need(gguf_open(&g, path));
    return g;
}

/* Every tensor of the merged model follows from base and adapter file; returns how many changed. */
static int64_t compare_files(const struct gguf *base, const struct gguf *merged,
                             const struct gguf *file, double alpha)
{
    int64_t wrapped = 0;
    for (int64_t i = 0; i < gguf_tensor_count(base); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(base, i);
        const struct gguf_tensor *other = gguf_tensor_find(merged, t->name);
        char name[160];
        assert_non_null(other);
        (void)snprintf(name, sizeof name, "%s.lora_a", t->name);
        const struct gguf_tensor *a = gguf_tensor_find(file, name);
        (void)snprintf(name, sizeof name, "%s.lora_b", t->name);
        const struct gguf_tensor *b = gguf_tensor_find(file, name);
        assert_true(!a == !b);
        if (!a) {
            assert_memory_equal(t->view.data, other->view.data,
                                (size_t)tensor_rows(&t->view) * t->view.row_bytes);
            continue;
        }
        const double error = applied_error(t, other, a, b, alpha);
        if (error > 1e-5) {
            fail_msg("%s differs by %g", t->name, error);
        }
        wrapped++;
    }
    return wrapped;
}

static void check_text(const struct gguf *g, const char *key, const char *expected)
{
    struct gguf_string s;
    need(gguf_string(g, key, &s));
    assert_int_equal(s.length, strlen(expected));
    assert_memory_equal(s.data, expected, s.length);
}

static void gguf_adapters_say_the_same_as_a_merge(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct exported x;
        struct gguf *file;
        char path[MODEL_FILES_PATH];
        double alpha;
        exported_open(&x, &CASES[i]);
        need(adapter_save_gguf(x.adapter, x.m, model_files_path(&x.f, "adapter.gguf", path)));
        need(gguf_open(&file, path));
        check_text(file, "general.type", "adapter");
        check_text(file, "adapter.type", "lora");
        check_text(file, "general.architecture", x.m->config.family->gguf_arch);
        need(gguf_float(file, "adapter.lora.alpha", &alpha));
        if (fabs(alpha - CASES[i].alpha) > 1e-5) {
            fail_msg("%s: alpha %g, expected %g", CASES[i].name, alpha, CASES[i].alpha);
        }
        struct gguf *base = save_model(&x, "base.gguf", false);
        struct gguf *merged = save_model(&x, "merged.gguf", true);
        const int64_t wrapped = compare_files(base, merged, file, alpha);
        assert_int_equal(2 * wrapped, gguf_tensor_count(file));
        assert_int_equal(2 * wrapped, x.params.count);
        gguf_close(base);
        gguf_close(merged);
        gguf_close(file);
        exported_close(&x);
    }
}

/* Logits of 12 tokens into out [12 * 40]. */
static void logits_of(struct model *m, bool hooks, float *out)
{
    static const int32_t IDS[12] = {1, 7, 30, 2, 2, 39, 0, 11, 5, 17, 23, 4};
    const struct ops_options options = {.threads = 1, .compute = COMPUTE_F32};
    struct ops_context ops;
    struct parity_input in;
    struct parity_output result;
    need(ops_context_open(&ops, &options));
    need(parity_input_ids(&in, IDS, 12));
    need(parity_run(m, &ops, &in, hooks ? PARITY_HOOKS : 0, &result));
    memcpy(out, result.logits, 12 * 40 * sizeof(float));
    parity_output_close(&result);
    parity_input_close(&in);
    ops_context_close(&ops);
}

static double distance(const float *a, const float *b)
{
    double worst = 0.0;
    for (int i = 0; i < 12 * 40; i++) {
        worst = fmax(worst, fabs((double)a[i] - (double)b[i]));
    }
    return worst;
}

static void merged_folders_give_the_same_logits(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct exported x;
        struct model *merged;
        char path[MODEL_FILES_PATH];
        float adapted[12 * 40];
        float bare[12 * 40];
        float merged_logits[12 * 40];
        exported_open(&x, &CASES[i]);
        const struct model_folder_options options = {
            .dtype = DTYPE_F32, .edit = adapter_merge_row, .edit_ctx = x.adapter};
        need(model_save_folder(x.m, x.f.folder, &options));
        need(model_open(&merged, model_files_path(&x.f, ".", path), NULL));
        logits_of(x.m, true, adapted);
        logits_of(x.m, false, bare);
        logits_of(merged, true, merged_logits);
        print_message("  %-26s effect %.1e, merged - adapter %.1e\n", CASES[i].name,
                      distance(adapted, bare), distance(adapted, merged_logits));
        assert_true(distance(adapted, merged_logits) <= 1e-4);
        assert_true(distance(adapted, bare) > 0.1);
        model_close(merged);
        exported_close(&x);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gguf_adapters_say_the_same_as_a_merge),
        cmocka_unit_test(merged_folders_give_the_same_logits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
