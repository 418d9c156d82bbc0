/* graft bench: speed of SFT, decode and GRPO against this machine's limits; see bench_internal.h.
 */
#include <math.h>
#include <string.h>

#include "kernels/base/clock.h"
#include "recipes/bench_internal.h"
#include "recipes/measure.h"
#include "recipes/stages.h"
#include "recipes/suggest.h"
#include "trainer/report/report.h"

static enum status print_line(const json_t *line)
{
    char *text = json_dumps(line, JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(6));
    if (!text) {
        return FAIL(MEMORY, "bench: out of memory");
    }
    report_result("%s", text);
    free(text);
    return STATUS_OK;
}

static enum status open_panels(struct session *s, const char *type)
{
    const struct comm alone = {.size = 1, .local_size = 1};
    if (strcmp(type, "bf16") != 0 || s->ops.compute != COMPUTE_BF16) {
        return FAIL(USAGE, "bench: --base-cache is bf16, with --compute bfloat16; not '%.60s'", type);
    }
    return session_open_panels(s->model, &s->ops, &alone, &s->panels);
}

enum status bench_open(struct bench *b, const struct command_args *args, int64_t context)
{
    *b = (struct bench){.args = args, .start = clock_seconds()};
    struct session *s = &b->session;
    const char *base = args->base ? args->base : "";
    param_set_open(&s->params);
    if (!args->model) {
        return FAIL(USAGE, "bench: --model is missing");
    }
    if (args->base && strcmp(base, "bf16") != 0 && strcmp(base, "fp32") != 0
        && strcmp(base, "nf4") != 0) {
        return FAIL(USAGE, "bench: --base is bf16, fp32 or nf4, not '%.60s'", base);
    }
    const bool full = args->compute ? strcmp(args->compute, "float32") == 0
                                    : strcmp(base, "fp32") == 0;
    const struct model_options how = {
        .context = context,
        .quantize = strcmp(base, "nf4") == 0 ? QUANTIZE_NF4 : QUANTIZE_NONE,
    };
    TRY(session_open_ops(&s->ops, (int)args->threads, full ? COMPUTE_F32 : COMPUTE_BF16));
    s->ops_open = true;
    TRY(model_open(&s->model, args->model, &how));
    if (args->base_cache) {
        TRY(open_panels(s, args->base_cache));
    }
    return work_costs_of(s->model, 0.0, false, &b->work);
}

enum status bench_attach(struct bench *b)
{
    struct session *s = &b->session;
    struct param_layout layout;
    struct adapter_config config = {.family = "lora",
                                    .r = 16,
                                    .lora_alpha = 32,
                                    .target_regex = strdup("all-linear")};
    enum status status = config.target_regex ? STATUS_OK : FAIL(MEMORY, "bench: out of memory");
    if (status == STATUS_OK) {
        status = adapter_attach(&s->adapter, s->model, &s->params, &config);
    }
    adapter_config_close(&config);
    TRY(status);
    optim_defaults(&b->optim, OPTIM_ADAMW);
    TRY(optim_prepare(&b->optim, &s->params, &layout));
    TRY(param_set_seal(&s->params, &layout));
    adapter_initialize(s->adapter, 0);
    b->work.adapter = (double)adapter_parameter_count(s->adapter);
    return STATUS_OK;
}

void bench_close(struct bench *b)
{
    session_close(&b->session);
}

int64_t bench_option(int64_t given, int64_t otherwise)
{
    return given > 0 ? given : otherwise;
}

enum status bench_read_batch(const char *text, int64_t *sizes, int most, int *count)
{
    *count = 0;
    for (const char *p = text; *count < most; p++) {
        char *end;
        sizes[*count] = strtoll(p, &end, 10);
        if (end == p || sizes[*count] < 1 || sizes[*count] > BENCH_MOST) {
            break;
        }
        ++*count;
        p = end;
        if (*p == '\0') {
            return STATUS_OK;
        }
        if (*p != ',') {
            break;
        }
    }
    return FAIL(USAGE, "bench: --batch %.60s: use 1 to %d sizes of 1 to %d, such as %s", text, most,
                BENCH_MOST, most > 1 ? "1,8,32" : "4");
}

enum status bench_check_steps(int64_t steps, int64_t warm)
{
    return steps > warm && steps <= BENCH_MOST
               ? STATUS_OK
               : FAIL(USAGE, "bench: --steps %lld; use %lld to %d, the first %lld are not counted",
                      (long long)steps, (long long)warm + 1, BENCH_MOST, (long long)warm);
}

double bench_forward_flops(const struct bench *b, double rows, double outputs)
{
    return work_forward_flops(&b->work, rows, outputs);
}

double bench_train_flops(const struct bench *b, double rows, double outputs)
{
    return work_train_flops(&b->work, rows, outputs);
}

void bench_put_base(const struct bench *b, json_t *line)
{
    const enum dtype type = b->session.model->layer[0].q.w.dtype;
    (void)json_object_set_new(line, "base",
                              json_string(b->args->base ? b->args->base : dtype_row(type)->name));
}

static void put(json_t *line, const char *key, double value)
{
    (void)json_object_set_new(line, key, json_real(value));
}

