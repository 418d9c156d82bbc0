/* Rows of a step -> completions of student, teacher or data -> divergences; see distill.h. */
#include "rl/distill.h"

#include <string.h>

#include "kernels/base/rng.h"
#include "rl/tree_rows.h"

enum { METRIC_LOSS, METRIC_ENTROPY, METRIC_CORRECT, METRIC_TOKENS, METRIC_SAMPLED, METRIC_COUNT };

/* Who writes the completions of a micro-step. */
enum author { AUTHOR_DATA, AUTHOR_STUDENT, AUTHOR_TEACHER };

struct live_row {
    const struct distill_row *row;
    enum author author;
    struct token_list made; /* its completion, when it was sampled */
};

struct distiller {
    const struct distill_config *config;
    const struct distill_env *env;
    struct tree_runner runner;
    struct live_row *rows; /* of the step */
    int64_t *cost;
    int64_t count;
    double labels; /* normaliser of the step */
};

static struct tree_row tree_of(const struct distill_row *r, const struct token_list *made)
{
    return (struct tree_row){
        .prompt = r->ids,
        .prompt_count = r->prompt_count,
        .branches = {{.ids = made ? made->ids : r->ids + r->prompt_count,
                      .count = made ? made->count : r->count}},
        .branch_count = 1,
    };
}

static struct tree_row live_tree(const struct live_row *r)
{
    return tree_of(r->row, r->author == AUTHOR_DATA ? NULL : &r->made);
}

/* Python's random.random() of micro-step `k`, counted over the whole run. */
static double draw_at(uint64_t seed, int64_t k)
{
    struct rng_mt19937 g;
    rng_mt_seed_python(&g, (uint32_t)seed);
    double value = 0.0;
    for (int64_t i = 0; i <= k; i++) {
        const uint32_t high = rng_mt_next(&g) >> 5;
        const uint32_t low = rng_mt_next(&g) >> 6;
        value = ((double)high * 67108864.0 + (double)low) / 9007199254740992.0;
    }
    return value;
}

static enum author author_of(const struct distill_config *c, int64_t micro_step)
{
    if (draw_at(c->seed, micro_step) <= c->lmbda) {
        return AUTHOR_STUDENT;
    }
    return c->seq_kd ? AUTHOR_TEACHER : AUTHOR_DATA;
}

static int64_t first_micro_step(const struct distill_config *c, int64_t step)
{
    const int64_t per_epoch = sft_plan_steps_per_epoch(&c->plan);
    return step / per_epoch * sft_plan_micro_steps_per_epoch(&c->plan)
           + step % per_epoch * c->plan.accumulation;
}

static void drop_step(struct distiller *d)
{
    for (int64_t i = 0; d->rows && i < d->count; i++) {
        token_list_free(&d->rows[i].made);
    }
    free(d->rows);
    free(d->cost);
    d->rows = NULL;
    d->cost = NULL;
    d->count = 0;
}

static enum status append(struct token_list *list, const int32_t *ids, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        TRY(token_list_push(list, ids[i]));
    }
    return STATUS_OK;
}

/* This rank's share of one author's completions, packed as (row, count, ids). */
static enum status generate_share(struct distiller *d, int64_t step, enum author author,
                                  struct token_list *packed)
{
    const struct comm *comm = d->env->comm;
    struct prompt *prompts = calloc((size_t)d->count + 1, sizeof *prompts);
    struct completion_set set = {0};
    int64_t seen = 0;
    struct generate_args args = {
        .model = author == AUTHOR_STUDENT ? d->env->model : d->env->teacher,
        .ops = d->env->ops,
        .hooks = author == AUTHOR_STUDENT,
        .prompts = prompts,
        .sample = d->config->sample,
        .limits = d->config->limits,
    };
    if (!prompts) {
        return FAIL(MEMORY, "distillation: no memory for %lld prompts", (long long)d->count);
    }
    for (int64_t i = 0; i < d->count; i++) {
        if (d->rows[i].author == author && seen++ % comm->size == comm->rank) {
            prompts[args.prompt_count++] = (struct prompt){.ids = d->rows[i].row->ids,
                                                           .count = d->rows[i].row->prompt_count,
                                                           .row = (uint32_t)i,
                                                           .samples = 1};
        }
    }
    args.sample.step = (uint32_t)step;
    args.sample.purpose = RNG_SAMPLE;
    enum status status = args.prompt_count > 0 ? generate(&args, &set, NULL) : STATUS_OK;
    for (int64_t i = 0; status == STATUS_OK && i < set.count; i++) {
        const struct completion *made = &set.items[i];
        const int32_t head[2] = {(int32_t)prompts[made->prompt].row, (int32_t)made->count};
        status = append(packed, head, 2);
        if (status == STATUS_OK) {
            status = append(packed, made->ids, made->count);
        }
    }
    completion_set_close(&set);
    free(prompts);
    return status;
}

