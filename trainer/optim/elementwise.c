/*
 * Optimizers whose update is one rule per number (kernels/ops.h, enum update_rule). In 8 bits,
 * parameters under 4096 numbers and embeddings keep floats, as bitsandbytes does under the Trainer.
 */
#include <math.h>

#include "trainer/optim/optim_internal.h"

enum { LEAST_8BIT = 4096 };

/* A state array: float slot, or a slot of codes and one of magnitudes. */
struct state_names {
    const char *value; /* NULL: no such state */
    const char *code;
    const char *absmax;
    bool both_signs; /* of the 8-bit map */
};

struct rule_row {
    enum update_rule rule;
    bool bits8;
    struct state_names state[UPDATE_STATES];
};

/* clang-format off */
#define MEAN {"m", "m.code", "m.absmax", true}
#define SQUARE {"v", "v.code", "v.absmax", false}
#define SLOW {"slow", "slow.code", "slow.absmax", true}
/* clang-format on */

static const struct rule_row RULES[OPTIM_KINDS] = {
    [OPTIM_ADAMW] = {UPDATE_ADAMW, false, {MEAN, SQUARE}},
    [OPTIM_ADAMW_8BIT] = {UPDATE_ADAMW, true, {MEAN, SQUARE}},
    [OPTIM_ADEMAMIX] = {UPDATE_ADEMAMIX, false, {MEAN, SQUARE, SLOW}},
    [OPTIM_ADEMAMIX_8BIT] = {UPDATE_ADEMAMIX, true, {MEAN, SQUARE, SLOW}},
    [OPTIM_SGD] = {UPDATE_SGD, false, {{"buf", NULL, NULL, true}}},
    [OPTIM_LION] = {UPDATE_LION, false, {MEAN}},
    [OPTIM_LION_8BIT] = {UPDATE_LION, true, {MEAN}},
    [OPTIM_ADAGRAD] = {UPDATE_ADAGRAD, false, {{"sum", NULL, NULL, false}}},
    [OPTIM_RMSPROP] = {UPDATE_RMSPROP,
                       false,
                       {SQUARE, {"buf", NULL, NULL, true}, {"mean", NULL, NULL, true}}},
    [OPTIM_RMSPROP_BNB] = {UPDATE_RMSPROP, false, {SQUARE}},
    /* bitsandbytes keeps these squares in the map of both signs */
    [OPTIM_RMSPROP_8BIT] = {UPDATE_RMSPROP, true, {{"v", "v.code", "v.absmax", true}}},
};

/* Whether the options make state k needed. */
static bool wanted(const struct optim_config *c, int k)
{
    if (!RULES[c->kind].state[k].value) {
        return false;
    }
    if (c->kind == OPTIM_SGD) {
        return c->momentum != 0;
    }
    if (c->kind == OPTIM_RMSPROP && k > 0) {
        return k == 1 ? c->momentum > 0 : c->centered != 0;
    }
    return true;
}

static bool in_codes(const struct optim_config *c, const struct param *p)
{
    return RULES[c->kind].bits8 && p->count >= LEAST_8BIT && !optim_is_embedding(p);
}

void adamw_slots(const struct param *p, struct param_slot slot[PARAM_SLOTS])
{
    optim_slot(&slot[0], "m", false, p->count);
    optim_slot(&slot[2], "v", false, p->count);
}

/* Slots 2k and 2k + 1 are state k's. */
void elementwise_slots(const struct optim_config *c, const struct param *p,
                       struct param_slot slot[PARAM_SLOTS])
{
    const int64_t blocks = (p->count + DYNAMIC8_BLOCK - 1) / DYNAMIC8_BLOCK;
    for (int k = 0; k < UPDATE_STATES; k++) {
        const struct state_names *names = &RULES[c->kind].state[k];
        if (wanted(c, k) && in_codes(c, p)) {
            optim_slot(&slot[2 * k], names->code, true, p->count);
            optim_slot(&slot[2 * k + 1], names->absmax, false, blocks);
        } else if (wanted(c, k)) {
            optim_slot(&slot[2 * k], names->value, false, p->count);
        }
    }
}

