/*
 * Reward models without golden data: the loss's slopes, rows to sequences, gradients of adapter and
 * head as derivatives, extremes over micro-batches, evaluation against training, the folder. The
 * tokenizer is tests/data/tokenizer/byte_level: <s> 2, <|user|> 1, <|end|> 0 (its eos), "hello" 38,
 * " world" 43.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "adapters/adapter.h"
#include "rl/reward_model.h"
#include "tests/support/model_files.h"
#include "tests/support/tiny_model.h"
#include "trainer/format/json.h"

static void slopes_are_derivatives(void **state)
{
    (void)state;
    static const double CASES[][4] = {
        {0.3, -0.2, 0, 0}, {-4, 9, 0.5, 0.1}, {50, -700, 1, 0}, {-700, 50, -1, 0.01}};
    const double h = 1e-6;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        const double *c = CASES[i];
        double slope[2];
        double unused[2];
        const double at = reward_pair_loss(c[0], c[1], c[2], c[3], slope);
        assert_true(isfinite(at) && at >= 0);
        for (int k = 0; k < 2; k++) {
            const double up = reward_pair_loss(c[0] + (k ? 0 : h), c[1] + (k ? h : 0), c[2], c[3],
                                               unused);
            const double down = reward_pair_loss(c[0] - (k ? 0 : h), c[1] - (k ? h : 0), c[2],
                                                 c[3], unused);
            assert_true(fabs((up - down) / (2 * h) - slope[k]) < 1e-4);
        }
    }
    double slope[2];
    assert_true(fabs(reward_pair_loss(1, 1, 0, 0, slope) - log(2)) < 1e-12);
}

#define USER(text) "[{\"role\":\"user\",\"content\":\"" text "\"}]"

static const struct {
    const char *row;
    int64_t max_length;
    const char *want; /* "2 38 | 2 43": what is read of both sides; "" : left out */
    double margin;
} ROWS[] = {
    /* the tokenizer pads with its end token, so a score stands before it */
    {"{\"chosen\":\"hello world\",\"rejected\":\"hello\"}", 0, "2 38 43 | 2 38", 0},
    {"{\"prompt\":\"hello\",\"chosen\":\" world\",\"rejected\":\"\",\"margin\":0.5}", 0,
     "2 38 43 | 2 38", 0.5},
    {"{\"prompt\":" USER("hello") ",\"chosen\":" USER(" world") ",\"rejected\":" USER("hello") "}",
     0, "1 38 0 1 43 | 1 38 0 1 38", 0},
    {"{\"chosen\":" USER("hello") ",\"rejected\":" USER(" world") ",\"margin\":null}", 0,
     "1 38 | 1 43", 0},
    {"{\"chosen\":\"hello world\",\"rejected\":\"hello\"}", 4, "2 38 43 | 2 38", 0},
    {"{\"chosen\":\"hello world\",\"rejected\":\"hello\"}", 3, "", 0},
};

static const char *const BAD[] = {
    "{\"chosen\":\"a\"}",
    "{\"chosen\":\"a\",\"rejected\":[]}",
    "{\"prompt\":\"p\",\"chosen\":[],\"rejected\":[]}",
    "{\"prompt\":[],\"chosen\":\"a\",\"rejected\":\"b\"}",
    "{\"chosen\":\"a\",\"rejected\":\"b\",\"margin\":\"big\"}",
    "{\"chosen\":1,\"rejected\":2}",
    "{\"chosen\":[],\"rejected\":[]}",
};

static void rows_become_sequences(void **state)
{
    (void)state;
    static const char TEMPLATE[] =
        "{%- for m in messages -%}{{ '<|user|>' + m.content + '<|end|>' }}"
        "{%- endfor -%}";
    char folder[512];
    struct tokenizer *tokenizer;
    struct chat_template *chat;
    const char *source = getenv("GRAFT_SOURCE");
    (void)snprintf(folder, sizeof folder, "%s/tests/data/tokenizer/byte_level",
                   source ? source : ".");
    assert_int_equal(tokenizer_open_folder(&tokenizer, folder), STATUS_OK);
    assert_int_equal(chat_template_open(&chat, TEMPLATE), STATUS_OK);
    const struct prompt_format format = {.tokenizer = tokenizer, .chat = chat};
    for (size_t i = 0; i < sizeof ROWS / sizeof *ROWS; i++) {
        struct ranked_set set = {0};
        char got[256] = "";
        size_t used = 0;
        json_t *row = json_loads(ROWS[i].row, 0, NULL);
        tiny_need(ranked_add(&format, ROWS[i].max_length, row, "row", &set));
        for (int64_t k = 0; k < 2 * set.count; k++) {
            const struct scored_text *t = &set.items[0].side[k];
            used += (size_t)snprintf(got + used, sizeof got - used, k ? " |" : "");
            for (int64_t n = 0; n + 1 < t->count; n++) {
                used += (size_t)snprintf(got + used, sizeof got - used, "%s%d", n || k ? " " : "",
                                         t->ids[n]);
                assert_int_equal(t->loss[n], 0);
            }
            assert_int_equal(t->loss[t->count - 1], 1);
        }
        if (strcmp(got, ROWS[i].want) != 0 || set.dropped != (*ROWS[i].want == '\0')) {
            fail_msg("row %zu: '%s', expected '%s'", i, got, ROWS[i].want);
        }
        assert_true(set.count == 0 || set.items[0].margin == ROWS[i].margin);
        json_decref(row);
        ranked_set_close(&set);
    }
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        struct ranked_set set = {0};
        json_t *row = json_loads(BAD[i], 0, NULL);
        assert_int_equal(ranked_add(&format, 0, row, "data: row 9", &set), STATUS_INPUT);
        assert_non_null(strstr(status_message(), "data: row 9"));
        status_clear();
        json_decref(row);
        ranked_set_close(&set);
    }
    chat_template_close(chat);
    tokenizer_close(tokenizer);
}

