/* Private to trainer/model: what the two readers of configurations share. */
#pragma once

#include "trainer/model/config.h"

/* Largest values accepted in a file; products of two of them fit int64 with room to spare. */
enum {
    CONFIG_MAX_WIDTH = 1 << 22,   /* hidden, ff, heads * head_dim */
    CONFIG_MAX_VOCAB = 1 << 24,
    CONFIG_MAX_HEAD_DIM = 1024,
    CONFIG_MAX_CONTEXT = 1 << 28
};

/* Checks the sizes: ranges, whole groups of heads, even head size. Fails with INPUT; `where` stands
 * before the message. */
MUST_USE enum status config_check_sizes(const struct model_config *c, const char *where);

/* Checks the other numbers of files (RoPE, epsilon, scales) and fills embed_scale, and attn_scale
 * when it is still 0. Fails with INPUT. */
MUST_USE enum status config_finish(struct model_config *c, const char *where);

/* Reads RoPE in the new (rope_parameters, perhaps per layer type) and old spelling (rope_theta,
 * rope_scaling, rope_local_base_freq) from the text configuration `json`. c->context
 * and c->head_dim are set. Fails with INPUT. */
MUST_USE enum status config_rope_from_json(struct model_config *c, const json_t *json,
                                           const char *where);

/* Adds `id` to the stop ids unless it is negative or there already; a full list drops it. */
void config_add_stop(struct model_config *c, int64_t id);

/* Takes eos_token_id (integer, list or null) and bos_token_id of a configuration object: what is
 * there replaces what was known, what is absent changes nothing. Fails with INPUT. */
MUST_USE enum status config_read_specials(struct model_config *c, const json_t *json,
                                          const char *where);

/* Writes the known model types (or architectures) as "a, b, c" into buf for messages. */
const char *family_list(bool gguf, char *buf, size_t size);

/* A number that must be finite: missing or null gives `fallback`. Fails with INPUT. */
MUST_USE enum status config_number(const json_t *json, const char *key, double fallback,
                                   const char *where, double *out);
