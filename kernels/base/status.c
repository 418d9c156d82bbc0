/* Status codes and the thread-local message chain; see status.h. */
#include "kernels/base/status.h"

#include <stdarg.h>
#include <string.h>

enum { MESSAGE_CAP = 2048, TRACE_CAP = 512 };

static _Thread_local char message[MESSAGE_CAP];
static _Thread_local char trace[TRACE_CAP];

static const struct {
    int exit_code;
    const char *text;
} ROWS[] = {
#define STATUS_ROW(code, exit_code, text) {exit_code, text},
    STATUS_LIST(STATUS_ROW)
#undef STATUS_ROW
};

static void trace_add(const char *file, int line)
{
    const size_t used = strlen(trace);
    if (used + 1 < TRACE_CAP) {
        (void)snprintf(trace + used, TRACE_CAP - used, "%s%s:%d", used ? " < " : "", file, line);
    }
}

enum status status_fail(enum status code, const char *file, int line, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    char text[MESSAGE_CAP]; /* arguments may point into the old message */
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    memcpy(message, text, sizeof message);
    trace[0] = '\0';
    trace_add(file, line);
    return code;
}

enum status status_pass(enum status code, const char *file, int line)
{
    trace_add(file, line);
    return code;
}

enum status status_prefix(enum status code, const char *fmt, ...)
{
    char text[MESSAGE_CAP];
    va_list args;
    va_start(args, fmt);
    const int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (n >= 0 && (size_t)n < sizeof text) {
        (void)snprintf(text + n, sizeof text - (size_t)n, "%s", message);
        memcpy(message, text, sizeof message);
    }
    return code;
}

const char *status_message(void)
{
    return message;
}

const char *status_trace(void)
{
    return trace;
}

void status_clear(void)
{
    message[0] = '\0';
    trace[0] = '\0';
}

int status_exit_code(enum status code)
{
    return ROWS[code].exit_code;
}

const char *status_text(enum status code)
{
    return ROWS[code].text;
}

void status_abort(const char *cond, const char *file, int line)
{
    (void)fprintf(stderr, "%s:%d: broken: %s\n", file, line, cond);
    abort();
}
