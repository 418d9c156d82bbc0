/*
 * KTO's numbers: sums of a row, the divergence from mismatched rows, TRL's means, the evaluation. A
 * mean is over the rows of a micro-step, then over the micro-steps that have such rows.
 */
#include <math.h>
#include <string.h>

#include "rl/kto_internal.h"

struct tree_row kto_tree(const struct kto_row *r)
{
    return unpaired_tree(r->set, r->index, r->index);
}

struct kto_row kto_make_row(const struct unpaired_set *set, int64_t index)
{
    struct kto_row r = {.set = set, .index = index, .desirable = set->items[index].desirable};
    const struct tree_row tree = kto_tree(&r);
    r.outputs = tree_row_outputs(&tree, 0);
    return r;
}

void kto_measure(int64_t outputs, int64_t at, const struct unit_outputs *out,
                 struct kto_record *record)
{
    for (int64_t t = at; t < at + outputs; t++) {
        record->logp += (double)out->head->logp[t];
        record->ref += out->ref ? (double)out->ref[t] : 0.0;
        record->entropy += (double)out->head->entropy[t];
        /* mean is of log p = z - lse. */
        record->logits += (double)out->head->mean[t] + (double)out->head->lse[t];
    }
}

/* Rows and tokens of a micro-step by side. */
struct sides {
    int64_t rows[2];
    int64_t tokens[2];
};

static struct sides count_sides(const struct kto_row *rows, int64_t count)
{
    struct sides s = {{0, 0}, {0, 0}};
    for (int64_t i = 0; i < count; i++) {
        s.rows[rows[i].desirable]++;
        s.tokens[rows[i].desirable] += rows[i].outputs;
    }
    return s;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

void kto_share(struct kto_row *rows, int64_t count, int64_t micro)
{
    const double steps = (double)((count + micro - 1) / micro);
    double with[2] = {0.0, 0.0};
    double with_both = 0.0;
    for (int64_t begin = 0; begin < count; begin += micro) {
        const struct sides s = count_sides(rows + begin, smaller(micro, count - begin));
        with[0] += s.rows[0] > 0;
        with[1] += s.rows[1] > 0;
        with_both += s.rows[0] > 0 && s.rows[1] > 0;
    }
    for (int64_t i = 0; i < count; i++) {
        const int64_t begin = i / micro * micro;
        const int64_t n = smaller(micro, count - begin);
        const struct sides s = count_sides(rows + begin, n);
        const int side = rows[i].desirable;
        const bool both = s.rows[0] > 0 && s.rows[1] > 0;
        rows[i].mean = (struct kto_shares){
            .tokens = 1.0 / ((double)(s.tokens[0] + s.tokens[1]) * steps),
            .rows = 1.0 / ((double)s.rows[side] * with[side]),
            .side_tokens = 1.0 / ((double)s.tokens[side] * with[side]),
            .margin = both ? (side ? 1.0 : -1.0) / ((double)s.rows[side] * with_both) : 0.0,
            .kl = 1.0 / ((double)n * steps),
        };
    }
}

void kto_add_metrics(double beta, const struct kto_row *r, const struct kto_record *record,
                     double *sums)
{
    const double reward = beta * (record->logp - record->ref);
    const int side = r->desirable;
    sums[KTO_METRIC_KL] += r->mean.kl * r->z;
    sums[KTO_METRIC_ENTROPY] += r->mean.tokens * record->entropy;
    sums[KTO_METRIC_MARGIN] += r->mean.margin * reward;
    sums[KTO_METRIC_REWARD + side] += r->mean.rows * reward;
    sums[KTO_METRIC_LOGP + side] += r->mean.rows * record->logp;
    sums[KTO_METRIC_LOGITS + side] += r->mean.side_tokens * record->logits;
    sums[KTO_METRIC_ROWS + side] += 1.0;
}

void kto_log_metrics(const double *totals, const char *prefix, json_t *line)
{
    const bool has[2] = {totals[KTO_METRIC_ROWS] > 0, totals[KTO_METRIC_ROWS + 1] > 0};
    const struct {
        const char *name;
        int metric;
        bool known;
    } fields[] = {{"kl", KTO_METRIC_KL, true},
                  {"entropy", KTO_METRIC_ENTROPY, true},
                  {"rewards/chosen", KTO_METRIC_REWARD + 1, has[1]},
                  {"rewards/rejected", KTO_METRIC_REWARD, has[0]},
                  {"rewards/margins", KTO_METRIC_MARGIN, has[0] && has[1]},
                  {"logps/chosen", KTO_METRIC_LOGP + 1, has[1]},
                  {"logps/rejected", KTO_METRIC_LOGP, has[0]},
                  {"logits/chosen", KTO_METRIC_LOGITS + 1, has[1]},
                  {"logits/rejected", KTO_METRIC_LOGITS, has[0]}};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        char name[64];
        (void)snprintf(name, sizeof name, "%s%s", prefix, fields[i].name);
        if (fields[i].known) {
            (void)json_object_set_new(line, name, json_real(totals[fields[i].metric]));
        }
    }
}

