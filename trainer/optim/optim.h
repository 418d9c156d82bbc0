/*
 * Optimizers over the contiguous parameter arena, their learning rates and clipping, as torch,
 * Transformers, bitsandbytes and PEFT compute them (spec training.md 5). One const row per
 * optimizer (optim_table.c) says which state it keeps and how it updates; the state lies in the
 * train arena and a checkpoint saves whatever it is.
 *
 * Order of calls: optim_prepare before param_set_seal; per step optim_grad_norm, optim_rates,
 * optim_update.
 */
#pragma once

#include "trainer/model/params.h"
#include "trainer/optim/schedule.h"

enum optim_kind {
    OPTIM_ADAMW,         /* Loshchilov & Hutter 2019, arXiv 1711.05101 */
    OPTIM_ADAMW_8BIT,    /* bitsandbytes: state in 8-bit blocks (Dettmers et al. 2022) */
    OPTIM_ADEMAMIX,      /* Pagliardini et al. 2024, arXiv 2409.03137 */
    OPTIM_ADEMAMIX_8BIT,
    OPTIM_SGD,
    OPTIM_LION,          /* Chen et al. 2023, arXiv 2302.06675 */
    OPTIM_LION_8BIT,
    OPTIM_ADAGRAD,
    OPTIM_RMSPROP,
    OPTIM_RMSPROP_BNB,   /* bitsandbytes': no momentum, not centred */
    OPTIM_RMSPROP_8BIT,
    OPTIM_ADAFACTOR,     /* Shazeer & Stern 2018, arXiv 1804.04235 */
    OPTIM_LORA_FA,       /* Zhang et al. 2023, arXiv 2308.03303: only B moves */
    OPTIM_MUON,          /* Jordan 2024 for matrices, AdamW for the rest */
    OPTIM_KINDS
};

/* Groups of learning rates (LoRA+, Hayou et al. 2024, arXiv 2402.12354). */
enum optim_group { OPTIM_GROUP_BASE, OPTIM_GROUP_EMBEDDING, OPTIM_GROUP_B, OPTIM_GROUPS };

/* torch.optim.Muon's adjust_lr_fn. */
enum optim_adjust { ADJUST_ORIGINAL, ADJUST_MATCH_RMS_ADAMW, ADJUST_SPECTRAL_UNCLAMPED };

/* An optimizer reads its own members only; optim_defaults and optim_configure fill them. */
struct optim_config {
    enum optim_kind kind;
    double learning_rate;
    double beta1;
    double beta2;
    double eps;
    double weight_decay;
    double max_grad_norm;  /* 0: no clipping, the norm is still measured */
    struct schedule_config schedule;

    double beta3;          /* ademamix */
    double alpha;          /* ademamix: weight of the slow mean; rmsprop: decay of the squares */
    double t_alpha;        /* ademamix: steps over which alpha grows; 0: none */
    double t_beta3;
    double momentum;       /* sgd, rmsprop, muon */
    double dampening;
    double nesterov;       /* 0 or 1 */
    double centered;
    double lr_decay;       /* adagrad */
    double eps_scale;      /* adafactor: least rms of a parameter */
    double clip_threshold;
    double decay_rate;
    double mean_beta;      /* adafactor's beta1; 0: no first moment */
    double scale_parameter;
    double relative_step;
    double warmup_init;
    double ns_steps;       /* muon */
    double ns_eps;
    double adjust;         /* enum optim_adjust */
    double adamw_lr;       /* muon: rate of what is no matrix; 0: learning_rate */

    double loraplus_lr_ratio; /* 0: no LoRA+ */
    double loraplus_lr_embedding;
    double loraplus_weight_decay; /* in place of weight_decay */
};

/* Learning rates of the groups. */
struct optim_rates {
    double lr[OPTIM_GROUPS];
};
_Static_assert((int)OPTIM_GROUPS == (int)SCHEDULE_GROUPS, "one rate per group");

/* Name as recipes spell it, "adamw_torch". */
const char *optim_name(enum optim_kind kind);

/* True when eps is an option of the optimizer itself and adam_epsilon does not reach it. */
bool optim_has_own_eps(enum optim_kind kind);

/* A configuration with the defaults of TrainingArguments and of the kind's own options. */
void optim_defaults(struct optim_config *c, enum optim_kind kind);

/* Takes optim_args "key=value,key=value" into c (kind and defaults set before; NULL: none). Fails
 * with RECIPE naming a key the optimizer does not have, or a wrong value. */
MUST_USE enum status optim_configure(struct optim_config *c, const char *args);

/* Groups, frozen parameters and state layout of `params`, not sealed yet; `c` stays referenced by
 * `layout` until sealing. Fails with RECIPE when the optimizer cannot train these parameters. */
MUST_USE enum status optim_prepare(const struct optim_config *c, struct param_set *params,
                                   struct param_layout *layout);

/* Multiplier of update `t` (0 for the first) of `total`, see schedule_multiplier. */
double optim_schedule(const struct optim_config *c, int64_t t, int64_t total);

/* Every group's rate at `multiplier` of its peak. */
struct optim_rates optim_rates(const struct optim_config *c, double multiplier);

/* Global L2 norm of the gradient of what is trained, before clipping; NaN or inf when it is not
 * finite. */
double optim_grad_norm(struct ops_context *ops, const struct param_set *p);

/* One update; `norm` from optim_grad_norm decides the clipping factor max / (norm + 1e-6) when < 1.
 * `step` is 1 for the first update. The gradient is left alone. The result does not depend on the
 * number of threads. */
void optim_update(struct ops_context *ops, struct param_set *p, const struct optim_config *c,
                  const struct optim_rates *rates, double norm, int64_t step);
