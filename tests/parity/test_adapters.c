/*
 * Adapters against PEFT (golden/adapters): every folder that the reader takes agrees in logits,
 * loss, embedding gradient and the gradient of every saved tensor; every other is refused by name.
 * Then a training run of twenty steps, number by number.
 */
#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "adapters/adapter.h"
#include "tests/support/model_parity.h"
#include "trainer/format/json.h"
#include "trainer/optim/optim.h"

/* golden/README.md: "sensible limits". A bf16 base is computed in bf16 there and in F32 here. */
static const struct parity_worst LIMITS = {
    .logits = 1e-4, .logp = 1e-4, .loss = 1e-5, .d_embed = 1e-4, .grad = 1e-4};
static const double BF16_LOGITS = 0.3;

enum { PATH_BYTES = 1024, JSON_BYTES = 1 << 20, MAX_CASES = 256 };

static char root[PATH_BYTES]; /* golden/adapters; set once by main */

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

static void skip_without_golden(void)
{
    if (access(root, R_OK) != 0) {
        print_message("skipped: %s is not there\n", root);
        skip();
    }
}

/* A base with an adapter from a folder on it. */
struct loaded {
    struct ops_context ops;
    struct model *m;
    struct param_set params;
    struct adapter *adapter;
    struct adapter_config config;
    bool bf16;
};

static void open_base(struct loaded *l, const char *folder)
{
    char path[PATH_BYTES];
    char base[PATH_BYTES];
    json_t *json;
    const struct ops_options options = {.threads = 1, .compute = COMPUTE_F32};
    *l = (struct loaded){0};
    param_set_open(&l->params);
    need(json_load_path(join(folder, "case.json", path), JSON_BYTES, &json), path);
    (void)snprintf(path, sizeof path, "bases/%s", json_get_string(json, "base", "plain"));
    l->bf16 = strcmp(json_get_string(json, "base_dtype", "float32"), "float32") != 0;
    json_decref(json);
    need(ops_context_open(&l->ops, &options), "context");
    need(model_open(&l->m, join(root, path, base), NULL), base);
}

/* Not OK: the folder is refused. */
static enum status open_adapter(struct loaded *l, const char *folder,
                                const struct optim_config *optim)
{
    struct param_layout layout;
    TRY(adapter_read_config(&l->config, folder));
    TRY(adapter_attach(&l->adapter, l->m, &l->params, &l->config));
    if (optim) {
        TRY(optim_prepare(optim, &l->params, &layout));
    }
    TRY(param_set_seal(&l->params, optim ? &layout : NULL));
    return adapter_load(l->adapter, folder);
}

static void close_loaded(struct loaded *l)
{
    adapter_close(l->adapter);
    adapter_config_close(&l->config);
    param_set_close(&l->params);
    model_close(l->m);
    ops_context_close(&l->ops);
}

static void check_limits(const struct loaded *l, const char *name, const struct parity_worst *w)
{
    const double logits = l->bf16 ? BF16_LOGITS : LIMITS.logits;
    print_message("  %-22s logits %.1e loss %.1e d_embed %.1e grad %.1e\n", name, w->logits,
                  w->loss, w->d_embed, w->grad);
    if (w->logits > logits) {
        fail_msg("%s: logits are off by %g", name, w->logits);
    }
    if (!l->bf16
        && (w->loss > LIMITS.loss || w->d_embed > LIMITS.d_embed || w->grad > LIMITS.grad)) {
        fail_msg("%s is outside the limits (worst gradient: %s)", name, w->grad_name);
    }
}

/* The loaded adapter gives the results in `golden_path`; gradients too when its own tensors are the
 * ones that were trained. */
static void compare(struct loaded *l, const char *name, const char *golden_path, bool grads)
{
    struct safetensors *golden;
    struct parity_input in;
    struct parity_output out;
    struct parity_worst worst = {0};
    need(safetensors_open(&golden, golden_path), golden_path);
    need(parity_input_open(&in, golden), name);
    need(parity_run(l->m, &l->ops, &in, PARITY_HOOKS | PARITY_GRAD, &out), name);
    need(parity_compare(l->m, &in, &out, golden, &worst), name);
    if (grads) {
        need(parity_compare_grads(&l->params, golden, &worst), name);
    }
    check_limits(l, name, &worst);
    parity_output_close(&out);
    parity_input_close(&in);
    safetensors_close(golden);
}

