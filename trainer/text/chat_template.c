/* Opening and rendering chat templates: names, variables of a render, the final cut. */
#include "trainer/text/chat_template.h"

#include <string.h>

#include "trainer/text/jinja_internal.h"

static size_t bucket(const char *data, size_t size)
{
    uint32_t h = 2166136261U;
    for (size_t i = 0; i < size; i++) {
        h = (h ^ (unsigned char)data[i]) * 16777619U;
    }
    return h % JINJA_BUCKETS;
}

const struct jinja_string *jinja_name_find(const struct chat_template *t, const char *data,
                                           size_t size)
{
    const struct jinja_name_link *link = t->names[bucket(data, size)];
    for (; link; link = link->next) {
        if (link->name.size == size && memcmp(link->name.data, data, size) == 0) {
            return &link->name;
        }
    }
    return NULL;
}

const struct jinja_string *jinja_intern(struct chat_template *t, const char *data, size_t size)
{
    const struct jinja_string *known = jinja_name_find(t, data, size);
    if (known) {
        return known;
    }
    struct jinja_name_link *link;
    struct jinja_value copy;
    if (jinja_alloc(&t->pool, sizeof *link, &link) != STATUS_OK
        || jinja_string_in(&t->pool, data, size, &copy) != STATUS_OK) {
        return NULL;
    }
    struct jinja_name_link **head = &t->names[bucket(data, size)];
    *link = (struct jinja_name_link){*copy.string, *head};
    *head = link;
    return &link->name;
}

static enum status open_parts(struct chat_template *t, const char *source)
{
    const size_t size = strlen(source);
    const struct jinja_token *tokens;
    struct jinja_value copy;
    if (!jinja_valid_utf8(source, size)) {
        return FAIL(INPUT, "chat template: it is not valid UTF-8; save it as UTF-8");
    }
    TRY(jinja_string_in(&t->pool, source, size, &copy));
    t->source = copy.string->data;
    t->loop = jinja_intern(t, "loop", 4);
    t->caller = jinja_intern(t, "caller", 6);
    t->varargs = jinja_intern(t, "varargs", 7);
    t->kwargs = jinja_intern(t, "kwargs", 6);
    if (!t->loop || !t->caller || !t->varargs || !t->kwargs) {
        return FAIL(MEMORY, "chat template: no memory");
    }
    TRY(jinja_lex(&t->pool, source, size, &tokens));
    return jinja_parse(t, tokens);
}

enum status chat_template_open(struct chat_template **out, const char *source)
{
    struct chat_template *t = calloc(1, sizeof *t);
    *out = NULL;
    if (!t) {
        return FAIL(MEMORY, "chat template: no memory");
    }
    const enum status status = open_parts(t, source);
    if (status != STATUS_OK) {
        chat_template_close(t);
        return status;
    }
    *out = t;
    return STATUS_OK;
}

void chat_template_close(struct chat_template *t)
{
    if (t) {
        jinja_pool_close(&t->pool);
        free(t);
    }
}

/* Sets a variable; names the template never mentions are skipped. */
static enum status set_value(struct jinja_render *r, const char *name, const struct jinja_value *v)
{
    const struct jinja_string *known = jinja_name_find(r->template, name, strlen(name));
    return known ? jinja_scope_set(r, r->scope, known, v) : STATUS_OK;
}

static enum status set_json(struct jinja_render *r, const char *name, const json_t *json)
{
    struct jinja_value v = jinja_none();
    if (!jinja_name_find(r->template, name, strlen(name))) {
        return STATUS_OK;
    }
    if (json) {
        TRY(jinja_from_json(r, json, 0, &v));
    }
    return set_value(r, name, &v);
}

static enum status set_text(struct jinja_render *r, const char *name, const char *text)
{
    struct jinja_value v;
    if (!text) {
        return STATUS_OK;
    }
    if (!jinja_valid_utf8(text, strlen(text))) {
        return FAIL(INPUT, "chat template: %s is not valid UTF-8", name);
    }
    TRY(jinja_string_literal(r, text, &v));
    return set_value(r, name, &v);
}

