/*
 * SFT runs against TRL's SFTTrainer (golden/sft): rows to examples, their order, the first
 * gradient, every logged number and the weights after the run. Limits: golden/README-training.md.
 */
#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "adapters/adapter.h"
#include "tests/support/golden_files.h"
#include "tests/support/model_files.h"
#include "trainer/data/packing.h"
#include "trainer/format/json.h"
#include "trainer/sft.h"

static const double LOSS_LIMIT = 1e-5;  /* relative: loss, grad_norm, entropy */
static const double ACCURACY_LIMIT = 1e-6; /* F32 rounding: the counts must be the same */
static const double GRAD_LIMIT = 1e-5;  /* relative L2 of the first step's gradients */
static const double PARAM_LIMIT = 1e-4; /* absolute, and relative L2, after the run */

enum { SHARDS = 4, TENSOR_NAME = 512 };

/* One golden run and Graft's objects for it. */
struct run {
    const char *name;
    json_t *json;
    const json_t *args;
    struct safetensors *tensors;
    struct model_files files; /* output_dir */
    struct tokenizer *tokenizer;
    struct chat_template *chat;
    struct model *model;
    struct ops_context ops;
    struct comm comm;
    struct param_set params;
    struct adapter *adapter; /* NULL: full training */
    struct adapter_config adapter_config;
    struct example_set examples;
    struct sft_config config;
    struct optim_config optim;
    int64_t steps;
};

static void read_optim(struct run *r)
{
    const char *schedule = json_get_string(r->args, "lr_scheduler_type", "");
    const char *optim = json_get_string(r->args, "optim", "");
    const bool cosine = strcmp(schedule, "cosine") == 0;
    optim_defaults(&r->optim, strcmp(optim, "sgd") == 0 ? OPTIM_SGD : OPTIM_ADAMW);
    r->optim.learning_rate = json_get_number(r->args, "learning_rate", 0);
    r->optim.beta1 = json_get_number(r->args, "adam_beta1", 0);
    r->optim.beta2 = json_get_number(r->args, "adam_beta2", 0);
    r->optim.eps = json_get_number(r->args, "adam_epsilon", 0);
    r->optim.weight_decay = json_get_number(r->args, "weight_decay", 0);
    r->optim.max_grad_norm = json_get_number(r->args, "max_grad_norm", 0);
    golden_files_need(optim_configure(&r->optim, json_get_string(r->args, "optim_args", NULL)),
                      r->name);
    golden_files_need(schedule_configure(&r->optim.schedule,
                                         cosine ? SCHEDULE_COSINE : SCHEDULE_LINEAR,
                                         json_get_number(r->args, "warmup_steps", 0),
                                         r->optim.learning_rate, NULL),
                      r->name);
    assert_true(cosine || strcmp(schedule, "linear") == 0);
}

static enum packing packing_of(const json_t *args)
{
    const char *strategy = json_get_string(args, "packing_strategy", "bfd");
    if (!json_get_bool(args, "packing", false)) {
        return PACKING_NONE;
    }
    return strcmp(strategy, "wrapped") == 0     ? PACKING_WRAPPED
           : strcmp(strategy, "bfd_split") == 0 ? PACKING_BFD_SPLIT
                                                : PACKING_BFD;
}

static void read_examples(struct run *r)
{
    const enum packing packing = packing_of(r->args);
    const int64_t length = json_get_int(r->args, "max_length", 0);
    const bool shuffle = json_get_bool(r->args, "shuffle_dataset", false);
    const uint64_t seed = (uint64_t)json_get_int(r->args, "seed", 0);
    const json_t *completion_only = json_object_get(r->args, "completion_only_loss");
    const struct example_config config = {
        .format = {.tokenizer = r->tokenizer, .chat = r->chat},
        .max_length = packing == PACKING_NONE ? length : 0,
        .keep_all = packing != PACKING_NONE || length == 0,
        .completion_only_loss = !json_is_false(completion_only),
        .assistant_only_loss = json_get_bool(r->args, "assistant_only_loss", false),
    };
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(r->json, "dataset"), i, row)
    {
        golden_files_need(example_add(&config, row, r->name, &r->examples), r->name);
    }
    if (shuffle && packing != PACKING_NONE) {
        golden_files_need(example_set_shuffle(&r->examples, seed), r->name);
    }
    golden_files_need(example_set_pack(&r->examples, packing, length), r->name);
    if (shuffle) {
        golden_files_need(example_set_shuffle(&r->examples, seed), r->name);
    }
}

