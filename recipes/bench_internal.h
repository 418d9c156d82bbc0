/*
 * Parts of `graft bench`. Each kind of work does what its peer script does, on the same shapes, and
 * prints the peer's keys plus limit_fraction: the time the machine's limit allows over the time it
 * took. The limit of a pass is the larger of its products at the measured GEMM peak (same tier,
 * compute and threads) and one read of the weights at the measured memory rate (roofline, Williams
 * et al. 2009). Products are those with weights: attention and recomputation are not counted.
 */
#pragma once

#include "recipes/session.h"
#include "trainer/model/work.h"
#include "trainer/optim/optim.h"

struct bench {
    const struct command_args *args;
    struct session session;
    struct work_costs work;
    struct optim_config optim; /* AdamW */
    double start;     /* when the command began */
};

/* Opens backend and model as --base, --compute and --threads say, with RoPE tables for `context`
 * positions (0: the model's). Fails with USAGE, and as the parts do. Close with bench_close. */
MUST_USE enum status bench_open(struct bench *b, const struct command_args *args, int64_t context);

/* Attaches a rank-16 LoRA (alpha 32) on all linears, with AdamW's two moments. */
MUST_USE enum status bench_attach(struct bench *b);

/* Frees everything. */
void bench_close(struct bench *b);

enum { BENCH_MOST = 1 << 16 }; /* of every size, so that no product overflows */

/* Batch sizes "1,8,32" into sizes[most], each 1 to BENCH_MOST. Fails with USAGE. */
MUST_USE enum status bench_read_batch(const char *text, int64_t *sizes, int most, int *count);

/* Fails with USAGE unless some of `steps` are left after the `warm` ones. */
MUST_USE enum status bench_check_steps(int64_t steps, int64_t warm);

/* `given`, or `otherwise` when the option is absent (0). */
int64_t bench_option(int64_t given, int64_t otherwise);

/* What one kind of work found: its line so far, and what limit_fraction needs. */
struct bench_figure {
    json_t *line;   /* owned */
    double seconds; /* measured */
    double flops;   /* of the products in it */
    /* Passes of equal size: `passes` times at least one read of the weights, `pass_flops` each;
     * the rest of `flops` is limited by products alone. */
    double passes;
    double pass_flops;
    double peak_rss; /* GiB at the end of this work */
};

/* Floating-point operations of a forward over `rows` tokens with `outputs` next-token
 * distributions, and of forward and backward. */
double bench_forward_flops(const struct bench *b, double rows, double outputs);

/* Same with the backward: d input of every linear, d weight of the adapter's factors. */
double bench_train_flops(const struct bench *b, double rows, double outputs);

/* Adds the type of the base weights: --base as given, else the type in the file ("Q4_1"). */
void bench_put_base(const struct bench *b, json_t *line);

/* Measures the limits (after all work, so that its memory is not the work's), completes the lines
 * and prints them, one each. Takes the lines' references. Fails with MEMORY. */
MUST_USE enum status bench_print(struct bench *b, struct bench_figure *figures, int64_t count);

/* LoRA SFT steps on random ids: peer_sft.py. */
MUST_USE enum status bench_sft(const struct command_args *args);

/* Prefill and batched decode: peer_decode.py, one line per batch size. */
MUST_USE enum status bench_decode(const struct command_args *args);

/* GRPO steps on two-digit sums: peer_grpo.py. */
MUST_USE enum status bench_grpo(const struct command_args *args);
