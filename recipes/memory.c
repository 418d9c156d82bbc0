/* The plan of a run's memory; see memory.h. */
#include "recipes/memory_internal.h"

#include <inttypes.h>
#include <string.h>

#include "recipes/measure.h"
#include "rl/rollout_history.h"
#include "trainer/model/cache.h"
#include "trainer/model/panels.h"
#include "trainer/report/report.h"

enum {
    IMAGE_STEP = 16 << 20,  /* of state_h5.c */
    SET_IN_FILE = 2500,     /* of HDF5's own for a dataset: in the image */
    SET_IN_HDF5 = 17 << 10, /* and in its caches, until the file is closed */
    TOUCHED_LATER = 10 << 20, /* libraries and small buffers that a run comes to use: 7 to 8 seen */
    OUTPUT_ARRAYS = 7,      /* floats a log-prob has besides the activations */
    PREVIEW = 96
};

static void add(struct memory_plan *p, const char *what, size_t bytes, const char *note)
{
    ASSERT(p->count < MEMORY_LINES);
    struct memory_line *l = &p->line[p->count++];
    l->what = what;
    l->bytes = (int64_t)bytes;
    (void)snprintf(l->note, sizeof l->note, "%s", note);
    p->total += l->bytes;
}

/* Most bytes of operands that one product rounds and packs: rows of the widest linear. */
struct widest {
    const struct model *model;
    int64_t width;
};

static enum status see_linear(void *ctx, struct linear *l)
{
    struct widest *w = ctx;
    if (l != &w->model->embed && l != &w->model->head) {
        const int64_t wide = l->in > l->out ? l->in : l->out;
        w->width = wide > w->width ? wide : w->width;
    }
    return STATUS_OK;
}

static size_t packed_bytes(const struct memory_request *q, int64_t tokens)
{
    struct widest w = {.model = q->model};
    (void)!model_each_linear((struct model *)(uintptr_t)q->model, see_linear, &w);
    if (q->teacher) {
        w.model = q->teacher;
        (void)!model_each_linear((struct model *)(uintptr_t)q->teacher, see_linear, &w);
    }
    const size_t most = q->ops->scratch.size;
    const size_t each = q->ops->compute == COMPUTE_BF16 ? sizeof(uint16_t) : sizeof(float);
    const size_t bytes = (size_t)tokens * (size_t)w.width * each;
    return bytes < most ? bytes : most;
}

int memory_sum_buffers(const struct memory_request *q)
{
    const int64_t own = (q->recipe->shards + q->comm->size - 1) / q->comm->size;
    int buffers = q->comm->size > 1 ? 2 : 1;
    for (int64_t n = 1; n < own; n *= 2) {
        buffers++;
    }
    return buffers;
}

/* Panels that exist are part of what the process was seen to hold: as a file when ranks share them.
 */
static void add_panels(const struct memory_request *q, struct memory_plan *p, size_t *held,
                       size_t *mapped)
{
    if (q->recipe->base_cache != BASE_CACHE_BF16) {
        return;
    }
    const size_t bytes = model_panel_bytes(q->model, q->ops);
    size_t *seen = q->comm->local_size > 1 ? mapped : held;
    if (q->model->panels) {
        *seen -= bytes < *seen ? bytes : *seen;
    }
    add(p, "base_cache", bytes, "bf16, held once by the ranks of a node");
}

static void add_weights(const struct memory_request *q, struct memory_plan *p)
{
    size_t held = q->process.held;
    size_t mapped = q->process.mapped;
    char note[PREVIEW];
    const size_t derived = q->model->base.used;
    add_panels(q, p, &held, &mapped);
    const size_t process = held > derived ? held - derived : 0;
    add(p, "process", process + TOUCHED_LATER, "program, libraries, tokenizer, data");
    (void)snprintf(note, sizeof note, "%" PRId64 " parameters, mapped",
                   model_parameter_count(q->model));
    add(p, "weights", mapped, note);
    add(p, "derived weights", derived, "norms, position tables, weights not in the file");
    if (q->teacher) {
        (void)snprintf(note, sizeof note, "%" PRId64 " parameters, mapped",
                       model_parameter_count(q->teacher));
        add(p, "teacher", q->teacher_mapped + q->teacher->base.used, note);
    }
}

