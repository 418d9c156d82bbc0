/*
 * The command line: one table of commands, one of options. A command is a row in commands.c and a
 * function `enum status fn(const struct command_args *)` that returns its status; the message of a
 * failure is printed once, here.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "recipes/schema.h"

enum { CLI_MAX_WORDS = 4 };

struct command;
struct memory_plan;

struct command_args {
    const struct command *command;
    struct memory_plan *plan_only; /* a stage fills it in and ends before it trains; NULL: it runs */
    const char *source_dir;  /* where the program was built from, for shipped recipes */
    const char *recipe_path; /* NULL: none */
    char **overrides;        /* [override_count] "key=value" */
    int64_t override_count;
    const char *words[CLI_MAX_WORDS]; /* what is neither option nor key=value */
    int word_count;

    const char *model;
    const char *adapter;
    const char *tokenizer;
    const char *input;   /* NULL or "-": standard input */
    const char *output;  /* NULL or "-": standard output */
    const char *compute; /* "bfloat16" when not given */
    const char *format;
    const char *base;
    const char *base_cache;
    const char *dtype;
    const char *method;
    const char *batch;
    const char *template_text;
    const char *name; /* rewards, comma-separated */
    const char *rule; /* of the judge */
    bool json;
    bool print;
    bool keys;
    bool no_specials;
    bool skip_specials;
    bool checkpointing;
    bool unshared;
    bool spread;
    int64_t limit;       /* rows; 0: all */
    int64_t threads;
    int64_t context;
    int64_t tokens;
    int64_t prompt;
    int64_t generate;
    int64_t prompts;
    int64_t generations;
    int64_t completion;
    int64_t slots;
    int64_t steps;
    int64_t seq;
};

struct command {
    const char *name;
    const char *summary; /* one line */
    const char *usage;   /* after "graft NAME " */
    const char *options; /* names from the option table, space-separated */
    unsigned methods;    /* bits of enum recipe_method: takes a recipe and key=value; 0: none */
    int words;           /* most plain words */
    enum status (*fn)(const struct command_args *args);
    const char *detail;  /* paragraphs of --help, may be NULL */
};

/* Command `i`, NULL past the end. */
const struct command *command_at(size_t i);

/* Runs the command line; returns the process exit code. Prints "graft: message" on failure, with
 * the places it passed when GRAFT_TRACE=1. */
int cli_run(int argc, char **argv, const char *source_dir);

/* Reads argv[2..] into *args (command is set already); *help: --help stands there. Fails with
 * USAGE. Free with command_args_close. */
MUST_USE enum status command_args_parse(struct command_args *args, int argc, char **argv,
                                        bool *help);

/* Frees the overrides; strings of argv are borrowed and stay. */
void command_args_close(struct command_args *args);

/* Prints the help of one command, of all. */
MUST_USE enum status cli_print_help(const struct command *c);

/* Writes the list of commands and the exit codes to `out`. */
void cli_print_usage(FILE *out);

/* Opens the command's recipe for `method` with its key=value arguments, sets env and (first rank)
 * prints the notes. Not resolved yet. Close with recipe_close, also after a failure. */
MUST_USE enum status command_open_recipe(const struct command_args *args,
                                         enum recipe_method method, struct recipe *r);

/* recipe_resolve, and prints the notes that it added. */
MUST_USE enum status command_resolve_recipe(struct recipe *r, int64_t ranks);
