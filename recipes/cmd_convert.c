/* graft convert: a model between file formats and quantization types. */
#include <string.h>
#include <sys/stat.h>

#include "recipes/commands.h"
#include "recipes/gguf_tokenizer.h"
#include "trainer/format/file.h"
#include "trainer/model/save.h"
#include "trainer/report/report.h"

static enum status write_gguf(struct model *m, const char *source, const char *path,
                              enum dtype type)
{
    const bool quantized = dtype_row(type)->block > 1;
    struct model_gguf_options options = {
        .linear = type,
        /* the head reads the embedding: it stays at 8 bits when the rest has fewer */
        .embedding = quantized ? DTYPE_Q8_0 : type,
        .name = strrchr(source, '/') ? strrchr(source, '/') + 1 : source,
        .keys = m->gguf ? model_copy_tokenizer_keys : gguf_tokenizer_keys,
        .keys_ctx = m->gguf ? (void *)m->gguf : (void *)(uintptr_t)source,
    };
    return model_save_gguf(m, path, &options);
}

static enum status convert(const struct command_args *args, const char *source)
{
    enum dtype type = DTYPE_F32;
    if (args->format && !dtype_from_name(args->format, &type)) {
        return FAIL(USAGE, "convert: --format %s is no type; use F32, F16, BF16, Q8_0, Q4_0, Q4_1, "
                           "Q5_0, Q4_K or Q6_K",
                    args->format);
    }
    if (!dtype_row(type)->encode) {
        return FAIL(USAGE, "convert: %s can be read but not written", dtype_row(type)->name);
    }
    struct model *m;
    TRY(model_open(&m, source, &(struct model_options){0}));
    const size_t n = strlen(args->output);
    enum status status;
    if (n > 5 && strcmp(args->output + n - 5, ".gguf") == 0) {
        status = write_gguf(m, source, args->output, type);
    } else {
        const struct model_folder_options options = {.dtype = type};
        status = file_mkdirs(args->output);
        status = status == STATUS_OK ? model_save_folder(m, args->output, &options) : status;
    }
    model_close(m);
    return status;
}

enum status cmd_convert(const struct command_args *args)
{
    if (args->word_count != 1 || !args->output) {
        return FAIL(USAGE, "convert: needs a model and --output FILE.gguf or FOLDER");
    }
    TRY(convert(args, args->words[0]));
    report_result("%s", args->output);
    return STATUS_OK;
}
