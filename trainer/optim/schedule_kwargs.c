/* lr_scheduler_kwargs: which keys a schedule has, their defaults and ranges; see schedule.h. */
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "trainer/optim/schedule.h"

enum option_type { OPTION_NUMBER, OPTION_COUNT, OPTION_WORD };

/* Words of an option; a word's value is its place. */
static const char *const SHAPES[] = {"linear", "cosine", "1-sqrt", NULL};
static const char *const MODES[] = {"min", "max", NULL};
static const char *const THRESHOLDS[] = {"rel", "abs", NULL};
static const char *const SWITCH[] = {"false", "true", NULL};

struct option {
    const char *key;
    unsigned kinds; /* bits 1 << enum schedule_kind */
    enum option_type type;
    size_t offset;
    double def;
    double low;
    double high;
    const char *const *words;
};

#define AT(member) offsetof(struct schedule_config, member)
#define OF(kind) (1u << SCHEDULE_##kind)
#define MIN_LR (OF(COSINE_WITH_MIN_LR) | OF(COSINE_WARMUP_WITH_MIN_LR))
#define WSD OF(WARMUP_STABLE_DECAY)
#define PLATEAU OF(REDUCE_ON_PLATEAU)
#define GREEDY OF(GREEDY)
#define MANY 1e15

static const struct option OPTIONS[] = {
    {"num_cycles", OF(COSINE) | MIN_LR | WSD, OPTION_NUMBER, AT(num_cycles), 0.5, 0, 1e9, NULL},
    {"num_cycles", OF(COSINE_WITH_RESTARTS), OPTION_NUMBER, AT(num_cycles), 1, 0, 1e9, NULL},
    {"min_lr", MIN_LR, OPTION_NUMBER, AT(min_lr), NAN, 0, 1e3, NULL},
    {"min_lr_rate", MIN_LR, OPTION_NUMBER, AT(min_lr_rate), NAN, 0, 1, NULL},
    {"warmup_lr_rate", OF(COSINE_WARMUP_WITH_MIN_LR), OPTION_NUMBER, AT(warmup_lr_rate), NAN, 0, 1,
     NULL},
    {"lr_end", OF(POLYNOMIAL), OPTION_NUMBER, AT(lr_end), 1e-7, 0, 1e3, NULL},
    {"power", OF(POLYNOMIAL), OPTION_NUMBER, AT(power), 1, 0, 1e3, NULL},
    {"timescale", OF(INVERSE_SQRT), OPTION_COUNT, AT(timescale), 0, 0, MANY, NULL},
    {"num_decay_steps", WSD, OPTION_COUNT, AT(num_decay_steps), NAN, 0, MANY, NULL},
    {"num_stable_steps", WSD, OPTION_COUNT, AT(num_stable_steps), NAN, 0, MANY, NULL},
    {"warmup_type", WSD, OPTION_WORD, AT(warmup_type), SHAPE_LINEAR, 0, 0, SHAPES},
    {"decay_type", WSD, OPTION_WORD, AT(decay_type), SHAPE_COSINE, 0, 0, SHAPES},
    {"min_lr_ratio", WSD, OPTION_NUMBER, AT(min_lr_ratio), 0, 0, 1, NULL},
    {"mode", PLATEAU | GREEDY, OPTION_WORD, AT(mode), SCHEDULE_MIN, 0, 0, MODES},
    {"factor", PLATEAU, OPTION_NUMBER, AT(factor), 0.1, 0, 0.9999999, NULL},
    {"factor", GREEDY, OPTION_NUMBER, AT(factor), 0.95, 1e-9, 0.9999999, NULL},
    {"patience", PLATEAU | GREEDY, OPTION_COUNT, AT(patience), 10, 0, MANY, NULL},
    {"threshold", PLATEAU, OPTION_NUMBER, AT(threshold), 1e-4, 0, 1e9, NULL},
    {"threshold", GREEDY, OPTION_NUMBER, AT(threshold), 1e-6, 0, 1e9, NULL},
    {"threshold_mode", PLATEAU, OPTION_WORD, AT(threshold_mode), THRESHOLD_REL, 0, 0, THRESHOLDS},
    {"threshold_mode", GREEDY, OPTION_WORD, AT(threshold_mode), THRESHOLD_ABS, 0, 0, THRESHOLDS},
    {"cooldown", PLATEAU | GREEDY, OPTION_COUNT, AT(cooldown), 0, 0, MANY, NULL},
    {"min_lr", PLATEAU, OPTION_NUMBER, AT(min_lr), 0, 0, 1e3, NULL},
    {"min_lr", GREEDY, OPTION_NUMBER, AT(min_lr), 1e-3, 0, 1e3, NULL},
    {"max_lr", GREEDY, OPTION_NUMBER, AT(max_lr), 1, 0, 1e3, NULL},
    {"eps", PLATEAU | GREEDY, OPTION_NUMBER, AT(eps), 1e-8, 0, 1, NULL},
    {"warmup", GREEDY, OPTION_COUNT, AT(warmup), 0, 0, MANY, NULL},
    {"smooth", GREEDY, OPTION_WORD, AT(smooth), 0, 0, 0, SWITCH},
    {"window_size", GREEDY, OPTION_COUNT, AT(window_size), 50, 1, SCHEDULE_WINDOW, NULL},
    {"reset_start", GREEDY, OPTION_COUNT, AT(reset_start), 500, 0, MANY, NULL},
};
enum { OPTION_COUNT_ALL = sizeof OPTIONS / sizeof OPTIONS[0], TEXT = 512 };

