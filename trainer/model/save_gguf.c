/* Models as GGUF files: keys, names, row order and packed types; see save.h. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "trainer/model/save_internal.h"

struct gguf_output {
    const struct model *model;
    const struct model_gguf_options *options;
    struct arena *arena;
    struct gguf_writer *writer; /* NULL in the measuring walk */
};

/* What the reader of the file will believe must be what the model does. */
static enum status check_expressible(const struct model_config *c)
{
    const int period = c->family->sliding_period;
    int64_t window = 0;
    if (!c->family->gguf_arch) {
        return FAIL(RECIPE, "GGUF has no architecture for %s; save a Hugging Face folder",
                    c->family->name);
    }
    for (int64_t i = 0; i < c->layers; i++) {
        const bool slides = period > 0 && (i + 1) % period != 0;
        if (slides && !window) {
            window = c->layer[i].window;
        }
        if (c->layer[i].window != (slides ? window : 0)) {
            return FAIL(RECIPE, "GGUF cannot say that layer %" PRId64 " of this %s has a window of "
                                "%" PRId64 "; save a Hugging Face folder", i,
                        c->family->gguf_arch, c->layer[i].window);
        }
    }
    const double plain = 1.0 / sqrt((double)c->head_dim);
    const double largest = 1.0 / sqrt((double)c->hidden / (double)c->heads);
    const bool by_hidden = period > 0 && (c->layers == 46 || c->layers == 62);
    if (fabs((double)c->attn_scale - (by_hidden ? largest : plain)) > 1e-6) {
        return FAIL(RECIPE, "GGUF cannot say that the attention scale is %g; save a Hugging Face "
                            "folder", (double)c->attn_scale);
    }
    return STATUS_OK;
}

static enum status write_int(struct gguf_writer *w, const struct model_config *c,
                             const char *suffix, int64_t value)
{
    char key[160];
    (void)snprintf(key, sizeof key, "%s.%s", c->family->gguf_arch, suffix);
    return gguf_write_u32(w, key, (uint32_t)value);
}

static enum status write_float(struct gguf_writer *w, const struct model_config *c,
                               const char *suffix, double value)
{
    char key[160];
    (void)snprintf(key, sizeof key, "%s.%s", c->family->gguf_arch, suffix);
    return gguf_write_f32(w, key, (float)value);
}

static enum status write_rope_keys(struct gguf_writer *w, const struct model_config *c)
{
    const struct rope_config *r = &c->ropes[0];
    char key[160];
    TRY(write_float(w, c, "rope.freq_base", r->theta));
    TRY(write_int(w, c, "rope.dimension_count", c->head_dim));
    if (c->rope_count > 1) {
        TRY(write_float(w, c, "rope.freq_base_swa", c->ropes[1].theta));
    }
    if (r->scaling != ROPE_LINEAR && r->scaling != ROPE_YARN) {
        return STATUS_OK; /* llama3 scaling is a tensor of divisors */
    }
    const char *type = r->scaling == ROPE_LINEAR ? "linear" : "yarn";
    (void)snprintf(key, sizeof key, "%s.rope.scaling.type", c->family->gguf_arch);
    TRY(gguf_write_string(w, key, type, strlen(type)));
    TRY(write_float(w, c, "rope.scaling.factor", r->factor));
    if (r->scaling == ROPE_LINEAR) {
        return STATUS_OK;
    }
    const double builtin = r->factor > 1.0 ? 0.1 * log(r->factor) + 1.0 : 1.0;
    TRY(write_int(w, c, "rope.scaling.original_context_length", r->original_context));
    TRY(write_float(w, c, "rope.scaling.yarn_beta_fast", r->beta_fast));
    TRY(write_float(w, c, "rope.scaling.yarn_beta_slow", r->beta_slow));
    return write_float(w, c, "rope.scaling.attn_factor", r->magnitude / builtin);
}

/* general.file_type, for people: the type of most weights. */
static uint32_t file_type(enum dtype dtype)
{
    static const uint32_t TYPES[DTYPE_COUNT] = {
        [DTYPE_F32] = 0,   [DTYPE_F16] = 1,  [DTYPE_BF16] = 32, [DTYPE_Q4_0] = 2,
        [DTYPE_Q4_1] = 3,  [DTYPE_Q5_0] = 8, [DTYPE_Q5_1] = 9,  [DTYPE_Q8_0] = 7,
        [DTYPE_Q4_K] = 15, [DTYPE_Q5_K] = 17, [DTYPE_Q6_K] = 18,
    };
    return TYPES[dtype];
}

