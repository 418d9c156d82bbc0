/* graft sft: supervised fine-tuning by recipe. Setup, train, report. */
#include <string.h>

#include "recipes/build.h"
#include "recipes/memory.h"
#include "recipes/run.h"
#include "recipes/stages.h"
#include "trainer/data/packing.h"
#include "trainer/report/report.h"
#include "trainer/sft.h"

/* Token ids are the model's, and rows fit its context. */
static enum status check_examples(const struct run *r, const struct run_data *data,
                                  const struct example_set *set)
{
    for (int64_t i = 0; i < set->count; i++) {
        for (int64_t t = 0; t < set->items[i].count; t++) {
            if (set->items[i].ids[t] >= r->model->config.vocab) {
                return FAIL(INPUT, "%s: token id %d is outside the vocabulary of %lld",
                            dataset_name(data->set), set->items[i].ids[t],
                            (long long)r->model->config.vocab);
            }
        }
        if (set->items[i].parts == NULL && set->items[i].count > r->model->rope_positions) {
            return FAIL(RECIPE, "a row of %lld tokens exceeds the context of %lld; set max_length",
                        (long long)set->items[i].count, (long long)r->model->rope_positions);
        }
    }
    return STATUS_OK;
}

/* TRL's preparation (training.md 3): shuffle, pack, shuffle again. */
static enum status arrange(const struct recipe *c, bool pack, struct example_set *set)
{
    if (c->shuffle_dataset && pack) {
        TRY(example_set_shuffle(set, (uint64_t)c->seed));
    }
    if (pack) {
        TRY(example_set_pack(set, (enum packing)c->packing_strategy, c->max_length));
    }
    return c->shuffle_dataset ? example_set_shuffle(set, (uint64_t)c->seed) : STATUS_OK;
}

struct example_reader {
    const struct example_config *config;
    struct example_set *out;
};

static enum status read_example(void *ctx, const json_t *row, const char *where)
{
    const struct example_reader *reader = ctx;
    return example_add(reader->config, row, where, reader->out);
}

static enum status read_examples(struct run *r, struct run_data *data, bool pack,
                                 struct example_set *out)
{
    const struct recipe *c = &r->recipe;
    const struct example_config config = {
        .format = r->format,
        .text_column = c->dataset_text_field,
        .max_length = pack ? 0 : c->max_length,
        .keep_end = c->truncation_mode == TRUNCATION_KEEP_END,
        .keep_all = pack || c->max_length == 0,
        .completion_only_loss = c->completion_only_loss != TRISTATE_FALSE,
        .completion_needed = c->completion_only_loss == TRISTATE_TRUE,
        .assistant_only_loss = c->assistant_only_loss,
    };
    struct example_reader reader = {&config, out};
    TRY(run_each_row(data, INT64_MAX, read_example, &reader));
    TRY(arrange(c, pack, out));
    TRY(check_examples(r, data, out));
    if (out->dropped && r->comm.rank == 0) {
        report_note("%s: %lld rows have no label within max_length and are left out",
                    dataset_name(data->set), (long long)out->dropped);
    }
    return STATUS_OK;
}

static enum status train(struct run *r, const struct example_set *examples,
                         const struct example_set *held_out)
{
    const struct recipe *c = &r->recipe;
    struct memory_plan plan;
    struct sft_config config = {
        .plan =
            {
                .rows = examples->count,
                .world = c->world_size,
                .per_device = c->per_device_train_batch_size,
                .accumulation = c->gradient_accumulation_steps,
                .drop_last = c->dataloader_drop_last,
                .shuffle = c->train_sampling_strategy == SAMPLING_RANDOM,
                .seed = (uint64_t)c->data_seed,
            },
        .loss = c->loss_type == SFT_LOSS_DFT ? SFT_DFT : SFT_NLL,
        .label_smoothing = c->label_smoothing_factor,
        .neftune_noise_alpha = c->neftune_noise_alpha,
        .padding_free = c->padding_free || (c->packing && c->packing_strategy != PACKING_WRAPPED),
        .seed = (uint64_t)c->seed,
        .eval_batch = c->per_device_eval_batch_size,
    };
    const struct sft_env env = {
        .model = r->model,
        .ops = r->ops,
        .comm = &r->comm,
        .train = examples,
        .eval = held_out->count > 0 ? held_out : NULL,
    };
    struct sft *sft;
    TRY(memory_plan_sft(r, &config.plan, examples, &plan));
    if (r->plan_only) {
        *r->plan_only = plan;
        return STATUS_OK;
    }
    config.micro_batch_tokens = plan.micro_batch_tokens;
    config.recompute = plan.recompute;
    TRY(sft_open(&sft, &config, &env));
    const int64_t per_epoch = sft_plan_steps_per_epoch(&config.plan);
    struct train_config loop;
    struct train_result result = {0};
    TRY(recipe_train(c, run_max_steps(c, per_epoch), per_epoch, &loop));
    loop.eval_on_start = c->eval_on_start;
    const struct train_method method = sft_method(sft);
    enum status status = run_train(r, &loop, &method, &result);
    if (status == STATUS_OK) {
        status = comm_agree(&r->comm, r->comm.rank == 0 ? run_summarize(r, &result) : STATUS_OK);
    }
    sft_close(sft);
    return status;
}

static enum status run_sft(struct run *r)
{
    struct example_set examples = {0};
    struct example_set held_out = {0};
    struct optim_config optim;
    if (!r->plan_only) {
        TRY(run_check_resume(r));
    }
    TRY(run_open_data(r));
    const struct recipe *c = &r->recipe;
    const bool eval_pack = c->eval_packing == TRISTATE_AUTO ? c->packing
                                                            : c->eval_packing == TRISTATE_TRUE;
    enum status status = read_examples(r, &r->train, c->packing, &examples);
    if (status == STATUS_OK && r->test.set && c->eval_strategy != STRATEGY_NO) {
        status = read_examples(r, &r->test, eval_pack, &held_out);
    }
    status = comm_agree(&r->comm, status);
    if (status == STATUS_OK) {
        status = recipe_optim(&r->recipe, &optim);
    }
    if (status == STATUS_OK) {
        status = run_attach(r, &optim);
    }
    if (status == STATUS_OK) {
        status = train(r, &examples, &held_out);
    }
    example_set_close(&examples);
    example_set_close(&held_out);
    return status;
}

enum status stage_sft(const struct command_args *args)
{
    struct run r;
    enum status status = run_open(&r, args, RECIPE_SFT);
    if (status == STATUS_OK) {
        status = run_sft(&r);
    }
    return stage_end(&r, status);
}