static void read_plan(struct run *r)
{
    r->config = (struct sft_config){
        .plan = {.rows = r->examples.count,
                 .world = 1,
                 .per_device = json_get_int(r->args, "per_device_train_batch_size", 0),
                 .accumulation = json_get_int(r->args, "gradient_accumulation_steps", 0),
                 .shuffle = true,
                 .seed = (uint64_t)json_get_int(r->args, "seed", 0)},
        .loss = strcmp(json_get_string(r->args, "loss_type", "nll"), "dft") == 0 ? SFT_DFT : SFT_NLL,
        .label_smoothing = json_get_number(r->args, "label_smoothing_factor", 0),
        .micro_batch_tokens = 200, /* about two rows: several micro-batches a step */
        .eval_batch = 2,
    };
    const int64_t per_epoch = sft_plan_steps_per_epoch(&r->config.plan);
    const int64_t max_steps = json_get_int(r->args, "max_steps", -1);
    const double epochs = json_get_number(r->args, "num_train_epochs", 0);
    r->steps = max_steps > 0 ? max_steps : (int64_t)ceil(epochs * (double)per_epoch);
}

static void attach_lora(struct run *r, const json_t *lora)
{
    struct adapter_config *c = &r->adapter_config;
    const json_t *targets = json_object_get(lora, "targets");
    const size_t count = json_array_size(targets);
    *c = (struct adapter_config){.family = "lora",
                                 .r = json_get_int(lora, "r", 0),
                                 .lora_alpha = json_get_number(lora, "alpha", 0),
                                 .target_modules = calloc(count, sizeof(char *)),
                                 .target_count = (int64_t)count};
    assert_non_null(c->target_modules);
    for (size_t i = 0; i < count; i++) {
        c->target_modules[i] = strdup(json_string_value(json_array_get(targets, i)));
    }
    golden_files_need(adapter_attach(&r->adapter, r->model, &r->params, c), "attach");
}

/* Attaches what is trained and gives it the golden start. */
static void attach(struct run *r)
{
    const json_t *lora = json_object_get(r->json, "lora");
    struct param_layout layout;
    param_set_open(&r->params);
    if (!json_is_object(lora)) {
        golden_files_need(model_full_attach(r->model, &r->params), "attach");
        golden_files_need(optim_prepare(&r->optim, &r->params, &layout), "optimizer");
        golden_files_need(param_set_seal(&r->params, &layout), "seal");
        golden_files_need(model_full_bind(r->model, &r->params), "bind");
        return;
    }
    attach_lora(r, lora);
    golden_files_need(optim_prepare(&r->optim, &r->params, &layout), "optimizer");
    golden_files_need(param_set_seal(&r->params, &layout), "seal");
    for (int64_t i = 0; i < r->params.count; i++) {
        const struct param *p = &r->params.params[i];
        char name[TENSOR_NAME];
        (void)snprintf(name, sizeof name, "init.%s", p->name);
        float *start = golden_files_floats(r->tensors, name, p->count);
        memcpy(param_value(&r->params, i), start, (size_t)p->count * sizeof *start);
        free(start);
    }
}

/* Takes the reference of `json`. */
static void run_open(struct run *r, const char *name, json_t *json, const char *folder)
{
    char path[GOLDEN_PATH];
    char model[GOLDEN_PATH];
    const struct ops_options options = {.threads = 1, .compute = COMPUTE_F32};
    *r = (struct run){.name = name, .json = json, .args = json_object_get(json, "args")};
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
    read_examples(r);
    read_plan(r);
    attach(r);
}

