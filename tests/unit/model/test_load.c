/*
 * Loading and saving: a random model survives both file worlds bit for bit, full training binds to
 * its weights, and spoiled files are refused with a message that names file, tensor and cause.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "kernels/tensor/quant.h"
#include "tests/support/model_files.h"
#include "trainer/format/safetensors.h"

#define SIZES                                                                                      \
    "\"num_hidden_layers\":2,\"hidden_size\":64,\"intermediate_size\":96,"                         \
    "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"head_dim\":8,\"vocab_size\":48,"        \
    "\"max_position_embeddings\":64,\"initializer_range\":0.5,\"eos_token_id\":[2,3]"
#define MODEL(type, rest) "{\"model_type\":\"" type "\"," SIZES rest "}"

static const char *const CONFIGS[] = {
    MODEL("llama", ""),
    MODEL("llama", ",\"attention_bias\":true,\"mlp_bias\":true,\"tie_word_embeddings\":true"),
    MODEL("llama", ",\"rope_theta\":5e5,\"rope_scaling\":{\"type\":\"linear\",\"factor\":2.0}"),
    MODEL("llama", ",\"rope_theta\":5e5,\"rope_scaling\":{\"type\":\"llama3\",\"factor\":8.0,"
                   "\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,"
                   "\"original_max_position_embeddings\":16}"),
    MODEL("mistral", ",\"sliding_window\":null"),
    MODEL("qwen2", ""),
    MODEL("qwen3", ",\"tie_word_embeddings\":true"),
    MODEL("gemma", ""),
    MODEL("gemma3_text", ",\"query_pre_attn_scalar\":8,\"sliding_window\":5"),
};
enum { CONFIG_COUNT = sizeof CONFIGS / sizeof CONFIGS[0] };

static void need(enum status status, const char *what)
{
    if (status != STATUS_OK) {
        fail_msg("%s: %s (%s)", what, status_message(), status_trace());
    }
}

static void refused(const char *path, enum status expected, const char *says)
{
    struct model *m;
    const enum status status = model_open(&m, path, NULL);
    if (status != expected || !strstr(status_message(), says)) {
        fail_msg("status %d, message '%s', expected '%s'", (int)status, status_message(), says);
    }
    assert_null(m);
}

/* Linears of two models, compared in module order. */
struct both {
    struct model *other;
    struct linear *list[64];
    int count;
    int seen;
    double tolerance; /* of the largest weight; 0: equal bits */
};

static enum status collect(void *ctx, struct linear *l)
{
    struct both *b = ctx;
    b->list[b->count++] = l;
    return STATUS_OK;
}

static enum status compare_linear(void *ctx, struct linear *l)
{
    struct both *b = ctx;
    const struct linear *o = b->list[b->seen++];
    float mine[128];
    float theirs[128];
    assert_string_equal(l->name, o->name);
    assert_int_equal(l->out, o->out);
    assert_int_equal(l->in, o->in);
    for (int64_t r = 0; r < l->out; r++) {
        quant_decode(&l->w, r, 0, l->in, mine);
        quant_decode(&o->w, r, 0, l->in, theirs);
        for (int64_t i = 0; i < l->in; i++) {
            assert_true(fabs((double)mine[i] - (double)theirs[i]) <= b->tolerance);
        }
    }
    assert_int_equal(l->bias != NULL, o->bias != NULL);
    if (l->bias) {
        assert_memory_equal(l->bias, o->bias, (size_t)l->out * sizeof(float));
    }
    return STATUS_OK;
}

static void same_weights(struct model *a, struct model *b, double tolerance)
{
    struct both both = {.other = b, .tolerance = tolerance};
    need(model_each_linear(b, collect, &both), "collect");
    need(model_each_linear(a, compare_linear, &both), "compare");
    assert_int_equal(both.seen, both.count);
    assert_int_equal(model_parameter_count(a), model_parameter_count(b));
}

