/* bench decode: prefill, then one token of each sequence per step; every sequence has its own
 * prompt. */
#include "recipes/bench_internal.h"
#include "recipes/measure.h"
#include "trainer/generate/generate.h"

enum { MOST_BATCHES = 16 };

struct decode_bench {
    int64_t prompt;
    int64_t generate;
    int64_t batches[MOST_BATCHES];
    int batch_count;
    int64_t largest;
    int32_t *ids;           /* [largest, prompt] */
    struct prompt *prompts; /* [largest] */
};

/* Continues `batch` prompts by `tokens` tokens each; no stop ids, so none ends early. */
static enum status continue_prompts(struct bench *b, const struct decode_bench *d, int64_t batch,
                                    int64_t tokens, struct generate_stats *stats)
{
    struct completion_set set;
    const struct generate_args args = {
        .model = b->session.model,
        .ops = &b->session.ops,
        .prompts = d->prompts,
        .prompt_count = batch,
        .sample = {.temperature = 0.0, .top_p = 1.0, .max_new_tokens = tokens},
        .limits = {.max_rows = batch},
    };
    TRY(generate(&args, &set, stats));
    completion_set_close(&set);
    return STATUS_OK;
}

/* The first token comes out of the prefill, so `generate` + 1 tokens take `generate` steps. */
static enum status measure_batch(struct bench *b, const struct decode_bench *d, int64_t batch,
                                 struct bench_figure *out)
{
    struct generate_stats prefilled;
    struct generate_stats decoded;
    TRY(continue_prompts(b, d, batch, 1, &prefilled)); /* touches weights and pages */
    TRY(continue_prompts(b, d, batch, 1, &prefilled));
    TRY(continue_prompts(b, d, batch, d->generate + 1, &decoded));
    const double n = (double)batch;
    const double steps = (double)d->generate;
    const double prefill = prefilled.seconds;
    const double decode = decoded.decode_seconds;
    *out = (struct bench_figure){
        .line = json_pack("{s:s, s:s, s:I, s:I, s:I, s:f, s:f}", "peer", "graft", "work",
                          "decode", "batch", (json_int_t)batch, "prompt", (json_int_t)d->prompt,
                          "generate", (json_int_t)d->generate, "prefill_tokens_per_s",
                          n * (double)d->prompt / prefill, "decode_tokens_per_s",
                          n * steps / decode),
        .seconds = decode,
        .flops = steps * bench_forward_flops(b, n, n),
        .passes = steps,
        .pass_flops = bench_forward_flops(b, n, n),
        .peak_rss = measure_peak_rss(),
    };
    if (!out->line) {
        return FAIL(MEMORY, "bench: out of memory");
    }
    bench_put_base(b, out->line);
    return STATUS_OK;
}

static enum status make_prompts(struct decode_bench *d, int64_t vocab)
{
    d->ids = calloc((size_t)(d->largest * d->prompt), sizeof *d->ids);
    d->prompts = calloc((size_t)d->largest, sizeof *d->prompts);
    if (!d->ids || !d->prompts) {
        return FAIL(MEMORY, "bench: out of memory");
    }
    for (int64_t s = 0; s < d->largest; s++) {
        int32_t *ids = d->ids + s * d->prompt;
        for (int64_t i = 0; i < d->prompt; i++) {
            ids[i] = (int32_t)((100 + (i * 7 + s) % 1000) % vocab); /* the peer's ids */
        }
        d->prompts[s] = (struct prompt){
            .ids = ids, .count = d->prompt, .row = (uint32_t)s, .samples = 1};
    }
    return STATUS_OK;
}

static enum status measure(struct bench *b, struct decode_bench *d)
{
    struct bench_figure figures[MOST_BATCHES];
    int done = 0;
    TRY(bench_open(b, b->args, d->prompt + d->generate + 1));
    TRY(make_prompts(d, b->session.model->config.vocab));
    enum status status = STATUS_OK;
    while (status == STATUS_OK && done < d->batch_count) {
        status = measure_batch(b, d, d->batches[done], &figures[done]);
        done += status == STATUS_OK;
    }
    if (status == STATUS_OK) {
        return bench_print(b, figures, done);
    }
    while (done > 0) {
        json_decref(figures[--done].line);
    }
    return status;
}

enum status bench_decode(const struct command_args *args)
{
    struct bench b = {.args = args};
    struct decode_bench d = {.prompt = bench_option(args->prompt, 64),
                             .generate = bench_option(args->generate, 64)};
    TRY(bench_read_batch(args->batch ? args->batch : "1,8,32", d.batches, MOST_BATCHES,
                         &d.batch_count));
    if (d.prompt > BENCH_MOST || d.generate > BENCH_MOST) {
        return FAIL(USAGE, "bench: --prompt and --generate are at most %d", BENCH_MOST);
    }
    for (int i = 0; i < d.batch_count; i++) {
        d.largest = d.batches[i] > d.largest ? d.batches[i] : d.largest;
    }
    const enum status status = measure(&b, &d);
    free(d.ids);
    free(d.prompts);
    bench_close(&b);
    return status;
}