/* True when the folder was taken. `sub`: the adapter's folder inside the case, NULL: itself. */
static bool run_case(const char *name, const char *sub)
{
    struct loaded l;
    char folder[PATH_BYTES];
    char inner[PATH_BYTES];
    char golden[PATH_BYTES];
    (void)join(root, name, folder);
    open_base(&l, folder);
    const char *from = sub ? join(folder, sub, inner) : folder;
    const enum status status = open_adapter(&l, from, NULL);
    if (status == STATUS_OK) {
        compare(&l, name, join(folder, "golden.safetensors", golden), !sub);
    } else {
        const bool right = status == STATUS_INPUT || status == STATUS_RECIPE;
        const char *message = status_message();
        const char *at = strstr(message, "adapter_config.json: ");
        print_message("  %-22s refused: %s\n", name,
                      at ? at + strlen("adapter_config.json: ") : message);
        if (!right || strlen(message) < 20) {
            fail_msg("%s: refused with status '%s': %s", name, status_text(status), message);
        }
    }
    close_loaded(&l);
    return status == STATUS_OK;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool is_case(const char *name)
{
    char folder[PATH_BYTES];
    char path[PATH_BYTES];
    return name[0] != '.'
           && access(join(join(root, name, folder), "adapter_config.json", path), R_OK) == 0
           && access(join(folder, "golden.safetensors", path), R_OK) == 0;
}

/* Names of all case folders, sorted; strings are freed by the caller. */
static int list_cases(char *names[MAX_CASES])
{
    int count = 0;
    DIR *dir = opendir(root);
    assert_non_null(dir);
    for (const struct dirent *e = readdir(dir); e && count < MAX_CASES; e = readdir(dir)) {
        if (is_case(e->d_name)) {
            names[count] = strdup(e->d_name);
            assert_non_null(names[count++]);
        }
    }
    (void)closedir(dir);
    qsort(names, (size_t)count, sizeof *names, compare_names);
    return count;
}

/* What must be taken; the rest may be either, but is never wrong. */
static bool in_scope(const char *name)
{
    static const char *const SCOPE[] = {"lora",       "rslora",     "lora_pattern",
                                        "lora_regex", "lora_layers", "lora_qv_r1",
                                        "lora_gaussian", "lora_bf16_base", "lora_biased_base"};
    for (size_t i = 0; i < sizeof SCOPE / sizeof SCOPE[0]; i++) {
        if (strcmp(name, SCOPE[i]) == 0) {
            return true;
        }
    }
    return false;
}

static void folders_agree_or_are_refused(void **state)
{
    (void)state;
    char *names[MAX_CASES];
    skip_without_golden();
    const int count = list_cases(names);
    int taken = 0;
    for (int i = 0; i < count; i++) {
        const bool good = run_case(names[i], NULL);
        if (!good && in_scope(names[i])) {
            fail_msg("%s must be taken", names[i]);
        }
        taken += good;
        free(names[i]);
    }
    print_message("  %d of %d folders taken\n", taken, count);
    assert_true(taken > 0);
}

/* What PEFT converts PiSSA and OLoRA to is plain LoRA on the untouched base. */
static void converted_folders_agree(void **state)
{
    (void)state;
    static const char *const NAMES[] = {"pissa", "olora"};
    skip_without_golden();
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        if (is_case(NAMES[i])) {
            assert_true(run_case(NAMES[i], "converted"));
        }
    }
}

/* Number `i` of a golden F64 vector. */
static double read_f64(const struct safetensors *s, const char *name, int64_t i)
{
    const struct safetensors_entry *e = safetensors_find(s, name);
    double v;
    assert_non_null(e);
    assert_string_equal(e->dtype_name, "F64");
    assert_true(i < tensor_count(&e->view));
    memcpy(&v, (const uint8_t *)e->data + (size_t)i * sizeof v, sizeof v);
    return v;
}

static void row_input(struct parity_input *in, const struct safetensors *golden, int64_t step)
{
    const struct safetensors_entry *e = safetensors_find(golden, "input_ids");
    int32_t ids[512];
    assert_non_null(e);
    const int64_t width = tensor_columns(&e->view);
    const int64_t row = step % tensor_rows(&e->view);
    assert_true(width <= 512);
    for (int64_t t = 0; t < width; t++) {
        int64_t id;
        memcpy(&id, (const uint8_t *)e->data + (size_t)(row * width + t) * sizeof id, sizeof id);
        ids[t] = (int32_t)id;
    }
    need(parity_input_ids(in, ids, width), "input");
}

/* "golden/adapters/trajectory" as its case.json describes it. */
static struct optim_config trajectory_config(void)
{
    char path[PATH_BYTES];
    json_t *json;
    need(json_load_path(join(root, "trajectory/case.json", path), JSON_BYTES, &json), path);
    const json_t *betas = json_object_get(json, "betas");
    struct optim_config c;
    optim_defaults(&c, OPTIM_ADAMW);
    c.learning_rate = json_get_number(json, "lr", 0);
    c.beta1 = json_number_value(json_array_get(betas, 0));
    c.beta2 = json_number_value(json_array_get(betas, 1));
    c.eps = json_get_number(json, "eps", 0);
    c.weight_decay = json_get_number(json, "weight_decay", 0);
    c.max_grad_norm = json_get_number(json, "max_grad_norm", 0);
    need(schedule_configure(&c.schedule, SCHEDULE_COSINE, 3, c.learning_rate, NULL), "cosine");
    json_decref(json);
    return c;
}

