/*
 * Constrained output: which ids may follow a text so that a regular expression still can match the
 * whole completion. A stop id may come where the text matches; ids without bytes never may.
 *
 * A state's allowed ids are found by walking the bytes of every id through the automaton once, and
 * kept in a bounded store of masks.
 */
#pragma once

#include "kernels/base/parallel.h"
#include "trainer/generate/regex.h"
#include "trainer/generate/token_bytes.h"

struct constraint; /* opaque */

/* Compiles the pattern for a vocabulary. `bytes` and `stops` are borrowed. Fails as regex_open. */
MUST_USE enum status constraint_open(struct constraint **out, const char *pattern,
                                     const struct token_bytes *bytes, const int32_t *stops,
                                     int64_t stop_count);

/* NULL is allowed. */
void constraint_close(struct constraint *c);

/* State before the first token. */
enum { CONSTRAINT_START = 0 };

/* State after id `id`; a stop id leaves it as it is. */
int32_t constraint_next(const struct constraint *c, int32_t state, int32_t id);

/* True when the text matches and nothing can follow it: the completion is over. */
bool constraint_is_over(const struct constraint *c, int32_t state);

/* Finds the masks of `count` states (repeats allowed) with the pool's threads; afterwards
 * constraint_mask has each until the next call. At most constraint_masks(c) different states. */
void constraint_prepare(struct constraint *c, const int32_t *states, int64_t count,
                        struct pool *pool);

/* Masks that the store holds. */
int64_t constraint_masks(const struct constraint *c);

/* Bit per id, [(vocab + 63) / 64] words, of a prepared state. */
const uint64_t *constraint_mask(const struct constraint *c, int32_t state);
