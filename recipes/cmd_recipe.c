/* validate, recipes and plot: recipes before a run, the report after it. */
#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "recipes/commands.h"
#include "trainer/report/report.h"

enum status command_named_method(const char *name, enum recipe_method *out)
{
    char all[256] = "";
    size_t used = 0;
    for (size_t i = 0; (*out = recipe_training_method(i)) != 0; i++) {
        if (strcmp(name, recipe_method_name(*out)) == 0) {
            return STATUS_OK;
        }
        used += (size_t)snprintf(all + used, sizeof all - used, "%s, ", recipe_method_name(*out));
    }
    *out = RECIPE_EVAL;
    return strcmp(name, "eval") == 0
               ? STATUS_OK
               : FAIL(USAGE, "--method is %sor eval, not '%.40s'", all, name);
}

/* Another method may take what this one does not; what memory there is has nothing to do with it. */
static enum status unless_memory(enum status status)
{
    if (status != STATUS_OK && status != STATUS_MEMORY) {
        status_clear();
        return STATUS_OK;
    }
    return status;
}

/* *fits: the recipe's keys and values are a method's. */
static enum status opens_as(const struct command_args *args, enum recipe_method method, bool *fits)
{
    struct recipe any;
    const enum status status =
        recipe_open(&any, method, args->recipe_path, args->override_count, args->overrides);
    *fits = status == STATUS_OK && recipe_takes_loss(&any);
    recipe_close(&any);
    return unless_memory(status);
}

/* By the keys; where the values are not that method's (loss_type), the first one that takes them.
 */
static enum status guess_method(const struct command_args *args, enum recipe_method *out)
{
    struct recipe any;
    bool fits;
    const enum status status =
        recipe_open(&any, RECIPE_EVAL, args->recipe_path, args->override_count, args->overrides);
    const enum recipe_method guess = any.given ? recipe_guess_method(&any) : RECIPE_SFT;
    recipe_close(&any);
    TRY(unless_memory(status));
    *out = guess;
    TRY(opens_as(args, guess, &fits));
    for (size_t i = 0; !fits && recipe_training_method(i); i++) {
        *out = recipe_training_method(i);
        TRY(opens_as(args, *out, &fits));
    }
    *out = fits ? *out : guess;
    return STATUS_OK;
}

enum status cmd_validate(const struct command_args *args)
{
    struct recipe r = {0};
    enum recipe_method method;
    char *text = NULL;
    enum status status;
    if (args->keys) {
        TRY(recipe_keys_page(&text));
        (void)fputs(text, stdout);
        free(text);
        return STATUS_OK;
    }
    if (!args->recipe_path) {
        return FAIL(USAGE, "validate: name a recipe file");
    }
    if (args->method) {
        TRY(command_named_method(args->method, &method));
    } else {
        TRY(guess_method(args, &method));
    }
    TRY_TO(status, done, command_open_recipe(args, method, &r));
    TRY_TO(status, done, command_resolve_recipe(&r, 1));
    if (args->print) {
        TRY_TO(status, done, recipe_dump(&r, &text));
        (void)fputs(text, stdout);
    } else {
        report_result("%s: a good %s recipe", args->recipe_path,
                      recipe_method_name(method));
    }
done:
    free(text);
    recipe_close(&r);
    return status;
}

/* "DIR/recipes" beside the source, or share/graft/recipes beside the installed program. */
static DIR *open_recipes(const struct command_args *args, char *path, size_t size)
{
    char program[2048];
    (void)snprintf(path, size, "%s/recipes", args->source_dir);
    DIR *dir = opendir(path);
    if (dir) {
        return dir;
    }
    const ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    program[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(program, '/');
    if (slash) {
        *slash = '\0';
    }
    (void)snprintf(path, size, "%s/../share/graft/recipes", program);
    return opendir(path);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* First comment line of a recipe, without its #. */
static void first_comment(const char *dir, const char *name, char *out, size_t size)
{
    char path[4400];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *in = fopen(path, "r");
    out[0] = '\0';
    if (in && fgets(out, (int)size, in)) {
        out[strcspn(out, "\n")] = '\0';
        const size_t skip = strspn(out, "# ");
        if (out[0] == '#') {
            memmove(out, out + skip, strlen(out + skip) + 1);
        } else {
            out[0] = '\0';
        }
    }
    if (in) {
        (void)fclose(in);
    }
}

static bool is_recipe(const char *name)
{
    const size_t n = strlen(name);
    return n > 5 && strcmp(name + n - 5, ".yaml") == 0;
}

static enum status list_recipes(DIR *dir, const char *path)
{
    char *names[256];
    size_t count = 0;
    for (const struct dirent *e = readdir(dir); e; e = readdir(dir)) {
        if (is_recipe(e->d_name) && count < sizeof names / sizeof *names) {
            names[count] = strdup(e->d_name);
            count += names[count] != NULL;
        }
    }
    qsort(names, count, sizeof *names, by_name);
    for (size_t i = 0; i < count; i++) {
        char comment[160];
        first_comment(path, names[i], comment, sizeof comment);
        report_result("%-24s %s", names[i], comment);
        free(names[i]);
    }
    if (count == 0) {
        report_note("no recipes in %s", path);
    }
    return STATUS_OK;
}

static enum status copy_file(const char *from, const char *to)
{
    char buffer[8192];
    FILE *in = fopen(from, "rb");
    if (!in) {
        return FAIL(INPUT, "%s: %s; 'graft recipes' lists the shipped ones", from, strerror(errno));
    }
    FILE *out = fopen(to, "wbx"); /* never over a file that is there */
    bool bad = !out;
    for (size_t n; !bad && (n = fread(buffer, 1, sizeof buffer, in)) > 0;) {
        bad = fwrite(buffer, 1, n, out) != n;
    }
    bad |= ferror(in) != 0;
    (void)fclose(in);
    if (out && fclose(out) != 0) {
        bad = true;
    }
    return bad ? FAIL(IO, "%s: %s", to, strerror(errno)) : STATUS_OK;
}

static enum status copy_recipe(const struct command_args *args, const char *path)
{
    char from[4400];
    char to[4400];
    const char *name = args->words[0];
    const char *dot = is_recipe(name) ? "" : ".yaml";
    if (strchr(name, '/')) {
        return FAIL(USAGE, "recipes: '%.80s' is no name from the list", name);
    }
    (void)snprintf(from, sizeof from, "%s/%s%s", path, name, dot);
    if (args->word_count > 1) {
        (void)snprintf(to, sizeof to, "%s", args->words[1]);
    } else {
        (void)snprintf(to, sizeof to, "%s%s", name, dot);
    }
    TRY(copy_file(from, to));
    report_note("copied to %s", to);
    return STATUS_OK;
}

enum status cmd_recipes(const struct command_args *args)
{
    char path[4096];
    DIR *dir = open_recipes(args, path, sizeof path);
    if (!dir) {
        return FAIL(IO, "%s: no shipped recipes found", path);
    }
    const enum status status =
        args->word_count > 0 ? copy_recipe(args, path) : list_recipes(dir, path);
    (void)closedir(dir);
    return status;
}

enum status cmd_plot(const struct command_args *args)
{
    if (args->word_count != 1) {
        return FAIL(USAGE, "plot: name the output_dir of a run");
    }
    if (access(args->words[0], W_OK) != 0) {
        return FAIL(INPUT, "%s: %s", args->words[0], strerror(errno));
    }
    TRY(report_html(args->words[0], NULL));
    report_result("%s/report.html", args->words[0]);
    return STATUS_OK;
}
