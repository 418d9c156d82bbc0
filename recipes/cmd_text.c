/* tokenize and template: rows through the tokenizer and the chat template. */
#include <string.h>
#include <time.h>

#include "recipes/commands.h"
#include "recipes/rows.h"
#include "recipes/session.h"

/* Reads {"ids": [..]} into `list`. */
static enum status read_ids(const json_t *array, struct token_list *list)
{
    size_t i;
    json_t *item;
    json_array_foreach (array, i, item) {
        const json_int_t id = json_integer_value(item);
        if (!json_is_integer(item) || id < 0 || id > INT32_MAX) {
            return FAIL(INPUT, "ids[%zu] is no token id", i);
        }
        TRY(token_list_push(list, (int32_t)id));
    }
    return STATUS_OK;
}

static json_t *ids_to_json(const struct token_list *list)
{
    json_t *array = json_array();
    for (int64_t i = 0; array && i < list->count; i++) {
        if (json_array_append_new(array, json_integer(list->ids[i])) != 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

static enum status tokenize_row(const struct session *s, const struct command_args *args,
                                const json_t *row, struct token_list *list, json_t **out)
{
    const json_t *text = json_object_get(row, "text");
    const json_t *ids = json_object_get(row, "ids");
    struct text decoded = {0};
    if (json_is_string(text)) {
        TRY(tokenizer_encode(s->tokenizer, json_string_value(text), json_string_length(text),
                             args->no_specials ? 0 : TOKENIZE_SPECIALS, list));
    } else if (json_is_array(ids)) {
        TRY(read_ids(ids, list));
    } else {
        return FAIL(INPUT, "a row needs \"text\" or \"ids\"");
    }
    TRY(tokenizer_decode(s->tokenizer, list->ids, list->count, args->skip_specials, &decoded));
    json_t *back = json_stringn(decoded.data, decoded.length);
    free(decoded.data);
    *out = json_is_string(text) ? json_pack("{s:o, s:o}", "ids", ids_to_json(list), "text", back)
                                : json_pack("{s:o}", "text", back);
    return STATUS_OK;
}

enum status cmd_tokenize(const struct command_args *args)
{
    struct session s = {0};
    struct row_stream rows = {0};
    struct token_list list = {0};
    json_t *row = NULL;
    json_t *result = NULL;
    enum status status;
    TRY_TO(status, done, session_tokenizer(&s, args));
    TRY_TO(status, done, rows_open(&rows, args));
    for (;;) {
        TRY_TO(status, done, rows_next(&rows, &row));
        if (!row) {
            break;
        }
        list.count = 0;
        status = tokenize_row(&s, args, row, &list, &result);
        json_decref(row);
        row = NULL;
        TRY_TO(status, done, rows_blame(&rows, rows.number, status));
        TRY_TO(status, done, rows_write(&rows, result));
    }
done:
    token_list_free(&list);
    session_close(&s);
    return rows_close(&rows, status);
}

static enum status read_file(const char *path, char **text)
{
    FILE *in = fopen(path, "rb");
    size_t size;
    *text = NULL;
    FILE *out = open_memstream(text, &size);
    char buffer[4096];
    for (size_t n; in && out && (n = fread(buffer, 1, sizeof buffer, in)) > 0;) {
        (void)fwrite(buffer, 1, n, out);
    }
    const bool bad = !in || !out || ferror(in);
    if (in) {
        (void)fclose(in);
    }
    if (out) {
        (void)fclose(out);
    }
    return bad ? FAIL(INPUT, "%s: can't be read", path) : STATUS_OK;
}

/* null or an empty array count as none: a template would print boilerplate for []. */
static const json_t *array_or_none(const json_t *row, const char *key)
{
    const json_t *value = json_object_get(row, key);
    return json_array_size(value) > 0 ? value : NULL;
}

static const char *special(const struct session *s, const char *name)
{
    return s->tokenizer ? tokenizer_special_text(s->tokenizer, name) : NULL;
}

/* Unix seconds of a number or of "2025-03-14T15:09:26"; the clock when there is neither. */
static int64_t read_now(const json_t *now)
{
    struct tm t = {0};
    const char *text = json_string_value(now);
    const char *rest = text ? strptime(text, "%Y-%m-%dT%H:%M:%S", &t) : NULL;
    if (rest) {
        return (int64_t)timegm(&t);
    }
    return json_is_number(now) ? (int64_t)json_number_value(now) : (int64_t)time(NULL);
}

static enum status template_row(const struct session *s, const struct chat_template *shared,
                                const json_t *row, json_t **out)
{
    const char *source = json_string_value(json_object_get(row, "template"));
    const json_t *prompt = json_object_get(row, "add_generation_prompt");
    const json_t *kwargs = json_object_get(row, "kwargs");
    const bool open_end = json_is_true(json_object_get(row, "continue_final_message"));
    const struct template_options options = {
        .messages = json_object_get(row, "messages"),
        .tools = array_or_none(row, "tools"),
        .documents = array_or_none(row, "documents"),
        .kwargs = kwargs ? kwargs : json_object_get(row, "chat_template_kwargs"),
        .add_generation_prompt = json_is_boolean(prompt) ? json_is_true(prompt) : !open_end,
        .continue_final_message = open_end,
        .bos_token = special(s, "bos_token"),
        .eos_token = special(s, "eos_token"),
        .pad_token = special(s, "pad_token"),
        .unk_token = special(s, "unk_token"),
        .now = read_now(json_object_get(row, "now")),
    };
    struct chat_template *own = NULL;
    struct text text = {0};
    if (!json_is_array(options.messages)) {
        return FAIL(INPUT, "a row needs \"messages\": [{\"role\": .., \"content\": ..}, ..]");
    }
    if (source) {
        TRY(chat_template_open(&own, source));
    } else if (!shared) {
        return FAIL(INPUT, "the model has no chat template; name one with --template FILE");
    }
    const enum status status =
        chat_template_render(own ? own : shared, &options, &text, NULL, NULL);
    if (own) {
        chat_template_close(own);
    }
    if (status == STATUS_OK) {
        *out = json_pack("{s:o}", "prompt", json_stringn(text.data, text.length));
    }
    free(text.data);
    return status;
}

/* The template of --template or of the tokenizer; *out NULL when there is none. */
static enum status open_template(struct session *s, const struct command_args *args,
                                 struct chat_template **out)
{
    *out = NULL;
    if (args->model || args->tokenizer) {
        TRY(session_tokenizer(s, args));
    }
    if (args->template_text) {
        char *source;
        enum status status = read_file(args->template_text, &source);
        if (status == STATUS_OK) {
            status = chat_template_open(out, source);
        }
        free(source);
        return status;
    }
    const char *source = s->tokenizer ? tokenizer_chat_template(s->tokenizer) : NULL;
    return source ? chat_template_open(out, source) : STATUS_OK;
}

enum status cmd_template(const struct command_args *args)
{
    struct session s = {0};
    struct row_stream rows = {0};
    struct chat_template *shared = NULL;
    json_t *row = NULL;
    json_t *result = NULL;
    enum status status;
    TRY_TO(status, done, open_template(&s, args, &shared));
    TRY_TO(status, done, rows_open(&rows, args));
    for (;;) {
        TRY_TO(status, done, rows_next(&rows, &row));
        if (!row) {
            break;
        }
        status = template_row(&s, shared, row, &result);
        json_decref(row);
        row = NULL;
        TRY_TO(status, done, rows_blame(&rows, rows.number, status));
        TRY_TO(status, done, rows_write(&rows, result));
    }
done:
    if (shared) {
        chat_template_close(shared);
    }
    session_close(&s);
    return rows_close(&rows, status);
}
