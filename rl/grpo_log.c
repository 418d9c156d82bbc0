/*
 * TRL's GRPO metrics by name (spec training.md 1.6). As TRL logs them: a metric has one value per
 * round or per micro-step, the line holds the mean of the values of this step, NaN left out.
 */
#include <math.h>
#include <string.h>

#include "rl/grpo_internal.h"
#include "trainer/report/report.h"

static void put(json_t *line, const char *name, double value)
{
    if (isfinite(value)) {
        (void)json_object_set_new(line, name, json_real(value));
    }
}

/* Values of the metrics of one kind (round or micro-step) with their weights. */
enum { METER_NAME = 128, METER_MOST = 2 * REWARD_MAX + 32 };
struct meters {
    struct {
        char name[METER_NAME];
        double sum;
        double weight;
    } items[METER_MOST];
    int count;
};

static void meter(struct meters *m, const char *name, double value, double weight)
{
    int i = 0;
    while (i < m->count && strcmp(m->items[i].name, name) != 0) {
        i++;
    }
    if (isnan(value) || i == METER_MOST) {
        return;
    }
    if (i == m->count) {
        (void)snprintf(m->items[i].name, METER_NAME, "%s", name);
        m->items[i].sum = 0.0;
        m->items[i].weight = 0.0;
        m->count++;
    }
    m->items[i].sum += weight * value;
    m->items[i].weight += weight;
}

static void put_meters(const struct meters *m, json_t *line)
{
    for (int i = 0; i < m->count; i++) {
        put(line, m->items[i].name, m->items[i].sum / m->items[i].weight);
    }
}

struct meters *grpo_meters_new(void)
{
    return calloc(1, sizeof(struct meters));
}

void grpo_meters_put_eval(const struct meters *m, json_t *line)
{
    for (int i = 0; i < m->count; i++) {
        char name[METER_NAME + 8];
        (void)snprintf(name, sizeof name, "eval_%s", m->items[i].name);
        put(line, name, m->items[i].sum / m->items[i].weight);
    }
}

/* Mean, smallest and largest of a set of lengths. */
struct spread {
    double sum;
    double min;
    double max;
    double count;
};

static void spread_add(struct spread *s, double x)
{
    s->min = s->count > 0 ? fmin(s->min, x) : x;
    s->max = s->count > 0 ? fmax(s->max, x) : x;
    s->sum += x;
    s->count += 1.0;
}

static void meter_spread(struct meters *m, const char *what, const struct spread *s)
{
    static const char *const NAMES[3] = {"mean", "min", "max"};
    const double values[3] = {s->count > 0 ? s->sum / s->count : 0.0, s->min, s->max};
    for (int i = 0; i < 3; i++) {
        char name[METER_NAME];
        (void)snprintf(name, sizeof name, "completions/%s_%s", NAMES[i], what);
        meter(m, name, values[i], 1.0);
    }
}

/* Lengths and truncation of a round. */
static void meter_lengths(struct meters *m, const struct round *r)
{
    struct spread all = {0};
    struct spread ended = {0};
    for (int64_t k = 0; k < r->groups * r->group_size; k++) {
        spread_add(&all, (double)r->row[k].count);
        if (r->row[k].stopped) {
            spread_add(&ended, (double)r->row[k].count);
        }
    }
    meter_spread(m, "length", &all);
    meter_spread(m, "terminated_length", &ended);
    meter(m, "completions/clipped_ratio", (all.count - ended.count) / all.count, 1.0);
}

static void meter_rewards(const struct grpo *g, struct meters *m, const struct round *r,
                          double *values)
{
    const struct reward_set *rewards = g->config->rollout.rewards;
    const int64_t rows = r->groups * r->group_size;
    double mean;
    double std;
    char name[METER_NAME];
    for (int k = 0; k < rewards->count; k++) {
        for (int64_t i = 0; i < rows; i++) {
            values[i] = r->row[i].rewards[k];
        }
        advantage_moments(values, rows, &mean, &std);
        (void)snprintf(name, sizeof name, "rewards/%s/mean", rewards->items[k].name);
        meter(m, name, mean, 1.0);
        (void)snprintf(name, sizeof name, "rewards/%s/std", rewards->items[k].name);
        meter(m, name, std, 1.0);
    }
    for (int64_t i = 0; i < rows; i++) {
        values[i] = r->row[i].reward;
    }
    advantage_moments(values, rows, &mean, &std);
    meter(m, "reward", mean, 1.0);
    meter(m, "reward_std", std, 1.0);
    meter(m, "frac_reward_zero_std", r->flat, 1.0);
}

