/*
 * The loop's rules for the best model, with a method that learns one number: which checkpoints
 * stay, what trainer_state.json says, which weights a run ends with, also after a resume.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/model_files.h"
#include "trainer/format/json.h"
#include "trainer/store/checkpoint.h"
#include "trainer/train.h"

enum { STEPS = 6 };

/* The method's gradient is 1, so SGD at rate 1 makes the weight minus the number of steps. */
struct toy {
    struct model_files files;
    struct ops_context ops;
    struct comm comm;
    struct param_set params;
    const double *metric; /* [step] of evaluations, 0 the start */
    int64_t stop;         /* the run is killed in this step; 0: never */
    int64_t evaluations;
    const char *name;     /* of the metric, "eval_loss" when NULL */
};

static enum status prepare(void *ctx, int64_t step, struct train_units *units)
{
    static const int64_t COST[1] = {1};
    const struct toy *t = ctx;
    *units = (struct train_units){.count = 1, .cost = COST, .padded = 10};
    return t->stop && step + 1 == t->stop ? FAIL(IO, "killed") : STATUS_OK;
}

static enum status run(void *ctx, const int64_t *units, int64_t count, double *sums)
{
    struct toy *t = ctx;
    (void)units;
    assert_int_equal(count, 1);
    param_grad(&t->params, 0)[0] = 1.0f;
    sums[0] = 0.5;
    return STATUS_OK;
}

static enum status log_nothing(void *ctx, const double *totals, json_t *line)
{
    (void)ctx;
    (void)totals;
    (void)line;
    return STATUS_OK;
}

static enum status evaluate(void *ctx, int64_t step, json_t *line)
{
    struct toy *t = ctx;
    t->evaluations++;
    (void)json_object_set_new(line, t->name ? t->name : "eval_loss", json_real(t->metric[step]));
    return STATUS_OK;
}

static enum status export_weight(void *ctx, const char *folder)
{
    const struct toy *t = ctx;
    char path[MODEL_FILES_PATH];
    json_t *value = json_pack("{s:f}", "weight", (double)param_value(&t->params, 0)[0]);
    (void)snprintf(path, sizeof path, "%s/weight.json", folder);
    const enum status status = json_write_path(path, value);
    json_decref(value);
    return status;
}

static void open_params(struct toy *t, const struct optim_config *optim)
{
    struct param_layout layout;
    int64_t index;
    const int64_t shape[1] = {1};
    param_set_open(&t->params);
    assert_int_equal(param_set_add(&t->params, "w", 1, shape, false, &index), STATUS_OK);
    assert_int_equal(optim_prepare(optim, &t->params, &layout), STATUS_OK);
    assert_int_equal(param_set_seal(&t->params, &layout), STATUS_OK);
}

static void toy_open(struct toy *t)
{
    const struct ops_options options = {.threads = 1, .compute = COMPUTE_F32};
    *t = (struct toy){0};
    model_files_make(&t->files);
    assert_int_equal(ops_context_open(&t->ops, &options), STATUS_OK);
    assert_int_equal(comm_open(&t->comm), STATUS_OK);
}

static void toy_close(struct toy *t)
{
    comm_close(&t->comm);
    ops_context_close(&t->ops);
    model_files_remove(&t->files);
}

/* Runs from new parameters, as a new process would. */
static enum status train(struct toy *t, struct train_config *c, struct train_result *out)
{
    c->output_dir = t->files.folder;
    c->max_steps = STEPS;
    c->logging_steps = STEPS;
    c->shards = 1;
    c->max_nonfinite_steps = 1;
    c->resume = true;
    c->step_rows = 3;
    optim_defaults(&c->optim, OPTIM_SGD);
    c->optim.learning_rate = 1;
    c->optim.max_grad_norm = 0;
    c->optim.schedule.kind = SCHEDULE_CONSTANT;
    open_params(t, &c->optim);
    const struct train_method method = {.name = "toy", .ctx = t, .prepare = prepare, .run = run,
                                        .metrics = 1, .log = log_nothing, .evaluate = evaluate,
                                        .eval_rows = 7, .eval_batches = 2};
    const struct train_args args = {.config = c, .comm = &t->comm, .ops = &t->ops,
                                    .params = &t->params, .method = &method,
                                    .export_fn = export_weight, .export_ctx = t,
                                    .recipe_text = "x: 1\n", .world_size = 1, .weights = 5};
    const enum status status = train_run(&args, out);
    param_set_close(&t->params);
    return status;
}