static void run_close(struct run *r)
{
    adapter_close(r->adapter);
    adapter_config_close(&r->adapter_config);
    param_set_close(&r->params);
    example_set_close(&r->examples);
    model_close(r->model);
    chat_template_close(r->chat);
    tokenizer_close(r->tokenizer);
    comm_close(&r->comm);
    ops_context_close(&r->ops);
    safetensors_close(r->tensors);
    model_files_remove(&r->files);
    json_decref(r->json);
}

/* Ids and loss masks are those that TRL prepared, row by row. */
static void check_examples(const struct run *r)
{
    const json_t *prepared = json_object_get(r->json, "prepared");
    assert_int_equal(r->examples.count, json_array_size(prepared));
    for (int64_t i = 0; i < r->examples.count; i++) {
        const struct example *e = &r->examples.items[i];
        const json_t *row = json_array_get(prepared, (size_t)i);
        const json_t *ids = json_object_get(row, "input_ids");
        const json_t *labels = json_object_get(row, "labels");
        const json_t *parts = json_object_get(row, "seq_lengths");
        assert_int_equal(e->part_count, json_array_size(parts));
        for (int64_t p = 0; p < e->part_count; p++) {
            assert_int_equal(e->parts[p], json_integer_value(json_array_get(parts, (size_t)p)));
        }
        if ((size_t)e->count != json_array_size(ids)) {
            fail_msg("%s: row %d has %d tokens, not %d", r->name, (int)i, (int)e->count,
                     (int)json_array_size(ids));
        }
        for (int64_t t = 0; t < e->count; t++) {
            const json_int_t id = json_integer_value(json_array_get(ids, (size_t)t));
            const json_t *label = json_array_get(labels, (size_t)t);
            if (e->ids[t] != id || (label && (json_integer_value(label) != -100) != e->loss[t])) {
                fail_msg("%s: row %d differs at token %d", r->name, (int)i, (int)t);
            }
        }
    }
}

static bool same_ids(const struct example *a, const struct example *b)
{
    return a->count == b->count && memcmp(a->ids, b->ids, (size_t)a->count * sizeof *a->ids) == 0;
}

/* The rows of each step are those of TRL's micro-batches, in order. Equal rows have one number in
 * the golden order. */
static void check_order(const struct run *r)
{
    const json_t *order = json_object_get(r->json, "order");
    size_t micro = 0;
    size_t at = 0;
    assert_int_equal(r->steps, json_get_int(r->json, "steps_run", 0));
    for (int64_t step = 0; step < r->steps; step++) {
        int64_t *rows;
        int64_t count;
        golden_files_need(sft_plan_rows(&r->config.plan, step, &rows, &count), r->name);
        for (int64_t i = 0; i < count; i++) {
            const json_t *batch = json_array_get(order, micro);
            const json_int_t golden = json_integer_value(json_array_get(batch, at));
            if (at >= json_array_size(batch) || golden >= r->examples.count
                || !same_ids(&r->examples.items[rows[i]], &r->examples.items[golden])) {
                fail_msg("%s: step %d takes row %d, not %d", r->name, (int)step, (int)rows[i],
                         (int)golden);
            }
            at++;
            if (at == json_array_size(batch)) {
                micro++;
                at = 0;
            }
        }
        free(rows);
        assert_int_equal(at, 0); /* a step ends with a micro-batch */
    }
    assert_int_equal(micro, json_array_size(order));
}

/* What the comparison found at worst. */
struct worst {
    double grad; /* relative L2 */
    double loss; /* relative */
    double norm; /* relative */
    double entropy; /* relative */
    double accuracy;
    double absolute; /* of parameters */
    double l2;
};

static void open_sft(struct run *r, struct sft_env *env, struct sft **sft)
{
    *env = (struct sft_env){.model = r->model, .ops = &r->ops, .comm = &r->comm,
                            .train = &r->examples};
    golden_files_need(sft_open(sft, &r->config, env), r->name);
}

