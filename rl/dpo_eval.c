/*
 * DPO's numbers of a pair, their means, and the evaluation: batches of per_device_eval_batch_size
 * in the data's order, metrics averaged over batches, eval_loss over rows (spec training.md 5).
 */
#include <math.h>

#include "rl/dpo_internal.h"

struct tree_row dpo_tree(const struct pair *p)
{
    const int32_t *chosen = p->ids + p->prompt_count;
    return (struct tree_row){
        .prompt = p->ids,
        .prompt_count = p->prompt_count,
        .branches = {{.ids = chosen, .count = p->chosen_count},
                     {.ids = chosen + p->chosen_count, .count = p->rejected_count}},
        .branch_count = 2,
    };
}

struct dpo_pair dpo_numbers(const struct pair *p)
{
    return (struct dpo_pair){.chosen_tokens = (double)p->chosen_count,
                             .rejected_tokens = (double)p->rejected_count,
                             .weight = 1.0};
}

/* Sum over a completion of `count` predicted tokens, LD-weighted. */
static double completion_sum(const struct dpo_config *c, int64_t shorter, const float *logp,
                             int64_t count)
{
    double sum = 0.0;
    for (int64_t t = 0; t < count; t++) {
        sum += dpo_token_weight(c, t, shorter) * (double)logp[t];
    }
    return sum;
}

