/* SFT: rows of a step -> packed sequences -> -1/n per labelled token; see sft.h. */
#include "trainer/sft.h"

#include <math.h>
#include <string.h>

#include "kernels/base/rng.h"
#include "trainer/model/unit_pass.h"

/* Metric sums of a row. */
enum { METRIC_LOSS, METRIC_ENTROPY, METRIC_CORRECT, METRIC_LABELS, METRIC_TOKENS, METRIC_COUNT };

struct sft {
    const struct sft_config *config;
    const struct sft_env *env;
    struct unit_pass pass;
    struct pass_noise noise;
    int64_t *rows;       /* rows of the step */
    int64_t *cost;
    double *mean;        /* [count] weight of a row's sums in the logged means */
    uint32_t *key;       /* [count] what its random numbers are keyed by: its place in the step */
    float *bound;        /* [count] NEFTune's bound; NULL: no noise */
    int64_t count;
    /* Rooms of a step, made once: most_rows rows, most_sequences of their sequences. */
    struct arena own;
    int64_t most_rows;
    int64_t most_sequences;
    int64_t *order;      /* [plan.rows] scratch */
    const struct example **examples;
    uint32_t *call_key;
    float *call_bound;
    struct pack_branch *branches;
    struct pack_unit *units;
    double labels;       /* of the whole step */
    double num_tokens;   /* running total */
};

int64_t sft_plan_micro_steps_per_epoch(const struct sft_plan *p)
{
    if (p->drop_last) {
        return p->rows / p->per_device / p->world;
    }
    const int64_t batches = (p->rows + p->per_device - 1) / p->per_device;
    return (batches + p->world - 1) / p->world; /* micro-steps: every rank gets a batch */
}

int64_t sft_plan_steps_per_epoch(const struct sft_plan *p)
{
    return (sft_plan_micro_steps_per_epoch(p) + p->accumulation - 1) / p->accumulation;
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

/* Places [begin, end) of the epoch's order that step `step` takes. */
static void step_range(const struct sft_plan *p, int64_t step, int64_t *begin, int64_t *end)
{
    const int64_t per_epoch = sft_plan_steps_per_epoch(p);
    const int64_t micro_rows = p->per_device * p->world;
    *begin = step % per_epoch * p->accumulation * micro_rows;
    *end = *begin + p->accumulation * micro_rows;
    /* One rank: the last batch is short. Several: the tail wraps to the epoch's first rows. */
    const bool exact = p->world > 1 || p->drop_last;
    const int64_t last = exact ? sft_plan_micro_steps_per_epoch(p) * micro_rows : p->rows;
    *end = *end < last ? *end : last;
}

/* Rows of a step; order [p->rows] is scratch. */
static void fill_rows(const struct sft_plan *p, int64_t step, int64_t *order, int64_t *indices)
{
    int64_t begin;
    int64_t end;
    step_range(p, step, &begin, &end);
    epoch_order(p, step / sft_plan_steps_per_epoch(p), order);
    for (int64_t i = begin; i < end; i++) {
        indices[i - begin] = order[i % p->rows];
    }
}

enum status sft_plan_rows(const struct sft_plan *p, int64_t step, int64_t **indices,
                          int64_t *count)
{
    int64_t begin;
    int64_t end;
    step_range(p, step, &begin, &end);
    int64_t *order = malloc((size_t)p->rows * sizeof *order);
    *indices = malloc((size_t)(end - begin) * sizeof **indices);
    if (!order || !*indices) {
        free(order);
        return FAIL(MEMORY, "data order: no memory for %lld rows", (long long)p->rows);
    }
    fill_rows(p, step, order, *indices);
    *count = end - begin;
    free(order);
    return STATUS_OK;
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
            s->mean[i] = labels > 0.0 ? 1.0 / (labels * (double)micro_steps) : 0.0;
        }
    }
}

/* The batches as Transformers pads them: their tokens (returned), and NEFTune's bounds, U(-b, b)
 * with b = alpha / sqrt(L D), where L is the padded length of the row's batch (training.md 3). */
