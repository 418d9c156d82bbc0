/*
 * GGUF keys to the canonical configuration (spec models.md 1.6, formats.md 2). What llama.cpp keeps
 * in code and not in the file (windows and the second theta of Gemma) comes from the family row.
 */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "trainer/model/config_internal.h"

enum { KEY_BYTES = 160 };

/* "{arch}.{suffix}" into buf. */
static const char *arch_key(const struct model_config *c, const char *suffix, char buf[KEY_BYTES])
{
    (void)snprintf(buf, KEY_BYTES, "%s.%s", c->family->gguf_arch, suffix);
    return buf;
}

/* A whole number, or a list (one per layer) whose entries agree. fallback < 0: required. */
static enum status read_int(const struct model_config *c, const struct gguf *g, const char *suffix,
                            int64_t fallback, int64_t *out)
{
    char key[KEY_BYTES];
    (void)arch_key(c, suffix, key);
    const int64_t count = gguf_array_count(g, key);
    if (count == 0) {
        if (fallback >= 0 && !gguf_has(g, key)) {
            *out = fallback;
            return STATUS_OK;
        }
        return gguf_int(g, key, out);
    }
    TRY(gguf_array_int(g, key, 0, out));
    for (int64_t i = 1; i < count; i++) {
        int64_t other;
        TRY(gguf_array_int(g, key, i, &other));
        if (other != *out) {
            return FAIL(INPUT, "%s: key '%s': layers of different sizes (%" PRId64 " and %" PRId64
                               ") are not supported", gguf_path(g), key, *out, other);
        }
    }
    return STATUS_OK;
}

static enum status read_float(const struct model_config *c, const struct gguf *g,
                              const char *suffix, double fallback, double *out)
{
    char key[KEY_BYTES];
    if (!gguf_has(g, arch_key(c, suffix, key))) {
        *out = fallback;
        return STATUS_OK;
    }
    return gguf_float(g, key, out);
}

static enum status read_sizes(struct model_config *c, const struct gguf *g)
{
    int64_t value_length;
    int64_t rope_dims;
    int64_t experts;
    TRY(read_int(c, g, "block_count", -1, &c->layers));
    TRY(read_int(c, g, "embedding_length", -1, &c->hidden));
    TRY(read_int(c, g, "feed_forward_length", -1, &c->ff));
    TRY(read_int(c, g, "attention.head_count", -1, &c->heads));
    TRY(read_int(c, g, "attention.head_count_kv", c->heads > 0 ? c->heads : 0, &c->kv_heads));
    TRY(read_int(c, g, "context_length", 2048, &c->context));
    if (c->heads < 1 || c->hidden < 1) {
        return FAIL(INPUT, "%s: head count %" PRId64 " or embedding length %" PRId64
                           " is not positive", gguf_path(g), c->heads, c->hidden);
    }
    TRY(read_int(c, g, "attention.key_length", c->hidden / c->heads, &c->head_dim));
    TRY(read_int(c, g, "attention.value_length", c->head_dim, &value_length));
    TRY(read_int(c, g, "rope.dimension_count", c->head_dim, &rope_dims));
    TRY(read_int(c, g, "expert_count", 0, &experts));
    if (value_length != c->head_dim || rope_dims != c->head_dim || experts > 0) {
        return FAIL(INPUT, "%s: key length %" PRId64 ", value length %" PRId64
                           ", RoPE dimensions %" PRId64 ", %" PRId64
                           " experts: Graft reads dense models with equal lengths",
                    gguf_path(g), c->head_dim, value_length, rope_dims, experts);
    }
    return STATUS_OK;
}

