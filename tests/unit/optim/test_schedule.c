/* Schedules without golden files: shapes, options that are refused, adaptive state. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "trainer/optim/schedule.h"

static struct schedule_config configure(enum schedule_kind kind, double warmup, const char *kwargs)
{
    struct schedule_config c;
    json_t *json = kwargs ? json_loads(kwargs, 0, NULL) : NULL;
    assert_true(!kwargs || json);
    if (schedule_configure(&c, kind, warmup, 1e-3, json) != STATUS_OK) {
        fail_msg("%s: %s", kwargs ? kwargs : "", status_message());
    }
    json_decref(json);
    return c;
}

/* Starts at 0 with a warm-up, is 1 at its end, never negative or over 1, NaN nowhere. */
static void multipliers_stay_in_range(void **state)
{
    (void)state;
    for (int kind = 0; kind < SCHEDULE_REDUCE_ON_PLATEAU; kind++) {
        const bool least = kind == SCHEDULE_COSINE_WITH_MIN_LR
                           || kind == SCHEDULE_COSINE_WARMUP_WITH_MIN_LR;
        const struct schedule_config c =
            configure((enum schedule_kind)kind, 4,
                      least ? "{\"min_lr_rate\": 0.1}"
                      : kind == SCHEDULE_WARMUP_STABLE_DECAY ? "{\"num_decay_steps\": 5}"
                                                             : NULL);
        for (int64_t total = 1; total <= 20; total++) {
            for (int64_t t = 0; t <= total + 2; t++) {
                const double m = schedule_multiplier(&c, 1e-3, t, total);
                if (!(m >= 0 && m <= 1 + 1e-12)) {
                    fail_msg("%s at %d of %d: %g", schedule_name((enum schedule_kind)kind), (int)t,
                             (int)total, m);
                }
            }
        }
        if (kind != SCHEDULE_CONSTANT && kind != SCHEDULE_COSINE_WARMUP_WITH_MIN_LR) {
            assert_true(schedule_multiplier(&c, 1e-3, 0, 20) == 0);
            assert_true(fabs(schedule_multiplier(&c, 1e-3, 4, 20) - 1) < 1e-12);
        }
    }
}

static void warmups_are_whole_steps(void **state)
{
    (void)state;
    const struct schedule_config some = configure(SCHEDULE_CONSTANT_WITH_WARMUP, 2.9, NULL);
    const struct schedule_config share = configure(SCHEDULE_CONSTANT_WITH_WARMUP, 0.21, NULL);
    assert_true(schedule_multiplier(&some, 1e-3, 1, 9) == 0.5);
    assert_true(schedule_multiplier(&some, 1e-3, 2, 9) == 1);
    assert_true(schedule_multiplier(&share, 1e-3, 2, 10) < 1); /* ceil(2.1) is 3 */
    assert_true(schedule_multiplier(&share, 1e-3, 3, 10) == 1);
}

static void a_rate_of_zero_divides_nothing(void **state)
{
    (void)state;
    const struct schedule_config c =
        configure(SCHEDULE_COSINE_WITH_MIN_LR, 0, "{\"min_lr\": 1e-5}");
    assert_true(schedule_multiplier(&c, 0, 3, 9) == 1);
}