static void complete(const struct bench *b, struct bench_figure *f, double peak, double rate)
{
    const struct ops_context *ops = &b->session.ops;
    const struct work_peaks peaks = {peak, rate};
    const double streamed = f->passes * f->pass_flops;
    const double limit = work_pass_seconds(&b->work, &peaks, f->passes, streamed)
                         + (f->flops - streamed) / (peak * 1e9);
    put(f->line, "peak_rss_gb", f->peak_rss);
    (void)json_object_set_new(f->line, "compute", json_string(ops->compute == COMPUTE_F32
                                                                  ? "float32" : "bfloat16"));
    (void)json_object_set_new(f->line, "tier", json_string(ops->ops->name));
    (void)json_object_set_new(f->line, "threads", json_integer(pool_threads(ops->pool)));
    put(f->line, "gflops", f->flops / f->seconds / 1e9);
    put(f->line, "peak_gflops", peak);
    put(f->line, "read_gb_per_s", rate);
    put(f->line, "limit_fraction", limit / f->seconds);
}

enum status bench_print(struct bench *b, struct bench_figure *figures, int64_t count)
{
    double seen = 0.0;
    double peak = 0.0;
    double rate = 0.0;
    const struct peak_kind *kind = peak_of(&b->session.ops);
    enum status status = STATUS_OK;
    for (int64_t i = 0; i < count; i++) {
        seen = fmax(seen, figures[i].flops / figures[i].seconds / 1e9);
    }
    if (kind) {
        peak = measure_instructions(b->session.ops.pool, kind, seen);
    } else {
        status = measure_gemm(&b->session.ops, MEASURE_SECONDS, &peak);
    }
    if (status == STATUS_OK) {
        status = measure_read(b->session.ops.pool, MEASURE_MIB, &rate);
    }
    for (int64_t i = 0; i < count; i++) {
        if (status == STATUS_OK) {
            complete(b, &figures[i], peak, rate);
            status = print_line(figures[i].line);
        }
        json_decref(figures[i].line);
        figures[i].line = NULL;
    }
    return status;
}

/* What the instructions could do, and what the tier's products make of it. */
static enum status put_products(struct ops_context *ops, json_t *line)
{
    static const char *const KEYS[] = {
        [COMPUTE_F32] = "f32_gflops", [COMPUTE_BF16] = "bf16_gflops"};
    static const char *const ROOFS[] = {[COMPUTE_F32] = "f32_roof_gflops",
                                        [COMPUTE_BF16] = "bf16_roof_gflops"};
    const struct peak_kind *kind = peak_of(ops);
    double value;
    TRY(measure_gemm(ops, MEASURE_SECONDS, &value));
    put(line, KEYS[ops->compute], value);
    if (kind) {
        put(line, ROOFS[ops->compute], measure_instructions(ops->pool, kind, value));
    }
    return STATUS_OK;
}

/* Peaks of one tier; tiers this machine or program lacks are passed over. */
static enum status roofline_tier(enum cpu_tier tier, int threads)
{
    json_t *line = json_pack("{s:s, s:i}", "tier", cpu_tier_name(tier), "threads", threads);
    double value;
    enum status status = line ? STATUS_OK : FAIL(MEMORY, "bench: out of memory");
    for (int compute = COMPUTE_F32; status == STATUS_OK && compute <= COMPUTE_BF16; compute++) {
        struct ops_context ops;
        const struct ops_options options = {.threads = threads, .compute = (enum compute)compute};
        if (ops_context_open_tier(&ops, &options, tier) != STATUS_OK) {
            status_clear();
            json_decref(line);
            return STATUS_OK;
        }
        status = put_products(&ops, line);
        if (status == STATUS_OK && compute == COMPUTE_BF16) {
            status = measure_read(ops.pool, MEASURE_MIB, &value);
            put(line, "read_gb_per_s", value);
        }
        if (status == STATUS_OK && compute == COMPUTE_BF16) {
            status = measure_cache_read(ops.pool, &value);
            put(line, "cache_read_gb_per_s", value);
        }
        ops_context_close(&ops);
    }
    if (status == STATUS_OK) {
        status = print_line(line);
    }
    json_decref(line);
    return status;
}

/* Every tier with one thread, two, four, ... and all; with --threads that many alone. */
static enum status bench_roofline(const struct command_args *args)
{
    const int most = args->threads > 0 ? (int)args->threads : cpu_allowed();
    for (int threads = args->threads > 0 ? most : 1; threads <= most;
         threads = threads < most && 2 * threads > most ? most : 2 * threads) {
        for (enum cpu_tier tier = TIER_REF; tier <= cpu_best_tier(); tier++) {
            TRY(roofline_tier(tier, threads));
        }
    }
    return STATUS_OK;
}

struct bench_row {
    const char *name;
    enum status (*fn)(const struct command_args *args);
};

static const struct bench_row BENCHES[] = {{"sft", bench_sft},
                                           {"decode", bench_decode},
                                           {"grpo", bench_grpo},
                                           {"roofline", bench_roofline}};

static const char *bench_name_at(const void *ctx, size_t i)
{
    (void)ctx;
    return i < sizeof BENCHES / sizeof *BENCHES ? BENCHES[i].name : NULL;
}

enum status stage_bench(const struct command_args *args)
{
    const char *name = args->word_count ? args->words[0] : "";
    for (size_t i = 0; i < sizeof BENCHES / sizeof *BENCHES; i++) {
        if (strcmp(BENCHES[i].name, name) == 0) {
            return BENCHES[i].fn(args);
        }
    }
    const char *near = suggest_nearest(name, bench_name_at, NULL);
    return near ? FAIL(USAGE, "bench: no work '%.60s', did you mean '%s'?", name, near)
                : FAIL(USAGE, "bench: name the work: sft, decode, grpo or roofline");
}
