/* graft distill: a student learns a teacher's distributions, by recipe. Setup, train, report. */
#include "recipes/build.h"
#include "recipes/memory.h"
#include "recipes/preference.h"
#include "recipes/sampling.h"
#include "recipes/stages.h"
#include "rl/distill.h"
#include "trainer/report/report.h"

struct distill_data {
    struct distill_set train;
    struct distill_set eval;
};

struct row_reader {
    const struct run *run;
    struct distill_set *out;
};

static enum status read_row(void *ctx, const json_t *row, const char *where)
{
    const struct row_reader *reader = ctx;
    const struct run *r = reader->run;
    return distill_add(&r->format, r->recipe.max_length, row, where, reader->out);
}

static enum status read_rows(struct run *r, struct run_data *data, struct distill_set *out)
{
    struct row_reader reader = {r, out};
    TRY(run_each_row(data, INT64_MAX, read_row, &reader));
    for (int64_t i = 0; i < out->count; i++) {
        const struct distill_row *d = &out->items[i];
        TRY(preference_check_row(r, data, d->ids, d->prompt_count + d->count,
                                 d->prompt_count + d->count));
    }
    preference_note_dropped(r, data, out->dropped);
    return STATUS_OK;
}

/* Only rows with a completion have something to evaluate. */
static enum status read_held_out(struct run *r, struct distill_set *out)
{
    TRY(read_rows(r, &r->test, out));
    for (int64_t i = 0; i < out->count; i++) {
        if (out->items[i].count == 0) {
            return FAIL(INPUT, "%s: row %lld has no completion; evaluation in distill compares "
                               "distributions on given ones", dataset_name(r->test.set),
                        (long long)i + 1);
        }
    }
    return STATUS_OK;
}

static enum status read_all(struct run *r, void *ctx)
{
    struct distill_data *d = ctx;
    TRY(read_rows(r, &r->train, &d->train));
    return preference_evaluates(r) ? read_held_out(r, &d->eval) : STATUS_OK;
}

static enum status train(struct run *r, const struct distill_data *data,
                         const struct model *teacher, const struct sampling *sampling)
{
    const struct recipe *c = &r->recipe;
    struct distill_config config = {
        .plan = preference_plan(c, data->train.count),
        .lmbda = c->lmbda,
        .beta = c->beta,
        .seq_kd = c->seq_kd,
        .seed = (uint64_t)c->seed,
        .sample = sampling->config,
        .dropout = run_dropout(r),
        .eval_batch = c->per_device_eval_batch_size,
    };
    const struct distill_env env = {
        .model = r->model,
        .teacher = teacher,
        .ops = r->ops,
        .comm = &r->comm,
        .rows = &data->train,
        .eval = data->eval.count > 0 ? &data->eval : NULL,
    };
    config.sample.max_new_tokens = c->max_completion_length;
    struct distiller *d;
    struct memory_plan plan;
    TRY(memory_plan_distill(r, &config, &env, &plan));
    if (r->plan_only) {
        *r->plan_only = plan;
        return STATUS_OK;
    }
    r->cache_pages = plan.pages;
    config.limits = run_limits(r);
    config.micro_batch_tokens = plan.micro_batch_tokens;
    config.recompute = plan.recompute;
    TRY(distill_open(&d, &config, &env));
    const struct train_method method = distill_method(d);
    const enum status status = preference_train(r, &config.plan, &method);
    distill_close(d);
    return status;
}

/* Opens what training needs besides the run. */
static enum status with_teacher(struct run *r, const struct distill_data *data)
{
    const struct recipe *c = &r->recipe;
    const struct model_options options = {.context = c->max_model_length};
    struct model *teacher = NULL;
    struct sampling sampling = {0};
    enum status status = model_open(&teacher, c->teacher_model_name_or_path, &options);
    if (status == STATUS_OK) {
        status = sampling_open(&sampling, c, r->tokenizer, r->model->config.vocab, r->stops,
                               r->stop_count);
    }
    status = comm_agree(&r->comm, status);
    if (status == STATUS_OK) {
        status = train(r, data, teacher, &sampling);
    }
    sampling_close(&sampling);
    model_close(teacher);
    return status;
}

enum status stage_distill(const struct command_args *args)
{
    struct run r;
    struct distill_data data = {0};
    enum status status = run_open(&r, args, RECIPE_DISTILL);
    if (status == STATUS_OK) {
        status = preference_prepare(&r, read_all, &data);
    }
    if (status == STATUS_OK) {
        status = with_teacher(&r, &data);
    }
    distill_set_close(&data.train);
    distill_set_close(&data.eval);
    return stage_end(&r, status);
}
