/* trainer_state.json with Transformers' names (spec training.md 5); see report.h. */
#include <string.h>

#include "trainer/format/file.h"
#include "trainer/report/report_internal.h"

/* A log line as Transformers keeps it: evaluations are entries of their own. */
static bool split_line(const json_t *line, json_t *train, json_t *eval)
{
    const char *key;
    json_t *value;
    bool good = true;
    json_object_foreach((json_t *)(uintptr_t)line, key, value) {
        const bool both = strcmp(key, "step") == 0 || strcmp(key, "epoch") == 0;
        const bool is_eval = strncmp(key, "eval_", 5) == 0;
        good = good && (is_eval || json_object_set(train, key, value) == 0) &&
               (!(is_eval || both) || json_object_set(eval, key, value) == 0);
    }
    return good;
}

/* Entries beyond step and epoch. */
static bool says_something(const json_t *entry)
{
    size_t common = json_object_get(entry, "step") != NULL;
    common += json_object_get(entry, "epoch") != NULL;
    return json_object_size(entry) > common;
}

static json_t *history(const json_t *lines)
{
    json_t *out = json_array();
    bool good = out != NULL;
    for (size_t i = 0; good && i < json_array_size(lines); i++) {
        json_t *train = json_object();
        json_t *eval = json_object();
        good = train && eval && split_line(json_array_get(lines, i), train, eval);
        good = good && (!says_something(train) || json_array_append(out, train) == 0);
        good = good && (!says_something(eval) || json_array_append(out, eval) == 0);
        json_decref(train);
        json_decref(eval);
    }
    if (!good) {
        json_decref(out);
        return NULL;
    }
    return out;
}

json_t *report_trainer_state(const struct trainer_state *s, const json_t *lines)
{
    json_t *entries = history(lines);
    if (!entries) {
        return NULL;
    }
    json_t *checkpoint = json_null();
    if (s->best.any && s->best.checkpoint >= 0) {
        checkpoint =
            json_sprintf("%s/checkpoint-%lld", s->output_dir, (long long)s->best.checkpoint);
    }
    return json_pack(
        "{s:o, s:o, s:o, s:f, s:I, s:I, s:b, s:b, s:b, s:o, s:I, s:I, s:I, s:f, s:I, s:{}, s:f, "
        "s:I, s:n, s:n}",
        "best_global_step", s->best.any ? json_integer(s->best.step) : json_null(), "best_metric",
        s->best.any ? json_real(s->best.metric) : json_null(), "best_model_checkpoint", checkpoint,
        "epoch", s->epoch, "eval_steps", (json_int_t)s->eval_steps, "global_step",
        (json_int_t)s->step, "is_hyper_param_search", 0, "is_local_process_zero", 1,
        "is_world_process_zero", 1, "log_history", entries, "logging_steps",
        (json_int_t)s->logging_steps, "max_steps", (json_int_t)s->max_steps,
        "num_input_tokens_seen", (json_int_t)s->tokens, "num_train_epochs", s->epochs, "save_steps",
        (json_int_t)s->save_steps, "stateful_callbacks", "total_flos", s->flops, "train_batch_size",
        (json_int_t)s->batch, "trial_name", "trial_params");
}

enum status report_write_state(const char *output_dir, const json_t *state)
{
    char *path = report_path(output_dir, "trainer_state.json");
    char *text = json_dumps(state, JSON_INDENT(2) | JSON_SORT_KEYS);
    const enum status status = path && text ? file_write_atomic(path, text, strlen(text))
                                            : FAIL(MEMORY, "trainer_state.json: out of memory");
    free(path);
    free(text);
    return status;
}