/* Every rank gets all sampled completions. */
static enum status sample(struct distiller *d, int64_t step)
{
    const struct comm *comm = d->env->comm;
    struct token_list packed = {0};
    size_t *offsets = malloc(((size_t)comm->size + 1) * sizeof *offsets);
    void *all = NULL;
    enum status status = offsets ? STATUS_OK : FAIL(MEMORY, "distillation: no memory");
    for (int a = AUTHOR_STUDENT; status == STATUS_OK && a <= AUTHOR_TEACHER; a++) {
        status = generate_share(d, step, (enum author)a, &packed);
    }
    TRY_TO(status, out, comm_agree(comm, status));
    TRY_TO(status, out,
           comm_gather_all(comm, packed.ids, (size_t)packed.count * sizeof *packed.ids, &all,
                           offsets));
    const int32_t *at = all;
    const int32_t *end = at + offsets[comm->size] / sizeof *at;
    while (status == STATUS_OK && at < end) {
        status = append(&d->rows[at[0]].made, at + 2, at[1]);
        at += 2 + at[1];
    }
    status = comm_agree(comm, status);
out:
    token_list_free(&packed);
    free(offsets);
    free(all);
    return status;
}

static enum status scripted(struct distiller *d, int64_t first, int64_t micro)
{
    for (int64_t i = 0; i < d->count; i++) {
        if (d->rows[i].author != AUTHOR_DATA) {
            TRY(d->config->script(d->config->script_ctx, first + i / micro, i % micro,
                                  &d->rows[i].made));
        }
    }
    return STATUS_OK;
}

static enum status prepare(void *ctx, int64_t step, struct train_units *units)
{
    struct distiller *d = ctx;
    const struct distill_config *c = d->config;
    const int64_t micro = c->plan.per_device * c->plan.world;
    const int64_t first = first_micro_step(c, step);
    int64_t *indices;
    int64_t count;
    drop_step(d);
    d->runner.step = (uint32_t)step;
    TRY(sft_plan_rows(&c->plan, step, &indices, &count));
    d->rows = calloc((size_t)count, sizeof *d->rows);
    d->cost = malloc((size_t)count * sizeof *d->cost);
    if (!d->rows || !d->cost) {
        free(indices);
        return FAIL(MEMORY, "step: no memory for %lld rows", (long long)count);
    }
    d->count = count;
    for (int64_t i = 0; i < count; i++) {
        d->rows[i].row = &d->env->rows->items[indices[i]];
        d->rows[i].author = i % micro == 0 ? author_of(c, first + i / micro)
                                           : d->rows[i - 1].author;
    }
    free(indices);
    TRY(c->script ? scripted(d, first, micro) : sample(d, step));
    d->labels = 0.0;
    for (int64_t i = 0; i < count; i++) {
        const struct tree_row tree = live_tree(&d->rows[i]);
        const int64_t own = d->rows[i].row->count;
        d->cost[i] = tree_row_tokens(&tree);
        d->labels += (double)(own > 0 ? own : tree_row_outputs(&tree, 0));
    }
    *units = (struct train_units){.count = count, .cost = d->cost};
    return STATUS_OK;
}

/* The step's rows that run, and where their sums go. */
struct run_rows {
    struct distiller *d;
    const int64_t *units;
    const struct tree_row *trees;
    double *sums; /* [count, METRIC_COUNT] */
};

static void row_objective(void *ctx, int64_t i, int64_t at, const struct unit_outputs *out)
{
    const struct run_rows *run = ctx;
    const int64_t n = tree_row_outputs(&run->trees[i], 0);
    const double w = 1.0 / run->d->labels;
    double *sums = run->sums + i * METRIC_COUNT;
    for (int64_t t = at; t < at + n; t++) {
        sums[METRIC_LOSS] += w * out->divergence[t];
        sums[METRIC_ENTROPY] += (double)out->head->entropy[t];
        sums[METRIC_CORRECT] += out->head->best[t] == out->batch->targets[t];
        out->dlogp[t] = (float)w;
    }
    sums[METRIC_TOKENS] = (double)n;
    sums[METRIC_SAMPLED] = run->d->rows[run->units[i]].author != AUTHOR_DATA;
}

static enum status run(void *ctx, const int64_t *units, int64_t count, double *sums)
{
    struct distiller *d = ctx;
    struct tree_row *trees = malloc((size_t)count * sizeof *trees + 1);
    if (!trees) {
        return FAIL(MEMORY, "step: no memory for %lld rows", (long long)count);
    }
    memset(sums, 0, (size_t)(count * METRIC_COUNT) * sizeof *sums);
    for (int64_t i = 0; i < count; i++) {
        trees[i] = live_tree(&d->rows[units[i]]);
        trees[i].key = (uint32_t)units[i];
    }
    struct run_rows r = {d, units, trees, sums};
    d->runner.pass.grad = true;
    const enum status status = tree_rows_run(&d->runner, trees, count, row_objective, &r);
    free(trees);
    return status;
}

