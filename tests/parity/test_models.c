/*
 * Whole models against Transformers and PEFT (golden/): logits, log-probs, loss, gradients of LoRA
 * and of all weights, padded and packed inputs, GGUF files and bitsandbytes checkpoints. Every
 * folder of golden/models whose model_type has a family row is tried, on every tier that this
 * machine has.
 */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "adapters/adapter.h"
#include "tests/support/model_parity.h"

/* golden/README.md: "sensible limits"; the reference's own noise is ten times below. */
static const struct parity_worst LIMITS = {
    .logits = 1e-4, .logp = 1e-4, .loss = 1e-5, .d_embed = 1e-4, .grad = 1e-4};

enum { PATH_BYTES = 1024 };

static const char *shared_path(const char *rest, char buf[PATH_BYTES])
{
    const char *shared = getenv("GRAFT_SHARED");
    const char *source = getenv("GRAFT_SOURCE");
    if (shared) {
        (void)snprintf(buf, PATH_BYTES, "%s/%s", shared, rest);
    } else {
        (void)snprintf(buf, PATH_BYTES, "%s/../shared/%s", source ? source : ".", rest);
    }
    return buf;
}

static const char *join(const char *folder, const char *file, char buf[PATH_BYTES])
{
    (void)snprintf(buf, PATH_BYTES, "%s/%s", folder, file);
    return buf;
}

static void need(enum status status, const char *what)
{
    if (status != STATUS_OK) {
        fail_msg("%s: %s (%s)", what, status_message(), status_trace());
    }
}

static int outside; /* comparisons that failed: all are told before the test fails */

static void check_worst(const char *what, const struct parity_worst *w)
{
    print_message("  %-44s logits %.1e logp %.1e loss %.1e d_embed %.1e grad %.1e\n", what,
                  w->logits, w->logp, w->loss, w->d_embed, w->grad);
    if (w->logits > LIMITS.logits || w->logp > LIMITS.logp || w->loss > LIMITS.loss
        || w->d_embed > LIMITS.d_embed || w->grad > LIMITS.grad) {
        print_error("%s is outside the limits (worst gradient: %s)\n", what, w->grad_name);
        outside++;
    }
}

/* Runs the input of `input_file` and compares with `golden_file`; gradients of `params` (NULL: only
 * d_embed) with `grad_file`. */
struct comparison {
    const char *what;
    const char *input_file;
    const char *golden_file;
    const char *grad_file;
    struct param_set *params;
    unsigned flags; /* enum parity_flags */
};

static void compare(struct model *m, struct ops_context *ops, const struct comparison *c)
{
    struct safetensors *input_file;
    struct safetensors *golden;
    struct parity_input in;
    struct parity_output out;
    struct parity_worst worst = {0};
    need(safetensors_open(&input_file, c->input_file), c->input_file);
    need(safetensors_open(&golden, c->golden_file), c->golden_file);
    need(parity_input_open(&in, input_file), c->what);
    need(parity_run(m, ops, &in, c->flags, &out), c->what);
    need(parity_compare(m, &in, &out, golden, &worst), c->what);
    if (c->params) {
        struct safetensors *grads;
        need(safetensors_open(&grads, c->grad_file), c->grad_file);
        need(parity_compare_grads(c->params, grads, &worst), c->what);
        safetensors_close(grads);
    }
    check_worst(c->what, &worst);
    parity_output_close(&out);
    parity_input_close(&in);
    safetensors_close(golden);
    safetensors_close(input_file);
}

