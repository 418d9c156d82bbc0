/* bench sft: rank-16 LoRA on all linears, AdamW, random ids, every position a label. */
#include <string.h>

#include "kernels/base/rng.h"
#include "kernels/base/clock.h"
#include "recipes/bench_internal.h"
#include "recipes/measure.h"
#include "trainer/model/unit_pass.h"
#include "trainer/optim/optim.h"

enum {
    WARM_STEPS = 2, /* not counted, as the peer's */
    MOST_ROWS = 64  /* of one forward */
};

struct sft_bench {
    int64_t batch;
    int64_t seq;
    int64_t steps;
    int64_t budget; /* tokens of one forward/backward */
    int32_t *ids;   /* [batch, seq] */
    double loss;    /* of the step being computed */
    double *times;  /* [steps] */
};

static void next_token_loss(void *ctx, const struct unit_outputs *out)
{
    struct sft_bench *s = ctx;
    const double labels = (double)(s->batch * (s->seq - 1));
    for (int64_t i = 0; i < out->batch->n_out; i++) {
        s->loss -= (double)out->head->logp[i] / labels;
        out->dlogp[i] = (float)(-1.0 / labels);
    }
}

static enum status train_step(struct bench *b, struct sft_bench *s, struct unit_pass *pass,
                              int64_t step)
{
    struct optim_config optim = b->optim;
    optim.learning_rate = 1e-4;
    optim.weight_decay = 0.01;
    optim.max_grad_norm = 0;
    const struct optim_rates rates = optim_rates(&optim, 1.0);
    struct param_set *params = &b->session.params;
    const int64_t rows = s->budget / s->seq > 0 ? s->budget / s->seq : 1;
    s->loss = 0.0;
    memset(params->grad, 0, (size_t)params->total * sizeof(float));
    for (int64_t at = 0; at < s->batch;) {
        struct pack_branch branches[MOST_ROWS];
        struct pack_unit units[MOST_ROWS];
        int64_t n = 0;
        for (; n < rows && n < MOST_ROWS && at + n < s->batch; n++) {
            branches[n] = (struct pack_branch){.ids = s->ids + (at + n) * s->seq, .count = s->seq};
            units[n] = (struct pack_unit){.branches = &branches[n], .branch_count = 1};
        }
        TRY(unit_pass_run(pass, units, n, next_token_loss, s));
        at += n;
    }
    TRY(b->session.ops.ops->sync(&b->session.ops));
    optim_update(&b->session.ops, params, &optim, &rates,
                 optim_grad_norm(&b->session.ops, params), step + 1);
    return STATUS_OK;
}

static enum status run_steps(struct bench *b, struct sft_bench *s, double *first)
{
    struct unit_pass pass = {.model = b->session.model,
                             .ops = &b->session.ops,
                             .temperature = 1.0f,
                             .hooks = true,
                             .grad = true,
                             .recompute = b->args->checkpointing ? INT64_MAX : 0};
    enum status status = STATUS_OK;
    for (int64_t step = 0; status == STATUS_OK && step < s->steps; step++) {
        const double start = clock_seconds();
        status = train_step(b, s, &pass, step);
        s->times[step] = clock_seconds() - start;
        if (step == 0) {
            *first = clock_seconds() - b->start;
        }
    }
    unit_pass_close(&pass);
    return status;
}

static enum status measure(struct bench *b, struct sft_bench *s)
{
    double first = 0.0;
    TRY(bench_open(b, b->args, s->seq));
    TRY(bench_attach(b));
    for (int64_t i = 0; i < s->batch * s->seq; i++) {
        const struct rng_key key = {.purpose = RNG_DATA, .position = (uint32_t)i};
        s->ids[i] = (int32_t)(rng_uniform(&key) * (float)b->session.model->config.vocab);
    }
    TRY(run_steps(b, s, &first));
    const double seconds = measure_median(s->times + WARM_STEPS, s->steps - WARM_STEPS);
    const double rows = (double)(s->batch * s->seq);
    struct bench_figure figure = {
        .line = json_pack("{s:s, s:s, s:I, s:I, s:b, s:f, s:f, s:f, s:f}", "peer", "graft", "work",
                          "sft-lora", "batch", (json_int_t)s->batch, "seq", (json_int_t)s->seq,
                          "checkpointing", b->args->checkpointing, "tokens_per_s", rows / seconds,
                          "step_s", seconds, "first_step_after_s", first, "last_loss", s->loss),
        .seconds = seconds,
        .flops = bench_train_flops(b, (double)(s->batch * (s->seq - 1)),
                                   (double)(s->batch * (s->seq - 1))),
        .peak_rss = measure_peak_rss(),
    };
    if (!figure.line) {
        return FAIL(MEMORY, "bench: out of memory");
    }
    bench_put_base(b, figure.line);
    return bench_print(b, &figure, 1);
}

enum status bench_sft(const struct command_args *args)
{
    struct bench b = {.args = args};
    struct sft_bench s = {.seq = bench_option(args->seq, 512),
                          .steps = bench_option(args->steps, 6),
                          .budget = bench_option(args->tokens, 1024)};
    int count;
    TRY(bench_read_batch(args->batch ? args->batch : "4", &s.batch, 1, &count));
    TRY(bench_check_steps(s.steps, WARM_STEPS));
    if (s.seq < 2 || s.seq > BENCH_MOST) {
        return FAIL(USAGE, "bench: --seq %lld; use 2 to %d", (long long)s.seq, BENCH_MOST);
    }
    s.ids = calloc((size_t)(s.batch * s.seq), sizeof *s.ids);
    s.times = calloc((size_t)s.steps, sizeof *s.times);
    const enum status status =
        s.ids && s.times ? measure(&b, &s) : FAIL(MEMORY, "bench: out of memory");
    free(s.ids);
    free(s.times);
    bench_close(&b);
    return status;
}
