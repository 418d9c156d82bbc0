/* Coefficients and chunks of an optimizer update; see update_coef.h. */
#include "kernels/ref/update_coef.h"

#include <math.h>

void update_coef_make(const struct update_args *a, struct update_coef *out)
{
    const double t = (double)a->step;
    const double bias1 = 1.0 - pow(a->beta1, t);
    const bool coupled = a->rule == UPDATE_SGD || a->rule == UPDATE_ADAGRAD
                         || a->rule == UPDATE_RMSPROP;
    *out = (struct update_coef){
        .scale = (float)a->grad_scale,
        .couple = coupled ? (float)a->weight_decay : 0.0f,
        .decay = coupled ? 1.0f : (float)(1.0 - a->lr * a->weight_decay),
        .lr = (float)a->lr,
        .rate = (float)(a->lr / bias1),
        .bias1 = (float)bias1,
        .root = (float)sqrt(1.0 - pow(a->beta2, t)),
        .beta = {(float)a->beta1, (float)a->beta2, (float)a->beta3},
        .rest = {(float)(1.0 - a->beta1), (float)(1.0 - a->beta2), (float)(1.0 - a->beta3)},
        .alpha = (float)a->alpha,
        .eps = (float)a->eps,
        .momentum = (float)a->momentum,
        .damp = (float)(1.0 - a->dampening),
        .first = a->step == 1,
        .nesterov = a->nesterov,
        .decay_last = a->decay_last,
    };
}

struct update_job {
    const struct update_args *a;
    struct update_coef coef;
    update_fn fn;
};

static int64_t end_of(int64_t chunk, int64_t count)
{
    return chunk * UPDATE_CHUNK < count ? chunk * UPDATE_CHUNK : count;
}

static void float_chunks(void *ctx, int64_t begin, int64_t end, int thread)
{
    (void)thread;
    const struct update_job *job = ctx;
    const struct update_args *a = job->a;
    for (int64_t chunk = begin; chunk < end; chunk++) {
        const int64_t at = chunk * UPDATE_CHUNK;
        float *state[UPDATE_STATES];
        for (int k = 0; k < UPDATE_STATES; k++) {
            state[k] = a->state[k].value ? a->state[k].value + at : NULL;
        }
        job->fn(&job->coef, a->p + at, a->g + at, state, end_of(chunk + 1, a->count) - at);
    }
}

static void code_block(const struct update_job *job, int64_t at, int64_t n)
{
    const struct update_args *a = job->a;
    const int64_t block = at / DYNAMIC8_BLOCK;
    float value[UPDATE_STATES][DYNAMIC8_BLOCK];
    float *state[UPDATE_STATES] = {NULL};
    for (int k = 0; k < UPDATE_STATES; k++) {
        const struct update_state *s = &a->state[k];
        if (s->code) {
            dynamic8_decode(s->map, s->code + at, s->absmax[block], n, value[k]);
            state[k] = value[k];
        }
    }
    job->fn(&job->coef, a->p + at, a->g + at, state, n);
    for (int k = 0; k < UPDATE_STATES; k++) {
        const struct update_state *s = &a->state[k];
        if (s->code) {
            dynamic8_encode(s->map, value[k], n, s->code + at, &s->absmax[block]);
        }
    }
}

static void code_chunks(void *ctx, int64_t begin, int64_t end, int thread)
{
    (void)thread;
    const struct update_job *job = ctx;
    const int64_t stop = end_of(end, job->a->count);
    for (int64_t at = begin * UPDATE_CHUNK; at < stop; at += DYNAMIC8_BLOCK) {
        code_block(job, at, stop - at < DYNAMIC8_BLOCK ? stop - at : DYNAMIC8_BLOCK);
    }
}

void update_run(struct pool *pool, const struct update_args *a, update_fn fn)
{
    struct update_job job = {.a = a, .fn = fn};
    update_coef_make(a, &job.coef);
    parallel_for(pool, (a->count + UPDATE_CHUNK - 1) / UPDATE_CHUNK,
                 a->state[0].code ? code_chunks : float_chunks, &job);
}
