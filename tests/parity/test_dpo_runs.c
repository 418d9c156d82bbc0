/* DPO runs against TRL's DPOTrainer (golden/preference/dpo/runs): see golden_run.h. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "rl/dpo.h"
#include "tests/support/golden_run.h"
#include "trainer/format/json.h"

static void read_losses(const struct golden_run *r, struct dpo_config *c)
{
    const json_t *losses = json_object_get(r->args, "loss_type");
    const json_t *weights = json_object_get(r->args, "loss_weights");
    const json_t *ld = json_object_get(r->args, "ld_alpha");
    *c = (struct dpo_config){.count = (int)json_array_size(losses),
                             .beta = json_get_number(r->args, "beta", 0.1),
                             .ld_alpha = json_is_number(ld) ? json_number_value(ld) : NAN,
                             .discopop_tau = 0.05};
    for (int i = 0; i < c->count; i++) {
        const char *name = json_string_value(json_array_get(losses, (size_t)i));
        int k = 0;
        while (k < DPO_LOSSES && strcmp(dpo_loss_name((enum dpo_loss)k), name) != 0) {
            k++;
        }
        assert_true(k < DPO_LOSSES);
        c->losses[i] = (enum dpo_loss)k;
        c->weights[i] = json_is_array(weights)
                            ? json_number_value(json_array_get(weights, (size_t)i))
                            : 1.0;
    }
}

static int64_t steps_of(const json_t *log)
{
    for (size_t i = 0; i < json_array_size(log); i++) {
        const json_t *line = json_array_get(log, i);
        if (json_object_get(line, "train_loss")) {
            return json_get_int(line, "step", 0);
        }
    }
    return 0;
}

static void train(struct golden_run *r, const struct dpo_method_config *config,
                  const struct pair_set *pairs, bool gradient, struct golden_worst *w)
{
    const struct dpo_env env = {.model = r->model, .ops = &r->ops, .comm = &r->comm,
                                .pairs = pairs};
    struct dpo *d;
    golden_files_need(dpo_open(&d, config, &env), r->name);
    const struct train_method m = dpo_method(d);
    if (gradient) {
        golden_run_check_gradient(r, &m, w);
    } else {
        const int64_t steps = steps_of(json_object_get(r->json, "log"));
        assert_true(steps > 0);
        golden_run_train(r, &m, steps);
        golden_run_check_log(r, steps, "", w);
        golden_run_check_weights(r, w);
    }
    dpo_close(d);
}

static void check_run(const char *sub, const char *name)
{
    struct golden_run r;
    struct golden_worst w = {0};
    struct pair_set pairs = {0};
    struct dpo_method_config config = {.micro_batch_tokens = 200};
    size_t i;
    json_t *row;
    golden_run_open(&r, sub, name);
    const struct prompt_format format = {.tokenizer = r.tokenizer, .chat = r.chat};
    json_array_foreach(json_object_get(r.json, "dataset"), i, row)
    {
        golden_files_need(pair_add(&format, json_get_int(r.args, "max_length", 0), row, name,
                                   &pairs),
                          name);
    }
    read_losses(&r, &config.loss);
    config.plan = (struct sft_plan){
        .rows = pairs.count,
        .world = 1,
        .per_device = json_get_int(r.args, "per_device_train_batch_size", 0),
        .accumulation = json_get_int(r.args, "gradient_accumulation_steps", 1),
        .shuffle = true,
        .seed = (uint64_t)json_get_int(r.args, "seed", 0),
    };
    train(&r, &config, &pairs, true, &w);
    config.precompute = true; /* both ways of having a reference must agree */
    train(&r, &config, &pairs, true, &w);
    train(&r, &config, &pairs, false, &w);
    golden_run_verdict(&r, &w);
    pair_set_close(&pairs);
    golden_run_close(&r);
}

int main(void)
{
    static const struct golden_runs RUNS[] = {{"preference/dpo/runs", check_run}};
    return golden_run_tests(NULL, 0, RUNS, 1);
}
