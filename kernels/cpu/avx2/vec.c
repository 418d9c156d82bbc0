/* The vector ops on AVX2: 8 floats at a time. The source is kernels/cpu/vec. */
#define VEC_WIDTH 8
#include "kernels/cpu/vec/all.inc"

void vec_avx2_fill(struct ops *table)
{
    table->name = "avx2";
    vec_fill(table);
}
