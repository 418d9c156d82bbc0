/* What each method's forward, backward and generations hold; see memory.h. */
#include <string.h>

#include "recipes/measure.h"
#include "recipes/memory_internal.h"

/* Prompts that are read to find the longest: all of usual datasets. */
enum { MOST_PROMPTS = 100000 };

struct memory_request memory_request_of(struct run *r, bool trains)
{
    return (struct memory_request){
        .recipe = &r->recipe,
        .model = r->model,
        .ops = r->ops,
        .comm = &r->comm,
        .process = r->process.held ? r->process : measure_process(),
        .params = trains ? &r->params : NULL,
        /* A tied embedding trained whole gets its two parts once per micro-batch. */
        .batch_fixed = !r->adapter && r->model->config.tied,
    };
}

static enum status batch_rows(const void *ctx, int64_t budget, struct step_size *out)
{
    return step_size_find(ctx, budget, out);
}

/* The plan of the request, unless what comes before it failed, agreed on and told. Collective. */
static enum status make_plan(struct run *r, const struct memory_request *q, enum status status,
                             struct memory_plan *out)
{
    if (status == STATUS_OK) {
        status = memory_plan_make(q, out);
    }
    status = comm_agree(&r->comm, status);
    if (status == STATUS_OK) {
        memory_plan_note(out, &r->comm);
    }
    return status;
}

enum status memory_plan_rows(struct run *r, struct memory_request *q, const struct sft_plan *plan,
                             memory_row_fn size, const void *items, struct memory_plan *out)
{
    const size_t count = (size_t)plan->rows;
    int64_t *tokens = malloc(3 * count * sizeof *tokens + 1);
    int64_t *packed = tokens + count;
    int64_t *outputs = packed + count;
    const struct step_rows rows = {
        .plan = plan,
        .tokens = tokens,
        .packed = packed,
        .outputs = outputs,
        .shards = (int)r->recipe.shards,
        .steps = run_max_steps(&r->recipe, sft_plan_steps_per_epoch(plan)),
    };
    enum status status = tokens ? STATUS_OK : FAIL(MEMORY, "plan: no memory");
    for (int64_t i = 0; status == STATUS_OK && i < plan->rows; i++) {
        const struct memory_row row = size(items, i);
        tokens[i] = row.tokens;
        packed[i] = row.packed;
        outputs[i] = row.outputs;
    }
    q->batch = batch_rows;
    q->batch_ctx = &rows;
    status = make_plan(r, q, status, out);
    free(tokens);
    return status;
}

static struct memory_row example_size(const void *rows, int64_t i)
{
    const struct example *e = &((const struct example_set *)rows)->items[i];
    return (struct memory_row){.tokens = e->count, .packed = e->count, .outputs = e->labels};
}

enum status memory_plan_sft(struct run *r, const struct sft_plan *plan,
                            const struct example_set *rows, struct memory_plan *out)
{
    struct memory_request q = memory_request_of(r, true);
    return memory_plan_rows(r, &q, plan, example_size, rows, out);
}

static struct memory_row pair_size(const void *rows, int64_t i)
{
    const struct pair *p = &((const struct pair_set *)rows)->items[i];
    const int64_t outputs = p->chosen_count + p->rejected_count;
    const int64_t tokens = p->prompt_count + outputs;
    return (struct memory_row){.tokens = tokens, .packed = tokens, .outputs = outputs};
}

enum status memory_plan_dpo(struct run *r, const struct sft_plan *plan,
                            const struct pair_set *pairs, struct memory_plan *out)
{
    struct memory_request q = memory_request_of(r, true);
    q.reference = !r->adapter || r->recipe.adapter_name_or_path;
    return memory_plan_rows(r, &q, plan, pair_size, pairs, out);
}

/* The longest prompt so far. */
struct prompt_reader {
    const struct prompt_format *format;
    int64_t *longest;
};

static enum status read_prompt(void *ctx, const json_t *row, const char *where)
{
    const struct prompt_reader *reader = ctx;
    struct token_list list = {0};
    const enum status status = prompt_ids(reader->format, row, where, &list, NULL);
    *reader->longest = list.count > *reader->longest ? list.count : *reader->longest;
    free(list.ids);
    return status;
}

