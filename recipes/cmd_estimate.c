/* estimate: the memory of a run, by the plan code that sizes the run itself. */
#include <inttypes.h>
#include <string.h>

#include "recipes/build.h"
#include "recipes/commands.h"
#include "recipes/schema_internal.h"
#include "rl/rollout_history.h"
#include "trainer/model/cache.h"
#include "trainer/report/report.h"

/* What a prompt is taken to hold where no key says it: of a dataset, of procedural sums. */
enum { PROMPT_TOKENS = 512, SUMS_TOKENS = 64, MAX_LINES = 16 };

struct estimate {
    struct {
        const char *what;
        int64_t bytes;
        char note[96];
    } line[MAX_LINES];
    int count;
    int64_t total;
};

static void add(struct estimate *e, const char *what, size_t bytes, const char *note)
{
    ASSERT(e->count < MAX_LINES);
    e->line[e->count].what = what;
    e->line[e->count].bytes = (int64_t)bytes;
    (void)snprintf(e->line[e->count].note, sizeof e->line[0].note, "%s", note);
    e->count++;
    e->total += (int64_t)bytes;
}

/* The recipe of a file, or of --model alone: a LoRA on all linear layers. */
static enum status read_recipe(const struct command_args *args, struct recipe *r)
{
    TRY(command_open_recipe(args, RECIPE_EVAL, r));
    if (args->model) {
        TRY(schema_set_text(r, schema_find("model_name_or_path"), args->model));
    }
    if (args->adapter) {
        TRY(schema_set_text(r, schema_find("adapter_name_or_path"), args->adapter));
    }
    if (!args->recipe_path && !recipe_given(r, "use_peft")) {
        r->use_peft = true;
        if (r->lora_target_modules.count == 0) {
            TRY(schema_set_text(r, schema_find("lora_target_modules"), "all-linear"));
        }
    }
    return command_resolve_recipe(r, 1);
}

static enum status attach(const struct recipe *r, struct model *m, struct param_set *params,
                          struct adapter **adapter)
{
    struct adapter_config config = {0};
    if (!r->use_peft) {
        return model_full_attach(m, params);
    }
    TRY(r->adapter_name_or_path ? adapter_read_config(&config, r->adapter_name_or_path)
                                : recipe_adapter(r, &config));
    const enum status status = adapter_attach(adapter, m, params, &config);
    adapter_config_close(&config);
    return status;
}

static enum status add_step(struct estimate *e, const struct recipe *r, const struct model *m)
{
    char note[96];
    struct ops_context ops;
    size_t step;
    size_t scratch;
    const struct ops_options options = {.threads = (int)r->threads,
                                        .compute = (enum compute)r->compute,
                                        .k_slices = (int)r->k_slices};
    TRY(ops_context_open(&ops, &options));
    const int64_t unit_begin[2] = {0, r->micro_batch_tokens};
    const struct pass pass = {.ops = &ops,
                              .hooks = true,
                              .grad = true,
                              .checkpoint = r->gradient_checkpointing,
                              .unit_begin = unit_begin,
                              .units = 1};
    const enum status status =
        model_plan(m, &pass, r->micro_batch_tokens, r->micro_batch_tokens, &step, &scratch);
    ops_context_close(&ops);
    TRY(status);
    (void)snprintf(note, sizeof note, "micro_batch_tokens %" PRId64 "%s", r->micro_batch_tokens,
                   r->gradient_checkpointing ? ", gradient_checkpointing" : "");
    add(e, "activations", step, note);
    add(e, "scratch", scratch, "");
    return STATUS_OK;
}

