/* Arenas over anonymous mappings; see arena.h. */
#include "kernels/base/arena.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "kernels/base/checked.h"

enum status arena_open(struct arena *a, const char *name, size_t size)
{
    *a = (struct arena){.name = name};
    size_t rounded;
    if (!checked_align(size ? size : 1, 4096, &rounded)) {
        return FAIL(MEMORY, "arena '%s': %zu bytes overflow the address space", name, size);
    }
    void *p = mmap(NULL, rounded, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        return FAIL(MEMORY,
                    "arena '%s': cannot reserve %zu MiB (%s); lower the batch size or the sequence "
                    "length",
                    name, rounded >> 20, strerror(errno));
    }
    a->base = p;
    a->size = rounded;
    return STATUS_OK;
}

void arena_open_measure(struct arena *a, const char *name)
{
    *a = (struct arena){.name = name, .size = SIZE_MAX};
}

bool arena_measuring(const struct arena *a)
{
    return a->base == NULL;
}

enum status arena_alloc(struct arena *a, size_t count, size_t item, void *out)
{
    size_t bytes;
    size_t end;
    if (!checked_mul(count, item, &bytes) || !checked_align(bytes, ARENA_ALIGN, &bytes)
        || !checked_add(a->used, bytes, &end)) {
        return FAIL(MEMORY, "arena '%s': %zu items of %zu bytes overflow", a->name, count, item);
    }
    if (end > a->size) {
        return FAIL(MEMORY, "arena '%s' is full: %zu bytes asked, %zu of %zu left", a->name, bytes,
                    a->size - a->used, a->size);
    }
    void *p = a->base ? a->base + a->used : NULL;
    memcpy(out, &p, sizeof p);
    a->used = end;
    if (end > a->peak) {
        a->peak = end;
    }
    return STATUS_OK;
}

size_t arena_mark(const struct arena *a)
{
    return a->used;
}

void arena_rewind(struct arena *a, size_t mark)
{
    ASSERT(mark <= a->used);
    a->used = mark;
}

void arena_close(struct arena *a)
{
    if (a->base) {
        (void)munmap(a->base, a->size);
    }
    *a = (struct arena){0};
}