/* The embedding has the vocabulary's true size; the key is often missing. */
static enum status read_vocab(struct model_config *c, const struct gguf *g)
{
    const struct gguf_tensor *t = gguf_tensor_find(g, "token_embd.weight");
    if (!t || t->view.dims != 2) {
        return FAIL(INPUT, "%s: tensor 'token_embd.weight' is %s", gguf_path(g),
                    t ? "no matrix" : "missing");
    }
    c->vocab = t->view.shape[0];
    c->tied = gguf_tensor_find(g, "output.weight") == NULL;
    c->qkv_bias = c->family->qkv_bias || gguf_tensor_find(g, "blk.0.attn_q.bias") != NULL;
    c->o_bias = gguf_tensor_find(g, "blk.0.attn_output.bias") != NULL;
    c->mlp_bias = gguf_tensor_find(g, "blk.0.ffn_down.bias") != NULL;
    return STATUS_OK;
}

/* rope_freqs.weight: divisors of the frequencies, where llama3 scaling was baked in. */
static enum status read_divisors(struct model_config *c, const struct gguf *g)
{
    const struct gguf_tensor *t = gguf_tensor_find(g, "rope_freqs.weight");
    if (!t) {
        return STATUS_OK;
    }
    const bool fits = t->supported && t->view.dtype == DTYPE_F32 && t->view.dims == 1
                      && t->view.shape[0] == c->head_dim / 2
                      && (uintptr_t)t->view.data % sizeof(float) == 0;
    if (!fits) {
        return FAIL(INPUT, "%s: tensor 'rope_freqs.weight' at byte %" PRIu64
                           ": expected F32 [%" PRId64 "]", gguf_path(g), t->offset,
                    c->head_dim / 2);
    }
    c->ropes[0].divisors = t->view.data;
    for (int64_t i = 0; i < c->head_dim / 2; i++) {
        if (!(c->ropes[0].divisors[i] > 0.0f)) {
            return FAIL(INPUT, "%s: rope_freqs.weight[%" PRId64 "] is not positive", gguf_path(g),
                        i);
        }
    }
    return STATUS_OK;
}

static enum status read_yarn(struct model_config *c, const struct gguf *g, struct rope_config *r)
{
    TRY(read_float(c, g, "rope.scaling.yarn_beta_fast", 32.0, &r->beta_fast));
    TRY(read_float(c, g, "rope.scaling.yarn_beta_slow", 1.0, &r->beta_slow));
    TRY(read_float(c, g, "rope.scaling.attn_factor", 1.0, &r->magnitude));
    /* The key leaves out the part that ggml multiplies in itself. */
    r->magnitude *= r->factor > 1.0 ? 0.1 * log(r->factor) + 1.0 : 1.0;
    return STATUS_OK;
}

static enum status read_rope(struct model_config *c, const struct gguf *g)
{
    struct rope_config *r = &c->ropes[0];
    char key[KEY_BYTES];
    struct gguf_string type = {"none", 4};
    double linear;
    *r = (struct rope_config){.low_freq_factor = 1.0, .high_freq_factor = 4.0};
    TRY(read_float(c, g, "rope.freq_base", c->family->default_theta, &r->theta));
    TRY(read_float(c, g, "rope.scale_linear", 0.0, &linear)); /* before 2023-10 */
    TRY(read_float(c, g, "rope.scaling.factor", linear > 0.0 ? linear : 1.0, &r->factor));
    TRY(read_int(c, g, "rope.scaling.original_context_length", c->context, &r->original_context));
    if (gguf_has(g, arch_key(c, "rope.scaling.type", key))) {
        TRY(gguf_string(g, key, &type));
    } else if (r->factor != 1.0) {
        type = (struct gguf_string){"linear", 6};
    }
    if (type.length == 6 && memcmp(type.data, "linear", 6) == 0) {
        r->scaling = ROPE_LINEAR;
    } else if (type.length == 4 && memcmp(type.data, "yarn", 4) == 0) {
        r->scaling = ROPE_YARN;
        TRY(read_yarn(c, g, r));
    } else if (type.length != 4 || memcmp(type.data, "none", 4) != 0) {
        return FAIL(INPUT, "%s: key '%s' is '%.*s'; known: none, linear, yarn", gguf_path(g), key,
                    type.length < 40 ? (int)type.length : 40, type.data);
    }
    c->rope_count = 1;
    if (c->family->local_theta > 0.0) {
        c->rope_count = 2;
        c->ropes[1] = (struct rope_config){.scaling = ROPE_DEFAULT};
        TRY(read_float(c, g, "rope.freq_base_swa", c->family->local_theta, &c->ropes[1].theta));
    }
    return read_divisors(c, g);
}

