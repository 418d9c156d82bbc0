/*
 * Reward models against TRL's RewardTrainer (golden/preference/reward/runs, made by
 * tests/parity/trl_runs.py): first gradient, every logged number, evaluation, final adapter and
 * head.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "rl/reward_model.h"
#include "tests/support/golden_run.h"
#include "trainer/format/json.h"

static void read_pairs(const struct golden_run *r, const char *key, struct ranked_set *out)
{
    const struct prompt_format format = {.tokenizer = r->tokenizer, .chat = r->chat};
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(r->json, key), i, row)
    {
        golden_files_need(ranked_add(&format, json_get_int(r->args, "max_length", 0), row, r->name,
                                     out),
                          r->name);
    }
}

static int64_t steps_of(const json_t *log)
{
    int64_t steps = 0;
    for (size_t i = 0; i < json_array_size(log); i++) {
        steps = json_get_int(json_array_get(log, i), "step", steps);
    }
    return steps;
}

static void check_run(const char *sub, const char *name)
{
    struct golden_run r;
    struct golden_worst w = {0};
    struct ranked_set pairs = {0};
    struct ranked_set evals = {0};
    struct reward_model *m;
    golden_run_open(&r, sub, name);
    read_pairs(&r, "dataset", &pairs);
    read_pairs(&r, "evals", &evals);
    /* A score sums products of size 1, which cancel: its rounding is that of their sizes. */
    r.log_floor = 1.0;
    const json_t *changed = json_object_get(r.json, "changed");
    r.eval_steps = json_get_int(changed, "eval_steps", 0);
    const struct reward_model_config config = {
        .plan = {.rows = pairs.count,
                 .world = 1,
                 .per_device = json_get_int(r.args, "per_device_train_batch_size", 0),
                 .accumulation = json_get_int(r.args, "gradient_accumulation_steps", 1),
                 .shuffle = true,
                 .seed = (uint64_t)json_get_int(r.args, "seed", 0)},
        .center = json_get_number(changed, "center_rewards_coefficient", 0),
        .micro_batch_tokens = 150,
        .eval_batch = json_get_int(r.args, "per_device_eval_batch_size", 8),
    };
    const struct reward_model_env env = {.model = r.model, .ops = &r.ops, .comm = &r.comm,
                                         .pairs = &pairs, .eval = &evals};
    golden_files_need(reward_model_open(&m, &config, &env), name);
    struct train_method method = reward_model_method(m);
    golden_run_check_gradient(&r, &method, &w);
    reward_model_close(m);
    golden_files_need(reward_model_open(&m, &config, &env), name);
    method = reward_model_method(m);
    const int64_t steps = steps_of(json_object_get(r.json, "log"));
    assert_true(steps > 0);
    golden_run_train(&r, &method, steps);
    golden_run_check_log(&r, steps, "", &w);
    golden_run_check_weights(&r, &w);
    golden_run_verdict(&r, &w);
    reward_model_close(m);
    ranked_set_close(&pairs);
    ranked_set_close(&evals);
    golden_run_close(&r);
}

int main(void)
{
    static const struct golden_runs RUNS[] = {{"preference/reward/runs", check_run}};
    return golden_run_tests(NULL, 0, RUNS, 1);
}
