/* The largest micro-batch of a run: by hand on small plans, and as a bound on long ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "trainer/step_size.h"

static const struct sft_plan PLAN = {.rows = 4, .world = 1, .per_device = 4, .accumulation = 1};

static struct step_size find(const struct sft_plan *plan, const int64_t *tokens,
                             const int64_t *outputs, int shards, int64_t budget, int64_t steps)
{
    const struct step_rows rows = {
        .plan = plan, .tokens = tokens, .outputs = outputs, .shards = shards, .steps = steps};
    struct step_size size;
    assert_int_equal(step_size_find(&rows, budget, &size), STATUS_OK);
    return size;
}

static void a_shard_packs_its_rows(void **state)
{
    (void)state;
    const int64_t tokens[] = {10, 20, 30, 40};
    struct step_size s = find(&PLAN, tokens, tokens, 1, 100, 1);
    assert_int_equal(s.tokens, 100);
    assert_int_equal(s.longest, 40);
    s = find(&PLAN, tokens, tokens, 1, 60, 1); /* 10 20 30 | 40 */
    assert_int_equal(s.tokens, 60);
    s = find(&PLAN, tokens, tokens, 1, 59, 1); /* 10 20 | 30 | 40 */
    assert_int_equal(s.tokens, 40);
    s = find(&PLAN, tokens, tokens, 1, 1, 1); /* every row for itself, beyond the budget */
    assert_int_equal(s.tokens, 40);
}

static void shards_split_a_step(void **state)
{
    (void)state;
    const int64_t tokens[] = {10, 20, 30, 40};
    struct step_size s = find(&PLAN, tokens, tokens, 2, 1000, 1); /* 40 + 10 | 30 + 20 */
    assert_int_equal(s.tokens, 50);
    s = find(&PLAN, tokens, tokens, 8, 1000, 1);
    assert_int_equal(s.tokens, 40);
}

/* The budget counts every token, memory what is packed once. */
static void shared_tokens_are_held_once(void **state)
{
    (void)state;
    const int64_t tokens[] = {10, 20, 30, 40};
    const int64_t packed[] = {7, 12, 25, 33};
    const struct step_rows rows = {.plan = &PLAN, .tokens = tokens, .packed = packed,
                                   .outputs = tokens, .shards = 1, .steps = 1};
    struct step_size s;
    assert_int_equal(step_size_find(&rows, 60, &s), STATUS_OK); /* 10 20 30 | 40 */
    assert_int_equal(s.tokens, 44);
    assert_int_equal(step_size_find(&rows, 1, &s), STATUS_OK);
    assert_int_equal(s.tokens, 33);
    assert_int_equal(s.longest, 40);
}

static void batches_without_labels_are_left_out(void **state)
{
    (void)state;
    const int64_t tokens[] = {10, 20, 30, 40};
    const int64_t outputs[] = {10, 5, 7, 0};
    const struct step_size s = find(&PLAN, tokens, outputs, 8, 1000, 1);
    assert_int_equal(s.tokens, 30);
    assert_int_equal(s.outputs, 10);
}

/* No rows, or none after drop_last: nothing is held, and the method's own words refuse the run. */
static void no_step_holds_nothing(void **state)
{
    (void)state;
    const int64_t tokens[] = {10, 20, 30, 40};
    struct sft_plan plan = PLAN;
    plan.rows = 0;
    struct step_size s = find(&plan, tokens, tokens, 2, 100, 3);
    assert_true(s.tokens == 0 && s.longest == 0);
    plan = PLAN;
    plan.per_device = 5;
    plan.drop_last = true;
    s = find(&plan, tokens, tokens, 2, 100, 3);
    assert_true(s.tokens == 0 && s.longest == 40);
}

/* More steps than are gone through: nothing a run could do exceeds the answer. */
static void long_runs_are_bounded(void **state)
{
    (void)state;
    enum { ROWS = 5000 };
    static int64_t tokens[ROWS];
    for (int64_t i = 0; i < ROWS; i++) {
        tokens[i] = 1 + i * 7919 % 97;
    }
    const struct sft_plan plan = {
        .rows = ROWS, .world = 1, .per_device = 16, .accumulation = 1, .shuffle = true};
    const struct step_size some = find(&plan, tokens, tokens, 1, 200, 10);
    const struct step_size all = find(&plan, tokens, tokens, 1, 200, 1 << 20);
    assert_true(some.tokens > 100 && some.tokens <= 200);
    assert_int_equal(all.tokens, 200);
    assert_int_equal(all.longest, 97);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_shard_packs_its_rows),
        cmocka_unit_test(shards_split_a_step),
        cmocka_unit_test(shared_tokens_are_held_once),
        cmocka_unit_test(batches_without_labels_are_left_out),
        cmocka_unit_test(no_step_holds_nothing),
        cmocka_unit_test(long_runs_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