static void same_config(const struct model_config *a, const struct model_config *b)
{
    assert_int_equal(a->layers, b->layers);
    assert_int_equal(a->head_dim, b->head_dim);
    assert_int_equal(a->kv_heads, b->kv_heads);
    assert_int_equal(a->ff, b->ff);
    assert_int_equal(a->vocab, b->vocab);
    assert_int_equal(a->context, b->context);
    assert_int_equal(a->tied, b->tied);
    assert_true(fabs((double)a->attn_scale - (double)b->attn_scale) < 1e-7);
    assert_true(fabsf(a->embed_scale - b->embed_scale) < 1e-6f);
    assert_true(fabs(a->norm_eps - b->norm_eps) < 1e-12);
    assert_int_equal(a->rope_count, b->rope_count);
    for (int64_t i = 0; i < a->layers; i++) {
        assert_int_equal(a->layer[i].window, b->layer[i].window);
        assert_int_equal(a->layer[i].rope, b->layer[i].rope);
    }
}

static void same_tables(const struct model *a, const struct model *b)
{
    const int64_t n = a->rope_positions * a->config.head_dim / 2;
    assert_int_equal(a->rope_positions, b->rope_positions);
    for (int k = 0; k < a->config.rope_count; k++) {
        for (int64_t i = 0; i < n; i++) {
            assert_true(fabsf(a->rope_cos[k][i] - b->rope_cos[k][i]) < 2e-5f);
            assert_true(fabsf(a->rope_sin[k][i] - b->rope_sin[k][i]) < 2e-5f);
        }
    }
}

/* Give norms and biases values that a lost or shifted vector would change. */
static enum status shake_linear(void *ctx, struct linear *l)
{
    (void)ctx;
    float *bias = (float *)(uintptr_t)l->bias;
    for (int64_t i = 0; bias && i < l->out; i++) {
        bias[i] = (float)(i + 1) * 0.125f;
    }
    return STATUS_OK;
}

static enum status shake_norm(void *ctx, struct norm *n)
{
    float *w = (float *)(uintptr_t)n->w;
    for (int i = 0; i < 8; i++) {
        w[i] = (float)(*(int *)ctx + i) * 0.0625f;
    }
    (*(int *)ctx)++;
    return STATUS_OK;
}

static struct model *shaken_model(const struct model_files *f, const char *config)
{
    int start = 3;
    struct model *m = model_files_random(f, config, 7);
    need(model_each_linear(m, shake_linear, NULL), "biases");
    need(model_each_norm(m, shake_norm, &start), "norms");
    return m;
}

/* Effective norm weights: what multiplies, whichever world they come from. */
struct norm_list {
    float w[64][8];
    float add;
    int count;
};

static enum status collect_norm(void *ctx, struct norm *n)
{
    struct norm_list *l = ctx;
    for (int i = 0; i < 8; i++) {
        l->w[l->count][i] = n->w[i] + l->add;
    }
    l->count++;
    return STATUS_OK;
}

static void same_norms(struct model *a, struct model *b)
{
    static struct norm_list la;
    static struct norm_list lb;
    la = (struct norm_list){.add = a->config.norm_plus_one ? 1.0f : 0.0f};
    lb = (struct norm_list){.add = b->config.norm_plus_one ? 1.0f : 0.0f};
    need(model_each_norm(a, collect_norm, &la), "norms");
    need(model_each_norm(b, collect_norm, &lb), "norms");
    assert_int_equal(la.count, lb.count);
    assert_memory_equal(la.w, lb.w, sizeof la.w);
}

static void folders_keep_every_bit(void **state)
{
    (void)state;
    struct model_files f;
    model_files_make(&f);
    for (int k = 0; k < CONFIG_COUNT; k++) {
        char path[MODEL_FILES_PATH];
        struct model *back;
        struct model *m = shaken_model(&f, CONFIGS[k]);
        model_files_save(&f, "hf", m, DTYPE_F32);
        need(model_open(&back, model_files_path(&f, "hf", path), NULL), CONFIGS[k]);
        same_config(&m->config, &back->config);
        same_weights(m, back, 0.0);
        same_norms(m, back);
        same_tables(m, back);
        assert_int_equal(back->config.stop_count, 2);
        assert_true(model_weight_bytes(back) >= (size_t)model_parameter_count(m) * sizeof(float));
        model_close(back);
        model_close(m);
    }
    model_files_remove(&f);
}

