/* The vector ops on AVX-512: 16 floats at a time. The source is kernels/cpu/vec. */
#define VEC_WIDTH 16
#include "kernels/cpu/vec/all.inc"

void vec_avx512_fill(struct ops *table)
{
    table->name = "avx512";
    vec_fill(table);
}
