/*
 * The members of a population, one optimizer step of each in turn; see population.h.
 *
 * Members that are at the same step draw their rounds in one batch: all their adapters hang on the
 * model, each for the rows of its slot. Everything else is computed with the hooks of one member on
 * the model. Members that a kill left at different steps are no special case: those furthest behind
 * go first.
 */
#include "recipes/population.h"

#include <string.h>

#include "recipes/grpo_training.h"
#include "trainer/format/file.h"
#include "trainer/report/report.h"

struct member {
    struct run run;
    struct grpo_training training;
    struct train_args args;
    struct trainer *trainer;
    struct train_result result;
    json_t *before;
    json_t *after;
    char label[32];
};

struct population {
    struct run *leader;
    struct reward_set rewards;
    struct member *items;
    int64_t count;  /* opened */
    int64_t at_work; /* the member whose adapter hangs on the model, -1: none */
    struct grpo *holder; /* who has the memory of activations; NULL: nobody yet */
    struct grpo **drawing; /* [count] */
    int64_t *group;        /* [count] members at the same step */
    int64_t group_count;
};

/* Says which member failed. */
static enum status named(const struct member *m, enum status status)
{
    return status == STATUS_OK || status == STATUS_INTERRUPTED
               ? status
               : status_prefix(status, "population: %s", m->label);
}

static struct adapter *adapter_of(struct population *p, int64_t i)
{
    return p->items[i].run.adapter;
}

static void leave(struct population *p)
{
    if (p->at_work >= 0) {
        adapter_take_off(adapter_of(p, p->at_work));
    }
    p->at_work = -1;
}

static void enter(struct population *p, int64_t i)
{
    if (p->at_work != i) {
        leave(p);
        adapter_hang(adapter_of(p, i), -1);
        p->at_work = i;
    }
    struct grpo *own = p->items[i].training.grpo;
    if (own && p->holder != own) {
        if (p->holder) {
            grpo_hand_over(p->holder, own);
        }
        p->holder = own;
    }
}

static enum status open_run(struct population *p, const struct command_args *args, int64_t i)
{
    struct member *m = &p->items[i];
    struct recipe recipe;
    const enum recipe_method method = p->leader->recipe.method;
    (void)snprintf(m->label, sizeof m->label, "member %lld: ", (long long)i);
    enum status status = recipe_open(&recipe, method, args->recipe_path, args->override_count,
                                     args->overrides);
    if (status == STATUS_OK) {
        status = recipe_become_member(&recipe, i);
    }
    if (status == STATUS_OK) {
        status = run_open_member(&m->run, p->leader, &recipe);
    }
    recipe_close(&recipe);
    return status;
}

static enum status open_training(struct population *p, int64_t i)
{
    struct member *m = &p->items[i];
    leave(p); /* attaching hangs the new hooks on the model */
    TRY(grpo_setup(&m->run));
    p->at_work = i;
    TRY(grpo_before(&m->run, &m->before));
    TRY(grpo_training_open(&m->training, &m->run, &p->rewards));
    m->training.loop.label = m->label;
    return run_train_open(&m->run, &m->training.loop, &m->training.method, &m->args, &m->trainer);
}

static enum status open_members(struct population *p, const struct command_args *args)
{
    const int64_t count = recipe_members(&p->leader->recipe);
    p->items = calloc((size_t)count, sizeof *p->items);
    p->drawing = calloc((size_t)count, sizeof *p->drawing);
    p->group = calloc((size_t)count, sizeof *p->group);
    if (!p->items || !p->drawing || !p->group) {
        return FAIL(MEMORY, "population: no memory for %lld members", (long long)count);
    }
    for (int64_t i = 0; i < count; i++) { /* all recipes first: a wrong one costs no work */
        struct member *m = &p->items[p->count++];
        TRY(comm_agree(&p->leader->comm, named(m, open_run(p, args, i))));
    }
    TRY(grpo_open_rewards(p->leader, &p->rewards));
    for (int64_t i = 0; i < count; i++) {
        TRY(named(&p->items[i], open_training(p, i)));
    }
    return STATUS_OK;
}

/* The unfinished members with the fewest steps. */
static void find_group(struct population *p)
{
    int64_t step = INT64_MAX;
    p->group_count = 0;
    for (int64_t i = 0; i < p->count; i++) {
        const struct trainer *t = p->items[i].trainer;
        if (trainer_done(t) || trainer_at(t) > step) {
            continue;
        }
        p->group_count = trainer_at(t) < step ? 0 : p->group_count;
        step = trainer_at(t);
        p->group[p->group_count++] = i;
    }
}

/* Those of the group that need a round: their adapters hang on the model, by slot. */
static int64_t hang_drawing(struct population *p)
{
    int64_t n = 0;
    leave(p);
    for (int64_t k = 0; k < p->group_count; k++) {
        const int64_t i = p->group[k];
        if (grpo_draws(p->items[i].training.grpo)) {
            adapter_hang(adapter_of(p, i), (int32_t)n);
            p->drawing[n++] = p->items[i].training.grpo;
        }
    }
    return n;
}

