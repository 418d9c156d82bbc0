/*
 * Distillation without golden data: divergences are zero between equals and non-negative, gradients
 * are their derivatives for every kind of decoder, micro-batches show in no bit, rows take their
 * forms, what cannot be trained on is refused. The tokenizer is tests/data/tokenizer/byte_level:
 * <s> 2, <|user|> 1, <|end|> 0 (its eos), "hello" 38, " world" 43.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rl/distill.h"
#include "tests/support/tiny_model.h"
#include "trainer/format/json.h"

enum { ROWS = 4, TOKENS = 7 };

struct bench {
    struct tiny student;
    struct tiny teacher;
    struct ops_context ops;
    struct comm comm;
    int32_t ids[ROWS][TOKENS];
    struct distill_row rows[ROWS];
    struct distill_set set;
    struct distill_config config;
    struct distill_env env;
    struct distiller *d;
    struct train_method method;
};

static void bench_open(struct bench *b, const struct tiny_config *c, double beta)
{
    const struct ops_options options = {.threads = 1, .compute = COMPUTE_F32};
    *b = (struct bench){0};
    tiny_open(&b->student, c);
    tiny_attach_lora(&b->student, 0);
    tiny_open(&b->teacher, c);
    tiny_need(ops_context_open(&b->ops, &options));
    tiny_need(comm_open(&b->comm));
    for (int i = 0; i < ROWS; i++) {
        tiny_ids(&b->student, b->ids[i], TOKENS);
        b->rows[i] = (struct distill_row){b->ids[i], 2, TOKENS - 2 - i % 2};
    }
    b->set = (struct distill_set){.items = b->rows, .count = ROWS};
    b->config = (struct distill_config){
        .plan = {.rows = ROWS, .world = 1, .per_device = 2, .accumulation = 2},
        .beta = beta,
        .lmbda = -1, /* never the student's */
        .micro_batch_tokens = 1000,
        .eval_batch = 2,
    };
    b->env = (struct distill_env){b->student.m, b->teacher.m, &b->ops, &b->comm, &b->set, &b->set};
}

static void begin(struct bench *b)
{
    tiny_need(distill_open(&b->d, &b->config, &b->env));
    b->method = distill_method(b->d);
}

static void bench_close(struct bench *b)
{
    distill_close(b->d);
    comm_close(&b->comm);
    ops_context_close(&b->ops);
    tiny_close(&b->student);
    tiny_close(&b->teacher);
}

/* Loss of step 0 with its gradient in student.params.grad. */
static double run_step(struct bench *b)
{
    static const int64_t ALL[ROWS] = {0, 1, 2, 3};
    double sums[ROWS * TRAIN_MAX_METRICS];
    struct train_units units;
    double loss = 0.0;
    tiny_need(b->method.prepare(b->method.ctx, 0, &units));
    assert_int_equal(units.count, ROWS);
    memset(b->student.params.grad, 0, (size_t)b->student.params.total * sizeof(float));
    tiny_need(b->method.run(b->method.ctx, ALL, ROWS, sums));
    for (int i = 0; i < ROWS; i++) {
        loss += sums[i * b->method.metrics];
    }
    return loss;
}

static void check_gradient(const struct tiny_config *c, double beta)
{
    struct bench b;
    double loss[2];
    double square = 0.0;
    bench_open(&b, c, beta);
    begin(&b);
    assert_true(run_step(&b) > 0);
    const int64_t n = b.student.params.total;
    float *start = malloc((size_t)n * sizeof *start);
    float *grad = malloc((size_t)n * sizeof *grad);
    assert_true(start && grad);
    memcpy(start, b.student.params.value, (size_t)n * sizeof *start);
    memcpy(grad, b.student.params.grad, (size_t)n * sizeof *grad);
    for (int64_t i = 0; i < n; i++) {
        square += (double)grad[i] * (double)grad[i];
    }
    const double h = 5e-3 / sqrt(square);
    for (int k = 0; k < 2; k++) {
        for (int64_t i = 0; i < n; i++) {
            b.student.params.value[i] = start[i] + (float)(k ? -h : h) * grad[i];
        }
        loss[k] = run_step(&b);
    }
    const double slope = (loss[0] - loss[1]) / (2.0 * h);
    if (!(fabs(slope - square) <= 0.03 * square)) {
        fail_msg("%s, beta %g: derivative %g, gradient squared %g", c->name, beta, slope, square);
    }
    free(start);
    free(grad);
    bench_close(&b);
}

static void gradients_are_derivatives(void **state)
{
    (void)state;
    static const double BETAS[] = {0.0, 0.3, 1.0};
    for (const struct tiny_config *c = TINY_CONFIGS; c->name; c++) {
        for (size_t i = 0; i < sizeof BETAS / sizeof *BETAS; i++) {
            check_gradient(c, BETAS[i]);
        }
    }
}

static void equals_do_not_differ(void **state)
{
    (void)state;
    static const double BETAS[] = {0.0, 0.5, 1.0};
    for (size_t i = 0; i < sizeof BETAS / sizeof *BETAS; i++) {
        struct bench b;
        bench_open(&b, TINY_CONFIGS, BETAS[i]);
        b.env.teacher = b.student.m;
        /* The teacher runs without hooks: B = 0 makes the student equal to it. */
        memset(b.student.params.value, 0, (size_t)b.student.params.total * sizeof(float));
        begin(&b);
        assert_true(fabs(run_step(&b)) < 1e-9);
        bench_close(&b);
    }
}

