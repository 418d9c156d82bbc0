/* Checked size arithmetic: validate sizes before allocating or indexing. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* *out = a + b; false (and *out untouched by contract) when it does not fit. */
static inline bool checked_add(size_t a, size_t b, size_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

/* *out = a * b; false when it does not fit. */
static inline bool checked_mul(size_t a, size_t b, size_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

/* *out = a rounded up to a multiple of `align` (a power of two); false when it does not fit. */
static inline bool checked_align(size_t a, size_t align, size_t *out)
{
    size_t sum;
    if (!checked_add(a, align - 1, &sum)) {
        return false;
    }
    *out = sum & ~(align - 1);
    return true;
}
