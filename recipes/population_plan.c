/* Memory of a population: one step of activations, one rollout, and what each member trains. */
#include "recipes/build.h"
#include "recipes/grpo_training.h"
#include "recipes/memory_internal.h"
#include "recipes/population.h"

enum {
    MEMBER_BYTES = 256 << 10, /* recipe, journal, round and open files of a member */
    TENSOR_BYTES = 1 << 10    /* name, hook and places of one of its tensors */
};

/* A member as far as its memory tells: attached, without values. */
struct planned {
    struct recipe recipe;
    struct optim_config optim;
    struct param_set params;
    struct param_layout layout;
    struct adapter *adapter;
};

static void planned_close(struct planned *m)
{
    adapter_close(m->adapter);
    param_set_close(&m->params);
    recipe_close(&m->recipe);
    *m = (struct planned){0};
}

static enum status attach(struct planned *m, const struct run *leader)
{
    struct adapter_config config = {0};
    const char *start = m->recipe.adapter_name_or_path;
    TRY(start ? adapter_read_config(&config, start) : recipe_adapter(&m->recipe, &config));
    const enum status status = adapter_attach(&m->adapter, leader->model, &m->params, &config);
    adapter_config_close(&config);
    TRY(status);
    TRY(recipe_optim(&m->recipe, &m->optim));
    return optim_prepare(&m->optim, &m->params, &m->layout);
}

/* Fails as opening the member would. Close it in any case. */
static enum status planned_open(struct planned *m, const struct run *leader,
                                const struct command_args *args, int64_t i)
{
    *m = (struct planned){0};
    param_set_open(&m->params);
    TRY(recipe_open(&m->recipe, leader->recipe.method, args->recipe_path, args->override_count,
                    args->overrides));
    TRY(recipe_become_member(&m->recipe, i));
    TRY(recipe_resolve(&m->recipe, leader->comm.size));
    return attach(m, leader);
}

static bool has_reference(const struct recipe *c)
{
    return c->beta > 0 && c->adapter_name_or_path;
}

/* What stays of each member while another one works, and the one that has most. */
static enum status add_members(struct run *leader, const struct command_args *args,
                               struct memory_request *q, int64_t *largest)
{
    const int64_t count = recipe_members(&leader->recipe);
    int64_t most = -1;
    int64_t tables = 0;
    for (int64_t i = 0; i < count; i++) {
        struct planned m;
        enum status status = planned_open(&m, leader, args, i);
        if (status == STATUS_OK) {
            const int64_t values = m.params.total * (int64_t)sizeof(float);
            const int64_t bytes = (int64_t)param_set_bytes(&m.params, &m.layout)
                                  + values * memory_sum_buffers(q)
                                  + (has_reference(&m.recipe) ? values : 0);
            const size_t image = memory_image(&m.params, &m.layout);
            q->others += bytes;
            tables += MEMBER_BYTES + m.params.count * (int64_t)TENSOR_BYTES;
            q->image = image > q->image ? image : q->image;
            *largest = bytes > most ? i : *largest;
            most = bytes > most ? bytes : most;
        }
        planned_close(&m);
        TRY(status);
    }
    q->others += tables - most;
    q->members = count;
    return STATUS_OK;
}

enum status population_plan(struct run *leader, const struct command_args *args,
                            struct memory_plan *out)
{
    struct memory_request q;
    struct planned m = {0};
    int64_t largest = 0;
    TRY(run_open_data(leader));
    TRY(run_load_store(leader));
    q = memory_request_of(leader, true);
    q.batch_fixed = false;
    enum status status = add_members(leader, args, &q, &largest);
    if (status == STATUS_OK) {
        status = planned_open(&m, leader, args, largest);
    }
    status = comm_agree(&leader->comm, status);
    if (status == STATUS_OK) {
        const struct grpo_plan plan = grpo_training_plan(leader);
        status = comm_agree(&leader->comm, grpo_plan_check(&plan));
        q.params = &m.params;
        q.layout = &m.layout;
        q.reference = has_reference(&m.recipe);
        if (status == STATUS_OK) {
            status = memory_plan_groups(leader, &q, &plan, out);
        }
    }
    planned_close(&m);
    TRY(status);
    leader->cache_pages = out->pages;
    leader->batch_tokens = out->micro_batch_tokens;
    leader->recompute = out->recompute;
    return STATUS_OK;
}