static void micro_batches_do_not_show(void **state)
{
    (void)state;
    struct bench whole;
    struct bench single;
    json_t *line = json_object();
    bench_open(&whole, TINY_CONFIGS, 0.4);
    bench_open(&single, TINY_CONFIGS, 0.4);
    single.config.micro_batch_tokens = 1;
    single.config.recompute = INT64_MAX;
    begin(&whole);
    begin(&single);
    const double loss = run_step(&whole);
    assert_true(loss == run_step(&single));
    tiny_same_bits("gradient", single.student.params.grad, whole.student.params.grad,
                   whole.student.params.total);
    tiny_need(whole.method.evaluate(whole.method.ctx, 1, line));
    /* Batches of two rows with as many labels each: their mean is the step's. */
    assert_true(fabs(json_get_number(line, "eval_loss", NAN) - loss) < 1e-6);
    json_decref(line);
    bench_close(&whole);
    bench_close(&single);
}

static void settings_are_refused(void **state)
{
    (void)state;
    struct bench b;
    const struct distill_set none = {.dropped = 2};
    bench_open(&b, TINY_CONFIGS, 0.5);
    b.env.rows = &none;
    assert_int_equal(distill_open(&b.d, &b.config, &b.env), STATUS_RECIPE);
    assert_non_null(strstr(status_message(), "2 dropped"));
    status_clear();
    b.env.rows = &b.set;
    b.rows[1].count = 0;
    assert_int_equal(distill_open(&b.d, &b.config, &b.env), STATUS_RECIPE);
    assert_non_null(strstr(status_message(), "seq_kd"));
    status_clear();
    b.config.seq_kd = true;
    begin(&b);
    distill_close(b.d);
    b.teacher.m->config.vocab--;
    assert_int_equal(distill_open(&b.d, &b.config, &b.env), STATUS_RECIPE);
    assert_non_null(strstr(status_message(), "vocabulary"));
    status_clear();
    b.teacher.m->config.vocab++;
    distill_close(NULL);
    bench_close(&b);
}

#define USER(text) "{\"role\":\"user\",\"content\":\"" text "\"}"

static const struct {
    const char *row;
    int64_t max_length;
    const char *want; /* "2 38 | 43 0"; "": dropped; NULL: refused */
} ROW_CASES[] = {
    {"{\"messages\":[" USER("hello") "," USER(" world") "]}", 0, "1 38 0 1 | 43 0"},
    {"{\"prompt\":\"hello\",\"completion\":\" world\"}", 0, "2 38 | 43 0"},
    {"{\"prompt\":[" USER("hello") "]}", 0, "1 38 0 1 |"},
    {"{\"prompt\":\"hello\"}", 0, "2 38 |"},
    {"{\"prompt\":\"hello\",\"completion\":\" world\"}", 3, "38 | 43 0"}, /* the end stays */
    {"{\"prompt\":\"hello\",\"completion\":\" world\"}", 2, ""},
    {"{\"text\":\"hello\"}", 0, NULL},
    {"{\"messages\":[" USER("hello") "]}", 0, NULL},
    {"{\"prompt\":\"hello\",\"completion\":[]}", 0, NULL},
};

static void rows_take_their_forms(void **state)
{
    (void)state;
    static const char TEMPLATE[] =
        "{%- for m in messages -%}{{ '<|user|>' + m.content + '<|end|>' }}"
        "{%- endfor -%}{%- if add_generation_prompt -%}{{ '<|user|>' }}"
        "{%- endif -%}";
    char folder[512];
    struct tokenizer *tokenizer;
    struct chat_template *chat;
    const char *source = getenv("GRAFT_SOURCE");
    (void)snprintf(folder, sizeof folder, "%s/tests/data/tokenizer/byte_level",
                   source ? source : ".");
    tiny_need(tokenizer_open_folder(&tokenizer, folder));
    tiny_need(chat_template_open(&chat, TEMPLATE));
    const struct prompt_format format = {.tokenizer = tokenizer, .chat = chat};
    for (size_t i = 0; i < sizeof ROW_CASES / sizeof *ROW_CASES; i++) {
        struct distill_set set = {0};
        char got[256] = "";
        size_t used = 0;
        json_t *row = json_loads(ROW_CASES[i].row, 0, NULL);
        const enum status status =
            distill_add(&format, ROW_CASES[i].max_length, row, "row 4", &set);
        if (!ROW_CASES[i].want) {
            assert_int_equal(status, STATUS_INPUT);
            assert_non_null(strstr(status_message(), "row 4"));
            status_clear();
        } else {
            tiny_need(status);
            for (int64_t t = 0; set.count && t <= set.items->prompt_count + set.items->count; t++) {
                const bool bar = t == set.items->prompt_count;
                used += (size_t)snprintf(got + used, sizeof got - used, bar ? "%s|" : "",
                                         t ? " " : "");
                if (t < set.items->prompt_count + set.items->count) {
                    used += (size_t)snprintf(got + used, sizeof got - used, "%s%d", t ? " " : "",
                                             set.items->ids[t]);
                }
            }
            if (strcmp(got, ROW_CASES[i].want) != 0) {
                fail_msg("row %zu: '%s', expected '%s'", i, got, ROW_CASES[i].want);
            }
        }
        json_decref(row);
        distill_set_close(&set);
    }
    chat_template_close(chat);
    tokenizer_close(tokenizer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_are_derivatives),
        cmocka_unit_test(equals_do_not_differ),
        cmocka_unit_test(micro_batches_do_not_show),
        cmocka_unit_test(settings_are_refused),
        cmocka_unit_test(rows_take_their_forms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
