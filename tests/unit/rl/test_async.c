/*
 * Rounds drawn one round ahead: the kept log-probs are exactly those of the older policy, the
 * correction is theirs against the policy at hand, and a checkpoint in between changes nothing.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "adapters/adapter.h"
#include "rl/grpo_internal.h"
#include "trainer/format/gguf.h"

enum { SIZE = 4, PER_DEVICE = 8, STEPS = 3 };

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

static void bench_open(struct bench *b, bool corrects)
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
        .correction = {.on = corrects, .mode = CORRECTION_SEQUENCE_MASK, .clip_min = NAN,
                       .clip_max = 3.0},
        .top_entropy_quantile = 1,
        .async_rounds = 1,
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

/* What an optimizer step would do: every number moves. */
static void move_policy(struct bench *b, int step)
{
    for (int64_t i = 0; i < b->params.total; i++) {
        b->params.value[i] *= 1.0f + 0.05f * (float)(step + 1);
    }
}

static struct live_round *live_of(const struct bench *b, int64_t round)
{
    for (int64_t i = 0; i < b->g->live_count; i++) {
        if (b->g->live[i].index == round) {
            return &b->g->live[i];
        }
    }
    return NULL;
}

static void prepare(struct bench *b, int64_t step)
{
    struct train_units units;
    const struct train_method method = grpo_method(b->g);
    need(method.prepare(method.ctx, step, &units));
}

static void rounds_are_drawn_one_ahead(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b, true);
    for (int64_t step = 0; step < STEPS; step++) {
        prepare(&b, step);
        const struct live_round *now = live_of(&b, step);
        const struct live_round *next = live_of(&b, step + 1);
        assert_non_null(now);
        assert_int_equal(now->used, step);
        assert_int_equal(now->born, step > 0 ? step - 1 : 0);
        assert_int_equal(now->as_of, step);
        assert_true(b.g->on_policy);
        assert_int_equal(next != NULL, step + 1 < STEPS); /* none behind the last step */
        assert_true(!next || (next->used == -1 && next->born == step && next->pending));
        for (int64_t u = 0; u < b.g->unit_count; u++) { /* it is not trained on */
            assert_int_equal(b.g->live[b.g->units[u].live].index, step);
        }
        move_policy(&b, (int)step);
    }
    bench_close(&b);
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

/* Log-probs of a round under the weights at hand. */
static void score_again(struct bench *b, int64_t round, float *out)
{
    struct live_round *live = live_of(b, round);
    need(grpo_score_policy(b->g, live - b->g->live));
    for (int64_t i = 0; i < PER_DEVICE; i++) {
        memcpy(out, live->data.row[i].logp, (size_t)live->data.row[i].count * sizeof *out);
        out += live->data.row[i].count;
    }
}

static void behaviour_is_the_older_policy_exactly(void **state)
{
    (void)state;
    struct bench b;
    float again[PER_DEVICE * 8];
    bench_open(&b, true);
    float *old = malloc((size_t)b.params.total * sizeof *old);
    assert_non_null(old);
    prepare(&b, 0);
    memcpy(old, b.params.value, (size_t)b.params.total * sizeof *old);
    move_policy(&b, 0);
    prepare(&b, 1);
    const struct live_round *live = live_of(&b, 1);
    float now[PER_DEVICE * 8];
    double moved = 0.0;
    assert_true(live->late);
    run_units(&b);
    for (int64_t i = 0; i < PER_DEVICE; i++) {
        assert_non_null(live->data.row[i].sampling);
    }
    score_again(&b, 1, now);
    for (int64_t i = 0; i < PER_DEVICE; i++) {
        const struct rollout_row *row = &live->data.row[i];
        double gap = 0.0;
        for (int64_t t = 0; t < row->count; t++) {
            gap += (double)row->logp[t] - (double)row->sampling[t];
            moved = fmax(moved, fabs((double)row->logp[t] - (double)row->sampling[t]));
        }
        const double ratio = exp(gap) > 3.0 ? 0.0 : exp(gap);
        for (int64_t t = 0; t < row->count; t++) {
            assert_true(live->correction[live->token[i] + t] == (float)ratio);
        }
    }
    assert_true(moved > 1e-3);
    assert_true(b.g->row_count < PER_DEVICE && b.g->row_count > 0); /* rows of both kinds */
    memcpy(b.params.value, old, (size_t)b.params.total * sizeof *old);
    score_again(&b, 1, again);
    const float *at = again;
    for (int64_t i = 0; i < PER_DEVICE; at += live->data.row[i].count, i++) {
        assert_memory_equal(at, live->data.row[i].sampling,
                            (size_t)live->data.row[i].count * sizeof *at);
    }
    free(old);
    bench_close(&b);
}