/* The two maps of the 8-bit states lie in the workspace. */
enum status elementwise_prepare(const struct optim_config *c, struct param_set *p,
                                size_t *workspace)
{
    (void)p;
    *workspace = RULES[c->kind].bits8 ? 2 * sizeof(struct dynamic8) : 0;
    return STATUS_OK;
}

void optim_update_run(const struct optim_step *s, int64_t i, int64_t count, struct update_args *a)
{
    const struct param *p = &s->params->params[i];
    const struct dynamic8 *maps = s->params->workspace;
    a->p = param_value(s->params, i);
    a->g = a->g ? a->g : param_grad(s->params, i);
    a->count = count;
    for (int k = 0; k < UPDATE_STATES; k++) {
        const struct param_slot *slot = &p->slot[2 * k];
        a->state[k] = (struct update_state){0};
        if (slot->bytes) {
            a->state[k].code = slot->data;
            a->state[k].absmax = slot[1].data;
            a->state[k].map = &maps[RULES[s->config->kind].state[k].both_signs ? 1 : 0];
        } else {
            a->state[k].value = slot->data;
        }
    }
    a->grad_scale = s->factor;
    a->step = s->step;
    s->ops->ops->update(s->ops, a);
}

/* AdEMAMix's warm-up of alpha and of beta3 (its half-life grows linearly). */
static void warm_up(const struct optim_config *c, int64_t step, struct update_args *a)
{
    const double t = (double)step;
    if (c->t_alpha > 0) {
        a->alpha = fmin(t * c->alpha / c->t_alpha, c->alpha);
    }
    if (c->t_beta3 > 0 && c->beta1 > 0 && c->beta3 > 0) {
        const double ln1 = log(c->beta1);
        const double ln3 = log(c->beta3);
        const double share = t / c->t_beta3;
        a->beta3 = fmin(exp(ln1 * ln3 / ((1.0 - share) * ln3 + share * ln1)), c->beta3);
    }
}

static struct update_args coefficients(const struct optim_step *s, const struct param *p)
{
    const struct optim_config *c = s->config;
    struct update_args a = {
        .rule = RULES[c->kind].rule,
        .lr = optim_lr(s, p),
        .beta1 = c->beta1,
        .beta2 = c->beta2,
        .beta3 = c->beta3,
        .alpha = c->alpha,
        .eps = c->eps,
        .momentum = c->momentum,
        .dampening = c->dampening,
        .weight_decay = optim_decay(s, p),
        .nesterov = c->nesterov != 0,
    };
    if (a.rule == UPDATE_RMSPROP) {
        a.beta1 = c->alpha;
    } else if (a.rule == UPDATE_ADAGRAD) {
        a.lr /= 1.0 + (double)(s->step - 1) * c->lr_decay;
    } else if (a.rule == UPDATE_ADEMAMIX) {
        warm_up(c, s->step, &a);
    }
    return a;
}

/* True when j, right behind i, takes the same coefficients and its floats follow i's. */
static bool joins(const struct param *i, const struct param *j)
{
    return i->group == j->group && i->decay == j->decay && !i->slot[0].bytes && !j->slot[0].bytes;
}

void elementwise_update(const struct optim_step *s)
{
    const struct param_set *set = s->params;
    const struct param *p = set->params;
    struct dynamic8 *maps = RULES[s->config->kind].bits8 ? set->workspace : NULL;
    if (maps && maps[0].value[DYNAMIC8_CODES - 1] == 0.0f) { /* not made yet */
        dynamic8_make(&maps[0], false);
        dynamic8_make(&maps[1], true);
    }
    for (int64_t i = 0; i < set->count;) {
        int64_t j = i + 1;
        while (j < set->count && joins(&p[i], &p[j])) {
            j++;
        }
        struct update_args a = coefficients(s, &p[i]);
        const int64_t end = j < set->count ? p[j].offset : set->total;
        optim_update_run(s, i, p[i].slot[0].bytes ? p[i].count : end - p[i].offset, &a);
        i = j;
    }
}
