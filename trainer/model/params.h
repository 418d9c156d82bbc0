/*
 * param_set: every trainable number of a run in one contiguous fp32 arena, so that clipping, the
 * optimizer, the sum over shards and a checkpoint are each one pass.
 *
 * Entries are added first (adapters_attach, or the model itself in full training), then the set is
 * sealed: values, gradient and the optimizer's state are laid out; pointers are stable from then
 * on.
 */
#pragma once

#include "kernels/ops.h"

enum { PARAM_SLOTS = 6 };

/* One array of optimizer state of one parameter. Slots of floats that are as many as the
 * parameter's numbers are laid out like the values, so neighbours are one run. */
struct param_slot {
    const char *name; /* "m": the state's name in a checkpoint (static); NULL: no slot */
    bool bytes;       /* uint8_t codes, else float */
    int64_t count;
    void *data;
};

struct param {
    const char *name; /* key as saved: "base_model.model.model.layers.0....lora_A.weight" (owned) */
    int dims;
    int64_t shape[TENSOR_MAX_DIMS];
    int64_t count;
    int64_t offset;  /* in floats from the start of the arena */
    bool decay;      /* weight decay applies (training.md 5: not for norms and biases) */
    bool frozen;     /* the optimizer leaves it alone and its gradient does not count */
    int group;       /* of learning rates, 0 the first (trainer/optim) */
    double scale;    /* of the low-rank product that a lora_B belongs to; 0: none */
    struct param_slot slot[PARAM_SLOTS];
    struct tensor view; /* F32 view of the value, valid once sealed */
};

struct param_set {
    struct param *params;
    int64_t count;
    int64_t capacity;
    int64_t total; /* floats, each parameter padded to 16 */
    bool sealed;
    float *value; /* [total] */
    float *grad;  /* [total] of the unit or shard being computed */
    const char *optimizer; /* name of the layout: what the state belongs to; NULL: none */
    void *workspace;       /* the optimizer's scratch, as many bytes as the layout asked for */
    struct arena arena;
};

/* What an optimizer keeps per parameter. */
struct param_layout {
    const char *optimizer; /* static; kept in checkpoints */
    const void *ctx;
    /* Fills name, bytes and count of the slots one parameter needs; they come zeroed. */
    void (*slots)(const void *ctx, const struct param *p, struct param_slot slot[PARAM_SLOTS]);
    size_t workspace;      /* bytes */
};

/* Whether the Trainer decays a parameter of this name (training.md 5): not where the lower-cased
 * name holds bias, layernorm or rmsnorm, or a part between dots is norm or ends in _norm. */
bool param_name_decays(const char *name);

/* Empties a set (no allocation). */
void param_set_open(struct param_set *p);

/* Adds a parameter; *index identifies it after sealing. The name is copied. Fails with MEMORY, or
 * INPUT when the name is there already. */
MUST_USE enum status param_set_add(struct param_set *p, const char *name, int dims,
                                   const int64_t *shape, bool decay, int64_t *index);

/* Lays out values, gradient and the optimizer's state (NULL: none), zeroed. Fails with MEMORY. */
MUST_USE enum status param_set_seal(struct param_set *p, const struct param_layout *layout);

/* Value and gradient of one parameter. */
float *param_value(const struct param_set *p, int64_t index);

/* [count] floats of the sealed set, like param_value. */
float *param_grad(const struct param_set *p, int64_t index);

/* Index of the parameter with this name, -1 when there is none. */
int64_t param_set_find(const struct param_set *p, const char *name);

/* Bytes that sealing with `layout` would reserve. */
size_t param_set_bytes(const struct param_set *p, const struct param_layout *layout);

/* Slot of one parameter by name, NULL when it has none. */
struct param_slot *param_find_slot(const struct param_set *p, int64_t index, const char *name);

/* Frees names and memory; the set may be opened again. */
void param_set_close(struct param_set *p);
