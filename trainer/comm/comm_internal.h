/* Backend table of communicators; private to trainer/comm. */
#pragma once

#include "trainer/comm/comm.h"

/* Entries are collective unless they are send or receive. Sizes are bytes and may exceed 2 GiB. */
struct comm_ops {
    const char *name;
    enum status (*broadcast)(const struct comm *c, void *data, size_t bytes, int root);
    /* all[r * bytes ..] = rank r's `mine`; every rank passes the same size. */
    enum status (*all_gather)(const struct comm *c, const void *mine, size_t bytes, void *all);
    enum status (*send)(const struct comm *c, const void *data, size_t bytes, int to);
    enum status (*receive)(const struct comm *c, void *data, size_t bytes, int from);
    enum status (*barrier)(const struct comm *c);
    enum status (*split)(const struct comm *c, int color, struct comm *out);
    void (*close)(struct comm *c);
    void (*abort)(const struct comm *c, int exit_code);
};

/* A world of one: no library is initialised. */
void comm_self_open(struct comm *c);

/* MPI_Init and the world's communicator. */
MUST_USE enum status comm_mpi_open(struct comm *c);
