#include "tests/support/golden_run.h"

#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "trainer/format/json.h"

static const double GRAD_LIMIT = 1e-5;
static const double LOG_LIMIT = 1e-5; /* at the first step */
/* Later the weights themselves are apart: Adam turns the rounding of tiny gradients into steps. */
static const double LATER_LIMIT = 3e-5;
static const double PARAM_LIMIT = 1e-4;
/* Where TRL trains on the rounding of an advantage (w.noise): Adam makes whole steps of it. */
static const double NOISE_LOG_LIMIT = 5e-4;
static const double NOISE_PARAM_LIMIT = 5e-4;

enum { TENSOR_NAME = 512, SHARDS = 4 };

static void read_optim(struct golden_run *r)
{
    const char *schedule = json_get_string(r->args, "lr_scheduler_type", "linear");
    const bool min_lr = strcmp(schedule, "cosine_with_min_lr") == 0;
    assert_true(min_lr || strcmp(schedule, "linear") == 0);
    optim_defaults(&r->optim, OPTIM_ADAMW);
    r->optim.learning_rate = json_get_number(r->args, "learning_rate", 0);
    r->optim.beta1 = json_get_number(r->args, "adam_beta1", 0.9);
    r->optim.beta2 = json_get_number(r->args, "adam_beta2", 0.999);
    r->optim.eps = json_get_number(r->args, "adam_epsilon", 1e-8);
    r->optim.weight_decay = json_get_number(r->args, "weight_decay", 0);
    r->optim.max_grad_norm = json_get_number(r->args, "max_grad_norm", 1);
    golden_files_need(
        schedule_configure(&r->optim.schedule,
                           min_lr ? SCHEDULE_COSINE_WITH_MIN_LR : SCHEDULE_LINEAR,
                           json_get_number(r->args, "warmup_steps", 0), r->optim.learning_rate,
                           json_object_get(json_object_get(r->json, "changed"),
                                           "lr_scheduler_kwargs")),
        r->name);
}

static void seal(struct golden_run *r)
{
    struct param_layout layout;
    golden_files_need(optim_prepare(&r->optim, &r->params, &layout), r->name);
    golden_files_need(param_set_seal(&r->params, &layout), r->name);
}

static void attach_lora(struct golden_run *r, const json_t *lora)
{
    struct adapter_config *c = &r->adapter_config;
    const json_t *targets = json_object_get(lora, "targets");
    const size_t count = json_array_size(targets);
    *c = (struct adapter_config){.family = "lora",
                                 .r = json_get_int(lora, "r", 0),
                                 .lora_alpha = json_get_number(lora, "alpha", 0),
                                 .target_modules = calloc(count, sizeof(char *)),
                                 .target_count = (int64_t)count,
                                 .score = strcmp(json_get_string(lora, "task", ""), "SEQ_CLS")
                                          == 0};
    assert_non_null(c->target_modules);
    for (size_t i = 0; i < count; i++) {
        c->target_modules[i] = strdup(json_string_value(json_array_get(targets, i)));
    }
    golden_files_need(adapter_attach(&r->adapter, r->model, &r->params, c), "attach");
    seal(r);
    adapter_initialize(r->adapter, 0);
    for (int64_t i = 0; i < r->params.count; i++) {
        const struct param *p = &r->params.params[i];
        char name[TENSOR_NAME];
        (void)snprintf(name, sizeof name, "init.%s", p->name);
        float *start = golden_files_floats(r->tensors, name, p->count);
        memcpy(param_value(&r->params, i), start, (size_t)p->count * sizeof *start);
        free(start);
    }
}

static void attach_full(struct golden_run *r)
{
    golden_files_need(model_full_attach(r->model, &r->params), "attach");
    seal(r);
    golden_files_need(model_full_bind(r->model, &r->params), "bind");
}

void golden_run_open(struct golden_run *r, const char *sub, const char *name)
{
    char folder[GOLDEN_PATH];
    char path[GOLDEN_PATH + 128];
    char file[128];
    char model[GOLDEN_PATH];
    const struct ops_options options = {.threads = 1, .compute = COMPUTE_F32};
    (void)golden_files_folder(sub, folder);
    (void)snprintf(file, sizeof file, "%s.json", name);
    json_t *json = golden_files_json(folder, file);
    *r = (struct golden_run){.name = name, .json = json, .args = json_object_get(json, "args"),
                             .log_floor = 0.1};
    (void)snprintf(path, sizeof path, "%s/%s.safetensors", folder, name);
    (void)golden_files_folder("tiny_llama", model);
    model_files_make(&r->files);
    golden_files_need(safetensors_open(&r->tensors, path), path);
    golden_files_need(ops_context_open(&r->ops, &options), "context");
    golden_files_need(comm_open(&r->comm), "comm");
    golden_files_need(tokenizer_open_folder(&r->tokenizer, model), model);
    golden_files_need(chat_template_open(&r->chat, tokenizer_chat_template(r->tokenizer)), model);
    golden_files_need(model_open(&r->model, model, NULL), model);
    read_optim(r);
    param_set_open(&r->params);
    const json_t *lora = json_object_get(json, "lora");
    if (json_is_object(lora)) {
        attach_lora(r, lora);
    } else {
        attach_full(r);
    }
}

