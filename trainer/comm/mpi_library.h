/*
 * The functions and handles of Open MPI that the ranks use, loaded when a launcher started the
 * program: alone it starts without them.
 */
#pragma once

#include <mpi.h>

#include "kernels/base/status.h"

#ifndef OPEN_MPI
#error "the handles of this MPI are not addresses of its library; build with Open MPI"
#endif

/* Each is a member of struct mpi_library by its own name. */
#define MPI_FUNCTIONS(X)                                                                           \
    X(MPI_Abort)                                                                                   \
    X(MPI_Comm_free)                                                                               \
    X(MPI_Comm_rank)                                                                               \
    X(MPI_Comm_set_errhandler)                                                                     \
    X(MPI_Comm_size)                                                                               \
    X(MPI_Comm_split)                                                                              \
    X(MPI_Comm_split_type)                                                                         \
    X(MPI_Error_string)                                                                            \
    X(MPI_Finalize)                                                                                \
    X(MPI_Get_library_version)                                                                     \
    X(MPI_Iallgather)                                                                              \
    X(MPI_Ibarrier)                                                                                \
    X(MPI_Ibcast)                                                                                  \
    X(MPI_Init_thread)                                                                             \
    X(MPI_Irecv)                                                                                   \
    X(MPI_Isend)                                                                                   \
    X(MPI_Test)

/* Type, member, the library's object whose address MPI_COMM_WORLD and so on stand for. */
#define MPI_HANDLES(X)                                                                             \
    X(MPI_Comm, comm_world, ompi_mpi_comm_world)                                                   \
    X(MPI_Datatype, byte, ompi_mpi_byte)                                                           \
    X(MPI_Errhandler, errors_return, ompi_mpi_errors_return)                                       \
    X(MPI_Info, info_null, ompi_mpi_info_null)

struct mpi_library {
#define MPI_MEMBER(name) __typeof__(&(name)) name;
    MPI_FUNCTIONS(MPI_MEMBER)
#undef MPI_MEMBER
#define MPI_MEMBER(type, member, object) type member;
    MPI_HANDLES(MPI_MEMBER)
#undef MPI_MEMBER
};

/* Loads Open MPI (once for the process) and fills the table; MPI_Init is the caller's. Fails with
 * DEVICE when the library isn't there. */
MUST_USE enum status mpi_library_open(struct mpi_library *mpi);
