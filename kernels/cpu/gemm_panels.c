/*
 * Resident panels: a weight's strips as gemm reads them, rounded to bf16 and held for good; and which
 * tier multiplies, of which their form depends.
 */
#include <string.h>

#include "kernels/cpu/gemm_internal.h"
#include "kernels/cpu/scratch.h"

enum { FILL_FLOATS = SCRATCH_THREAD_BYTES / 4 }; /* of a strip that are rounded at a time, at most */

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

/* True when every slice of `red` starts at an even element. */
static bool slices_even(int64_t red, int slices)
{
    for (int64_t s = 0; s < slices; s++) {
        if (red * s / slices % 2 != 0) {
            return false;
        }
    }
    return true;
}

const struct gemm_tier *gemm_tier_of(const struct ops_context *c, const struct gemm_choice *choice,
                                     int64_t red)
{
    const bool pairs = c->compute == COMPUTE_BF16 && choice->pairs && slices_even(red, c->k_slices);
    return pairs ? choice->pairs : choice->plain;
}

int64_t gemm_panel_strip(int64_t red, const struct gemm_tier *t)
{
    return ceil_div(red, GEMM_GROUP) * GEMM_GROUP * t->nr;
}

void gemm_panel_shape(const struct ops_context *c, const struct gemm_choice *choice,
                      const struct tensor *w, struct tensor_panels *out)
{
    const int64_t red = tensor_columns(w);
    const struct gemm_tier *t = gemm_tier_of(c, choice, red);
    const int64_t strips = ceil_div(tensor_rows(w), t->nr);
    *out = (struct tensor_panels){
        .bytes = (size_t)(strips * gemm_panel_strip(red, t)) * sizeof(uint16_t),
        .rows = t->nr,
        .pair = t->pair,
    };
}

struct panel_job {
    struct ops_context *c;
    const struct gemm_tier *t;
    const struct tensor *w;
    uint16_t *to;
};

/* One strip whose units are single elements, rounded in scratch. */
static void fill_singles(const struct panel_job *job, struct gemm_block *b, int64_t red,
                         uint16_t *to, float *scratch)
{
    const int64_t most = FILL_FLOATS / job->t->nr / GEMM_SUPER * GEMM_SUPER;
    b->dst = scratch;
    for (b->col = 0; b->col < red; b->col += most) {
        b->cols = least(most, red - b->col);
        const int64_t count = ceil_div(b->cols, GEMM_GROUP) * GEMM_GROUP * job->t->nr;
        memset(scratch, 0, (size_t)count * sizeof *scratch);
        job->t->pack_rows(b);
        for (int64_t i = 0; i < count; i++) {
            to[b->col * job->t->nr + i] = dtype_f32_to_bf16(scratch[i]);
        }
    }
}

static void fill_strips(void *ctx, int64_t begin, int64_t end, int thread)
{
    const struct panel_job *job = ctx;
    const struct gemm_tier *t = job->t;
    const int64_t red = tensor_columns(job->w);
    for (int64_t strip = begin; strip < end; strip++) {
        uint16_t *to = job->to + strip * gemm_panel_strip(red, t);
        struct gemm_block b = {
            .w = job->w,
            .row = strip * t->nr,
            .rows = least(t->nr, tensor_rows(job->w) - strip * t->nr),
            .cols = red,
            .dst = (float *)(void *)to,
        };
        if (t->pair == 1) {
            fill_singles(job, &b, red, to, scratch_thread(job->c, thread));
        } else {
            memset(to, 0, (size_t)gemm_panel_strip(red, t) * sizeof *to);
            t->pack_rows(&b);
        }
    }
}

void gemm_panel_fill(struct ops_context *c, const struct gemm_choice *choice,
                     const struct tensor *w, uint16_t *to)
{
    struct panel_job job = {c, gemm_tier_of(c, choice, tensor_columns(w)), w, to};
    parallel_for(c->pool, ceil_div(tensor_rows(w), job.t->nr), fill_strips, &job);
}