static enum status log_fields(void *ctx, const double *totals, json_t *line)
{
    const struct distiller *d = ctx;
    const double tokens = totals[METRIC_TOKENS] > 0 ? totals[METRIC_TOKENS] : 1.0;
    const double rows = (double)d->count;
    (void)json_object_set_new(line, "entropy", json_real(totals[METRIC_ENTROPY] / tokens));
    (void)json_object_set_new(line, "mean_token_accuracy",
                              json_real(totals[METRIC_CORRECT] / tokens));
    (void)json_object_set_new(line, "completions/mean_length",
                              json_real(totals[METRIC_TOKENS] / rows));
    (void)json_object_set_new(line, "sampled", json_real(totals[METRIC_SAMPLED] / rows));
    return STATUS_OK;
}

/* Fills the sum of a row's divergences. */
static void fill_sum(void *ctx, int64_t i, int64_t at, const struct unit_outputs *out,
                     void *record)
{
    const struct tree_row *trees = ctx;
    double sum = 0.0;
    for (int64_t t = at; t < at + tree_row_outputs(&trees[i], 0); t++) {
        sum += out->divergence[t];
    }
    memcpy(record, &sum, sizeof sum);
}

/* The held-out rows as they are: a batch's mean over its labels, weighted by rows. */
static enum status evaluate(void *ctx, int64_t step, json_t *line)
{
    struct distiller *d = ctx;
    const struct distill_set *set = d->env->eval;
    const int64_t batch = d->config->eval_batch;
    struct tree_row *trees = malloc((size_t)set->count * sizeof *trees);
    double *sums = calloc((size_t)set->count, sizeof *sums);
    double loss = 0.0;
    enum status status = trees && sums ? STATUS_OK : FAIL(MEMORY, "evaluation: no memory");
    (void)step;
    status = comm_agree(d->env->comm, status);
    for (int64_t i = 0; status == STATUS_OK && i < set->count; i++) {
        trees[i] = tree_of(&set->items[i], NULL);
    }
    if (status == STATUS_OK) {
        status = tree_rows_score(&d->runner, trees, set->count, false, fill_sum, trees, sums,
                                 sizeof *sums);
    }
    for (int64_t begin = 0; status == STATUS_OK && begin < set->count; begin += batch) {
        const int64_t end = begin + batch < set->count ? begin + batch : set->count;
        double sum = 0.0;
        double labels = 0.0;
        for (int64_t i = begin; i < end; i++) {
            sum += sums[i];
            labels += (double)tree_row_outputs(&trees[i], 0);
        }
        loss += sum / (labels > 0.0 ? labels : 1.0) * (double)(end - begin) / (double)set->count;
    }
    free(trees);
    free(sums);
    TRY(status);
    (void)json_object_set_new(line, "eval_loss", json_real(loss));
    return STATUS_OK;
}

static enum status check(const struct distill_config *c, const struct distill_env *env)
{
    if (env->rows->count == 0) {
        return FAIL(RECIPE, "the dataset has no row (%lld dropped); raise max_length",
                    (long long)env->rows->dropped);
    }
    if (env->teacher->config.vocab != env->model->config.vocab) {
        return FAIL(RECIPE, "the student has a vocabulary of %lld, the teacher of %lld: distillation "
                            "compares distributions over the same one",
                    (long long)env->model->config.vocab, (long long)env->teacher->config.vocab);
    }
    const bool as_is = c->lmbda < 1.0 && !c->seq_kd;
    for (int64_t i = 0; as_is && i < env->rows->count; i++) {
        if (env->rows->items[i].count == 0) {
            return FAIL(RECIPE, "a row has no completion: with lmbda below 1 some are trained on as "
                                "they are; set lmbda: 1, or seq_kd: true");
        }
    }
    return STATUS_OK;
}

enum status distill_open(struct distiller **out, const struct distill_config *config,
                         const struct distill_env *env)
{
    *out = NULL;
    TRY(check(config, env));
    struct distiller *d = calloc(1, sizeof *d);
    if (!d) {
        return FAIL(MEMORY, "distillation: no memory");
    }
    d->config = config;
    d->env = env;
    d->runner = (struct tree_runner){.comm = env->comm,
                                     .micro_batch_tokens = config->micro_batch_tokens,
                                     .dropout = config->dropout};
    d->runner.pass = (struct unit_pass){
        .model = env->model,
        .ops = env->ops,
        .temperature = 1.0f,
        .hooks = true,
        .teacher = env->teacher,
        .beta = config->beta,
        .recompute = config->recompute,
    };
    *out = d;
    return STATUS_OK;
}

struct train_method distill_method(struct distiller *d)
{
    return (struct train_method){
        .name = "distill",
        .ctx = d,
        .prepare = prepare,
        .run = run,
        .metrics = METRIC_COUNT,
        .log = log_fields,
        .evaluate = d->env->eval ? evaluate : NULL,
    };
}

void distill_close(struct distiller *d)
{
    if (!d) {
        return;
    }
    unit_pass_close(&d->runner.pass);
    drop_step(d);
    free(d);
}
