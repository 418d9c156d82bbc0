/* Communicators above the backend table: choice of backend, agreement, ragged gathers. */
#include "trainer/comm/comm.h"

#include <stdint.h>
#include <string.h>

#include "kernels/base/checked.h"
#include "trainer/comm/comm_internal.h"

/* A number of the launcher's environment. */
static int number_of(const char *name, int otherwise)
{
    const char *text = getenv(name);
    const long number = text ? strtol(text, NULL, 10) : -1;
    return number >= 0 && number < 1 << 16 ? (int)number : otherwise;
}

bool comm_launched(int *local_rank, int *local_size)
{
    static const char *const NAMES[] = {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"};
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        if (getenv(NAMES[i])) {
            *local_rank = number_of("OMPI_COMM_WORLD_LOCAL_RANK", 0);
            *local_size = number_of("OMPI_COMM_WORLD_LOCAL_SIZE", 1);
            return true;
        }
    }
    *local_rank = 0;
    *local_size = 1;
    return false;
}

enum status comm_open(struct comm *c)
{
    int rank;
    int size;
    if (comm_launched(&rank, &size)) {
        return comm_mpi_open(c);
    }
    comm_self_open(c);
    return STATUS_OK;
}

void comm_close(struct comm *c)
{
    if (c->ops) {
        c->ops->close(c);
    }
    *c = (struct comm){0};
}

enum status comm_split(const struct comm *c, int color, struct comm *out)
{
    return c->ops->split(c, color, out);
}

enum status comm_broadcast(const struct comm *c, void *data, size_t bytes, int root)
{
    return c->ops->broadcast(c, data, bytes, root);
}

enum status comm_send(const struct comm *c, const void *data, size_t bytes, int to)
{
    return c->ops->send(c, data, bytes, to);
}

enum status comm_receive(const struct comm *c, void *data, size_t bytes, int from)
{
    return c->ops->receive(c, data, bytes, from);
}

enum status comm_barrier(const struct comm *c)
{
    return c->ops->barrier(c);
}

enum status comm_gather_all(const struct comm *c, const void *mine, size_t bytes, void **all,
                            size_t *offsets)
{
    *all = NULL;
    const uint64_t size = bytes;
    uint64_t *sizes = malloc((size_t)c->size * sizeof *sizes);
    if (!sizes) {
        return FAIL(MEMORY, "gather: no memory for %d sizes", c->size);
    }
    enum status status = c->ops->all_gather(c, &size, sizeof size, sizes);
    offsets[0] = 0;
    for (int r = 0; status == STATUS_OK && r < c->size; r++) {
        if (!checked_add(offsets[r], (size_t)sizes[r], &offsets[r + 1])) {
            status = FAIL(MEMORY, "gather: the parts overflow");
        }
    }
    free(sizes);
    TRY(status);
    char *buffer = malloc(offsets[c->size] ? offsets[c->size] : 1);
    if (!buffer) {
        return FAIL(MEMORY, "gather: no memory for %zu bytes", offsets[c->size]);
    }
    for (int r = 0; r < c->size; r++) {
        if (r == c->rank && bytes) {
            memcpy(buffer + offsets[r], mine, bytes);
        }
        const enum status s =
            comm_broadcast(c, buffer + offsets[r], offsets[r + 1] - offsets[r], r);
        if (s != STATUS_OK) {
            free(buffer);
            return status_pass(s, __FILE__, __LINE__);
        }
    }
    *all = buffer;
    return STATUS_OK;
}

enum status comm_agree(const struct comm *c, enum status mine)
{
    if (c->size == 1) {
        return mine;
    }
    int codes[4096];
    ASSERT(c->size <= 4096);
    const int code = (int)mine;
    TRY(c->ops->all_gather(c, &code, sizeof code, codes));
    int failed = -1;
    for (int r = c->size - 1; r >= 0; r--) {
        failed = codes[r] != STATUS_OK ? r : failed;
    }
    if (failed < 0) {
        return STATUS_OK;
    }
    char message[1024] = {0};
    if (failed == c->rank) {
        (void)snprintf(message, sizeof message, "%s", status_message());
    }
    TRY(comm_broadcast(c, message, sizeof message, failed));
    if (mine != STATUS_OK) {
        return status_pass(mine, __FILE__, __LINE__);
    }
    if (codes[failed] == STATUS_INTERRUPTED) {
        return FAIL(INTERRUPTED, "%s", message);
    }
    return FAIL(REMOTE, "rank %d: %s", failed, message);
}

enum status comm_any(const struct comm *c, bool mine, bool *any)
{
    *any = mine;
    if (c->size == 1) {
        return STATUS_OK;
    }
    unsigned char flags[4096];
    ASSERT(c->size <= 4096);
    const unsigned char flag = mine;
    TRY(c->ops->all_gather(c, &flag, sizeof flag, flags));
    for (int r = 0; r < c->size; r++) {
        *any = *any || flags[r];
    }
    return STATUS_OK;
}

void comm_abort(const struct comm *c, int exit_code)
{
    if (c->ops) {
        c->ops->abort(c, exit_code);
    }
    _Exit(exit_code);
}
