/* Owning an adapter's configuration: copies and frees. config_read.c and config_write.c know the
 * file. */
#include <string.h>

#include "adapters/adapter_internal.h"

/* *to = a copy of `s` (NULL stays NULL). */
static enum status copy_text(const char *s, char **to)
{
    *to = s ? strdup(s) : NULL;
    return *to || !s ? STATUS_OK : FAIL(MEMORY, "adapter: no memory for its configuration");
}

static void free_list(char **list, int64_t count)
{
    for (int64_t i = 0; list && i < count; i++) {
        free(list[i]);
    }
    free(list);
}

void adapter_config_close(struct adapter_config *c)
{
    free(c->target_regex);
    free_list(c->target_modules, c->target_count);
    free(c->exclude_regex);
    free_list(c->exclude_modules, c->exclude_count);
    free(c->layers_to_transform);
    free(c->layers_pattern);
    free(c->base_model_name_or_path);
    json_decref(c->rank_pattern);
    json_decref(c->alpha_pattern);
    json_decref(c->extra);
    *c = (struct adapter_config){0};
}

static enum status copy_list(char **from, int64_t count, char ***to, int64_t *to_count)
{
    *to_count = 0;
    *to = NULL;
    if (count == 0) {
        return STATUS_OK;
    }
    *to = calloc((size_t)count, sizeof(char *));
    for (int64_t i = 0; *to && i < count; i++) {
        (*to)[i] = strdup(from[i]);
        *to_count = i + 1;
        if (!(*to)[i]) {
            return FAIL(MEMORY, "adapter: no memory for its configuration");
        }
    }
    return *to ? STATUS_OK : FAIL(MEMORY, "adapter: no memory for its configuration");
}

static enum status copy_parts(struct adapter_config *to, const struct adapter_config *from)
{
    TRY(copy_text(from->target_regex, &to->target_regex));
    TRY(copy_text(from->exclude_regex, &to->exclude_regex));
    TRY(copy_text(from->layers_pattern, &to->layers_pattern));
    TRY(copy_text(from->base_model_name_or_path, &to->base_model_name_or_path));
    to->rank_pattern = json_deep_copy(from->rank_pattern);
    to->alpha_pattern = json_deep_copy(from->alpha_pattern);
    to->extra = json_deep_copy(from->extra);
    if (from->layers_count > 0) {
        const size_t bytes = (size_t)from->layers_count * sizeof(int64_t);
        to->layers_to_transform = malloc(bytes);
        if (!to->layers_to_transform) {
            return FAIL(MEMORY, "adapter: no memory for its configuration");
        }
        memcpy(to->layers_to_transform, from->layers_to_transform, bytes);
        to->layers_count = from->layers_count;
    }
    TRY(copy_list(from->target_modules, from->target_count, &to->target_modules,
                  &to->target_count));
    return copy_list(from->exclude_modules, from->exclude_count, &to->exclude_modules,
                     &to->exclude_count);
}

enum status adapter_config_copy(struct adapter_config *to, const struct adapter_config *from)
{
    *to = (struct adapter_config){.family = from->family,
                                  .r = from->r,
                                  .lora_alpha = from->lora_alpha,
                                  .lora_dropout = from->lora_dropout,
                                  .use_rslora = from->use_rslora,
                                  .score = from->score,
                                  .init = from->init};
    const enum status status = copy_parts(to, from);
    if (status != STATUS_OK) {
        adapter_config_close(to);
    }
    return status;
}
