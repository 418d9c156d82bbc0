/* TRL's GRPO metrics by name (spec training.md 1.6), from the step's totals and its new rounds. */
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

static void put_spread(json_t *line, const char *what, const struct spread *s)
{
    static const char *const NAMES[3] = {"mean", "min", "max"};
    const double values[3] = {s->count > 0 ? s->sum / s->count : 0.0, s->min, s->max};
    for (int i = 0; i < 3; i++) {
        char name[64];
        (void)snprintf(name, sizeof name, "completions/%s_%s", NAMES[i], what);
        put(line, name, values[i]);
    }
}

/* Lengths and truncation of the rounds that were rolled out in this step. */
static void log_lengths(const struct grpo *g, json_t *line)
{
    struct spread all = {0};
    struct spread ended = {0};
    for (int64_t i = 0; i < g->live_count; i++) {
        const struct round *r = &g->live[i].data;
        for (int64_t k = 0; g->live[i].born == g->step && k < r->groups * r->group_size; k++) {
            spread_add(&all, (double)r->row[k].count);
            if (r->row[k].stopped) {
                spread_add(&ended, (double)r->row[k].count);
            }
        }
    }
    if (all.count > 0) {
        put_spread(line, "length", &all);
        put_spread(line, "terminated_length", &ended);
        put(line, "completions/clipped_ratio", (all.count - ended.count) / all.count);
    }
}

/* Column `k` of the rewards of the new rounds, or their weighted sums when k < 0. */
static int64_t collect(const struct grpo *g, int k, double *values)
{
    int64_t n = 0;
    for (int64_t i = 0; i < g->live_count; i++) {
        const struct round *r = &g->live[i].data;
        for (int64_t row = 0; g->live[i].born == g->step && row < r->groups * r->group_size; row++) {
            values[n++] = k < 0 ? r->row[row].reward : r->row[row].rewards[k];
        }
    }
    return n;
}

static void log_rewards(const struct grpo *g, double *values, json_t *line)
{
    double mean;
    double std;
    char name[128];
    for (int k = 0; k < g->config->rollout.rewards->count; k++) {
        const int64_t n = collect(g, k, values);
        advantage_moments(values, n, &mean, &std);
        (void)snprintf(name, sizeof name, "rewards/%s/mean", g->config->rollout.rewards->items[k].name);
        put(line, name, mean);
        (void)snprintf(name, sizeof name, "rewards/%s/std", g->config->rollout.rewards->items[k].name);
        put(line, name, std);
    }
    advantage_moments(values, collect(g, -1, values), &mean, &std);
    put(line, "reward", mean);
    put(line, "reward_std", std);
    double flat = 0.0;
    double groups = 0.0;
    for (int64_t i = 0; i < g->live_count; i++) {
        for (int64_t k = 0; g->live[i].born == g->step && k < g->live[i].data.groups; k++) {
            flat += fabs(g->live[i].data.group[k].reward_std) <= 1e-8;
            groups += 1.0;
        }
    }
    put(line, "frac_reward_zero_std", flat / groups);
}

/* Largest |logp - sampler's logp| over all ranks: 0 when sampling and training agree bit for bit. */
static enum status log_delta(const struct grpo *g, json_t *line)
{
    void *all;
    size_t *offsets = malloc(((size_t)g->env->comm->size + 1) * sizeof *offsets);
    if (!offsets) {
        return FAIL(MEMORY, "log: no memory");
    }
    const enum status status =
        comm_gather_all(g->env->comm, &g->max_delta, sizeof g->max_delta, &all, offsets);
    free(offsets);
    TRY(status);
    double largest = 0.0;
    for (int r = 0; r < g->env->comm->size; r++) {
        double theirs;
        memcpy(&theirs, (const char *)all + (size_t)r * sizeof theirs, sizeof theirs);
        largest = fmax(largest, theirs);
    }
    free(all);
    (void)json_object_set_new(line,
                              g->on_policy ? "on_policy_logp_delta_max" : "logp_delta_max",
                              json_real(largest));
    return STATUS_OK;
}

static void log_rollout(const struct grpo *g, json_t *line)
{
    double tokens = 0.0;
    double seconds = 0.0;
    double occupancy = 0.0;
    for (int64_t i = 0; i < g->live_count; i++) {
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
    }
    (void)json_object_set_new(line, "skipped_groups", json_integer(g->skipped_groups));
}

enum status grpo_log(void *ctx, const double *totals, json_t *line)
{
    const struct grpo *g = ctx;
    const double trained = totals[METRIC_TOKENS];
    const double tokens = trained + g->skipped_tokens;
    const bool sequence = g->config->objective.level == RATIO_SEQUENCE;
    const double clip_over = sequence ? totals[METRIC_ROWS] : tokens;
    double *values = malloc((size_t)(g->live_count * grpo_plan_round_rows(&g->config->plan) + 1)
                            * sizeof *values);
    if (!values) {
        return FAIL(MEMORY, "log: no memory for rewards");
    }
    if (g->live_count > 0 && g->live[g->live_count - 1].born == g->step) {
        log_rewards(g, values, line);
        log_lengths(g, line);
    }
    free(values);
    if (tokens > 0) {
        put(line, "entropy", (totals[METRIC_ENTROPY] + g->skipped_entropy) / tokens);
        put(line, "clip_ratio/low_mean", totals[METRIC_CLIP_LOW] / fmax(clip_over, 1.0));
        put(line, "clip_ratio/high_mean", totals[METRIC_CLIP_HIGH] / fmax(clip_over, 1.0));
        put(line, "clip_ratio/region_mean",
            (totals[METRIC_CLIP_LOW] + totals[METRIC_CLIP_HIGH]) / fmax(clip_over, 1.0));
    }
    if (g->config->objective.beta > 0) {
        put(line, "kl", totals[METRIC_KL] / fmax(trained, 1.0));
    }
    put(line, "num_tokens", g->num_tokens);
    log_rollout(g, line);
    return log_delta(g, line);
}

static json_t *completion_line(const struct grpo *g, const struct live_round *live,
                               const struct rollout_row *row, const char *prompt, const char *said)
{
    json_t *line = json_pack("{s:I, s:s%, s:s%}", "step", (json_int_t)(live->born + 1), "prompt",
                             prompt, strlen(prompt), "completion", said, strlen(said));
    for (int k = 0; line && k < g->config->rollout.rewards->count; k++) {
        (void)json_object_set_new(line, g->config->rollout.rewards->items[k].name,
                                  isnan(row->rewards[k]) ? json_null()
                                                         : json_real(row->rewards[k]));
    }
    if (line) {
        (void)json_object_set_new(line, "advantage", json_real(row->advantage));
        (void)json_object_set_new(line, "tokens", json_integer(row->count));
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
