/*
 * The block types as integer codes and scales, apart: value = scale * code (+ minimum). What the
 * products multiply in COMPUTE_BF16 (kernels/ops.h): codes have at most 8 significant bits, so they
 * are exact in bf16. Block layouts: spec formats.md 3.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "kernels/tensor/tensor.h"

struct code_row {
    int part;     /* columns that share a scale: 32 or 16 */
    bool minimum; /* they also share an addend */
};

/* NULL: the type has no integer codes (plain elements, NF4). */
const struct code_row *code_row(enum dtype type);

/* One part of a row. Where the type has no minimum, codes are signed and `minimum` is 0. */
struct code_part {
    int8_t code[32];
    float scale;
    float minimum;
};

/* Columns first .. first + part of row r of a weight in LAYOUT_FILE that has codes; `first` is a
 * multiple of the part. scale * code is rounded before the minimum is added in quant_decode. */
void code_decode(const struct tensor *w, int64_t r, int64_t first, struct code_part *out);