void golden_run_close(struct golden_run *r)
{
    adapter_close(r->adapter);
    adapter_config_close(&r->adapter_config);
    param_set_close(&r->params);
    model_close(r->model);
    chat_template_close(r->chat);
    tokenizer_close(r->tokenizer);
    comm_close(&r->comm);
    ops_context_close(&r->ops);
    safetensors_close(r->tensors);
    model_files_remove(&r->files);
    json_decref(r->json);
}

void golden_run_check_gradient(struct golden_run *r, const struct train_method *m,
                               struct golden_worst *w)
{
    struct train_units units;
    golden_files_need(m->prepare(m->ctx, 0, &units), r->name);
    int64_t *all = calloc((size_t)units.count + 1, sizeof *all);
    double *sums = calloc((size_t)(units.count * m->metrics) + 1, sizeof *sums);
    assert_true(all && sums);
    for (int64_t i = 0; i < units.count; i++) {
        all[i] = i;
    }
    memset(r->params.grad, 0, (size_t)r->params.total * sizeof(float));
    golden_files_need(m->run(m->ctx, all, units.count, sums), r->name);
    const double norm = optim_grad_norm(&r->ops, &r->params);
    const double factor = r->optim.max_grad_norm > 0
                              ? fmin(1.0, r->optim.max_grad_norm / (norm + 1e-6))
                              : 1.0;
    for (int64_t i = 0; i < r->params.count; i++) {
        const struct param *p = &r->params.params[i];
        char name[TENSOR_NAME];
        (void)snprintf(name, sizeof name, "grad1.%s", p->name);
        float *golden = golden_files_floats(r->tensors, name, p->count);
        float *g = param_grad(&r->params, i);
        for (int64_t k = 0; k < p->count; k++) {
            g[k] = (float)((double)g[k] * factor);
        }
        w->grad = fmax(w->grad, golden_files_compare(g, golden, p->count).l2);
        free(golden);
    }
    free(all);
    free(sums);
}

static enum status save_weights(void *ctx, const char *folder)
{
    return ctx ? adapter_save(ctx, folder) : STATUS_OK;
}

void golden_run_train(struct golden_run *r, const struct train_method *m, int64_t steps)
{
    struct train_result result = {0};
    const struct train_config config = {.output_dir = r->files.folder,
                                        .max_steps = steps,
                                        .logging_steps = 1,
                                        .eval_steps = r->eval_steps,
                                        .eval_delay = r->eval_delay,
                                        .eval_on_start = r->eval_on_start,
                                        .shards = SHARDS,
                                        .max_nonfinite_steps = 1,
                                        .optim = r->optim};
    const struct train_args args = {.config = &config,
                                    .comm = &r->comm,
                                    .ops = &r->ops,
                                    .params = &r->params,
                                    .method = m,
                                    .export_fn = save_weights,
                                    .export_ctx = r->adapter,
                                    .recipe_text = "method: test\n",
                                    .world_size = 1};
    golden_files_need(train_run(&args, &result), r->name);
    assert_int_equal(result.steps, steps);
    assert_int_equal(result.skipped, 0);
}

/* True when `key` is a word of `list`. */
static bool is_among(const char *list, const char *key)
{
    const size_t n = strlen(key);
    for (const char *at = list; at && (at = strstr(at, key)); at += n) {
        if ((at == list || at[-1] == ' ') && (at[n] == ' ' || at[n] == '\0')) {
            return true;
        }
    }
    return false;
}

static void check_line(const struct golden_run *r, int64_t step, json_t *line, json_t *golden,
                       const char *skip, struct golden_worst *w)
{
    const char *key;
    json_t *value;
    json_object_foreach(golden, key, value)
    {
        if (strcmp(key, "epoch") == 0 || strcmp(key, "step") == 0 || is_among(skip, key)) {
            continue;
        }
        const json_t *got = json_object_get(line, key);
        if (!json_is_number(got)) {
            fail_msg("%s: step %lld: %s is missing", r->name, (long long)step, key);
        }
        const double want = json_number_value(value);
        const double off = fabs(json_number_value(got) - want) / (fabs(want) + r->log_floor)
                           * (step == 1 ? LATER_LIMIT / LOG_LIMIT : 1.0);
        if (!(off <= w->log)) {
            w->log = off;
            w->log_key = key;
        }
        if (!(off <= LATER_LIMIT)) {
            print_message("  %s: step %lld: %s %.9g, expected %.9g\n", r->name, (long long)step,
                          key, json_number_value(got), want);
        }
    }
}

