/* tokenizer.json as GGUF keys, for byte-level BPE tokenizers (spec formats.md 6). */
#pragma once

#include "trainer/format/gguf.h"

/* A model_keys_fn: adds tokenizer.ggml.* and tokenizer.chat_template from the Hugging Face folder
 * whose path is `ctx` (const char *). Fails with INPUT on a tokenizer that GGUF's gpt2 model can't
 * say. */
MUST_USE enum status gguf_tokenizer_keys(void *ctx, struct gguf_writer *w);