static void gguf_files_keep_every_bit(void **state)
{
    (void)state;
    struct model_files f;
    char path[MODEL_FILES_PATH];
    model_files_make(&f);
    (void)model_files_path(&f, "model.gguf", path);
    for (int k = 0; k < CONFIG_COUNT; k++) {
        struct model *back;
        struct model *m = shaken_model(&f, CONFIGS[k]);
        need(model_save_gguf(m, path, &(struct model_gguf_options){.linear = DTYPE_F32,
                                                                    .embedding = DTYPE_F32}),
             CONFIGS[k]);
        need(model_open(&back, path, NULL), CONFIGS[k]);
        same_config(&m->config, &back->config);
        same_weights(m, back, 0.0);
        same_norms(m, back);
        same_tables(m, back);
        assert_false(back->config.norm_plus_one);
        model_close(back);
        model_close(m);
    }
    model_files_remove(&f);
}

/* Packed q/k rows are put back without unpacking them. */
static void packed_gguf_stays_close(void **state)
{
    (void)state;
    struct model_files f;
    char path[MODEL_FILES_PATH];
    struct model *back;
    model_files_make(&f);
    (void)model_files_path(&f, "model.gguf", path);
    struct model *m = shaken_model(&f, CONFIGS[0]);
    need(model_save_gguf(m, path, &(struct model_gguf_options){.linear = DTYPE_Q8_0,
                                                                .embedding = DTYPE_F16}), path);
    need(model_open(&back, path, NULL), path);
    assert_int_equal(back->layer[1].q.w.dtype, DTYPE_Q8_0);
    assert_int_equal(back->embed.w.dtype, DTYPE_F16);
    same_weights(m, back, 0.02); /* half a step of Q8_0 at values up to 2.5 */
    model_close(back);
    model_close(m);
    model_files_remove(&f);
}

/* spec models.md 1.6: gguf row (h, 2i + j) is Hugging Face row (h, j d/2 + i). */
static void gguf_rows_of_q_are_permuted(void **state)
{
    (void)state;
    struct model_files f;
    char path[MODEL_FILES_PATH];
    struct gguf *g;
    model_files_make(&f);
    (void)model_files_path(&f, "model.gguf", path);
    struct model *m = shaken_model(&f, CONFIGS[0]);
    need(model_save_gguf(m, path, &(struct model_gguf_options){.linear = DTYPE_F32,
                                                                .embedding = DTYPE_F32}), path);
    need(gguf_open(&g, path), path);
    const struct gguf_tensor *t = gguf_tensor_find(g, "blk.1.attn_k.weight");
    const int64_t d = m->config.head_dim;
    for (int64_t h = 0; h < m->config.kv_heads; h++) {
        for (int64_t i = 0; i < d / 2; i++) {
            for (int64_t j = 0; j < 2; j++) {
                float ours[64];
                float file[64];
                quant_decode(&m->layer[1].k.w, h * d + j * d / 2 + i, 0, 64, ours);
                quant_decode(&t->view, h * d + 2 * i + j, 0, 64, file);
                assert_memory_equal(ours, file, sizeof ours);
            }
        }
    }
    gguf_close(g);
    model_close(m);
    model_files_remove(&f);
}

static void nf4_packs_the_layers_only(void **state)
{
    (void)state;
    struct model_files f;
    char path[MODEL_FILES_PATH];
    struct model *back;
    model_files_make(&f);
    struct model *m = shaken_model(&f, CONFIGS[0]);
    model_files_save(&f, "hf", m, DTYPE_BF16);
    need(model_open(&back, model_files_path(&f, "hf", path),
                    &(struct model_options){.quantize = QUANTIZE_NF4}), path);
    assert_int_equal(back->layer[0].q.w.dtype, DTYPE_NF4);
    assert_int_equal(back->layer[1].down.w.dtype, DTYPE_NF4);
    assert_int_equal(back->embed.w.dtype, DTYPE_BF16);
    assert_int_equal(back->head.w.dtype, DTYPE_BF16);
    same_weights(m, back, 0.4); /* half the widest gap of the codes, 0.15, at values up to 2.5 */
    struct param_set params;
    param_set_open(&params);
    assert_int_equal(model_full_attach(back, &params), STATUS_RECIPE);
    assert_non_null(strstr(status_message(), "NF4"));
    assert_null(back->embed.hooks);
    param_set_close(&params);
    model_close(back);
    model_close(m);
    model_files_remove(&f);
}

