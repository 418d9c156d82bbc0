/* The reward parameters of a recipe as JSON: every key of its group, by the schema's types. */
#include <math.h>
#include <string.h>

#include "recipes/build.h"
#include "recipes/schema_internal.h"

static json_t *strings_json(const struct string_list *list)
{
    json_t *out = json_array();
    for (int64_t i = 0; out && i < list->count; i++) {
        (void)json_array_append_new(out, json_string(list->items[i]));
    }
    return out;
}

static json_t *choice_json(const struct recipe_choice *choices, int value)
{
    for (size_t i = 0; choices[i].name; i++) {
        if (choices[i].value == value) {
            return json_string(choices[i].name);
        }
    }
    return NULL;
}

/* The value at `at`; *given false: the key was left out and has no default. */
static json_t *field_json(const struct recipe_field *f, const void *at, bool *given)
{
    *given = true;
    switch (f->type) {
    case FIELD_BOOL:
        return json_boolean(*(const bool *)at);
    case FIELD_INT:
    case FIELD_SIZE:
        *given = *(const int64_t *)at != RECIPE_UNSET;
        return *given ? json_integer(*(const int64_t *)at) : NULL;
    case FIELD_FLOAT:
        *given = !isnan(*(const double *)at);
        return *given ? json_real(*(const double *)at) : NULL;
    case FIELD_STRING:
        *given = *(char *const *)at != NULL;
        return *given ? json_string(*(char *const *)at) : NULL;
    case FIELD_CHOICE:
        return choice_json(f->choices, *(const int *)at);
    case FIELD_STRINGS:
        *given = ((const struct string_list *)at)->count > 0;
        return *given ? strings_json(at) : NULL;
    case FIELD_DICT:
        *given = *(json_t *const *)at != NULL;
        return *given ? json_incref(*(json_t *const *)at) : NULL;
    default:
        *given = false;
        return NULL;
    }
}

enum status recipe_reward_parameters(const struct recipe *r, json_t **out)
{
    *out = json_object();
    bool good = *out != NULL;
    for (size_t i = 0; good && i < schema_count(); i++) {
        const struct recipe_field *f = schema_field(i);
        bool given;
        if (strcmp(f->group, "rewards") != 0 || strcmp(f->key, "reward_funcs") == 0
            || strcmp(f->key, "reward_weights") == 0) {
            continue;
        }
        json_t *value = field_json(f, (const char *)r + f->offset, &given);
        good = !given || json_object_set_new(*out, f->key, value) == 0;
    }
    if (!good) {
        json_decref(*out);
        *out = NULL;
        return FAIL(MEMORY, "rewards: out of memory");
    }
    return STATUS_OK;
}
