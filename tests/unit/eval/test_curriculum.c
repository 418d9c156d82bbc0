/* Levels follow the success rate, stay in their range, and travel in checkpoints. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "eval/tasks/curriculum.h"

static struct curriculum two_tasks(void)
{
    return (struct curriculum){
        .config = {.raise = 0.75, .lower = 0.25, .window = 4},
        .tasks = {{.levels = 3}, {.level = 1, .levels = 2}},
        .count = 2,
    };
}

static void feed(struct curriculum *c, int64_t task, double score, int times)
{
    for (int i = 0; i < times; i++) {
        curriculum_observe(c, task, score);
    }
}

static void levels_rise_and_fall(void **state)
{
    (void)state;
    struct curriculum c = two_tasks();
    feed(&c, 0, 1.0, 3);
    assert_int_equal(c.tasks[0].level, 0); /* the window is not full */
    feed(&c, 0, 0.0, 1);
    assert_int_equal(c.tasks[0].level, 1); /* 3 of 4 reach the threshold */
    assert_int_equal(c.tasks[0].answers, 0);
    feed(&c, 0, 0.5, 4);
    assert_int_equal(c.tasks[0].level, 1); /* between the thresholds */
    feed(&c, 0, 1.0, 40);
    assert_int_equal(c.tasks[0].level, 2); /* the highest */
    feed(&c, 0, 0.25, 4);
    assert_int_equal(c.tasks[0].level, 1);
    feed(&c, 0, 0.0, 40);
    assert_int_equal(c.tasks[0].level, 0); /* the lowest */
    assert_int_equal(c.tasks[1].level, 1); /* the other task is its own */
    feed(&c, 1, NAN, 100);
    assert_int_equal(c.tasks[1].answers, 0); /* no score, no answer */
}

static void state_travels(void **state)
{
    (void)state;
    struct curriculum c = two_tasks();
    feed(&c, 0, 1.0, 5);
    feed(&c, 1, 0.1, 3);
    json_t *json = curriculum_to_json(&c);
    struct curriculum again = two_tasks();
    assert_int_equal(curriculum_from_json(&again, json), STATUS_OK);
    assert_memory_equal(&again, &c, sizeof c);
    feed(&c, 1, 0.1, 1);
    feed(&again, 1, 0.1, 1);
    assert_memory_equal(&again, &c, sizeof c);
    again.count = 1;
    assert_int_equal(curriculum_from_json(&again, json), STATUS_INPUT);
    again = two_tasks();
    (void)json_object_set_new(json_array_get(json, 0), "level", json_integer(3));
    assert_int_equal(curriculum_from_json(&again, json), STATUS_INPUT);
    assert_int_equal(curriculum_from_json(&again, NULL), STATUS_INPUT);
    json_decref(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(levels_rise_and_fall),
        cmocka_unit_test(state_travels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