/* The checkpoint is made in memory: values and optimizer state, in steps of the image. */
size_t memory_image(const struct param_set *params, const struct param_layout *layout)
{
    const size_t all = params->sealed ? params->arena.size : param_set_bytes(params, layout);
    const size_t gradient = (size_t)params->total * sizeof(float);
    const size_t sets = 3 * (size_t)params->count;
    const size_t image = ((all - gradient + sets * SET_IN_FILE) / IMAGE_STEP + 1) * IMAGE_STEP;
    return image + sets * SET_IN_HDF5;
}

static void add_params(const struct memory_request *q, struct memory_plan *p)
{
    char note[PREVIEW];
    const size_t values = (size_t)q->params->total * sizeof(float);
    const size_t all = q->params->sealed ? q->params->arena.size
                                         : param_set_bytes(q->params, q->layout);
    (void)snprintf(note, sizeof note, "%" PRId64 " trained numbers", q->params->total);
    add(p, "trained values", values, note);
    add(p, "gradient, optimizer", all > values ? all - values : 0, "");
    (void)snprintf(note, sizeof note, "shards %" PRId64, q->recipe->shards);
    add(p, "sums over shards", values * (size_t)memory_sum_buffers(q), note);
    if (q->reference) {
        add(p, "reference", values, "a copy of the trained values");
    }
    if (q->members > 0) {
        (void)snprintf(note, sizeof note, "%" PRId64 " beside the largest, with their optimizers",
                       q->members - 1);
        add(p, "other members", (size_t)q->others, note);
    }
    const size_t own = memory_image(q->params, q->layout);
    const size_t image = own > q->image ? own : q->image;
    p->image = q->comm->rank == 0 ? (int64_t)image : 0;
    add(p, "checkpoint", (size_t)p->image, q->samples > 0 ? "its image, when there is no rollout"
                                                          : "its image while it is written");
}

/* The teacher's pass over the same rows, and the tiles in which both distributions meet. */
static enum status add_teacher(const struct memory_request *q, struct memory_plan *p)
{
    const struct step_size *size = &p->size;
    const int64_t unit_begin[2] = {0, size->tokens};
    const struct pass pass = {.ops = q->ops, .unit_begin = unit_begin, .units = 1};
    size_t step;
    size_t scratch;
    TRY(model_plan(q->teacher, &pass, size->tokens, size->outputs, &step, &scratch));
    add(p, "teacher's pass", step + scratch + model_divergence_scratch(), "");
    return STATUS_OK;
}

static enum status add_batch(const struct memory_request *q, struct memory_plan *p)
{
    const struct step_size *size = &p->size;
    char note[PREVIEW];
    size_t step;
    size_t scratch;
    const int64_t unit_begin[2] = {0, size->tokens};
    const struct pass_noise noise = {0};
    const struct pass pass = {.ops = q->ops,
                              .hooks = true,
                              .grad = true,
                              .recompute = p->recompute,
                              .unit_begin = unit_begin,
                              .units = 1,
                              .noise = q->recipe->disable_dropout ? NULL : &noise};
    TRY(model_plan(q->model, &pass, size->tokens, size->outputs, &step, &scratch));
    const size_t outputs = (size_t)size->outputs * sizeof(float) * OUTPUT_ARRAYS;
    (void)snprintf(note, sizeof note, "%" PRId64 " tokens, %" PRId64 " of %" PRId64
                   " blocks computed again", size->tokens, p->recompute < p->blocks
                   ? p->recompute : p->blocks, p->blocks);
    add(p, "activations", step + outputs, note);
    add(p, "scratch", scratch + packed_bytes(q, size->tokens), "");
    return q->teacher ? add_teacher(q, p) : STATUS_OK;
}

