/* graft dpo: preference training by recipe. Setup, train, report. */
#include <string.h>

#include "recipes/build.h"
#include "recipes/run.h"
#include "recipes/stages.h"
#include "rl/dpo.h"
#include "trainer/report/report.h"

static enum status check_pair(const struct run *r, const struct pair *p)
{
    const int64_t count = p->prompt_count + p->chosen_count + p->rejected_count;
    const int64_t longer = p->chosen_count > p->rejected_count ? p->chosen_count
                                                               : p->rejected_count;
    for (int64_t t = 0; t < count; t++) {
        if (p->ids[t] >= r->model->config.vocab) {
            return FAIL(INPUT, "%s: token id %d is outside the vocabulary of %lld",
                        dataset_name(r->train.set), p->ids[t],
                        (long long)r->model->config.vocab);
        }
    }
    if (p->prompt_count + longer > r->model->rope_positions) {
        return FAIL(RECIPE, "a row of %lld tokens exceeds the context of %lld; set max_length",
                    (long long)(p->prompt_count + longer), (long long)r->model->rope_positions);
    }
    return STATUS_OK;
}

static enum status read_pairs(struct run *r, struct pair_set *out)
{
    for (int64_t i = 0; i < dataset_count(r->train.set); i++) {
        char where[512];
        (void)snprintf(where, sizeof where, "%s: row %lld", dataset_name(r->train.set),
                       (long long)i + 1);
        json_t *row = run_row(&r->train, i);
        if (!row) {
            return STATUS_INPUT;
        }
        const enum status status = pair_add(&r->format, r->recipe.max_length, row, where, out);
        json_decref(row);
        TRY(status);
    }
    for (int64_t i = 0; i < out->count; i++) {
        TRY(check_pair(r, &out->items[i]));
    }
    if (out->dropped && r->comm.rank == 0) {
        report_note("%s: %lld rows have no completion within max_length and are left out",
                    dataset_name(r->train.set), (long long)out->dropped);
    }
    return STATUS_OK;
}

static enum status train(struct run *r, const struct pair_set *pairs)
{
    const struct recipe *c = &r->recipe;
    struct dpo_method_config config = {
        .plan =
            {
                .rows = pairs->count,
                .world = c->world_size,
                .per_device = c->per_device_train_batch_size,
                .accumulation = c->gradient_accumulation_steps,
                .shuffle = true,
                .seed = (uint64_t)c->data_seed,
            },
        .precompute = c->precompute_ref_log_probs,
        .micro_batch_tokens = c->micro_batch_tokens,
        .gradient_checkpointing = c->gradient_checkpointing,
    };
    const struct dpo_env env = {
        .model = r->model, .ops = &r->ops, .comm = &r->comm, .pairs = pairs};
    struct dpo *d;
    TRY(recipe_dpo(c, &config.loss));
    if (!r->adapter || c->adapter_name_or_path) {
        TRY(comm_agree(&r->comm, model_reference_open(&r->reference, r->model, &r->params)));
        r->reference.adapter = r->adapter != NULL;
        config.sync.reference = &r->reference;
    }
    TRY(dpo_open(&d, &config, &env));
    const int64_t per_epoch = sft_plan_steps_per_epoch(&config.plan);
    struct train_config loop;
    struct train_result result = {0};
    enum status status = recipe_train(c, run_max_steps(c, per_epoch), per_epoch, &loop);
    if (status == STATUS_OK) {
        const struct train_method method = dpo_method(d);
        status = run_train(r, &loop, &method, &result);
    }
    if (status == STATUS_OK) {
        status = comm_agree(&r->comm, r->comm.rank == 0 ? run_summarize(r, &result) : STATUS_OK);
    }
    dpo_close(d);
    return status;
}

static enum status run_dpo(struct run *r)
{
    struct pair_set pairs = {0};
    struct optim_config optim = {0};
    TRY(run_check_resume(r));
    TRY(run_open_data(r));
    enum status status = comm_agree(&r->comm, read_pairs(r, &pairs));
    if (status == STATUS_OK) {
        status = recipe_optim(&r->recipe, &optim);
    }
    if (status == STATUS_OK) {
        status = run_attach(r, &optim);
    }
    if (status == STATUS_OK) {
        status = train(r, &pairs);
    }
    pair_set_close(&pairs);
    return status;
}

enum status stage_dpo(const struct command_args *args)
{
    struct run r;
    enum status status = run_open(&r, args, RECIPE_DPO);
    if (status == STATUS_OK) {
        status = run_dpo(&r);
    }
    return stage_end(&r, status);
}