static const char *const REASONING[] = {"reasoning_content", "thinking", "reasoning"};
enum { REASONING_COUNT = sizeof REASONING / sizeof REASONING[0] };

/* A new object: {"thinking": reasoning, all of `message`, "reasoning_content": reasoning}, so that
 * templates find the reasoning under either name; a copy of `message` when it has none. */
static json_t *alias_reasoning(const json_t *message)
{
    json_t *reasoning = NULL;
    for (int i = 0; i < REASONING_COUNT && !reasoning; i++) {
        json_t *found = json_object_get(message, REASONING[i]);
        reasoning = json_is_null(found) ? NULL : found;
    }
    json_t *copy = json_object();
    const bool failed = !copy
                        || (reasoning && json_object_set(copy, "thinking", reasoning) != 0)
                        || json_object_update(copy, (json_t *)message) != 0
                        || (reasoning
                            && json_object_set(copy, "reasoning_content", reasoning) != 0);
    if (failed) {
        json_decref(copy);
        return NULL;
    }
    return copy;
}

static enum status copy_messages(const json_t *messages, json_t **out)
{
    size_t i;
    json_t *message;
    json_t *copy = json_array();
    if (!json_is_array(messages)) {
        json_decref(copy);
        return FAIL(INPUT, "chat template: messages must be an array of objects");
    }
    json_array_foreach((json_t *)messages, i, message)
    {
        if (!json_is_object(message)) {
            json_decref(copy);
            return FAIL(INPUT, "chat template: message %zu is no object with role and content", i);
        }
        if (json_array_append_new(copy, alias_reasoning(message)) != 0) {
            json_decref(copy);
            return FAIL(MEMORY, "chat template: no memory for the messages");
        }
    }
    *out = copy;
    return STATUS_OK;
}

static enum status check_documents(const json_t *documents)
{
    size_t i;
    json_t *document;
    if (documents && !json_is_array(documents)) {
        return FAIL(INPUT, "chat template: documents must be an array of objects");
    }
    json_array_foreach((json_t *)documents, i, document)
    {
        if (!json_is_object(document)) {
            return FAIL(INPUT, "chat template: document %zu is no object with title and text", i);
        }
    }
    return STATUS_OK;
}

static enum status set_variables(struct jinja_render *r, const struct template_options *o,
                                 const json_t *messages)
{
    const struct jinja_value generation = jinja_bool(o->add_generation_prompt);
    TRY(set_text(r, "bos_token", o->bos_token));
    TRY(set_text(r, "eos_token", o->eos_token));
    TRY(set_text(r, "pad_token", o->pad_token));
    TRY(set_text(r, "unk_token", o->unk_token));
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)o->kwargs, name, value)
    {
        TRY(set_json(r, name, value));
    }
    TRY(set_json(r, "messages", messages));
    TRY(set_json(r, "tools", o->tools));
    TRY(set_json(r, "documents", o->documents));
    return set_value(r, "add_generation_prompt", &generation);
}

static enum status run(struct jinja_render *r, const struct template_options *o,
                       const json_t *messages)
{
    TRY(jinja_buffer_add(&r->root, "", 0)); /* an empty output is still a string */
    TRY(jinja_scope_open(r, NULL, &r->scope));
    TRY(set_variables(r, o, messages));
    return jinja_exec(r, &r->template->body);
}

/* ---- continue_final_message: a tag behind the last message, and a cut at it ---- */
static const char CONTINUE_TAG[] = "CONTINUE_FINAL_MESSAGE_TAG ";

/* The text to be continued: the last message's content, or its last text part. */
static json_t *final_text(json_t *messages, json_t **owner, const char **key)
{
    json_t *last = json_array_get(messages, json_array_size(messages) - 1);
    json_t *content = json_object_get(last, "content");
    *owner = last;
    *key = "content";
    for (size_t i = json_array_size(content); i-- > 0;) {
        json_t *part = json_array_get(content, i);
        if (json_object_get(part, "text")) {
            *owner = part;
            *key = "text";
            return json_object_get(part, "text");
        }
    }
    return content;
}

