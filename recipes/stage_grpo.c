/*
 * graft grpo: reasoning RL by recipe. Setup, accuracy before, train, accuracy after, report.
 */
#include "recipes/grpo_training.h"
#include "recipes/population.h"
#include "recipes/stages.h"
#include "trainer/report/report.h"

static enum status train(struct run *r, struct train_result *result)
{
    struct reward_set rewards = {0};
    struct grpo_training t = {0};
    enum status status = grpo_open_rewards(r, &rewards);
    if (status == STATUS_OK) {
        status = grpo_training_open(&t, r, &rewards);
    }
    if (status == STATUS_OK) {
        status = run_train(r, &t.loop, &t.method, result);
    }
    grpo_training_close(&t);
    reward_set_close(&rewards);
    return status;
}

static enum status summarize(const struct run *r, const struct train_result *result,
                             json_t *before, json_t *after)
{
    json_t *line;
    TRY(grpo_summary(r, result, before, after, &line));
    char *text = json_dumps(line, JSON_COMPACT);
    if (text) {
        report_result("%s", text);
    }
    free(text);
    json_decref(line);
    return STATUS_OK;
}

static enum status run_grpo(struct run *r)
{
    struct train_result result = {0};
    json_t *before = NULL;
    json_t *after = NULL;
    TRY(grpo_setup(r));
    if (r->plan_only) {
        return STATUS_OK;
    }
    enum status status = grpo_before(r, &before);
    if (status == STATUS_OK) {
        status = train(r, &result);
    }
    if (status == STATUS_OK) {
        status = grpo_after(r, &after);
    }
    if (status == STATUS_OK) {
        status = comm_agree(&r->comm,
                            r->comm.rank == 0 ? summarize(r, &result, before, after) : STATUS_OK);
    }
    json_decref(before);
    json_decref(after);
    return status;
}

static enum status stage(const struct command_args *args, enum recipe_method method)
{
    struct run r;
    enum status status = run_open(&r, args, method);
    if (status == STATUS_OK) {
        const bool members = recipe_members(&r.recipe) > 0;
        status = !members        ? run_grpo(&r)
                 : r.plan_only ? population_plan(&r, args, r.plan_only)
                               : population_grpo(&r, args);
    }
    return stage_end(&r, status);
}

enum status stage_grpo(const struct command_args *args)
{
    return stage(args, RECIPE_GRPO);
}

enum status stage_rloo(const struct command_args *args)
{
    return stage(args, RECIPE_RLOO);
}
