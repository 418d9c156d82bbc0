/*
 * Memory that the ranks of a node hold once: derived weights. One rank of each node fills it, all
 * read it. It lies in a file (shared memory, else TMPDIR or /tmp) whose name goes as soon as all have
 * it open; a rank alone on its node has memory of its own.
 */
#pragma once

#include "trainer/comm/comm.h"

struct node_memory {
    void *data; /* NULL: none */
    size_t bytes;
    bool mine; /* this rank fills it */
};

/* Zeroed memory for the ranks of this node, writable where out->mine. Collective. Fails with MEMORY
 * when no place holds so much, else as comm_agree. Close also after a failure. */
MUST_USE enum status node_memory_open(const struct comm *c, size_t bytes, struct node_memory *out);

/* Each rank passes how its part of the filling ended; afterwards the memory is complete and can
 * only be read. Collective. Fails with DEVICE, else as comm_agree. */
MUST_USE enum status node_memory_seal(const struct comm *c, struct node_memory *m,
                                      enum status filled);

/* Unmaps it. */
void node_memory_close(struct node_memory *m);
