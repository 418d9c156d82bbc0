/* Options and arguments of commands; see cli.h. */
#include "recipes/cli_options.h"

#include <ctype.h>
#include <string.h>

#include "recipes/schema_internal.h"
#include "recipes/suggest.h"
#include "recipes/yaml.h"

#define ARG_AT(member) offsetof(struct command_args, member)

const struct option_row OPTIONS[] = {
    {"model", OPTION_TEXT, ARG_AT(model), "PATH", "GGUF file or Hugging Face folder"},
    {"adapter", OPTION_TEXT, ARG_AT(adapter), "DIR", "PEFT adapter folder"},
    {"tokenizer", OPTION_TEXT, ARG_AT(tokenizer), "PATH",
     "folder, tokenizer.json or GGUF (default: the model's)"},
    {"input", OPTION_TEXT, ARG_AT(input), "FILE", "JSON lines in (default: standard input)"},
    {"output", OPTION_TEXT, ARG_AT(output), "PATH", "where the result goes (default: standard output)"},
    {"compute", OPTION_TEXT, ARG_AT(compute), "TYPE", "bfloat16 (default) or float32"},
    {"format", OPTION_TEXT, ARG_AT(format), "NAME", "adapter, merged or gguf; or a weight type"},
    {"template", OPTION_TEXT, ARG_AT(template_text), "FILE", "chat template (default: the model's)"},
    {"method", OPTION_TEXT, ARG_AT(method), "NAME", "a training command or eval (default: by the keys)"},
    {"base", OPTION_TEXT, ARG_AT(base), "BASE", "export: the base model; bench: bf16, fp32 or nf4"},
    {"base-cache", OPTION_TEXT, ARG_AT(base_cache), "TYPE", "bench: bf16, as the recipes' base_cache"},
    {"dtype", OPTION_TEXT, ARG_AT(dtype), "TYPE",
     "float32, float16 or bfloat16 weights (default: the base's)"},
    {"name", OPTION_TEXT, ARG_AT(name), "NAME[,NAME]", "rewards"},
    {"rule", OPTION_TEXT, ARG_AT(rule), "NAME", "math-verify (default) or strict"},
    {"batch", OPTION_TEXT, ARG_AT(batch), "N[,N]", "batch sizes"},
    {"limit", OPTION_INT, ARG_AT(limit), "N", "only the first N rows"},
    {"threads", OPTION_INT, ARG_AT(threads), "N", "threads (default: all cores)"},
    {"context", OPTION_INT, ARG_AT(context), "N", "longest row in tokens (default: the model's, "
                                              "at most 8192)"},
    {"tokens", OPTION_INT, ARG_AT(tokens), "N", "tokens of one forward"},
    {"prompt", OPTION_INT, ARG_AT(prompt), "N", "tokens of a prompt"},
    {"generate", OPTION_INT, ARG_AT(generate), "N", "tokens to decode"},
    {"prompts", OPTION_INT, ARG_AT(prompts), "N", "prompts of a round"},
    {"generations", OPTION_INT, ARG_AT(generations), "N", "completions per prompt"},
    {"completion", OPTION_INT, ARG_AT(completion), "N", "tokens of a completion"},
    {"slots", OPTION_INT, ARG_AT(slots), "N", "completions decoded at once"},
    {"steps", OPTION_INT, ARG_AT(steps), "N", "steps"},
    {"seq", OPTION_INT, ARG_AT(seq), "N", "tokens of a row"},
    {"json", OPTION_FLAG, ARG_AT(json), NULL, "print JSON"},
    {"print", OPTION_FLAG, ARG_AT(print), NULL, "print the resolved recipe"},
    {"keys", OPTION_FLAG, ARG_AT(keys), NULL, "print the page of all keys (Markdown)"},
    {"no-specials", OPTION_FLAG, ARG_AT(no_specials), NULL, "add no BOS or EOS"},
    {"skip-specials", OPTION_FLAG, ARG_AT(skip_specials), NULL, "leave special tokens out of texts"},
    {"unshared", OPTION_FLAG, ARG_AT(unshared), NULL, "compute every prompt once per completion"},
    {"spread", OPTION_FLAG, ARG_AT(spread), NULL, "geometric completion lengths, at most 8 times"},
    {"checkpointing", OPTION_FLAG, ARG_AT(checkpointing), NULL, "recompute blocks in the backward"},
};

const size_t OPTION_COUNT = sizeof OPTIONS / sizeof *OPTIONS;

static bool list_holds(const char *list, const char *name, size_t length)
{
    for (const char *p = list; p && *p;) {
        const size_t n = strcspn(p, " ");
        if (n == length && strncmp(p, name, n) == 0) {
            return true;
        }
        p += n + strspn(p + n, " ");
    }
    return false;
}

const struct option_row *option_find(const char *list, const char *name, size_t length)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const bool same = strlen(OPTIONS[i].name) == length &&
                          strncmp(OPTIONS[i].name, name, length) == 0;
        if (same && list_holds(list, name, length)) {
            return &OPTIONS[i];
        }
    }
    return NULL;
}

static enum status add_override(struct command_args *args, const char *key, size_t length,
                                const char *value)
{
    char **grown = realloc(args->overrides, (size_t)(args->override_count + 1) * sizeof *grown);
    if (!grown) {
        return FAIL(MEMORY, "out of memory");
    }
    args->overrides = grown;
    char *text = NULL;
    if (asprintf(&text, "%.*s%s%s", (int)length, key, value ? "=" : "", value ? value : "") < 0) {
        return FAIL(MEMORY, "out of memory");
    }
    grown[args->override_count++] = text;
    return STATUS_OK;
}