enum { PAIRS = 5, TOKENS = 8 };

struct bench {
    struct tiny t;
    struct ops_context ops;
    struct comm comm;
    struct adapter *adapter;
    struct ranked_set set;
    struct reward_model_config config;
    struct reward_model_env env;
    struct reward_model *m;
    struct train_method method;
};

static void attach(struct bench *b)
{
    static char *targets[] = {"q_proj", "down_proj"};
    const struct adapter_config config = {.family = "lora", .r = 3, .lora_alpha = 6,
                                          .init = ADAPTER_INIT_RANDOM_B, .score = true,
                                          .target_modules = targets, .target_count = 2};
    tiny_need(adapter_attach(&b->adapter, b->t.m, &b->t.params, &config));
    tiny_need(param_set_seal(&b->t.params, NULL));
    adapter_initialize(b->adapter, 3);
}

static void bench_open(struct bench *b, int64_t micro_batch_tokens)
{
    const struct ops_options options = {.threads = 1, .compute = COMPUTE_F32};
    *b = (struct bench){0};
    tiny_open(&b->t, TINY_CONFIGS);
    tiny_need(ops_context_open(&b->ops, &options));
    tiny_need(comm_open(&b->comm));
    attach(b);
    b->set.items = calloc(PAIRS, sizeof *b->set.items);
    b->set.count = PAIRS;
    assert_non_null(b->set.items);
    for (int i = 0; i < PAIRS; i++) {
        int32_t ids[2][TOKENS];
        tiny_ids(&b->t, ids[0], TOKENS);
        tiny_ids(&b->t, ids[1], TOKENS);
        memcpy(ids[1], ids[0], 3 * sizeof **ids); /* a common beginning */
        b->set.items[i].margin = 0.1 * i;
        for (int k = 0; k < 2; k++) {
            tiny_need(scored_text_make(ids[k], TOKENS - (i + k) % 3, -1,
                                       &b->set.items[i].side[k]));
        }
    }
    b->config = (struct reward_model_config){
        .plan = {.rows = PAIRS, .world = 1, .per_device = 2, .accumulation = 3},
        .center = 0.05,
        .micro_batch_tokens = micro_batch_tokens,
        .eval_batch = 2,
    };
    b->env = (struct reward_model_env){b->t.m, &b->ops, &b->comm, &b->set, &b->set};
    tiny_need(reward_model_open(&b->m, &b->config, &b->env));
    b->method = reward_model_method(b->m);
}

static void bench_close(struct bench *b)
{
    reward_model_close(b->m);
    ranked_set_close(&b->set);
    adapter_close(b->adapter);
    comm_close(&b->comm);
    ops_context_close(&b->ops);
    tiny_close(&b->t);
}

/* Totals of the step with its gradient. */
static void run_step(struct bench *b, double *totals)
{
    static const int64_t ALL[PAIRS] = {0, 1, 2, 3, 4};
    static double sums[PAIRS * TRAIN_MAX_METRICS];
    struct train_units units;
    tiny_need(b->method.prepare(b->method.ctx, 0, &units));
    assert_int_equal(units.count, PAIRS);
    memset(b->t.params.grad, 0, (size_t)b->t.params.total * sizeof(float));
    tiny_need(b->method.run(b->method.ctx, ALL, PAIRS, sums));
    b->method.combine(b->method.ctx, sums, PAIRS);
    memset(totals, 0, TRAIN_MAX_METRICS * sizeof *totals);
    for (int i = 0; i < PAIRS * b->method.metrics; i++) {
        totals[i % b->method.metrics] += sums[i];
    }
}

