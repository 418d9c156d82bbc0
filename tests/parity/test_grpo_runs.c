/*
 * GRPO and RLOO runs against TRL's trainers with scripted completions (golden/grpo/runs,
 * golden/preference/rloo/runs): prompts and their order, rewards, advantages, the slices of every
 * round, the first gradient, every logged number and the weights after the run.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "rl/grpo.h"
#include "tests/support/golden_run.h"
#include "trainer/format/json.h"

enum { MOST_ROWS = 64 };

/* The generator's reward functions. */
static double length_of(const void *state, const struct reward_input *in, char *reason)
{
    (void)state;
    (void)reason;
    return (double)(float)((double)in->tokens / 20.0);
}

static double parity_of(const void *state, const struct reward_input *in, char *reason)
{
    int64_t even = 0;
    (void)state;
    (void)reason;
    for (int64_t i = 0; i < in->tokens; i++) {
        even += in->ids[i] % 2 == 0;
    }
    return in->tokens % 5 == 0 ? NAN : (double)(float)((double)even / (double)in->tokens);
}

static double flat_of(const void *state, const struct reward_input *in, char *reason)
{
    (void)state;
    (void)reason;
    return in->tokens > 3 ? 1.0 : 0.0;
}

static const struct reward REWARDS[] = {
    {.name = "length_reward", .row = length_of},
    {.name = "parity_reward", .row = parity_of},
    {.name = "flat_reward", .row = flat_of},
};

/* A golden run as Graft runs it. */
struct bench {
    struct golden_run run;
    struct reward_set rewards;
    double weights[REWARD_MAX];
    struct completion_source source;
    struct model_reference reference;
    struct rollout_env env;
    struct grpo_config config;
    json_t *rounds; /* those of training, new */
    json_t *evals;  /* and of evaluation */
    size_t next_eval;
    int64_t steps;
};

/* Completions of the golden round of this number, whose prompts must be those asked for. */
static enum status scripted(void *ctx, const struct generate_args *args,
                            struct completion_set *out, struct generate_stats *stats)
{
    struct bench *b = ctx;
    const bool eval = args->prompt_count > 0 && args->prompts[0].row >= GRPO_EVAL_ROW;
    const json_t *round = eval ? json_array_get(b->evals, b->next_eval++)
                               : json_array_get(b->rounds, args->sample.step);
    const json_t *prompts = json_object_get(round, "prompt_ids");
    const json_t *said = json_object_get(round, "completion_ids");
    const int64_t size = eval ? b->config.eval.group_size : b->config.plan.group_size;
    *stats = (struct generate_stats){0};
    assert_int_equal(json_array_size(said), args->prompt_count * size);
    out->items = calloc(json_array_size(said), sizeof *out->items);
    assert_non_null(out->items);
    for (int64_t i = 0; i < args->prompt_count * size; i++) {
        const struct prompt *p = &args->prompts[i / size];
        const json_t *prompt = json_array_get(prompts, (size_t)i);
        const json_t *ids = json_array_get(said, (size_t)i);
        struct completion *c = &out->items[out->count++];
        assert_int_equal(json_array_size(prompt), p->count);
        for (int64_t t = 0; t < p->count; t++) {
            assert_int_equal(json_integer_value(json_array_get(prompt, (size_t)t)), p->ids[t]);
        }
        *c = (struct completion){.prompt = i / size, .sample = (uint32_t)(i % size),
                                 .count = (int64_t)json_array_size(ids)};
        c->ids = calloc((size_t)c->count + 1, sizeof *c->ids);
        assert_non_null(c->ids);
        for (int64_t t = 0; t < c->count; t++) {
            c->ids[t] = (int32_t)json_integer_value(json_array_get(ids, (size_t)t));
        }
        c->stopped = c->ids[c->count - 1] == args->sample.stops[0];
    }
    return STATUS_OK;
}

static json_t *row_of(void *ctx, int64_t i)
{
    const struct bench *b = ctx;
    return json_incref(json_array_get(json_object_get(b->run.json, "dataset"), (size_t)i));
}

