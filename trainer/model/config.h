/*
 * Canonical model configuration: what config.json and GGUF keys both become, and the family table.
 *
 * Code branches on the enums here, never on family names (spec models.md 4).
 */
#pragma once

#include <jansson.h>

#include "kernels/ops.h"
#include "trainer/format/gguf.h"

enum placement { PLACE_PRE, PLACE_SANDWICH };
enum qk_norm { QK_NORM_NONE, QK_NORM_HEAD };
enum rope_scaling { ROPE_DEFAULT, ROPE_LINEAR, ROPE_LLAMA3, ROPE_YARN };

enum { MODEL_MAX_LAYERS = 256, MODEL_MAX_STOPS = 16, MODEL_MAX_ROPES = 2 };

/* One table of inverse frequencies. */
struct rope_config {
    enum rope_scaling scaling;
    double theta;
    double factor;
    double low_freq_factor;
    double high_freq_factor;
    int64_t original_context;
    double beta_fast;        /* yarn: turns over the original context where stretching begins ... */
    double beta_slow;        /* ... and where it is complete */
    bool keep_fraction;      /* yarn: truncate: false */
    double magnitude;        /* cos and sin times this; 0 means 1 */
    const float *divisors; /* [head_dim / 2] from rope_freqs.weight, NULL: computed. Borrowed */
};

/* One const row per family: names in both file worlds and the switches that files do not carry. */
struct family {
    const char *name;          /* config.json model_type */
    const char *gguf_arch;     /* general.architecture */
    enum placement placement;
    enum qk_norm qk_norm;
    enum activation act;
    bool norm_plus_one;        /* HF norm weights are zero-centred (GGUF has +1 baked in) */
    bool qkv_bias;             /* q, k, v have biases (where not said by attention_bias) */
    bool gguf_permuted_qk;     /* GGUF q/k rows are permuted: undone at load */
    bool scale_embedding;      /* embedding times sqrt(hidden) */
    double default_theta;
    double local_theta;        /* theta of sliding layers, 0: same */
    int sliding_period;        /* full attention every n-th layer; 0: as the file says */
    bool tied_by_default;
};

/* NULL when no family has this model_type / architecture. */
const struct family *family_by_model_type(const char *model_type);

/* `arch` has `length` bytes and no NUL, as GGUF strings are. */
const struct family *family_by_gguf_arch(const char *arch, size_t length);
/* Row `i`, NULL past the end. */
const struct family *family_at(int64_t i);

struct layer_config {
    int64_t window;   /* sliding window in keys, 0: full attention */
    int rope;         /* index into config.ropes */
};

struct model_config {
    const struct family *family;
    int64_t layers;
    int64_t hidden;
    int64_t heads;
    int64_t kv_heads;
    int64_t head_dim;
    int64_t ff;
    int64_t vocab;
    int64_t context;      /* max_position_embeddings */
    double norm_eps;
    float attn_scale;
    float attn_softcap;
    float final_softcap;
    float embed_scale;    /* 1 or sqrt(hidden) */
    bool norm_plus_one;   /* after loading: false for GGUF, whose files have it baked in */
    bool tied;
    bool qkv_bias;
    bool o_bias;
    bool mlp_bias;
    double initializer_range;
    int rope_count;
    struct rope_config ropes[MODEL_MAX_ROPES];
    struct layer_config layer[MODEL_MAX_LAYERS];
    int32_t bos;          /* -1: none */
    int32_t stops[MODEL_MAX_STOPS];
    int stop_count;
};

/* From config.json's object; `where` names the file in messages. Fails with INPUT on an unknown
 * model_type (listing the known), missing or impossible numbers. */
MUST_USE enum status model_config_from_json(struct model_config *c, const json_t *json,
                                            const char *where);

/* From GGUF keys. */
MUST_USE enum status model_config_from_gguf(struct model_config *c, const struct gguf *g);

/* cos/sin tables [positions, dim/2] of one rope config (spec models.md 1.3), fp32 angles. */
void rope_fill_tables(const struct rope_config *r, int64_t dim, int64_t positions, float *cos_table,
                      float *sin_table);

/* What llama3 scaling divides frequency `j` by (>= 1): GGUF's rope_freqs. */
float rope_divisor(const struct rope_config *r, int64_t dim, int64_t j);
