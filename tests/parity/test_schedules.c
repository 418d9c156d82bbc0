/* Schedules against Transformers' get_scheduler (golden/optim): by step, warm-up, adaptive ones. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/golden_files.h"
#include "trainer/format/json.h"
#include "trainer/optim/schedule.h"

static const double LIMIT = 1e-12; /* of the base learning rate: both are doubles */

static enum schedule_kind kind_of(const char *name)
{
    for (int k = 0; k < SCHEDULE_KINDS; k++) {
        if (strcmp(schedule_name((enum schedule_kind)k), name) == 0) {
            return (enum schedule_kind)k;
        }
    }
    fail_msg("no schedule '%s'", name);
    return SCHEDULE_LINEAR;
}

static void schedules_follow_transformers(void **state)
{
    (void)state;
    char folder[GOLDEN_PATH];
    size_t i;
    json_t *c;
    double most = 0.0;
    json_t *cases = golden_files_json(golden_files_folder("optim", folder), "schedules.json");
    assert_true(json_array_size(cases) > 0);
    json_array_foreach(cases, i, c)
    {
        struct schedule_config config;
        const json_t *lr = json_object_get(c, "lr");
        const char *name = json_get_string(c, "name", "");
        const double base = json_get_number(c, "base_lr", 0);
        double worst = 0.0;
        golden_files_need(schedule_configure(&config, kind_of(name),
                                             json_get_number(c, "warmup_steps", 0), base,
                                             json_object_get(c, "kwargs")),
                          name);
        for (size_t t = 0; t < json_array_size(lr); t++) {
            const double mine = schedule_multiplier(&config, base, (int64_t)t,
                                                    json_get_int(c, "total_steps", 0));
            worst = fmax(worst, fabs(mine - json_number_value(json_array_get(lr, t)) / base));
        }
        if (!(worst <= LIMIT)) {
            fail_msg("%s, case %zu: off by %g", name, i, worst);
        }
        most = fmax(most, worst);
    }
    print_message("  %zu schedules, worst %.1e\n", json_array_size(cases), most);
    json_decref(cases);
}

/* The warm-up ends at the first step with the full rate. */
static void warmup_lengths_follow_transformers(void **state)
{
    (void)state;
    char folder[GOLDEN_PATH];
    size_t i;
    json_t *c;
    json_t *cases = golden_files_json(golden_files_folder("optim", folder), "warmup_steps.json");
    assert_true(json_array_size(cases) > 0);
    json_array_foreach(cases, i, c)
    {
        struct schedule_config config;
        int64_t t = 0;
        golden_files_need(schedule_configure(&config, SCHEDULE_CONSTANT_WITH_WARMUP,
                                             json_get_number(c, "warmup_steps", 0), 1, NULL),
                          "warm-up");
        while (t < 1000 && schedule_multiplier(&config, 1, t, json_get_int(c, "total", 0)) < 1.0) {
            t++;
        }
        assert_int_equal(t, json_get_int(c, "resolved", -1));
    }
    json_decref(cases);
}

/* Every observation; the state goes through JSON in the middle and comes back the same. */
static void adaptive_schedules_follow_torch(void **state)
{
    (void)state;
    char folder[GOLDEN_PATH];
    size_t i;
    json_t *c;
    json_t *cases = golden_files_json(golden_files_folder("optim", folder), "plateau.json");
    assert_true(json_array_size(cases) > 0);
    json_array_foreach(cases, i, c)
    {
        struct schedule_config config;
        struct schedule_state s;
        const double start[SCHEDULE_GROUPS] = {1e-3, 1e-3, 1e-3};
        const json_t *metric = json_object_get(c, "metric");
        const json_t *lr = json_object_get(c, "lr_after");
        const char *name = json_get_string(c, "name", "");
        int changes = 0;
        golden_files_need(schedule_configure(&config, kind_of(name), 0, start[0],
                                             json_object_get(c, "kwargs")),
                          name);
        assert_true(schedule_is_adaptive(&config));
        schedule_start(&s, &config, start);
        for (size_t t = 0; t < json_array_size(metric); t++) {
            const double before = s.lr[0];
            json_t *saved = schedule_state_save(&s);
            schedule_start(&s, &config, start);
            golden_files_need(schedule_state_load(&s, saved), "state");
            json_decref(saved);
            schedule_observe(&s, &config, json_number_value(json_array_get(metric, t)));
            changes += s.lr[0] != before;
            const double want = json_number_value(json_array_get(lr, t));
            if (!(fabs(s.lr[0] - want) <= LIMIT * start[0])) {
                fail_msg("%s, case %zu, observation %zu: %.17g, not %.17g", name, i, t, s.lr[0],
                         want);
            }
        }
        print_message("  %s: %d changes\n", name, changes);
    }
    json_decref(cases);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(schedules_follow_transformers),
        cmocka_unit_test(warmup_lengths_follow_transformers),
        cmocka_unit_test(adaptive_schedules_follow_torch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
