/* SFT: rows of a step -> packed sequences -> -1/n per labelled token; see sft.h. */
#include "trainer/sft.h"

#include <string.h>

#include "kernels/base/rng.h"
#include "trainer/model/unit_pass.h"

/* Metric sums of a row. */
enum { METRIC_LOSS, METRIC_ENTROPY, METRIC_CORRECT, METRIC_LABELS, METRIC_TOKENS, METRIC_COUNT };

struct sft {
    const struct sft_config *config;
    const struct sft_env *env;
    struct unit_pass pass;
    int64_t *rows;       /* rows of the step */
    int64_t *cost;
    double *mean;        /* [count] weight of a row's sums in the logged means */
    int64_t count;
    double labels;       /* of the whole step */
    double num_tokens;   /* running total */
};

static int64_t batches_per_epoch(const struct sft_plan *p)
{
    const int64_t batches = (p->rows + p->per_device - 1) / p->per_device;
    return (batches + p->world - 1) / p->world; /* micro-steps: every rank gets a batch */
}

int64_t sft_plan_steps_per_epoch(const struct sft_plan *p)
{
    return (batches_per_epoch(p) + p->accumulation - 1) / p->accumulation;
}

static void epoch_order(const struct sft_plan *p, int64_t epoch, int64_t *order)
{
    struct rng_mt19937 g;
    rng_mt_seed(&g, (uint32_t)(p->seed + (uint64_t)epoch));
    if (p->shuffle) {
        rng_mt_randperm(&g, order, p->rows);
        return;
    }
    for (int64_t i = 0; i < p->rows; i++) {
        order[i] = i;
    }
}

enum status sft_plan_rows(const struct sft_plan *p, int64_t step, int64_t **indices,
                          int64_t *count)
{
    const int64_t per_epoch = sft_plan_steps_per_epoch(p);
    const int64_t micro_rows = p->per_device * p->world;
    const int64_t begin = step % per_epoch * p->accumulation * micro_rows;
    int64_t end = begin + p->accumulation * micro_rows;
    /* One rank: the last batch is short. Several: the tail wraps to the epoch's first rows. */
    const int64_t last = p->world == 1 ? p->rows : batches_per_epoch(p) * micro_rows;
    end = end < last ? end : last;
    int64_t *order = malloc((size_t)p->rows * sizeof *order);
    *indices = malloc((size_t)(end - begin) * sizeof **indices);
    if (!order || !*indices) {
        free(order);
        return FAIL(MEMORY, "data order: no memory for %lld rows", (long long)p->rows);
    }
    epoch_order(p, step / per_epoch, order);
    for (int64_t i = begin; i < end; i++) {
        (*indices)[i - begin] = order[i % p->rows];
    }
    *count = end - begin;
    free(order);
    return STATUS_OK;
}

static void drop_step(struct sft *s)
{
    free(s->rows);
    free(s->cost);
    free(s->mean);
    s->rows = NULL;
    s->cost = NULL;
    s->mean = NULL;
}

/* TRL logs entropy and accuracy as the mean over micro-steps of each one's mean over labels. */
static void weigh_rows(struct sft *s)
{
    const int64_t micro_rows = s->config->plan.per_device * s->config->plan.world;
    const int64_t micro_steps = (s->count + micro_rows - 1) / micro_rows;
    for (int64_t begin = 0; begin < s->count; begin += micro_rows) {
        const int64_t end = begin + micro_rows < s->count ? begin + micro_rows : s->count;
        double labels = 0.0;
        for (int64_t i = begin; i < end; i++) {
            labels += (double)s->env->train->items[s->rows[i]].labels;
        }
        for (int64_t i = begin; i < end; i++) {
            s->mean[i] = 1.0 / (labels * (double)micro_steps);
        }
    }
}

static enum status prepare(void *ctx, int64_t step, struct train_units *units)
{
    struct sft *s = ctx;
    drop_step(s);
    TRY(sft_plan_rows(&s->config->plan, step, &s->rows, &s->count));
    s->cost = malloc((size_t)s->count * sizeof *s->cost);
    s->mean = malloc((size_t)s->count * sizeof *s->mean);
    if (!s->cost || !s->mean) {
        return FAIL(MEMORY, "step: no memory for %lld rows", (long long)s->count);
    }
    s->labels = 0.0;
    for (int64_t i = 0; i < s->count; i++) {
        const struct example *e = &s->env->train->items[s->rows[i]];
        s->cost[i] = e->count;
        s->labels += (double)e->labels;
        s->num_tokens += (double)e->count;
    }
    weigh_rows(s);
    *units = (struct train_units){.count = s->count, .cost = s->cost};
    return STATUS_OK;
}

