/* Setup shared by the stages; see run.h. */
#include "recipes/run.h"

#include <string.h>
#include <sys/stat.h>

#include "recipes/build.h"
#include "recipes/sampling.h"
#include "recipes/session.h"
#include "rl/reward/remote.h"
#include "trainer/format/file.h"
#include "trainer/model/panels.h"
#include "trainer/report/report.h"
#include "trainer/store/state_h5.h"

enum { PATH_CAP = 4096, TEMPLATE_CAP = 4 << 20 };

static enum status open_backend(struct run *r)
{
    const struct recipe *c = &r->recipe;
    int cpus[PLACES_MOST];
    r->places.local_rank = r->comm.local_rank;
    r->places.local_size = r->comm.local_size;
    const int threads = c->threads > 0 ? (int)c->threads : places_threads(&r->places);
    const struct ops_options options = {
        .threads = threads,
        .compute = (enum compute)c->compute,
        .k_slices = (int)c->k_slices,
        .cpus = places_pin(&r->places, threads, cpus) ? cpus : NULL,
    };
    TRY(ops_context_open(&r->own_ops, &options));
    r->ops = &r->own_ops;
    r->ops_open = true;
    return STATUS_OK;
}

static enum status open_model(struct run *r, const char *path)
{
    const struct recipe *c = &r->recipe;
    const struct model_options options = {
        .context = c->max_model_length,
        .quantize = (enum quantize)c->quantize,
    };
    if (c->init_from_config) {
        return model_open_random(&r->model, c->init_from_config, (uint64_t)c->seed, &options);
    }
    if (!path) {
        return FAIL(RECIPE, "model_name_or_path is missing: a GGUF file or a model folder");
    }
    return model_open(&r->model, path, &options);
}

/* Folder of a file's path. */
static void folder_of(const char *path, char out[PATH_CAP])
{
    (void)snprintf(out, PATH_CAP, "%s", path);
    char *slash = strrchr(out, '/');
    if (slash) {
        *slash = '\0';
    } else {
        (void)snprintf(out, PATH_CAP, ".");
    }
}

static enum status open_tokenizer(struct run *r, const char *path)
{
    const struct recipe *c = &r->recipe;
    char folder[PATH_CAP];
    if (c->tokenizer_name_or_path) {
        path = c->tokenizer_name_or_path;
    } else if (c->init_from_config) {
        folder_of(c->init_from_config, folder);
        path = folder;
    }
    struct stat info;
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode)) {
        (void)snprintf(r->tokenizer_folder, sizeof r->tokenizer_folder, "%s", path);
    }
    return session_open_tokenizer(&r->tokenizer, path);
}

/* The recipe's template: Jinja text, or a file that holds it. */
static enum status open_template(struct run *r)
{
    const char *source = r->recipe.chat_template ? r->recipe.chat_template
                                                 : tokenizer_chat_template(r->tokenizer);
    if (!source) {
        return STATUS_OK;
    }
    struct stat info;
    if (!r->recipe.chat_template || strchr(source, '{') || stat(source, &info) != 0) {
        return chat_template_open(&r->chat, source);
    }
    struct file_map m;
    TRY(file_map_open(&m, source));
    char *text = m.size < TEMPLATE_CAP ? strndup(m.data ? m.data : "", m.size) : NULL;
    file_map_close(&m);
    const enum status status =
        text ? chat_template_open(&r->chat, text)
             : FAIL(RECIPE, "chat_template: %s is larger than 4 MiB", source);
    free(text);
    return status;
}

static enum status collect_stops(struct run *r)
{
    int64_t count = 0;
    const int32_t *ids = tokenizer_stop_ids(r->tokenizer, &count);
    for (int64_t i = 0; i < count && r->stop_count < 60; i++) {
        r->stops[r->stop_count++] = ids[i];
    }
    for (int i = 0; i < r->model->config.stop_count && r->stop_count < 62; i++) {
        r->stops[r->stop_count++] = r->model->config.stops[i];
    }
    if (r->recipe.eos_token) {
        const int32_t id = tokenizer_find(r->tokenizer, r->recipe.eos_token);
        if (id < 0) {
            return FAIL(RECIPE, "eos_token: '%s' is no token of this tokenizer",
                        r->recipe.eos_token);
        }
        r->stops[r->stop_count++] = id;
    }
    return STATUS_OK;
}

