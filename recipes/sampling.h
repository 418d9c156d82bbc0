/* A recipe's sampling settings with what they need: bytes of tokens, stop strings, the constraint.
 */
#pragma once

#include "recipes/schema.h"
#include "trainer/generate/constraint.h"
#include "trainer/generate/generate.h"
#include "trainer/generate/stop_strings.h"

enum { SAMPLING_MOST_IDS = 1024 };

struct sampling {
    struct sample_config config; /* points into this struct */
    struct token_bytes bytes;
    struct stop_strings *stop_strings;
    struct constraint *constraint;
    int32_t stops[SAMPLING_MOST_IDS];
    int32_t suppress[SAMPLING_MOST_IDS];
};

/* Fills *out from temperature, top_k, ... and generation_kwargs, which come last. `stops` are the
 * model's own. Fails with RECIPE naming the key, MEMORY. Close with sampling_close in either case;
 * do not copy the struct. */
MUST_USE enum status sampling_open(struct sampling *out, const struct recipe *recipe,
                                   const struct tokenizer *tokenizer, int64_t vocab,
                                   const int32_t *stops, int64_t stop_count);

/* Batch limits of rollouts and evaluations. */
struct generate_limits sampling_limits(const struct recipe *recipe);

/* Frees and zeroes. */
void sampling_close(struct sampling *s);
