/*
 * bench grpo: rollout, scripted reward, and a training step on two-digit sums; loss dapo, beta 0,
 * every completion exactly as long as asked (no stop ids).
 */
#include <math.h>
#include <string.h>

#include "kernels/base/clock.h"
#include "kernels/base/rng.h"
#include "recipes/bench_internal.h"
#include "recipes/measure.h"
#include "rl/grpo.h"
#include "trainer/data/dataset.h"
#include "trainer/data/sums.h"

enum { WARM_STEPS = 1, ROWS = 1024, MOST_SPREAD = 8 };

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
    json_t *work;         /* what the method logged about its last step */
    double tokens;        /* completion tokens of the last step */
    int64_t *most;        /* [prompts * generations] lengths with --spread, else NULL */
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

static const char QUESTION[] =
    "What is {a} + {b}? Think step by step, then put the final answer in \\boxed{}.";

/* Puts so many words in front of every question that the prompts have about --prompt tokens. */
static enum status lengthen(const struct grpo_bench *g, json_t *rows)
{
    enum { PLAIN = 56, WORD = 3 }; /* tokens of the question under a chat template; bytes of "so " */
    const int64_t words = g->bench->args->prompt > PLAIN ? g->bench->args->prompt - PLAIN : 0;
    size_t i;
    json_t *row;
    json_array_foreach (rows, i, row) {
        json_t *prompt = json_object_get(row, "prompt");
        json_t *message = json_array_get(prompt, 0);
        const char *said =
            json_string_value(message ? json_object_get(message, "content") : prompt);
        if (words == 0 || !said) {
            continue;
        }
        const size_t size = (size_t)words * WORD + strlen(said) + 1;
        char *text = malloc(size);
        if (!text) {
            return FAIL(MEMORY, "bench: out of memory");
        }
        for (size_t k = 0; k < (size_t)words * WORD; k++) {
            text[k] = "so "[k % WORD];
        }
        memcpy(text + (size_t)words * WORD, said, strlen(said) + 1);
        (void)json_object_set_new(message ? message : row, message ? "content" : "prompt",
                                  json_string(text));
        free(text);
    }
    return STATUS_OK;
}

static enum status open_rows(struct grpo_bench *g)
{
    const struct sums_config sums = {
        .min = 10,
        .max = 99,
        .terms = 2,
        .count = ROWS,
        .messages = g->chat != NULL,
        .question = QUESTION,
    };
    json_t *train;
    json_t *held_out;
    TRY(sums_rows(&sums, &train, &held_out));
    json_decref(held_out);
    const enum status status = lengthen(g, train);
    if (status != STATUS_OK) {
        json_decref(train);
        return status;
    }
    return dataset_from_rows(&g->rows, "sums", train);
}

/* Completions of scripted lengths: geometric, mean --completion, at most MOST_SPREAD times that;
 * the sum is brought to that of equal lengths. */
static enum status make_lengths(struct grpo_bench *g)
{
    const int64_t n = g->prompts * g->generations;
    int64_t left = n * g->completion;
    g->most = malloc((size_t)n * sizeof *g->most);
    if (!g->most) {
        return FAIL(MEMORY, "bench: out of memory");
    }
    for (int64_t i = 0; i < n; i++) {
        const struct rng_key key = {.seed = 1, .purpose = RNG_DATA, .row = (uint32_t)i};
        const double u = rng_uniform53(&key);
        const double mean = (double)g->completion;
        const int64_t length = 1 + (int64_t)(log1p(-u) / log1p(-1.0 / fmax(mean, 1.5)));
        g->most[i] = length < g->completion * MOST_SPREAD ? length : g->completion * MOST_SPREAD;
        left -= g->most[i];
    }
    for (int64_t i = 0; left != 0; i = (i + 1) % n) {
        const int64_t step = left > 0 ? 1 : -1;
        if (g->most[i] + step >= 1 && g->most[i] + step <= g->completion * MOST_SPREAD) {
            g->most[i] += step;
            left -= step;
        }
    }
    return STATUS_OK;
}

/* generate() with the scripted lengths. */
static enum status complete_spread(void *ctx, const struct generate_args *args,
                                   struct completion_set *out, struct generate_stats *stats)
{
    const struct grpo_bench *g = ctx;
    struct generate_args mine = *args;
    struct prompt *prompts = malloc((size_t)args->prompt_count * sizeof *prompts + 1);
    if (!prompts) {
        return FAIL(MEMORY, "bench: out of memory");
    }
    for (int64_t p = 0; p < args->prompt_count; p++) {
        prompts[p] = args->prompts[p];
        prompts[p].most = g->most + (int64_t)prompts[p].row * g->generations;
    }
    mine.prompts = prompts;
    const enum status status = generate(&mine, out, stats);
    free(prompts);
    return status;
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
    const double n = (double)(g->prompts * g->generations);
    g->tokens = n * json_number_value(json_object_get(line, "completions/mean_length"));
    g->rollouts[step] = json_number_value(json_object_get(line, "rollout/seconds"));
    g->prompt_tokens = (tokens - *tokens_before - g->tokens) / (double)g->generations;
    g->trained = 1.0
                 - (double)json_integer_value(json_object_get(line, "skipped_groups"))
                       / (double)g->prompts;
    *tokens_before = tokens;
    json_decref(g->work);
    g->work = line;
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
    const struct command_args *a = g->bench->args;
    const struct completion_source spread = {.complete = complete_spread, .ctx = g};
    const struct grpo_config config = {
        .plan = {.rows = ROWS, .world = 1, .per_device = rows, .accumulation = 1, .slices = 1,
                 .iterations = 1, .group_size = g->generations, .shuffle = true},
        .rollout = {.group_size = g->generations,
                    .max_completion_length = g->completion * (g->most ? MOST_SPREAD : 1),
                    .source = g->most ? &spread : NULL,
                    .sample = {.temperature = 1.0, .top_p = 1.0},
                    .limits = {.max_rows = bench_option(a->slots, rows < 64 ? rows : 64),
                               .unshared = a->unshared},
                    .advantage = {.scale = SCALE_GROUP, .aggregation = SUM_THEN_NORMALIZE},
                    .rewards = &rewards,
                    .weights = weights},
        .objective = {.loss_type = LOSS_DAPO,
                      .level = RATIO_TOKEN,
                      .epsilon_low = 0.2,
                      .epsilon_high = 0.2},
        .micro_batch_tokens = bench_option(a->tokens, 1024),
        .recompute = a->checkpointing ? INT64_MAX : 0,
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

/* What the scheduler did in the last step. */
static void put_work(const struct grpo_bench *g, json_t *line)
{
    static const char *const KEYS[] = {"rollout/occupancy", "rollout/prefix_saved",
                                       "rollout/acceptance", "rollout/preemptions",
                                       "skipped_groups"};
    for (size_t i = 0; i < sizeof KEYS / sizeof KEYS[0]; i++) {
        const char *slash = strchr(KEYS[i], '/');
        json_t *value = json_object_get(g->work, KEYS[i]);
        if (value) {
            (void)json_object_set(line, slash ? slash + 1 : KEYS[i], value);
        }
    }
    (void)json_object_set_new(line, "prompt_tokens",
                              json_real(g->prompt_tokens / (double)g->prompts));
}

static enum status print(struct grpo_bench *g)
{
    struct bench *b = g->bench;
    const double n = (double)(g->prompts * g->generations);
    const double tokens = g->tokens;
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
    put_work(g, figure.line);
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
    if (b->args->spread) {
        TRY(make_lengths(g));
    }
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
    free(g.most);
    json_decref(g.work);
    bench_close(&b);
    return status;
}