static void gradients_reach_adapter_and_head(void **state)
{
    (void)state;
    struct bench b;
    double totals[TRAIN_MAX_METRICS];
    bench_open(&b, 1000);
    run_step(&b, totals);
    const struct param_set *params = &b.t.params;
    assert_true(param_set_find(params, "base_model.model.score.weight") >= 0);
    float *start = malloc((size_t)params->total * sizeof *start);
    float *grad = malloc((size_t)params->total * sizeof *grad);
    assert_true(start && grad);
    memcpy(start, params->value, (size_t)params->total * sizeof *start);
    memcpy(grad, params->grad, (size_t)params->total * sizeof *grad);
    for (int64_t p = 0; p < params->count; p++) {
        double square = 0.0;
        double loss[2];
        const int64_t at = params->params[p].offset;
        for (int64_t i = 0; i < params->params[p].count; i++) {
            square += (double)grad[at + i] * (double)grad[at + i];
        }
        if (square < 1e-8) {
            continue;
        }
        const double h = 3e-3 / sqrt(square);
        for (int k = 0; k < 2; k++) {
            for (int64_t i = 0; i < params->params[p].count; i++) {
                params->value[at + i] = start[at + i] + (float)(k ? -h : h) * grad[at + i];
            }
            run_step(&b, totals);
            loss[k] = totals[0];
        }
        memcpy(params->value, start, (size_t)params->total * sizeof *start);
        const double slope = (loss[0] - loss[1]) / (2 * h);
        if (fabs(slope - square) > 0.03 * square + 1e-6) {
            fail_msg("%s: derivative %g, gradient squared %g", params->params[p].name, slope,
                     square);
        }
    }
    free(start);
    free(grad);
    bench_close(&b);
}

static void micro_batches_do_not_show(void **state)
{
    (void)state;
    struct bench whole;
    struct bench single;
    double totals[2][TRAIN_MAX_METRICS];
    bench_open(&whole, 1000);
    bench_open(&single, 1);
    run_step(&whole, totals[0]);
    run_step(&single, totals[1]);
    tiny_same_bits("gradient", single.t.params.grad, whole.t.params.grad, whole.t.params.total);
    assert_memory_equal(totals[0], totals[1], sizeof *totals);
    bench_close(&whole);
    bench_close(&single);
}

static void evaluation_says_what_training_says(void **state)
{
    (void)state;
    static const char *const KEYS[] = {"min_reward", "mean_reward", "max_reward", "accuracy",
                                       "margin"};
    struct bench b;
    double totals[TRAIN_MAX_METRICS];
    json_t *line = json_object();
    bench_open(&b, 1000);
    run_step(&b, totals);
    tiny_need(b.method.log(b.method.ctx, totals, line));
    tiny_need(b.method.evaluate(b.method.ctx, 1, line));
    for (size_t i = 0; i < sizeof KEYS / sizeof *KEYS; i++) {
        char name[64];
        (void)snprintf(name, sizeof name, "eval_%s", KEYS[i]);
        const double a = json_get_number(line, KEYS[i], NAN);
        assert_true(fabs(a - json_get_number(line, name, NAN)) < 1e-6);
    }
    const double low = json_get_number(line, "min_reward", NAN);
    assert_true(low < json_get_number(line, "mean_reward", NAN));
    assert_true(json_get_number(line, "mean_reward", NAN)
                < json_get_number(line, "max_reward", NAN));
    json_decref(line);
    bench_close(&b);
}

static void folders_hold_the_head(void **state)
{
    (void)state;
    struct bench b;
    struct model_files files;
    struct adapter_config config;
    bench_open(&b, 1000);
    model_files_make(&files);
    tiny_need(adapter_save(b.adapter, files.folder));
    const size_t bytes = (size_t)b.t.params.total * sizeof(float);
    float *kept = malloc(bytes);
    assert_non_null(kept);
    memcpy(kept, b.t.params.value, bytes);
    memset(b.t.params.value, 0, bytes);
    tiny_need(adapter_read_config(&config, files.folder));
    assert_true(config.score);
    adapter_config_close(&config);
    tiny_need(adapter_load(b.adapter, files.folder));
    tiny_same_bits("folder", b.t.params.value, kept, b.t.params.total);
    struct adapter *second;
    struct param_set other;
    static char *targets[] = {"q_proj"};
    const struct adapter_config again = {.family = "lora", .r = 1, .lora_alpha = 1, .score = true,
                                         .target_modules = targets, .target_count = 1};
    param_set_open(&other);
    assert_int_equal(adapter_attach(&second, b.t.m, &other, &again), STATUS_RECIPE);
    status_clear();
    param_set_close(&other);
    assert_true(b.t.m->score.in > 0); /* the first one's head stays */
    free(kept);
    model_files_remove(&files);
    bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slopes_are_derivatives),
        cmocka_unit_test(rows_become_sequences),
        cmocka_unit_test(gradients_reach_adapter_and_head),
        cmocka_unit_test(micro_batches_do_not_show),
        cmocka_unit_test(evaluation_says_what_training_says),
        cmocka_unit_test(folders_hold_the_head),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
