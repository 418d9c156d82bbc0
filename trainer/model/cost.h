/*
 * What a unit's forward and backward will cost, from shapes alone: so that long and short ones can
 * be dealt out evenly. A row's products with weights count as one; its outputs as their share of
 * the head; attention by the keys that each row sees.
 */
#pragma once

#include "trainer/model/config.h"
#include "trainer/model/pack.h"

enum { UNIT_COST_SCALE = 16 }; /* one token row's linears, without head and attention */

/* Cost of a unit over a frozen base. Rows that branches share count once, as they run. */
int64_t unit_cost(const struct model_config *c, const struct pack_unit *u);
