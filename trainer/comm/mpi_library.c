/* Open MPI as a library of its own; see mpi_library.h. */
#include "trainer/comm/mpi_library.h"

#include "kernels/base/library.h"

static const struct library_symbol SYMBOLS[] = {
#define MPI_ROW(name) {#name, offsetof(struct mpi_library, name)},
    MPI_FUNCTIONS(MPI_ROW)
#undef MPI_ROW
#define MPI_ROW(type, member, object) {#object, offsetof(struct mpi_library, member)},
    MPI_HANDLES(MPI_ROW)
#undef MPI_ROW
};

enum status mpi_library_open(struct mpi_library *mpi)
{
    return library_load(LIBRARY_SONAME, LIBRARY_PATH, "libopenmpi3", SYMBOLS,
                        sizeof SYMBOLS / sizeof *SYMBOLS, mpi);
}