static json_t *read_json(const struct toy *t, const char *name)
{
    char path[MODEL_FILES_PATH];
    json_t *out;
    if (json_load_path(model_files_path(&t->files, name, path), 1 << 20, &out) != STATUS_OK) {
        fail_msg("%s", status_message());
    }
    return out;
}

static double exported(const struct toy *t)
{
    json_t *value = read_json(t, "weight.json");
    const double weight = json_get_number(value, "weight", NAN);
    json_decref(value);
    return weight;
}

/* The checkpoints that are there are those of `steps` (0 ends). */
static void assert_checkpoints(const struct toy *t, const int64_t *steps)
{
    for (int64_t step = 1; step <= STEPS; step++) {
        bool wanted = false;
        for (int64_t i = 0; steps[i]; i++) {
            wanted = wanted || steps[i] == step;
        }
        if (checkpoint_exists(t->files.folder, step) != wanted) {
            fail_msg("checkpoint-%d is %s", (int)step, wanted ? "missing" : "there");
        }
    }
}

static void assert_state(const struct toy *t, const char *file, int64_t step, double metric)
{
    char checkpoint[MODEL_FILES_PATH];
    json_t *state = read_json(t, file);
    (void)snprintf(checkpoint, sizeof checkpoint, "%s/checkpoint-%d", t->files.folder, (int)step);
    assert_int_equal(json_get_int(state, "best_global_step", -1), step);
    assert_true(json_get_number(state, "best_metric", NAN) == metric);
    assert_string_equal(json_get_string(state, "best_model_checkpoint", ""), checkpoint);
    json_decref(state);
}

static const double LOSS[STEPS + 1] = {9, 5, 3, 4, 3, 6, 7}; /* the least first at step 2 */

static struct train_config every_step(void)
{
    return (struct train_config){.save_steps = 1, .eval_steps = 1, .save_total_limit = 2,
                                 .best = {.metric = "eval_loss", .load = true}};
}

static void the_best_checkpoint_is_kept_and_loaded(void **state)
{
    (void)state;
    struct toy t;
    struct train_result result;
    struct train_config c = every_step();
    toy_open(&t);
    t.metric = LOSS;
    assert_int_equal(train(&t, &c, &result), STATUS_OK);
    assert_checkpoints(&t, (const int64_t[]){2, 6, 0});
    assert_true(exported(&t) == -2.0);
    assert_int_equal(result.best.step, 2);
    assert_true(result.best.metric == 3.0);
    assert_state(&t, "trainer_state.json", 2, 3.0);
    assert_state(&t, "checkpoint-6/trainer_state.json", 2, 3.0);
    /* The same command again: finished, and still the best. */
    assert_int_equal(train(&t, &c, &result), STATUS_OK);
    assert_true(result.already_finished);
    assert_true(exported(&t) == -2.0);
    assert_state(&t, "trainer_state.json", 2, 3.0);
    toy_close(&t);
}

static void one_checkpoint_is_the_newest_and_the_best(void **state)
{
    (void)state;
    struct toy t;
    struct train_result result;
    struct train_config c = every_step();
    toy_open(&t);
    t.metric = LOSS;
    c.save_total_limit = 1;
    c.best.load = false; /* protected all the same */
    assert_int_equal(train(&t, &c, &result), STATUS_OK);
    assert_checkpoints(&t, (const int64_t[]){2, 6, 0});
    assert_true(exported(&t) == -6.0);
    toy_close(&t);
}

static void greater_may_be_better(void **state)
{
    (void)state;
    struct toy t;
    struct train_result result;
    struct train_config c = every_step();
    toy_open(&t);
    t.metric = LOSS;
    t.name = "eval_reward";
    (void)snprintf(c.best.metric, sizeof c.best.metric, "eval_reward");
    c.best.greater = true;
    assert_int_equal(train(&t, &c, &result), STATUS_OK);
    assert_true(exported(&t) == -6.0);
    assert_state(&t, "trainer_state.json", 6, 7.0);
    assert_checkpoints(&t, (const int64_t[]){5, 6, 0});
    toy_close(&t);
}

/* save_strategy best: checkpoints where the metric improved, and the end. */
static void only_the_best_are_saved(void **state)
{
    (void)state;
    struct toy t;
    struct train_result result;
    struct train_config c = {.eval_steps = 1,
                             .best = {.metric = "eval_loss", .load = true, .save = true}};
    toy_open(&t);
    t.metric = LOSS;
    assert_int_equal(train(&t, &c, &result), STATUS_OK);
    assert_checkpoints(&t, (const int64_t[]){1, 2, 6, 0});
    assert_true(exported(&t) == -2.0);
    toy_close(&t);
}