/* Before the panels are filled: the plan of all the memory comes later. */
static enum status check_panels(const struct run *r)
{
    const size_t bytes = model_panel_bytes(r->model, r->ops);
    const double most = r->recipe.memory > 0 ? (double)r->recipe.memory : measure_free_memory();
    if (most > 0.0 && (double)bytes > most) {
        return FAIL(MEMORY, "base_cache: bf16 takes %zu MiB where %.0f MiB %s; leave it out",
                    bytes >> 20, most / (1 << 20), r->recipe.memory > 0 ? "are allowed (memory)"
                                                                        : "are free");
    }
    return STATUS_OK;
}

/* Collective. */
static enum status open_panels(struct run *r)
{
    if (r->recipe.base_cache != BASE_CACHE_BF16) {
        return STATUS_OK;
    }
    TRY(comm_agree(&r->comm, check_panels(r)));
    return session_open_panels(r->model, r->ops, &r->comm, &r->panels);
}

static enum status open_parts(struct run *r, const char *model_path)
{
    TRY(open_backend(r));
    TRY(open_model(r, model_path));
    TRY(open_tokenizer(r, model_path));
    TRY(open_template(r));
    TRY(collect_stops(r));
    if (tokenizer_vocab_size(r->tokenizer) > r->model->config.vocab) {
        return FAIL(INPUT, "the tokenizer has %d tokens, the model's vocabulary %lld",
                    tokenizer_vocab_size(r->tokenizer), (long long)r->model->config.vocab);
    }
    r->format = (struct prompt_format){
        .tokenizer = r->tokenizer,
        .chat = r->chat,
        .system_prompt = r->recipe.system_prompt,
        .template_kwargs = r->recipe.chat_template_kwargs,
    };
    return STATUS_OK;
}

/* Rewards that need processes of their own get their helper while this process has one thread and
 * no MPI. */
static enum status start_helper(struct run *r)
{
    const struct recipe *c = &r->recipe;
    for (int64_t k = 0; recipe_rolls_out(c) && k < c->reward_funcs.count; k++) {
        const struct reward *reward = reward_find(c->reward_funcs.items[k]);
        if (reward && reward->isolated) {
            return helper_start(&r->helper, reward_remote_work);
        }
    }
    return STATUS_OK;
}

/* Before helper and MPI: both inherit the mask. */
static void open_places(struct run *r)
{
    int rank;
    int size;
    const bool launched = comm_launched(&rank, &size);
    places_read(&r->places, launched, rank, size);
    places_widen(&r->places);
}

enum status run_open(struct run *r, const struct command_args *args, enum recipe_method method)
{
    *r = (struct run){.plan_only = args->plan_only};
    open_places(r);
    param_set_open(&r->params);
    TRY(command_open_recipe(args, method, &r->recipe));
    TRY(start_helper(r));
    TRY(comm_open(&r->comm));
    r->comm_open = true;
    TRY(command_resolve_recipe(&r->recipe, r->comm.size));
    const char *path = args->model ? args->model : r->recipe.model_name_or_path;
    TRY(comm_agree(&r->comm, open_parts(r, path)));
    return open_panels(r);
}

enum status run_open_member(struct run *r, const struct run *leader, struct recipe *recipe)
{
    *r = (struct run){
        .recipe = *recipe,
        .helper = leader->helper,
        .leader = leader,
        .comm = leader->comm,
        .ops = leader->ops,
        .model = leader->model,
        .tokenizer = leader->tokenizer,
        .chat = leader->chat,
        .format = leader->format,
        .stop_count = leader->stop_count,
    };
    *recipe = (struct recipe){0};
    memcpy(r->stops, leader->stops, sizeof r->stops);
    memcpy(r->tokenizer_folder, leader->tokenizer_folder, sizeof r->tokenizer_folder);
    param_set_open(&r->params);
    TRY(recipe_resolve(&r->recipe, r->comm.size));
    r->format.system_prompt = r->recipe.system_prompt;
    r->format.template_kwargs = r->recipe.chat_template_kwargs;
    return STATUS_OK;
}

/* Replaces {prompt} in the recipe's prompt_template. */
static json_t *apply_template(const char *pattern, const char *prompt)
{
    const char *at = strstr(pattern, "{prompt}");
    if (!at) {
        return json_string(pattern);
    }
    const size_t size = strlen(pattern) + strlen(prompt) + 1;
    char *text = malloc(size);
    if (!text) {
        return NULL;
    }
    (void)snprintf(text, size, "%.*s%s%s", (int)(at - pattern), pattern, prompt, at + 8);
    json_t *out = json_string(text);
    free(text);
    return out;
}

