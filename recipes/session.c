/* Opening a model for a command; see session.h. */
#include "recipes/session.h"

#include <string.h>
#include <sys/stat.h>

#include "kernels/base/places.h"
#include "trainer/model/panels.h"

static enum status open_adapter(struct session *s, const char *folder)
{
    struct adapter_config config = {0};
    enum status status = adapter_read_config(&config, folder);
    if (status == STATUS_OK) {
        status = adapter_attach(&s->adapter, s->model, &s->params, &config);
    }
    adapter_config_close(&config);
    TRY(status);
    TRY(param_set_seal(&s->params, NULL));
    TRY(adapter_load(s->adapter, folder));
    return STATUS_OK;
}

enum status session_open_ops(struct ops_context *ops, int threads, enum compute compute)
{
    struct places places;
    int cpus[PLACES_MOST];
    places_read(&places, false, 0, 1);
    threads = threads > 0 ? threads : places_threads(&places);
    const struct ops_options options = {
        .threads = threads,
        .compute = compute,
        .cpus = places_pin(&places, threads, cpus) ? cpus : NULL,
    };
    return ops_context_open(ops, &options);
}

enum status session_open(struct session *s, const struct command_args *args)
{
    *s = (struct session){0};
    param_set_open(&s->params);
    if (!args->model) {
        return FAIL(USAGE, "%s: --model is missing", args->command->name);
    }
    const bool full = args->compute && strcmp(args->compute, "float32") == 0;
    TRY(session_open_ops(&s->ops, (int)args->threads, full ? COMPUTE_F32 : COMPUTE_BF16));
    s->ops_open = true;
    TRY(model_open(&s->model, args->model, &(struct model_options){.context = args->context}));
    if (args->adapter) {
        TRY(open_adapter(s, args->adapter));
    }
    return STATUS_OK;
}

enum status session_open_panels(struct model *m, struct ops_context *ops, const struct comm *comm,
                                struct node_memory *out)
{
    TRY(node_memory_open(comm, model_panel_bytes(m, ops), out));
    return node_memory_seal(comm, out, model_make_panels(m, ops, out->data, out->mine));
}

enum status session_open_tokenizer(struct tokenizer **out, const char *path)
{
    struct stat info;
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode)) {
        return tokenizer_open_folder(out, path);
    }
    const size_t n = strlen(path);
    if (n > 5 && strcmp(path + n - 5, ".json") == 0) {
        return tokenizer_open_file(out, path);
    }
    struct gguf *g;
    TRY(gguf_open(&g, path));
    const enum status status = tokenizer_open_gguf(out, g);
    gguf_close(g);
    return status;
}

enum status session_tokenizer(struct session *s, const struct command_args *args)
{
    if (s->tokenizer) {
        return STATUS_OK;
    }
    const char *path = args->tokenizer ? args->tokenizer : args->model;
    if (!path) {
        return FAIL(USAGE, "%s: --model or --tokenizer is missing", args->command->name);
    }
    return session_open_tokenizer(&s->tokenizer, path);
}

void session_close(struct session *s)
{
    if (s->adapter) {
        adapter_close(s->adapter);
    }
    param_set_close(&s->params);
    if (s->tokenizer) {
        tokenizer_close(s->tokenizer);
    }
    if (s->model) {
        model_close(s->model);
    }
    node_memory_close(&s->panels);
    if (s->ops_open) {
        ops_context_close(&s->ops);
    }
    *s = (struct session){0};
}
