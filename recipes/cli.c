/* From argv to a command and back to an exit code; see cli.h. */
#include "recipes/cli.h"

#include <string.h>

#include "recipes/build.h"
#include "recipes/cli_options.h"
#include "recipes/suggest.h"
#include "trainer/report/report.h"

static const char *command_name_at(const void *ctx, size_t i)
{
    (void)ctx;
    const struct command *c = command_at(i);
    return c ? c->name : NULL;
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; command_at(i); i++) {
        if (strcmp(command_at(i)->name, name) == 0) {
            return command_at(i);
        }
    }
    return NULL;
}

void cli_print_usage(FILE *out)
{
    (void)fputs("graft: fine-tunes a frozen, quantized language model with adapters and GRPO\n\n"
                "usage: graft COMMAND [RECIPE.yaml] [key=value ...] [--option ...]\n\n"
                "commands:\n",
                out);
    for (size_t i = 0; command_at(i); i++) {
        (void)fprintf(out, "  %-10s %s\n", command_at(i)->name, command_at(i)->summary);
    }
    (void)fputs("\n'graft COMMAND --help' tells more. Exit codes: 0 done, 2 wrong usage or\n"
                "recipe, 3 wrong input file, 4 no memory or device, 5 interrupted and saved, 1\n"
                "other.\n",
                out);
}

enum status cli_print_help(const struct command *c)
{
    (void)printf("graft %s: %s\n\nusage: graft %s %s\n", c->name, c->summary, c->name, c->usage);
    if (c->detail) {
        (void)printf("\n%s\n", c->detail);
    }
    (void)printf("\noptions\n");
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const struct option_row *o = &OPTIONS[i];
        if (option_find(c->options, o->name, strlen(o->name))) {
            char left[40];
            (void)snprintf(left, sizeof left, "--%s %s", o->name, o->value ? o->value : "");
            (void)printf("  %-20s %s\n", left, o->doc);
        }
    }
    (void)printf("  %-20s %s\n", "--help", "this text");
    if (c->methods) {
        char *reference;
        TRY(recipe_reference(c->methods, &reference));
        (void)fputs(reference, stdout);
        free(reference);
    }
    return STATUS_OK;
}

/* Notes from number `first` on; one rank of a run tells. */
static void print_notes(const struct recipe *r, int64_t first)
{
    const char *rank = getenv("OMPI_COMM_WORLD_RANK");
    for (int64_t i = first; (!rank || strcmp(rank, "0") == 0) && i < r->notes.count; i++) {
        report_note("note: %s", r->notes.items[i]);
    }
}

enum status command_open_recipe(const struct command_args *args, enum recipe_method method,
                                struct recipe *r)
{
    TRY(recipe_open(r, method, args->recipe_path, args->override_count, args->overrides));
    TRY(recipe_apply_env(r));
    print_notes(r, 0);
    return STATUS_OK;
}

enum status command_resolve_recipe(struct recipe *r, int64_t ranks)
{
    const int64_t told = r->notes.count;
    TRY(recipe_resolve(r, ranks));
    print_notes(r, told);
    return STATUS_OK;
}

static enum status fail_command(const char *name)
{
    const char *near = suggest_nearest(name, command_name_at, NULL);
    return near ? FAIL(USAGE, "unknown command '%.60s', did you mean '%s'?", name, near)
                : FAIL(USAGE, "unknown command '%.60s'; graft --help lists them", name);
}

static enum status run_command(const struct command *c, int argc, char **argv,
                               const char *source_dir)
{
    struct command_args args = {.command = c, .source_dir = source_dir};
    bool help;
    enum status status = command_args_parse(&args, argc, argv, &help);
    if (status == STATUS_OK) {
        status = help ? cli_print_help(c) : c->fn(&args);
    }
    command_args_close(&args);
    return status;
}

static enum status dispatch(int argc, char **argv, const char *source_dir)
{
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        cli_print_usage(stdout);
        return STATUS_OK;
    }
    if (strcmp(name, "--version") == 0) {
        (void)puts("graft " GRAFT_VERSION);
        return STATUS_OK;
    }
    if (strcmp(name, "help") == 0) {
        const struct command *about = argc > 2 ? find_command(argv[2]) : NULL;
        if (argc > 2 && !about) {
            return fail_command(argv[2]);
        }
        if (about) {
            return cli_print_help(about);
        }
        cli_print_usage(stdout);
        return STATUS_OK;
    }
    const struct command *c = find_command(name);
    return c ? run_command(c, argc, argv, source_dir) : fail_command(name);
}

int cli_run(int argc, char **argv, const char *source_dir)
{
    if (argc < 2) {
        cli_print_usage(stderr);
        return status_exit_code(STATUS_USAGE);
    }
    enum status status = dispatch(argc, argv, source_dir);
    if ((fflush(stdout) != 0 || ferror(stdout)) && status == STATUS_OK) {
        status = FAIL(IO, "standard output can't be written");
    }
    const char *trace = getenv("GRAFT_TRACE");
    if (status != STATUS_OK) {
        report_note("graft: %s", *status_message() ? status_message() : status_text(status));
        if (trace && strcmp(trace, "1") == 0) {
            report_note("graft: at %s", status_trace());
        }
    }
    return status_exit_code(status);
}
