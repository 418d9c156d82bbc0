/* graft kto: training on single completions marked good or bad, by recipe. Setup, train, report. */
#include "recipes/build.h"
#include "recipes/memory.h"
#include "recipes/preference.h"
#include "recipes/stages.h"
#include "rl/kto.h"
#include "trainer/report/report.h"

struct kto_data {
    struct unpaired_set train;
    struct unpaired_set eval;
};

/* The file of a mixture that the row comes from, and its place there. */
static void row_where(void *ctx, int64_t i, char *out, size_t size)
{
    const struct run_data *data = ctx;
    dataset_where(data->set, i, out, size);
}

static enum status read_rows(struct run *r, struct run_data *data, struct unpaired_set *out)
{
    const struct unpaired_source source = {
        .row = run_row,
        .ctx = data,
        .count = dataset_count(data->set),
        .name = dataset_name(data->set),
        .where = row_where,
    };
    int64_t longest = 0;
    out->max_length = r->recipe.max_length;
    TRY(unpaired_read(&r->format, &source, out));
    for (int64_t i = 0; i < out->count; i++) {
        const int64_t of = unpaired_mismatch(out, i, r->recipe.per_device_train_batch_size);
        const struct tree_row own = unpaired_tree(out, i, i);
        const struct tree_row other = unpaired_tree(out, i, of);
        longest = tree_row_tokens(&own) > longest ? tree_row_tokens(&own) : longest;
        longest = tree_row_tokens(&other) > longest ? tree_row_tokens(&other) : longest;
        TRY(preference_check_row(r, data, out->items[i].ids,
                                 out->items[i].prompt_count + out->items[i].count, longest));
    }
    preference_note_dropped(r, data, out->dropped);
    return STATUS_OK;
}

/* The weights that balance the sides, from equation 8 of the paper, where the recipe's don't. */
static void note_balance(const struct run *r, const struct unpaired_set *set)
{
    const double good = r->recipe.desirable_weight;
    const double bad = r->recipe.undesirable_weight;
    double n[2] = {0.0, 0.0};
    for (int64_t i = 0; i < set->count; i++) {
        n[set->items[i].desirable] += 1.0;
    }
    if (r->comm.rank != 0 || n[0] == n[1] || n[0] == 0.0 || n[1] == 0.0) {
        return;
    }
    const double low = n[0] * bad / n[1];
    const double high = n[1] * good / n[0];
    if (!(good >= low - 5e-3 && good <= 1.33 * low + 5e-3)
        && !(bad >= high / 1.33 - 5e-3 && bad <= high + 5e-3)) {
        report_note("%.0f rows are desirable, %.0f are not: desirable_weight in [%.2f, %.2f] or "
                    "undesirable_weight in [%.2f, %.2f] would balance them",
                    n[1], n[0], low, 1.33 * low, high / 1.33, high);
    }
}

static enum status read_all(struct run *r, void *ctx)
{
    struct kto_data *d = ctx;
    TRY(read_rows(r, &r->train, &d->train));
    note_balance(r, &d->train);
    return preference_evaluates(r) ? read_rows(r, &r->test, &d->eval) : STATUS_OK;
}

static enum status train(struct run *r, const struct kto_data *data)
{
    const struct recipe *c = &r->recipe;
    struct kto_method_config config = {
        .plan = preference_plan(c, data->train.count),
        .loss = recipe_kto(c),
        .precompute = c->precompute_ref_log_probs,
        .dropout = run_dropout(r),
        .eval_batch = c->per_device_eval_batch_size,
    };
    const struct kto_env env = {
        .model = r->model,
        .ops = r->ops,
        .comm = &r->comm,
        .rows = &data->train,
        .eval = data->eval.count > 0 ? &data->eval : NULL,
    };
    struct kto *k;
    struct memory_plan plan;
    TRY(memory_plan_kto(r, &config.plan, &data->train, &plan));
    if (r->plan_only) {
        *r->plan_only = plan;
        return STATUS_OK;
    }
    config.micro_batch_tokens = plan.micro_batch_tokens;
    config.recompute = plan.recompute;
    TRY(preference_reference(r, &config.sync));
    TRY(kto_open(&k, &config, &env));
    const struct train_method method = kto_method(k);
    const enum status status = preference_train(r, &config.plan, &method);
    kto_close(k);
    return status;
}

enum status stage_kto(const struct command_args *args)
{
    struct run r;
    struct kto_data data = {0};
    enum status status = run_open(&r, args, RECIPE_KTO);
    if (status == STATUS_OK) {
        status = preference_prepare(&r, read_all, &data);
    }
    if (status == STATUS_OK) {
        status = train(&r, &data);
    }
    unpaired_set_close(&data.train);
    unpaired_set_close(&data.eval);
    return stage_end(&r, status);
}
