/* estimate: the memory of a run, by the plan code that the run itself follows. */
#include <inttypes.h>
#include <string.h>

#include "recipes/build.h"
#include "recipes/commands.h"
#include "recipes/measure.h"
#include "recipes/memory.h"
#include "recipes/schema_internal.h"
#include "recipes/stages.h"
#include "trainer/report/report.h"

/* What a prompt is taken to hold where there are no rows to read: of a dataset, of sums. */
enum { PROMPT_TOKENS = 512, SUMS_TOKENS = 64 };

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
    return recipe_resolve(r, 1);
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

/* Without rows: every micro-batch is full, and so is every label. */
static enum status full_batch(const void *ctx, int64_t budget, struct step_size *out)
{
    (void)ctx;
    *out = (struct step_size){.tokens = budget, .outputs = budget, .longest = 1};
    return STATUS_OK;
}

/* The plan of a recipe whose rows are not at hand, from its keys alone. */
static enum status plan_blind(const struct recipe *r, struct model *m, struct ops_context *ops,
                              struct param_set *params, bool samples, struct memory_plan *plan)
{
    struct optim_config optim;
    struct param_layout layout;
    const struct comm alone = {.size = 1, .local_size = 1};
    const bool sums = r->dataset_name && strcmp(r->dataset_name, "sums") == 0;
    TRY(recipe_optim(r, &optim));
    TRY(optim_prepare(&optim, params, &layout));
    struct memory_request q = {
        .recipe = r,
        .model = m,
        .ops = ops,
        .comm = &alone,
        .process = measure_process(),
        .params = params,
        .layout = &layout,
        .batch = full_batch,
        .batch_fixed = true,
        .prompts = r->rollout_rows,
        .prompt = sums ? SUMS_TOKENS : PROMPT_TOKENS,
        .samples = samples ? r->num_generations : 0,
        .completion = r->max_completion_length,
    };
    const int64_t room = m->rope_positions - q.completion;
    q.prompt = q.prompt < room ? q.prompt : room > 0 ? room : 1;
    q.completion = room > 0 ? q.completion : m->rope_positions - 1;
    return memory_plan_make(&q, plan);
}

static enum status estimate_blind(const struct recipe *r, bool samples, struct memory_plan *plan)
{
    struct model *m = NULL;
    struct adapter *adapter = NULL;
    struct param_set params;
    struct ops_context ops = {0};
    enum status status;
    param_set_open(&params);
    const struct model_options options = {.context = r->max_model_length,
                                          .quantize = (enum quantize)r->quantize};
    const struct ops_options how = {.threads = (int)r->threads,
                                    .compute = (enum compute)r->compute,
                                    .k_slices = (int)r->k_slices};
    if (r->init_from_config) {
        TRY_TO(status, done,
               model_open_random(&m, r->init_from_config, (uint64_t)r->seed, &options));
    } else {
        TRY_TO(status, done, model_open(&m, r->model_name_or_path, &options));
    }
    TRY_TO(status, done, attach(r, m, &params, &adapter));
    TRY_TO(status, done, ops_context_open(&ops, &how));
    status = plan_blind(r, m, &ops, &params, samples, plan);
done:
    adapter_close(adapter);
    param_set_close(&params);
    model_close(m);
    ops_context_close(&ops);
    return status;
}

static void print_text(const struct memory_plan *p)
{
    for (int i = 0; i < p->count; i++) {
        report_result("%-22s %12.2f MiB  %s", p->line[i].what,
                      (double)p->line[i].bytes / (1 << 20), p->line[i].note);
    }
    report_result("%-22s %12.2f MiB  per rank", "total", (double)p->total / (1 << 20));
}

static enum status print_json(const struct memory_plan *p)
{
    json_t *out = json_object();
    for (int i = 0; i < p->count; i++) {
        (void)json_object_set_new(out, p->line[i].what, json_integer(p->line[i].bytes));
    }
    (void)json_object_set_new(out, "total", json_integer(p->total));
    (void)json_object_set_new(out, "micro_batch_tokens", json_integer(p->micro_batch_tokens));
    (void)json_object_set_new(out, "recomputed_blocks", json_integer(p->recompute));
    char *text = json_dumps(out, JSON_PRESERVE_ORDER);
    json_decref(out);
    if (!text) {
        return FAIL(MEMORY, "estimate: out of memory");
    }
    report_result("%s", text);
    free(text);
    return STATUS_OK;
}

/* The command that runs the stage of a training method or of eval. */
static const struct command *stage_of(enum recipe_method method)
{
    const struct command *c;
    for (size_t i = 0; (c = command_at(i)) && c->methods != method; i++) {
    }
    ASSERT(c);
    return c;
}

/* The stage's own plan, when its rows can be read. */
static enum status estimate_stage(const struct command_args *args, const struct recipe *r,
                                  struct memory_plan *plan, bool *done)
{
    enum recipe_method method = recipe_guess_method(r);
    *done = false;
    if (args->method) {
        TRY(command_named_method(args->method, &method));
    }
    if (!args->recipe_path || args->adapter || !r->dataset_name) {
        return STATUS_OK;
    }
    struct command_args stage = *args;
    stage.plan_only = plan;
    const enum status status = stage_of(method)->fn(&stage);
    if (status == STATUS_RECIPE || status == STATUS_INPUT || status == STATUS_IO) {
        report_note("estimate: by the keys alone, since %s", status_message());
        status_clear();
        return STATUS_OK;
    }
    *done = status == STATUS_OK;
    return status;
}

enum status cmd_estimate(const struct command_args *args)
{
    struct recipe r = {0};
    struct memory_plan plan;
    bool done = false;
    enum status status = read_recipe(args, &r);
    if (status == STATUS_OK) {
        status = estimate_stage(args, &r, &plan, &done);
    }
    if (status == STATUS_OK && !done) {
        const bool samples = !args->recipe_path
                             || (recipe_guess_method(&r) & (RECIPE_GRPO | RECIPE_RLOO));
        status = estimate_blind(&r, samples, &plan);
    }
    if (status == STATUS_OK && args->json) {
        status = print_json(&plan);
    } else if (status == STATUS_OK) {
        print_text(&plan);
    }
    recipe_close(&r);
    return status;
}