static json_t *as_message(const char *role, json_t *text)
{
    return json_pack("[{s:s, s:o}]", "role", role, "content", text);
}

/* Text answers beside a prompt that became a conversation are the assistant's messages. */
static void wrap_answers(json_t *row)
{
    static const char *const ANSWERS[] = {"completion", "chosen", "rejected"};
    for (size_t k = 0; k < sizeof ANSWERS / sizeof *ANSWERS; k++) {
        json_t *text = json_object_get(row, ANSWERS[k]);
        if (json_is_string(text)) {
            (void)json_object_set_new(row, ANSWERS[k], as_message("assistant", json_incref(text)));
        }
    }
}

/* Rows of other media would silently train on their words alone. */
static enum status check_media(const struct run_data *d, int64_t i, const json_t *row)
{
    static const char *const MEDIA[] = {"image", "images", "video", "videos", "audio"};
    for (size_t k = 0; k < sizeof MEDIA / sizeof *MEDIA; k++) {
        const json_t *value = json_object_get(row, MEDIA[k]);
        const bool empty = !value || json_is_null(value)
                           || (json_is_array(value) && json_array_size(value) == 0);
        char where[512] = "";
        if (!empty) {
            dataset_where(d->set, i, where, sizeof where);
            return FAIL(INPUT, "%s: the row has '%s' and models read text alone; leave that column "
                               "out", where, MEDIA[k]);
        }
    }
    return STATUS_OK;
}

json_t *run_row(void *data, int64_t i)
{
    const struct run_data *d = data;
    const struct recipe *c = d->recipe;
    json_t *row = d->source ? procedural_source_row(d->source, i) : dataset_row(d->set, i);
    json_t *prompt = json_object_get(row, c->dataset_prompt_column);
    json_t *solution = json_object_get(row, c->dataset_solution_column);
    const bool sft = c->method == RECIPE_SFT;
    if (!row) {
        return NULL;
    }
    if (d->set && check_media(d, i, row) != STATUS_OK) {
        json_decref(row);
        return NULL;
    }
    json_t *made = json_copy(row);
    json_decref(row);
    if (solution && !json_object_get(made, "solution")) {
        (void)json_object_set(made, "solution", solution);
    }
    if (sft && prompt && json_is_string(solution) && !json_object_get(made, "completion")) {
        (void)json_object_set_new(made, "completion",
                                  d->conversation ? as_message("assistant", json_incref(solution))
                                                  : json_incref(solution));
    }
    if (json_is_string(prompt)) {
        json_t *text = c->prompt_template
                           ? apply_template(c->prompt_template, json_string_value(prompt))
                           : json_incref(prompt);
        (void)json_object_set_new(made, "prompt",
                                  d->conversation ? as_message("user", text) : text);
        if (d->conversation && !recipe_rolls_out(c)) {
            wrap_answers(made);
        }
    } else if (prompt) {
        (void)json_object_set(made, "prompt", prompt);
    }
    return made;
}

enum status run_each_row(struct run_data *data, int64_t most, run_row_fn each, void *ctx)
{
    const int64_t rows = data->set ? dataset_count(data->set) : 0;
    for (int64_t i = 0; i < rows && i < most; i++) {
        char where[512];
        dataset_where(data->set, i, where, sizeof where);
        json_t *row = run_row(data, i);
        if (!row) {
            return STATUS_INPUT;
        }
        const enum status status = each(ctx, row, where);
        json_decref(row);
        TRY(status);
    }
    return STATUS_OK;
}

static enum status open_sums(struct run *r)
{
    struct sums_config config;
    json_t *train;
    json_t *held_out;
    recipe_sums(&r->recipe, r->chat != NULL, &config);
    TRY(sums_rows(&config, &train, &held_out));
    enum status status = dataset_from_rows(&r->train.set, "sums", train);
    if (status == STATUS_OK && json_array_size(held_out) > 0) {
        return dataset_from_rows(&r->test.set, "sums (held out)", held_out);
    }
    json_decref(held_out);
    return status;
}

