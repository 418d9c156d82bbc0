/*
 * DPO: pairs of a step -> trees -> log-probs of both completions and of the reference -> loss of
 * the pair -> d logp. Losses that compare sorted batches (aot) score their pairs first.
 */
#include <string.h>

#include "rl/dpo_internal.h"

/* Fills the row's log-probs alone. */
static void keep_numbers(void *ctx, int64_t i, int64_t at, const struct unit_outputs *out,
                         void *record)
{
    const struct dpo *d = ctx;
    struct dpo_record r = {.numbers = d->rows[i].numbers};
    dpo_measure(&d->config->loss, d->rows[i].pair, at, out, &r);
    memcpy(record, &r.numbers, sizeof r.numbers);
}

/* Scores the step's rows without a backward; every rank ends with all numbers. */
static enum status score(struct dpo *d, bool reference)
{
    struct tree_row *trees = malloc((size_t)d->count * sizeof *trees + 1);
    struct dpo_pair *numbers = malloc((size_t)d->count * sizeof *numbers + 1);
    enum status status = trees && numbers ? STATUS_OK : FAIL(MEMORY, "pairs: no memory");
    status = comm_agree(d->env->comm, status);
    for (int64_t i = 0; status == STATUS_OK && i < d->count; i++) {
        trees[i] = dpo_tree(d->rows[i].pair);
    }
    if (status == STATUS_OK) {
        status = tree_rows_score(&d->runner, trees, d->count, reference, keep_numbers, d, numbers,
                                 sizeof *numbers);
    }
    for (int64_t i = 0; status == STATUS_OK && i < d->count; i++) {
        d->rows[i].numbers = numbers[i];
    }
    free(trees);
    free(numbers);
    return status;
}

static enum status precompute(struct dpo *d)
{
    d->count = d->env->pairs->count;
    d->rows = calloc((size_t)d->count, sizeof *d->rows);
    d->ref = malloc((size_t)d->count * sizeof *d->ref);
    enum status status = d->rows && d->ref ? STATUS_OK : FAIL(MEMORY, "reference: no memory");
    for (int64_t i = 0; status == STATUS_OK && i < d->count; i++) {
        d->rows[i].pair = &d->env->pairs->items[i];
    }
    status = comm_agree(d->env->comm, status);
    if (status == STATUS_OK) {
        status = score(d, true);
    }
    for (int64_t i = 0; status == STATUS_OK && i < d->count; i++) {
        d->ref[i][0] = d->rows[i].numbers.chosen;
        d->ref[i][1] = d->rows[i].numbers.rejected;
    }
    return status;
}

/* Weights of the pairs [begin, end) of one micro-step of `micro_steps`. */
static enum status weigh_micro_step(struct dpo *d, int64_t begin, int64_t end, double micro_steps)
{
    const int64_t per_device = d->config->plan.per_device;
    const struct pair **pairs = malloc((size_t)(end - begin) * sizeof *pairs);
    if (!pairs) {
        return FAIL(MEMORY, "step: no memory for its pairs");
    }
    for (int64_t i = begin; i < end; i++) {
        pairs[i - begin] = d->rows[i].pair;
    }
    const struct dpo_shares mean = dpo_share(pairs, end - begin, micro_steps);
    free(pairs);
    for (int64_t i = begin; i < end; i++) {
        struct dpo_row *r = &d->rows[i];
        const int64_t first = begin + (i - begin) / per_device * per_device;
        const int64_t last = first + per_device < end ? first + per_device : end;
        double mine = 0.0;
        for (int64_t k = first; k < last; k++) {
            const struct tree_row tree = dpo_tree(d->rows[k].pair);
            mine += (double)tree_row_outputs(&tree, 0);
        }
        const double ranks = (double)((end - begin + per_device - 1) / per_device);
        r->weight = 1.0 / ((double)(last - first) * ranks * micro_steps);
        r->mean = mean;
        r->numbers.sft_scale = (double)(last - first) / mine;
    }
    return STATUS_OK;
}

