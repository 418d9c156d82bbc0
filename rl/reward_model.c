/* Pairs of a step -> scores -> Bradley-Terry loss -> d score; see reward_model.h. */
#include "rl/reward_model.h"

#include <math.h>
#include <string.h>

/* Sums of a pair. The scores are its own: the least and the largest of a micro-batch are found when
 * all ranks' are known. */
enum {
    METRIC_LOSS,
    METRIC_MEAN,
    METRIC_ACCURACY,
    METRIC_MARGIN,
    METRIC_CHOSEN,
    METRIC_REJECTED,
    METRIC_MIN,
    METRIC_MAX,
    METRIC_COUNT
};

struct reward_model {
    const struct reward_model_config *config;
    const struct reward_model_env *env;
    struct tree_runner runner;
    const struct ranked **rows; /* pairs of the step */
    double *weight;             /* [count] of a pair in the step's means */
    int64_t *cost;
    int64_t count;
    double num_tokens;
};

double reward_pair_loss(double chosen, double rejected, double margin, double center,
                        double slope[2])
{
    const double x = chosen - rejected - margin;
    const double sum = chosen + rejected;
    const double away = 1.0 / (1.0 + exp(x)); /* sigmoid(-x) */
    slope[0] = -away + 2.0 * center * sum;
    slope[1] = away + 2.0 * center * sum;
    return (x > 0.0 ? log1p(exp(-x)) : log1p(exp(x)) - x) + center * sum * sum;
}

/* A pair's sums with its share `w` of the means. */
static void measure(const struct reward_model *m, const struct ranked *r, double chosen,
                    double rejected, double w, double slope[2], double *sums)
{
    const double loss = reward_pair_loss(chosen, rejected, r->margin, m->config->center, slope);
    sums[METRIC_LOSS] = w * loss;
    sums[METRIC_MEAN] = w * 0.5 * (chosen + rejected);
    sums[METRIC_ACCURACY] = chosen > rejected ? w : 0.0;
    sums[METRIC_MARGIN] = w * (chosen - rejected);
    sums[METRIC_CHOSEN] = chosen;
    sums[METRIC_REJECTED] = rejected;
}

/* Extremes of each micro-batch of `micro` pairs, their mean at its first pair. */
static void add_extremes(double *by_unit, int64_t count, int64_t micro)
{
    const double steps = (double)((count + micro - 1) / micro);
    for (int64_t begin = 0; begin < count; begin += micro) {
        double low = INFINITY;
        double high = -INFINITY;
        for (int64_t i = begin; i < count && i < begin + micro; i++) {
            const double *sums = by_unit + i * METRIC_COUNT;
            low = fmin(low, fmin(sums[METRIC_CHOSEN], sums[METRIC_REJECTED]));
            high = fmax(high, fmax(sums[METRIC_CHOSEN], sums[METRIC_REJECTED]));
        }
        by_unit[begin * METRIC_COUNT + METRIC_MIN] = low / steps;
        by_unit[begin * METRIC_COUNT + METRIC_MAX] = high / steps;
    }
}

static void combine(void *ctx, double *by_unit, int64_t count)
{
    const struct reward_model *m = ctx;
    add_extremes(by_unit, count, m->config->plan.per_device * m->config->plan.world);
}

static void drop_step(struct reward_model *m)
{
    free(m->rows);
    free(m->weight);
    free(m->cost);
    m->rows = NULL;
    m->weight = NULL;
    m->cost = NULL;
}

/* A virtual rank's batch is a mean, so are the ranks' and the micro-steps'. */
static void weigh_rows(struct reward_model *m)
{
    const int64_t per_device = m->config->plan.per_device;
    const int64_t micro = per_device * m->config->plan.world;
    const double micro_steps = (double)((m->count + micro - 1) / micro);
    for (int64_t i = 0; i < m->count; i++) {
        const int64_t begin = i / micro * micro;
        const int64_t end = begin + micro < m->count ? begin + micro : m->count;
        const int64_t first = begin + (i - begin) / per_device * per_device;
        const int64_t last = first + per_device < end ? first + per_device : end;
        const double ranks = (double)((end - begin + per_device - 1) / per_device);
        m->weight[i] = 1.0 / ((double)(last - first) * ranks * micro_steps);
    }
}

