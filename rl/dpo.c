/*
 * DPO: pairs of a step -> trees -> log-probs of both completions and of the reference -> loss of the
 * pair -> d logp. Losses that compare sorted batches (aot) score their pairs first.
 */
#include "rl/dpo.h"

#include <math.h>
#include <string.h>

#include "trainer/model/unit_pass.h"

/* Metric sums of a pair, weighted so that their totals are TRL's logged means. */
enum {
    METRIC_LOSS,
    METRIC_REWARD_CHOSEN,
    METRIC_REWARD_REJECTED,
    METRIC_ACCURACY,
    METRIC_LOGP_CHOSEN,
    METRIC_LOGP_REJECTED,
    METRIC_ENTROPY,
    METRIC_CORRECT,
    METRIC_COUNT
};

/* A pair of the step. */
struct dpo_row {
    const struct pair *pair;
    int64_t index;          /* into the set */
    double weight;          /* of its loss in the step's */
    double mean;            /* 1 / (pairs of its micro-step x micro-steps) */
    double token_mean;      /* the same over completion tokens, and over the chosen ones */
    double chosen_mean;
    struct dpo_pair numbers;
};

struct dpo {
    const struct dpo_method_config *config;
    const struct dpo_env *env;
    struct unit_pass pass;
    struct dpo_row *rows;
    int64_t *cost;
    int64_t count;
    double (*ref)[2]; /* [pairs] precomputed sums of chosen and rejected */
    double num_tokens;
};

static int64_t pair_rows(const struct pair *p)
{
    return p->prompt_count + p->chosen_count + p->rejected_count;
}

static int64_t shorter(const struct pair *p)
{
    return p->chosen_count < p->rejected_count ? p->chosen_count : p->rejected_count;
}

/* Sum over a completion, LD-weighted. */
static double completion_sum(const struct dpo *d, const struct pair *p, const float *logp,
                             int64_t count)
{
    double sum = 0.0;
    for (int64_t t = 0; t < count; t++) {
        sum += dpo_token_weight(&d->config->loss, t, shorter(p)) * (double)logp[t];
    }
    return sum;
}

/* The policy's and, when it is at hand, the reference's numbers of a pair at output `at`. */
static void fill_numbers(const struct dpo *d, struct dpo_row *r, int64_t at,
                         const struct unit_outputs *out)
{
    const struct pair *p = r->pair;
    const float *logp = out->head->logp + at;
    r->numbers.chosen = completion_sum(d, p, logp, p->chosen_count);
    r->numbers.rejected = completion_sum(d, p, logp + p->chosen_count, p->rejected_count);
    r->numbers.chosen_plain = 0.0;
    for (int64_t t = 0; t < p->chosen_count; t++) {
        r->numbers.chosen_plain += (double)logp[t];
    }
    if (out->ref) {
        const float *ref = out->ref + at;
        r->numbers.ref_chosen = completion_sum(d, p, ref, p->chosen_count);
        r->numbers.ref_rejected = completion_sum(d, p, ref + p->chosen_count, p->rejected_count);
    }
}

/* WPO: exp of the mean of logp - log sum p^2, of both completions. */
static double wpo_weight(const struct pair *p, int64_t at, const struct unit_outputs *out)
{
    const int64_t counts[2] = {p->chosen_count, p->rejected_count};
    double weight = 1.0;
    for (int k = 0; k < 2; k++) {
        double sum = 0.0;
        for (int64_t t = 0; t < counts[k]; t++, at++) {
            sum += (double)out->head->logp[at] - (double)out->log_sum_squares[at];
        }
        weight *= exp(sum / (double)counts[k]);
    }
    return weight;
}

typedef void (*pair_fn)(struct dpo *d, struct dpo_row *r, int64_t at,
                        const struct unit_outputs *out, double *sums);

/* The pairs of the micro-batch that runs. */
struct batch_rows {
    struct dpo *d;
    struct dpo_row *const *rows;
    int64_t count;
    pair_fn each;
    double *sums; /* [count, METRIC_COUNT] or NULL */
};

static void each_pair(void *ctx, const struct unit_outputs *out)
{
    const struct batch_rows *b = ctx;
    int64_t at = 0;
    for (int64_t i = 0; i < b->count; i++) {
        const struct pair *p = b->rows[i]->pair;
        b->each(b->d, b->rows[i], at, out, b->sums ? b->sums + i * METRIC_COUNT : NULL);
        at += p->chosen_count + p->rejected_count;
    }
}

