/*
 * The model: a static list of blocks (embed, layers x (mixer, ffn), head), written once against
 * `ops`. Loading canonicalises (q/k rows unpermuted, names of Hugging Face modules), so files of
 * both worlds meet in this one graph.
 */
#pragma once

#include "trainer/model/batch.h"
#include "trainer/model/config.h"
#include "trainer/model/linear.h"

/* A norm site: weight [cols]; hooks of kind HOOK_FULL make it trainable. */
struct norm {
    const char *name;
    const float *w;
    struct hook *hooks;
};

struct model_layer {
    struct norm attn_norm;
    struct linear q, k, v, o;
    struct norm q_norm, k_norm;          /* w NULL: none */
    struct norm post_attn_norm;          /* sandwich only */
    struct norm ffn_norm;
    struct linear gate, up, down;
    struct norm post_ffn_norm;           /* sandwich only */
};

struct model {
    struct model_config config;
    struct linear embed;                 /* w [vocab, hidden]; name "model.embed_tokens" */
    struct model_layer *layer;           /* [config.layers] */
    struct norm final_norm;
    struct linear head;                  /* w [vocab, hidden]; tied: embed's tensor; "lm_head" */
    struct linear score;                 /* w [1, hidden]: a reward model's head; in 0: none */
    float *rope_cos[MODEL_MAX_ROPES];    /* [rope_positions, head_dim / 2] */
    float *rope_sin[MODEL_MAX_ROPES];
    int64_t rope_positions;
    struct arena base;                   /* derived weights, names, norm copies, rope tables */
    struct gguf *gguf;                   /* the mapped files the tensors point into, or NULL */
    struct safetensors *safetensors;
    struct tensor_panels *panels;        /* of the linears (panels.h), or NULL */
    char *path;
};

enum quantize { QUANTIZE_NONE, QUANTIZE_NF4 };

struct model_options {
    int64_t context;        /* positions to prepare RoPE tables for; 0: min(config.context, 8192) */
    enum quantize quantize; /* of the linear weights of a Hugging Face folder, at load */
};

/* Opens a GGUF file or a Hugging Face folder (config.json + safetensors). Fails with INPUT: file,
 * tensor, what was expected; MEMORY. Close with model_close. */
MUST_USE enum status model_open(struct model **out, const char *path,
                                const struct model_options *options);

/* A random model from a config.json (training from scratch): weights N(0, initializer_range) keyed
 * by (seed, tensor), norms 1 (or 0 where plus-one), in F32. */
MUST_USE enum status model_open_random(struct model **out, const char *config_path, uint64_t seed,
                                       const struct model_options *options);

/* Frees the model and unmaps its files; hooks belong to who attached them. NULL is allowed. */
void model_close(struct model *m);

/* Calls fn for every linear (embedding and head included), in module order. A tied head is skipped.
 */
typedef enum status (*linear_fn)(void *ctx, struct linear *l);

/* Stops at fn's first failure and returns it. */
MUST_USE enum status model_each_linear(struct model *m, linear_fn fn, void *ctx);

/* Calls fn for every norm. */
typedef enum status (*norm_fn)(void *ctx, struct norm *n);

/* Layers in order, each in module order, then the final norm. Stops at fn's first failure. */
MUST_USE enum status model_each_norm(struct model *m, norm_fn fn, void *ctx);

/* Makes every weight a parameter (full training): adds entries named as Hugging Face saves them to
 * `params`, hangs HOOK_FULL on every site. Call model_full_bind after sealing: copies the weights'
 * values in and points the sites at them. Requires F32/F16/BF16 weights (others: RECIPE). */
MUST_USE enum status model_full_attach(struct model *m, struct param_set *params);

/* After sealing: copies the weights' values into `params`, then the sites read them there. */
MUST_USE enum status model_full_bind(struct model *m, struct param_set *params);

/* The same for a reward model: beside the weights its score head [1, hidden], that of a classifier
 * or a new one, normal with the config's initializer_range by (seed). The model's other head is not
 * read and not trained. Fail as those. */
MUST_USE enum status model_full_attach_score(struct model *m, struct param_set *params);

/* After sealing. */
MUST_USE enum status model_full_bind_score(struct model *m, struct param_set *params,
                                           uint64_t seed);

/* Number of weights of the base (embedding counted once when tied). */
int64_t model_parameter_count(const struct model *m);

/* Bytes of mapped and derived weights. */
size_t model_weight_bytes(const struct model *m);

/* What a forward leaves for its backward: opaque, lives in pass->step. */
struct model_state;

