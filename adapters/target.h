/*
 * Which modules an adapter wraps: PEFT's matching rules (spec adapters.md 2.3) on Hugging Face
 * module paths without the base_model.model. prefix.
 */
#pragma once

#include "adapters/adapter.h"

struct target; /* compiled rules */

/* Compiles the rules of `c`. Fails with RECIPE naming a bad regular expression. Close with
 * target_close. */
MUST_USE enum status target_open(struct target **out, const struct adapter_config *c);

/* Frees the rules. NULL is allowed. */
void target_close(struct target *t);

/* True when module `name` is wrapped; `is_head`: it is the output embedding, which "all-linear"
 * leaves out. */
bool target_matches(const struct target *t, const char *name, bool is_head);

/* Fails with RECIPE when an answer since target_open ran into the limits of the matcher. */
MUST_USE enum status target_check(const struct target *t);

/* Rank and alpha of a module: the first key of rank_pattern / alpha_pattern that matches
 * (.*\.)?(KEY)$, else the defaults. Looked up independently. */
int64_t target_rank(const struct target *t, const char *name);

/* Numerator of the module's scale (alpha / rank, or alpha / sqrt(rank) for rsLoRA). */
double target_alpha(const struct target *t, const char *name);