/* RLOO: mean of old - ref over the round's loss tokens. */
static void meter_penalty(const struct grpo *g, struct meters *m, const struct live_round *live)
{
    double sum = 0.0;
    for (int64_t i = 0; i < live->data.groups * live->data.group_size; i++) {
        const struct rollout_row *row = &live->data.row[i];
        for (int64_t t = 0; row->ref && t < grpo_loss_tokens(row); t++) {
            sum += (double)row->logp[t] - (double)row->ref[t];
        }
    }
    if (g->config->reward_beta > 0) {
        meter(m, "kl", sum / fmax(live->tokens, 1.0), 1.0);
    }
}

static void meter_sampling(struct meters *m, const struct live_round *live)
{
    struct correction_sums s = {0};
    for (int64_t i = 0; live->sampling && i < live->data.groups * live->data.group_size; i++) {
        correction_add(&s, &live->sampling[i]);
    }
    if (s.ratios > 0) {
        meter(m, "sampling/sampling_logp_difference/mean", s.difference / fmax(s.scored, 1.0), 1);
        meter(m, "sampling/sampling_logp_difference/max", s.difference_max, 1.0);
        meter(m, "sampling/importance_sampling_ratio/min", s.ratio_min, 1.0);
        meter(m, "sampling/importance_sampling_ratio/mean", s.ratio / s.ratios, 1.0);
        meter(m, "sampling/importance_sampling_ratio/max", s.ratio_max, 1.0);
    }
}

/* How old the adapter was that drew a round, in optimizer steps. */
static void meter_age(const struct grpo *g, struct meters *m, const struct live_round *live)
{
    if (g->config->async_rounds > 0) {
        meter(m, "rollout/adapter_step", (double)live->born, 1.0);
        meter(m, "rollout/staleness", (double)(live->used - live->born), 1.0);
    }
}

/* What the rounds that came into use in this step say. */
static enum status log_rounds(const struct grpo *g, json_t *line)
{
    struct meters *m = calloc(1, sizeof *m);
    double *values =
        malloc(((size_t)grpo_plan_round_rows(&g->config->plan) + 1) * sizeof *values);
    for (int64_t i = 0; m && values && i < g->live_count; i++) {
        if (g->live[i].used == g->step) {
            meter_age(g, m, &g->live[i]);
            meter_rewards(g, m, &g->live[i].data, values);
            meter_lengths(m, &g->live[i].data);
            meter_penalty(g, m, &g->live[i]);
            meter_sampling(m, &g->live[i]);
        }
    }
    const bool good = m && values;
    if (good) {
        put_meters(m, line);
    }
    free(m);
    free(values);
    return good ? STATUS_OK : FAIL(MEMORY, "log: no memory for rewards");
}

/* Sums over the rows of a micro-step. */
struct slice_sums {
    struct objective_sums sums;
    double entropy;
    double tokens;
    double rows;     /* trained */
    double low_min;  /* share of a row that was clipped, smallest and largest over rows */
    double high_max;
};

/* A row of `count` tokens. */
static void add_record(const struct grpo *g, struct slice_sums *s, const struct grpo_record *r,
                       int64_t count)
{
    const bool shared = g->config->objective.level != RATIO_TOKEN;
    const double over = shared ? 1.0 : (double)count;
    s->sums.policy += r->sums.policy;
    s->sums.kl += r->sums.kl;
    s->sums.entropy += r->sums.entropy;
    s->sums.kept += r->sums.kept;
    s->sums.clip_low += r->sums.clip_low;
    s->sums.clip_high += r->sums.clip_high;
    s->sums.phi += r->sums.phi;
    s->entropy += r->entropy;
    s->rows += 1.0;
    s->low_min = fmin(s->low_min, r->sums.clip_low / over);
    s->high_max = fmax(s->high_max, r->sums.clip_high / over);
}