/* The first step's gradient, clipped, is the golden one; the parameters stay. */
static void check_first_gradient(struct run *r, struct worst *w)
{
    struct sft_env env;
    struct sft *sft;
    struct train_units units;
    open_sft(r, &env, &sft);
    const struct train_method m = sft_method(sft);
    golden_files_need(m.prepare(m.ctx, 0, &units), r->name);
    int64_t *all = calloc((size_t)units.count, sizeof *all);
    double *sums = calloc((size_t)(units.count * m.metrics), sizeof *sums);
    assert_true(all && sums);
    for (int64_t i = 0; i < units.count; i++) {
        all[i] = i;
    }
    memset(r->params.grad, 0, (size_t)r->params.total * sizeof(float));
    golden_files_need(m.run(m.ctx, all, units.count, sums), r->name);
    const double norm = optim_grad_norm(&r->ops, &r->params);
    const double factor = fmin(1.0, r->optim.max_grad_norm / (norm + 1e-6));
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
    sft_close(sft);
}

static enum status save_weights(void *ctx, const char *folder)
{
    return ctx ? adapter_save(ctx, folder) : STATUS_OK;
}

static void train(struct run *r)
{
    struct sft_env env;
    struct sft *sft;
    struct train_result result = {0};
    const struct train_config config = {.output_dir = r->files.folder,
                                        .max_steps = r->steps,
                                        .logging_steps = r->steps,
                                        .shards = SHARDS,
                                        .max_nonfinite_steps = 1,
                                        .optim = r->optim};
    open_sft(r, &env, &sft);
    const struct train_method method = sft_method(sft);
    const struct train_args args = {.config = &config,
                                    .comm = &r->comm,
                                    .ops = &r->ops,
                                    .params = &r->params,
                                    .method = &method,
                                    .export_fn = save_weights,
                                    .export_ctx = r->adapter,
                                    .recipe_text = "method: sft\n",
                                    .world_size = 1};
    golden_files_need(train_run(&args, &result), r->name);
    assert_int_equal(result.steps, r->steps);
    assert_int_equal(result.skipped, 0);
    sft_close(sft);
}

static double number(const json_t *line, const char *key)
{
    assert_true(json_is_number(json_object_get(line, key)));
    return json_get_number(line, key, 0);
}

/* Step by step; what is exact is asserted, the rest goes into *w. */
static void check_line(const struct run *r, const json_t *line, const json_t *golden,
                       struct worst *w)
{
    const struct {
        const char *key;
        double *worst;
    } fields[] = {{"loss", &w->loss}, {"grad_norm", &w->norm}, {"entropy", &w->entropy}};
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        const char *key = fields[i].key;
        *fields[i].worst = fmax(*fields[i].worst, golden_files_relative(number(line, key),
                                                                        number(golden, key)));
    }
    w->accuracy = fmax(w->accuracy, fabs(number(line, "mean_token_accuracy")
                                         - number(golden, "mean_token_accuracy")));
    assert_true(fabs(number(line, "learning_rate") - number(golden, "learning_rate"))
                <= 1e-12 * r->optim.learning_rate);
    assert_true(number(line, "num_tokens") == number(golden, "num_tokens"));
}

static void check_log(const struct run *r, struct worst *w)
{
    char path[MODEL_FILES_PATH];
    FILE *file = fopen(model_files_path(&r->files, "log.jsonl", path), "r");
    const json_t *log = json_object_get(r->json, "log");
    assert_non_null(file);
    for (int64_t step = 0; step < r->steps; step++) {
        const json_t *golden = json_array_get(log, (size_t)step);
        json_t *line = json_loadf(file, JSON_DISABLE_EOF_CHECK, NULL);
        assert_non_null(line);
        assert_int_equal(json_get_int(line, "step", 0), step + 1);
        check_line(r, line, golden, w);
        json_decref(line);
    }
    (void)fclose(file);
}

