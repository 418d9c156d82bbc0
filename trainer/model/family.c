/*
 * The family table: one const row per decoder family (spec models.md 2, 4). A new dense family is a
 * row here and, where its config.json has its own defaults, a row in config_json.c.
 */
#include <string.h>

#include "trainer/model/config_internal.h"

static const struct family FAMILIES[] = {
    {.name = "llama",
     .gguf_arch = "llama",
     .act = ACT_SILU,
     .gguf_permuted_qk = true,
     .default_theta = 10000.0},
    /* GGUF files of Mistral say "llama": the row above answers for the architecture. */
    {.name = "mistral",
     .gguf_arch = "llama",
     .act = ACT_SILU,
     .gguf_permuted_qk = true,
     .default_theta = 10000.0},
    {.name = "ministral", .act = ACT_SILU, .default_theta = 10000.0},
    {.name = "qwen2",
     .gguf_arch = "qwen2",
     .act = ACT_SILU,
     .qkv_bias = true,
     .default_theta = 10000.0},
    {.name = "qwen3",
     .gguf_arch = "qwen3",
     .qk_norm = QK_NORM_HEAD,
     .act = ACT_SILU,
     .default_theta = 10000.0},
    {.name = "gemma",
     .gguf_arch = "gemma",
     .act = ACT_GELU_TANH,
     .norm_plus_one = true,
     .scale_embedding = true,
     .default_theta = 10000.0,
     .tied_by_default = true},
    {.name = "gemma2",
     .gguf_arch = "gemma2",
     .placement = PLACE_SANDWICH,
     .act = ACT_GELU_TANH,
     .norm_plus_one = true,
     .scale_embedding = true,
     .default_theta = 10000.0,
     .sliding_period = 2,
     .tied_by_default = true},
    {.name = "gemma3_text",
     .gguf_arch = "gemma3",
     .placement = PLACE_SANDWICH,
     .qk_norm = QK_NORM_HEAD,
     .act = ACT_GELU_TANH,
     .norm_plus_one = true,
     .scale_embedding = true,
     .default_theta = 1000000.0,
     .local_theta = 10000.0,
     .sliding_period = 6,
     .tied_by_default = true},
};

enum { FAMILY_COUNT = sizeof FAMILIES / sizeof FAMILIES[0] };

const struct family *family_at(int64_t i)
{
    return i >= 0 && i < FAMILY_COUNT ? &FAMILIES[i] : NULL;
}

const struct family *family_by_model_type(const char *model_type)
{
    for (int i = 0; i < FAMILY_COUNT; i++) {
        if (strcmp(FAMILIES[i].name, model_type) == 0) {
            return &FAMILIES[i];
        }
    }
    return NULL;
}

const struct family *family_by_gguf_arch(const char *arch, size_t length)
{
    for (int i = 0; i < FAMILY_COUNT; i++) {
        const char *name = FAMILIES[i].gguf_arch;
        if (name && strlen(name) == length && memcmp(name, arch, length) == 0) {
            return &FAMILIES[i];
        }
    }
    return NULL;
}

const char *family_list(bool gguf, char *buf, size_t size)
{
    size_t used = 0;
    buf[0] = '\0';
    for (int i = 0; i < FAMILY_COUNT; i++) {
        const char *name = gguf ? FAMILIES[i].gguf_arch : FAMILIES[i].name;
        if (!name || (gguf && family_by_gguf_arch(name, strlen(name)) != &FAMILIES[i])) {
            continue;
        }
        const int n = snprintf(buf + used, size - used, "%s%s", used ? ", " : "", name);
        if (n < 0 || (size_t)n >= size - used) {
            break;
        }
        used += (size_t)n;
    }
    return buf;
}