/* llama.cpp honours windows only in architectures that have a pattern. */
static enum status read_windows(struct model_config *c, const struct gguf *g)
{
    const int period = c->family->sliding_period;
    int64_t window = 0;
    if (period > 0) {
        TRY(read_int(c, g, "attention.sliding_window", 0, &window));
    }
    if (window < 0 || window > CONFIG_MAX_CONTEXT) {
        return FAIL(INPUT, "%s: sliding window %" PRId64 " is impossible", gguf_path(g), window);
    }
    for (int64_t i = 0; i < c->layers; i++) {
        const bool slides = period > 0 && (i + 1) % period != 0;
        c->layer[i].window = slides ? window : 0;
        c->layer[i].rope = slides ? c->rope_count - 1 : 0;
    }
    return STATUS_OK;
}

/* Query scale and caps. The largest Gemma 2 (46 layers) and 3 (62) scale by (hidden / heads)^-0.5,
 * which no key says. */
static enum status read_scales(struct model_config *c, const struct gguf *g)
{
    double attn_cap;
    double final_cap;
    const bool gemma2 = strcmp(c->family->gguf_arch, "gemma2") == 0;
    const bool gemma3 = strcmp(c->family->gguf_arch, "gemma3") == 0;
    if ((gemma2 && c->layers == 46) || (gemma3 && c->layers == 62)) {
        c->attn_scale = (float)(1.0 / sqrt((double)c->hidden / (double)c->heads));
    }
    attn_cap = 0.0; /* no other attention looks at the key */
    if (gemma2) {
        TRY(read_float(c, g, "attn_logit_softcapping", 50.0, &attn_cap));
    }
    TRY(read_float(c, g, "final_logit_softcapping", gemma2 ? 30.0 : 0.0, &final_cap));
    c->attn_softcap = (float)attn_cap;
    c->final_softcap = (float)final_cap;
    return read_float(c, g, "attention.layer_norm_rms_epsilon", 1e-6, &c->norm_eps);
}

static enum status read_specials(struct model_config *c, const struct gguf *g)
{
    static const char *const STOPS[] = {"tokenizer.ggml.eos_token_id",
                                        "tokenizer.ggml.eot_token_id",
                                        "tokenizer.ggml.eom_token_id"};
    int64_t id;
    for (size_t i = 0; i < sizeof STOPS / sizeof STOPS[0]; i++) {
        if (gguf_has(g, STOPS[i])) {
            TRY(gguf_int(g, STOPS[i], &id));
            config_add_stop(c, id);
        }
    }
    if (gguf_has(g, "tokenizer.ggml.bos_token_id")) {
        TRY(gguf_int(g, "tokenizer.ggml.bos_token_id", &id));
        c->bos = id >= 0 && id <= INT32_MAX ? (int32_t)id : -1;
    }
    return STATUS_OK;
}

enum status model_config_from_gguf(struct model_config *c, const struct gguf *g)
{
    struct gguf_string arch;
    memset(c, 0, sizeof *c);
    c->bos = -1;
    c->initializer_range = 0.02;
    TRY(gguf_string(g, "general.architecture", &arch));
    c->family = family_by_gguf_arch(arch.data, arch.length);
    if (!c->family) {
        char known[256];
        return FAIL(INPUT, "%s: architecture '%.*s' is not supported; known: %s", gguf_path(g),
                    arch.length < 40 ? (int)arch.length : 40, arch.data,
                    family_list(true, known, sizeof known));
    }
    TRY(read_sizes(c, g));
    TRY(read_vocab(c, g));
    TRY(config_check_sizes(c, gguf_path(g)));
    TRY(read_scales(c, g));
    TRY(read_rope(c, g));
    TRY(config_finish(c, gguf_path(g)));
    TRY(read_windows(c, g));
    return read_specials(c, g);
}