/* Of a micro-step of `rows` rows, all ranks. */
static void meter_clips(const struct grpo *g, struct meters *m, const struct slice_sums *s,
                        double rows, double times)
{
    const enum loss_type type = g->config->objective.loss_type;
    const bool shared = g->config->objective.level != RATIO_TOKEN;
    const double over = fmax(shared ? rows : s->tokens, 1.0);
    if (objective_kind(type)->clips) {
        meter(m, "clip_ratio/low_mean", s->sums.clip_low / over, times);
        meter(m, "clip_ratio/high_mean", s->sums.clip_high / over, times);
        meter(m, "clip_ratio/region_mean", (s->sums.clip_low + s->sums.clip_high) / over, times);
        meter(m, "clip_ratio/low_min", s->low_min, times);
        meter(m, "clip_ratio/high_max", s->high_max, times);
    } else if (type == LOSS_CISPO) {
        meter(m, "cispo_clip_ratio", s->sums.clip_high / over, times);
    } else if (type == LOSS_VESPO) { /* a row that was not run has ratio 1 and weight 1 */
        meter(m, "vespo/phi_seq_mean", (s->sums.phi + (rows - s->rows)) / rows, times);
    }
}

/* One micro-step's metrics. A row that needs no forward is not clipped. */
static void meter_slice(const struct grpo *g, struct meters *m, const struct grpo_slice *slice,
                        struct slice_sums *s)
{
    const bool shared = g->config->objective.level != RATIO_TOKEN;
    const double rows = (double)(g->config->plan.world * g->config->plan.per_device);
    s->tokens = slice->tokens;
    if (slice->idle_rows > 0 || (shared && s->rows < rows)) {
        s->low_min = fmin(s->low_min, 0.0);
        s->high_max = fmax(s->high_max, 0.0);
    }
    s->low_min = isfinite(s->low_min) ? s->low_min : NAN;
    s->high_max = isfinite(s->high_max) ? s->high_max : NAN;
    meter(m, "entropy", (s->entropy + slice->idle_entropy) / fmax(s->tokens, 1.0), slice->times);
    if (g->config->objective.beta > 0) {
        meter(m, "kl", s->sums.kl / fmax(s->tokens, 1.0), slice->times);
    }
    meter_clips(g, m, s, rows, slice->times);
}

/* What weighs the rows of an evaluation batch. */
struct eval_batch {
    const struct grpo *g;
    const struct live_round *live;
    int64_t rows;
    int64_t ranks; /* virtual ranks that have rows */
    double floor;
    float *scratch; /* [2 x longest row] */
};

/* Loss tokens, and those at or above the floor, of a row's batch on its virtual rank. */
static void rank_tokens(const struct eval_batch *b, int64_t row, double *tokens, double *kept)
{
    const int64_t per_rank = b->g->config->eval.per_device;
    const int64_t begin = row / per_rank * per_rank;
    *tokens = 0.0;
    *kept = 0.0;
    for (int64_t i = begin; i < b->rows && i < begin + per_rank; i++) {
        const struct rollout_row *r = &b->live->data.row[i];
        for (int64_t t = 0; t < grpo_loss_tokens(r); t++) {
            *kept += b->floor <= 0 || (double)r->entropy[t] >= b->floor;
        }
        *tokens += (double)grpo_loss_tokens(r);
    }
}

static void eval_row(const struct eval_batch *b, int64_t i, struct grpo_record *record)
{
    const struct grpo_config *c = b->g->config;
    const struct rollout_row *r = &b->live->data.row[i];
    const int64_t count = grpo_loss_tokens(r);
    double tokens;
    double kept;
    rank_tokens(b, i, &tokens, &kept);
    const struct objective_scale scale = {
        .rows = b->rows,
        .round_tokens = b->live->tokens,
        .rounds = 1.0,
        .micro_tokens = tokens,
        .micro_batches = (double)b->ranks,
        .max_completion_length = c->rollout.max_completion_length,
    };
    const struct objective_row row = {
        .count = count,
        .logp = r->logp,
        .old = r->logp,
        .ref = r->ref,
        .entropy = r->entropy,
        .advantage = r->advantage,
        .weight = objective_token_weight(c->objective.loss_type, &scale, count),
        .entropy_floor = b->floor,
        .entropy_bonus =
            entropy_control_coef(&b->g->entropy) / (fmax(kept, 1.0) * (double)b->ranks),
    };
    objective_row(&c->objective, &row, b->scratch, b->scratch + count, &record->sums);
    for (int64_t t = 0; t < count; t++) {
        record->entropy += (double)r->entropy[t];
    }
}

