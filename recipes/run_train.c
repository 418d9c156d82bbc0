/* Training over the loop: resume checks, exports, model card; see run.h. */
#include <string.h>
#include <unistd.h>

#include "recipes/build.h"
#include "recipes/measure.h"
#include "recipes/run.h"
#include "trainer/format/file.h"
#include "trainer/model/save.h"
#include "trainer/report/report.h"
#include "trainer/store/checkpoint.h"

enum { PATH_CAP = 4096, CARD_CAP = 4096 };

/* README.md of an adapter folder, with the front matter the Hub reads. */
static enum status write_card(const struct run *r, const char *folder)
{
    char path[PATH_CAP];
    char text[CARD_CAP];
    const char *base = r->recipe.model_name_or_path ? r->recipe.model_name_or_path : "";
    const char *slash = strrchr(base, '/');
    const char *name = slash ? slash + 1 : base; /* never a local path (formats.md 8) */
    const char *method = recipe_method_name(r->recipe.method);
    const bool scores = r->recipe.method == RECIPE_REWARD_MODEL;
    const int n = snprintf(
        text, sizeof text,
        "---\nbase_model: %s\nlibrary_name: %s\npipeline_tag: %s\ntags:\n- %s\n- %s\n"
        "- transformers\n---\n\n# %s of %s\n\nTrained with Graft %s by `%s` on %s. The recipe is in "
        "`recipe.yaml` of the run directory.\n",
        name, r->adapter ? "peft" : "transformers",
        scores ? "text-classification" : "text-generation", method, r->adapter ? "lora" : "full",
        r->adapter ? "LoRA adapter" : "Fine-tune", name, GRAFT_VERSION, method,
        recipe_has_mixture(&r->recipe) ? "a mixture of datasets"
        : r->recipe.dataset_name       ? r->recipe.dataset_name
                                       : "(no dataset)");
    if (n < 0 || n >= CARD_CAP) {
        return FAIL(IO, "%s: the model card is too long", folder);
    }
    (void)snprintf(path, sizeof path, "%s/README.md", folder);
    return file_write_atomic(path, text, (size_t)n);
}

/* A full model's folder also holds its tokenizer, as Transformers expects. */
static enum status copy_tokenizer(const struct run *r, const char *folder)
{
    static const char *const FILES[] = {"tokenizer.json", "tokenizer_config.json",
                                        "chat_template.jinja", "generation_config.json",
                                        "special_tokens_map.json"};
    for (size_t i = 0; r->tokenizer_folder[0] && i < sizeof FILES / sizeof FILES[0]; i++) {
        char from[2 * PATH_CAP];
        char to[2 * PATH_CAP];
        (void)snprintf(from, sizeof from, "%s/%s", r->tokenizer_folder, FILES[i]);
        (void)snprintf(to, sizeof to, "%s/%s", folder, FILES[i]);
        if (access(from, R_OK) == 0) {
            TRY(file_copy(from, to));
        }
    }
    return STATUS_OK;
}

enum status run_export(void *run, const char *folder)
{
    const struct run *r = run;
    TRY(file_mkdirs(folder));
    if (r->adapter) {
        TRY(adapter_save(r->adapter, folder));
    } else {
        const struct model_folder_options options = {.dtype = DTYPE_F32};
        TRY(model_save_folder(r->model, folder, &options));
        TRY(copy_tokenizer(r, folder));
    }
    if (r->reference_moves && strcmp(folder, r->recipe.output_dir) != 0) {
        TRY(model_reference_save(&r->reference, folder));
    }
    return write_card(r, folder);
}

/* Newest checkpoint's recipe against this one; world_size comes from the checkpoint. */
static enum status check_on_rank0(struct run *r, int64_t *world)
{
    int64_t step;
    char *skipped;
    struct checkpoint_state state;
    struct recipe saved = {0};
    char *differs = NULL;
    TRY(checkpoint_latest(r->recipe.output_dir, &step, &skipped));
    free(skipped);
    if (step < 0) {
        return STATUS_OK;
    }
    TRY(checkpoint_peek(r->recipe.output_dir, step, &state));
    *world = json_integer_value(json_object_get(state.method_state, "world_size"));
    enum status status =
        recipe_open_text(&saved, r->recipe.method, "recipe.yaml of the checkpoint", state.recipe);
    checkpoint_state_close(&state);
    if (status == STATUS_OK) {
        status = recipe_resolve(&saved, (int)*world);
    }
    if (status == STATUS_OK && !recipe_given(&r->recipe, "world_size") && *world > 0) {
        r->recipe.world_size = *world;
    }
    if (status == STATUS_OK) {
        status = recipe_diff(&r->recipe, &saved, &differs);
    }
    if (status == STATUS_OK && differs) {
        status = FAIL(RECIPE,
                      "%s holds a run of another recipe: %s differ; use another output_dir, or "
                      "resume=never to start over",
                      r->recipe.output_dir, differs);
    }
    free(differs);
    recipe_close(&saved);
    return status;
}