/* Killed after the best: the resumed run remembers it though nothing later is better. */
static void a_resume_keeps_the_best(void **state)
{
    (void)state;
    struct toy t;
    struct train_result result;
    struct train_config c = every_step();
    toy_open(&t);
    t.metric = LOSS;
    t.stop = 5;
    assert_int_equal(train(&t, &c, &result), STATUS_IO);
    t.stop = 0;
    assert_int_equal(train(&t, &c, &result), STATUS_OK);
    assert_checkpoints(&t, (const int64_t[]){2, 6, 0});
    assert_true(exported(&t) == -2.0);
    assert_state(&t, "trainer_state.json", 2, 3.0);
    json_t *final = read_json(&t, "trainer_state.json");
    assert_true(json_get_number(final, "total_flos", 0) == 6.0 * 10 * 5 * STEPS);
    json_decref(final);
    toy_close(&t);
}

/* Evaluations every second step of five: 2, 4 and the last; the summary ends the history. */
static void the_last_step_is_evaluated(void **state)
{
    (void)state;
    struct toy t;
    struct train_result result;
    struct train_config c = {.eval_steps = 4, .best = {.metric = "eval_loss"}};
    toy_open(&t);
    t.metric = LOSS;
    assert_int_equal(train(&t, &c, &result), STATUS_OK);
    assert_int_equal(t.evaluations, 2);
    assert_int_equal(result.best.step, 4);
    assert_int_equal(result.best.checkpoint, -1); /* step 4 was never saved */
    json_t *final = read_json(&t, "trainer_state.json");
    const json_t *log = json_object_get(final, "log_history");
    assert_int_equal(json_array_size(log), STEPS + 2 + 1);
    const json_t *last = json_array_get(log, json_array_size(log) - 1);
    const json_t *eval = json_array_get(log, json_array_size(log) - 2);
    static const char *const LAST[] = {"train_runtime", "train_samples_per_second",
                                       "train_steps_per_second", "total_flos", "train_loss"};
    static const char *const EVAL[] = {"eval_loss", "eval_runtime", "eval_samples_per_second",
                                       "eval_steps_per_second"};
    for (size_t i = 0; i < 5; i++) {
        assert_non_null(json_object_get(last, LAST[i]));
    }
    for (size_t i = 0; i < 4; i++) {
        assert_non_null(json_object_get(eval, EVAL[i]));
    }
    assert_true(json_get_number(last, "train_loss", 0) == 0.5);
    assert_int_equal(json_get_int(last, "step", 0), STEPS);
    assert_true(json_is_null(json_object_get(final, "best_model_checkpoint")));
    json_decref(final);
    toy_close(&t);
}

static void a_missing_metric_names_those_there(void **state)
{
    (void)state;
    struct toy t;
    struct train_result result;
    struct train_config c = every_step();
    toy_open(&t);
    t.metric = LOSS;
    (void)snprintf(c.best.metric, sizeof c.best.metric, "eval_accuracy");
    assert_int_equal(train(&t, &c, &result), STATUS_RECIPE);
    assert_non_null(strstr(status_message(), "eval_accuracy; it has eval_loss, eval_runtime"));
    toy_close(&t);
}

static void nan_is_never_the_best(void **state)
{
    (void)state;
    const struct best_rule rule = {.metric = "eval_loss"};
    struct best_state s;
    struct best_state again;
    best_start(&s);
    assert_false(best_observe(&rule, &s, 1, NAN));
    assert_false(s.any);
    json_t *saved = best_save(&s);
    best_load(&again, saved);
    assert_false(again.any);
    assert_int_equal(again.step, -1);
    json_decref(saved);
    assert_true(best_observe(&rule, &s, 2, INFINITY));
    assert_false(best_observe(&rule, &s, 3, INFINITY));
    assert_true(best_observe(&rule, &s, 4, 1.0 / 3.0));
    saved = best_save(&s);
    best_load(&again, saved);
    assert_memory_equal(&again.metric, &s.metric, sizeof s.metric);
    assert_int_equal(again.step, 4);
    assert_int_equal(again.checkpoint, -1);
    json_decref(saved);
    best_load(&again, NULL); /* a checkpoint of before */
    assert_false(again.any);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_best_checkpoint_is_kept_and_loaded),
        cmocka_unit_test(one_checkpoint_is_the_newest_and_the_best),
        cmocka_unit_test(greater_may_be_better),
        cmocka_unit_test(only_the_best_are_saved),
        cmocka_unit_test(a_resume_keeps_the_best),
        cmocka_unit_test(the_last_step_is_evaluated),
        cmocka_unit_test(a_missing_metric_names_those_there),
        cmocka_unit_test(nan_is_never_the_best),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