/* The examples of a micro-batch and where their sums go. */
struct batch_rows {
    const struct example *const *examples;
    int64_t count;
    double *sums;   /* [count, METRIC_COUNT] */
    double labels;  /* normaliser */
};

static void objective(void *ctx, const struct unit_outputs *out)
{
    const struct batch_rows *b = ctx;
    int64_t at = 0;
    for (int64_t i = 0; i < b->count; i++) {
        double *sums = b->sums + i * METRIC_COUNT;
        for (int64_t t = 0; t < b->examples[i]->labels; t++, at++) {
            sums[METRIC_LOSS] += -(double)out->head->logp[at] / b->labels;
            sums[METRIC_ENTROPY] += (double)out->head->entropy[at];
            sums[METRIC_CORRECT] += out->head->best[at] == out->batch->targets[at];
            if (out->dlogp) {
                out->dlogp[at] = (float)(-1.0 / b->labels);
            }
        }
        sums[METRIC_LABELS] = (double)b->examples[i]->labels;
        sums[METRIC_TOKENS] = (double)b->examples[i]->count;
    }
}

/* Runs examples in micro-batches under the token budget, in order. sums [count, METRIC_COUNT]. */
static enum status run_examples(struct sft *s, const struct example *const *examples, int64_t count,
                                double labels, double *sums)
{
    struct pack_branch *branches = malloc((size_t)count * sizeof *branches);
    struct pack_unit *units = malloc((size_t)count * sizeof *units);
    enum status status = branches && units
                             ? STATUS_OK
                             : FAIL(MEMORY, "step: no memory for %lld rows", (long long)count);
    for (int64_t i = 0; status == STATUS_OK && i < count; i++) {
        const struct example *e = examples[i];
        branches[i] = (struct pack_branch){.ids = e->ids, .count = e->count, .loss = e->loss};
        units[i] = (struct pack_unit){.branches = &branches[i], .branch_count = 1};
    }
    for (int64_t begin = 0; status == STATUS_OK && begin < count;) {
        int64_t end = begin;
        int64_t tokens = 0;
        do {
            tokens += examples[end++]->count;
        } while (end < count && tokens + examples[end]->count <= s->config->micro_batch_tokens);
        struct batch_rows rows = {
            .examples = examples + begin,
            .count = end - begin,
            .sums = sums + begin * METRIC_COUNT,
            .labels = labels,
        };
        status = unit_pass_run(&s->pass, units + begin, end - begin, objective, &rows);
        begin = end;
    }
    free(branches);
    free(units);
    return status;
}

static enum status run(void *ctx, const int64_t *units, int64_t count, double *sums)
{
    struct sft *s = ctx;
    const struct example **examples = calloc((size_t)count, sizeof *examples);
    if (!examples) {
        return FAIL(MEMORY, "step: no memory for %lld rows", (long long)count);
    }
    memset(sums, 0, (size_t)(count * METRIC_COUNT) * sizeof *sums);
    for (int64_t i = 0; i < count; i++) {
        examples[i] = &s->env->train->items[s->rows[units[i]]];
    }
    s->pass.grad = true;
    const enum status status = run_examples(s, examples, count, s->labels, sums);
    for (int64_t i = 0; i < count; i++) {
        sums[i * METRIC_COUNT + METRIC_ENTROPY] *= s->mean[units[i]];
        sums[i * METRIC_COUNT + METRIC_CORRECT] *= s->mean[units[i]];
    }
    free(examples);
    return status;
}

static enum status log_fields(void *ctx, const double *totals, json_t *line)
{
    const struct sft *s = ctx;
    (void)json_object_set_new(line, "entropy", json_real(totals[METRIC_ENTROPY]));
    (void)json_object_set_new(line, "mean_token_accuracy", json_real(totals[METRIC_CORRECT]));
    (void)json_object_set_new(line, "num_tokens", json_real(s->num_tokens));
    return STATUS_OK;
}

/* Sums of one evaluation batch, put where all ranks can add them in batch order. */
static enum status evaluate_batch(struct sft *s, int64_t begin, int64_t end, double *totals)
{
    const struct example **examples = malloc((size_t)(end - begin) * sizeof *examples);
    double *sums = calloc((size_t)((end - begin) * METRIC_COUNT), sizeof *sums);
    double labels = 0.0;
    enum status status = examples && sums ? STATUS_OK : FAIL(MEMORY, "evaluation: no memory");
    for (int64_t i = begin; status == STATUS_OK && i < end; i++) {
        examples[i - begin] = &s->env->eval->items[i];
        labels += (double)s->env->eval->items[i].labels;
    }
    if (status == STATUS_OK) {
        status = run_examples(s, examples, end - begin, labels, sums);
    }
    for (int64_t i = 0; status == STATUS_OK && i < (end - begin) * METRIC_COUNT; i++) {
        totals[i % METRIC_COUNT] += sums[i];
    }
    free(examples);
    free(sums);
    return status;
}

