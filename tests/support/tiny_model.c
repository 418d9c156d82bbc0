/* Tiny random models; see tiny_model.h. */
#include "tests/support/tiny_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "kernels/base/rng.h"

static const char SHARED[] =
    "\"hidden_size\": 40, \"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"head_dim\": 12,"
    "\"intermediate_size\": 56, \"num_hidden_layers\": 2, \"vocab_size\": 4200,"
    "\"max_position_embeddings\": 512, \"initializer_range\": 0.25, \"rms_norm_eps\": 1e-6";

const struct tiny_config TINY_CONFIGS[] = {
    {"llama", "\"model_type\": \"llama\", \"attention_bias\": true, \"mlp_bias\": true"},
    {"mistral window", "\"model_type\": \"mistral\", \"sliding_window\": 9"},
    {"qwen2 tied", "\"model_type\": \"qwen2\", \"tie_word_embeddings\": true"},
    {"qwen3", "\"model_type\": \"qwen3\""},
    {"gemma2", "\"model_type\": \"gemma2\", \"query_pre_attn_scalar\": 16, \"sliding_window\": 11,"
               "\"attn_logit_softcapping\": 5.0, \"final_logit_softcapping\": 4.0"},
    {"gemma3", "\"model_type\": \"gemma3_text\", \"query_pre_attn_scalar\": 16,"
               "\"sliding_window\": 7, \"layer_types\": [\"sliding_attention\","
               "\"full_attention\"]"},
    {NULL, NULL},
};

void tiny_need(enum status status)
{
    if (status != STATUS_OK) {
        fail_msg("%s (%s)", status_message(), status_trace());
    }
}

void tiny_fill(struct tiny *t, float *dst, int64_t count, float std)
{
    const struct rng_key key = {.seed = 11, .purpose = RNG_INIT, .module = t->stream++};
    rng_fill_normal(&key, dst, count, std);
}

void tiny_ids(struct tiny *t, int32_t *dst, int64_t count)
{
    struct rng_key key = {.seed = 12, .purpose = RNG_DATA, .module = t->stream++};
    for (int64_t i = 0; i < count; i++) {
        key.position = (uint32_t)i;
        dst[i] = (int32_t)(rng_uniform(&key) * TINY_VOCAB);
    }
}

/* Weights of a fresh model lie in memory of its own; headers show them read-only. */
static float *writable(const float *w)
{
    return (float *)(uintptr_t)w;
}

static void vary(struct tiny *t, const float *w, int64_t count)
{
    float noise[TINY_VOCAB];
    tiny_fill(t, noise, count, 0.2f);
    for (int64_t i = 0; i < count; i++) {
        writable(w)[i] += noise[i];
    }
}

static enum status vary_bias(void *ctx, struct linear *l)
{
    if (l->bias) {
        vary(ctx, l->bias, l->out);
    }
    return STATUS_OK;
}

static enum status vary_norm(void *ctx, struct norm *n)
{
    struct tiny *t = ctx;
    const bool head = strstr(n->name, "q_norm") || strstr(n->name, "k_norm");
    vary(t, n->w, head ? t->m->config.head_dim : t->m->config.hidden);
    return STATUS_OK;
}

void tiny_open(struct tiny *t, const struct tiny_config *c)
{
    char path[] = "/tmp/graft-tiny-XXXXXX";
    *t = (struct tiny){0};
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_true(dprintf(fd, "{%s, %s}\n", SHARED, c->json) > 0);
    (void)close(fd);
    const enum status status = model_open_random(&t->m, path, 7, NULL);
    (void)unlink(path);
    tiny_need(status);
    tiny_need(model_each_linear(t->m, vary_bias, t));
    tiny_need(model_each_norm(t->m, vary_norm, t));
}

void tiny_close(struct tiny *t)
{
    param_set_close(&t->params);
    model_close(t->m);
    *t = (struct tiny){0};
}

struct lora {
    struct tiny *t;
    int64_t first_layer;
};

static enum status add_lora(void *ctx, struct linear *l)
{
    const struct lora *w = ctx;
    struct tiny *t = w->t;
    const int64_t rank = 3;
    long layer;
    char name[128];
    if (sscanf(l->name, "model.layers.%ld.", &layer) != 1 || layer < w->first_layer) {
        return STATUS_OK;
    }
    assert_true(t->hook_count < TINY_HOOKS);
    struct hook *h = &t->hooks[t->hook_count++];
    *h = (struct hook){.kind = HOOK_LOW_RANK,
                       .next = l->hooks,
                       .slot = -1,
                       .params = &t->params,
                       .rank = rank,
                       .scale = 1.5f};
    (void)snprintf(name, sizeof name, "%s.A%d", l->name, t->hook_count);
    TRY(param_set_add(&t->params, name, 2, (const int64_t[]){rank, l->in}, true, &h->a));
    (void)snprintf(name, sizeof name, "%s.B%d", l->name, t->hook_count);
    TRY(param_set_add(&t->params, name, 2, (const int64_t[]){l->out, rank}, true, &h->b));
    l->hooks = h;
    return STATUS_OK;
}

