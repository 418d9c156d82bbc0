/*
 * Status codes and the message chain.
 *
 * Every function that can fail returns `enum status`. The failing place describes where, what and
 * the way out with FAIL(); each caller passes it on with TRY(), which adds file:line to a
 * thread-local chain. Libraries never print and never exit: main prints status_message() and
 * returns status_exit_code().
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>

/* code, process exit code, text. The one list of what can go wrong. */
#define STATUS_LIST(X)                                                                             \
    X(OK, 0, "ok")                                                                                 \
    X(USAGE, 2, "wrong usage")                                                                     \
    X(RECIPE, 2, "wrong recipe")                                                                   \
    X(INPUT, 3, "wrong input file")                                                                \
    X(MEMORY, 4, "out of memory")                                                                  \
    X(DEVICE, 4, "no such device")                                                                 \
    X(INTERRUPTED, 5, "interrupted and saved")                                                     \
    X(IO, 1, "input/output failed")                                                                \
    X(REMOTE, 1, "another rank failed")                                                            \
    X(NUMERIC, 1, "non-finite numbers")                                                            \
    X(INTERNAL, 1, "internal error")

enum status {
#define STATUS_ENUM(code, exit_code, text) STATUS_##code,
    STATUS_LIST(STATUS_ENUM)
#undef STATUS_ENUM
};

#define MUST_USE __attribute__((warn_unused_result))

/* Records a failure: replaces this thread's message by `fmt`, notes file:line for the trace, and
 * returns `code`. `code` must not be STATUS_OK. Never allocates. */
enum status status_fail(enum status code, const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* Adds file:line to this thread's trace and returns `code` unchanged. */
enum status status_pass(enum status code, const char *file, int line);

/* Prefixes this thread's message with `fmt` ("recipe.yaml:3: " ...) and returns `code`. */
enum status status_prefix(enum status code, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* This thread's last message, "" when none. Valid until the next failure on this thread. */
const char *status_message(void);

/* This thread's trace "a.c:1 < b.c:2", innermost first. */
const char *status_trace(void);

/* Forgets this thread's message and trace. */
void status_clear(void);

/* Process exit code of a status (design: 0 done, 2 usage or recipe, 3 input, 4 memory or device,
 * 5 interrupted and saved, 1 other). */
int status_exit_code(enum status code);

/* Short text of a status, never NULL. */
const char *status_text(enum status code);

/* Yields the constant, so that compilers know a failure is never STATUS_OK. */
#define FAIL(code, ...)                                                                            \
    ((void)status_fail(STATUS_##code, __FILE__, __LINE__, __VA_ARGS__), (enum status)STATUS_##code)

/* Returns from the function with the status when `expr` fails. */
#define TRY(expr)                                                                                  \
    do {                                                                                           \
        const enum status try_status_ = (expr);                                                    \
        if (try_status_ != STATUS_OK) {                                                            \
            (void)status_pass(try_status_, __FILE__, __LINE__);                                    \
            return try_status_;                                                                    \
        }                                                                                          \
    } while (0)

/* Stores the status in `var` and jumps to `label` when `expr` fails: the one-cleanup-label form. */
#define TRY_TO(var, label, expr)                                                                   \
    do {                                                                                           \
        (var) = (expr);                                                                            \
        if ((var) != STATUS_OK) {                                                                  \
            (void)status_pass((var), __FILE__, __LINE__);                                          \
            goto label;                                                                            \
        }                                                                                          \
    } while (0)

/* Programmer errors: always on, aborts with the place. Never for bad input. */
#define ASSERT(cond)                                                                               \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            status_abort(#cond, __FILE__, __LINE__);                                               \
        }                                                                                          \
    } while (0)

/* Writes the broken condition to stderr and aborts. */
void status_abort(const char *cond, const char *file, int line) __attribute__((noreturn));
