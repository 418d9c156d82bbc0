/*
 * bench grpo: rollout, scripted reward, and a training step on two-digit sums; loss dapo, beta 0, every
 * completion exactly as long as asked (no stop ids).
 */
#include <math.h>
#include <string.h>

#include "kernels/base/clock.h"
#include "recipes/bench_internal.h"
#include "recipes/measure.h"
#include "rl/grpo.h"
#include "trainer/data/dataset.h"
#include "trainer/data/sums.h"

enum { WARM_STEPS = 1, ROWS = 512 };

struct grpo_bench {
    struct bench *bench;
    int64_t prompts;
    int64_t generations;
    int64_t completion;
    int64_t steps;
    struct comm comm;
    struct chat_template *chat;
    struct dataset *rows;
    double *times;    /* [steps] */
    double *rollouts; /* [steps] seconds of generation */
    double prompt_tokens; /* of the last step */
    double trained;       /* share of its groups with a gradient */
};

/* The peer's: scores differ inside nearly every group, so that every step trains. */
static double length_reward(const void *state, const struct reward_input *in, char *reason)
{
    (void)state;
    (void)reason;
    return (double)(strlen(in->completion) % 7) / 7.0;
}

static const struct reward LENGTH_REWARD = {
    .name = "length_modulo_7",
    .row = length_reward,
    .doc = "length modulo 7",
};

static enum status open_rows(struct grpo_bench *g)
{
    const struct sums_config sums = {
        .min = 10,
        .max = 99,
        .terms = 2,
        .count = ROWS,
        .messages = g->chat != NULL,
        .question = "What is {a} + {b}? Think step by step, then put the final answer in \\boxed{}.",
    };
    json_t *train;
    json_t *held_out;
    TRY(sums_rows(&sums, &train, &held_out));
    json_decref(held_out);
    return dataset_from_rows(&g->rows, "sums", train);
}

/* Time and work of a finished step, from the method's own log. */
static enum status note_step(struct grpo_bench *g, const struct train_method *method,
                             const double *totals, int64_t step, double *tokens_before)
{
    json_t *line = json_object();
    if (!line) {
        return FAIL(MEMORY, "bench: out of memory");
    }
    const enum status status = method->log(method->ctx, totals, line);
    const double tokens = json_number_value(json_object_get(line, "num_tokens"));
    const double completions = (double)(g->prompts * g->generations * g->completion);
    g->rollouts[step] = json_number_value(json_object_get(line, "rollout/seconds"));
    g->prompt_tokens = (tokens - *tokens_before - completions) / (double)g->generations;
    g->trained = 1.0
                 - (double)json_integer_value(json_object_get(line, "skipped_groups"))
                       / (double)g->prompts;
    *tokens_before = tokens;
    json_decref(line);
    return status;
}

/* One step as train_run makes it, on one shard and without files. */
static enum status train_step(struct grpo_bench *g, const struct train_method *method,
                              int64_t step, double *totals)
{
    struct optim_config optim = g->bench->optim;
    optim.learning_rate = 1e-5;
    const struct optim_rates rates = optim_rates(&optim, 1.0);
    struct param_set *params = &g->bench->session.params;
    struct ops_context *ops = &g->bench->session.ops;
    struct train_units units = {0};
    TRY(method->prepare(method->ctx, step, &units));
    const size_t count = (size_t)units.count;
    const size_t metrics = (size_t)method->metrics;
    int64_t *all = malloc((count + 1) * sizeof *all);
    double *sums = calloc((count + 1) * metrics, sizeof *sums);
    enum status status = all && sums ? STATUS_OK : FAIL(MEMORY, "bench: out of memory");
    memset(params->grad, 0, (size_t)params->total * sizeof(float));
    for (size_t i = 0; status == STATUS_OK && i < count; i++) {
        all[i] = (int64_t)i;
    }
    if (status == STATUS_OK && count > 0) {
        status = method->run(method->ctx, all, units.count, sums);
    }
    memset(totals, 0, metrics * sizeof *totals);
    for (size_t i = 0; status == STATUS_OK && i < count * metrics; i++) {
        totals[i % metrics] += sums[i];
    }
    free(all);
    free(sums);
    TRY(status);
    TRY(ops->ops->sync(ops));
    optim_update(ops, params, &optim, &rates, optim_grad_norm(ops, params), step + 1);
    return STATUS_OK;
}

static enum status run_steps(struct grpo_bench *g, struct grpo *method_state)
{
    const struct train_method method = grpo_method(method_state);
    double totals[TRAIN_MAX_METRICS];
    double tokens = 0.0;
    for (int64_t step = 0; step < g->steps; step++) {
        const double start = clock_seconds();
        TRY(train_step(g, &method, step, totals));
        g->times[step] = clock_seconds() - start;
        TRY(note_step(g, &method, totals, step, &tokens));
    }
    return STATUS_OK;
}