enum status run_check_resume(struct run *r)
{
    int64_t world = 0;
    enum status status = STATUS_OK;
    if (!r->recipe.output_dir) {
        return FAIL(RECIPE, "output_dir is missing: a folder for checkpoints, logs and the result");
    }
    if (r->comm.rank == 0 && r->recipe.resume == RESUME_AUTO) {
        status = check_on_rank0(r, &world);
    }
    TRY(comm_agree(&r->comm, status));
    TRY(comm_broadcast(&r->comm, &r->recipe.world_size, sizeof r->recipe.world_size, 0));
    return STATUS_OK;
}

static enum status start_folder(struct run *r)
{
    char path[PATH_CAP];
    TRY(file_mkdirs(r->recipe.output_dir));
    TRY(recipe_dump(&r->recipe, &r->recipe_text));
    (void)snprintf(path, sizeof path, "%s/recipe.yaml", r->recipe.output_dir);
    return file_write_atomic(path, r->recipe_text, strlen(r->recipe_text));
}

/* A member of a population runs where its leader does. */
static enum status measure_limits(struct run *r)
{
    const double adapter = r->adapter ? (double)adapter_parameter_count(r->adapter) : 0.0;
    TRY(work_costs_of(r->model, adapter, !r->adapter, &r->limits.costs));
    if (r->leader && r->leader->limits.peaks.gflops > 0) {
        r->limits.peaks = r->leader->limits.peaks;
        return STATUS_OK;
    }
    return measure_peaks(r->ops, r->model, &r->limits.peaks);
}

enum status run_train_open(struct run *r, const struct train_config *config,
                           const struct train_method *method, struct train_args *args,
                           struct trainer **out)
{
    *out = NULL;
    TRY(comm_agree(&r->comm, r->comm.rank == 0 ? start_folder(r) : STATUS_OK));
    TRY(measure_limits(r));
    /* Transformers counts what is no embedding: the head too, when it is not the embedding's. */
    int64_t weights =
        model_parameter_count(r->model) - r->model->config.vocab * r->model->config.hidden;
    for (int64_t i = 0; r->adapter && i < r->params.count; i++) {
        weights += r->params.params[i].count;
    }
    *args = (struct train_args){
        .config = config,
        .weights = weights,
        .comm = &r->comm,
        .ops = r->ops,
        .params = &r->params,
        .method = method,
        .export_fn = run_export,
        .export_ctx = r,
        .recipe_text = r->recipe_text,
        .world_size = r->recipe.world_size,
        .limits = &r->limits,
    };
    train_signals_install();
    TRY(trainer_open(out, args));
    if (trainer_done(*out) && r->comm.rank == 0) {
        report_note("already finished: %s has all %lld steps", r->recipe.output_dir,
                    (long long)trainer_at(*out));
    }
    return STATUS_OK;
}

enum status run_train(struct run *r, const struct train_config *config,
                      const struct train_method *method, struct train_result *out)
{
    struct train_args args;
    struct trainer *t;
    enum status status = run_train_open(r, config, method, &args, &t);
    while (status == STATUS_OK && !trainer_done(t)) {
        status = trainer_step(t);
    }
    if (status == STATUS_OK) {
        status = trainer_finish(t);
    }
    trainer_close(t, out);
    return status;
}

enum status run_summarize(const struct run *r, const struct train_result *result)
{
    json_t *summary = json_pack("{s:s, s:I, s:f, s:f, s:I, s:s}", "method",
                                recipe_method_name(r->recipe.method), "steps",
                                (json_int_t)result->steps, "train_loss", result->train_loss,
                                "seconds", result->seconds, "skipped_steps",
                                (json_int_t)result->skipped, "output_dir", r->recipe.output_dir);
    if (result->best.any) {
        (void)json_object_set_new(summary, "best_metric", json_real(result->best.metric));
        (void)json_object_set_new(summary, "best_step", json_integer(result->best.step));
    }
    enum status status = report_html(r->recipe.output_dir, summary);
    char *text = json_dumps(summary, JSON_COMPACT);
    if (status == STATUS_OK && text) {
        report_result("%s", text);
    }
    free(text);
    json_decref(summary);
    return status;
}