void tiny_attach_lora(struct tiny *t, int64_t first_layer)
{
    struct lora w = {t, first_layer};
    param_set_open(&t->params);
    tiny_need(model_each_linear(t->m, add_lora, &w));
    tiny_need(param_set_seal(&t->params, NULL));
    for (int64_t i = 0; i < t->params.count; i++) {
        tiny_fill(t, param_value(&t->params, i), t->params.params[i].count, 0.15f);
    }
}

void tiny_attach_full(struct tiny *t)
{
    param_set_open(&t->params);
    tiny_need(model_full_attach(t->m, &t->params));
    tiny_need(param_set_seal(&t->params, NULL));
    tiny_need(model_full_bind(t->m, &t->params));
}

void tiny_run_open(struct tiny_run *r, struct tiny *t, struct ops_context *ops,
                   const struct pack_unit *units, int64_t count, int flags)
{
    *r = (struct tiny_run){.temperature = 0.8f};
    tiny_need(arena_open(&r->pack, "pack", pack_bytes(units, count)));
    tiny_need(pack_build(&r->pack, units, count, &r->batch));
    r->pass = (struct pass){.ops = ops,
                            .step = &r->step,
                            .scratch = &r->scratch,
                            .hooks = !(flags & TINY_NO_HOOKS),
                            .grad = flags & TINY_GRAD,
                            .recompute = flags & TINY_CHECKPOINT        ? INT64_MAX
                                         : flags & TINY_CHECKPOINT_SOME ? 3
                                                                        : 0,
                            .unit_begin = r->batch.unit_begin,
                            .units = r->batch.units};
    size_t step;
    size_t scratch;
    const size_t n = (size_t)r->batch.n_out;
    tiny_need(model_plan(t->m, &r->pass, r->batch.tokens, r->batch.n_out, &step, &scratch));
    tiny_need(arena_open(&r->step, "step", step));
    tiny_need(arena_open(&r->scratch, "scratch", scratch));
    r->step.size = step; /* not a byte more than planned */
    r->scratch.size = scratch;
    tiny_need(arena_open(&r->own, "own", n * 32 + 16 * ARENA_ALIGN));
    tiny_need(arena_alloc(&r->own, n, sizeof(float), &r->head.logp));
    tiny_need(arena_alloc(&r->own, n, sizeof(float), &r->head.entropy));
    tiny_need(arena_alloc(&r->own, n, sizeof(float), &r->head.lse));
    tiny_need(arena_alloc(&r->own, n, sizeof(int32_t), &r->head.best));
    tiny_need(arena_alloc(&r->own, n, sizeof(float), &r->dlogp));
    tiny_fill(t, r->dlogp, r->batch.n_out, 1.0f);
    if (!(flags & TINY_NO_ENTROPY)) {
        tiny_need(arena_alloc(&r->own, n, sizeof(float), &r->dentropy));
        tiny_fill(t, r->dentropy, r->batch.n_out, 0.5f);
    }
}

void tiny_run_forward(struct tiny_run *r, struct tiny *t)
{
    arena_rewind(&r->step, 0);
    arena_rewind(&r->scratch, 0);
    tiny_need(model_forward(t->m, &r->pass, &r->batch, &r->hidden, &r->state));
    r->head.slope = NULL;
    tiny_need(model_head_slope(t->m, &r->pass, r->batch.n_out, &r->head));
    tiny_need(model_head(t->m, &r->pass, r->hidden, r->batch.n_out, r->batch.targets,
                         r->temperature, &r->head));
}

void tiny_run_backward(struct tiny_run *r, struct tiny *t, float *d_embed)
{
    const struct model_backward_args a = {.batch = &r->batch,
                                          .hidden = r->hidden,
                                          .state = r->state,
                                          .temperature = r->temperature,
                                          .head = &r->head,
                                          .dlogp = r->dlogp,
                                          .dentropy = r->dentropy,
                                          .d_embed = d_embed};
    tiny_need(model_backward(t->m, &r->pass, &a));
    assert_int_equal(r->step.peak, r->step.size); /* the plan promises no byte too many */
    assert_int_equal(r->scratch.used, 0);
}

void tiny_run_close(struct tiny_run *r)
{
    arena_close(&r->pack);
    arena_close(&r->own);
    r->step.size = (r->step.size + 4095) / 4096 * 4096; /* as it was mapped */
    r->scratch.size = (r->scratch.size + 4095) / 4096 * 4096;
    arena_close(&r->step);
    arena_close(&r->scratch);
}

double tiny_run_loss(const struct tiny_run *r)
{
    double loss = 0.0;
    for (int64_t i = 0; i < r->batch.n_out; i++) {
        loss += (double)r->dlogp[i] * (double)r->head.logp[i];
        loss += r->dentropy ? (double)r->dentropy[i] * (double)r->head.entropy[i] : 0.0;
    }
    return loss;
}

void tiny_same_bits(const char *what, const float *a, const float *b, int64_t count)
{
    int64_t differ = 0;
    int64_t first = -1;
    for (int64_t i = 0; i < count; i++) {
        if (memcmp(&a[i], &b[i], sizeof *a) != 0) {
            first = differ++ == 0 ? i : first;
        }
    }
    if (differ) {
        fail_msg("%s: %lld of %lld numbers differ, the first at %lld: %.9g and %.9g", what,
                 (long long)differ, (long long)count, (long long)first, (double)a[first],
                 (double)b[first]);
    }
}