static json_t *eval_row_of(void *ctx, int64_t i)
{
    const struct bench *b = ctx;
    return json_incref(json_array_get(json_object_get(b->run.json, "eval_dataset"), (size_t)i));
}

static int64_t integer(const struct bench *b, const char *key, int64_t def)
{
    return json_get_int(b->run.args, key, def);
}

static double number(const struct bench *b, const char *key, double def)
{
    return json_get_number(b->run.args, key, def);
}

static void read_rewards(struct bench *b)
{
    const json_t *names = json_object_get(b->run.json, "reward_names");
    const json_t *weights = json_object_get(b->run.args, "reward_weights");
    b->rewards.count = names ? (int)json_array_size(names) : 1;
    for (int k = 0; k < b->rewards.count; k++) {
        const char *name = names ? json_string_value(json_array_get(names, (size_t)k))
                                 : "length_reward";
        for (size_t i = 0; i < sizeof REWARDS / sizeof REWARDS[0]; i++) {
            if (strcmp(REWARDS[i].name, name) == 0) {
                b->rewards.items[k] = (struct reward_use){.reward = &REWARDS[i], .name = name};
            }
        }
        assert_non_null(b->rewards.items[k].reward);
        b->weights[k] = json_is_array(weights)
                            ? json_number_value(json_array_get(weights, (size_t)k))
                            : 1.0;
    }
}

static void read_plan(struct bench *b)
{
    const json_t *changed = json_object_get(b->run.json, "changed");
    b->config.plan = (struct grpo_plan){
        .rows = (int64_t)json_array_size(json_object_get(b->run.json, "dataset")),
        .world = 1,
        .per_device = integer(b, "per_device_train_batch_size", 0),
        .accumulation = integer(b, "gradient_accumulation_steps", 0),
        .slices = integer(b, "steps_per_generation", 0),
        .iterations = integer(b, "num_iterations", 1),
        .group_size = integer(b, "num_generations", 0),
        .shuffle = true,
        .seed = (uint64_t)integer(b, "seed", 0),
        .eval_steps = json_get_int(changed, "eval_steps", 0),
        .eval_delay = json_get_int(changed, "eval_delay", 0),
        .eval_on_start = json_get_bool(changed, "eval_on_start", false),
    };
    b->steps = json_get_int(b->run.json, "max_steps_run", 0);
    for (size_t i = 0; b->steps == 0 && i < json_array_size(json_object_get(b->run.json, "log"));
         i++) {
        const json_t *line = json_array_get(json_object_get(b->run.json, "log"), i);
        if (json_object_get(line, "train_loss")) {
            b->steps = json_get_int(line, "step", 0);
        }
    }
    assert_true(b->steps > 0);
}

static void read_eval(struct bench *b)
{
    const json_t *changed = json_object_get(b->run.json, "changed");
    b->run.eval_steps = json_get_int(changed, "eval_steps", 0);
    b->run.eval_delay = json_get_int(changed, "eval_delay", 0);
    b->run.eval_on_start = json_get_bool(changed, "eval_on_start", false);
    b->config.eval = (struct grpo_eval){
        .rows = (int64_t)json_array_size(json_object_get(b->run.json, "eval_dataset")),
        .group_size = json_get_int(changed, "num_generations_eval", b->config.plan.group_size),
        .per_device = json_get_int(changed, "per_device_eval_batch_size", 8),
        .row = eval_row_of,
        .row_ctx = b,
        .where = "eval",
    };
}

static enum loss_type type_of(const char *name)
{
    for (int k = 0; k < LOSS_TYPES; k++) {
        if (strcmp(objective_kind((enum loss_type)k)->name, name) == 0) {
            return (enum loss_type)k;
        }
    }
    fail_msg("loss_type %s is not in the table", name);
    return LOSS_TYPES;
}

