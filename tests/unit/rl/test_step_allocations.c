/*
 * The training part of a GRPO step, from packing to the gradients of the adapter, allocates nothing
 * once the largest step has been seen; whole steps with their log lines keep no block.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "adapters/adapter.h"
#include "rl/grpo_internal.h"
#include "tests/support/allocations.h"
#include "trainer/format/gguf.h"

enum { SIZE = 4, PER_DEVICE = 8, STEPS = 4 };

struct bench {
    struct ops_context ops;
    struct comm comm;
    struct model *model;
    struct tokenizer *tokenizer;
    struct param_set params;
    struct adapter *adapter;
    struct rollout_env env;
    struct reward_set rewards;
    double weights[1];
    struct grpo_config config;
    struct grpo *g;
};

static void need(enum status status)
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

static void open_model(struct bench *b)
{
    const char *source = getenv("GRAFT_SOURCE");
    char path[4096];
    struct gguf *file;
    (void)snprintf(path, sizeof path, "%s/recipes/embedded/model.gguf", source ? source : ".");
    need(model_open(&b->model, path, &(struct model_options){.context = 64}));
    need(gguf_open(&file, path));
    need(tokenizer_open_gguf(&b->tokenizer, file));
    gguf_close(file);
}

static void open_adapter(struct bench *b)
{
    char all[] = "all-linear";
    const struct adapter_config config = {.family = "lora", .r = 4, .lora_alpha = 8,
                                          .init = ADAPTER_INIT_RANDOM_B, .target_regex = all};
    param_set_open(&b->params);
    need(adapter_attach(&b->adapter, b->model, &b->params, &config));
    need(param_set_seal(&b->params, NULL));
    adapter_initialize(b->adapter, 5);
}

static void bench_open(struct bench *b)
{
    *b = (struct bench){.rewards = {.items = {{.reward = &ODD, .name = "odd"}}, .count = 1},
                        .weights = {1.0}};
    need(comm_open(&b->comm));
    need(ops_context_open(&b->ops, &(struct ops_options){.threads = 1, .compute = COMPUTE_BF16}));
    open_model(b);
    open_adapter(b);
    b->env = (struct rollout_env){.model = b->model, .ops = &b->ops, .comm = &b->comm,
                                  .format = {.tokenizer = b->tokenizer}, .row = row_of,
                                  .where = "sums"};
    b->config = (struct grpo_config){
        .plan = {.rows = 40, .world = 1, .per_device = PER_DEVICE, .accumulation = 1, .slices = 1,
                 .iterations = 1, .group_size = SIZE, .shuffle = true, .seed = 3},
        .rollout = {.group_size = SIZE, .max_completion_length = 5,
                    .sample = {.temperature = 1.0, .seed = 9}, .rewards = &b->rewards,
                    .weights = b->weights},
        .objective = {.loss_type = LOSS_DAPO, .epsilon_low = 0.2, .epsilon_high = 0.2},
        .top_entropy_quantile = 1,
        .max_steps = STEPS,
        .micro_batch_tokens = 64,
        .output_dir = ".",
    };
    need(grpo_open(&b->g, &b->config, &b->env));
}

static void bench_close(struct bench *b)
{
    grpo_close(b->g);
    adapter_close(b->adapter);
    param_set_close(&b->params);
    tokenizer_close(b->tokenizer);
    model_close(b->model);
    ops_context_close(&b->ops);
    comm_close(&b->comm);
}

static void prepare(struct bench *b, int64_t step)
{
    struct train_units units;
    const struct train_method method = grpo_method(b->g);
    need(method.prepare(method.ctx, step, &units));
}

/* Gradients of the step that is prepared, from zeros. */
static void run_units(struct bench *b)
{
    const struct train_method method = grpo_method(b->g);
    int64_t all[PER_DEVICE];
    double sums[PER_DEVICE * METRIC_COUNT];
    for (int64_t u = 0; u < b->g->unit_count; u++) {
        all[u] = u;
    }
    memset(b->params.grad, 0, (size_t)b->params.total * sizeof *b->params.grad);
    need(method.run(method.ctx, all, b->g->unit_count, sums));
    need(b->ops.ops->sync(&b->ops));
}

static void gradients_allocate_nothing(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b);
    for (int64_t step = 0; step < STEPS; step++) {
        prepare(&b, step);
        run_units(&b); /* the arenas grow to this step */
#if COUNTS
        const long before = allocations();
        b.g->record_count = 0;
        run_units(&b);
        assert_int_equal(allocations() - before, 0);
#endif
    }
    bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(gradients_allocate_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
