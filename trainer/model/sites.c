/* The table of weights; see sites.h. */
#include "trainer/model/sites.h"

#include <inttypes.h>
#include <string.h>

#define AT(field) offsetof(struct model_layer, field)
#define NORM_AT(field) .offset = AT(field), .linear = false
#define LINEAR_AT(field) .offset = AT(field), .linear = true

/* `permuted` is DIM_HIDDEN for rows that never are. */
static const struct site SITES[] = {
    {"self_attn.q_proj", "attn_q", LINEAR_AT(q), .bias = BIAS_QKV, .out = DIM_Q, .in = DIM_HIDDEN,
     .permuted = DIM_Q},
    {"self_attn.k_proj", "attn_k", LINEAR_AT(k), .bias = BIAS_QKV, .out = DIM_KV, .in = DIM_HIDDEN,
     .permuted = DIM_KV},
    {"self_attn.v_proj", "attn_v", LINEAR_AT(v), .bias = BIAS_QKV, .out = DIM_KV, .in = DIM_HIDDEN},
    {"self_attn.o_proj", "attn_output", LINEAR_AT(o), .bias = BIAS_O, .out = DIM_HIDDEN,
     .in = DIM_Q},
    {"self_attn.q_norm", "attn_q_norm", NORM_AT(q_norm), .when = WHEN_QK_NORM, .out = DIM_HEAD},
    {"self_attn.k_norm", "attn_k_norm", NORM_AT(k_norm), .when = WHEN_QK_NORM, .out = DIM_HEAD},
    {"mlp.gate_proj", "ffn_gate", LINEAR_AT(gate), .bias = BIAS_MLP, .out = DIM_FF,
     .in = DIM_HIDDEN},
    {"mlp.up_proj", "ffn_up", LINEAR_AT(up), .bias = BIAS_MLP, .out = DIM_FF, .in = DIM_HIDDEN},
    {"mlp.down_proj", "ffn_down", LINEAR_AT(down), .bias = BIAS_MLP, .out = DIM_HIDDEN,
     .in = DIM_FF},
    {"input_layernorm", "attn_norm", NORM_AT(attn_norm), .out = DIM_HIDDEN},
    /* The same Hugging Face name is the norm before the FFN in one placement and the norm after
     * attention in the other. */
    {"post_attention_layernorm", "ffn_norm", NORM_AT(ffn_norm), .when = WHEN_PRE,
     .out = DIM_HIDDEN},
    {"post_attention_layernorm", "post_attention_norm", NORM_AT(post_attn_norm),
     .when = WHEN_SANDWICH, .out = DIM_HIDDEN},
    {"pre_feedforward_layernorm", "ffn_norm", NORM_AT(ffn_norm), .when = WHEN_SANDWICH,
     .out = DIM_HIDDEN},
    {"post_feedforward_layernorm", "post_ffw_norm", NORM_AT(post_ffn_norm), .when = WHEN_SANDWICH,
     .out = DIM_HIDDEN},
};

static const struct site EMBED = {"model.embed_tokens", "token_embd", .linear = true,
                                  .out = DIM_VOCAB, .in = DIM_HIDDEN};
static const struct site FINAL_NORM = {"model.norm", "output_norm", .out = DIM_HIDDEN};
static const struct site HEAD = {"lm_head", "output", .linear = true, .out = DIM_VOCAB,
                                 .in = DIM_HIDDEN};

const struct site *site_at(int i)
{
    return i >= 0 && i < (int)(sizeof SITES / sizeof SITES[0]) ? &SITES[i] : NULL;
}

const struct site *site_embed(void)
{
    return &EMBED;
}

const struct site *site_final_norm(void)
{
    return &FINAL_NORM;
}

const struct site *site_head(void)
{
    return &HEAD;
}

bool site_present(const struct site *s, const struct model_config *c)
{
    switch (s->when) {
    case WHEN_PRE:
        return c->family->placement == PLACE_PRE;
    case WHEN_SANDWICH:
        return c->family->placement == PLACE_SANDWICH;
    case WHEN_QK_NORM:
        return c->family->qk_norm == QK_NORM_HEAD;
    case WHEN_ALWAYS:
        break;
    }
    return true;
}

bool site_has_bias(const struct site *s, const struct model_config *c)
{
    switch (s->bias) {
    case BIAS_QKV:
        return c->qkv_bias;
    case BIAS_O:
        return c->o_bias;
    case BIAS_MLP:
        return c->mlp_bias;
    case BIAS_NONE:
        break;
    }
    return false;
}

int64_t site_size(enum site_dim dim, const struct model_config *c)
{
    switch (dim) {
    case DIM_HIDDEN:
        return c->hidden;
    case DIM_Q:
        return c->heads * c->head_dim;
    case DIM_KV:
        return c->kv_heads * c->head_dim;
    case DIM_FF:
        return c->ff;
    case DIM_HEAD:
        return c->head_dim;
    case DIM_VOCAB:
        break;
    }
    return c->vocab;
}

void site_hf_name(const struct site *s, int64_t layer, char *buf)
{
    if (layer < 0) {
        (void)snprintf(buf, SITE_NAME_BYTES, "%s", s->hf);
    } else {
        (void)snprintf(buf, SITE_NAME_BYTES, "model.layers.%" PRId64 ".%s", layer, s->hf);
    }
}

void site_gguf_name(const struct site *s, int64_t layer, char *buf)
{
    if (layer < 0) {
        (void)snprintf(buf, SITE_NAME_BYTES, "%s", s->gguf);
    } else {
        (void)snprintf(buf, SITE_NAME_BYTES, "blk.%" PRId64 ".%s", layer, s->gguf);
    }
}

struct linear *site_linear(const struct site *s, struct model_layer *layer)
{
    return (struct linear *)(void *)((char *)layer + s->offset);
}

struct norm *site_norm(const struct site *s, struct model_layer *layer)
{
    return (struct norm *)(void *)((char *)layer + s->offset);
}

enum status model_each_linear(struct model *m, linear_fn fn, void *ctx)
{
    TRY(fn(ctx, &m->embed));
    for (int64_t i = 0; i < m->config.layers; i++) {
        for (int k = 0; site_at(k); k++) {
            if (site_at(k)->linear && site_present(site_at(k), &m->config)) {
                TRY(fn(ctx, site_linear(site_at(k), &m->layer[i])));
            }
        }
    }
    return m->config.tied ? STATUS_OK : fn(ctx, &m->head);
}

enum status model_each_norm(struct model *m, norm_fn fn, void *ctx)
{
    for (int64_t i = 0; i < m->config.layers; i++) {
        for (int k = 0; site_at(k); k++) {
            if (!site_at(k)->linear && site_present(site_at(k), &m->config)) {
                TRY(fn(ctx, site_norm(site_at(k), &m->layer[i])));
            }
        }
    }
    return fn(ctx, &m->final_norm);
}

int64_t site_row_from_gguf(int64_t row, int64_t head)
{
    const int64_t in_head = row % head; /* (h, 2i + j) holds (h, j head/2 + i) */
    return row - in_head + in_head % 2 * (head / 2) + in_head / 2;
}
