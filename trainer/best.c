/* The best evaluation of a run; see best.h. */
#include "trainer/best.h"

#include <math.h>
#include <string.h>

#include "trainer/format/json.h"

void best_start(struct best_state *s)
{
    *s = (struct best_state){.step = -1, .checkpoint = -1};
}

enum status best_metric(const struct best_rule *rule, const json_t *line, double *out)
{
    const json_t *value = json_object_get(line, rule->metric);
    char have[512] = "";
    const char *key;
    json_t *other;
    if (json_is_number(value)) {
        *out = json_number_value(value);
        return STATUS_OK;
    }
    json_object_foreach((json_t *)(uintptr_t)line, key, other) {
        const size_t used = strlen(have);
        if (strncmp(key, "eval_", 5) == 0) {
            (void)snprintf(have + used, sizeof have - used, "%s%s", used ? ", " : "", key);
        }
    }
    return FAIL(RECIPE, "metric_for_best_model: this evaluation has no finite %s; it has %s",
                rule->metric, have[0] ? have : "no metric");
}

bool best_observe(const struct best_rule *rule, struct best_state *s, int64_t step, double metric)
{
    const bool better = !isnan(metric) &&
                        (!s->any || (rule->greater ? metric > s->metric : metric < s->metric));
    if (better) {
        s->any = true;
        s->metric = metric;
        s->step = step;
    }
    return better;
}

json_t *best_save(const struct best_state *s)
{
    return json_pack("{s:o, s:I, s:I}", "metric", s->any ? json_real(s->metric) : json_null(),
                     "step", (json_int_t)s->step, "checkpoint", (json_int_t)s->checkpoint);
}

void best_load(struct best_state *s, const json_t *json)
{
    const json_t *metric = json_object_get(json, "metric");
    best_start(s);
    if (json_is_number(metric)) {
        s->any = true;
        s->metric = json_number_value(metric);
        s->step = json_get_int(json, "step", -1);
        s->checkpoint = json_get_int(json, "checkpoint", -1);
    }
}
