/* Parts of the preference stages; see preference.h. */
#include "recipes/preference.h"

#include "recipes/build.h"
#include "trainer/report/report.h"

struct sft_plan preference_plan(const struct recipe *r, int64_t rows)
{
    return (struct sft_plan){
        .rows = rows,
        .world = r->world_size,
        .per_device = r->per_device_train_batch_size,
        .accumulation = r->gradient_accumulation_steps,
        .drop_last = r->dataloader_drop_last,
        .shuffle = r->train_sampling_strategy == SAMPLING_RANDOM,
        .seed = (uint64_t)r->data_seed,
    };
}

enum status preference_reference(struct run *r, struct ref_sync *sync)
{
    const struct recipe *c = &r->recipe;
    *sync = (struct ref_sync){.every = c->sync_ref_model ? c->ref_model_sync_steps : 0,
                              .alpha = c->ref_model_mixup_alpha,
                              .output_dir = c->output_dir};
    if (r->adapter && !c->adapter_name_or_path) {
        return STATUS_OK;
    }
    TRY(comm_agree(&r->comm, model_reference_open(&r->reference, r->model, &r->params)));
    r->reference.adapter = r->adapter != NULL;
    r->reference_moves = c->sync_ref_model;
    sync->reference = &r->reference;
    return STATUS_OK;
}

enum status preference_check_row(const struct run *r, const struct run_data *data,
                                 const int32_t *ids, int64_t count, int64_t longest)
{
    for (int64_t t = 0; t < count; t++) {
        if (ids[t] >= r->model->config.vocab) {
            return FAIL(INPUT, "%s: token id %d is outside the vocabulary of %lld",
                        dataset_name(data->set), ids[t], (long long)r->model->config.vocab);
        }
    }
    if (longest > r->model->rope_positions) {
        return FAIL(RECIPE, "a row of %lld tokens exceeds the context of %lld; set max_length",
                    (long long)longest, (long long)r->model->rope_positions);
    }
    return STATUS_OK;
}

bool preference_evaluates(const struct run *r)
{
    return r->test.set && r->recipe.eval_strategy != STRATEGY_NO;
}

void preference_note_dropped(const struct run *r, const struct run_data *data, int64_t dropped)
{
    if (dropped && r->comm.rank == 0) {
        report_note("%s: %lld rows have no completion within max_length and are left out",
                    dataset_name(data->set), (long long)dropped);
    }
}

enum status preference_train(struct run *r, const struct sft_plan *plan,
                             const struct train_method *method)
{
    const struct recipe *c = &r->recipe;
    const int64_t per_epoch = sft_plan_steps_per_epoch(plan);
    struct train_config loop;
    struct train_result result = {0};
    if (per_epoch == 0) {
        return FAIL(RECIPE, "dataloader_drop_last leaves no batch: %lld rows are fewer than "
                            "per_device_train_batch_size %lld x world_size %lld",
                    (long long)plan->rows, (long long)plan->per_device, (long long)plan->world);
    }
    TRY(recipe_train(c, run_max_steps(c, per_epoch), per_epoch, &loop));
    loop.eval_on_start = c->eval_on_start;
    TRY(run_train(r, &loop, method, &result));
    return comm_agree(&r->comm, r->comm.rank == 0 ? run_summarize(r, &result) : STATUS_OK);
}

enum status preference_prepare(struct run *r, preference_read_fn read, void *ctx)
{
    struct optim_config optim = {0};
    if (!r->plan_only) {
        TRY(run_check_resume(r));
    }
    TRY(run_open_data(r));
    TRY(comm_agree(&r->comm, read(r, ctx)));
    TRY(recipe_optim(&r->recipe, &optim));
    return run_attach(r, &optim);
}
