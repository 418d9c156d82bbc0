/*
 * Programs in the languages that code rewards know, built once and run many times, every step in a
 * sandbox: the compiler reads untrusted text too. A language is a row in program.c.
 */
#pragma once

#include "eval/sandbox/sandbox.h"

enum { PROGRAM_MAX_FILES = 32, PROGRAM_MAX_ARGS = 8 };

struct language;
struct program;

/* Row by name or alias ("python", "python3", "py", "c", "cpp", "c++", "javascript", "js", "node",
 * "bash", "sh"), NULL when there is none. */
const struct language *language_find(const char *name);

/* Row `i`, NULL past the end. */
const struct language *language_at(size_t i);

/* The row's first name. */
const char *language_name(const struct language *l);

/* What a program is made of; borrowed during program_open. */
struct program_source {
    const char *language;
    const char *text; /* the program, `size` bytes */
    size_t size;
    const struct sandbox_file *extra; /* headers and further C or C++ sources, data files */
    int extra_count;
    struct sandbox_limits build;      /* of the compiler; 0: 30 s, 2 GiB */
};

/* Compiles when the language asks for it. OK with program_error(*out) set when the compiler refuses
 * the text. Fails with USAGE for an unknown language, DEVICE when its interpreter or compiler is
 * not installed or a sandbox layer fails, MEMORY. Close with program_close. */
MUST_USE enum status program_open(struct program **out, struct sandbox *s,
                                  const struct program_source *source);

/* What the compiler said when it made no program, else NULL. */
const char *program_error(const struct program *p);

/* One run's input and limits; borrowed. */
struct program_input {
    const void *input; /* stdin */
    size_t input_size;
    const char *args[PROGRAM_MAX_ARGS]; /* up to a NULL */
    const struct sandbox_file *files;   /* beside the program */
    int file_count;
    struct sandbox_limits limits;       /* 0: defaults */
};

/* Runs the built program once, as sandbox_run does. Fails with USAGE when program_error is set. */
MUST_USE enum status program_run(struct program *p, const struct program_input *in,
                                 struct sandbox_result *out);

/* Frees; NULL is fine. */
void program_close(struct program *p);
