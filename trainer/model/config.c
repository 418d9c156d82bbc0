/* Checks and derived numbers that config.json and GGUF keys share; see config_internal.h. */
#include <inttypes.h>
#include <math.h>

#include "trainer/model/config_internal.h"

struct bound {
    const char *what;
    int64_t value;
    int64_t low;
    int64_t high;
};

enum status config_check_sizes(const struct model_config *c, const char *where)
{
    int64_t width;
    if (__builtin_mul_overflow(c->heads, c->head_dim, &width)) {
        width = INT64_MAX;
    }
    const struct bound bounds[] = {
        {"layers", c->layers, 1, MODEL_MAX_LAYERS},
        {"hidden size", c->hidden, 1, CONFIG_MAX_WIDTH},
        {"attention heads", c->heads, 1, CONFIG_MAX_WIDTH},
        {"key/value heads", c->kv_heads, 1, c->heads},
        {"head size", c->head_dim, 2, CONFIG_MAX_HEAD_DIM},
        {"heads times head size", width, 1, CONFIG_MAX_WIDTH},
        {"feed-forward size", c->ff, 1, CONFIG_MAX_WIDTH},
        {"vocabulary", c->vocab, 1, CONFIG_MAX_VOCAB},
        {"context", c->context, 1, CONFIG_MAX_CONTEXT},
    };
    for (size_t i = 0; i < sizeof bounds / sizeof bounds[0]; i++) {
        if (bounds[i].value < bounds[i].low || bounds[i].value > bounds[i].high) {
            return FAIL(INPUT, "%s: %s is %" PRId64 "; Graft reads %" PRId64 " to %" PRId64, where,
                        bounds[i].what, bounds[i].value, bounds[i].low, bounds[i].high);
        }
    }
    if (c->heads % c->kv_heads != 0) {
        return FAIL(INPUT, "%s: %" PRId64 " attention heads do not divide into %" PRId64
                           " key/value heads", where, c->heads, c->kv_heads);
    }
    if (c->head_dim % 2 != 0) {
        return FAIL(INPUT, "%s: head size %" PRId64 " is odd; RoPE rotates pairs", where,
                    c->head_dim);
    }
    return STATUS_OK;
}

static enum status check_rope(const struct rope_config *r, const char *where)
{
    if (!(r->theta > 0.0) || !isfinite(r->theta)) {
        return FAIL(INPUT, "%s: RoPE theta is %g; it must be positive", where, r->theta);
    }
    if (r->scaling != ROPE_DEFAULT && (!(r->factor > 0.0) || !isfinite(r->factor))) {
        return FAIL(INPUT, "%s: RoPE scaling factor is %g; it must be positive", where, r->factor);
    }
    const bool needs_context = r->scaling == ROPE_LLAMA3 || r->scaling == ROPE_YARN;
    if (needs_context && (r->original_context < 1 || r->original_context > CONFIG_MAX_CONTEXT)) {
        return FAIL(INPUT, "%s: RoPE scaling: original context %" PRId64 " is impossible", where,
                    r->original_context);
    }
    if (r->scaling == ROPE_LLAMA3
        && (!(r->low_freq_factor > 0.0) || !(r->high_freq_factor > 0.0))) {
        return FAIL(INPUT, "%s: RoPE type llama3 needs positive low_freq_factor and "
                           "high_freq_factor", where);
    }
    if (r->scaling == ROPE_YARN
        && (!(r->beta_fast > 0.0) || !(r->beta_slow > 0.0) || r->theta == 1.0
            || !isfinite(r->magnitude) || r->magnitude < 0.0)) {
        return FAIL(INPUT, "%s: RoPE type yarn has impossible numbers", where);
    }
    return STATUS_OK;
}

enum status config_finish(struct model_config *c, const char *where)
{
    if (!(c->norm_eps >= 0.0) || c->norm_eps > 1.0) {
        return FAIL(INPUT, "%s: norm epsilon %g is impossible", where, c->norm_eps);
    }
    for (int i = 0; i < c->rope_count; i++) {
        TRY(check_rope(&c->ropes[i], where));
    }
    if (c->attn_scale == 0.0f) {
        c->attn_scale = (float)(1.0 / sqrt((double)c->head_dim));
    }
    if (!isfinite(c->attn_scale) || !(c->attn_softcap >= 0.0f) || !(c->final_softcap >= 0.0f)) {
        return FAIL(INPUT, "%s: attention scale or soft cap is no finite positive number", where);
    }
    c->embed_scale = c->family->scale_embedding ? (float)sqrt((double)c->hidden) : 1.0f;
    return STATUS_OK;
}

void config_add_stop(struct model_config *c, int64_t id)
{
    if (id < 0 || id > INT32_MAX || c->stop_count >= MODEL_MAX_STOPS) {
        return;
    }
    for (int i = 0; i < c->stop_count; i++) {
        if (c->stops[i] == id) {
            return;
        }
    }
    c->stops[c->stop_count++] = (int32_t)id;
}
