/*
 * Private to trainer/model: how a model is put together.
 *
 * Every way of making a model (GGUF, Hugging Face folder, random) is a loader: two functions that
 * supply one linear and one norm. model_assemble walks the sites twice, first with an arena that
 * only measures (which also checks every tensor), then with the real one.
 */
#pragma once

#include "trainer/format/safetensors.h"
#include "trainer/model/sites.h"

/* A tensor as a file has it. */
struct weight_place {
    struct tensor view;
    bool supported;   /* the view's dtype can be read */
    char type[32];    /* for messages: "Q4_K", "ggml type 42", "F8_E4M3" */
    uint64_t offset;  /* bytes from the start of the file */
};

enum { CONFIG_FILE_BYTES = 16 << 20 }; /* largest config.json read */

struct loader {
    struct model *model;
    struct arena *arena; /* model->base, or the measuring arena of the first walk */
    const char *where;   /* file or folder for messages */
    const struct model_options *options;
    void *source;        /* the implementation's own */
    uint64_t seed;       /* random models only */

    /* Fills l->w and l->bias; name, out and in are set. layer < 0: outside the layers. */
    enum status (*linear)(struct loader *ld, const struct site *s, int64_t layer, struct linear *l);
    /* Fills n->w [length]; the name is set. */
    enum status (*norm)(struct loader *ld, const struct site *s, int64_t layer, struct norm *n);

    /* Files only: the tensor's name in this file, and the tensor by name (false: not there). */
    void (*tensor_name)(const struct loader *ld, const struct site *s, int64_t layer,
                        const char *suffix, char *buf, size_t size);
    bool (*find)(const struct loader *ld, const char *name, struct weight_place *out);
    bool permuted_qk;    /* undo the row order of q and k */
    bool packed_source;  /* linears may be serialized in several tensors (bitsandbytes) */
};

/* The walk: sizes ld->model->base, fills the model from ld. config is set. Fails as the loader's
 * functions do. */
MUST_USE enum status model_assemble(struct loader *ld);

/* linear and norm of loaders that read files. */
MUST_USE enum status file_linear(struct loader *ld, const struct site *s, int64_t layer,
                                 struct linear *l);

/* Fills n->w [length] as fp32, converted into ld->arena. Fails with INPUT. */
MUST_USE enum status file_norm(struct loader *ld, const struct site *s, int64_t layer,
                               struct norm *n);

/* Bitsandbytes NF4 of a linear as serialized next to `name` (".absmax", ".quant_state..."); *found
 * false when the tensor is not of that kind. */
MUST_USE enum status load_bnb_linear(struct loader *ld, const char *name, struct linear *l,
                                     bool *found);

/* The two openers. They fill a zeroed model; on failure the caller closes it. */
MUST_USE enum status model_open_gguf(struct model *m, const struct model_options *options);

/* From config.json and safetensors, quantized as options say. Fails with INPUT, MEMORY. */
MUST_USE enum status model_open_folder(struct model *m, const struct model_options *options);
