/*
 * Saving whole models: as a Hugging Face folder, or as a GGUF file with packed weights. Values come
 * from the graph, so what was trained in full, quantized at load or read from either world is
 * written alike; an edit (a merge) may change rows on the way.
 */
#pragma once

#include <jansson.h>

#include "trainer/model/model.h"

/* Changes row `row` (values [l->in], F32) before it is written. */
typedef enum status (*model_edit_fn)(void *ctx, const struct linear *l, int64_t row, float *values);

struct model_folder_options {
    enum dtype dtype;      /* F32, F16 or BF16 of every weight (norms and biases too) */
    const json_t *config;  /* config.json to pass through; NULL: rebuilt from the configuration */
    model_edit_fn edit;    /* NULL: none */
    void *edit_ctx;
};

/* Writes `folder`/config.json and model.safetensors; the folder exists. A tied head is left out.
 * Fails with IO, MEMORY, RECIPE (dtype; RoPE that came as GGUF divisors and no config). */
MUST_USE enum status model_save_folder(struct model *m, const char *folder,
                                       const struct model_folder_options *options);

/* Adds keys to a GGUF that is being written: those of the tokenizer. */
typedef enum status (*model_keys_fn)(void *ctx, struct gguf_writer *w);

struct model_gguf_options {
    enum dtype linear;     /* of the layers' matrices; F16 where rows are no whole blocks */
    enum dtype embedding;  /* of embedding and head; likewise */
    const char *name;      /* general.name, NULL: none */
    model_keys_fn keys;    /* tokenizer keys; NULL: none are written */
    void *keys_ctx;
    model_edit_fn edit;    /* NULL: none */
    void *edit_ctx;
};

/* Writes a GGUF file (names, keys and q/k row order of spec models.md 1.6). Norms and biases are
 * F32. Fails with RECIPE when the format cannot say what the model does (a window pattern or query
 * scale of its own) or a dtype cannot be written; IO, MEMORY. */
MUST_USE enum status model_save_gguf(struct model *m, const char *path,
                                     const struct model_gguf_options *options);

/* A model_keys_fn: copies every "tokenizer." key of the struct gguf that is `ctx`. Fails with INPUT
 * on a key of a kind that the writer does not have. */
MUST_USE enum status model_copy_tokenizer_keys(void *ctx, struct gguf_writer *w);

/* config.json as Transformers writes it: a new reference. Fails with MEMORY. */
MUST_USE enum status model_config_to_json(const struct model_config *c, json_t **out);