static void take_off_all(struct population *p)
{
    for (int64_t i = 0; i < p->count; i++) {
        adapter_take_off(adapter_of(p, i));
    }
}

/* The rounds of the group's next step. */
static enum status draw_rounds(struct population *p)
{
    for (int64_t k = 0; k < p->group_count; k++) {
        struct member *m = &p->items[p->group[k]];
        enter(p, p->group[k]);
        TRY(named(m, grpo_begin(m->training.grpo, trainer_at(m->trainer))));
    }
    for (int64_t n = hang_drawing(p); n > 0; n = hang_drawing(p)) {
        const enum status status = grpo_draw(p->drawing, n);
        take_off_all(p);
        TRY(status == STATUS_OK ? status : status_prefix(status, "population: "));
        for (int64_t k = 0; k < p->group_count; k++) {
            struct member *m = &p->items[p->group[k]];
            enter(p, p->group[k]);
            TRY(named(m, grpo_take_up(m->training.grpo)));
        }
    }
    return STATUS_OK;
}

/* After a signal the others save, too. */
static enum status save_all(struct population *p)
{
    for (int64_t i = 0; i < p->count; i++) {
        if (!trainer_done(p->items[i].trainer)) {
            enter(p, i);
            TRY(named(&p->items[i], trainer_save(p->items[i].trainer)));
        }
    }
    return FAIL(INTERRUPTED, "interrupted: saved the %lld members of %s; run the same command to go on",
                (long long)p->count, p->leader->recipe.output_dir);
}

static enum status run_steps(struct population *p)
{
    for (find_group(p); p->group_count > 0; find_group(p)) {
        TRY(draw_rounds(p));
        for (int64_t k = 0; k < p->group_count; k++) {
            struct member *m = &p->items[p->group[k]];
            enter(p, p->group[k]);
            const enum status status = named(m, trainer_step(m->trainer));
            if (status == STATUS_INTERRUPTED) {
                return save_all(p);
            }
            TRY(status);
        }
    }
    return STATUS_OK;
}

static enum status finish_member(struct population *p, int64_t i)
{
    struct member *m = &p->items[i];
    enter(p, i);
    TRY(trainer_finish(m->trainer));
    trainer_close(m->trainer, &m->result);
    m->trainer = NULL;
    return grpo_after(&m->run, &m->after);
}

/* One object for all members, as stage_grpo prints for one. */
static enum status summarize(struct population *p)
{
    json_t *members = json_array();
    json_t *line = json_pack("{s:s, s:s, s:o}", "method",
                             recipe_method_name(p->leader->recipe.method), "output_dir",
                             p->leader->recipe.output_dir, "members", members);
    enum status status = line ? STATUS_OK : FAIL(MEMORY, "population: no memory for a summary");
    for (int64_t i = 0; status == STATUS_OK && i < p->count; i++) {
        struct member *m = &p->items[i];
        json_t *own;
        status = grpo_summary(&m->run, &m->result, m->before, m->after, &own);
        if (status == STATUS_OK) {
            (void)json_object_set(own, "keys",
                                  json_array_get(p->leader->recipe.population, (size_t)i));
            (void)json_array_append_new(members, own);
        }
    }
    char *text = status == STATUS_OK ? json_dumps(line, JSON_COMPACT) : NULL;
    if (text) {
        report_result("%s", text);
    }
    free(text);
    json_decref(line);
    return status;
}

static enum status run_population(struct population *p, const struct command_args *args)
{
    TRY(open_members(p, args));
    TRY(run_steps(p));
    for (int64_t i = 0; i < p->count; i++) {
        TRY(named(&p->items[i], finish_member(p, i)));
    }
    const struct comm *comm = &p->leader->comm;
    return comm_agree(comm, comm->rank == 0 ? summarize(p) : STATUS_OK);
}

static void close_members(struct population *p)
{
    for (int64_t i = 0; i < p->count; i++) {
        struct member *m = &p->items[i];
        trainer_close(m->trainer, &m->result);
        grpo_training_close(&m->training);
        json_decref(m->before);
        json_decref(m->after);
        run_close(&m->run);
    }
    free(p->items);
    free(p->drawing);
    free(p->group);
    reward_set_close(&p->rewards);
}

/* The recipe of the whole beside the members' folders; rank 0. */
static enum status write_recipe(const struct run *leader)
{
    char path[4096];
    char *text;
    TRY(file_mkdirs(leader->recipe.output_dir));
    TRY(recipe_dump(&leader->recipe, &text));
    (void)snprintf(path, sizeof path, "%s/recipe.yaml", leader->recipe.output_dir);
    const enum status status = file_write_atomic(path, text, strlen(text));
    free(text);
    return status;
}

enum status population_grpo(struct run *leader, const struct command_args *args)
{
    struct population p = {.leader = leader, .at_work = -1};
    const struct comm *comm = &leader->comm;
    struct memory_plan plan;
    TRY(population_plan(leader, args, &plan));
    TRY(comm_agree(comm, comm->rank == 0 ? write_recipe(leader) : STATUS_OK));
    const enum status status = run_population(&p, args);
    close_members(&p);
    return status;
}