static enum status eval_open(struct eval_batch *b, const struct grpo *g,
                             const struct live_round *live)
{
    int64_t n = 0;
    *b = (struct eval_batch){
        .g = g, .live = live, .rows = live->data.groups * live->data.group_size};
    b->ranks = (b->rows + g->config->eval.per_device - 1) / g->config->eval.per_device;
    b->scratch = malloc((2 * (size_t)live->tokens + 1) * sizeof *b->scratch);
    if (!b->scratch) {
        return FAIL(MEMORY, "evaluation: no memory for %.0f tokens", live->tokens);
    }
    for (int64_t i = 0; grpo_filters(g) && i < b->rows; i++) {
        const size_t count = (size_t)grpo_loss_tokens(&live->data.row[i]);
        memcpy(b->scratch + n, live->data.row[i].entropy, count * sizeof *b->scratch);
        n += (int64_t)count;
    }
    b->floor =
        n > 0 ? objective_entropy_floor(b->scratch, n, g->config->top_entropy_quantile) : 0.0;
    return STATUS_OK;
}

enum status grpo_meter_eval(const struct grpo *g, const struct live_round *live, struct meters *m,
                            double *loss)
{
    struct eval_batch b;
    struct slice_sums s = {.tokens = live->tokens, .low_min = INFINITY, .high_max = -INFINITY};
    TRY(eval_open(&b, g, live));
    double *values = malloc((size_t)b.rows * sizeof *values + 1);
    for (int64_t i = 0; values && i < b.rows; i++) {
        struct grpo_record record = {0};
        eval_row(&b, i, &record);
        add_record(g, &s, &record, live->data.row[i].count > 0 ? live->data.row[i].count : 1);
        *loss += record.sums.loss;
    }
    if (values) {
        meter_lengths(m, &live->data);
        meter_rewards(g, m, &live->data, values);
        meter_penalty(g, m, live);
        meter(m, "entropy", s.entropy / fmax(s.tokens, 1.0), 1.0);
        if (g->config->objective.beta > 0) {
            meter(m, "kl", s.sums.kl / fmax(s.tokens, 1.0), 1.0);
        }
        if (entropy_control_on(&g->entropy)) {
            meter(m, "policy_loss", s.sums.policy, 1.0);
        }
        meter_clips(g, m, &s, (double)b.rows, 1.0);
    }
    const bool good = values != NULL;
    free(values);
    free(b.scratch);
    return good ? STATUS_OK
                : FAIL(MEMORY, "evaluation: no memory for %lld rows", (long long)b.rows);
}

/* The bonus' own metrics, and the end of the step for its coefficient. */
static void log_entropy(struct grpo *g, const struct slice_sums *sums, json_t *line)
{
    const bool rounds = objective_kind(g->config->objective.loss_type)->normalizer == NORM_ROUND;
    double policy = 0.0;
    double entropy = 0.0;
    double kept = 0.0;
    if (!entropy_control_on(&g->entropy)) {
        return;
    }
    for (int64_t s = 0; s < g->slice_count; s++) {
        policy += sums[s].sums.policy;
        entropy += g->slices[s].times * sums[s].sums.entropy;
        kept += g->slices[s].times * sums[s].sums.kept;
    }
    entropy_control_update(&g->entropy, entropy, kept);
    /* TRL's value of a micro-batch is not divided by the window yet, but for the round's losses. */
    put(line, "policy_loss", rounds ? policy / (double)g->window : policy);
    put(line, "entropy_coef", g->entropy.coef);
}

