/* Accuracy before and after a GRPO run, and its report; see grpo_training.h. */
#include "recipes/grpo_training.h"

#include "trainer/format/json.h"
#include "trainer/report/report.h"

/* before.json keeps the first measurement, so that a resumed run reports it too. */
enum status grpo_before(struct run *r, json_t **out)
{
    char path[4096];
    struct eval_result result;
    *out = NULL;
    if (!r->recipe.eval_on_start || !r->test.set) {
        return STATUS_OK;
    }
    (void)snprintf(path, sizeof path, "%s/accuracy_before.json", r->recipe.output_dir);
    FILE *there = r->recipe.resume == RESUME_AUTO ? fopen(path, "rbe") : NULL;
    bool have = false;
    TRY(comm_any(&r->comm, r->comm.rank == 0 && there != NULL, &have));
    if (there) {
        (void)fclose(there);
    }
    if (have) {
        return comm_agree(&r->comm, r->comm.rank == 0 ? json_load_path(path, 1 << 20, out)
                                                      : STATUS_OK);
    }
    TRY(run_evaluate(r, "before", r->recipe.adapter_name_or_path != NULL, &result));
    *out = eval_result_json(&result);
    if (r->comm.rank == 0) {
        report_note("accuracy before: %.1f %% of %lld problems", 100.0 * result.accuracy,
                    (long long)result.problems);
    }
    return comm_agree(&r->comm,
                      r->comm.rank == 0 ? json_write_path(path, *out) : STATUS_OK);
}

enum status grpo_after(struct run *r, json_t **out)
{
    struct eval_result last;
    *out = NULL;
    if (!r->recipe.eval_on_start || !r->test.set) {
        return STATUS_OK;
    }
    TRY(run_evaluate(r, "after", true, &last));
    *out = eval_result_json(&last);
    if (r->comm.rank == 0) {
        report_note("accuracy after: %.1f %%", 100.0 * last.accuracy);
    }
    return STATUS_OK;
}

/* A {before, after} pair of one number of the two measurements, for the report's table. */
static json_t *pair(const json_t *before, const json_t *after, const char *key)
{
    return json_pack("{s:O?, s:O?}", "before", json_object_get(before, key), "after",
                     json_object_get(after, key));
}

static enum status write_report(const struct run *r, const struct train_result *result,
                                const json_t *before, const json_t *after)
{
    json_t *summary = json_pack("{s:s, s:I, s:f, s:I}", "method",
                                recipe_method_name(r->recipe.method), "steps",
                                (json_int_t)result->steps, "seconds", result->seconds,
                                "skipped steps", (json_int_t)result->skipped);
    if (summary && after) {
        (void)json_object_set_new(summary, "accuracy", pair(before, after, "accuracy"));
        (void)json_object_set_new(summary, "mean length", pair(before, after, "mean_length"));
        (void)json_object_set_new(summary, "cut off", pair(before, after, "truncated"));
    }
    const enum status status = summary ? report_html(r->recipe.output_dir, summary)
                                       : FAIL(MEMORY, "report: no memory");
    json_decref(summary);
    return status;
}

enum status grpo_summary(const struct run *r, const struct train_result *result, json_t *before,
                         json_t *after, json_t **line)
{
    TRY(write_report(r, result, before, after));
    *line = json_pack("{s:s, s:I, s:f, s:I, s:s, s:O?, s:O?}", "method",
                      recipe_method_name(r->recipe.method), "steps", (json_int_t)result->steps,
                      "seconds", result->seconds, "skipped_steps", (json_int_t)result->skipped,
                      "output_dir", r->recipe.output_dir, "before", before, "after", after);
    return *line ? STATUS_OK : FAIL(MEMORY, "report: no memory");
}