static void add_cache(struct estimate *e, const struct recipe *r, const struct model *m)
{
    char note[96];
    const bool sums = r->dataset_name && strcmp(r->dataset_name, "sums") == 0;
    const int64_t usual = sums ? SUMS_TOKENS : PROMPT_TOKENS;
    const int64_t prompt = r->max_prompt_length == RECIPE_UNSET ? usual : r->max_prompt_length;
    int64_t length = prompt + r->max_completion_length;
    length = length > m->config.context ? m->config.context : length;
    const int64_t per_row = (length + CACHE_PAGE - 1) / CACHE_PAGE;
    const struct kv_cache_shape shape = {
        .layers = m->config.layers,
        .kv_dim = m->config.kv_heads * m->config.head_dim,
        .pages = r->rollout_pages ? r->rollout_pages : per_row * r->rollout_rows,
        .sequences = r->rollout_rows,
        .length = length,
        .rounded = r->compute == COMPUTE_BF16 && m->config.head_dim % 2 == 0,
    };
    (void)snprintf(note, sizeof note, "%" PRId64 " rows of %" PRId64 " + %" PRId64 " tokens",
                   r->rollout_rows, prompt, r->max_completion_length);
    add(e, "K/V cache (grpo)", kv_cache_bytes(&shape), note);
    (void)snprintf(note, sizeof note, "%" PRId64 " tokens of earlier completions",
                   r->rollout_history);
    add(e, "history (grpo)", (size_t)r->rollout_history * ROLLOUT_HISTORY_TOKEN_BYTES, note);
}

static enum status add_all(struct estimate *e, const struct recipe *r, struct model *m,
                           struct param_set *params, bool samples)
{
    char note[96];
    struct optim_config optim;
    struct param_layout layout;
    TRY(recipe_optim(r, &optim));
    TRY(optim_prepare(&optim, params, &layout));
    (void)snprintf(note, sizeof note, "%" PRId64 " parameters, mapped", model_parameter_count(m));
    add(e, "weights", model_weight_bytes(m), note);
    const size_t values = (size_t)params->total * sizeof(float);
    const size_t all = param_set_bytes(params, &layout);
    (void)snprintf(note, sizeof note, "%" PRId64 " trained numbers", params->total);
    add(e, "trained values", values, note);
    add(e, "gradient, optimizer", all > values ? all - values : 0, "");
    int depth = 2;
    for (int64_t s = r->shards; s > 1; s /= 2) {
        depth++;
    }
    (void)snprintf(note, sizeof note, "shards %" PRId64, r->shards);
    add(e, "sums over shards", values * (size_t)depth, note);
    TRY(add_step(e, r, m));
    if (samples) {
        add_cache(e, r, m);
    }
    return STATUS_OK;
}

static void print_text(const struct estimate *e)
{
    for (int i = 0; i < e->count; i++) {
        report_result("%-22s %12.2f MiB  %s", e->line[i].what,
                      (double)e->line[i].bytes / (1 << 20), e->line[i].note);
    }
    report_result("%-22s %12.2f MiB  per rank", "total", (double)e->total / (1 << 20));
}

static enum status print_json(const struct estimate *e)
{
    json_t *out = json_object();
    for (int i = 0; i < e->count; i++) {
        (void)json_object_set_new(out, e->line[i].what, json_integer(e->line[i].bytes));
    }
    (void)json_object_set_new(out, "total", json_integer(e->total));
    char *text = json_dumps(out, JSON_PRESERVE_ORDER);
    json_decref(out);
    if (!text) {
        return FAIL(MEMORY, "estimate: out of memory");
    }
    report_result("%s", text);
    free(text);
    return STATUS_OK;
}

enum status cmd_estimate(const struct command_args *args)
{
    struct recipe r = {0};
    struct model *m = NULL;
    struct adapter *adapter = NULL;
    struct param_set params;
    struct estimate e = {0};
    enum status status;
    param_set_open(&params);
    TRY_TO(status, done, read_recipe(args, &r));
    const bool samples = !args->recipe_path || recipe_guess_method(&r) == RECIPE_GRPO;
    const struct model_options options = {.context = r.max_model_length,
                                          .quantize = (enum quantize)r.quantize};
    if (r.init_from_config) {
        TRY_TO(status, done, model_open_random(&m, r.init_from_config, (uint64_t)r.seed, &options));
    } else {
        TRY_TO(status, done, model_open(&m, r.model_name_or_path, &options));
    }
    TRY_TO(status, done, attach(&r, m, &params, &adapter));
    TRY_TO(status, done, add_all(&e, &r, m, &params, samples));
    if (args->json) {
        TRY_TO(status, done, print_json(&e));
    } else {
        print_text(&e);
    }
done:
    if (adapter) {
        adapter_close(adapter);
    }
    param_set_close(&params);
    if (m) {
        model_close(m);
    }
    recipe_close(&r);
    return status;
}
