/* Reward models as rewards; see reward_judge.h. */
#include "recipes/reward_judge.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

#include "adapters/adapter.h"
#include "recipes/session.h"
#include "rl/ranked.h"
#include "trainer/data/prompt.h"

enum { PATH_CAP = 4096, BATCH_TOKENS = 2048 };

/* A model opened to judge. */
struct judge {
    struct reward_judge_options options;
    struct ops_context ops;
    bool ops_open;
    struct model *model;
    struct param_set params;
    struct adapter *adapter;
    struct tokenizer *tokenizer;
    struct chat_template *chat;
    struct tree_runner runner;
};

static bool holds(const char *folder, const char *file)
{
    char path[PATH_CAP];
    const int n = snprintf(path, sizeof path, "%s/%s", folder, file);
    return n > 0 && n < PATH_CAP && access(path, F_OK) == 0;
}

bool reward_judge_is_model(const char *name)
{
    return holds(name, "adapter_config.json") || holds(name, "config.json");
}

static void judge_close(void *state)
{
    struct judge *j = state;
    if (!j) {
        return;
    }
    unit_pass_close(&j->runner.pass);
    adapter_close(j->adapter);
    param_set_close(&j->params);
    chat_template_close(j->chat);
    tokenizer_close(j->tokenizer);
    model_close(j->model);
    if (j->ops_open) {
        ops_context_close(&j->ops);
    }
    free(j);
}

/* A whole model of Transformers' ...ForSequenceClassification. */
static enum status open_classifier(struct judge *j, const char *folder)
{
    TRY(model_open(&j->model, folder, NULL));
    if (j->model->score.in == 0) {
        return FAIL(INPUT, "%s: there is no score.weight; a reward model's folder is an adapter of task "
                           "SEQ_CLS (graft reward-model) or a ...ForSequenceClassification", folder);
    }
    return session_open_tokenizer(&j->tokenizer, folder);
}

/* An adapter with a score head over its base. */
static enum status open_adapter(struct judge *j, const char *folder, struct adapter_config *config)
{
    TRY(adapter_read_config(config, folder));
    if (!config->score) {
        return FAIL(INPUT, "%s: task_type is not SEQ_CLS; a reward model has a score head (graft "
                           "reward-model)", folder);
    }
    const char *base = config->base_model_name_or_path;
    if (!base || access(base, R_OK) != 0) {
        return FAIL(INPUT, "%s: its base model is not at '%s'; put a path in adapter_config.json",
                    folder, base ? base : "");
    }
    TRY(model_open(&j->model, base, NULL));
    TRY(adapter_attach(&j->adapter, j->model, &j->params, config));
    TRY(param_set_seal(&j->params, NULL));
    TRY(adapter_load(j->adapter, folder));
    return session_open_tokenizer(&j->tokenizer, base);
}

static enum status open_model(struct judge *j, const char *folder, struct adapter_config *config)
{
    TRY(holds(folder, "adapter_config.json") ? open_adapter(j, folder, config)
                                             : open_classifier(j, folder));
    const char *source = tokenizer_chat_template(j->tokenizer);
    return source ? chat_template_open(&j->chat, source) : STATUS_OK;
}

static enum status judge_open(struct judge **out, const struct reward_judge_options *options,
                              const char *folder)
{
    struct adapter_config config = {0};
    struct judge *j = calloc(1, sizeof *j);
    *out = j;
    if (!j) {
        return FAIL(MEMORY, "%s: no memory", folder);
    }
    const struct ops_options ops = {.threads = options->threads,
                                    .compute = options->compute,
                                    .cpus = options->cpus};
    j->options = *options;
    param_set_open(&j->params);
    TRY(ops_context_open(&j->ops, &ops));
    j->ops_open = true;
    const enum status status = open_model(j, folder, &config);
    adapter_config_close(&config);
    TRY(status);
    j->runner = (struct tree_runner){.micro_batch_tokens = BATCH_TOKENS};
    j->runner.pass = (struct unit_pass){.model = j->model, .ops = &j->ops, .temperature = 1.0f,
                                        .hooks = true, .score = true};
    return STATUS_OK;
}

/* Prompt and completion as messages; NULL where the prompt is plain text. */
static json_t *as_messages(const struct judge *j, const struct reward_input *in)
{
    const char *system = j->options.system_prompt;
    json_t *text = json_object_get(in->row, "prompt");
    json_t *out = json_array();
    if (in->messages) {
        (void)json_array_extend(out, (json_t *)(uintptr_t)in->messages);
    } else if (system && json_is_string(text)) {
        (void)json_array_append_new(out, json_pack("{s:s, s:O}", "role", "user", "content", text));
    } else {
        json_decref(out);
        return NULL;
    }
    const char *first = json_string_value(json_object_get(json_array_get(out, 0), "role"));
    if (system && !(first && strcmp(first, "system") == 0)) {
        (void)json_array_insert_new(
            out, 0, json_pack("{s:s, s:s}", "role", "system", "content", system));
    }
    (void)json_array_append_new(out, json_pack("{s:s, s:s}", "role", "assistant", "content",
                                               in->completion));
    return out;
}

