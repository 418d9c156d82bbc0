/* KTO runs against TRL's KTOTrainer (golden/preference/kto/runs): see golden_run.h. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "rl/kto.h"
#include "tests/support/golden_run.h"
#include "trainer/format/json.h"

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

static void train(struct golden_run *r, const struct kto_method_config *config,
                  const struct unpaired_set *rows, bool whole, struct golden_worst *w)
{
    const struct kto_env env = {.model = r->model, .ops = &r->ops, .comm = &r->comm, .rows = rows};
    struct kto *k;
    golden_files_need(kto_open(&k, config, &env), r->name);
    const struct train_method m = kto_method(k);
    golden_run_check_gradient(r, &m, w);
    kto_close(k);
    if (whole) {
        const int64_t steps = steps_of(json_object_get(r->json, "log"));
        assert_true(steps > 0);
        golden_files_need(kto_open(&k, config, &env), r->name);
        const struct train_method again = kto_method(k);
        golden_run_train(r, &again, steps);
        golden_run_check_log(r, steps, "", w);
        golden_run_check_weights(r, w);
        kto_close(k);
    }
}

static json_t *row_of(void *ctx, int64_t i)
{
    return json_incref(json_array_get(ctx, (size_t)i));
}

static void check_run(const char *sub, const char *name)
{
    struct golden_run r;
    struct golden_worst w = {0};
    golden_run_open(&r, sub, name);
    json_t *data = json_object_get(r.json, "dataset");
    const struct prompt_format format = {.tokenizer = r.tokenizer, .chat = r.chat};
    const struct unpaired_source source = {row_of, data, (int64_t)json_array_size(data), name,
                                           NULL};
    struct unpaired_set rows = {.max_length = json_get_int(r.args, "max_length", 0)};
    golden_files_need(unpaired_read(&format, &source, &rows), name);
    struct kto_method_config config = {
        .plan = {.rows = rows.count,
                 .world = 1,
                 .per_device = json_get_int(r.args, "per_device_train_batch_size", 0),
                 .accumulation = json_get_int(r.args, "gradient_accumulation_steps", 1)},
        .loss = {.loss = strcmp(json_get_string(r.args, "loss_type", ""), "kto") == 0
                             ? KTO_KTO
                             : KTO_APO_ZERO_UNPAIRED,
                 .beta = json_get_number(r.args, "beta", 0.1),
                 .desirable_weight = json_get_number(r.args, "desirable_weight", 1),
                 .undesirable_weight = json_get_number(r.args, "undesirable_weight", 1)},
        .micro_batch_tokens = 120,
    };
    train(&r, &config, &rows, false, &w);
    config.precompute = true; /* both ways of having a reference must agree */
    train(&r, &config, &rows, true, &w);
    golden_run_verdict(&r, &w);
    unpaired_set_close(&rows);
    golden_run_close(&r);
}

int main(void)
{
    static const struct golden_runs RUNS[] = {{"preference/kto/runs", check_run}};
    return golden_run_tests(NULL, 0, RUNS, 1);
}
