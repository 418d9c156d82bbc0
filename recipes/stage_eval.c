/* graft eval: accuracy of a model, with an adapter before and after, on the recipe's test rows. */
#include "recipes/memory.h"
#include "recipes/run.h"
#include "recipes/stages.h"
#include "trainer/format/file.h"
#include "trainer/report/report.h"

static enum status print(struct run *r, const struct command_args *args, json_t *before,
                         json_t *after)
{
    json_t *report = json_pack("{s:s?, s:s?, s:s?, s:O?, s:O?}", "model",
                               args->model ? args->model : r->recipe.model_name_or_path, "adapter",
                               r->recipe.adapter_name_or_path, "dataset", r->recipe.dataset_name,
                               "before", before, "after", after);
    char *text = json_dumps(report, args->json ? JSON_COMPACT : JSON_INDENT(2));
    enum status status = text ? STATUS_OK : FAIL(MEMORY, "eval: no memory for the report");
    if (text) {
        report_result("%s", text);
    }
    if (status == STATUS_OK && r->recipe.output_dir) {
        status = report_html(r->recipe.output_dir, report);
    }
    free(text);
    json_decref(report);
    return status;
}

static enum status run_eval(struct run *r, const struct command_args *args)
{
    struct eval_result result;
    json_t *before = NULL;
    json_t *after = NULL;
    TRY(run_open_data(r));
    if (r->recipe.output_dir && !r->plan_only) {
        TRY(comm_agree(&r->comm,
                       r->comm.rank == 0 ? file_mkdirs(r->recipe.output_dir) : STATUS_OK));
    }
    if (r->recipe.adapter_name_or_path) {
        TRY(run_attach(r, NULL));
    }
    struct memory_plan plan;
    TRY(memory_plan_eval(r, &plan));
    r->cache_pages = plan.pages;
    if (r->plan_only) {
        *r->plan_only = plan;
        return STATUS_OK;
    }
    enum status status = run_evaluate(r, "before", false, &result);
    before = status == STATUS_OK ? eval_result_json(&result) : NULL;
    if (status == STATUS_OK && r->recipe.adapter_name_or_path) {
        status = run_evaluate(r, "after", true, &result);
        after = status == STATUS_OK ? eval_result_json(&result) : NULL;
    }
    if (status == STATUS_OK && r->comm.rank == 0) {
        status = print(r, args, before, after);
    }
    json_decref(before);
    json_decref(after);
    return comm_agree(&r->comm, status);
}

enum status stage_eval(const struct command_args *args)
{
    struct run r;
    enum status status = run_open(&r, args, RECIPE_EVAL);
    if (status == STATUS_OK) {
        status = run_eval(&r, args);
    }
    return stage_end(&r, status);
}
