/* Prompts from rows; see prompt.h. */
#include "trainer/data/prompt.h"

#include <string.h>
#include <time.h>

#include "trainer/format/json.h"

enum status prompt_render(const struct prompt_format *f, const json_t *messages,
                          const json_t *tools, bool generation_prompt, struct text *out,
                          struct template_span **spans, int64_t *span_count)
{
    if (!f->chat) {
        return FAIL(INPUT, "the model has no chat template; set chat_template in the recipe or use "
                           "plain text prompts");
    }
    const struct template_options options = {
        .messages = messages,
        .tools = json_array_size(tools) > 0 ? tools : NULL,
        .kwargs = f->template_kwargs,
        .add_generation_prompt = generation_prompt,
        .bos_token = tokenizer_special_text(f->tokenizer, "bos_token"),
        .eos_token = tokenizer_special_text(f->tokenizer, "eos_token"),
        .pad_token = tokenizer_special_text(f->tokenizer, "pad_token"),
        .unk_token = tokenizer_special_text(f->tokenizer, "unk_token"),
        .now = (int64_t)time(NULL),
    };
    return chat_template_render(f->chat, &options, out, spans, span_count);
}

/* The row's prompt as messages with the system prompt in front; NULL when it stays plain text. */
static json_t *as_messages(const struct prompt_format *f, json_t *prompt)
{
    if (json_is_string(prompt) && !f->system_prompt) {
        return NULL;
    }
    json_t *messages = json_array();
    const bool has_system =
        json_is_array(prompt) && json_array_size(prompt) > 0
        && json_is_string(json_object_get(json_array_get(prompt, 0), "role"))
        && strcmp(json_string_value(json_object_get(json_array_get(prompt, 0), "role")), "system")
               == 0;
    if (f->system_prompt && !has_system) {
        (void)json_array_append_new(
            messages, json_pack("{s:s, s:s}", "role", "system", "content", f->system_prompt));
    }
    if (json_is_string(prompt)) {
        (void)json_array_append_new(messages,
                                    json_pack("{s:s, s:O}", "role", "user", "content", prompt));
    } else {
        (void)json_array_extend(messages, prompt);
    }
    return messages;
}

enum status prompt_ids(const struct prompt_format *f, const json_t *row, const char *where,
                       struct token_list *out, struct text *text)
{
    const char *column = f->column ? f->column : "prompt";
    json_t *prompt = json_object_get(row, column);
    if (!prompt) {
        char have[512];
        json_list_keys(row, have, sizeof have);
        return FAIL(INPUT, "%s: needs the column '%s'; it has %s", where, column, have);
    }
    if (!json_is_string(prompt) && !json_is_array(prompt)) {
        return FAIL(INPUT, "%s: column '%s' is neither text nor a list of messages", where,
                    column);
    }
    struct text rendered = {0};
    unsigned flags = 0;
    json_t *messages = as_messages(f, prompt);
    enum status status = STATUS_OK;
    if (messages) {
        status = prompt_render(f, messages, json_object_get(row, "tools"), true, &rendered, NULL,
                               NULL);
        json_decref(messages);
    } else {
        rendered.length = json_string_length(prompt);
        rendered.data = strdup(json_string_value(prompt));
        flags = TOKENIZE_SPECIALS;
        status = rendered.data ? STATUS_OK : FAIL(MEMORY, "%s: no memory", where);
    }
    if (status == STATUS_OK) {
        status = tokenizer_encode(f->tokenizer, rendered.data, rendered.length, flags, out);
    }
    if (status != STATUS_OK) {
        free(rendered.data);
        return status_prefix(status, "%s: ", where);
    }
    if (text) {
        *text = rendered;
    } else {
        free(rendered.data);
    }
    return STATUS_OK;
}

enum status completion_text(const struct tokenizer *tokenizer, const int32_t *ids, int64_t count,
                            struct text *out)
{
    struct token_list known = {0};
    enum status status = STATUS_OK;
    for (int64_t i = 0; status == STATUS_OK && i < count; i++) {
        if (ids[i] < tokenizer_vocab_size(tokenizer)) {
            status = token_list_push(&known, ids[i]);
        }
    }
    if (status == STATUS_OK) {
        status = tokenizer_decode(tokenizer, known.ids, known.count, true, out);
    }
    token_list_free(&known);
    return status;
}
