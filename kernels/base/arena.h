/*
 * Arenas: every buffer lives in one named for its lifetime (base, train, step, scratch).
 *
 * An arena in measure mode has no memory: allocations return NULL pointers and only the size is
 * counted, so the same plan code that lays out a step also prints its budget and sizes the real
 * arena. Freed as a whole.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/status.h"

struct arena {
    const char *name; /* for messages: "train", "step", ... (borrowed) */
    uint8_t *base;    /* NULL in measure mode */
    size_t size;      /* bytes reserved; SIZE_MAX in measure mode */
    size_t used;      /* bytes handed out */
    size_t peak;      /* largest `used` so far */
};

enum { ARENA_ALIGN = 64 };

/* Reserves `size` bytes of zeroed memory (anonymous mapping). No page is touched here: it comes to
 * the NUMA node of the thread that writes it first, and with the pool's static split the same thread
 * comes back to it. Fails with MEMORY, naming the arena and the size. Close with arena_close. */
MUST_USE enum status arena_open(struct arena *a, const char *name, size_t size);

/* Makes a measuring arena: nothing is allocated, `peak` tells what would be. */
void arena_open_measure(struct arena *a, const char *name);

/* True when `a` only measures; the caller must not touch the memory it is handed. */
bool arena_measuring(const struct arena *a);

/* *out = `count` items of `item` bytes, 64-byte aligned, uninitialised after a rewind (zero the
 * first time). NULL in measure mode. Fails with MEMORY when the arena is full (names it, what was
 * asked and what is left) or the size overflows. */
MUST_USE enum status arena_alloc(struct arena *a, size_t count, size_t item, void *out);

/* Position to return to with arena_rewind. */
size_t arena_mark(const struct arena *a);

/* Gives back everything handed out after `mark`. */
void arena_rewind(struct arena *a, size_t mark);

/* Releases the memory. Safe on a zeroed struct. */
void arena_close(struct arena *a);