static enum status prepare(void *ctx, int64_t step, struct train_units *units)
{
    struct reward_model *m = ctx;
    int64_t *indices;
    drop_step(m);
    m->runner.step = (uint32_t)step;
    TRY(sft_plan_rows(&m->config->plan, step, &indices, &m->count));
    const size_t n = (size_t)m->count;
    m->rows = malloc(n * sizeof *m->rows);
    m->weight = malloc(n * sizeof *m->weight);
    m->cost = malloc(n * sizeof *m->cost);
    if (!m->rows || !m->weight || !m->cost) {
        free(indices);
        return FAIL(MEMORY, "step: no memory for %lld pairs", (long long)m->count);
    }
    for (int64_t i = 0; i < m->count; i++) {
        m->rows[i] = &m->env->pairs->items[indices[i]];
        const struct tree_row tree = ranked_tree(m->rows[i]);
        m->cost[i] = tree_row_tokens(&tree);
        m->num_tokens += (double)(m->rows[i]->side[0].tokens + m->rows[i]->side[1].tokens);
    }
    free(indices);
    weigh_rows(m);
    *units = (struct train_units){.count = m->count, .cost = m->cost};
    return STATUS_OK;
}

/* The step's pairs that run, and where their sums go. */
struct run_rows {
    struct reward_model *m;
    const int64_t *units;
    double *sums; /* [count, METRIC_COUNT] */
};

static void pair_objective(void *ctx, int64_t i, int64_t at, const struct unit_outputs *out)
{
    const struct run_rows *run = ctx;
    const int64_t u = run->units[i];
    const double w = run->m->weight[u];
    double slope[2];
    measure(run->m, run->m->rows[u], (double)out->score[at], (double)out->score[at + 1], w, slope,
            run->sums + i * METRIC_COUNT);
    out->dscore[at] = (float)(w * slope[0]);
    out->dscore[at + 1] = (float)(w * slope[1]);
}

static enum status run(void *ctx, const int64_t *units, int64_t count, double *sums)
{
    struct reward_model *m = ctx;
    struct tree_row *trees = malloc((size_t)count * sizeof *trees + 1);
    if (!trees) {
        return FAIL(MEMORY, "step: no memory for %lld pairs", (long long)count);
    }
    memset(sums, 0, (size_t)(count * METRIC_COUNT) * sizeof *sums);
    for (int64_t i = 0; i < count; i++) {
        trees[i] = ranked_tree(m->rows[units[i]]);
        trees[i].key = (uint32_t)units[i];
    }
    struct run_rows r = {m, units, sums};
    m->runner.pass.grad = true;
    const enum status status = tree_rows_run(&m->runner, trees, count, pair_objective, &r);
    free(trees);
    return status;
}

static void log_metrics(const double *totals, const char *prefix, json_t *line)
{
    static const struct {
        const char *name;
        int metric;
    } FIELDS[] = {{"min_reward", METRIC_MIN},
                  {"mean_reward", METRIC_MEAN},
                  {"max_reward", METRIC_MAX},
                  {"accuracy", METRIC_ACCURACY},
                  {"margin", METRIC_MARGIN}};
    for (size_t i = 0; i < sizeof FIELDS / sizeof *FIELDS; i++) {
        char name[64];
        (void)snprintf(name, sizeof name, "%s%s", prefix, FIELDS[i].name);
        (void)json_object_set_new(line, name, json_real(totals[FIELDS[i].metric]));
    }
}

static enum status log_fields(void *ctx, const double *totals, json_t *line)
{
    const struct reward_model *m = ctx;
    log_metrics(totals, "", line);
    (void)json_object_set_new(line, "num_tokens", json_real(m->num_tokens));
    return STATUS_OK;
}

static void fill_scores(void *ctx, int64_t i, int64_t at, const struct unit_outputs *out,
                        void *record)
{
    const double scores[2] = {(double)out->score[at], (double)out->score[at + 1]};
    (void)ctx;
    (void)i;
    memcpy(record, scores, sizeof scores);
}