static enum status open_procedural(struct run *r)
{
    TRY(procedural_source_open(&r->procedural, &r->recipe));
    TRY(procedural_source_rows(&r->procedural, &r->train.set, &r->test.set));
    r->train.source = r->procedural.adaptive ? &r->procedural : NULL;
    r->train.conversation = r->chat != NULL;
    r->test.conversation = r->chat != NULL;
    return STATUS_OK;
}

static enum status open_mixture(struct run *r)
{
    struct recipe_mixture mixture;
    enum status status = recipe_mixture(&r->recipe, &mixture);
    if (status == STATUS_OK) {
        status = mixture_open(&mixture.config, &r->train.set, &r->test.set);
    }
    recipe_mixture_close(&mixture);
    return status;
}

static enum status open_files(struct run *r)
{
    const struct recipe *c = &r->recipe;
    const bool chat = r->chat != NULL;
    const bool renamed = recipe_given(c, "dataset_prompt_column") || c->prompt_template;
    r->train.conversation = chat && renamed;
    r->test.conversation = chat && renamed;
    if (recipe_has_mixture(c)) {
        return open_mixture(r);
    }
    TRY(dataset_open(&r->train.set, c->dataset_name, c->dataset_config, c->dataset_train_split));
    struct stat info;
    if (stat(c->dataset_name, &info) == 0 && !S_ISDIR(info.st_mode)
        && !recipe_given(c, "dataset_test_split")) {
        return STATUS_OK; /* one file: no held-out rows */
    }
    const enum status status = dataset_open(&r->test.set, c->dataset_name, c->dataset_config,
                                            c->dataset_test_split);
    if (status != STATUS_OK && status != STATUS_MEMORY && c->eval_strategy == STRATEGY_NO) {
        status_clear(); /* a dataset without a test split trains without evaluation */
        r->test.set = NULL;
        return STATUS_OK;
    }
    return status;
}

static enum status open_data(struct run *r)
{
    const char *name = r->recipe.dataset_name;
    const bool mixture = recipe_has_mixture(&r->recipe);
    if (!name && !mixture) {
        return FAIL(RECIPE, "dataset_name is missing: a JSONL file, a folder, sums or "
                            "procedural");
    }
    TRY(!mixture && strcmp(name, "sums") == 0         ? open_sums(r)
        : !mixture && strcmp(name, "procedural") == 0 ? open_procedural(r)
                                                      : open_files(r));
    if (r->recipe.eval_strategy != STRATEGY_NO && !r->test.set) {
        return FAIL(RECIPE, "eval_strategy needs held-out rows: a test split beside the train split, "
                            "dataset_test_split, test_split_size of a mixture, or data_holdout");
    }
    return STATUS_OK;
}

/* Members share the rows that their leader has open; a curriculum's are each member's own. */
static bool borrow_data(struct run *r)
{
    const struct run *leader = r->leader;
    if (!leader || !leader->train.set || leader->train.source) {
        return false;
    }
    r->train = leader->train;
    r->test = leader->test;
    return true;
}

enum status run_open_data(struct run *r)
{
    r->borrows_data = borrow_data(r);
    r->train.recipe = &r->recipe;
    r->test.recipe = &r->recipe;
    return comm_agree(&r->comm, r->borrows_data ? STATUS_OK : open_data(r));
}

/* Parameters and gradient, and the optimizer's state when there is one. */
static enum status seal(struct run *r, const struct optim_config *optim)
{
    struct param_layout layout;
    if (optim) {
        TRY(optim_prepare(optim, &r->params, &layout));
    }
    return param_set_seal(&r->params, optim ? &layout : NULL);
}

static enum status attach_adapter(struct run *r, const struct optim_config *optim)
{
    const char *start = r->recipe.adapter_name_or_path;
    struct adapter_config config = {0};
    TRY(start ? adapter_read_config(&config, start) : recipe_adapter(&r->recipe, &config));
    const enum status status = adapter_attach(&r->adapter, r->model, &r->params, &config);
    adapter_config_close(&config);
    TRY(status);
    TRY(seal(r, optim));
    if (start) {
        return adapter_load(r->adapter, start);
    }
    adapter_initialize(r->adapter, (uint64_t)r->recipe.seed);
    return STATUS_OK;
}

static enum status attach_full(struct run *r, const struct optim_config *optim)
{
    const bool scores = r->recipe.method == RECIPE_REWARD_MODEL;
    TRY(scores ? model_full_attach_score(r->model, &r->params)
               : model_full_attach(r->model, &r->params));
    TRY(seal(r, optim));
    return scores ? model_full_bind_score(r->model, &r->params, (uint64_t)r->recipe.seed)
                  : model_full_bind(r->model, &r->params);
}