static void random_models_repeat_by_seed(void **state)
{
    (void)state;
    struct model_files f;
    model_files_make(&f);
    struct model *a = model_files_random(&f, CONFIGS[0], 7);
    struct model *b = model_files_random(&f, CONFIGS[0], 7);
    struct model *c = model_files_random(&f, CONFIGS[0], 8);
    same_weights(a, b, 0.0);
    const size_t bytes = (size_t)(a->layer[0].up.out * a->layer[0].up.in) * sizeof(float);
    const float *w = a->layer[0].up.w.data;
    assert_memory_not_equal(w, c->layer[0].up.w.data, bytes);
    assert_memory_not_equal(w, a->layer[1].up.w.data, bytes);
    double square = 0.0;
    for (size_t i = 0; i < bytes / sizeof(float); i++) {
        square += (double)w[i] * (double)w[i];
    }
    /* 6144 draws: the standard error of the deviation is 0.0045. */
    assert_true(fabs(sqrt(square / (double)(bytes / sizeof(float))) - 0.5) < 0.02);
    model_close(a);
    model_close(b);
    model_close(c);
    model_files_remove(&f);
}

static void full_training_binds_to_the_weights(void **state)
{
    (void)state;
    struct model_files f;
    model_files_make(&f);
    for (int k = 0; k < CONFIG_COUNT; k++) {
        struct param_set params;
        struct model *m = shaken_model(&f, CONFIGS[k]);
        struct model *same = shaken_model(&f, CONFIGS[k]);
        param_set_open(&params);
        need(model_full_attach(m, &params), CONFIGS[k]);
        need(param_set_seal(&params, NULL), CONFIGS[k]);
        need(model_full_bind(m, &params), CONFIGS[k]);
        same_weights(m, same, 0.0);
        same_norms(m, same);
        int64_t total = 0;
        for (int64_t i = 0; i < params.count; i++) {
            total += params.params[i].count;
            assert_int_equal(params.params[i].decay, params.params[i].dims > 1);
        }
        assert_int_equal(total, model_parameter_count(m));
        const int64_t q = param_set_find(&params, "model.layers.1.self_attn.q_proj.weight");
        assert_true(q >= 0);
        assert_ptr_equal(m->layer[1].q.w.data, param_value(&params, q));
        assert_int_equal(param_set_find(&params, "lm_head.weight") >= 0, !m->config.tied);
        if (m->config.tied) {
            assert_ptr_equal(m->head.w.data, m->embed.w.data);
            assert_int_equal(m->head.hooks->weight, m->embed.hooks->weight);
        }
        model_close(m);
        model_close(same);
        param_set_close(&params);
    }
    model_files_remove(&f);
}

static void spoiled_folders_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *tensor;
        enum spoil how;
        const char *says;
    } CASES[] = {
        {"model.embed_tokens.weight", SPOIL_DROP, "embed_tokens.weight' [48, 64] is missing"},
        {"lm_head.weight", SPOIL_DROP, "'lm_head.weight'"},
        {"model.norm.weight", SPOIL_DROP, "'model.norm.weight' [64] is missing"},
        {"model.layers.1.mlp.up_proj.weight", SPOIL_DROP, "up_proj.weight' [96, 64] is missing"},
        {"model.layers.1.self_attn.k_proj.weight", SPOIL_COLUMNS,
         "expected shape [16, 64], found [32, 32]"},
        {"model.layers.0.mlp.down_proj.weight", SPOIL_FLATTEN,
         "expected shape [64, 96], found [6144]"},
        {"model.embed_tokens.weight", SPOIL_COLUMNS, "expected shape [48, 64], found [96, 32]"},
    };
    struct model_files f;
    char path[MODEL_FILES_PATH];
    model_files_make(&f);
    struct model *m = shaken_model(&f, CONFIGS[0]);
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        model_files_save(&f, "hf", m, DTYPE_F32);
        model_files_spoil(&f, "hf", CASES[i].tensor, CASES[i].how, NULL);
        refused(model_files_path(&f, "hf", path), STATUS_INPUT, CASES[i].says);
        assert_non_null(strstr(status_message(), CASES[i].tensor));
    }
    model_files_save(&f, "hf", m, DTYPE_F32);
    model_files_write(&f, "hf/config.json", "{\"model_type\":");
    refused(path, STATUS_INPUT, "config.json:1");
    model_files_write(&f, "hf/config.json", MODEL("llama", ",\"quantization_config\":"
                                                           "{\"quant_method\":\"gptq\"}"));
    refused(path, STATUS_INPUT, "gptq");
    (void)unlink(model_files_path(&f, "hf/config.json", path));
    refused(model_files_path(&f, "hf", path), STATUS_INPUT, "config.json");
    refused(model_files_path(&f, "nothing", path), STATUS_INPUT, "No such file");
    model_close(m);
    model_files_remove(&f);
}

