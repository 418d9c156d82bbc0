/* The optimizers and their optim_args; see optim_internal.h. A new one is a row here. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "trainer/optim/optim_internal.h"

#define AT(member) offsetof(struct optim_config, member)
#define LAST {NULL, 0, 0, 0, 0, NULL}
#define MANY 1e15

static const char *const SWITCH[] = {"false", "true", NULL};
static const char *const ADJUSTS[] = {"original", "match_rms_adamw", "spectral_unclamped", NULL};
static const double BELOW_ONE = 0.9999999999999999;

static const struct optim_option SGD[] = {
    {"momentum", AT(momentum), 0, 0, 1e3, NULL},
    {"dampening", AT(dampening), 0, -1e3, 1e3, NULL},
    {"nesterov", AT(nesterov), 0, 0, 1, SWITCH},
    LAST};
static const struct optim_option ADAGRAD[] = {
    {"lr_decay", AT(lr_decay), 0, 0, 1e3, NULL}, {"eps", AT(eps), 1e-10, 0, 1, NULL}, LAST};
static const struct optim_option RMSPROP[] = {
    {"momentum", AT(momentum), 0, 0, 1e3, NULL},
    {"alpha", AT(alpha), 0.99, 0, BELOW_ONE, NULL},
    {"eps", AT(eps), 1e-8, 0, 1, NULL},
    {"centered", AT(centered), 0, 0, 1, SWITCH},
    LAST};
static const struct optim_option RMSPROP_BNB[] = {
    {"alpha", AT(alpha), 0.99, 1e-9, BELOW_ONE, NULL}, {"eps", AT(eps), 1e-8, 0, 1, NULL}, LAST};
static const struct optim_option ADEMAMIX[] = {
    {"beta1", AT(beta1), 0.9, 0, BELOW_ONE, NULL},
    {"beta2", AT(beta2), 0.999, 0, BELOW_ONE, NULL},
    {"beta3", AT(beta3), 0.9999, 0, BELOW_ONE, NULL},
    {"alpha", AT(alpha), 5, 0, 1e6, NULL},
    {"eps", AT(eps), 1e-8, 0, 1, NULL},
    {"t_alpha", AT(t_alpha), 0, 0, MANY, NULL},
    {"t_beta3", AT(t_beta3), 0, 0, MANY, NULL},
    LAST};
static const struct optim_option ADAFACTOR[] = {
    {"eps", AT(eps), 1e-30, 0, 1, NULL},
    {"eps_scale", AT(eps_scale), 1e-3, 0, 1, NULL},
    {"clip_threshold", AT(clip_threshold), 1, 1e-9, 1e9, NULL},
    {"decay_rate", AT(decay_rate), -0.8, -1e3, 0, NULL},
    {"beta1", AT(mean_beta), 0, 0, BELOW_ONE, NULL},
    {"scale_parameter", AT(scale_parameter), 0, 0, 1, SWITCH},
    {"relative_step", AT(relative_step), 0, 0, 1, SWITCH},
    {"warmup_init", AT(warmup_init), 0, 0, 1, SWITCH},
    LAST};
static const struct optim_option LORA_FA[] = {{"eps", AT(eps), 1e-6, 0, 1, NULL}, LAST};
static const struct optim_option MUON[] = {
    {"momentum", AT(momentum), 0.95, 0, 1, NULL},
    {"nesterov", AT(nesterov), 1, 0, 1, SWITCH},
    {"ns_steps", AT(ns_steps), 5, 1, 99, NULL},
    {"eps", AT(ns_eps), 1e-7, 0, 1, NULL},
    {"adjust_lr_fn", AT(adjust), ADJUST_ORIGINAL, 0, 0, ADJUSTS},
    {"adamw_lr", AT(adamw_lr), 0, 0, 1e3, NULL},
    LAST};

#define ELEMENTWISE                                                                                \
    .slots = elementwise_slots, .update = elementwise_update, .prepare = elementwise_prepare

const struct optim_row OPTIM_ROWS[OPTIM_KINDS] = {
    [OPTIM_ADAMW] = {.name = "adamw_torch", ELEMENTWISE},
    [OPTIM_ADAMW_8BIT] = {.name = "adamw_8bit", ELEMENTWISE},
    [OPTIM_ADEMAMIX] = {.name = "ademamix", .options = ADEMAMIX, ELEMENTWISE},
    [OPTIM_ADEMAMIX_8BIT] = {.name = "ademamix_8bit", .options = ADEMAMIX, ELEMENTWISE},
    [OPTIM_SGD] = {.name = "sgd", .options = SGD, ELEMENTWISE},
    [OPTIM_LION] = {.name = "lion_32bit", ELEMENTWISE},
    [OPTIM_LION_8BIT] = {.name = "lion_8bit", ELEMENTWISE},
    [OPTIM_ADAGRAD] = {.name = "adagrad", .options = ADAGRAD, .own_eps = true, ELEMENTWISE},
    [OPTIM_RMSPROP] = {.name = "rmsprop", .options = RMSPROP, .own_eps = true, ELEMENTWISE},
    [OPTIM_RMSPROP_BNB] = {.name = "rmsprop_bnb_32bit", .options = RMSPROP_BNB, .own_eps = true, ELEMENTWISE},
    [OPTIM_RMSPROP_8BIT] = {.name = "rmsprop_bnb_8bit", .options = RMSPROP_BNB, .own_eps = true, ELEMENTWISE},
    [OPTIM_ADAFACTOR] = {.name = "adafactor",
                         .options = ADAFACTOR,
                         .own_eps = true,
                         .slots = adafactor_slots,
                         .update = adafactor_update},
    [OPTIM_LORA_FA] = {.name = "lora_fa",
                       .options = LORA_FA,
                       .own_eps = true,
                       .slots = lora_fa_slots,
                       .update = lora_fa_update,
                       .prepare = lora_fa_prepare},
    [OPTIM_MUON] = {.name = "muon",
                    .options = MUON,
                    .slots = muon_slots,
                    .update = muon_update,
                    .prepare = muon_prepare},
};

const char *optim_name(enum optim_kind kind)
{
    return OPTIM_ROWS[kind].name;
}

bool optim_has_own_eps(enum optim_kind kind)
{
    return OPTIM_ROWS[kind].own_eps;
}

static void store(struct optim_config *c, const struct optim_option *o, double value)
{
    memcpy((char *)c + o->offset, &value, sizeof value);
}

void optim_defaults(struct optim_config *c, enum optim_kind kind)
{
    *c = (struct optim_config){
        .kind = kind,
        .learning_rate = 5e-5,
        .beta1 = 0.9,
        .beta2 = 0.999,
        .eps = 1e-8,
        .max_grad_norm = 1.0,
        .loraplus_lr_embedding = 1e-6,
    };
    for (const struct optim_option *o = OPTIM_ROWS[kind].options; o && o->key; o++) {
        store(c, o, o->def);
    }
}

static enum status unknown(enum optim_kind kind, const char *key)
{
    char keys[256] = "";
    size_t used = 0;
    for (const struct optim_option *o = OPTIM_ROWS[kind].options; o && o->key; o++) {
        used += (size_t)snprintf(keys + used, sizeof keys - used, "%s%s", used ? ", " : "", o->key);
    }
    if (strcmp(key, "weight_decay") == 0) {
        return FAIL(RECIPE, "optim_args: weight_decay is a key of its own: weight_decay: 0.01");
    }
    return FAIL(RECIPE, "optim_args: %s has no option '%.60s'; it has %s", optim_name(kind), key,
                used ? keys : "none (adam_beta1, adam_beta2 and adam_epsilon are keys)");
}

/* "1" and "yes" are true too, as in Transformers. */
static bool same_word(const char *word, const char *text)
{
    const bool yes = strcasecmp(text, "1") == 0 || strcasecmp(text, "yes") == 0;
    const bool no = strcasecmp(text, "0") == 0 || strcasecmp(text, "no") == 0;
    return strcasecmp(word, yes ? "true" : no ? "false" : text) == 0;
}

