/* Levels that follow the success rate; see curriculum.h. */
#include "eval/tasks/curriculum.h"

#include <math.h>

void curriculum_observe(struct curriculum *c, int64_t task, double score)
{
    struct curriculum_task *t = &c->tasks[task];
    if (isnan(score)) {
        return;
    }
    t->answers++;
    t->sum += score;
    if (t->answers < c->config.window) {
        return;
    }
    const double rate = t->sum / (double)t->answers;
    if (rate >= c->config.raise) {
        t->level += t->level + 1 < t->levels;
    } else if (rate <= c->config.lower) {
        t->level -= t->level > 0;
    }
    t->answers = 0;
    t->sum = 0.0;
}

json_t *curriculum_to_json(const struct curriculum *c)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < c->count; i++) {
        const struct curriculum_task *t = &c->tasks[i];
        (void)json_array_append_new(list, json_pack("{s:I, s:I, s:f}", "level",
                                                    (json_int_t)t->level, "answers",
                                                    (json_int_t)t->answers, "sum", t->sum));
    }
    return list;
}

enum status curriculum_from_json(struct curriculum *c, const json_t *json)
{
    if ((int64_t)json_array_size(json) != c->count) {
        return FAIL(INPUT, "checkpoint: a curriculum of %zu tasks, the recipe has %lld",
                    json_array_size(json), (long long)c->count);
    }
    for (int64_t i = 0; i < c->count; i++) {
        const json_t *saved = json_array_get(json, (size_t)i);
        struct curriculum_task *t = &c->tasks[i];
        t->level = json_integer_value(json_object_get(saved, "level"));
        t->answers = json_integer_value(json_object_get(saved, "answers"));
        t->sum = json_number_value(json_object_get(saved, "sum"));
        if (t->level < 0 || t->level >= t->levels || t->answers < 0) {
            return FAIL(INPUT, "checkpoint: the curriculum of task %lld is damaged", (long long)i);
        }
    }
    return STATUS_OK;
}