enum status run_load_store(struct run *r)
{
    char version[32];
    const bool writes = r->comm.rank == 0;
    TRY(comm_agree(&r->comm, writes ? state_h5_version(version, sizeof version) : STATUS_OK));
    r->process = measure_process();
    return STATUS_OK;
}

enum status run_attach(struct run *r, const struct optim_config *optim)
{
    if (optim) {
        TRY(run_load_store(r));
    } else {
        r->process = measure_process();
    }
    const bool adapter = r->recipe.use_peft || r->recipe.adapter_name_or_path;
    return comm_agree(&r->comm, adapter ? attach_adapter(r, optim) : attach_full(r, optim));
}

struct dropout_config run_dropout(const struct run *r)
{
    return (struct dropout_config){
        .on = adapter_dropout(r->adapter) > 0 && !r->recipe.disable_dropout,
        .seed = (uint64_t)r->recipe.seed,
    };
}

int64_t run_max_steps(const struct recipe *recipe, int64_t steps_per_epoch)
{
    return recipe->max_steps > 0
               ? recipe->max_steps
               : (int64_t)ceil(recipe->num_train_epochs * (double)steps_per_epoch);
}

struct generate_limits run_limits(const struct run *r)
{
    struct generate_limits limits = sampling_limits(&r->recipe);
    limits.cache_pages = r->cache_pages > 0 ? r->cache_pages : limits.cache_pages;
    return limits;
}

enum status run_evaluate(struct run *r, const char *label, bool hooks, struct eval_result *out)
{
    const struct recipe *c = &r->recipe;
    if (!r->test.set) {
        return FAIL(RECIPE, "evaluation needs held-out rows: a test split, or data_holdout with sums");
    }
    const int64_t rows = dataset_count(r->test.set);
    const struct eval_config config = {
        .rows = c->eval_samples > 0 && c->eval_samples < rows ? c->eval_samples : rows,
        .samples = c->eval_num_generations,
        .sample =
            {
                .temperature = c->eval_temperature,
                .top_p = c->eval_top_p,
                .top_k = c->eval_top_k,
                .max_new_tokens = c->eval_max_new_tokens > 0 ? c->eval_max_new_tokens
                                                             : c->max_completion_length,
                .stops = r->stops,
                .stop_count = r->stop_count,
                .seed = (uint64_t)c->seed,
            },
        .limits = run_limits(r),
        .hooks = hooks,
        .samples_file = c->output_dir ? "eval_samples.jsonl" : NULL,
        .output_dir = c->output_dir,
        .label = label,
    };
    const struct eval_env env = {
        .model = r->model,
        .ops = r->ops,
        .comm = &r->comm,
        .format = r->format,
        .row = run_row,
        .row_ctx = &r->test,
        .where = dataset_name(r->test.set),
    };
    return eval_accuracy(&config, &env, out);
}

void run_close(struct run *r)
{
    model_reference_close(&r->reference);
    adapter_close(r->adapter);
    param_set_close(&r->params);
    if (!r->borrows_data) {
        dataset_close(r->train.set);
        dataset_close(r->test.set);
    }
    if (!r->leader) {
        chat_template_close(r->chat);
        tokenizer_close(r->tokenizer);
        model_close(r->model);
        node_memory_close(&r->panels);
    }
    if (r->ops_open) {
        ops_context_close(&r->own_ops);
    }
    free(r->recipe_text);
    if (r->comm_open) {
        comm_close(&r->comm);
    }
    recipe_close(&r->recipe);
    helper_stop(r->leader ? NULL : r->helper);
}

enum status stage_end(struct run *r, enum status status)
{
    if (status == STATUS_OK || !r->comm_open || r->comm.size == 1) {
        run_close(r);
        return status;
    }
    if (status == STATUS_INTERRUPTED) { /* every rank is here: end in order, one of them tells */
        const int rank = r->comm.rank;
        run_close(r);
        if (rank != 0) {
            (void)fflush(NULL);
            _Exit(status_exit_code(status));
        }
        return status;
    }
    /* The rank that failed says why; the others wait for it somewhere and are stopped. */
    if (status != STATUS_REMOTE) {
        report_note("graft: %s", status_message());
    }
    (void)fflush(NULL);
    comm_abort(&r->comm, status_exit_code(status));
}
