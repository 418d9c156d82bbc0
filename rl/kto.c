/*
 * KTO: rows of a step -> divergence from their mismatched neighbours -> log-probs under policy and
 * reference -> loss of the row -> d logp.
 */
#include <string.h>

#include "rl/kto_internal.h"

/* Fills one double: the sum of the completion's log-probs. */
static void fill_sum(void *ctx, int64_t i, int64_t at, const struct unit_outputs *out,
                     void *record)
{
    const struct tree_row *trees = ctx;
    struct kto_record r = {0};
    kto_measure(tree_row_outputs(&trees[i], 0), at, out, &r);
    memcpy(record, &r.logp, sizeof r.logp);
}

/* The reference's sums of every row's own completion (column 0) or its neighbour's (1). */
static enum status precompute_column(struct kto *k, int column, struct tree_row *trees,
                                     double *sums)
{
    const struct unpaired_set *set = k->env->rows;
    for (int64_t i = 0; i < set->count; i++) {
        const int64_t of = column ? unpaired_mismatch(set, i, k->config->plan.per_device) : i;
        trees[i] = unpaired_tree(set, i, of);
    }
    TRY(tree_rows_score(&k->runner, trees, set->count, true, fill_sum, trees, sums,
                        sizeof *sums));
    for (int64_t i = 0; i < set->count; i++) {
        k->ref[i][column] = sums[i];
    }
    return STATUS_OK;
}

static enum status precompute(struct kto *k)
{
    const size_t n = (size_t)k->env->rows->count;
    struct tree_row *trees = malloc(n * sizeof *trees);
    double *sums = malloc(n * sizeof *sums);
    k->ref = calloc(n, sizeof *k->ref);
    enum status status =
        trees && sums && k->ref ? STATUS_OK : FAIL(MEMORY, "reference: no memory");
    status = comm_agree(k->env->comm, status);
    if (status == STATUS_OK) {
        status = precompute_column(k, 0, trees, sums);
    }
    if (status == STATUS_OK && k->config->loss.loss == KTO_KTO) {
        status = precompute_column(k, 1, trees, sums);
    }
    free(trees);
    free(sums);
    return status;
}

/* Weights of the rows' losses: the mean of a virtual rank's batch, then over ranks and micro-steps.
 */
static void weigh_rows(struct kto *k, int64_t micro)
{
    const int64_t per_device = k->config->plan.per_device;
    const double micro_steps = (double)((k->count + micro - 1) / micro);
    for (int64_t i = 0; i < k->count; i++) {
        const int64_t begin = i / micro * micro;
        const int64_t end = begin + micro < k->count ? begin + micro : k->count;
        const int64_t first = begin + (i - begin) / per_device * per_device;
        const int64_t last = first + per_device < end ? first + per_device : end;
        const double ranks = (double)((end - begin + per_device - 1) / per_device);
        k->rows[i].weight = 1.0 / ((double)(last - first) * ranks * micro_steps);
    }
}

static enum status prepare(void *ctx, int64_t step, struct train_units *units)
{
    struct kto *k = ctx;
    const struct sft_plan *plan = &k->config->plan;
    const int64_t micro = plan->per_device * plan->world;
    int64_t *indices;
    k->step = step;
    ref_sync_step(&k->sync, step);
    k->runner.step = (uint32_t)step;
    TRY(sft_plan_rows(plan, step, &indices, &k->count));
    free(k->rows);
    free(k->cost);
    k->rows = calloc((size_t)k->count, sizeof *k->rows);
    k->cost = malloc((size_t)k->count * sizeof *k->cost);
    if (!k->rows || !k->cost) {
        free(indices);
        return FAIL(MEMORY, "step: no memory for %lld rows", (long long)k->count);
    }
    for (int64_t i = 0; i < k->count; i++) {
        k->rows[i] = kto_make_row(k->env->rows, indices[i]);
        const struct tree_row tree = kto_tree(&k->rows[i]);
        k->rows[i].ref = k->ref ? k->ref[indices[i]][0] : 0.0;
        k->cost[i] = tree_row_tokens(&tree);
        k->num_tokens += (double)k->cost[i];
    }
    free(indices);
    weigh_rows(k, micro);
    kto_share(k->rows, k->count, micro);
    *units = (struct train_units){.count = k->count, .cost = k->cost};
    return k->config->loss.loss != KTO_KTO
               ? STATUS_OK
               : kto_divergence(k, k->rows, k->count, micro, plan->per_device,
                                (const double(*)[2])k->ref);
}

/* The step's rows that run, and where their sums go. */
struct run_rows {
    struct kto *k;
    const struct kto_row **rows;
    double *sums; /* [count, KTO_METRIC_COUNT] */
};

