/* The bytes of every token of a vocabulary, side by side: what stop strings and constraints read.
 */
#pragma once

#include <stdint.h>

#include "trainer/text/tokenizer.h"

struct token_bytes {
    int64_t vocab;  /* of the model; ids beyond the tokenizer's have no bytes */
    int64_t *begin; /* [vocab + 1] into data */
    uint8_t *data;
    int64_t longest;
};

/* Reads the bytes of ids 0 .. vocab - 1. Fails with MEMORY. Free with token_bytes_close. */
MUST_USE enum status token_bytes_open(struct token_bytes *out, const struct tokenizer *t,
                                      int64_t vocab);

/* From given strings, for tests and other encodings: text[i] of length[i] bytes. */
MUST_USE enum status token_bytes_from(struct token_bytes *out, const char *const *text,
                                      const size_t *length, int64_t vocab);

/* Frees and zeroes. */
void token_bytes_close(struct token_bytes *b);
