/* What steps of the preference methods and of distillation hold; see memory.h. */
#include "recipes/memory_internal.h"

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static struct memory_row unpaired_size(const void *rows, int64_t i)
{
    const struct tree_row tree = unpaired_tree(rows, i, i);
    const int64_t tokens = tree_row_tokens(&tree);
    return (struct memory_row){
        .tokens = tokens, .packed = tokens, .outputs = tree_row_outputs(&tree, 0)};
}

enum status memory_plan_kto(struct run *r, const struct sft_plan *plan,
                            const struct unpaired_set *rows, struct memory_plan *out)
{
    struct memory_request q = memory_request_of(r, true);
    q.reference = !r->adapter || r->recipe.adapter_name_or_path;
    return memory_plan_rows(r, &q, plan, unpaired_size, rows, out);
}

static struct memory_row ranked_size(const void *rows, int64_t i)
{
    const struct tree_row tree = ranked_tree(&((const struct ranked_set *)rows)->items[i]);
    const struct pack_unit unit = {.prompt = tree.prompt,
                                   .prompt_count = tree.prompt_count,
                                   .branches = tree.branches,
                                   .branch_count = tree.branch_count};
    return (struct memory_row){.tokens = tree_row_tokens(&tree),
                               .packed = pack_unit_rows(&unit),
                               .outputs = tree.branch_count};
}

enum status memory_plan_reward_model(struct run *r, const struct sft_plan *plan,
                                     const struct ranked_set *pairs, struct memory_plan *out)
{
    struct memory_request q = memory_request_of(r, true);
    return memory_plan_rows(r, &q, plan, ranked_size, pairs, out);
}

/* Rows with the longest completion that somebody may write for them. */
struct written {
    const struct distill_set *set;
    int64_t sampled; /* tokens; 0: nobody does */
};

static struct memory_row written_size(const void *rows, int64_t i)
{
    const struct written *w = rows;
    const struct distill_row *row = &w->set->items[i];
    const int64_t outputs = larger(row->count, w->sampled);
    const int64_t tokens = row->prompt_count + outputs;
    return (struct memory_row){.tokens = tokens, .packed = tokens, .outputs = outputs};
}

enum status memory_plan_distill(struct run *r, const struct distill_config *config,
                                const struct distill_env *env, struct memory_plan *out)
{
    const struct sft_plan *plan = &config->plan;
    const int64_t per_step = plan->per_device * plan->world * plan->accumulation;
    const bool student = config->lmbda > 0.0;
    const bool teacher = config->seq_kd && config->lmbda < 1.0;
    struct memory_request q = memory_request_of(r, true);
    struct written written = {.set = env->rows};
    q.teacher = env->teacher;
    q.teacher_mapped = measure_process().mapped - q.process.mapped;
    if (student || teacher) {
        q.samples = 1;
        q.prompts = (per_step + r->comm.size - 1) / r->comm.size;
        q.completion = config->sample.max_new_tokens;
        q.sampler[0] = student ? env->model : env->teacher;
        q.sampler[1] = student && teacher ? env->teacher : NULL;
        q.prompt = 1;
        written.sampled = q.completion;
    }
    for (int64_t i = 0; i < env->rows->count; i++) {
        q.prompt = larger(q.prompt, env->rows->items[i].prompt_count);
    }
    return memory_plan_rows(r, &q, plan, written_size, &written, out);
}
