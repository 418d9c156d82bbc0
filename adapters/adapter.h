/*
 * Adapters: a family builds hooks over the model's sites and parameters in a param_set, and reads
 * and writes PEFT folders. One file per family (lora.c), one row in registry.c.
 */
#pragma once

#include <jansson.h>

#include "trainer/model/model.h"

enum adapter_init {
    ADAPTER_INIT_DEFAULT,  /* init_lora_weights true: A uniform(+-1/sqrt(in)), B 0 */
    ADAPTER_INIT_GAUSSIAN, /* "gaussian": A ~ N(0, 1/r^2), B 0 */
    ADAPTER_INIT_RANDOM_B  /* false: both uniform, so the start is no identity */
};

/* LoRA's configuration (PEFT 0.21.2 names, spec adapters.md 2). Strings are owned. */
struct adapter_config {
    const char *family;               /* "lora" */
    int64_t r;
    double lora_alpha;
    double lora_dropout;
    bool use_rslora;
    bool score;                       /* task_type SEQ_CLS: a scalar head is trained with it */
    enum adapter_init init;
    char *target_regex;               /* target_modules as one string (all-linear, regex) */
    char **target_modules;            /* list form, or NULL: PEFT's default for the model type */
    int64_t target_count;
    char *exclude_regex;              /* exclude_modules as a string, or NULL */
    char **exclude_modules;
    int64_t exclude_count;
    int64_t *layers_to_transform;     /* NULL: all */
    int64_t layers_count;
    char *layers_pattern;             /* NULL: none */
    json_t *rank_pattern;             /* objects, may be NULL */
    json_t *alpha_pattern;
    char *base_model_name_or_path;
    json_t *extra;                    /* other keys of a folder that was read, kept when written */
};

struct adapter; /* attached: hooks, names, parameter indices */

/* Frees the strings and zeroes. */
void adapter_config_close(struct adapter_config *c);

/* Attaches a new adapter to `m`: hooks on every matching linear, parameters added to `params` (not
 * sealed yet). Fails with RECIPE when nothing matches (lists module names) or a key is not
 * supported. */
MUST_USE enum status adapter_attach(struct adapter **out, struct model *m,
                                    struct param_set *params, const struct adapter_config *config);

/* Hangs the hooks on the model, as adapter_attach did, for the rows of one adapter slot (-1: all
 * rows, see struct pass). */
void adapter_hang(struct adapter *a, int32_t slot);

/* Takes them off: the model computes as without this adapter. */
void adapter_take_off(struct adapter *a);

/* After sealing: initial values (A uniform(+-1/sqrt(in)), B 0 by default), keyed by (seed,
 * module). */
void adapter_initialize(struct adapter *a, uint64_t seed);

/* Reads `folder`/adapter_config.json into *config (close it). Fails with INPUT. */
MUST_USE enum status adapter_read_config(struct adapter_config *config, const char *folder);

/* After sealing: reads `folder`/adapter_model.safetensors into the parameters; missing, surplus or
 * misshapen tensors fail with INPUT naming them. F32, F16, BF16. */
MUST_USE enum status adapter_load(struct adapter *a, const char *folder);

/* Writes adapter_config.json and adapter_model.safetensors (F32) as PEFT writes them. */
MUST_USE enum status adapter_save(const struct adapter *a, const char *folder);

/* A model_edit_fn (trainer/model/save.h) whose ctx is an adapter: adds its scale B A to row `row`
 * of l's weight. Fails with RECIPE when another kind of hook hangs there too. */
MUST_USE enum status adapter_merge_row(void *adapter, const struct linear *l, int64_t row,
                                       float *values);

/* Writes a GGUF adapter for llama.cpp, F32, for the model it is attached to (its architecture, its
 * tensor names and q/k row order). Fails with RECIPE when GGUF has no name for something; IO. */
MUST_USE enum status adapter_save_gguf(const struct adapter *a, const struct model *m,
                                       const char *path);

/* Its lora_dropout, that of the folder it was read from included; NULL: 0. */
double adapter_dropout(const struct adapter *a);

/* Detaches the hooks from the model and frees. */
void adapter_close(struct adapter *a);

/* Bytes of parameters an attach would add, for `estimate`. */
int64_t adapter_parameter_count(const struct adapter *a);
