/*
 * Distillation against TRL's GKDTrainer (golden/distill/runs, made by
 * tests/parity/trl_runs_full.py) with scripted completions: which micro-steps are sampled, first
 * gradient, losses, evaluation, final adapter.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "rl/distill.h"
#include "tests/support/golden_run.h"
#include "trainer/format/json.h"

static void read_rows(const struct golden_run *r, const char *key, struct distill_set *out)
{
    const struct prompt_format format = {.tokenizer = r->tokenizer, .chat = r->chat};
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(r->json, key), i, row)
    {
        golden_files_need(distill_add(&format, json_get_int(r->args, "max_length", 0), row,
                                      r->name, out),
                          r->name);
    }
}

/* The completion that TRL was handed; none there means that the draws went apart. */
static enum status script(void *ctx, int64_t micro_step, int64_t row, struct token_list *out)
{
    size_t i;
    json_t *entry;
    json_array_foreach(ctx, i, entry)
    {
        const json_t *all = json_object_get(entry, "completions");
        const json_t *said = json_array_get(all, (size_t)row);
        if (json_get_int(entry, "micro", -1) == micro_step && said) {
            for (size_t t = 0; t < json_array_size(said); t++) {
                const json_int_t id = json_integer_value(json_array_get(said, t));
                golden_files_need(token_list_push(out, (int32_t)id), "script");
            }
            return STATUS_OK;
        }
    }
    fail_msg("micro-step %d was not sampled", (int)micro_step);
    return STATUS_OK;
}

static int64_t steps_of(const json_t *log)
{
    int64_t steps = 0;
    for (size_t i = 0; i < json_array_size(log); i++) {
        steps = json_get_int(json_array_get(log, i), "step", steps);
    }
    return steps;
}

static void train(struct golden_run *r, const struct distill_config *config,
                  const struct distill_env *env, struct golden_worst *w)
{
    struct distiller *d;
    golden_files_need(distill_open(&d, config, env), r->name);
    struct train_method method = distill_method(d);
    golden_run_check_gradient(r, &method, w);
    distill_close(d);
    golden_files_need(distill_open(&d, config, env), r->name);
    method = distill_method(d);
    const int64_t steps = steps_of(json_object_get(r->json, "log"));
    assert_true(steps > 0);
    golden_run_train(r, &method, steps);
    golden_run_check_log(r, steps, "", w);
    golden_run_check_weights(r, w);
    golden_run_verdict(r, w);
    distill_close(d);
}

static void check_run(const char *sub, const char *name)
{
    char folder[GOLDEN_PATH];
    struct golden_run r;
    struct golden_worst w = {0};
    struct distill_set rows = {0};
    struct distill_set held_out = {0};
    struct model *teacher;
    golden_run_open(&r, sub, name);
    golden_files_need(model_open(&teacher, golden_files_folder("tiny_teacher", folder), NULL),
                      folder);
    read_rows(&r, "dataset", &rows);
    read_rows(&r, "evals", &held_out);
    const json_t *changed = json_object_get(r.json, "changed");
    r.eval_steps = json_get_int(changed, "eval_steps", 0);
    const struct distill_config config = {
        .plan = {.rows = rows.count,
                 .world = 1,
                 .per_device = json_get_int(r.args, "per_device_train_batch_size", 0),
                 .accumulation = json_get_int(r.args, "gradient_accumulation_steps", 1),
                 .shuffle = true,
                 .seed = (uint64_t)json_get_int(r.args, "seed", 0)},
        .lmbda = json_get_number(changed, "lmbda", 0.5),
        .beta = json_get_number(changed, "beta", 0.5),
        .seq_kd = json_is_true(json_object_get(changed, "seq_kd")),
        .seed = (uint64_t)json_get_int(r.args, "seed", 0),
        .micro_batch_tokens = 150,
        .eval_batch = json_get_int(r.args, "per_device_eval_batch_size", 8),
        .script = script,
        .script_ctx = json_object_get(r.json, "scripts"),
    };
    const struct distill_env env = {.model = r.model, .teacher = teacher, .ops = &r.ops,
                                    .comm = &r.comm, .rows = &rows, .eval = &held_out};
    train(&r, &config, &env, &w);
    distill_set_close(&rows);
    distill_set_close(&held_out);
    model_close(teacher);
    golden_run_close(&r);
}

int main(void)
{
    static const struct golden_runs RUNS[] = {{"distill/runs", check_run}};
    return golden_run_tests(NULL, 0, RUNS, 1);
}