/* The next line of a step; the evaluation before the first step is passed over. */
static json_t *next_line(FILE *file)
{
    json_t *line = json_loadf(file, JSON_DISABLE_EOF_CHECK, NULL);
    if (line && json_get_int(line, "step", -1) == 0) {
        json_decref(line);
        line = json_loadf(file, JSON_DISABLE_EOF_CHECK, NULL);
    }
    assert_non_null(line);
    return line;
}

void golden_run_check_log(const struct golden_run *r, int64_t steps, const char *skip,
                          struct golden_worst *w)
{
    char path[MODEL_FILES_PATH];
    FILE *file = fopen(model_files_path(&r->files, "log.jsonl", path), "re");
    const json_t *log = json_object_get(r->json, "log");
    size_t at = 0;
    assert_non_null(file);
    for (int64_t step = 1; step <= steps; step++) {
        json_t *golden;
        do {
            golden = json_array_get(log, at++);
            assert_non_null(golden);
        } while (!json_object_get(golden, "loss") || json_get_int(golden, "step", 0) != step);
        json_t *line = next_line(file);
        assert_int_equal(json_get_int(line, "step", 0), step);
        check_line(r, step, line, golden, skip, w);
        golden = json_array_get(log, at);
        if (r->eval_steps > 0 && json_object_get(golden, "eval_loss")) {
            check_line(r, step, line, golden, skip, w);
        }
        json_decref(line);
    }
    (void)fclose(file);
}

int golden_run_check_evals(const struct golden_run *r, int64_t steps, struct golden_worst *w)
{
    char path[MODEL_FILES_PATH];
    FILE *file = fopen(model_files_path(&r->files, "log.jsonl", path), "re");
    const json_t *log = json_object_get(r->json, "log");
    int count = 0;
    assert_non_null(file);
    for (int64_t step = 1; step <= steps; step++) {
        json_t *line = next_line(file);
        bool wanted = false;
        for (size_t i = 0; i < json_array_size(log); i++) {
            json_t *golden = json_array_get(log, i);
            if (json_object_get(golden, "eval_loss") && json_get_int(golden, "step", 0) == step) {
                check_line(r, step, line, golden,
                           "eval_runtime eval_samples_per_second eval_steps_per_second", w);
                wanted = true;
            }
        }
        assert_int_equal(json_object_get(line, "eval_loss") != NULL, wanted);
        count += wanted;
        json_decref(line);
    }
    (void)fclose(file);
    return count;
}

void golden_run_check_weights(const struct golden_run *r, struct golden_worst *w)
{
    double off = 0.0;
    double all = 0.0;
    for (int64_t i = 0; i < r->params.count; i++) {
        const struct param *p = &r->params.params[i];
        char name[TENSOR_NAME];
        (void)snprintf(name, sizeof name, "final.%s", p->name);
        float *golden = golden_files_floats(r->tensors, name, p->count);
        const struct golden_files_error e =
            golden_files_compare(param_value(&r->params, i), golden, p->count);
        w->absolute = fmax(w->absolute, e.absolute);
        for (int64_t k = 0; k < p->count; k++) {
            const double d = (double)param_value(&r->params, i)[k] - (double)golden[k];
            off += d * d;
            all += (double)golden[k] * (double)golden[k];
        }
        free(golden);
    }
    w->l2 = sqrt(off / all);
}

void golden_run_verdict(const struct golden_run *r, const struct golden_worst *w)
{
    print_message("  %-20s grad %.1e log %.1e (%s) end %.1e l2 %.1e\n", r->name, w->grad, w->log,
                  w->log_key ? w->log_key : "", w->absolute, w->l2);
    const double log_limit = w->noise ? NOISE_LOG_LIMIT : LATER_LIMIT;
    const double param_limit = w->noise ? NOISE_PARAM_LIMIT : PARAM_LIMIT;
    if (!(w->grad <= GRAD_LIMIT && w->log <= log_limit && w->absolute <= param_limit
          && w->l2 <= PARAM_LIMIT)) {
        fail_msg("%s is outside the limits", r->name);
    }
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_run(const struct dirent *e)
{
    const char *dot = strrchr(e->d_name, '.');
    return dot && strcmp(dot, ".json") == 0;
}

void golden_run_each(const char *sub, void (*each)(const char *sub, const char *name))
{
    char folder[GOLDEN_PATH];
    struct dirent **files;
    const int count = scandir(golden_files_folder(sub, folder), &files, is_run, by_name);
    assert_true(count > 0);
    for (int i = 0; i < count; i++) {
        *strrchr(files[i]->d_name, '.') = '\0';
        each(sub, files[i]->d_name);
        free(files[i]);
    }
    free(files);
    print_message("  %d runs of %s\n", count, sub);
}
