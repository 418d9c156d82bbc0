/* What all optimizers share: groups, rates, norm, clipping; see optim.h. */
#include <math.h>
#include <string.h>

#include "trainer/optim/optim_internal.h"

double optim_schedule(const struct optim_config *c, int64_t t, int64_t total)
{
    return schedule_multiplier(&c->schedule, c->learning_rate, t, total);
}

struct optim_rates optim_rates(const struct optim_config *c, double multiplier)
{
    const double ratio = c->loraplus_lr_ratio > 0 ? c->loraplus_lr_ratio : 1.0;
    struct optim_rates r = {
        .lr = {
            [OPTIM_GROUP_BASE] = c->learning_rate * multiplier,
            [OPTIM_GROUP_EMBEDDING] = c->loraplus_lr_embedding * multiplier,
            [OPTIM_GROUP_B] = c->learning_rate * ratio * multiplier,
        }};
    return r;
}

double optim_lr(const struct optim_step *s, const struct param *p)
{
    return s->rates->lr[p->group];
}

double optim_decay(const struct optim_step *s, const struct param *p)
{
    const struct optim_config *c = s->config;
    return !p->decay ? 0.0
           : c->loraplus_lr_ratio > 0 ? c->loraplus_weight_decay
                                      : c->weight_decay;
}

bool optim_is_embedding(const struct param *p)
{
    static const char ENDING[] = "embed_tokens.weight";
    const size_t n = strlen(p->name);
    const size_t m = sizeof ENDING - 1;
    return n >= m && strcmp(p->name + n - m, ENDING) == 0 && (n == m || p->name[n - m - 1] == '.');
}

void optim_slot(struct param_slot *slot, const char *name, bool bytes, int64_t count)
{
    *slot = (struct param_slot){.name = name, .bytes = bytes, .count = count};
}

/* PEFT's create_loraplus_optimizer: B matrices and vectors learn faster, embedding adapters at
 * their own rate; everything but a bias or norm among the fast ones decays. */
static void group_loraplus(struct param_set *p)
{
    for (int64_t i = 0; i < p->count; i++) {
        struct param *e = &p->params[i];
        if (strstr(e->name, ".lora_embedding_")) {
            e->group = OPTIM_GROUP_EMBEDDING;
            e->decay = true;
        } else if (strstr(e->name, "lora_B") || e->dims == 1) {
            e->group = OPTIM_GROUP_B;
        } else {
            e->group = OPTIM_GROUP_BASE;
            e->decay = true;
        }
    }
}

static enum status check_loraplus(const struct optim_config *c, const struct param_set *p)
{
    if (c->kind == OPTIM_LORA_FA || c->kind == OPTIM_MUON) {
        return FAIL(RECIPE, "loraplus_lr_ratio does not go with optim: %s; use adamw_torch",
                    optim_name(c->kind));
    }
    for (int64_t i = 0; i < p->count; i++) {
        if (strstr(p->params[i].name, "lora_B")) {
            return STATUS_OK;
        }
    }
    return p->count == 0 ? STATUS_OK
                         : FAIL(RECIPE, "loraplus_lr_ratio trains a LoRA adapter: use_peft: true");
}

static void layout_slots(const void *ctx, const struct param *p,
                         struct param_slot slot[PARAM_SLOTS])
{
    const struct optim_config *c = ctx;
    if (!p->frozen) {
        OPTIM_ROWS[c->kind].slots(c, p, slot);
    }
}

enum status optim_prepare(const struct optim_config *c, struct param_set *params,
                          struct param_layout *layout)
{
    const struct optim_row *row = &OPTIM_ROWS[c->kind];
    ASSERT(!params->sealed);
    *layout = (struct param_layout){
        .optimizer = row->name, .ctx = c, .slots = layout_slots};
    if (c->loraplus_lr_ratio > 0) {
        TRY(check_loraplus(c, params));
        group_loraplus(params);
    }
    return row->prepare ? row->prepare(c, params, &layout->workspace) : STATUS_OK;
}

/* Sum of squares over [i's offset, the end of the run of parameters that are as frozen as i]; *next
 * is the first parameter behind the run. */
static double run_squares(struct ops_context *ops, const struct param_set *p, int64_t i,
                          int64_t *next)
{
    int64_t j = i + 1;
    while (j < p->count && p->params[j].frozen == p->params[i].frozen) {
        j++;
    }
    const int64_t begin = p->params[i].offset;
    const int64_t end = j < p->count ? p->params[j].offset : p->total;
    *next = j;
    return p->params[i].frozen ? 0.0 : ops->ops->square_sum(ops, p->grad + begin, end - begin);
}

double optim_grad_norm(struct ops_context *ops, const struct param_set *p)
{
    double sum = 0.0;
    for (int64_t i = 0; i < p->count;) {
        sum += run_squares(ops, p, i, &i);
    }
    return sqrt(sum);
}

static double clip_factor(const struct optim_config *c, double norm)
{
    if (c->max_grad_norm <= 0) {
        return 1.0;
    }
    const double factor = c->max_grad_norm / (norm + 1e-6);
    return factor < 1.0 ? factor : 1.0;
}

void optim_update(struct ops_context *ops, struct param_set *p, const struct optim_config *c,
                  const struct optim_rates *rates, double norm, int64_t step)
{
    const struct optim_step s = {
        .ops = ops,
        .params = p,
        .config = c,
        .rates = rates,
        .factor = clip_factor(c, norm),
        .step = step,
    };
    OPTIM_ROWS[c->kind].update(&s);
}