/* Records of all ranks, in any order of ranks; sums are made in row order. */
static enum status gather_records(const struct grpo *g, struct grpo_record **by_row)
{
    const struct comm *comm = g->env->comm;
    size_t *offsets = malloc(((size_t)comm->size + 1) * sizeof *offsets);
    void *all = NULL;
    *by_row = calloc((size_t)g->row_count + 1, sizeof **by_row);
    enum status status = offsets && *by_row ? STATUS_OK : FAIL(MEMORY, "log: no memory");
    status = comm_agree(comm, status);
    if (status == STATUS_OK) {
        status = comm_gather_all(comm, g->records, (size_t)g->record_count * sizeof *g->records,
                                 &all, offsets);
    }
    for (size_t at = 0; status == STATUS_OK && at < offsets[comm->size];
         at += sizeof(struct grpo_record)) {
        struct grpo_record r;
        memcpy(&r, (const char *)all + at, sizeof r);
        (*by_row)[r.row] = r;
    }
    free(all);
    free(offsets);
    return status;
}

/* Largest |logp - sampler's logp|: 0 when sampling and training agree bit for bit. */
static void log_delta(const struct grpo *g, const struct grpo_record *records, json_t *line)
{
    double largest = 0.0;
    if (g->config->dropout.on) {
        return; /* the training forward is another function than the sampler's */
    }
    for (int64_t i = 0; i < g->row_count; i++) {
        largest = fmax(largest, records[i].sums.max_delta);
    }
    (void)json_object_set_new(line,
                              g->on_policy ? "on_policy_logp_delta_max" : "logp_delta_max",
                              json_real(largest));
}

/* Rows of a late round were corrected by the ranks that trained them. */
static void take_corrections(struct grpo *g, const struct grpo_record *records)
{
    for (int64_t i = 0; i < g->row_count; i++) {
        struct live_round *live = &g->live[g->slices[g->rows[i].slice].live];
        if (live->late) {
            live->sampling[g->rows[i].row - live->data.row] = records[i].sampling;
        }
    }
}

/* What the micro-steps of this step say. */
static enum status log_slices(struct grpo *g, const struct grpo_record *records, json_t *line)
{
    struct meters *m = calloc(1, sizeof *m);
    struct slice_sums *sums = calloc((size_t)g->slice_count + 1, sizeof *sums);
    const bool good = m && sums;
    for (int64_t s = 0; good && s < g->slice_count; s++) {
        sums[s].low_min = INFINITY;
        sums[s].high_max = -INFINITY;
    }
    for (int64_t i = 0; good && i < g->row_count; i++) {
        add_record(g, &sums[g->rows[i].slice], &records[i], g->rows[i].row->count);
    }
    for (int64_t s = 0; good && s < g->slice_count; s++) {
        meter_slice(g, m, &g->slices[s], &sums[s]);
    }
    if (good) {
        put_meters(m, line);
        log_entropy(g, sums, line);
        log_delta(g, records, line);
    }
    free(sums);
    free(m);
    return good ? STATUS_OK : FAIL(MEMORY, "log: no memory for metrics");
}

/* What the scheduler saved and spent on this rank, and what came out of journals. */
static void put_rollout_work(const struct grpo *g, json_t *line)
{
    struct generate_stats sum = {0};
    int64_t replayed = 0;
    for (int64_t i = 0; i < g->live_count; i++) {
        const struct round *r = &g->live[i].data;
        for (int64_t k = 0; g->live[i].used == g->step && k < r->groups * r->group_size; k++) {
            replayed += r->row[k].replayed;
        }
        if (g->live[i].born != g->step) {
            continue;
        }
        sum.rows += r->stats.rows;
        sum.saved_rows += r->stats.saved_rows;
        sum.preemptions += r->stats.preemptions;
        sum.drafted += r->stats.drafted;
        sum.accepted += r->stats.accepted;
    }
    put(line, "rollout/prefix_saved",
        (double)sum.saved_rows / (double)(sum.rows + sum.saved_rows + 1));
    if (g->waves > 0) {
        (void)json_object_set_new(line, "dynamic_sampling/waves", json_integer(g->waves));
        (void)json_object_set_new(line, "dynamic_sampling/replaced",
                                  json_integer(g->replaced_groups));
    }
    (void)json_object_set_new(line, "rollout/preemptions", json_integer(sum.preemptions));
    if (sum.drafted > 0) {
        put(line, "rollout/acceptance", (double)sum.accepted / (double)sum.drafted);
    }
    if (replayed > 0) {
        (void)json_object_set_new(line, "rollout/replayed", json_integer(replayed));
    }
}