/* Tokens of the longest prompt of a split. */
static enum status longest_prompt(struct run_data *data, const struct prompt_format *format,
                                  int64_t *longest)
{
    struct prompt_reader reader = {format, longest};
    *longest = 1;
    return run_each_row(data, MOST_PROMPTS, read_prompt, &reader);
}

/* Groups of a step as trees: the prompt once, the completions as branches (rl/grpo_run.c). */
struct trees {
    int64_t prompt;
    int64_t completion;
    int64_t size;      /* completions of a group */
    int64_t per_shard; /* groups of a shard */
    int64_t split;     /* micro_batch_tokens of the recipe: a group beyond it is cut there */
};

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static enum status batch_trees(const void *ctx, int64_t budget, struct step_size *out)
{
    const struct trees *t = ctx;
    const int64_t fit = t->split / t->completion;
    const int64_t rows = smaller(t->size, fit > 0 ? fit : 1);
    const int64_t piece = t->prompt + rows * t->completion;
    const int64_t pieces = (t->size + rows - 1) / rows * t->per_shard;
    const int64_t at_once = budget / piece > 0 ? smaller(budget / piece, pieces) : 1;
    *out = (struct step_size){.tokens = at_once * piece,
                              .outputs = at_once * rows * t->completion,
                              .longest = piece};
    return STATUS_OK;
}

static enum status find_lengths(struct run *r, struct run_data *data, struct memory_request *q)
{
    TRY(longest_prompt(data, &r->format, &q->prompt));
    const int64_t most = r->model->rope_positions;
    q->completion = smaller(q->completion, most - q->prompt > 0 ? most - q->prompt : 1);
    q->prompt = smaller(q->prompt, most - 1);
    return STATUS_OK;
}

enum status memory_plan_groups(struct run *r, struct memory_request *q,
                               const struct grpo_plan *plan, struct memory_plan *out)
{
    const struct recipe *c = &r->recipe;
    const int64_t groups = grpo_plan_round_rows(plan) / plan->group_size;
    const int64_t step_rows = plan->world * plan->per_device * plan->accumulation;
    const int64_t step_groups = (step_rows + plan->group_size - 1) / plan->group_size;
    q->prompts = (groups + r->comm.size - 1) / r->comm.size;
    q->samples = plan->group_size;
    q->completion = c->max_completion_length;
    const enum status status = find_lengths(r, &r->train, q);
    const int64_t steps = run_max_steps(c, grpo_plan_steps_per_epoch(plan));
    q->history = smaller(c->rollout_history, steps * step_rows * q->completion);
    const struct trees trees = {
        .prompt = q->prompt,
        .completion = q->completion,
        .size = plan->group_size,
        .per_shard = (smaller(step_groups, groups) + c->shards - 1) / c->shards,
        .split = c->micro_batch_tokens,
    };
    q->prompts *= q->members > 0 ? q->members : 1;
    q->batch = batch_trees;
    q->batch_ctx = &trees;
    return make_plan(r, q, status, out);
}

enum status memory_plan_grpo(struct run *r, const struct grpo_plan *plan, struct memory_plan *out)
{
    const struct recipe *c = &r->recipe;
    struct memory_request q = memory_request_of(r, true);
    q.reference = c->beta > 0 && (!r->adapter || c->adapter_name_or_path);
    return memory_plan_groups(r, &q, plan, out);
}

enum status memory_plan_eval(struct run *r, struct memory_plan *out)
{
    const struct recipe *c = &r->recipe;
    struct memory_request q = memory_request_of(r, false);
    const int64_t rows = r->test.set ? dataset_count(r->test.set) : 1;
    const int64_t wanted = c->eval_samples > 0 ? smaller(c->eval_samples, rows) : rows;
    q.prompts = (wanted + r->comm.size - 1) / r->comm.size;
    q.samples = c->eval_num_generations;
    q.completion = c->eval_max_new_tokens > 0 ? c->eval_max_new_tokens : c->max_completion_length;
    return make_plan(r, &q, find_lengths(r, &r->test, &q), out);
}
