/*
 * Evaluation while training, as TRL's trainer does it (spec training.md 1.1, 1.5, 1.6): held-out
 * prompts are completed num_generations_eval times by the policy as it is, judged, and weighed by
 * the objective. The policy that draws is the one that is measured, so no forward is needed beside
 * the sampler's.
 */
#include <string.h>

#include "kernels/base/rng.h"
#include "rl/grpo_internal.h"

/* The rollouts of an evaluation: those of training but for the group and what keeps rounds. */
static struct rollout_config eval_rollout(const struct grpo *g, int64_t first)
{
    struct rollout_config c = g->config->rollout;
    c.group_size = g->config->eval.group_size;
    c.call_rows = g->config->eval.per_device;
    c.first_row = GRPO_EVAL_ROW + first;
    c.journal = NULL;
    c.history = NULL;
    c.wave = 0;
    return c;
}

/* Log-probs that the sampler does not bring. */
static enum status score(struct grpo *g, const struct rollout_config *c, int64_t live)
{
    if (c->source && c->source->foreign) {
        TRY(grpo_score_policy(g, live));
    }
    if (g->config->objective.beta > 0 || g->config->reward_beta > 0) {
        TRY(grpo_score_reference(g, live));
    }
    return g->config->reward_beta > 0 ? grpo_penalize(g, c, &g->live[live].data) : STATUS_OK;
}

/* One batch of `groups` prompts: it stands among the live rounds while it is measured. */
static enum status evaluate_batch(struct grpo *g, int64_t step, const int64_t *prompts,
                                  int64_t groups, int64_t first, struct meters *m, double *loss)
{
    const struct rollout_config c = eval_rollout(g, first);
    struct rollout_env env = *g->env;
    struct live_round *live;
    env.row = g->config->eval.row;
    env.row_ctx = g->config->eval.row_ctx;
    env.where = g->config->eval.where;
    TRY(grpo_live_grow(g, &live));
    live->index = -1; /* no round of training */
    TRY(rollout_round(&c, &env, prompts, groups, step, &live->data));
    if (c.group_size == 1 && c.advantage.scale != SCALE_BATCH) {
        live->data.flat = 1.0; /* TRL takes the deviation of one reward for 0 */
    }
    for (int64_t i = 0; i < groups * c.group_size; i++) {
        live->tokens += (double)grpo_loss_tokens(&live->data.row[i]);
    }
    g->live_count++;
    enum status status = score(g, &c, g->live_count - 1);
    if (status == STATUS_OK) {
        status = grpo_meter_eval(g, &g->live[g->live_count - 1], m, loss);
    }
    grpo_live_drop(g, g->live_count - 1);
    return comm_agree(g->env->comm, status);
}

static void put_order(const struct grpo *g, int64_t *order)
{
    struct rng_mt19937 generator;
    rng_mt_seed(&generator, (uint32_t)g->config->plan.seed);
    rng_mt_randperm(&generator, order, g->config->eval.rows);
}

/* How much a batch counts in eval_loss, as Trainer adds them up: a full batch each, and the last
 * one, when the prompts are no multiple of a batch of rows, by their remainder (Accelerate's
 * gather_for_metrics counts prompts where the batches hold completions). */
static double batch_weight(const struct grpo *g, bool last)
{
    const int64_t rows = g->config->eval.per_device * g->config->plan.world;
    const int64_t rest = g->config->eval.rows % rows;
    return (double)(last && rest > 0 ? rest : rows);
}

enum status grpo_evaluate(struct grpo *g, int64_t step, json_t *line)
{
    const struct grpo_eval *e = &g->config->eval;
    const int64_t batch = e->per_device * g->config->plan.world / e->group_size;
    int64_t *order = malloc((size_t)e->rows * sizeof *order + 1);
    struct meters *m = grpo_meters_new();
    double loss = 0.0;
    double weight = 0.0;
    enum status status = order && m ? STATUS_OK : FAIL(MEMORY, "evaluation: no memory");
    if (status == STATUS_OK) {
        put_order(g, order);
    }
    for (int64_t at = 0; status == STATUS_OK && at < e->rows; at += batch) {
        const int64_t groups = e->rows - at < batch ? e->rows - at : batch;
        double here = 0.0;
        status = evaluate_batch(g, step, order + at, groups, at, m, &here);
        const double counts = batch_weight(g, at + groups == e->rows);
        loss += counts * here;
        weight += counts;
    }
    if (status == STATUS_OK) {
        (void)json_object_set_new(line, "eval_loss", json_real(loss / weight));
        grpo_meters_put_eval(m, line);
        (void)json_object_set_new(line, "eval_num_tokens", json_real(g->num_tokens));
    }
    free(order);
    free(m);
    return status;
}
