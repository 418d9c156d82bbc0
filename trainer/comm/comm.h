/*
 * Communicators: an op table over ranks (self, MPI; NCCL later). Without a launcher there is no
 * MPI_Init. Groups for data, tensor, pipeline and expert parallelism are made by comm_split.
 *
 * Rules: nothing that must be exact goes through a library all-reduce (shards.h sums in a fixed
 * tree); after each stage comm_agree(status) makes one rank's failure stop all with its message.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "kernels/base/status.h"

enum comm_group { COMM_DATA, COMM_TENSOR, COMM_PIPELINE, COMM_EXPERT, COMM_GROUPS };

struct comm {
    const struct comm_ops *ops;
    int rank;
    int size;
    int local_rank; /* among the ranks of this node */
    int local_size;
    void *handle;   /* backend's own */
};

/* True when a launcher started this process (OMPI_COMM_WORLD_SIZE, PMIX_RANK or PMI_RANK in the
 * environment), with its place among the ranks of its node as far as the launcher tells (0 of 1).
 */
bool comm_launched(int *local_rank, int *local_size);

/* Opens the world: MPI when started by a launcher, else a world of one. Call once, before threads.
 */
MUST_USE enum status comm_open(struct comm *c);

/* out = name and version of the MPI library, "Open MPI v4.1.4". Loads it without starting it. Fails
 * with DEVICE when it can't be loaded, as does comm_open under a launcher. */
MUST_USE enum status comm_mpi_version(char *out, size_t size);

/* Ends MPI. After a failure use comm_abort instead. */
void comm_close(struct comm *c);

/* Sub-communicator of the ranks with the same color, ordered by rank. */
MUST_USE enum status comm_split(const struct comm *c, int color, struct comm *out);

/* Every rank calls with its own status; all return OK, or every rank fails: those that were fine
 * with REMOTE and the message of the lowest failing rank ("rank 2: ..."). */
MUST_USE enum status comm_agree(const struct comm *c, enum status mine);

/* Copies `bytes` from rank `root` to all. */
MUST_USE enum status comm_broadcast(const struct comm *c, void *data, size_t bytes, int root);

/* Gathers each rank's `bytes` (may differ) to all: *all is malloc'd, rank r's part at
 * offsets[r] .. offsets[r + 1]; offsets has size + 1 entries. The caller frees *all. */
MUST_USE enum status comm_gather_all(const struct comm *c, const void *mine, size_t bytes,
                                     void **all, size_t *offsets);

/* Point to point, blocking, any size. */
MUST_USE enum status comm_send(const struct comm *c, const void *data, size_t bytes, int to);

/* Waits for exactly `bytes` bytes of rank `from`. Fails with IO when the transport does. */
MUST_USE enum status comm_receive(const struct comm *c, void *data, size_t bytes, int from);

/* Waits for all ranks. */
MUST_USE enum status comm_barrier(const struct comm *c);

/* True on every rank when `mine` is true on any (signals). */
MUST_USE enum status comm_any(const struct comm *c, bool mine, bool *any);

/* Stops all ranks at once with this exit code; the message has been printed by the caller. */
void comm_abort(const struct comm *c, int exit_code) __attribute__((noreturn));