/* The text a model reads. */
static enum status judged_text(const struct judge *j, const struct reward_input *in,
                               struct text *out)
{
    const struct prompt_format format = {.tokenizer = j->tokenizer, .chat = j->chat,
                                         .template_kwargs = j->options.template_kwargs};
    json_t *messages = as_messages(j, in);
    if (messages) {
        const enum status status = prompt_render(&format, messages,
                                                 json_object_get(in->row, "tools"), false, out,
                                                 NULL, NULL);
        json_decref(messages);
        return status;
    }
    const char *prompt = in->prompt ? in->prompt : "";
    const size_t size = strlen(prompt) + strlen(in->completion) + 1;
    out->data = malloc(size);
    if (!out->data) {
        return FAIL(MEMORY, "reward model: no memory for a text");
    }
    out->length = size - 1;
    (void)snprintf(out->data, size, "%s%s", prompt, in->completion);
    return STATUS_OK;
}

/* Ids of one completion; a text beyond the model's context stays without any. */
static enum status judged_ids(const struct judge *j, const struct reward_input *in, char *reason,
                              struct scored_text *out)
{
    struct text text = {0};
    struct token_list ids = {0};
    enum status status = judged_text(j, in, &text);
    if (status == STATUS_OK) {
        status = tokenizer_encode(j->tokenizer, text.data, text.length, 0, &ids);
    }
    const bool fits = ids.count > 0 && ids.count < j->model->rope_positions;
    if (status == STATUS_OK && fits) {
        status = scored_text_make(ids.ids, ids.count, ranked_pad_token(j->tokenizer), out);
    } else if (status == STATUS_OK && reason) {
        (void)snprintf(reason, REWARD_REASON_CAP, "%lld tokens do not fit the reward model",
                       (long long)ids.count);
    }
    token_list_free(&ids);
    free(text.data);
    return status;
}

/* Where the scores of the trees go. */
struct scores {
    const int64_t *place;
    double *to;
};

static void take_score(void *ctx, int64_t i, int64_t at, const struct unit_outputs *out)
{
    const struct scores *s = ctx;
    s->to[s->place[i]] = (double)out->score[at];
}

static enum status judge_score(void *state, const struct reward_call *call, double *scores)
{
    struct judge *j = state;
    const size_t n = (size_t)call->count + 1;
    struct scored_text *texts = calloc(n, sizeof *texts);
    struct tree_row *trees = calloc(n, sizeof *trees);
    int64_t *place = malloc(n * sizeof *place);
    int64_t count = 0;
    enum status status =
        texts && trees && place ? STATUS_OK : FAIL(MEMORY, "reward model: no memory");
    for (int64_t i = 0; status == STATUS_OK && i < call->count; i++) {
        scores[i] = NAN;
        status = judged_ids(j, &call->inputs[i], call->reasons ? call->reasons[i] : NULL,
                            &texts[i]);
        if (status == STATUS_OK && texts[i].count > 0) {
            trees[count] = (struct tree_row){.branches = {{.ids = texts[i].ids,
                                                           .count = texts[i].count,
                                                           .loss = texts[i].loss}},
                                             .branch_count = 1};
            place[count++] = i;
        }
    }
    if (status == STATUS_OK) {
        struct scores s = {place, scores};
        status = tree_rows_run(&j->runner, trees, count, take_score, &s);
    }
    for (int64_t i = 0; texts && i < call->count; i++) {
        scored_text_close(&texts[i]);
    }
    free(texts);
    free(trees);
    free(place);
    return status;
}

static const struct reward MODEL = {
    .name = "model",
    .score = judge_score,
    .close = judge_close,
    .doc = "the score of a reward model's folder",
};

/* Last part of a path. */
static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

enum status reward_judge_open(struct reward_set *set, const struct reward_judge_options *options,
                              const char *const *names, int64_t count)
{
    *set = (struct reward_set){0};
    if (count < 1 || count > REWARD_MAX) {
        return FAIL(RECIPE, "%lld rewards; use 1 to %d", (long long)count, REWARD_MAX);
    }
    for (int64_t k = 0; k < count; k++) {
        struct judge *j;
        if (!reward_judge_is_model(names[k])) {
            TRY(reward_set_add_named(set, options->helper, names[k], options->parameters));
            continue;
        }
        const enum status status = judge_open(&j, options, names[k]);
        if (status != STATUS_OK) {
            judge_close(j);
            return status;
        }
        reward_set_add(set, &MODEL, base_name(names[k]), j);
    }
    return STATUS_OK;
}