static void read_objective(struct bench *b, bool rloo)
{
    const json_t *changed = json_object_get(b->run.json, "changed");
    const char *level = json_get_string(b->run.args, "importance_sampling_level", "token");
    const double low = number(b, "epsilon", 0.2);
    b->config.objective = (struct objective_config){
        .loss_type = rloo ? LOSS_RLOO : type_of(json_get_string(b->run.args, "loss_type", "")),
        .level = rloo ? RATIO_SUM : strcmp(level, "token") == 0 ? RATIO_TOKEN : RATIO_SEQUENCE,
        .epsilon_low = low,
        .epsilon_high = number(b, "epsilon_high", low),
        .beta = rloo ? 0.0 : number(b, "beta", 0),
        .bias_correction_kl = json_get_bool(b->run.args, "use_bias_correction_kl", true),
        .sapo_temperature_pos = 1.0,
        .sapo_temperature_neg = 1.05,
    };
    b->config.reward_beta = rloo ? number(b, "beta", 0) : 0.0;
    b->config.entropy = (struct entropy_config){.coef = number(b, "entropy_coef", 0)};
    b->config.top_entropy_quantile = number(b, "top_entropy_quantile", 1);
    if (json_get_bool(changed, "sync_ref_model", false)) {
        golden_files_need(model_reference_open(&b->reference, b->run.model, &b->run.params), "ref");
        b->config.reference = &b->reference;
        b->config.ref_sync_steps = json_get_int(changed, "ref_model_sync_steps", 0);
        b->config.ref_mixup_alpha = json_get_number(changed, "ref_model_mixup_alpha", 0);
    }
}

static void read_rollout(struct bench *b, bool rloo)
{
    static const int32_t EOS = 2;
    const char *scale = json_get_string(b->run.args, "scale_rewards", "group");
    const char *aggregation = json_get_string(b->run.args, "multi_objective_aggregation", "");
    b->source = (struct completion_source){.complete = scripted, .ctx = b, .foreign = true};
    b->config.rollout = (struct rollout_config){
        .group_size = b->config.plan.group_size,
        .max_completion_length = integer(b, "max_completion_length", 0),
        .mask_truncated = json_get_bool(b->run.args, "mask_truncated_completions", false),
        .sample = {.temperature = number(b, "temperature", 1), .stops = &EOS, .stop_count = 1},
        .advantage = {.scale = strcmp(scale, "none") == 0    ? SCALE_NONE
                               : strcmp(scale, "batch") == 0 ? SCALE_BATCH
                                                             : SCALE_GROUP,
                      .aggregation = strcmp(aggregation, "normalize_then_sum") == 0
                                         ? NORMALIZE_THEN_SUM
                                         : SUM_THEN_NORMALIZE,
                      .leave_one_out = rloo,
                      .normalize = json_get_bool(b->run.args, "normalize_advantages", false)},
        .rewards = &b->rewards,
        .weights = b->weights,
        .source = &b->source,
    };
}

static void bench_open(struct bench *b, const char *sub, const char *name)
{
    const bool rloo = strstr(sub, "rloo") != NULL;
    *b = (struct bench){.rounds = json_array(), .evals = json_array()};
    golden_run_open(&b->run, sub, name);
    const json_t *rounds = json_object_get(b->run.json, "rounds");
    for (size_t i = 0; i < json_array_size(rounds); i++) {
        json_t *round = json_array_get(rounds, i);
        const bool trains = strcmp(json_get_string(round, "mode", "train"), "train") == 0;
        (void)json_array_append(trains ? b->rounds : b->evals, round);
    }
    read_rewards(b);
    read_plan(b);
    read_eval(b);
    read_objective(b, rloo);
    read_rollout(b, rloo);
    b->config.micro_batch_tokens = 150; /* several micro-batches a step */
    b->config.output_dir = b->run.files.folder;
    b->env = (struct rollout_env){.model = b->run.model,
                                  .ops = &b->run.ops,
                                  .comm = &b->run.comm,
                                  .format = {.tokenizer = b->run.tokenizer, .chat = b->run.chat},
                                  .row = row_of,
                                  .row_ctx = b,
                                  .where = name};
}

static void bench_close(struct bench *b)
{
    model_reference_close(&b->reference);
    json_decref(b->rounds);
    json_decref(b->evals);
    golden_run_close(&b->run);
}