static enum status set_option(struct optim_config *c, const struct optim_option *o,
                              const char *text)
{
    char words[128] = "";
    size_t used = 0;
    for (int i = 0; o->words && o->words[i]; i++) {
        if (same_word(o->words[i], text)) {
            store(c, o, i);
            return STATUS_OK;
        }
        used += (size_t)snprintf(words + used, sizeof words - used, "%s%s", i ? ", " : "",
                                 o->words[i]);
    }
    if (o->words) {
        return FAIL(RECIPE, "optim_args: %s is one of %s, not '%.40s'", o->key, words, text);
    }
    char *end;
    const double value = strtod(text, &end);
    if (end == text || *end || !(value >= o->low && value <= o->high)) {
        return FAIL(RECIPE, "optim_args: %s is a number from %g to %g, not '%.40s'", o->key, o->low,
                    o->high, text);
    }
    store(c, o, value);
    return STATUS_OK;
}

/* One "key=value". */
static enum status set_pair(struct optim_config *c, char *pair)
{
    char *equals = strchr(pair, '=');
    if (!equals) {
        return FAIL(RECIPE, "optim_args: '%.60s' is no key=value", pair);
    }
    *equals = '\0';
    for (const struct optim_option *o = OPTIM_ROWS[c->kind].options; o && o->key; o++) {
        if (strcmp(o->key, pair) == 0) {
            return set_option(c, o, equals + 1);
        }
    }
    return unknown(c->kind, pair);
}

/* Options that only make sense together, as the packages check them. */
static enum status check(const struct optim_config *c)
{
    if (c->kind == OPTIM_SGD && c->nesterov != 0 && (c->momentum <= 0 || c->dampening != 0)) {
        return FAIL(RECIPE, "optim_args: nesterov needs momentum above 0 and no dampening");
    }
    if (c->kind == OPTIM_ADAFACTOR && c->warmup_init != 0 && c->relative_step == 0) {
        return FAIL(RECIPE, "optim_args: warmup_init needs relative_step=true");
    }
    return STATUS_OK;
}

enum status optim_configure(struct optim_config *c, const char *args)
{
    char *copy = strdup(args ? args : "");
    char *next = copy;
    enum status status = copy ? STATUS_OK : FAIL(MEMORY, "optim_args: no memory");
    size_t used = 0;
    for (const char *from = copy; status == STATUS_OK && *from; from++) { /* blanks don't count */
        if (*from != ' ') {
            copy[used++] = *from;
        }
    }
    if (copy) {
        copy[used] = '\0';
    }
    while (status == STATUS_OK && next && *next) {
        char *comma = strchr(next, ',');
        if (comma) {
            *comma = '\0';
        }
        status = set_pair(c, next);
        next = comma ? comma + 1 : NULL;
    }
    free(copy);
    return status == STATUS_OK ? check(c) : status;
}
