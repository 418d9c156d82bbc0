/* MPI backend. Counts are int in MPI, so large transfers go in pieces of PIECE bytes. */
#include <mpi.h>
#include <stdint.h>
#include <time.h>

#include "trainer/comm/comm_internal.h"

enum { PIECE = 1 << 28, TAG = 71, POLLS = 2000 };

static MPI_Comm handle_of(const struct comm *c)
{
    const MPI_Comm *h = c->handle;
    return *h;
}

static enum status check(int code, const char *what)
{
    if (code == MPI_SUCCESS) {
        return STATUS_OK;
    }
    char text[MPI_MAX_ERROR_STRING] = {0};
    int length = 0;
    (void)MPI_Error_string(code, text, &length);
    return FAIL(IO, "MPI: %s failed: %s", what, text);
}

/* Waits for a request: polls for a moment, then naps between polls, because Open MPI's own waits keep
 * a core busy that a slower rank of the same node may need. */
static enum status finish(MPI_Request *request, const char *what)
{
    const struct timespec nap = {.tv_nsec = 50000};
    for (int polls = 0;; polls++) {
        int done = 0;
        TRY(check(MPI_Test(request, &done, MPI_STATUS_IGNORE), what));
        if (done) {
            return STATUS_OK;
        }
        if (polls >= POLLS) {
            (void)nanosleep(&nap, NULL);
        }
    }
}

static enum status mpi_broadcast(const struct comm *c, void *data, size_t bytes, int root)
{
    char *p = data;
    while (bytes > 0) {
        const int n = bytes < PIECE ? (int)bytes : PIECE;
        MPI_Request request;
        TRY(check(MPI_Ibcast(p, n, MPI_BYTE, root, handle_of(c), &request), "broadcast"));
        TRY(finish(&request, "broadcast"));
        p += n;
        bytes -= (size_t)n;
    }
    return STATUS_OK;
}

static enum status mpi_all_gather(const struct comm *c, const void *mine, size_t bytes, void *all)
{
    ASSERT(bytes <= PIECE);
    MPI_Request request;
    TRY(check(MPI_Iallgather(mine, (int)bytes, MPI_BYTE, all, (int)bytes, MPI_BYTE, handle_of(c),
                             &request),
              "gather"));
    return finish(&request, "gather");
}

static enum status mpi_send(const struct comm *c, const void *data, size_t bytes, int to)
{
    const char *p = data;
    while (bytes > 0) {
        const int n = bytes < PIECE ? (int)bytes : PIECE;
        MPI_Request request;
        TRY(check(MPI_Isend(p, n, MPI_BYTE, to, TAG, handle_of(c), &request), "send"));
        TRY(finish(&request, "send"));
        p += n;
        bytes -= (size_t)n;
    }
    return STATUS_OK;
}

static enum status mpi_receive(const struct comm *c, void *data, size_t bytes, int from)
{
    char *p = data;
    while (bytes > 0) {
        const int n = bytes < PIECE ? (int)bytes : PIECE;
        MPI_Request request;
        TRY(check(MPI_Irecv(p, n, MPI_BYTE, from, TAG, handle_of(c), &request), "receive"));
        TRY(finish(&request, "receive"));
        p += n;
        bytes -= (size_t)n;
    }
    return STATUS_OK;
}

static enum status mpi_barrier(const struct comm *c)
{
    MPI_Request request;
    TRY(check(MPI_Ibarrier(handle_of(c), &request), "barrier"));
    return finish(&request, "barrier");
}

static enum status mpi_fill(struct comm *c, MPI_Comm raw, const struct comm_ops *ops);

static enum status mpi_split(const struct comm *c, int color, struct comm *out)
{
    MPI_Comm raw;
    TRY(check(MPI_Comm_split(handle_of(c), color, c->rank, &raw), "split"));
    return mpi_fill(out, raw, c->ops);
}

static void mpi_close(struct comm *c)
{
    MPI_Comm *h = c->handle;
    if (*h == MPI_COMM_WORLD) {
        (void)MPI_Finalize();
    } else {
        (void)MPI_Comm_free(h);
    }
    free(h);
}

static void mpi_abort(const struct comm *c, int exit_code)
{
    (void)MPI_Abort(handle_of(c), exit_code);
}

static const struct comm_ops MPI = {
    .name = "mpi",
    .broadcast = mpi_broadcast,
    .all_gather = mpi_all_gather,
    .send = mpi_send,
    .receive = mpi_receive,
    .barrier = mpi_barrier,
    .split = mpi_split,
    .close = mpi_close,
    .abort = mpi_abort,
};

static enum status mpi_fill(struct comm *c, MPI_Comm raw, const struct comm_ops *ops)
{
    MPI_Comm *h = malloc(sizeof(MPI_Comm));
    if (!h) {
        return FAIL(MEMORY, "MPI: no memory for a communicator");
    }
    *h = raw;
    *c = (struct comm){.ops = ops, .handle = h};
    TRY(check(MPI_Comm_set_errhandler(raw, MPI_ERRORS_RETURN), "error handler"));
    TRY(check(MPI_Comm_rank(raw, &c->rank), "rank"));
    TRY(check(MPI_Comm_size(raw, &c->size), "size"));
    MPI_Comm node;
    TRY(check(MPI_Comm_split_type(raw, MPI_COMM_TYPE_SHARED, c->rank, MPI_INFO_NULL, &node), "node"));
    TRY(check(MPI_Comm_rank(node, &c->local_rank), "local rank"));
    TRY(check(MPI_Comm_size(node, &c->local_size), "local size"));
    return check(MPI_Comm_free(&node), "node");
}

enum status comm_mpi_open(struct comm *c)
{
    int provided = 0;
    TRY(check(MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided), "start"));
    if (provided < MPI_THREAD_FUNNELED) {
        return FAIL(DEVICE, "MPI gives no thread support; use an MPI built with threads");
    }
    return mpi_fill(c, MPI_COMM_WORLD, &MPI);
}
