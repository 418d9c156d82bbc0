/* log.jsonl, completions.jsonl and messages of a run; see report.h. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "trainer/report/report_internal.h"

enum { LINE_CAP = 16 << 20 };

char *report_path(const char *dir, const char *file)
{
    char *path = NULL;
    return asprintf(&path, "%s/%s", dir, file) < 0 ? NULL : path;
}

enum status report_append(const char *output_dir, const char *file, const json_t *line)
{
    enum status status = STATUS_OK;
    char *path = report_path(output_dir, file);
    char *text = json_dumps(line, JSON_COMPACT | JSON_PRESERVE_ORDER);
    if (!path || !text) {
        status = FAIL(MEMORY, "%s: out of memory for a line", file);
        goto done;
    }
    FILE *out = fopen(path, "a");
    if (!out) {
        status = FAIL(IO, "%s: %s", path, strerror(errno));
        goto done;
    }
    const bool failed = fputs(text, out) < 0 || fputc('\n', out) < 0 || fflush(out) != 0;
    const int cause = errno;
    if (fclose(out) != 0 || failed) {
        status = FAIL(IO, "%s: %s", path, strerror(failed ? cause : errno));
    }
done:
    free(path);
    free(text);
    return status;
}

/* Reads one line without its newline; false at the end. *complete: it ended in a newline. */
static bool read_line(FILE *in, char **line, size_t *capacity, bool *complete)
{
    const ssize_t n = getline(line, capacity, in);
    if (n <= 0 || n > LINE_CAP) {
        return false;
    }
    *complete = (*line)[n - 1] == '\n';
    if (*complete) {
        (*line)[n - 1] = '\0';
    }
    return true;
}

/* True when a line belongs to a step after `step`, or is no JSON. */
static bool drops(const char *line, int64_t step)
{
    json_t *object = json_loads(line, 0, NULL);
    const json_t *at = json_object_get(object, "step");
    const bool after = json_is_number(at) && json_number_value(at) > (double)step;
    const bool torn = !object;
    json_decref(object);
    return after || torn;
}

static enum status copy_kept(FILE *in, FILE *out, int64_t step, const char *path)
{
    char *line = NULL;
    size_t capacity = 0;
    bool complete = false;
    while (read_line(in, &line, &capacity, &complete)) {
        if (complete && !drops(line, step)) {
            (void)fputs(line, out);
            (void)fputc('\n', out);
        }
    }
    free(line);
    if (ferror(in) || ferror(out) || fflush(out) != 0 || fsync(fileno(out)) != 0) {
        return FAIL(IO, "%s: %s", path, strerror(errno));
    }
    return STATUS_OK;
}

enum status report_truncate(const char *output_dir, const char *file, int64_t step)
{
    enum status status = STATUS_OK;
    FILE *in = NULL;
    FILE *out = NULL;
    char *path = report_path(output_dir, file);
    char *fresh = NULL;
    if (!path || asprintf(&fresh, "%s.tmp", path) < 0) {
        fresh = NULL;
        status = FAIL(MEMORY, "%s: out of memory", file);
        goto done;
    }
    in = fopen(path, "r");
    if (!in) {
        status = errno == ENOENT ? STATUS_OK : FAIL(IO, "%s: %s", path, strerror(errno));
        goto done;
    }
    out = fopen(fresh, "w");
    if (!out) {
        status = FAIL(IO, "%s: %s", fresh, strerror(errno));
        goto done;
    }
    TRY_TO(status, done, copy_kept(in, out, step, fresh));
    if (rename(fresh, path) != 0) {
        status = FAIL(IO, "%s: %s", path, strerror(errno));
    }
done:
    if (in) {
        (void)fclose(in);
    }
    if (out) {
        (void)fclose(out);
    }
    free(path);
    free(fresh);
    return status;
}

enum status report_each_line(const char *dir, const char *file, report_line_fn fn, void *ctx)
{
    char *path = report_path(dir, file);
    if (!path) {
        return FAIL(MEMORY, "%s: out of memory", file);
    }
    FILE *in = fopen(path, "r");
    enum status status = STATUS_OK;
    if (!in && errno != ENOENT) {
        status = FAIL(IO, "%s: %s", path, strerror(errno));
    }
    free(path);
    if (!in) {
        return status;
    }
    char *line = NULL;
    size_t capacity = 0;
    bool complete = false;
    bool more = true;
    while (more && read_line(in, &line, &capacity, &complete)) {
        json_t *object = json_loads(line, 0, NULL);
        if (json_is_object(object)) {
            more = fn(ctx, object);
        }
        json_decref(object);
    }
    free(line);
    (void)fclose(in);
    return status;
}

/* Fields a progress line shows, in this order, with the digits each needs. */
static const struct {
    const char *key;
    const char *label;
    int digits;
    char style; /* 'f' fixed, 'g' significant digits */
} PROGRESS[] = {
    {"loss", "loss", 4, 'f'},
    {"reward", "reward", 3, 'f'},
    {"reward_std", "std", 3, 'f'},
    {"mean_token_accuracy", "accuracy", 3, 'f'},
    {"eval_loss", "eval loss", 4, 'f'},
    {"eval_accuracy", "eval accuracy", 3, 'f'},
    {"kl", "kl", 4, 'f'},
    {"entropy", "entropy", 3, 'f'},
    {"completions/mean_length", "length", 1, 'f'},
    {"grad_norm", "grad", 3, 'g'},
    {"learning_rate", "lr", 2, 'g'},
    {"tokens_per_second", "tok/s", 0, 'f'},
    {"step_time", "s/step", 2, 'f'},
};

void report_progress(const char *label, const json_t *line, int64_t step, int64_t total)
{
    char text[512];
    int used = snprintf(text, sizeof text, "%sstep %" PRId64 "/%" PRId64, label ? label : "", step,
                        total);
    for (size_t i = 0; i < sizeof PROGRESS / sizeof *PROGRESS; i++) {
        const json_t *value = json_object_get(line, PROGRESS[i].key);
        if (!json_is_number(value) || used < 0 || (size_t)used + 48 >= sizeof text) {
            continue;
        }
        const double number = json_number_value(value);
        used += snprintf(text + used, sizeof text - (size_t)used,
                         PROGRESS[i].style == 'f' ? "  %s %.*f" : "  %s %.*g", PROGRESS[i].label,
                         PROGRESS[i].digits, number);
    }
    (void)fprintf(stderr, "%s\n", text);
}

void report_note(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)vfprintf(stderr, fmt, args);
    va_end(args);
    (void)fputc('\n', stderr);
}

void report_result(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)vfprintf(stdout, fmt, args);
    va_end(args);
    (void)fputc('\n', stdout);
}