struct trajectory_errors {
    double loss;
    double norm; /* relative */
    double lr;   /* relative to the peak */
    double end;  /* of the final tensors, relative to each one's maximum */
};

static void trajectory_step(struct loaded *l, const struct optim_config *c,
                            const struct safetensors *golden, int64_t step, int64_t steps,
                            struct trajectory_errors *e)
{
    struct parity_input in;
    struct parity_output out;
    row_input(&in, golden, step);
    memset(l->params.grad, 0, (size_t)l->params.total * sizeof(float));
    need(parity_run(l->m, &l->ops, &in, PARITY_HOOKS | PARITY_GRAD, &out), "step");
    const struct optim_rates rates = optim_rates(c, optim_schedule(c, step, steps));
    const double lr = rates.lr[OPTIM_GROUP_BASE];
    const double norm = optim_grad_norm(&l->ops, &l->params);
    const double golden_norm = read_f64(golden, "grad_norm", step);
    e->loss = fmax(e->loss, fabs(out.loss - read_f64(golden, "loss", step)));
    e->norm = fmax(e->norm, fabs(norm - golden_norm) / golden_norm);
    e->lr = fmax(e->lr, fabs(lr - read_f64(golden, "lr", step)) / c->learning_rate);
    optim_update(&l->ops, &l->params, c, &rates, norm, step + 1);
    parity_output_close(&out);
    parity_input_close(&in);
}

static void compare_end(const struct loaded *l, struct trajectory_errors *e)
{
    char path[PATH_BYTES];
    struct safetensors *end;
    need(safetensors_open(&end, join(root, "trajectory/end/adapter_model.safetensors", path)),
         path);
    assert_int_equal(safetensors_count(end), l->params.count);
    for (int64_t i = 0; i < l->params.count; i++) {
        const struct param *p = &l->params.params[i];
        const struct safetensors_entry *g = safetensors_find(end, p->name);
        double error = 0.0;
        double scale = 0.0;
        assert_non_null(g);
        assert_int_equal(tensor_count(&g->view), p->count);
        for (int64_t k = 0; k < p->count; k++) {
            float v;
            memcpy(&v, (const uint8_t *)g->data + (size_t)k * sizeof v, sizeof v);
            error = fmax(error, fabs((double)v - (double)param_value(&l->params, i)[k]));
            scale = fmax(scale, fabs((double)v));
        }
        e->end = fmax(e->end, error / scale);
    }
    safetensors_close(end);
}

/* Limits as for single passes. Adam divides by sqrt(v), so gradients near zero could cost more; in
 * these twenty steps they do not. */
static void training_follows_the_trajectory(void **state)
{
    (void)state;
    struct loaded l;
    struct safetensors *golden;
    struct trajectory_errors e = {0};
    char path[PATH_BYTES];
    char start[PATH_BYTES];
    skip_without_golden();
    if (access(join(root, "trajectory/golden.safetensors", path), R_OK) != 0) {
        print_message("skipped: %s is not there\n", path);
        skip();
    }
    const struct optim_config c = trajectory_config();
    open_base(&l, join(root, "lora", start));
    need(open_adapter(&l, start, &c), start);
    need(safetensors_open(&golden, path), path);
    const int64_t steps = tensor_count(&safetensors_find(golden, "loss")->view);
    for (int64_t i = 0; i < steps; i++) {
        trajectory_step(&l, &c, golden, i, steps, &e);
    }
    compare_end(&l, &e);
    print_message("  %d steps: loss %.1e norm %.1e lr %.1e end %.1e\n", (int)steps, e.loss, e.norm,
                  e.lr, e.end);
    assert_true(e.loss <= LIMITS.loss);
    assert_true(e.norm <= LIMITS.grad);
    assert_true(e.lr <= 1e-12);
    assert_true(e.end <= LIMITS.grad);
    safetensors_close(golden);
    close_loaded(&l);
}

int main(void)
{
    const char *shared = getenv("GRAFT_SHARED");
    const char *source = getenv("GRAFT_SOURCE");
    (void)snprintf(root, sizeof root, "%s%s/golden/adapters",
                   shared ? shared : source ? source : ".", shared ? "" : "/../shared");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(folders_agree_or_are_refused),
        cmocka_unit_test(converted_folders_agree),
        cmocka_unit_test(training_follows_the_trajectory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
