/*
 * Preloaded into graft: the allocation number GRAFT_FAIL_AT (from 1) that the program itself asks for
 * fails. Those of libraries are passed on and not counted: what they do then is theirs. Without the
 * variable none fails; GRAFT_COUNT names a file that gets the number there were. Uses glibc's own
 * names of the functions that it stands before.
 */
#include <errno.h>
#include <link.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);
extern void *__libc_memalign(size_t align, size_t size);

static struct {
    uintptr_t begin; /* code of the program; 0: nothing fails */
    uintptr_t end;
    long fail_at; /* 0: none */
    atomic_long count;
} state;

static int see_program(struct dl_phdr_info *info, size_t size, void *ctx)
{
    (void)size;
    (void)ctx;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *h = &info->dlpi_phdr[i];
        if (h->p_type == PT_LOAD && (h->p_flags & PF_X)) {
            state.begin = info->dlpi_addr + h->p_vaddr;
            state.end = state.begin + h->p_memsz;
        }
    }
    return 1; /* the program comes first */
}

__attribute__((constructor)) static void start(void)
{
    char path[4096];
    const ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    const char *at = getenv("GRAFT_FAIL_AT");
    path[n > 0 ? n : 0] = '\0';
    const char *name = strrchr(path, '/');
    if (name && strcmp(name, "/graft") == 0) { /* not what the program starts */
        state.fail_at = at ? strtol(at, NULL, 10) : 0;
        (void)dl_iterate_phdr(see_program, NULL);
    }
}

__attribute__((destructor)) static void end(void)
{
    const char *path = getenv("GRAFT_COUNT");
    FILE *f = path && state.begin ? fopen(path, "we") : NULL;
    if (f) {
        (void)fprintf(f, "%ld\n", atomic_load(&state.count));
        (void)fclose(f);
    }
}

/* Whether the allocation that is asked for at this address is the one to fail. */
static bool fails(const void *caller)
{
    const uintptr_t at = (uintptr_t)caller;
    if (at < state.begin || at >= state.end
        || atomic_fetch_add(&state.count, 1) + 1 != state.fail_at) {
        return false;
    }
    errno = ENOMEM;
    return true;
}

void *malloc(size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_realloc(old, size);
}

void *aligned_alloc(size_t align, size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_memalign(align, size);
}

int posix_memalign(void **out, size_t align, size_t size)
{
    if (fails(__builtin_return_address(0))) {
        return ENOMEM;
    }
    *out = __libc_memalign(align, size);
    return *out ? 0 : ENOMEM;
}

char *strndup(const char *text, size_t most)
{
    const size_t n = strnlen(text, most);
    char *copy = fails(__builtin_return_address(0)) ? NULL : __libc_malloc(n + 1);
    if (copy) {
        memcpy(copy, text, n);
        copy[n] = '\0';
    }
    return copy;
}

char *strdup(const char *text)
{
    const size_t n = strlen(text) + 1;
    char *copy = fails(__builtin_return_address(0)) ? NULL : __libc_malloc(n);
    return copy ? memcpy(copy, text, n) : NULL;
}
