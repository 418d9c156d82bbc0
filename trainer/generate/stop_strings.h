/*
 * Stop strings: a completion ends with the token whose bytes complete one of them, wherever the
 * borders of its tokens lie.
 */
#pragma once

#include "trainer/generate/token_bytes.h"

enum { STOP_STRING_BYTES = 256, STOP_STRING_COUNT = 64 };

struct stop_strings; /* opaque */

/* Prepares `count` strings; `bytes` is borrowed. Fails with RECIPE on an empty string, more than
 * STOP_STRING_COUNT or one longer than STOP_STRING_BYTES bytes; MEMORY. */
MUST_USE enum status stop_strings_open(struct stop_strings **out, const char *const *strings,
                                       int64_t count, const struct token_bytes *bytes);

/* NULL is allowed. */
void stop_strings_close(struct stop_strings *s);

/* True when the last of `count` generated ids completes a stop string: some occurrence of one ends
 * inside its bytes and begins inside the generated text. */
bool stop_strings_hit(const struct stop_strings *s, const int32_t *ids, int64_t count);