/* Loss of one row and the slope of its tokens. */
static void row_objective(void *ctx, int64_t i, int64_t at, const struct unit_outputs *out)
{
    const struct run_rows *run = ctx;
    const struct kto_row *r = run->rows[i];
    const struct kto_config *c = &run->k->config->loss;
    struct kto_record record = {0};
    double *sums = run->sums + i * KTO_METRIC_COUNT;
    double slope;
    kto_measure(r->outputs, at, out, &record);
    record.ref = out->ref ? record.ref : r->ref;
    sums[KTO_METRIC_LOSS] =
        r->weight * kto_row_loss(c, record.logp - record.ref, r->z, r->desirable, &slope);
    for (int64_t t = 0; t < r->outputs; t++) {
        out->dlogp[at + t] = (float)(r->weight * slope);
    }
    kto_add_metrics(c->beta, r, &record, sums);
}

static enum status run(void *ctx, const int64_t *units, int64_t count, double *sums)
{
    struct kto *k = ctx;
    const struct kto_row **rows = malloc((size_t)count * sizeof *rows + 1);
    struct tree_row *trees = malloc((size_t)count * sizeof *trees + 1);
    enum status status = rows && trees
                             ? STATUS_OK
                             : FAIL(MEMORY, "step: no memory for %lld rows", (long long)count);
    memset(sums, 0, (size_t)(count * KTO_METRIC_COUNT) * sizeof *sums);
    for (int64_t i = 0; status == STATUS_OK && i < count; i++) {
        rows[i] = &k->rows[units[i]];
        trees[i] = kto_tree(rows[i]);
        trees[i].key = (uint32_t)units[i];
    }
    k->runner.pass.grad = true;
    k->runner.pass.reference = !k->ref;
    if (status == STATUS_OK) {
        struct run_rows r = {k, rows, sums};
        status = tree_rows_run(&k->runner, trees, count, row_objective, &r);
    }
    free(rows);
    free(trees);
    return status;
}

static enum status log_fields(void *ctx, const double *totals, json_t *line)
{
    const struct kto *k = ctx;
    kto_log_metrics(totals, "", line);
    (void)json_object_set_new(line, "num_tokens", json_real(k->num_tokens));
    return STATUS_OK;
}

static enum status save_state(void *ctx, json_t *state)
{
    const struct kto *k = ctx;
    (void)json_object_set_new(state, "num_tokens", json_real(k->num_tokens));
    ref_sync_save(&k->sync, k->step + 1, state);
    return STATUS_OK;
}

static enum status load_state(void *ctx, const json_t *state)
{
    struct kto *k = ctx;
    k->num_tokens = json_real_value(json_object_get(state, "num_tokens"));
    return ref_sync_load(&k->sync, state);
}

static enum status check(const struct kto_method_config *config, const struct kto_env *env)
{
    if (env->rows->count == 0) {
        return FAIL(RECIPE, "the dataset has no row (%lld dropped); raise max_length",
                    (long long)env->rows->dropped);
    }
    if (config->loss.loss == KTO_KTO && config->plan.per_device < 2) {
        return FAIL(RECIPE, "loss_type: kto needs per_device_train_batch_size above 1: the "
                            "divergence comes from completions of other rows of the batch");
    }
    if (config->loss.loss == KTO_KTO && config->plan.shuffle) {
        return FAIL(RECIPE, "loss_type: kto needs train_sampling_strategy: sequential: a row's "
                            "neighbours in the data give the divergence");
    }
    return STATUS_OK;
}

enum status kto_open(struct kto **out, const struct kto_method_config *config,
                     const struct kto_env *env)
{
    *out = NULL;
    TRY(check(config, env));
    struct kto *k = calloc(1, sizeof *k);
    if (!k) {
        return FAIL(MEMORY, "kto: no memory");
    }
    k->config = config;
    k->env = env;
    k->sync = config->sync;
    k->runner = (struct tree_runner){.comm = env->comm,
                                     .micro_batch_tokens = config->micro_batch_tokens,
                                     .dropout = config->dropout};
    k->runner.pass = (struct unit_pass){
        .model = env->model,
        .ops = env->ops,
        .temperature = 1.0f,
        .hooks = true,
        .full = config->sync.reference,
        .mean = true,
        .recompute = config->recompute,
    };
    const enum status status = config->precompute ? precompute(k) : STATUS_OK;
    if (status != STATUS_OK) {
        kto_close(k);
        return status;
    }
    *out = k;
    return STATUS_OK;
}

static void take_work(void *ctx, struct work *w)
{
    struct kto *k = ctx;
    work_move(w, &k->runner.pass.work);
}

struct train_method kto_method(struct kto *k)
{
    return (struct train_method){
        .name = "kto",
        .ctx = k,
        .prepare = prepare,
        .run = run,
        .metrics = KTO_METRIC_COUNT,
        .log = log_fields,
        .evaluate = k->env->eval ? kto_evaluate : NULL,
        .save_state = save_state,
        .load_state = load_state,
        .work = take_work,
    };
}

void kto_close(struct kto *k)
{
    if (!k) {
        return;
    }
    unit_pass_close(&k->runner.pass);
    free(k->rows);
    free(k->cost);
    free(k->ref);
    free(k);
}