static int64_t pad_batches(struct sft *s)
{
    const int64_t batch = s->config->plan.per_device;
    int64_t padded = 0;
    for (int64_t begin = 0; begin < s->count; begin += batch) {
        const int64_t end = begin + batch < s->count ? begin + batch : s->count;
        int64_t longest = 0;
        int64_t sum = 0;
        for (int64_t i = begin; i < end; i++) {
            sum += s->cost[i];
            longest = s->cost[i] > longest ? s->cost[i] : longest;
        }
        const int64_t length = s->config->padding_free ? sum : longest;
        const double size = (double)length * (double)s->env->model->config.hidden;
        padded += s->config->padding_free ? sum : longest * (end - begin);
        for (int64_t i = begin; s->bound && i < end; i++) {
            s->bound[i] = (float)(s->config->neftune_noise_alpha / sqrt(size));
        }
    }
    return padded;
}

static enum status prepare(void *ctx, int64_t step, struct train_units *units)
{
    struct sft *s = ctx;
    int64_t begin;
    int64_t end;
    step_range(&s->config->plan, step, &begin, &end);
    s->count = end - begin;
    fill_rows(&s->config->plan, step, s->order, s->rows);
    s->noise.step = (uint32_t)step;
    s->labels = 0.0;
    for (int64_t i = 0; i < s->count; i++) {
        const struct example *e = &s->env->train->items[s->rows[i]];
        s->cost[i] = e->count;
        s->key[i] = (uint32_t)i;
        s->labels += (double)e->labels;
        s->num_tokens += (double)e->count;
    }
    weigh_rows(s);
    *units = (struct train_units){.count = s->count, .cost = s->cost, .padded = pad_batches(s)};
    return STATUS_OK;
}

/* The examples of a micro-batch and where their sums go. */
struct batch_rows {
    const struct example *const *examples;
    int64_t count;
    double *sums;   /* [count, METRIC_COUNT] */
    double labels;  /* normaliser */
    enum sft_loss loss;
    double smoothing;
};

/* One labelled token's loss and its slopes (training.md 3): nll -lp, smoothed towards the mean over
 * the vocabulary; dft (Wu et al. 2025, arXiv 2508.05629) -sg[exp(lp)] lp. */
static double token_loss(const struct batch_rows *b, const struct unit_outputs *out, int64_t at)
{
    const double lp = (double)out->head->logp[at];
    const double weight = b->loss == SFT_DFT ? exp(lp) : 1.0 - b->smoothing;
    const double mean = out->head->mean ? (double)out->head->mean[at] : 0.0;
    if (out->dlogp) {
        out->dlogp[at] = (float)(-weight / b->labels);
    }
    if (out->dmean) {
        out->dmean[at] = (float)(-b->smoothing / b->labels);
    }
    return -(weight * lp + b->smoothing * mean) / b->labels;
}

static void objective(void *ctx, const struct unit_outputs *out)
{
    const struct batch_rows *b = ctx;
    int64_t at = 0;
    for (int64_t i = 0; i < b->count; i++) {
        double *sums = b->sums + i * METRIC_COUNT;
        for (int64_t t = 0; t < b->examples[i]->labels; t++, at++) {
            sums[METRIC_LOSS] += token_loss(b, out, at);
            sums[METRIC_ENTROPY] += (double)out->head->entropy[at];
            sums[METRIC_CORRECT] += out->head->best[at] == out->batch->targets[at];
        }
        sums[METRIC_LABELS] = (double)b->examples[i]->labels;
    }
}

/* The examples of a run of micro-batches; key and bound NULL: no randomness. */
struct example_rows {
    const struct example **examples;
    int64_t count;
    uint32_t *key;
    float *bound;
    double labels; /* normaliser */
};

/* Sequences of an example as branches of one unit; returns how many. */
static int64_t fill_unit(const struct example *e, struct pack_branch *branches,
                         struct pack_unit *unit)
{
    const int64_t parts = e->parts ? e->part_count : 1;
    int64_t at = 0;
    for (int64_t i = 0; i < parts; i++) {
        const int64_t count = e->parts ? e->parts[i] : e->count;
        branches[i] =
            (struct pack_branch){.ids = e->ids + at, .count = count, .loss = e->loss + at};
        at += count;
    }
    *unit = (struct pack_unit){.branches = branches, .branch_count = parts};
    return parts;
}