/* Dataset rows, rewards and advantages of every round, and the slices of its rows. */
static void check_rounds(const struct bench *b)
{
    const struct grpo_plan *plan = &b->config.plan;
    for (size_t i = 0; i < json_array_size(b->rounds); i++) {
        const json_t *round = json_array_get(b->rounds, i);
        const json_t *rows = json_object_get(round, "dataset_rows");
        const json_t *order = json_object_get(round, "permutation");
        int64_t indices[MOST_ROWS];
        int64_t slice[MOST_ROWS];
        assert_true(grpo_plan_round_rows(plan) <= MOST_ROWS);
        golden_files_need(grpo_plan_prompts(plan, (int64_t)i, indices), b->run.name);
        golden_files_need(grpo_plan_slices(plan, (int64_t)i, slice), b->run.name);
        for (size_t k = 0; k < json_array_size(rows); k++) {
            assert_int_equal(json_integer_value(json_array_get(rows, k)),
                             indices[k / (size_t)plan->group_size]);
        }
        for (size_t k = 0; k < json_array_size(order); k++) {
            const json_int_t row = json_integer_value(json_array_get(order, k));
            assert_int_equal(slice[row], (int64_t)k / plan->per_device);
        }
    }
}

/* A round rolled out alone has the golden rewards and advantages. */
static void check_advantages(const struct bench *b)
{
    const struct grpo_plan *plan = &b->config.plan;
    for (size_t i = 0; b->config.reward_beta == 0 && i < json_array_size(b->rounds); i++) {
        const json_t *golden = json_array_get(b->rounds, i);
        struct round round;
        int64_t indices[MOST_ROWS];
        golden_files_need(grpo_plan_prompts(plan, (int64_t)i, indices), b->run.name);
        golden_files_need(rollout_round(&b->config.rollout, &b->env, indices,
                                        grpo_plan_round_rows(plan) / plan->group_size, (int64_t)i,
                                        &round),
                          b->run.name);
        for (int64_t k = 0; k < grpo_plan_round_rows(plan); k++) {
            const json_t *want = json_array_get(json_object_get(golden, "advantages"), (size_t)k);
            const json_t *rewards = json_array_get(json_object_get(golden, "rewards"), (size_t)k);
            const double off = fabs(round.row[k].advantage - json_number_value(want));
            assert_true(!want || off <= 1e-6 * fmax(1.0, fabs(json_number_value(want))));
            for (size_t f = 0; f < json_array_size(rewards); f++) {
                const json_t *value = json_array_get(rewards, f);
                assert_int_equal(isnan(round.row[k].rewards[f]), json_is_null(value));
                assert_true(json_is_null(value)
                            || fabs(round.row[k].rewards[f] - json_number_value(value)) < 1e-6);
            }
        }
        round_close(&round);
    }
}

static void check_run(const char *sub, const char *name)
{
    struct bench b;
    struct grpo *g;
    struct golden_worst w = {0};
    bench_open(&b, sub, name);
    check_rounds(&b);
    check_advantages(&b);
    if (b.run.adapter) {
        golden_files_need(grpo_open(&g, &b.config, &b.env), name);
        const struct train_method m = grpo_method(g);
        golden_run_check_gradient(&b.run, &m, &w);
        grpo_close(g);
    }
    golden_files_need(grpo_open(&g, &b.config, &b.env), name);
    const struct train_method m = grpo_method(g);
    golden_run_train(&b.run, &m, b.steps);
    golden_run_check_log(&b.run, b.steps,
                         "eval_runtime eval_samples_per_second eval_steps_per_second", &w);
    const int evals = golden_run_check_evals(&b.run, b.steps, &w);
    assert_true((evals > 0) == (b.run.eval_steps > 0));
    assert_int_equal(b.next_eval, json_array_size(b.evals));
    golden_run_check_weights(&b.run, &w);
    golden_run_verdict(&b.run, &w);
    grpo_close(g);
    bench_close(&b);
}

int main(void)
{
    static const struct golden_runs RUNS[] = {{"grpo/runs", check_run},
                                              {"preference/rloo/runs", check_run}};
    return golden_run_tests(NULL, 0, RUNS, 2);
}
