/* Keyed dropout and embedding noise; see model_internal.h. */
#include "kernels/base/rng.h"
#include "trainer/model/model_internal.h"

struct dropout_job {
    const struct pass *p;
    const struct dropout_args *a;
    bool add;
};

/* Unit of row `t`, from the one before: rows come ascending. */
static int64_t unit_of(const struct pass *p, int64_t t, int64_t from)
{
    while (from + 1 < p->units && p->unit_begin[from + 1] <= t) {
        from++;
    }
    return from;
}

static struct rng_key key_of(const struct pass *p, enum rng_purpose purpose, int64_t unit,
                             int64_t t)
{
    return (struct rng_key){.seed = p->noise->seed,
                            .purpose = purpose,
                            .step = p->noise->step,
                            .row = p->noise->unit_key[unit],
                            .sample = (uint32_t)(t - p->unit_begin[unit])};
}

static void drop_rows(void *ctx, int64_t begin, int64_t end, int thread)
{
    (void)thread;
    const struct dropout_job *job = ctx;
    const struct dropout_args *a = job->a;
    const uint32_t limit = (uint32_t)((double)a->rate * 0x1p24); /* of 24-bit draws */
    const float scale = 1.0f / (1.0f - a->rate);
    int64_t unit = 0;
    for (int64_t t = begin; t < end; t++) {
        unit = unit_of(job->p, t, unit);
        struct rng_key key = key_of(job->p, RNG_DROPOUT, unit, t);
        key.module = a->module;
        const float *x = a->x + t * a->ldx;
        float *y = a->y + t * a->ldy;
        uint32_t w[4] = {0};
        for (int64_t c = 0; c < a->cols; c++) {
            if (c % 4 == 0) {
                key.position = (uint32_t)(c / 4);
                rng_draw4(&key, w);
            }
            const float kept = w[c % 4] >> 8 < limit ? 0.0f : x[c] * scale;
            y[c] = job->add ? y[c] + kept : kept;
        }
    }
}

static void drop(const struct pass *p, const struct dropout_args *a, bool add)
{
    struct dropout_job job = {p, a, add};
    if (!pass_plans(p)) {
        parallel_for(p->ops->pool, a->rows, drop_rows, &job);
    }
}

void dropout_apply(const struct pass *p, const struct dropout_args *a)
{
    drop(p, a, false);
}

void dropout_add(const struct pass *p, const struct dropout_args *a)
{
    drop(p, a, true);
}

void noise_embeddings(const struct pass *p, float *y, int64_t cols)
{
    if (!p->noise || !p->noise->embedding || pass_plans(p)) {
        return;
    }
    for (int64_t u = 0; u < p->units; u++) {
        const float bound = p->noise->embedding[u];
        for (int64_t t = p->unit_begin[u]; t < p->unit_begin[u + 1]; t++) {
            struct rng_key key = key_of(p, RNG_NEFTUNE, u, t);
            uint32_t w[4] = {0};
            for (int64_t c = 0; c < cols; c++) {
                if (c % 4 == 0) {
                    key.position = (uint32_t)(c / 4);
                    rng_draw4(&key, w);
                }
                y[t * cols + c] += bound * ((float)(w[c % 4] >> 8) * 0x1p-23f - 1.0f);
            }
        }
    }
}