/* Runs packed examples in micro-batches under the token budget, in order. */
static enum status run_units(struct sft *s, const struct example_rows *r,
                             const struct pack_unit *units, double *sums)
{
    for (int64_t begin = 0; begin < r->count;) {
        int64_t end = begin;
        int64_t tokens = 0;
        int64_t labels = 0;
        do {
            labels += r->examples[end]->labels;
            tokens += r->examples[end++]->count;
        } while (end < r->count
                 && tokens + r->examples[end]->count <= s->config->micro_batch_tokens);
        struct batch_rows rows = {
            .examples = r->examples + begin,
            .count = end - begin,
            .sums = sums + begin * METRIC_COUNT,
            .labels = r->labels,
            .loss = s->config->loss,
            .smoothing = s->config->label_smoothing,
        };
        s->noise.unit_key = r->key ? r->key + begin : NULL;
        s->noise.embedding = r->bound ? r->bound + begin : NULL;
        s->pass.noise = r->key ? &s->noise : NULL;
        if (labels > 0) {
            TRY(unit_pass_run(&s->pass, units + begin, end - begin, objective, &rows));
        }
        begin = end;
    }
    return STATUS_OK;
}

/* sums [count, METRIC_COUNT], zeroed before. */
static enum status run_examples(struct sft *s, const struct example_rows *r, double *sums)
{
    int64_t sequences = 0;
    for (int64_t i = 0; i < r->count; i++) {
        sequences += r->examples[i]->parts ? r->examples[i]->part_count : 1;
        sums[i * METRIC_COUNT + METRIC_TOKENS] = (double)r->examples[i]->count;
    }
    ASSERT(r->count <= s->most_rows && sequences <= s->most_sequences);
    int64_t used = 0;
    for (int64_t i = 0; i < r->count; i++) {
        used += fill_unit(r->examples[i], s->branches + used, &s->units[i]);
    }
    return run_units(s, r, s->units, sums);
}

/* Room for `count` rows of a call; random keys only in training. */
static struct example_rows rows_of(const struct sft *s, int64_t count, bool grad)
{
    return (struct example_rows){.count = count,
                                 .examples = s->examples,
                                 .key = grad ? s->call_key : NULL,
                                 .bound = grad && s->bound ? s->call_bound : NULL};
}