/* Takes a late round back: everything is scored before the step, as where a round lasts for
 * several. */
static void score_early(struct bench *b, int64_t round)
{
    struct live_round *live = live_of(b, round);
    free(live->correction);
    free(live->token);
    free(live->sampling);
    live->late = false;
    need(grpo_score_policy(b->g, live - b->g->live));
    need(grpo_correct(b->g, live));
    need(grpo_step_build(b->g, b->g->first));
}

/* The log line of the step, without times. */
static char *log_of(struct bench *b)
{
    const struct train_method method = grpo_method(b->g);
    const double totals[METRIC_COUNT] = {0};
    json_t *line = json_object();
    const char *key;
    json_t *value;
    void *next;
    need(method.log(method.ctx, totals, line));
    json_object_foreach_safe (line, next, key, value) {
        if (strncmp(key, "time/", 5) == 0 || strncmp(key, "rollout/", 8) == 0) {
            (void)json_object_del(line, key);
        }
    }
    char *text = json_dumps(line, JSON_COMPACT);
    json_decref(line);
    return text;
}

/* One pass over the rows that train and one over the others end in the gradient and the log of a
 * pass over all and then one over those that train: for every way to bound a ratio. */
static void late_scores_change_no_bit(void **state)
{
    (void)state;
    static const enum correction_mode MODES[] = {CORRECTION_TOKEN_TRUNCATE, CORRECTION_TOKEN_MASK,
                                                 CORRECTION_SEQUENCE_TRUNCATE,
                                                 CORRECTION_SEQUENCE_MASK};
    for (size_t k = 0; k < sizeof MODES / sizeof MODES[0]; k++) {
        struct bench b[2];
        char *log[2];
        for (int i = 0; i < 2; i++) {
            bench_open(&b[i], true);
            b[i].config.correction.mode = MODES[k];
            b[i].config.correction.clip_max = 1.05;
            prepare(&b[i], 0);
            move_policy(&b[i], 0);
            prepare(&b[i], 1);
            assert_true(live_of(&b[i], 1)->late);
            if (i == 1) {
                score_early(&b[i], 1);
            }
            run_units(&b[i]);
            log[i] = log_of(&b[i]);
        }
        assert_non_null(strstr(log[0], "sampling/importance_sampling_ratio/mean"));
        assert_string_equal(log[0], log[1]);
        assert_memory_equal(b[0].params.grad, b[1].params.grad,
                            (size_t)b[0].params.total * sizeof(float));
        for (int i = 0; i < 2; i++) {
            free(log[i]);
            bench_close(&b[i]);
        }
    }
}

