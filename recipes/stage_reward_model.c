/* graft reward-model: which of two answers is better, as a scalar head and an adapter. */
#include "recipes/build.h"
#include "recipes/memory.h"
#include "recipes/preference.h"
#include "recipes/stages.h"
#include "rl/reward_model.h"
#include "trainer/report/report.h"

struct reward_data {
    struct ranked_set train;
    struct ranked_set eval;
};

struct row_reader {
    const struct run *run;
    struct ranked_set *out;
};

static enum status read_row(void *ctx, const json_t *row, const char *where)
{
    const struct row_reader *reader = ctx;
    const struct run *r = reader->run;
    return ranked_add(&r->format, r->recipe.max_length, row, where, reader->out);
}

static enum status read_pairs(struct run *r, struct run_data *data, struct ranked_set *out)
{
    struct row_reader reader = {r, out};
    TRY(run_each_row(data, INT64_MAX, read_row, &reader));
    for (int64_t i = 0; i < 2 * out->count; i++) {
        const struct scored_text *t = &out->items[i / 2].side[i % 2];
        TRY(preference_check_row(r, data, t->ids, t->count, t->count));
    }
    if (out->dropped && r->comm.rank == 0) {
        report_note("%s: %lld rows are longer than max_length and are left out",
                    dataset_name(data->set), (long long)out->dropped);
    }
    return STATUS_OK;
}

static enum status read_all(struct run *r, void *ctx)
{
    struct reward_data *d = ctx;
    TRY(read_pairs(r, &r->train, &d->train));
    return preference_evaluates(r) ? read_pairs(r, &r->test, &d->eval) : STATUS_OK;
}

static enum status train(struct run *r, const struct reward_data *data)
{
    const struct recipe *c = &r->recipe;
    struct reward_model_config config = {
        .plan = preference_plan(c, data->train.count),
        .center = isnan(c->center_rewards_coefficient) ? 0.0 : c->center_rewards_coefficient,
        .dropout = run_dropout(r),
        .eval_batch = c->per_device_eval_batch_size,
    };
    const struct reward_model_env env = {
        .model = r->model,
        .ops = r->ops,
        .comm = &r->comm,
        .pairs = &data->train,
        .eval = data->eval.count > 0 ? &data->eval : NULL,
    };
    struct reward_model *m;
    struct memory_plan plan;
    if (r->model->score.in == 0) {
        return FAIL(RECIPE, "adapter_name_or_path: %s has no score head; it is no reward model's",
                    c->adapter_name_or_path);
    }
    TRY(memory_plan_reward_model(r, &config.plan, &data->train, &plan));
    if (r->plan_only) {
        *r->plan_only = plan;
        return STATUS_OK;
    }
    config.micro_batch_tokens = plan.micro_batch_tokens;
    config.recompute = plan.recompute;
    TRY(reward_model_open(&m, &config, &env));
    const struct train_method method = reward_model_method(m);
    const enum status status = preference_train(r, &config.plan, &method);
    reward_model_close(m);
    return status;
}

enum status stage_reward_model(const struct command_args *args)
{
    struct run r;
    struct reward_data data = {0};
    enum status status = run_open(&r, args, RECIPE_REWARD_MODEL);
    if (status == STATUS_OK) {
        status = preference_prepare(&r, read_all, &data);
    }
    if (status == STATUS_OK) {
        status = train(&r, &data);
    }
    ranked_set_close(&data.train);
    ranked_set_close(&data.eval);
    return stage_end(&r, status);
}
