/* See node_memory.h. */
#include "trainer/comm/node_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

enum { PATH_CAP = 4096, PLACES = 3 };

/* Where the file may lie, best first; the ranks of a node look in the same order. */
static void path_of(int place, uint64_t token, char out[PATH_CAP])
{
    const char *own = getenv("TMPDIR");
    const char *const folders[PLACES] = {"/dev/shm", own ? own : "/tmp", "/tmp"};
    (void)snprintf(out, PATH_CAP, "%s/graft-%016" PRIx64, folders[place], token);
}

/* The file of this node with all its bytes reserved: without them a write could be a signal. */
static enum status create_file(uint64_t token, size_t bytes, int *fd, char path[PATH_CAP])
{
    int error = ENOSPC;
    for (int place = 0; place < PLACES; place++) {
        path_of(place, token, path);
        *fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
        if (*fd < 0) {
            error = errno;
            continue;
        }
        error = posix_fallocate(*fd, 0, (off_t)bytes);
        if (error == 0) {
            return STATUS_OK;
        }
        (void)close(*fd);
        (void)unlink(path);
    }
    *fd = -1;
    *path = '\0';
    return FAIL(MEMORY, "%zu MiB that the ranks of a node share fit neither /dev/shm nor %s: %s; set "
                        "TMPDIR to a place with room, or leave base_cache out",
                bytes >> 20, getenv("TMPDIR") ? "TMPDIR" : "/tmp", strerror(error));
}

static enum status open_file(uint64_t token, int *fd)
{
    char path[PATH_CAP];
    for (int place = 0; place < PLACES; place++) {
        path_of(place, token, path);
        *fd = open(path, O_RDONLY | O_CLOEXEC);
        if (*fd >= 0) {
            return STATUS_OK;
        }
    }
    return FAIL(DEVICE, "%s, which the first rank of this node made: %s", path, strerror(errno));
}

static enum status map(struct node_memory *m, size_t bytes, int fd)
{
    const int access = m->mine ? PROT_READ | PROT_WRITE : PROT_READ;
    const int kind = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
    void *data = mmap(NULL, bytes, access, kind, fd, 0);
    if (data == MAP_FAILED) {
        return FAIL(MEMORY, "%zu MiB of derived weights: %s", bytes >> 20, strerror(errno));
    }
    (void)madvise(data, bytes, MADV_HUGEPAGE); /* weights are streams: most of their misses in the
                                                * TLB go; where there are none it does nothing */
    m->data = data;
    m->bytes = bytes;
    return STATUS_OK;
}

/* First the ranks that make their node's file, then those that open it. */
static enum status map_shared(const struct comm *c, size_t bytes, uint64_t token,
                              struct node_memory *m)
{
    char path[PATH_CAP] = "";
    int fd = -1;
    const bool makes = m->mine && c->local_size > 1;
    enum status status = makes ? create_file(token, bytes, &fd, path) : STATUS_OK;
    status = comm_agree(c, status);
    if (status == STATUS_OK) {
        status = m->mine ? STATUS_OK : open_file(token, &fd);
        status = comm_agree(c, status == STATUS_OK ? map(m, bytes, fd) : status);
    }
    if (*path) {
        (void)unlink(path);
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    return status;
}

enum status node_memory_open(const struct comm *c, size_t bytes, struct node_memory *out)
{
    uint64_t token = 0;
    *out = (struct node_memory){.mine = c->local_rank == 0};
    if (bytes == 0) {
        return STATUS_OK;
    }
    if (c->size == 1) {
        return map(out, bytes, -1);
    }
    const bool drawn = c->rank != 0 || getrandom(&token, sizeof token, 0) == sizeof token;
    TRY(comm_agree(c, drawn ? STATUS_OK : FAIL(DEVICE, "getrandom: %s", strerror(errno))));
    TRY(comm_broadcast(c, &token, sizeof token, 0));
    return map_shared(c, bytes, token, out);
}

enum status node_memory_seal(const struct comm *c, struct node_memory *m, enum status filled)
{
    if (filled == STATUS_OK && m->data && m->mine && mprotect(m->data, m->bytes, PROT_READ) != 0) {
        filled = FAIL(DEVICE, "mprotect: %s", strerror(errno));
    }
    return c->size > 1 ? comm_agree(c, filled) : filled;
}

void node_memory_close(struct node_memory *m)
{
    if (m->data) {
        (void)munmap(m->data, m->bytes);
    }
    *m = (struct node_memory){0};
}
