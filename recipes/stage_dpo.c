/* graft dpo: preference training by recipe. Setup, train, report. */
#include "recipes/build.h"
#include "recipes/memory.h"
#include "recipes/preference.h"
#include "recipes/stages.h"
#include "rl/dpo.h"

struct dpo_data {
    struct pair_set train;
    struct pair_set eval;
};

struct row_reader {
    const struct run *run;
    struct pair_set *out;
};

static enum status read_row(void *ctx, const json_t *row, const char *where)
{
    const struct row_reader *reader = ctx;
    const struct run *r = reader->run;
    return pair_add(&r->format, r->recipe.max_length, row, where, reader->out);
}

static enum status read_pairs(struct run *r, struct run_data *data, struct pair_set *out)
{
    struct row_reader reader = {r, out};
    TRY(run_each_row(data, INT64_MAX, read_row, &reader));
    for (int64_t i = 0; i < out->count; i++) {
        const struct pair *p = &out->items[i];
        const int64_t longer = p->chosen_count > p->rejected_count ? p->chosen_count
                                                                   : p->rejected_count;
        TRY(preference_check_row(r, data, p->ids,
                                 p->prompt_count + p->chosen_count + p->rejected_count,
                                 p->prompt_count + longer));
    }
    preference_note_dropped(r, data, out->dropped);
    return STATUS_OK;
}

static enum status read_all(struct run *r, void *ctx)
{
    struct dpo_data *d = ctx;
    TRY(read_pairs(r, &r->train, &d->train));
    return preference_evaluates(r) ? read_pairs(r, &r->test, &d->eval) : STATUS_OK;
}

static enum status train(struct run *r, const struct dpo_data *data)
{
    const struct recipe *c = &r->recipe;
    struct dpo_method_config config = {
        .plan = preference_plan(c, data->train.count),
        .precompute = c->precompute_ref_log_probs,
        .dropout = run_dropout(r),
        .eval_batch = c->per_device_eval_batch_size,
    };
    const struct dpo_env env = {
        .model = r->model,
        .ops = r->ops,
        .comm = &r->comm,
        .pairs = &data->train,
        .eval = data->eval.count > 0 ? &data->eval : NULL,
    };
    struct dpo *d;
    struct memory_plan plan;
    TRY(memory_plan_dpo(r, &config.plan, &data->train, &plan));
    if (r->plan_only) {
        *r->plan_only = plan;
        return STATUS_OK;
    }
    config.micro_batch_tokens = plan.micro_batch_tokens;
    config.recompute = plan.recompute;
    TRY(recipe_dpo(c, &config.loss));
    TRY(preference_reference(r, &config.sync));
    TRY(dpo_open(&d, &config, &env));
    const struct train_method method = dpo_method(d);
    const enum status status = preference_train(r, &config.plan, &method);
    dpo_close(d);
    return status;
}

enum status stage_dpo(const struct command_args *args)
{
    struct run r;
    struct dpo_data data = {0};
    enum status status = run_open(&r, args, RECIPE_DPO);
    if (status == STATUS_OK) {
        status = preference_prepare(&r, read_all, &data);
    }
    if (status == STATUS_OK) {
        status = train(&r, &data);
    }
    pair_set_close(&data.train);
    pair_set_close(&data.eval);
    return stage_end(&r, status);
}