/* totals[b, METRIC_COUNT] of all batches, computed by rank b % size, known to all. */
static enum status evaluate_batches(struct sft *s, double *totals, int64_t batches)
{
    const struct comm *comm = s->env->comm;
    enum status status = STATUS_OK;
    s->pass.grad = false;
    for (int64_t b = comm->rank; status == STATUS_OK && b < batches; b += comm->size) {
        const int64_t begin = b * s->config->eval_batch;
        const int64_t end = begin + s->config->eval_batch;
        status = evaluate_batch(s, begin, end < s->env->eval->count ? end : s->env->eval->count,
                                totals + b * METRIC_COUNT);
    }
    TRY(comm_agree(comm, status));
    for (int64_t b = 0; b < batches; b++) {
        TRY(comm_broadcast(comm, totals + b * METRIC_COUNT, METRIC_COUNT * sizeof *totals,
                           (int)(b % comm->size)));
    }
    return STATUS_OK;
}

enum status sft_evaluate(struct sft *s, json_t *line)
{
    const int64_t rows = s->env->eval ? s->env->eval->count : 0;
    const int64_t batches = (rows + s->config->eval_batch - 1) / s->config->eval_batch;
    if (rows == 0) {
        return STATUS_OK;
    }
    double *totals = calloc((size_t)(batches * METRIC_COUNT), sizeof *totals);
    if (!totals) {
        return FAIL(MEMORY, "evaluation: no memory for %lld batches", (long long)batches);
    }
    const enum status status = evaluate_batches(s, totals, batches);
    double loss = 0.0;
    double sums[METRIC_COUNT] = {0};
    for (int64_t b = 0; b < batches; b++) { /* micro losses weighted by rows (training.md 5) */
        const int64_t left = rows - b * s->config->eval_batch;
        const int64_t here = left < s->config->eval_batch ? left : s->config->eval_batch;
        loss += totals[b * METRIC_COUNT] * (double)here / (double)rows;
        for (int k = 0; k < METRIC_COUNT; k++) {
            sums[k] += totals[b * METRIC_COUNT + k];
        }
    }
    free(totals);
    TRY(status);
    (void)json_object_set_new(line, "eval_loss", json_real(loss));
    (void)json_object_set_new(line, "eval_mean_token_accuracy",
                              json_real(sums[METRIC_CORRECT] / sums[METRIC_LABELS]));
    (void)json_object_set_new(line, "eval_entropy",
                              json_real(sums[METRIC_ENTROPY] / sums[METRIC_LABELS]));
    return STATUS_OK;
}

static enum status evaluate(void *ctx, int64_t step, json_t *line)
{
    (void)step;
    return sft_evaluate(ctx, line);
}

static enum status save_state(void *ctx, json_t *state)
{
    const struct sft *s = ctx;
    (void)json_object_set_new(state, "num_tokens", json_real(s->num_tokens));
    return STATUS_OK;
}

static enum status load_state(void *ctx, const json_t *state)
{
    struct sft *s = ctx;
    s->num_tokens = json_real_value(json_object_get(state, "num_tokens"));
    return STATUS_OK;
}

enum status sft_open(struct sft **out, const struct sft_config *config, const struct sft_env *env)
{
    *out = NULL;
    if (env->train->count == 0) {
        return FAIL(RECIPE, "the dataset has no row with a label (%lld dropped); raise max_length or "
                            "check the loss masks",
                    (long long)env->train->dropped);
    }
    struct sft *s = calloc(1, sizeof *s);
    if (!s) {
        return FAIL(MEMORY, "sft: no memory");
    }
    s->config = config;
    s->env = env;
    s->pass = (struct unit_pass){
        .model = env->model,
        .ops = env->ops,
        .temperature = 1.0f,
        .hooks = true,
        .checkpoint = config->gradient_checkpointing,
    };
    *out = s;
    return STATUS_OK;
}

struct train_method sft_method(struct sft *s)
{
    return (struct train_method){
        .name = "sft",
        .ctx = s,
        .prepare = prepare,
        .run = run,
        .metrics = METRIC_COUNT,
        .log = log_fields,
        .evaluate = s->env->eval ? evaluate : NULL,
        .save_state = save_state,
        .load_state = load_state,
    };
}

void sft_close(struct sft *s)
{
    if (!s) {
        return;
    }
    drop_step(s);
    unit_pass_close(&s->pass);
    free(s);
}
