/*
 * Counts the calls of malloc, calloc and realloc of a test program and the blocks that are alive,
 * by taking the functions' places. Include it in the one file of a program. COUNTS is 0 under the
 * address sanitizer, which has the allocator.
 */
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>

#ifdef __SANITIZE_ADDRESS__
#define COUNTS 0
#else
#define COUNTS 1
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *p, size_t size);
extern void __libc_free(void *p);

static atomic_long counted_calls;
static atomic_long counted_blocks;

static void *counted(void *p)
{
    atomic_fetch_add(&counted_calls, 1);
    atomic_fetch_add(&counted_blocks, p ? 1 : 0);
    return p;
}

void *malloc(size_t size)
{
    return counted(__libc_malloc(size));
}

void *calloc(size_t count, size_t size)
{
    return counted(__libc_calloc(count, size));
}

void *realloc(void *p, size_t size)
{
    void *moved = __libc_realloc(p, size);
    atomic_fetch_add(&counted_calls, 1);
    atomic_fetch_add(&counted_blocks, (moved && !p) - (!moved && p && size == 0));
    return moved;
}

void free(void *p)
{
    atomic_fetch_sub(&counted_blocks, p ? 1 : 0);
    __libc_free(p);
}

/* Calls so far. */
static inline long allocations(void)
{
    return atomic_load(&counted_calls);
}

/* Blocks that were handed out and not given back. */
static inline long live_blocks(void)
{
    return atomic_load(&counted_blocks);
}
#endif
