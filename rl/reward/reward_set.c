/* Rewards with their states: parameters checked once, then calls scored. */
#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "rl/reward/remote.h"
#include "rl/reward/reward_internal.h"

/* The value of a parameter: its recipe key goes before the original names. */
static const json_t *value_of(const struct reward_parameter *p, const json_t *parameters)
{
    const json_t *value = json_object_get(parameters, p->key);
    for (const char *a = p->aliases; !value && a && *a; a += strspn(a, " ")) {
        const size_t length = strcspn(a, " ");
        value = json_object_getn(parameters, a, length);
        a += length;
    }
    return json_is_null(value) ? NULL : value;
}

static bool are_texts(const json_t *value)
{
    for (size_t i = 0; i < json_array_size(value); i++) {
        if (!json_is_string(json_array_get(value, i))) {
            return false;
        }
    }
    return json_is_string(value) || json_array_size(value) > 0;
}

static enum status read_value(const struct reward *r, const struct reward_parameter *p,
                              const json_t *value, double *number, json_t **json)
{
    const bool whole = p->type == PARAMETER_COUNT;
    switch (p->type) {
    case PARAMETER_FLAG:
        *number = value ? json_is_true(value) : p->def;
        return !value || json_is_boolean(value)
                   ? STATUS_OK
                   : FAIL(RECIPE, "%s: %s is true or false", r->name, p->key);
    case PARAMETER_TEXT:
        *json = value     ? json_copy((json_t *)(uintptr_t)value)
                : p->text ? json_string(p->text)
                          : NULL;
        return !value || json_is_string(value) ? STATUS_OK
                                               : FAIL(RECIPE, "%s: %s is a text", r->name, p->key);
    case PARAMETER_TEXTS:
        *json = value ? json_deep_copy(value) : NULL;
        return !value || are_texts(value)
                   ? STATUS_OK
                   : FAIL(RECIPE, "%s: %s is a list of texts", r->name, p->key);
    default:
        break;
    }
    *number = value ? json_number_value(value) : p->def;
    if (value && (!json_is_number(value) || !(*number >= p->low) || !(*number <= p->high)
                  || (whole && *number != floor(*number)))) {
        return FAIL(RECIPE, "%s: %s is a %snumber from %g to %g", r->name, p->key,
                    whole ? "whole " : "", p->low, p->high);
    }
    return STATUS_OK;
}

enum status reward_values_read(const struct reward *r, const json_t *parameters,
                               struct reward_values *v)
{
    for (int i = 0; r->parameters && r->parameters[i].key; i++) {
        const struct reward_parameter *p = &r->parameters[i];
        ASSERT(i < REWARD_MAX_PARAMETERS);
        TRY(read_value(r, p, value_of(p, parameters), &v->number[i], &v->json[i]));
    }
    return STATUS_OK;
}

void reward_values_clear(struct reward_values *v)
{
    for (int i = 0; i < REWARD_MAX_PARAMETERS; i++) {
        json_decref(v->json[i]);
        v->json[i] = NULL;
    }
}

enum status reward_open_values(const struct reward *r, const json_t *parameters, void **state)
{
    struct reward_values *v = calloc(1, sizeof *v);
    *state = v;
    if (!v) {
        return FAIL(MEMORY, "%s: no memory", r->name);
    }
    return reward_values_read(r, parameters, v);
}

void reward_close_values(void *state)
{
    struct reward_values *v = state;
    if (v) {
        reward_values_clear(v);
        free(v);
    }
}

void reward_explain(char *reason, const char *fmt, ...)
{
    if (reason) {
        va_list args;
        va_start(args, fmt);
        (void)vsnprintf(reason, REWARD_REASON_CAP, fmt, args);
        va_end(args);
    }
}

static double option(const json_t *parameters, const char *key, double def)
{
    const json_t *value = json_object_get(parameters, key);
    return json_is_number(value) ? json_number_value(value) : def;
}

static enum status open_use(struct reward_use *use, struct helper *helper,
                            const json_t *parameters)
{
    const struct reward *r = use->reward;
    if (r->isolated && helper) {
        const struct remote_options options = {
            .workers = (int)option(parameters, "reward_workers", 2),
            .seconds = option(parameters, "reward_timeout", 300),
        };
        return reward_remote_open(&use->remote, helper, use->name, parameters, &options);
    }
    return r->open ? r->open(r, parameters, &use->state) : STATUS_OK;
}

enum status reward_set_add_named(struct reward_set *set, struct helper *helper, const char *name,
                                 const json_t *parameters)
{
    const struct reward *r = reward_find(name);
    struct reward_use *use = &set->items[set->count];
    if (!r) {
        char known[1024];
        reward_names(known, sizeof known);
        return FAIL(RECIPE, "reward '%.80s' is not known; use %s, or a reward model's folder", name,
                    known);
    }
    ASSERT(set->count < REWARD_MAX);
    *use = (struct reward_use){.reward = r, .name = name};
    set->count++;
    return open_use(use, helper, parameters);
}

void reward_set_add(struct reward_set *set, const struct reward *reward, const char *name,
                    void *state)
{
    ASSERT(set->count < REWARD_MAX);
    set->items[set->count++] = (struct reward_use){.reward = reward, .name = name, .state = state};
}

enum status reward_set_open(struct reward_set *set, const char *const *names, int64_t count,
                            const json_t *parameters)
{
    return reward_set_open_isolated(set, NULL, names, count, parameters);
}

enum status reward_set_open_isolated(struct reward_set *set, struct helper *helper,
                                     const char *const *names, int64_t count,
                                     const json_t *parameters)
{
    *set = (struct reward_set){0};
    if (count < 1 || count > REWARD_MAX) {
        return FAIL(RECIPE, "%lld rewards; use 1 to %d", (long long)count, REWARD_MAX);
    }
    for (int64_t k = 0; k < count; k++) {
        TRY(reward_set_add_named(set, helper, names[k], parameters));
    }
    return STATUS_OK;
}

enum status reward_set_score(struct reward_set *set, int k, const struct reward_call *call,
                             double *scores)
{
    const struct reward_use *use = &set->items[k];
    for (int64_t i = 0; call->reasons && i < call->count; i++) {
        call->reasons[i][0] = '\0';
    }
    if (use->remote) {
        return reward_remote_score(use->remote, call, scores);
    }
    if (use->reward->score) {
        return use->reward->score(use->state, call, scores);
    }
    for (int64_t i = 0; i < call->count; i++) {
        scores[i] = use->reward->row(use->state, &call->inputs[i],
                                     call->reasons ? call->reasons[i] : NULL);
    }
    return STATUS_OK;
}

void reward_set_close(struct reward_set *set)
{
    for (int k = 0; k < set->count; k++) {
        struct reward_use *use = &set->items[k];
        if (use->remote) {
            reward_remote_close(use->remote);
        } else if (use->reward->close) {
            use->reward->close(use->state);
        }
    }
    *set = (struct reward_set){0};
}
