/* Chat template cases; see template_cases.h. */
#include "tests/support/template_cases.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "trainer/text/chat_template.h"

const char *template_shared_path(const char *name)
{
    static char path[4096];
    const char *shared = getenv("GRAFT_SHARED");
    const char *source = getenv("GRAFT_SOURCE");
    if (shared) {
        (void)snprintf(path, sizeof path, "%s/%s", shared, name);
    } else {
        (void)snprintf(path, sizeof path, "%s/../shared/%s", source ? source : ".", name);
    }
    return access(path, R_OK) == 0 ? path : NULL;
}

/* "2025-03-14T15:09:26" as if it were UTC; 0 when there is no time. */
static int64_t read_time(const char *text)
{
    struct tm tm = {0};
    return text && strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) ? (int64_t)timegm(&tm) : 0;
}

static const json_t *not_null(const json_t *v)
{
    return json_is_null(v) ? NULL : v;
}

static size_t byte_offset(const struct text *t, json_int_t chars)
{
    size_t at = 0;
    while (chars > 0 && at < t->length) {
        do {
            at++;
        } while (at < t->length && ((unsigned char)t->data[at] & 0xC0) == 0x80);
        chars--;
    }
    return at;
}

/* The golden spans count characters, ours bytes; those of a cut message end at the cut. */
static bool spans_agree(const json_t *row, const struct text *t, const struct template_span *spans,
                        int64_t count)
{
    const json_t *golden = json_object_get(row, "generation_spans");
    if (!golden) {
        return true;
    }
    if ((int64_t)json_array_size(golden) != count) {
        return false;
    }
    for (int64_t i = 0; i < count; i++) {
        const json_t *pair = json_array_get(golden, (size_t)i);
        const size_t begin = byte_offset(t, json_integer_value(json_array_get(pair, 0)));
        const size_t end = byte_offset(t, json_integer_value(json_array_get(pair, 1)));
        if (spans[i].begin != (int64_t)begin || spans[i].end != (int64_t)end) {
            return false;
        }
    }
    return true;
}

static bool failure_agrees(const json_t *row, const char *message)
{
    const char *type = json_string_value(json_object_get(row, "error_type"));
    const char *error = json_string_value(json_object_get(row, "error"));
    return error && (strcmp(type, "TemplateError") != 0 || strcmp(error, message) == 0);
}

static bool report(const json_t *row, const char *got)
{
    const char *error = json_string_value(json_object_get(row, "error"));
    const char *rendered = json_string_value(json_object_get(row, "rendered"));
    const char *source = json_string_value(json_object_get(row, "template"));
    (void)fprintf(stderr, "case %s\n  template %.300s\n  wanted %s%s\n  got    %s\n",
                  json_string_value(json_object_get(row, "name")), source ? source : "(by name)",
                  error ? "an error: " : "", error ? error : rendered, got);
    return false;
}

bool template_case_agrees(const json_t *row, const char *source)
{
    const struct template_options options = {
        .messages = json_object_get(row, "messages"),
        .tools = not_null(json_object_get(row, "tools")),
        .documents = not_null(json_object_get(row, "documents")),
        .kwargs = not_null(json_object_get(row, "kwargs")),
        .add_generation_prompt = json_is_true(json_object_get(row, "add_generation_prompt")),
        .continue_final_message = json_is_true(json_object_get(row, "continue_final_message")),
        .now = read_time(json_string_value(json_object_get(row, "now"))),
    };
    struct chat_template *t = NULL;
    struct text out = {0};
    struct template_span *spans = NULL;
    int64_t count = 0;
    enum status status = chat_template_open(&t, source);
    if (status == STATUS_OK) {
        status = chat_template_render(t, &options, &out, &spans, &count);
    }
    bool agrees;
    if (status != STATUS_OK) {
        agrees = failure_agrees(row, status_message()) || report(row, status_message());
    } else {
        const json_t *wanted = json_object_get(row, "rendered");
        agrees = wanted && json_string_length(wanted) == out.length
                 && memcmp(json_string_value(wanted), out.data, out.length) == 0
                 && spans_agree(row, &out, spans, count);
        agrees = agrees || report(row, out.data);
    }
    chat_template_close(t);
    free(out.data);
    free(spans);
    return agrees;
}

int template_cases_run(const char *path, bool (*each)(const json_t *row), int *count)
{
    FILE *file = fopen(path, "r");
    char *line = NULL;
    size_t capacity = 0;
    int failed = 0;
    *count = 0;
    while (file && getline(&line, &capacity, file) > 0) {
        json_error_t error;
        json_t *row = json_loads(line, 0, &error);
        failed += !row || !each(row);
        (*count)++;
        json_decref(row);
    }
    free(line);
    if (file) {
        (void)fclose(file);
    }
    return failed;
}
