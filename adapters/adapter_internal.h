/* The family table behind adapter.h; private to adapters/. */
#pragma once

#include "adapters/adapter.h"

/* Largest values taken from files and recipes; a whole alpha fits an int64. */
enum { ADAPTER_MAX_RANK = 4096 };
#define ADAPTER_MAX_ALPHA 1e9

/* One wrapped module. */
struct adapter_site {
    struct linear *linear;
    struct hook hook;
};

struct adapter {
    const struct adapter_family *family;
    struct adapter_config config; /* own copy */
    struct param_set *params;
    struct adapter_site *sites;
    int64_t count;
    int64_t first_param; /* the adapter's parameters are [first, first + count) of the set */
    int64_t param_count;
    struct model *model;
    struct hook score; /* of the model's scalar head, with config.score */
};

/* A family: how it wraps a module and starts its parameters. */
struct adapter_family {
    const char *name;      /* recipe: "lora" */
    const char *peft_type; /* "LORA" */
    /* Adds the module's parameters and fills site->hook. */
    enum status (*attach)(struct adapter *a, struct adapter_site *site, int64_t rank, double alpha);
    /* Initial values of one site, keyed by (seed, site index). */
    void (*initialize)(struct adapter *a, const struct adapter_site *site, uint64_t seed,
                       uint32_t index);
};

extern const struct adapter_family ADAPTER_LORA;

/* After sealing: the scalar head, if there is one, reads its parameter. */
void adapter_bind(struct adapter *a);

/* Row by recipe name or peft_type; NULL when there is none. */
const struct adapter_family *adapter_family_find(const char *name);

/* Deep copy; fails with MEMORY. */
MUST_USE enum status adapter_config_copy(struct adapter_config *to,
                                         const struct adapter_config *from);

/* adapter_config.json's object for an attached adapter (new reference); NULL without memory. */
json_t *adapter_config_json(const struct adapter *a);