/* Runs the blocks over the batch. *hidden = [n_out, hidden] final-norm outputs at out_rows (in
 * p->step); *state is needed by model_backward (NULL unless p->grad). Fails with MEMORY, INPUT on
 * ids or positions the model does not have, RECIPE on hooks where they don't fit. */
MUST_USE enum status model_forward(const struct model *m, const struct pass *p,
                                   const struct batch *b, float **hidden,
                                   struct model_state **state);

/* Log-probs of b->targets (of the T-scaled distribution; 0 where the target is -1), entropies, best
 * ids and mean log-probs from hidden [n_out, hidden], in vocabulary chunks never stored. Any of the
 * outputs [n_out] may be NULL; lse is needed by the backward. */
struct head_result {
    float *logp;
    float *entropy;
    float *lse;
    int32_t *best;
    float *mean; /* mean over the vocabulary of log p */
    float
        *slope; /* [n_out, hidden] d logp / d hidden, 0 where the target is -1: model_head_slope */
};

/* Takes head->slope from p->step where it spares the backward the vocabulary: in passes with a
 * backward, while the head itself is not trained. Then dhidden = dlogp slope, unless entropies or
 * means have derivatives too. Fails with MEMORY. */
MUST_USE enum status model_head_slope(const struct model *m, const struct pass *p, int64_t n_out,
                                      struct head_result *head);

/* Fails with MEMORY when scratch is full, INPUT on a target outside the vocabulary. */
MUST_USE enum status model_head(const struct model *m, const struct pass *p, const float *hidden,
                                int64_t n_out, const int32_t *targets, float temperature,
                                const struct head_result *out);

/* Running statistics of a row behind one of the head's vocabulary chunks: sum exp(z - max) of the
 * ids so far and their largest z. */
struct logit_mark {
    float max;
    float sum;
};

/* All logits [n_out, vocab] (after softcap and 1 / temperature) plus the same statistics, bit-equal
 * to model_head's: the sampler's form. marks: NULL, or [n_out, chunks of OPS_HEAD_CHUNK ids]. */
MUST_USE enum status model_logits(const struct model *m, const struct pass *p, const float *hidden,
                                  int64_t n_out, float temperature, float *logits,
                                  struct logit_stats *stats, struct logit_mark *marks);

/* A teacher over the same vocabulary and what the student's rows say against it. */
struct distill {
    const struct model *teacher;
    const float *teacher_hidden; /* [n_out, its hidden] */
    const float *teacher_lse;    /* [n_out] of its logits */
    const float *lse;            /* [n_out] of the student's */
    double beta;                 /* in [0, 1]: see distill.c */
    double *loss;                /* [n_out] divergence of each row */
    double *self;                /* [n_out] for the backward */
};

/* Fills d->loss and d->self for rows hidden [n_out, hidden], at temperature 1. Fails with MEMORY.
 */
MUST_USE enum status model_divergence(const struct model *m, const struct pass *p,
                                      const float *hidden, int64_t n_out, const struct distill *d);

/* Bytes of scratch that model_divergence and its backward take at most. */
size_t model_divergence_scratch(void);

/* The scalar head: score [n_out] = hidden w^T without bias, of rows [n_out, hidden]. The model has
 * one (m->score). Fails with what the backend reports. */
MUST_USE enum status model_score(const struct model *m, const struct pass *p, const float *hidden,
                                 int64_t n_out, float *score);

/* Gradients: dlogp [n_out], dentropy and dmean [n_out] or NULL -> every hook parameter's gradient
 * is added to its param_set. `head` holds lse (and entropy) as computed by model_head. d_embed:
 * NULL, or [T, hidden] receives d loss / d embedding output (for tests and soft prompts). Uses
 * *state up. Fails with MEMORY. */
struct model_backward_args {
    const struct batch *batch;
    const float *hidden;
    struct model_state *state;
    float temperature;
    const struct head_result *head;
    const float *dlogp;
    const float *dentropy;
    const float *dmean; /* of head_result's mean */
    const struct distill *distill; /* then dlogp is each row's weight; NULL: none */
    const float *dscore; /* [n_out] of the scalar head, instead of all of these; NULL: none */
    float *d_embed;
};

/* Walks the blocks in reverse down to the lowest trained one. Fails with MEMORY. */
MUST_USE enum status model_backward(const struct model *m, const struct pass *p,
                                    const struct model_backward_args *a);

/* Bytes of step and scratch arena that a pass over `tokens` tokens with `n_out` outputs needs: the
 * same plan code in measure mode. */
MUST_USE enum status model_plan(const struct model *m, const struct pass *p, int64_t tokens,
                                int64_t n_out, size_t *step_bytes, size_t *scratch_bytes);
