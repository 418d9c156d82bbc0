/* Gated linear units, scalar: silu and tanh-gelu gates (Shazeer 2020, arXiv 2002.05202). */
#include <math.h>

#include "kernels/ref/ref.h"

enum { GLU_CHUNK = 4096 };

/* sqrt(2 / pi) and the cubic term of the tanh form of gelu (Hendrycks & Gimpel 2016). */
static const float GELU_SCALE = 0.7978845608f;
static const float GELU_CUBE = 0.044715f;

static float sigmoid(float x)
{
    return 1.0f / (1.0f + expf(-x));
}

/* *value = act(g), *slope = act'(g). 0.5 (1 + tanh u) is sigmoid(2u). */
static void activate(enum activation act, float g, float *value, float *slope)
{
    if (act == ACT_SILU) {
        const float s = sigmoid(g);
        *value = g * s;
        *slope = s * (1.0f + g * (1.0f - s));
        return;
    }
    const float u = GELU_SCALE * (g + GELU_CUBE * g * g * g);
    const float du = GELU_SCALE * (1.0f + 3.0f * GELU_CUBE * g * g);
    const float s = sigmoid(2.0f * u);
    *value = g * s;
    *slope = s + 2.0f * g * du * s * (1.0f - s);
}

/* Element i of x or, where there are only those, of the bf16 in x16. */
static float gate_value(const float *x, const uint16_t *x16, int64_t i)
{
    return x16 ? dtype_bf16_to_f32(x16[i]) : x[i];
}

static void forward_chunks(void *ctx, int64_t begin, int64_t end, int thread)
{
    (void)thread;
    const struct glu_args *a = ctx;
    const int64_t stop = end * GLU_CHUNK < a->count ? end * GLU_CHUNK : a->count;
    for (int64_t i = begin * GLU_CHUNK; i < stop; i++) {
        float value;
        float slope;
        const float g = gate_value(a->g, a->g16, i);
        const float u = gate_value(a->u, a->u16, i);
        activate(a->act, g, &value, &slope);
        if (a->h16) {
            a->h16[i] = dtype_f32_to_bf16(value * u);
        } else {
            a->h[i] = value * u;
        }
        if (a->kept_g) {
            a->kept_g[i] = dtype_f32_to_bf16(g);
            a->kept_u[i] = dtype_f32_to_bf16(u);
        }
    }
}

void ref_glu(struct ops_context *c, const struct glu_args *a)
{
    struct glu_args job = *a;
    parallel_for(c->pool, (a->count + GLU_CHUNK - 1) / GLU_CHUNK, forward_chunks, &job);
}

static void backward_chunks(void *ctx, int64_t begin, int64_t end, int thread)
{
    (void)thread;
    const struct glu_backward_args *a = ctx;
    const int64_t stop = end * GLU_CHUNK < a->count ? end * GLU_CHUNK : a->count;
    for (int64_t i = begin * GLU_CHUNK; i < stop; i++) {
        float value;
        float slope;
        activate(a->act, gate_value(a->g, a->g16, i), &value, &slope);
        const float dh = a->dh[i];
        const float u = gate_value(a->u, a->u16, i);
        if (a->dg16) {
            a->dg16[i] = dtype_f32_to_bf16(dh * u * slope);
            a->du16[i] = dtype_f32_to_bf16(dh * value);
        } else {
            a->dg[i] = dh * u * slope;
            a->du[i] = dh * value;
        }
    }
}

void ref_glu_backward(struct ops_context *c, const struct glu_backward_args *a)
{
    struct glu_backward_args job = *a;
    parallel_for(c->pool, (a->count + GLU_CHUNK - 1) / GLU_CHUNK, backward_chunks, &job);
}
