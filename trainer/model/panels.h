/*
 * Resident panels of a frozen base (recipe key base_cache): the weights of every linear and of the
 * head once more, rounded to bf16, in the order in which the backend's gemm reads them. The packed
 * weights stay: the backward and the embedding read those.
 */
#pragma once

#include "trainer/model/model.h"

/* Bytes of the panels on this context. */
size_t model_panel_bytes(const struct model *m, const struct ops_context *c);

/* Hangs panels in `memory` (model_panel_bytes, 64-byte aligned, kept as long as the model)
 * on the linears, and fills them there when `fill`. Then passes run on contexts of c's tier, compute
 * and k_slices alone, and the weights may not change. Fails with MEMORY. */
MUST_USE enum status model_make_panels(struct model *m, struct ops_context *c, void *memory,
                                       bool fill);
