/*
 * LoRA as a GGUF adapter for llama.cpp (spec adapters.md 7). llama.cpp computes alpha / rank itself
 * and knows neither rsLoRA nor alpha_pattern: where one alpha cannot say every scale, the scale
 * goes into B and alpha is 0, which llama.cpp takes as scale 1.
 */
#include <math.h>
#include <string.h>

#include "adapters/adapter_internal.h"
#include "trainer/model/sites.h"

/* Where a wrapped module stands in a GGUF file. */
struct place {
    char stem[SITE_NAME_BYTES];
    int64_t permute_head; /* > 0: rows are permuted in heads of this size */
};

static enum status find_place(const struct model *m, const struct linear *l, struct place *out)
{
    for (int64_t i = 0; i < m->config.layers; i++) {
        for (int k = 0; site_at(k); k++) {
            const struct site *s = site_at(k);
            if (!s->linear || site_linear(s, &m->layer[i]) != l) {
                continue;
            }
            const bool permuted = m->config.family->gguf_permuted_qk && s->permuted != DIM_HIDDEN;
            site_gguf_name(s, i, out->stem);
            out->permute_head = permuted ? m->config.head_dim : 0;
            return STATUS_OK;
        }
    }
    return FAIL(RECIPE, "%s has no name in GGUF adapters", l->name);
}

/* The one alpha that gives every module its scale by alpha / rank, or 0. */
static double common_alpha(const struct adapter *a)
{
    const double alpha = (double)a->sites[0].hook.scale * (double)a->sites[0].hook.rank;
    for (int64_t i = 0; i < a->count; i++) {
        const struct hook *h = &a->sites[i].hook;
        const double rank = (double)h->rank;
        if (fabs(alpha / rank - (double)h->scale) > 1e-7 * fabs((double)h->scale)) {
            return 0.0;
        }
    }
    return alpha;
}

/* B [out, rank] in the file's row order, times `scale`, into `dst`. */
static void fill_b(const struct linear *l, const struct hook *h, const struct place *place,
                   float scale, float *dst)
{
    const float *b = param_value(h->params, h->b);
    for (int64_t r = 0; r < l->out; r++) {
        const int64_t from = place->permute_head ? site_row_from_gguf(r, place->permute_head) : r;
        for (int64_t k = 0; k < h->rank; k++) {
            dst[r * h->rank + k] = scale * b[from * h->rank + k];
        }
    }
}

/* `at`: where this module's B goes; moved on. */
static enum status add_site(struct gguf_writer *w, const struct model *m,
                            const struct adapter_site *site, bool fold, float **at)
{
    const struct hook *h = &site->hook;
    struct place place;
    char name[SITE_NAME_BYTES + 16];
    if (h->kind != HOOK_LOW_RANK) {
        return FAIL(RECIPE, "%s: GGUF adapters hold LoRA only", site->linear->name);
    }
    TRY(find_place(m, site->linear, &place));
    (void)snprintf(name, sizeof name, "%s.weight.lora_a", place.stem);
    TRY(gguf_write_tensor(w, name, &h->params->params[h->a].view));
    fill_b(site->linear, h, &place, fold ? h->scale : 1.0f, *at);
    struct tensor b = h->params->params[h->b].view;
    b.data = *at;
    *at += site->linear->out * h->rank;
    (void)snprintf(name, sizeof name, "%s.weight.lora_b", place.stem);
    return gguf_write_tensor(w, name, &b);
}

static enum status add_keys(struct gguf_writer *w, const char *arch, double alpha)
{
    TRY(gguf_write_string(w, "general.architecture", arch, strlen(arch)));
    TRY(gguf_write_string(w, "general.type", "adapter", 7));
    TRY(gguf_write_u32(w, "general.file_type", 0));
    TRY(gguf_write_u32(w, "general.quantization_version", 2));
    TRY(gguf_write_string(w, "adapter.type", "lora", 4));
    return gguf_write_f32(w, "adapter.lora.alpha", (float)alpha);
}

enum status adapter_save_gguf(const struct adapter *a, const struct model *m, const char *path)
{
    const char *arch = m->config.family->gguf_arch;
    const double alpha = common_alpha(a);
    struct gguf_writer *w = NULL;
    int64_t floats = 0;
    if (!arch) {
        return FAIL(RECIPE, "GGUF has no architecture for %s; export --format adapter",
                    m->config.family->name);
    }
    for (int64_t i = 0; i < a->count; i++) {
        floats += a->sites[i].linear->out * a->sites[i].hook.rank;
    }
    float *b = malloc((size_t)floats * sizeof *b);
    float *at = b;
    enum status status = STATUS_OK;
    if (!b) {
        return FAIL(MEMORY, "%s: no memory for the adapter", path);
    }
    TRY_TO(status, done, gguf_writer_open(&w, path));
    TRY_TO(status, done, add_keys(w, arch, alpha));
    for (int64_t i = 0; i < a->count; i++) {
        TRY_TO(status, done, add_site(w, m, &a->sites[i], alpha == 0.0, &at));
    }
    status = gguf_writer_finish(w);
    w = NULL;
done:
    gguf_writer_abort(w);
    free(b);
    return status;
}