/* Spellings of the prefix, stray heads and generation_config.json. */
static void folders_of_other_spellings_load(void **state)
{
    (void)state;
    struct model_files f;
    char path[MODEL_FILES_PATH];
    struct model *back;
    model_files_make(&f);
    struct model *m = shaken_model(&f, MODEL("llama", ""));
    model_files_save(&f, "hf", m, DTYPE_F32);
    model_files_spoil(&f, "hf", "lm_head.weight", SPOIL_RENAME, "language_model.lm_head.weight");
    model_files_write(&f, "hf/generation_config.json", "{\"eos_token_id\":[5],\"bos_token_id\":4}");
    need(model_open(&back, model_files_path(&f, "hf", path), NULL), path);
    same_weights(m, back, 0.0);
    assert_int_equal(back->config.stop_count, 1);
    assert_int_equal(back->config.stops[0], 5);
    assert_int_equal(back->config.bos, 4);
    model_close(back);
    /* A head beside tied embeddings is not looked at. */
    model_files_write(&f, "hf/config.json", MODEL("llama", ",\"tie_word_embeddings\":true"));
    need(model_open(&back, path, &(struct model_options){.context = 10}), path);
    assert_ptr_equal(back->head.w.data, back->embed.w.data);
    assert_string_equal(back->head.name, "lm_head");
    assert_int_equal(back->rope_positions, 10);
    model_close(back);
    model_close(m);
    model_files_remove(&f);
}

static void spoiled_ggufs_are_refused(void **state)
{
    (void)state;
    /* The same number of bytes, so that only the model's own checks can notice. */
    static const uint64_t DIMS[2] = {32, 32};
    static const uint32_t TYPE = 26; /* I32 */
    static const uint32_t ZERO = 0;
    static const struct {
        const char *after;
        size_t skip;
        const void *bytes;
        size_t count;
        const char *says;
    } CASES[] = {
        {"general.architecture", 12, "llamb", 5, "known: llama"},
        {"llama.block_count", 4, &ZERO, 4, "layers"},
        {"llama.attention.head_count", 4, &ZERO, 4, "head count"},
        {"blk.1.ffn_up", 0, "q", 1, "blk.1.ffn_up"},
        {"output_norm", 0, "s", 1, "output_norm"},
        {"blk.0.attn_v.weight", 4, DIMS, 16, "expected shape [16, 64], found [32, 32]"},
        {"blk.1.ffn_down.weight", 20, &TYPE, 4, "has type ggml type 26"},
    };
    struct model_files f;
    char path[MODEL_FILES_PATH];
    model_files_make(&f);
    (void)model_files_path(&f, "model.gguf", path);
    struct model *m = shaken_model(&f, CONFIGS[0]);
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        need(model_save_gguf(m, path, &(struct model_gguf_options){.linear = DTYPE_F32,
                                                                    .embedding = DTYPE_F32}), path);
        model_files_patch(&f, "model.gguf", CASES[i].after, CASES[i].skip, CASES[i].bytes,
                          CASES[i].count);
        refused(path, STATUS_INPUT, CASES[i].says);
        assert_non_null(strstr(status_message(), "model.gguf"));
    }
    model_close(m);
    model_files_remove(&f);
}

