/*
 * A step allocates nothing: training steps after the first make no call at all, nor do the clip and
 * the update of any optimizer; a generation makes as many for long completions as for short. Log
 * lines and checkpoints may allocate, but keep nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/allocations.h"
#include "tests/support/tiny_model.h"
#include "trainer/generate/generate.h"
#include "trainer/optim/optim.h"
#include "trainer/sft.h"

#if COUNTS
enum { ROWS = 4, LENGTH = 24 };

static void the_counter_counts(void **state)
{
    (void)state;
    const long before = allocations();
    const long alive = live_blocks();
    char *volatile p = malloc(10);
    assert_int_equal(live_blocks() - alive, 1);
    p = realloc(p, 100);
    assert_int_equal(live_blocks() - alive, 1);
    free(p);
    assert_int_equal(allocations() - before, 2);
    assert_int_equal(live_blocks() - alive, 0);
}

static void open_tiny(struct tiny *t, struct ops_context *ops)
{
    tiny_need(ops_context_open(ops, &(struct ops_options){.threads = 2}));
    tiny_open(t, &TINY_CONFIGS[0]);
    tiny_attach_lora(t, 0);
}

/* One optimizer step as the loop makes it, on one shard. */
static void train_step(const struct train_method *method, struct tiny *t, struct ops_context *ops,
                       int64_t step)
{
    struct train_units units = {0};
    const int64_t all[ROWS] = {0, 1, 2, 3};
    double sums[ROWS * TRAIN_MAX_METRICS];
    tiny_need(method->prepare(method->ctx, step, &units));
    assert_int_equal(units.count, ROWS);
    memset(t->params.grad, 0, (size_t)t->params.total * sizeof(float));
    tiny_need(method->run(method->ctx, all, ROWS, sums));
    assert_true(optim_grad_norm(ops, &t->params) > 0.0);
}

static void a_training_step_allocates_nothing(void **state)
{
    (void)state;
    struct tiny t;
    struct ops_context ops;
    open_tiny(&t, &ops);
    int32_t ids[ROWS][LENGTH];
    uint8_t loss[LENGTH];
    struct example items[ROWS];
    memset(loss, 1, sizeof loss);
    for (int i = 0; i < ROWS; i++) {
        for (int k = 0; k < LENGTH; k++) {
            ids[i][k] = (int32_t)((7 * i + 3 * k) % t.m->config.vocab);
        }
        items[i] = (struct example){.ids = ids[i], .loss = loss, .count = LENGTH};
        example_count_labels(&items[i]);
    }
    const struct example_set set = {.items = items, .count = ROWS};
    const struct sft_config config = {
        .plan = {.rows = ROWS, .world = 1, .per_device = ROWS, .accumulation = 1, .shuffle = true},
        .neftune_noise_alpha = 5.0,
        .micro_batch_tokens = 2 * LENGTH,
        .recompute = 3,
    };
    const struct comm alone = {.size = 1, .local_size = 1};
    const struct sft_env env = {.model = t.m, .ops = &ops, .comm = &alone, .train = &set};
    struct sft *sft;
    tiny_need(sft_open(&sft, &config, &env));
    const struct train_method method = sft_method(sft);
    train_step(&method, &t, &ops, 0);
    const long before = allocations();
    for (int64_t step = 1; step < 4; step++) {
        train_step(&method, &t, &ops, step);
        assert_int_equal(allocations() - before, 0);
    }
    sft_close(sft);
    tiny_close(&t);
    ops_context_close(&ops);
}

/* A LoRA's matrices, or whole ones for an optimizer of those, a vector, and a gradient for each. */
static void open_params(struct param_set *p, const struct optim_config *c)
{
    static const int64_t SHAPES[][2] = {{4, 96}, {64, 4}, {300, 1}};
    static const char *const LORA[] = {"q_proj.lora_A.weight", "q_proj.lora_B.weight",
                                       "q_proj.bias"};
    static const char *const WHOLE[] = {"q_proj.weight", "o_proj.weight", "q_proj.bias"};
    const char *const *names = c->kind == OPTIM_MUON ? WHOLE : LORA;
    struct param_layout layout;
    int64_t index;
    param_set_open(p);
    for (int i = 0; i < (c->kind == OPTIM_LORA_FA ? 2 : 3); i++) {
        tiny_need(param_set_add(p, names[i], i < 2 ? 2 : 1, SHAPES[i], true, &index));
    }
    p->params[1].scale = 2.0f;
    tiny_need(optim_prepare(c, p, &layout));
    tiny_need(param_set_seal(p, &layout));
    for (int64_t i = 0; i < p->total; i++) {
        p->value[i] = 0.01f * (float)(i % 17 - 8);
        p->grad[i] = 0.1f * (float)(i % 13 - 6);
    }
}

static void clip_and_update_allocate_nothing(void **state)
{
    (void)state;
    struct ops_context ops;
    tiny_need(ops_context_open(&ops, &(struct ops_options){.threads = 2}));
    for (int kind = 0; kind < OPTIM_KINDS; kind++) {
        struct optim_config c;
        struct param_set p;
        optim_defaults(&c, (enum optim_kind)kind);
        c.learning_rate = 1e-3;
        c.max_grad_norm = 0.5;
        open_params(&p, &c);
        const struct optim_rates rates = optim_rates(&c, 1.0);
        long before = 0;
        for (int64_t step = 1; step <= 4; step++) {
            before = step == 2 ? allocations() : before;
            const double norm = optim_grad_norm(&ops, &p);
            assert_true(norm > c.max_grad_norm); /* it clips */
            optim_update(&ops, &p, &c, &rates, norm, step);
        }
        if (allocations() != before) {
            fail_msg("%s: %ld calls in three updates", optim_name((enum optim_kind)kind),
                     allocations() - before);
        }
        param_set_close(&p);
    }
    ops_context_close(&ops);
}

/* Calls of a generation of `tokens` tokens for each of two prompts' three samples. */
static long generation(const struct tiny *t, struct ops_context *ops, int64_t tokens)
{
    static const int32_t IDS[] = {1, 2, 3, 4, 5};
    const struct prompt prompts[2] = {{.ids = IDS, .count = 5, .samples = 3},
                                      {.ids = IDS, .count = 4, .row = 1, .samples = 3}};
    const struct generate_args args = {
        .model = t->m,
        .ops = ops,
        .prompts = prompts,
        .prompt_count = 2,
        .sample = {.temperature = 1.0, .top_p = 1.0, .max_new_tokens = tokens, .seed = 1},
        .limits = {.max_rows = 4}, /* some wait, so rows are admitted on the way */
        .hooks = true,
    };
    struct completion_set set;
    struct generate_stats stats;
    const long before = allocations();
    tiny_need(generate(&args, &set, &stats));
    const long made = allocations() - before;
    assert_true(stats.decode_steps >= tokens);
    completion_set_close(&set);
    return made;
}

static void a_decode_step_allocates_nothing(void **state)
{
    (void)state;
    struct tiny t;
    struct ops_context ops;
    open_tiny(&t, &ops);
    (void)generation(&t, &ops, 4);
    const long few = generation(&t, &ops, 4);
    assert_true(few > 0);
    assert_int_equal(generation(&t, &ops, 20), few);
    tiny_close(&t);
    ops_context_close(&ops);
}
#else
static void the_counter_counts(void **state)
{
    (void)state;
    skip();
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_counter_counts),
#if COUNTS
        cmocka_unit_test(a_training_step_allocates_nothing),
        cmocka_unit_test(clip_and_update_allocate_nothing),
        cmocka_unit_test(a_decode_step_allocates_nothing),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