/* Batches of per_device_eval_batch_size; metrics are means over batches, the loss over pairs. */
static void total_evaluation(const struct reward_model *m, double (*scores)[2], double *sums,
                             double *totals)
{
    const struct ranked_set *set = m->env->eval;
    const int64_t batch = m->config->eval_batch;
    const double batches = (double)((set->count + batch - 1) / batch);
    memset(sums, 0, (size_t)(set->count * METRIC_COUNT) * sizeof *sums);
    for (int64_t i = 0; i < set->count; i++) {
        double slope[2];
        const int64_t left = set->count - i / batch * batch;
        const double w = 1.0 / ((double)(left < batch ? left : batch) * batches);
        double *own = sums + i * METRIC_COUNT;
        measure(m, &set->items[i], scores[i][0], scores[i][1], w, slope, own);
        own[METRIC_LOSS] /= w * (double)set->count;
    }
    add_extremes(sums, set->count, batch);
    for (int64_t i = 0; i < set->count * METRIC_COUNT; i++) {
        totals[i % METRIC_COUNT] += sums[i];
    }
}

static enum status evaluate(void *ctx, int64_t step, json_t *line)
{
    struct reward_model *m = ctx;
    const struct ranked_set *set = m->env->eval;
    const size_t n = (size_t)set->count;
    double totals[METRIC_COUNT] = {0.0};
    struct tree_row *trees = malloc(n * sizeof *trees);
    double(*scores)[2] = malloc(n * sizeof *scores);
    double *sums = malloc(n * METRIC_COUNT * sizeof *sums);
    enum status status = trees && scores && sums
                             ? STATUS_OK
                             : FAIL(MEMORY, "evaluation: no memory for %zu pairs", n);
    (void)step;
    status = comm_agree(m->env->comm, status);
    for (size_t i = 0; status == STATUS_OK && i < n; i++) {
        trees[i] = ranked_tree(&set->items[i]);
    }
    if (status == STATUS_OK) {
        status = tree_rows_score(&m->runner, trees, set->count, false, fill_scores, NULL, scores,
                                 sizeof *scores);
    }
    if (status == STATUS_OK) {
        total_evaluation(m, scores, sums, totals);
        (void)json_object_set_new(line, "eval_loss", json_real(totals[METRIC_LOSS]));
        log_metrics(totals, "eval_", line);
        (void)json_object_set_new(line, "eval_num_tokens", json_real(m->num_tokens));
    }
    free(trees);
    free(scores);
    free(sums);
    return status;
}

static enum status save_state(void *ctx, json_t *state)
{
    const struct reward_model *m = ctx;
    (void)json_object_set_new(state, "num_tokens", json_real(m->num_tokens));
    return STATUS_OK;
}

static enum status load_state(void *ctx, const json_t *state)
{
    struct reward_model *m = ctx;
    m->num_tokens = json_real_value(json_object_get(state, "num_tokens"));
    return STATUS_OK;
}

enum status reward_model_open(struct reward_model **out, const struct reward_model_config *config,
                              const struct reward_model_env *env)
{
    *out = NULL;
    if (env->pairs->count == 0) {
        return FAIL(RECIPE, "the dataset has no pair (%lld dropped); raise max_length",
                    (long long)env->pairs->dropped);
    }
    struct reward_model *m = calloc(1, sizeof *m);
    if (!m) {
        return FAIL(MEMORY, "reward model: no memory");
    }
    m->config = config;
    m->env = env;
    m->runner = (struct tree_runner){.comm = env->comm,
                                     .micro_batch_tokens = config->micro_batch_tokens,
                                     .dropout = config->dropout};
    m->runner.pass = (struct unit_pass){
        .model = env->model,
        .ops = env->ops,
        .temperature = 1.0f,
        .hooks = true,
        .score = true,
        .recompute = config->recompute,
    };
    *out = m;
    return STATUS_OK;
}

struct train_method reward_model_method(struct reward_model *m)
{
    return (struct train_method){
        .name = "reward-model",
        .ctx = m,
        .prepare = prepare,
        .run = run,
        .metrics = METRIC_COUNT,
        .combine = combine,
        .log = log_fields,
        .evaluate = m->env->eval ? evaluate : NULL,
        .save_state = save_state,
        .load_state = load_state,
    };
}

void reward_model_close(struct reward_model *m)
{
    if (!m) {
        return;
    }
    unit_pass_close(&m->runner.pass);
    drop_step(m);
    free(m);
}