/* Runs pairs in micro-batches under the token budget, in order. */
static enum status run_pairs(struct dpo *d, struct dpo_row *const *rows, int64_t count,
                             bool reference, pair_fn each, double *sums)
{
    struct pack_branch *branches = malloc((size_t)count * 2 * sizeof *branches + 1);
    struct pack_unit *units = malloc((size_t)count * sizeof *units + 1);
    enum status status = branches && units
                             ? STATUS_OK
                             : FAIL(MEMORY, "step: no memory for %lld pairs", (long long)count);
    for (int64_t i = 0; status == STATUS_OK && i < count; i++) {
        const struct pair *p = rows[i]->pair;
        const int32_t *chosen = p->ids + p->prompt_count;
        branches[2 * i] = (struct pack_branch){.ids = chosen, .count = p->chosen_count};
        branches[2 * i + 1] = (struct pack_branch){.ids = chosen + p->chosen_count,
                                                   .count = p->rejected_count};
        units[i] = (struct pack_unit){.prompt = p->ids, .prompt_count = p->prompt_count,
                                      .branches = branches + 2 * i, .branch_count = 2};
    }
    for (int64_t begin = 0; status == STATUS_OK && begin < count;) {
        int64_t end = begin;
        int64_t tokens = 0;
        do {
            tokens += pair_rows(rows[end++]->pair);
        } while (end < count
                 && tokens + pair_rows(rows[end]->pair) <= d->config->micro_batch_tokens);
        struct batch_rows b = {.d = d, .rows = rows + begin, .count = end - begin, .each = each,
                               .sums = sums ? sums + begin * METRIC_COUNT : NULL};
        status = reference
                     ? unit_pass_reference(&d->pass, units + begin, end - begin, each_pair, &b)
                     : unit_pass_run(&d->pass, units + begin, end - begin, each_pair, &b);
        begin = end;
    }
    free(branches);
    free(units);
    return status;
}

static void keep_numbers(struct dpo *d, struct dpo_row *r, int64_t at,
                         const struct unit_outputs *out, double *sums)
{
    (void)sums;
    fill_numbers(d, r, at, out);
}

/* Scores rows without a backward, dealt to ranks; every rank ends with all numbers. */
static enum status score(struct dpo *d, struct dpo_row *rows, int64_t count, bool reference)
{
    const struct comm *comm = d->env->comm;
    struct dpo_row **mine = malloc((size_t)count * sizeof(struct dpo_row *) + 1);
    struct dpo_pair *numbers = malloc((size_t)count * sizeof *numbers + 1);
    size_t *offsets = malloc(((size_t)comm->size + 1) * sizeof *offsets);
    void *all = NULL;
    int64_t n = 0;
    enum status status = mine && numbers && offsets ? STATUS_OK : FAIL(MEMORY, "pairs: no memory");
    TRY_TO(status, out, comm_agree(comm, status));
    for (int64_t i = comm->rank; i < count; i += comm->size) {
        mine[n++] = &rows[i];
    }
    d->pass.grad = false;
    status = comm_agree(comm, run_pairs(d, mine, n, reference, keep_numbers, NULL));
    TRY_TO(status, out, status);
    for (int64_t i = 0; i < n; i++) {
        numbers[i] = mine[i]->numbers;
    }
    TRY_TO(status, out, comm_gather_all(comm, numbers, (size_t)n * sizeof *numbers, &all, offsets));
    for (int rank = 0; rank < comm->size; rank++) {
        const char *at = (const char *)all + offsets[rank];
        for (int64_t i = rank; i < count; i += comm->size, at += sizeof *numbers) {
            memcpy(&rows[i].numbers, at, sizeof *numbers);
        }
    }
out:
    d->pass.grad = true;
    free(mine);
    free(numbers);
    free(offsets);
    free(all);
    return status;
}

static enum status precompute(struct dpo *d)
{
    const int64_t count = d->env->pairs->count;
    struct dpo_row *rows = calloc((size_t)count, sizeof *rows);
    d->ref = malloc((size_t)count * sizeof *d->ref);
    enum status status = rows && d->ref ? STATUS_OK : FAIL(MEMORY, "reference: no memory");
    for (int64_t i = 0; status == STATUS_OK && i < count; i++) {
        rows[i].pair = &d->env->pairs->items[i];
    }
    status = comm_agree(d->env->comm, status);
    if (status == STATUS_OK) {
        status = score(d, rows, count, true);
    }
    for (int64_t i = 0; status == STATUS_OK && i < count; i++) {
        d->ref[i][0] = rows[i].numbers.chosen;
        d->ref[i][1] = rows[i].numbers.rejected;
    }
    free(rows);
    return status;
}