/* Partners for the losses that compare sorted batches: a batch is a virtual rank's micro-batch. */
static enum status match(struct dpo *d)
{
    const int64_t per_device = d->config->plan.per_device;
    struct dpo_pair *batch = malloc((size_t)per_device * sizeof *batch);
    d->runner.pass.reference = !d->ref;
    enum status status = batch ? STATUS_OK : FAIL(MEMORY, "pairs: no memory");
    status = comm_agree(d->env->comm, status);
    if (status == STATUS_OK) {
        status = score(d, false);
    }
    for (int64_t begin = 0; status == STATUS_OK && begin < d->count; begin += per_device) {
        const int64_t n = d->count - begin < per_device ? d->count - begin : per_device;
        for (int64_t i = 0; i < n; i++) {
            batch[i] = d->rows[begin + i].numbers;
        }
        status = dpo_match(batch, n);
        for (int64_t i = 0; status == STATUS_OK && i < n; i++) {
            d->rows[begin + i].numbers = batch[i];
        }
    }
    free(batch);
    return status;
}

static enum status prepare(void *ctx, int64_t step, struct train_units *units)
{
    struct dpo *d = ctx;
    const struct sft_plan *plan = &d->config->plan;
    const int64_t micro = plan->per_device * plan->world;
    int64_t *indices;
    d->step = step;
    ref_sync_step(&d->sync, step);
    d->runner.step = (uint32_t)step;
    TRY(sft_plan_rows(plan, step, &indices, &d->count));
    free(d->rows);
    free(d->cost);
    d->rows = calloc((size_t)d->count, sizeof *d->rows);
    d->cost = malloc((size_t)d->count * sizeof *d->cost);
    if (!d->rows || !d->cost) {
        free(indices);
        return FAIL(MEMORY, "step: no memory for %lld pairs", (long long)d->count);
    }
    for (int64_t i = 0; i < d->count; i++) {
        const struct pair *p = &d->env->pairs->items[indices[i]];
        const struct tree_row tree = dpo_tree(p);
        d->rows[i] = (struct dpo_row){.pair = p, .numbers = dpo_numbers(p)};
        d->rows[i].numbers.ref_chosen = d->ref ? d->ref[indices[i]][0] : 0.0;
        d->rows[i].numbers.ref_rejected = d->ref ? d->ref[indices[i]][1] : 0.0;
        d->cost[i] = tree_row_tokens(&tree);
        d->num_tokens += (double)(tree_row_tokens(&tree) + p->prompt_count);
    }
    free(indices);
    const int64_t micro_steps = (d->count + micro - 1) / micro;
    for (int64_t begin = 0; begin < d->count; begin += micro) {
        TRY(weigh_micro_step(d, begin, begin + micro < d->count ? begin + micro : d->count,
                             (double)micro_steps));
    }
    *units = (struct train_units){.count = d->count, .cost = d->cost};
    return dpo_needs_match(&d->config->loss) ? match(d) : STATUS_OK;
}

/* The step's rows that run, and where their sums go. */
struct run_rows {
    struct dpo *d;
    struct dpo_row **rows;
    double *sums; /* [count, DPO_METRIC_COUNT] */
};

/* Loss of one pair and the slopes of its tokens. */
static void pair_objective(void *ctx, int64_t i, int64_t at, const struct unit_outputs *out)
{
    const struct run_rows *run = ctx;
    struct dpo_row *r = run->rows[i];
    double *sums = run->sums + i * DPO_METRIC_COUNT;
    const struct dpo_config *c = &run->d->config->loss;
    const struct tree_row tree = dpo_tree(r->pair);
    const int64_t counts[2] = {tree_row_outputs(&tree, 0), tree_row_outputs(&tree, 1)};
    const int64_t shorter = counts[0] < counts[1] ? counts[0] : counts[1];
    struct dpo_record record = {.numbers = r->numbers};
    dpo_measure(c, r->pair, at, out, &record);
    const struct dpo_terms t = dpo_pair_terms(c, &record.numbers);
    float *dlogp = out->dlogp + at;
    for (int64_t k = 0; k < counts[0]; k++) {
        *dlogp++ = (float)(r->weight * (t.d_chosen * dpo_token_weight(c, k, shorter)
                                        + t.d_chosen_token));
    }
    for (int64_t k = 0; k < counts[1]; k++) {
        *dlogp++ = (float)(r->weight * t.d_rejected * dpo_token_weight(c, k, shorter));
    }
    sums[DPO_METRIC_LOSS] = r->weight * t.loss;
    dpo_add_metrics(c->beta, &record, &r->mean, sums);
}

