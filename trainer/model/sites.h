/*
 * Sites: the one table of the weights a layer has, with their names in both file worlds, so that
 * loading, initialising, full training and saving all walk the same list.
 */
#pragma once

#include "trainer/model/model.h"

/* A size that depends on the configuration. */
enum site_dim { DIM_HIDDEN, DIM_Q, DIM_KV, DIM_FF, DIM_HEAD, DIM_VOCAB };

/* Which models have the site. */
enum site_when { WHEN_ALWAYS, WHEN_PRE, WHEN_SANDWICH, WHEN_QK_NORM };

enum site_bias { BIAS_NONE, BIAS_QKV, BIAS_O, BIAS_MLP };

struct site {
    const char *hf;   /* "self_attn.q_proj", under "model.layers.N." */
    const char *gguf; /* "attn_q", under "blk.N." */
    size_t offset;    /* of the struct linear or struct norm in struct model_layer */
    bool linear;      /* else a norm */
    enum site_when when;
    enum site_bias bias;
    enum site_dim out;         /* a norm's length */
    enum site_dim in;
    enum site_dim permuted;    /* DIM_Q or DIM_KV: rows permuted in GGUF files of the llama kind */
};

enum { SITE_NAME_BYTES = 128 };

/* Row `i` of the table in Hugging Face's module order, NULL past the end. */
const struct site *site_at(int i);

/* The sites outside the layers. */
const struct site *site_embed(void);

/* The norm after the last layer. */
const struct site *site_final_norm(void);

/* The output embedding; tied models have no tensor for it. */
const struct site *site_head(void);

/* True when models of this configuration have the site. */
bool site_present(const struct site *s, const struct model_config *c);

/* True when the site's linear has a bias [out] in models of this configuration. */
bool site_has_bias(const struct site *s, const struct model_config *c);

/* What the symbolic size is in this configuration, in elements. */
int64_t site_size(enum site_dim dim, const struct model_config *c);

/* Module name "model.layers.3.mlp.up_proj" (layer < 0: "model.norm", ...) and GGUF stem
 * "blk.3.ffn_up" into buf [SITE_NAME_BYTES]. */
void site_hf_name(const struct site *s, int64_t layer, char *buf);

/* The same for GGUF; suffixes (.weight, .bias) are the caller's. */
void site_gguf_name(const struct site *s, int64_t layer, char *buf);

/* The linear or norm of a layer's site. */
struct linear *site_linear(const struct site *s, struct model_layer *layer);

/* For norm sites only. */
struct norm *site_norm(const struct site *s, struct model_layer *layer);

/* Hugging Face row that row `row` of a permuted GGUF matrix with heads of `head` rows holds. */
int64_t site_row_from_gguf(int64_t row, int64_t head);