/* Weights of the pairs [begin, end) of one micro-step of `micro_steps`. */
static void weigh_micro_step(struct dpo *d, int64_t begin, int64_t end, double micro_steps)
{
    const int64_t per_device = d->config->plan.per_device;
    double tokens = 0.0;
    double chosen = 0.0;
    for (int64_t i = begin; i < end; i++) {
        tokens += (double)(d->rows[i].pair->chosen_count + d->rows[i].pair->rejected_count);
        chosen += (double)d->rows[i].pair->chosen_count;
    }
    for (int64_t i = begin; i < end; i++) {
        struct dpo_row *r = &d->rows[i];
        const int64_t first = begin + (i - begin) / per_device * per_device;
        const int64_t last = first + per_device < end ? first + per_device : end;
        double mine = 0.0;
        for (int64_t k = first; k < last; k++) {
            mine += (double)d->rows[k].pair->chosen_count;
        }
        const double ranks = (double)((end - begin + per_device - 1) / per_device);
        r->weight = 1.0 / ((double)(last - first) * ranks * micro_steps);
        r->mean = 1.0 / ((double)(end - begin) * micro_steps);
        r->token_mean = 1.0 / (tokens * micro_steps);
        r->chosen_mean = 1.0 / (chosen * micro_steps);
        r->numbers.sft_scale = (double)(last - first) / mine;
    }
}

/* Partners for the losses that compare sorted batches: a batch is a virtual rank's micro-batch. */
static enum status match(struct dpo *d)
{
    const int64_t per_device = d->config->plan.per_device;
    struct dpo_pair *batch = malloc((size_t)per_device * sizeof *batch);
    d->pass.reference = !d->ref;
    enum status status = batch ? STATUS_OK : FAIL(MEMORY, "pairs: no memory");
    status = comm_agree(d->env->comm, status);
    if (status == STATUS_OK) {
        status = score(d, d->rows, d->count, false);
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
        d->rows[i] = (struct dpo_row){
            .pair = p,
            .index = indices[i],
            .numbers = {.chosen_tokens = (double)p->chosen_count,
                        .rejected_tokens = (double)p->rejected_count,
                        .ref_chosen = d->ref ? d->ref[indices[i]][0] : 0.0,
                        .ref_rejected = d->ref ? d->ref[indices[i]][1] : 0.0,
                        .weight = 1.0},
        };
        d->cost[i] = pair_rows(p);
        d->num_tokens += (double)(pair_rows(p) + p->prompt_count);
    }
    free(indices);
    const int64_t micro_steps = (d->count + micro - 1) / micro;
    for (int64_t begin = 0; begin < d->count; begin += micro) {
        weigh_micro_step(d, begin, begin + micro < d->count ? begin + micro : d->count,
                         (double)micro_steps);
    }
    *units = (struct train_units){.count = d->count, .cost = d->cost};
    return dpo_needs_match(&d->config->loss) ? match(d) : STATUS_OK;
}

static void add_metrics(const struct dpo *d, const struct dpo_row *r, int64_t at,
                        const struct unit_outputs *out, double *sums)
{
    const struct dpo_pair *n = &r->numbers;
    const double up = d->config->loss.beta * (n->chosen - n->ref_chosen);
    const double down = d->config->loss.beta * (n->rejected - n->ref_rejected);
    sums[METRIC_REWARD_CHOSEN] = r->mean * up;
    sums[METRIC_REWARD_REJECTED] = r->mean * down;
    sums[METRIC_ACCURACY] = up > down ? r->mean : 0.0;
    sums[METRIC_LOGP_CHOSEN] = r->mean * n->chosen;
    sums[METRIC_LOGP_REJECTED] = r->mean * n->rejected;
    for (int64_t t = 0; t < r->pair->chosen_count + r->pair->rejected_count; t++) {
        const bool right = out->head->best[at + t] == out->batch->targets[at + t];
        sums[METRIC_ENTROPY] += r->token_mean * (double)out->head->entropy[at + t];
        sums[METRIC_CORRECT] += t < r->pair->chosen_count && right ? r->chosen_mean : 0.0;
    }
}