/* WPO: exp of the mean of logp - log sum p^2, of both completions. */
static double wpo_weight(const int64_t counts[2], int64_t at, const struct unit_outputs *out)
{
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

void dpo_measure(const struct dpo_config *c, const struct pair *p, int64_t at,
                 const struct unit_outputs *out, struct dpo_record *r)
{
    const struct tree_row tree = dpo_tree(p);
    const int64_t counts[2] = {tree_row_outputs(&tree, 0), tree_row_outputs(&tree, 1)};
    const int64_t shorter = counts[0] < counts[1] ? counts[0] : counts[1];
    const float *logp = out->head->logp + at;
    struct dpo_pair *n = &r->numbers;
    n->chosen = completion_sum(c, shorter, logp, counts[0]);
    n->rejected = completion_sum(c, shorter, logp + counts[0], counts[1]);
    n->chosen_plain = 0.0;
    for (int64_t t = 0; t < counts[0]; t++) {
        n->chosen_plain += (double)logp[t];
    }
    if (out->ref) {
        n->ref_chosen = completion_sum(c, shorter, out->ref + at, counts[0]);
        n->ref_rejected = completion_sum(c, shorter, out->ref + at + counts[0], counts[1]);
    }
    n->weight = c->use_weighting && out->log_sum_squares ? wpo_weight(counts, at, out) : 1.0;
    for (int64_t t = 0; t < counts[0] + counts[1]; t++) {
        const bool chosen = t < counts[0];
        r->entropy += (double)out->head->entropy[at + t];
        r->correct += chosen && out->head->best[at + t] == out->batch->targets[at + t];
        /* mean is of log p = z - lse. */
        r->logits[!chosen] += out->head->mean ? (double)out->head->mean[at + t]
                                                    + (double)out->head->lse[at + t]
                                              : 0.0;
    }
}

struct dpo_shares dpo_share(const struct pair *const *pairs, int64_t count, double micro_steps)
{
    double sides[2] = {0.0, 0.0};
    for (int64_t i = 0; i < count; i++) {
        const struct tree_row tree = dpo_tree(pairs[i]);
        sides[0] += (double)tree_row_outputs(&tree, 0);
        sides[1] += (double)tree_row_outputs(&tree, 1);
    }
    return (struct dpo_shares){
        .pairs = 1.0 / ((double)count * micro_steps),
        .tokens = 1.0 / ((sides[0] + sides[1]) * micro_steps),
        .of_side = {1.0 / (sides[0] * micro_steps), 1.0 / (sides[1] * micro_steps)},
    };
}

void dpo_add_metrics(double beta, const struct dpo_record *r, const struct dpo_shares *mean,
                     double *sums)
{
    const struct dpo_pair *n = &r->numbers;
    const double up = beta * (n->chosen - n->ref_chosen);
    const double down = beta * (n->rejected - n->ref_rejected);
    sums[DPO_METRIC_REWARD_CHOSEN] += mean->pairs * up;
    sums[DPO_METRIC_REWARD_REJECTED] += mean->pairs * down;
    sums[DPO_METRIC_ACCURACY] += up > down ? mean->pairs : 0.0;
    sums[DPO_METRIC_LOGP_CHOSEN] += mean->pairs * n->chosen;
    sums[DPO_METRIC_LOGP_REJECTED] += mean->pairs * n->rejected;
    sums[DPO_METRIC_LOGITS_CHOSEN] += mean->of_side[0] * r->logits[0];
    sums[DPO_METRIC_LOGITS_REJECTED] += mean->of_side[1] * r->logits[1];
    sums[DPO_METRIC_ENTROPY] += mean->tokens * r->entropy;
    sums[DPO_METRIC_CORRECT] += mean->of_side[0] * r->correct;
}

void dpo_log_metrics(const double *totals, const char *prefix, json_t *line)
{
    static const struct {
        const char *name;
        int metric;
    } FIELDS[] = {{"rewards/chosen", DPO_METRIC_REWARD_CHOSEN},
                  {"rewards/rejected", DPO_METRIC_REWARD_REJECTED},
                  {"rewards/accuracies", DPO_METRIC_ACCURACY},
                  {"logps/chosen", DPO_METRIC_LOGP_CHOSEN},
                  {"logps/rejected", DPO_METRIC_LOGP_REJECTED},
                  {"logits/chosen", DPO_METRIC_LOGITS_CHOSEN},
                  {"logits/rejected", DPO_METRIC_LOGITS_REJECTED},
                  {"entropy", DPO_METRIC_ENTROPY},
                  {"mean_token_accuracy", DPO_METRIC_CORRECT}};
    char name[64];
    for (size_t i = 0; i < sizeof FIELDS / sizeof *FIELDS; i++) {
        (void)snprintf(name, sizeof name, "%s%s", prefix, FIELDS[i].name);
        (void)json_object_set_new(line, name, json_real(totals[FIELDS[i].metric]));
    }
    (void)snprintf(name, sizeof name, "%srewards/margins", prefix);
    (void)json_object_set_new(
        line, name,
        json_real(totals[DPO_METRIC_REWARD_CHOSEN] - totals[DPO_METRIC_REWARD_REJECTED]));
}

static void fill_record(void *ctx, int64_t i, int64_t at, const struct unit_outputs *out,
                        void *record)
{
    const struct dpo *d = ctx;
    const struct pair *p = &d->env->eval->items[i];
    struct dpo_record *r = record;
    r->numbers = dpo_numbers(p);
    dpo_measure(&d->config->loss, p, at, out, r);
}

/* What the evaluation works on. */
struct evaluation {
    struct tree_row *trees;
    struct dpo_record *records;
    struct dpo_pair *batch;
    const struct pair **pairs;
};

static enum status evaluation_open(struct evaluation *e, const struct pair_set *set, int64_t batch)
{
    const size_t n = (size_t)set->count;
    *e = (struct evaluation){
        .trees = malloc(n * sizeof *e->trees),
        .records = calloc(n, sizeof *e->records),
        .batch = malloc((size_t)batch * sizeof *e->batch),
        .pairs = malloc(n * sizeof *e->pairs),
    };
    if (!e->trees || !e->records || !e->batch || !e->pairs) {
        return FAIL(MEMORY, "evaluation: no memory for %lld pairs", (long long)set->count);
    }
    for (int64_t i = 0; i < set->count; i++) {
        e->trees[i] = dpo_tree(&set->items[i]);
        e->pairs[i] = &set->items[i];
    }
    return STATUS_OK;
}

static void evaluation_close(struct evaluation *e)
{
    free(e->trees);
    free(e->records);
    free(e->batch);
    free(e->pairs);
}

/* Adds the batch [begin, end) of `batches` to the totals. */
static enum status add_batch(const struct dpo *d, struct evaluation *e, int64_t begin, int64_t end,
                             int64_t batches, double *totals)
{
    const struct dpo_config *c = &d->config->loss;
    const int64_t n = end - begin;
    const struct dpo_shares mean = dpo_share(e->pairs + begin, n, (double)batches);
    double chosen = 0.0;
    for (int64_t i = 0; i < n; i++) {
        e->batch[i] = e->records[begin + i].numbers;
        chosen += (double)tree_row_outputs(&e->trees[begin + i], 0);
    }
    if (dpo_needs_match(c)) {
        TRY(dpo_match(e->batch, n));
    }
    for (int64_t i = 0; i < n; i++) {
        e->batch[i].sft_scale = (double)n / chosen;
        totals[DPO_METRIC_LOSS] +=
            dpo_pair_terms(c, &e->batch[i]).loss / (double)d->env->eval->count;
        dpo_add_metrics(c->beta, &e->records[begin + i], &mean, totals);
    }
    return STATUS_OK;
}

enum status dpo_evaluate(void *ctx, int64_t step, json_t *line)
{
    struct dpo *d = ctx;
    const struct pair_set *set = d->env->eval;
    const int64_t batch = d->config->eval_batch;
    const int64_t batches = (set->count + batch - 1) / batch;
    double totals[DPO_METRIC_COUNT] = {0.0};
    struct evaluation e;
    ref_sync_step(&d->sync, step);
    enum status status = evaluation_open(&e, set, batch);
    TRY_TO(status, out, comm_agree(d->env->comm, status));
    d->runner.pass.reference = true;
    TRY_TO(status, out,
           tree_rows_score(&d->runner, e.trees, set->count, false, fill_record, d, e.records,
                           sizeof *e.records));
    for (int64_t begin = 0; begin < set->count; begin += batch) {
        const int64_t end = begin + batch < set->count ? begin + batch : set->count;
        TRY_TO(status, out, add_batch(d, &e, begin, end, batches, totals));
    }
    (void)json_object_set_new(line, "eval_loss", json_real(totals[DPO_METRIC_LOSS]));
    dpo_log_metrics(totals, "eval_", line);
    (void)json_object_set_new(line, "eval_num_tokens", json_real(d->num_tokens));
out:
    evaluation_close(&e);
    return status;
}
