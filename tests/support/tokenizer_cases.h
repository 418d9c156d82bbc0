/* Cases of golden/tokenizers: lines of encode.jsonl and decode.jsonl against one tokenizer. */
#pragma once

#include "trainer/text/tokenizer.h"

/* Path of `name` under GRAFT_SHARED/golden/tokenizers; false when the folder is not there. */
bool tokenizer_golden_path(char *path, size_t size, const char *folder, const char *file);

/* Runs every line of both files; returns the number of failed cases and adds the number of cases
 * run to *total. Ids that differ are accepted when they are in "llama_cpp_ids" and `either`. */
int tokenizer_run_golden(const struct tokenizer *t, const char *folder, bool either, int *total);

/* True when the spans lie in the text, do not run backwards and together cover it, but for bytes
 * that the vocabulary lacks; `what` for messages. */
bool tokenizer_spans_sane(const struct tokenizer *t, const char *text, size_t length,
                          const char *what);

/* Encodes `text` and compares with ids[0..count). */
bool tokenizer_gives(const struct tokenizer *t, const char *text, unsigned flags,
                     const int32_t *ids, int64_t count);
