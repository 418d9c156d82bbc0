/* MPI backend. Counts are int in MPI, so large transfers go in pieces of PIECE bytes. The library
 * is loaded when a launcher started the program. */
#include <stdint.h>
#include <string.h>
#include <time.h>

#include "trainer/comm/comm_internal.h"
#include "trainer/comm/mpi_library.h"

enum { PIECE = 1 << 28, TAG = 71, POLLS = 2000 };

/* What stands behind a communicator. */
struct mpi_handle {
    struct mpi_library mpi;
    MPI_Comm raw;
};

static MPI_Comm raw_of(const struct comm *c)
{
    const struct mpi_handle *h = c->handle;
    return h->raw;
}

static const struct mpi_library *library_of(const struct comm *c)
{
    const struct mpi_handle *h = c->handle;
    return &h->mpi;
}

static enum status check(const struct mpi_library *mpi, int code, const char *what)
{
    if (code == MPI_SUCCESS) {
        return STATUS_OK;
    }
    char text[MPI_MAX_ERROR_STRING] = {0};
    int length = 0;
    (void)mpi->MPI_Error_string(code, text, &length);
    return FAIL(IO, "MPI: %s failed: %s", what, text);
}

/* Waits for a request: polls for a moment, then naps between polls, because Open MPI's own waits
 * keep a core busy that a slower rank of the same node may need. */
static enum status finish(const struct mpi_library *mpi, MPI_Request *request, const char *what)
{
    const struct timespec nap = {.tv_nsec = 50000};
    for (int polls = 0;; polls++) {
        int done = 0;
        TRY(check(mpi, mpi->MPI_Test(request, &done, MPI_STATUS_IGNORE), what));
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
    const struct mpi_library *mpi = library_of(c);
    char *p = data;
    while (bytes > 0) {
        const int n = bytes < PIECE ? (int)bytes : PIECE;
        MPI_Request request;
        TRY(check(mpi, mpi->MPI_Ibcast(p, n, mpi->byte, root, raw_of(c), &request), "broadcast"));
        TRY(finish(mpi, &request, "broadcast"));
        p += n;
        bytes -= (size_t)n;
    }
    return STATUS_OK;
}

static enum status mpi_all_gather(const struct comm *c, const void *mine, size_t bytes, void *all)
{
    const struct mpi_library *mpi = library_of(c);
    ASSERT(bytes <= PIECE);
    MPI_Request request;
    TRY(check(mpi,
              mpi->MPI_Iallgather(mine, (int)bytes, mpi->byte, all, (int)bytes, mpi->byte,
                                  raw_of(c), &request),
              "gather"));
    return finish(mpi, &request, "gather");
}

static enum status mpi_send(const struct comm *c, const void *data, size_t bytes, int to)
{
    const struct mpi_library *mpi = library_of(c);
    const char *p = data;
    while (bytes > 0) {
        const int n = bytes < PIECE ? (int)bytes : PIECE;
        MPI_Request request;
        TRY(check(mpi, mpi->MPI_Isend(p, n, mpi->byte, to, TAG, raw_of(c), &request), "send"));
        TRY(finish(mpi, &request, "send"));
        p += n;
        bytes -= (size_t)n;
    }
    return STATUS_OK;
}

static enum status mpi_receive(const struct comm *c, void *data, size_t bytes, int from)
{
    const struct mpi_library *mpi = library_of(c);
    char *p = data;
    while (bytes > 0) {
        const int n = bytes < PIECE ? (int)bytes : PIECE;
        MPI_Request request;
        TRY(check(mpi, mpi->MPI_Irecv(p, n, mpi->byte, from, TAG, raw_of(c), &request), "receive"));
        TRY(finish(mpi, &request, "receive"));
        p += n;
        bytes -= (size_t)n;
    }
    return STATUS_OK;
}

static enum status mpi_barrier(const struct comm *c)
{
    const struct mpi_library *mpi = library_of(c);
    MPI_Request request;
    TRY(check(mpi, mpi->MPI_Ibarrier(raw_of(c), &request), "barrier"));
    return finish(mpi, &request, "barrier");
}

static enum status mpi_fill(const struct mpi_library *mpi, MPI_Comm raw, const struct comm_ops *ops,
                            struct comm *c);

static enum status mpi_split(const struct comm *c, int color, struct comm *out)
{
    const struct mpi_library *mpi = library_of(c);
    MPI_Comm raw;
    TRY(check(mpi, mpi->MPI_Comm_split(raw_of(c), color, c->rank, &raw), "split"));
    return mpi_fill(mpi, raw, c->ops, out);
}

static void mpi_close(struct comm *c)
{
    struct mpi_handle *h = c->handle;
    if (h->raw == h->mpi.comm_world) {
        (void)h->mpi.MPI_Finalize();
    } else {
        (void)h->mpi.MPI_Comm_free(&h->raw);
    }
    free(h);
}

static void mpi_abort(const struct comm *c, int exit_code)
{
    (void)library_of(c)->MPI_Abort(raw_of(c), exit_code);
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

static enum status mpi_fill(const struct mpi_library *mpi, MPI_Comm raw, const struct comm_ops *ops,
                            struct comm *c)
{
    struct mpi_handle *h = malloc(sizeof *h);
    if (!h) {
        return FAIL(MEMORY, "MPI: no memory for a communicator");
    }
    *h = (struct mpi_handle){.mpi = *mpi, .raw = raw};
    *c = (struct comm){.ops = ops, .handle = h};
    TRY(check(mpi, mpi->MPI_Comm_set_errhandler(raw, mpi->errors_return), "error handler"));
    TRY(check(mpi, mpi->MPI_Comm_rank(raw, &c->rank), "rank"));
    TRY(check(mpi, mpi->MPI_Comm_size(raw, &c->size), "size"));
    MPI_Comm node;
    TRY(check(mpi,
              mpi->MPI_Comm_split_type(raw, MPI_COMM_TYPE_SHARED, c->rank, mpi->info_null, &node),
              "node"));
    TRY(check(mpi, mpi->MPI_Comm_rank(node, &c->local_rank), "local rank"));
    TRY(check(mpi, mpi->MPI_Comm_size(node, &c->local_size), "local size"));
    return check(mpi, mpi->MPI_Comm_free(&node), "node");
}

enum status comm_mpi_open(struct comm *c)
{
    struct mpi_library mpi;
    int provided = 0;
    TRY(mpi_library_open(&mpi));
    TRY(check(&mpi, mpi.MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided), "start"));
    if (provided < MPI_THREAD_FUNNELED) {
        return FAIL(DEVICE, "MPI gives no thread support; use an MPI built with threads");
    }
    return mpi_fill(&mpi, mpi.comm_world, &MPI, c);
}

enum status comm_mpi_version(char *out, size_t size)
{
    char text[MPI_MAX_LIBRARY_VERSION_STRING + 1] = "";
    int length = 0;
    struct mpi_library mpi;
    TRY(mpi_library_open(&mpi));
    TRY(check(&mpi, mpi.MPI_Get_library_version(text, &length), "version"));
    text[strcspn(text, ",\n")] = '\0';
    (void)snprintf(out, size, "%s", text);
    return STATUS_OK;
}