static const struct option *find(enum schedule_kind kind, const char *key)
{
    for (size_t i = 0; i < OPTION_COUNT_ALL; i++) {
        if (OPTIONS[i].kinds & (1u << kind) && strcmp(OPTIONS[i].key, key) == 0) {
            return &OPTIONS[i];
        }
    }
    return NULL;
}

static void store(struct schedule_config *c, const struct option *o, double value)
{
    char *at = (char *)c + o->offset;
    if (o->type == OPTION_WORD) {
        const int word = (int)value;
        memcpy(at, &word, sizeof word);
    } else {
        memcpy(at, &value, sizeof value);
    }
}

static enum status unknown(enum schedule_kind kind, const char *key)
{
    char keys[TEXT] = "";
    size_t used = 0;
    for (size_t i = 0; i < OPTION_COUNT_ALL; i++) {
        if (OPTIONS[i].kinds & (1u << kind) && used < sizeof keys) {
            used += (size_t)snprintf(keys + used, sizeof keys - used, "%s%s", used ? ", " : "",
                                     OPTIONS[i].key);
        }
    }
    return FAIL(RECIPE, "lr_scheduler_kwargs: %s has no key '%.60s'; it has %s",
                schedule_name(kind), key, used ? keys : "none");
}

static enum status set_word(struct schedule_config *c, const struct option *o, const json_t *value)
{
    char words[TEXT] = "";
    size_t used = 0;
    const char *text = json_is_string(value) ? json_string_value(value)
                       : json_is_true(value) ? "true"
                       : json_is_false(value) ? "false"
                                              : "";
    for (int i = 0; o->words[i]; i++) {
        if (strcmp(o->words[i], text) == 0) {
            store(c, o, i);
            return STATUS_OK;
        }
        used += (size_t)snprintf(words + used, sizeof words - used, "%s%s", i ? ", " : "",
                                 o->words[i]);
    }
    return FAIL(RECIPE, "lr_scheduler_kwargs: %s is one of %s", o->key, words);
}

static enum status set_option(struct schedule_config *c, const struct option *o,
                              const json_t *value)
{
    if (json_is_null(value)) {
        return STATUS_OK; /* None: the default */
    }
    if (o->type == OPTION_WORD) {
        return set_word(c, o, value);
    }
    const double x = json_number_value(value);
    const bool whole = o->type != OPTION_COUNT || x == floor(x);
    if (!json_is_number(value) || !whole || !(x >= o->low && x <= o->high)) {
        return FAIL(RECIPE, "lr_scheduler_kwargs: %s is one %s from %g to %g", o->key,
                    o->type == OPTION_COUNT ? "whole number" : "number", o->low, o->high);
    }
    store(c, o, x);
    return STATUS_OK;
}

/* What Transformers asks of a kind beyond single values. */
static enum status check(const struct schedule_config *c, double learning_rate)
{
    const char *name = schedule_name(c->kind);
    if ((1u << c->kind) & MIN_LR && isnan(c->min_lr) == isnan(c->min_lr_rate)) {
        return FAIL(RECIPE, "lr_scheduler_kwargs: %s needs one of min_lr_rate (a share of "
                            "learning_rate) and min_lr, as in {min_lr_rate: 0.1}", name);
    }
    if (c->kind == SCHEDULE_WARMUP_STABLE_DECAY && isnan(c->num_decay_steps)) {
        return FAIL(RECIPE, "lr_scheduler_kwargs: %s needs num_decay_steps, as in "
                            "{num_decay_steps: 100}", name);
    }
    if (c->kind == SCHEDULE_POLYNOMIAL && learning_rate > 0 && c->lr_end >= learning_rate) {
        return FAIL(RECIPE, "lr_scheduler_kwargs: lr_end %g is not below learning_rate %g",
                    c->lr_end, learning_rate);
    }
    if (c->kind == SCHEDULE_GREEDY && c->min_lr > c->max_lr) {
        return FAIL(RECIPE, "lr_scheduler_kwargs: min_lr %g is over max_lr %g", c->min_lr,
                    c->max_lr);
    }
    return STATUS_OK;
}

enum status schedule_configure(struct schedule_config *out, enum schedule_kind kind,
                               double warmup_steps, double learning_rate, const json_t *kwargs)
{
    const char *key;
    json_t *value;
    *out = (struct schedule_config){.kind = kind, .warmup_steps = warmup_steps};
    for (size_t i = 0; i < OPTION_COUNT_ALL; i++) {
        if (OPTIONS[i].kinds & (1u << kind)) {
            store(out, &OPTIONS[i], OPTIONS[i].def);
        }
    }
    json_object_foreach((json_t *)(uintptr_t)kwargs, key, value)
    {
        const struct option *o = find(kind, key);
        TRY(o ? set_option(out, o, value) : unknown(kind, key));
    }
    return check(out, learning_rate);
}