static void log_rollout(const struct grpo *g, json_t *line)
{
    double tokens = 0.0;
    double seconds = 0.0;
    double occupancy = 0.0;
    double judging = 0.0;
    for (int64_t i = 0; i < g->live_count; i++) {
        judging += g->live[i].used == g->step ? g->live[i].data.judge_seconds : 0.0;
        if (g->live[i].born == g->step) {
            tokens += (double)g->live[i].data.stats.decoded_tokens;
            seconds += g->live[i].data.stats.seconds;
            occupancy = g->live[i].data.stats.occupancy;
        }
    }
    if (seconds > 0) {
        put(line, "rollout/tokens_per_second", tokens * g->env->comm->size / seconds);
        put(line, "rollout/seconds", seconds);
        put(line, "rollout/occupancy", occupancy);
        put_rollout_work(g, line);
    }
    (void)json_object_set_new(line, "skipped_groups", json_integer(g->skipped_groups));
    put(line, "time/rollout", seconds);
    put(line, "time/judge", judging);
    put(line, "time/score", g->score_seconds);
}

void grpo_take_work(void *ctx, struct work *w)
{
    struct grpo *g = ctx;
    work_move(w, &g->pass.work);
    for (int64_t i = 0; i < g->live_count; i++) {
        const struct generate_stats *s = &g->live[i].data.stats;
        if (g->live[i].born == g->step) {
            w->passes += (double)s->steps;
            w->decoded_rows += (double)s->rows;
            w->decoded_outputs += (double)s->decoded_tokens;
        }
    }
}

enum status grpo_log(void *ctx, const double *totals, json_t *line)
{
    struct grpo *g = ctx;
    struct grpo_record *records;
    (void)totals;
    enum status status = gather_records(g, &records);
    if (status == STATUS_OK) {
        take_corrections(g, records);
        status = log_rounds(g, line);
    }
    if (status == STATUS_OK) {
        status = log_slices(g, records, line);
    }
    free(records);
    TRY(status);
    if (g->config->follower.observe) {
        g->config->follower.note(g->config->follower.ctx, line);
    }
    put(line, "num_tokens", g->num_tokens);
    log_rollout(g, line);
    return STATUS_OK;
}

static json_t *completion_line(const struct grpo *g, const struct live_round *live,
                               const struct rollout_row *row, const char *prompt, const char *said)
{
    json_t *line = json_pack("{s:I, s:s%, s:s%}", "step", (json_int_t)(live->used + 1), "prompt",
                             prompt, strlen(prompt), "completion", said, strlen(said));
    for (int k = 0; line && k < g->config->rollout.rewards->count; k++) {
        (void)json_object_set_new(line, g->config->rollout.rewards->items[k].name,
                                  isnan(row->rewards[k]) ? json_null()
                                                         : json_real(row->rewards[k]));
    }
    if (line) {
        (void)json_object_set_new(line, "advantage", json_real(row->advantage));
        (void)json_object_set_new(line, "tokens", json_integer(row->count));
        if (g->config->async_rounds > 0) {
            (void)json_object_set_new(line, "adapter_step", json_integer(live->born));
        }
    }
    return line;
}

enum status grpo_write_completions(const struct grpo *g, const struct live_round *live)
{
    const struct tokenizer *tokenizer = g->env->format.tokenizer;
    const struct round *r = &live->data;
    for (int64_t i = 0; i < r->groups * r->group_size; i++) {
        const struct rollout_group *group = &r->group[r->row[i].group];
        struct text prompt = {0};
        struct text said = {0};
        enum status status =
            tokenizer_decode(tokenizer, group->prompt, group->prompt_count, false, &prompt);
        if (status == STATUS_OK) {
            status = completion_text(tokenizer, r->row[i].ids, r->row[i].count, &said);
        }
        if (status == STATUS_OK) {
            json_t *line = completion_line(g, live, &r->row[i], prompt.data, said.data);
            status = line ? report_append(g->config->output_dir, "completions.jsonl", line)
                          : FAIL(MEMORY, "completions: no memory for a line");
            json_decref(line);
        }
        free(prompt.data);
        free(said.data);
        TRY(status);
    }
    return STATUS_OK;
}
