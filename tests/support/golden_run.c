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
static const double RATE_LIMIT = 1e-12; /* of the peak learning rate */
/* Where the first step is not determined the later ones and their log follow it. */
static const double UNDETERMINED_LIMIT = 5e-4;
static const double GRAD_ROUNDING = 1e-6; /* of a gradient, against its tensor's root mean square */

enum { TENSOR_NAME = 512, SHARDS = 4, RUN_NAME = 128, MOST_UNDETERMINED = 1000 };

static enum schedule_kind schedule_of(const char *name)
{
    if (strcmp(name, "cosine_with_min_lr") == 0) {
        return SCHEDULE_COSINE_WITH_MIN_LR;
    }
    assert_true(strcmp(name, "cosine") == 0 || strcmp(name, "linear") == 0);
    return strcmp(name, "cosine") == 0 ? SCHEDULE_COSINE : SCHEDULE_LINEAR;
}

static void read_optim(struct golden_run *r)
{
    const json_t *changed = json_object_get(r->json, "changed");
    const char *optim = json_get_string(r->args, "optim", "");
    optim_defaults(&r->optim, strcmp(optim, "sgd") == 0 ? OPTIM_SGD : OPTIM_ADAMW);
    r->optim.learning_rate = json_get_number(r->args, "learning_rate", 0);
    r->optim.beta1 = json_get_number(r->args, "adam_beta1", 0.9);
    r->optim.beta2 = json_get_number(r->args, "adam_beta2", 0.999);
    r->optim.eps = json_get_number(r->args, "adam_epsilon", 1e-8);
    r->optim.weight_decay = json_get_number(r->args, "weight_decay", 0);
    r->optim.max_grad_norm = json_get_number(r->args, "max_grad_norm", 1);
    golden_files_need(optim_configure(&r->optim, json_get_string(r->args, "optim_args", NULL)),
                      r->name);
    golden_files_need(
        schedule_configure(&r->optim.schedule,
                           schedule_of(json_get_string(r->args, "lr_scheduler_type", "linear")),
                           json_get_number(r->args, "warmup_steps", 0), r->optim.learning_rate,
                           json_object_get(changed, "lr_scheduler_kwargs")),
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

/* Size of the largest value that the log has under a key; 0: it has none. */
static double largest_logged(const struct golden_run *r, const char *key)
{
    double largest = 0.0;
    size_t i;
    json_t *line;
    json_array_foreach(json_object_get(r->json, "log"), i, line)
    {
        largest = fmax(largest, fabs(json_get_number(line, key, 0)));
    }
    return largest;
}

/* DPO and KTO: a reward is beta times a difference of two F32 sums of log-probs, each a few
 * roundings off; the floor makes four of the largest logged sum the limit of a step. */
static double reward_floor_of(const struct golden_run *r)
{
    const double largest =
        fmax(largest_logged(r, "logps/chosen"), largest_logged(r, "logps/rejected"));
    return 4 * 0x1p-23 * largest * json_get_number(r->args, "beta", 0) / LOG_LIMIT;
}

/* A gradient is a sum whose terms do not shrink where they cancel (the second update of a round at a
 * clipped ratio): a tenth of the largest logged norm. */
static double norm_floor_of(const struct golden_run *r)
{
    return largest_logged(r, "grad_norm") / 10;
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
                             .log_floor = 0.1, .later_limit = LATER_LIMIT};
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
    r->reward_floor = reward_floor_of(r);
    r->norm_floor = norm_floor_of(r);
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

/* How far a logged number is off, to be held against later_limit. */
static double distance(const struct golden_run *r, int64_t step, const char *key, double off,
                       double size)
{
    if (strcmp(key, "learning_rate") == 0) {
        return off <= RATE_LIMIT * r->optim.learning_rate ? 0.0 : (double)INFINITY;
    }
    if (strcmp(key, "num_tokens") == 0) {
        return off == 0.0 ? 0.0 : (double)INFINITY;
    }
    const bool reward = strncmp(key, "rewards/", 8) == 0 || strcmp(key, "kl") == 0;
    const bool norm = strcmp(key, "grad_norm") == 0;
    const double floor =
        fmax(r->log_floor, reward ? r->reward_floor : norm ? r->norm_floor : 0.0);
    return off / (size + floor) * (step == 1 ? r->later_limit / LOG_LIMIT : 1.0);
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
        const double off = distance(r, step, key, fabs(json_number_value(got) - want), fabs(want));
        if (!(off <= w->log)) {
            w->log = off;
            w->log_key = key;
        }
        if (!(off <= r->later_limit)) {
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

/* Whether the first step of number k may be off by half of PARAM_LIMIT; rms: of the gradient g. */
static bool is_undetermined(const struct golden_run *r, double g, double rms)
{
    const double rounding = GRAD_ROUNDING * rms;
    const double slope = r->optim.eps / pow(fabs(g) + r->optim.eps, 2.0);
    return r->optim.kind == OPTIM_ADAMW
           && r->optim.learning_rate * slope * rounding > PARAM_LIMIT / 2;
}

/* Which numbers of a parameter are undetermined: NULL for none, for the caller to free. */
static bool *undetermined_of(const struct golden_run *r, const struct param *p, int64_t *count)
{
    char name[TENSOR_NAME];
    double squares = 0.0;
    bool *out = NULL;
    (void)snprintf(name, sizeof name, "grad1.%s", p->name);
    if (!safetensors_find(r->tensors, name)) {
        return NULL;
    }
    float *g = golden_files_floats(r->tensors, name, p->count);
    for (int64_t k = 0; k < p->count; k++) {
        squares += (double)g[k] * (double)g[k];
    }
    for (int64_t k = 0; k < p->count; k++) {
        if (is_undetermined(r, (double)g[k], sqrt(squares / (double)p->count))) {
            out = out ? out : calloc((size_t)p->count, sizeof *out);
            assert_non_null(out);
            out[k] = true;
            *count += 1;
        }
    }
    free(g);
    return out;
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
        bool *skip = undetermined_of(r, p, &w->undetermined);
        for (int64_t k = 0; skip && k < p->count; k++) {
            if (skip[k]) {
                const double d = fabs((double)param_value(&r->params, i)[k] - (double)golden[k]);
                assert_true(d <= 2.0 * r->optim.learning_rate);
                golden[k] = param_value(&r->params, i)[k];
            }
        }
        free(skip);
        const struct golden_files_error e =
            golden_files_compare(param_value(&r->params, i), golden, p->count);
        w->absolute = fmax(w->absolute, e.absolute);
        if (!(e.l2 <= w->tensor)) {
            w->tensor = e.l2;
            w->tensor_name = p->name;
        }
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
    print_message("  %-21s grad %.1e log %.1e (%s) end %.1e l2 %.1e tensor %.1e", r->name, w->grad,
                  w->log, w->log_key ? w->log_key : "", w->absolute, w->l2, w->tensor);
    print_message(w->tensor > PARAM_LIMIT ? " %s\n" : "\n", w->tensor_name);
    if (w->undetermined > 0) {
        print_message("  %-21s %lld first steps are not determined\n", r->name,
                      (long long)w->undetermined);
    }
    const double log_limit = w->undetermined > 0 ? UNDETERMINED_LIMIT : r->later_limit;
    if (!(w->grad <= GRAD_LIMIT && w->log <= log_limit && w->absolute <= PARAM_LIMIT
          && w->l2 <= PARAM_LIMIT && w->undetermined * MOST_UNDETERMINED <= r->params.total)) {
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

/* What a test of one run is given. */
struct run_case {
    const struct golden_runs *runs;
    char name[RUN_NAME];
    char title[RUN_NAME];
};

static void check_case(void **state)
{
    const struct run_case *c = *state;
    c->runs->check(c->runs->sub, c->name);
}

static void check_missing(void **state)
{
    const struct run_case *c = *state;
    char folder[GOLDEN_PATH];
    fail_msg("%s: no runs", golden_files_folder(c->runs->sub, folder));
}

/* Tests that grow. */
struct test_list {
    struct CMUnitTest *items;
    size_t count;
    size_t capacity;
};

static void add_test(struct test_list *list, const struct CMUnitTest *test)
{
    if (list->count == list->capacity) {
        list->capacity = 2 * list->capacity + 8;
        list->items = realloc(list->items, list->capacity * sizeof *list->items);
    }
    list->items[list->count++] = *test;
}

static void add_case(struct test_list *list, const struct golden_runs *runs, const char *file)
{
    struct run_case *c = calloc(1, sizeof *c);
    c->runs = runs;
    if (file) {
        (void)snprintf(c->name, sizeof c->name, "%.*s", (int)(strrchr(file, '.') - file), file);
    }
    (void)snprintf(c->title, sizeof c->title, "%.60s/%.60s", runs->sub, c->name);
    const struct CMUnitTest test = {.name = c->title,
                                    .test_func = file ? check_case : check_missing,
                                    .initial_state = c};
    add_test(list, &test);
}

static void add_runs(struct test_list *list, const struct golden_runs *runs)
{
    char folder[GOLDEN_PATH];
    struct dirent **files;
    const int count = scandir(golden_files_path(runs->sub, folder), &files, is_run, by_name);
    if (count <= 0) {
        add_case(list, runs, NULL);
    }
    for (int i = 0; i < count; i++) {
        add_case(list, runs, files[i]->d_name);
        free(files[i]);
    }
    if (count >= 0) {
        free(files);
    }
}

int golden_run_tests(const struct CMUnitTest *tests, size_t count, const struct golden_runs *runs,
                     size_t run_count)
{
    struct test_list list = {0};
    for (size_t i = 0; i < count; i++) {
        add_test(&list, &tests[i]);
    }
    for (size_t i = 0; i < run_count; i++) {
        add_runs(&list, &runs[i]);
    }
    const int failed = _cmocka_run_group_tests("golden runs", list.items, list.count, NULL, NULL);
    for (size_t i = count; i < list.count; i++) {
        free(list.items[i].initial_state);
    }
    free(list.items);
    return failed;
}
