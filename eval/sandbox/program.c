/* Languages, building and running; see program.h. */
#include "eval/sandbox/program.h"

#include <string.h>
#include <unistd.h>

enum { MAX_NAMES = 4, MAX_WORDS = 8, MAX_TOOLS = 3, BUILT_CAP = 64 << 20, ERROR_CAP = 4096 };

struct language {
    const char *names[MAX_NAMES];
    const char *file;            /* name of the source */
    const char *tools[MAX_TOOLS]; /* interpreter or compiler, the first that is installed */
    const char *hint;            /* what to install */
    bool compiled;
    const char *words[MAX_WORDS];   /* compiled: options before the sources; else before the file */
    const char *trailer;            /* compiled: after the sources */
    const char *env[MAX_WORDS];
    bool huge_address_space;
    int processes; /* what the runtime starts by itself, added to the limit */
};

static const struct language LANGUAGES[] = {
    {
        .names = {"python", "python3", "py"},
        .file = "main.py",
        .tools = {"/usr/bin/python3", "/usr/local/bin/python3"},
        .hint = "python3",
        .env = {"PYTHONDONTWRITEBYTECODE=1", "PYTHONIOENCODING=utf-8", "PYTHONHASHSEED=0"},
    },
    {
        .names = {"c"},
        .file = "main.c",
        .tools = {"/usr/bin/gcc", "/usr/bin/cc", "/usr/bin/clang"},
        .hint = "gcc",
        .compiled = true,
        .words = {"-O2", "-std=gnu17", "-pipe", "-o", "main"},
        .trailer = "-lm",
    },
    {
        .names = {"cpp", "c++", "cxx"},
        .file = "main.cpp",
        .tools = {"/usr/bin/g++", "/usr/bin/c++", "/usr/bin/clang++"},
        .hint = "g++",
        .compiled = true,
        .words = {"-O2", "-std=gnu++17", "-pipe", "-DEVAL", "-o", "main"},
        .trailer = "-lm",
    },
    {
        .names = {"javascript", "js", "node"},
        .file = "main.js",
        .tools = {"/usr/bin/node", "/usr/bin/nodejs", "/usr/local/bin/node"},
        .hint = "nodejs",
        .env = {"OPENSSL_CONF=/dev/null", "UV_THREADPOOL_SIZE=2"},
        .huge_address_space = true,
        .processes = 16,
    },
    {
        .names = {"bash", "sh"},
        .file = "main.sh",
        .tools = {"/usr/bin/bash", "/bin/bash"},
        .hint = "bash",
    },
};

struct program {
    const struct language *language;
    struct sandbox *sandbox;
    const char *tool;
    struct sandbox_file files[PROGRAM_MAX_FILES]; /* each name and data owned */
    int file_count;
    char *error;
};

const struct language *language_at(size_t i)
{
    return i < sizeof LANGUAGES / sizeof *LANGUAGES ? &LANGUAGES[i] : NULL;
}

const char *language_name(const struct language *l)
{
    return l->names[0];
}

const struct language *language_find(const char *name)
{
    for (size_t i = 0; language_at(i); i++) {
        for (int k = 0; k < MAX_NAMES && LANGUAGES[i].names[k]; k++) {
            if (strcasecmp(LANGUAGES[i].names[k], name) == 0) {
                return &LANGUAGES[i];
            }
        }
    }
    return NULL;
}

static const char *find_tool(const struct language *l)
{
    for (int i = 0; i < MAX_TOOLS && l->tools[i]; i++) {
        if (access(l->tools[i], X_OK) == 0) {
            return l->tools[i];
        }
    }
    return NULL;
}

static enum status keep_file(struct program *p, const struct sandbox_file *f)
{
    if (p->file_count == PROGRAM_MAX_FILES) {
        return FAIL(USAGE, "program: more than %d files", PROGRAM_MAX_FILES);
    }
    char *data = malloc(f->size + 1);
    char *name = strdup(f->name);
    if (!data || !name) {
        free(data);
        free(name);
        return FAIL(MEMORY, "program: no memory for %zu bytes", f->size);
    }
    if (f->size > 0) {
        memcpy(data, f->data, f->size);
    }
    p->files[p->file_count++] = (struct sandbox_file){name, data, f->size, f->executable};
    return STATUS_OK;
}

/* What the compiler said, or how it ended when it said nothing. */
static enum status keep_error(struct program *p, const struct sandbox_result *r)
{
    char text[64];
    (void)snprintf(text, sizeof text, "the compiler ended: %s %d", sandbox_end_name(r->end),
                   r->code);
    p->error = strndup(r->err.size > 0 ? r->err.data : text, ERROR_CAP);
    return p->error ? STATUS_OK : FAIL(MEMORY, "program: no memory");
}

static bool is_source(const char *name)
{
    static const char *const ENDS[] = {".c", ".cc", ".cpp", ".cxx"};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < sizeof ENDS / sizeof *ENDS; i++) {
        if (strcmp(dot, ENDS[i]) == 0) {
            return true;
        }
    }
    return false;
}