/* Appends the tag to (a copy of) the last message; *final keeps what was there. */
static enum status tag_final(const struct chat_template *t, json_t **messages, json_t **final)
{
    json_t *owner;
    const char *key;
    json_t *copy = json_deep_copy(*messages);
    json_decref(*messages);
    *messages = copy;
    json_t *text = copy ? final_text(copy, &owner, &key) : NULL;
    if (!json_is_string(text) || !strstr(t->source, "content")) {
        return FAIL(INPUT, "continue_final_message: the last message has no content to continue, "
                           "or the template does not read it");
    }
    *final = json_incref(text);
    json_t *tagged = json_sprintf("%s%s", json_string_value(text), CONTINUE_TAG);
    if (!tagged || json_object_set_new(owner, key, tagged) != 0) {
        return FAIL(MEMORY, "chat template: no memory for the messages");
    }
    return STATUS_OK;
}

static size_t strip_end(const char *data, size_t size)
{
    while (size > 0) {
        size_t start = size - 1;
        while (start > 0 && ((unsigned char)data[start] & 0xC0) == 0x80) {
            start--;
        }
        size_t n;
        if (!jinja_space(jinja_char(data + start, &n))) {
            break;
        }
        size = start;
    }
    return size;
}

static const char *find_last(const char *data, size_t size, const char *word, size_t n)
{
    for (size_t at = size >= n ? size - n + 1 : 0; at-- > 0;) {
        if (memcmp(data + at, word, n) == 0) {
            return data + at;
        }
    }
    return NULL;
}

/* Ends the output where the last message ends; when the template trimmed the message, so is what
 * remains. */
static enum status cut_final(struct jinja_render *r, const json_t *final)
{
    const size_t tag = sizeof CONTINUE_TAG - 1;
    const char *text = json_string_value(final);
    size_t length = strip_end(text, json_string_length(final));
    while (length > 0) {
        size_t n;
        if (!jinja_space(jinja_char(text, &n))) {
            break;
        }
        text += n;
        length -= n;
    }
    const char *at = find_last(r->root.data, r->root.size, CONTINUE_TAG, tag - 1);
    if (!at || !memmem(r->root.data, r->root.size, text, length)) {
        return FAIL(INPUT, "continue_final_message: the final message does not appear in the "
                           "rendered chat; this template changes or drops it");
    }
    const size_t end = (size_t)(at - r->root.data);
    const bool whole = end + tag <= r->root.size && at[tag - 1] == ' ';
    r->root.size = whole ? end : strip_end(r->root.data, end);
    r->root.data[r->root.size] = '\0';
    for (int64_t i = 0; i < r->span_count; i++) {
        const int64_t size = (int64_t)r->root.size;
        r->spans[i].begin = r->spans[i].begin > size ? size : r->spans[i].begin;
        r->spans[i].end = r->spans[i].end > size ? size : r->spans[i].end;
    }
    return STATUS_OK;
}

static enum status render(struct jinja_render *r, const struct template_options *o,
                          json_t **messages, json_t **final)
{
    TRY(check_documents(o->documents));
    TRY(copy_messages(o->messages, messages));
    if (o->continue_final_message) {
        TRY(tag_final(r->template, messages, final));
    }
    TRY(run(r, o, *messages));
    return o->continue_final_message ? cut_final(r, *final) : STATUS_OK;
}

enum status chat_template_render(const struct chat_template *t,
                                 const struct template_options *options, struct text *out,
                                 struct template_span **spans, int64_t *span_count)
{
    struct jinja_render r = {.template = t, .now = options->now, .line = 1};
    json_t *messages = NULL;
    json_t *final = NULL;
    *out = (struct text){0};
    r.out = &r.root;
    const enum status status = render(&r, options, &messages, &final);
    json_decref(messages);
    json_decref(final);
    jinja_pool_close(&r.pool);
    if (spans) {
        *spans = status == STATUS_OK ? r.spans : NULL;
        *span_count = status == STATUS_OK ? r.span_count : 0;
    }
    if (!spans || status != STATUS_OK) {
        free(r.spans);
    }
    if (status != STATUS_OK) {
        free(r.root.data);
        return status;
    }
    *out = (struct text){r.root.data, r.root.size};
    return STATUS_OK;
}