static void check_weights(const struct run *r, struct worst *w)
{
    for (int64_t i = 0; i < r->params.count; i++) {
        const struct param *p = &r->params.params[i];
        char name[TENSOR_NAME];
        (void)snprintf(name, sizeof name, "final.%s", p->name);
        float *golden = golden_files_floats(r->tensors, name, p->count);
        const struct golden_files_error e =
            golden_files_compare(param_value(&r->params, i), golden, p->count);
        w->absolute = fmax(w->absolute, e.absolute);
        w->l2 = fmax(w->l2, e.l2);
        free(golden);
    }
}

/* Takes the reference of `json`. */
static void check_run(const char *name, json_t *json, const char *folder)
{
    struct run r;
    struct worst w = {0};
    run_open(&r, name, json, folder);
    check_examples(&r);
    check_order(&r);
    if (r.adapter) {
        check_first_gradient(&r, &w);
    }
    train(&r);
    check_log(&r, &w);
    check_weights(&r, &w);
    print_message("  %-21s grad %.1e loss %.1e norm %.1e entropy %.1e accuracy %.1e end %.1e "
                  "l2 %.1e\n", name, w.grad, w.loss, w.norm, w.entropy, w.accuracy, w.absolute,
                  w.l2);
    if (!(w.grad <= GRAD_LIMIT && w.loss <= LOSS_LIMIT && w.norm <= LOSS_LIMIT
          && w.entropy <= LOSS_LIMIT && w.accuracy <= ACCURACY_LIMIT
          && w.absolute <= PARAM_LIMIT && w.l2 <= PARAM_LIMIT)) {
        fail_msg("%s is outside the limits", name);
    }
    run_close(&r);
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

static void runs_follow_trl(void **state)
{
    (void)state;
    char folder[GOLDEN_PATH];
    struct dirent **files;
    int done = 0;
    const int count = scandir(golden_files_folder("sft", folder), &files, is_run, by_name);
    assert_true(count > 0);
    for (int i = 0; i < count; i++) {
        json_t *json = golden_files_json(folder, files[i]->d_name);
        *strrchr(files[i]->d_name, '.') = '\0';
        check_run(files[i]->d_name, json, folder);
        done++;
        free(files[i]);
    }
    free(files);
    print_message("  %d of %d runs\n", done, count);
    assert_true(done > 0);
}

/* Orders that need no golden file: every epoch takes each row once, ranks wrap at the tail. */
static void plans_take_every_row(void **state)
{
    (void)state;
    static const struct sft_plan PLANS[] = {
        {.rows = 7, .world = 1, .per_device = 2, .accumulation = 2, .shuffle = true, .seed = 3},
        {.rows = 7, .world = 3, .per_device = 2, .accumulation = 1, .shuffle = true, .seed = 4},
        {.rows = 1, .world = 2, .per_device = 4, .accumulation = 3, .shuffle = false},
        {.rows = 12, .world = 2, .per_device = 1, .accumulation = 4, .shuffle = false},
    };
    for (size_t k = 0; k < sizeof PLANS / sizeof PLANS[0]; k++) {
        const struct sft_plan *p = &PLANS[k];
        int seen[16] = {0};
        int64_t total = 0;
        const int64_t steps = sft_plan_steps_per_epoch(p);
        for (int64_t step = 0; step < steps; step++) {
            int64_t *rows;
            int64_t count;
            golden_files_need(sft_plan_rows(p, steps + step, &rows, &count), "second epoch");
            assert_true(count > 0 && count <= p->world * p->per_device * p->accumulation);
            for (int64_t i = 0; i < count; i++) {
                assert_true(rows[i] >= 0 && rows[i] < p->rows);
                seen[rows[i]]++;
            }
            total += count;
            free(rows);
        }
        for (int64_t i = 0; i < p->rows; i++) {
            assert_true(p->world == 1 ? seen[i] == 1 : seen[i] >= 1);
        }
        if (p->world == 1) {
            assert_int_equal(total, p->rows);
        } else { /* every rank gets full batches */
            assert_int_equal(total % (p->world * p->per_device), 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plans_take_every_row),
        cmocka_unit_test(runs_follow_trl),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
