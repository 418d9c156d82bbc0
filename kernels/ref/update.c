/*
 * Elementwise optimizer updates: the definition of every rule of enum update_rule. Where torch's
 * CPU kernels fuse a product and a sum, so does this.
 */
#include <math.h>

#include "kernels/ref/ref.h"
#include "kernels/ref/update_coef.h"

static float gradient(const struct update_coef *c, float g, float p)
{
    return fmaf(c->couple, p, g * c->scale);
}

static void adamw(const struct update_coef *c, float *p, const float *g, float *const *s, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        const float d = g[i] * c->scale;
        const float m = fmaf(c->rest[0], d, c->beta[0] * s[0][i]);
        const float v = fmaf(c->rest[1] * d, d, c->beta[1] * s[1][i]);
        const float step = c->rate * m / (sqrtf(v) / c->root + c->eps);
        s[0][i] = m;
        s[1][i] = v;
        p[i] = c->decay_last ? (p[i] - step) * c->decay : p[i] * c->decay - step;
    }
}

static void ademamix(const struct update_coef *c, float *p, const float *g, float *const *s,
                     int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        const float d = g[i] * c->scale;
        const float m = fmaf(c->rest[0], d, c->beta[0] * s[0][i]);
        const float v = fmaf(c->rest[1] * d, d, c->beta[1] * s[1][i]);
        const float slow = fmaf(c->rest[2], d, c->beta[2] * s[2][i]);
        const float step = (m / c->bias1 + c->alpha * slow) / (sqrtf(v) / c->root + c->eps);
        s[0][i] = m;
        s[1][i] = v;
        s[2][i] = slow;
        p[i] = fmaf(-c->lr, step, p[i] * c->decay);
    }
}

static void sgd(const struct update_coef *c, float *p, const float *g, float *const *s, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float d = gradient(c, g[i], p[i]);
        if (s[0]) {
            const float buf = c->first ? d : fmaf(c->damp, d, c->momentum * s[0][i]);
            s[0][i] = buf;
            d = c->nesterov ? fmaf(c->momentum, buf, d) : buf;
        }
        p[i] = fmaf(-c->lr, d, p[i]);
    }
}

static void lion(const struct update_coef *c, float *p, const float *g, float *const *s, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        const float d = g[i] * c->scale;
        const float u = fmaf(c->rest[0], d, c->beta[0] * s[0][i]);
        const float sign = u > 0.0f ? 1.0f : u < 0.0f ? -1.0f : 0.0f;
        p[i] = fmaf(-c->lr, sign, p[i] * c->decay);
        s[0][i] = fmaf(c->rest[1], d, c->beta[1] * s[0][i]);
    }
}

static void adagrad(const struct update_coef *c, float *p, const float *g, float *const *s,
                    int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        const float d = gradient(c, g[i], p[i]);
        const float sum = fmaf(d, d, s[0][i]);
        s[0][i] = sum;
        p[i] = p[i] - c->lr * d / (sqrtf(sum) + c->eps);
    }
}

static void rmsprop(const struct update_coef *c, float *p, const float *g, float *const *s,
                    int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        const float d = gradient(c, g[i], p[i]);
        const float v = fmaf(c->rest[0] * d, d, c->beta[0] * s[0][i]);
        float spread = v;
        s[0][i] = v;
        if (s[2]) {
            const float mean = fmaf(c->rest[0], d - s[2][i], s[2][i]);
            s[2][i] = mean;
            spread = fmaxf(fmaf(-mean, mean, v), 0.0f); /* rounding can take it below 0 */
        }
        const float root = sqrtf(spread) + c->eps;
        if (s[1]) {
            s[1][i] = fmaf(c->momentum, s[1][i], d / root);
            p[i] = fmaf(-c->lr, s[1][i], p[i]);
        } else {
            p[i] = p[i] - c->lr * d / root;
        }
    }
}

static const update_fn RULES[UPDATE_RULES] = {
    [UPDATE_ADAMW] = adamw, [UPDATE_ADEMAMIX] = ademamix, [UPDATE_SGD] = sgd,
    [UPDATE_LION] = lion,   [UPDATE_ADAGRAD] = adagrad,   [UPDATE_RMSPROP] = rmsprop,
};

void ref_update(struct ops_context *c, const struct update_args *a)
{
    update_run(c->pool, a, RULES[a->rule]);
}
