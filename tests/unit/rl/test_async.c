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

#include "tests/support/grpo_bench.h"

enum { STEPS = 3 };

static void bench_open(struct grpo_bench *b, bool corrects)
{
    const struct correction_config correction = {
        .on = corrects, .mode = CORRECTION_SEQUENCE_MASK, .clip_min = NAN, .clip_max = 3.0};
    grpo_bench_open(b, STEPS, 1, &correction);
}

/* What an optimizer step would do: every number moves. */
static void move_policy(struct grpo_bench *b, int step)
{
    for (int64_t i = 0; i < b->params.total; i++) {
        b->params.value[i] *= 1.0f + 0.05f * (float)(step + 1);
    }
}

static struct live_round *live_of(const struct grpo_bench *b, int64_t round)
{
    for (int64_t i = 0; i < b->g->live_count; i++) {
        if (b->g->live[i].index == round) {
            return &b->g->live[i];
        }
    }
    return NULL;
}

static void rounds_are_drawn_one_ahead(void **state)
{
    (void)state;
    struct grpo_bench b;
    bench_open(&b, true);
    for (int64_t step = 0; step < STEPS; step++) {
        grpo_bench_prepare(&b, step);
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
    grpo_bench_close(&b);
}

/* Log-probs of a round under the weights at hand. */
static void score_again(struct grpo_bench *b, int64_t round, float *out)
{
    struct live_round *live = live_of(b, round);
    grpo_bench_need(grpo_score_policy(b->g, live - b->g->live));
    for (int64_t i = 0; i < GRPO_BENCH_ROWS; i++) {
        memcpy(out, live->data.row[i].logp, (size_t)live->data.row[i].count * sizeof *out);
        out += live->data.row[i].count;
    }
}

static void behaviour_is_the_older_policy_exactly(void **state)
{
    (void)state;
    struct grpo_bench b;
    float again[GRPO_BENCH_ROWS * 8];
    bench_open(&b, true);
    float *old = malloc((size_t)b.params.total * sizeof *old);
    assert_non_null(old);
    grpo_bench_prepare(&b, 0);
    memcpy(old, b.params.value, (size_t)b.params.total * sizeof *old);
    move_policy(&b, 0);
    grpo_bench_prepare(&b, 1);
    const struct live_round *live = live_of(&b, 1);
    float now[GRPO_BENCH_ROWS * 8];
    double moved = 0.0;
    assert_true(live->late);
    grpo_bench_run(&b);
    for (int64_t i = 0; i < GRPO_BENCH_ROWS; i++) {
        assert_non_null(live->data.row[i].sampling);
    }
    score_again(&b, 1, now);
    for (int64_t i = 0; i < GRPO_BENCH_ROWS; i++) {
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
    assert_true(b.g->row_count < GRPO_BENCH_ROWS && b.g->row_count > 0); /* rows of both kinds */
    memcpy(b.params.value, old, (size_t)b.params.total * sizeof *old);
    score_again(&b, 1, again);
    const float *at = again;
    for (int64_t i = 0; i < GRPO_BENCH_ROWS; at += live->data.row[i].count, i++) {
        assert_memory_equal(at, live->data.row[i].sampling,
                            (size_t)live->data.row[i].count * sizeof *at);
    }
    free(old);
    grpo_bench_close(&b);
}

/* Takes a late round back: everything is scored before the step, as where a round lasts for
 * several. */
static void score_early(struct grpo_bench *b, int64_t round)
{
    struct live_round *live = live_of(b, round);
    free(live->correction);
    free(live->token);
    free(live->sampling);
    live->late = false;
    grpo_bench_need(grpo_score_policy(b->g, live - b->g->live));
    grpo_bench_need(grpo_correct(b->g, live));
    grpo_bench_need(grpo_step_build(b->g, b->g->first));
}

/* The log line of the step, without times. */
static char *log_of(struct grpo_bench *b)
{
    const struct train_method method = grpo_method(b->g);
    const double totals[METRIC_COUNT] = {0};
    json_t *line = json_object();
    const char *key;
    json_t *value;
    void *next;
    grpo_bench_need(method.log(method.ctx, totals, line));
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
        struct grpo_bench b[2];
        char *log[2];
        for (int i = 0; i < 2; i++) {
            bench_open(&b[i], true);
            b[i].config.correction.mode = MODES[k];
            b[i].config.correction.clip_max = 1.05;
            grpo_bench_prepare(&b[i], 0);
            move_policy(&b[i], 0);
            grpo_bench_prepare(&b[i], 1);
            assert_true(live_of(&b[i], 1)->late);
            if (i == 1) {
                score_early(&b[i], 1);
            }
            grpo_bench_run(&b[i]);
            log[i] = log_of(&b[i]);
        }
        assert_non_null(strstr(log[0], "sampling/importance_sampling_ratio/mean"));
        assert_string_equal(log[0], log[1]);
        assert_memory_equal(b[0].params.grad, b[1].params.grad,
                            (size_t)b[0].params.total * sizeof(float));
        for (int i = 0; i < 2; i++) {
            free(log[i]);
            grpo_bench_close(&b[i]);
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
        {GRPO_BENCH_ROWS, 1, 1, 1, 1, true},      {GRPO_BENCH_ROWS / 2, 2, 2, 1, 1, true},
        {GRPO_BENCH_ROWS / 2, 4, 2, 2, 1, true},  {GRPO_BENCH_ROWS, 2, 1, 1, 1, true},
        {GRPO_BENCH_ROWS / 2, 1, 2, 1, 1, false}, {GRPO_BENCH_ROWS, 1, 1, 2, 1, false},
        {GRPO_BENCH_ROWS, 1, 1, 1, 0.2, false},
    };
    for (size_t k = 0; k < sizeof CASES / sizeof CASES[0]; k++) {
        struct grpo_bench b;
        bench_open(&b, true);
        b.config.plan.per_device = CASES[k].per_device;
        b.config.plan.accumulation = CASES[k].accumulation;
        b.config.plan.slices = CASES[k].slices;
        b.config.plan.iterations = CASES[k].iterations;
        b.config.top_entropy_quantile = CASES[k].quantile;
        b.config.max_steps = 8;
        grpo_close(b.g);
        grpo_bench_need(grpo_open(&b.g, &b.config, &b.env));
        int64_t seen = 0;
        for (int64_t step = 0; step < 4; step++) {
            grpo_bench_prepare(&b, step);
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
        grpo_bench_close(&b);
    }
}

static void without_correction_old_is_the_samplers(void **state)
{
    (void)state;
    struct grpo_bench b;
    bench_open(&b, false);
    grpo_bench_prepare(&b, 0);
    move_policy(&b, 0);
    grpo_bench_prepare(&b, 1);
    const struct live_round *live = live_of(&b, 1);
    assert_int_equal(live->as_of, 0);
    assert_false(b.g->on_policy);
    assert_null(live->correction);
    assert_null(live->data.row[0].sampling);
    grpo_bench_close(&b);
}

/* Rows, rewards and advantages of both are alike. */
static void same_round(const struct live_round *a, const struct live_round *b)
{
    assert_int_equal(a->born, b->born);
    assert_int_equal(a->used, b->used);
    assert_true(a->data.flat == b->data.flat);
    for (int64_t i = 0; i < GRPO_BENCH_ROWS; i++) {
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
    struct grpo_bench whole;
    struct grpo_bench resumed;
    bench_open(&whole, true);
    grpo_bench_prepare(&whole, 0);
    move_policy(&whole, 0);
    const struct train_method method = grpo_method(whole.g);
    json_t *saved = json_object();
    assert_non_null(method.settle);
    grpo_bench_need(method.settle(method.ctx));
    assert_null(live_of(&whole, 1)->pending);
    grpo_bench_need(method.save_state(method.ctx, saved));
    grpo_bench_prepare(&whole, 1);

    bench_open(&resumed, true);
    memcpy(resumed.params.value, whole.params.value,
           (size_t)whole.params.total * sizeof *whole.params.value);
    const struct train_method again = grpo_method(resumed.g);
    grpo_bench_need(again.load_state(again.ctx, saved));
    grpo_bench_prepare(&resumed, 1);
    same_round(live_of(&whole, 1), live_of(&resumed, 1));
    assert_true(whole.g->num_tokens == resumed.g->num_tokens);
    json_decref(saved);
    grpo_bench_close(&resumed);
    grpo_bench_close(&whole);
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
