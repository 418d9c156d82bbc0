/*
 * param_set: every trainable number of a run in one contiguous fp32 arena, so that clipping, the
 * optimizer, the sum over shards and a checkpoint are each one pass.
 *
 * Entries are added first (adapters_attach, or the model itself in full training), then the set is
 * sealed: values, gradient, moments and shard sums are laid out; pointers are stable from then on.
 */
#pragma once

#include "kernels/ops.h"

struct param {
    const char *name; /* key as saved: "base_model.model.model.layers.0....lora_A.weight" (owned) */
    int dims;
    int64_t shape[TENSOR_MAX_DIMS];
    int64_t count;
    int64_t offset;  /* in floats from the start of the arena */
    bool decay;      /* weight decay applies (training.md 5: not for norms and biases) */
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
    float *m;     /* [total] first moments; NULL when the optimizer has none */
    float *v;     /* [total] second moments; NULL likewise */
    struct arena arena;
};

/* Empties a set (no allocation). */
void param_set_open(struct param_set *p);

/* Adds a parameter; *index identifies it after sealing. The name is copied. Fails with MEMORY, or
 * INPUT when the name is there already. */
MUST_USE enum status param_set_add(struct param_set *p, const char *name, int dims,
                                   const int64_t *shape, bool decay, int64_t *index);

/* Lays out values and gradient, plus `moments` (0, 1 or 2) arrays, zeroed. Fails with MEMORY. */
MUST_USE enum status param_set_seal(struct param_set *p, int moments);

/* Value and gradient of one parameter. */
float *param_value(const struct param_set *p, int64_t index);

/* [count] floats of the sealed set, like param_value. */
float *param_grad(const struct param_set *p, int64_t index);

/* Index of the parameter with this name, -1 when there is none. */
int64_t param_set_find(const struct param_set *p, const char *name);

/* Bytes that sealing with `moments` would reserve. */
size_t param_set_bytes(const struct param_set *p, int moments);

/* Frees names and memory; the set may be opened again. */
void param_set_close(struct param_set *p);