/* What needs the scores before the step, or after it, has them made. */
static void scores_are_late_in_rounds_of_one_step(void **state)
{
    (void)state;
    static const struct {
        int64_t per_device, accumulation, slices, iterations;
        double quantile;
        bool late;
    } CASES[] = {
        {PER_DEVICE, 1, 1, 1, 1, true},      {PER_DEVICE / 2, 2, 2, 1, 1, true},
        {PER_DEVICE / 2, 4, 2, 2, 1, true},  {PER_DEVICE, 2, 1, 1, 1, true},
        {PER_DEVICE / 2, 1, 2, 1, 1, false}, {PER_DEVICE, 1, 1, 2, 1, false},
        {PER_DEVICE, 1, 1, 1, 0.2, false},
    };
    for (size_t k = 0; k < sizeof CASES / sizeof CASES[0]; k++) {
        struct bench b;
        bench_open(&b, true);
        b.config.plan.per_device = CASES[k].per_device;
        b.config.plan.accumulation = CASES[k].accumulation;
        b.config.plan.slices = CASES[k].slices;
        b.config.plan.iterations = CASES[k].iterations;
        b.config.top_entropy_quantile = CASES[k].quantile;
        b.config.max_steps = 8;
        grpo_close(b.g);
        need(grpo_open(&b.g, &b.config, &b.env));
        int64_t seen = 0;
        for (int64_t step = 0; step < 4; step++) {
            prepare(&b, step);
            for (int64_t i = 0; i < b.g->live_count; i++) {
                const struct live_round *live = &b.g->live[i];
                if (live->used == step && live->born < step) {
                    assert_int_equal(live->late, CASES[k].late);
                    seen++;
                }
            }
            move_policy(&b, (int)step);
        }
        assert_true(seen > 0);
        bench_close(&b);
    }
}

static void without_correction_old_is_the_samplers(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b, false);
    prepare(&b, 0);
    move_policy(&b, 0);
    prepare(&b, 1);
    const struct live_round *live = live_of(&b, 1);
    assert_int_equal(live->as_of, 0);
    assert_false(b.g->on_policy);
    assert_null(live->correction);
    assert_null(live->data.row[0].sampling);
    bench_close(&b);
}

/* Rows, rewards and advantages of both are alike. */
static void same_round(const struct live_round *a, const struct live_round *b)
{
    assert_int_equal(a->born, b->born);
    assert_int_equal(a->used, b->used);
    assert_true(a->data.flat == b->data.flat);
    for (int64_t i = 0; i < PER_DEVICE; i++) {
        const struct rollout_row *x = &a->data.row[i];
        const struct rollout_row *y = &b->data.row[i];
        const size_t bytes = (size_t)x->count * sizeof(float);
        assert_int_equal(x->count, y->count);
        assert_memory_equal(x->ids, y->ids, bytes);
        assert_memory_equal(x->logp, y->logp, bytes);
        assert_memory_equal(x->entropy, y->entropy, bytes);
        assert_memory_equal(x->sampling, y->sampling, bytes);
        assert_true(x->advantage == y->advantage && x->rewards[0] == y->rewards[0]);
    }
}

static void a_checkpoint_keeps_the_round_ahead(void **state)
{
    (void)state;
    struct bench whole;
    struct bench resumed;
    bench_open(&whole, true);
    prepare(&whole, 0);
    move_policy(&whole, 0);
    const struct train_method method = grpo_method(whole.g);
    json_t *saved = json_object();
    assert_non_null(method.settle);
    need(method.settle(method.ctx));
    assert_null(live_of(&whole, 1)->pending);
    need(method.save_state(method.ctx, saved));
    prepare(&whole, 1);

    bench_open(&resumed, true);
    memcpy(resumed.params.value, whole.params.value,
           (size_t)whole.params.total * sizeof *whole.params.value);
    const struct train_method again = grpo_method(resumed.g);
    need(again.load_state(again.ctx, saved));
    prepare(&resumed, 1);
    same_round(live_of(&whole, 1), live_of(&resumed, 1));
    assert_true(whole.g->num_tokens == resumed.g->num_tokens);
    json_decref(saved);
    bench_close(&resumed);
    bench_close(&whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rounds_are_drawn_one_ahead),
        cmocka_unit_test(behaviour_is_the_older_policy_exactly),
        cmocka_unit_test(late_scores_change_no_bit),
        cmocka_unit_test(scores_are_late_in_rounds_of_one_step),
        cmocka_unit_test(without_correction_old_is_the_samplers),
        cmocka_unit_test(a_checkpoint_keeps_the_round_ahead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