/* What the generation of one model takes. */
static enum status measure_rollout(const struct memory_request *q, const struct memory_plan *p,
                                   const struct model *sampler, struct generate_memory *m)
{
    struct prompt *prompts = calloc((size_t)q->prompts, sizeof *prompts);
    if (!prompts) {
        return FAIL(MEMORY, "plan: no memory for %" PRId64 " prompts", q->prompts);
    }
    for (int64_t i = 0; i < q->prompts; i++) {
        prompts[i] = (struct prompt){.count = q->prompt, .samples = q->samples};
    }
    struct generate_args a = {
        .model = sampler,
        .ops = q->ops,
        .prompts = prompts,
        .prompt_count = q->prompts,
        .sample = {.temperature = 1.0, .top_p = 1.0, .max_new_tokens = q->completion},
        .limits = sampling_limits(q->recipe),
    };
    a.limits.cache_pages = p->pages > 0 ? p->pages : a.limits.cache_pages;
    const enum status status = generate_plan(&a, m);
    free(prompts);
    return status;
}

static enum status add_rollout(const struct memory_request *q, struct memory_plan *p)
{
    char note[PREVIEW];
    struct generate_memory m;
    TRY(measure_rollout(q, p, q->sampler[0] ? q->sampler[0] : q->model, &m));
    if (q->sampler[1]) {
        struct generate_memory other;
        TRY(measure_rollout(q, p, q->sampler[1], &other));
        m = other.cache + other.own + other.pass > m.cache + m.own + m.pass ? other : m;
    }
    (void)snprintf(note, sizeof note,
                   "%" PRId64 " rows of %" PRId64 " + %" PRId64 " tokens, %" PRId64 " pages",
                   q->recipe->rollout_rows, q->prompt, q->completion, m.pages);
    add(p, "K/V cache", m.cache, note);
    if (q->history > 0) {
        add(p, "history", (size_t)q->history * ROLLOUT_HISTORY_TOKEN_BYTES, "earlier completions");
    }
    const size_t unused = q->recipe->memory > 0 ? 0 : m.guesses;
    add(p, "decoder", m.own - unused + m.pass, "logits, activations of a step");
    return STATUS_OK;
}

/* All lines under the choice that stands in *p. */
static enum status add_up(const struct memory_request *q, struct memory_plan *p)
{
    p->count = 0;
    p->total = 0;
    add_weights(q, p);
    if (q->params) {
        add_params(q, p);
        TRY(add_batch(q, p));
    }
    if (q->samples == 0) {
        return STATUS_OK;
    }
    const int64_t before = p->total;
    TRY(add_rollout(q, p));
    const int64_t rollout = p->total - before;
    p->total -= rollout < p->image ? rollout : p->image; /* never at the same time */
    return STATUS_OK;
}

/* True when the choice in *p fits; else the next thriftier one is to be tried. */
static enum status fits(const struct memory_request *q, struct memory_plan *p, bool *yes)
{
    TRY(add_up(q, p));
    *yes = p->budget == 0 || p->total <= p->budget;
    return STATUS_OK;
}

/* The least number of blocks to compute again with which micro-batches of this size fit. */
static enum status choose_blocks(const struct memory_request *q, struct memory_plan *p, bool *yes)
{
    const bool given = recipe_given(q->recipe, "gradient_checkpointing");
    const int64_t from = given && q->recipe->gradient_checkpointing ? p->blocks : 0;
    const int64_t to = given && !q->recipe->gradient_checkpointing ? 0 : p->blocks;
    for (int64_t n = from; n <= to; n++) {
        p->recompute = n;
        TRY(fits(q, p, yes));
        if (*yes) {
            return STATUS_OK;
        }
    }
    return STATUS_OK;
}