static void wrong_options_are_named(void **state)
{
    (void)state;
    static const struct {
        enum schedule_kind kind;
        const char *kwargs;
        const char *says;
    } CASES[] = {
        {SCHEDULE_COSINE, "{\"num_cycle\": 1}", "cosine has no key 'num_cycle'; it has num_cycles"},
        {SCHEDULE_LINEAR, "{\"power\": 1}", "linear has no key 'power'; it has none"},
        {SCHEDULE_CONSTANT, "{\"x\": 1}", "constant has no key"},
        {SCHEDULE_COSINE, "{\"num_cycles\": \"two\"}", "num_cycles is one number"},
        {SCHEDULE_COSINE, "{\"num_cycles\": -1}", "from 0"},
        {SCHEDULE_COSINE_WITH_MIN_LR, NULL, "needs one of min_lr_rate"},
        {SCHEDULE_COSINE_WITH_MIN_LR, "{\"min_lr\": 1e-5, \"min_lr_rate\": 0.1}", "one of"},
        {SCHEDULE_COSINE_WARMUP_WITH_MIN_LR, "{\"warmup_lr_rate\": 0.1}", "needs one of"},
        {SCHEDULE_WARMUP_STABLE_DECAY, NULL, "needs num_decay_steps"},
        {SCHEDULE_WARMUP_STABLE_DECAY, "{\"num_decay_steps\": 1.5}", "whole number"},
        {SCHEDULE_WARMUP_STABLE_DECAY, "{\"num_decay_steps\": 5, \"decay_type\": \"sqrt\"}",
         "decay_type is one of linear, cosine, 1-sqrt"},
        {SCHEDULE_POLYNOMIAL, "{\"lr_end\": 0.01}", "lr_end 0.01 is not below learning_rate"},
        {SCHEDULE_REDUCE_ON_PLATEAU, "{\"factor\": 1}", "factor"},
        {SCHEDULE_REDUCE_ON_PLATEAU, "{\"mode\": \"best\"}", "mode is one of min, max"},
        {SCHEDULE_REDUCE_ON_PLATEAU, "{\"min_lr\": [1e-5, 1e-6]}", "min_lr is one number"},
        {SCHEDULE_REDUCE_ON_PLATEAU, "{\"window_size\": 3}", "no key 'window_size'"},
        {SCHEDULE_GREEDY, "{\"window_size\": 5000}", "window_size"},
        {SCHEDULE_GREEDY, "{\"min_lr\": 0.5, \"max_lr\": 0.1}", "is over max_lr"},
        {SCHEDULE_GREEDY, "{\"smooth\": 2}", "smooth is one of false, true"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct schedule_config c;
        json_t *json = CASES[i].kwargs ? json_loads(CASES[i].kwargs, 0, NULL) : NULL;
        assert_int_equal(schedule_configure(&c, CASES[i].kind, 0, 1e-3, json), STATUS_RECIPE);
        if (!strstr(status_message(), CASES[i].says)) {
            fail_msg("%s: %s", CASES[i].kwargs ? CASES[i].kwargs : "none", status_message());
        }
        json_decref(json);
    }
    const struct schedule_config given = configure(SCHEDULE_COSINE, 0, "{\"num_cycles\": null}");
    assert_true(given.num_cycles == 0.5); /* None is the default */
}

/* Groups of other rates keep their ratio until one meets the least rate. */
static void groups_fall_together(void **state)
{
    (void)state;
    const struct schedule_config c = configure(
        SCHEDULE_REDUCE_ON_PLATEAU, 0, "{\"patience\": 0, \"factor\": 0.5, \"min_lr\": 1e-4}");
    const double start[SCHEDULE_GROUPS] = {1e-3, 2e-4, 1.6e-2};
    struct schedule_state s;
    schedule_start(&s, &c, start);
    for (int i = 0; i < 4; i++) {
        schedule_observe(&s, &c, 1.0); /* the first one is progress from infinity */
    }
    assert_true(fabs(s.lr[0] - 1.25e-4) < 1e-12 && fabs(s.lr[1] - 1e-4) < 1e-12);
    assert_true(fabs(s.lr[2] - 2e-3) < 1e-12);
    schedule_observe(&s, &c, NAN); /* no number is no progress */
    assert_true(fabs(s.lr[0] - 1e-4) < 1e-12);
}

/* greedy starts over after reset_start reductions at the least rate. */
static void greedy_resets_and_smooths(void **state)
{
    (void)state;
    const struct schedule_config c = configure(
        SCHEDULE_GREEDY, 0,
        "{\"patience\": 0, \"factor\": 0.5, \"min_lr\": 2.5e-4, \"reset_start\": 2, \"smooth\": true, "
        "\"window_size\": 2}");
    const double start[SCHEDULE_GROUPS] = {1e-3, 1e-3, 1e-3};
    struct schedule_state s;
    schedule_start(&s, &c, start);
    schedule_observe(&s, &c, 1.0);
    assert_true(fabs(s.lr[0] - 2e-3) < 1e-12); /* progress: up */
    schedule_observe(&s, &c, 3.0);             /* the mean is 2: down */
    assert_true(fabs(s.lr[0] - 1e-3) < 1e-12 && s.values == 2);
    schedule_observe(&s, &c, 3.0);
    schedule_observe(&s, &c, 3.0);
    assert_true(fabs(s.lr[0] - 2.5e-4) < 1e-12);
    schedule_observe(&s, &c, 3.0);
    assert_true(fabs(s.lr[0] - 1e-3) < 1e-12); /* back at the start */
    assert_true(isinf(s.best) && s.values == 0);
}

static void damaged_state_is_refused(void **state)
{
    (void)state;
    const struct schedule_config c = configure(SCHEDULE_REDUCE_ON_PLATEAU, 0, NULL);
    const double start[SCHEDULE_GROUPS] = {1, 1, 1};
    struct schedule_state s;
    const char *key;
    json_t *value;
    schedule_start(&s, &c, start);
    assert_int_equal(schedule_state_load(&s, NULL), STATUS_INPUT);
    json_t *saved = schedule_state_save(&s);
    json_object_foreach(saved, key, value)
    {
        json_t *broken = json_copy(saved);
        (void)json_object_del(broken, key);
        if (strcmp(key, "sum") != 0) {
            assert_int_equal(schedule_state_load(&s, broken), STATUS_INPUT);
        }
        json_decref(broken);
    }
    (void)json_object_set_new(saved, "lr", json_pack("[f, f, f, f]", 1.0, 1.0, 1.0, 1.0));
    assert_int_equal(schedule_state_load(&s, saved), STATUS_INPUT);
    json_decref(saved);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(multipliers_stay_in_range),
        cmocka_unit_test(warmups_are_whole_steps),
        cmocka_unit_test(a_rate_of_zero_divides_nothing),
        cmocka_unit_test(wrong_options_are_named),
        cmocka_unit_test(groups_fall_together),
        cmocka_unit_test(greedy_resets_and_smooths),
        cmocka_unit_test(damaged_state_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