static enum status train(struct grpo_bench *g)
{
    struct session *s = &g->bench->session;
    struct reward_set rewards = {
        .items = {{.reward = &LENGTH_REWARD, .name = LENGTH_REWARD.name}},
        .count = 1,
    };
    const double weights[] = {1.0};
    const int64_t rows = g->prompts * g->generations;
    const struct grpo_config config = {
        .plan = {.rows = ROWS, .world = 1, .per_device = rows, .accumulation = 1, .slices = 1,
                 .iterations = 1, .group_size = g->generations, .shuffle = true},
        .rollout = {.group_size = g->generations,
                    .max_completion_length = g->completion,
                    .sample = {.temperature = 1.0, .top_p = 1.0},
                    .limits = {.max_rows = rows},
                    .advantage = {.scale = SCALE_GROUP, .aggregation = SUM_THEN_NORMALIZE},
                    .rewards = &rewards,
                    .weights = weights},
        .objective = {.loss_type = LOSS_DAPO,
                      .level = RATIO_TOKEN,
                      .epsilon_low = 0.2,
                      .epsilon_high = 0.2},
        .micro_batch_tokens = bench_option(g->bench->args->tokens, 2048),
        .gradient_checkpointing = g->bench->args->checkpointing,
    };
    const struct rollout_env env = {
        .model = s->model,
        .ops = &s->ops,
        .comm = &g->comm,
        .format = {.tokenizer = s->tokenizer, .chat = g->chat},
        .row = dataset_row,
        .row_ctx = g->rows,
        .where = dataset_name(g->rows),
    };
    struct grpo *method;
    TRY(grpo_open(&method, &config, &env));
    const enum status status = run_steps(g, method);
    grpo_close(method);
    return status;
}

static enum status print(struct grpo_bench *g)
{
    struct bench *b = g->bench;
    const double n = (double)(g->prompts * g->generations);
    const double tokens = n * (double)g->completion;
    const double step = measure_median(g->times + WARM_STEPS, g->steps - WARM_STEPS);
    const double rollout = measure_median(g->rollouts + WARM_STEPS, g->steps - WARM_STEPS);
    const double decode = bench_forward_flops(b, n, n);
    struct bench_figure figure = {
        .line = json_pack("{s:s, s:s, s:I, s:I, s:I, s:f, s:f, s:f, s:f}", "peer", "graft", "work",
                          "grpo-lora", "prompts", (json_int_t)g->prompts, "generations",
                          (json_int_t)g->generations, "completion", (json_int_t)g->completion,
                          "step_s", step, "generate_s", rollout, "rollout_tokens_per_s",
                          tokens / rollout, "completion_tokens_per_s", tokens / step),
        .seconds = step,
        .flops = bench_forward_flops(b, g->prompt_tokens, (double)g->prompts)
                 + (double)(g->completion - 1) * decode
                 + g->trained * bench_train_flops(b, g->prompt_tokens + tokens, tokens),
        .passes = (double)(g->completion - 1),
        .pass_flops = decode,
        .peak_rss = measure_peak_rss(),
    };
    if (!figure.line) {
        return FAIL(MEMORY, "bench: out of memory");
    }
    bench_put_base(b, figure.line);
    return bench_print(b, &figure, 1);
}

static enum status measure(struct grpo_bench *g)
{
    struct bench *b = g->bench;
    TRY(bench_open(b, b->args, b->args->context));
    TRY(session_tokenizer(&b->session, b->args));
    const char *source = tokenizer_chat_template(b->session.tokenizer);
    if (source) {
        TRY(chat_template_open(&g->chat, source));
    }
    TRY(open_rows(g));
    TRY(bench_attach(b));
    TRY(train(g));
    return print(g);
}

enum status bench_grpo(const struct command_args *args)
{
    struct bench b = {.args = args};
    struct grpo_bench g = {.bench = &b,
                           .prompts = bench_option(args->prompts, 4),
                           .generations = bench_option(args->generations, 8),
                           .completion = bench_option(args->completion, 64),
                           .steps = bench_option(args->steps, 4)};
    TRY(bench_check_steps(g.steps, WARM_STEPS));
    if (g.prompts > ROWS || g.generations < 2 || g.generations > 1024
        || g.completion > BENCH_MOST) {
        return FAIL(USAGE, "bench: grpo takes at most %d --prompts, 2 to 1024 --generations and "
                           "%d --completion tokens", ROWS, BENCH_MOST);
    }
    g.times = calloc((size_t)g.steps, sizeof *g.times);
    g.rollouts = calloc((size_t)g.steps, sizeof *g.rollouts);
    enum status status = g.times && g.rollouts ? comm_open(&g.comm)
                                               : FAIL(MEMORY, "bench: out of memory");
    if (status == STATUS_OK) {
        status = measure(&g);
        comm_close(&g.comm);
    }
    chat_template_close(g.chat);
    dataset_close(g.rows);
    free(g.times);
    free(g.rollouts);
    bench_close(&b);
    return status;
}
