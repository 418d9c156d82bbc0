/* JSON lines of the row commands; see rows.h. */
#include "recipes/rows.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

enum { LINE_CAP = 256 << 20 };

static bool is_standard(const char *path)
{
    return !path || strcmp(path, "-") == 0;
}

enum status rows_open(struct row_stream *s, const struct command_args *args)
{
    *s = (struct row_stream){.in = stdin, .out = stdout, .name = "standard input"};
    s->limit = args->limit;
    if (!is_standard(args->input)) {
        s->name = args->input;
        s->in = fopen(args->input, "r");
        if (!s->in) {
            return FAIL(INPUT, "%s: %s", args->input, strerror(errno));
        }
    }
    if (!is_standard(args->output)) {
        s->final = strdup(args->output);
        if (!s->final || asprintf(&s->partial, "%s.tmp", args->output) < 0) {
            s->partial = NULL;
            return FAIL(MEMORY, "%s: out of memory", args->output);
        }
        s->out = fopen(s->partial, "w");
        if (!s->out) {
            return FAIL(IO, "%s: %s", s->partial, strerror(errno));
        }
    }
    return STATUS_OK;
}

enum status rows_next(struct row_stream *s, json_t **row)
{
    *row = NULL;
    while (s->limit == 0 || s->rows < s->limit) {
        errno = 0;
        const ssize_t n = getline(&s->line, &s->capacity, s->in);
        if (n < 0) {
            return feof(s->in) ? STATUS_OK : FAIL(INPUT, "%s: %s", s->name, strerror(errno));
        }
        s->number++;
        if (n > LINE_CAP) {
            return FAIL(INPUT, "%s:%" PRId64 ": a line over 256 MiB", s->name, s->number);
        }
        if (s->line[strspn(s->line, " \t\r\n")] == '\0') {
            continue;
        }
        json_error_t error;
        *row = json_loadb(s->line, (size_t)n, JSON_ALLOW_NUL, &error);
        if (!json_is_object(*row)) {
            const bool parsed = *row != NULL;
            json_decref(*row);
            *row = NULL;
            return FAIL(INPUT, "%s:%" PRId64 ": not a JSON object: %s", s->name, s->number,
                        parsed ? "another value" : error.text);
        }
        s->rows++;
        return STATUS_OK;
    }
    return STATUS_OK;
}

enum status rows_write(struct row_stream *s, json_t *row)
{
    char *text = row ? json_dumps(row, JSON_COMPACT | JSON_PRESERVE_ORDER) : NULL;
    json_decref(row);
    if (!text) {
        return FAIL(MEMORY, "%s:%" PRId64 ": out of memory for the result", s->name, s->number);
    }
    const bool failed = fputs(text, s->out) < 0 || fputc('\n', s->out) < 0;
    free(text);
    return failed ? FAIL(IO, "%s: %s", s->final ? s->final : "standard output", strerror(errno))
                  : STATUS_OK;
}

enum status rows_blame(const struct row_stream *s, int64_t number, enum status status)
{
    return status == STATUS_OK ? status
                               : status_prefix(status, "%s:%" PRId64 ": ", s->name, number);
}

enum status rows_close(struct row_stream *s, enum status status)
{
    if (s->in && s->in != stdin) {
        (void)fclose(s->in);
    }
    const bool file = s->out && s->out != stdout;
    if (file && (ferror(s->out) | fclose(s->out)) != 0 && status == STATUS_OK) {
        status = FAIL(IO, "%s: %s", s->partial, strerror(errno));
    }
    if (file && status == STATUS_OK && rename(s->partial, s->final) != 0) {
        status = FAIL(IO, "%s: %s", s->final, strerror(errno));
    }
    if (file && status != STATUS_OK) {
        (void)unlink(s->partial);
    }
    free(s->line);
    free(s->final);
    free(s->partial);
    *s = (struct row_stream){0};
    return status;
}