static void run_adapter(struct model *m, struct ops_context *ops, const char *folder,
                        const char *name)
{
    char adapter_folder[PATH_BYTES];
    char input[PATH_BYTES];
    char golden[PATH_BYTES];
    char what[128];
    struct adapter_config config;
    struct adapter *adapter;
    struct param_set params;
    (void)join(folder, "adapter", adapter_folder);
    (void)join(folder, "golden.safetensors", input);
    (void)join(adapter_folder, "golden.safetensors", golden);
    if (access(golden, R_OK) != 0) {
        return;
    }
    param_set_open(&params);
    need(adapter_read_config(&config, adapter_folder), adapter_folder);
    need(adapter_attach(&adapter, m, &params, &config), adapter_folder);
    need(param_set_seal(&params, NULL), adapter_folder);
    need(adapter_load(adapter, adapter_folder), adapter_folder);
    (void)snprintf(what, sizeof what, "%s LoRA", name);
    compare(m, ops,
            &(struct comparison){.what = what,
                                 .input_file = input,
                                 .golden_file = golden,
                                 .grad_file = golden,
                                 .params = &params,
                                 .flags = PARITY_HOOKS | PARITY_GRAD | PARITY_CHECKPOINT});
    adapter_close(adapter);
    adapter_config_close(&config);
    param_set_close(&params);
}

/* Base, padded and packed forms: no hooks, gradient at the embedding. */
static void run_base(struct model *m, struct ops_context *ops, const char *folder,
                     const char *name)
{
    static const char *const FILES[] = {"golden.safetensors", "golden_padded.safetensors",
                                        "golden_packed.safetensors"};
    for (size_t i = 0; i < sizeof FILES / sizeof FILES[0]; i++) {
        char golden[PATH_BYTES];
        char what[128];
        if (access(join(folder, FILES[i], golden), R_OK) != 0) {
            continue;
        }
        (void)snprintf(what, sizeof what, "%s %s", name, FILES[i]);
        compare(m, ops,
                &(struct comparison){.what = what,
                                     .input_file = golden,
                                     .golden_file = golden,
                                     .flags = PARITY_GRAD});
    }
}

/* Gradients of all weights, on a model of its own: binding changes it. */
static void run_full(const char *path, struct ops_context *ops, const char *folder,
                     const char *name)
{
    char input[PATH_BYTES];
    char grads[PATH_BYTES];
    char what[128];
    struct model *m;
    struct param_set params;
    if (access(join(folder, "golden_full.safetensors", grads), R_OK) != 0) {
        return;
    }
    (void)join(folder, "golden.safetensors", input);
    (void)snprintf(what, sizeof what, "%s full", name);
    need(model_open(&m, path, NULL), path);
    param_set_open(&params);
    need(model_full_attach(m, &params), what);
    need(param_set_seal(&params, NULL), what);
    need(model_full_bind(m, &params), what);
    compare(m, ops,
            &(struct comparison){.what = what,
                                 .input_file = input,
                                 .golden_file = input,
                                 .grad_file = grads,
                                 .params = &params,
                                 .flags = PARITY_HOOKS | PARITY_GRAD});
    model_close(m);
    param_set_close(&params);
}

/* Calls fn on every tier of this machine. */
static void on_tiers(void (*fn)(struct ops_context *ops, const char *path, const char *name),
                     const char *path, const char *name)
{
    const struct ops_options options = {.threads = 1, .compute = COMPUTE_F32};
    for (enum cpu_tier tier = TIER_REF; tier <= cpu_best_tier(); tier++) {
        struct ops_context ops;
        char title[128];
        if (ops_context_open_tier(&ops, &options, tier) != STATUS_OK) {
            continue; /* the machine has it, this build has no kernels for it */
        }
        (void)snprintf(title, sizeof title, "%s %s", cpu_tier_name(tier), name);
        fn(&ops, path, title);
        ops_context_close(&ops);
    }
}

static void run_folder(struct ops_context *ops, const char *path, const char *name)
{
    struct model *m;
    if (model_open(&m, path, NULL) != STATUS_OK) {
        print_error("%s: %s\n", path, status_message());
        outside++;
        return;
    }
    run_base(m, ops, path, name);
    run_adapter(m, ops, path, name);
    model_close(m);
    run_full(path, ops, path, name);
}

