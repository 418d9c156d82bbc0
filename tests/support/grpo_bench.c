/* GRPO on the embedded model for tests; see grpo_bench.h. */
#include "tests/support/grpo_bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "trainer/format/gguf.h"

void grpo_bench_need(enum status status)
{
    if (status != STATUS_OK) {
        fail_msg("%s", status_message());
    }
}

static json_t *row_of(void *ctx, int64_t i)
{
    char text[64];
    (void)ctx;
    (void)snprintf(text, sizeof text, "What is %d + %d?", (int)i, (int)(3 * i + 1));
    return json_pack("{s:s}", "prompt", text);
}

/* Anything that tells completions apart. */
static double odd_of(const void *unused, const struct reward_input *in, char *reason)
{
    (void)unused;
    (void)reason;
    return (double)(in->ids[0] % 3);
}

static const struct reward ODD = {.name = "odd", .row = odd_of};

static void open_model(struct grpo_bench *b)
{
    const char *source = getenv("GRAFT_SOURCE");
    char path[4096];
    struct gguf *file;
    (void)snprintf(path, sizeof path, "%s/recipes/embedded/model.gguf", source ? source : ".");
    grpo_bench_need(model_open(&b->model, path, &(struct model_options){.context = 64}));
    grpo_bench_need(gguf_open(&file, path));
    grpo_bench_need(tokenizer_open_gguf(&b->tokenizer, file));
    gguf_close(file);
}

static void open_adapter(struct grpo_bench *b)
{
    char all[] = "all-linear";
    const struct adapter_config config = {.family = "lora", .r = 4, .lora_alpha = 8,
                                          .init = ADAPTER_INIT_RANDOM_B, .target_regex = all};
    param_set_open(&b->params);
    grpo_bench_need(adapter_attach(&b->adapter, b->model, &b->params, &config));
    grpo_bench_need(param_set_seal(&b->params, NULL));
    adapter_initialize(b->adapter, 5);
}

void grpo_bench_open(struct grpo_bench *b, int64_t steps, int64_t async_rounds,
                     const struct correction_config *correction)
{
    *b = (struct grpo_bench){.rewards = {.items = {{.reward = &ODD, .name = "odd"}}, .count = 1},
                             .weights = {1.0}};
    grpo_bench_need(comm_open(&b->comm));
    grpo_bench_need(ops_context_open(
        &b->ops, &(struct ops_options){.threads = 1, .compute = COMPUTE_BF16}));
    open_model(b);
    open_adapter(b);
    b->env = (struct rollout_env){.model = b->model, .ops = &b->ops, .comm = &b->comm,
                                  .format = {.tokenizer = b->tokenizer}, .row = row_of,
                                  .where = "sums"};
    b->config = (struct grpo_config){
        .plan = {.rows = 40, .world = 1, .per_device = GRPO_BENCH_ROWS, .accumulation = 1,
                 .slices = 1, .iterations = 1, .group_size = GRPO_BENCH_SIZE, .shuffle = true,
                 .seed = 3},
        .rollout = {.group_size = GRPO_BENCH_SIZE, .max_completion_length = 5,
                    .sample = {.temperature = 1.0, .seed = 9}, .rewards = &b->rewards,
                    .weights = b->weights},
        .objective = {.loss_type = LOSS_DAPO, .epsilon_low = 0.2, .epsilon_high = 0.2},
        .top_entropy_quantile = 1,
        .correction = *correction,
        .async_rounds = async_rounds,
        .max_steps = steps,
        .micro_batch_tokens = 64,
        .output_dir = ".",
    };
    grpo_bench_need(grpo_open(&b->g, &b->config, &b->env));
}

void grpo_bench_close(struct grpo_bench *b)
{
    grpo_close(b->g);
    adapter_close(b->adapter);
    param_set_close(&b->params);
    tokenizer_close(b->tokenizer);
    model_close(b->model);
    ops_context_close(&b->ops);
    comm_close(&b->comm);
}

void grpo_bench_prepare(struct grpo_bench *b, int64_t step)
{
    struct train_units units;
    const struct train_method method = grpo_method(b->g);
    grpo_bench_need(method.prepare(method.ctx, step, &units));
}

void grpo_bench_run(struct grpo_bench *b)
{
    const struct train_method method = grpo_method(b->g);
    int64_t all[GRPO_BENCH_ROWS];
    double sums[GRPO_BENCH_ROWS * METRIC_COUNT];
    for (int64_t u = 0; u < b->g->unit_count; u++) {
        all[u] = u;
    }
    memset(b->params.grad, 0, (size_t)b->params.total * sizeof *b->params.grad);
    grpo_bench_need(method.run(method.ctx, all, b->g->unit_count, sums));
    grpo_bench_need(b->ops.ops->sync(&b->ops));
}