static enum status run(void *ctx, const int64_t *units, int64_t count, double *sums)
{
    struct sft *s = ctx;
    struct example_rows rows = rows_of(s, count, true);
    memset(sums, 0, (size_t)(count * METRIC_COUNT) * sizeof *sums);
    for (int64_t i = 0; i < count; i++) {
        rows.examples[i] = &s->env->train->items[s->rows[units[i]]];
        rows.key[i] = s->key[units[i]];
        if (rows.bound) {
            rows.bound[i] = s->bound[units[i]];
        }
    }
    s->pass.grad = true;
    rows.labels = s->labels > 0.0 ? s->labels : 1.0;
    const enum status status = run_examples(s, &rows, sums);
    for (int64_t i = 0; i < count; i++) {
        sums[i * METRIC_COUNT + METRIC_ENTROPY] *= s->mean[units[i]];
        sums[i * METRIC_COUNT + METRIC_CORRECT] *= s->mean[units[i]];
    }
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
    struct example_rows rows = rows_of(s, end - begin, false);
    double *sums = calloc((size_t)((end - begin) * METRIC_COUNT), sizeof *sums);
    enum status status = sums ? STATUS_OK : FAIL(MEMORY, "evaluation: no memory");
    for (int64_t i = begin; status == STATUS_OK && i < end; i++) {
        rows.examples[i - begin] = &s->env->eval->items[i];
        rows.labels += (double)s->env->eval->items[i].labels;
    }
    rows.labels = rows.labels > 0.0 ? rows.labels : 1.0;
    if (status == STATUS_OK) {
        status = run_examples(s, &rows, sums);
    }
    for (int64_t i = 0; status == STATUS_OK && i < (end - begin) * METRIC_COUNT; i++) {
        totals[i % METRIC_COUNT] += sums[i];
    }
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
    double correct = 0.0;
    double entropy = 0.0;
    for (int64_t b = 0; b < batches; b++) { /* micro losses weighted by rows (training.md 5) */
        const double *sums = totals + b * METRIC_COUNT;
        const int64_t left = rows - b * s->config->eval_batch;
        const int64_t here = left < s->config->eval_batch ? left : s->config->eval_batch;
        const double labels = sums[METRIC_LABELS] > 0.0 ? sums[METRIC_LABELS] : 1.0;
        loss += sums[METRIC_LOSS] * (double)here / (double)rows;
        correct += sums[METRIC_CORRECT] / labels / (double)batches;
        entropy += sums[METRIC_ENTROPY] / labels / (double)batches;
    }
    free(totals);
    TRY(status);
    (void)json_object_set_new(line, "eval_loss", json_real(loss));
    (void)json_object_set_new(line, "eval_mean_token_accuracy",
                              json_real(correct));
    (void)json_object_set_new(line, "eval_entropy",
                              json_real(entropy));
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

static int64_t most_parts(const struct example_set *set)
{
    int64_t most = 1;
    for (int64_t i = 0; set && i < set->count; i++) {
        const struct example *e = &set->items[i];
        most = e->parts && e->part_count > most ? e->part_count : most;
    }
    return most;
}

/* Lays the rooms of a step out in s->own (measuring: only sizes). */
static enum status lay_out(struct sft *s)
{
    const size_t rows = (size_t)s->most_rows;
    struct arena *a = &s->own;
    TRY(arena_alloc(a, (size_t)s->config->plan.rows, sizeof *s->order, &s->order));
    TRY(arena_alloc(a, rows, sizeof *s->rows, &s->rows));
    TRY(arena_alloc(a, rows, sizeof *s->cost, &s->cost));
    TRY(arena_alloc(a, rows, sizeof *s->mean, &s->mean));
    TRY(arena_alloc(a, rows, sizeof *s->key, &s->key));
    TRY(arena_alloc(a, rows, sizeof *s->call_key, &s->call_key));
    TRY(arena_alloc(a, rows, sizeof *s->examples, &s->examples));
    TRY(arena_alloc(a, rows, sizeof *s->units, &s->units));
    TRY(arena_alloc(a, (size_t)s->most_sequences, sizeof *s->branches, &s->branches));
    if (s->config->neftune_noise_alpha > 0.0) {
        TRY(arena_alloc(a, rows, sizeof *s->bound, &s->bound));
        TRY(arena_alloc(a, rows, sizeof *s->call_bound, &s->call_bound));
    }
    return STATUS_OK;
}

static enum status open_rooms(struct sft *s)
{
    const struct sft_plan *p = &s->config->plan;
    const int64_t step = p->per_device * p->world * p->accumulation;
    const int64_t parts[2] = {most_parts(s->env->train), most_parts(s->env->eval)};
    s->most_rows = step > s->config->eval_batch ? step : s->config->eval_batch;
    s->most_sequences = s->most_rows * (parts[0] > parts[1] ? parts[0] : parts[1]);
    arena_open_measure(&s->own, "step rows");
    TRY(lay_out(s));
    const size_t bytes = s->own.peak;
    TRY(arena_open(&s->own, "step rows", bytes));
    return lay_out(s);
}

enum status sft_open(struct sft **out, const struct sft_config *config, const struct sft_env *env)
{
    *out = NULL;
    int64_t labels = 0;
    for (int64_t i = 0; i < env->train->count; i++) {
        labels += env->train->items[i].labels;
    }
    if (labels == 0) {
        return FAIL(RECIPE, "the dataset has no row with a label (%lld dropped); raise max_length or "
                            "check the loss masks",
                    (long long)env->train->dropped);
    }
    if (sft_plan_steps_per_epoch(&config->plan) == 0) {
        return FAIL(RECIPE, "dataloader_drop_last leaves no batch: %lld rows are fewer than "
                            "per_device_train_batch_size %lld x world_size %lld",
                    (long long)config->plan.rows, (long long)config->plan.per_device,
                    (long long)config->plan.world);
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
        .recompute = config->recompute,
        .mean = config->label_smoothing > 0.0,
        .mean_grad = config->label_smoothing > 0.0,
    };
    s->noise.seed = config->seed;
    const enum status status = open_rooms(s);
    if (status != STATUS_OK) {
        sft_close(s);
        return status;
    }
    *out = s;
    return STATUS_OK;
}

static void take_work(void *ctx, struct work *w)
{
    struct sft *s = ctx;
    work_move(w, &s->pass.work);
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
        .eval_rows = s->env->eval ? s->env->eval->count : 0,
        .eval_batches =
            s->env->eval ? (s->env->eval->count + s->config->eval_batch - 1) / s->config->eval_batch
                         : 0,
        .save_state = save_state,
        .load_state = load_state,
        .work = take_work,
    };
}

void sft_close(struct sft *s)
{
    if (!s) {
        return;
    }
    arena_close(&s->own);
    unit_pass_close(&s->pass);
    free(s);
}