/* Fills a kto_record of tree `i` of the call. */
static void fill_record(void *ctx, int64_t i, int64_t at, const struct unit_outputs *out,
                        void *record)
{
    const struct tree_row *trees = ctx;
    kto_measure(tree_row_outputs(&trees[i], 0), at, out, record);
}

/* Records of trees under the policy, and the reference when `reference`. */
static enum status score(struct kto *k, struct tree_row *trees, int64_t count, bool reference,
                         struct kto_record *records)
{
    k->runner.pass.reference = reference;
    return tree_rows_score(&k->runner, trees, count, false, fill_record, trees, records,
                           sizeof *records);
}

enum status kto_divergence(struct kto *k, struct kto_row *rows, int64_t count, int64_t micro,
                           int64_t batch, const double (*refs)[2])
{
    struct tree_row *trees = malloc((size_t)count * sizeof *trees + 1);
    struct kto_record *records = calloc((size_t)count + 1, sizeof *records);
    enum status status = trees && records ? STATUS_OK : FAIL(MEMORY, "kto: no memory");
    TRY_TO(status, out, comm_agree(k->env->comm, status));
    for (int64_t i = 0; i < count; i++) {
        const int64_t of =
            unpaired_mismatch(rows[i].set, rows[i].index, k->config->plan.per_device);
        trees[i] = unpaired_tree(rows[i].set, rows[i].index, of);
    }
    TRY_TO(status, out, score(k, trees, count, !refs, records));
    for (int64_t begin = 0; begin < count; begin += micro) {
        const int64_t end = begin + smaller(micro, count - begin);
        double z = 0.0;
        for (int64_t i = begin; i < end; i++) {
            const double ref = refs ? refs[rows[i].index][1] : records[i].ref;
            const int64_t first = begin + (i - begin) / batch * batch;
            z += (records[i].logp - ref) / (double)smaller(batch, end - first);
        }
        z = fmax(0.0, z / (double)((end - begin + batch - 1) / batch));
        for (int64_t i = begin; i < end; i++) {
            rows[i].z = z;
        }
    }
out:
    free(trees);
    free(records);
    return status;
}

/* Totals of the evaluation from its rows' records. */
static void total_evaluation(const struct kto *k, const struct kto_row *rows,
                             const struct kto_record *records, double *totals)
{
    const int64_t count = k->env->eval->count;
    for (int64_t i = 0; i < count; i++) {
        double slope;
        const double x = records[i].logp - records[i].ref;
        totals[KTO_METRIC_LOSS] +=
            kto_row_loss(&k->config->loss, x, rows[i].z, rows[i].desirable, &slope)
            / (double)count;
        kto_add_metrics(k->config->loss.beta, &rows[i], &records[i], totals);
    }
}

enum status kto_evaluate(void *ctx, int64_t step, json_t *line)
{
    struct kto *k = ctx;
    const struct unpaired_set *set = k->env->eval;
    const int64_t batch = k->config->eval_batch;
    double totals[KTO_METRIC_COUNT] = {0.0};
    struct kto_row *rows = calloc((size_t)set->count, sizeof *rows);
    struct tree_row *trees = malloc((size_t)set->count * sizeof *trees);
    struct kto_record *records = calloc((size_t)set->count, sizeof *records);
    enum status status =
        rows && trees && records ? STATUS_OK : FAIL(MEMORY, "evaluation: no memory");
    ref_sync_step(&k->sync, step);
    TRY_TO(status, out, comm_agree(k->env->comm, status));
    for (int64_t i = 0; i < set->count; i++) {
        rows[i] = kto_make_row(set, i);
        trees[i] = kto_tree(&rows[i]);
    }
    kto_share(rows, set->count, batch);
    if (k->config->loss.loss == KTO_KTO) {
        TRY_TO(status, out, kto_divergence(k, rows, set->count, batch, batch, NULL));
    }
    TRY_TO(status, out, score(k, trees, set->count, true, records));
    total_evaluation(k, rows, records, totals);
    (void)json_object_set_new(line, "eval_loss", json_real(totals[KTO_METRIC_LOSS]));
    kto_log_metrics(totals, "eval_", line);
    (void)json_object_set_new(line, "eval_num_tokens", json_real(k->num_tokens));
out:
    free(rows);
    free(trees);
    free(records);
    return status;
}