/* True when the folder's model_type is one of ours. */
static bool known_model(const char *folder)
{
    char path[PATH_BYTES];
    json_error_t error;
    json_t *json = json_load_file(join(folder, "config.json", path), 0, &error);
    const char *type = json_string_value(json_object_get(json, "model_type"));
    const bool known = type && family_by_model_type(type);
    json_decref(json);
    return known;
}

static void golden_models_agree(void **state)
{
    (void)state;
    char root[PATH_BYTES];
    int tried = 0;
    outside = 0;
    DIR *dir = opendir(shared_path("golden/models", root));
    if (!dir) {
        print_message("skipped: %s is not there\n", root);
        skip();
    }
    for (struct dirent *e = readdir(dir); e; e = readdir(dir)) {
        char folder[PATH_BYTES];
        if (e->d_name[0] != '.' && known_model(join(root, e->d_name, folder))) {
            on_tiers(run_folder, folder, e->d_name);
            tried++;
        }
    }
    (void)closedir(dir);
    assert_true(tried > 0);
    assert_int_equal(outside, 0);
}

static void run_gguf(struct ops_context *ops, const char *path, const char *name)
{
    struct model *m;
    char golden[PATH_BYTES];
    (void)snprintf(golden, sizeof golden, "%.*s.golden.safetensors", (int)strlen(path) - 5, path);
    need(model_open(&m, path, NULL), path);
    compare(m, ops,
            &(struct comparison){.what = name,
                                 .input_file = golden,
                                 .golden_file = golden,
                                 .flags = PARITY_GRAD});
    model_close(m);
}

/* True when `name` ends in `end`. */
static bool ends_with(const char *name, const char *end)
{
    const size_t n = strlen(name);
    const size_t k = strlen(end);
    return n >= k && strcmp(name + n - k, end) == 0;
}

static void gguf_models_agree(void **state)
{
    (void)state;
    char root[PATH_BYTES];
    int tried = 0;
    outside = 0;
    DIR *dir = opendir(shared_path("golden/quant/gguf", root));
    if (!dir) {
        print_message("skipped: %s is not there\n", root);
        skip();
    }
    for (struct dirent *e = readdir(dir); e; e = readdir(dir)) {
        char path[PATH_BYTES];
        if (strncmp(e->d_name, "tiny_", 5) == 0 && ends_with(e->d_name, ".gguf")) {
            on_tiers(run_gguf, join(root, e->d_name, path), e->d_name);
            tried++;
        }
    }
    (void)closedir(dir);
    assert_true(tried > 0);
    assert_int_equal(outside, 0);
}

static void run_bnb(struct ops_context *ops, const char *path, const char *name)
{
    struct model *m;
    need(model_open(&m, path, NULL), path);
    run_base(m, ops, path, name);
    run_adapter(m, ops, path, name);
    model_close(m);
}

static void bitsandbytes_models_agree(void **state)
{
    (void)state;
    static const struct {
        const char *folder;
        const char *refusal; /* NULL: it is read */
    } CASES[] = {{"bnb_llama_nf4", NULL},
                 {"bnb_llama_nf4_bf16store", NULL},
                 {"bnb_llama_fp4", "FP4"},
                 {"bnb_llama_int8", "I8"}};
    outside = 0;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        char root[PATH_BYTES];
        char path[PATH_BYTES];
        struct model *m;
        (void)join(shared_path("golden/quant", root), CASES[i].folder, path);
        if (access(path, R_OK) != 0) {
            print_message("skipped: %s is not there\n", path);
            skip();
        }
        if (!CASES[i].refusal) {
            on_tiers(run_bnb, path, CASES[i].folder);
            continue;
        }
        assert_int_equal(model_open(&m, path, NULL), STATUS_INPUT);
        if (!strstr(status_message(), CASES[i].refusal)) {
            fail_msg("%s: %s", path, status_message());
        }
    }
    assert_int_equal(outside, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_models_agree),
        cmocka_unit_test(gguf_models_agree),
        cmocka_unit_test(bitsandbytes_models_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