static enum status run(void *ctx, const int64_t *units, int64_t count, double *sums)
{
    struct dpo *d = ctx;
    struct dpo_row **rows = malloc((size_t)count * sizeof(struct dpo_row *) + 1);
    struct tree_row *trees = malloc((size_t)count * sizeof *trees + 1);
    enum status status = rows && trees ? STATUS_OK
                                       : FAIL(MEMORY, "step: no memory for %lld pairs",
                                              (long long)count);
    memset(sums, 0, (size_t)(count * DPO_METRIC_COUNT) * sizeof *sums);
    for (int64_t i = 0; status == STATUS_OK && i < count; i++) {
        rows[i] = &d->rows[units[i]];
        trees[i] = dpo_tree(rows[i]->pair);
        trees[i].key = (uint32_t)units[i];
    }
    d->runner.pass.grad = true;
    d->runner.pass.reference = !d->ref;
    if (status == STATUS_OK) {
        struct run_rows r = {d, rows, sums};
        status = tree_rows_run(&d->runner, trees, count, pair_objective, &r);
    }
    free(rows);
    free(trees);
    return status;
}

static enum status log_fields(void *ctx, const double *totals, json_t *line)
{
    const struct dpo *d = ctx;
    dpo_log_metrics(totals, "", line);
    (void)json_object_set_new(line, "num_tokens", json_real(d->num_tokens));
    return STATUS_OK;
}

static enum status save_state(void *ctx, json_t *state)
{
    const struct dpo *d = ctx;
    (void)json_object_set_new(state, "num_tokens", json_real(d->num_tokens));
    ref_sync_save(&d->sync, d->step + 1, state);
    return STATUS_OK;
}

static enum status load_state(void *ctx, const json_t *state)
{
    struct dpo *d = ctx;
    d->num_tokens = json_real_value(json_object_get(state, "num_tokens"));
    return ref_sync_load(&d->sync, state);
}

enum status dpo_open(struct dpo **out, const struct dpo_method_config *config,
                     const struct dpo_env *env)
{
    *out = NULL;
    TRY(dpo_check(&config->loss));
    if (env->pairs->count == 0) {
        return FAIL(RECIPE, "the dataset has no pair (%lld dropped); raise max_length",
                    (long long)env->pairs->dropped);
    }
    struct dpo *d = calloc(1, sizeof *d);
    if (!d) {
        return FAIL(MEMORY, "dpo: no memory");
    }
    d->config = config;
    d->env = env;
    d->sync = config->sync;
    d->runner = (struct tree_runner){.comm = env->comm,
                                     .micro_batch_tokens = config->micro_batch_tokens,
                                     .dropout = config->dropout};
    d->runner.pass = (struct unit_pass){
        .model = env->model,
        .ops = env->ops,
        .temperature = 1.0f,
        .hooks = true,
        .grad = true,
        .full = config->sync.reference,
        .squares = config->loss.use_weighting,
        .mean = true,
        .recompute = config->recompute,
    };
    const enum status status = config->precompute ? precompute(d) : STATUS_OK;
    if (status != STATUS_OK) {
        dpo_close(d);
        return status;
    }
    *out = d;
    return STATUS_OK;
}

static void take_work(void *ctx, struct work *w)
{
    struct dpo *d = ctx;
    work_move(w, &d->runner.pass.work);
}

struct train_method dpo_method(struct dpo *d)
{
    return (struct train_method){
        .name = "dpo",
        .ctx = d,
        .prepare = prepare,
        .run = run,
        .metrics = DPO_METRIC_COUNT,
        .log = log_fields,
        .evaluate = d->env->eval ? dpo_evaluate : NULL,
        .save_state = save_state,
        .load_state = load_state,
        .work = take_work,
    };
}

void dpo_close(struct dpo *d)
{
    if (!d) {
        return;
    }
    unit_pass_close(&d->runner.pass);
    free(d->rows);
    free(d->cost);
    free(d->ref);
    free(d);
}
