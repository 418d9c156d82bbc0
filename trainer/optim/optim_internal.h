/* Rows of the optimizer table; private to trainer/optim. */
#pragma once

#include "trainer/optim/optim.h"

/* One update, as the rows see it. */
struct optim_step {
    struct ops_context *ops;
    struct param_set *params;
    const struct optim_config *config;
    const struct optim_rates *rates;
    double factor; /* clipping */
    int64_t step;
};

/* A key of optim_args: a number inside the range, or true and false (0 and 1). */
struct optim_option {
    const char *key;
    size_t offset; /* of a double in struct optim_config */
    double def;
    double low;
    double high;
    const char *const *words; /* the value is the place of the word; NULL: a number */
};

struct optim_row {
    const char *name;
    const struct optim_option *options; /* ends with key NULL; NULL: none */
    bool own_eps; /* adam_epsilon is not its eps */
    /* Slots of one parameter, as param_layout's. */
    void (*slots)(const struct optim_config *c, const struct param *p,
                  struct param_slot slot[PARAM_SLOTS]);
    void (*update)(const struct optim_step *s);
    /* Optional: checks the parameters and says how much scratch an update needs. */
    enum status (*prepare)(const struct optim_config *c, struct param_set *p, size_t *workspace);
};

extern const struct optim_row OPTIM_ROWS[OPTIM_KINDS];

/* Rate of a parameter. */
double optim_lr(const struct optim_step *s, const struct param *p);
/* Weight decay of a parameter: 0 where it does not apply. */
double optim_decay(const struct optim_step *s, const struct param *p);
/* True for the weight of an embedding module, by name. */
bool optim_is_embedding(const struct param *p);
/* Fills one slot. */
void optim_slot(struct param_slot *slot, const char *name, bool bytes, int64_t count);
/* Elementwise update of `count` numbers from the start of parameter `i` with `a`'s rule and
 * coefficients; fills the rest of `a`: arrays (g when it is NULL), clipping and step. */
void optim_update_run(const struct optim_step *s, int64_t i, int64_t count, struct update_args *a);

/* Slots of adamw, sgd, lion, ... in 32 or 8 bits: 2k and 2k + 1 are the rule's state k. */
void elementwise_slots(const struct optim_config *c, const struct param *p,
                       struct param_slot slot[PARAM_SLOTS]);
/* Runs of neighbours with the same coefficients are one call of the kernel each. */
void elementwise_update(const struct optim_step *s);
/* Workspace for the two 8-bit maps. */
MUST_USE enum status elementwise_prepare(const struct optim_config *c, struct param_set *p,
                                         size_t *workspace);

/* Slots of plain AdamW, "m" and "v". */
void adamw_slots(const struct param *p, struct param_slot slot[PARAM_SLOTS]);

/* "row" and "col" of matrices, "v" of vectors, "m" where there is a first moment. */
void adafactor_slots(const struct optim_config *c, const struct param *p,
                     struct param_slot slot[PARAM_SLOTS]);
/* One kernel call per parameter. */
void adafactor_update(const struct optim_step *s);

/* AdamW's for B and the rest, plus "inverse" [rank, rank] of a B. */
void lora_fa_slots(const struct optim_config *c, const struct param *p,
                   struct param_slot slot[PARAM_SLOTS]);
/* Projects the gradients of B, then AdamW. */
void lora_fa_update(const struct optim_step *s);
/* Freezes every A. Fails with RECIPE where a B has no A, no scale or too high a rank. */
MUST_USE enum status lora_fa_prepare(const struct optim_config *c, struct param_set *p,
                                     size_t *workspace);

/* "buf" of hidden matrices, AdamW's for the rest. */
void muon_slots(const struct optim_config *c, const struct param *p,
                struct param_slot slot[PARAM_SLOTS]);
/* Matrix by matrix, AdamW on the rest. */
void muon_update(const struct optim_step *s);
/* Workspace of the iteration. Fails with RECIPE on LoRA factors. */
MUST_USE enum status muon_prepare(const struct optim_config *c, struct param_set *p,
                                  size_t *workspace);