static enum status write_keys(struct gguf_writer *w, const struct model *m,
                              const struct model_gguf_options *o)
{
    const struct model_config *c = &m->config;
    const char *arch = c->family->gguf_arch;
    TRY(gguf_write_string(w, "general.architecture", arch, strlen(arch)));
    TRY(gguf_write_string(w, "general.type", "model", 5));
    if (o->name) {
        TRY(gguf_write_string(w, "general.name", o->name, strlen(o->name)));
    }
    TRY(gguf_write_u32(w, "general.file_type", file_type(o->linear)));
    TRY(gguf_write_u32(w, "general.quantization_version", 2));
    TRY(write_int(w, c, "block_count", c->layers));
    TRY(write_int(w, c, "context_length", c->context));
    TRY(write_int(w, c, "embedding_length", c->hidden));
    TRY(write_int(w, c, "feed_forward_length", c->ff));
    TRY(write_int(w, c, "attention.head_count", c->heads));
    TRY(write_int(w, c, "attention.head_count_kv", c->kv_heads));
    TRY(write_int(w, c, "attention.key_length", c->head_dim));
    TRY(write_int(w, c, "attention.value_length", c->head_dim));
    TRY(write_float(w, c, "attention.layer_norm_rms_epsilon", c->norm_eps));
    TRY(write_int(w, c, "vocab_size", c->vocab));
    TRY(write_rope_keys(w, c));
    if (c->family->sliding_period > 0) {
        TRY(write_int(w, c, "attention.sliding_window", c->layer[0].window));
        TRY(write_float(w, c, "attn_logit_softcapping", (double)c->attn_softcap));
        TRY(write_float(w, c, "final_logit_softcapping", (double)c->final_softcap));
    }
    return o->keys ? o->keys(o->keys_ctx, w) : STATUS_OK;
}

static enum status add_tensor(struct gguf_output *g, const char *stem, const char *suffix,
                              const struct save_source *source)
{
    struct tensor view;
    char name[SITE_NAME_BYTES + 16];
    TRY(save_encode(g->arena, source, &view));
    (void)snprintf(name, sizeof name, "%s%s", stem, suffix);
    return g->writer ? gguf_write_tensor(g->writer, name, &view) : STATUS_OK;
}

/* The wanted type, or F16 where a row is no whole number of its blocks. */
static enum dtype fitting(enum dtype wanted, int64_t columns)
{
    return columns % dtype_row(wanted)->block == 0 ? wanted : DTYPE_F16;
}

static enum status visit(void *ctx, const struct site *site, int64_t layer,
                         const struct linear *l, const struct norm *n)
{
    struct gguf_output *g = ctx;
    const struct model_config *c = &g->model->config;
    const bool permuted = c->family->gguf_permuted_qk && site->permuted != DIM_HIDDEN;
    char stem[SITE_NAME_BYTES];
    site_gguf_name(site, layer, stem);
    struct save_source s = {.rows = 1,
                            .columns = site_size(site->out, c),
                            .dims = 1,
                            .dtype = DTYPE_F32,
                            .permute_head = permuted ? c->head_dim : 0};
    if (n) {
        s.values = n->w;
        s.add = c->norm_plus_one ? 1.0f : 0.0f;
        return add_tensor(g, stem, ".weight", &s);
    }
    const enum dtype wanted = layer < 0 ? g->options->embedding : g->options->linear;
    struct save_source matrix = {.linear = l,
                                 .rows = l->out,
                                 .columns = l->in,
                                 .dims = 2,
                                 .dtype = fitting(wanted, l->in),
                                 .permute_head = s.permute_head,
                                 .edit = g->options->edit,
                                 .edit_ctx = g->options->edit_ctx};
    TRY(add_tensor(g, stem, ".weight", &matrix));
    if (!l->bias) {
        return STATUS_OK;
    }
    s.values = l->bias;
    return add_tensor(g, stem, ".bias", &s);
}

/* rope_freqs.weight: plain frequency over scaled frequency, taken from the very tables' code. */
static enum status add_divisors(struct gguf_output *g)
{
    const struct model_config *c = &g->model->config;
    const struct rope_config *r = &c->ropes[0];
    const int64_t half = c->head_dim / 2;
    float *divisors;
    if (r->scaling != ROPE_LLAMA3 && !r->divisors) {
        return STATUS_OK;
    }
    TRY(arena_alloc(g->arena, (size_t)half, sizeof(float), &divisors));
    for (int64_t j = 0; divisors && j < half; j++) {
        divisors[j] = r->divisors ? r->divisors[j] : rope_divisor(r, c->head_dim, j);
    }
    const struct tensor view = {.dtype = DTYPE_F32,
                                .dims = 1,
                                .shape = {half},
                                .row_bytes = (size_t)half * sizeof(float),
                                .data = divisors};
    return g->writer ? gguf_write_tensor(g->writer, "rope_freqs.weight", &view) : STATUS_OK;
}

static enum status walk(struct gguf_output *g)
{
    TRY(save_walk(g->model, visit, g));
    return add_divisors(g);
}

enum status model_save_gguf(struct model *m, const char *path,
                            const struct model_gguf_options *options)
{
    enum status status = STATUS_OK;
    struct arena measure;
    struct arena data = {0};
    struct gguf_writer *writer = NULL;
    struct gguf_output g = {.model = m, .options = options, .arena = &measure};
    TRY(check_expressible(&m->config));
    arena_open_measure(&measure, "saved weights");
    TRY(walk(&g));
    TRY_TO(status, fail, arena_open(&data, "saved weights", measure.peak));
    TRY_TO(status, fail, gguf_writer_open(&writer, path));
    TRY_TO(status, fail, write_keys(writer, m, options));
    g.arena = &data;
    g.writer = writer;
    TRY_TO(status, fail, walk(&g));
    status = gguf_writer_finish(writer);
    arena_close(&data);
    return status;
fail:
    gguf_writer_abort(writer);
    arena_close(&data);
    return status;
}
