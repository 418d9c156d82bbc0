/*
 * Cases of the ops tests: for each op, arguments made from a shape and a fixed random stream, the
 * call, and what it wrote. test_ops runs them on every tier against ref; test_invariance changes
 * one thing at a time and wants equal bits.
 */
#pragma once

#include "kernels/ops.h"

/* What a shape means is the op's own: unused fields are 0. */
struct shape {
    int rows;
    int n;
    int k;
    int heads;
    int kv_heads;
    int head_dim;
    int window;
    float softcap;
    int flags;
    enum dtype dtype; /* of the weight; the zero is F32 */
};

enum {
    SHAPE_ACCUMULATE = 1, /* add to the output */
    SHAPE_BIAS = 2,
    SHAPE_PLUS_ONE = 4,
    SHAPE_NO_WEIGHT = 8,
    SHAPE_GELU = 16,
    SHAPE_INVERSE = 32,
    SHAPE_BF16 = 64,
    SHAPE_ENTROPY = 128,
    SHAPE_TREE = 256,  /* attention: branches over a shared prefix */
    SHAPE_DECODE = 512 /* attention: one query per sequence over paged keys */
};

enum { CASE_OUTPUTS = 6, CASE_SEQS = 8 };

struct run {
    struct ops_context *c;
    const struct shape *s;
    struct arena mem;
    uint32_t stream; /* next random stream */
    int outputs;
    float *out[CASE_OUTPUTS];
    int64_t count[CASE_OUTPUTS];
    struct tensor w;
    struct attn_seq seqs[CASE_SEQS];
    int64_t units[4];
    union {
        struct gemm_args gemm;
        struct gemm_dx_args gemm_dx;
        struct gemm_dw_args gemm_dw;
        struct rmsnorm_args rmsnorm;
        struct rmsnorm_backward_args rmsnorm_backward;
        struct rope_args rope;
        struct attn_backward_args attention; /* fwd alone for the forward */
        struct glu_args glu;
        struct glu_backward_args glu_backward;
        struct embed_args embed;
        struct embed_backward_args embed_backward;
        struct logit_args logit;
        struct logit_grad_args logit_grad;
        struct update_args update;
        struct adafactor_args adafactor;
    } a;
    float *x; /* axpy and square_sum */
    float *y;
    int64_t n;
};

struct op_case {
    const char *name;
    void (*prepare)(struct run *r); /* fills r->a and the outputs from r->s */
    void (*call)(struct run *r);
    const struct shape *shapes; /* ends with rows == 0 */
    /* Largest allowed error, in units of 2^-24 times the output's scale. */
    double (*tolerance)(const struct shape *s);
    double (*flops)(const struct shape *s); /* NULL: no figure */
};

extern const struct op_case CASES[];
extern const int CASE_COUNT;

/* `count` floats of N(0, std^2) from the run's next stream. */
float *run_input(struct run *r, int64_t count, float std);

/* Same, recorded as an output (in and out). */
float *run_inout(struct run *r, int64_t count, float std);

/* Zeroed floats, recorded as an output. */
float *run_output(struct run *r, int64_t count);

/* A weight [rows, cols] of N(0, std^2) in r->w, encoded as the shape's type. */
void run_weight(struct run *r, int64_t rows, int64_t cols, float std);

/* Opens the memory, prepares the case and calls it. Release with kernel_run_close. */
void run_case(struct run *r, struct ops_context *c, const struct op_case *op,
              const struct shape *s);
void kernel_run_close(struct run *r);

/* Opens a context on a tier, or skips the calling test saying that the machine lacks it. */
void case_open_or_skip(struct ops_context *c, enum cpu_tier tier, const struct ops_options *o);

/* max |a - b| / max(1, max |b|); infinite when one is not a number. */
double case_error(const float *a, const float *b, int64_t count);

/* The row of CASES with this name. */
const struct op_case *case_named(const char *name);