/* Blocks computed again cost less time than smaller micro-batches, so they come first. */
static enum status choose_batch(const struct memory_request *q, struct memory_plan *p, bool *yes)
{
    for (int64_t tokens = q->recipe->micro_batch_tokens;; tokens /= 2) {
        p->micro_batch_tokens = tokens;
        TRY(q->batch(q->batch_ctx, tokens, &p->size));
        TRY(choose_blocks(q, p, yes));
        if (*yes || q->batch_fixed || tokens <= p->size.longest || tokens <= 1) {
            return STATUS_OK;
        }
    }
}

/* Half the pages until the rows that are left fit; a row alone must. */
static enum status choose_pages(const struct memory_request *q, struct memory_plan *p, bool *yes)
{
    const int64_t page = q->recipe->rollout_page_size > 0 ? q->recipe->rollout_page_size
                                                          : CACHE_PAGE;
    const int64_t least = (q->prompt + q->completion + page - 1) / page + 1;
    if (q->recipe->rollout_pages > 0) {
        return STATUS_OK;
    }
    for (int64_t pages = q->recipe->rollout_rows * least; !*yes; pages /= 2) {
        p->pages = pages > least ? pages : least;
        TRY(fits(q, p, yes));
        if (pages <= least) {
            return STATUS_OK;
        }
    }
    return STATUS_OK;
}

static enum status refuse(const struct memory_request *q, const struct memory_plan *p)
{
    char parts[256] = "";
    for (int i = 0; i < p->count; i++) {
        const size_t used = strlen(parts);
        if (p->line[i].bytes > p->total / 20) {
            (void)snprintf(parts + used, sizeof parts - used, "%s%s %" PRId64, used ? ", " : "",
                           p->line[i].what, (p->line[i].bytes >> 20) + 1);
        }
    }
    return FAIL(MEMORY,
                "memory: %" PRId64 " MiB do not hold this run; the least that would do is memory: "
                "%" PRId64 "MiB (MiB: %s)%s", p->budget >> 20, (p->total >> 20) + 2, parts,
                q->samples > 0 ? "; rollout_rows and max_completion_length lower it"
                               : "; a lower max_length or lora_r lowers it");
}

/* What `memory: 0` means: most of what is free on the node, shared by its ranks. */
static int64_t machine_budget(const struct memory_request *q)
{
    const double free_bytes = 0.9 * measure_free_memory();
    return (int64_t)(free_bytes / (q->comm->local_size > 0 ? q->comm->local_size : 1));
}

enum status memory_plan_make(const struct memory_request *q, struct memory_plan *out)
{
    const struct recipe *r = q->recipe;
    bool yes = false;
    *out = (struct memory_plan){
        .budget = r->memory > 0 ? r->memory : machine_budget(q),
        .micro_batch_tokens = r->micro_batch_tokens,
        .blocks = q->params ? 2 * q->model->config.layers + 2 : 0,
    };
    if (q->params) {
        TRY(choose_batch(q, out, &yes));
    } else {
        TRY(fits(q, out, &yes));
    }
    if (!yes && q->samples > 0) {
        TRY(choose_pages(q, out, &yes));
    }
    if (r->memory == 0) {
        out->budget = 0;
        return STATUS_OK;
    }
    return yes ? STATUS_OK : refuse(q, out);
}

void memory_plan_note(const struct memory_plan *p, const struct comm *comm)
{
    if (p->budget == 0 || comm->rank != 0) {
        return;
    }
    report_note("memory: %" PRId64 " of %" PRId64 " MiB planned; micro-batches of %" PRId64
                " tokens, %" PRId64 " of %" PRId64 " blocks computed again",
                (p->total >> 20) + 1, p->budget >> 20, p->micro_batch_tokens, p->recompute,
                p->blocks);
}