/* What may stand after "--": options, then the recipe's keys where a command takes a recipe. */
struct option_names {
    const char *list;
    bool keys;
};

static const char *option_name_at(const void *ctx, size_t i)
{
    const struct option_names *names = ctx;
    for (size_t j = 0; j < OPTION_COUNT; j++) {
        if (list_holds(names->list, OPTIONS[j].name, strlen(OPTIONS[j].name)) && i-- == 0) {
            return OPTIONS[j].name;
        }
    }
    return names->keys && i < schema_count() ? schema_field(i)->key : NULL;
}

static enum status fail_option(const struct command_args *args, const char *name)
{
    const struct option_names names = {args->command->options, args->command->methods != 0};
    char word[64];
    (void)snprintf(word, sizeof word, "%.*s", (int)strcspn(name, "="), name);
    const char *near = suggest_nearest(word, option_name_at, &names);
    return near ? FAIL(USAGE, "%s: unknown option --%s, did you mean --%s?", args->command->name,
                       word, near)
                : FAIL(USAGE, "%s: unknown option --%s; see graft %s --help", args->command->name,
                       word, args->command->name);
}

/* --learning_rate 1e-5 or --learning-rate=1e-5, as trl's scripts take it. */
static enum status take_recipe_option(struct command_args *args, const char *name,
                                      const char *next, int *used)
{
    char key[96];
    const size_t length = strcspn(name, "=");
    if (length >= sizeof key) {
        return fail_option(args, name);
    }
    for (size_t i = 0; i < length; i++) {
        key[i] = name[i] == '-' ? '_' : name[i];
    }
    key[length] = '\0';
    const char *value = name[length] == '=' ? name + length + 1 : NULL;
    if (!value && next && strncmp(next, "--", 2) != 0) {
        value = next;
        *used = 1;
    }
    if (strcmp(key, "config") == 0 && value) {
        args->recipe_path = value;
        return STATUS_OK;
    }
    if (!recipe_knows_key(key)) {
        return fail_option(args, name);
    }
    return add_override(args, key, length, value ? value : "true");
}

static enum status take_option(struct command_args *args, const char *name, const char *next,
                               int *used)
{
    const size_t length = strcspn(name, "=");
    const struct option_row *row = option_find(args->command->options, name, length);
    *used = 0;
    if (!row) {
        return args->command->methods ? take_recipe_option(args, name, next, used)
                                      : fail_option(args, name);
    }
    void *at = (char *)args + row->offset;
    const char *value = name[length] == '=' ? name + length + 1 : NULL;
    if (row->kind == OPTION_FLAG) {
        *(bool *)at = true;
        return value ? FAIL(USAGE, "%s: --%s takes no value", args->command->name, row->name)
                     : STATUS_OK;
    }
    if (!value) {
        value = next;
        *used = 1;
    }
    if (!value) {
        return FAIL(USAGE, "%s: --%s needs %s", args->command->name, row->name, row->value);
    }
    if (row->kind == OPTION_TEXT) {
        *(const char **)at = value;
        return STATUS_OK;
    }
    int64_t number;
    if (!yaml_parse_int(value, &number) || number < 0) {
        return FAIL(USAGE, "%s: --%s needs a whole number >= 0, not '%.60s'", args->command->name,
                    row->name, value);
    }
    *(int64_t *)at = number;
    return STATUS_OK;
}

/* True for key=value with a key that could be a recipe's. */
static bool is_assignment(const char *word)
{
    size_t n = 0;
    while (isalnum((unsigned char)word[n]) || word[n] == '_') {
        n++;
    }
    return n > 0 && word[n] == '=';
}

static enum status take_word(struct command_args *args, const char *word)
{
    /* What --name names has parameters, as a recipe has keys. */
    const bool assigns = args->command->methods || list_holds(args->command->options, "name", 4);
    if (assigns && is_assignment(word)) {
        return add_override(args, word, strlen(word), NULL);
    }
    const size_t n = strlen(word);
    const bool yaml = (n > 5 && strcmp(word + n - 5, ".yaml") == 0) ||
                      (n > 4 && strcmp(word + n - 4, ".yml") == 0);
    const bool room = args->word_count < args->command->words;
    if (args->command->methods && !args->recipe_path && (yaml || !room)) {
        args->recipe_path = word;
        return STATUS_OK;
    }
    if (!room) {
        return FAIL(USAGE, "%s: what is '%.60s'? Usage: graft %s %s", args->command->name, word,
                    args->command->name, args->command->usage);
    }
    args->words[args->word_count++] = word;
    return STATUS_OK;
}

enum status command_args_parse(struct command_args *args, int argc, char **argv, bool *help)
{
    *help = false;
    for (int i = 2; i < argc; i++) {
        const char *word = argv[i];
        if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
            *help = true;
            return STATUS_OK;
        }
    }
    for (int i = 2; i < argc; i++) {
        if (strncmp(argv[i], "--", 2) == 0 && argv[i][2]) {
            int used;
            TRY(take_option(args, argv[i] + 2, i + 1 < argc ? argv[i + 1] : NULL, &used));
            i += used;
        } else {
            TRY(take_word(args, argv[i]));
        }
    }
    if (args->compute && strcmp(args->compute, "float32") != 0 &&
        strcmp(args->compute, "bfloat16") != 0) {
        return FAIL(USAGE, "%s: --compute is bfloat16 or float32, not '%.60s'",
                    args->command->name, args->compute);
    }
    return STATUS_OK;
}

void command_args_close(struct command_args *args)
{
    for (int64_t i = 0; i < args->override_count; i++) {
        free(args->overrides[i]);
    }
    free(args->overrides);
    args->overrides = NULL;
    args->override_count = 0;
}