/* Damage anywhere in header and keys is refused or harmless, never a crash (run under asan). */
static void damaged_ggufs_do_no_harm(void **state)
{
    (void)state;
    static const uint8_t VALUES[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
    struct model_files f;
    char path[MODEL_FILES_PATH];
    int refusals = 0;
    model_files_make(&f);
    (void)model_files_path(&f, "model.gguf", path);
    struct model *m = shaken_model(&f, CONFIGS[3]);
    for (size_t place = 0; place < 1500; place += 6) {
        struct model *back;
        need(model_save_gguf(m, path, &(struct model_gguf_options){.linear = DTYPE_Q8_0,
                                                                    .embedding = DTYPE_F32}), path);
        model_files_patch(&f, "model.gguf", "GGUF", place, &VALUES[place / 6 % sizeof VALUES], 1);
        if (model_open(&back, path, NULL) != STATUS_OK) {
            assert_true(strlen(status_message()) > 0);
            refusals++;
        }
        model_close(back);
    }
    assert_true(refusals > 100);
    model_close(m);
    model_files_remove(&f);
}

static enum status write_own_key(void *ctx, struct gguf_writer *w)
{
    TRY(gguf_write_string(w, "tokenizer.ggml.model", "gpt2", 4));
    TRY(gguf_write_u32(w, "tokenizer.ggml.eos_token_id", 9));
    TRY(gguf_write_i32s(w, "tokenizer.ggml.token_type", 2, (const int32_t[]){1, -3}));
    return gguf_write_strings(w, "tokenizer.ggml.tokens", 2, ctx);
}

/* Tokenizer keys come from a callback and can be copied on; what GGUF cannot say is refused. */
static void gguf_carries_tokenizer_keys(void **state)
{
    (void)state;
    static const struct gguf_string TOKENS[] = {{"a", 1}, {"bc", 2}};
    struct model_files f;
    char first[MODEL_FILES_PATH];
    char second[MODEL_FILES_PATH];
    struct model *a;
    struct model *b;
    struct gguf_string text;
    int64_t type;
    model_files_make(&f);
    struct model *m = shaken_model(&f, CONFIGS[0]);
    struct model_gguf_options o = {.linear = DTYPE_Q4_0, .embedding = DTYPE_Q8_0, .name = "tiny",
                                   .keys = write_own_key, .keys_ctx = (void *)(uintptr_t)TOKENS};
    need(model_save_gguf(m, model_files_path(&f, "a.gguf", first), &o), first);
    need(model_open(&a, first, NULL), first);
    o = (struct model_gguf_options){.linear = DTYPE_Q4_0, .embedding = DTYPE_Q8_0,
                                    .keys = model_copy_tokenizer_keys, .keys_ctx = a->gguf};
    need(model_save_gguf(m, model_files_path(&f, "b.gguf", second), &o), second);
    need(model_open(&b, second, NULL), second);
    assert_int_equal(b->config.stops[0], 9);
    need(gguf_array_string(b->gguf, "tokenizer.ggml.tokens", 1, &text), second);
    assert_int_equal(text.length, 2);
    need(gguf_array_int(b->gguf, "tokenizer.ggml.token_type", 1, &type), second);
    assert_int_equal(type, -3);
    same_weights(a, b, 0.0);
    model_close(a);
    model_close(b);
    model_close(m);
    m = shaken_model(&f, MODEL("mistral", ",\"sliding_window\":8"));
    assert_int_equal(model_save_gguf(m, first, &o), STATUS_RECIPE);
    assert_non_null(strstr(status_message(), "window"));
    model_close(m);
    model_files_remove(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(folders_keep_every_bit),
        cmocka_unit_test(gguf_files_keep_every_bit),
        cmocka_unit_test(packed_gguf_stays_close),
        cmocka_unit_test(gguf_rows_of_q_are_permuted),
        cmocka_unit_test(nf4_packs_the_layers_only),
        cmocka_unit_test(random_models_repeat_by_seed),
        cmocka_unit_test(full_training_binds_to_the_weights),
        cmocka_unit_test(spoiled_folders_are_refused),
        cmocka_unit_test(folders_of_other_spellings_load),
        cmocka_unit_test(spoiled_ggufs_are_refused),
        cmocka_unit_test(damaged_ggufs_do_no_harm),
        cmocka_unit_test(gguf_carries_tokenizer_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
