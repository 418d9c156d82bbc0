/* Private to kernels/cpu: what the tiers put into the table of a context. */
#pragma once

#include "kernels/ops.h"

/* Overwrite the entries that the vector source of a tier implements: all but the three products
 * and embed. Call only when the machine has the tier. */
void vec_avx2_fill(struct ops *table);

/* Same for AVX-512. */
void vec_avx512_fill(struct ops *table);

/* Fills `table` for a tier: the reference first, then tier by tier up to it. False when Graft has
 * no code for the tier. */
bool select_fill(enum cpu_tier tier, struct ops *table);