/* Loss of one pair and the slopes of its tokens. */
static void pair_objective(struct dpo *d, struct dpo_row *r, int64_t at,
                           const struct unit_outputs *out, double *sums)
{
    const struct pair *p = r->pair;
    const struct dpo_config *c = &d->config->loss;
    fill_numbers(d, r, at, out);
    r->numbers.weight = c->use_weighting ? wpo_weight(p, at, out) : 1.0;
    const struct dpo_terms t = dpo_pair_terms(c, &r->numbers);
    float *dlogp = out->dlogp + at;
    for (int64_t k = 0; k < p->chosen_count; k++) {
        *dlogp++ = (float)(r->weight * (t.d_chosen * dpo_token_weight(c, k, shorter(p))
                                        + t.d_chosen_token));
    }
    for (int64_t k = 0; k < p->rejected_count; k++) {
        *dlogp++ = (float)(r->weight * t.d_rejected * dpo_token_weight(c, k, shorter(p)));
    }
    sums[METRIC_LOSS] = r->weight * t.loss;
    add_metrics(d, r, at, out, sums);
}

static enum status run(void *ctx, const int64_t *units, int64_t count, double *sums)
{
    struct dpo *d = ctx;
    struct dpo_row **rows = malloc((size_t)count * sizeof(struct dpo_row *) + 1);
    if (!rows) {
        return FAIL(MEMORY, "step: no memory for %lld pairs", (long long)count);
    }
    memset(sums, 0, (size_t)(count * METRIC_COUNT) * sizeof *sums);
    for (int64_t i = 0; i < count; i++) {
        rows[i] = &d->rows[units[i]];
    }
    d->pass.grad = true;
    d->pass.reference = !d->ref;
    const enum status status = run_pairs(d, rows, count, false, pair_objective, sums);
    free(rows);
    return status;
}

static enum status log_fields(void *ctx, const double *totals, json_t *line)
{
    static const struct {
        const char *name;
        int metric;
    } FIELDS[] = {{"rewards/chosen", METRIC_REWARD_CHOSEN},
                  {"rewards/rejected", METRIC_REWARD_REJECTED},
                  {"rewards/accuracies", METRIC_ACCURACY},
                  {"logps/chosen", METRIC_LOGP_CHOSEN},
                  {"logps/rejected", METRIC_LOGP_REJECTED},
                  {"entropy", METRIC_ENTROPY},
                  {"mean_token_accuracy", METRIC_CORRECT}};
    const struct dpo *d = ctx;
    for (size_t i = 0; i < sizeof FIELDS / sizeof *FIELDS; i++) {
        (void)json_object_set_new(line, FIELDS[i].name, json_real(totals[FIELDS[i].metric]));
    }
    (void)json_object_set_new(
        line, "rewards/margins",
        json_real(totals[METRIC_REWARD_CHOSEN] - totals[METRIC_REWARD_REJECTED]));
    (void)json_object_set_new(line, "num_tokens", json_real(d->num_tokens));
    return STATUS_OK;
}

static enum status save_state(void *ctx, json_t *state)
{
    const struct dpo *d = ctx;
    (void)json_object_set_new(state, "num_tokens", json_real(d->num_tokens));
    return STATUS_OK;
}

static enum status load_state(void *ctx, const json_t *state)
{
    struct dpo *d = ctx;
    d->num_tokens = json_real_value(json_object_get(state, "num_tokens"));
    return STATUS_OK;
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
    d->pass = (struct unit_pass){
        .model = env->model,
        .ops = env->ops,
        .temperature = 1.0f,
        .hooks = true,
        .grad = true,
        .full = config->reference,
        .squares = config->loss.use_weighting,
        .checkpoint = config->gradient_checkpointing,
    };
    const enum status status = config->precompute ? precompute(d) : STATUS_OK;
    if (status != STATUS_OK) {
        dpo_close(d);
        return status;
    }
    *out = d;
    return STATUS_OK;
}

struct train_method dpo_method(struct dpo *d)
{
    return (struct train_method){
        .name = "dpo",
        .ctx = d,
        .prepare = prepare,
        .run = run,
        .metrics = METRIC_COUNT,
        .log = log_fields,
        .save_state = save_state,
        .load_state = load_state,
    };
}

void dpo_close(struct dpo *d)
{
    if (!d) {
        return;
    }
    unit_pass_close(&d->pass);
    free(d->rows);
    free(d->cost);
    free(d->ref);
    free(d);
}
