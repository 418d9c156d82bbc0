/* population: the runs that one recipe stands for, and which keys they may differ in. */
#include <string.h>

#include "recipes/schema_internal.h"

enum { MOST_MEMBERS = 16 };

/* Keys that leave the base, the data and the shape of a round alone, so that members can share
 * them. */
static const char *const MEMBER_KEYS[] = {
    "seed", "data_seed", "learning_rate", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps",
    "optim", "optim_args", "loraplus_lr_ratio", "loraplus_lr_embedding", "loraplus_weight_decay",
    "adam_beta1", "adam_beta2", "adam_epsilon", "weight_decay", "max_grad_norm", "lora_r",
    "lora_alpha", "use_rslora", "init_lora_weights", "lora_target_modules", "beta", "epsilon",
    "epsilon_high", "delta", "loss_type", "importance_sampling_level", "scale_rewards",
    "entropy_coef", "reward_weights",
};

enum { MEMBER_KEY_COUNT = sizeof MEMBER_KEYS / sizeof *MEMBER_KEYS };

int64_t recipe_members(const struct recipe *r)
{
    return (int64_t)json_array_size(r->population);
}

static bool may_set(const struct recipe_field *f)
{
    for (int k = 0; k < MEMBER_KEY_COUNT; k++) {
        if (strcmp(MEMBER_KEYS[k], f->key) == 0) {
            return true;
        }
    }
    return false;
}

static enum status check_key(int64_t member, const char *key)
{
    const struct recipe_field *f = schema_find(key);
    char known[1024] = "";
    if (f && may_set(f)) {
        return STATUS_OK;
    }
    for (int k = 0; k < MEMBER_KEY_COUNT; k++) {
        const size_t used = strlen(known);
        (void)snprintf(known + used, sizeof known - used, "%s%s", k ? ", " : "", MEMBER_KEYS[k]);
    }
    return FAIL(RECIPE, "recipe: population: member %lld: '%.60s' is %s; a member may set %s",
                (long long)member, key, f ? "shared by all members" : "no key", known);
}

enum status schema_check_population(const struct recipe *r)
{
    size_t i;
    json_t *member;
    if (!r->population) {
        return STATUS_OK;
    }
    if (recipe_members(r) < 1 || recipe_members(r) > MOST_MEMBERS) {
        return FAIL(RECIPE, "recipe: population has %lld members; 1 to %d train side by side",
                    (long long)recipe_members(r), MOST_MEMBERS);
    }
    if (!r->use_peft) {
        return FAIL(RECIPE, "recipe: population and use_peft: false exclude each other: members are "
                            "adapters on one base");
    }
    if (r->init_from_config) {
        return FAIL(RECIPE, "recipe: population and init_from_config exclude each other: a random base "
                            "would follow each member's seed");
    }
    json_array_foreach (r->population, i, member) {
        const char *key;
        json_t *value;
        if (!json_is_object(member)) {
            return FAIL(RECIPE, "recipe: population: member %zu is no mapping {key: value}", i);
        }
        json_object_foreach (member, key, value) {
            TRY(check_key((int64_t)i, key));
        }
    }
    return STATUS_OK;
}

/* Sets one key from its JSON value by the rules of key=value arguments. */
static enum status set_key(struct recipe *r, const char *key, const json_t *value)
{
    char *text = json_is_string(value) ? strdup(json_string_value(value))
                                       : json_dumps(value, JSON_ENCODE_ANY);
    char *argument = NULL;
    size_t size;
    FILE *out = text ? open_memstream(&argument, &size) : NULL;
    bool good = out && fprintf(out, "%s=%s", key, text) > 0;
    good = out && fclose(out) == 0 && good;
    const enum status status = good ? recipe_override(r, argument)
                                    : FAIL(MEMORY, "population: out of memory");
    free(argument);
    free(text);
    return status;
}

enum status recipe_become_member(struct recipe *r, int64_t i)
{
    const char *key;
    json_t *value;
    char folder[4096];
    json_t *population = r->population;
    const int n = snprintf(folder, sizeof folder, "%s/member-%lld",
                           r->output_dir ? r->output_dir : ".", (long long)i);
    r->population = NULL;
    enum status status = STATUS_OK;
    if (n >= (int)sizeof folder) {
        status = FAIL(RECIPE, "output_dir is too long");
    }
    json_object_foreach (json_array_get(population, (size_t)i), key, value) {
        status = status == STATUS_OK ? set_key(r, key, value) : status;
    }
    if (status == STATUS_OK) {
        free(r->output_dir);
        r->output_dir = strdup(folder);
        status = r->output_dir ? status : FAIL(MEMORY, "population: out of memory");
    }
    json_decref(population);
    return status;
}