static struct sandbox_limits build_limits(const struct sandbox_limits *given)
{
    struct sandbox_limits l = *given;
    l.cpu_seconds = l.cpu_seconds > 0.0 ? l.cpu_seconds : 30.0;
    l.wall_seconds = l.wall_seconds > 0.0 ? l.wall_seconds : 60.0;
    l.memory_bytes = l.memory_bytes > 0 ? l.memory_bytes : (int64_t)2 << 30;
    l.disk_bytes = l.disk_bytes > 0 ? l.disk_bytes : (int64_t)256 << 20;
    return l;
}

static enum status compile(struct program *p, const struct program_source *source,
                           const struct sandbox_file *files, int count)
{
    const struct language *l = p->language;
    const char *argv[SANDBOX_MAX_ARGS + 1] = {p->tool};
    int n = 1;
    for (int i = 0; i < MAX_WORDS && l->words[i]; i++) {
        argv[n++] = l->words[i];
    }
    for (int i = 0; i < count; i++) {
        if (is_source(files[i].name)) {
            argv[n++] = files[i].name;
        }
    }
    argv[n++] = l->trailer;
    const struct sandbox_spec spec = {
        .argv = argv,
        .files = files,
        .file_count = count,
        .collect = "main",
        .collect_bytes = BUILT_CAP,
        .limits = build_limits(&source->build),
    };
    struct sandbox_result r;
    enum status status = sandbox_run(p->sandbox, &spec, &r);
    if (status == STATUS_OK && r.end == SANDBOX_EXITED && r.code == 0 && r.collected.data) {
        const struct sandbox_file built = {"main", r.collected.data, r.collected.size, true};
        status = keep_file(p, &built);
    } else if (status == STATUS_OK) {
        status = keep_error(p, &r);
    }
    sandbox_result_close(&r);
    return status;
}

static enum status build(struct program *p, const struct program_source *source)
{
    struct sandbox_file files[PROGRAM_MAX_FILES];
    if (source->extra_count < 0 || source->extra_count >= PROGRAM_MAX_FILES) {
        return FAIL(USAGE, "program: %d files, at most %d", source->extra_count,
                    PROGRAM_MAX_FILES - 1);
    }
    files[0] = (struct sandbox_file){p->language->file, source->text, source->size, false};
    for (int i = 0; i < source->extra_count; i++) {
        files[i + 1] = source->extra[i];
    }
    if (p->language->compiled) {
        return compile(p, source, files, source->extra_count + 1);
    }
    for (int i = 0; i <= source->extra_count; i++) {
        TRY(keep_file(p, &files[i]));
    }
    return STATUS_OK;
}

enum status program_open(struct program **out, struct sandbox *s,
                         const struct program_source *source)
{
    *out = NULL;
    const struct language *l = language_find(source->language);
    if (!l) {
        return FAIL(USAGE, "program: language '%.40s' is not known; use python, c, cpp, javascript "
                           "or bash", source->language);
    }
    const char *tool = find_tool(l);
    if (!tool) {
        return FAIL(DEVICE, "program: no %s here: install %s", language_name(l), l->hint);
    }
    struct program *p = calloc(1, sizeof *p);
    if (!p) {
        return FAIL(MEMORY, "program: no memory");
    }
    *p = (struct program){.language = l, .sandbox = s, .tool = tool};
    const enum status status = build(p, source);
    if (status != STATUS_OK) {
        program_close(p);
        return status;
    }
    *out = p;
    return STATUS_OK;
}

const char *program_error(const struct program *p)
{
    return p->error;
}

enum status program_run(struct program *p, const struct program_input *in,
                        struct sandbox_result *out)
{
    const struct language *l = p->language;
    const char *argv[SANDBOX_MAX_ARGS + 1] = {0};
    struct sandbox_file files[PROGRAM_MAX_FILES + SANDBOX_MAX_FILES];
    int n = 0;
    *out = (struct sandbox_result){0};
    if (p->error) {
        return FAIL(USAGE, "program: it was not built");
    }
    if (in->file_count < 0 || p->file_count + in->file_count > SANDBOX_MAX_FILES) {
        return FAIL(USAGE, "program: too many files");
    }
    if (l->compiled) {
        argv[n++] = "./main";
    } else {
        argv[n++] = p->tool;
        for (int i = 0; i < MAX_WORDS && l->words[i]; i++) {
            argv[n++] = l->words[i];
        }
        argv[n++] = l->file;
    }
    for (int i = 0; i < PROGRAM_MAX_ARGS && in->args[i]; i++) {
        argv[n++] = in->args[i];
    }
    memcpy(files, p->files, (size_t)p->file_count * sizeof *files);
    for (int i = 0; i < in->file_count; i++) {
        files[p->file_count + i] = in->files[i];
    }
    struct sandbox_spec spec = {
        .argv = argv,
        .env = l->env,
        .files = files,
        .file_count = p->file_count + in->file_count,
        .input = in->input,
        .input_size = in->input_size,
        .limits = in->limits,
    };
    if (spec.limits.processes == 0) {
        spec.limits.processes = sandbox_default_limits().processes;
    }
    spec.limits.processes += l->processes;
    spec.limits.huge_address_space = spec.limits.huge_address_space || l->huge_address_space;
    return sandbox_run(p->sandbox, &spec, out);
}

void program_close(struct program *p)
{
    if (p) {
        for (int i = 0; i < p->file_count; i++) {
            free((char *)(uintptr_t)p->files[i].name);
            free((void *)(uintptr_t)p->files[i].data);
        }
        free(p->error);
        free(p);
    }
}
